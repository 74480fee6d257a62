"""Members' folders for an audit, signed for real: what honest members log, and what a test does to it before it is cosigned.

    case = CaseNetwork(("bank", "card", "jd", "telco"))
    case.begin()                                    # registry, epochs and snapshots on every ledger, cosigned
    case.step(minutes=30)
    receipt = case.exchange("bank", "jd", count=3)  # stands in both logs
    case.check("bank")
    case.step(minutes=30)
    case.checkpoint()                               # all logs, cosigned by all others
    case.write(folder, case.start + timedelta(minutes=10), case.now)

`case.logs["bank"].rows` are the rows in their order: a dishonest member drops, doubles or alters some before
`checkpoint`. Every statement that is signed has `sign_with` or a body that can be changed. `write` gives the case
folder of `riskshare audit`: `members/<name>/…` and `registry/<version>.json`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from riskshare.audit.page import RANGE_FILE, STANDING, AuditRange, StatementRow, make_page
from riskshare.encoding import format_time
from riskshare.ledger.bundle import grow_bundles
from riskshare.ledger.checkpoint import Checkpoint, SignedCheckpoint, origin_of, sign_checkpoint, witness_name
from riskshare.ledger.edge import Edge
from riskshare.ledger.leaf import Leaf
from riskshare.ledger.merkle import leaf_hash
from riskshare.ledger.note import cosign
from riskshare.ledger.policy import network_policy
from riskshare.ledger.receipt import Receipt
from riskshare.query.message import Answer, Ask, new_batch
from riskshare.registry import Registry
from riskshare.sharing.epoch import EpochStatement
from riskshare.sharing.segment_ref import SegmentRef
from riskshare.sharing.snapshot import SnapshotStatement
from riskshare.signature import SigningKey
from riskshare.statement import Statement, sign
from riskshare.store.log_folder import LogFolder
from tests.simulator.network import make_network, seed

START = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
MEMBERS = ("bank", "card", "jd", "telco")


@dataclass
class LoggedRow:
    """A row of a log, before it has an index. `at` is when it came into the log."""

    kind: str
    salt: bytes
    statement: bytes
    signature: bytes
    note: str
    at: datetime

    @property
    def entry(self) -> bytes:
        return Leaf(self.kind, self.salt, self.statement).entry

    def row(self, index: int) -> StatementRow:
        return StatementRow(index, self.kind, self.salt, self.statement, self.signature, self.note)


@dataclass
class CaseLog:
    """One member's log: `rows` in order, `checkpoints` as (size, when it was cosigned)."""

    member: str
    rows: list[LoggedRow] = field(default_factory=list)
    checkpoints: list[tuple[int, datetime]] = field(default_factory=list)

    def add(self, kind: str, statement: bytes, at: datetime, *, signature: bytes = b"", note: str = "") -> LoggedRow:
        salt = seed("salt", self.member, len(self.rows), kind)[:16]
        row = LoggedRow(kind, salt, statement, signature, note, at)
        self.rows.append(row)
        return row

    def of(self, kind: str) -> list[LoggedRow]:
        return [row for row in self.rows if row.kind == kind]


@dataclass
class CaseNetwork:
    """A network whose members' logs are at hand; `now` is everybody's clock."""

    names: Sequence[str] = MEMBERS
    start: datetime = START
    quiet: bool = False
    """Whether `begin` leaves out epochs and snapshots."""

    def __post_init__(self) -> None:
        self.network = make_network(self.names, now=self.start - timedelta(days=1))
        self.now = self.start
        self.logs = {name: CaseLog(name) for name in self.names}
        self.epochs: dict[tuple[str, str], EpochStatement] = {}
        self.snapshots: dict[str, Statement] = {}
        self._number = 0

    # -- time and keys ---------------------------------------------------------------

    def step(self, **by: float) -> datetime:
        """Let time pass: `seconds=`, `minutes=`, as timedelta takes it."""
        self.now += timedelta(**by)
        return self.now

    def key(self, member: str) -> SigningKey:
        return self.network.members[member].identity

    def random(self, *words: object) -> bytes:
        """32 bytes that are new in each call, and the same in each run."""
        self._number += 1
        return seed("case", self._number, *words)

    # -- statements ------------------------------------------------------------------

    def begin(self) -> None:
        """Registry, one epoch and one snapshot of `<member>/high-risk` on each ledger, and a first final checkpoint."""
        for name in self.names:
            for registry in self.network.history:
                self.register(name, registry)
            if not self.quiet:
                self.epoch(name)
                self.snapshot(f"{name}/high-risk")
        self.checkpoint()

    def register(self, member: str, registry: Registry | None = None) -> LoggedRow:
        """The member takes note of a registry version (the newest)."""
        registry = registry or self.network.registry
        return self.logs[member].add("registry", registry.file.json, self.now, signature=registry.to_file())

    def epoch(
        self, owner: str, keyset: str = "default", *, number: int = 1, public_key: bytes = b"", **changes: Any
    ) -> EpochStatement:
        """An epoch of 30 days from now; with `log=False` it is signed and used, and not logged."""
        log = changes.pop("log", True)
        values = {
            "not_before": self.now,
            "not_after": self.now + timedelta(days=30),
            "public_key": public_key or seed("oprf", owner, keyset, number),
            **changes,
        }
        made = EpochStatement(owner, keyset, number, **values)
        self.epochs[owner, keyset] = made
        if log:
            statement = sign("epoch", self.network.name, made.body(), self.key(owner))
            self.logs[owner].add("epoch", statement.json, self.now, signature=statement.signature)
        return made

    def snapshot(self, full_name: str, *, keyset: str = "default", log: bool = True, **changes: Any) -> Statement:
        """The next version of a list (of one segment that no file stands behind)."""
        owner = full_name.partition("/")[0]
        former = self.snapshots.get(full_name)
        values: dict[str, Any] = {
            "list_name": full_name,
            "category": "high_risk_account",
            "normalisation": 1,
            "epoch": self.epochs[owner, keyset].digest,
            "version": former.body["version"] + 1 if former else 1,
            "previous": former.digest if former else None,
            "issued_at": self.now,
            "expires_at": self.now + timedelta(hours=24),
            "segments": (SegmentRef(self.random("h"), 400, self.random("f"), 4000),),
            "count": 1,
            "canaries": (),
            "labels": self.random("labels"),
            **changes,
        }
        statement = sign("snapshot", self.network.name, SnapshotStatement(**values).body(), self.key(owner))
        self.snapshots[full_name] = statement
        if log:
            self.logs[owner].add("snapshot", statement.json, self.now, signature=statement.signature)
        return statement

    def ask(self, querier: str, owner: str, *, sign_with: SigningKey | None = None, **changes: Any) -> Statement:
        """A signed ask of now, which nobody has logged yet; `changes` are fields of `Ask`."""
        epoch = self.epochs.get((owner, "default"))
        values: dict[str, Any] = {
            "batch": new_batch(int(self.now.timestamp() * 1000), self.random("batch")[:10]),
            "network": self.network.name,
            "registry": self.network.registry.version,
            "querier": querier,
            "owner": owner,
            "epoch": epoch.digest if epoch else bytes(32),
            "purpose": "payment",
            "count": 3,
            "elements": self.random("elements"),
            "snapshots": {name: made.digest for name, made in self.snapshots.items() if name.startswith(f"{owner}/")},
            "asked_at": self.now,
            **changes,
        }
        return sign("ask", self.network.name, Ask(**values).body(), sign_with or self.key(querier))

    def answer(self, ask: Statement, *, sign_with: SigningKey | None = None, **changes: Any) -> Receipt:
        """The owner's answer, 20 ms after the ask; `changes` are fields of `Answer`."""
        asked_at = datetime.fromisoformat(ask.body["asked_at"])
        values: dict[str, Any] = {
            "ask": ask.digest,
            "elements": self.random("evaluated"),
            "answered_at": asked_at + timedelta(milliseconds=20),
            **changes,
        }
        made = sign("answer", self.network.name, Answer(**values).body(), sign_with or self.key(ask.body["owner"]))
        return Receipt(ask.json, ask.signature, made.json, made.signature)

    def log_receipt(self, receipt: Receipt, member: str, note: str, *, at: datetime | None = None) -> LoggedRow:
        return self.logs[member].add("receipt", receipt.to_bytes(), at or self.now, note=note)

    def exchange(
        self, querier: str, owner: str, *, logged: Iterable[str] = ("owner", "querier"), note: str = "", **changes: Any
    ) -> Receipt:
        """An exchange of now, in the logs of the sides named; `changes` are fields of the ask, `answered_at` of the answer.

        `note` is the querier's, instead of `querier`.
        """
        answer = {name: changes.pop(name) for name in ("answered_at",) if name in changes}
        receipt = self.answer(self.ask(querier, owner, **changes), **answer)
        for side in logged:
            member = owner if side == "owner" else querier
            self.log_receipt(receipt, member, side if side == "owner" else note or side)
        return receipt

    def unanswered(self, querier: str, owner: str, **changes: Any) -> Statement:
        """An ask that got no answer."""
        ask = self.ask(querier, owner, **changes)
        self.logs[querier].add("unanswered", ask.json, self.now, signature=ask.signature)
        return ask

    def check(self, querier: str, *, record: bytes = b"", check: UUID | None = None, **changes: Any) -> Statement:
        """A check statement; `record` is the digest of the sealed record's plaintext."""
        body = {
            "answered_at": format_time(self.now),
            "check": str(check or new_batch(int(self.now.timestamp() * 1000), self.random("check")[:10])),
            "querier": querier,
            "record": (record or self.random("record")).hex(),
            **changes,
        }
        statement = sign("check", self.network.name, body, self.key(querier))
        self.logs[querier].add("check", statement.json, self.now, signature=statement.signature)
        return statement

    # -- checkpoints and files -------------------------------------------------------

    def checkpoint(self, *members: str) -> None:
        """What the logs (all, or those named) have now becomes final now."""
        for name in members or self.names:
            log = self.logs[name]
            if not log.checkpoints or log.checkpoints[-1][0] != len(log.rows):
                log.checkpoints.append((len(log.rows), self.now))
            else:
                log.checkpoints[-1] = (len(log.rows), self.now)

    def signed(
        self, member: str, size: int, at: datetime, *, cosigners: Sequence[str] | None = None
    ) -> SignedCheckpoint:
        """The checkpoint of a log's first `size` rows, cosigned at `at` (by all others)."""
        edge = Edge().append([leaf_hash(row.entry) for row in self.logs[member].rows[:size]]).edge
        checkpoint = Checkpoint(origin_of(self.network.name, member), size, edge.root())
        note = sign_checkpoint(checkpoint, self.network.members[member].ledger)
        others = [name for name in self.names if name != member] if cosigners is None else cosigners
        made = [
            cosign(
                note.text,
                witness_name(self.network.name, name),
                self.network.members[name].witness,
                int(at.timestamp()),
            )
            for name in others
        ]
        return SignedCheckpoint(checkpoint, note.with_signatures(made))

    def write(self, out: Path, opened: datetime, closed: datetime, *members: str) -> Path:
        """The case folder of a period: all members' folders, or those named, and the registry."""
        for name in members or self.names:
            self.write_member(out / "members" / name, name, opened, closed)
        self.write_registry(out / "registry")
        return out

    def write_registry(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for registry in self.network.history:
            (folder / f"{registry.version}.json").write_bytes(registry.to_file())
        return folder

    def write_member(self, folder: Path, member: str, opened: datetime, closed: datetime) -> None:
        """A member's folder, as it shows its log for a period."""
        log = self.logs[member]
        before = [made for made in log.checkpoints if made[1] <= opened - timedelta(minutes=5)]
        start, started = before[-1] if before else (0, None)
        after = [made for made in log.checkpoints if made[1] >= closed + timedelta(minutes=10)]
        size, ended = after[0] if after else log.checkpoints[-1]
        signed = self.signed(member, size, ended)
        self.write_log(folder, member, size, signed)
        first = self.signed(member, start, started).note.to_bytes() if start else b""
        shown = AuditRange(opened, closed, start, first, signed.note.to_bytes())
        files = LogFolder(folder)
        files.write(RANGE_FILE, shown.to_bytes())
        self.write_pages(folder, log.rows[:size], start)

    def write_log(self, folder: Path, member: str, size: int, signed: SignedCheckpoint) -> None:
        files = LogFolder(folder)
        entries = [row.entry for row in self.logs[member].rows[:size]]
        for bundle, data in grow_bundles(0, b"", entries):
            files.write(bundle.path, data)
        for tile, data in Edge().append([leaf_hash(entry) for entry in entries]).tiles:
            files.write(tile.path, data)
        files.write("policy", network_policy(self.network.registry, member, self.now).to_bytes())
        files.write("checkpoint", signed.note.to_bytes())

    @staticmethod
    def write_pages(folder: Path, rows: Sequence[LoggedRow], start: int, *, most: int | None = None) -> None:
        """The pages of a log: from `start` on every row, before it those of standing kinds; `most` rows on each."""
        shown = [row.row(index) for index, row in enumerate(rows) if index >= start or row.kind in STANDING]
        first = 0
        while first < len(rows):
            waiting = [row for row in shown if row.index >= first]
            taken = waiting if most is None else waiting[:most]
            following = waiting[most].index if most is not None and len(waiting) > most else len(rows)
            page = make_page(first, following, taken)
            LogFolder(folder).write(page.path, page.to_bytes())
            first = page.next
