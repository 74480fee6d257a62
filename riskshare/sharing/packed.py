"""Rows of a list behind one another: so they cross from process to process, wait to be written, and are sorted.

A row is a label and a sealed record. Of each kind there is one byte string instead of one for each row: a list of
millions is copied, sorted and cut into blocks without an object for each of its rows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Final, final

from riskshare.membership.bloom import LABEL_BYTES

SealedRow = tuple[bytes, bytes]
"""A label (16 bytes) and a sealed record."""

_LENGTH_BYTES: Final = 4


@final
class PackedRows:
    """Rows in any order: iterate for (label, sealed record).

    `labels` has 16 bytes for each, `lengths` the length of its sealed record as 32 bits, little-endian, `sealed` the
    sealed records.
    """

    __slots__ = ("labels", "lengths", "sealed")

    def __init__(self, labels: bytes, lengths: bytes, sealed: bytes) -> None:
        self.labels = labels
        self.lengths = lengths
        self.sealed = sealed

    @classmethod
    def of(cls, rows: Iterable[SealedRow]) -> PackedRows:
        """Pack rows."""
        labels, sealed = zip(*rows, strict=True) if (rows := list(rows)) else ((), ())
        return cls(b"".join(labels), packed_lengths(map(len, sealed)), b"".join(sealed))

    def __len__(self) -> int:
        return len(self.labels) // LABEL_BYTES

    def __iter__(self) -> Iterator[SealedRow]:
        labels, sealed = self.labels, self.sealed
        ends = accumulate(unpacked_lengths(self.lengths), initial=0)
        for at, (start, end) in enumerate(pairwise(ends)):
            yield labels[LABEL_BYTES * at : LABEL_BYTES * (at + 1)], sealed[start:end]

    def without_records(self) -> PackedRows:
        """The same labels, each with an empty record."""
        return PackedRows(self.labels, bytes(len(self.lengths)), b"")


def packed_lengths(lengths: Iterable[int]) -> bytes:
    """Lengths as `PackedRows` has them."""
    found = list(lengths)
    return struct.pack(f"<{len(found)}I", *found)


def unpacked_lengths(packed: bytes) -> tuple[int, ...]:
    """What `packed_lengths` packed."""
    return struct.unpack(f"<{len(packed) // _LENGTH_BYTES}I", packed)


@final
class SortedRows:
    """Rows by label, of one label in the order in which they came: iterate for (label, sealed record).

    Their order is found by numpy, which takes a tenth of the time and lets the interpreter go on meanwhile: by the
    first halves of the labels, which are random, and by whole labels only if two have the same first half.
    """

    def __init__(self, labels: bytes | bytearray, lengths: bytes | bytearray, sealed: bytes | bytearray) -> None:
        """Sort rows as `PackedRows` has them; `sealed` is kept, not copied, and must not change any more."""
        import numpy as np  # noqa: PLC0415 - for those alone who write a base

        halves = np.frombuffer(labels, dtype=">u8").astype(np.uint64).reshape(-1, 2)
        high, low = halves.T
        order = np.argsort(high)
        first = high[order]
        if (first[1:] == first[:-1]).any():
            order = np.lexsort((low, high))
        self._order = order
        self._halves = halves[order]
        self._lengths = np.frombuffer(lengths, dtype="<u4").astype(np.int64)
        self._ends = np.cumsum(self._lengths)
        self._sealed = memoryview(sealed).toreadonly()

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[SealedRow]:
        labels, sealed = self._labels, self._sealed
        for at, (start, end) in enumerate(self._placed):
            yield labels[LABEL_BYTES * at : LABEL_BYTES * (at + 1)], bytes(sealed[start:end])

    def block(self, start: int, end: int) -> tuple[bytes, list[memoryview]]:
        """The joined labels of rows from `start` up to `end`, and their sealed records."""
        sealed = self._sealed
        labels = self._labels[LABEL_BYTES * start : LABEL_BYTES * end]
        return labels, [sealed[begins:ends] for begins, ends in self._placed[start:end]]

    @property
    def distinct(self) -> bool:
        """Whether no two rows have one label."""
        return not bool((self._halves[1:] == self._halves[:-1]).all(axis=1).any())

    @property
    def shortest(self) -> int:
        """The length of the shortest sealed record; 0 if there are no rows."""
        return int(self._lengths.min()) if len(self) else 0

    @property
    def longest(self) -> int:
        """The length of the longest sealed record; 0 if there are no rows."""
        return int(self._lengths.max()) if len(self) else 0

    @cached_property
    def _labels(self) -> bytes:
        return self._halves.astype(">u8").tobytes()

    @cached_property
    def _placed(self) -> list[tuple[int, int]]:
        """Where each sealed record begins and ends, in the order of the labels."""
        ends = self._ends[self._order]
        return list(zip((ends - self._lengths[self._order]).tolist(), ends.tolist(), strict=True))
