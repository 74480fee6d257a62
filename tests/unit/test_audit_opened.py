"""What is opened travels and is kept in one strict form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.audit.access import MAX_NAMED
from riskshare.audit.opened import (
    MAX_BATCHES,
    MAX_ON_PAGE,
    OpenedPage,
    ProofsPage,
    ShownBatch,
    ShownCheck,
    ShownProof,
    read_check,
    read_opened,
    read_proof,
    read_proofs,
)
from riskshare.encoding import cbor_decode, cbor_encode
from riskshare.errors import EncodingError
from riskshare.query.message import new_batch

IDS = st.builds(new_batch, st.integers(0, 2**40), st.binary(min_size=10, max_size=10))
OWNERS = st.sampled_from(["jd", "unionpay", "icbc"])
COUNTS = st.integers(1, 3)


@st.composite
def batches(draw: st.DrawFn) -> ShownBatch:
    state = draw(st.sampled_from(["answered", "adopted", "unanswered", "unknown", "left_out"]))
    if state not in ("answered", "adopted"):
        return ShownBatch(draw(OWNERS), draw(IDS), state)
    size = 32 * draw(COUNTS)
    exact = st.binary(min_size=size, max_size=size)
    return ShownBatch(
        draw(OWNERS), draw(IDS), state, draw(st.binary(min_size=1, max_size=90)), draw(exact), draw(exact)
    )


@st.composite
def checks(draw: st.DrawFn) -> ShownCheck:
    state = draw(st.sampled_from(["opened", "sealed", "unknown"]))
    if state != "opened":
        return ShownCheck(draw(IDS), state)
    unique = st.lists(batches(), max_size=3, unique_by=lambda one: (one.owner, one.batch))
    return ShownCheck(draw(IDS), state, draw(st.binary(min_size=1, max_size=90)), tuple(draw(unique)))


@st.composite
def proofs(draw: st.DrawFn) -> ShownProof:
    receipt = draw(st.binary(min_size=32, max_size=32))
    state = draw(st.sampled_from(["proved", "key_destroyed", "unknown"]))
    if state != "proved":
        return ShownProof(receipt, state)
    size = 32 * draw(COUNTS)
    exact = st.binary(min_size=size, max_size=size)
    return ShownProof(receipt, state, draw(st.binary(min_size=64, max_size=64)), draw(exact), draw(exact))


@given(checks())
def test_a_check_comes_back_from_its_file(check):
    assert read_check(check.to_bytes()) == check


@given(proofs())
def test_a_proof_comes_back_from_its_file(proof):
    assert read_proof(proof.to_bytes()) == proof


@given(st.integers(0, 100), st.lists(checks(), min_size=1, max_size=4))
def test_a_page_of_checks_comes_back(first, shown):
    page = OpenedPage(first, first + len(shown), tuple(shown))
    assert read_opened(page.to_bytes()) == page


@given(st.integers(0, 100), st.lists(proofs(), min_size=1, max_size=4))
def test_a_page_of_proofs_comes_back(first, shown):
    page = ProofsPage(first, first + len(shown), tuple(shown))
    assert read_proofs(page.to_bytes()) == page


@given(st.binary(max_size=120))
def test_any_bytes_are_a_page_or_an_encoding_error(data):
    for read in (read_opened, read_proofs, read_check, read_proof):
        with pytest.raises(EncodingError):
            read(data)


@given(checks())
def test_the_size_that_closes_a_page_is_no_less_than_nine_tenths_of_the_bytes(check):
    assert len(check.to_bytes()) * 0.9 <= check.size


CHECK = new_batch(1, bytes(10))
BATCH = ShownBatch("jd", new_batch(2, bytes(10)), "answered", b"receipt", bytes(64), bytes(64))
SHOWN = ShownCheck(CHECK, "opened", b"the record of somebody", (BATCH,))
PROOF = ShownProof(bytes(32), "proved", bytes(64), bytes(64), bytes(64))


def test_nothing_of_it_is_in_a_repr():
    assert "somebody" not in repr(SHOWN)
    assert "\\x00" not in repr(PROOF)


def _put(*path: str | int, value: object) -> Callable[[Any], None]:
    def change(parts: Any) -> None:
        for key in path[:-1]:
            parts = parts[key]
        parts[path[-1]] = value

    return change


BAD_CHECKS: dict[str, Callable[[Any], object]] = {
    "a field missing": lambda parts: parts.pop("state"),
    "a field too many": _put("more", value=1),
    "a check that is text": _put("check", value=str(CHECK)),
    "a check of another version": _put("check", value=UUID(int=1, version=4).bytes),
    "a check of another length": _put("check", value=CHECK.bytes + b"x"),
    "a state that there is not": _put("state", value="burnt"),
    "a state that is no text": _put("state", value=[]),
    "no record": _put("record", value=b""),
    "a record that is text": _put("record", value="record"),
    "a record of a sealed check": _put("state", value="sealed"),
    "batches that are no list": _put("batches", value={}),
    "too many batches": lambda parts: parts["batches"].extend(
        ["jd", new_batch(n, bytes(10)).bytes, "unknown", b"", b"", b""] for n in range(10, 10 + MAX_BATCHES)
    ),
    "a batch twice": lambda parts: parts["batches"].append(list(parts["batches"][0])),
    "a batch of five parts": lambda parts: parts["batches"][0].pop(),
    "a batch that is a map": _put("batches", 0, value={}),
    "a batch with a part of another type": _put("batches", 0, 3, value="receipt"),
    "an owner that is no name": _put("batches", 0, 0, value="J D"),
    "a batch that is no id": _put("batches", 0, 1, value=b"short"),
    "a batch with a state that there is not": _put("batches", 0, 2, value="burnt"),
    "an answered batch without a receipt": _put("batches", 0, 3, value=b""),
    "an answered batch with too long a receipt": _put("batches", 0, 3, value=bytes(200_000)),
    "an answered batch without elements": _put("batches", 0, 4, value=b""),
    "elements that are torn": _put("batches", 0, 4, value=bytes(63)),
    "more results than elements": _put("batches", 0, 5, value=bytes(96)),
    "an unanswered batch with a receipt": _put("batches", 0, 2, value="unanswered"),
}


@pytest.mark.parametrize("change", BAD_CHECKS.values(), ids=BAD_CHECKS.keys())
def test_a_check_of_another_form_is_refused(change):
    parts = cbor_decode(SHOWN.to_bytes(), limit=2**20)
    change(parts)
    with pytest.raises(EncodingError):
        read_check(cbor_encode(parts))
    with pytest.raises(EncodingError):
        read_opened(cbor_encode({"checks": [parts], "first": 0, "next": 1}))


BAD_PROOFS: dict[str, Callable[[Any], object]] = {
    "a field missing": lambda parts: parts.pop("proof"),
    "a field too many": _put("more", value=1),
    "a receipt of another length": _put("receipt", value=bytes(31)),
    "a receipt that is text": _put("receipt", value="00"),
    "a state that there is not": _put("state", value="burnt"),
    "a state that is no text": _put("state", value={}),
    "a proof of another length": _put("proof", value=bytes(63)),
    "no proof": _put("proof", value=b""),
    "no elements": _put("elements", value=b""),
    "elements that are torn": _put("elements", value=bytes(65)),
    "fewer results than elements": _put("evaluated", value=bytes(32)),
    "too many elements": lambda parts: parts.update(elements=bytes(32 * 4097), evaluated=bytes(32 * 4097)),
    "a proof of an unknown receipt": _put("state", value="unknown"),
    "a proof by a destroyed key": _put("state", value="key_destroyed"),
}


@pytest.mark.parametrize("change", BAD_PROOFS.values(), ids=BAD_PROOFS.keys())
def test_a_proof_of_another_form_is_refused(change):
    parts = cbor_decode(PROOF.to_bytes(), limit=2**20)
    change(parts)
    with pytest.raises(EncodingError):
        read_proof(cbor_encode(parts))
    with pytest.raises(EncodingError):
        read_proofs(cbor_encode({"first": 0, "next": 1, "proofs": [parts]}))


BAD_PAGES: dict[str, Callable[[Any], object]] = {
    "a field missing": lambda parts: parts.pop("next"),
    "a field too many": _put("more", value=1),
    "a first that is text": _put("first", value="0"),
    "a first that is true": _put("first", value=True),
    "a first below zero": _put("first", value=-1),
    "a next that does not follow": _put("next", value=0),
    "a next beyond what a request names": _put("next", value=MAX_NAMED + 1),
    "fewer checks than it covers": _put("next", value=2),
    "checks that are no list": _put("checks", value={}),
    "more checks than a page has": lambda parts: parts.update(
        checks=[{"batches": [], "check": CHECK.bytes, "record": b"", "state": "unknown"}] * (MAX_ON_PAGE + 1),
        next=MAX_ON_PAGE + 1,
    ),
}


@pytest.mark.parametrize("change", BAD_PAGES.values(), ids=BAD_PAGES.keys())
def test_a_page_of_another_form_is_refused(change):
    parts = cbor_decode(OpenedPage(0, 1, (SHOWN,)).to_bytes(), limit=2**20)
    change(parts)
    with pytest.raises(EncodingError):
        read_opened(cbor_encode(parts))
