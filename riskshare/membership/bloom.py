"""The filter: which labels a list may hold.

A Bloom filter (Bloom 1970) over 16-byte labels. It never says no to a label that was
put in; it says maybe to others with a probability that `size` bounds. Everything that
another implementation needs is on this page and in `Parameters`:

1. Digest: MurmurHash3 x64 128 of the label under `seed` (32 bits), 16 bytes as the
   reference implementation writes them. h1 is the first half, h2 the second, each an
   unsigned 64-bit little-endian integer.
2. Positions: *enhanced* double hashing (Dillinger and Manolios, "Bloom filters in
   probabilistic verification", FMCAD 2004, section 5.2, algorithm 2), for m bits and k hashes:

       x, y = h1 mod m, h2 mod m
       position 0 is x; then for i = 1, …, k-1:  x = (x + y) mod m,  y = (y + i) mod m,  position i is x

   that is, position i = (h1 + i·h2 + (i³ - i)/6) mod m in exact integers. As m is below
   2^63, the steps never overflow 64 bits.
3. Bits: position p is bit p mod 8 (0 the least significant) of byte p // 8. The filter
   has ⌈m/8⌉ bytes; bits from m on are zero.

Building is in `bloom_build`, apart, so that a querier does not load numpy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

from bitarray import bitarray
from mmh3 import mmh3_x64_128_utupledigest as halves

from riskshare.errors import EncodingError

LABEL_BYTES: Final = 16
DEFAULT_RATE: Final = 2.0**-20
DEFAULT_FLOOR: Final = 2**20
"""Fewest bits of a published filter: a smaller one would tell the size of a short list."""

MAX_BITS: Final = 2**40
MIN_BITS: Final = 64
MIN_HASHES: Final = 8
MAX_HASHES: Final = 32
HASH: Final = "mmh3-x64-128"
ORDER: Final = "little"
_FIELDS: Final = frozenset({"bits", "hash", "hashes", "order", "seed"})


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a filter is, besides its bits: `bits` (m), `hashes` (k), `seed` (32 bits)."""

    bits: int
    hashes: int
    seed: int

    @property
    def size_bytes(self) -> int:
        """⌈m/8⌉."""
        return (self.bits + 7) // 8

    def to_json(self) -> dict[str, Any]:
        """The object that stands in a segment's header."""
        return {"bits": self.bits, "hash": HASH, "hashes": self.hashes, "order": ORDER, "seed": self.seed}

    @classmethod
    def from_json(cls, value: object) -> Parameters:
        """Read what `to_json` writes.

        Raises:
            EncodingError: another set of fields, another hash or bit order, or a number
                outside MIN_BITS..MAX_BITS, MIN_HASHES..MAX_HASHES, 0..2^32-1.

        """
        if not isinstance(value, Mapping) or set(value) != _FIELDS:
            raise EncodingError("The parameters of a filter do not have exactly the fields of version 1.")
        if value["hash"] != HASH or value["order"] != ORDER:
            raise EncodingError(f"A filter is not made with {HASH} and {ORDER}-endian bits.")
        numbers = value["bits"], value["hashes"], value["seed"]
        limits = (MIN_BITS, MAX_BITS), (MIN_HASHES, MAX_HASHES), (0, 2**32 - 1)
        if any(type(n) is not int or not low <= n <= high for n, (low, high) in zip(numbers, limits, strict=True)):
            raise EncodingError("A filter's bits, hashes or seed are outside their limits.")
        return cls(*numbers)


def expected_rate(bits: int, hashes: int, count: int) -> float:
    """The false-positive rate to expect of `count` labels in a filter.

    Bloom's (1 - e^(-kn/m))^k, and n/m² for an unlisted label whose pair (h1 mod m, h2 mod m)
    is that of a listed one (the cited paper's section 5.3: with two hashes all else follows). The second
    term decides in small filters: 10 labels at 2^-10 would miss their rate by two thirds without it.
    """
    return (-math.expm1(-hashes * count / bits)) ** hashes + count / bits**2


def size(count: int, rate: float = DEFAULT_RATE, *, floor: int = DEFAULT_FLOOR, seed: int = 0) -> Parameters:
    """Choose parameters for `count` labels at the false-positive `rate`.

    k = round(-log2 rate); m is the least that brings `expected_rate` to `rate`, which is
    n · 1.44 · log2(1/rate) but for small filters, and at least `floor`.

    Raises:
        ValueError: a rate outside 2^-32..2^-8, or a count that needs more than MAX_BITS.

    """
    if not 2.0**-MAX_HASHES <= rate <= 2.0**-MIN_HASHES or count < 0:
        raise ValueError("the rate of a filter is between 2^-32 and 2^-8, and its count is not negative")
    hashes = round(-math.log2(rate))
    low, high = max(MIN_BITS, floor), MAX_BITS
    if expected_rate(high, hashes, count) > rate or low > high:
        raise ValueError("a filter of so many labels at this rate is larger than 2^40 bits")
    while low < high:
        middle = (low + high) // 2
        if expected_rate(middle, hashes, count) <= rate:
            high = middle
        else:
            low = middle + 1
    return Parameters(low, hashes, seed)


@final
class Bloom:
    """A filter over `buffer` (⌈m/8⌉ bytes, which may be a slice of a mapped file; nothing is copied)."""

    __slots__ = ("_bits", "_size", "_steps", "parameters")

    def __init__(self, parameters: Parameters, buffer: bytes | bytearray | memoryview) -> None:
        """Take `buffer` as the bits.

        Raises:
            EncodingError: another length, or bits set behind the last.

        """
        if len(buffer) != parameters.size_bytes:
            raise EncodingError("A filter does not have as many bytes as its parameters say.")
        self.parameters = parameters
        self._size = parameters.bits
        self._steps = range(1, parameters.hashes)
        self._bits = bitarray(buffer=buffer, endian=ORDER)
        if self._bits[self._size :].any():
            raise EncodingError("A filter has bits set behind its last.")

    def __contains__(self, label: bytes) -> bool:
        """Tell whether `label` may be listed; False is certain."""
        bits, size = self._bits, self._size
        x, y = halves(label, self.parameters.seed)
        x %= size
        if not bits[x]:
            return False
        y %= size
        for step in self._steps:
            x = (x + y) % size
            if not bits[x]:
                return False
            y += step
        return True

    def ones(self) -> int:
        """How many bits are set."""
        return int(self._bits.count())

    def overfull(self, count: int | None = None) -> bool:
        """Tell whether more bits are set than an honest filter, of `count` labels if that is known, has.

        One sized by `size` is at most half full in the mean, with a standard deviation below 0.28·√m
        (the variance of occupied bins at load ln 2); seven of those are allowed. An overfull filter says maybe to
        many labels, and so makes an on-demand subscriber show what it asks about. So does one that is sized for, and
        holds, labels that the list has not: `count` labels set at most that many times k bits.
        """
        ones = self.ones()
        if count is not None and ones > count * self.parameters.hashes:
            return True
        return ones > self._size / 2 + 2 * math.sqrt(self._size)
