from __future__ import annotations

import pickle
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.errors import EncodingError, OpenError
from riskshare.membership.oprf import SecretKey
from riskshare.membership.record import Record
from riskshare.sharing.entry import ROW_RANDOM, DataKey, reseal
from riskshare.sharing.kept import STATES, StoredEntry

NOW = datetime(2026, 11, 22, tzinfo=UTC)
KEY = DataKey(bytes(range(32)))
OTHER = DataKey(bytes(32))
ROW = UUID(int=7)
NONCE = bytes(12)
VALUE = b"phone:+8613800138000"
PLACE = {"row": ROW, "list_name": "jd/fraud", "state": "active"}


def sealed(value=VALUE, **place):
    return KEY.seal_identifier(value, NONCE, **PLACE | place)


def entry(state="active", *, disputed=False):
    record = Record("telecom_fraud", "reported", "high", "", NOW, NOW + timedelta(days=1), disputed=disputed)
    return StoredEntry(
        ROW, bytes(32), sealed(state=state), record.to_bytes(), state, None, NOW, NOW + timedelta(days=1), 1
    )


@given(st.binary(max_size=256))
def test_an_identifier_opens_for_its_row_list_and_state(value):
    assert KEY.open_identifier(sealed(value), **PLACE) == value
    assert value not in sealed(value) or len(value) < 4


@pytest.mark.parametrize(
    "change", [{"row": UUID(int=8)}, {"list_name": "jd/other"}, {"list_name": "ub/fraud"}, {"state": "withdrawn"}]
)
def test_an_identifier_does_not_open_elsewhere(change):
    with pytest.raises(OpenError) as refused:
        KEY.open_identifier(sealed(), **PLACE | change)
    assert "13800138000" not in str(refused.value)


def test_an_identifier_does_not_open_under_another_data_key():
    with pytest.raises(OpenError):
        OTHER.open_identifier(sealed(), **PLACE)


@pytest.mark.parametrize("size", [0, 1, 11, 12, 13, 27, 28])
def test_what_is_cut_short_does_not_open(size):
    with pytest.raises(OpenError):
        KEY.open_identifier(sealed()[:size], **PLACE)


@given(st.integers(0, 47), st.integers(1, 255))
def test_what_is_altered_does_not_open(at, mask):
    data = bytearray(sealed())
    data[at] ^= mask
    with pytest.raises(OpenError):
        KEY.open_identifier(bytes(data), **PLACE)


@given(st.lists(st.tuples(st.uuids(), st.binary(max_size=40), st.sampled_from(STATES)), max_size=5))
def test_many_open_as_one_does(rows):
    stored = [
        (row.bytes, KEY.seal_identifier(value, NONCE, row=row, list_name="jd/fraud", state=state), state)
        for row, value, state in rows
    ]
    assert KEY.open_identifiers("jd/fraud", stored) == [value for _, value, _ in rows]


def test_of_many_one_that_does_not_open_is_told():
    good, bad = (ROW.bytes, sealed(), "active"), (ROW.bytes, sealed(), "withdrawn")
    with pytest.raises(OpenError):
        KEY.open_identifiers("jd/fraud", [good, bad])


def test_a_handle_is_one_for_an_identifier_on_a_list():
    handle = KEY.handle(VALUE, "jd/fraud")
    assert len(handle) == 32
    assert KEY.handle(VALUE, "jd/fraud") == handle
    others = [KEY.handle(VALUE, "jd/frau"), KEY.handle(VALUE + b"1", "jd/fraud"), OTHER.handle(VALUE, "jd/fraud")]
    assert handle not in others
    assert KEY.handle(b"bc", "a") != KEY.handle(b"c", "ab")


@given(st.lists(st.binary(max_size=256), max_size=5), st.binary(min_size=ROW_RANDOM, max_size=ROW_RANDOM))
def test_many_rows_are_sealed_as_one_is(values, random):
    rows = KEY.seal_rows("jd/fraud", values, [random] * len(values))
    assert len(rows) == len(values)
    for value, (row, handle, text) in zip(values, rows, strict=True):
        place = UUID(bytes=row)
        assert place.version == 8
        assert row[:6] == handle[:6]
        assert handle == KEY.handle(value, "jd/fraud")
        assert text == KEY.seal_identifier(value, text[:12], **PLACE | {"row": place})


def test_an_epochs_key_opens_for_its_epoch_only():
    secret = SecretKey.from_random(bytes(range(64)))
    kept = KEY.seal_epoch(secret, NONCE, b"\1" * 32)
    assert KEY.open_epoch(kept, b"\1" * 32).export() == secret.export()
    assert secret.export() not in kept
    for key, epoch in [(KEY, b"\2" * 32), (OTHER, b"\1" * 32)]:
        with pytest.raises(OpenError):
            key.open_epoch(kept, epoch)


def test_one_use_does_not_open_what_another_has_sealed():
    epoch, row = b"\1" * 32, UUID(int=1)
    sealed = KEY.seal_identifier(VALUE, NONCE, row=row, list_name="jd/fraud", state="active")
    with pytest.raises(OpenError):
        KEY.open_epoch(sealed, epoch)
    kept = KEY.seal_epoch(SecretKey.from_random(b"\7" * 64), NONCE, epoch)
    with pytest.raises(OpenError):
        KEY.open_identifier(kept, row=row, list_name="jd/fraud", state="active")


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_data_key_has_32_bytes(size):
    with pytest.raises(ValueError, match="32"):
        DataKey(bytes(size))


def test_a_data_key_shows_and_pickles_nothing():
    assert repr(KEY) == "DataKey()"
    with pytest.raises(TypeError):
        pickle.dumps(KEY)
    assert KEY.export() == bytes(range(32))


@pytest.mark.parametrize("old", STATES)
@pytest.mark.parametrize("new", STATES)
def test_resealed_for_another_state(old, new):
    before = entry(old, disputed=old == "disputed")
    after = reseal(KEY, "jd/fraud", before, new, NONCE)
    assert KEY.open_identifier(after.sealed, row=ROW, list_name="jd/fraud", state=new) == VALUE
    disputed = Record.from_bytes(after.record).disputed
    assert disputed is (old == "disputed" if new == "withdrawn" else new == "disputed")


def test_what_does_not_open_is_not_resealed():
    with pytest.raises(OpenError):
        reseal(OTHER, "jd/fraud", entry(), "withdrawn", NONCE)
    with pytest.raises(EncodingError):
        reseal(KEY, "jd/fraud", replace(entry(), record=b"{}"), "disputed", NONCE)
