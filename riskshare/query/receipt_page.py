"""Receipts as an owner gives them back to a querier that lost track: one page after the other.

`GET /peer/v1/receipts?since=<time>&after=<number>` answers with the CBOR array of maps

    {"answer": the answer's CBOR map, "ask": the ask's CBOR map, "seq": number}

in the order of the owner's numbers; an empty array ends it. Both maps are those that travelled over
`POST /peer/v1/evaluate`, so that the querier verifies them as it would have done then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from riskshare.encoding import MAX_SAFE_INTEGER, cbor_decode, cbor_encode
from riskshare.errors import EncodingError
from riskshare.ledger.receipt import KeptReceipt
from riskshare.query.message import AnswerMessage, AskMessage

MAX_PAGE = 64
"""Most receipts on a page."""

PAGE_BYTES = 4 * 1024 * 1024
"""A page is closed when it has so many bytes."""

MAX_PAGE_BYTES = 2 * PAGE_BYTES
"""Longest page that is read: one receipt of the largest size may stand behind `PAGE_BYTES`."""


@dataclass(frozen=True, slots=True)
class PagedReceipt:
    """One receipt on a page: the owner's number for it, the ask as it was sent, the answer (CBOR) as it was given."""

    seq: int
    ask: AskMessage = field(repr=False)
    answer: bytes = field(repr=False)


def write_page(receipts: Iterable[tuple[int, KeptReceipt]]) -> bytes:
    """Write a page of at most `MAX_PAGE` of the receipts, as many as have room."""
    page: list[dict[str, object]] = []
    size = 0
    for seq, kept in receipts:
        if len(page) == MAX_PAGE or size >= PAGE_BYTES:
            break
        receipt = kept.receipt
        ask = AskMessage(receipt.ask, receipt.ask_signature, kept.elements).to_bytes()
        answer = AnswerMessage(receipt.answer, receipt.answer_signature, kept.evaluated, kept.proof).to_bytes()
        page.append({"answer": answer, "ask": ask, "seq": seq})
        size += len(ask) + len(answer)
    return cbor_encode(page)


def read_page(data: bytes) -> list[PagedReceipt]:
    """Read what `write_page` wrote; no signature is verified.

    Raises:
        EncodingError: not such a page, or its numbers do not grow.

    """
    page = cbor_decode(data, limit=MAX_PAGE_BYTES)
    if not isinstance(page, list) or len(page) > MAX_PAGE:
        raise EncodingError(f"A page of receipts is not an array of at most {MAX_PAGE}.")
    receipts = [_read_item(item) for item in page]
    if any(after.seq <= before.seq for before, after in pairwise(receipts)):
        raise EncodingError("The numbers on a page of receipts do not grow.")
    return receipts


def _read_item(item: object) -> PagedReceipt:
    if not isinstance(item, dict) or item.keys() != {"answer", "ask", "seq"}:
        raise EncodingError("A receipt on a page has not exactly the fields of one.")
    seq, ask, answer = item["seq"], item["ask"], item["answer"]
    if type(seq) is not int or not 0 < seq <= MAX_SAFE_INTEGER or type(ask) is not bytes or type(answer) is not bytes:
        raise EncodingError("A field of a receipt on a page has another type.")
    return PagedReceipt(seq, AskMessage.from_bytes(ask), answer)
