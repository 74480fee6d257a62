"""Whether a member goes on publishing its log: by a clock that the test sets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from riskshare.ledger.growth import STALL, Growth

START = datetime(2026, 11, 22, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def test_a_log_that_nobody_owes_anything_may_stand_still_for_ever():
    growth = Growth(5, START)
    for hour in range(100):
        growth = growth.looked(5, START - SECOND, at(3600 * hour))
    assert not growth.has_stalled


def test_a_log_stalls_ten_minutes_after_a_receipt():
    growth = Growth(5, START).looked(5, at(30), at(35))
    assert growth.waiting_since == at(30)
    growth = growth.looked(5, at(500), at(30) + STALL - SECOND)
    assert not growth.has_stalled
    growth = growth.looked(5, at(500), at(30) + STALL)
    assert growth.has_stalled
    assert growth.stalled_since == at(30) + STALL


def test_it_goes_on_as_soon_as_it_grows():
    stalled = Growth(5, START).looked(5, at(1), at(2)).looked(5, at(1), at(1000))
    assert stalled.has_stalled
    assert stalled.looked(6, at(1), at(1001)) == Growth(6, at(1001))


def test_growing_ends_the_waiting():
    growth = Growth(5, START).looked(5, at(1), at(2)).looked(6, at(3), at(500))
    assert growth.looked(6, at(3), at(5000)) == growth


def test_a_member_that_shows_no_log_at_all_stalls():
    growth = Growth(0, START).looked(None, at(1), at(2))
    assert growth.looked(None, at(1), at(1) + STALL).has_stalled


def test_a_smaller_checkpoint_is_no_growth():
    assert Growth(5, START).looked(5, at(1), at(2)).looked(4, at(1), at(1000)).has_stalled


def test_who_was_away_looks_before_he_judges():
    waiting = Growth(5, START).looked(5, at(1), at(2))
    assert waiting.looked(9, at(1), at(86_400)) == Growth(9, at(86_400))


def test_a_stall_keeps_its_beginning():
    stalled = Growth(5, START).looked(5, at(1), at(700))
    assert stalled.looked(5, at(1), at(9000)) == stalled


def test_a_clock_that_goes_back_judges_nobody():
    growth = Growth(5, START).looked(5, at(1), at(2))
    assert not growth.looked(5, at(1), at(-3600)).has_stalled


def test_a_clock_that_was_ahead_lets_nobody_off():
    """What was seen while the clock was an hour ahead lies in the future now; who stops now is found nevertheless."""
    ahead = Growth(5, at(3600))
    growth = ahead.looked(5, at(-5), at(10)).looked(5, at(12), at(15))
    assert growth.waiting_since == at(12)
    assert growth.looked(5, at(12), at(12) + STALL).has_stalled
    waiting = Growth(5, START).looked(5, at(3600), at(3601))
    growth = waiting.looked(5, at(10), at(12))
    assert not growth.has_stalled
    assert growth.looked(5, at(10), at(12) + STALL).has_stalled


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 1), st.booleans()), max_size=60))
def test_only_who_owes_for_ten_minutes_has_stalled(steps):
    """Against the rule in words: the first receipt that no look with growth has followed is ten minutes old."""
    now, size, growth, last, owed = START, 0, Growth(0, START), None, None
    for seconds, more, asked in steps:
        now += timedelta(seconds=seconds)
        if asked and not growth.has_stalled:
            last = now
        size += more
        growth = growth.looked(size, last, now + SECOND)
        now += SECOND
        owed = None if more else owed or (last if last is not None and last > growth.grown_at else None)
        assert growth.has_stalled == (owed is not None and now - owed >= STALL)
