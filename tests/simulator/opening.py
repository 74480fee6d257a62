"""Checks between owners and a querier that sign and evaluate for real, and an auditor who may open them.

    room = Room("phone:+8613800138000")        # listed by jd and by unionpay
    verdict = await room.check("phone:+8613800138001")
    shown = await room.shown(verdict.check)
    found = await room.recompute(verdict.check)

A test that wants a dishonest member gives `rewrite` the fields of a record to change, or alters what is shown.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from riskshare.audit.basis import Basis, Fault, Stated, read_basis
from riskshare.audit.open import Opener
from riskshare.audit.opened import ShownCheck, ShownProof, read_opened, read_proofs
from riskshare.audit.outcome import Opened
from riskshare.audit.prove import Prover
from riskshare.audit.recompute import Recomputed, Source, recompute
from riskshare.audit.sources import Sources
from riskshare.audit.unseal import Unsealer
from riskshare.encoding import cbor_decode, cbor_encode, parse_canonical_json, sha256
from riskshare.errors import PeerDown, PeerGarbage, PeerRefused, ProofError
from riskshare.ledger.merkle import pieces
from riskshare.ledger.receipt import KeptReceipt, Side
from riskshare.ledger.sealed import SealedCheck, open_hour_key, seal_record
from riskshare.membership import oprf
from riskshare.query.verdict import Verdict
from riskshare.sharing.segment_ref import SegmentRef
from riskshare.sharing.snapshot import SnapshotStatement
from riskshare.sharing.view import summary
from riskshare.statement import Statement, sign
from riskshare.store.files import SegmentFiles
from riskshare.store.open_folder import OpenFolder
from tests.simulator.query import (
    NETWORK,
    SEALING,
    START,
    CheckKeeper,
    Clock,
    SimulatedOwner,
    SimulatedQuerier,
    Wire,
    identity,
)

BANK = "icbc"
LISTED = "phone:+8613800138000"
UNLISTED = "phone:+8613800138001"


class Kept:
    """`unseal.Records` over what a simulated querier keeps."""

    def __init__(self, store: CheckKeeper) -> None:
        self.store = store

    async def check(self, check: UUID) -> SealedCheck | None:
        return self.store.checks.get(check)

    async def hour_key(self, key: UUID) -> Any:
        return self.store.hour_keys.get(key)

    async def receipt_of_batch(self, side: Side, counterparty: str, batch: UUID) -> KeptReceipt | None:
        kept = self.store.receipts.get(batch)
        return kept if kept is not None and (kept.side, kept.counterparty) == (side, counterparty) else None

    async def known_batches(self, owner: str, batches: Sequence[UUID]) -> set[UUID]:
        kept = [*self.store.unanswered.values(), *self.store.receipts.values()]
        owners = {one.batch: getattr(one, "owner", getattr(one, "counterparty", "")) for one in kept}
        return {batch for batch in batches if owners.get(batch) == owner}


class Owned:
    """`prove.Receipts` and `prove.Keys` over a simulated owner."""

    def __init__(self, owner: SimulatedOwner) -> None:
        self.owner = owner
        self.destroyed: set[bytes] = set()

    async def receipt(self, digest: bytes) -> KeptReceipt | None:
        return next((kept for kept in self.owner.receipts.receipts.values() if kept.receipt.id == digest), None)

    async def epoch_key(self, epoch: bytes) -> oprf.SecretKey | None:
        return None if epoch in self.destroyed else self.owner.secrets.get(epoch)


async def here_and_now(work: Callable[[], bytes]) -> bytes:
    """`prove.Run`."""
    return work()


class Room:
    """One querier, two owners with a list each, and what an auditor needs to open the querier's checks."""

    def __init__(self, *listed: str, cache_seconds: float = 0.0, **own: Any) -> None:
        self.clock = Clock()
        self.owners = {name: SimulatedOwner(name, self.clock) for name in ("jd", "unionpay")}
        self.wire = Wire(*self.owners.values())
        self.bank = SimulatedQuerier(BANK, self.clock, self.wire, cache_seconds=cache_seconds, **own)
        self.snapshots: dict[str, SnapshotStatement] = {}
        self.wires: dict[bytes, bytes] = {}
        self.committed: dict[tuple[str, bytes], bytes] = {}
        self.publish("jd", "telecom_fraud", listed or (LISTED,))
        self.publish("unionpay", "transaction_fraud", listed or (LISTED,))

    # -- lists -----------------------------------------------------------------------

    def publish(self, owner: str, category: str, entries: Any, **changes: Any) -> str:
        """Publish a list with a true snapshot statement, signed."""
        simulated = self.owners[owner]
        name = simulated.list(category, entries, **changes)
        epoch = changes.get("epoch") or simulated.epoch
        held = simulated.views[epoch][name]
        segments = [segment for segment in (held.view.base, *held.view.deltas) if segment is not None]
        found = summary(held.view)
        snapshot = SnapshotStatement(
            list_name=name,
            category=category,
            normalisation=1,
            epoch=epoch,
            version=held.version,
            previous=None,
            issued_at=self.clock.now() - timedelta(minutes=5),
            expires_at=self.clock.now() + timedelta(hours=24),
            segments=tuple(segment.ref for segment in segments),
            count=found.count,
            canaries=(),
            labels=found.labels,
        )
        self.snapshots[name] = snapshot
        self.committed[owner, epoch] = self.public(owner, epoch)
        self.wires[snapshot.digest] = sign("snapshot", NETWORK, snapshot.body(), identity(owner)).wire()
        simulated.views[epoch][name] = replace(held, digest=snapshot.digest)
        return name

    def segment(self, ref: SegmentRef) -> bytes:
        return next(owner.files[ref.file_digest] for owner in self.owners.values() if ref.file_digest in owner.files)

    # -- checks ----------------------------------------------------------------------

    async def check(self, *texts: str, **changes: Any) -> Verdict:
        """A check as a payment system asks it."""
        return await self.bank.checker.check(self.bank.question(*texts, **changes))

    def statement(self, check: UUID) -> Statement:
        kept = self.bank.store.checks[check]
        return Statement(
            "check", NETWORK, kept.statement, kept.signature, parse_canonical_json(kept.statement, limit=4096)
        )

    def stated(self, check: UUID) -> Stated:
        """The check as its statement in the log has it."""
        body = self.statement(check).body
        return Stated(check, self.bank.store.checks[check].answered_at, bytes.fromhex(str(body["record"])))

    def rewrite(self, check: UUID, change: Callable[[Any], object], *, commit: bool) -> None:
        """A dishonest member seals another record; with `commit` its statement is of that one from the beginning."""
        kept = self.bank.store.checks[check]
        number, hour, closed = self.bank.store.hour_keys[kept.hour_key]
        key = open_hour_key(closed, SEALING, member=BANK, id=number, hour=hour)
        parts = cbor_decode(cbor_encode(self.bank.store.opened(check)), limit=2**20)
        change(parts)
        plaintext = cbor_encode(parts)
        sealed = seal_record(plaintext, key, bytes(12), member=BANK, check=check)
        statement = kept.statement
        if commit:
            body = {**self.statement(check).body, "record": sha256(plaintext).hex()}
            statement = sign("check", NETWORK, body, identity(BANK)).json
        self.bank.store.checks[check] = replace(kept, record=sealed, statement=statement)

    # -- the audit -------------------------------------------------------------------

    def unsealer(self) -> Unsealer:
        return Unsealer(BANK, SEALING, Kept(self.bank.store))

    def prover(self, owner: str, owned: Owned | None = None) -> Prover:
        simulated = self.owners[owner]
        return Prover(owned or Owned(simulated), owned or Owned(simulated), here_and_now, simulated.random)

    async def shown(self, check: UUID) -> ShownCheck:
        """The check as the member shows it."""
        return (await self.unsealer().page([check], 0)).checks[0]

    async def shown_anyway(self, check: UUID) -> ShownCheck:
        """The check as a member shows it that has moved it to another id."""
        shown = await self.shown(check)
        assert shown.state == "opened"
        return shown

    async def proof(self, owner: str, receipt: bytes) -> ShownProof:
        return (await self.prover(owner).page([receipt], 0)).proofs[0]

    async def basis(self, check: UUID, shown: ShownCheck | None = None) -> Basis | Fault:
        return read_basis(BANK, self.stated(check), shown or await self.shown(check))

    def sources(self) -> Mapping[str, Source]:
        """All lists at their snapshots."""
        return {
            name: Source(snapshot, self.owners[name.partition("/")[0]].views[snapshot.epoch][name].view)
            for name, snapshot in self.snapshots.items()
        }

    async def recompute(self, check: UUID, shown: ShownCheck | None = None, **changes: Any) -> Recomputed:
        """The whole way of one check, with the owners' proofs verified under the keys that they committed to."""
        basis = await self.basis(check, shown)
        assert isinstance(basis, Basis), basis
        proven = set()
        for exchange in basis.rests_on:
            one = await self.proof(exchange.ask.owner, exchange.id)
            public = self.committed[exchange.ask.owner, exchange.ask.epoch]
            try:
                oprf.verify_proof(public, pieces(one.elements), pieces(one.evaluated), one.proof)
            except ProofError:
                continue
            proven.add(exchange.id)
        given = {"elements": basis.elements, "proven": proven, "sources": self.sources(), **changes}
        return recompute(basis, **given)

    def public(self, owner: str, epoch: bytes) -> bytes:
        return self.owners[owner].secrets[epoch].public


class Facts:
    """`open.Case`: what replay would have found of honest logs. `unlogged` are receipts that a member left out."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.unlogged: set[tuple[str, bytes]] = set()
        self.replayed = True
        self.owners_of: dict[int, frozenset[str]] = {}

    def stands(self, member: str, receipt: bytes) -> bool:
        return (member, receipt) not in self.unlogged

    def shows(self, member: str, at: datetime) -> bool:
        return self.replayed and bool(member) and at >= START

    def epoch_key(self, owner: str, epoch: bytes) -> bytes | None:
        return self.room.committed.get((owner, epoch))

    def owners(self, registry: int) -> frozenset[str]:
        return self.owners_of.get(registry, frozenset({"jd", "unionpay"}))


class Visits:
    """`open.Peers` and `sources.Owners`: real members that show and prove, and do harm on command.

    `down` are members that cannot be reached, `alter` takes what is shown, proved or sent and gives what arrives.
    """

    def __init__(self, room: Room) -> None:
        self.room = room
        self.down: set[str] = set()
        self.asked: list[tuple[str, int]] = []
        self.owned = {name: Owned(owner) for name, owner in room.owners.items()}
        self.alter_check: Callable[[ShownCheck], ShownCheck] = lambda shown: shown
        self.alter_proof: Callable[[ShownProof], ShownProof] = lambda shown: shown
        self.alter_segment: Callable[[bytes], bytes] = lambda data: data
        self.alter_snapshot: Callable[[bytes], bytes] = lambda wire: wire

    def _reach(self, member: str, count: int) -> None:
        self.asked.append((member, count))
        if member in self.down:
            raise PeerDown(member, f"{member} cannot be reached.")

    async def opened(self, member: str, checks: Sequence[UUID]) -> AsyncIterator[ShownCheck]:
        if not checks:
            return
        self._reach(member, len(checks))
        unsealer, first = self.room.unsealer(), 0
        while first < len(checks):
            page = read_opened((await unsealer.page(checks, first)).to_bytes())
            for shown in page.checks:
                yield self.alter_check(shown)
            first = page.next

    async def proofs(self, owner: str, receipts: Sequence[bytes]) -> AsyncIterator[ShownProof]:
        if not receipts:
            return
        self._reach(owner, len(receipts))
        prover, first = self.room.prover(owner, self.owned[owner]), 0
        while first < len(receipts):
            page = read_proofs((await prover.page(receipts, first)).to_bytes())
            for shown in page.proofs:
                yield self.alter_proof(shown)
            first = page.next

    async def snapshot_version(self, owner: str, list_name: str, epoch: bytes, version: int) -> bytes:
        self._reach(owner, version)
        snapshot = self.room.snapshots[list_name]
        if snapshot.epoch != epoch:
            raise PeerRefused(owner, "Not here.", remote_code="not_found", status=404)
        return self.alter_snapshot(self.room.wires[snapshot.digest])

    async def segment(self, owner: str, digest: bytes, out: BinaryIO, *, length: int) -> None:
        self._reach(owner, length)
        data = self.alter_segment(self.room.owners[owner].files[digest])
        if len(data) != length:
            raise PeerGarbage(owner, "The segment has another length than the snapshot says.")
        out.write(data)


class Audit:
    """An auditor with a folder of its own. `visits` None: it verifies what the folder has, and asks nobody."""

    def __init__(self, room: Room, folder: Path, *, offline: bool = False) -> None:
        self.room = room
        self.facts = Facts(room)
        self.visits = Visits(room)
        self.shelf = OpenFolder(folder)
        self.peers = None if offline else self.visits
        self.files = SegmentFiles(folder / "segments")

    async def open(self, *checks: UUID) -> Opened:
        lists = Sources(
            network=NETWORK,
            keys=lambda owner: [identity(owner).public],
            shelf=self.shelf,
            files=self.files,
            owners=self.peers,
            now=self.room.clock.now,
        )
        opener = Opener(BANK, case=self.facts, shelf=self.shelf, lists=lists, peers=self.peers)
        return await opener.open([self.room.stated(check) for check in checks], lambda *_: None)
