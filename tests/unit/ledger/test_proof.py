"""Inclusion and consistency proofs: every small one, any large one, and every way in which one can be wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.errors import LedgerError
from riskshare.ledger.merkle import EMPTY_ROOT, leaf_hash, node_hash, root
from riskshare.ledger.proof import (
    MAX_SIZE,
    Node,
    consistency_nodes,
    inclusion_nodes,
    prove_consistency,
    prove_inclusion,
    tree_nodes,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from tests.simulator.tree import DefinedTree, SparseTree, split
from tests.unit.test_merkle import INPUTS, ROOTS

LIMIT = 300
TREE = DefinedTree(LIMIT)
SMALL = 34
sizes = st.integers(1, MAX_SIZE) | st.integers(0, 62).map(lambda power: 1 << power)


def holds(code: str, verify) -> bool:
    try:
        verify()
    except LedgerError as error:
        if error.code != code:
            raise
        return False
    return True


def includes(leaf: bytes, index: int, size: int, proof, tree_hash: bytes) -> bool:
    return holds("wrong_inclusion", lambda: verify_inclusion(leaf, index, size, proof, tree_hash))


def extends(old: int, new: int, proof, old_root: bytes, new_root: bytes) -> bool:
    return holds("wrong_consistency", lambda: verify_consistency(old, new, proof, old_root, new_root))


def spoilt(proof: tuple[bytes, ...]) -> dict[str, tuple[bytes, ...]]:
    """Every proof that is nearly `proof`."""
    found = {}
    for at, value in enumerate(proof):
        for byte in (0, 31):
            flipped = bytearray(value)
            flipped[byte] ^= 1
            found[f"bit of byte {byte} of hash {at}"] = (*proof[:at], bytes(flipped), *proof[at + 1 :])
        found[f"hash {at} away"] = proof[:at] + proof[at + 1 :]
        found[f"hash {at} twice"] = proof[: at + 1] + proof[at:]
        found[f"hash {at} short"] = (*proof[:at], value[:31], *proof[at + 1 :])
        found[f"hash {at} long"] = (*proof[:at], value + b"\x00", *proof[at + 1 :])
        found[f"hash {at} empty"] = (*proof[:at], b"", *proof[at + 1 :])
        for other in range(at):
            swapped = list(proof)
            swapped[at], swapped[other] = swapped[other], swapped[at]
            found[f"hashes {other} and {at} swapped"] = tuple(swapped)
    for value in (bytes(32), EMPTY_ROOT, *proof[-1:]):
        found[f"{value[:2].hex()} behind"] = (*proof, value)
        found[f"{value[:2].hex()} in front"] = (value, *proof)
    found["none"] = ()
    return {what: wrong for what, wrong in found.items() if wrong != proof}


# --- The small ones, all of them ------------------------------------------------------------------


def test_every_root_up_to_300_is_made_of_its_complete_subtrees():
    for size in range(LIMIT + 1):
        assert tree_root(size, TREE.read) == TREE.root(size)
        assert sum(1 << node.level for node in tree_nodes(size)) == size


@pytest.mark.parametrize("part", range(4))
def test_every_inclusion_proof_up_to_300_is_the_rfcs_and_verifies(part):
    for size in range(1 + part, LIMIT + 1, 4):
        whole = TREE.root(size)
        for index in range(size):
            proof = prove_inclusion(index, size, TREE.read)
            assert list(proof) == TREE.path(index, 0, size), (index, size)
            verify_inclusion(TREE.leaves[index], index, size, proof, whole)


@pytest.mark.parametrize("part", range(4))
def test_every_consistency_proof_up_to_300_is_the_rfcs_and_verifies(part):
    for new in range(1 + part, LIMIT + 1, 4):
        for old in range(1, new + 1):
            proof = prove_consistency(old, new, TREE.read)
            assert list(proof) == TREE.subproof(old, 0, new, whole=True), (old, new)
            verify_consistency(old, new, proof, TREE.root(old), TREE.root(new))


def test_a_proof_reads_the_nodes_that_it_says_beforehand():
    read: list[Node] = []

    def note_down(node: Node) -> bytes:
        read.append(node)
        return TREE.read(node)

    for size in range(1, SMALL):
        for index in range(size):
            read.clear()
            prove_inclusion(index, size, note_down)
            assert tuple(read) == inclusion_nodes(index, size)
            read.clear()
            prove_consistency(index, size, note_down)
            assert tuple(read) == consistency_nodes(index, size)


# --- Published ones -------------------------------------------------------------------------------

# Of the same reference tests as the roots (merkle_tree_test.cc, its tables of paths and proofs).
PATHS = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
PROOFS = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


def read_known(node: Node) -> bytes:
    leaves = [bytes.fromhex(text) for text in INPUTS]
    return root(leaves[node.index << node.level : (node.index + 1) << node.level])


@pytest.mark.parametrize(("index", "size"), PATHS)
def test_known_inclusion_proofs(index, size):
    proof = prove_inclusion(index, size, read_known)
    assert [value.hex() for value in proof] == PATHS[index, size]
    verify_inclusion(leaf_hash(bytes.fromhex(INPUTS[index])), index, size, proof, bytes.fromhex(ROOTS[size]))


@pytest.mark.parametrize(("old", "new"), PROOFS)
def test_known_consistency_proofs(old, new):
    proof = prove_consistency(old, new, read_known)
    assert [value.hex() for value in proof] == PROOFS[old, new]
    verify_consistency(old, new, proof, bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[new]))


# --- The large ones -------------------------------------------------------------------------------


@given(sizes, st.data())
def test_any_inclusion_proof_verifies_for_its_leaf_and_no_other(size, data):
    index = data.draw(st.integers(0, size - 1))
    tree = SparseTree({index, size - 1, size // 2})
    proof = prove_inclusion(index, size, tree.read)
    whole = tree.hash(0, size)
    assert tree_root(size, tree.read) == whole
    assert len(proof) <= 63
    assert includes(tree.leaf(index), index, size, proof, whole)
    assert not includes(tree.plain[0], index, size, proof, whole)
    for other in {0, size - 1, index ^ 1, data.draw(st.integers(0, size - 1))} - {index}:
        assert not includes(tree.leaf(index), other, size, proof, whole)


@given(sizes, st.data())
def test_any_consistency_proof_verifies_and_shows_an_altered_past(new, data):
    old = data.draw(st.integers(1, new))
    changed = data.draw(st.integers(0, old - 1))
    tree, other = SparseTree({changed, new - 1}), SparseTree({new - 1})
    proof = prove_consistency(old, new, tree.read)
    assert len(proof) <= 63 + (new > 1 << 62)
    assert extends(old, new, proof, tree.hash(0, old), tree.hash(0, new))
    if changed != new - 1:
        assert not extends(old, new, proof, other.hash(0, old), tree.hash(0, new))
        assert not extends(old, new, prove_consistency(old, new, other.read), tree.hash(0, old), other.hash(0, new))


@given(sizes, st.data())
def test_a_spoilt_proof_of_any_size_does_not_verify(size, data):
    index = data.draw(st.integers(0, size - 1))
    tree = SparseTree({index, size // 3})
    proof = prove_inclusion(index, size, tree.read)
    what, wrong = data.draw(st.sampled_from(sorted(spoilt(proof).items())))
    assert not includes(tree.leaf(index), index, size, wrong, tree.hash(0, size)), what


# --- The wrong ones, all of them ------------------------------------------------------------------


def directions(index: int, size: int) -> list[bool]:
    """On which side the sibling stands, from the leaf upwards."""
    low, high, found = 0, size, []
    while high - low > 1:
        middle = low + split(high - low)
        found.append(index >= middle)
        low, high = (middle, high) if index >= middle else (low, middle)
    return found[::-1]


def test_every_spoilt_inclusion_proof_is_refused():
    for size in range(1, SMALL):
        for index in range(size):
            proof = prove_inclusion(index, size, TREE.read)
            for what, wrong in spoilt(proof).items():
                assert not includes(TREE.leaves[index], index, size, wrong, TREE.root(size)), (index, size, what)


def test_every_spoilt_consistency_proof_is_refused():
    for new in range(1, SMALL):
        for old in range(1, new + 1):
            proof = prove_consistency(old, new, TREE.read)
            for what, wrong in spoilt(proof).items():
                assert not extends(old, new, wrong, TREE.root(old), TREE.root(new)), (old, new, what)


def test_an_inclusion_proof_holds_for_no_other_place_leaf_or_root():
    """A size is bound by the checkpoint, not by the proof: where another size has the same path, it verifies too."""
    for size in range(1, SMALL):
        for index in range(size):
            proof, leaf, whole = prove_inclusion(index, size, TREE.read), TREE.leaves[index], TREE.root(size)
            for other in range(-1, SMALL):
                right = other == index
                assert includes(leaf, other, size, proof, whole) == right, (index, size, other)
                assert includes(TREE.leaves[other], index, size, proof, whole) == right
                assert includes(leaf, index, size, proof, TREE.root(other + 1)) == (other + 1 == size)
                same_path = index < other and directions(index, other) == directions(index, size)
                assert includes(leaf, index, other, proof, whole) == same_path, (index, size, other)


def test_a_consistency_proof_holds_for_no_other_tree():
    for new in range(1, SMALL):
        for old in range(1, new):
            proof = prove_consistency(old, new, TREE.read)
            for other in range(SMALL):
                if other != old:
                    assert not extends(other, new, proof, TREE.root(other), TREE.root(new)), (old, new, other)
                    assert not extends(old, new, proof, TREE.root(other), TREE.root(new)), (old, new, other)
                if other != new:
                    assert not extends(old, other, proof, TREE.root(old), TREE.root(other)), (old, new, other)
                    assert not extends(old, new, proof, TREE.root(old), TREE.root(other)), (old, new, other)
            assert not extends(new, old, proof, TREE.root(new), TREE.root(old))
            assert not extends(old, new, proof, TREE.root(new), TREE.root(old))


LEAF = TREE.leaves[0]
ONE, TWO = TREE.root(1), TREE.root(2)


@pytest.mark.parametrize(
    ("index", "size", "proof", "whole"),
    [
        (0, 0, (), EMPTY_ROOT),
        (0, 0, (), LEAF),
        (1, 1, (), ONE),
        (-1, 1, (), ONE),
        (0, -1, (), ONE),
        (0, 1, (), ONE[:31]),
        (0, 1, (), b""),
        (0, MAX_SIZE + 1, (), ONE),
        (MAX_SIZE, MAX_SIZE, (), ONE),
        (0, 2, (), ONE),
        (0, 1, (TREE.leaves[1],), TWO),
        (0, 2, (TREE.leaves[1],) * 100, TWO),
    ],
    ids=[
        "empty tree",
        "size 0 with the leaf as root",
        "index is the size",
        "negative index",
        "negative size",
        "short root",
        "empty root",
        "too large",
        "last index too large",
        "no proof where one is needed",
        "proof where none is needed",
        "a hundred hashes",
    ],
)
def test_an_inclusion_proof_out_of_range_is_refused(index, size, proof, whole):
    assert not includes(LEAF, index, size, proof, whole)


def test_an_inclusion_proof_needs_the_hash_of_a_leaf():
    assert includes(LEAF, 0, 1, (), ONE)
    assert not includes(LEAF[:31], 0, 1, (), LEAF[:31])


@pytest.mark.parametrize(
    ("old", "new", "proof", "roots", "verifies"),
    [
        (0, 0, (), (EMPTY_ROOT, EMPTY_ROOT), True),
        (0, 1, (), (EMPTY_ROOT, ONE), True),
        (1, 1, (), (ONE, ONE), True),
        (0, 0, (), (ONE, ONE), False),
        (0, 0, (), (EMPTY_ROOT, ONE), False),
        (0, 0, (ONE,), (EMPTY_ROOT, EMPTY_ROOT), False),
        (0, 1, (), (ONE, ONE), False),
        (0, 1, (ONE,), (EMPTY_ROOT, ONE), False),
        (1, 1, (), (ONE, TWO), False),
        (1, 1, (ONE,), (ONE, ONE), False),
        (2, 1, (), (TWO, ONE), False),
        (1, 0, (), (ONE, EMPTY_ROOT), False),
        (-1, 1, (), (ONE, ONE), False),
        (1, 2, (), (ONE, TWO), False),
        (1, 2, (TREE.leaves[1],), (ONE, TWO), True),
        (1, MAX_SIZE + 1, (TREE.leaves[1],), (ONE, TWO), False),
        (1, 2, (TREE.leaves[1],), (ONE[:31], TWO), False),
        (1, 2, (TREE.leaves[1],), (ONE, TWO + b"\x00"), False),
        (1, 2, (TREE.leaves[1],) * 64, (ONE, TWO), False),
    ],
    ids=[
        "empty to empty",
        "empty to one",
        "the same",
        "empty with a root",
        "empty twice, two roots",
        "empty with a proof",
        "from empty, wrong old root",
        "from empty, with a proof",
        "equal sizes, two roots",
        "equal sizes, with a proof",
        "old above new",
        "shrinks to empty",
        "negative",
        "no proof",
        "one to two",
        "too large",
        "short old root",
        "long new root",
        "64 hashes",
    ],
)
def test_the_ends_of_consistency(old, new, proof, roots, verifies):
    assert extends(old, new, proof, *roots) == verifies


def test_a_proof_of_another_length_does_not_verify_even_for_roots_made_to_fit():
    """Without the RFC's tests for `sn = 0`, each of these computes the very roots that it is given."""
    h, more = TREE.leaves, bytes(32)
    assert includes(h[1], 1, 2, (h[0],), TWO)
    assert not includes(h[1], 0, 1, (h[0],), TWO)
    proof = prove_consistency(3, 4, TREE.read)
    assert extends(3, 4, proof, TREE.root(3), TREE.root(4))
    assert not extends(3, 4, (*proof, more), node_hash(more, TREE.root(3)), node_hash(more, TREE.root(4)))
    assert extends(1, 2, (h[1],), ONE, TWO)
    assert not extends(1, 4, (h[1],), ONE, TWO)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (-1, 1), (0, -1), (0, MAX_SIZE + 1)])
def test_a_proof_of_no_leaf_is_not_made(index, size):
    with pytest.raises(ValueError):
        prove_inclusion(index, size, TREE.read)
    with pytest.raises(ValueError):
        inclusion_nodes(index, size)


@pytest.mark.parametrize(("old", "new"), [(2, 1), (-1, 1), (0, -1), (0, MAX_SIZE + 1)])
def test_a_proof_between_no_trees_is_not_made(old, new):
    with pytest.raises(ValueError):
        prove_consistency(old, new, TREE.read)
    with pytest.raises(ValueError):
        consistency_nodes(old, new)


@pytest.mark.parametrize("size", [-1, MAX_SIZE + 1])
def test_a_tree_out_of_range_has_no_root(size):
    with pytest.raises(ValueError):
        tree_root(size, TREE.read)
    with pytest.raises(ValueError):
        tree_nodes(size)
