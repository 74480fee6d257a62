from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.encoding import MAX_SAFE_INTEGER, canonical_json, sha256
from riskshare.errors import SnapshotError
from riskshare.sharing.epoch import EpochStatement
from riskshare.signature import SigningKey
from riskshare.statement import sign

KEY = SigningKey(b"k" * 32)
T = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
EPOCH = EpochStatement("jd", "default", 3, b"\x01" * 32, T, T + 30 * DAY)
ENDED = EPOCH.end(T + DAY, "key_exposed")
instants = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def signed(body, kind="epoch"):
    return sign(kind, "testnet", body, KEY)


def refuse(body, kind="epoch"):
    with pytest.raises(SnapshotError) as caught:
        EpochStatement.from_statement(signed(body, kind))
    assert caught.value.code == "malformed_statement"


def test_what_is_signed():
    assert canonical_json(EPOCH.body()) == (
        b'{"ended":null,"epoch":3,"keyset":"default","not_after":"2026-01-31T00:00:00.000Z",'
        b'"not_before":"2026-01-01T00:00:00.000Z","owner":"jd","public_key":"'
        + b"01" * 32
        + b'","suite":"ristretto255-SHA512"}'
    )
    assert ENDED.body()["ended"] == {"at": "2026-01-02T00:00:00.000Z", "reason": "key_exposed"}


def test_an_epoch_is_named_by_the_statement_that_opened_it():
    assert EPOCH.digest == signed(EPOCH.body()).digest == sha256(canonical_json(EPOCH.body()))
    assert ENDED.digest == EPOCH.digest != signed(ENDED.body()).digest


@pytest.mark.parametrize("epoch", [EPOCH, ENDED])
def test_a_statement_goes_out_and_comes_back(epoch):
    assert EpochStatement.from_statement(signed(epoch.body())) == epoch


@pytest.mark.parametrize(
    "change",
    [
        {"owner": "JD"},
        {"owner": 5},
        {"keyset": ""},
        {"epoch": 0},
        {"epoch": True},
        {"epoch": "3"},
        {"suite": "P256-SHA256"},
        {"suite": None},
        {"public_key": "01" * 31},
        {"public_key": "AB" * 32},
        {"public_key": "00" * 32},
        {"public_key": None},
        {"not_before": "2026-01-31T00:00:00.000Z"},
        {"not_before": "2026-01-01T00:00:00Z"},
        {"not_after": None},
        {"ended": False},
        {"ended": "key_exposed"},
        {"ended": {"at": "2026-01-02T00:00:00.000Z"}},
        {"ended": {"at": "2026-01-02T00:00:00.000Z", "reason": "Key exposed!"}},
        {"ended": {"at": None, "reason": "x"}},
        {"more": 1},
    ],
)
def test_a_malformed_epoch_is_refused(change):
    refuse({**EPOCH.body(), **change})


@pytest.mark.parametrize("key", sorted(EPOCH.body()))
def test_a_missing_field_is_refused(key):
    refuse({name: value for name, value in EPOCH.body().items() if name != key})


def test_a_statement_of_another_kind_is_refused():
    refuse(EPOCH.body(), "snapshot")


@pytest.mark.parametrize(
    "change",
    [
        {"number": 0},
        {"number": MAX_SAFE_INTEGER + 1},
        {"public_key": b"x"},
        {"not_after": T},
        {"not_before": datetime(2026, 1, 1)},  # noqa: DTZ001
    ],
)
def test_an_owner_cannot_make_a_malformed_epoch(change):
    with pytest.raises(SnapshotError):
        replace(EPOCH, **change)


def test_the_term_is_half_open_and_an_emergency_shortens_it():
    assert [EPOCH.in_term(at) for at in (T - DAY, T, T + 29 * DAY, T + 30 * DAY)] == [False, True, True, False]
    assert [ENDED.in_term(at) for at in (T, T + DAY)] == [True, False]
    assert EPOCH.end(T + 99 * DAY, "late").until == EPOCH.not_after


def test_the_times_at_which_its_key_must_be_in_force():
    assert EPOCH.made_at(T + DAY) == (T, T + DAY)
    assert ENDED.made_at(T) == (T + DAY, T)


@given(instants, instants, st.integers(1, MAX_SAFE_INTEGER))
def test_whatever_an_owner_makes_is_read_as_it_was(one, two, number):
    if abs(one - two) < timedelta(milliseconds=1):
        return
    epoch = replace(EPOCH, not_before=min(one, two), not_after=max(one, two), number=number)
    assert EpochStatement.from_statement(signed(epoch.body())) == epoch
    assert epoch.end(one, "x").digest == epoch.digest
