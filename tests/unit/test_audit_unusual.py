"""How unusual a count is: against exact arithmetic."""

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.audit.unusual import tail, unusual


def exact(count, of, others_count, others_of):
    counted, everything = count + others_count, of + others_of
    ways = sum(
        comb(counted, here) * comb(everything - counted, of - here) for here in range(count, min(of, counted) + 1)
    )
    return Fraction(ways, comb(everything, of))


@st.composite
def tables(draw):
    of, others_of = draw(st.integers(0, 80)), draw(st.integers(0, 80))
    return draw(st.integers(0, of)), of, draw(st.integers(0, others_of)), others_of


@given(tables())
def test_the_tail_is_the_exact_one(table):
    assert tail(*table) == pytest.approx(float(exact(*table)), rel=1e-9, abs=1e-12)


@given(tables())
def test_it_falls_with_the_count(table):
    count, of, others_count, others_of = table
    if count and others_count < others_of:
        assert tail(*table) <= tail(count - 1, of, others_count + 1, others_of) + 1e-9


@pytest.mark.parametrize(
    "table",
    [(10, 1_000_000, 10_000, 1_000_000), (500_000, 1_000_000, 500_000, 1_000_000), (10**6, 10**7, 10**6, 10**7)],
)
def test_of_millions_it_stays_a_probability(table):
    assert 0.0 <= tail(*table) <= 1.0


def test_far_out_it_is_nothing():
    assert tail(1_000, 1_000_000, 10, 10_000_000) < 1e-300
    assert tail(10, 10**6, 10**5, 10**6) == pytest.approx(1.0)


@pytest.mark.parametrize("table", [(2, 1, 0, 1), (-1, 1, 0, 1), (0, 1, 2, 1)])
def test_more_counted_than_there_are_is_refused(table):
    with pytest.raises(ValueError, match="more events"):
        tail(*table)


def test_only_what_stands_out_is_told_and_how():
    found = unusual({"bank": (40, 1_000), "card": (3, 50_000), "jd": (2, 50_000)}, 12)
    assert set(found) == {"bank"}
    assert "40 of 1,000, and 5 of 100,000 at the other members" in found["bank"]
    assert "Fisher's exact test, one-sided, Bonferroni for 12 comparisons" in found["bank"]


def test_alike_counts_and_a_member_alone_are_not_unusual():
    assert unusual({"bank": (5, 1_000), "jd": (6, 1_000)}, 2) == {}
    assert unusual({"bank": (500, 1_000)}, 1) == {}
    assert unusual({"bank": (0, 0), "jd": (0, 0)}, 2) == {}


def test_asking_more_questions_makes_less_unusual():
    counts = {"bank": (9, 1_000), "jd": (5, 10_000)}
    assert unusual(counts, 2)
    assert not unusual(counts, 10**9)
