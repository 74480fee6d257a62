"""The Merkle tree hash of RFC 6962 2.1, over SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

HASH_BYTES = 32


def root(leaves: Sequence[bytes]) -> bytes:
    """Merkle tree hash of `leaves`, in order: 32 bytes (RFC 6962 2.1).

    Computed level by level: pairing neighbours and carrying an odd last node up gives
    the same tree as the RFC's split at the largest power of two.
    """
    if not leaves:
        return hashlib.sha256().digest()
    sha256 = hashlib.sha256
    level = [sha256(b"\x00" + leaf).digest() for leaf in leaves]
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        above = [sha256(b"\x01" + left + right).digest() for left, right in pairs]
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return level[0]


def root_of(elements: bytes, size: int = 32) -> bytes:
    """Merkle tree hash over consecutive leaves of `size` bytes each in `elements`.

    Raises:
        ValueError: the length is no multiple of `size`.

    """
    if len(elements) % size:
        raise ValueError(f"the length is no multiple of {size}")
    return root([elements[start : start + size] for start in range(0, len(elements), size)])
