"""Rows that come in any order and go out sorted, in bounded memory.

A list of some hundred thousand rows is sorted where it is. Beyond that, sorted runs go to scratch files and are
merged as they are read; what they hold is what will be published anyway, so nothing secret touches the disk.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from heapq import merge
from typing import BinaryIO, Final, final

from riskshare.membership.bloom import LABEL_BYTES
from riskshare.sharing.build import SealedRow

RUN_ROWS: Final = 2**19
"""Rows in memory at a time: about 250 MB."""

_HEAD: Final = struct.Struct(f"<{LABEL_BYTES}sI")


@final
class Runs:
    """Takes rows by `add`, and writes them away by `spill` when it is `full`; `sorted` gives them all, once.

    `scratch` opens a file that vanishes when it is closed.
    """

    def __init__(self, scratch: Callable[[], BinaryIO], limit: int = RUN_ROWS) -> None:
        self._scratch = scratch
        self._limit = limit
        self._rows: list[SealedRow] = []
        self._files: list[BinaryIO] = []

    @property
    def full(self) -> bool:
        """Whether it is time to spill."""
        return len(self._rows) >= self._limit

    def add(self, rows: Sequence[SealedRow]) -> None:
        """Take rows in."""
        self._rows += rows

    def spill(self) -> None:
        """Write what is in memory to a scratch file, sorted. Blocking.

        Raises:
            DiskError: a scratch file cannot be opened.
            OSError: it cannot be written.

        """
        self._rows.sort()
        file = self._scratch()
        self._files.append(file)
        for label, sealed in self._rows:
            file.write(_HEAD.pack(label, len(sealed)))
            file.write(sealed)
        self._rows = []

    def sorted(self) -> Iterator[SealedRow]:
        """All rows, by label."""
        self._rows.sort()
        if not self._files:
            return iter(self._rows)
        return merge(*map(_read, self._files), self._rows)

    def close(self) -> None:
        """Drop everything."""
        self._rows = []
        for file in self._files:
            file.close()
        self._files = []


def _read(file: BinaryIO) -> Iterator[SealedRow]:
    file.seek(0)
    while head := file.read(_HEAD.size):
        label, length = _HEAD.unpack(head)
        yield label, file.read(length)
