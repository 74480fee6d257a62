"""Members' folders with receipts that are signed for real, for measuring an audit: two members, one asks the other.

Receipts are signed on all cores, and written page by page: a million of them takes no more memory than a few.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from riskshare.audit.page import RANGE_FILE, AuditRange, StatementRow, make_page
from riskshare.certificate import new_certificate, pem_to_der
from riskshare.cores import Processes
from riskshare.ledger.bundle import grow_bundles
from riskshare.ledger.checkpoint import Checkpoint, origin_of, sign_checkpoint, witness_name
from riskshare.ledger.edge import Edge
from riskshare.ledger.merkle import leaf_hash
from riskshare.ledger.note import cosign
from riskshare.ledger.receipt import Receipt
from riskshare.ledger.tile import WIDTH, Tile
from riskshare.query.message import Answer, Ask, new_batch
from riskshare.registry import (
    Governors,
    Registry,
    admit_members,
    first_body,
    next_body,
    read_request,
    sign_registry,
    sign_request,
    verify_next,
)
from riskshare.sharing.epoch import OPEN, EpochStatement
from riskshare.signature import SigningKey
from riskshare.statement import sign
from riskshare.store.log_folder import LogFolder

NETWORK: Final = "bench"
QUERIER: Final = "bank"
OWNER: Final = "jd"
OPENED: Final = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
EVERY: Final = timedelta(milliseconds=20)
"""An exchange begins so long after the one before."""

_PART: Final = 2_000
"""Receipts that a process signs at once."""

_FLUSH: Final = 32 * WIDTH
"""Rows that a log is grown by."""


def key_of(member: str, use: str) -> SigningKey:
    """The key of a member, the same in every process."""
    return SigningKey(hashlib.sha256(f"bench/{member}/{use}".encode()).digest())


@dataclass(frozen=True, slots=True)
class Casebook:
    """A case folder that was made: its registry, its period, and how many exchanges there are."""

    out: Path
    registry: Registry
    closed: datetime
    exchanges: int


def make_casebook(out: Path, exchanges: int) -> Casebook:
    """Make the folders of both members, with so many exchanges. Raises DiskError."""
    versions = _registries()
    closed = OPENED + exchanges * EVERY + timedelta(minutes=1)
    epoch = EpochStatement(OWNER, OPEN, 1, bytes([7]) * 32, OPENED - timedelta(hours=1), OPENED + timedelta(days=30))
    logs = {member: _Log(LogFolder(out / "members" / member), member) for member in (QUERIER, OWNER)}
    for log in logs.values():
        for registry in versions:
            log.add("registry", registry.file.json, registry.to_file())
    signed = sign("epoch", NETWORK, epoch.body(), key_of(OWNER, "identity"))
    logs[OWNER].add("epoch", signed.json, signed.signature)
    jobs = [(epoch.digest, first, min(_PART, exchanges - first)) for first in range(0, exchanges, _PART)]
    with Processes() as processes:
        for receipts in processes.map(make_receipts, jobs):
            for receipt in receipts:
                logs[OWNER].add("receipt", receipt, note="owner")
                logs[QUERIER].add("receipt", receipt, note="querier")
    for log in logs.values():
        log.close(OPENED, closed)
    folder = LogFolder(out / "registry")
    for registry in versions:
        folder.write(f"{registry.version}.json", registry.to_file())
    return Casebook(out, versions[-1], closed, exchanges)


def make_receipts(job: tuple[bytes, int, int]) -> list[bytes]:
    """In a worker: so many receipts under an epoch, from a number on."""
    epoch, first, count = job
    keys = key_of(QUERIER, "identity"), key_of(OWNER, "identity")
    return [_receipt(epoch, number, *keys) for number in range(first, first + count)]


def _receipt(epoch: bytes, number: int, querier: SigningKey, owner: SigningKey) -> bytes:
    asked_at = OPENED + number * EVERY
    random = hashlib.sha256(b"bench %d" % number).digest()
    batch = new_batch(int(asked_at.timestamp() * 1000), random[:10])
    named = {f"{OWNER}/{name}": hashlib.sha256(name.encode()).digest() for name in ("high-risk", "telecom-fraud")}
    ask = Ask(batch, NETWORK, 2, QUERIER, OWNER, epoch, "payment", 1, random, named, asked_at)
    asked = sign("ask", NETWORK, ask.body(), querier)
    answer = Answer(asked.digest, random, asked_at + timedelta(milliseconds=5))
    answered = sign("answer", NETWORK, answer.body(), owner)
    return Receipt(asked.json, asked.signature, answered.json, answered.signature).to_bytes()


def _registries() -> list[Registry]:
    """Version 1 without members, version 2 with both."""
    now = OPENED - timedelta(days=1)
    governor = key_of("governor", "governor")
    first = Registry.from_file(
        sign_registry(first_body(NETWORK, Governors(1, (governor.public,)), now=now), [governor])
    )
    requests = []
    for place, member in enumerate((QUERIER, OWNER)):
        _, certificate = new_certificate(member, "127.0.0.1", now=now)
        made = sign_request(
            NETWORK,
            member,
            url=f"https://127.0.0.1:{20_000 + place}",
            identity=key_of(member, "identity"),
            ledger=key_of(member, "ledger"),
            witness=key_of(member, "witness"),
            certificate=pem_to_der(certificate),
            now=now,
        )
        requests.append(read_request(made))
    body = next_body(first, now=now, members=admit_members(first, requests, now=now).values())
    return [first, verify_next(first, sign_registry(body, [governor]))]


@dataclass(slots=True)
class _Log:
    """A member's log, written as it grows."""

    folder: LogFolder
    member: str
    rows: list[StatementRow] = field(default_factory=list)
    edge: Edge = field(default_factory=Edge)
    paged: int = 0
    size: int = 0

    def add(self, kind: str, statement: bytes, signature: bytes = b"", note: str = "") -> None:
        salt = hashlib.sha256(f"{self.member} {self.size}".encode()).digest()[:16]
        self.rows.append(StatementRow(self.size, kind, salt, statement, signature, note))
        self.size += 1
        if self.size % _FLUSH == 0:
            self._flush()

    def _flush(self) -> None:
        entries = [row.entry for row in self.rows]
        for bundle, data in grow_bundles(self.edge.size, b"", entries):  # each flush but the last fills its bundles
            self.folder.write(bundle.path, data)
        growth = self.edge.append([leaf_hash(entry) for entry in entries])
        for tile, data in growth.tiles:
            if tile.is_full:
                self.folder.write(tile.path, data)
        self.edge = growth.edge
        for rows in _pages(self.rows):
            page = make_page(self.paged, rows[-1].index + 1, rows)
            self.folder.write(page.path, page.to_bytes())
            self.paged = page.next
        self.rows = []

    def close(self, opened: datetime, closed: datetime) -> None:
        """Write what is left, the checkpoint, and what it shows."""
        if self.rows:
            self._flush()
        for level, data in enumerate(self.edge.partial):
            if data:
                index = self.edge.size >> 8 * (level + 1)
                width = len(data) // 32
                self.folder.write(_partial(level, index, width), data)
        checkpoint = Checkpoint(origin_of(NETWORK, self.member), self.edge.size, self.edge.root())
        note = sign_checkpoint(checkpoint, key_of(self.member, "ledger"))
        other = OWNER if self.member == QUERIER else QUERIER
        at = int((closed + timedelta(minutes=15)).timestamp())
        made = cosign(note.text, witness_name(NETWORK, other), key_of(other, "witness"), at)
        data = note.with_signatures([made]).to_bytes()
        self.folder.write("checkpoint", data)
        self.folder.write(RANGE_FILE, AuditRange(opened, closed, 0, b"", data).to_bytes())


def _partial(level: int, index: int, width: int) -> str:
    return Tile(level, index, width).path


def _pages(rows: Sequence[StatementRow]) -> Iterator[Sequence[StatementRow]]:
    return (rows[first : first + 2_048] for first in range(0, len(rows), 2_048))
