"""Cells that are no text already: numbers, dates and the rest of typed files, as the text that a row holds."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Final

from riskshare.sharing.row_place import MAX_LINE
from riskshare.sharing.rows import Cell, Odd

EXACT_DIGITS: Final = 15
"""Decimal digits of a whole number that a spreadsheet, or a double, keeps for certain."""

_AS_TEXT: Final = "format the column as text, so that no digit is lost"
_NOT_EXACT: Final = Odd("number_inexact", "A number that may have lost digits names nobody for certain.", _AS_TEXT)
_NO_TEXT: Final = Odd("cell_type", "A cell holds a text, a whole number or a date.")


def as_cell(value: object, *, exact: bool = True) -> Cell:
    """The text of a value, "" for none.

    Whole numbers become their digits; `exact` says that an integer was kept as one, and not as a spreadsheet keeps it.
    A date is written 2026-12-31; a time without zone counts as UTC.
    """
    if type(value) is str:
        return value if len(value) <= MAX_LINE else Odd("too_long", f"A cell is at most {MAX_LINE} characters long.")
    if value is None:
        return ""
    if isinstance(value, bool):
        return _NO_TEXT
    if isinstance(value, int):
        return str(value) if exact and abs(value) < 10**40 else _whole(value)
    if isinstance(value, (float, Decimal)):
        whole = int(value) if -(10**EXACT_DIGITS) < value < 10**EXACT_DIGITS else None
        return str(whole) if whole is not None and value == whole else _NOT_EXACT
    if isinstance(value, datetime):
        return _moment(value)
    return value.isoformat() if isinstance(value, date) else _NO_TEXT


def _whole(value: int) -> Cell:
    return str(value) if abs(value) < 10**EXACT_DIGITS else _NOT_EXACT


def _moment(value: datetime) -> str:
    moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if moment.timetz() == time(tzinfo=UTC):
        return moment.date().isoformat()
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
