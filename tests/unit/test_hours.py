"""Hour keys: one an hour, sealed to the member only, given along until it is durable."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskshare.errors import OpenError
from riskshare.keys import sealing_key
from riskshare.ledger.sealed import open_hour_key, open_record, seal_record
from riskshare.query.hours import HourKeys
from riskshare.query.message import new_batch
from tests.simulator.query import Random

AT = datetime(2026, 11, 22, 8, 30, 12, 5, UTC)
HOUR = datetime(2026, 11, 22, 8, tzinfo=UTC)
PRIVATE = sealing_key(bytes(32))
CHECK = new_batch(1, bytes(10))


@pytest.fixture
def hours():
    return HourKeys("icbc", PRIVATE.public_key(), Random("hours"))


def opened(sealed, **changes):
    number, hour, data = sealed
    return open_hour_key(data, PRIVATE, **{"member": "icbc", "id": number, "hour": hour, **changes})


def test_one_key_an_hour(hours):
    first, _ = hours.current(AT)
    assert first.hour == HOUR
    assert hours.current(HOUR)[0] is first
    assert hours.current(HOUR + timedelta(minutes=59, seconds=59, microseconds=999_999))[0] is first
    second, _ = hours.current(HOUR + timedelta(hours=1))
    assert second.hour == HOUR + timedelta(hours=1)
    assert second.id != first.id
    assert second.export() != first.export()
    assert first.id.version == 7


def test_what_is_sealed_under_it_opens_with_the_members_own_key(hours):
    key, sealed = hours.current(AT)
    assert sealed[:2] == (key.id, HOUR)
    record = seal_record(b"what was asked", key, b"nonce-of-12b", member="icbc", check=CHECK)
    assert open_record(record, opened(sealed), member="icbc", check=CHECK) == b"what was asked"


@pytest.mark.parametrize(
    "change", [{"member": "jd"}, {"id": CHECK}, {"hour": HOUR + timedelta(hours=1)}], ids=["member", "id", "hour"]
)
def test_it_does_not_open_as_anything_else(hours, change):
    with pytest.raises(OpenError):
        opened(hours.current(AT)[1], **change)


def test_it_does_not_open_with_another_key_or_altered(hours):
    number, hour, data = hours.current(AT)[1]
    with pytest.raises(OpenError):
        open_hour_key(data, sealing_key(bytes([1] * 32)), member="icbc", id=number, hour=hour)
    for position in (0, 600, len(data) - 1):
        altered = bytearray(data)
        altered[position] ^= 1
        with pytest.raises(OpenError):
            opened((number, hour, bytes(altered)))
    for short in (b"", data[:100], data[:-1]):
        with pytest.raises(OpenError):
            opened((number, hour, short))


def test_the_sealed_key_is_given_along_until_it_is_durable(hours):
    key, sealed = hours.current(AT)
    assert hours.current(AT)[1] == sealed
    hours.kept(key.id)
    assert hours.current(AT) == (key, None)


def test_another_keys_being_durable_says_nothing(hours):
    _, sealed = hours.current(AT)
    hours.kept(CHECK)
    assert hours.current(AT)[1] == sealed


def test_news_of_the_last_hours_key_do_not_touch_this_hours(hours):
    old, _ = hours.current(AT)
    new, sealed = hours.current(AT + timedelta(hours=1))
    hours.kept(old.id)
    assert hours.current(AT + timedelta(hours=1)) == (new, sealed)


def test_a_clock_that_goes_back_gets_a_key_of_its_own(hours):
    first, _ = hours.current(AT)
    hours.kept(first.id)
    hours.current(AT + timedelta(hours=1))
    again, sealed = hours.current(AT)
    assert again.id != first.id
    assert opened(sealed).export() == again.export()


def test_news_before_any_key_do_no_harm(hours):
    hours.kept(CHECK)
    assert hours.current(AT)[1] is not None


def test_no_key_is_shown(hours):
    key, _ = hours.current(AT)
    assert key.export().hex() not in repr(vars(hours))
    assert repr(key.export()) not in repr(vars(hours))


@given(st.lists(st.tuples(st.integers(-7200, 7200), st.booleans()), min_size=1, max_size=8))
@settings(max_examples=25)
def test_whatever_the_clock_does_each_key_is_given_sealed_until_it_is_kept(moves):
    """A step back over the hour makes another key; none is used without its sealed form being durable or given."""
    hours = HourKeys("icbc", PRIVATE.public_key(), Random("property"))
    at, durable = AT, set()
    for seconds, keep in moves:
        at += timedelta(seconds=seconds)
        key, sealed = hours.current(at)
        assert key.hour <= at < key.hour + timedelta(hours=1)
        assert (sealed is None) == (key.id in durable)
        if sealed is not None:
            assert opened(sealed).export() == key.export()
        if keep:
            hours.kept(key.id)
            durable.add(key.id)
