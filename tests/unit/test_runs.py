from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.errors import EncodingError, SegmentError
from riskshare.sharing.marks import Marks, Run
from riskshare.sharing.packed import PackedRows
from riskshare.sharing.runs import GONE, Rows, newest, read_run, write_run
from riskshare.sharing.writing import Wanted, write_runs
from riskshare.store.files import SegmentFiles

LABELS = st.integers(0, 8).map(lambda n: bytes([n]) * 16)
rows = st.lists(st.tuples(st.binary(min_size=16, max_size=16), st.binary(max_size=300)), max_size=12)


def written(chunk):
    out = io.BytesIO()
    return out, write_run(out, chunk)


@given(st.lists(rows, max_size=6))
def test_all_rows_come_out_sorted(chunks):
    found = Rows()
    for chunk in chunks:
        found.add(PackedRows.of(chunk))
    assert len(found) == sum(map(len, chunks))
    assert list(found.sorted()) == sorted((row for chunk in chunks for row in chunk), key=lambda row: row[0])


HALVES = [bytes(8), bytes(7) + b"\x01", b"\x01" + bytes(7), b"\x7f" + b"\xff" * 7, b"\x80" + bytes(7), b"\xff" * 8]


@given(st.permutations([high + low for high in HALVES for low in HALVES]))
def test_rows_are_sorted_by_both_halves_of_their_labels(labels):
    found = Rows()
    found.add(PackedRows.of((label, b"") for label in labels))
    assert [label for label, _ in found.sorted()] == sorted(labels)


@given(rows)
def test_a_run_gives_what_was_written(chunk):
    out, (count, digest) = written(chunk)
    assert count == len(chunk)
    assert list(read_run(io.BytesIO(out.getvalue()), digest)) == chunk


def test_a_run_of_many_rows_gives_what_was_written():
    chunk = [(number.to_bytes(16), bytes(number % 7)) for number in range(3000)]
    out, (count, digest) = written(chunk)
    assert count == len(chunk)
    assert list(read_run(io.BytesIO(out.getvalue()), digest)) == chunk


@given(st.lists(st.dictionaries(LABELS, st.sampled_from([GONE, b"1", b"2", b"3"])), max_size=5))
def test_of_each_label_the_newest_run_decides(given_runs):
    expected = {}
    for run in given_runs:
        expected.update(run)
    kept = sorted((label, sealed) for label, sealed in expected.items() if sealed != GONE)
    assert list(newest([sorted(run.items()) for run in given_runs])) == kept


@pytest.mark.parametrize("harm", [lambda data: data[:-1], lambda data: data + b"\0", lambda data: b"\xff" + data[1:]])
def test_a_run_that_is_not_as_written_gives_no_row(harm):
    out, (_, digest) = written([(b"a" * 16, b"1"), (b"b" * 16, b"2")])
    reading = read_run(io.BytesIO(harm(out.getvalue())), digest)
    with pytest.raises(SegmentError):
        next(reading)


@pytest.mark.parametrize("gone", [False, True])
def test_a_base_without_runs_has_each_label_once_and_none_that_is_gone(tmp_path, gone):
    first, later = (bytes([number]) * 172 for number in (1, 2))
    rows = Rows()
    rows.add(PackedRows.of([(b"b" * 16, first), (b"a" * 16, first), (b"b" * 16, GONE if gone else later)]))
    wanted = Wanted(SegmentFiles(tmp_path), "jd/fraud", bytes(32), 1, 2**-10)
    ref = write_runs((wanted, None, (), rows.sorted()))
    view = wanted.view([ref])
    assert list(view.rows()) == [(b"a" * 16, first), (b"b" * 16, first)]


def test_marks_come_back():
    run = Run("000000.run", 7, bytes(range(32)))
    marks = Marks(bytes(32), 5, b"\x80" + bytes(31), complete=False, rows=7, runs=(run,))
    assert Marks.from_bytes(marks.to_bytes()) == marks
    assert Marks.from_bytes(Marks(bytes(32), -1).to_bytes()) == Marks(bytes(32), -1)


def test_the_share_done_is_read_off_the_position():
    assert Marks(bytes(32), 1).share == 0.0
    assert Marks(bytes(32), 1, b"\x80" + bytes(31)).share == 0.5
    assert Marks(bytes(32), 1, b"\x80" + bytes(31), complete=True).share == 1.0


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"format":1}', Marks(bytes(32), 1).to_bytes()[:-1]])
def test_what_are_no_marks_is_refused(data):
    with pytest.raises(EncodingError):
        Marks.from_bytes(data)
