"""An honest network whom everything befalls: crashes, partitions, lost answers, halts of machines and of logs, clocks
that are a minute off, days out of service, and a registry that changes meanwhile.

Each member does what a peer does, in small: an owner keeps the receipt before the answer leaves; a querier that got no
answer keeps the ask as unanswered and sends it again; one that crashed in between has forgotten it, and adopts the
receipt when it can ask the owner. What is kept waits (`pending`) until the log takes it, in its order but for a few.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import combinations

from riskshare.ledger.receipt import Receipt
from riskshare.query.message import Answer, Ask
from riskshare.statement import Statement
from tests.simulator.agreed import settle
from tests.simulator.casefolder import CaseNetwork

MEMBERS = ("bank", "card", "jd", "post", "telco")
"""Five: of the four others three make a quorum, so that one who is cut off does not hold up a log."""

STEP = timedelta(minutes=90)
RESEND = timedelta(minutes=5)
RESEND_TERM = timedelta(hours=24)
TOO_OLD = timedelta(minutes=3)


@dataclass
class Kept:
    """What a member keeps, as a row of its log to come."""

    kind: str
    statement: bytes
    signature: bytes = b""
    note: str = ""


@dataclass
class Peer:
    """One member's peer: its database survives every crash."""

    name: str
    skew: timedelta
    version: int
    pending: list[Kept] = field(default_factory=list)
    receipts: dict[bytes, Receipt] = field(default_factory=dict)
    """As owner: by the digest of the ask."""
    known: set[bytes] = field(default_factory=set)
    """As querier: digests of asks whose receipts it keeps."""
    unanswered: dict[bytes, Statement] = field(default_factory=dict)
    admitted: list[Statement] = field(default_factory=list)
    """Asks that it has admitted and not yet answered, for its machine stands still."""
    searches: set[str] = field(default_factory=set)
    """Owners that it has to ask for receipts it forgot."""
    down_until: datetime | None = None
    halted_until: datetime | None = None


class HonestNetwork:
    """Plays days of it; `seed` decides everything."""

    def __init__(self, seed: int, *, days: float = 6.0, trouble: float = 1.0, settles: bool = True) -> None:
        self.random = random.Random(seed)
        self.settles = settles
        self.case = CaseNetwork(MEMBERS)
        self.end = self.case.now + timedelta(days=days)
        self.trouble = trouble
        self.case.begin()
        newest = self.case.network.registry.version
        self.peers = {
            name: Peer(name, timedelta(seconds=self.random.uniform(-60, 60)), newest) for name in self.case.names
        }
        self.cut: dict[frozenset[str], datetime] = {}
        self.epochs = {owner: [self.case.epochs[owner, "default"]] for owner in self.case.names}
        self.settled: dict[tuple[str, str], datetime] = {}
        """Until when each pair has settled."""

    def play(self) -> CaseNetwork:
        """All days; at the end everybody is what he is then: down, cut off, in the midst of making up."""
        while self.case.now < self.end:
            self.case.now += STEP * self.random.uniform(0.2, 1.8)
            self._befall()
            self._learn()
            self._publish()
            for querier, owner in self._pairs():
                if self.random.random() < 0.4:
                    self._exchange(self.peers[querier], self.peers[owner])
            self._recover()
            if self.settles:
                self._settle()
            self._sequence()
        return self.case

    # -- what befalls ----------------------------------------------------------------

    def _chance(self, probability: float) -> bool:
        return self.random.random() < probability * self.trouble

    def _span(self) -> timedelta:
        """Minutes mostly, at times days."""
        return timedelta(hours=self.random.choice((0.1, 0.1, 0.5, 2, 8, 30, 60)))

    def _befall(self) -> None:
        now = self.case.now
        for peer in self.peers.values():
            if peer.down_until and peer.down_until <= now:
                peer.down_until = None
                for ask in peer.admitted:
                    self._sign(peer, ask)
                peer.admitted.clear()
            if peer.halted_until and peer.halted_until <= now:
                peer.halted_until = None
            if self._chance(0.02):
                self._crash(peer)
            if self._chance(0.01):
                peer.halted_until = now + self._span()
            if self._chance(0.02):
                peer.skew = timedelta(seconds=self.random.uniform(-60, 60))
        self.cut = {pair: until for pair, until in self.cut.items() if until > now}
        if self._chance(0.05):
            self._cut(*self.random.sample(self.case.names, 2))
        if self._chance(0.01):
            self._change_registry()

    def _cut(self, one: str, other: str) -> None:
        self.cut[frozenset((one, other))] = self.case.now + 2 * self._span()

    def _crash(self, peer: Peer) -> None:
        """It forgets what it sent, and will look for it at every owner."""
        peer.down_until = self.case.now + self._span()
        peer.admitted.clear()
        peer.searches = {name for name in self.case.names if name != peer.name}

    def _change_registry(self) -> None:
        name = self.random.choice(self.case.names)
        member = self.case.network.registry.members[name]
        changes = self.random.choice(
            (
                {"standing": "suspended" if member.in_good_standing else "good"},
                {"purposes": tuple(sorted(self.random.sample(member.purposes, max(1, len(member.purposes) - 1))))},
                {"purposes": self.case.network.registry.purposes},
                {"quota": replace(member.quota, per_second=self.random.choice((1, 2000)), per_day=400)},
            )
        )
        offset = timedelta(seconds=self.random.uniform(-60, 60))  # the governors' clock
        issued = max(self.case.now + offset, self.case.network.registry.issued_at)
        self.case.network.issue([replace(member, **changes)], now=issued)

    def _learn(self) -> None:
        """The registry comes to who is up and not cut off from all that have it."""
        newest = self.case.network.registry
        for peer in self.peers.values():
            if peer.down_until is None and peer.version < newest.version and not self._chance(0.5):
                self._take_version(peer, newest.version)

    def _take_version(self, peer: Peer, version: int) -> None:
        for registry in self.case.network.history:
            if peer.version < registry.version <= version:
                peer.pending.append(Kept("registry", registry.file.json, registry.to_file()))
                peer.version = registry.version

    def _publish(self) -> None:
        """Snapshots anew, and at times another epoch; the old one is answered for another day."""
        for name in self.case.names:
            if self.peers[name].down_until is None and self._chance(0.3):
                statement = self.case.snapshot(f"{name}/high-risk", log=False, issued_at=self._clock(self.peers[name]))
                self.peers[name].pending.append(Kept("snapshot", statement.json, statement.signature))
            if self.peers[name].down_until is None and self._chance(0.01):
                self._change_epoch(name)

    def _change_epoch(self, owner: str) -> None:
        former = self.epochs[owner][-1]
        made = self.case.epoch(owner, number=former.number + 1)
        row = self.case.logs[owner].rows.pop()  # it was logged at once; an owner's waits like everything else
        self.peers[owner].pending.append(Kept("epoch", row.statement, row.signature))
        self.epochs[owner] = [former, made]

    # -- exchanges -------------------------------------------------------------------

    def _pairs(self) -> Iterator[tuple[str, str]]:
        for querier in self.case.names:
            for owner in self.case.names:
                if querier != owner:
                    yield querier, owner

    def _clock(self, peer: Peer) -> datetime:
        return (self.case.now + peer.skew).replace(microsecond=0)

    def _reaches(self, one: str, other: str) -> bool:
        up = self.peers[one].down_until is None and self.peers[other].down_until is None
        return up and frozenset((one, other)) not in self.cut

    def _may(self, peer: Peer, querier: str, purpose: str) -> bool:
        registry = self.case.network.history[peer.version - 1]
        member = registry.members[querier]
        return member.in_good_standing and purpose in member.purposes

    def _exchange(self, querier: Peer, owner: Peer) -> None:
        purpose = self.random.choice(("payment", "marketing", "withdrawal"))
        if querier.down_until is not None or not self._may(querier, querier.name, purpose):
            return
        ask = self.case.ask(
            querier.name,
            owner.name,
            asked_at=self._clock(querier),
            registry=querier.version,
            purpose=purpose,
            count=self.random.choice((1, 3, 40)),
            epoch=self.random.choice(self.epochs[owner.name]).digest,
        )
        fate = self.random.choices(
            ("well", "lost", "asker crashes", "owner crashes"), (1, 0.05 * self.trouble, 0.03 * self.trouble, 0.02)
        )[0]
        answered = self._reaches(querier.name, owner.name) and self._answer(owner, ask, fresh=True)
        if fate == "owner crashes":
            self._crash(owner)
        if fate.endswith("crashes") and self._chance(0.3):
            self._cut(querier.name, owner.name)  # what took the one down took the line down, too
        if fate == "asker crashes":
            self._crash(querier)
        elif fate == "well" and answered:
            self._keep(querier, owner.receipts[ask.digest], ask)
        else:
            querier.unanswered[ask.digest] = ask
            querier.pending.append(Kept("unanswered", ask.json, ask.signature))
        if fate == "well" and self.random.random() < 0.5:
            statement = self._check(querier)
            querier.pending.append(Kept("check", statement.json, statement.signature))

    def _check(self, querier: Peer) -> Statement:
        at = self._clock(querier).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        statement = self.case.check(querier.name, answered_at=at)
        self.case.logs[querier.name].rows.pop()
        return statement

    def _answer(self, owner: Peer, ask: Statement, *, fresh: bool) -> bool:
        """Whether the owner has an answer to this ask, and reached the querier with it if nothing befalls that."""
        if ask.digest in owner.receipts:
            return True
        if not fresh:
            return False
        if ask.body["registry"] > owner.version:
            self._take_version(owner, ask.body["registry"])
        off = abs(self._clock(owner) - datetime.fromisoformat(ask.body["asked_at"]))
        if off > timedelta(seconds=60) or not self._may(owner, ask.body["querier"], ask.body["purpose"]):
            return False
        if self._chance(0.01):
            owner.admitted.append(ask)  # the machine stands still before it signs
            owner.down_until = self.case.now + self._span()
            return False
        self._sign(owner, ask)
        return True

    def _sign(self, owner: Peer, ask: Statement) -> None:
        receipt = self.case.answer(ask, answered_at=self._clock(owner))
        owner.receipts[ask.digest] = receipt
        owner.pending.append(Kept("receipt", receipt.to_bytes(), note="owner"))

    def _keep(self, querier: Peer, receipt: Receipt, ask: Statement, *, adopted: bool = False) -> None:
        if ask.digest not in querier.known:
            querier.known.add(ask.digest)
            querier.unanswered.pop(ask.digest, None)
            querier.pending.append(Kept("receipt", receipt.to_bytes(), note="adopted" if adopted else "querier"))

    # -- making good -----------------------------------------------------------------

    def _recover(self) -> None:
        for peer in self.peers.values():
            if peer.down_until is not None:
                continue
            for ask in list(peer.unanswered.values()):
                old = self.case.now - datetime.fromisoformat(ask.body["asked_at"])
                owner = self.peers[ask.body["owner"]]
                if RESEND < old < RESEND_TERM and self._reaches(peer.name, owner.name):
                    if self._answer(owner, ask, fresh=False) and not self._chance(0.1):
                        self._keep(peer, owner.receipts[ask.digest], ask)
                    elif old > TOO_OLD:
                        peer.unanswered.pop(ask.digest, None)
            for name in sorted(peer.searches):
                if self._reaches(peer.name, name) and not self._chance(0.1):
                    self._adopt(peer, self.peers[name])

    def _adopt(self, querier: Peer, owner: Peer) -> None:
        for receipt in list(owner.receipts.values()):
            ask = Ask.from_json(receipt.ask)
            if ask.querier == querier.name:
                body = {"querier": ask.querier, "owner": ask.owner}
                statement = Statement("ask", self.case.network.name, receipt.ask, receipt.ask_signature, body)
                if statement.digest not in querier.unanswered:
                    self._keep(querier, receipt, statement, adopted=True)
        querier.searches.discard(owner.name)

    def _settle(self) -> None:
        """Pairs that hold the same receipts of some hours sign it; the second one keeps it, if it hears of it."""
        for one, other in combinations(self.case.names, 2):
            first, second = self.peers[one], self.peers[other]
            if self._reaches(one, other) and self.random.random() < 0.1:
                opened = self.settled.get((one, other), self.case.start)
                closed = min(self._clock(first), self._clock(second)) - timedelta(minutes=self.random.choice((2, 300)))
                if closed > opened and self._held(first, second, opened, closed) == self._held(
                    second, first, opened, closed
                ):
                    self.settled[one, other] = closed
                    self._sign_settlement(first, second, opened, closed)

    def _sign_settlement(self, first: Peer, second: Peer, opened: datetime, closed: datetime) -> None:
        receipts = self._held(first, second, opened, closed)
        made = settle(self.case, (first.name, second.name), opened, closed, receipts)
        for peer in (first, second) if self.random.random() < 0.9 else (first,):
            peer.pending.append(Kept("settlement", made.json, made.first + made.second))

    def _held(self, peer: Peer, other: Peer, opened: datetime, closed: datetime) -> set[Receipt]:
        """What a member holds of a period with another one, on both sides."""
        as_owner = [one for one in peer.receipts.values() if Ask.from_json(one.ask).querier == other.name]
        as_querier = [one for digest, one in other.receipts.items() if digest in peer.known]
        return {one for one in (*as_owner, *as_querier) if opened <= Answer.from_json(one.answer).answered_at < closed}

    # -- the logs --------------------------------------------------------------------

    def _sequence(self) -> None:
        """A batch of what waits comes into each log; it is final if a quorum can be reached."""
        for peer in self.peers.values():
            if peer.down_until is not None or peer.halted_until is not None:
                continue
            most = self.random.choice((10, 40, 400))
            taken, peer.pending = peer.pending[:most], peer.pending[most:]
            if self._chance(0.3):
                self.random.shuffle(taken)
            for kept in taken:
                self.case.logs[peer.name].add(
                    kept.kind, kept.statement, self.case.now, signature=kept.signature, note=kept.note
                )
            if sum(self._reaches(peer.name, name) for name in self.case.names if name != peer.name) >= 3:
                self._cosign(peer.name)

    def _cosign(self, member: str) -> None:
        """Cosigned by witnesses whose clocks are a minute off at most; their times never go back."""
        log = self.case.logs[member]
        at = self.case.now + timedelta(seconds=self.random.uniform(-60, 60))
        at = max(at, log.checkpoints[-1][1])
        if log.checkpoints[-1][0] == len(log.rows):
            log.checkpoints[-1] = len(log.rows), at
        else:
            log.checkpoints.append((len(log.rows), at))
