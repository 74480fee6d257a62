"""When a log is settled: reach, silences, contacts."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from riskshare.audit.fact import MINUTE, LogRow
from riskshare.audit.rules import HOUR
from riskshare.audit.settled import (
    CONTACTS,
    GRACE,
    RETURN,
    SUPPRESSED,
    Standing,
    in_contact,
    is_suppressed,
    reach,
    silences,
    tail_length,
)
from riskshare.audit.versions import CLOCKS

DAY = 24 * HOUR
TIMES = st.lists(st.integers(0, 100 * DAY), min_size=1, max_size=60)


def standing(*, reached=10 * DAY, quiet=(), start=5):
    log = LogRow("bank", 100, bytes(32), start, DAY, 9 * DAY, DAY if start else None, 10 * DAY)
    return Standing(log, reached, 10 * DAY, quiet)


@given(TIMES)
def test_nine_in_ten_of_the_tail_are_from_where_it_reaches_or_later(tail):
    found = reach(tail)
    assert sum(at >= found for at in tail) >= 0.9 * len(tail)


def test_a_few_old_entries_do_not_matter_and_many_do():
    assert reach([DAY] * 19 + [0]) == DAY
    assert reach([DAY] * 8 + [0] * 2) == 0
    assert reach([]) is None


def test_the_tail_is_a_part_of_what_is_shown():
    assert [tail_length(shown) for shown in (0, 1, 40, 10**6)] == [1, 1, 2, 4096]


@given(st.lists(st.integers(0, 10_000), max_size=50), st.integers(1, 200))
def test_silences_are_where_nothing_is_for_longer_than_the_grace(numbers, grace):
    minutes = sorted({number * MINUTE for number in numbers})
    found = silences(minutes, grace * MINUTE)
    for begin, end in found:
        assert end - begin > grace * MINUTE
        assert not any(begin <= minute < end for minute in minutes)
    assert len(found) == sum(b - a - MINUTE > grace * MINUTE for a, b in pairwise(minutes))


def test_what_lies_within_the_grace_is_not_settled():
    assert standing().is_settled(10 * DAY - GRACE, GRACE)
    assert not standing().is_settled(10 * DAY - GRACE + 1, GRACE)


def test_what_lies_before_the_part_shown_is_not():
    assert not standing().is_settled(DAY - 1, GRACE)
    assert not standing().is_settled(DAY + CLOCKS, GRACE)
    assert standing().is_settled(DAY + CLOCKS + 1, GRACE)
    assert standing(start=0).is_settled(DAY, GRACE)


def test_nothing_is_while_it_has_just_come_back_from_a_silence():
    quiet = ((3 * DAY, 10 * DAY - RETURN + 1),)
    assert not standing(quiet=quiet).is_settled(4 * DAY, GRACE)
    assert not standing(quiet=quiet).is_settled(3 * DAY - RETURN, GRACE)
    assert standing(quiet=quiet).is_settled(3 * DAY - RETURN - 1, GRACE)
    assert standing(quiet=((3 * DAY, 10 * DAY - RETURN),)).is_settled(4 * DAY, GRACE)


def test_a_log_that_shows_nothing_proves_no_absence():
    assert not standing(reached=None).is_settled(4 * DAY, GRACE)


def test_contacts_after_the_grace_and_apart_are_contact():
    apart = [DAY + number * RETURN for number in range(CONTACTS)]
    assert in_contact(apart, 0, DAY) == tuple(apart)
    assert in_contact(sorted(apart * 3 + [0, DAY - 1]), 0, DAY) == tuple(apart), "others beside them change nothing"
    assert in_contact(apart[1:], 0, DAY) is None
    assert in_contact([*apart[:-1], apart[-1] - 1], 0, DAY) is None
    assert in_contact([apart[0] - 1, *apart[1:]], 0, DAY) is None
    assert in_contact([], 0, DAY) is None


def test_many_unknown_asks_for_long_are_no_crashes():
    asks = [DAY + step * DAY // (SUPPRESSED - 1) for step in range(SUPPRESSED)]
    assert is_suppressed(asks, 0, DAY)
    assert not is_suppressed(asks[1:], 0, DAY)
    assert not is_suppressed([DAY] * 100, 0, DAY)
    assert not is_suppressed([DAY] * 100 + [3 * DAY] * 100, 0, DAY), "two crashes, each with much on its way"
