"""The entry of a log commits to kind, salt and statement, and is 32 bytes whatever they are."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.encoding import cbor_encode
from riskshare.errors import EncodingError
from riskshare.ledger.leaf import ENTRY_BYTES, KINDS, Leaf
from riskshare.statement import KINDS as STATEMENTS

SALT = b"sixteen bytes of"
leaves = st.builds(Leaf, st.sampled_from(sorted(KINDS)), st.binary(min_size=16, max_size=16), st.binary(max_size=200))


def test_an_entry_by_hand():
    leaf = Leaf("receipt", SALT, b"both halves")
    assert leaf.entry == hashlib.sha256(b"sixteen bytes ofreceipt\nboth halves").digest()
    assert leaf.hash == hashlib.sha256(b"\x00" + leaf.entry).digest()


def test_the_kinds_are_those_of_the_protocol():
    assert sorted(KINDS) == ["audit", "check", "epoch", "receipt", "registry", "settlement", "snapshot", "unanswered"]
    assert {"receipt", "unanswered"} == KINDS - STATEMENTS  # of two halves, of the ask alone


@given(leaves, leaves)
def test_two_leaves_have_two_entries_of_one_length(first, second):
    assert (first.entry == second.entry) == (first == second)
    assert len(first.entry) == len(second.entry) == ENTRY_BYTES == 32


@given(st.sampled_from(sorted(KINDS)), st.binary(max_size=40), st.data())
def test_no_part_can_pass_for_another(kind, statement, data):
    """Bytes moved over a border make another entry: the salt has one length, and no kind has a newline in it."""
    leaf = Leaf(kind, SALT, statement)
    other = Leaf(data.draw(st.sampled_from(sorted(KINDS))), SALT, kind.encode() + b"\n" + statement)
    assert other.entry != leaf.entry


@given(leaves)
def test_leaves_read_back(leaf):
    assert Leaf.from_bytes(leaf.to_bytes()) == leaf


def test_the_repr_tells_the_kind_only():
    assert repr(Leaf("check", SALT, b"statement")) == "Leaf(kind='check')"


@pytest.mark.parametrize(
    ("kind", "salt"),
    [("Receipt", SALT), ("", SALT), ("receipt\n", SALT), ("ask", SALT), ("receipt", b""), ("receipt", SALT + b"\x00")],
    ids=["upper case", "no kind", "newline", "not of the ledger", "no salt", "17 bytes"],
)
def test_other_leaves_are_not_made(kind, salt):
    with pytest.raises(ValueError):
        Leaf(kind, salt, b"")


@pytest.mark.parametrize(
    "value",
    [
        [SALT, "receipt"],
        [SALT, "receipt", b"", b""],
        [SALT, b"receipt", b""],
        [SALT.decode(), "receipt", b""],
        [SALT, "receipt", "text"],
        [SALT, "ask", b""],
        [SALT[1:], "receipt", b""],
        {"salt": SALT},
        [],
        None,
    ],
    ids=["two", "four", "kind bytes", "salt text", "statement text", "kind", "short salt", "map", "empty", "null"],
)
def test_other_cbor_is_refused(value):
    with pytest.raises(EncodingError, check=lambda error: error.code == "malformed"):
        Leaf.from_bytes(cbor_encode(value))


@pytest.mark.parametrize(
    "data", [b"", b"\x83", Leaf("check", SALT, b"s").to_bytes() + b"\x00", b"\x9f" + b"\xff"], ids=repr
)
def test_what_is_no_cbor_is_refused(data):
    with pytest.raises(EncodingError):
        Leaf.from_bytes(data)
