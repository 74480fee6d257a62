"""Rows of CSV, or one identifier a line: text in UTF-8, separated by commas. Memory stays flat.

A file that cannot be read at all (UTF-16, binary) is refused as a whole; a line that cannot is a bad row.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from io import SEEK_END, BytesIO
from typing import BinaryIO, Final, final

from riskshare.errors import InputError
from riskshare.sharing.row_place import BLOCK, MAX_LINE, Chunk, Place, is_blank
from riskshare.sharing.rows import BadRow, Columns, Defaults, RawRow, understand

MAX_LINES: Final = 64
"""Most lines of one row. A quote that is not closed costs its own row, and not all that follow."""

SLOW_ROWS: Final = 2000
"""Rows of a chunk that only this process can take apart, since some of them go over several lines."""

_Fault = tuple[str, str]
"""A code, and what was expected."""

_IN_PLACE: Final = "-\n"
"""What the CSV reader gets in place of a line that cannot be read."""


@final
class CsvSource:
    """`row_place.Source` over a file that can be read from any place.

    Raises InputError: `file_encoding`, `no_column`.
    """

    def __init__(self, file: BinaryIO, defaults: Defaults) -> None:
        self._file = file
        self.total: int | None = file.seek(0, SEEK_END)
        file.seek(0)
        self._early: list[RawRow] = []
        self.columns: Columns | None = None
        self._first = Place()
        rows = CsvRows(file, Place())
        for row in rows:
            _, cells, _ = row
            if cells is None:
                self._early.append(row)
            elif not is_blank(cells):
                self.columns, is_header = understand([str(cell) for cell in cells], defaults)
                self._first = rows.place if is_header else rows.before
                break
        else:
            self._first = rows.place

    def chunks(self, place: Place) -> Iterator[Chunk]:
        """The rows behind a place: as text where every line is a row, else taken apart here."""
        if place == Place():
            place = self._first
            if self._early:
                yield Chunk(place, rows=self._early)
        while True:
            self._file.seek(place.offset)
            block = self._file.read(BLOCK)
            if not block:
                return
            whole = block if len(block) < BLOCK and block.endswith(b"\n") else block[: block.rfind(b"\n") + 1]
            if whole and place.offset and _is_plain(whole):
                place, line = Place(place.offset + len(whole), place.line + whole.count(b"\n")), place.line + 1
                yield Chunk(place, text=whole, line=line)
                continue
            chunk = self._apart(place, place.offset + max(len(whole), 1))
            place = chunk.after
            yield chunk

    def _apart(self, place: Place, until: int) -> Chunk:
        """Rows taken apart here, until one ends at or behind `until`."""
        self._file.seek(place.offset)
        rows = CsvRows(self._file, place)
        taken: list[RawRow] = []
        for row in rows:
            taken.append(row)
            if rows.place.offset >= until or len(taken) >= SLOW_ROWS:
                break
        return Chunk(rows.place, rows=taken)


def _is_plain(block: bytes) -> bool:
    """Whether each line of a block is a row by itself, so that it can be cut here and taken apart elsewhere."""
    if b'"' not in block:
        return True
    lines = [line + "\n" for line in block.decode("utf-8", "replace").split("\n")[:-1]]
    reader = csv.reader(lines, strict=True)
    try:
        return sum(1 for _ in reader) == len(lines)
    except csv.Error:
        return False


def rows_of_text(text: bytes, line: int) -> Iterator[RawRow]:
    """The rows of a chunk's text, whose first line has that number in its file."""
    if (plain := _plain_text(text)) is not None:
        return ((number, cells.split(","), None) for number, cells in enumerate(plain.split("\n"), line))
    return CsvRows(BytesIO(text), Place(1, line - 1))


def _plain_text(text: bytes) -> str | None:
    """The text in which every comma parts two cells and every line end two rows; None if that takes a CSV reader."""
    ends = text.replace(b"\r\n", b"\n") if b"\r" in text else text
    if b'"' in ends or b"\r" in ends or b"\x00" in ends or max(map(len, ends.split(b"\n"))) >= MAX_LINE:
        return None
    try:
        return ends.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError:
        return None


@final
class CsvRows:
    """The rows from a place on: `place` is behind the last one, `before` in front of it."""

    def __init__(self, file: BinaryIO, place: Place) -> None:
        self.place = self.before = place
        self._lines = _Lines(file, place)
        self._reader = csv.reader(self._lines, strict=True)

    def __iter__(self) -> Iterator[RawRow]:
        return self

    def __next__(self) -> RawRow:
        lines = self._lines
        lines.begin()
        self.before = Place(lines.offset, lines.number)
        cells: list[str] | None = None
        try:
            cells = next(self._reader)
        except csv.Error:
            lines.put_back()
            self._reader = csv.reader(lines, strict=True)
            lines.fault = lines.fault or (
                "csv",
                "The line is not valid CSV: a quote is missing or in the wrong place, or lines do not end with LF.",
            )
        self.place = Place(lines.offset, lines.number)
        start = self.before.line + 1
        fault = None if lines.fault is None else BadRow(start, "", *lines.fault)
        too_long = fault is not None and fault.code == "too_long"
        return start, None if too_long else cells, fault


class _Lines:
    """The file's lines as text for the CSV reader, with what was wrong with those of the row under way."""

    def __init__(self, file: BinaryIO, place: Place) -> None:
        self.number = place.line
        self.offset = place.offset
        self.fault: _Fault | None = None
        self._taken: list[tuple[str, _Fault | None, int]] = []
        self._length = 0
        self._again: deque[tuple[str, _Fault | None, int]] = deque()
        self._file = file

    def begin(self) -> None:
        """Begin a row."""
        self.fault = None
        self._taken.clear()
        self._length = 0

    def put_back(self) -> None:
        """Take the row's lines but the first to be lines of other rows."""
        self._again.extendleft(reversed(self._taken[1:]))
        self.number -= len(self._taken) - 1
        self.offset -= sum(size for _, _, size in self._taken[1:])
        self.fault = self._taken[0][1]

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._taken and (len(self._taken) >= MAX_LINES or self._length > MAX_LINE):
            raise csv.Error
        text, fault, size = self._again.popleft() if self._again else self._read()
        self.number += 1
        self.offset += size
        self.fault = self.fault or fault
        self._taken.append((text, fault, size))
        self._length += len(text)
        return text

    def _read(self) -> tuple[str, _Fault | None, int]:
        line = self._file.readline(MAX_LINE + 1)
        size = len(line)
        if not line:
            raise StopIteration
        first = self.offset == 0
        if first:
            line = _without_mark(line)
        if len(line) > MAX_LINE:
            return _IN_PLACE, ("too_long", f"A line is at most {MAX_LINE} bytes long."), size + self._skip_rest(line)
        if b"\x00" in line:
            if first:
                raise InputError("The file is not text, or in UTF-16. Give CSV in UTF-8.", code="file_encoding")
            return _IN_PLACE, ("encoding", "The line holds a NUL byte: it is no text."), size
        try:
            return line.decode("utf-8"), None, size
        except UnicodeDecodeError:
            # A header may name other columns in any encoding; those that we look for are ASCII.
            text = line.decode("utf-8", "replace") if first else _IN_PLACE
            return text, ("encoding", "The line is not UTF-8. Convert the file: iconv -f LATIN1 -t UTF-8 FILE."), size

    def _skip_rest(self, line: bytes) -> int:
        skipped = 0
        while line and not line.endswith(b"\n"):
            line = self._file.readline(MAX_LINE)
            skipped += len(line)
        return skipped


def _without_mark(line: bytes) -> bytes:
    if line.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError("The file is in UTF-16. Convert it: iconv -f UTF-16 -t UTF-8 FILE.", code="file_encoding")
    if line.startswith((b"PK\x03\x04", b"PAR1", b"\x1f\x8b")):
        raise InputError("The file is not text: a workbook, Parquet or an archive. Give CSV.", code="file_encoding")
    return line.removeprefix(b"\xef\xbb\xbf")
