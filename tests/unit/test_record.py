"""Records: strict content, sealed to list, label and token."""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from riskshare.encoding import canonical_json, parse_json
from riskshare.errors import EncodingError, OpenError
from riskshare.membership.record import LEVELS, SEALED_LIMIT, SEALED_MIN, Record, label, open_record, record_key, seal

TOKEN = bytes(range(64))
LIST = "jd/high-risk"
LABEL = label(TOKEN, LIST)
KEY = record_key(TOKEN, LIST)
NONCE = bytes(12)
NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)


def record(**changes):
    fields = {
        "category": "telecom_fraud", "reason": "spam_calls", "level": "high", "evidence": "complaints",
        "listed_at": NOW, "valid_until": NOW + timedelta(days=90), "case": "2026/17", "disputed": False,
        "appeal": "appeals@example.org",
    }  # fmt: skip
    return Record(**(fields | changes))


text = st.text(st.characters(exclude_categories=("C", "Z")), max_size=48)
moments = st.integers(0, 10**12).map(lambda ms: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms))
records = st.builds(
    lambda start, days, **rest: Record(listed_at=start, valid_until=start + timedelta(days=days), **rest),
    moments,
    st.integers(0, 5000),
    category=st.from_regex(r"[a-z][a-z0-9_]{0,63}", fullmatch=True),
    reason=text.filter(bool),
    level=st.sampled_from(LEVELS),
    evidence=text,
    case=text,
    appeal=text,
    disputed=st.booleans(),
)


@settings(deadline=None)
@given(records, st.binary(min_size=64, max_size=64), st.binary(min_size=12, max_size=12))
def test_what_is_sealed_opens_again(original, token, nonce):
    sealed = seal(original.to_bytes(), record_key(token, LIST), nonce, LIST, label(token, LIST))
    assert (len(sealed) - 28) % 128 == 0
    assert SEALED_MIN <= len(sealed) <= SEALED_LIMIT
    assert open_record(sealed, record_key(token, LIST), LIST, label(token, LIST)) == original


def test_label_and_key_are_the_hmacs_of_the_protocol():
    assert hmac.new(TOKEN, b"riskshare/v1/label/jd/high-risk", hashlib.sha256).digest()[:16] == LABEL
    assert hmac.new(TOKEN, b"riskshare/v1/record/jd/high-risk", hashlib.sha256).digest() == KEY


def test_golden_label_and_key():
    assert LABEL.hex() == "50bea2066e815d5f5e80a012ca721f91"
    assert KEY.hex() == "1b245667b85090bec005686749fa069986305cca770182cec56860c3edfeeacc"


def test_sealed_form_is_that_of_the_protocol():
    sealed = seal(record().to_bytes(), KEY, NONCE, LIST, LABEL)
    associated = len(LIST).to_bytes(4, "big") + LIST.encode() + (16).to_bytes(4, "big") + LABEL
    padded = AESGCM(KEY).decrypt(sealed[:12], sealed[12:], associated)
    assert sealed[:12] == NONCE
    assert padded.rstrip(b"\0") == record().to_bytes() + b"\x80"
    assert len(padded) % 128 == 0


def test_every_altered_bit_is_found():
    sealed = seal(record().to_bytes(), KEY, NONCE, LIST, LABEL)
    for position in range(len(sealed)):
        with pytest.raises(OpenError):
            open_record(sealed[:position] + bytes([sealed[position] ^ 1]) + sealed[position + 1 :], KEY, LIST, LABEL)


@pytest.mark.parametrize(
    ("key", "name", "where"),
    [(bytes(32), LIST, LABEL), (KEY, "jd/high-risk2", LABEL), (KEY, LIST, bytes(16)), (KEY, LIST, b"")],
)
def test_other_key_list_or_label_does_not_open(key, name, where):
    with pytest.raises(OpenError):
        open_record(seal(record().to_bytes(), KEY, NONCE, LIST, LABEL), key, name, where)


@pytest.mark.parametrize("length", [0, 11, 12, 28, SEALED_MIN - 1, SEALED_LIMIT + 1])
def test_impossible_length_does_not_open(length):
    with pytest.raises(OpenError):
        open_record(bytes(length), KEY, LIST, LABEL)


@pytest.mark.parametrize(
    "changes",
    [
        {"category": ""}, {"category": "Telecom"}, {"category": "a-b"}, {"category": "a" * 65}, {"category": "1a"}, {"category": "a\n"}, {"category": 1},
        {"reason": ""}, {"reason": "x" * 201}, {"reason": "é" * 101}, {"reason": "a\nb"}, {"reason": "a\x00"}, {"reason": "\u202egnirts"}, {"reason": "\ud800"},
        {"reason": None}, {"level": "severe"}, {"level": ""}, {"level": None}, {"level": ["low"]}, {"evidence": "a\x1b[2J"}, {"evidence": 3}, {"case": "y" * 201}, {"appeal": "\u2028"},
        {"disputed": 1}, {"disputed": None}, {"valid_until": NOW - timedelta(seconds=1)},
        {"listed_at": NOW.replace(tzinfo=None)}, {"valid_until": datetime(2027, 1, 1)},  # noqa: DTZ001
    ],
    ids=lambda changes: ascii(changes)[:40],
)  # fmt: skip
def test_record_refuses(changes):
    with pytest.raises(EncodingError):
        record(**changes)


def test_record_that_is_too_long_as_a_whole_is_refused():
    full = record(reason="r" * 200, evidence="e" * 200, case="c" * 200, appeal='"' * 200)
    with pytest.raises(EncodingError, match="longer"):
        full.to_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1}, {"level": "severe"}, {"category": "A"}, {"disputed": "no"}, {"disputed": 0}, {"listed_at": "2026-11-22"},
        {"listed_at": 5}, {"valid_until": "2026-11-22T08:30:00Z"}, {"reason": 7}, {"reason": None}, {"case": "a\tb"},
    ],
    ids=str,
)  # fmt: skip
def test_sealed_content_that_is_no_record_is_refused_as_malformed(change):
    fields = parse_json(record().to_bytes(), limit=1024) | change
    sealed = seal(canonical_json(fields), KEY, NONCE, LIST, LABEL)
    with pytest.raises(EncodingError):
        open_record(sealed, KEY, LIST, LABEL)


@pytest.mark.parametrize(
    "missing", ["category", "reason", "level", "evidence", "listed_at", "valid_until", "case", "disputed", "appeal"]
)
def test_record_without_a_field_is_refused(missing):
    fields = parse_json(record().to_bytes(), limit=1024)
    del fields[missing]
    with pytest.raises(EncodingError):
        Record.from_bytes(canonical_json(fields))


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"null", b"\xff", record().to_bytes() + b" ", b" " + record().to_bytes()]
)
def test_bytes_that_are_no_canonical_record_are_refused(data):
    with pytest.raises(EncodingError):
        Record.from_bytes(data)


def test_malformed_padding_is_refused():
    associated = len(LIST).to_bytes(4, "big") + LIST.encode() + (16).to_bytes(4, "big") + LABEL
    sealed = NONCE + AESGCM(KEY).encrypt(NONCE, bytes(128), associated)
    with pytest.raises(EncodingError):
        open_record(sealed, KEY, LIST, LABEL)


def test_times_are_kept_in_utc_milliseconds():
    local = NOW.replace(microsecond=123_999).astimezone(timezone(timedelta(hours=8)))
    assert Record.from_bytes(record(listed_at=local).to_bytes()).listed_at == NOW.replace(microsecond=123_000)
