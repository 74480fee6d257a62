from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.keyterm import KeyTerm

T = datetime(2026, 1, 1, tzinfo=UTC)
S = timedelta(seconds=1)
KEY = b"k" * 32


def test_a_term_is_half_open():
    term = KeyTerm(KEY, T, T + S)
    found = [term.in_term(at) for at in (T - S, T, T + S / 2, T + S)]
    assert found == [False, True, True, False]
    assert KeyTerm(KEY, T).in_term(T + timedelta(days=36500))


def test_what_is_received_after_a_compromise_is_void_whatever_time_it_claims():
    term = KeyTerm(KEY, T - S, None, T)
    assert term.may_sign(T - S, T - S / 1000)
    assert not term.may_sign(T - S, T)
    assert term.may_sign(T + S, T - S / 1000)
    assert not KeyTerm(KEY, T).is_void(T)


@pytest.mark.parametrize(
    "times",
    [
        (T.replace(tzinfo=None), None, None),
        (T, (T + S).replace(tzinfo=None), None),
        (T, None, T.replace(tzinfo=None)),
        (T, T, None),
        (T, T - S, None),
    ],
)
def test_an_impossible_term_is_refused(times):
    with pytest.raises(ValueError):
        KeyTerm(KEY, *times)


@given(st.integers(-9, 9), st.integers(-9, 9), st.integers(-9, 9))
def test_a_compromise_only_takes_away(at, received, since):
    sound, stolen = KeyTerm(KEY, T, T + 5 * S), KeyTerm(KEY, T, T + 5 * S, T + since * S)
    assert stolen.may_sign(T + at * S, T + received * S) <= sound.may_sign(T + at * S, T + received * S)
