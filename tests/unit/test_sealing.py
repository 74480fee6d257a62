"""From a verdict to what is kept: the statement commits to the record, and tells nothing of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from riskshare.encoding import canonical_json, cbor_decode, format_time, sha256
from riskshare.keys import sealing_key
from riskshare.ledger.sealed import open_hour_key, open_record
from riskshare.membership.identifier import parse
from riskshare.query.hours import HourKeys
from riskshare.query.message import new_batch
from riskshare.query.sealing import Sealer, statement_json
from riskshare.query.verdict import Asked, Question, Verdict
from riskshare.signature import verify
from riskshare.statement import signed_bytes
from tests.simulator.query import NETWORK, Random, identity

AT = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
PRIVATE = sealing_key(bytes(32))


def sealer(seed="sealing"):
    random = Random(seed)
    return Sealer("icbc", NETWORK, identity("icbc"), HourKeys("icbc", PRIVATE.public_key(), random), random)


def sealed_by(one, question, at=AT, asked=(), snapshots=None):
    """A check that is sealed, and the hour key that comes along."""
    blank = one.blank(at)
    return one.seal(blank, question, verdict(blank.check, at), asked, snapshots or {}), blank.sealed_key


def verdict(check, at=AT):
    return Verdict(check, "clear", complete=True, hits=(), owners=(), receipts=(), ms=1.5, answered_at=at)


def question(reference="", phone="phone:+8613800138000"):
    return Question((parse(phone),), "payment", reference=reference, deadline=1.0)


def opened(sealed, key):
    number, hour, data = key
    return open_record(
        sealed.record,
        open_hour_key(data, PRIVATE, member="icbc", id=number, hour=hour),
        member="icbc",
        check=sealed.id,
    )


@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40),
    st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=4),
    st.integers(0, 10**6),
)
@settings(max_examples=30)
def test_what_is_sealed_opens_and_is_what_the_statement_commits_to(reference, places, number):
    asked = [Asked(0, "jd", bytes(32), new_batch(1, bytes(10)), at, bytes(32), cached=cached) for at, cached in places]
    at = AT + timedelta(seconds=number)
    sealed, key = sealed_by(sealer(), question(reference), at, asked, {"jd/a": bytes(32)})
    plaintext = opened(sealed, key)
    body = json.loads(sealed.statement)
    assert body["record"] == sha256(plaintext).hex()
    assert set(body) == {"answered_at", "check", "querier", "record"}
    assert verify(identity("icbc").public, signed_bytes("check", NETWORK, sealed.statement), sealed.signature)
    assert cbor_decode(plaintext, limit=2**20)
    assert b"8613800138000" not in sealed.statement + sealed.record + sealed.salt


def test_the_same_check_twice_has_nothing_in_common_to_be_seen():
    one = sealer()
    first, key = sealed_by(one, question())
    second, _ = sealed_by(one, question())
    assert first.record != second.record
    assert first.salt != second.salt
    assert json.loads(first.statement)["record"] != json.loads(second.statement)["record"]
    plain = [cbor_decode(opened(sealed, key), limit=2**20) for sealed in (first, second)]
    assert plain[0]["random"] != plain[1]["random"]


def test_the_hour_key_comes_along_until_it_is_kept():
    one = sealer()
    first, key = sealed_by(one, question())
    second, again = sealed_by(one, question())
    assert key == again
    one.kept(second)
    assert sealed_by(one, question())[1] is None
    assert first.hour_key == second.hour_key == key[0]
    assert sealed_by(one, question(), AT + timedelta(hours=1))[1] is not None


@given(
    st.builds(new_batch, st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10)),
    st.datetimes(timezones=st.just(UTC)),
    st.from_regex("[a-z0-9][a-z0-9-]{0,62}", fullmatch=True),
    st.binary(min_size=32, max_size=32),
)
def test_the_statement_is_written_in_canonical_json(check, at, querier, record):
    body = {"answered_at": format_time(at), "check": str(check), "querier": querier, "record": record.hex()}
    assert statement_json(check, at, querier, record) == canonical_json(body)
