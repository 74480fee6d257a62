"""Composing segments: the files that say what a list is under one epoch, or how it has changed.

A *base* is made of all entries that are listed, a *delta* of those that changed since the last snapshot; a base that
*merges* others needs no group operation. Each is on disk, durable and under its digest, when its row is returned.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import BinaryIO, Final, Protocol

from riskshare.errors import SegmentError
from riskshare.membership.oprf import SecretKey
from riskshare.membership.record import Record
from riskshare.sharing.build import PlainRow, SealedRow, StoredRow, build_rows, stored_row
from riskshare.sharing.kept import EpochRow, ListRow, SegmentRow, SnapshotRow, StoredEntry
from riskshare.sharing.runs import RUN_ROWS, Runs
from riskshare.sharing.segment_build import write_base, write_delta
from riskshare.sharing.segment_read import BaseSegment, DeltaSegment, open_segment, open_whole
from riskshare.sharing.segment_ref import SegmentRef
from riskshare.sharing.view import ListView, merge

CANARY_TERM: Final = timedelta(days=3650)

MOST_CHANGES: Final = 2**19
"""Most entries that a delta is made of, all in memory; a larger change is a new base."""


Read = Callable[[memoryview, SegmentRef, str, bytes], BaseSegment | DeltaSegment]
"""Opens a segment: `open_segment`, or `open_whole`."""


class Changes(Protocol):
    """A consistent view of changed entries: iterate once, in batches. `upto` is the last change that it shows."""

    upto: int

    def __aiter__(self) -> AsyncIterator[list[StoredEntry]]:
        """The batches."""


class Entries(Protocol):
    """The store of entries."""

    def changes(self, list_id: int, after: int, *, live_only: bool = False) -> AbstractAsyncContextManager[Changes]:
        """Entries changed after that number; `live_only` leaves out withdrawn ones."""


class Files(Protocol):
    """The segment files."""

    def write(self, fill: Callable[[BinaryIO], SegmentRef]) -> SegmentRef:
        """Write a file whole and durably. Raises DiskError."""

    def map(self, ref: SegmentRef) -> memoryview:
        """Map a file. Raises SegmentError."""

    def has(self, ref: SegmentRef) -> bool:
        """Whether a file is here in its full length."""

    def scratch(self) -> BinaryIO:
        """Open a file that vanishes when it is closed. Raises DiskError."""

    def delete(self, digest: bytes) -> None:
        """Remove a file. Raises DiskError."""


class Build(Protocol):
    """Builds the rows of chunks."""

    def __call__(
        self, list_name: str, chunks: AsyncIterator[Sequence[StoredRow]]
    ) -> AsyncGenerator[Sequence[SealedRow], None]:
        """For each chunk its rows, sorted; in the order of the chunks."""


class Builders(Protocol):
    """Processes on all cores that build rows under one epoch's key."""

    def __call__(self, key: SecretKey) -> AbstractAsyncContextManager[Build]:
        """Start them, for as long as the context lasts."""


@dataclass(slots=True)
class Job:
    """One list (`name` is its full name) under one epoch, to be brought to date from `last` on.

    `canaries` are those that its segments hold; `upto` is the number of the last change that they show.
    """

    row: ListRow
    name: str
    epoch: EpochRow
    key: SecretKey = field(repr=False)
    last: SnapshotRow | None
    canaries: Sequence[str]
    upto: int = 0


class TooManyChanges(Exception):  # noqa: N818 - an outcome: the caller writes a base then
    """The change is too large for a delta."""


class Composer:
    """Writes the segments of one member's lists."""

    def __init__(
        self,
        *,
        entries: Entries,
        files: Files,
        builders: Builders,
        filter_rate: float,
        now: Callable[[], datetime],
        random: Callable[[int], bytes],
        most_changes: int = MOST_CHANGES,
        run_rows: int = RUN_ROWS,
    ) -> None:
        self._entries = entries
        self._files = files
        self._builders = builders
        self._rate = filter_rate
        self._now = now
        self._random = random
        self._most_changes = most_changes
        self._run_rows = run_rows

    async def base(self, job: Job, build: Build) -> SegmentRow:
        """A base of all entries that are listed now, and the canaries. Sets `job.upto`."""
        runs = Runs(self._files.scratch, self._run_rows)
        try:
            runs.add(build_rows(job.name, job.key, self._canary_rows(job)))
            async with aclosing(self._listed(job)) as chunks, aclosing(build(job.name, chunks)) as built:
                async for rows in built:
                    runs.add(rows)
                    if runs.full:
                        await asyncio.to_thread(runs.spill)
            return await asyncio.to_thread(lambda: self._write_base(job, runs.sorted()))
        finally:
            runs.close()

    async def _listed(self, job: Job) -> AsyncGenerator[Sequence[StoredRow], None]:
        async with self._entries.changes(job.row.id, -1, live_only=True) as changes:
            job.upto = changes.upto
            async for batch in changes:
                yield [stored_row(entry) for entry in batch]

    def _canary_rows(self, job: Job) -> list[PlainRow]:
        now = self._now()
        record = Record(
            category=job.row.category,
            reason="canary",
            level="low",
            evidence="",
            listed_at=now,
            valid_until=now + CANARY_TERM,
        ).to_bytes()
        return [(canary.encode(), record) for canary in job.canaries]

    def _write_base(self, job: Job, rows: Iterable[SealedRow]) -> SegmentRow:
        seed = int.from_bytes(self._random(4), "big")
        ref = self._files.write(
            lambda out: write_base(out, job.name, job.epoch.digest, rows, seed=seed, rate=self._rate)
        )
        return SegmentRow(ref, job.row.id, job.epoch.digest, "base", self._now())

    async def delta(self, job: Job, view: ListView) -> SegmentRow | None:
        """A delta of what changed after `job.upto`; None if it changes nothing for a reader. Sets `job.upto`.

        Raises:
            TooManyChanges: for one delta.

        """
        added: dict[bytes, bytes] = {}
        withdrawn: dict[bytes, str] = {}
        reasons: deque[str | None] = deque()
        async with (
            aclosing(self._changed(job, reasons)) as chunks,
            self._builders(job.key) as build,
            aclosing(build(job.name, chunks)) as built,
        ):
            async for rows in built:
                reason = reasons.popleft()
                if reason is None:
                    added.update(rows)
                else:  # what no snapshot has shown needs no word
                    withdrawn.update((label, reason) for label, _ in rows if view.find(label) is not None)
                if len(added) + len(withdrawn) > self._most_changes:
                    raise TooManyChanges
        if not added and not withdrawn:
            return None
        return await asyncio.to_thread(self._write_delta, job, added, withdrawn)

    async def _changed(self, job: Job, reasons: deque[str | None]) -> AsyncGenerator[Sequence[StoredRow], None]:
        """Chunks of one kind each; `reasons` gets the reason of the withdrawn ones, None for the others."""
        async with self._entries.changes(job.row.id, job.upto) as changes:
            job.upto = changes.upto
            async for batch in changes:
                kinds: dict[str | None, list[StoredRow]] = {}
                for entry in batch:
                    reason = (entry.reason or "withdrawn") if entry.state == "withdrawn" else None
                    kinds.setdefault(reason, []).append(stored_row(entry))
                for reason, rows in kinds.items():
                    reasons.append(reason)
                    yield rows

    def _write_delta(self, job: Job, added: Mapping[bytes, bytes], withdrawn: Mapping[bytes, str]) -> SegmentRow:
        ref = self._files.write(lambda out: write_delta(out, job.name, job.epoch.digest, added, withdrawn))
        return SegmentRow(ref, job.row.id, job.epoch.digest, "delta", self._now())

    async def merged(self, job: Job, segments: Sequence[SegmentRow]) -> SegmentRow:
        """One base out of a base and its deltas, every byte of which is verified. Raises SegmentError."""
        return await asyncio.to_thread(lambda: self._write_base(job, merge(self._open(job, segments, open_whole))))

    async def view(self, job: Job, segments: Sequence[SegmentRow]) -> ListView:
        """What segments hold. Raises SegmentError: a file is not here, or not what was written."""
        return await asyncio.to_thread(self._open, job, segments)

    def _open(self, job: Job, segments: Sequence[SegmentRow], read: Read = open_segment) -> ListView:
        opened = [read(self._files.map(row.ref), row.ref, job.name, job.epoch.digest) for row in segments]
        bases = [segment for segment in opened if isinstance(segment, BaseSegment)]
        if len(bases) != 1:
            raise SegmentError("A list of ours has no base, or two.", code="segment_mixed")
        return ListView(bases[0], [segment for segment in opened if isinstance(segment, DeltaSegment)])

    def drop(self, segment: SegmentRow) -> None:
        """Remove the file of a segment that no snapshot names."""
        self._files.delete(segment.ref.file_digest)
