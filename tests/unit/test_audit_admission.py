"""Whether a request of an auditor is admitted: each rule, refused alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.audit.access import KIND, VALID
from riskshare.audit.admission import (
    check_clock,
    check_form,
    check_registry,
    check_signature,
    check_valid,
    over_quota,
    rights_of,
)
from riskshare.errors import AuditRefused
from riskshare.registry import AuditRights, KeyTerm
from riskshare.server.problems import problem_of, status_of
from riskshare.statement import sign
from tests.simulator.network import SimulatedNetwork, make_network
from tests.unit.test_access import request

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)


@pytest.fixture
def net() -> SimulatedNetwork:
    return make_network(roles={"jd": ("owner", "querier")}, now=NOW - timedelta(hours=1))


def refused(code: str, status: int):
    return pytest.raises(AuditRefused, check=lambda error: (error.code, status_of(error)) == (code, status))


# -- 1 and 2: whose it is


def test_a_request_for_this_member_from_its_auditor_is_well_formed():
    check_form(request(), network="net", member="bank", reader="regulator")


def test_another_network():
    with refused("wrong_network", 400):
        check_form(request(), network="other", member="bank", reader="regulator")


def test_another_member():
    with refused("wrong_owner", 400):
        check_form(request(), network="net", member="shop", reader="regulator")


def test_another_auditor_than_the_connection_belongs_to():
    with refused("wrong_member", 403):
        check_form(request(), network="net", member="bank", reader="shop")


# -- 3: the registry


def test_a_registry_that_is_known_or_older_serves(net):
    for version in (1, net.registry.version):
        check_registry(request(registry=version), net.registry, NOW)


def test_a_registry_that_nobody_has_heard_of(net):
    with refused("registry_mismatch", 412):
        check_registry(request(registry=net.registry.version + 1), net.registry, NOW)


def test_a_registry_that_has_expired(net):
    with refused("registry_mismatch", 412):
        check_registry(request(registry=1), net.registry, net.registry.expires_at)


# -- 4: who may


def test_an_auditor_has_the_rights_of_the_registry(net):
    assert rights_of("icbc", "jd", net.registry) == AuditRights()


def test_nobody(net):
    with refused("wrong_member", 403):
        rights_of("stranger", "jd", net.registry)


def test_an_auditor_that_is_suspended(net):
    net.change("icbc", standing="suspended")
    with refused("wrong_member", 403):
        rights_of("icbc", "jd", net.registry)


def test_a_member_that_is_no_auditor(net):
    with refused("no_audit_right", 403):
        rights_of("jd", "icbc", net.registry)


def test_an_auditor_without_rights(net):
    net.change("icbc", audit=None)
    with refused("no_audit_right", 403):
        rights_of("icbc", "jd", net.registry)


def test_an_auditor_of_others_only(net):
    net.change("icbc", audit=AuditRights(("unionpay",)))
    with refused("no_audit_right", 403):
        rights_of("icbc", "jd", net.registry)
    assert rights_of("icbc", "unionpay", net.registry).open_per_day == 1_000


# -- 5: the signature


def signed(net, name="icbc", **changes):
    return sign(KIND, net.name, request(network=net.name, **changes).body(), net.members[name].identity)


def check(net, statement, auditor=None):
    member = auditor or net.registry.members["icbc"]
    return check_signature(statement.json, statement.signature, member, net.name, NOW)


def test_a_request_that_the_auditor_signed(net):
    statement = signed(net)
    assert check(net, statement) == statement


def test_a_request_that_somebody_else_signed(net):
    with refused("bad_signature", 401):
        check(net, signed(net, "jd"))


def test_a_request_of_which_a_word_was_changed(net):
    statement = signed(net)
    with refused("bad_signature", 401):
        check(net, replace(statement, json=statement.json.replace(b"yearly", b"weekly")))


def test_a_key_whose_term_is_over(net):
    member = net.registry.members["icbc"]
    term = replace(member.identity[0], valid_until=NOW)
    with refused("bad_signature", 401):
        check(net, signed(net), replace(member, identity=(term,)))


def test_a_key_that_somebody_else_may_have(net):
    member = net.registry.members["icbc"]
    term = KeyTerm(member.identity[0].public, NOW - timedelta(days=1), None, NOW)
    with refused("bad_signature", 401):
        check(net, signed(net), replace(member, identity=(term,)))


# -- 6: time


@given(st.integers(-60_000, 60_000))
def test_a_request_within_a_minute_is_taken(milliseconds):
    check_clock(request(requested_at=NOW + timedelta(milliseconds=milliseconds)), NOW)


@pytest.mark.parametrize("seconds", [-60.001, 60.001, 3600.0])
def test_a_clock_that_is_off(seconds):
    with refused("clock_off", 412):
        check_clock(request(requested_at=NOW + timedelta(seconds=seconds)), NOW)


def test_a_request_gives_access_for_a_day():
    check_valid(request(), NOW + VALID - timedelta(milliseconds=1))
    with refused("access_expired", 403):
        check_valid(request(), NOW + VALID)


# -- 7: the day's number


@given(st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis adds the zone
def test_the_quota_is_whole_again_at_midnight(moment):
    refusal = over_quota(moment)
    assert (refusal.code, status_of(refusal)) == ("audit_quota", 429)
    assert refusal.retry_after is not None
    assert 0 < refusal.retry_after <= 86_400
    assert (moment + timedelta(seconds=refusal.retry_after)).time() == datetime.min.time()
    assert problem_of(refusal).response().headers["Retry-After"]
