"""Bad rows: all of them to a file, the first ones to the screen. The text of no row is in either."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TextIO, final

from riskshare.cli.screen import Screen, counted
from riskshare.errors import InputError
from riskshare.keys import disk_errors
from riskshare.sharing.rows import BadRow

SHOWN: Final = 20
PRINTED: Final = 1000
"""Rows in the JSON that is printed; the file has all of them."""

COLUMNS: Final = ("line", "column", "code", "expected", "suggestion")


@final
class BadRows:
    """Takes bad rows as they come. The file is made with the first one; an older report there is written over.

    Where no row is bad, an older report is taken away: it would be read as this import's.

    A file whose name ends in .json is written as an array of objects, any other as CSV.
    """

    def __init__(self, path: Path, source: Path) -> None:
        """`source` is the file that is imported. Raises InputError if the report would be written over it."""
        if path.exists() and path.samefile(source):
            raise InputError("The report of bad rows would be written over the file itself. Name another one.")
        self.path = path
        self.first: list[BadRow] = []
        self.count = 0
        self._reported = 0
        self._json = path.suffix.lower() == ".json"
        self._file: TextIO | None = None

    def add(self, row: BadRow) -> None:
        """Report a row. Raises DiskError."""
        self._write(row)
        self.count += 1
        if len(self.first) < PRINTED:
            self.first.append(row)

    def repeated(self, line: int, counting: int) -> None:
        """Report a row that another one overrides; it is not bad, and only in the file. Raises DiskError."""
        self._write(BadRow(line, "", "repeated", f"Line {counting} names the same; that one counts."))

    def _write(self, row: BadRow) -> None:
        with disk_errors(self.path):
            if self._file is None:
                self._file = self.path.open("w", encoding="utf-8", newline="")
                if not self._json:
                    csv.writer(self._file).writerow(COLUMNS)
            if self._json:
                self._file.write(("[\n" if not self._reported else ",\n") + json.dumps(_fields(row)))
            else:
                csv.writer(self._file).writerow(_fields(row).values())
        self._reported += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with disk_errors(self.path):
            if self._file is not None:
                if self._json:
                    self._file.write("\n]\n")
                self._file.close()
            elif error is None and self._is_report():
                self.path.unlink()

    def _is_report(self) -> bool:
        """Whether what lies there began as a report does; a file of somebody else's stays."""
        begins = b'[\n{"line": ' if self._json else ",".join(COLUMNS).encode()
        if not self.path.is_file():
            return False
        with self.path.open("rb") as file:
            return file.read(len(begins)) == begins

    def to_json(self) -> dict[str, Any]:
        """For a program."""
        return {
            "bad_rows": [_fields(row) for row in self.first],
            "bad_rows_file": str(self.path) if self._reported else None,
        }

    def tell(self, screen: Screen) -> None:
        """Show the first ones."""
        if not self.count:
            return
        shown = self.first[:SHOWN]
        used = COLUMNS if any(row.suggestion for row in shown) else COLUMNS[:-1]
        rows = [(f"{row.line:,}", row.column or "-", row.code, row.message, row.suggestion) for row in shown]
        screen.table(used, [row[: len(used)] for row in rows], right=("line",))
        more = f"; and {self.count - SHOWN:,} more in" if self.count > SHOWN else " reported in"
        screen.say(f"{counted(self.count, 'bad row')}{more} {self.path}; the text of no row is in it.", "dim")


def _fields(row: BadRow) -> dict[str, Any]:
    return dict(zip(COLUMNS, (row.line, row.column, row.code, row.message, row.suggestion), strict=True))
