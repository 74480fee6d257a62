"""Where the ticks of an axis stand and what is written beside them: round numbers, round times (pure)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_MONDAY: Final = datetime(1970, 1, 5, tzinfo=UTC)
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_SECONDS: Final = (
    *(1, 5, 15, 30),
    *(count * _MINUTE for count in (1, 5, 15, 30)),
    *(count * _HOUR for count in (1, 3, 6, 12)),
    *(count * _DAY for count in (1, 2, 4, 7, 14)),
)
_IN_MONTHS: Final = (1, 2, 3, 6, 12, 24, 60, 120, 600, 1_200, 12_000)

SMALLEST_SPAN: Final = 1e-6
"""Values that lie closer together are drawn as one."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A value or time on an axis, as a number from 0 (its begin) to 1 (its end), and its text."""

    place: float
    text: str


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis of values from `low` to `high`, both round, and its ticks."""

    low: float
    high: float
    ticks: tuple[Tick, ...]

    def place(self, value: float) -> float:
        """Where a value lies, from 0 to 1."""
        return (value - self.low) / (self.high - self.low)


def value_scale(values: Iterable[float], ticks: int) -> Scale:
    """The axis that holds 0 and all values, in at most `ticks` + 2 steps of 1, 2 or 5 times a power of ten.

    Whole values have whole ticks. `values` is not empty.
    """
    values = (0.0, *values)
    least, most = min(values), max(values)
    if most - least < SMALLEST_SPAN:
        return Scale(0.0, 1.0, (Tick(0.0, "0"), Tick(1.0, "1")))
    rough = (most - least) / ticks
    if all(float(value).is_integer() for value in values):
        rough = max(rough, 1.0)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((factor * power for factor in (1, 2, 5) if factor * power >= rough), 10 * power)
    first, last = math.floor(least / step), math.ceil(most / step)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    low, high = first * step, last * step
    marks = (Tick((index - first) / (last - first), f"{index * step:,.{digits}f}") for index in range(first, last + 1))
    return Scale(low, high, tuple(marks))


def time_ticks(begin: datetime, end: datetime, most: int) -> tuple[Tick, ...]:
    """At most `most` ticks at round times (UTC) from `begin` to `end`, which lies behind it."""
    span = (end - begin).total_seconds()
    for step in _SECONDS:
        if span / step <= most + 1:
            found = list(_each(begin, end, step))
            if len(found) <= most:
                return _marked(found, begin, span, step)
    for months in _IN_MONTHS:
        found = list(_each_month(begin, end, months))
        if len(found) <= most:
            return _marked(found, begin, span, _DAY * 28 * months)
    return ()


def _marked(times: list[datetime], begin: datetime, span: float, step: int) -> tuple[Tick, ...]:
    return tuple(
        Tick((time - begin).total_seconds() / span, _time_text(time, step, first=time == times[0])) for time in times
    )


def _each(begin: datetime, end: datetime, step: int) -> Iterator[datetime]:
    """The multiples of `step` seconds; weeks begin on Mondays."""
    width = timedelta(seconds=step)
    for number in range(-((_MONDAY - begin) // width), (end - _MONDAY) // width + 1):
        yield _MONDAY + number * width


def _each_month(begin: datetime, end: datetime, months: int) -> Iterator[datetime]:
    """The first days of every so-manieth month, counted from year 0."""
    number = -(-(begin.year * 12 + begin.month - 1) // months) * months
    while number // 12 <= min(end.year, 9_998):
        time = datetime(max(number // 12, 1), number % 12 + 1, 1, tzinfo=UTC)
        if begin <= time <= end:
            yield time
        number += months


def _time_text(time: datetime, step: int, *, first: bool) -> str:
    """What stands beside a tick: the larger part of a time stands where it begins."""
    if step >= 28 * 12 * _DAY:
        return f"{time.year}"
    if step >= 28 * _DAY:
        return f"{MONTHS[time.month - 1]} {time.year}" if first or time.month == 1 else MONTHS[time.month - 1]
    if step >= _DAY or (time.hour, time.minute, time.second) == (0, 0, 0):
        return f"{time.day} {MONTHS[time.month - 1]}"
    return f"{time:%H:%M}" if step >= _MINUTE else f"{time:%H:%M:%S}"
