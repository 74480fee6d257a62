"""Asks and answers: one spelling each, every limit, every field that may not be otherwise."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.encoding import MAX_SAFE_INTEGER, canonical_json, parse_canonical_json
from riskshare.errors import EncodingError
from riskshare.ledger.receipt import Receipt
from riskshare.query import message as message_module
from riskshare.query.message import (
    LONGEST_IN_PARTS,
    MAX_ANSWER_BYTES,
    MAX_ASK_BYTES,
    MAX_ELEMENTS,
    MAX_SNAPSHOTS,
    MAX_STATEMENT_BYTES,
    Answer,
    AnswerMessage,
    Ask,
    AskMessage,
    _read_terms,
    new_batch,
    parse_batch,
)

AT = datetime(2026, 11, 22, 8, 30, 0, 123000, UTC)
BATCH = UUID("019391a0-0000-7000-8000-000000000001")
ASK = Ask(
    batch=BATCH,
    network="simnet",
    registry=7,
    querier="icbc",
    owner="jd",
    epoch=bytes(range(32)),
    purpose="payment",
    count=3,
    elements=bytes(32),
    snapshots={"jd/high-risk": b"\x11" * 32},
    asked_at=AT,
)
ANSWER = Answer(ask=b"\x01" * 32, elements=b"\x02" * 32, answered_at=AT)

digests = st.binary(min_size=32, max_size=32)
words = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
times = st.datetimes(timezones=st.just(UTC)).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)
batches = st.builds(new_batch, st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))


@st.composite
def asks(draw):
    owner = draw(words)
    return Ask(
        batch=draw(batches),
        network=draw(words),
        registry=draw(st.integers(1, MAX_SAFE_INTEGER)),
        querier=draw(words),
        owner=owner,
        epoch=draw(digests),
        purpose=draw(words),
        count=draw(st.integers(1, MAX_SAFE_INTEGER)),
        elements=draw(digests),
        snapshots={f"{owner}/{name}": digest for name, digest in draw(st.dictionaries(words, digests)).items()},
        asked_at=draw(times),
        proof=draw(st.booleans()),
    )


@given(asks())
def test_an_ask_is_read_as_it_was_written(ask):
    assert Ask.from_json(canonical_json(ask.body())) == ask


@given(asks())
def test_an_ask_is_written_in_parts_as_it_is_as_a_whole(ask):
    assert ask.to_json() == canonical_json(ask.body())


@given(asks(), asks())
def test_asks_that_have_much_in_common_are_read_apart(one, other):
    """Of what is remembered of one ask, nothing is in another but what both say."""
    later = replace(one, batch=other.batch, count=other.count, elements=other.elements, asked_at=other.asked_at)
    for ask in (one, later, other, replace(later, proof=not later.proof), replace(one, registry=other.registry)):
        assert Ask.from_json(canonical_json(ask.body())) == ask
        assert ask.to_json() == canonical_json(ask.body())


@given(asks(), st.data())
def test_an_ask_that_was_read_in_parts_is_the_one_that_prints_to_its_bytes(ask, data):
    """Whatever single byte is changed, put in or taken out, a strict reader and ours agree."""
    written = bytearray(canonical_json(ask.body()))
    place = data.draw(st.integers(0, len(written) - 1))
    change = data.draw(st.sampled_from(["change", "insert", "remove"]))
    if change == "remove":
        del written[place]
    elif change == "insert":
        written.insert(place, data.draw(st.integers(0, 127)))
    else:
        written[place] = data.draw(st.sampled_from(list(b'0129afzZ-",:{}.')))
    read = read_or_none(bytes(written))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(message_module, "LONGEST_IN_PARTS", 0)
        assert read_or_none(bytes(written)) == read
    if read is not None:
        assert canonical_json(read.body()) == written


def read_or_none(data: bytes) -> Ask | None:
    try:
        return Ask.from_json(data)
    except EncodingError:
        return None


def test_what_a_reader_does_with_an_ask_is_not_seen_in_the_next():
    first = Ask.from_json(ASK.to_json())
    first.snapshots.clear()
    assert Ask.from_json(ASK.to_json()) == ASK


def test_of_a_long_ask_nothing_is_remembered():
    few, many = (
        replace(ASK, snapshots={f"jd/list-{number}": bytes(32) for number in range(count)}) for count in (70, 256)
    )
    assert len(few.to_json()) < LONGEST_IN_PARTS < len(many.to_json())
    _read_terms.cache_clear()
    assert Ask.from_json(many.to_json()) == many
    assert _read_terms.cache_info().currsize == 0
    assert Ask.from_json(few.to_json()) == few
    assert _read_terms.cache_info().currsize == 1


@given(st.builds(Answer, digests, digests, times))
def test_an_answer_is_read_as_it_was_written(answer):
    assert answer.to_json() == canonical_json(answer.body())
    assert Answer.from_json(answer.to_json()) == answer


def test_the_json_of_an_ask_by_hand():
    assert canonical_json(ASK.body()).decode() == (
        '{"asked_at":"2026-11-22T08:30:00.123Z","batch":"019391a0-0000-7000-8000-000000000001","count":3,"elements":"'
        + "00" * 32
        + '","epoch":"'
        + bytes(range(32)).hex()
        + '","network":"simnet","owner":"jd","proof":false,"purpose":"payment","querier":"icbc","registry":7,'
        '"snapshots":{"jd/high-risk":"' + "11" * 32 + '"}}'
    )


def test_the_json_of_an_answer_by_hand():
    assert canonical_json(ANSWER.body()).decode() == (
        '{"answered_at":"2026-11-22T08:30:00.123Z","ask":"' + "01" * 32 + '","elements":"' + "02" * 32 + '"}'
    )


BAD_ASK_FIELDS = [
    ("asked_at", None),
    ("asked_at", "2026-11-22T08:30:00Z"),
    ("asked_at", "2026-11-22T08:30:00.123+00:00"),
    ("asked_at", "2026-02-30T08:30:00.123Z"),
    ("batch", None),
    ("batch", "019391a0-0000-4000-8000-000000000001"),
    ("batch", "019391A0-0000-7000-8000-000000000001"),
    ("batch", "019391a0-0000-7000-c000-000000000001"),
    ("batch", "019391a00000-7000-8000-000-0000000001"),
    ("batch", "019391a0-0000-7000-8000-0000000000012"),
    ("count", 0),
    ("count", -1),
    ("count", True),
    ("count", "3"),
    ("elements", "00" * 31),
    ("elements", "00" * 33),
    ("elements", "AA" * 32),
    ("elements", None),
    ("epoch", ""),
    ("epoch", "0" * 63),
    ("network", ""),
    ("network", "n" * 257),
    ("network", 1),
    ("owner", ""),
    ("owner", None),
    ("owner", "unionpay"),
    ("proof", 0),
    ("proof", None),
    ("proof", "false"),
    ("purpose", ""),
    ("purpose", ["payment"]),
    ("querier", ""),
    ("querier", {}),
    ("registry", 0),
    ("registry", False),
    ("snapshots", None),
    ("snapshots", []),
    ("snapshots", {"jd/high-risk": "11" * 31}),
    ("snapshots", {"jd/high-risk": None}),
    ("snapshots", {"high-risk": "11" * 32}),
    ("snapshots", {"unionpay/high-risk": "11" * 32}),
    ("snapshots", {"jd/High-Risk": "11" * 32}),
    ("snapshots", {"jd/a/b": "11" * 32}),
    ("snapshots", {"": "11" * 32}),
]


@pytest.mark.parametrize(("name", "value"), BAD_ASK_FIELDS)
def test_an_ask_with_a_bad_field_is_refused(name, value):
    with pytest.raises(EncodingError):
        Ask.from_json(canonical_json({**ASK.body(), name: value}))


@pytest.mark.parametrize("name", sorted(ASK.body()))
def test_an_ask_without_a_field_is_refused(name):
    body = ASK.body()
    del body[name]
    with pytest.raises(EncodingError, match="fields"):
        Ask.from_json(canonical_json(body))


@pytest.mark.parametrize("name", sorted(ANSWER.body()))
@pytest.mark.parametrize("value", [None, "", 1, "AA" * 32, "00" * 31, "2026-11-22"])
def test_an_answer_with_a_bad_field_is_refused(name, value):
    with pytest.raises(EncodingError):
        Answer.from_json(canonical_json({**ANSWER.body(), name: value}))


@pytest.mark.parametrize("read", [(Ask, ASK), (Answer, ANSWER)], ids=["ask", "answer"])
def test_an_unknown_field_is_refused(read):
    kind, value = read
    with pytest.raises(EncodingError, match="fields"):
        kind.from_json(canonical_json({**value.body(), "extra": 1}))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'"ask"',
        b"\xff",
        canonical_json(ASK.body()) + b" ",
        b" " + canonical_json(ASK.body()),
        canonical_json(ASK.body()).replace(b'"count":3', b'"count":3.0'),
        canonical_json(ASK.body()).replace(b'"count":3', b'"count":3,"count":3'),
        canonical_json(ASK.body()).replace(b"payment", b"\\u0070ayment"),
    ],
)
def test_what_is_no_canonical_ask_is_refused(data):
    with pytest.raises(EncodingError):
        Ask.from_json(data)


def many(count):
    return replace(ASK, snapshots={f"jd/{'l' * 58}{number:05}": bytes(32) for number in range(count)})


def test_as_many_snapshots_as_allowed_and_one_more():
    assert Ask.from_json(canonical_json(many(MAX_SNAPSHOTS).body())) == many(MAX_SNAPSHOTS)
    with pytest.raises(EncodingError, match=str(MAX_SNAPSHOTS)):
        Ask.from_json(canonical_json(many(MAX_SNAPSHOTS + 1).body()))


def test_the_longest_ask_is_within_its_limit_and_its_receipt_can_be_read_again():
    owner = "o" * 63
    names = {f"{owner}/{'l' * 58}{number:05}": bytes(32) for number in range(MAX_SNAPSHOTS)}
    json = canonical_json(replace(ASK, owner=owner, snapshots=names).body())
    assert len(json) <= MAX_STATEMENT_BYTES
    receipt = Receipt(json, bytes(64), canonical_json(ANSWER.body()), bytes(64))
    assert Receipt.from_bytes(receipt.to_bytes()) == receipt


def test_a_statement_beyond_its_limit_is_refused_before_it_is_parsed():
    with pytest.raises(EncodingError, match=str(MAX_STATEMENT_BYTES)):
        Ask.from_json(b" " * (MAX_STATEMENT_BYTES + 1))


# --- as they travel -----------------------------------------------------------------

parts = st.binary(max_size=100)
signatures = st.binary(min_size=64, max_size=64)


@given(st.builds(AskMessage, parts, signatures, parts))
def test_an_ask_message_is_read_as_it_was_written(message):
    assert AskMessage.from_bytes(message.to_bytes()) == message


@given(st.builds(AnswerMessage, parts, signatures, parts, st.one_of(st.just(b""), signatures)))
def test_an_answer_message_is_read_as_it_was_written(message):
    assert AnswerMessage.from_bytes(message.to_bytes()) == message


def test_the_bytes_of_messages_by_hand():
    """RFC 8949 4.2.1: keys by their encodings, so `ask` before `elements` before `signature`."""
    signature = b"S" * 64
    assert (
        AskMessage(b"{}", signature, b"EE").to_bytes()
        == b"\xa3\x63ask\x42{}\x68elements\x42EE\x69signature\x58\x40" + signature
    )
    answer = AnswerMessage(b"{}", signature, b"EE", b"P" * 64).to_bytes()
    assert answer.startswith(b"\xa4\x65proof\x58\x40" + b"P" * 64 + b"\x66answer\x42{}")
    assert b"proof" not in AnswerMessage(b"{}", signature, b"EE").to_bytes()


def bad_maps(name):
    good = {name: b"{}", "signature": bytes(64), "elements": bytes(32)}
    return {
        "not cbor": b"\xff",
        "nothing": b"",
        "array": cbor2.dumps([b"{}", bytes(64), bytes(32)]),
        "empty map": cbor2.dumps({}),
        "no elements": cbor2.dumps({name: b"{}", "signature": bytes(64)}, canonical=True),
        "no statement": cbor2.dumps({"signature": bytes(64), "elements": b""}, canonical=True),
        "empty key": cbor2.dumps({**good, "": b""}, canonical=True),
        "extra key": cbor2.dumps({**good, "x": b""}, canonical=True),
        "text": cbor2.dumps({**good, name: "{}"}, canonical=True),
        "null": cbor2.dumps({**good, "elements": None}, canonical=True),
        "short signature": cbor2.dumps({**good, "signature": bytes(63)}, canonical=True),
        "long signature": cbor2.dumps({**good, "signature": bytes(65)}, canonical=True),
        "wrong order": b"\xa3\x69signature\x58\x40" + bytes(64) + b"\x63ask\x42{}\x68elements\x40",
        "something behind": cbor2.dumps(good, canonical=True) + b"\x00",
        "cut": cbor2.dumps(good, canonical=True)[:-1],
        "indefinite": b"\xbf" + cbor2.dumps(good, canonical=True)[1:] + b"\xff",
        "the other kind": cbor2.dumps({"answer" if name == "ask" else "ask": b"{}", "signature": bytes(64), "elements": b""}, canonical=True),
    }  # fmt: skip


@pytest.mark.parametrize("data", bad_maps("ask").values(), ids=bad_maps("ask"))
def test_what_is_no_ask_message_is_refused(data):
    with pytest.raises(EncodingError):
        AskMessage.from_bytes(data)


@pytest.mark.parametrize("data", bad_maps("answer").values(), ids=bad_maps("answer"))
def test_what_is_no_answer_message_is_refused(data):
    with pytest.raises(EncodingError):
        AnswerMessage.from_bytes(data)


def test_an_ask_has_no_proof():
    with pytest.raises(EncodingError):
        AskMessage.from_bytes(AnswerMessage(b"{}", bytes(64), b"", bytes(64)).to_bytes().replace(b"fanswer", b"cask"))


@pytest.mark.parametrize("length", [0, 1, 63, 65])
def test_a_proof_of_another_length_is_refused(length):
    data = cbor2.dumps(
        {"answer": b"{}", "signature": bytes(64), "elements": b"", "proof": bytes(length)}, canonical=True
    )
    with pytest.raises(EncodingError, match="proof"):
        AnswerMessage.from_bytes(data)


def test_the_body_limits():
    room = len(AskMessage(b"", bytes(64), bytes(2**16)).to_bytes()) - 2**16
    AskMessage.from_bytes(AskMessage(b"", bytes(64), bytes(MAX_ASK_BYTES - room - 2)).to_bytes())
    with pytest.raises(EncodingError, match=str(MAX_ASK_BYTES)):
        AskMessage.from_bytes(bytes(MAX_ASK_BYTES + 1))
    with pytest.raises(EncodingError, match=str(MAX_ANSWER_BYTES)):
        AnswerMessage.from_bytes(bytes(MAX_ANSWER_BYTES + 1))


def test_the_largest_answer_and_an_ask_of_one_element_too_many_fit():
    ask = AskMessage(bytes(MAX_STATEMENT_BYTES), bytes(64), bytes(32 * (MAX_ELEMENTS + 1)))
    assert AskMessage.from_bytes(ask.to_bytes()) == ask
    answer = AnswerMessage(canonical_json(ANSWER.body()), bytes(64), bytes(32 * MAX_ELEMENTS), bytes(64))
    assert AnswerMessage.from_bytes(answer.to_bytes()) == answer


def test_no_content_is_shown():
    message = AskMessage(b"secret", b"secret" * 11, b"secret")
    shown = repr(message) + repr(AnswerMessage(b"secret", b"secret", b"secret", b"secret")) + repr(ASK) + repr(ANSWER)
    for hidden in ("secret", "\\x01", "\\x11", "high-risk", "\\x00"):
        assert hidden not in shown
    assert "icbc" in repr(ASK)


# --- batches --------------------------------------------------------------------------


def test_the_example_of_rfc_9562():
    """RFC 9562 appendix A.6: 2022-02-22 14:22:22.000 GMT-05:00, rand_a 0xCC3, rand_b 0b01, 0x8C4DC0C0C07398F."""
    moment = datetime(2022, 2, 22, 19, 22, 22, tzinfo=UTC)
    assert int(moment.timestamp() * 1000) == 0x017F22E279B0
    batch = new_batch(0x017F22E279B0, bytes.fromhex("0cc318c4dc0c0c07398f"))
    assert str(batch) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"
    assert parse_batch("017f22e2-79b0-7cc3-98c4-dc0c0c07398f") == batch


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_a_batch_is_a_uuid_of_version_7_with_its_time_and_74_random_bits(milliseconds, random):
    batch = new_batch(milliseconds, random)
    assert (batch.version, batch.variant) == (7, UUID(int=2**63).variant)
    assert batch.int >> 80 == milliseconds
    kept = int.from_bytes(random, "big") & ~(0xF000 << 64) & ~(0xC000 << 48)
    assert batch.int & (2**80 - 1) & ~(0xF000 << 64) & ~(0xC000 << 48) == kept
    assert parse_batch(str(batch)) == batch


def test_later_batches_sort_behind_earlier_ones():
    assert new_batch(1, b"\xff" * 10).int < new_batch(2, bytes(10)).int


@pytest.mark.parametrize("size", [0, 9, 11, 16])
def test_a_batch_of_other_randomness_is_refused(size):
    with pytest.raises(ValueError, match="10 random bytes"):
        new_batch(1, bytes(size))


@pytest.mark.parametrize("milliseconds", [-1, 2**48])
def test_a_batch_of_no_representable_time_is_refused(milliseconds):
    with pytest.raises(ValueError, match="48 bits"):
        new_batch(milliseconds, bytes(10))


@pytest.mark.parametrize(
    "text",
    [
        None,
        7,
        b"017f22e2-79b0-7cc3-98c4-dc0c0c07398f",
        "",
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398",
        "017F22E2-79B0-7CC3-98C4-DC0C0C07398F",
        "017f22e279b07cc398c4dc0c0c07398f",
        "{017f22e2-79b0-7cc3-98c4-dc0c0c0739}",
        "urn:uuid:017f22e2-79b0-7cc3-98c4-dc0",
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398g",
        "017f22e2-79b0-1cc3-98c4-dc0c0c07398f",
        "017f22e2-79b0-4cc3-98c4-dc0c0c07398f",
        "017f22e2-79b0-8cc3-98c4-dc0c0c07398f",
        "017f22e2-79b0-7cc3-18c4-dc0c0c07398f",
        "017f22e2-79b0-7cc3-d8c4-dc0c0c07398f",
        "00000000-0000-0000-0000-000000000000",
    ],
)
def test_what_is_no_batch_is_refused(text):
    with pytest.raises(EncodingError, match="UUIDv7"):
        parse_batch(text)


def test_times_of_other_zones_and_microseconds_are_written_in_utc_with_milliseconds():
    ask = replace(ASK, asked_at=(AT + timedelta(microseconds=999)).astimezone())
    assert parse_canonical_json(canonical_json(ask.body()), limit=9999) == ASK.body()
