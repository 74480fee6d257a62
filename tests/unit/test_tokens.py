"""The token cache: what it gives, when it forgets, what it never shows."""

from __future__ import annotations

from collections import OrderedDict
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.query.tokens import CachedToken, TokenCache

BATCH = UUID("019391a0-0000-7000-8000-000000000001")


def key(text="phone:+8613800138000", *, owner="jd", epoch=b"e" * 32, purpose="payment"):
    return owner, epoch, purpose, text


def token(number=0):
    return CachedToken(bytes([number]) * 64, BATCH, number, bytes([number]) * 32, bytes([number]) * 32)


def test_a_token_is_given_until_it_expires():
    cache = TokenCache(10, 60)
    cache.keep(key(), token(), 100.0)
    assert cache.get(key(), 100.0) == token()
    assert cache.get(key(), 159.999) == token()
    assert cache.get(key(), 160.0) is None
    assert len(cache) == 0


@pytest.mark.parametrize(
    "other",
    [
        key(purpose="marketing"),
        key(owner="unionpay"),
        key(epoch=b"f" * 32),
        key("phone:+8613800138001"),
        key("account:+8613800138000"),
    ],
)
def test_a_token_is_given_for_its_own_question_only(other):
    cache = TokenCache(10, 60)
    cache.keep(key(), token(), 0.0)
    assert cache.get(other, 0.0) is None


def test_a_newer_token_takes_the_place_and_the_time():
    cache = TokenCache(10, 60)
    cache.keep(key(), token(1), 0.0)
    cache.keep(key(), token(2), 50.0)
    assert cache.get(key(), 100.0) == token(2)
    assert len(cache) == 1


@pytest.mark.parametrize(("capacity", "seconds"), [(0, 60), (-1, 60), (10, 0), (10, -1)])
def test_a_cache_that_is_switched_off_keeps_nothing(capacity, seconds):
    cache = TokenCache(capacity, seconds)
    cache.keep(key(), token(), 0.0)
    assert cache.get(key(), 0.0) is None
    assert len(cache) == 0


def test_an_owner_is_forgotten_and_no_other():
    cache = TokenCache(10, 60)
    cache.keep(key(), token(1), 0.0)
    cache.keep(key("email:a@example.org"), token(2), 0.0)
    cache.keep(key(owner="unionpay"), token(3), 0.0)
    cache.forget("jd")
    assert cache.get(key(), 0.0) is None
    assert cache.get(key("email:a@example.org"), 0.0) is None
    assert cache.get(key(owner="unionpay"), 0.0) == token(3)


@given(st.integers(1, 4), st.lists(st.tuples(st.booleans(), st.integers(0, 7)), max_size=60))
def test_the_least_recently_used_goes_first(capacity, history):
    cache, model = TokenCache(capacity, 60), OrderedDict()
    for keeps, number in history:
        if keeps:
            cache.keep(key(str(number)), token(number), 0.0)
            model[number] = token(number)
            model.move_to_end(number)
            while len(model) > capacity:
                model.popitem(last=False)
        else:
            assert cache.get(key(str(number)), 0.0) == model.get(number)
            if number in model:
                model.move_to_end(number)
    assert len(cache) == len(model)


def test_neither_token_nor_identifier_is_shown():
    cache = TokenCache(10, 60)
    cache.keep(key(), token(0xAB), 0.0)
    shown = repr(cache) + repr(token(0xAB))
    assert "8613800138000" not in shown
    assert "\\xab" not in shown
    assert repr(cache) == "TokenCache(1 of 10)"
