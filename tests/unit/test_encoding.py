"""Times, hex, base64, length prefixes and padding: each has one spelling, and every other is refused. And HMAC.

JSON and CBOR have files of their own.
"""

from __future__ import annotations

import hmac
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.encoding import (
    base64_text,
    format_time,
    hmac_pads,
    length_prefixed,
    pad,
    parse_base64,
    parse_hex,
    parse_time,
    sha256,
    unpad,
)
from riskshare.errors import EncodingError

# --- Times --------------------------------------------------------------------------------------

moments = st.datetimes(
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(-timedelta(hours=11))]),
    min_value=datetime(1, 1, 2),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=datetime(9999, 12, 30),  # noqa: DTZ001
)


@given(moments)
def test_a_time_comes_back_rounded_down_to_milliseconds(moment):
    text = format_time(moment)
    assert len(text) == 24
    parsed = parse_time(text)
    assert timedelta(0) <= moment - parsed < timedelta(milliseconds=1)
    assert parsed.utcoffset() == timedelta(0)
    assert format_time(parsed) == text


@given(moments, moments)
def test_times_sort_as_text(one, other):
    assert (format_time(one) < format_time(other)) <= (one < other)


def test_times_by_hand():
    assert format_time(datetime(2026, 11, 22, 8, 30, tzinfo=UTC)) == "2026-11-22T08:30:00.000Z"
    assert format_time(datetime(2026, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC)) == "2026-01-01T00:00:00.999Z"
    assert format_time(datetime(33, 4, 3, tzinfo=UTC)) == "0033-04-03T00:00:00.000Z"
    shanghai = timezone(timedelta(hours=8))
    assert format_time(datetime(2027, 1, 1, 7, 59, tzinfo=shanghai)) == "2026-12-31T23:59:00.000Z"
    assert parse_time("2028-02-29T00:00:00.001Z") == datetime(2028, 2, 29, 0, 0, 0, 1000, tzinfo=UTC)


def test_a_time_without_a_zone_is_a_mistake_of_ours():
    with pytest.raises(ValueError, match="no time zone"):
        format_time(datetime(2026, 1, 1))  # noqa: DTZ001 - the point of the test


BAD_TIMES = {
    "empty": "",
    "none": None,
    "number": 1767225600,
    "bytes": b"2026-01-31T23:59:59.000Z",
    "no_milliseconds": "2026-01-31T23:59:59Z",
    "two_digits": "2026-01-31T23:59:59.00Z",
    "microseconds": "2026-01-31T23:59:59.000000Z",
    "comma": "2026-01-31T23:59:59,000Z",
    "offset": "2026-01-31T23:59:59.000+00:00",
    "no_zone": "2026-01-31T23:59:59.000",
    "small_z": "2026-01-31T23:59:59.000z",
    "small_t": "2026-01-31t23:59:59.000Z",
    "space": "2026-01-31 23:59:59.000Z",
    "leading_space": " 2026-01-31T23:59:59.000Z",
    "line_end": "2026-01-31T23:59:59.000Z\n",
    "basic_form": "20260131T235959.000Z",
    "week_date": "2026-W05-6T23:59:59.000Z",
    "month_13": "2026-13-01T00:00:00.000Z",
    "day_0": "2026-01-00T00:00:00.000Z",
    "day_31_of_june": "2026-06-31T00:00:00.000Z",
    "no_leap_year": "2026-02-29T00:00:00.000Z",
    "hour_24": "2026-01-31T24:00:00.000Z",  # Python 3.13 and later read it as the next midnight
    "minute_60": "2026-01-31T23:60:00.000Z",
    "leap_second": "2026-12-31T23:59:60.000Z",
    "year_0": "0000-01-01T00:00:00.000Z",
    "arabic_digits": "٢٠٢٦-01-31T23:59:59.000Z",
    "full_width_digits": "\uff12026-01-31T23:59:59.000Z",
}


@pytest.mark.parametrize("text", BAD_TIMES.values(), ids=BAD_TIMES)
def test_time_refuses_to_read(text):
    with pytest.raises(EncodingError):
        parse_time(text)


def test_times_do_not_depend_on_where_the_machine_stands(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        assert format_time(parse_time("2026-03-29T01:30:00.000Z")) == "2026-03-29T01:30:00.000Z"
    finally:
        monkeypatch.undo()
        time.tzset()


# --- Hex, base64 --------------------------------------------------------------------------------


@given(st.binary(max_size=64))
def test_hex_round_trip(data):
    assert parse_hex(data.hex(), len(data)) == data


BAD_HEX = {
    "empty": "",
    "none": None,
    "bytes": b"00ff",
    "short": "00f",
    "one_byte_less": "00",
    "one_byte_more": "00ff00",
    "upper_case": "00FF",
    "mixed_case": "00fF",
    "space": "0 ff",
    "prefix": "0x0f",
    "line_end": "00f\n",
    "other_letter": "00fg",
    "full_width": "00f\uff10",
}


@pytest.mark.parametrize("text", BAD_HEX.values(), ids=BAD_HEX)
def test_hex_refuses_to_read(text):
    with pytest.raises(EncodingError):
        parse_hex(text, 2)


@given(st.binary(max_size=100))
def test_base64_round_trip(data):
    assert parse_base64(base64_text(data), limit=len(data)) == data


def test_base64_vectors_of_rfc4648_10():
    for plain, text in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]:
        assert base64_text(plain.encode()) == text
        assert parse_base64(text, limit=6) == plain.encode()


BAD_BASE64 = {
    "none": None,
    "bytes": b"Zg==",
    "no_padding": "Zg",
    "half_padding": "Zg=",
    "too_much_padding": "Zg===",
    "padding_alone": "====",
    "padding_first": "=Zg=",
    "needless_padding": "Zm9v====",
    "stray_bits": "Zh==",
    "stray_bits_of_two": "Zm9=",
    "one_letter": "Z",
    "space_inside": "Zm 9v",
    "line_end": "Zm9v\n",
    "url_alphabet": "-_-_",
    "something_behind": "Zg==Zg==",
    "non_ascii": "Zm9\u00fc",
    "full_width": "\uff3am9v",
    "too_long": "AAAAAAAAAA==",
}


@pytest.mark.parametrize("text", BAD_BASE64.values(), ids=BAD_BASE64)
def test_base64_refuses_to_read(text):
    with pytest.raises(EncodingError):
        parse_base64(text, limit=6)


@given(st.text(alphabet="Zm9v+/=A", max_size=12))
def test_whatever_base64_is_read_prints_back_the_same(text):
    try:
        data = parse_base64(text, limit=100)
    except EncodingError:
        return
    assert base64_text(data) == text


# --- Length prefixes, padding, hash --------------------------------------------------------------


@given(st.lists(st.binary(max_size=6), max_size=5), st.lists(st.binary(max_size=6), max_size=5))
def test_length_prefixed_tells_any_two_lists_apart(one, other):
    assert (length_prefixed(*one) == length_prefixed(*other)) == (one == other)


def test_length_prefixed_by_hand():
    assert length_prefixed() == b""
    assert length_prefixed(b"") == bytes(4)
    assert length_prefixed(b"ab", b"c") == b"\x00\x00\x00\x02ab\x00\x00\x00\x01c"
    assert length_prefixed(b"ab", b"c") != length_prefixed(b"a", b"bc")


@pytest.mark.parametrize("multiple", [1, 2, 16, 128])
def test_padding_of_every_small_size(multiple):
    for size in range(2 * multiple + 2):
        for data in (bytes(size), b"\x80" * size, b"x" * size):
            padded = pad(data, multiple)
            assert len(padded) % multiple == 0
            assert len(data) < len(padded) <= len(data) + multiple
            assert unpad(padded, multiple) == data


@given(st.binary(max_size=70))
def test_whatever_is_unpadded_pads_back_to_the_same(data):
    try:
        body = unpad(data, 16)
    except EncodingError:
        return
    assert pad(body, 16) == data


BAD_PADDING = {
    "empty": b"",
    "zeros": bytes(16),
    "no_mark": b"x" * 16,
    "other_mark": b"x" * 8 + b"\x01" + bytes(7),
    "one_byte_less": pad(b"x", 16)[:-1],
    "one_byte_more": pad(b"x", 16) + b"\x00",
    "a_block_of_zeros_behind": pad(b"x", 16) + bytes(16),
    "byte_after_the_mark": b"x\x80" + bytes(13) + b"\x01",
}


@pytest.mark.parametrize("data", BAD_PADDING.values(), ids=BAD_PADDING)
def test_unpad_refuses(data):
    with pytest.raises(EncodingError):
        unpad(data, 16)


def test_sha256_of_fips180():
    """NIST's example "abc" of FIPS 180-4."""
    assert sha256(b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# --- HMAC-SHA-256 under one key -----------------------------------------------------------------


def mac_by_pads(key: bytes, message: bytes) -> bytes:
    inner, outer = hmac_pads(key)
    return sha256(outer + sha256(inner + message))


RFC4231 = {  # RFC 4231, 4.2 to 4.5: key, data, HMAC-SHA-256
    "case_1": (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    "case_2": (
        b"Jefe",
        b"what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ),
    "case_3": (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    "case_4": (
        bytes(range(1, 26)),
        b"\xcd" * 50,
        "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
    ),
}


@pytest.mark.parametrize(("key", "data", "mac"), RFC4231.values(), ids=RFC4231)
def test_the_pads_of_rfc4231(key, data, mac):
    assert mac_by_pads(key, data).hex() == mac


@given(st.binary(max_size=64), st.binary(max_size=200))
def test_the_pads_give_the_mac_of_the_library(key, message):
    assert mac_by_pads(key, message) == hmac.digest(key, message, "sha256")


def test_a_key_longer_than_a_block_has_no_pads():
    """It would have to be hashed first (RFC 2104, 2)."""
    with pytest.raises(ValueError, match="longer than a block"):
        hmac_pads(bytes(65))
