from __future__ import annotations

from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from riskshare.peer.registry_term import RegistryTerm
from tests.simulator.network import make_network
from tests.unit.test_registry import NOW


@pytest.fixture
def net():
    return make_network(now=NOW)


def told(term, registry, *moments):
    with capture_logs() as logs:
        for now in moments:
            term.look(registry, now)
    return [(one["event"], one["log_level"], one["version"]) for one in logs]


def test_nothing_is_told_until_four_weeks_before(net):
    end = net.registry.expires_at
    assert told(RegistryTerm(), net.registry, NOW, end - timedelta(days=28, seconds=1)) == []


def test_it_is_told_once_a_day_and_at_once_when_it_has_ended(net):
    end, term = net.registry.expires_at, RegistryTerm()
    soon = ("registry_expires", "warning", net.registry.version)
    over = ("registry_expired", "error", net.registry.version)
    first = end - timedelta(days=27)
    assert told(term, net.registry, first, first + timedelta(hours=23)) == [soon]
    assert told(term, net.registry, first + timedelta(hours=24), end - timedelta(seconds=1)) == [soon, soon]
    assert told(term, net.registry, end, end + timedelta(hours=1)) == [over]
    assert told(term, net.registry, end + timedelta(days=2)) == [over]


def test_the_log_says_what_to_do(net):
    with capture_logs() as logs:
        RegistryTerm().look(net.registry, net.registry.expires_at - timedelta(days=3))
        RegistryTerm().look(net.registry, net.registry.expires_at)
    assert "in 3 days" in logs[0]["detail"]
    assert "Ask the governors" in logs[0]["detail"]
    assert logs[1]["code"] == "registry_expired"


def test_a_newer_version_is_told_anew(net):
    term, end = RegistryTerm(), net.registry.expires_at
    former = net.registry
    assert len(told(term, former, end - timedelta(days=1))) == 1
    newer = net.issue(now=NOW + timedelta(days=1))
    at = newer.expires_at - timedelta(days=1)
    assert told(term, newer, at, at) == [("registry_expires", "warning", newer.version)]


def test_a_clock_that_was_set_back_silences_nobody(net):
    term, end = RegistryTerm(), net.registry.expires_at
    assert len(told(term, net.registry, end - timedelta(hours=1), end - timedelta(days=5))) == 2
