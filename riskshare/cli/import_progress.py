"""What an import shows while it runs: a bar with the rate and the time left, and what it is at."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from riskshare.cli.bad_rows import BadRows
from riskshare.cli.screen import Screen, counted, minute
from riskshare.sharing.importing import Watcher
from riskshare.sharing.kept import ImportCounts
from riskshare.sharing.row_place import Place
from riskshare.sharing.rows import BadRow
from riskshare.sharing.staged import ImportRow


@final
class Shown(Watcher):
    """Shows on standard error how an import goes, and passes bad rows on to their report."""

    def __init__(self, bar: Progress, screen: Screen, bad: BadRows) -> None:
        self._bar = bar
        self._screen = screen
        self._bad = bad
        self._task = bar.add_task("Reading", total=None, rows=0, rate=0.0)
        self._since = (time.monotonic(), 0)
        self.stored = 0

    def began(self, row: ImportRow, *, resumed: bool, total: int | None) -> None:
        """It begins, or goes on."""
        self.stored = row.rows
        self._since = (time.monotonic(), row.rows)
        self._bar.update(self._task, total=total, completed=row.place.offset, rows=row.rows)
        if resumed and row.state == "read":
            self._screen.note(
                f"Its {counted(row.rows, 'row was', 'rows were')} read already, from {minute(row.began_at)} on."
            )
        elif resumed and row.rows:
            self._screen.note(f"Resuming at row {row.rows + 1:,} of an import begun at {minute(row.began_at)}.")

    def moved(self, place: Place, rows: int) -> None:
        """So much is stored."""
        self.stored = rows
        began, before = self._since
        rate = (rows - before) / max(time.monotonic() - began, 1e-3)
        self._bar.update(self._task, completed=place.offset, rows=rows, rate=rate)

    def bad(self, row: BadRow) -> None:
        """A row is bad."""
        self._bad.add(row)

    def repeated(self, line: int, counting: int) -> None:
        """A later row overrides that of `line`."""
        self._bad.repeated(line, counting)

    def counted(self, counts: ImportCounts) -> None:
        """What a replacement is going to do."""
        self._screen.note(
            f"The file is the whole list: {counts.new + counts.relisted:,} to add, {counts.replaced:,} to change, "
            f"{counted(counts.withdrawn, 'entry', 'entries')} to withdraw.",
            "dim",
        )

    def writing(self) -> None:
        """The file is read."""
        self._bar.update(self._task, description="Writing", total=None)


@contextmanager
def shown(screen: Screen, bad: BadRows) -> Iterator[Shown]:
    """A bar on a terminal, nothing elsewhere."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]:,} rows, {task.fields[rate]:,.0f} a second"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=screen.err, transient=True, disable=not screen.err.is_terminal) as bar:
        yield Shown(bar, screen, bad)
