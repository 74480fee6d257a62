"""Pages of statements, and the range that they belong to: read strictly, and back to what was written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.audit import page as module
from riskshare.audit.page import (
    MAX_RANGE_BYTES,
    MAX_ROWS,
    NOTES,
    PAGE_BYTES,
    STANDING,
    AuditRange,
    StatementPage,
    StatementRow,
    first_of,
    make_page,
    page_path,
    read_statements,
)
from riskshare.encoding import cbor_encode
from riskshare.errors import EncodingError
from riskshare.ledger.leaf import KINDS, Leaf

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
ROW = [7, "receipt", bytes(16), b"statement", b"", "owner"]


def row(index: int, kind: str = "check", size: int = 10) -> StatementRow:
    return StatementRow(index, kind, bytes(16), bytes(size))


@st.composite
def pages(draw: st.DrawFn) -> StatementPage:
    indices = sorted(draw(st.sets(st.integers(0, 10**9), max_size=8)))
    rows = tuple(
        StatementRow(
            index,
            draw(st.sampled_from(sorted(KINDS))),
            draw(st.binary(min_size=16, max_size=16)),
            draw(st.binary(max_size=40)),
            draw(st.binary(max_size=40)),
            draw(st.sampled_from(sorted(NOTES))),
        )
        for index in indices
    )
    first = draw(st.integers(0, indices[0] if indices else 10**9))
    following = draw(st.integers((indices[-1] if indices else first) + 1, 2 * 10**9))
    return StatementPage(first, following, rows)


@given(pages())
def test_a_page_reads_back_to_itself(page):
    assert read_statements(page.to_bytes()) == page


@given(st.integers(0, 10**12 - 1))
def test_the_path_of_a_page_tells_its_first_index(first):
    assert first_of(page_path(first)) == first


@pytest.mark.parametrize(
    "path", ["statements/1.cbor", "statements/00000000000x.cbor", "tile/0/000", "000000000000.cbor"]
)
def test_other_paths_are_of_no_page(path):
    assert first_of(path) is None


@given(pages())
def test_an_entry_is_that_of_its_leaf(page):
    for each in page.rows:
        assert each.entry == Leaf(each.kind, each.salt, each.statement).entry


def encoded(first=0, following=100, rows=(ROW,), **more):
    return cbor_encode({"first": first, "next": following, "rows": [list(each) for each in rows], **more})


def changed(place, value):
    return [*ROW[:place], value, *ROW[place + 1 :]]


MALFORMED = {
    "no map": cbor_encode([]),
    "a key missing": cbor_encode({"first": 0, "next": 1}),
    "a key too many": encoded(more=1),
    "it covers nothing": encoded(7, 7, ()),
    "it goes backwards": encoded(7, 3, ()),
    "it begins below zero": encoded(-1, 3, ()),
    "it begins at true": encoded(first=True, following=3, rows=()),
    "rows that are no list": cbor_encode({"first": 0, "next": 1, "rows": {}}),
    "too many rows": encoded(0, 10**6, [changed(0, number) for number in range(MAX_ROWS + 1)]),
    "a row before it": encoded(8, 100),
    "a row behind it": encoded(0, 7),
    "indices that do not grow": encoded(rows=(ROW, ROW)),
    "indices that fall": encoded(rows=(changed(0, 9), ROW)),
    "a row that is no list": cbor_encode({"first": 0, "next": 9, "rows": [{}]}),
    "a row too short": encoded(rows=(ROW[:5],)),
    "an index that is true": encoded(rows=([True, *ROW[1:]],)),
    "an unknown kind": encoded(rows=(changed(1, "gossip"),)),
    "a short salt": encoded(rows=(changed(2, bytes(15)),)),
    "a statement that is text": encoded(rows=(changed(3, "x"),)),
    "a signature that is missing": encoded(rows=(changed(4, None),)),
    "an unknown note": encoded(rows=(changed(5, "trust me"),)),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_page_is_refused(data):
    with pytest.raises(EncodingError):
        read_statements(data)


@given(st.binary(max_size=100))
def test_bytes_are_no_page(data):
    with pytest.raises(EncodingError):
        read_statements(data)


def test_a_page_takes_as_many_rows_as_it_has_room_for():
    made = make_page(0, MAX_ROWS + 5, (row(index) for index in range(MAX_ROWS + 5)))
    assert (len(made.rows), made.next) == (MAX_ROWS, MAX_ROWS)
    made = make_page(MAX_ROWS, MAX_ROWS + 5, (row(index) for index in range(MAX_ROWS, MAX_ROWS + 5)))
    assert (len(made.rows), made.next) == (5, MAX_ROWS + 5)


def test_a_page_closes_when_it_is_large():
    made = make_page(0, 10, (row(index, size=PAGE_BYTES // 2) for index in range(10)))
    assert (len(made.rows), made.next) == (2, 2)
    assert len(made.to_bytes()) < module.MAX_PAGE_BYTES


def test_one_row_of_any_size_has_room():
    made = make_page(0, 2, [row(0, size=2 * PAGE_BYTES), row(1)])
    assert (len(made.rows), made.next) == (1, 1)


def test_a_page_without_rows_covers_all():
    assert make_page(3, 50_000, ()) == StatementPage(3, 50_000, ())


# -- what it covers -------------------------------------------------------------------------------------------------


def test_a_page_covers_when_every_entry_from_the_start_on_has_its_row():
    page = StatementPage(0, 4, (row(0, "epoch"), row(2), row(3)))
    assert page.covers(2)
    assert not page.covers(1)
    assert StatementPage(0, 4, (row(2), row(3))).covers(2)
    assert not StatementPage(0, 5, (row(2), row(3))).covers(2)
    assert StatementPage(0, 5, ()).covers(5)


def test_a_page_that_shows_more_than_what_stands_does_not_cover():
    assert not StatementPage(0, 4, (row(1), row(2), row(3))).covers(2)


@given(st.integers(0, 20), st.integers(1, 20), st.integers(0, 45))
def test_a_whole_page_covers_whatever_the_start(first, length, start):
    rows = tuple(row(index, "registry") for index in range(first, first + length))
    assert StatementPage(first, first + length, rows).covers(start)


def test_what_stands_is_known():
    assert {"epoch", "registry"} == STANDING


# -- the range ------------------------------------------------------------------------------------------------------

RANGE = {
    "before": b"note",
    "checkpoint": b"later note",
    "from": "2026-11-21T08:30:00.000Z",
    "start": 5,
    "to": "2026-11-22T08:30:00.000Z",
}


@given(st.integers(0, 10**9), st.binary(min_size=1, max_size=50), st.binary(min_size=1, max_size=50))
def test_a_range_reads_back_to_itself(start, before, checkpoint):
    made = AuditRange(NOW - timedelta(days=1), NOW, start, before if start else b"", checkpoint)
    assert AuditRange.from_bytes(made.to_bytes()) == made


BAD = {
    "a key missing": {key: value for key, value in RANGE.items() if key != "start"},
    "a key too many": RANGE | {"more": 1},
    "no checkpoint": RANGE | {"checkpoint": b""},
    "a checkpoint that is text": RANGE | {"checkpoint": "x"},
    "a start without its checkpoint": RANGE | {"before": b""},
    "a checkpoint of nothing": RANGE | {"start": 0},
    "a start below zero": RANGE | {"start": -1},
    "a start that is true": RANGE | {"start": True},
    "a time that is none": RANGE | {"to": "tomorrow"},
    "a period that ends before it begins": RANGE | {"to": RANGE["from"]},
    "too long": RANGE | {"before": bytes(MAX_RANGE_BYTES)},
}


@pytest.mark.parametrize("parts", BAD.values(), ids=BAD)
def test_what_is_no_range_is_refused(parts):
    with pytest.raises(EncodingError):
        AuditRange.from_bytes(cbor_encode(parts))
