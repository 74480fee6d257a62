"""Deterministic CBOR: against the RFC's examples, and whatever is not deterministic or not in our subset."""

from __future__ import annotations

from datetime import UTC, datetime

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.encoding import (
    MAX_DEPTH,
    MAX_SAFE_INTEGER,
    cbor_byte_strings,
    cbor_decode,
    cbor_encode,
    cbor_encode_ordered,
    cbor_order,
    measure_byte_strings,
)
from riskshare.errors import EncodingError

LIMIT = 1 << 20

texts = st.text(st.characters(exclude_categories=["Cs"]))
keys = st.text(st.characters(max_codepoint=127), max_size=30)
integers = st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)
scalars = st.none() | st.booleans() | integers | texts


def nested(leaves):
    return st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=20)


cbor_values = nested(scalars | st.binary(max_size=300))


def deep(levels: int) -> list:
    """A list in a list …, `levels` lists in all."""
    value: list = []
    for _ in range(levels - 1):
        value = [value]
    return value


@given(cbor_values)
def test_cbor_round_trip(value):
    assert cbor_decode(cbor_encode(value), limit=LIMIT) == value


@given(st.dictionaries(keys, integers, max_size=40))
def test_cbor_keys_stand_in_the_bytewise_order_of_rfc8949_4_2_1(value):
    ordered = sorted(value, key=cbor2.dumps)
    assert list(cbor_decode(cbor_encode(value), limit=LIMIT)) == ordered
    assert sorted(value, key=cbor_order) == ordered


@given(cbor_values)
def test_what_is_in_order_is_written_the_same_without_looking_for_it(value):
    written = cbor_encode(value)
    assert cbor_encode_ordered(cbor_decode(written, limit=LIMIT)) == written


def test_cbor_keys_across_the_change_of_length_form():
    """23 bytes are the longest text with a one-byte head, 255 with two, 65,535 with three (RFC 8949 3)."""
    lengths = [0, 1, 22, 23, 24, 25, 255, 256, 257, 65_535, 65_536]
    value = {letter * length: 0 for length in reversed(lengths) for letter in "zya"}
    heads = b"".join(cbor2.dumps(key) + b"\x00" for key in sorted(value, key=cbor2.dumps))
    assert cbor_encode(value) == b"\xb8\x1f" + heads  # 31 keys: the three empty ones are one


# RFC 8949, appendix A: those of its examples that lie in our subset.
CBOR_EXAMPLES = [
    (0, "00"),
    (1, "01"),
    (10, "0a"),
    (23, "17"),
    (24, "1818"),
    (25, "1819"),
    (100, "1864"),
    (1000, "1903e8"),
    (1000000, "1a000f4240"),
    (1000000000000, "1b000000e8d4a51000"),
    (-1, "20"),
    (-10, "29"),
    (-100, "3863"),
    (-1000, "3903e7"),
    (False, "f4"),
    (True, "f5"),
    (None, "f6"),
    (b"", "40"),
    (bytes([1, 2, 3, 4]), "4401020304"),
    ("", "60"),
    ("a", "6161"),
    ("IETF", "6449455446"),
    ('"\\', "62225c"),
    ("\u00fc", "62c3bc"),
    ("\u6c34", "63e6b0b4"),
    ("\U00010151", "64f0908591"),
    ([], "80"),
    ([1, 2, 3], "83010203"),
    ([1, [2, 3], [4, 5]], "8301820203820405"),
    (list(range(1, 26)), "98190102030405060708090a0b0c0d0e0f101112131415161718181819"),
    ({}, "a0"),
    ({"a": 1, "b": [2, 3]}, "a26161016162820203"),
    (["a", {"b": "c"}], "826161a161626163"),
    ({"a": "A", "b": "B", "c": "C", "d": "D", "e": "E"}, "a56161614161626142616361436164614461656145"),
]


@pytest.mark.parametrize(("value", "text"), CBOR_EXAMPLES)
def test_examples_of_rfc8949_appendix_a(value, text):
    assert cbor_encode(value).hex() == text
    decoded = cbor_decode(bytes.fromhex(text), limit=LIMIT)
    assert decoded == value
    assert type(decoded) is type(value)


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


@pytest.mark.parametrize("value", UNWRITABLE.values(), ids=UNWRITABLE)
def test_cbor_refuses_to_write(value):
    for wrapped in (value, [value], {"a": value}):
        with pytest.raises(EncodingError):
            cbor_encode(wrapped)


def test_a_list_that_holds_itself_is_refused():
    value: list = []
    value.append(value)
    with pytest.raises(EncodingError):
        cbor_encode(value)


def test_deepest_nesting_that_is_allowed():
    value = deep(MAX_DEPTH)
    assert cbor_decode(cbor_encode(value), limit=LIMIT) == value


# Each is well-formed CBOR (RFC 8949) in another than its one deterministic form, or outside our subset.
UNREADABLE_CBOR = {
    "empty": "",
    "something_behind": "0000",
    "cut_integer": "1901",
    "cut_text": "6261",
    "cut_bytes": "420a",
    "cut_array": "8201",
    "cut_map": "a26161016162",
    "huge_bytes_announced": "5bffffffffffffffff00",
    "huge_array_announced": "9bffffffffffffffff00",
    "huge_map_announced": "bbffffffffffffffff00",
    "break_alone": "ff",
    "reserved_length": "1c00",
    "not_utf8": "62c328",
    "surrogate": "63eda080",
    "long_zero": "1800",
    "long_23": "1817",
    "long_255": "1900ff",
    "long_length_of_text": "780161",
    "long_length_of_bytes": "580161",
    "long_length_of_array": "9800",
    "long_length_of_map": "b800",
    "indefinite_array": "9fff",
    "indefinite_map": "bfff",
    "indefinite_bytes": "5f4101ff",
    "indefinite_text": "7f6161ff",
    "unsorted_keys": "a2616201616102",
    "longer_key_first": "a262626101617a02",
    "key_twice": "a2616101616102",
    "same_entry_twice": "a2616101616101",
    "half_float": "f93c00",
    "single_float": "fa47c35000",
    "double_float": "fb3ff199999999999a",
    "nan": "f97e00",
    "undefined": "f7",
    "simple_value": "f0",
    "long_simple_value": "f8ff",
    "false_in_two_bytes": "f814",
    "beyond_safe_integer": "1b0020000000000000",
    "far_beyond_safe_integer": "1bffffffffffffffff",
    "below_safe_integer": "3b001fffffffffffff",
    "integer_key": "a10102",
    "bytes_key": "a1416101",
    "null_key": "a1f601",
    "array_key": "a18001",
    "map_key": "a1a001",
    "non_ascii_key": "a162c3a901",
    "tag_self_described": "d9d9f700",
    "tag_time": "c074323031332d30332d32315432303a30343a30305a",
    "tag_epoch_time": "c11a514b67b0",
    "tag_bignum": "c249010000000000000000",
    "tag_decimal": "c48221196ab3",
    "tag_regular_expression": "d8236161",
    "tag_uuid": "d82550000102030405060708090a0b0c0d0e0f",
    "tag_set": "d9010280",
    "tag_shared": "d81c80",
    "tag_unknown": "d9fffe00",
}


@pytest.mark.parametrize("text", UNREADABLE_CBOR.values(), ids=UNREADABLE_CBOR)
def test_cbor_refuses_to_read(text):
    data = bytes.fromhex(text)
    for wrapped in (data, b"\x81" + data, b"\xa1\x61a" + data):
        with pytest.raises(EncodingError) as caught:
            cbor_decode(wrapped, limit=LIMIT)
        assert caught.value.code == "malformed"


def test_shared_references_cannot_grow():
    """178 bytes that `cbor2` alone would print back as gigabytes (tags 28 and 29, each list naming the last twice)."""
    levels = [b"\xd8\x1c\x82\x00\x00"]
    for index in range(30):
        reference = b"\xd8\x1d" + cbor2.dumps(index)
        levels.append(b"\xd8\x1c\x82" + reference + reference)
    with pytest.raises(EncodingError):
        cbor_decode(b"\x98" + bytes([len(levels)]) + b"".join(levels), limit=LIMIT)


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 400, 100_000])
def test_deep_cbor_is_refused(levels):
    for bracket in (b"\x81", b"\xa1\x61a"):
        with pytest.raises(EncodingError):
            cbor_decode(bracket * levels + b"\x80", limit=LIMIT)


def test_cbor_limit_is_inclusive():
    assert cbor_decode(b"\x42ab", limit=3) == b"ab"
    with pytest.raises(EncodingError):
        cbor_decode(b"\x42ab", limit=2)


@given(st.binary(max_size=24))
def test_whatever_cbor_is_read_prints_back_to_the_same_bytes(data):
    try:
        value = cbor_decode(data, limit=LIMIT)
    except EncodingError:
        return
    assert cbor_encode(value) == data


@given(cbor_values, st.data())
def test_no_single_changed_byte_gives_the_same_value(value, data):
    written = bytearray(cbor_encode(value))
    position = data.draw(st.integers(0, len(written) - 1))
    written[position] ^= data.draw(st.integers(1, 255))
    try:
        other = cbor_decode(bytes(written), limit=LIMIT)
    except EncodingError:
        return
    assert cbor_encode(other) != cbor_encode(value)


# -- Lists and maps of byte strings, the form of every message of an exchange ------------------------------------------

lengths = st.sampled_from([0, 1, 22, 23, 24, 25, 255, 256, 257, 65_535, 65_536])
strings = st.binary(max_size=40) | lengths.map(bytes)
messages = st.lists(strings, max_size=30) | st.dictionaries(keys, strings, max_size=30)


@given(messages)
def test_byte_strings_are_written_as_the_general_encoder_writes_them(value):
    data = cbor_byte_strings(value)
    assert data == cbor_encode(value) == cbor2.dumps(value, canonical=True)
    read = cbor_decode(data, limit=LIMIT * 4, measure=measure_byte_strings)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("length", [0, 1, 23, 24, 255, 256, 65_535, 65_536, 2**17])
def test_byte_strings_at_every_change_of_length_form(length):
    for value in ([bytes(length)], {"a" * length: bytes(length)}, [b""] * length):
        data = cbor_byte_strings(value)
        assert data == cbor_encode(value)
        assert cbor_decode(data, limit=LIMIT, measure=measure_byte_strings) == value


@given(cbor_values)
def test_what_is_measured_is_what_can_be_written(value):
    """Of all that the general reader takes, the measure takes just the lists and maps of byte strings."""
    data = cbor_encode(value)
    parts = value.values() if type(value) is dict else value if type(value) is list else [None]
    if all(type(part) is bytes for part in parts):
        assert cbor_decode(data, limit=LIMIT, measure=measure_byte_strings) == value
    else:
        with pytest.raises(EncodingError):
            cbor_decode(data, limit=LIMIT, measure=measure_byte_strings)
        if type(value) in (dict, list):
            with pytest.raises(EncodingError):
                cbor_byte_strings(value)


@given(messages, st.data())
def test_only_what_prints_back_to_the_same_bytes_is_measured(value, data):
    """Whatever single byte is changed, put in or taken out: what is read still is, is written as it was read."""
    written = bytearray(cbor_byte_strings(value)[:3000])
    place = data.draw(st.integers(0, len(written) - 1))
    change = data.draw(st.sampled_from(["change", "insert", "remove"]))
    if change == "remove":
        del written[place]
    elif change == "insert":
        written.insert(place, data.draw(st.integers(0, 255)))
    else:
        written[place] = data.draw(st.integers(0, 255))
    try:
        read = cbor_decode(bytes(written), limit=LIMIT, measure=measure_byte_strings)
    except EncodingError:
        return
    assert cbor_encode(read) == written


NOT_DETERMINISTIC = {
    "long_head_of_a_list": "980140",
    "long_head_of_a_map": "b801616140",
    "long_head_of_a_string": "815800",
    "long_head_of_a_word": "a178016140",
    "words_in_another_order": "a2616240616140",
    "longer_word_first": "a262616140616240",
    "a_word_twice": "a2616140616140",
    "word_that_is_not_ascii": "a162c3a940",
    "number_as_a_word": "a10140",
    "byte_string_as_a_word": "a1416140",
    "text": "816161",
    "number": "8101",
    "list_in_a_list": "8180",
    "indefinite_list": "9f40ff",
    "indefinite_string": "815f4161ff",
    "tag": "81c240",
    "byte_string_alone": "4161",
    "bytes_behind_it": "814000",
    "nothing": "",
}


@pytest.mark.parametrize("text", NOT_DETERMINISTIC.values(), ids=NOT_DETERMINISTIC)
def test_what_is_no_deterministic_list_or_map_of_byte_strings_is_refused(text):
    with pytest.raises(EncodingError):
        cbor_decode(bytes.fromhex(text), limit=LIMIT, measure=measure_byte_strings)


@pytest.mark.parametrize("value", [[bytearray(b"a")], ["a"], [None], {"a": memoryview(b"a")}, {"é": b"a"}])
def test_what_is_no_byte_string_is_not_written(value):
    with pytest.raises(EncodingError):
        cbor_byte_strings(value)
