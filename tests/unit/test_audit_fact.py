"""Facts of receipts: the quick reading and the strict one never differ, whatever the bytes are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskshare.audit import fact
from riskshare.audit.fact import (
    MALFORMED,
    OTHER_ASK,
    facts_of_receipt,
    glance_at,
    milliseconds,
    moment_of,
    read_receipt,
)
from riskshare.encoding import canonical_json, sha256
from riskshare.errors import EncodingError
from riskshare.ledger.receipt import Receipt
from riskshare.query.message import Answer, Ask, new_batch

names = st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)
times = st.datetimes(datetime(1971, 1, 1), datetime(9998, 12, 31), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000)
)
digests = st.binary(min_size=32, max_size=32)


@st.composite
def receipts(draw):
    """A receipt that may or may not be as peers of ours write it."""
    owner = draw(names)
    ask = Ask(
        batch=new_batch(draw(st.integers(0, 2**47)), draw(st.binary(min_size=10, max_size=10))),
        network=draw(st.sampled_from(["simnet", "a-b.c", 'odd "name', "ü"])),
        registry=draw(st.integers(1, 2**53 - 1)),
        querier=draw(st.one_of(names, st.sampled_from(["Bank", "b,nk"]))),
        owner=owner,
        epoch=draw(digests),
        purpose=draw(st.sampled_from(["payment", "account_opening", "Odd", 'a"b'])),
        count=draw(st.integers(1, 2**53 - 1)),
        elements=draw(digests),
        snapshots={f"{owner}/{name}": draw(digests) for name in draw(st.lists(names, max_size=4))},
        asked_at=draw(times),
        proof=draw(st.booleans()),
    )
    json = canonical_json(ask.body())
    belongs = sha256(json) if draw(st.booleans()) else draw(digests)
    answer = canonical_json(Answer(belongs, draw(digests), draw(times)).body())
    signatures = draw(st.binary(min_size=64, max_size=64)), draw(st.binary(min_size=64, max_size=64))
    return Receipt(json, signatures[0], answer, signatures[1]).to_bytes()


def strictly(data):
    try:
        return fact._read_strictly(data)
    except EncodingError:
        return None


quickly = fact._read_quickly


@given(receipts())
@settings(max_examples=200)
def test_both_readings_give_the_same(data):
    expected = strictly(data)
    assert read_receipt(data) == expected
    assert quickly(data) in (None, expected)
    glance = glance_at(data)
    exchange = expected.exchange
    assert glance in (None, (exchange.querier, exchange.owner, exchange.count, exchange.answered_at))


@given(receipts(), st.data())
@settings(max_examples=300)
def test_altered_bytes_are_never_read_quickly_but_not_strictly(data, draw):
    altered = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 2))):
        altered[draw.draw(st.integers(0, len(altered) - 1))] = draw.draw(st.integers(0, 255))
    altered = bytes(altered)
    found = quickly(altered)
    assert found is None or found == strictly(altered)


def test_what_peers_write_is_read_quickly():
    ask = Ask(
        new_batch(1, bytes(10)), "simnet", 2, "bank", "jd", bytes(32), "payment", 3, bytes(32),
        {"jd/a": bytes(32), "jd/b": bytes(32)}, datetime(2026, 11, 22, tzinfo=UTC),
    )  # fmt: skip
    json = canonical_json(ask.body())
    answer = canonical_json(Answer(sha256(json), bytes(32), datetime(2026, 11, 22, tzinfo=UTC)).body())
    data = Receipt(json, bytes(64), answer, bytes(64)).to_bytes()
    assert quickly(data) == strictly(data)
    assert glance_at(data).elements == 3
    wrong = canonical_json(Answer(bytes(32), bytes(32), datetime(2026, 11, 22, tzinfo=UTC)).body())
    assert facts_of_receipt(Receipt(json, bytes(64), wrong, bytes(64)).to_bytes()).faults == OTHER_ASK


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"2026-11-22T00:00:00.000Z", b"2026-11-31T00:00:00.000Z"),
        (b'"jd/a"', b'"jd/c"'),
        (b'"jd/a"', b'"jd/b"'),
        (b'"jd/a"', b'"xx/a"'),
        (b'"count":3', b'"count":0'),
        (b'"proof":false', b'"proof":"no!"'),
        (b"-7000-", b"-4000-"),
    ],
    ids=["day", "order", "twice", "owner", "zero", "proof", "version"],
)
def test_what_is_malformed_is_so_in_both_readings(old, new):
    ask = Ask(
        new_batch(1, bytes(10)), "simnet", 2, "bank", "jd", bytes(32), "payment", 3, bytes(32),
        {"jd/a": bytes(32), "jd/b": bytes(32)}, datetime(2026, 11, 22, tzinfo=UTC),
    )  # fmt: skip
    json = canonical_json(ask.body()).replace(old, new)
    assert new in json
    answer = canonical_json(Answer(bytes(32), bytes(32), datetime(2026, 11, 22, tzinfo=UTC)).body())
    data = Receipt(json, bytes(64), answer, bytes(64)).to_bytes()
    assert facts_of_receipt(data) == (sha256(data), "", "", b"", b"", b"", b"", "", 0, 0, 0, 0, MALFORMED)
    with pytest.raises(EncodingError):
        read_receipt(data)


def test_a_glance_remembers_nothing_of_what_has_another_length_than_it_says():
    """Else whoever shows rows of 16 MiB would fill the auditor's memory."""
    ask = Ask(
        new_batch(1, bytes(10)), "simnet", 2, "bank", "jd", bytes(32), "payment", 3, bytes(32),
        {}, datetime(2026, 11, 22, tzinfo=UTC),
    )  # fmt: skip
    json = canonical_json(ask.body())
    answer = canonical_json(Answer(sha256(json), bytes(32), datetime(2026, 11, 22, tzinfo=UTC)).body())
    data = Receipt(json, bytes(64), answer, bytes(64)).to_bytes()
    fact._terms.cache_clear()
    end = 4 + len(json)
    for padded in data[:end] + bytes(100_000) + data[end:], data[:end], data + bytes(100_000):
        assert glance_at(padded) is None
        assert fact._read_quickly(padded) is None
    assert fact._terms.cache_info().currsize == 0
    assert glance_at(data) is not None
    assert fact._terms.cache_info().currsize == 1


@pytest.mark.parametrize("data", [b"", b"\x84", b"garbage", bytes(331)])
def test_garbage_is_no_receipt(data):
    assert facts_of_receipt(data).faults == MALFORMED
    assert glance_at(data) is None


@given(times)
def test_times_go_there_and_back(at):
    assert moment_of(milliseconds(at)) == at
    assert milliseconds(at + timedelta(microseconds=999)) == milliseconds(at)
