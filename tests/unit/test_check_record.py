"""The record of a check is read as it was written, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.encoding import cbor_decode, cbor_encode
from riskshare.errors import EncodingError
from riskshare.membership.identifier import parse
from riskshare.query.check_record import CheckRecord
from riskshare.query.message import new_batch
from riskshare.query.verdict import Asked, Hit, OwnerResult, Question, Verdict, record_plaintext
from tests.simulator.query import START, record

CHECK = UUID("019391a0-0000-7000-8000-000000000001")
PHONES = [parse(f"phone:+86138001380{n:02d}") for n in range(10)]
DIGESTS = st.binary(min_size=32, max_size=32)
OWNERS = st.sampled_from(["jd", "unionpay", "icbc"])
LISTS = st.builds(lambda owner, n: f"{owner}/list-{n}", OWNERS, st.integers(0, 3))
STATUSES = st.sampled_from(["answered", "cached", "late", "down", "stale", "untrusted", "refused"])
BATCHES = st.builds(new_batch, st.integers(0, 2**40), st.binary(min_size=10, max_size=10))


@st.composite
def asked_parts(draw: st.DrawFn) -> Asked:
    left = draw(st.booleans())
    return Asked(
        identifier=draw(st.integers(0, 1)),
        owner=draw(OWNERS),
        epoch=draw(DIGESTS),
        batch=draw(BATCHES) if left else None,
        position=draw(st.integers(0, 4095)) if left else -1,
        blind=draw(DIGESTS),
        cached=left and draw(st.booleans()),
    )


@st.composite
def plaintexts(draw: st.DrawFn) -> bytes:
    identifiers = tuple(draw(st.lists(st.sampled_from(PHONES), min_size=2, max_size=4)))
    question = Question(
        identifiers,
        draw(st.sampled_from(["payment", "withdrawal"])),
        draw(st.text(st.characters(blacklist_categories=("Cs",)), max_size=20)),
        frozenset(draw(st.lists(st.sampled_from(["telecom_fraud", "transaction_fraud"])))),
    )
    names = draw(st.lists(OWNERS, unique=True))
    verdict = Verdict(
        check=CHECK,
        word=draw(st.sampled_from(["hit", "clear", "incomplete"])),
        complete=draw(st.booleans()),
        hits=tuple(
            Hit(draw(st.integers(0, 1)), "jd", name, record(case=f"C-{n}"))
            for n, name in enumerate(draw(st.lists(LISTS, max_size=3)))
        ),
        owners=tuple(
            OwnerResult(name, draw(STATUSES), 1.0, draw(st.dictionaries(LISTS, st.integers(0, 99)))) for name in names
        ),
        receipts=tuple(draw(st.lists(DIGESTS, max_size=3))),
        ms=1.0,
        answered_at=START + timedelta(milliseconds=draw(st.integers(0, 10**9))),
    )
    asked = draw(st.lists(asked_parts(), max_size=4))
    return record_plaintext(question, verdict, asked, draw(st.dictionaries(LISTS, DIGESTS)), draw(DIGESTS))


@given(plaintexts())
def test_a_record_prints_back_to_the_same_bytes(data):
    assert CheckRecord.from_bytes(data).to_bytes() == data


@given(st.binary(max_size=200))
def test_no_bytes_are_anything_but_a_record_or_an_encoding_error(data):
    with pytest.raises(EncodingError):
        CheckRecord.from_bytes(data)


@given(plaintexts(), st.data())
def test_an_altered_byte_is_refused_or_means_something_else(data, draw):
    """No two byte strings are one record."""
    at = draw.draw(st.integers(0, len(data) - 1))
    other = data[:at] + bytes([data[at] ^ draw.draw(st.integers(1, 255))]) + data[at + 1 :]
    try:
        found = CheckRecord.from_bytes(other)
    except EncodingError:
        return
    assert found.to_bytes() == other
    assert found != CheckRecord.from_bytes(data)


def plain() -> dict[str, Any]:
    question = Question((PHONES[0], PHONES[1]), "payment", "order 17", frozenset({"telecom_fraud"}))
    verdict = Verdict(
        CHECK,
        "hit",
        complete=True,
        hits=(Hit(1, "jd", "jd/fraud", record()),),
        owners=(OwnerResult("jd", "answered", 1.0, {"jd/fraud": 3}),),
        receipts=(b"\x07" * 32,),
        ms=1.0,
        answered_at=START,
    )
    asked = [Asked(0, "jd", b"\x01" * 32, new_batch(1, bytes(10)), 0, b"\x02" * 32)]
    data = record_plaintext(question, verdict, asked, {"jd/fraud": b"\x03" * 32}, b"\x04" * 32)
    found: dict[str, Any] = cbor_decode(data, limit=2**20)
    return found


def test_the_record_by_hand():
    found = CheckRecord.from_bytes(cbor_encode(plain()))
    assert (found.check, found.word, found.complete, found.purpose) == (CHECK, "hit", True, "payment")
    assert found.identifiers == (PHONES[0], PHONES[1])
    assert found.owners == {"jd": ("answered", {"jd/fraud": 3})}
    assert (found.hits[0].identifier, found.hits[0].list, found.hits[0].record) == (1, "jd/fraud", record())
    assert found.asked[0].batch == new_batch(1, bytes(10))
    assert "13800138" not in repr(found)


def _put(*path: str | int, value: object) -> Callable[[dict[str, Any]], None]:
    def change(parts: Any) -> None:
        for key in path[:-1]:
            parts = parts[key]
        parts[path[-1]] = value

    return change


BAD: dict[str, Callable[[dict[str, Any]], object]] = {
    "a field missing": lambda parts: parts.pop("random"),
    "a field too many": _put("more", value=1),
    "random of another length": _put("random", value=bytes(31)),
    "a check that is no uuid": _put("check", value=b"short"),
    "a check that is no uuid of version 7": _put("check", value=UUID(int=1, version=4).bytes),
    "a time of another form": _put("answered_at", value="2026-11-22"),
    "no identifier": _put("identifiers", value=[]),
    "an identifier that is no text": _put("identifiers", value=[7]),
    "an identifier not valid": _put("identifiers", value=["phone:12"]),
    "an identifier not canonical": _put("identifiers", value=["phone:+86 138 0013 8000"]),
    "a canary": _put("identifiers", value=["canary:" + "0a" * 16]),
    "identifiers that are no list": _put("identifiers", value="phone:+8613800138000"),
    "no purpose": _put("purpose", value=""),
    "a purpose that is no text": _put("purpose", value=b"payment"),
    "a purpose beyond ASCII": _put("purpose", value="支付"),
    "a reference that is too long": _put("reference", value="r" * 4097),
    "a reference that is no text": _put("reference", value=None),
    "categories not sorted": _put("categories", value=["b", "a"]),
    "a category twice": _put("categories", value=["a", "a"]),
    "a category that is no name": _put("categories", value=["A B"]),
    "an element with a field too many": _put("asked", 0, "more", value=1),
    "an element that is no map": _put("asked", 0, value=[]),
    "an element of no identifier": _put("asked", 0, "identifier", value=2),
    "an element of a negative identifier": _put("asked", 0, "identifier", value=-1),
    "an element of an identifier that is true": _put("asked", 0, "identifier", value=True),
    "an element of an owner that is no name": _put("asked", 0, "owner", value="J D"),
    "an epoch of another length": _put("asked", 0, "epoch", value=b""),
    "a blind of another length": _put("asked", 0, "blind", value=bytes(33)),
    "a batch without a position": _put("asked", 0, "position", value=-1),
    "a position without a batch": _put("asked", 0, "batch", value=None),
    "a position far off": _put("asked", 0, "position", value=2**40),
    "cached that is no boolean": _put("asked", 0, "cached", value=1),
    "a receipt of another length": _put("receipts", value=[b"\x07" * 31]),
    "receipts that are no list": _put("receipts", value={}),
    "a snapshot of no list": _put("snapshots", value={"jd": b"\x03" * 32}),
    "a snapshot without a digest": _put("snapshots", value={"jd/fraud": None}),
    "snapshots that are no map": _put("snapshots", value=[]),
    "an outcome with a field too many": _put("outcome", "more", value=1),
    "a verdict that there is not": _put("outcome", "verdict", value="maybe"),
    "a verdict that is no text": _put("outcome", "verdict", value=[]),
    "complete that is no boolean": _put("outcome", "complete", value=1),
    "a hit of two parts": _put("outcome", "hits", 0, value=[1, "jd/fraud"]),
    "a hit of no identifier": _put("outcome", "hits", 0, 0, value=2),
    "a hit on no list": _put("outcome", "hits", 0, 1, value="fraud"),
    "a hit whose record is none": _put("outcome", "hits", 0, 2, value=b"{}"),
    "a hit whose record is text": _put("outcome", "hits", 0, 2, value="{}"),
    "an owner that is no name": _put("outcome", "owners", value={"J D": ["answered", {}]}),
    "an owner with a status that there is not": _put("outcome", "owners", "jd", 0, value="asleep"),
    "an owner whose status is a list": _put("outcome", "owners", "jd", 0, value=[]),
    "an owner of one part": _put("outcome", "owners", "jd", value=["answered"]),
    "an owner with versions of no list": _put("outcome", "owners", "jd", 1, value={"fraud": 1}),
    "an owner with a version below zero": _put("outcome", "owners", "jd", 1, value={"jd/fraud": -1}),
    "owners that are no map": _put("outcome", "owners", value=[]),
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD.keys())
def test_what_is_no_record_is_refused(change):
    parts = plain()
    change(parts)
    with pytest.raises(EncodingError) as caught:
        CheckRecord.from_bytes(cbor_encode(parts))
    assert "138001380" not in caught.value.message


def test_too_long_a_record_is_refused():
    with pytest.raises(EncodingError, match="longer"):
        CheckRecord.from_bytes(bytes(17 * 2**20))


def test_bytes_behind_a_record_are_refused():
    with pytest.raises(EncodingError):
        CheckRecord.from_bytes(cbor_encode(plain()) + b"\x00")
