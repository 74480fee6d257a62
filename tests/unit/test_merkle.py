"""The tree hash: known roots, the RFC's own recursive definition, and every input that must matter."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.ledger.merkle import HASH_BYTES, root, root_of

# The eight inputs and roots of the reference tests of Certificate Transparency
# (google/certificate-transparency, cpp/merkletree/merkle_tree_test.cc), used by every implementation of RFC 6962.
INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def defined(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 2.1, word by word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + defined(leaves[:k]) + defined(leaves[k:])).digest()


@pytest.mark.parametrize("size", range(len(ROOTS)))
def test_known_roots(size):
    assert root([bytes.fromhex(text) for text in INPUTS[:size]]).hex() == ROOTS[size]


def test_every_size_up_to_300_is_as_the_rfc_defines_it():
    leaves = [hashlib.sha256(bytes([number % 256, number // 256])).digest() for number in range(301)]
    for size in range(301):
        assert root(leaves[:size]) == defined(leaves[:size]), f"size {size}"
        assert root_of(b"".join(leaves[:size])) == defined(leaves[:size]), f"size {size}"


@given(st.lists(st.binary(max_size=40), max_size=40))
def test_leaves_of_any_length(leaves):
    assert root(leaves) == defined(leaves)
    assert len(root(leaves)) == HASH_BYTES


@given(st.lists(st.binary(min_size=1, max_size=3), min_size=1, max_size=20), st.data())
def test_any_other_list_of_leaves_has_another_root(leaves, data):
    position = data.draw(st.integers(0, len(leaves) - 1))
    changed = [*leaves]
    changed[position] += b"\x00"
    shortened = leaves[:position] + leaves[position + 1 :]
    doubled = [*leaves[: position + 1], *leaves[position:]]
    assert len({root(leaves), root(changed), root(shortened), root(doubled)}) == 4


def test_order_matters():
    assert root([b"a", b"b"]) != root([b"b", b"a"])


def test_an_inner_node_is_no_leaf():
    """The prefixes 0 and 1 keep a pair of hashes from passing for one leaf of 64 bytes (RFC 6962 2.1)."""
    left, right = (hashlib.sha256(b"\x00" + leaf).digest() for leaf in (b"a", b"b"))
    assert root([b"a", b"b"]) != root([left + right])
    assert root([b"a", b"b", b"c"]) != root([left + right, b"c"])


def test_an_odd_last_leaf_is_not_doubled():
    assert root([b"a", b"b", b"c"]) != root([b"a", b"b", b"c", b"c"])


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_root_of_cuts_at_the_size_given(size):
    data = bytes(range(size)) * 5
    assert root_of(data, size) == root([data[start : start + size] for start in range(0, len(data), size)])


@pytest.mark.parametrize("length", [1, 31, 33, 63])
def test_root_of_refuses_a_piece_left_over(length):
    with pytest.raises(ValueError, match="multiple of 32"):
        root_of(bytes(length))


def test_root_of_nothing_is_the_root_of_the_empty_tree():
    assert root_of(b"").hex() == ROOTS[0]
