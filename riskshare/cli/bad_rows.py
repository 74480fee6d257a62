"""Bad rows: all of them to a file, the first ones to the screen. The text of no row is in either."""

from __future__ import annotations

import csv
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TextIO, final

from riskshare.cli.screen import Screen, counted
from riskshare.errors import InputError
from riskshare.keys import disk_errors
from riskshare.sharing.rows import BadRow

SHOWN: Final = 20


@final
class BadRows:
    """Takes bad rows as they come. The file is made with the first one; an older report there is written over."""

    def __init__(self, path: Path, source: Path) -> None:
        """`source` is the file that is imported. Raises InputError if the report would be written over it."""
        if path.exists() and path.samefile(source):
            raise InputError("The report of bad rows would be written over the file itself. Name another one.")
        self.path = path
        self.first: list[BadRow] = []
        self.count = 0
        self._file: TextIO | None = None

    def add(self, row: BadRow) -> None:
        """Report a row. Raises DiskError."""
        with disk_errors(self.path):
            if self._file is None:
                self._file = self.path.open("w", encoding="utf-8", newline="")
                csv.writer(self._file).writerow(("line", "column", "code", "expected"))
            csv.writer(self._file).writerow((row.line, row.column, row.code, row.message))
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(row)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            with disk_errors(self.path):
                self._file.close()

    def to_json(self) -> dict[str, Any]:
        """For a program."""
        first = [
            {"line": row.line, "column": row.column, "code": row.code, "expected": row.message} for row in self.first
        ]
        return {"bad_rows": first, "bad_rows_file": str(self.path) if self.count else None}

    def tell(self, screen: Screen) -> None:
        """Show the first ones."""
        if not self.count:
            return
        rows = [(f"{row.line:,}", row.column or "-", row.code, row.message) for row in self.first]
        screen.table(("line", "column", "code", "expected"), rows, right=("line",))
        shown = f", the first {SHOWN} of them above" if self.count > SHOWN else ""
        screen.say(
            f"Reported in {self.path}: {counted(self.count, 'bad row')}{shown}; the text of no row is in it.", "dim"
        )
