"""Rows that come in any order and go out sorted, in bounded memory.

A list of some hundred thousand rows is sorted where it is. Beyond that, sorted runs go to files and are merged as they
are read; what they hold is what will be published anyway, so nothing secret touches the disk. Of several runs that name
one label the newest decides; a row without a record takes the label away.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice
from typing import BinaryIO, Final, final

from riskshare.errors import SegmentError
from riskshare.membership.bloom import LABEL_BYTES
from riskshare.sharing.packed import PackedRows, SealedRow, SortedRows

RUN_ROWS: Final = 2**19
"""Rows in memory at a time: about 250 MB."""

GONE: Final = b""
"""In place of a sealed record: the label is listed no more."""

_PIECE: Final = 2**20
_ROWS: Final = 2**10
_HEAD: Final = struct.Struct(f"<{LABEL_BYTES}sI")


@final
class Rows:
    """Rows in memory, on their way to a run."""

    def __init__(self) -> None:
        self._labels = bytearray()
        self._lengths = bytearray()
        self._sealed = bytearray()

    def __len__(self) -> int:
        return len(self._labels) // LABEL_BYTES

    def add(self, rows: PackedRows) -> None:
        """Take rows in."""
        self._labels += rows.labels
        self._lengths += rows.lengths
        self._sealed += rows.sealed

    def sorted(self) -> SortedRows:
        """All rows, by label; of one label in the order in which they came. No more can be added then."""
        return SortedRows(self._labels, self._lengths, self._sealed)


def write_run(out: BinaryIO, rows: Iterable[SealedRow]) -> tuple[int, bytes]:
    """Write sorted rows; give their number and the SHA-256 of what was written. Raises OSError."""
    whole = hashlib.sha256()
    count = 0
    source = iter(rows)
    while some := list(islice(source, _ROWS)):
        piece = b"".join([part for label, sealed in some for part in (_HEAD.pack(label, len(sealed)), sealed)])
        whole.update(piece)
        out.write(piece)
        count += len(some)
    return count, whole.digest()


def read_run(file: BinaryIO, digest: bytes) -> Iterator[SealedRow]:
    """The rows of a run, which was read once before for its digest. The file is closed at its end.

    Raises:
        SegmentError: `segment_altered`, before any row is given, if it is not what was written.

    """
    with file:
        whole = hashlib.sha256()
        while piece := file.read(_PIECE):
            whole.update(piece)
        if whole.digest() != digest:
            raise SegmentError(
                "A file of a building is not as it was written; the list is computed anew.", code="segment_altered"
            )
        file.seek(0)
        while head := file.read(_HEAD.size):
            label, length = _HEAD.unpack(head)
            yield label, file.read(length)


def newest(runs: Sequence[Iterable[SealedRow]]) -> Iterator[SealedRow]:
    """The rows of sorted runs, oldest run first, by label: of each label the newest, unless that says it is gone."""
    last = None
    for label, sealed in runs[0] if len(runs) == 1 else _merged(runs):
        if label != last and sealed != GONE:
            yield label, sealed
        last = label


def _merged(runs: Sequence[Iterable[SealedRow]]) -> Iterator[SealedRow]:
    """All rows of runs, oldest run first, by label; of one label the newest first."""
    for label, _, sealed in merge(*(_placed(run, -number) for number, run in enumerate(runs))):
        yield label, sealed


def _placed(rows: Iterable[SealedRow], place: int) -> Iterator[tuple[bytes, int, bytes]]:
    for label, sealed in rows:
        yield label, place, sealed
