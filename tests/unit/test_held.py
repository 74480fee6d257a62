"""An owner that is named twice counts once, with all its lists and its worst state."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from riskshare.query.held import HeldEpoch, HeldList, HeldOwner, merged
from riskshare.sharing.view import ListView

VIEW = ListView(None)


def held(name, version=1):
    return HeldList(name, "telecom_fraud", version, bytes(32), current=True, view=VIEW)


def owner(name, state="current", **epochs):
    return HeldOwner(name, state, tuple(HeldEpoch(digest.encode(), lists) for digest, lists in epochs.items()))


def test_nothing_changes_for_owners_named_once():
    owners = [owner("jd", a=(held("jd/a"),)), owner("icbc", "down")]
    assert merged(owners) is owners
    assert merged([]) == []


def test_all_lists_of_both_count():
    both = [owner("jd", a=(held("jd/a"),)), owner("icbc"), owner("jd", a=(held("jd/b"),), b=(held("jd/c"),))]
    assert merged(both) == [owner("jd", a=(held("jd/a"), held("jd/b")), b=(held("jd/c"),)), owner("icbc")]


def test_one_list_counts_once_at_its_newest_version():
    newest = owner("jd", a=(held("jd/a", 3),))
    assert merged([owner("jd", a=(held("jd/a", 2),)), newest]) == [newest]
    assert merged([newest, owner("jd", a=(held("jd/a", 2),))]) == [newest]
    assert merged([newest, newest]) == [newest]


def test_the_state_that_is_not_current_wins():
    assert merged([owner("jd"), owner("jd", "stale")]) == [owner("jd", "stale")]
    assert merged([owner("jd", "untrusted"), owner("jd")]) == [owner("jd", "untrusted")]


LISTS = st.lists(st.builds(held, st.sampled_from(["jd/a", "jd/b", "jd/c"]), st.integers(1, 4)), max_size=3).map(tuple)
OWNERS = st.lists(
    st.builds(
        HeldOwner,
        st.sampled_from(["jd", "icbc"]),
        st.sampled_from(["current", "stale", "down", "untrusted"]),
        st.lists(st.builds(HeldEpoch, st.sampled_from([b"a", b"b"]), LISTS), max_size=2).map(tuple),
    ),
    max_size=5,
)


def newest(owners):
    """The highest version of each list in each epoch of each owner."""
    found = {}
    for each in owners:
        for epoch in each.epochs:
            for one in epoch.lists:
                place = each.owner, epoch.digest, one.name
                found[place] = max(one.version, found.get(place, 0))
    return found


@given(OWNERS)
def test_merging_loses_no_list_and_hides_no_bad_state(owners):
    once = merged(owners)
    assert len({each.owner for each in once}) == len(once)
    assert {each.owner for each in once} == {each.owner for each in owners}
    assert newest(once) == newest(owners)
    bad = {each.owner for each in owners if each.state != "current"}
    assert {each.owner for each in once if each.state != "current"} == bad
    assert merged(once) is once
