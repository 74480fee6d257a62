"""Signed statements: what is signed, what is named, and what is refused before it is looked into."""

from __future__ import annotations

import hashlib
from dataclasses import FrozenInstanceError, replace

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from riskshare.errors import EncodingError, TrustError
from riskshare.signature import SigningKey
from riskshare.statement import KINDS, SALT_BYTES, Statement, read, read_wire, sign, signed_bytes

KEY = SigningKey(bytes(range(32)))
OTHER = SigningKey(bytes(32))
BODY = {"owner": "telco", "epoch": 1, "ended": False}
JSON = b'{"ended":false,"epoch":1,"owner":"telco"}'
SALT = b"sixteen bytes of"
LIMIT = 4096

bodies = st.dictionaries(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=10),
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"])),
)
STATEMENT = sign("epoch", "testnet", BODY, KEY, salt=SALT)


def test_the_kinds_are_those_of_the_protocol():
    assert " ".join(sorted(KINDS)) == "answer ask audit catalogue check epoch join registry settlement snapshot"


def test_signed_bytes_by_hand():
    assert signed_bytes("epoch", "testnet", JSON) == b"riskshare/v1/epoch\ntestnet\n" + JSON
    assert STATEMENT.json == JSON
    assert STATEMENT.digest == hashlib.sha256(JSON).digest()


def test_another_implementation_of_ed25519_makes_and_takes_the_same_signature():
    message = b"riskshare/v1/epoch\ntestnet\n" + JSON
    assert Ed25519PrivateKey.from_private_bytes(bytes(range(32))).sign(message) == STATEMENT.signature
    Ed25519PublicKey.from_public_bytes(KEY.public).verify(STATEMENT.signature, message)


@given(bodies, st.sampled_from(sorted(KINDS)), st.sampled_from([b"", SALT]))
def test_round_trip(body, kind, salt):
    statement = sign(kind, "testnet", body, KEY, salt=salt)
    read_back = read_wire(kind, "testnet", statement.wire(), [KEY.public], limit=1 << 20)
    assert read_back == statement
    assert read_back.body == body
    assert (
        read(kind, "testnet", statement.json, statement.signature, [KEY.public], limit=1 << 20, salt=salt) == statement
    )


def test_any_of_several_keys_may_have_signed():
    keys = [OTHER.public, KEY.public]
    assert read_wire("epoch", "testnet", STATEMENT.wire(), iter(keys), limit=LIMIT) == STATEMENT


@pytest.mark.parametrize(
    ("kind", "network", "keys"),
    [
        ("snapshot", "testnet", [KEY.public]),
        ("epoch", "mainnet", [KEY.public]),
        ("epoch", "testnet", [OTHER.public]),
        ("epoch", "testnet", []),
        ("epoch", "testnet", [b""]),
        ("epoch", "testnet", [KEY.public[:31]]),
        ("epoch", "testnet", [KEY.public + b"\x00"]),
        ("epoch", "testnet", [bytes(32)]),
    ],
    ids=["kind", "network", "key", "no_key", "empty_key", "short_key", "long_key", "zero_key"],
)
def test_a_statement_stands_for_nothing_else(kind, network, keys):
    with pytest.raises(TrustError) as caught:
        read_wire(kind, network, STATEMENT.wire(), keys, limit=LIMIT)
    assert caught.value.code == "bad_signature"


def test_kind_and_network_do_not_run_into_each_other():
    """`kind` "a", network "b\\nc" and so on would be one message if a line end could stand inside a name."""
    assert signed_bytes("ask", "x", b"{}") != signed_bytes("as", "kx", b"{}")
    assert signed_bytes("ask", "x", b"{}") != signed_bytes("ask", "", b"x\n{}")


@given(st.integers(0, len(JSON) - 1), st.integers(1, 255))
def test_an_altered_byte_of_the_json_breaks_the_signature(position, change):
    altered = bytearray(JSON)
    altered[position] ^= change
    with pytest.raises(TrustError):
        read("epoch", "testnet", bytes(altered), STATEMENT.signature, [KEY.public], limit=LIMIT)


@given(st.integers(0, 63), st.integers(1, 255))
def test_an_altered_byte_of_the_signature_breaks_it(position, change):
    altered = bytearray(STATEMENT.signature)
    altered[position] ^= change
    with pytest.raises(TrustError):
        read("epoch", "testnet", JSON, bytes(altered), [KEY.public], limit=LIMIT)


@pytest.mark.parametrize("length", [0, 1, 63, 65, 128])
def test_a_signature_of_another_length_is_no_signature(length):
    with pytest.raises(TrustError):
        read("epoch", "testnet", JSON, STATEMENT.signature.ljust(128, b"\x00")[:length], [KEY.public], limit=LIMIT)


NOT_CANONICAL = {
    "space": b'{"a": 1}',
    "key_twice": b'{"a":1,"a":1}',
    "unsorted": b'{"b":1,"a":2}',
    "float": b'{"a":1.0}',
    "list": b"[]",
    "no_json": b"hello",
    "empty": b"",
    "not_utf8": b'{"a":"\xff"}',
}


@pytest.mark.parametrize("json", NOT_CANONICAL.values(), ids=NOT_CANONICAL)
def test_signed_but_not_canonical(json):
    signature = KEY.sign(signed_bytes("epoch", "testnet", json))
    with pytest.raises(EncodingError):
        read("epoch", "testnet", json, signature, [KEY.public], limit=LIMIT)


def test_the_signature_is_verified_before_the_json_is_looked_into():
    with pytest.raises(TrustError) as caught:
        read("epoch", "testnet", b"not even json", bytes(64), [KEY.public], limit=LIMIT)
    assert caught.value.code == "bad_signature"


def test_the_limit_is_inclusive_and_comes_first():
    read("epoch", "testnet", JSON, STATEMENT.signature, [KEY.public], limit=len(JSON))
    with pytest.raises(EncodingError):
        read("epoch", "testnet", JSON, bytes(64), [KEY.public], limit=len(JSON) - 1)
    read_wire("epoch", "testnet", STATEMENT.wire(), [KEY.public], limit=len(STATEMENT.wire()))
    with pytest.raises(EncodingError):
        read_wire("epoch", "testnet", STATEMENT.wire(), [KEY.public], limit=len(STATEMENT.wire()) - 1)


def wire(**parts: object) -> bytes:
    return cbor2.dumps(parts, canonical=True)


BAD_WIRE = {
    "empty": b"",
    "not_cbor": b"\xff\xff",
    "json": JSON,
    "bytes": cbor2.dumps(JSON),
    "list": cbor2.dumps([JSON, STATEMENT.signature]),
    "list_of_names": cbor2.dumps(["signature", "statement"]),
    "no_statement": wire(signature=STATEMENT.signature),
    "no_signature": wire(statement=JSON),
    "unknown_part": wire(statement=JSON, signature=STATEMENT.signature, proof=b""),
    "statement_is_text": wire(statement=JSON.decode(), signature=STATEMENT.signature),
    "signature_is_hex": wire(statement=JSON, signature=STATEMENT.signature.hex()),
    "salt_is_null": wire(statement=JSON, signature=STATEMENT.signature, salt=None),
    "short_signature": wire(statement=JSON, signature=STATEMENT.signature[:63]),
    "long_signature": wire(statement=JSON, signature=STATEMENT.signature + b"\x00"),
    "short_salt": wire(statement=JSON, signature=STATEMENT.signature, salt=SALT[:15]),
    "long_salt": wire(statement=JSON, signature=STATEMENT.signature, salt=SALT + b"\x00"),
    "something_behind": STATEMENT.wire() + b"\x00",
    "other_order": b"\xa2"
    + cbor2.dumps("statement")
    + cbor2.dumps(JSON)
    + cbor2.dumps("signature")
    + b"\x58\x40"
    + bytes(64),
}


@pytest.mark.parametrize("data", BAD_WIRE.values(), ids=BAD_WIRE)
def test_refuses_to_read_from_the_wire(data):
    with pytest.raises(EncodingError):
        read_wire("epoch", "testnet", data, [KEY.public], limit=LIMIT)


def test_an_empty_salt_has_one_spelling():
    with pytest.raises(EncodingError):
        read_wire(
            "epoch", "testnet", wire(statement=JSON, signature=STATEMENT.signature, salt=b""), [KEY.public], limit=LIMIT
        )


def test_the_wire_form_names_its_parts():
    assert cbor2.loads(STATEMENT.wire()) == {"statement": JSON, "signature": STATEMENT.signature, "salt": SALT}
    assert cbor2.loads(replace(STATEMENT, salt=b"").wire()) == {"statement": JSON, "signature": STATEMENT.signature}
    assert len(SALT) == SALT_BYTES


@pytest.mark.parametrize("body", [{"a": 1.5}, {"a": 2**53}, {"é": 1}, {"a": b""}, {1: "a"}])
def test_a_body_without_a_canonical_form_is_not_signed(body):
    with pytest.raises(EncodingError):
        sign("epoch", "testnet", body, KEY)


def test_a_statement_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        STATEMENT.json = b"{}"


def test_repr_shows_no_content():
    assert repr(STATEMENT) == "Statement(kind='epoch', network='testnet')"
    assert isinstance(STATEMENT, Statement)


def test_two_statements_are_the_same_by_their_signed_bytes_not_by_the_parsed_body():
    assert replace(STATEMENT, body={}) == STATEMENT
    assert replace(STATEMENT, network="mainnet") != STATEMENT
