from __future__ import annotations

import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.errors import DiskError
from riskshare.sharing.runs import Runs

rows = st.lists(st.tuples(st.binary(min_size=16, max_size=16), st.binary(max_size=300)), max_size=12)


@given(st.lists(rows, max_size=6), st.integers(1, 30))
def test_all_rows_come_out_sorted(chunks, limit):
    runs = Runs(tempfile.TemporaryFile, limit)
    for chunk in chunks:
        runs.add(chunk)
        if runs.full:
            runs.spill()
            assert not runs.full
    assert list(runs.sorted()) == sorted(row for chunk in chunks for row in chunk)
    runs.close()


def test_few_rows_touch_no_disk():
    def scratch():
        raise DiskError("no")

    runs = Runs(scratch, 3)
    runs.add([(b"b" * 16, b"1"), (b"a" * 16, b"2")])
    assert [label[:1] for label, _ in runs.sorted()] == [b"a", b"b"]
    assert not runs.full
    runs.add([(b"c" * 16, b"3")])
    assert runs.full
    with pytest.raises(DiskError):
        runs.spill()


def test_scratch_files_are_closed():
    files = []

    def scratch():
        files.append(file := tempfile.TemporaryFile())  # noqa: SIM115 - it is closed by `Runs`
        return file

    runs = Runs(scratch, 1)
    for label in (b"a", b"b"):
        runs.add([(label * 16, b"1")])
        runs.spill()
    runs.close()
    assert [file.closed for file in files] == [True, True]
