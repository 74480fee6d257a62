"""Pages of receipts."""

from __future__ import annotations

import pytest

from riskshare.encoding import cbor_encode
from riskshare.errors import EncodingError
from riskshare.ledger.receipt import KeptReceipt, Receipt
from riskshare.query.message import AnswerMessage, AskMessage, new_batch
from riskshare.query.receipt_page import MAX_PAGE, MAX_PAGE_BYTES, PAGE_BYTES, read_page, write_page


def kept(number: int, count: int = 1) -> KeptReceipt:
    receipt = Receipt(b"ask%d" % number, bytes(64), b"answer%d" % number, bytes(64))
    batch = new_batch(number, bytes(10))
    elements = bytes([number % 256]) * 32 * count
    return KeptReceipt("owner", "icbc", batch, b"e" * 32, count, receipt, elements, elements, b"", bytes(16))


def test_no_receipt_is_an_empty_page() -> None:
    assert read_page(write_page([])) == []


@pytest.mark.parametrize("count", [1, 2, MAX_PAGE])
def test_what_is_written_is_read(count: int) -> None:
    page = read_page(write_page((number + 1, kept(number)) for number in range(count)))
    assert [item.seq for item in page] == list(range(1, count + 1))
    assert page[0].ask == AskMessage(b"ask0", bytes(64), bytes(32))
    assert AnswerMessage.from_bytes(page[0].answer).answer == b"answer0"


def test_a_page_ends_at_its_limits() -> None:
    assert len(read_page(write_page((number + 1, kept(number)) for number in range(200)))) == MAX_PAGE
    large = write_page((number + 1, kept(number, 4096)) for number in range(200))
    assert PAGE_BYTES < len(large) < MAX_PAGE_BYTES
    assert 10 < len(read_page(large)) < MAX_PAGE


GOOD = {"answer": b"a", "ask": AskMessage(b"", bytes(64), b"").to_bytes(), "seq": 1}
BAD = {
    "no array": {},
    "an item that is no map": [1],
    "a field too many": [{**GOOD, "x": 1}],
    "a field too few": [{"ask": b"", "seq": 1}],
    "a number that is none": [{**GOOD, "seq": True}],
    "number zero": [{**GOOD, "seq": 0}],
    "an ask that is none": [{**GOOD, "ask": b"x"}],
    "an answer of another type": [{**GOOD, "answer": "a"}],
    "numbers that stand still": [GOOD, GOOD],
    "numbers that go back": [{**GOOD, "seq": 2}, GOOD],
    "too many": [{**GOOD, "seq": number + 1} for number in range(MAX_PAGE + 1)],
}


@pytest.mark.parametrize("page", BAD.values(), ids=BAD)
def test_a_page_that_is_none(page: object) -> None:
    with pytest.raises(EncodingError):
        read_page(cbor_encode(page))


def test_a_page_that_is_too_long() -> None:
    with pytest.raises(EncodingError):
        read_page(bytes(MAX_PAGE_BYTES + 1))


def test_no_repr_shows_what_was_asked() -> None:
    assert repr(read_page(cbor_encode([GOOD]))[0]) == "PagedReceipt(seq=1)"
