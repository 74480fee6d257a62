"""What a verdict says, and what the sealed record says of it."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.encoding import cbor_decode
from riskshare.errors import (
    InputError,
    PeerDown,
    PeerError,
    PeerGarbage,
    PeerLate,
    PeerRefused,
)
from riskshare.membership.identifier import parse
from riskshare.membership.record import Record
from riskshare.query.verdict import (
    COMPLETE,
    MAX_REFERENCE,
    Asked,
    Hit,
    OwnerResult,
    Question,
    Verdict,
    check_question,
    decide,
    record_plaintext,
    status_of,
    worst,
)
from tests.simulator.query import START, record

STATUSES = ("answered", "cached", "late", "down", "stale", "untrusted", "refused")
PHONE = parse("phone:+8613800138000")
CHECK = UUID("019391a0-0000-7000-8000-000000000001")
BATCH = UUID("019391a0-0000-7000-8000-000000000002")
HIT = Hit(0, "jd", "jd/telecom-fraud", record())

statuses = st.sampled_from(STATUSES)


def result(status, owner="jd"):
    return OwnerResult(owner, status, 1.0, {})


@given(st.lists(statuses), st.booleans())
def test_a_clear_needs_owners_and_every_one_of_them(found, hit):
    word, complete = decide([HIT] if hit else [], [result(status) for status in found])
    everybody = bool(found) and all(status in ("answered", "cached") for status in found)
    assert complete == everybody
    assert word == ("hit" if hit else "clear" if everybody else "incomplete")


def test_nobody_asked_is_no_clear():
    assert decide([], []) == ("incomplete", False)


@pytest.mark.parametrize("status", [status for status in STATUSES if status not in COMPLETE])
def test_one_owner_short_is_incomplete_and_a_hit_all_the_same(status):
    owners = [result("answered"), result(status, "unionpay")]
    assert decide([], owners) == ("incomplete", False)
    assert decide([HIT], owners) == ("hit", False)


@given(st.lists(statuses, min_size=1))
def test_the_worst_status_describes_an_owner(found):
    status = worst(found)
    assert status in found
    assert (status in COMPLETE) == all(one in COMPLETE for one in found)
    assert worst(list(reversed(found))) == status


def test_the_order_of_statuses():
    ordered = ["untrusted", "refused", "down", "late", "stale", "answered", "cached"]
    for place, status in enumerate(ordered):
        assert worst(ordered[place:]) == status
    assert worst([]) == "answered"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (PeerDown("jd", "x"), "down"),
        (PeerDown("jd", "x", code="closing"), "down"),
        (PeerLate("jd", "x"), "late"),
        (PeerRefused("jd", "x", remote_code="quota_exhausted", status=429), "refused"),
        (PeerGarbage("jd", "x", code="peer_disconnected"), "down"),
        (PeerGarbage("jd", "x"), "untrusted"),
        (PeerGarbage("jd", "x", code="bad_signature"), "untrusted"),
        (PeerError("jd", "x", code="registry_expired"), "untrusted"),
    ],
)
def test_what_went_wrong_has_a_status(error, status):
    assert status_of(error) == status


# --- questions ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "question",
    [
        Question((), "payment"),
        Question((PHONE,), ""),
        Question((PHONE,), "p" * 257),
        Question((PHONE,), "支付"),
        Question((PHONE,), "payment", reference="\ud800"),
        Question((PHONE,), "payment", reference="r" * (MAX_REFERENCE + 1)),
        Question((PHONE,), "payment", reference="é" * (MAX_REFERENCE // 2 + 1)),
        Question((PHONE, parse("canary:" + "0a" * 16, allow_canary=True)), "payment"),
    ],
    ids=["empty", "no purpose", "long purpose", "purpose", "surrogate", "long reference", "long in bytes", "canary"],
)
def test_questions_that_are_refused(question):
    with pytest.raises(InputError) as caught:
        check_question(question)
    assert "8613800138000" not in caught.value.message


def test_questions_that_are_not():
    check_question(Question((PHONE,), "p" * 256, reference="r" * MAX_REFERENCE))
    check_question(Question((PHONE,) * 100, "payment"))


# --- the record -------------------------------------------------------------------------


def verdict(*hits, word="hit", complete=False):
    return Verdict(
        check=CHECK,
        word=word,
        complete=complete,
        hits=hits,
        owners=(
            OwnerResult("jd", "answered", 1.5, {"jd/telecom-fraud": 7}),
            OwnerResult("unionpay", "late", 150.0, {}),
        ),
        receipts=(b"\x07" * 32,),
        ms=150.25,
        answered_at=START + timedelta(microseconds=150_250),
    )


def test_the_record_by_hand():
    question = Question((PHONE, parse("email:a@example.org")), "payment", "txn-17", frozenset({"b_b", "a_a"}))
    asked = [
        Asked(0, "jd", b"e" * 32, BATCH, 3, b"b" * 32),
        Asked(1, "jd", b"e" * 32, None, -1, b"c" * 32),
        Asked(1, "unionpay", b"f" * 32, BATCH, 0, b"d" * 32, cached=True),
    ]
    plaintext = record_plaintext(question, verdict(HIT), asked, {"jd/telecom-fraud": b"s" * 32}, b"r" * 32)
    part = {"owner": "jd", "epoch": b"e" * 32, "cached": False}
    assert cbor_decode(plaintext, limit=10_000) == {
        "answered_at": "2026-11-22T08:30:00.150Z",
        "asked": [
            {**part, "identifier": 0, "batch": BATCH.bytes, "position": 3, "blind": b"b" * 32},
            {**part, "identifier": 1, "batch": None, "position": -1, "blind": b"c" * 32},
            {
                "identifier": 1,
                "owner": "unionpay",
                "epoch": b"f" * 32,
                "batch": BATCH.bytes,
                "position": 0,
                "blind": b"d" * 32,
                "cached": True,
            },
        ],
        "categories": ["a_a", "b_b"],
        "check": CHECK.bytes,
        "identifiers": ["phone:+8613800138000", "email:a@example.org"],
        "outcome": {
            "complete": False,
            "hits": [[0, "jd/telecom-fraud", record().to_bytes()]],
            "owners": {"jd": ["answered", {"jd/telecom-fraud": 7}], "unionpay": ["late", {}]},
            "verdict": "hit",
        },
        "purpose": "payment",
        "random": b"r" * 32,
        "receipts": [b"\x07" * 32],
        "reference": "txn-17",
        "snapshots": {"jd/telecom-fraud": b"s" * 32},
    }
    assert Record.from_bytes(cbor_decode(plaintext, limit=10_000)["outcome"]["hits"][0][2]) == record()


def test_the_randomness_and_the_outcome_are_under_the_records_digest():
    question = Question((PHONE,), "payment")
    plaintexts = {
        record_plaintext(question, found, [], {}, random)
        for found in (verdict(), verdict(HIT), verdict(word="clear"), verdict(complete=True))
        for random in (b"r" * 32, b"s" * 32)
    }
    assert len(plaintexts) == 8


def test_no_identifier_reference_or_blind_is_shown():
    question = Question((PHONE,), "payment", "txn-secret")
    shown = repr(question) + repr(verdict(HIT)) + repr(Asked(0, "jd", b"e" * 32, BATCH, 0, b"\xbb" * 32))
    for hidden in ("8613800138000", "txn-secret", "\\xbb", "C-17", "call_scam", "\\x07"):
        assert hidden not in shown
