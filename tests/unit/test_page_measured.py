"""Pages are measured in place of written again: whatever is read is what writing it gives, byte for byte."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskshare.audit.page import NOTES, StatementPage, StatementRow, read_statements
from riskshare.encoding import cbor_decode, cbor_encode, cbor_head
from riskshare.errors import EncodingError
from riskshare.ledger.leaf import KINDS

blobs = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([23, 24, 255, 256, 65_535, 65_536]).map(bytes),
)
rows = st.builds(
    StatementRow,
    index=st.just(0),
    kind=st.sampled_from(sorted(KINDS)),
    salt=st.binary(min_size=16, max_size=16),
    statement=blobs,
    signature=blobs,
    note=st.sampled_from(sorted(NOTES)),
)


@st.composite
def pages(draw):
    first = draw(st.sampled_from([0, 1, 23, 24, 255, 65_535, 2**32 - 2, 2**32]))
    index = first
    placed = []
    for row in draw(st.lists(rows, max_size=4)):
        index += draw(st.integers(0, 300))
        placed.append(StatementRow(index, row.kind, row.salt, row.statement, row.signature, row.note))
        index += 1
    return StatementPage(first, max(index, first + 1), tuple(placed))


@given(pages())
def test_a_page_is_read_as_it_was_written(page):
    data = page.to_bytes()
    assert read_statements(data) == page
    assert cbor_decode(data, limit=1 << 24) == cbor2.loads(data)


@given(pages(), st.data())
@settings(max_examples=300)
def test_what_is_read_of_altered_bytes_is_what_they_say(page, data):
    altered = bytearray(page.to_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        altered[data.draw(st.integers(0, min(len(altered), 400) - 1))] = data.draw(st.integers(0, 255))
    altered = bytes(altered)
    try:
        found = read_statements(altered)
    except EncodingError:
        return
    assert found.to_bytes() == altered


def longer(value, at):
    """The value in CBOR, with one head that is longer than it must be."""
    data = cbor_encode(value)
    return data[:at] + bytes([data[at] & 0xE0 | 24, data[at] & 0x1F]) + data[at + 1 :]


@pytest.mark.parametrize("at", range(12))
def test_a_head_that_is_longer_than_it_must_be_is_refused(at):
    row = [3, "check", bytes(16), b"", b"", ""]
    value = {"first": 3, "next": 4, "rows": [row]}
    made = longer(value, at) if cbor_encode(value)[at] & 0x1F < 24 else b""
    with pytest.raises(EncodingError):
        read_statements(made)


def test_keys_in_another_order_are_refused():
    with pytest.raises(EncodingError):
        read_statements(cbor2.dumps({"first": 3, "next": 4, "rows": []}))


@given(st.integers(0, 2**53))
def test_heads_are_as_long_as_they_are_written(number):
    assert cbor_head(number) == len(cbor2.dumps(number))
