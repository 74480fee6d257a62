"""Points: distinct entries are counted, and what is disclosed of them tells no owner which query hit."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from riskshare.audit.points import (
    DEFAULT,
    Disclosure,
    Distinct,
    PointsReport,
    Rules,
    bounds,
    disclose,
    read_report,
)
from riskshare.encoding import canonical_json, parse_canonical_json
from riskshare.errors import EncodingError, InputError, TrustError
from riskshare.generate import generate
from riskshare.membership.record import Record
from riskshare.query.check_record import RecordedHit
from riskshare.registry.signed import sign_file
from riskshare.signature import SigningKey
from tests.simulator.network import make_network

NOW = datetime(2026, 11, 22, tzinfo=UTC)
OWNERS = ("jd", "telecom", "shop")
QUERIERS = [f"bank{number}" for number in range(8)]

totals = st.dictionaries(st.sampled_from(OWNERS), st.integers(1, 200))
networks = st.lists(totals, min_size=1, max_size=8).map(
    lambda each: [PointsReport("simnet", "2026-11", QUERIERS[n], owners) for n, owners in enumerate(each)]
)
rules = st.builds(Rules, st.integers(1, 50), st.integers(1, 400), st.integers(1, 5))


# -- what is disclosed -------------------------------------------------------------------------------


@given(networks, rules)
def test_a_total_is_a_multiple_of_at_least_nearly_the_threshold_from_enough_queriers(reports, given_rules):
    shown = disclose(reports, given_rules).owners
    for owner in OWNERS:
        counts = [report.owners[owner] for report in reports if owner in report.owners]
        if owner not in shown:
            below = len(counts) < given_rules.queriers or sum(counts) < given_rules.threshold
            assert below or sum(counts) < given_rules.multiple
            continue
        assert len(counts) >= given_rules.queriers
        assert sum(counts) >= given_rules.threshold
        assert shown[owner] % given_rules.multiple == 0
        assert sum(counts) - given_rules.multiple < shown[owner] <= sum(counts)


@given(networks, rules, st.randoms())
def test_it_does_not_matter_whose_hits_they_were(reports, given_rules, random):
    """The same totals in other hands, and in another order, are disclosed the same."""
    shown = disclose(reports, given_rules)
    names = [report.querier for report in reports]
    random.shuffle(names)
    others = [replace(report, querier=name) for report, name in zip(reports, names, strict=True)]
    random.shuffle(others)
    assert disclose(others, given_rules) == shown
    assert not any(querier in shown.to_json().decode() for querier in QUERIERS)


@given(networks, rules, st.data())
def test_hits_that_move_between_those_who_have_some_change_nothing(reports, given_rules, data):
    owner = data.draw(st.sampled_from(OWNERS))
    having = [place for place, report in enumerate(reports) if owner in report.owners]
    assume(len(having) > 1)
    giver, taker = data.draw(st.permutations(having))[:2]
    moved = data.draw(st.integers(0, reports[giver].owners[owner] - 1))
    changed = list(reports)
    for place, by in ((giver, -moved), (taker, moved)):
        before = changed[place]
        changed[place] = replace(before, owners={**before.owners, owner: before.owners[owner] + by})
    assert disclose(changed, given_rules) == disclose(reports, given_rules)


@given(networks, rules, st.data())
def test_one_hit_more_is_seen_only_where_the_total_crosses_a_multiple(reports, given_rules, data):
    owner = data.draw(st.sampled_from(OWNERS))
    place = data.draw(st.sampled_from([n for n, report in enumerate(reports) if owner in report.owners] or [None]))
    assume(place is not None)
    more = list(reports)
    more[place] = replace(reports[place], owners={**reports[place].owners, owner: reports[place].owners[owner] + 1})
    before, after = disclose(reports, given_rules).owners, disclose(more, given_rules).owners
    assert {name: total for name, total in before.items() if name != owner} == {
        name: total for name, total in after.items() if name != owner
    }
    total = sum(report.owners.get(owner, 0) for report in reports)
    if (total + 1) % given_rules.multiple and total + 1 != given_rules.threshold:
        assert before.get(owner) == after.get(owner)


@given(networks)
def test_nothing_is_told_of_less_than_three_queriers(reports):
    assert DEFAULT.queriers == 3
    assert disclose(reports[:2]).owners == {}


def test_reports_that_do_not_belong_together_are_refused():
    one = PointsReport("simnet", "2026-11", "icbc", {"jd": 1})
    for reports in (
        [],
        [one, one],
        [one, replace(one, querier="boc", month="2026-10")],
        [one, replace(one, querier="boc", network="other")],
    ):
        with pytest.raises(InputError):
            disclose(reports)


@given(networks, rules)
def test_a_disclosure_is_read_as_it_was_written(reports, given_rules):
    made = disclose(reports, given_rules)
    assert Disclosure.from_json(made.to_json()) == made


@pytest.mark.parametrize(
    "change",
    [
        {"month": "2026-13"},
        {"month": 1},
        {"owners": []},
        {"owners": {"JD": 1}},
        {"owners": {"jd": 0}},
        {"multiple": 0},
        {"more": 1},
    ],
)
def test_a_disclosure_of_another_form_is_refused(change):
    body = parse_canonical_json(Disclosure("simnet", "2026-11", DEFAULT, {"jd": 50}).to_json(), limit=1000)
    with pytest.raises(EncodingError):
        Disclosure.from_json(canonical_json({**body, **change}))


# -- what is counted -----------------------------------------------------------------------------------

PHONES = generate(601, 4, ("phone",))
RECORD = Record("telecom_fraud", "x", "high", "", NOW, NOW.replace(year=2027))


class Checked:
    """What `Distinct` reads of a check's record."""

    def __init__(self, *hits: tuple[int, str]) -> None:
        self.identifiers = tuple(PHONES)
        self.hits = tuple(RecordedHit(identifier, name, RECORD) for identifier, name in hits)


def test_an_entry_counts_once_a_list_is_a_list_and_own_lists_do_not_count():
    counted = Distinct("icbc")
    counted.add(Checked((0, "jd/a"), (0, "jd/b"), (1, "jd/a"), (2, "icbc/own")))
    counted.add(Checked((0, "jd/a"), (3, "telecom/c")))
    assert counted.totals() == {"jd": 3, "telecom": 1}


def test_months():
    assert bounds("2026-12") == (datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    for bad in ("", "2026-13", "2026-1", "0000-01", "9999-12", "2026-11-01"):
        with pytest.raises(InputError):
            bounds(bad)


# -- a querier's report -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network():
    return make_network(("icbc", "jd"), now=NOW)


GOOD = PointsReport("simnet", "2026-11", "icbc", {"jd": 7})


def test_a_report_is_read_if_its_querier_signed_it(network):
    assert read_report(GOOD.to_file(network.members["icbc"].identity), network.registry) == GOOD


@pytest.mark.parametrize(
    ("report", "signer"),
    [
        (GOOD, "jd"),
        (replace(GOOD, querier="boc"), "icbc"),
        (replace(GOOD, network="other"), "icbc"),
    ],
)
def test_a_report_of_somebody_else_is_refused(network, report, signer):
    with pytest.raises(TrustError):
        read_report(report.to_file(network.members[signer].identity), network.registry)


def test_a_report_signed_with_a_stolen_key_is_refused():
    stolen = make_network(("icbc", "jd"), now=NOW)
    stolen.compromise("icbc", NOW)
    with pytest.raises(TrustError):
        read_report(GOOD.to_file(stolen.members["icbc"].identity), stolen.registry)


@pytest.mark.parametrize(
    "change",
    [
        {"month": "2026-1"},
        {"month": None},
        {"owners": {"icbc": 1}},
        {"owners": {"jd": 0}},
        {"owners": {"jd": True}},
        {"owners": {"J D": 1}},
        {"owners": [["jd", 1]]},
        {"querier": "IC BC"},
        {"more": 1},
    ],
)
def test_a_report_of_another_form_is_refused(network, change):
    file = sign_file("points", "simnet", {**GOOD.body(), **change}, [network.members["icbc"].identity])
    with pytest.raises(EncodingError):
        read_report(file.to_bytes(), network.registry)


def test_a_signature_of_another_kind_is_none(network):
    file = sign_file("settlement", "simnet", GOOD.body(), [SigningKey(bytes(32)), network.members["icbc"].identity])
    with pytest.raises(TrustError):
        read_report(file.to_bytes(), network.registry)
