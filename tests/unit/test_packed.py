from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.sharing.packed import PackedRows, SortedRows

LABELS = st.integers(0, 8).map(lambda n: bytes([n]) * 16) | st.binary(min_size=16, max_size=16)
rows = st.lists(st.tuples(LABELS, st.binary(max_size=300)), max_size=12)


def by_label(chunk):
    return sorted(chunk, key=lambda row: row[0])


def sorted_rows(chunk):
    packed = PackedRows.of(chunk)
    return SortedRows(packed.labels, packed.lengths, packed.sealed)


@given(rows)
def test_packed_rows_are_the_rows_in_their_order(chunk):
    packed = PackedRows.of(iter(chunk))
    assert list(packed) == chunk
    assert len(packed) == len(chunk)


@given(rows)
def test_packed_rows_cross_to_another_process(chunk):
    assert list(pickle.loads(pickle.dumps(PackedRows.of(chunk)))) == chunk


@given(rows)
def test_without_records_the_labels_are_left(chunk):
    assert list(PackedRows.of(chunk).without_records()) == [(label, b"") for label, _ in chunk]


@given(rows)
def test_sorted_rows_are_the_same_rows_by_label(chunk):
    assert list(sorted_rows(chunk)) == by_label(chunk)
    assert len(sorted_rows(chunk)) == len(chunk)


@given(rows, st.integers(0, 12), st.integers(0, 12))
def test_a_block_is_a_cut_of_the_sorted_rows(chunk, start, end):
    labels, sealed = sorted_rows(chunk).block(start, end)
    assert labels == b"".join(label for label, _ in by_label(chunk)[start:end])
    assert list(map(bytes, sealed)) == [record for _, record in by_label(chunk)[start:end]]


@given(rows)
def test_what_is_told_of_sorted_rows_is_so(chunk):
    found = sorted_rows(chunk)
    lengths = [len(sealed) for _, sealed in chunk]
    assert found.distinct == (len({label for label, _ in chunk}) == len(chunk))
    assert (found.shortest, found.longest) == (min(lengths, default=0), max(lengths, default=0))


@pytest.mark.parametrize("half", [slice(0, 8), slice(8, 16)])
def test_labels_that_are_alike_in_one_half_are_distinct(half):
    one, other = bytearray(b"\x80" * 16), bytearray(b"\x01" * 16)
    other[half] = one[half]
    assert sorted_rows([(bytes(one), b"1"), (bytes(other), b"2")]).distinct


def test_rows_that_are_sorted_cannot_become_others():
    sealed = bytearray(b"12")
    found = SortedRows(b"b" * 16 + b"a" * 16, PackedRows.of([(b"", b"1")] * 2).lengths, sealed)
    with pytest.raises(BufferError):
        sealed += b"3"
    assert list(found) == [(b"a" * 16, b"2"), (b"b" * 16, b"1")]
