"""A list as base and deltas: it says what a plain dictionary of the same history says."""

import gc
import io
import random
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskshare.encoding import sha256
from riskshare.errors import SegmentError
from riskshare.sharing.compaction import joined
from riskshare.sharing.segment import REASONS
from riskshare.sharing.segment_build import write_base, write_delta
from riskshare.sharing.segment_read import NeedBucket, open_segment
from riskshare.sharing.view import ListView, Summary, merge, summary

LIST = "jd/high-risk"
EPOCH = bytes(range(32))


def label(number):
    return sha256(bytes([number]))[:16]


def sealed(number):
    return bytes([number]) * 156


def base(rows, *, list_name=LIST, epoch=EPOCH, on_demand=False, bucket=3):
    out = io.BytesIO()
    ref = write_base(out, list_name, epoch, rows, seed=1, rate=2**-20, floor=2**12, bucket=bucket)
    return open_segment(out.getvalue(), ref, list_name, epoch, on_demand=on_demand)


def delta(added=(), withdrawn=(), *, list_name=LIST, epoch=EPOCH, reason="expired"):
    out = io.BytesIO()
    ref = write_delta(out, list_name, epoch, dict(added), dict.fromkeys(withdrawn, reason))
    return open_segment(out.getvalue(), ref, list_name, epoch)


def joined_delta(listed, older, newer):
    """One delta in place of the newer ones."""
    out = io.BytesIO()
    ref = write_delta(out, LIST, EPOCH, *joined(listed, older, newer))
    return open_segment(out.getvalue(), ref, LIST, EPOCH)


def rows(*numbers):
    return sorted((label(number), sealed(number)) for number in numbers)


def expect(view, model):
    """`view` must say all that `model`, a dictionary from label to record, says."""
    ordered = sorted(model)
    assert [view.find(label(number)) for number in range(30)] == [model.get(label(number)) for number in range(30)]
    assert summary(view) == Summary(len(model), sha256(b"".join(ordered)))
    assert list(merge(view)) == sorted(model.items())


numbers = st.integers(0, 24)
changes = st.tuples(st.dictionaries(numbers, st.integers(0, 255), max_size=6), st.sets(numbers, max_size=6))
joins = st.integers(0, 7)
histories = st.lists(st.one_of(changes, joins, st.just("merge"), st.just("nothing")), max_size=8)


@settings(deadline=None, max_examples=150)
@given(st.one_of(st.none(), st.dictionaries(numbers, st.integers(0, 255), max_size=20)), histories, st.integers(1, 5))
def test_any_history_says_what_a_dictionary_says(first, history, bucket):
    model = {label(number): sealed(value) for number, value in (first or {}).items()}
    view = ListView(None if first is None else base(sorted(model.items()), bucket=bucket))
    expect(view, model)
    for step in history:
        if step == "merge":
            view = ListView(base(merge(view), bucket=bucket))
        elif isinstance(step, int):
            older, newer = view.deltas[:step], view.deltas[step:]
            view = ListView(view.base, (*older, joined_delta(view.base or base([]), older, newer)))
        elif step == "nothing":
            view = ListView(view.base, (*view.deltas, delta()))
        else:
            added = {label(number): sealed(value) for number, value in step[0].items()}
            gone = {label(number) for number in step[1]} - added.keys()
            view = ListView(view.base, (*view.deltas, delta(added, gone)))
            model = {one: record for one, record in (model | added).items() if one not in gone}
        expect(view, model)


def test_newest_segment_that_names_a_label_decides():
    listed = base(rows(1, 2, 3))
    again = delta({label(1): sealed(9)})
    gone = delta(withdrawn=[label(1)])
    assert ListView(listed).find(label(1)) == sealed(1)
    assert ListView(listed, [again]).find(label(1)) == sealed(9)
    assert ListView(listed, [again, gone]).find(label(1)) is None
    assert ListView(listed, [gone, again]).find(label(1)) == sealed(9)
    assert ListView(listed, [gone, again]).find(label(2)) == sealed(2)


def test_view_of_nothing_is_an_empty_list():
    assert summary(ListView(None)) == Summary(0, sha256(b""))
    assert ListView(None).find(label(1)) is None
    assert ListView(None).withdrawal(label(1)) is None


def test_withdrawing_what_is_not_listed_changes_nothing():
    view = ListView(base(rows(1, 2)), [delta(withdrawn=[label(7)])])
    expect(view, dict(rows(1, 2)))


def test_withdrawing_all_leaves_an_empty_list():
    view = ListView(base(rows(1, 2, 3, 4)), [delta(withdrawn=[label(n) for n in (1, 2, 3, 4)])])
    expect(view, {})
    expect(ListView(base(merge(view))), {})


@pytest.mark.parametrize("reason", REASONS)
def test_reason_of_a_withdrawal_is_the_newest_one(reason):
    gone = delta(withdrawn=[label(1)], reason=reason)
    view = ListView(base(rows(1, 2)), [delta(withdrawn=[label(1)]), gone])
    assert view.withdrawal(label(1)) == reason
    assert view.withdrawal(label(2)) is None
    assert ListView(None, [gone, delta(rows(1))]).withdrawal(label(1)) is None


@pytest.mark.parametrize("other", [{"list_name": "jd/other"}, {"epoch": bytes(32)}])
def test_segments_of_two_lists_or_epochs_are_not_mixed(other):
    with pytest.raises(SegmentError) as refused:
        ListView(base(rows(1)), [delta(rows(2), **other)])
    assert refused.value.code == "segment_mixed"
    with pytest.raises(SegmentError):
        ListView(None, [delta(rows(1)), delta(rows(2), **other)])


def test_on_demand_the_deltas_decide_without_a_bucket():
    listed = base(rows(*range(12)), on_demand=True)
    view = ListView(listed, [delta({label(1): sealed(99)}, [label(2)])])
    assert view.find(label(1)) == sealed(99)
    assert view.find(label(2)) is None
    assert isinstance(view.find(label(3)), NeedBucket)
    assert view.find(label(50)) is None


@pytest.mark.parametrize("use", [summary, lambda view: list(merge(view))])
def test_on_demand_a_list_cannot_be_read_through(use):
    with pytest.raises(ValueError, match="on demand"):
        use(ListView(base(rows(1, 2), on_demand=True)))


def test_untouched_buckets_are_hashed_where_they_lie():
    listed = base(rows(*range(30)))
    runs = list(ListView(listed, [delta({label(200): sealed(1)})]).labels())
    assert len(runs) == listed.buckets
    assert [type(run) for run in runs].count(bytes) == 1


def test_view_is_let_go_without_the_collector():
    """A cycle would keep a replaced file mapped until the collector happens to run."""
    view = ListView(base(rows(1, 2, 3)), [delta(rows(4))])
    gone = weakref.ref(memoryview_of(view))
    gc.disable()
    try:
        del view
        assert gone() is None
    finally:
        gc.enable()


def memoryview_of(view):
    return view.base._bloom._bits


def test_large_random_history():
    source = random.Random(3)
    universe = [source.randbytes(16) for _ in range(3000)]
    model = {one: source.randbytes(156) for one in universe[:2000]}
    deltas = []
    listed = base(sorted(model.items()), bucket=256)
    for _ in range(20):
        added = {one: source.randbytes(156) for one in source.sample(universe, 30)}
        gone = set(source.sample(universe, 30)) - added.keys()
        deltas.append(delta(added, gone))
        model = {one: record for one, record in (model | added).items() if one not in gone}
    view = ListView(listed, deltas)
    assert [view.find(one) for one in universe] == [model.get(one) for one in universe]
    assert list(merge(view)) == sorted(model.items())
    assert summary(view) == Summary(len(model), sha256(b"".join(sorted(model))))
    assert summary(ListView(base(merge(view)))) == summary(view)
