from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.sharing.kept import STATES, StoredEntry
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
    assert refusal(entry(was, "corrected" if was == "withdrawn" else None), wanted, NOW, LONGEST) == code


def test_what_is_over_is_not_restored():
    assert refusal(entry("withdrawn", "expired", until=NOW), "active", NOW, LONGEST) == "term_over"
    assert refusal(entry("disputed", until=NOW), "active", NOW, LONGEST) == "term_over"
    later = entry("withdrawn", "expired", until=NOW + timedelta(seconds=1))
    assert refusal(later, "active", NOW, LONGEST) is None


def test_what_would_stand_longer_than_allowed_by_now_is_not_restored():
    assert refusal(entry("withdrawn", "corrected"), "active", NOW, timedelta(days=91)) is None
    assert refusal(entry("withdrawn", "corrected"), "active", NOW, timedelta(days=90)) == "term_over"
    # Everything else is allowed, whatever the term.
    assert refusal(entry(), "withdrawn", NOW, timedelta(days=1)) is None


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


@given(st.sampled_from(STATES), st.sampled_from(STATES), st.integers(-9, 9))
def test_whatever_is_refused_has_a_sentence(was, wanted, days):
    code = refusal(entry(was, until=NOW + timedelta(days=days), since=NOW - timedelta(days=30)), wanted, NOW, LONGEST)
    assert code is None or SENTENCES[code].endswith(".")
    if wanted == "withdrawn":
        assert (code is None) == (was != "withdrawn")
