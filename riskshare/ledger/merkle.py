"""The Merkle tree hash of RFC 6962 2.1, over SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

HASH_BYTES = 32

EMPTY_ROOT = hashlib.sha256().digest()
"""Merkle tree hash of no leaves (RFC 6962 2.1)."""


def leaf_hash(leaf: bytes) -> bytes:
    """Hash of one leaf, 32 bytes (RFC 6962 2.1)."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of a node over its two children's hashes, 32 bytes (RFC 6962 2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Merkle tree hash of `leaves`, in order: 32 bytes (RFC 6962 2.1)."""
    sha256 = hashlib.sha256
    return fold([sha256(b"\x00" + leaf).digest() for leaf in leaves])  # as `leaf_hash`, without a call for each


def root_of(elements: bytes, size: int = 32) -> bytes:
    """Merkle tree hash over consecutive leaves of `size` bytes each in `elements`.

    Raises:
        ValueError: the length is no multiple of `size`.

    """
    if len(elements) == size:  # one leaf: most asks of an idle peer
        return leaf_hash(elements)
    return root(pieces(elements, size))


def fold(hashes: Sequence[bytes]) -> bytes:
    """Merkle tree hash over hashes that are already made, 32 bytes.

    They are the hashes of leaves, or of complete subtrees of one height; only the last may be that of an
    incomplete one. Computed level by level: pairing neighbours and carrying an odd last node up gives
    the same tree as the RFC's split at the largest power of two.
    """
    if not hashes:
        return EMPTY_ROOT
    level = hashes
    while len(level) > 1:
        above = parents(level)
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return level[0]


def parents(hashes: Sequence[bytes]) -> list[bytes]:
    """Hashes of the nodes over neighbouring pairs; an odd last hash has no parent yet."""
    sha256 = hashlib.sha256
    pairs = zip(hashes[::2], hashes[1::2], strict=False)
    return [sha256(b"\x01" + left + right).digest() for left, right in pairs]


def pieces(data: bytes, size: int = HASH_BYTES) -> list[bytes]:
    """Cut `data` into parts of `size` bytes.

    Raises:
        ValueError: the length is no multiple of `size`.

    """
    if len(data) % size:
        raise ValueError(f"the length is no multiple of {size}")
    return [data[start : start + size] for start in range(0, len(data), size)]
