"""Quotas: every limit at, below and above; what is given back; days that come and go."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.errors import AskRefused
from riskshare.query.quota import LOOKUPS, PAGES, Allowance, Limits, Quotas, Rate

DAY = date(2026, 11, 22)
EPOCH, OTHER = b"e" * 32, b"f" * 32
WIDE = Limits(10**9, 10**12)


def take(quotas, count, limits, *, now=0.0, day=DAY, member="icbc", epoch=EPOCH):
    quotas.take(member, epoch, count, limits, now=now, day=day)


def refused(quotas, count, limits, **where):
    with pytest.raises(AskRefused) as caught:
        take(quotas, count, limits, **where)
    assert (caught.value.code, caught.value.status) == ("quota_exhausted", 429)
    assert caught.value.retry_after > 0
    return caught.value.retry_after


@pytest.mark.parametrize("count", [1, 9, 10])
def test_up_to_one_second_may_go_at_once(count):
    take(Quotas(), count, Limits(10, 1000))


def test_the_second_is_spent_and_comes_back_with_time():
    quotas, limits = Quotas(), Limits(10, 1000)
    take(quotas, 10, limits)
    assert refused(quotas, 1, limits) == pytest.approx(0.1)
    assert refused(quotas, 5, limits) == pytest.approx(0.5)
    refused(quotas, 5, limits, now=0.49)
    take(quotas, 5, limits, now=0.5)
    refused(quotas, 1, limits, now=0.5)


def test_the_time_named_is_enough():
    quotas, limits = Quotas(), Limits(7, 1000)
    take(quotas, 7, limits)
    wait = refused(quotas, 3, limits)
    take(quotas, 3, limits, now=wait + 1e-9)


def test_no_more_than_one_second_is_saved_up():
    quotas, limits = Quotas(), Limits(10, 1000)
    take(quotas, 1, limits)
    take(quotas, 10, limits, now=100.0)
    refused(quotas, 1, limits, now=100.0)


def test_a_batch_larger_than_a_second_goes_when_the_second_is_whole_and_leaves_a_debt():
    quotas, limits = Quotas(), Limits(10, 1000)
    take(quotas, 35, limits)
    assert refused(quotas, 1, limits) == pytest.approx(2.6)
    refused(quotas, 35, limits, now=3.4)
    take(quotas, 35, limits, now=3.5)


def test_a_clock_that_goes_back_gives_nothing():
    quotas, limits = Quotas(), Limits(10, 1000)
    take(quotas, 10, limits, now=50.0)
    refused(quotas, 1, limits, now=10.0)


@pytest.mark.parametrize("limits", [Limits(0, 100), Limits(10, 0), Limits(10, 100, 0)])
def test_a_quota_of_nothing_allows_nothing(limits):
    quotas = Quotas()
    refused(quotas, 1, limits)
    refused(quotas, 4096, limits, now=10.0)


def test_the_share_of_a_process():
    quotas = Quotas(share=0.5)
    take(quotas, 5, Limits(10, 1000))
    refused(quotas, 1, Limits(10, 1000))


def test_the_day_at_below_and_above():
    quotas, limits = Quotas(), Limits(10**6, 100)
    take(quotas, 99, limits)
    refused(quotas, 2, limits)
    take(quotas, 1, limits)
    refused(quotas, 1, limits)
    take(quotas, 100, limits, day=DAY + timedelta(days=1))


def test_the_epoch_at_below_and_above_over_days():
    quotas, limits = Quotas(), Limits(10**6, 10**6, 100)
    take(quotas, 99, limits)
    refused(quotas, 2, limits)
    take(quotas, 1, limits, day=DAY + timedelta(days=1))
    refused(quotas, 1, limits, day=DAY + timedelta(days=2))
    take(quotas, 100, limits, epoch=OTHER)


def test_members_have_their_own_quotas():
    quotas, limits = Quotas(), Limits(10, 10, 10)
    take(quotas, 10, limits)
    take(quotas, 10, limits, member="jd")


def test_what_is_refused_costs_nothing():
    quotas, limits = Quotas(), Limits(10, 15, 12)
    take(quotas, 10, limits)
    for now in (1.0, 1.0, 1.0):
        refused(quotas, 6, limits, now=now)
    refused(quotas, 3, limits, now=1.0)
    take(quotas, 2, limits, now=1.0)


def test_what_is_given_back_may_be_spent_again():
    quotas, limits = Quotas(), Limits(10, 10, 10)
    take(quotas, 10, limits)
    quotas.give_back("icbc", EPOCH, 10, day=DAY)
    take(quotas, 10, limits)
    refused(quotas, 1, limits)


def test_giving_back_yields_no_more_than_a_full_second():
    quotas, limits = Quotas(), Limits(10, 1000)
    take(quotas, 5, limits)
    for _ in range(5):
        quotas.give_back("icbc", EPOCH, 100, day=DAY)
    take(quotas, 10, limits)
    refused(quotas, 1, limits)


def test_giving_back_to_a_stranger_does_no_harm():
    quotas = Quotas()
    quotas.give_back("icbc", EPOCH, 10, day=DAY)
    take(quotas, 10, Limits(10, 10, 10))
    refused(quotas, 1, Limits(10, 10, 10))


def test_what_was_taken_yesterday_is_not_given_back_today():
    quotas, limits, tomorrow = Quotas(), Limits(10**6, 100), DAY + timedelta(days=1)
    take(quotas, 60, limits)
    take(quotas, 100, limits, day=tomorrow)
    quotas.give_back("icbc", EPOCH, 60, day=DAY)
    refused(quotas, 1, limits, day=tomorrow)


def test_an_account_afterwards_counts_even_beyond_the_quota():
    quotas, limits = Quotas(), Limits(10, 10, 10)
    take(quotas, 8, limits)
    quotas.account("icbc", EPOCH, 8, day=DAY)
    refused(quotas, 1, limits, now=100.0)
    refused(quotas, 1, limits, now=100.0, day=DAY + timedelta(days=1))


def test_a_restart_forgives_nothing():
    quotas = Quotas()
    quotas.load(DAY, {"icbc": 90}, {("icbc", EPOCH): 95})
    refused(quotas, 11, Limits(10**6, 100))
    refused(quotas, 6, Limits(10**6, 1000, 100))
    take(quotas, 5, Limits(10**6, 100, 100))


def test_loading_again_raises_sums_and_lowers_none():
    quotas = Quotas()
    quotas.load(DAY, {"icbc": 50}, {("icbc", EPOCH): 50})
    quotas.load(DAY, {"icbc": 40}, {("icbc", EPOCH): 40})
    refused(quotas, 51, Limits(10**6, 100))
    quotas.load(DAY, {"icbc": 60}, {})
    refused(quotas, 41, Limits(10**6, 100))
    refused(quotas, 51, Limits(10**6, 1000, 100))


def test_the_sums_of_yesterday_are_not_counted_today():
    quotas, limits = Quotas(), Limits(10**6, 100)
    take(quotas, 1, limits)
    quotas.load(DAY - timedelta(days=1), {"icbc": 100}, {})
    take(quotas, 99, limits)


def test_a_clock_that_steps_back_over_midnight_forgives_no_day():
    quotas, limits, tomorrow = Quotas(), Limits(10**6, 100), DAY + timedelta(days=1)
    take(quotas, 100, limits)
    take(quotas, 100, limits, day=tomorrow)
    refused(quotas, 1, limits)
    refused(quotas, 1, limits, day=tomorrow)


def test_a_clock_that_was_years_ahead_does_not_stop_days_from_beginning():
    quotas, limits = Quotas(), Limits(10**6, 100)
    take(quotas, 100, limits, day=date(2040, 1, 1))
    for days in range(3):
        take(quotas, 100, limits, day=DAY + timedelta(days=days))


def test_days_gone_by_are_forgotten():
    quotas = Quotas()
    for days in range(100):
        take(quotas, 1, WIDE, day=DAY + timedelta(days=days))
    assert len(quotas._days) <= 3


steps = st.lists(st.tuples(st.integers(1, 50), st.floats(0, 3), st.booleans()), max_size=40)


@given(steps, st.integers(1, 20), st.integers(1, 300))
def test_no_history_gets_more_than_its_quotas(history, rate, per_day):
    """Over any span of t seconds at most rate·(t + 1) elements and one batch's debt; never more than the day's."""
    quotas, limits, now = Quotas(), Limits(rate, per_day), 0.0
    spent = 0
    for count, pause, back in history:
        now += pause
        try:
            take(quotas, count, limits, now=now)
        except AskRefused:
            continue
        if back:
            quotas.give_back("icbc", EPOCH, count, day=DAY)
        else:
            spent += count
        assert spent <= per_day
        assert spent <= rate * (now + 1) + 50


def test_what_is_wasted_is_missing_in_the_second_alone():
    quotas, limits = Quotas(), Limits(10, 10, 10)
    quotas.check("icbc", EPOCH, 10, limits, now=0.0, day=DAY)
    quotas.waste("icbc", 25)
    refused(quotas, 1, limits)
    refused(quotas, 10, limits, now=2.4)
    take(quotas, 10, limits, now=2.5)


def test_what_was_wasted_after_a_rest_is_not_forgiven():
    quotas, limits = Quotas(), Limits(10, 1000)
    take(quotas, 1, limits)
    quotas.check("icbc", EPOCH, 1, limits, now=100.0, day=DAY)
    quotas.waste("icbc", 10)
    refused(quotas, 1, limits, now=100.0)


def test_a_stranger_wastes_nothing():
    quotas = Quotas()
    quotas.waste("icbc", 10**9)
    take(quotas, 10, Limits(10, 10))


@given(steps, st.integers(1, 20), st.integers(1, 60), st.none() | st.integers(1, 60))
def test_check_says_what_take_does(history, rate, per_day, per_epoch):
    quotas, limits, now = Quotas(), Limits(rate, per_day, per_epoch), 0.0
    for count, pause, waste in history:
        now += pause
        told = taken = None
        try:
            quotas.check("icbc", EPOCH, count, limits, now=now, day=DAY)
        except AskRefused as error:
            told = error
        try:
            take(quotas, count, limits, now=now)
        except AskRefused as error:
            taken = error
        assert (told is None) == (taken is None)
        assert told is None or (told.message, told.retry_after) == (taken.message, taken.retry_after)
        if waste:
            quotas.waste("icbc", count)


# -- allowances ---------------------------------------------------------------------------------------------------


def too_often(allowance, *, now=0.0, member="icbc"):
    with pytest.raises(AskRefused) as caught:
        allowance.take(member, now=now)
    assert (caught.value.code, caught.value.status) == ("too_often", 429)
    assert caught.value.retry_after > 0
    return caught.value.retry_after


def test_an_allowance_at_below_and_above_its_depth():
    allowance = Allowance(Rate(2, 5))
    for _ in range(5):
        allowance.take("icbc", now=7.0)
    assert too_often(allowance, now=7.0) == pytest.approx(0.5)
    too_often(allowance, now=7.4)
    allowance.take("icbc", now=7.5)
    too_often(allowance, now=7.5)
    for _ in range(5):
        allowance.take("icbc", now=10**6)
    too_often(allowance, now=10**6)


def test_each_member_has_an_allowance_of_its_own():
    allowance = Allowance(Rate(1, 1))
    allowance.take("icbc", now=0.0)
    allowance.take("jd", now=0.0)
    too_often(allowance, member="jd")


def test_of_too_many_members_the_first_is_forgotten_and_no_other():
    allowance = Allowance(Rate(0.001, 1), most=2)
    for member in ("icbc", "jd"):
        allowance.take(member, now=0.0)
    allowance.take("unionpay", now=0.0)
    too_often(allowance, member="jd")
    too_often(allowance, member="unionpay")
    allowance.take("icbc", now=0.0)
    allowance.take("jd", now=0.0)


def test_a_clock_that_goes_back_allows_nothing_more():
    allowance = Allowance(Rate(1, 2))
    for now in (50.0, 50.0):
        allowance.take("icbc", now=now)
    too_often(allowance, now=10.0)
    too_often(allowance, now=50.9)


@given(st.lists(st.floats(0, 3), max_size=80), st.floats(0.1, 20), st.integers(1, 20))
def test_no_history_gets_more_than_its_allowance(pauses, rate, depth):
    allowance, now = Allowance(Rate(rate, depth)), 0.0
    for got, pause in enumerate(pauses, 1):
        now += pause
        try:
            allowance.take("icbc", now=now)
        except AskRefused as error:
            now += error.retry_after + 1e-6
            allowance.take("icbc", now=now)
        assert got <= depth + rate * now + 1e-6


def test_an_honest_member_is_within_its_allowances():
    """An adoption's round of 30 seconds reads ever new pages; a peer sends its open asks again every 5 seconds."""
    assert PAGES.depth >= 30 * PAGES.per_second
    assert LOOKUPS.depth >= 5 * LOOKUPS.per_second


# -- several processes ----------------------------------------------------------------------------------------------

MOVES = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 30), st.sampled_from(["take", "take", "load", "restart"])), max_size=40
)


@given(MOVES, st.integers(1, 200))
def test_processes_exceed_a_day_by_no_more_than_they_have_not_heard_of_one_another(moves, per_day):
    """Their receipts are in one store; each takes up the sums now and then."""
    stored = 0
    processes = [Quotas() for _ in range(3)]
    unheard = [0, 0, 0]
    for process, count, move in moves:
        if move == "restart":
            processes[process] = Quotas()
        if move != "take":
            processes[process].load(DAY, {"icbc": stored}, {})
            unheard[process] = 0
            continue
        try:
            take(processes[process], count, Limits(10**6, per_day))
        except AskRefused:
            assert stored + count > per_day
            continue
        stored += count
        unheard = [each + (count if other != process else 0) for other, each in enumerate(unheard)]
        assert stored <= per_day + unheard[process]
