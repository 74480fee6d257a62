"""Periods as they are written on a command line: a day, or a moment; in UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from riskshare.errors import InputError

Period = tuple[datetime, datetime]
"""Half-open: from the first moment on, before the second."""

_FORM: Final = "A time is a day such as 2026-11-22, or a moment such as 2026-11-22T08:30:00Z."


def read_period(since: str, until: str) -> Period:
    """Read a period. A day at its end belongs to it whole.

    Raises:
        InputError: no such times, a moment without its zone, or it ends before it begins.

    """
    opened, closed = _read(since, at_end=False), _read(until, at_end=True)
    if not opened < closed:
        raise InputError("The period ends before it begins: --from is the earlier time, --to the later one.")
    return opened, closed


def check_begun(period: Period, now: datetime) -> None:
    """Refuse a period that is still to come. Raises InputError."""
    if period[0] >= now:
        raise InputError("The period has not begun yet, so there is nothing to show of it: give an earlier --from.")


def read_end(text: str) -> datetime:
    """Read when something ends; a day belongs to it whole. Raises InputError: no such time, or without its zone."""
    return _read(text, at_end=True)


def _read(text: str, *, at_end: bool) -> datetime:
    try:
        day = date.fromisoformat(text) + timedelta(days=at_end)
        return datetime.combine(day, time(), UTC)
    except (ValueError, OverflowError):
        pass
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError
        return moment.astimezone(UTC).replace(microsecond=moment.microsecond // 1000 * 1000)
    except (ValueError, OverflowError):
        raise InputError(_FORM) from None
