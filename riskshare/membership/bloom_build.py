"""Building a filter, vectorised; apart from `bloom`, so that only publishers load numpy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from mmh3 import mmh3_x64_128_digest as digest

from riskshare.membership.bloom import LABEL_BYTES, Parameters

_Positions = np.ndarray[tuple[int], np.dtype[np.uint64]]

BLOCK = 2**15
"""Labels hashed at a time: a few megabytes of working memory, whatever the list's size."""


def build(labels: Iterable[bytes], parameters: Parameters) -> bytearray:
    """Return the bits of a filter of `labels`, as `bloom` defines them.

    `labels` are byte strings of 16·n bytes each: single labels, or many joined. The memory used is the
    filter's own and a few megabytes.

    Raises:
        ValueError: a byte string that is not a whole number of labels.

    """
    bits = bytearray(parameters.size_bytes)
    octets = np.frombuffer(bits, dtype=np.uint8)
    size = np.uint64(parameters.bits)
    for digests in _digests(labels, parameters.seed):
        halves = np.frombuffer(digests, dtype="<u8").reshape(-1, 2).astype(np.uint64)
        x, y = halves[:, 0] % size, halves[:, 1] % size
        _set(octets, x)
        for step in range(1, parameters.hashes):
            x = _reduced(x + y, size)
            y = _reduced(y + np.uint64(step), size)
            _set(octets, x)
    return bits


def _reduced(sums: _Positions, size: np.uint64) -> _Positions:
    """`sums` modulo `size`, each less than twice that: without a sign, what would be negative is very large."""
    reduced: _Positions = np.minimum(sums, sums - size)
    return reduced


def _set(octets: np.ndarray[tuple[int], np.dtype[np.uint8]], positions: _Positions) -> None:
    mask = np.left_shift(np.uint8(1), (positions & np.uint64(7)).astype(np.uint8))
    np.bitwise_or.at(octets, (positions >> np.uint64(3)).astype(np.intp), mask)


def _digests(labels: Iterable[bytes], seed: int) -> Iterator[bytes]:
    """Hash labels, about BLOCK of them at a time."""
    found: list[bytes] = []
    for joined in labels:
        if len(joined) % LABEL_BYTES:
            raise ValueError("labels are 16 bytes each")
        for block in range(0, len(joined), BLOCK * LABEL_BYTES):
            end = min(block + BLOCK * LABEL_BYTES, len(joined))
            found += [digest(joined[at : at + LABEL_BYTES], seed) for at in range(block, end, LABEL_BYTES)]
            if len(found) >= BLOCK:
                yield b"".join(found)
                found.clear()
    if found:
        yield b"".join(found)
