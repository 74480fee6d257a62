"""The rules over single exchanges: each bound, from both sides."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.audit import fact, rules
from riskshare.audit.fact import Exchange, milliseconds
from riskshare.audit.versions import CLOCKS, Versions, versions_of
from riskshare.errors import RegistryError
from riskshare.registry import Quota
from tests.simulator.casefolder import START
from tests.simulator.network import make_network

NOON = milliseconds(START)


def exchange(**changes):
    values = {
        "id": bytes(32), "querier": "bank", "owner": "jd", "batch": bytes(16), "ask": bytes(32), "answer": bytes(32),
        "epoch": bytes(32), "purpose": "marketing", "count": 3, "registry": 2, "asked_at": NOON,
        "answered_at": NOON + 20, "faults": 0,
    }  # fmt: skip
    return Exchange(**values | changes)


@pytest.fixture
def network():
    return make_network(("bank", "jd", "telco"), now=START - timedelta(days=2))


def versions(network):
    return Versions(tuple(network.history))


def without_marketing(network, at):
    member = network.registry.members["bank"]
    kept = tuple(purpose for purpose in member.purposes if purpose != "marketing")
    return network.issue([replace(member, purposes=kept)], now=at)


@pytest.mark.parametrize("fault", [1 << bit for bit in range(10)])
def test_an_exchange_that_does_not_hold_binds_nobody(fault):
    assert rules.proves(exchange(faults=fault)) == (fault in (fact.ASK_KEY_VOID, fact.ANSWER_KEY_VOID))
    assert rules.binds_querier(exchange(faults=fault)) == (fault == fact.ANSWER_KEY_VOID)
    assert rules.binds_owner(exchange(faults=fault)) == (fault == fact.ASK_KEY_VOID)


@given(st.integers(-60_000, 60_000), st.integers(-60_000, 60_000), st.integers(0, 10**9))
def test_no_clock_and_no_halt_makes_an_answer_backdated(querier, owner, halted):
    asked = NOON + querier
    admitted = NOON + owner
    if abs(asked - admitted) <= 60_000:
        assert not rules.is_backdated(exchange(asked_at=asked, answered_at=admitted + halted))


def test_an_answer_from_before_its_ask_is_backdated():
    assert not rules.is_backdated(exchange(answered_at=NOON - rules.ADMITTED))
    assert rules.is_backdated(exchange(answered_at=NOON - rules.ADMITTED - 1))


def test_a_time_behind_the_log_that_bears_it_is_from_the_future():
    assert not rules.is_from_the_future(NOON + CLOCKS, NOON)
    assert rules.is_from_the_future(NOON + CLOCKS + 1, NOON)


def test_the_purpose_of_any_version_that_was_held_is_allowed(network):
    taken = without_marketing(network, START)
    given_back = network.issue(
        [replace(taken.members["bank"], purposes=network.history[0].purposes)], now=START + timedelta(hours=1)
    )
    chain = versions(network)
    assert not rules.has_wrong_purpose(exchange(registry=2), chain)
    assert rules.has_wrong_purpose(exchange(registry=taken.version), chain)
    hour = NOON + 3_600_000
    assert rules.has_wrong_purpose(exchange(registry=taken.version, answered_at=hour - CLOCKS - 1), chain)
    assert not rules.has_wrong_purpose(exchange(registry=taken.version, answered_at=hour - CLOCKS), chain)
    assert not rules.has_wrong_purpose(exchange(registry=given_back.version), chain)
    for first, allowed in ((2, 0), (taken.version, hour - CLOCKS), (given_back.version, 0)):
        assert rules.purpose_allowed_from(chain, "bank", "marketing", first) == allowed
    assert rules.purpose_allowed_from(chain, "bank", "nothing", 2) is None


def test_a_version_that_is_not_known_judges_nobody(network):
    chain = versions(network)
    assert not rules.has_wrong_purpose(exchange(registry=99, purpose="nothing"), chain)
    newest = Versions((network.registry,))
    with pytest.raises(RegistryError, match="Name the folder with all versions") as caught:
        newest.from_version(1)
    assert caught.value.code == "registry_gap"


def test_versions_are_a_chain_without_gaps(network):
    first, second = network.history
    files = [one.to_file() for one in network.history]
    assert versions_of(second, files[:1]) == Versions((first, second))
    third = without_marketing(network, START)
    for wrong, code in (((), "registry_gap"), ((first, third), "registry_gap")):
        with pytest.raises(RegistryError) as caught:
            Versions(wrong)
        assert caught.value.code == code
    other = make_network(("bank",), now=START).history[1]
    with pytest.raises(RegistryError) as caught:
        Versions((first, other))
    assert caught.value.code == "broken_chain"


def test_a_suspension_covers_who_knew_it_until_it_is_lifted(network):
    member = network.registry.members["bank"]
    network.issue([replace(member, standing="suspended")], now=START)
    network.issue([replace(member, standing="good")], now=START + timedelta(hours=1))
    before_admission, found = rules.suspensions(versions(network), "bank")
    assert (found.first, found.ended) == (3, NOON + 3_600_000)
    assert before_admission.first == 1
    assert found.covers(exchange(), 3)
    assert not found.covers(exchange(), 2)
    assert not found.covers(exchange(querier="telco"), 3)
    assert not found.covers(exchange(answered_at=NOON + 3_600_000 - CLOCKS), 3)
    assert not list(rules.suspensions(Versions(tuple(network.history[1:2])), "jd"))


def test_one_that_is_suspended_still_is_so_without_end(network):
    network.issue([replace(network.registry.members["bank"], standing="suspended")], now=START)
    assert [one.ended for one in rules.suspensions(versions(network), "bank")][1:] == [None]


def test_a_quota_is_the_largest_that_was_held_and_a_slack(network):
    member = network.registry.members["bank"]
    small = replace(member.quota, per_second=1, per_day=10, per_epoch=20)
    network.issue([replace(member, quota=small)], now=START)
    chain = versions(network)
    slack = 300 + 16 * 4096
    held = rules.quotas_held(chain, "bank", 3, NOON)
    assert (rules.most_in_a_day(held), rules.most_in_an_epoch(held)) == (10 + slack, 20 + slack)
    both = rules.quotas_held(chain, "bank", 2, NOON)
    assert rules.most_in_a_day(both) == Quota().per_day + rules.slack(both)
    assert rules.most_in_an_epoch(both) is None
    assert rules.most_in_a_day([]) is None


@pytest.mark.parametrize(
    ("asked", "answered", "out"),
    [(50, 50, False), (-CLOCKS, -CLOCKS, False), (-CLOCKS - 1, -CLOCKS - 1, True), (-CLOCKS - 1, 50, False),
     (100 + CLOCKS, 100 + CLOCKS, True), (100 + CLOCKS - 1, 10**9, False), (100 + CLOCKS, 10**9, True)],
)  # fmt: skip
def test_an_epoch_is_over_only_for_what_was_admitted_after_it(asked, answered, out):
    found = exchange(asked_at=NOON + asked, answered_at=NOON + answered)
    assert rules.is_out_of_term(found, NOON, NOON + 100) == out
