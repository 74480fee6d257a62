"""What a figure is, and the bare measures that figures are held against."""

from __future__ import annotations

import secrets
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Literal

from riskshare import sodium
from riskshare.cores import CORES, Processes

RAW_ELEMENTS: Final = 4000
"""Elements that each core multiplies to measure the bare speed: a fifth of a second."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    `value` is held against `bar`, from above or below by `sense`; a figure without a bar is only reported.
    `detail` says what it is made of.
    """

    name: str
    value: float
    unit: str
    bar: float | None = None
    sense: Literal["at least", "at most"] = "at least"
    detail: str = ""
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def reached(self) -> bool | None:
        """Whether the bar is reached; None if there is none."""
        if self.bar is None:
            return None
        return self.value >= self.bar if self.sense == "at least" else self.value <= self.bar


def median_of(times: Sequence[float]) -> float:
    """The median, in the unit of `times`."""
    return statistics.median(times)


@dataclass(frozen=True, slots=True)
class Round:
    """One of several measures: things a second, those that the bare operations reached about it, and which it was."""

    rate: float
    floor: float
    number: int

    @property
    def ratio(self) -> float:
        """The part of the bare speed that was reached."""
        return self.rate / self.floor


def middle_round(rates: Sequence[float], bare: Sequence[float]) -> tuple[Round, str]:
    """The round with the median ratio, and the ratios of the others in words.

    `bare` has the bare speed before the first round, and that behind each: a machine changes its speed from one second
    to the next, so a round is held against the mean of what was measured right before and behind it.
    """
    floors = [2 / (1 / before + 1 / behind) for before, behind in pairwise(bare)]
    rounds = [Round(*found, number) for number, found in enumerate(zip(rates, floors, strict=True))]
    middle = sorted(rounds, key=lambda found: found.ratio)[len(rounds) // 2]
    others = ", ".join(f"{found.ratio:.3f}" for found in rounds if found is not middle)
    return middle, f"other rounds {others}"


def multiply(count: int) -> float:
    """In a worker: seconds that libsodium takes for so many bare multiplications, one call each."""
    scalar = sodium.scalar_reduce(secrets.token_bytes(64))
    points = sodium.point_from_hash(secrets.token_bytes(64)) * count
    began = time.perf_counter()
    sodium.scalar_multiply_many(scalar, points)
    return time.perf_counter() - began


def hash_and_multiply(count: int) -> float:
    """In a worker: seconds for so many bare pairs of hash-to-group and multiplication."""
    scalar = sodium.scalar_reduce(secrets.token_bytes(64))
    uniform = secrets.token_bytes(64 * count)
    began = time.perf_counter()
    sodium.hash_multiply_many(scalar, uniform)
    return time.perf_counter() - began


class Raw:
    """Bare libsodium on all cores, each in a process of its own that is warm already."""

    def __init__(self) -> None:
        self._processes = Processes()
        self.rate(multiply, 100)

    def rate(self, work: Callable[[int], float], count: int = RAW_ELEMENTS) -> float:
        """Operations a second of all cores together, over `count` of them on each."""
        times = list(self._processes.map(work, [count] * CORES))
        return sum(count / seconds for seconds in times)

    def close(self) -> None:
        """End the processes."""
        self._processes.close()
