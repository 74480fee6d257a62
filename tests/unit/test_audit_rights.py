"""What an auditor may see stands in the registry; older registries have none of it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.errors import ConfigError, InputError, RegistryError
from riskshare.governance import admit, create_member, create_network, current_registry
from riskshare.oversight import set_audit_rights
from riskshare.registry import AuditRights, Registry, admit_members, parse_registry, read_request
from riskshare.registry.member import Member
from riskshare.registry.signed import sign_file
from tests.simulator.network import SimulatedNetwork, make_network

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
NAMES = st.from_regex(r"[a-z][a-z0-9]{0,10}", fullmatch=True)
RIGHTS = st.builds(
    AuditRights,
    st.none() | st.sets(NAMES, max_size=5).map(lambda names: tuple(sorted(names))),
    st.integers(0, 2**53 - 1),
)


@pytest.fixture(scope="module")
def net() -> SimulatedNetwork:
    return make_network(roles={"jd": ("owner", "querier")}, now=NOW)


def body_of(net: SimulatedNetwork, name: str, **changes: object) -> dict:
    return json.loads(json.dumps(net.registry.members[name].body())) | changes


@given(RIGHTS)
def test_rights_read_back_to_themselves(rights):
    assert AuditRights.from_body(json.loads(json.dumps(rights.body()))) == rights


@given(RIGHTS, NAMES)
def test_rights_extend_to_whom_they_name(rights, name):
    assert rights.over(name) == (rights.members is None or name in rights.members)


def test_who_is_admitted_as_an_auditor_may_audit_all(net):
    assert net.registry.members["icbc"].audit == AuditRights(None, 1_000)
    assert body_of(net, "icbc")["audit"] == {"members": None, "open_per_day": 1_000}


def test_who_is_no_auditor_has_none_and_its_object_is_as_it_always_was(net):
    assert net.registry.members["jd"].audit is None
    assert "audit" not in body_of(net, "jd")


def test_a_registry_from_before_there_were_rights_still_reads(net):
    bodies = [body_of(net, name) for name in net.registry.members]
    for body in bodies:
        body.pop("audit", None)
    old = parse_registry(
        sign_file("registry", net.name, net.registry.body() | {"members": bodies}, net.governors).to_bytes()
    )
    assert [member.audit for member in old.members.values()] == [None, None, None]
    assert old.members["icbc"].has_role("auditor")


def test_null_is_no_rights(net):
    assert Member.from_body(body_of(net, "icbc", audit=None)).audit is None


BAD = {
    "a list": [],
    "a word": "all",
    "a key missing": {"members": None},
    "an unknown key": {"members": None, "open_per_day": 1, "more": 1},
    "not sorted": {"members": ["jd", "icbc"], "open_per_day": 1},
    "named twice": {"members": ["jd", "jd"], "open_per_day": 1},
    "no name": {"members": ["JD"], "open_per_day": 1},
    "too many": {"members": [f"m{number:04}" for number in range(1_001)], "open_per_day": 1},
    "below zero": {"members": None, "open_per_day": -1},
    "true": {"members": None, "open_per_day": True},
    "a fraction": {"members": None, "open_per_day": 1.5},
    "no number": {"members": None, "open_per_day": None},
    "no day": {"members": None, "open_per_day": 1, "read_days": 0},
    "no days": {"members": None, "open_per_day": 1, "read_days": None},
}


@pytest.mark.parametrize("rights", BAD.values(), ids=BAD)
def test_malformed_rights_are_refused(net, rights):
    with pytest.raises(InputError):
        Member.from_body(body_of(net, "icbc", audit=rights))


def test_rights_of_who_is_no_auditor_are_refused(net):
    with pytest.raises(InputError, match="no auditor"):
        Member.from_body(body_of(net, "jd", audit=AuditRights().body()))


def readmitted(net: SimulatedNetwork, name: str, roles: tuple[str, ...], registry: Registry) -> Member:
    request = net.members[name].request(net.name, NOW, roles=roles)
    return admit_members(registry, [read_request(request)], now=NOW)[name]


def test_an_auditor_that_changes_itself_keeps_the_rights_that_it_was_given(net):
    few = AuditRights(("jd",), 3)
    members = {**net.registry.members, "icbc": replace(net.registry.members["icbc"], audit=few)}
    registry = replace(net.registry, members=members)
    assert readmitted(net, "icbc", ("auditor", "owner", "querier"), registry).audit == few
    members["icbc"] = replace(members["icbc"], audit=None)
    assert readmitted(net, "icbc", ("auditor", "owner", "querier"), registry).audit is None


def test_who_gives_the_role_up_loses_the_rights_and_who_takes_it_gets_them(net):
    assert readmitted(net, "icbc", ("owner", "querier"), net.registry).audit is None
    assert readmitted(net, "jd", ("auditor", "owner", "querier"), net.registry).audit == AuditRights()


# -- the verb -------------------------------------------------------------------------------------------------------


@pytest.fixture
def governed(tmp_path):
    """A governor's folder with the auditor `regulator` and the bank."""
    network = tmp_path / "net"
    create_network(network, now=NOW)
    requests = [
        create_member(tmp_path / name, name, f"https://127.0.0.1:{port}", now=NOW, roles=roles).request_file
        for name, port, roles in (("bank", 8443, ("querier",)), ("regulator", 8453, ("auditor", "querier")))
    ]
    admit(network, requests, now=NOW)
    return network


def test_the_governors_give_other_rights(governed):
    later = NOW + timedelta(hours=1)
    assert current_registry(governed).members["regulator"].audit == AuditRights()
    made = set_audit_rights(governed, "regulator", now=later, members=["regulator", "bank", "bank"])
    assert made.members["regulator"].audit == AuditRights(("bank", "regulator"), 1_000)
    made = set_audit_rights(governed, "regulator", now=later, open_per_day=5)
    assert made.members["regulator"].audit == AuditRights(("bank", "regulator"), 5)
    made = set_audit_rights(governed, "regulator", now=later, everybody=True)
    assert made.members["regulator"].audit == AuditRights(None, 5)
    made = set_audit_rights(governed, "regulator", now=later, members=[])
    assert made.members["regulator"].audit == AuditRights((), 5)
    assert current_registry(governed) == made
    assert made.version == 6


def test_rights_of_who_is_no_auditor_are_not_signed(governed):
    with pytest.raises(ConfigError, match="no auditor"):
        set_audit_rights(governed, "bank", now=NOW, everybody=True)


@pytest.mark.parametrize(("name", "members"), [("shop", None), ("regulator", ["shop"])])
def test_rights_name_members_only(governed, name, members):
    with pytest.raises(ConfigError, match="no member 'shop'"):
        set_audit_rights(governed, name, now=NOW, members=members, everybody=members is None)


def test_a_clock_before_the_last_version_is_refused(governed):
    with pytest.raises(ConfigError, match="clock"):
        set_audit_rights(governed, "regulator", now=NOW - timedelta(hours=1), everybody=True)


def test_a_registry_that_says_so_falsely_is_malformed(net):
    bodies = [body_of(net, name) for name in net.registry.members]
    next(body for body in bodies if body["name"] == "jd")["audit"] = AuditRights().body()
    file = sign_file("registry", net.name, net.registry.body() | {"members": bodies}, net.governors).to_bytes()
    with pytest.raises(RegistryError, check=lambda error: error.code == "registry_malformed"):
        parse_registry(file)
