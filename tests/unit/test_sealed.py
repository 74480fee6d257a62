"""The sealed record of a check: who can open it, and that nothing else can."""

from __future__ import annotations

import copy
import hashlib
import hmac
import pickle
from datetime import UTC, datetime
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from riskshare.errors import OpenError
from riskshare.ledger.sealed import (
    KEY_BYTES,
    NONCE_BYTES,
    HourKey,
    RecordSeal,
    SealedCheck,
    additional_data,
    open_record,
    seal_record,
)

KEY_ID = UUID("01939100-0000-7000-8000-0000000000aa")
CHECK = UUID("01939100-0000-7000-8000-000000000001")
OTHER_CHECK = UUID("01939100-0000-7000-8000-000000000002")
HOUR = datetime(2026, 11, 22, 8, tzinfo=UTC)
SECRET = bytes(range(32))
NONCE = b"nonce-of-12b"
KEY = HourKey(KEY_ID, HOUR, SECRET)
SEALED = seal_record(b"what was asked", KEY, NONCE, member="bank", check=CHECK)

uuids = st.uuids()


@given(st.binary(max_size=300), st.binary(min_size=32, max_size=32), st.binary(min_size=12, max_size=12), uuids)
def test_round_trip(plaintext, secret, nonce, check):
    key = HourKey(KEY_ID, HOUR, secret)
    sealed = seal_record(plaintext, key, nonce, member="bank", check=check)
    assert sealed[:NONCE_BYTES] == nonce
    assert len(sealed) == NONCE_BYTES + len(plaintext) + 16
    assert open_record(sealed, key, member="bank", check=check) == plaintext


def test_the_record_key_is_hkdf_sha256_of_the_hour_key():
    """RFC 5869 2.2 and 2.3 with hashlib alone: an absent salt is 32 zeros; one block of output."""
    extracted = hmac.digest(bytes(32), SECRET, hashlib.sha256)
    expanded = hmac.digest(extracted, b"riskshare/v1/check-record/" + CHECK.bytes + b"\x01", hashlib.sha256)
    assert KEY.record_key(CHECK) == expanded
    assert len(expanded) == KEY_BYTES


def test_the_ciphertext_is_plain_aes_256_gcm():
    data = b"\x00\x00\x00\x19riskshare/v1/check-record\x00\x00\x00\x04bank\x00\x00\x00\x10" + CHECK.bytes
    assert additional_data("bank", CHECK) == data
    assert NONCE + AESGCM(KEY.record_key(CHECK)).encrypt(NONCE, b"what was asked", data) == SEALED


def test_no_two_checks_share_a_record_key():
    assert KEY.record_key(CHECK) != KEY.record_key(OTHER_CHECK)
    assert KEY.record_key(CHECK) != HourKey(KEY_ID, HOUR, bytes(32)).record_key(CHECK)


def test_another_hour_key_does_not_open():
    with pytest.raises(OpenError) as caught:
        open_record(SEALED, HourKey(KEY_ID, HOUR, bytes(32)), member="bank", check=CHECK)
    assert caught.value.code == "does_not_open"


def test_another_member_does_not_open():
    with pytest.raises(OpenError):
        open_record(SEALED, KEY, member="bank2", check=CHECK)


def test_another_check_does_not_open():
    with pytest.raises(OpenError):
        open_record(SEALED, KEY, member="bank", check=OTHER_CHECK)


@given(st.integers(0, len(SEALED) - 1), st.integers(1, 255))
def test_an_altered_byte_does_not_open(position, change):
    altered = bytearray(SEALED)
    altered[position] ^= change
    with pytest.raises(OpenError):
        open_record(bytes(altered), KEY, member="bank", check=CHECK)


@pytest.mark.parametrize("length", range(len(SEALED)))
def test_a_cut_record_does_not_open(length):
    with pytest.raises(OpenError):
        open_record(SEALED[:length], KEY, member="bank", check=CHECK)


def test_a_longer_record_does_not_open():
    with pytest.raises(OpenError):
        open_record(SEALED + b"\x00", KEY, member="bank", check=CHECK)


@pytest.mark.parametrize("length", [0, 7, 11, 13, 16])
def test_a_nonce_of_another_length_is_refused(length):
    with pytest.raises(ValueError, match="12 bytes"):
        seal_record(b"", KEY, bytes(length), member="bank", check=CHECK)


def test_a_record_is_sealed_once():
    seal = RecordSeal(KEY, NONCE, member="bank", check=CHECK)
    assert seal(b"what was asked") == SEALED
    with pytest.raises(ValueError, match=r"[Nn]once"):
        seal(b"something else")


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_an_hour_key_of_another_length_is_refused(length):
    with pytest.raises(ValueError, match="32 bytes"):
        HourKey(KEY_ID, HOUR, bytes(length))


def test_an_hour_key_shows_nothing_of_itself():
    assert repr(KEY) == f"HourKey(id={KEY_ID}, hour=2026-11-22T08Z)"
    assert f"{KEY}" == repr(KEY)
    assert not hasattr(KEY, "__dict__")
    assert KEY.export() == SECRET


def test_an_hour_key_is_neither_pickled_nor_copied():
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled"):
            leak(KEY)


def test_a_sealed_check_shows_no_content():
    shown = repr(SealedCheck(CHECK, HOUR, KEY_ID, SEALED, b'{"x":1}', b"S" * 64, b"T" * 16))
    assert str(CHECK) in shown
    for hidden in ("record", "statement", "signature", "salt"):
        assert hidden not in shown
