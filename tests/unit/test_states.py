from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.sharing.kept import STATES, StoredEntry
from riskshare.sharing.segment import REASONS
from riskshare.sharing.states import SENTENCES, Settled, effect, refusal

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
LONGEST = timedelta(days=365)


def entry(state="active", reason=None, *, since=NOW - timedelta(days=1), until=NOW + timedelta(days=90)):
    return StoredEntry(UUID(int=1), b"h" * 32, b"", b"", state, reason, since, until, 1)


@pytest.mark.parametrize(
    ("was", "wanted", "code"),
    [
        ("active", "withdrawn", None),
        ("disputed", "withdrawn", None),
        ("withdrawn", "withdrawn", "not_listed"),
        ("active", "disputed", None),
        ("disputed", "disputed", "unchanged"),
        ("withdrawn", "disputed", "not_listed"),
        ("active", "active", "unchanged"),
        ("disputed", "active", None),
        ("withdrawn", "active", None),
    ],
)
def test_what_may_follow_what(was, wanted, code):
    assert refusal(entry(was, "corrected" if was == "withdrawn" else None), wanted, "corrected", NOW, LONGEST) == code


def test_what_is_over_is_not_restored():
    assert refusal(entry("withdrawn", "expired", until=NOW), "active", "a new look", NOW, LONGEST) == "term_over"
    assert refusal(entry("disputed", until=NOW), "active", "a new look", NOW, LONGEST) == "term_over"
    later = entry("withdrawn", "expired", until=NOW + timedelta(seconds=1))
    assert refusal(later, "active", "a new look", NOW, LONGEST) is None


def test_what_would_stand_longer_than_allowed_by_now_is_not_restored():
    assert refusal(entry("withdrawn", "corrected"), "active", "a new look", NOW, timedelta(days=91)) is None
    assert refusal(entry("withdrawn", "corrected"), "active", "a new look", NOW, timedelta(days=90)) == "term_over"
    # Everything else is allowed, whatever the term.
    assert refusal(entry(), "withdrawn", "corrected", NOW, timedelta(days=1)) is None


def test_a_disputed_entry_is_restored_as_long_as_it_stands():
    """A maximum that became shorter does not take it off at once: only when it has stood so long."""
    disputed = entry("disputed")
    assert refusal(disputed, "active", "a new look", NOW, timedelta(days=1, seconds=1)) is None
    assert refusal(disputed, "active", "a new look", NOW, timedelta(days=1)) == "term_over"


def test_an_upheld_appeal_is_noted_of_what_is_withdrawn_already():
    for reason in set(REASONS) - {"appeal_upheld"}:
        assert refusal(entry("withdrawn", reason), "withdrawn", "appeal_upheld", NOW, LONGEST) is None
    assert refusal(entry("withdrawn", "appeal_upheld"), "withdrawn", "appeal_upheld", NOW, LONGEST) == "not_listed"
    assert refusal(entry("withdrawn", "appeal_upheld"), "withdrawn", "corrected", NOW, LONGEST) == "not_listed"
    assert refusal(entry("withdrawn", "corrected"), "disputed", "appeal_upheld", NOW, LONGEST) == "not_listed"


@pytest.mark.parametrize(
    ("state", "reason", "same", "becomes"),
    [
        (None, None, False, "listed"),
        ("active", None, False, "replaced"),
        ("active", None, True, "unchanged"),
        ("disputed", None, False, "disputed"),
        ("disputed", None, True, "disputed"),
        ("withdrawn", "corrected", True, "relisted"),
        ("withdrawn", "expired", False, "relisted"),
        ("withdrawn", "appeal_upheld", True, "barred"),
        ("withdrawn", "appeal_upheld", False, "barred"),
    ],
)
def test_what_becomes_of_an_entry_that_is_to_be_listed(state, reason, same, becomes):
    assert effect(state, reason, same=same) == becomes


def test_an_upheld_appeal_is_remembered():
    assert Settled(b"", "withdrawn", "appeal_upheld", None).upheld
    assert not Settled(b"", "withdrawn", "corrected", None).upheld


@given(st.sampled_from(STATES), st.sampled_from(STATES), st.sampled_from(REASONS), st.integers(-9, 9))
def test_whatever_is_refused_has_a_sentence(was, wanted, reason, days):
    old = entry(was, until=NOW + timedelta(days=days), since=NOW - timedelta(days=30))
    code = refusal(old, wanted, reason, NOW, LONGEST)
    assert code is None or SENTENCES[code].endswith(".")
    if wanted == "withdrawn":
        assert (code is None) == (was != "withdrawn" or reason == "appeal_upheld")
