"""When deltas are merged, and which upheld appeals a new base must not hide (rules only)."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskshare.encoding import sha256
from riskshare.sharing.compaction import APPEALS_SHOWN, each_once, piled_up, upheld_still, young_deltas
from riskshare.sharing.kept import SegmentRow
from riskshare.sharing.segment_build import write_base, write_delta
from riskshare.sharing.segment_read import open_segment
from riskshare.sharing.segment_ref import SegmentRef
from riskshare.sharing.view import ListView, merge

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
LIST = "jd/fraud"
EPOCH = bytes(range(32))
MIB = 2**20


def row(kind, length=5000, *, name=0, age=timedelta()):
    ref = SegmentRef(sha256(b"header"), 400, sha256(f"{kind} {length} {name}".encode()), length)
    return SegmentRow(ref, 1, EPOCH, kind, NOW - age)


def label(number):
    return sha256(bytes([number]))[:16]


def delta(added=(), withdrawn=()):
    """`added` are numbers, `withdrawn` pairs of a number and a reason."""
    out = io.BytesIO()
    rows = {label(number): bytes([number]) * 156 for number in added}
    ref = write_delta(out, LIST, EPOCH, rows, {label(number): reason for number, reason in dict(withdrawn).items()})
    return open_segment(out.getvalue(), ref, LIST, EPOCH)


def base(rows):
    out = io.BytesIO()
    ref = write_base(out, LIST, EPOCH, rows, seed=1, floor=2**12)
    return open_segment(out.getvalue(), ref, LIST, EPOCH)


def listed(*numbers):
    return base(sorted((label(number), bytes([number]) * 156) for number in numbers))


@pytest.mark.parametrize(
    ("lengths", "due"), [([5000] * 3, False), ([5000] * 4, True), ([MIB // 4], False), ([MIB // 4, 5000], True)]
)
def test_deltas_pile_up_by_number_or_by_bytes(lengths, due):
    """A short base counts as a mebibyte."""
    segments = [row("base", 200_000), *(row("delta", each, name=at) for at, each in enumerate(lengths))]
    assert piled_up(segments, 3, 0.25) == due


def test_of_two_equal_files_the_last_stays():
    first, second = row("delta", name=1), row("delta", name=2)
    assert each_once([row("base"), first, second, first]) == [row("base"), second, first]


def test_appeals_of_the_last_hour_are_shown_again():
    young, old = row("delta", age=APPEALS_SHOWN - timedelta(seconds=1)), row("delta", age=APPEALS_SHOWN)
    assert young_deltas([row("base"), old, young], NOW) == [young]


def test_an_upheld_appeal_is_told_for_as_long_as_it_is_the_last_word():
    deltas = [
        delta(withdrawn={1: "appeal_upheld", 2: "corrected", 3: "appeal_upheld", 4: "appeal_upheld"}.items()),
        delta([3], withdrawn=[(4, "expired")]),
    ]
    assert upheld_still(deltas, listed(3)) == {label(1): "appeal_upheld"}


def test_what_the_base_holds_is_not_taken_off_by_an_earlier_appeal():
    assert upheld_still([delta(withdrawn=[(1, "appeal_upheld")])], listed(1)) == {}


def test_of_more_appeals_than_a_delta_can_name_the_newest_are_told():
    deltas = [delta(withdrawn=[(number, "appeal_upheld")]) for number in (1, 2, 3)]
    assert upheld_still(deltas, listed(9), limit=2) == {label(number): "appeal_upheld" for number in (2, 3)}


words = st.dictionaries(st.integers(0, 12), st.sampled_from(["listed", "corrected", "appeal_upheld"]), max_size=6)


@settings(deadline=None)
@given(st.lists(words, max_size=6), st.integers(0, 6))
def test_a_merge_loses_no_upheld_appeal_and_changes_nothing_else(history, merged):
    """The first `merged` deltas go into a new base; the others stay behind it."""
    deltas = [
        delta(
            [number for number, word in each.items() if word == "listed"],
            [(number, word) for number, word in each.items() if word != "listed"],
        )
        for each in history
    ]
    view = ListView(listed(*range(8)), deltas)
    new = base(merge(ListView(view.base, deltas[:merged])))
    kept = upheld_still(deltas[:merged], new)
    after = ListView(new, [delta(withdrawn=[]), _withdrawing(kept), *deltas[merged:]])
    assert list(after.rows()) == list(view.rows())
    for number in range(13):
        word = view.withdrawal(label(number))
        if word == "appeal_upheld":
            assert after.withdrawal(label(number)) == word


def _withdrawing(labels):
    out = io.BytesIO()
    ref = write_delta(out, LIST, EPOCH, {}, labels)
    return open_segment(out.getvalue(), ref, LIST, EPOCH)
