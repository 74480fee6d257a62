"""Canonical JSON: against the RFC's examples, an independent package, and whatever is not canonical."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from riskshare.encoding import (
    MAX_DEPTH,
    MAX_SAFE_INTEGER,
    canonical_json,
    check_keys,
    parse_canonical_json,
    parse_json,
)
from riskshare.errors import EncodingError

LIMIT = 1 << 20

texts = st.text(st.characters(exclude_categories=["Cs"]))
keys = st.text(st.characters(max_codepoint=127), max_size=30)
integers = st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)
scalars = st.none() | st.booleans() | integers | texts


def nested(leaves):
    return st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=20)


json_values = nested(scalars)


def deep(levels: int) -> list:
    """A list in a list …, `levels` lists in all."""
    value: list = []
    for _ in range(levels - 1):
        value = [value]
    return value


@given(json_values)
def test_canonical_json_is_what_the_rfc8785_package_prints(value):
    assert canonical_json(value) == rfc8785.dumps(value)


@given(st.dictionaries(keys, json_values))
def test_json_round_trip(value):
    assert parse_canonical_json(canonical_json(value), limit=LIMIT) == value


@given(json_values)
def test_every_spelling_of_a_value_has_one_canonical_form(value):
    loose = json.dumps(value, indent=1, ensure_ascii=True).encode()
    assert canonical_json(parse_json(loose, limit=LIMIT)) == canonical_json(value)


def test_example_of_rfc8785_3_2_2_in_our_subset():
    """RFC 8785 3.2.2, without its "numbers": floats have no place here."""
    text = rb"""{
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }"""
    expected = '{"literals":[null,true,false],"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'.encode()
    assert canonical_json(parse_json(text, limit=LIMIT)) == expected


def test_keys_are_sorted_by_code_unit_and_not_by_length_or_case():
    assert canonical_json({"b": 1, "a": 2, "B": 3, "aa": 4, "": 5, "1": 6, "_": 7, "10": 8, "2": 9}) == (
        b'{"":5,"1":6,"10":8,"2":9,"B":3,"_":7,"a":2,"aa":4,"b":1}'
    )


def test_every_control_character_is_escaped_as_rfc8785_3_2_2_2_says():
    short = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r"}
    for code in range(0x20):
        escape = short.get(code, "\\u" + format(code, "04x"))
        assert canonical_json(chr(code)) == f'"{escape}"'.encode()


@pytest.mark.parametrize("text", ["\x7f", "\u2028", "\u2029", "/", "<", "\U0001f600", "\ufeff", "e\u0301"])
def test_other_characters_stand_as_they_are(text):
    assert canonical_json(text) == b'"' + text.encode() + b'"'


def test_a_tuple_is_a_list():
    assert canonical_json({"a": (1, 2)}) == b'{"a":[1,2]}'


def test_largest_integers_pass():
    assert canonical_json([MAX_SAFE_INTEGER, -MAX_SAFE_INTEGER]) == b"[9007199254740991,-9007199254740991]"


class Subtext(str):
    __slots__ = ()


class Subint(int):
    __slots__ = ()


UNWRITABLE = {
    "float": 1.5,
    "whole_float": 1.0,
    "nan": float("nan"),
    "infinity": float("inf"),
    "large_integer": MAX_SAFE_INTEGER + 1,
    "small_integer": -MAX_SAFE_INTEGER - 1,
    "integer_key": {1: 2},
    "null_key": {None: 2},
    "bytes_key": {b"a": 2},
    "non_ascii_key": {"é": 1},
    "bytearray": bytearray(b"a"),
    "memoryview": memoryview(b"a"),
    "set": {1},
    "datetime": datetime(2026, 1, 1, tzinfo=UTC),
    "subclass_of_text": Subtext("a"),
    "subclass_of_integer": Subint(1),
    "lone_surrogate": "\ud800",
    "surrogate_in_a_list": ["a", "\udfff"],
    "object": object(),
    "too_deep": deep(MAX_DEPTH + 1),
}


@pytest.mark.parametrize("value", [b"bytes", *UNWRITABLE.values()], ids=["bytes", *UNWRITABLE])
def test_json_refuses_to_write(value):
    for wrapped in (value, [value], {"a": value}):
        with pytest.raises(EncodingError):
            canonical_json(wrapped)


def test_a_list_that_holds_itself_is_refused():
    value: list = []
    value.append(value)
    with pytest.raises(EncodingError):
        canonical_json(value)


def test_deepest_nesting_that_is_allowed():
    value = deep(MAX_DEPTH)
    assert parse_json(canonical_json(value), limit=LIMIT) == value


UNREADABLE_JSON = {
    "empty": b"",
    "white_space": b" ",
    "no_json": b"riskshare",
    "two_values": b"{}{}",
    "something_behind": b"{}x",
    "open_object": b'{"a":1',
    "open_string": b'{"a":"',
    "trailing_comma": b'{"a":1,}',
    "single_quotes": b"{'a':1}",
    "comment": b"{}//",
    "byte_order_mark": b'\xef\xbb\xbf{"a":1}',
    "utf16": '{"a":1}'.encode("utf-16-le"),
    "not_utf8": b'{"a":"\xff"}',
    "overlong_utf8": b'{"a":"\xc0\xaf"}',
    "surrogate_in_utf8": b'{"a":"\xed\xa0\x80"}',
    "lone_surrogate_escape": b'{"a":"\\ud800"}',
    "lone_surrogate_escape_in_upper_case": b'{"a":"\\uDC00"}',
    "float": b'{"a":1.5}',
    "whole_float": b'{"a":1.0}',
    "exponent": b'{"a":1e3}',
    "nan": b'{"a":NaN}',
    "infinity": b'{"a":-Infinity}',
    "leading_zero": b'{"a":01}',
    "plus": b'{"a":+1}',
    "hex": b'{"a":0x1}',
    "underscore": b'{"a":1_0}',
    "large_integer": b'{"a":9007199254740992}',
    "endless_integer": b'{"a":' + b"9" * 5000 + b"}",
    "raw_control_character": b'{"a":"\n"}',
    "key_twice": b'{"a":1,"a":1}',
    "key_twice_by_an_escape": b'{"a":1,"\\u0061":2}',
    "key_twice_deep_inside": b'{"b":[{"a":1,"a":2}]}',
    "non_ascii_key": '{"é":1}'.encode(),
    "too_deep": b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
    "far_too_deep": b"[" * 100_000,
}


@pytest.mark.parametrize("data", UNREADABLE_JSON.values(), ids=UNREADABLE_JSON)
def test_json_refuses_to_read(data):
    for parse in (parse_json, parse_canonical_json):
        with pytest.raises(EncodingError) as caught:
            parse(data, limit=LIMIT)
        assert caught.value.code == "malformed"


@pytest.mark.parametrize(("name", "data"), UNREADABLE_JSON.items(), ids=UNREADABLE_JSON)
def test_of_all_that_cannot_be_read_only_a_key_that_stands_twice_is_a_matter_of_keys(name, data):
    if name.startswith("key_twice"):
        with pytest.raises(EncodingError, match="names a key twice"):
            check_keys(data)
    else:
        check_keys(data)


def test_floats_and_equal_keys_of_different_objects_are_no_matter_of_keys():
    check_keys(b'[{"a":1.5,"b":{"a":NaN}},{"a":2}]')


NOT_CANONICAL_JSON = {
    "space": b'{"a": 1}',
    "line_end": b'{"a":1}\n',
    "unsorted": b'{"b":1,"a":2}',
    "needless_escape": b'{"a":"\\u0061"}',
    "escaped_slash": b'{"a":"\\/"}',
    "upper_case_escape": b'{"a":"\\u000F"}',
    "long_form_of_a_short_escape": b'{"a":"\\u000a"}',
    "escaped_non_ascii": b'{"a":"\\u20ac"}',
    "minus_zero": b'{"a":-0}',
    "list": b"[]",
    "text": b'"a"',
    "null": b"null",
}


@pytest.mark.parametrize("data", NOT_CANONICAL_JSON.values(), ids=NOT_CANONICAL_JSON)
def test_canonical_json_refuses_to_read(data):
    parse_json(data, limit=LIMIT)
    with pytest.raises(EncodingError):
        parse_canonical_json(data, limit=LIMIT)


def test_json_limit_is_inclusive():
    assert parse_json(b'{"a":1}', limit=7) == {"a": 1}
    with pytest.raises(EncodingError):
        parse_json(b'{"a":1}', limit=6)


@given(st.binary(max_size=40))
def test_no_bytes_make_the_json_parsers_raise_anything_else(data):
    for parse in (parse_json, parse_canonical_json):
        try:
            parse(data, limit=LIMIT)
        except EncodingError:
            continue


def test_no_refusal_repeats_what_was_sent():
    for data in (b'{"4155550123":1.5}', b'{"4155550123":1,"4155550123":1}', b'{"4155550123'):
        with pytest.raises(EncodingError) as caught:
            parse_json(data, limit=LIMIT)
        assert "4155550123" not in str(caught.value)
