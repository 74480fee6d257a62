"""`network audit`: what an auditor may see."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from riskshare.governance import admit, create_member, read_registry
from riskshare.registry import AuditRights


@pytest.fixture
def regulator(tmp_path, network):
    now = datetime.now(UTC)
    made = create_member(
        tmp_path / "regulator", "regulator", "https://127.0.0.1:8443", now=now, roles=("auditor", "querier")
    )
    admit(network, [made.request_file], now=now)
    return network


def rights(network):
    return read_registry(network / "network.json").members["regulator"].audit


def test_rights_are_changed_and_told(answer, run, regulator):
    code, [told] = answer(
        "network", "audit", "--dir", regulator, "regulator", "--members", "regulator", "--open-per-day", 7
    )
    assert (code, told["audit"]) == (0, {"members": ["regulator"], "open_per_day": 7})
    assert rights(regulator) == AuditRights(("regulator",), 7)
    result = run("network", "audit", "--dir", regulator, "regulator", "--all")
    assert result.exit_code == 0
    assert "all members; 7 checks a day may be opened at each" in result.stdout
    result = run("network", "audit", "--dir", regulator, "regulator", "--members", "")
    assert "nobody" in result.stdout
    assert rights(regulator) == AuditRights((), 7)


def test_how_far_back_it_may_read_is_set_and_lifted(run, regulator):
    result = run("network", "audit", "--dir", regulator, "regulator", "--read-days", 400)
    assert "logs of the last 400 days" in result.stdout
    assert rights(regulator) == AuditRights(None, 1_000, 400)
    assert run("network", "audit", "--dir", regulator, "regulator", "--read-days", 0).exit_code == 0
    assert rights(regulator) == AuditRights()


def test_show_tells_them(answer, regulator):
    _, [shown] = answer("network", "show", regulator)
    assert shown["members"][0]["audit"] == {"members": None, "open_per_day": 1000}


@pytest.mark.parametrize(
    "words",
    [(), ("--all", "--members", "regulator"), ("--open-per-day", "-1"), ("--read-days", "-1"), ("--members", "nobody")],
)
def test_what_makes_no_sense_is_refused_and_nothing_signed(run, regulator, words):
    version = read_registry(regulator / "network.json").version
    assert run("network", "audit", "--dir", regulator, "regulator", *words).exit_code == 2
    assert read_registry(regulator / "network.json").version == version
