"""The rows of a file to be imported, whatever its format: what a row must hold, and what it becomes. Rules only.

Every row becomes a `Row` or a `BadRow` that says line, column, code, what was expected and, where one is certain, what
to write instead; the text of a bad row is repeated nowhere.

When the first line of a file names its columns: `identifier` (type:value), or `type` and `value`, or the column that
the operator names; besides `level`, `reason`, `evidence`, `case`, `appeal`, and `days` or `valid_until` (2026-12-31,
the end of that day in UTC, or RFC 3339), or the columns that the operator maps to these. A row's own entry goes
before the import's default.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, final

from riskshare.encoding import parse_time
from riskshare.errors import EncodingError, IdentifierError, InputError
from riskshare.membership.identifier import TYPES, Identifier, make, parse
from riskshare.membership.record import LEVELS, Record
from riskshare.sharing.never import NeverList
from riskshare.sharing.suggest import for_identifier, for_own, for_width

MAX_DAYS: Final = 3650
USUAL_DAYS: Final = 180

MANY_RECORDS: Final = 1024
"""Records of rows that are remembered: most files have a few different ones, and each is costly to make."""

OWN_COLUMNS: Final = ("level", "reason", "evidence", "case", "appeal", "days", "valid_until")
MAPPED_FIELDS: Final = (*OWN_COLUMNS, "type")
"""Fields whose column an operator can name."""

KNOWN: Final = frozenset({"identifier", "type", "value", *OWN_COLUMNS})
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DAYS = re.compile(r"[1-9][0-9]{0,3}")
_LAST_MOMENT: Final = time(23, 59, 59, 999_000, tzinfo=UTC)
_SOME_DAY: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for rows that do not say otherwise.

    `type` is the identifier type of the values, or "" if each row names its own; `column` the header of their
    column; `region` the default region of phone numbers (ISO 3166-1, such as CN), or ""; `most_days` the longest
    term that the network allows entries of the category. `fields` says under which header a field of `MAPPED_FIELDS`
    stands: (field, header) pairs.
    """

    category: str
    type: str = ""
    column: str = ""
    region: str = ""
    level: str = "high"
    reason: str = "reported"
    evidence: str = ""
    appeal: str = ""
    days: int = USUAL_DAYS
    most_days: int = MAX_DAYS
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """A row that can be imported. Rows with the same entries of their own mostly share one `record`."""

    line: int
    identifier: Identifier = field(repr=False)
    record: Record = field(repr=False)


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot: one-based line, column (its name, or its number from 1), code, what was expected.

    `suggestion` says what to write or to do instead where that is certain; never a part of an identifier.
    """

    line: int
    column: str
    code: str
    message: str
    suggestion: str = ""


@dataclass(frozen=True, slots=True)
class Odd:
    """A cell of a typed file that stands for no text: why, and what to do."""

    code: str
    message: str
    suggestion: str = ""


Cell = str | Odd
RawRow = tuple[int, Sequence[Cell] | None, BadRow | None]
"""A row as a format gives it: its line, its cells (None if that cannot be told), what is wrong with it as a whole."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Where things stand in a row (name -> index), its width, and what the columns are called in the file."""

    names: Mapping[str, int]
    width: int
    called: Mapping[str, str]


def usual_days(most: int) -> int:
    """The term of entries of which nobody says how long they stand, where the network allows `most` days."""
    return min(USUAL_DAYS, most)


def check_defaults(defaults: Defaults) -> None:
    """Refuse defaults that no row could take. Raises InputError `default_invalid`."""
    if defaults.type and (defaults.type not in TYPES or defaults.type == "canary"):
        known = ", ".join(name for name in TYPES if name != "canary")
        raise InputError(f"There is no identifier type of that name; the types are {known}.", code="default_invalid")
    if defaults.level not in LEVELS:
        raise InputError(f"A risk level is one of {', '.join(LEVELS)}.", code="default_invalid")
    if not 0 < defaults.days <= MAX_DAYS:
        raise InputError(f"A term is from 1 to {MAX_DAYS} days.", code="default_invalid")
    if defaults.days > defaults.most_days:
        raise InputError(f"{beyond(defaults.most_days)} Give a shorter term with --days.", code="term_too_long")
    check_fields(defaults.fields)
    try:
        _record({}, defaults, _SOME_DAY).to_bytes()
    except EncodingError as error:
        raise InputError(error.message, code="default_invalid") from error
    try:
        make("phone", "0", region=defaults.region or None)
    except IdentifierError as error:
        if error.reason == "region":
            raise InputError(error.message, code="default_invalid") from error


def parse_fields(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Read a mapping written FIELD=COLUMN. Raises InputError `mapping_invalid`."""
    if not all("=" in text for text in texts):
        raise InputError("A mapping is written FIELD=COLUMN, such as level=Risk.", code="mapping_invalid")
    fields = tuple((name.strip(), header.strip()) for name, _, header in (text.partition("=") for text in texts))
    check_fields(fields)
    return fields


def check_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Refuse a mapping of fields to columns that cannot be meant. Raises InputError `mapping_invalid`."""
    named = [name for name, _ in fields]
    if unknown := sorted(set(named) - set(MAPPED_FIELDS)):
        raise InputError(
            f"There is no field {unknown[0]!r} to map: the fields are {', '.join(MAPPED_FIELDS)}.",
            code="mapping_invalid",
        )
    if len(set(named)) != len(named) or not all(header.strip() for _, header in fields):
        raise InputError("A field is mapped twice, or to a column without a name.", code="mapping_invalid")


def understand(cells: Sequence[str], defaults: Defaults) -> tuple[Columns, bool]:
    """Understand the first line: a header (True), or the first row already.

    Raises:
        InputError: `no_column`: no column of identifiers, a column that was named and is not there, or two of a name.

    """
    names = [cell.strip().lower() for cell in cells]
    wanted = defaults.column.strip().lower()
    mapped = {name: header.strip().lower() for name, header in defaults.fields}
    if not wanted and not mapped and KNOWN.isdisjoint(names):
        _refuse_other_separators(cells)
        name = "value" if defaults.type else "identifier"
        return Columns({name: 0}, len(names), {name: "1"}), False
    if wanted and wanted not in names:
        raise InputError("The first line does not name the column given with --column.", code="no_column")
    for name, header in mapped.items():
        if header not in names:
            raise InputError(f"The first line does not name the column that {name} is mapped to.", code="no_column")
    looked_for = ({wanted, "type", *OWN_COLUMNS} if wanted else set(KNOWN)) | set(mapped.values())
    if any(names.count(name) > 1 for name in looked_for):
        raise InputError("The header names one column twice. Rename one of them.", code="no_column")
    own = {name: name for name in MAPPED_FIELDS if name in names and name != wanted} | mapped
    subject, header = _subject(names, wanted, typed=bool(defaults.type or "type" in own))
    found = {name: names.index(place) for name, place in own.items()} | {subject: names.index(header)}
    return Columns(found, len(names), {name: cells[index].strip() for name, index in found.items()}), True


def _subject(names: Sequence[str], wanted: str, *, typed: bool) -> tuple[str, str]:
    """What the column of identifiers holds (identifier or value), and its header."""
    if wanted:
        return ("value" if typed else "identifier"), wanted
    if "identifier" in names:
        return "identifier", "identifier"
    if "value" not in names or not typed:
        raise InputError(
            "The header needs a column identifier, or type and value, separated by commas; or name the column with "
            "--column and its type with --type.",
            code="no_column",
        )
    return "value", "value"


def _refuse_other_separators(cells: Sequence[str]) -> None:
    """A header in one cell, with semicolons or tabs, is no row of identifiers."""
    for separator in (";", "\t"):
        names = {name.strip().lower() for name in cells[0].split(separator)}
        if len(cells) == 1 and len(names) > 1 and not KNOWN.isdisjoint(names):
            raise InputError(
                "The columns are not separated by commas. Save the file as CSV with commas.", code="no_column"
            )


@final
class Rules:
    """What makes of the cells of a row a `Row` or a `BadRow`. It is pickled into worker processes."""

    def __init__(self, defaults: Defaults, now: datetime, columns: Columns, never: NeverList) -> None:
        self._defaults = defaults
        self._never = never
        self._now = now
        self._columns = columns
        self._width = columns.width
        self._needed = [(index, columns.called[name]) for name, index in columns.names.items()]
        self._whole = "identifier" in columns.names
        self._subject = columns.names["identifier" if self._whole else "value"]
        self._type = columns.names.get("type")
        self._region = defaults.region or None
        self._own = [(name, columns.names[name]) for name in OWN_COLUMNS if name in columns.names]
        self._records: dict[tuple[str, ...], Record | BadRow] = {}

    def judge(self, line: int, cells: Sequence[Cell]) -> Row | BadRow:
        """The row of that line."""
        if len(cells) != self._width:
            expected = f"The line has {len(cells)} column{'s' * (len(cells) != 1)}, the first one {self._width}."
            return BadRow(line, "", "columns", expected, for_width(len(cells), self._width))
        for index, called in self._needed:
            if type(odd := cells[index]) is Odd:
                return BadRow(line, called, odd.code, odd.message, odd.suggestion)
        return self._judge(line, cells)  # type: ignore[arg-type]  # none of those needed is odd

    def _judge(self, line: int, cells: Sequence[str]) -> Row | BadRow:
        subject = cells[self._subject]
        type_ = ""
        try:
            if self._whole:
                identifier = parse(subject)
            else:
                type_ = (cells[self._type].strip() if self._type is not None else "") or self._defaults.type
                identifier = make(type_, subject, region=self._region)
        except IdentifierError as error:
            name = "type" if error.reason == "unknown_type" and self._type is not None else self._subject_name
            suggestion = for_identifier(error.reason, type_, subject, whole=self._whole, region=bool(self._region))
            return BadRow(line, self._columns.called[name], error.reason, error.message, suggestion)
        if (rule := self._never.matching(identifier)) is not None:
            return BadRow(line, self._columns.called[self._subject_name], "never_listed", rule.refusal())
        record = self._record(tuple([cells[index].strip() for _, index in self._own]) if self._own else ())
        return replace(record, line=line) if type(record) is BadRow else Row(line, identifier, record)  # type: ignore[arg-type]

    @property
    def _subject_name(self) -> str:
        return "identifier" if self._whole else "value"

    def _record(self, own: tuple[str, ...]) -> Record | BadRow:
        """The record of a row with these entries of its own; a BadRow (of line 0) if there can be none."""
        found = self._records.get(own)
        if found is None:
            if len(self._records) >= MANY_RECORDS:
                self._records.clear()
            named = {name: text for (name, _), text in zip(self._own, own, strict=True) if text}
            found = self._records[own] = self._make(named)
        return found

    def _make(self, own: Mapping[str, str]) -> Record | BadRow:
        for name, text in own.items():
            if (expected := _fault_of(name, text, self._now)) is not None:
                better = for_own(name, text)
                certain = better and _fault_of(name, better, self._now) is None
                return BadRow(
                    0, self._columns.called[name], f"{name}_invalid", expected, f"write {better}" if certain else ""
                )
            if name in ("days", "valid_until") and _term(name, text, self._now) > timedelta(self._defaults.most_days):
                return BadRow(0, self._columns.called[name], "term_too_long", beyond(self._defaults.most_days))
        try:
            record = _record(own, self._defaults, self._now)
            record.to_bytes()
        except EncodingError as error:
            return BadRow(0, "", "record_invalid", error.message)
        return record


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


def beyond(most_days: int) -> str:
    """The sentence for a term that the network does not allow."""
    return f"The registry allows entries of this category at most {most_days} days."


def _term(name: str, text: str, now: datetime) -> timedelta:
    until = _until(text) if name == "valid_until" else None
    return until - now if until is not None else timedelta(days=int(text))


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
