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
from typing import BinaryIO, Final, final

from riskshare.errors import SegmentError
from riskshare.membership.bloom import LABEL_BYTES
from riskshare.sharing.build import SealedRow

RUN_ROWS: Final = 2**19
"""Rows in memory at a time: about 250 MB."""

GONE: Final = b""
"""In place of a sealed record: the label is listed no more."""

_PIECE: Final = 2**20
_HEAD: Final = struct.Struct(f"<{LABEL_BYTES}sI")


@final
class Rows:
    """Rows in memory, on their way to a run."""

    def __init__(self) -> None:
        self._rows: list[SealedRow] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, rows: Iterable[SealedRow]) -> None:
        """Take rows in."""
        self._rows += rows

    def sorted(self) -> Iterator[SealedRow]:
        """All rows, by label; of one label in the order in which they came.

        Their order is found by numpy, which takes a tenth of the time and lets the interpreter go on meanwhile: by the
        first halves of the labels, which are random, and by whole labels only if two have the same first half.
        """
        import numpy as np  # noqa: PLC0415 - for those alone who write a base

        labels = np.frombuffer(b"".join([label for label, _ in self._rows]), dtype=">u8").astype(np.uint64)
        high, low = labels.reshape(-1, 2).T
        order = np.argsort(high)
        first = high[order]
        if (first[1:] == first[:-1]).any():
            order = np.lexsort((low, high))
        return map(self._rows.__getitem__, order.tolist())


def write_run(out: BinaryIO, rows: Iterable[SealedRow]) -> tuple[int, bytes]:
    """Write sorted rows; give their number and the SHA-256 of what was written. Raises OSError."""
    whole = hashlib.sha256()
    count = 0
    for label, sealed in rows:
        row = _HEAD.pack(label, len(sealed)) + sealed
        whole.update(row)
        out.write(row)
        count += 1
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
