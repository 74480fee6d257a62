"""Values of the registry, read strictly: what is read prints back, and anything else is refused in one way."""

from __future__ import annotations

import contextlib
import string
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.encoding import MAX_SAFE_INTEGER, canonical_json, parse_canonical_json
from riskshare.errors import EncodingError, InputError
from riskshare.names import read_network_name
from riskshare.registry import Member, Quota, form
from tests.simulator.network import make_network

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
READERS = [
    form.read_title,
    form.read_slug,
    read_network_name,
    form.read_price,
    form.read_currency,
    form.read_peer_url,
    form.read_optional_time,
]
NET = make_network(["icbc", "jd"], now=NOW)


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
@given(value=ANYTHING)
def test_anything_is_read_as_it_stands_or_refused(read, value):
    with contextlib.suppress(EncodingError):
        found = read(value)
        assert found is None or found == value


@given(st.text(string.ascii_lowercase + string.digits + "_-", min_size=1, max_size=63))
def test_a_word_begins_with_a_letter(text):
    if text[0] in string.ascii_lowercase:
        assert form.read_slug(text) == text
    else:
        with pytest.raises(EncodingError):
            form.read_slug(text)


@given(st.decimals(0, 10**8, places=4))
def test_a_price_has_one_spelling(price):
    text = f"{price:.4f}"
    assert form.read_price(text) == text
    for other in (f"+{text}", f"-{text}", f"0{text}", f"{text}e0", text.replace(".", ","), f" {text}", f"{text}."):
        with pytest.raises(EncodingError):
            form.read_price(other)


@given(st.integers(), st.integers(-5, 5), st.integers(-5, 5))
def test_an_integer_is_within_its_bounds(value, least, most):
    if least <= value <= most:
        assert form.read_integer(value, "It", least=least, most=most) == value
    else:
        with pytest.raises(EncodingError):
            form.read_integer(value, "It", least=least, most=most)
    for other in (float(value), str(value), bool(value)):
        with pytest.raises(EncodingError):
            form.read_integer(other, "It", least=-(10**30), most=10**30)


@given(st.lists(st.text(max_size=3), max_size=6))
def test_a_sorted_list_has_each_part_once(parts):
    if parts == sorted(set(parts)):
        form.check_sorted(parts, "It")
    else:
        with pytest.raises(EncodingError):
            form.check_sorted(parts, "It")


@given(st.dictionaries(st.sampled_from("abcd"), ANYTHING))
def test_an_object_has_exactly_its_keys(value):
    if value.keys() == {"a", "b"}:
        assert form.read_object(value, frozenset("ab"), "It") == value
    else:
        with pytest.raises(EncodingError):
            form.read_object(value, frozenset("ab"), "It")


LIMITS = st.integers(0, MAX_SAFE_INTEGER)


@given(st.dictionaries(st.sampled_from("abcd"), ANYTHING))
def test_an_object_may_lack_what_is_optional(value):
    if {"a"} <= value.keys() <= {"a", "b"}:
        assert form.read_object(value, frozenset("a"), "It", optional=frozenset("b")) == value
    else:
        with pytest.raises(EncodingError):
            form.read_object(value, frozenset("a"), "It", optional=frozenset("b"))


@given(LIMITS, LIMITS, st.none() | LIMITS)
def test_a_quota_reads_back(per_second, per_day, per_epoch):
    quota = Quota(per_second, per_day, per_epoch)
    assert Quota.from_body(quota.body()) == quota


@given(
    st.sampled_from(sorted(NET.registry.members)),
    st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=50),
    st.sets(st.sampled_from(["owner", "querier", "auditor"]), min_size=1),
    st.sampled_from(["good", "suspended"]),
    st.integers(0, 10**6),
)
def test_a_member_reads_back_from_canonical_bytes(name, title, roles, standing, seconds):
    body = NET.registry.members[name].body() | {
        "title": title,
        "roles": sorted(roles),
        "standing": standing,
        "quota": Quota(seconds, seconds, None).body(),
    }
    if "auditor" not in roles:
        del body["audit"]
    wire = canonical_json(body)
    member = Member.from_body(parse_canonical_json(wire, limit=10**6))
    assert canonical_json(member.body()) == wire
    assert (member.title, set(member.roles), member.in_good_standing) == (title, roles, standing == "good")
    for moment in (NOW, NOW + timedelta(seconds=seconds)):
        assert [term.public for term in member.identity_in_force(moment)] == [member.identity[0].public]


@given(st.sampled_from(sorted(NET.registry.members["jd"].body())), ANYTHING)
def test_a_member_with_any_value_in_a_field_is_read_back_or_refused(key, value):
    body = NET.registry.members["jd"].body() | {key: value}
    try:
        member = Member.from_body(body)
    except InputError:
        return
    if body["audit"] is None:
        del body["audit"]  # no rights, which is not written
    assert member.body() == body
