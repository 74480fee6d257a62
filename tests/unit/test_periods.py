"""Periods as they are typed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.cli.periods import check_begun, read_period
from riskshare.encoding import format_time
from riskshare.errors import InputError


def moment(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("since", "until", "period"),
    [
        ("2026-11-22", "2026-11-22", (moment(2026, 11, 22), moment(2026, 11, 23))),
        ("2026-11-01", "2026-11-30", (moment(2026, 11, 1), moment(2026, 12, 1))),
        (
            "2026-11-22T08:00:00Z",
            "2026-11-22T09:30:00.500Z",
            (moment(2026, 11, 22, 8), moment(2026, 11, 22, 9, 30, 0, 500_000)),
        ),
        ("2026-11-22T08:00:00+08:00", "2026-11-22", (moment(2026, 11, 22), moment(2026, 11, 23))),
        ("2026-11-22T08:00:00.0004Z", "2026-11-22", (moment(2026, 11, 22, 8), moment(2026, 11, 23))),
    ],
)
def test_a_period_is_days_or_moments(since, until, period):
    assert read_period(since, until) == period


@given(st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1)), st.integers(1, 10**9))  # noqa: DTZ001 - made UTC below
def test_a_moment_is_read_as_it_is_printed(naive, milliseconds):
    since = naive.replace(microsecond=naive.microsecond // 1000 * 1000, tzinfo=UTC)
    until = since + timedelta(milliseconds=milliseconds)
    assert read_period(format_time(since), format_time(until)) == (since, until)


@pytest.mark.parametrize(
    ("since", "until"),
    [
        ("", "2026-11-22"),
        ("yesterday", "2026-11-22"),
        ("2026-13-01", "2026-11-22"),
        ("2026-11-22T08:00:00", "2026-11-23"),
        ("2026-11-23", "2026-11-22"),
        ("2026-11-22T08:00:00Z", "2026-11-22T08:00:00Z"),
        ("2026-11-22", "9999-12-31"),
        ("2026-11-22", "0001-01-01T00:00:00+14:00"),
    ],
)
def test_what_is_no_period_is_refused(since, until):
    with pytest.raises(InputError):
        read_period(since, until)


def test_a_period_that_is_still_to_come_is_refused():
    day = read_period("2026-11-22", "2026-11-22")
    check_begun(day, day[0] + timedelta(milliseconds=1))
    for now in (day[0], day[0] - timedelta(days=1)):
        with pytest.raises(InputError, match="has not begun"):
            check_begun(day, now)
