"""What this member published as an owner: epochs, canaries, snapshots, segments, catalogues."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Final, final

from riskshare.errors import StoreError
from riskshare.sharing.kept import EpochRow, IssuedCatalogueRow, SegmentRow, SnapshotRow
from riskshare.sharing.segment_ref import SegmentRef
from riskshare.store.connection import affected
from riskshare.store.failures import guarded
from riskshare.store.queries import load

if TYPE_CHECKING:
    import asyncpg

    from riskshare.store.connection import Pool, Session

_SQL: Final = load("publications.sql")


@final
class Publications:
    """Every method raises `StoreError` if PostgreSQL is away."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add_epoch(self, epoch: EpochRow) -> bool:
        """Keep an epoch. False if its digest, or its number in its keyset, is there already."""
        with guarded():
            added = await self._pool.fetchval(
                _SQL["add_epoch"],
                epoch.digest,
                epoch.keyset,
                epoch.number,
                epoch.statement,
                epoch.signature,
                epoch.salt,
                epoch.secret_sealed,
                epoch.not_before,
                epoch.not_after,
                epoch.ended_at,
            )
        return bool(added)

    async def epochs(self, keyset: str | None = None) -> list[EpochRow]:
        """Epochs of one keyset, or of all, by keyset and number; ended ones too."""
        with guarded():
            return [EpochRow(**row) for row in await self._pool.fetch(_SQL["epochs"], keyset)]

    async def epoch(self, digest: bytes) -> EpochRow | None:
        """The epoch whose statement has this digest."""
        with guarded():
            row = await self._pool.fetchrow(_SQL["epoch"], digest)
        return None if row is None else EpochRow(**row)

    async def end_epoch(self, epoch: EpochRow) -> bool:
        """Keep the end of an epoch, and the statement of it. False: no such epoch, or it ends earlier already."""
        with guarded():
            ended = await self._pool.fetchval(
                _SQL["end_epoch"],
                epoch.digest,
                epoch.ended_at,
                epoch.end_statement,
                epoch.end_signature,
                epoch.end_salt,
            )
        return bool(ended)

    async def add_canaries(self, list_id: int, values: Sequence[str]) -> None:
        """Keep canaries of a list; they are published, so they are kept in the clear."""
        with guarded():
            await self._pool.execute(_SQL["add_canaries"], list_id, values)

    async def canaries(self, list_id: int) -> tuple[str, ...]:
        """The canaries of a list, sorted."""
        with guarded():
            return tuple(row["value"] for row in await self._pool.fetch(_SQL["canaries"], list_id))

    async def publish(
        self, snapshot: SnapshotRow, segments: Sequence[SegmentRow], expected_previous_version: int
    ) -> bool:
        """Publish a snapshot with the segments that are new, and tell the listeners, in one transaction.

        The segment files are durable on disk before. `expected_previous_version` is the newest version of this (list,
        epoch) that the publisher built upon, 0 for none. False: somebody else published first, or noted more of that
        version, and nothing was written.

        Raises:
            StoreError: `store_refused` if a segment that the snapshot names is not kept.

        """
        with guarded(), suppress(_Overtaken):
            async with self._pool.acquire() as connection, connection.transaction():
                await _publish(connection, snapshot, segments, expected_previous_version)
                return True
        return False

    async def note_withdrawn(self, snapshot: SnapshotRow, upto: int) -> None:
        """Note that withdrawals up to this number are in a snapshot already: it never showed what they withdraw."""
        with guarded():
            place = snapshot.list_id, snapshot.epoch, snapshot.version
            await self._pool.execute(_SQL["note_withdrawn"], *place, upto)

    async def latest_snapshot(self, list_id: int, epoch: bytes) -> SnapshotRow | None:
        """The newest snapshot of a list under an epoch (its digest)."""
        with guarded():
            row = await self._pool.fetchrow(_SQL["latest_snapshot"], list_id, epoch)
        return None if row is None else _snapshot(row)

    async def snapshot(self, list_id: int, epoch: bytes, version: int) -> SnapshotRow | None:
        """One version of a list under an epoch."""
        with guarded():
            row = await self._pool.fetchrow(_SQL["snapshot"], list_id, epoch, version)
        return None if row is None else _snapshot(row)

    async def snapshot_named(self, list_id: int, digest: bytes) -> SnapshotRow | None:
        """The snapshot of a list with this digest, under whichever epoch."""
        with guarded():
            row = await self._pool.fetchrow(_SQL["snapshot_named"], list_id, digest)
        return None if row is None else _snapshot(row)

    async def segment(self, file_digest: bytes) -> SegmentRow | None:
        """The segment whose file has this digest."""
        with guarded():
            row = await self._pool.fetchrow(_SQL["segment"], file_digest)
        return None if row is None else _segment(row)

    async def segments(self, file_digests: Sequence[bytes]) -> list[SegmentRow]:
        """The segments of these file digests, in the order asked for; unknown ones are left out."""
        with guarded():
            rows = await self._pool.fetch(_SQL["segments"], file_digests)
        found = {row["file_digest"]: _segment(row) for row in rows}
        return [found[digest] for digest in file_digests if digest in found]

    async def unreferenced_segments(self, before: datetime) -> list[SegmentRow]:
        """Segments made before that time that no kept snapshot names."""
        with guarded():
            return [_segment(row) for row in await self._pool.fetch(_SQL["unreferenced_segments"], before)]

    async def forget_snapshots(self, before: datetime) -> int:
        """Delete snapshots that expired before that time; give their number.

        The newest of a list stays, and that of each chain whose epoch was not over before that time.
        """
        with guarded():
            return affected(await self._pool.execute(_SQL["forget_snapshots"], before))

    async def forget_segments(self, file_digests: Sequence[bytes]) -> int:
        """Delete the rows of unreferenced segments; give their number. The files are deleted afterwards."""
        with guarded():
            return affected(await self._pool.execute(_SQL["forget_segments"], file_digests))

    async def issued_catalogue(self, reader: str) -> IssuedCatalogueRow | None:
        """The newest catalogue issued for a reader."""
        with guarded():
            row = await self._pool.fetchrow(_SQL["issued_catalogue"], reader)
        return None if row is None else IssuedCatalogueRow(**row)

    async def issue_catalogue(self, row: IssuedCatalogueRow) -> bool:
        """Keep a catalogue in place of the version before it. False: that is not the newest, and nothing is changed."""
        with guarded():
            status = await self._pool.execute(
                _SQL["issue_catalogue"],
                row.reader,
                row.version,
                row.content,
                row.issued_at,
                row.statement,
                row.signature,
            )
        return bool(affected(status))


class _Overtaken(Exception):  # noqa: N818 - never leaves this module
    """Somebody else published first: rolls the transaction back."""


async def _publish(connection: Session, snapshot: SnapshotRow, segments: Sequence[SegmentRow], previous: int) -> None:
    await connection.executemany(_SQL["add_segments"], [_segment_arguments(one) for one in segments])
    status = await connection.execute(_SQL["add_snapshot"], *_snapshot_arguments(snapshot), previous)
    if not affected(status):
        seen = snapshot.list_id, snapshot.epoch, previous, snapshot.withdrawn
        if await connection.fetchval(_SQL["is_overtaken"], *seen):
            raise _Overtaken
        raise StoreError("The snapshot names a segment that is not kept.", code="store_refused")
    await connection.execute(_SQL["tell_snapshot"], snapshot.list_id)


def _segment_arguments(segment: SegmentRow) -> tuple[object, ...]:
    ref = segment.ref
    return (
        ref.file_digest,
        segment.list_id,
        segment.epoch,
        ref.header_digest,
        ref.header_length,
        ref.file_length,
        segment.kind,
        segment.created_at,
    )


def _snapshot_arguments(snapshot: SnapshotRow) -> tuple[object, ...]:
    return (
        snapshot.list_id,
        snapshot.epoch,
        snapshot.version,
        snapshot.digest,
        snapshot.statement,
        snapshot.signature,
        snapshot.salt,
        snapshot.issued_at,
        snapshot.expires_at,
        snapshot.changed,
        snapshot.segments,
        snapshot.withdrawn,
    )


def _snapshot(row: asyncpg.Record) -> SnapshotRow:
    return SnapshotRow(**{**row, "segments": tuple(row["segments"])})


def _segment(row: asyncpg.Record) -> SegmentRow:
    return SegmentRow(
        ref=SegmentRef(row["header_digest"], row["header_length"], row["file_digest"], row["file_length"]),
        list_id=row["list_id"],
        epoch=row["epoch"],
        kind=row["kind"],
        created_at=row["created_at"],
    )
