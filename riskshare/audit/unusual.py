"""How unusual a member's count is beside the other members' (pure).

The test is Fisher's exact one, one-sided: of all `of` events of everybody, `count` are of the kind that is counted. If
a member's events were drawn from them at random, how often would it have as many as it has, or more? The answer is the
upper tail of the hypergeometric distribution. As many such questions are asked at once, it is multiplied by their
number (Bonferroni), and called unusual below one in a thousand.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, lgamma
from typing import Final

RARE: Final = 0.001
_NEGLIGIBLE: Final = 1e-18


def tail(count: int, of: int, others_count: int, others_of: int) -> float:
    """Probability that a share of `of` events, drawn from all, has `count` or more of those that are counted.

    Raises:
        ValueError: more are counted than there are, or a number is negative.

    """
    if not 0 <= count <= of or not 0 <= others_count <= others_of:
        raise ValueError("more events are counted than there are")
    counted, everything = count + others_count, of + others_of
    if count <= max(0, of + counted - everything):
        return 1.0
    # Terms fall on both sides of the peak: from `count` away from it. Each follows from the one before by a ratio of
    # whole numbers.
    if count * everything > of * counted:
        return min(1.0, _sum_up(count, of, counted, everything))
    return max(0.0, 1.0 - _sum_down(count - 1, of, counted, everything))


def _sum_up(start: int, of: int, counted: int, everything: int) -> float:
    term, total = _term(start, of, counted, everything), 0.0
    for here in range(start, min(of, counted) + 1):
        total += term
        below = (here + 1) * (everything - counted - of + here + 1)
        term *= (counted - here) * (of - here) / below if below else 0.0
        if term < total * _NEGLIGIBLE:
            break
    return total


def _sum_down(start: int, of: int, counted: int, everything: int) -> float:
    term, total = _term(start, of, counted, everything), 0.0
    for here in range(start, max(0, of + counted - everything) - 1, -1):
        total += term
        below = (counted - here + 1) * (of - here + 1)
        term *= here * (everything - counted - of + here) / below
        if term < total * _NEGLIGIBLE:
            break
    return total


def _term(here: int, of: int, counted: int, everything: int) -> float:
    """The probability of exactly `here`."""
    return exp(_choose(counted, here) + _choose(everything - counted, of - here) - _choose(everything, of))


def _choose(number: int, chosen: int) -> float:
    """The logarithm of a binomial coefficient."""
    return lgamma(number + 1) - lgamma(chosen + 1) - lgamma(number - chosen + 1)


def unusual(counts: Mapping[str, tuple[int, int]], comparisons: int) -> Mapping[str, str]:
    """Of each member's (count, of), in words how it compares to the others'; only those that are unusual.

    `comparisons` is the number of all questions asked, at least that of the members here.
    """
    number, events = sum(count for count, _ in counts.values()), sum(of for _, of in counts.values())
    found: dict[str, str] = {}
    for member, (count, of) in counts.items():
        if not count or events == of:
            continue
        chance = min(1.0, tail(count, of, number - count, events - of) * max(comparisons, len(counts)))
        if chance < RARE:
            found[member] = (
                f"{count:,} of {of:,}, and {number - count:,} of {events - of:,} at the other members: by chance in"
                f" fewer than {_at_most(chance)} of such audits (Fisher's exact test, one-sided, Bonferroni for"
                f" {max(comparisons, len(counts)):,} comparisons)"
            )
    return found


def _at_most(chance: float) -> str:
    """A power of ten that the chance is below."""
    for power in range(15, 3, -1):
        if chance < 10.0**-power:
            return f"one in 10^{power}"
    return "one in 1,000"
