"""Who may know of a list: by named cases, and by any history of grants."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.sharing.grants import NAMED_AS_ENDED, Grant, Grants
from riskshare.sharing.kept import ListRow

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
DAY = timedelta(days=1)
OPEN = ListRow(1, "fraud", "telecom_fraud", "default", NOW, 0)
WATCH = ListRow(2, "watch", "telecom_fraud", "watch", NOW, 0, granted=True)
GRANT = Grant(2, "icbc", frozenset(), None, NOW, "li")


def grants(*given):
    return Grants("jd", given)


def test_an_open_list_is_for_all_and_a_list_under_grants_for_nobody_but_its_owner():
    assert all(grants().readable(OPEN, reader, NOW) for reader in ("jd", "icbc", "ub"))
    assert [reader for reader in ("jd", "icbc", "ub", "") if grants().readable(WATCH, reader, NOW)] == ["jd"]
    assert not grants().readable(OPEN, "", NOW)


def test_a_grant_is_for_one_member_and_one_list():
    other = replace(WATCH, id=3, name="other", keyset="other")
    assert grants(GRANT).readable(WATCH, "icbc", NOW)
    assert not grants(GRANT).readable(WATCH, "ub", NOW)
    assert not grants(GRANT).readable(other, "icbc", NOW)


def test_a_grant_ends_with_its_time():
    found = grants(replace(GRANT, until=NOW + DAY))
    assert found.readable(WATCH, "icbc", NOW + DAY - timedelta(microseconds=1))
    assert not found.ended(WATCH, "icbc", NOW)
    assert not found.readable(WATCH, "icbc", NOW + DAY)
    assert found.ended(WATCH, "icbc", NOW + DAY)
    assert found.ends_at(WATCH, "icbc") == NOW + DAY
    assert found.ends_at(OPEN, "icbc") is None
    assert grants(GRANT).ends_at(WATCH, "icbc") is None


@pytest.mark.parametrize("ahead", [-1, 0, 1])
def test_a_revoked_grant_is_over_whichever_clock_is_ahead(ahead):
    found = grants(replace(GRANT, until=NOW + 9 * DAY, revoked_at=NOW + ahead * DAY, revoked_by="li"))
    assert not found.readable(WATCH, "icbc", NOW)
    assert found.ended(WATCH, "icbc", NOW)
    assert found.ends_at(WATCH, "icbc") == NOW + ahead * DAY


def test_the_end_is_named_until_nothing_of_the_list_is_in_force_any_more():
    found = grants(replace(GRANT, until=NOW))
    assert found.ended(WATCH, "icbc", NOW + NAMED_AS_ENDED - timedelta(microseconds=1))
    assert not found.ended(WATCH, "icbc", NOW + NAMED_AS_ENDED)
    assert timedelta(days=30) + timedelta(hours=24) <= NAMED_AS_ENDED
    assert not found.ended(WATCH, "ub", NOW)
    assert not found.ended(OPEN, "icbc", NOW)


def test_an_earlier_end_counts_than_a_later_revocation():
    found = grants(replace(GRANT, until=NOW, revoked_at=NOW + 20 * DAY, revoked_by="li"))
    assert found.ends_at(WATCH, "icbc") == NOW
    assert not found.ended(WATCH, "icbc", NOW + NAMED_AS_ENDED)


def test_purposes_of_a_grant_bound_what_may_be_asked():
    found = grants(replace(GRANT, purposes=frozenset({"payment"}), until=NOW + DAY))
    assert found.purposes(WATCH, "icbc") == {"payment"}
    assert found.allows(WATCH, "icbc", "payment", NOW)
    assert not found.allows(WATCH, "icbc", "marketing", NOW)
    assert not found.allows(WATCH, "icbc", "payment", NOW + DAY)
    assert not found.allows(WATCH, "ub", "payment", NOW)
    assert grants(GRANT).allows(WATCH, "icbc", "marketing", NOW)
    assert found.allows(OPEN, "icbc", "marketing", NOW)
    assert found.purposes(OPEN, "icbc") == frozenset()


READERS = ("icbc", "ub", "mobile")
LISTS = tuple(
    ListRow(number, f"list-{number}", "telecom_fraud", f"list-{number}", NOW, 0, granted=number > 1)
    for number in (1, 2, 3)
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("grant", "revoke", "wait")),
        st.sampled_from((2, 3)),
        st.sampled_from(READERS),
        st.none() | st.integers(1, 50),
    ),
    max_size=30,
)


@given(STEPS)
def test_a_reader_sees_exactly_what_is_open_or_granted_to_it_at_that_time(steps):
    newest: dict[tuple[int, str], Grant] = {}
    allowed: dict[tuple[int, str], int | None] = {}  # until which hour, None for ever
    hour = 0
    for action, list_id, reader, hours in steps:
        place = (list_id, reader)
        now = NOW + timedelta(hours=hour)
        if action == "wait":
            hour += hours or 0
        elif action == "grant":
            until = None if hours is None else now + timedelta(hours=hours)
            newest[place] = Grant(list_id, reader, frozenset(), until, now, "li")
            allowed[place] = None if hours is None else hour + hours
        else:
            if place in newest and newest[place].revoked_at is None:
                newest[place] = replace(newest[place], revoked_at=now, revoked_by="li")
            allowed.pop(place, None)
        found, now = Grants("jd", newest.values()), NOW + timedelta(hours=hour)
        for who in READERS:
            sees = {row.id for row in LISTS if found.readable(row, who, now)}
            may = {number for (number, name), end in allowed.items() if name == who and (end is None or hour < end)}
            assert sees == {1} | may
            told = {row.id for row in LISTS if found.ended(row, who, now)}
            assert not told & sees
            assert told <= {number for number, name in newest if name == who}
        assert {row.id for row in LISTS if found.readable(row, "jd", now)} == {1, 2, 3}
