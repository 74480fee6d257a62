"""Samples: the same for everybody who has the seed, in bounded memory, with an arithmetic that simulation confirms."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from fractions import Fraction
from math import comb
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.audit.sample import SEED_BYTES, chances, detection, draw, needed, percent, place, sentences

SEED = bytes(range(SEED_BYTES))
IDS = st.lists(st.uuids(), unique=True, max_size=60)


def checks(count: int) -> list[UUID]:
    return [UUID(bytes=hashlib.sha256(str(n).encode()).digest()[:16]) for n in range(count)]


def test_the_order_is_the_one_that_is_documented():
    check = UUID("019aabcd-0000-7000-8000-000000000001")
    assert place(SEED, check) == hashlib.sha256(b"riskshare/v1/audit-sample\n" + SEED + check.bytes).digest()


@given(IDS, st.binary(min_size=32, max_size=32), st.integers(1, 70))
def test_a_sample_is_the_first_of_the_order_whatever_order_the_checks_come_in(ids, seed, size):
    drawn = draw(ids, seed, size)
    assert drawn.population == len(ids)
    assert list(drawn.checks) == sorted(ids, key=lambda check: place(seed, check))[:size]
    assert draw(reversed(ids), seed, size) == drawn


@given(IDS, st.binary(min_size=32, max_size=32), st.integers(1, 30))
def test_a_larger_sample_only_adds(ids, seed, size):
    assert draw(ids, seed, size + 5).checks[:size] == draw(ids, seed, size).checks


def test_no_more_than_the_sample_is_remembered():
    alive = 0
    most = 0

    class Counted(UUID):
        """Counts how many of its kind are alive."""

        def __init__(self, value: UUID) -> None:
            nonlocal alive, most
            super().__init__(bytes=value.bytes)
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def stream() -> Iterator[UUID]:
        for each in checks(5_000):
            yield Counted(each)

    assert len(draw(stream(), SEED, 20).checks) == 20
    assert most < 30


def test_another_seed_draws_another_sample():
    ids = checks(1_000)
    assert set(draw(ids, SEED, 50).checks) != set(draw(ids, bytes(32), 50).checks)


@pytest.mark.parametrize(("seed", "size"), [(b"short", 5), (SEED + b"x", 5), (SEED, 0), (SEED, -1)])
def test_a_bad_seed_or_size_is_a_mistake_of_ours(seed, size):
    with pytest.raises(ValueError, match="sample"):
        draw([], seed, size)


@given(st.data(), st.integers(1, 80))
def test_the_probability_is_the_hypergeometric_one(data, population):
    bad = data.draw(st.integers(0, population))
    size = data.draw(st.integers(0, population))
    exact = 1 - Fraction(comb(population - bad, size), comb(population, size))
    assert detection(population, bad, size) == float(exact)


def test_the_probability_agrees_with_simulation():
    """10,000 auditors with seeds of their own draw from the same checks, as `draw` does it."""
    population, bad, size, trials = 60, 3, 12, 10_000
    ids = checks(population)
    dishonest = set(ids[:bad])
    seeds = random.Random(4)
    found = sum(not dishonest.isdisjoint(draw(ids, seeds.randbytes(32), size).checks) for _ in range(trials))
    expected = detection(population, bad, size)
    sigma = (expected * (1 - expected) / trials) ** 0.5
    assert abs(found / trials - expected) < 5 * sigma


@given(st.data(), st.integers(1, 5_000))
def test_the_sample_needed_is_the_smallest_that_suffices(data, population):
    bad = data.draw(st.integers(1, population))
    size = needed(population, bad)
    assert detection(population, bad, size) >= 0.95
    assert size == 1 or detection(population, bad, size - 1) < 0.95


def test_known_numbers():
    """Of 10,000 checks with 1 % bad ones, 294 are needed; by the binomial approximation, ln 0.05 / ln 0.99, 299."""
    assert needed(10_000, 100) == 294
    assert needed(1, 1) == 1
    assert detection(10_000, 1, 500) == 0.05
    assert needed(1_000_000, 1) == 950_000


@pytest.mark.parametrize(("population", "bad", "size"), [(10, 11, 1), (10, 1, 11), (10, -1, 1), (10, 1, -1)])
def test_impossible_numbers_are_refused(population, bad, size):
    with pytest.raises(ValueError, match="no more bad checks"):
        detection(population, bad, size)


@pytest.mark.parametrize(
    ("population", "bad", "probability"), [(10, 0, Fraction(1, 2)), (10, 11, Fraction(1, 2)), (10, 1, Fraction(2))]
)
def test_no_sample_finds_what_is_not_there(population, bad, probability):
    with pytest.raises(ValueError, match="finds something"):
        needed(population, bad, probability)


def test_a_report_states_the_probabilities():
    one, permille, cent = sentences(10_000, 500, 500)
    assert "a single one of the 10,000 checks (1)" in one
    assert "5 %; 9,500 are needed for 95 %" in one
    assert "0.1 % of the 10,000 checks (10)" in permille
    assert "1 % of the 10,000 checks (100)" in cent
    assert sentences(0, 0, 0) == ()
    assert [(words, bad) for words, bad, _, _ in chances(3, 1)] == [("a single one", 1)]


def test_checks_of_the_sample_that_could_not_be_verified_find_nothing():
    *found, hidden = sentences(400, 20, 15)
    assert found == [
        one.replace("this sample of 15", "the 15 of this sample that could be verified")
        for one in sentences(400, 15, 15)
    ]
    assert hidden.startswith("5 checks of the sample could not be verified as a whole")


def test_a_probability_is_never_rounded_to_a_certainty():
    assert percent(0.99999) == "more than 99.99 %"
    assert percent(1.0) == "100 %"
    assert percent(0.00001) == "less than 0.01 %"
    assert percent(0.0) == "0 %"
    assert percent(0.5) == "50 %"
