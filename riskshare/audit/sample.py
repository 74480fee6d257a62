"""A random sample of checks: drawn by a seed of the auditor's, and what it is likely to find (pure).

The order of a sample is that of

    SHA-256("riskshare/v1/audit-sample" ‖ 0x0a ‖ seed (32 bytes) ‖ check id (16 bytes))

and a sample of n are the first n. The auditor draws the seed after the period, when all checks stand in the log: so the
member cannot choose which of them will be opened, and anybody who has the seed draws the same sample again.

Of N checks of which h are bad, a sample of n holds at least one bad one with the probability

    1 - C(N - h, n) / C(N, n)

(hypergeometric distribution), computed here in whole numbers and rounded once.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, perm
from typing import Final
from uuid import UUID

SEED_BYTES: Final = 32
SURE: Final = Fraction(95, 100)
"""The probability that a sample is said to need."""

SHARES: Final = (Fraction(1, 1000), Fraction(1, 100))
"""Shares of bad checks for which a report states the probability, beside a single one."""

_DOMAIN: Final = b"riskshare/v1/audit-sample\n"


@dataclass(frozen=True, slots=True)
class Drawn:
    """A sample in its order, and how many checks it was drawn from."""

    checks: tuple[UUID, ...]
    population: int


def place(seed: bytes, check: UUID) -> bytes:
    """Where a check stands in the order of a seed: 32 bytes, to be compared."""
    return hashlib.sha256(_DOMAIN + seed + check.bytes).digest()


def draw(checks: Iterable[UUID], seed: bytes, size: int) -> Drawn:
    """The first `size` checks in the order of the seed; all if there are no more.

    Reads `checks` once and remembers `size` of them. An id that comes twice counts twice: a log has each once.

    Raises:
        ValueError: the seed is not 32 bytes, or the size below 1.

    """
    if len(seed) != SEED_BYTES or size < 1:
        raise ValueError("a sample is drawn by a seed of 32 bytes, and is of at least one")
    chosen: list[tuple[int, UUID]] = []  # a heap whose first is the one to go
    population = 0
    for check in checks:
        population += 1
        one = (-int.from_bytes(place(seed, check)), check)
        if len(chosen) < size:
            heapq.heappush(chosen, one)
        elif one[0] > chosen[0][0]:
            heapq.heapreplace(chosen, one)
    return Drawn(tuple(check for _, check in sorted(chosen, reverse=True)), population)


def _missed(population: int, bad: int, size: int) -> tuple[int, int]:
    """The probability of finding none, as a fraction: C(N-h, n) / C(N, n), in as few factors as there can be."""
    few, many = sorted((bad, size))
    return perm(population - many, few), perm(population, few)


def detection(population: int, bad: int, size: int) -> float:
    """The probability that a sample of `size` of `population` checks holds at least one of `bad` ones.

    Raises:
        ValueError: numbers below 0, or more bad ones or a larger sample than there are checks.

    """
    if not (0 <= bad <= population and 0 <= size <= population):
        raise ValueError("there are no more bad checks, and no larger sample, than there are checks")
    none, all_ = _missed(population, bad, size)
    return (all_ - none) / all_


def needed(population: int, bad: int, probability: Fraction = SURE) -> int:
    """The smallest sample that holds one of `bad` checks with at least this probability.

    Raises:
        ValueError: nothing bad to be found, more bad ones than checks, or no probability between 0 and 1.

    """
    if not 0 < bad <= population or not 0 < probability <= 1:
        raise ValueError("a sample is looked for that finds something with a probability up to 1")
    low, high = 1, population
    while low < high:
        middle = (low + high) // 2
        none, all_ = _missed(population, bad, middle)
        if (all_ - none) * probability.denominator >= probability.numerator * all_:
            high = middle
        else:
            low = middle + 1
    return low


def chances(population: int, size: int) -> tuple[tuple[str, int, float, int], ...]:
    """For the report: a share in words, so many bad checks, the probability to find one, the sample needed for 95 %.

    Shares that are the same number of checks stand there once.
    """
    if not population:
        return ()
    cases = {ceil(share * population): percent(float(share)) for share in SHARES} | {1: "a single one"}
    return tuple(
        (words, bad, detection(population, bad, size), needed(population, bad)) for bad, words in sorted(cases.items())
    )


def sentences(population: int, size: int, sound: int) -> tuple[str, ...]:
    """What a report says of a sample: how likely it is to have found what is hidden.

    Of `size` checks `sound` could be verified: only those find anything.
    """
    sample = f"this sample of {size:,}" if sound == size else f"the {sound:,} of this sample that could be verified"
    found = tuple(
        f"If {words} of the {population:,} checks ({bad:,}) had been recorded wrongly, {sample} would"
        f" hold at least one of them with a probability of {percent(found)}; {least:,} are needed for"
        f" {percent(float(SURE))}."
        for words, bad, found, least in chances(population, sound)
    )
    if sound == size:
        return found
    return (*found, f"{size - sound:,} checks of the sample could not be verified as a whole: they may hide anything.")


def percent(probability: float) -> str:
    """A probability for people: never rounded up to a certainty, or down to an impossibility."""
    if 0 < probability < 0.0001:
        return "less than 0.01 %"
    if 0.9999 < probability < 1:
        return "more than 99.99 %"
    return f"{probability * 100:.2f}".rstrip("0").rstrip(".") + " %"
