"""Merkle trees as RFC 6962 2.1 defines them, word by word: what the ledger's own trees are held against."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cached_property

from riskshare.ledger.proof import Node


def entry(index: int) -> bytes:
    """An entry of a log, 32 bytes, the same for the same index."""
    return hashlib.sha256(b"entry %d" % index).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def split(size: int) -> int:
    """The largest power of two smaller than `size`."""
    k = 1
    while 2 * k < size:
        k *= 2
    return k


class DefinedTree:
    """A tree over the entries 0 to `size - 1`; every range is hashed once."""

    def __init__(self, size: int) -> None:
        self.leaves = [hashlib.sha256(b"\x00" + entry(index)).digest() for index in range(size)]
        self._hashes: dict[tuple[int, int], bytes] = {}

    def hash(self, low: int, high: int) -> bytes:
        """MTH(D[low:high]), RFC 6962 2.1."""
        if (low, high) not in self._hashes:
            if high == low:
                made = hashlib.sha256().digest()
            elif high - low == 1:
                made = self.leaves[low]
            else:
                middle = low + split(high - low)
                made = node_hash(self.hash(low, middle), self.hash(middle, high))
            self._hashes[low, high] = made
        return self._hashes[low, high]

    def root(self, size: int) -> bytes:
        return self.hash(0, size)

    def read(self, node: Node) -> bytes:
        return self.hash(node.index << node.level, (node.index + 1) << node.level)

    def path(self, index: int, low: int, high: int) -> list[bytes]:
        """PATH(index, D[low:high]), RFC 6962 2.1.1; `index` counts from 0, not from `low`."""
        if high - low == 1:
            return []
        middle = low + split(high - low)
        if index < middle:
            return [*self.path(index, low, middle), self.hash(middle, high)]
        return [*self.path(index, middle, high), self.hash(low, middle)]

    def subproof(self, old: int, low: int, high: int, *, whole: bool) -> list[bytes]:
        """SUBPROOF(old, D[low:high], whole), RFC 6962 2.1.2; `old` counts from 0, not from `low`."""
        if old == high:
            return [] if whole else [self.hash(low, high)]
        middle = low + split(high - low)
        if old <= middle:
            return [*self.subproof(old, low, middle, whole=whole), self.hash(middle, high)]
        return [*self.subproof(old, middle, high, whole=False), self.hash(low, middle)]


class SparseTree:
    """A tree of any size: all leaves have one hash but for a few, so that every node costs at most 63 hashes."""

    def __init__(self, special: Iterable[int]) -> None:
        self.special = {index: hashlib.sha256(b"special %d" % index).digest() for index in special}

    @cached_property
    def plain(self) -> list[bytes]:
        hashes = [hashlib.sha256(b"plain").digest()]
        for _ in range(63):
            hashes.append(node_hash(hashes[-1], hashes[-1]))
        return hashes

    def leaf(self, index: int) -> bytes:
        return self.special.get(index, self.plain[0])

    def read(self, node: Node) -> bytes:
        if not any(index >> node.level == node.index for index in self.special):
            return self.plain[node.level]
        if node.level == 0:
            return self.leaf(node.index)
        left, right = Node(node.level - 1, 2 * node.index), Node(node.level - 1, 2 * node.index + 1)
        return node_hash(self.read(left), self.read(right))

    def hash(self, low: int, high: int) -> bytes:
        """MTH(D[low:high]), by the definition."""
        size = high - low
        if size & (size - 1) == 0:
            level = size.bit_length() - 1
            return self.read(Node(level, low >> level))
        middle = low + (1 << (size - 1).bit_length() - 1)
        return node_hash(self.hash(low, middle), self.hash(middle, high))
