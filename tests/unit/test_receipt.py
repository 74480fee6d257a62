"""The receipt's bytes and its name."""

from __future__ import annotations

import hashlib
from dataclasses import FrozenInstanceError
from uuid import UUID

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.errors import EncodingError
from riskshare.ledger.receipt import MAX_BYTES, KeptReceipt, Receipt, UnansweredAsk

RECEIPT = Receipt(b'{"ask":1}', b"A" * 64, b'{"answer":1}', b"B" * 64)
BATCH = UUID("01939100-0000-7000-8000-000000000001")

signatures = st.binary(min_size=64, max_size=64)
receipts = st.builds(Receipt, st.binary(max_size=4096), signatures, st.binary(max_size=4096), signatures)


@given(receipts)
def test_round_trip(receipt):
    assert Receipt.from_bytes(receipt.to_bytes()) == receipt


def test_bytes_by_hand():
    """RFC 8949 3.1: array of four, then byte strings of 9, 64, 12 and 64 bytes."""
    expected = (
        b"\x84\x49" + b'{"ask":1}' + b"\x58\x40" + b"A" * 64 + b"\x4c" + b'{"answer":1}' + b"\x58\x40" + b"B" * 64
    )
    assert RECEIPT.to_bytes() == expected
    assert RECEIPT.id == hashlib.sha256(expected).digest()
    assert RECEIPT.ask_digest == hashlib.sha256(b'{"ask":1}').digest()


@given(receipts, receipts)
def test_two_receipts_share_an_id_only_if_they_are_the_same(one, other):
    assert (one.id == other.id) == (one == other)


def test_every_part_is_under_the_id():
    others = [
        Receipt(b'{"ask":2}', RECEIPT.ask_signature, RECEIPT.answer, RECEIPT.answer_signature),
        Receipt(RECEIPT.ask, b"C" * 64, RECEIPT.answer, RECEIPT.answer_signature),
        Receipt(RECEIPT.ask, RECEIPT.ask_signature, b'{"answer":2}', RECEIPT.answer_signature),
        Receipt(RECEIPT.ask, RECEIPT.ask_signature, RECEIPT.answer, b"C" * 64),
        Receipt(RECEIPT.answer, RECEIPT.answer_signature, RECEIPT.ask, RECEIPT.ask_signature),
    ]
    assert len({RECEIPT.id, *(other.id for other in others)}) == 6


PARTS = [RECEIPT.ask, RECEIPT.ask_signature, RECEIPT.answer, RECEIPT.answer_signature]
BAD = {
    "empty": b"",
    "not_cbor": b"\xff",
    "text": cbor2.dumps("receipt"),
    "map": cbor2.dumps({"ask": b"", "answer": b""}, canonical=True),
    "no_parts": cbor2.dumps([]),
    "three_parts": cbor2.dumps(PARTS[:3]),
    "five_parts": cbor2.dumps([*PARTS, b""]),
    "text_for_bytes": cbor2.dumps(["{}", *PARTS[1:]]),
    "null_for_bytes": cbor2.dumps([*PARTS[:3], None]),
    "nested": cbor2.dumps([PARTS]),
    "short_ask_signature": cbor2.dumps([PARTS[0], b"A" * 63, *PARTS[2:]]),
    "long_answer_signature": cbor2.dumps([*PARTS[:3], b"B" * 65]),
    "no_signature": cbor2.dumps([PARTS[0], b"", *PARTS[2:]]),
    "something_behind": cbor2.dumps(PARTS) + b"\x00",
    "cut": cbor2.dumps(PARTS)[:-1],
    "indefinite_array": b"\x9f" + cbor2.dumps(PARTS)[1:] + b"\xff",
    "long_length": b"\x98\x04" + cbor2.dumps(PARTS)[1:],
    "too_long": cbor2.dumps([bytes(MAX_BYTES), *PARTS[1:]]),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_refuses_to_read(data):
    with pytest.raises(EncodingError):
        Receipt.from_bytes(data)


def test_two_statements_of_the_largest_size_fit():
    largest = Receipt(bytes(4096), b"A" * 64, bytes(4096), b"B" * 64)
    assert Receipt.from_bytes(largest.to_bytes()) == largest


def test_a_receipt_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        RECEIPT.ask = b""


def test_repr_shows_who_and_how_many_but_no_content():
    secret = b"\xabsecret"
    kept = KeptReceipt("owner", "bank", BATCH, secret, 3, RECEIPT, secret, secret, secret, secret)
    unanswered = UnansweredAsk("telco", BATCH, secret, 3, secret, secret, secret, secret)
    assert repr(RECEIPT) == "Receipt()"
    for shown in (repr(kept), repr(unanswered)):
        assert "secret" not in shown
        assert str(BATCH) in shown
        assert "count=3" in shown
    assert "bank" in repr(kept)
    assert "telco" in repr(unanswered)
    assert not kept.adopted
