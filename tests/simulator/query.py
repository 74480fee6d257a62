# ruff: noqa: ARG002, ARG005, ASYNC109 - simulators have the signatures of what they stand for
"""Owners that evaluate and sign for real, queriers that ask them, and a wire between them that does what a test says.

    clock = Clock()
    jd = SimulatedOwner("jd", clock)
    jd.list("telecom_fraud", ["phone:+8613800138000"])
    wire = Wire(jd)
    bank = SimulatedQuerier("icbc", clock, wire)
    verdict = await bank.checker.check(bank.question("phone:+8613800138000"))

Nothing sleeps: an owner that is slow waits for an event, and a store that fails does so on command.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from riskshare.encoding import cbor_decode
from riskshare.errors import AskRefused, PeerDown, PeerGarbage, PeerLate, PeerRefused, StoreError
from riskshare.keys import sealing_key
from riskshare.keyterm import KeyTerm
from riskshare.ledger import merkle
from riskshare.ledger.receipt import KeptReceipt, UnansweredAsk
from riskshare.ledger.sealed import SealedCheck, open_hour_key, open_record
from riskshare.membership import oprf
from riskshare.membership.identifier import Identifier, parse
from riskshare.membership.record import Record, label, record_key, seal
from riskshare.query.admission import Asker as AdmittedAsker
from riskshare.query.answer import Answerer
from riskshare.query.answer import Clock as AnswerClock
from riskshare.query.ask import Asker
from riskshare.query.awake import Awake
from riskshare.query.check import Checker
from riskshare.query.held import HeldEpoch, HeldList, HeldOwner
from riskshare.query.hours import HourKeys, SealedHourKey
from riskshare.query.message import PURPOSES, AnswerMessage, Ask, AskMessage, new_batch
from riskshare.query.quota import Limits, Quotas
from riskshare.query.tokens import TokenCache
from riskshare.query.verdict import Question
from riskshare.sharing.segment_build import write_base, write_delta
from riskshare.sharing.segment_read import NeedBucket, open_segment
from riskshare.sharing.view import ListView
from riskshare.signature import SigningKey
from riskshare.statement import sign

NETWORK: Final = "simnet"
START: Final = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
PLENTY: Final = Limits(1_000_000, 1_000_000_000)
SEALING: Final = sealing_key(b"seed of the sealing key, 32 byte")


class Clock:
    """Wall time and a monotonic clock; both stand still until a test moves them."""

    def __init__(self) -> None:
        self.wall = START
        self.seconds = 1000.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.seconds

    def wait(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.seconds += seconds


class Random:
    """Bytes that differ each time, and are the same in each run."""

    def __init__(self, seed: str) -> None:
        self._seed = seed.encode()
        self._count = 0

    def __call__(self, size: int) -> bytes:
        self._count += 1
        return hashlib.shake_256(self._seed + self._count.to_bytes(8, "big")).digest(size)


def identity(name: str, generation: int = 0) -> SigningKey:
    """The Ed25519 key of a member."""
    return SigningKey(hashlib.sha256(f"{name}/{generation}".encode()).digest())


class Registry:
    """What one member believes of the registry: `answer.Members` and, with `snapshots`, `ask.Owners`."""

    def __init__(self, *members: str) -> None:
        self.network = NETWORK
        self.number = 7
        self.has_expired = False
        self.members: dict[str, AdmittedAsker] = {}
        self.quotas: dict[str, Limits] = {}
        self.terms: dict[str, Sequence[KeyTerm]] = {}
        self.fetched: list[tuple[int, str]] = []
        self.to_be_had = 0
        self.held: Callable[[str], Mapping[str, bytes]] = lambda owner: {}
        for name in members:
            self.admit(name)

    def admit(self, name: str, *, keys: Sequence[bytes] | None = None, **changes: Any) -> None:
        asker = AdmittedAsker(
            name, good_standing=True, keys=keys or [identity(name).public], purposes=frozenset(PURPOSES)
        )
        self.members[name] = replace(asker, **changes)

    def version(self) -> int:
        return self.number

    def expired(self, now: datetime) -> bool:
        return self.has_expired

    async def fetch(self, version: int, first: str) -> None:
        self.fetched.append((version, first))
        self.number = max(self.number, self.to_be_had)

    def asker(self, member: str, now: datetime) -> AdmittedAsker | None:
        return self.members.get(member)

    def limits(self, member: str) -> Limits:
        return self.quotas.get(member, PLENTY)

    def keys(self, owner: str, at: datetime, received: datetime) -> Sequence[bytes]:
        if owner in self.terms:
            return [term.public for term in self.terms[owner] if term.may_sign(at, received)]
        found = self.members.get(owner)
        return found.keys if found else []

    def snapshots(self, owner: str) -> Mapping[str, bytes]:
        return self.held(owner)


class ReceiptKeeper:
    """The owner's store of receipts. `trouble` is what the next `keep` does, `away` makes everything fail."""

    def __init__(self) -> None:
        self.receipts: dict[tuple[str, UUID], KeptReceipt] = {}
        self.trouble: list[str] = []
        self.away = False
        self.finds = 0

    async def keep(self, kept: KeptReceipt) -> KeptReceipt:
        await asyncio.sleep(0)
        trouble = self.trouble.pop(0) if self.trouble else ""
        if trouble == "overloaded":
            raise StoreError("too much waits", code="overloaded")
        if trouble == "failed" or self.away:
            raise StoreError("not durable")
        stored = self.receipts.setdefault((kept.counterparty, kept.batch), kept)
        if trouble == "failed, but persisted":
            raise StoreError("not known to be durable")
        return stored

    async def find(self, counterparty: str, batch: UUID) -> KeptReceipt | None:
        self.finds += 1
        await asyncio.sleep(0)
        if self.away:
            raise StoreError("PostgreSQL is away")
        return self.receipts.get((counterparty, batch))


def record(**changes: Any) -> Record:
    """A record that is valid at `START`."""
    usual = Record(
        "telecom_fraud",
        "call_scam",
        "high",
        "police_report",
        START - timedelta(days=1),
        START + timedelta(days=30),
        "C-17",
    )
    return replace(usual, **changes)


class SimulatedOwner:
    """An owner with one epoch (more with `open_epoch`), its lists as real segments, and a real `Answerer`."""

    def __init__(self, name: str, clock: Clock, *queriers: str) -> None:
        self.name = name
        self.clock = clock
        self.random = Random(name)
        self.registry = Registry(*(queriers or ("icbc",)))
        self.receipts = ReceiptKeeper()
        self.quotas = Quotas()
        self.secrets: dict[bytes, oprf.SecretKey] = {}
        self.ungranted: set[str] = set()
        self.unallowed: set[tuple[str, str]] = set()
        self.views: dict[bytes, dict[str, HeldList]] = {}
        self.files: dict[bytes, bytes] = {}
        self.state: Any = "current"
        self.evaluated: list[int] = []
        self.before_evaluating: Callable[[int], Awaitable[None]] | None = None
        self.epoch = self.open_epoch()
        self.answerer = Answerer(
            owner=name,
            identity=identity(name),
            members=self.registry,
            keys=self,
            quotas=self.quotas,
            receipts=self.receipts,
            evaluate=self.evaluate,
            clock=AnswerClock(clock.now, clock.monotonic),
            random=self.random,
            lanes=1,
        )

    def open_epoch(self) -> bytes:
        secret = oprf.SecretKey.from_random(self.random(64))
        digest = hashlib.sha256(secret.public).digest()
        self.secrets[digest] = secret
        return digest

    def served(self, epoch: bytes, member: str, now: datetime) -> oprf.SecretKey | None:
        return None if member in self.ungranted else self.secrets.get(epoch)

    def allows(self, epoch: bytes, member: str, purpose: str, now: datetime) -> bool:
        return (member, purpose) not in self.unallowed

    async def evaluate(self, key: oprf.SecretKey, elements: bytes) -> bytes:
        count = len(elements) // 32
        if self.before_evaluating is not None:
            await self.before_evaluating(count)
        evaluated = oprf.evaluate_many(key, elements)
        self.evaluated.append(count)
        return evaluated

    def row(self, name: str, text: str, epoch: bytes, content: Record | bytes) -> tuple[bytes, bytes]:
        """Label and sealed record of an identifier on a list."""
        token = oprf.token(self.secrets[epoch], text.encode())
        wanted = label(token, name)
        data = content if isinstance(content, bytes) else content.to_bytes()
        return wanted, seal(data, record_key(token, name), self.random(12), name, wanted)

    def list(
        self,
        category: str,
        entries: Sequence[str] | Mapping[str, Record | bytes],
        *,
        local: str = "",
        epoch: bytes = b"",
        current: bool = True,
        on_demand: bool = False,
        delta: bool = False,
        spoil: Callable[[bytes, bytes], bytes] = lambda wanted, sealed: sealed,
    ) -> str:
        """Publish a list; return its full name. `spoil` alters each sealed record before the segment is built."""
        name = f"{self.name}/{local or category.replace('_', '-')}"
        epoch = epoch or self.epoch
        contents = entries if isinstance(entries, Mapping) else dict.fromkeys(entries, record(category=category))
        rows = sorted(self.row(name, text, epoch, content) for text, content in contents.items())
        rows = [(wanted, spoil(wanted, sealed)) for wanted, sealed in rows]
        out = io.BytesIO()
        if delta:
            ref = write_delta(out, name, epoch, dict(rows), {})
            view = ListView(None, [open_segment(out.getvalue(), ref, name, epoch)])  # type: ignore[list-item]
        else:
            ref = write_base(out, name, epoch, rows, seed=1, floor=2**12)
            view = ListView(open_segment(out.getvalue(), ref, name, epoch, on_demand=on_demand))  # type: ignore[arg-type]
        self.files[ref.file_digest] = out.getvalue()
        digest = hashlib.sha256(ref.header_digest).digest()
        self.views.setdefault(epoch, {})[name] = HeldList(name, category, 1, digest, current, view)
        return name

    def held(self, categories: frozenset[str]) -> HeldOwner:
        epochs = [
            HeldEpoch(digest, tuple(each for each in lists.values() if not categories or each.category in categories))
            for digest, lists in self.views.items()
        ]
        return HeldOwner(self.name, self.state, tuple(epoch for epoch in epochs if epoch.lists))

    def sign(self, kind: str, body: Mapping[str, Any], key: SigningKey | None = None) -> tuple[bytes, bytes]:
        """Any statement, signed by this owner or with another key."""
        signed = sign(kind, NETWORK, body, key or identity(self.name))
        return signed.json, signed.signature


class Wire:
    """The transport between queriers and owners. `conduct` maps an owner to what the wire does with its asks.

    A conduct takes (owner, body, answer), where `await answer()` gives what the owner answers to the body, and returns
    what arrives, or raises the transport's errors.
    """

    def __init__(self, *owners: SimulatedOwner, querier: str = "icbc") -> None:
        self.owners = {owner.name: owner for owner in owners}
        self.querier = querier
        self.conduct: dict[str, Callable[[str, bytes, Callable[[], Awaitable[bytes]]], Awaitable[bytes]]] = {}
        self.sent: list[tuple[str, bytes]] = []
        self.arrivals = asyncio.Condition()

    async def evaluate(self, owner: str, body: bytes, timeout: float) -> bytes:
        self.sent.append((owner, body))
        async with self.arrivals:
            self.arrivals.notify_all()

        async def answer() -> bytes:
            try:
                return (await self.owners[owner].answerer.answer(body, self.querier))[0]
            except AskRefused as refusal:
                raise PeerRefused(
                    owner,
                    "refused",
                    remote_code=refusal.code,
                    status=refusal.status,
                    retry_after=refusal.retry_after,
                ) from None

        conduct = self.conduct.get(owner)
        return await (answer() if conduct is None else conduct(owner, body, answer))

    async def until_sent(self, count: int) -> None:
        """Return when so many asks have been sent."""
        async with self.arrivals:
            await self.arrivals.wait_for(lambda: len(self.sent) >= count)

    def asks(self, owner: str = "") -> list[Ask]:
        """The asks that were sent, read."""
        return [Ask.from_json(AskMessage.from_bytes(body).ask) for to, body in self.sent if owner in ("", to)]


class Hold:
    """Conduct: asks wait until `release`."""

    def __init__(self) -> None:
        self.released = asyncio.Event()

    async def __call__(self, owner: str, body: bytes, answer: Callable[[], Awaitable[bytes]]) -> bytes:
        await self.released.wait()
        return await answer()

    def release(self) -> None:
        self.released.set()


async def down(owner: str, body: bytes, answer: Callable[[], Awaitable[bytes]]) -> bytes:
    """Conduct: no connection."""
    raise PeerDown(owner, "no connection")


async def late(owner: str, body: bytes, answer: Callable[[], Awaitable[bytes]]) -> bytes:
    """Conduct: the owner accounts for it, and its answer does not come within the transport's timeout."""
    await answer()
    raise PeerLate(owner, "no answer in time")


class Disconnect:
    """Conduct: the connection breaks so often, `after` the owner has answered or before; then all is well."""

    def __init__(self, times: int, *, after: bool = False) -> None:
        self.times = times
        self.after = after

    async def __call__(self, owner: str, body: bytes, answer: Callable[[], Awaitable[bytes]]) -> bytes:
        if not self.times:
            return await answer()
        self.times -= 1
        if self.after:
            await answer()
        raise PeerGarbage(owner, "the connection broke", code="peer_disconnected")


class Forge:
    """Conduct: what arrives is what `change` makes of the owner's answer."""

    def __init__(self, change: Callable[[AnswerMessage], AnswerMessage | bytes]) -> None:
        self.change = change

    async def __call__(self, owner: str, body: bytes, answer: Callable[[], Awaitable[bytes]]) -> bytes:
        changed = self.change(AnswerMessage.from_bytes(await answer()))
        return changed if isinstance(changed, bytes) else changed.to_bytes()


@dataclass
class CheckKeeper:
    """The querier's store. `away` makes everything fail; `refuses` is a batch that cannot be kept."""

    checks: dict[UUID, SealedCheck] = field(default_factory=dict)
    receipts: dict[UUID, KeptReceipt] = field(default_factory=dict)
    unanswered: dict[UUID, UnansweredAsk] = field(default_factory=dict)
    hour_keys: dict[UUID, SealedHourKey] = field(default_factory=dict)
    replies: list[Any] = field(default_factory=list)
    writes: Counter[UUID] = field(default_factory=Counter)
    away: bool = False
    refuses: UUID | None = None
    hold: asyncio.Event | None = None

    async def keep(
        self,
        check: SealedCheck,
        receipts: Sequence[KeptReceipt],
        unanswered: Sequence[UnansweredAsk],
        hour_key: SealedHourKey | None,
        reply: Any,
    ) -> None:
        if self.hold is not None:
            await self.hold.wait()
        await self.keep_receipts(receipts, unanswered)
        self.checks[check.id] = check
        if hour_key is not None:
            self.hour_keys[hour_key[0]] = hour_key
        if reply is not None:
            self.replies.append(reply)

    async def keep_receipts(self, receipts: Sequence[KeptReceipt], unanswered: Sequence[UnansweredAsk] = ()) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise StoreError("PostgreSQL is away")
        if self.refuses in {one.batch for one in (*receipts, *unanswered)}:
            raise StoreError("a row is refused", code="store_refused")
        for kept in receipts:
            self.writes[kept.batch] += 1
            self.receipts.setdefault(kept.batch, kept)
            self.unanswered.pop(kept.batch, None)
        for ask in unanswered:
            if ask.batch not in self.receipts:
                self.unanswered[ask.batch] = ask

    def opened(self, check: UUID, member: str = "icbc") -> dict[str, Any]:
        """The record of a check, opened with the member's sealing key as an auditor would."""
        kept = self.checks[check]
        number, hour, sealed = self.hour_keys[kept.hour_key]
        key = open_hour_key(sealed, SEALING, member=member, id=number, hour=hour)
        found: dict[str, Any] = cbor_decode(open_record(kept.record, key, member=member, check=check), limit=2**20)
        return found


class SimulatedQuerier:
    """A querier with a real `Asker` and `Checker`, holding all that the owners of a wire publish."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        wire: Wire,
        *,
        own: SimulatedOwner | None = None,
        cache_seconds: float = 0.0,
        **asker: Any,
    ) -> None:
        self.name = name
        self.clock = clock
        self.wire = wire
        self.own = own
        self.random = Random(f"querier {name}")
        self.store = CheckKeeper()
        self.registry = Registry(*wire.owners)
        self.registry.held = self.snapshots
        self.bucket_conduct: Callable[[bytes], Awaitable[bytes]] | None = None
        self.buckets: list[bytes] = []
        self.again: list[str] = []
        self.cache = TokenCache(100, cache_seconds)
        self.asker = Asker(
            querier=name,
            identity=identity(name),
            owners=self.registry,
            transport=wire,
            kept=self.store,
            now=clock.now,
            random=self.random,
            **asker,
        )
        self.checker = Checker(
            member=name,
            network=NETWORK,
            identity=identity(name),
            holdings=self,
            asking=self.asker,
            records=self.store,
            cache=self.cache,
            hours=HourKeys(name, SEALING.public_key(), self.random),
            awake=Awake(0.0, clock.monotonic),
            now=clock.now,
            monotonic=clock.monotonic,
            random=self.random,
        )

    def question(self, *texts: str, **changes: Any) -> Question:
        """A question whose deadline is far off, unless the test names one."""
        identifiers: tuple[Identifier, ...] = tuple(parse(text) for text in texts)
        return Question(**{"identifiers": identifiers, "purpose": "payment", "deadline": 60.0, **changes})

    def snapshots(self, owner: str) -> Mapping[str, bytes]:
        return {name: held.digest for lists in self.wire.owners[owner].views.values() for name, held in lists.items()}

    def concerning(self, categories: frozenset[str], now: datetime, purpose: str | None = None) -> Sequence[HeldOwner]:
        owners = [*self.wire.owners.values(), *([self.own] if self.own else [])]
        held = [owner.held(categories) for owner in owners]
        return held + [one for one in held if one.owner in self.again]

    def own_key(self, epoch: bytes) -> oprf.SecretKey | None:
        return None if self.own is None else self.own.secrets.get(epoch)

    async def bucket(self, owner: str, held: HeldList, need: NeedBucket, label: bytes) -> bytes | None:
        data = self.wire.owners[owner].files[need.file_digest][need.offset : need.offset + need.length]
        self.buckets.append(label)
        if self.bucket_conduct is not None:
            data = await self.bucket_conduct(data)
        return need.read(data, label)


def element(random: Callable[[int], bytes], text: str = "phone:+8613800138000") -> bytes:
    """A blinded element."""
    return oprf.blind(text.encode(), oprf.scalar_from_random(random(64)))


def make_ask(owner: SimulatedOwner, elements: bytes, *, querier: str = "icbc", **changes: Any) -> Ask:
    """An ask that the owner admits; `changes` sets any field."""
    usual = Ask(
        batch=new_batch(int(owner.clock.wall.timestamp() * 1000), owner.random(10)),
        network=NETWORK,
        registry=7,
        querier=querier,
        owner=owner.name,
        epoch=owner.epoch,
        purpose="payment",
        count=len(elements) // 32,
        elements=merkle.root_of(elements) if len(elements) % 32 == 0 else bytes(32),
        snapshots={},
        asked_at=owner.clock.wall,
    )
    return replace(usual, **changes)


def ask_body(
    ask: Ask, elements: bytes, *, key: SigningKey | None = None, kind: str = "ask", network: str = NETWORK
) -> bytes:
    """The ask as it travels, signed by its querier or with another key."""
    signed = sign(kind, network, ask.body(), key or identity(ask.querier))
    return AskMessage(signed.json, signed.signature, elements).to_bytes()
