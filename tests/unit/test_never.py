from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.errors import IdentifierError, InputError
from riskshare.membership.identifier import Identifier, make, parse
from riskshare.sharing.never import NeverList, NeverRule, exact_rule, prefix_rule, range_rule

DIGITS = st.text("0123456789", min_size=6, max_size=13)
NUMBERS = DIGITS.map(lambda digits: Identifier("phone", f"+1{digits}"))
LABELS = st.lists(st.sampled_from(["a", "b", "bank", "example", "com", "x1"]), min_size=2, max_size=5)


def matches(rule, text):
    return NeverList([rule]).matching(parse(text)) is not None


def test_an_empty_list_matches_nothing():
    assert NeverList().matching(parse("phone:+8613800138000")) is None
    assert NeverList().upto == 0


def test_an_exact_rule_matches_every_spelling_of_it_and_nothing_else():
    rule = exact_rule("phone:+86 138 0013 8000", "our hotline")
    assert matches(rule, "phone:+86-13800138000")
    assert not matches(rule, "phone:+8613800138001")


@pytest.mark.parametrize(
    ("prefix", "yes", "no"),
    [
        ("phone:+861380", "phone:+8613800138000", "phone:+8613900138000"),
        ("bank_card:622202", "bank_card:6222021234567894", "bank_card:4111111111111111"),
        ("account:102100099996/", "account:102100099996/0200123456", "account:102100099995/0200123456"),
        ("account:102100099996/0200", "account:102100099996/0200123456", "account:102100099996/0201123456"),
        ("account:deutdeff/", "account:DEUTDEFF/12345678", "account:DEUTDEMM/12345678"),
        ("iban:DE/37040044", "iban:DE89370400440532013000", "iban:GB82WEST12345698765432"),
        ("iban:GB/WEST", "iban:GB82WEST12345698765432", "iban:DE89370400440532013000"),
        ("domain:example.com", "domain:example.com", "domain:notexample.com"),
        ("domain:.example.com", "domain:shop.pay.example.com", "domain:example.com.evil.net"),
        ("domain:Example.COM", "email:a@example.com", "email:example.com@evil.net"),
        ("domain:example.com", "email:a@mail.example.com", "email:a@example.co"),
    ],
)
def test_a_prefix_matches_what_begins_so(prefix, yes, no):
    rule = prefix_rule(prefix)
    assert matches(rule, yes)
    assert not matches(rule, no)


@pytest.mark.parametrize(
    "text",
    [
        "phone:86400",
        "phone:+0",
        "phone:+8",
        "phone:+86 400",
        "phone:+12345678901234567",
        "bank_card:622",
        "bank_card:622202123456",
        "bank_card:62220a",
        "account:102100099996",
        "account:ICBK/12",
        "iban:DE89370400440532013000",
        "iban:D/1",
        "domain:com",
        "domain:",
        "domain:exa mple.com",
        "email:a@example.com",
        "wallet:eth/0x00",
        "ip:10.0.0.0",
        "nothing",
        "",
        "phone:",
    ],
)
def test_a_bad_prefix_is_refused_without_repeating_it(text):
    with pytest.raises(InputError) as refused:
        prefix_rule(text)
    assert refused.value.code == "never_rule_invalid"
    value = text.partition(":")[2]
    assert not value or value not in refused.value.message
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    "text",
    [
        "phone:+18005550100",
        "phone:+18005550100-",
        "phone:+18005550100-18005550199",
        "phone:+18005550199-+18005550100",
        "phone:+1800555010-+18005550199",
        "phone:+18005550100-+18005550199-+18005550200",
        "bank_card:4000-5000",
        "phone:+1 8005550100-+18005550199",
    ],
)
def test_a_bad_range_is_refused(text):
    with pytest.raises(InputError) as refused:
        range_rule(text)
    assert refused.value.code == "never_rule_invalid"


def test_a_bad_identifier_is_refused():
    with pytest.raises(IdentifierError):
        exact_rule("phone:12")


def test_both_ends_of_a_range_are_in_it():
    rule = range_rule("phone:+18005550100-+18005550199")
    inside = [Identifier("phone", f"+1800555{n:04}") for n in (100, 150, 199)]
    outside = [Identifier("phone", f"+1800555{n:04}") for n in (99, 200)] + [Identifier("phone", "+180055501000")]
    assert all(NeverList([rule]).matching(one) == rule for one in inside)
    assert not any(NeverList([rule]).matching(one) for one in outside)


@pytest.mark.parametrize("note", ["x" * 201, "two\nlines", "\x07"])
def test_a_note_that_cannot_be_shown_is_refused(note):
    with pytest.raises(InputError) as refused:
        prefix_rule("phone:+86400", note)
    assert refused.value.code == "note_invalid"


def test_the_refusal_names_rule_and_note_and_no_value():
    rule = NeverRule("phone", "prefix", "+86400", "service numbers", 7)
    assert "rule 7: service numbers" in rule.refusal()
    assert "+86400" not in rule.refusal() + repr(rule) + repr(NeverList([rule]))


def test_it_is_pickled_for_workers():
    rules = [
        exact_rule("email:a@b.example"),
        prefix_rule("iban:DE/37040044"),
        prefix_rule("domain:example.com"),
        range_rule("phone:+18005550100-+18005550199"),
    ]
    again = pickle.loads(pickle.dumps(NeverList(rules)))
    assert again.matching(parse("iban:DE89370400440532013000")) == rules[1]
    assert again.matching(make("phone", "+18005550150")) == rules[3]


def test_of_two_rules_the_older_is_named():
    rules = [
        NeverRule("phone", "exact", "+8613800138000", number=9),
        NeverRule("phone", "exact", "+8613800138000", number=4),
    ]
    assert NeverList(rules).matching(parse("phone:+8613800138000")).number == 4
    assert NeverList(rules).upto == 9


@given(st.lists(DIGITS, max_size=8), NUMBERS)
def test_prefixes_match_exactly_what_begins_with_one(heads, number):
    rules = [prefix_rule(f"phone:+1{head}") for head in heads]
    assert (NeverList(rules).matching(number) is not None) == any(
        number.value.startswith(f"+1{head}") for head in heads
    )


@given(st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 9999)), max_size=8), st.integers(0, 9999))
def test_ranges_match_exactly_what_lies_in_one(pairs, number):
    spans = [(min(pair), max(pair)) for pair in pairs]
    rules = [range_rule(f"phone:+1800555{first:04}-+1800555{last:04}") for first, last in spans]
    found = NeverList(rules).matching(Identifier("phone", f"+1800555{number:04}"))
    assert (found is not None) == any(first <= number <= last for first, last in spans)
    if found is not None:
        first, _, last = found.pattern.partition("-")
        assert first <= f"+1800555{number:04}" <= last


@given(st.lists(LABELS.map(".".join), max_size=6), LABELS.map(".".join), st.booleans())
def test_domains_match_themselves_and_all_below(domains, host, as_email):
    rules = [prefix_rule(f"domain:{one}.net") for one in domains]
    asked = Identifier("email", f"x@{host}.net") if as_email else Identifier("domain", f"{host}.net")
    expected = any(f".{host}.net".endswith(f".{one}.net") for one in domains)
    assert (NeverList(rules).matching(asked) is not None) == expected


@given(st.lists(NUMBERS, max_size=8), NUMBERS)
def test_exact_rules_match_exactly_themselves(listed, number):
    rules = [NeverRule(one.type, "exact", one.value) for one in listed]
    assert (NeverList(rules).matching(number) is not None) == (number in listed)
