from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from riskshare.sharing.kept import ChangeCounts, DayRow
from riskshare.sharing.statistics import by_day

FIRST = date(2026, 11, 20)
LAST = date(2026, 11, 22)


def test_days_without_changes_are_shown_too():
    rows = [
        DayRow(FIRST, None, ChangeCounts(added=5, replaced=1)),
        DayRow(LAST, "corrected", ChangeCounts(withdrawn=2)),
        DayRow(LAST, "expired", ChangeCounts(withdrawn=1)),
        DayRow(LAST, None, ChangeCounts(relisted=1, disputed=2, restored=1)),
    ]
    days = by_day(10, rows, FIRST, LAST)
    assert [(one.day, one.size, one.gone) for one in days] == [
        (FIRST, 15, 0),
        (FIRST + timedelta(days=1), 15, 0),
        (LAST, 13, 3),
    ]
    assert days[2].to_json() == {
        "day": "2026-11-22",
        "added": 0,
        "replaced": 0,
        "relisted": 1,
        "withdrawn": {"corrected": 2, "expired": 1},
        "disputed": 2,
        "restored": 1,
        "size": 13,
    }


def test_a_list_without_changes_keeps_its_size():
    assert [one.size for one in by_day(7, [], FIRST, FIRST)] == [7]


COUNTS = st.builds(
    ChangeCounts, *(st.integers(0, 9) for _ in ("added", "replaced", "relisted", "withdrawn", "disputed", "restored"))
)


@given(st.integers(0, 1000), st.lists(st.tuples(st.integers(0, 4), COUNTS)))
def test_sizes_add_up_whatever_the_order(size, changes):
    rows = [DayRow(FIRST + timedelta(days=n), "corrected" if one.withdrawn else None, one) for n, one in changes]
    days = by_day(size, rows, FIRST, LAST)
    assert days == by_day(size, rows[::-1], FIRST, LAST)
    assert days[-1].size == size + sum(one.added + one.relisted - one.withdrawn for _, one in changes)
    assert [one.day for one in days] == sorted(one.day for one in days)
