"""The rows of a file to be imported: CSV, or one identifier a line. Rules only; memory stays flat.

Every row becomes a `Row` or a `BadRow` that says line, column, code and what was expected; the text of a bad
row is repeated nowhere. A file that cannot be read at all (UTF-16, binary, an empty one) is refused as a whole.

Columns are separated by commas. When the first line names them: `identifier` (type:value), or `type` and `value`, or
the column that the operator names; besides `level`, `reason`, `evidence`, `case`, `appeal`, and `days` or
`valid_until` (2026-12-31, the end of that day in UTC, or RFC 3339). A row's own entry goes before the import's default.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import BinaryIO, Final

from riskshare.encoding import parse_time
from riskshare.errors import EncodingError, IdentifierError, InputError
from riskshare.membership.identifier import TYPES, Identifier, make, parse
from riskshare.membership.record import LEVELS, Record

MAX_LINE: Final = 64 * 1024
"""Longest line in bytes, and longest row, should it go over several lines in quotes."""

MAX_LINES: Final = 64
"""Most lines of one row. A quote that is not closed costs its own row, and not all that follow."""

MAX_DAYS: Final = 3650

MANY_RECORDS: Final = 1024
"""Records of rows that are remembered: most files have a few different ones, and each is costly to make."""

OWN_COLUMNS: Final = ("level", "reason", "evidence", "case", "appeal", "days", "valid_until")
_KNOWN: Final = frozenset({"identifier", "type", "value", *OWN_COLUMNS})
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DAYS = re.compile(r"[1-9][0-9]{0,3}")
_LAST_MOMENT: Final = time(23, 59, 59, 999_000, tzinfo=UTC)
_SOME_DAY: Final = datetime(2026, 1, 1, tzinfo=UTC)
_Fault = tuple[str, str]
"""A code, and what was expected."""

_IN_PLACE: Final = "-\n"
"""What the CSV reader gets in place of a line that cannot be read."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for rows that do not say otherwise.

    `type` is the identifier type of the values, or "" if each row names its own; `column` the header of their
    column; `region` the default region of phone numbers (ISO 3166-1, such as CN), or "". `most_days` is the longest
    term that the network allows entries of the category.
    """

    category: str
    type: str = ""
    column: str = ""
    region: str = ""
    level: str = "high"
    reason: str = "reported"
    evidence: str = ""
    appeal: str = ""
    days: int = 180
    most_days: int = MAX_DAYS


@dataclass(frozen=True, slots=True)
class Row:
    """A row that can be imported. Rows with the same entries of their own mostly share one `record`."""

    line: int
    identifier: Identifier = field(repr=False)
    record: Record = field(repr=False)


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot: one-based line, column (its name, or its number from 1), code, what was expected."""

    line: int
    column: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where things stand in a line (name -> index), its width, and what the column of identifiers is called."""

    names: Mapping[str, int]
    width: int
    subject: str


@dataclass(frozen=True, slots=True)
class _Usual:
    """What holds for all rows: the defaults, the time of the import, and the records that rows have made before."""

    defaults: Defaults
    now: datetime
    records: dict[tuple[str, ...], Record | BadRow]

    def record(self, own: tuple[str, ...]) -> Record | BadRow:
        """The record of a row with these entries in OWN_COLUMNS; a BadRow (of line 0) if there can be none."""
        found = self.records.get(own)
        if found is None:
            if len(self.records) >= MANY_RECORDS:
                self.records.clear()
            found = self.records[own] = self._make(
                {name: text for name, text in zip(OWN_COLUMNS, own, strict=True) if text}
            )
        return found

    def _make(self, own: Mapping[str, str]) -> Record | BadRow:
        for name, text in own.items():
            if (expected := _fault_of(name, text, self.now)) is not None:
                return BadRow(0, name, f"{name}_invalid", expected)
        try:
            record = _record(own, self.defaults, self.now)
            record.to_bytes()
        except EncodingError as error:
            return BadRow(0, "", "record_invalid", error.message)
        return record


def read_rows(file: BinaryIO, defaults: Defaults, now: datetime) -> Iterator[Row | BadRow]:
    """Read a file row by row.

    Raises:
        InputError: `file_empty`, `file_encoding` (not UTF-8, not text), `no_column` (the header has no column of
            identifiers, or two of one name), `default_invalid` (a default outside its rules).

    """
    check_defaults(defaults)
    usual = _Usual(defaults, now, {})
    columns: _Columns | None = None
    seen = False
    for line, cells, fault in _cells(file):
        if cells is not None and not any(cell.strip() for cell in cells):
            continue
        if columns is None and cells is not None:
            columns, is_header = _columns(cells, defaults)
            if is_header:
                continue
        seen = True
        if fault is not None or cells is None or columns is None:
            yield fault or BadRow(line, "", "csv", "The line is not valid CSV.")
        else:
            yield _row(line, cells, columns, usual)
    if not seen:
        raise InputError("The file has no rows. Check that it is the right file.", code="file_empty")


def check_defaults(defaults: Defaults) -> None:
    """Refuse defaults that no row could take. Raises InputError `default_invalid`."""
    if defaults.type and (defaults.type not in TYPES or defaults.type == "canary"):
        known = ", ".join(name for name in TYPES if name != "canary")
        raise InputError(f"There is no identifier type of that name; the types are {known}.", code="default_invalid")
    if defaults.level not in LEVELS:
        raise InputError(f"A risk level is one of {', '.join(LEVELS)}.", code="default_invalid")
    if not 0 < defaults.days <= MAX_DAYS:
        raise InputError(f"A term is from 1 to {MAX_DAYS} days.", code="default_invalid")
    try:
        _record({}, defaults, _SOME_DAY).to_bytes()
    except EncodingError as error:
        raise InputError(error.message, code="default_invalid") from error
    try:
        make("phone", "0", region=defaults.region or None)
    except IdentifierError as error:
        if error.reason == "region":
            raise InputError(error.message, code="default_invalid") from error


class _Lines:
    """The file's lines as text for the CSV reader, with what was wrong with those of the row under way."""

    def __init__(self, file: BinaryIO) -> None:
        self.number = 0
        self.fault: _Fault | None = None
        self._taken: list[tuple[str, _Fault | None]] = []
        self._length = 0
        self._again: deque[tuple[str, _Fault | None]] = deque()
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
        self.fault = self._taken[0][1]

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._taken and (len(self._taken) >= MAX_LINES or self._length > MAX_LINE):
            raise csv.Error
        text, fault = self._again.popleft() if self._again else self._read()
        self.number += 1
        self.fault = self.fault or fault
        self._taken.append((text, fault))
        self._length += len(text)
        return text

    def _read(self) -> tuple[str, _Fault | None]:
        line = self._file.readline(MAX_LINE + 1)
        if not line:
            raise StopIteration
        first = self.number == 0
        if first:
            line = _without_mark(line)
        if len(line) > MAX_LINE:
            self._skip_rest(line)
            return _IN_PLACE, ("too_long", f"A line is at most {MAX_LINE} bytes long.")
        if b"\x00" in line:
            if first:
                raise InputError("The file is not text, or in UTF-16. Give CSV in UTF-8.", code="file_encoding")
            return _IN_PLACE, ("encoding", "The line holds a NUL byte: it is no text.")
        try:
            return line.decode("utf-8"), None
        except UnicodeDecodeError:
            # A header may name other columns in any encoding; those that we look for are ASCII.
            text = line.decode("utf-8", "replace") if first else _IN_PLACE
            return text, ("encoding", "The line is not UTF-8. Convert the file: iconv -f LATIN1 -t UTF-8 FILE.")

    def _skip_rest(self, line: bytes) -> None:
        while line and not line.endswith(b"\n"):
            line = self._file.readline(MAX_LINE)


def _cells(file: BinaryIO) -> Iterator[tuple[int, list[str] | None, BadRow | None]]:
    """Each row: its first line, its cells (None if that cannot be told), and what is wrong with it as a whole."""
    lines = _Lines(file)
    reader = csv.reader(lines, strict=True)
    while True:
        lines.begin()
        start = lines.number + 1
        cells: list[str] | None = None
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            lines.put_back()
            reader = csv.reader(lines, strict=True)
            lines.fault = lines.fault or (
                "csv",
                "The line is not valid CSV: a quote is missing or in the wrong place, or lines do not end with LF.",
            )
        fault = None if lines.fault is None else BadRow(start, "", *lines.fault)
        too_long = fault is not None and fault.code == "too_long"
        yield start, None if too_long else cells, fault


def _without_mark(line: bytes) -> bytes:
    if line.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError("The file is in UTF-16. Convert it: iconv -f UTF-16 -t UTF-8 FILE.", code="file_encoding")
    if line.startswith((b"PK\x03\x04", b"PAR1", b"\x1f\x8b")):
        raise InputError("The file is not text: a workbook, Parquet or an archive. Give CSV.", code="file_encoding")
    return line.removeprefix(b"\xef\xbb\xbf")


def _columns(cells: Sequence[str], defaults: Defaults) -> tuple[_Columns, bool]:
    """Understand the first line: a header, or the first row already."""
    names = [cell.strip().lower() for cell in cells]
    wanted = defaults.column.strip().lower()
    if not wanted and _KNOWN.isdisjoint(names):
        return _Columns({"value" if defaults.type else "identifier": 0}, len(names), "1"), False
    if wanted and wanted not in names:
        raise InputError("The first line does not name the column given with --column.", code="no_column")
    if any(names.count(name) > 1 for name in (_KNOWN if not wanted else {wanted, "type", *OWN_COLUMNS})):
        raise InputError("The header names one column twice. Rename one of them.", code="no_column")
    found = {name: index for index, name in enumerate(names) if name in OWN_COLUMNS or name == "type"}
    if wanted:
        found.pop(wanted, None)
        subject = "value" if defaults.type or "type" in found else "identifier"
        return _Columns({**found, subject: names.index(wanted)}, len(names), defaults.column.strip()), True
    if "identifier" in names:
        return _Columns({**found, "identifier": names.index("identifier")}, len(names), "identifier"), True
    if "value" not in names or not (defaults.type or "type" in found):
        raise InputError(
            "The header needs a column identifier, or type and value, separated by commas; or name the column with "
            "--column and its type with --type.",
            code="no_column",
        )
    return _Columns({**found, "value": names.index("value")}, len(names), "value"), True


def _row(line: int, cells: Sequence[str], columns: _Columns, usual: _Usual) -> Row | BadRow:
    if len(cells) != columns.width:
        return BadRow(line, "", "columns", f"The line has {len(cells)} columns, the first one {columns.width}.")
    named = {name: cells[index] for name, index in columns.names.items()}
    try:
        identifier = _identifier(named, usual.defaults)
    except IdentifierError as error:
        column = "type" if error.reason == "unknown_type" and "type" in named else columns.subject
        return BadRow(line, column, error.reason, error.message)
    record = usual.record(tuple([named.get(name, "").strip() for name in OWN_COLUMNS]))
    return replace(record, line=line) if isinstance(record, BadRow) else Row(line, identifier, record)


def _identifier(named: Mapping[str, str], defaults: Defaults) -> Identifier:
    if "identifier" in named:
        return parse(named["identifier"])
    type_name = named.get("type", "").strip() or defaults.type
    return make(type_name, named["value"], region=defaults.region or None)


def _fault_of(name: str, text: str, now: datetime) -> str | None:
    """What was expected in one of a row's own columns, None if it is there."""
    if name == "level" and text not in LEVELS:
        return f"A level is one of {', '.join(LEVELS)}."
    if name == "days" and (_DAYS.fullmatch(text) is None or int(text) > MAX_DAYS):
        return f"A number of days is from 1 to {MAX_DAYS}."
    if name == "valid_until":
        until = _until(text)
        if until is None:
            return "A date is written 2026-12-31 or 2026-12-31T23:59:59.000Z."
        if not timedelta(0) < until - now <= timedelta(days=MAX_DAYS):
            return f"The end of a term lies from now to {MAX_DAYS} days ahead."
    return None


def _until(text: str) -> datetime | None:
    try:
        if _DATE.fullmatch(text):
            return datetime.combine(date.fromisoformat(text), _LAST_MOMENT)
        return parse_time(text)
    except (ValueError, EncodingError):
        return None


def _record(own: Mapping[str, str], defaults: Defaults, now: datetime) -> Record:
    until = _until(own["valid_until"]) if "valid_until" in own else None
    return Record(
        category=defaults.category,
        reason=own.get("reason", defaults.reason),
        level=own.get("level", defaults.level),
        evidence=own.get("evidence", defaults.evidence),
        listed_at=now,
        valid_until=until or now + timedelta(days=int(own.get("days", defaults.days))),
        case=own.get("case", ""),
        appeal=own.get("appeal", defaults.appeal),
    )
