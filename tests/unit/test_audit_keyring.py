"""Whose key may have signed what, when: any version of the registry speaks for a member, none against it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from riskshare.audit.fact import milliseconds
from riskshare.audit.keyring import GOOD, OUT_OF_TERM, SKEW, UNSIGNED, VOID, make_keyring
from tests.simulator.network import make_network


@pytest.fixture
def network():
    return make_network(("bank", "jd"))


def judge(network, at, *, member="bank", signer="bank"):
    signature = network.members[signer].identity.sign(b"message")
    return make_keyring(network.history).judge(member, b"message", signature, at)


def test_a_key_of_the_member_is_good_in_its_term_and_a_little_around(network):
    begin = milliseconds(network.registry.members["bank"].identity[0].valid_from)
    assert judge(network, begin) == judge(network, begin - SKEW) == judge(network, None) == GOOD
    assert judge(network, begin - SKEW - 1) == OUT_OF_TERM


def test_a_key_that_a_newer_version_ends_stays_good_by_the_older_one(network):
    term = network.registry.members["bank"].identity[0]
    network.change("bank", identity=(replace(term, valid_until=term.valid_from + timedelta(seconds=1)),))
    assert judge(network, milliseconds(term.valid_from) + 10 * SKEW) == GOOD


def test_a_compromised_key_is_void_from_then_on(network):
    at = network.registry.issued_at + timedelta(hours=1)
    network.compromise("bank", at)
    assert judge(network, milliseconds(at)) == VOID
    assert judge(network, milliseconds(at) - 1) == GOOD


def test_the_key_of_somebody_else_signs_nothing(network):
    now = milliseconds(network.registry.issued_at)
    assert judge(network, now, signer="jd") == UNSIGNED
    assert judge(network, now, member="nobody") == UNSIGNED
    assert "nobody" not in make_keyring(network.history)


def test_a_keyring_is_made_of_a_registry():
    with pytest.raises(ValueError, match="at least one"):
        make_keyring([])
