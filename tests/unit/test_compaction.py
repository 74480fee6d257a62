"""When deltas are merged, and which upheld appeals a new base must not hide (rules only)."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskshare.encoding import sha256
from riskshare.sharing.compaction import APPEALS_SHOWN, due, each_once, fitting, joined, upheld_still, young_deltas
from riskshare.sharing.kept import SegmentRow
from riskshare.sharing.segment import DELTA_LIMIT
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


def of(base_length, *lengths):
    return [row("base", base_length), *(row("delta", each, name=at) for at, each in enumerate(lengths))]


@pytest.mark.parametrize(
    ("lengths", "start"), [([5000] * 3, None), ([5000] * 4, 0), ([MIB // 4], None), ([MIB // 4, 5000], 0)]
)
def test_a_short_list_gets_a_new_base_by_number_or_by_bytes(lengths, start):
    """One that is shorter counts as a mebibyte."""
    assert due(of(200_000, *lengths), 3, 0.25) == start


@pytest.mark.parametrize(
    ("lengths", "start"),
    [
        ([5000] * 4, None),
        ([5000] * 5, 1),
        ([MIB, *[5000] * 4], 2),  # a long one stays until those behind it are half as long
        ([40_000, *[5000] * 4], 1),
        ([45_000, *[5000] * 4], 2),
        ([30 * MIB, 9 * MIB, 2 * MIB, 2**19, 5000], 2),  # at most half as many as are allowed stay, whatever it costs
        ([MIB] * 26, 0),
    ],
)
def test_a_long_list_keeps_its_base_while_its_deltas_are_many_and_short(lengths, start):
    assert due(of(200 * MIB if len(lengths) < 9 else 100 * MIB, *lengths), 4, 0.25) == start


def test_deltas_that_are_too_long_for_one_are_merged_into_a_base():
    assert due(of(2**36, *[DELTA_LIMIT // 4] * 5), 4, 0.25) == 0
    assert due(of(2**36, *[DELTA_LIMIT // 6] * 5), 4, 0.25) == 1


def test_one_delta_alone_is_not_merged_with_itself():
    assert due(of(200 * MIB, 5000), 0, 0.25) is None
    assert due(of(200 * MIB, 5000, 5000), 0, 0.25) == 1


@given(st.lists(st.integers(4160, 40_000), min_size=1, max_size=400), st.integers(1, 40))
def test_however_a_long_list_changes_its_segments_stay_few_and_no_byte_is_fetched_often(lengths, most):
    """Sizes alone, as if no label stood twice. A base is not due: it is too long."""
    segments, merges = of(2**34), []
    for at, length in enumerate(lengths):
        segments.append(row("delta", length, name=at))
        start = due(segments, most, 0.25)
        assert start != 0
        if start is not None:
            merged = sum(each.ref.file_length for each in segments[start:])
            segments[start:] = [row("delta", merged, name=f"merged {at}")]
            merges.append(merged)
        assert len(segments) <= most + 1
    if most >= 24:  # half of it are more levels than these sizes make: none is merged before its turn
        assert sum(merges) <= 20 * sum(lengths)
    assert len(merges) <= 2 * len(lengths) / most + 1


@pytest.mark.parametrize(
    ("words", "start", "fits"),
    [
        ([0, 3, 3, 3], 1, 1),
        ([0, 9, 3, 3, 3], 1, 2),  # the oldest stays as it is
        ([0, 9, 9, 3, 3], 1, 0),
        ([0, 9, 9, 9, 9], 1, 0),
        ([0, 9, 9], 1, 0),
        ([0, 9, 9, 1, 1], 3, 3),
    ],
)
def test_what_is_too_much_for_one_delta_is_merged_in_part_or_a_base_is_due(words, start, fits):
    assert fitting(words, start, limit=10) == fits


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


def deltas_of(history):
    return [
        delta(
            [number for number, word in each.items() if word == "listed"],
            [(number, word) for number, word in each.items() if word != "listed"],
        )
        for each in history
    ]


def written(added, withdrawn):
    out = io.BytesIO()
    ref = write_delta(out, LIST, EPOCH, added, withdrawn)
    return open_segment(out.getvalue(), ref, LIST, EPOCH)


def upheld_in(view):
    return {number for number in range(13) if view.withdrawal(label(number)) == "appeal_upheld"}


@settings(deadline=None)
@given(st.lists(words, max_size=6), st.integers(0, 6))
def test_a_new_base_loses_no_upheld_appeal_and_changes_nothing_else(history, merged):
    """The first `merged` deltas go into a new base; the others stay behind it."""
    deltas = deltas_of(history)
    view = ListView(listed(*range(8)), deltas)
    new = base(merge(ListView(view.base, deltas[:merged])))
    after = ListView(new, [written({}, upheld_still(deltas[:merged], new)), *deltas[merged:]])
    assert list(after.rows()) == list(view.rows())
    assert upheld_in(after) == upheld_in(view)


@settings(deadline=None)
@given(st.lists(words, max_size=7), st.integers(0, 6), st.integers(0, 6))
def test_deltas_that_are_merged_among_themselves_say_what_they_said(history, start, count):
    """Those from `start` on, `count` of them; older ones stay before them, later ones behind."""
    deltas = deltas_of(history)
    older, later = deltas[:start], deltas[start + count :]
    view = ListView(listed(*range(8)), deltas)
    added, withdrawn = joined(view.base, older, deltas[start : start + count])
    after = ListView(view.base, [*older, written(added, withdrawn), *later])
    assert list(after.rows()) == list(view.rows())
    assert upheld_in(after) >= upheld_in(view)  # more only where a label is withdrawn twice, which no publisher does
    before = ListView(view.base, older)
    assert all(reason == "appeal_upheld" or before.find(each) is not None for each, reason in withdrawn.items())


def test_each_withdrawal_of_what_is_listed_keeps_its_last_reason():
    deltas = deltas_of(
        [{1: "corrected", 2: "listed", 9: "listed"}, {1: "appeal_upheld", 2: "corrected", 9: "corrected"}]
    )
    assert joined(listed(1, 2), [], deltas) == ({}, {label(1): "appeal_upheld", label(2): "corrected"})
