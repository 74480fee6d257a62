"""Composing segments: the files that say what a list is under one epoch, or how it has changed.

A *base* is made of all entries that are listed, a *delta* of those that changed since the last snapshot; a base that
*merges* others needs no group operation. Each is on disk, durable and under its digest, when its row is returned.

A long list is computed in parts, which are kept as runs (`marks`, `runs`): after a crash another process goes on with
the next part. What is long is written in a process of its own, so that the event loop is not held up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import BinaryIO, Final, Literal, Protocol

from riskshare.apart import apart
from riskshare.errors import SegmentError
from riskshare.membership.oprf import SecretKey
from riskshare.membership.record import Record
from riskshare.sharing.build import PlainRow, StoredRow, build_rows, stored_row
from riskshare.sharing.compaction import needs_word, young_deltas
from riskshare.sharing.entry import DataKey
from riskshare.sharing.kept import EpochRow, ListRow, SegmentRow, SnapshotRow, StoredEntry
from riskshare.sharing.marks import Marks, Run
from riskshare.sharing.packed import PackedRows
from riskshare.sharing.runs import RUN_ROWS, Rows, write_run
from riskshare.sharing.segment_build import write_delta
from riskshare.sharing.segment_ref import SegmentRef
from riskshare.sharing.view import ListView
from riskshare.sharing.writing import Files, RunFiles, Wanted, write_joined, write_merged, write_runs, write_upheld

CANARY_TERM: Final = timedelta(days=3650)

MOST_CHANGES: Final = 2**19
"""Most entries that a delta is made of, all in memory; a larger change is a new base."""

FEW_CHANGES: Final = 2**12
"""Most entries that a reader's next snapshot waits for: some tenths of a second. More are computed beside."""

FEW_ROWS: Final = 2**18
"""So many rows are written here, in a thread, without a run: a process would take longer to start and to read them."""

SMALL_FILES: Final = 2**22
"""Segments of fewer bytes are merged here, in a thread."""


class Changes(Protocol):
    """A consistent view of entries: iterate once, in batches. `upto` is the last change that it shows."""

    upto: int

    def __aiter__(self) -> AsyncIterator[list[StoredEntry]]:
        """The batches."""


class SealedEntries(Protocol):
    """A consistent view of entries, as `Changes`, of each only what workers need."""

    upto: int

    def batches(self) -> AsyncIterator[tuple[bytes, list[StoredRow]]]:
        """The batches, once, each behind the handle of its last entry."""


class Entries(Protocol):
    """The store of entries."""

    def changes(self, list_id: int, after: int) -> AbstractAsyncContextManager[Changes]:
        """Entries changed after that number, withdrawn ones too, in the order of change."""

    def withdrawals(self, list_id: int, after: int) -> AbstractAsyncContextManager[Changes]:
        """Entries withdrawn after that number, but not as `replaced` or `expired`, in the order of change."""

    def sealed(self, list_id: int, after: bytes) -> AbstractAsyncContextManager[SealedEntries]:
        """Entries that are not withdrawn and have a handle above `after`, in the order of their handles."""


class Build(Protocol):
    """Builds the rows of chunks."""

    def __call__(self, list_name: str, chunks: AsyncIterator[Sequence[StoredRow]]) -> AsyncGenerator[PackedRows, None]:
        """For each chunk its rows; in the order of the chunks."""


class Builders(Protocol):
    """Processes on all cores that build rows under one epoch's key."""

    def __call__(self, key: SecretKey) -> AbstractAsyncContextManager[Build]:
        """Start them, for as long as the context lasts."""


class Held(Protocol):
    """A building on the disk, which this process alone is at."""

    @property
    def runs(self) -> RunFiles:
        """Its runs."""

    def marks(self) -> Marks | None:
        """How far it has come; None if it begins."""

    def keep(self, marks: Marks) -> None:
        """Replace the marks, durably. Raises DiskError."""

    def write(self, number: int, fill: Callable[[BinaryIO], tuple[int, bytes]]) -> Run:
        """Write a run, durably. Raises DiskError."""

    def clear(self) -> None:
        """Begin anew."""

    def drop(self) -> None:
        """Remove it."""

    def close(self) -> None:
        """Let another process go on."""


class Buildings(Protocol):
    """All buildings."""

    def hold(self, epoch: bytes, list_name: str) -> Held | None:
        """Take the building of a list (local name) under an epoch; None: another process is at it."""


class Watch(Protocol):
    """Is told how a building goes on."""

    def computed(self, list_name: str, epoch: int, rows: int, share: float) -> None:
        """So many rows of a list (full name), that part of it, are computed under its epoch of that number."""


@dataclass(slots=True)
class Job:
    """One list (`name` is its full name) under one epoch, to be brought to date from `last` on.

    `canaries` are those that its segments hold; `upto` is the number of the last change that they show. Of
    withdrawals that do not wait for a larger change they show those up to `withdrawn`, and may show more.
    """

    row: ListRow
    name: str
    epoch: EpochRow
    key: SecretKey = field(repr=False)
    last: SnapshotRow | None
    canaries: Sequence[str]
    upto: int = 0
    withdrawn: int = 0


class TooManyChanges(Exception):  # noqa: N818 - an outcome: the caller writes a base then
    """The change is too large for a delta. `number` is that of the change if one alone is that large, else 0."""

    def __init__(self, number: int = 0) -> None:
        super().__init__(number)
        self.number = number


class Composer:
    """Writes the segments of one member's lists."""

    def __init__(
        self,
        *,
        entries: Entries,
        files: Files,
        buildings: Buildings,
        builders: Builders,
        data_key: DataKey,
        filter_rate: float,
        now: Callable[[], datetime],
        random: Callable[[int], bytes],
        watch: Watch | None = None,
        few_changes: int = FEW_CHANGES,
        most_changes: int = MOST_CHANGES,
        run_rows: int = RUN_ROWS,
    ) -> None:
        self._entries = entries
        self._files = files
        self._buildings = buildings
        self._builders = builders
        self._data_key = data_key
        self._rate = filter_rate
        self._now = now
        self._random = random
        self._watch = watch
        self._few_changes = few_changes
        self._most_changes = most_changes
        self._run_rows = run_rows

    # -- bases -----------------------------------------------------------------------

    def hold(self, job: Job) -> Held | None:
        """Take the building of a list; None: another process is at it. Raises DiskError."""
        return self._buildings.hold(job.epoch.digest, job.row.name)

    async def base(self, job: Job, build: Build, held: Held) -> SegmentRow:
        """A base of all entries that are listed, and the canaries; sets `job.upto`.

        Entries that changed after that number may be in it as they were: a delta of the changes since belongs to it.

        Raises:
            SegmentError: what is kept of the building is not as it was written; it begins anew the next time.

        """
        marks, rows = await self.compute(job, build, held)
        job.upto = marks.upto
        if marks.runs and len(rows):
            marks = await asyncio.to_thread(self._spilled, held, marks, rows, b"")
            rows = Rows()
        rows.add(build_rows(job.name, job.key, self._canary_rows(job)))
        wanted = self._wanted(job)
        try:
            if marks.runs:
                ref = await apart(write_runs, (wanted, held.runs, marks.runs, list(rows.sorted())))
            else:
                ref = await asyncio.to_thread(lambda: write_runs((wanted, held.runs, (), rows.sorted())))
        except SegmentError:
            await asyncio.to_thread(held.clear)
            raise
        return self._row(job, ref, "base")

    async def compute(self, job: Job, build: Build, held: Held, *, few: int = FEW_ROWS) -> tuple[Marks, Rows]:
        """Compute what of a list is not computed yet; up to `few` rows stay in memory if they are all that there is."""
        made = self._data_key.handle(b"building", job.name)
        marks = await asyncio.to_thread(held.marks)
        if marks is None or marks.data_key != made:  # under another data key, handles are in another order
            await asyncio.to_thread(held.clear)
            marks = Marks(made, -1)
        rows = Rows()
        if marks.complete:
            return marks, rows
        ends: deque[bytes] = deque()
        async with self._entries.sealed(job.row.id, marks.position) as entries:
            marks = replace(marks, upto=entries.upto if marks.upto < 0 else marks.upto)
            async with aclosing(_listed(entries, ends)) as chunks, aclosing(build(job.name, chunks)) as built:
                async for some in built:
                    rows.add(some)
                    end = ends.popleft()
                    if len(rows) >= self._run_rows:
                        marks = await asyncio.to_thread(self._spilled, held, marks, rows, end)
                        rows = Rows()
                    self._tell(job, marks.rows + len(rows), replace(marks, position=end).share)
        if marks.runs or len(rows) > few:
            marks = await asyncio.to_thread(self._spilled, held, replace(marks, complete=True), rows, b"")
            rows = Rows()
        self._tell(job, marks.rows + len(rows), 1.0)
        return marks, rows

    def _spilled(self, held: Held, marks: Marks, rows: Rows, position: bytes) -> Marks:
        """Write rows away as a run; give the marks that name it, which are kept. Blocking."""
        run = held.write(len(marks.runs), lambda out: write_run(out, rows.sorted()))
        position = position or marks.position
        marks = replace(marks, runs=(*marks.runs, run), rows=marks.rows + run.rows, position=position)
        held.keep(marks)
        return marks

    async def catch_up(self, job: Job, held: Held) -> None:
        """Compute what changed since the building's view, as a further run: too much for a delta."""
        marks = await asyncio.to_thread(held.marks)
        if marks is None:
            await asyncio.to_thread(held.clear)
            return
        rows = Rows()
        reasons: deque[str | None] = deque()
        async with (
            self._entries.changes(job.row.id, marks.upto) as changes,
            aclosing(_changed(changes, reasons)) as chunks,
            self._builders(job.key) as build,
            aclosing(build(job.name, chunks)) as built,
        ):
            async for some in built:
                reason = reasons.popleft()
                rows.add(some if reason is None else some.without_records())
                if len(rows) >= self._run_rows:
                    marks = await asyncio.to_thread(self._spilled, held, marks, rows, b"")
                    rows = Rows()
            upto = changes.upto
        await asyncio.to_thread(self._spilled, held, replace(marks, upto=upto), rows, b"")

    def _tell(self, job: Job, rows: int, share: float) -> None:
        if self._watch is not None:
            self._watch.computed(job.name, job.epoch.number, rows, share)

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

    def _wanted(self, job: Job) -> Wanted:
        seed = int.from_bytes(self._random(4), "big")
        return Wanted(self._files, job.name, job.epoch.digest, seed, self._rate)

    def _row(self, job: Job, ref: SegmentRef, kind: Literal["base", "delta"]) -> SegmentRow:
        return SegmentRow(ref, job.row.id, job.epoch.digest, kind, self._now())

    async def merged(self, job: Job, segments: Sequence[SegmentRow]) -> SegmentRow:
        """One base out of a base and its deltas, every byte of which is verified. Raises SegmentError."""
        work = (self._wanted(job), [row.ref for row in segments])
        if sum(row.ref.file_length for row in segments) < SMALL_FILES:
            return self._row(job, await asyncio.to_thread(write_merged, work), "base")
        return self._row(job, await apart(write_merged, work), "base")

    async def compacted(self, job: Job, segments: Sequence[SegmentRow], start: int) -> list[SegmentRow]:
        """The segments that take the place of these, of which those from `start` on (see `compaction.due`) are merged.

        Raises:
            SegmentError: a file is not here, or not what was written.

        """
        if start:
            work = (self._wanted(job), [row.ref for row in segments], start)
            small = sum(row.ref.file_length for row in segments[start:]) < SMALL_FILES
            start, ref = await (asyncio.to_thread(write_joined, work) if small else apart(write_joined, work))
            if start:
                return [*segments[:start], *([self._row(job, ref, "delta")] if ref else [])]
        base = await self.merged(job, segments)
        return [base, *await self.upheld(job, segments, base)]

    async def upheld(self, job: Job, segments: Sequence[SegmentRow], base: SegmentRow) -> list[SegmentRow]:
        """A delta of the upheld appeals that `segments` show, to stand behind a base that takes their place, or none.

        Raises:
            SegmentError: of the base; a delta that cannot be read has nothing to tell.

        """
        young = [row.ref for row in young_deltas(segments, self._now())]
        ref = await asyncio.to_thread(write_upheld, self._wanted(job), young, base.ref) if young else None
        return [] if ref is None else [self._row(job, ref, "delta")]

    # -- deltas ----------------------------------------------------------------------

    async def few(self, job: Job, view: ListView) -> SegmentRow | None:
        """As `delta`, of a change that is computed at once. Raises TooManyChanges: it is larger."""
        async with self._entries.changes(job.row.id, job.upto) as changes:
            batches: list[Sequence[StoredEntry]] = []
            async for batch in changes:
                batches.append(batch)
                if sum(map(len, batches)) > self._few_changes:
                    raise TooManyChanges
        delta = await self._delta_of(job, view, _again(batches))
        job.upto = changes.upto
        return delta

    async def delta(self, job: Job, view: ListView) -> SegmentRow | None:
        """A delta of what changed after `job.upto`; None if it changes nothing for a reader. Sets `job.upto`.

        Raises:
            TooManyChanges: for one delta.

        """
        async with self._entries.changes(job.row.id, job.upto) as changes:
            delta = await self._delta_of(job, view, changes)
        job.upto = changes.upto
        return delta

    async def urgent(self, job: Job, view: ListView, after: int) -> tuple[SegmentRow | None, int]:
        """A delta of withdrawals after a number that cannot wait, a few at a time; and up to which number that is.

        Not of what a file withdraws that is the whole list: nobody is shown a part of that; nor of what has expired,
        which readers heed by themselves. What else changed is not in it either, so `job.upto` stays: a later delta
        tells all of it, these withdrawals too. Raises TooManyChanges: one number alone has too many for a delta.
        """
        chosen: list[StoredEntry] = []
        async with self._entries.withdrawals(job.row.id, after) as changes:
            upto = changes.upto
            async for batch in changes:
                chosen += batch
                if len(chosen) > self._few_changes and chosen[0].changed < chosen[-1].changed:
                    upto = chosen[-1].changed - 1  # of the last number there may be more
                    chosen = [one for one in chosen if one.changed <= upto]
                    break
                if len(chosen) > self._most_changes:
                    raise TooManyChanges(chosen[0].changed)
        return await self._delta_of(job, view, _again([chosen])), upto

    async def _delta_of(
        self, job: Job, view: ListView, entries: AsyncIterable[Sequence[StoredEntry]]
    ) -> SegmentRow | None:
        added: dict[bytes, bytes] = {}
        withdrawn: dict[bytes, str] = {}
        reasons: deque[str | None] = deque()
        async with (
            aclosing(_changed(entries, reasons)) as chunks,
            self._builders(job.key) as build,
            aclosing(build(job.name, chunks)) as built,
        ):
            async for rows in built:
                reason = reasons.popleft()
                if reason is None:
                    added.update(rows)
                else:
                    withdrawn.update((label, reason) for label, _ in rows if needs_word(view, label, reason))
                if len(added) + len(withdrawn) > self._most_changes:
                    raise TooManyChanges
        if not added and not withdrawn:
            return None
        return await asyncio.to_thread(self._write_delta, job, added, withdrawn)

    def _write_delta(self, job: Job, added: Mapping[bytes, bytes], withdrawn: Mapping[bytes, str]) -> SegmentRow:
        ref = self._files.write(lambda out: write_delta(out, job.name, job.epoch.digest, added, withdrawn))
        return self._row(job, ref, "delta")

    async def view(self, job: Job, segments: Sequence[SegmentRow]) -> ListView:
        """What segments hold. Raises SegmentError: a file is not here, or not what was written."""
        wanted = Wanted(self._files, job.name, job.epoch.digest, 0, self._rate)
        return await asyncio.to_thread(wanted.view, [row.ref for row in segments])


async def _listed(entries: SealedEntries, ends: deque[bytes]) -> AsyncGenerator[Sequence[StoredRow], None]:
    """Chunks of entries; `ends` gets the last handle of each."""
    async for end, batch in entries.batches():
        ends.append(end)
        yield batch


async def _again(batches: Sequence[Sequence[StoredEntry]]) -> AsyncIterator[Sequence[StoredEntry]]:
    for batch in batches:
        yield batch


async def _changed(
    changes: AsyncIterable[Sequence[StoredEntry]], reasons: deque[str | None]
) -> AsyncGenerator[Sequence[StoredRow], None]:
    """Chunks of one kind each; `reasons` gets the reason of the withdrawn ones, None for the others."""
    async for batch in changes:
        kinds: dict[str | None, list[StoredRow]] = {}
        for entry in batch:
            reason = (entry.reason or "withdrawn") if entry.state == "withdrawn" else None
            kinds.setdefault(reason, []).append(stored_row(entry))
        for reason, rows in kinds.items():
            reasons.append(reason)
            yield rows
