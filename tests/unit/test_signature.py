from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from riskshare.signature import SigningKey, verify

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/rfc8032_ed25519.json").read_text(encoding="utf-8"))[
    "vectors"
]
ORDER = 2**252 + 27742317777372353535851937790883648493
SMALL_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]
"""The encodings of order at most 8, canonical and not: a signature of zeros would hold under some."""

KEY = SigningKey(b"\x07" * 32)
seeds = st.binary(min_size=32, max_size=32)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vectors(vector):
    key, message = SigningKey(bytes.fromhex(vector["seed"])), bytes.fromhex(vector["message"])
    assert key.public.hex() == vector["public"]
    assert key.sign(message).hex() == vector["signature"]
    assert verify(key.public, message, bytes.fromhex(vector["signature"]))


@given(seeds, st.binary(max_size=300))
def test_another_implementation_agrees(seed, message):
    key, other = SigningKey(seed), Ed25519PrivateKey.from_private_bytes(seed)
    assert key.public == other.public_key().public_bytes_raw()
    assert key.sign(message) == other.sign(message)
    other.public_key().verify(key.sign(message), message)


@given(seeds, st.binary(min_size=1, max_size=100), st.data())
def test_a_changed_bit_anywhere_is_refused(seed, message, data):
    key = SigningKey(seed)
    whole = key.public + key.sign(message) + message
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    changed = (int.from_bytes(whole, "little") ^ 1 << bit).to_bytes(len(whole), "little")
    assert verify(whole[:32], whole[96:], whole[32:96])
    assert not verify(changed[:32], changed[96:], changed[32:96])


@pytest.mark.parametrize("size", [*range(64), 65, 128])
def test_signatures_of_other_lengths_are_refused(size):
    signature = KEY.sign(b"m")
    assert not verify(KEY.public, b"m", (signature + signature)[:size])


@pytest.mark.parametrize("size", [*range(32), *range(33, 66)])
def test_keys_of_other_lengths_are_refused(size):
    assert not verify((KEY.public * 3)[:size], b"m", KEY.sign(b"m"))
    with pytest.raises(ValueError):
        SigningKey(bytes(size))


@pytest.mark.parametrize("public", SMALL_ORDER)
@pytest.mark.parametrize("nonce_point", SMALL_ORDER)
def test_keys_and_nonces_of_small_order_are_refused(public, nonce_point):
    signature = bytes.fromhex(nonce_point) + bytes(32)
    assert not any(verify(bytes.fromhex(public), bytes([byte]), signature) for byte in range(32))


def test_a_second_form_of_the_same_signature_is_refused():
    signature = KEY.sign(b"m")
    response = int.from_bytes(signature[32:], "little") + ORDER
    assert not verify(KEY.public, b"m", signature[:32] + response.to_bytes(32, "little"))


def test_a_key_is_neither_shown_nor_pickled_nor_copied():
    key = SigningKey(b"\xab" * 32)
    assert "abab" not in repr(key)
    assert key.public.hex() in repr(key)
    for give_away in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            give_away(key)
    with pytest.raises(AttributeError):
        key.note = "slots"  # type: ignore[attr-defined]


def test_a_large_message():
    message = bytes(2_000_000)
    signature = KEY.sign(message)
    assert verify(KEY.public, message, signature)
    Ed25519PublicKey.from_public_bytes(KEY.public).verify(signature, message)
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(KEY.public).verify(signature, message + b"x")
