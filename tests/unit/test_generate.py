from __future__ import annotations

import ipaddress
from collections import Counter
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.generate import GENERATED_TYPES, generate, stream
from riskshare.membership.identifier import TYPES, make, parse


def test_every_type_but_the_canary_can_be_generated():
    assert set(GENERATED_TYPES) == set(TYPES) - {"canary"}


@given(st.integers(), st.integers(0, 60))
def test_count_is_kept_and_nothing_repeats(seed, count):
    found = generate(seed, count)
    assert len(found) == len(set(found)) == count


@given(st.integers())
def test_same_seed_same_list(seed):
    assert generate(seed, 40) == generate(seed, 40)
    assert generate(seed, 40) != generate(seed + 1, 40)


@given(st.integers())
def test_longer_list_begins_with_the_shorter_one(seed):
    assert generate(seed, 40)[:15] == generate(seed, 15)


def test_list_is_the_same_on_every_machine():
    """Demonstration and documentation show these; a change of Python's random would show here."""
    assert [identifier.canonical for identifier in generate(2026, 4, ["phone", "bank_card", "ip", "device"])] == [
        "phone:+8613554501519",
        "bank_card:6222020760098910",
        "ip:198.19.186.52",
        "device:ceae04c4-f0f0-cf86-b186-4b7fdf32b8ff",
    ]


@given(st.integers(), st.sampled_from(GENERATED_TYPES))
def test_everything_generated_is_valid_and_canonical(seed, type_):
    for identifier in generate(seed, 10, [type_]):
        assert identifier.type == type_
        assert make(type_, identifier.value) == parse(identifier.canonical) == identifier


def test_types_come_in_turn():
    counts = Counter(identifier.type for identifier in generate(1, 1200))
    assert set(counts) == set(GENERATED_TYPES)
    assert max(counts.values()) - min(counts.values()) <= 12


def test_excluded_identifiers_do_not_come():
    first = generate(7, 3000)
    assert set(generate(7, 3000, exclude=set(first))).isdisjoint(first)
    assert set(generate(8, 3000, exclude=set(first))).isdisjoint(first)


def test_there_is_room_in_every_type():
    for type_ in GENERATED_TYPES:
        assert len(generate(3, 2000, [type_])) == 2000


def test_phones_are_of_several_countries():
    starts = Counter(identifier.value[:3] for identifier in generate(5, 500, ["phone"]))
    assert starts["+86"] > 300
    assert {"+12", "+13", "+44", "+33", "+91"} <= set(starts)


def test_names_and_addresses_are_of_the_ranges_for_documentation():
    for identifier in generate(6, 300, ["email", "domain"]):
        assert identifier.value.endswith(".example")
    ranges = ["198.18.0.0/15", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"]
    networks = [ipaddress.ip_network(text) for text in ranges]
    for identifier in generate(6, 300, ["ip"]):
        assert any(ipaddress.ip_address(identifier.value) in network for network in networks)


def test_wallets_are_of_several_chains():
    chains = {identifier.value.partition("/")[0] for identifier in generate(6, 100, ["wallet"])}
    assert chains == {"btc", "eth", "trx"}


@pytest.mark.parametrize("types", [[], ["canary"], ["phone", "fax"], ["PHONE"]])
def test_types_that_cannot_be_generated(types):
    with pytest.raises(ValueError, match="generated types are"):
        generate(1, 1, types)
    with pytest.raises(ValueError, match="generated types are"):
        stream(1, types)


def test_stream_has_no_end():
    assert len(list(islice(stream(1, ["ip"]), 1000))) == 1000
