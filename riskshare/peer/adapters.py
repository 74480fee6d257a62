"""What fits the store and the client to what the verbs ask of them: names and shapes, no rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, final

from riskshare.client import NOT_MODIFIED, PeerClient
from riskshare.errors import RiskshareError
from riskshare.ledger.histories import KIND as TWO_HISTORIES
from riskshare.ledger.histories import TwoHistories
from riskshare.ledger.receipt import KeptReceipt
from riskshare.logs import get_log
from riskshare.metrics import Metrics
from riskshare.peer.directory import Directory
from riskshare.registry import Registry
from riskshare.sharing.held_page import SPAN
from riskshare.sharing.kept import FraudProofRow, HeldRow, TrustedRow
from riskshare.sharing.published import Published
from riskshare.sharing.segment_ref import SegmentRef
from riskshare.store.records import Records
from riskshare.store.trust import Trust


@final
class MirrorSource:
    """`mirror.Source` and `holdings.Buckets` over the client."""

    def __init__(self, client: PeerClient) -> None:
        self._client = client

    async def catalogue(self, owner: str) -> bytes:
        """The owner's catalogue."""
        return await self._client.catalogue(owner)

    async def epoch(self, owner: str, digest: bytes) -> bytes:
        """An epoch statement."""
        return await self._client.epoch(owner, digest)

    async def snapshot(
        self, owner: str, list_name: str, epoch: bytes, known: bytes | None, wait: float
    ) -> bytes | None:
        """The newest snapshot, unless it is the known one."""
        found = await self._client.snapshot(owner, list_name, epoch, known, wait=round(wait) if known else 0)
        return None if found is NOT_MODIFIED else found[1]

    async def snapshot_version(self, owner: str, list_name: str, epoch: bytes, version: int) -> bytes:
        """One version."""
        return await self._client.snapshot_version(owner, list_name, epoch, version)

    async def snapshot_named(self, owner: str, list_name: str, digest: bytes) -> bytes:
        """One by its digest."""
        return await self._client.snapshot_named(owner, list_name, digest)

    async def segment(self, owner: str, ref: SegmentRef, out: BinaryIO, *, offset: int, length: int) -> None:
        """A part of a segment file, or all of it."""
        if offset == 0 and length == ref.file_length:
            await self._client.segment(owner, ref.file_digest, out, length=length)
            return
        data = await self._client.segment_range(
            owner, ref.file_digest, offset=offset, length=length, total=ref.file_length, timeout=60.0
        )
        out.write(data)

    async def bucket(self, owner: str, digest: bytes, offset: int, length: int, total: int) -> bytes:
        """A bucket of a base."""
        return await self._client.segment_range(owner, digest, offset=offset, length=length, total=total)


@final
class TrustState:
    """`mirror.State` over the store."""

    def __init__(self, trust: Trust, now: Callable[[], datetime]) -> None:
        self._trust = trust
        self._now = now
        self._rows: dict[tuple[str, str], TrustedRow] = {}

    async def trusted(self) -> Sequence[TrustedRow]:
        """All rows, as they stand now."""
        rows = await self._trust.all_trusted()
        self._rows = {(row.owner, row.list_name): row for row in rows}
        return rows

    async def save_trusted(self, row: TrustedRow) -> bool:
        """Swap a row for a newer one, if nobody else did."""
        place = (row.owner, row.list_name)
        former = self._rows.get(place)
        if row.revision != (former.revision if former else 0) + 1:
            return False
        saved = await self._trust.save_trusted(row.owner, row.list_name, row.state, former, self._now())
        if saved is None:
            return False
        self._rows[place] = saved
        return True

    async def keep_held(self, rows: Sequence[HeldRow]) -> Sequence[HeldRow]:
        """Keep snapshots for members to compare."""
        return await self._trust.keep_held(rows, SPAN)

    async def differing_held(self, theirs: Mapping[bytes, bytes]) -> Sequence[HeldRow]:
        """Those that are kept and say something else."""
        return await self._trust.differing_held(theirs)

    async def add_fraud_proof(self, row: FraudProofRow) -> bool:
        """Keep evidence."""
        return await self._trust.keep_fraud_proof(row)


@final
class PeerPublications:
    """`server.peers.Publications` over what is published."""

    def __init__(self, published: Published) -> None:
        self._published = published

    async def catalogue(self, reader: str) -> bytes | None:
        """The catalogue for a reader."""
        return await self._published.catalogue(reader)

    async def epoch(self, digest: bytes, reader: str) -> bytes | None:
        """An epoch statement."""
        found = self._published.epoch(digest, reader)
        if found is None:
            await self._published.catch_up_epoch(digest)
            found = self._published.epoch(digest, reader)
        return found

    async def snapshot(
        self, list_name: str, epoch: bytes, reader: str, held: bytes = b""
    ) -> tuple[bytes, bytes] | None:
        """The newest snapshot. A reader that holds another one may have had it from another process."""
        found = self._published.snapshot(list_name, epoch, reader)
        if found is None or held not in {b"", found[0]}:
            await self._published.catch_up_list(list_name, epoch, reader)
            found = self._published.snapshot(list_name, epoch, reader)
        return found

    async def wait(self, list_name: str, epoch: bytes, digest: bytes, seconds: float, reader: str) -> None:
        """Wait for a newer one."""
        await self._published.wait(list_name, epoch, digest, seconds, reader)

    async def snapshot_version(self, list_name: str, epoch: bytes, version: int, reader: str) -> bytes | None:
        """One version."""
        return await self._published.snapshot_version(list_name, epoch, version, reader)

    async def snapshot_named(self, list_name: str, digest: bytes, reader: str) -> bytes | None:
        """One by its digest."""
        return await self._published.snapshot_named(list_name, digest, reader)

    async def segment(self, digest: bytes, reader: str) -> Path | None:
        """A segment file."""
        found = self._published.segment(digest, reader)
        if found is None:
            await self._published.catch_up_segment(digest, reader)
            found = self._published.segment(digest, reader)
        return found or await self._published.kept_segment(digest, reader)


@final
class Registries:
    """`server.gate.Registries` over the directory and the store."""

    def __init__(self, directory: Directory, trust: Trust) -> None:
        self._directory = directory
        self._trust = trust

    def current(self) -> Registry:
        """The registry in force."""
        return self._directory.current()

    async def version(self, number: int) -> bytes | None:
        """One that was in force before."""
        row = await self._trust.registry(number)
        return None if row is None else row.file


@final
class ReceiptPages:
    """`server.peers.Receipts` over the store."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def page(self, querier: str, since: datetime, after: int, limit: int) -> Sequence[tuple[int, KeptReceipt]]:
        """Receipts of a querier."""
        return await self._records.receipts_for(querier, after, limit, since=since)


@final
class Watch:
    """`mirror.Observer`: what happens while following lists goes into metrics and log."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._told: dict[tuple[str, str], str] = {}

    def followed(self, list_name: str, version: int, count: int) -> None:
        """A new version serves."""
        self._metrics.list_version.labels(list_name).set(version)
        self._metrics.list_entries.labels(list_name).set(count)
        self._told.pop((list_name.partition("/")[0], list_name), None)
        get_log().info("list_followed", list=list_name, version=version, entries=count)

    def failed(self, owner: str, list_name: str, error: RiskshareError) -> None:
        """Something failed; the same trouble is logged once."""
        self._metrics.sync_failures.labels(owner, error.code).inc()
        if self._told.get((owner, list_name)) != error.code:
            self._told[owner, list_name] = error.code
            get_log().warning("list_not_followed", owner=owner, list=list_name, code=error.code, detail=error.message)

    def fraud(self, accused: str, kind: str) -> None:
        """Evidence of fraud was found."""
        get_log().error("fraud_found", member=accused, kind=kind)


@final
class WitnessDesk:
    """`cosign.Evidence` and `cosign.Watch` over store, metrics and log."""

    def __init__(self, trust: Trust, metrics: Metrics) -> None:
        self._trust = trust
        self._metrics = metrics

    async def keep_histories(self, accused: str, found: TwoHistories, at: datetime) -> None:
        """Keep evidence against a log, and tell of it when it is new."""
        if await self._trust.keep_fraud_proof(FraudProofRow(TWO_HISTORIES, accused, found.about, found.to_bytes(), at)):
            self._metrics.fraud_proofs.labels(accused, TWO_HISTORIES).inc()
            get_log().error("fraud_found", member=accused, kind=TWO_HISTORIES, entries=found.size)

    def witnessing(self, log: str, code: str) -> None:
        """Count a request."""
        self._metrics.witnessed.labels(log, code).inc()
