from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.errors import InputError
from riskshare.membership.identifier import Identifier, parse
from riskshare.sharing.never import NeverList, NeverRule
from riskshare.sharing.never_file import MAX_BYTES, BadRule, read_rules

SHARED = Path(os.environ.get("RISKSHARE_SHARED_DATA") or Path(__file__).parents[3] / "shared" / "data") / "allow"
PHONES = {"type": "regex", "matching_attributes": ["phone-number"], "name": "Reserved"}


def read(text, note=""):
    found = list(read_rules(text.encode(), note))
    return [one for one in found if isinstance(one, NeverRule)], [one for one in found if isinstance(one, BadRule)]


def expression(text):
    rules, bad = read(json.dumps(PHONES | {"list": [text]}))
    assert len(bad) == (0 if rules else 1)
    return [rule.pattern for rule in rules]


def test_one_rule_a_line_with_its_note():
    rules, bad = read(
        "# ours\n\nphone:+8613800138000 # hotline\nprefix phone:+86400\nrange phone:+18005550100-+18005550199\n", "ops"
    )
    assert bad == []
    assert [(rule.kind, rule.note) for rule in rules] == [("exact", "hotline"), ("prefix", "ops"), ("range", "ops")]


def test_each_bad_line_is_told_with_its_number_and_without_its_text():
    rules, bad = read("phone:12\nprefix email:a\nphone:+8613800138000\nrange x\nnonsense\n")
    assert [one.place for one in bad] == [1, 2, 4, 5]
    assert len(rules) == 1
    assert "nonsense" not in "".join(one.message for one in bad)


def test_a_list_of_hosts_becomes_domains_with_all_below_them():
    text = json.dumps({"type": "hostname", "name": "Banks", "list": [".example.com", "bank.example", "com", 7]})
    rules, bad = read(text)
    assert [(rule.pattern, rule.note) for rule in rules] == [("example.com", "Banks"), ("bank.example", "Banks")]
    assert [one.place for one in bad] == [3, 4]
    never = NeverList(rules)
    assert never.matching(parse("email:a@mail.example.com")) is not None
    assert never.matching(parse("domain:notexample.com")) is None


@pytest.mark.parametrize(
    ("text", "patterns"),
    [
        (r"/((?:\+|00)44)?02079460([0-9]{3})/g", ["+442079460000-+442079460999"]),
        (r"/((?:\+|00)44)?01(13|14)4960([0-9]{3})/g", ["+441134960000-+441134960999", "+441144960000-+441144960999"]),
        (r"/((?:\+|00)46)?3139006([0-9]{2})/g", ["+46313900600-+46313900699"]),
        (r"/((?:\+|00)61)?1800160401/g", ["+611800160401-+611800160401"]),
    ],
)
def test_the_form_of_the_phone_lists_becomes_ranges(text, patterns):
    assert expression(text) == patterns


def test_alternatives_with_classes_are_written_out():
    found = expression(r"/((?:\+|00)46)?07017406(0[5-9]|[1-9][0-9])/g")
    assert len(found) == 95
    assert found[0] == "+46701740605-+46701740605"
    assert found[-1] == "+46701740699-+46701740699"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+442079460",
        r"/((?:\+|00)44)?.*/g",
        r"/((?:\+|00)44)?0207(\d{7})/g",
        r"/((?:\+|00)33?|0?)(999)([0-9]{6})/g",
        r"/((?:\+|00)1)?55501([0-9]{2})/g",
        r"/((?:\+|00)44)?()/g",
        r"/((?:\+|00)44)?(1|)23/g",
        r"/((?:\+|00)44)?([9-0]{3})20/g",
        r"/((?:\+|00)44)?0[0-9]{9}/g",
        r"/((?:\+|00)44)?([0-9]{9})([0-9]{9})12/g",
        r"/((?:\+|00)44)?" + "(1|2|3|4|5|6|7|8|9)" * 200 + "/g",
        r"/((?:\+|00)999)?123456/g",
        "/(a+)+$/",
    ],
)
def test_every_other_expression_is_told_and_none_is_run(text):
    assert expression(text) == []


@pytest.mark.parametrize(
    "text",
    [
        '{"list": [], "type": "cidr"}',
        '{"list": ["10.0.0.0/8"]}',
        '{"list": {}, "type": "hostname"}',
        '{"type": "hostname"}',
        '{"list": ["a"], "type": "regex", "matching_attributes": ["url"]}',
        '{"list": ["a"], "type": "regex", "matching_attributes": 3}',
        '{"list": ',
        "{" * 100_000,
    ],
)
def test_json_that_is_no_warning_list_of_a_known_type_is_refused(text):
    with pytest.raises(InputError) as refused:
        read(text)
    assert refused.value.code == "never_file_invalid"


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"a" * (MAX_BYTES + 1)])
def test_what_is_no_text_or_too_long_is_refused(data):
    with pytest.raises(InputError) as refused:
        list(read_rules(data))
    assert refused.value.code == "never_file_invalid"


def test_a_long_name_of_a_list_becomes_a_note_that_fits():
    rules, _ = read(json.dumps({"type": "hostname", "name": "é\n" * 300, "list": ["a.example"]}))
    assert rules[0].note == "é" * 100


@given(st.text(max_size=200))
def test_whatever_stands_there_is_read_or_told(text):
    with suppress(InputError):
        rules, bad = read(text)
        assert len(rules) + len(bad) <= len(text.splitlines())


@given(st.lists(st.sampled_from(["(1|2)", "3", "45", "([0-9]{2})", "(0[5-9]|7)", "[", "(", "|"]), max_size=8))
def test_whatever_an_expression_holds_is_a_range_or_told(parts):
    expression(r"/((?:\+|00)44)?0" + "".join(parts) + "/g")


@pytest.mark.skipif(not SHARED.exists(), reason="the shared lists are not here")
def test_the_real_warning_lists():
    rules, bad = read((SHARED / "misp_warninglist_bank-website.json").read_text())
    assert (len(rules), [one.place for one in bad]) == (2225, [347])
    rules, bad = read((SHARED / "misp_warninglist_phone_numbers.json").read_text())
    assert (len(rules), [one.place for one in bad]) == (170, [1, 2, 3, 4])
    never = NeverList(rules)
    assert never.matching(parse("phone:+442079460958")) is not None
    assert never.matching(Identifier("phone", "+442079461000")) is None
