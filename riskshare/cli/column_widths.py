"""How wide the columns of a table are on a terminal: no word, id or number is broken (pure)."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

GAP = 2
"""Cells of space between two columns."""

EDGES = 2
"""Cells of space before the first and behind the last one."""


def column_widths(columns: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """The width of each column, in terminal cells, for a table of at most `room`; None: it does not fit.

    `columns` are the texts of each column, its heading among them. Every text gets a line of its own if that fits;
    else texts are broken between words, those first that need most.
    """
    least = [max((cell_len(word) for text in column for word in text.split()), default=0) for column in columns]
    most = [max((cell_len(line) for text in column for line in text.splitlines()), default=0) for column in columns]
    spare = room - EDGES - GAP * (len(columns) - 1) - sum(least)
    if spare < 0:
        return None
    widths = least[:]
    waiting = sorted(range(len(columns)), key=lambda place: most[place] - least[place])
    for done, place in enumerate(waiting):
        more = min(most[place] - least[place], spare // (len(columns) - done))
        widths[place] += more
        spare -= more
    return widths
