"""Inclusion and consistency proofs over the tree of RFC 6962, made and verified (pure).

A proof is made from hashes of *complete* subtrees only, named by `Node`. What must be read is known
beforehand (`inclusion_nodes`, `consistency_nodes`), so that a store can fetch it at once; `tile` finds
the tiles that hold it. Verification follows RFC 9162 step by step and recomputes nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from riskshare.errors import LedgerError
from riskshare.ledger.merkle import EMPTY_ROOT, HASH_BYTES, node_hash

MAX_SIZE = 2**63 - 1
"""Largest number of leaves that a checkpoint may name. Up to 2^62 leaves a proof has at most 63 hashes."""


@dataclass(frozen=True, order=True, slots=True)
class Node:
    """A complete subtree: the one of height `level` over the leaves from `index << level` on."""

    level: int
    index: int


ReadNode = Callable[[Node], bytes]
"""Gives the hash of a node, 32 bytes."""

_Range = tuple[int, int]


def tree_nodes(size: int) -> tuple[Node, ...]:
    """The complete subtrees that make up a tree of `size` leaves, left to right: its right edge.

    Raises:
        ValueError: the size is out of range.

    """
    _sized(size)
    return tuple(_complete(0, size))


def inclusion_nodes(index: int, size: int) -> tuple[Node, ...]:
    """What `prove_inclusion` reads. Raises ValueError unless 0 <= index < size."""
    return tuple(node for part in _inclusion_path(index, size) for node in _complete(*part))


def consistency_nodes(old: int, new: int) -> tuple[Node, ...]:
    """What `prove_consistency` reads. Raises ValueError unless 0 <= old <= new."""
    return tuple(node for part in _consistency_path(old, new) for node in _complete(*part))


def tree_root(size: int, read: ReadNode) -> bytes:
    """Root of the tree of `size` leaves, 32 bytes, from `tree_nodes(size)`."""
    _sized(size)
    return _range_hash(0, size, read) if size else EMPTY_ROOT


def prove_inclusion(index: int, size: int, read: ReadNode) -> tuple[bytes, ...]:
    """Audit path of the leaf `index` in the tree of `size` leaves, from its sibling upwards (RFC 6962 2.1.1).

    Raises:
        ValueError: not 0 <= index < size.

    """
    return tuple(_range_hash(*part, read) for part in _inclusion_path(index, size))


def prove_consistency(old: int, new: int, read: ReadNode) -> tuple[bytes, ...]:
    """Proof that the tree of `old` leaves is a beginning of that of `new` leaves (RFC 6962 2.1.2).

    It is empty for equal sizes and, as tlog-witness has it, for an `old` of 0.

    Raises:
        ValueError: not 0 <= old <= new.

    """
    return tuple(_range_hash(*part, read) for part in _consistency_path(old, new))


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Hold an inclusion proof against a root (RFC 9162 2.1.3.2); `leaf` is the leaf's *hash*.

    Raises:
        LedgerError: code `wrong_inclusion`.

    """
    wrong = LedgerError("The inclusion proof does not lead to the root of the tree.", code="wrong_inclusion")
    # Step 1.
    if not 0 <= index < size <= MAX_SIZE or not _are_hashes(leaf, root, *proof):
        raise wrong
    # Steps 2 and 3.
    first, last, computed = index, size - 1, leaf
    # Step 4.
    for sibling in proof:
        if last == 0:
            raise wrong
        if first & 1 or first == last:
            computed = node_hash(sibling, computed)
            while not first & 1 and first:
                first >>= 1
                last >>= 1
        else:
            computed = node_hash(computed, sibling)
        first >>= 1
        last >>= 1
    # Step 5.
    if last != 0 or computed != root:
        raise wrong


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Hold a consistency proof against both roots (RFC 9162 2.1.4.2).

    Before the RFC's steps: equal sizes have equal roots and no proof; a tree of no leaves has the root of none, and
    is a beginning of every other, without proof (tlog-witness, add-checkpoint).

    Raises:
        LedgerError: code `wrong_consistency`.

    """
    wrong = LedgerError("The consistency proof does not lead from one root to the other.", code="wrong_consistency")
    if not 0 <= old <= new <= MAX_SIZE or not _are_hashes(old_root, new_root, *proof):
        raise wrong
    if (old == 0 and old_root != EMPTY_ROOT) or (new == 0 and new_root != EMPTY_ROOT):
        raise wrong
    if old in (0, new):
        if proof or (old == new and old_root != new_root):
            raise wrong
        return
    # Step 1.
    if not proof:
        raise wrong
    # Step 2: the root of a whole power of two is a node of the new tree, and is not sent.
    path = (old_root, *proof) if old & (old - 1) == 0 else tuple(proof)
    if _replay(old, new, path) != (old_root, new_root):
        raise wrong


def _replay(old: int, new: int, path: tuple[bytes, ...]) -> tuple[bytes, bytes] | None:
    """Both roots that a path computes (RFC 9162 2.1.4.2, steps 3 to 7), or None if its length is wrong."""
    # Steps 3 and 4.
    first, last = old - 1, new - 1
    while first & 1:
        first >>= 1
        last >>= 1
    # Step 5.
    old_computed = new_computed = path[0]
    # Step 6.
    for sibling in path[1:]:
        if last == 0:
            return None
        if first & 1 or first == last:
            old_computed = node_hash(sibling, old_computed)
            new_computed = node_hash(sibling, new_computed)
            while not first & 1 and first:
                first >>= 1
                last >>= 1
        else:
            new_computed = node_hash(new_computed, sibling)
        first >>= 1
        last >>= 1
    # Step 7.
    return (old_computed, new_computed) if last == 0 else None


def _are_hashes(*values: bytes) -> bool:
    return all(len(value) == HASH_BYTES for value in values)


def _sized(size: int) -> None:
    if not 0 <= size <= MAX_SIZE:
        raise ValueError("the size of a tree is out of range")


def _split(size: int) -> int:
    """The largest power of two below `size` (k of RFC 6962 2.1), for a size of at least 2."""
    return 1 << (size - 1).bit_length() - 1


def _inclusion_path(index: int, size: int) -> list[_Range]:
    """PATH of RFC 6962 2.1.1, as ranges of leaves, from the leaf upwards."""
    _sized(size)
    if not 0 <= index < size:
        raise ValueError("the leaf is not in the tree")
    path: list[_Range] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append((middle, high))
            high = middle
        else:
            path.append((low, middle))
            low = middle
    return path[::-1]


def _consistency_path(old: int, new: int) -> list[_Range]:
    """SUBPROOF of RFC 6962 2.1.2, as ranges of leaves, from the old tree's last complete subtree upwards."""
    _sized(new)
    if not 0 <= old <= new:
        raise ValueError("the old tree is not a beginning of the new one")
    if old in (0, new):
        return []
    path: list[_Range] = []
    low, high = 0, new
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            path.append((middle, high))
            high = middle
        else:
            path.append((low, middle))
            low = middle
    if low:  # b is false: what was found is not the whole old tree, so its hash belongs to the proof
        path.append((low, high))
    return path[::-1]


def _complete(low: int, high: int) -> Iterator[Node]:
    """Complete subtrees over the leaves from `low` to `high`, left to right; `low` is where the tree splits."""
    while low < high:
        level = (high - low).bit_length() - 1
        yield Node(level, low >> level)
        low += 1 << level


def _range_hash(low: int, high: int, read: ReadNode) -> bytes:
    """MTH(D[low:high]) of a range that is not empty."""
    *others, computed = map(read, _complete(low, high))
    for left in reversed(others):
        computed = node_hash(left, computed)
    return computed
