"""Writing segments out of what is on the disk already: segments that are merged, or the runs of a building.

No key and no group operation is needed, but some microseconds a row in the interpreter; so large ones are written in a
process of their own, to which everything here goes as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from riskshare.errors import SegmentError
from riskshare.sharing.compaction import fitting, joined, upheld_still
from riskshare.sharing.marks import Run
from riskshare.sharing.packed import SealedRow, SortedRows
from riskshare.sharing.runs import newest, read_run
from riskshare.sharing.segment_build import write_base, write_delta
from riskshare.sharing.segment_read import BaseSegment, DeltaSegment, open_segment, open_whole
from riskshare.sharing.segment_ref import SegmentRef
from riskshare.sharing.upheld import REASON
from riskshare.sharing.view import ListView, merge

Read = Callable[[memoryview, SegmentRef, str, bytes], BaseSegment | DeltaSegment]
"""Opens a segment: `open_segment`, or `open_whole`."""


class Files(Protocol):
    """The segment files. Can be pickled."""

    def write(self, fill: Callable[[BinaryIO], SegmentRef]) -> SegmentRef:
        """Write a file whole and durably. Raises DiskError."""

    def map(self, ref: SegmentRef) -> memoryview:
        """Map a file. Raises SegmentError."""

    def has(self, ref: SegmentRef) -> bool:
        """Whether a file is here in its full length."""


class RunFiles(Protocol):
    """The runs of one building. Can be pickled."""

    def read(self, name: str) -> BinaryIO:
        """Open a run. Raises DiskError, SegmentError."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A base to be written into `files`, for a list (full name) under an epoch (its digest).

    `seed` are 32 random bits for the filter, `rate` is its rate of false maybes.
    """

    files: Files
    list_name: str
    epoch: bytes
    seed: int
    rate: float

    def write(self, rows: SortedRows | Iterable[SealedRow]) -> SegmentRef:
        """Write it of rows sorted by label, each label once. Raises DiskError."""
        return self.files.write(
            lambda out: write_base(out, self.list_name, self.epoch, rows, seed=self.seed, rate=self.rate)
        )

    def write_delta(self, added: Mapping[bytes, bytes], withdrawn: Mapping[bytes, str]) -> SegmentRef:
        """Write a delta of the same list. Raises DiskError."""
        return self.files.write(lambda out: write_delta(out, self.list_name, self.epoch, added, withdrawn))

    def open(self, ref: SegmentRef, read: Read = open_segment) -> BaseSegment | DeltaSegment:
        """A segment of this list. Raises SegmentError: its file is not here, or not what was written."""
        return read(self.files.map(ref), ref, self.list_name, self.epoch)

    def view(self, segments: Sequence[SegmentRef], read: Read = open_segment) -> ListView:
        """What segments of this list hold. Raises SegmentError, as `open`; or they have no base, or two."""
        opened = [self.open(ref, read) for ref in segments]
        bases = [segment for segment in opened if isinstance(segment, BaseSegment)]
        if len(bases) != 1:
            raise SegmentError("A list of ours has no base, or two.", code="segment_mixed")
        return ListView(bases[0], [segment for segment in opened if isinstance(segment, DeltaSegment)])


def write_merged(job: tuple[Wanted, Sequence[SegmentRef]]) -> SegmentRef:
    """One base out of a base and its deltas, every byte of which is verified. Raises SegmentError, DiskError."""
    wanted, segments = job
    return wanted.write(merge(wanted.view(segments, open_whole)))


def write_joined(job: tuple[Wanted, Sequence[SegmentRef], int]) -> tuple[int, SegmentRef | None]:
    """One delta in place of those from a place on, which is given back, or a later one if they are too much for one.

    0: a base is due. No delta: together they say nothing. Raises SegmentError, DiskError.
    """
    wanted, segments, start = job
    view = wanted.view(segments)
    start = fitting([0, *(sum(delta.header.counts) for delta in view.deltas)], start)
    if not start or view.base is None:
        return 0, None
    added, withdrawn = joined(view.base, view.deltas[: start - 1], view.deltas[start - 1 :])
    if not added and not withdrawn:
        return start, None
    return start, wanted.write_delta(added, withdrawn)


def write_upheld(wanted: Wanted, deltas: Sequence[SegmentRef], base: SegmentRef) -> SegmentRef | None:
    """A delta of the upheld appeals that `deltas` show and `base` does not; None if there are none.

    Raises:
        SegmentError: of the base; a delta that cannot be read has nothing to tell.
        DiskError: it cannot be written.

    """
    opened: list[DeltaSegment] = []
    for ref in deltas:
        with suppress(SegmentError):
            segment = wanted.open(ref)
            opened += [segment] if isinstance(segment, DeltaSegment) else []
    if not any(REASON in delta.withdrawn.values() for delta in opened):
        return None
    there = wanted.open(base)
    withdrawn = upheld_still(opened, there) if isinstance(there, BaseSegment) else {}
    if not withdrawn:
        return None
    return wanted.write_delta({}, withdrawn)


def write_runs(job: tuple[Wanted, RunFiles, Sequence[Run], SortedRows | Sequence[SealedRow]]) -> SegmentRef:
    """A base out of the runs of a building and some sorted rows. Raises SegmentError, DiskError."""
    wanted, files, runs, rows = job
    if not runs and isinstance(rows, SortedRows) and rows.distinct:
        return wanted.write(rows)
    return wanted.write(newest([*(read_run(files.read(run.name), run.digest) for run in runs), rows]))
