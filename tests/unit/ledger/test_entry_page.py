"""Pages of entries: made, read back, verified; every malformed and every false one by name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.encoding import cbor_decode, cbor_encode
from riskshare.errors import EncodingError, LedgerError
from riskshare.ledger.addition import Known
from riskshare.ledger.entry_page import (
    MAX_PAGE_BYTES,
    MAX_ROWS,
    EntryPage,
    read_entries,
    verify_page,
    verify_row,
)
from riskshare.ledger.note import Note, parse_note
from tests.simulator.entries import OTHER, POLICY, Log, salt, statement


def refused(code: str):
    return pytest.raises(LedgerError, check=lambda error: error.code == code)


SMALL = Log(13)


# --- What is right --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 13, 256, 257, 700])
def test_a_page_proves_each_of_its_rows(size: int) -> None:
    log = Log(size)
    for known in sorted({0, 1, size // 2, size}):
        page = read_entries(log.page(known, list(range(known % 2, size, 7))).to_bytes())
        checkpoint = verify_page(page, POLICY, log.known(known), 0)
        assert checkpoint.size == page.next == size
        for row in page.rows:
            verify_row(row, statement(row.entry.index), checkpoint)


@given(st.integers(1, 40), st.integers(0, 40), st.sets(st.integers(0, 39)))
def test_what_is_written_is_read(size: int, known: int, indices: set[int]) -> None:
    page = Log(size).page(min(known, size), sorted(index for index in indices if index < size))
    assert read_entries(page.to_bytes()) == page


def test_a_page_without_rows_is_one() -> None:
    page = read_entries(SMALL.page(13, []).to_bytes())
    assert verify_page(page, POLICY, SMALL.known(13), 13).size == 13


def test_a_page_may_end_before_the_log_does() -> None:
    page = read_entries(SMALL.page(4, [4, 5], 6).to_bytes())
    verify_page(page, POLICY, SMALL.known(4), 4)
    assert page.next == 6


def test_the_largest_page_is_read() -> None:
    rows = SMALL.page(0, [0]).rows * MAX_ROWS
    rows = tuple(replace(row, entry=replace(row.entry, index=place)) for place, row in enumerate(rows))
    rows = tuple(replace(row, hashes=(bytes(32),) * 63) for row in rows)
    page = EntryPage(Log(MAX_ROWS).signed(), (), MAX_ROWS, rows)
    assert len(page.to_bytes()) < MAX_PAGE_BYTES // 2
    assert read_entries(page.to_bytes()) == page


# --- What is false --------------------------------------------------------------------------------


def test_a_checkpoint_that_is_not_final_is_refused() -> None:
    with refused("not_final"):
        verify_page(SMALL.page(0, [], final=False), POLICY, Known(), 0)


def test_a_checkpoint_of_another_key_is_refused() -> None:
    with refused("bad_signature"):
        verify_page(SMALL.page(0, [], key=OTHER), POLICY, Known(), 0)


def test_a_checkpoint_of_another_log_is_refused() -> None:
    with refused("unknown_log"):
        verify_page(SMALL.page(0, [], origin="riskshare/simnet/icbc"), POLICY, Known(), 0)


def test_a_smaller_checkpoint_than_before_is_refused() -> None:
    with refused("rollback"):
        verify_page(SMALL.page(20, []), POLICY, Log(20).known(20), 0)


def test_another_root_of_the_same_size_is_refused() -> None:
    with refused("two_histories"):
        verify_page(SMALL.page(13, []), POLICY, Log(13, other=3).known(13), 0)


def test_a_log_that_does_not_extend_what_is_known_is_refused() -> None:
    with refused("wrong_consistency"):
        verify_page(SMALL.page(7, []), POLICY, Log(7, other=3).known(7), 0)


def test_a_missing_consistency_proof_is_refused() -> None:
    with refused("wrong_consistency"):
        verify_page(replace(SMALL.page(7, []), consistency=()), POLICY, SMALL.known(7), 0)


def test_rows_that_were_not_asked_for_are_refused() -> None:
    with refused("wrong_entry"):
        verify_page(SMALL.page(4, [3, 5]), POLICY, SMALL.known(4), 4)


def test_an_end_before_the_beginning_is_refused() -> None:
    with refused("wrong_entry"):
        verify_page(SMALL.page(4, [], 3), POLICY, SMALL.known(4), 4)


FALSE_ROWS = {
    "another statement": lambda row: (row, statement(6)),
    "another salt": lambda row: (replace(row, entry=replace(row.entry, salt=bytes(16))), statement(5)),
    "another kind": lambda row: (replace(row, entry=replace(row.entry, kind="epoch")), statement(4)),
    "another index": lambda row: (replace(row, entry=replace(row.entry, index=6)), statement(5)),
    "an index beyond": lambda row: (replace(row, entry=replace(row.entry, index=13)), statement(5)),
    "another proof": lambda row: (replace(row, hashes=row.hashes[::-1]), statement(5)),
    "no proof": lambda row: (replace(row, hashes=()), statement(5)),
}


@pytest.mark.parametrize("what", FALSE_ROWS)
def test_a_false_row_is_refused(what: str) -> None:
    page = SMALL.page(0, [5])
    row, text = FALSE_ROWS[what](page.rows[0])
    with refused("wrong_inclusion"):
        verify_row(row, text, page.signed.checkpoint)


# --- What is malformed ----------------------------------------------------------------------------

GOOD = cbor_decode(SMALL.page(7, [1, 5]).to_bytes(), limit=MAX_PAGE_BYTES)
ROW = GOOD["rows"][0]


def row_with(place: int, value: object) -> dict[str, object]:
    return GOOD | {"rows": [[*ROW[:place], value, *ROW[place + 1 :]]]}


MALFORMED = {
    "no map": [],
    "a field too few": {name: GOOD[name] for name in ("checkpoint", "consistency", "next")},
    "a field too many": GOOD | {"more": 1},
    "no note": GOOD | {"checkpoint": b"text"},
    "a text as note": GOOD | {"checkpoint": "text"},
    "no checkpoint in the note": GOOD
    | {"checkpoint": Note("a\n", parse_note(GOOD["checkpoint"]).signatures).to_bytes()},
    "a half hash": GOOD | {"consistency": bytes(33)},
    "too long a proof": GOOD | {"consistency": bytes(64 * 32)},
    "a text as proof": GOOD | {"consistency": ""},
    "an end beyond the log": GOOD | {"next": 14},
    "an end below zero": GOOD | {"next": -1, "rows": []},
    "no number as end": GOOD | {"next": True},
    "rows beyond the end": GOOD | {"next": 5},
    "no rows": GOOD | {"rows": {}},
    "too many rows": GOOD | {"rows": [ROW] * (MAX_ROWS + 1)},
    "a row twice": GOOD | {"rows": [ROW, ROW]},
    "rows backwards": GOOD | {"rows": GOOD["rows"][::-1]},
    "no row": GOOD | {"rows": [1]},
    "a part too few": GOOD | {"rows": [ROW[:4]]},
    "a negative index": row_with(0, -1),
    "a text as index": row_with(0, "1"),
    "a kind of nobody's concern": row_with(1, "check"),
    "a short source": row_with(2, bytes(31)),
    "a long salt": row_with(3, bytes(17)),
    "a half hash in a row": row_with(4, bytes(31)),
    "too long a proof in a row": row_with(4, bytes(64 * 32)),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_page_is_refused(what: str) -> None:
    with pytest.raises(EncodingError):
        read_entries(cbor_encode(MALFORMED[what]))


@pytest.mark.parametrize("data", [b"", b"\xff", bytes(MAX_PAGE_BYTES + 1)])
def test_what_is_no_page_is_refused(data: bytes) -> None:
    with pytest.raises(EncodingError):
        read_entries(data)


def test_a_salt_is_not_shown() -> None:
    assert salt(5).hex() not in repr(SMALL.page(0, [5]))
    assert "salt" not in repr(SMALL.page(0, [5]))
