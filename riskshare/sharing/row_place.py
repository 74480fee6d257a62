"""Where a reading of a file stands, and the pieces in which it goes on. Values only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from riskshare.sharing.rows import Cell, Columns, RawRow

BLOCK: Final = 128 * 1024
"""Bytes of text that are taken apart together: some thousand rows."""

MAX_LINE: Final = 64 * 1024
"""Longest line in bytes, longest row, should it go over several lines in quotes, and longest cell."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """How much of a file is behind: `offset` bytes or, of a table, rows; and as many lines."""

    offset: int = 0
    line: int = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows, and the place behind them: taken apart in `rows`, or as `text` whose first line is number `line`."""

    after: Place
    rows: Sequence[RawRow] | None = field(default=None, repr=False)
    text: bytes = field(default=b"", repr=False)
    line: int = 0


class Source(Protocol):
    """A file of one format. `columns` is None if it has no row that tells its columns.

    `total` is the offset of the place behind its last row, if that is known.
    """

    columns: Columns | None
    total: int | None

    def chunks(self, place: Place) -> Iterator[Chunk]:
        """What is behind that place, in bounded pieces."""


def is_blank(cells: Sequence[Cell]) -> bool:
    """Whether nothing stands in any cell."""
    return not any(type(cell) is not str or cell.strip() for cell in cells)
