from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from riskshare.sharing.progress import is_behind


def chain(epoch, version, *, served=True):
    return {
        "epoch": epoch,
        "links": [[n, "", "", ""] for n in range(1, version + 1)],
        "served": "tip" if served else None,
    }


def of_list(**versions):
    return {"list": "jd/fraud", "chains": [chain(epoch, version) for epoch, version in versions.items()]}


def of_owner(version, epochs=1):
    return {"owner": "jd", "links": [[version, "", "", ""]] if version else [], "epochs": [None] * epochs}


states = st.dictionaries(st.sampled_from("abc"), st.integers(0, 5)).map(lambda versions: of_list(**versions))


@given(states, states)
def test_who_is_not_behind_has_everything(mine, other):
    versions = {one["epoch"]: len(one["links"]) for one in mine["chains"]}
    lacks = any(versions.get(one["epoch"], -1) < len(one["links"]) for one in other["chains"])
    assert is_behind(mine, other) is lacks


@given(states)
def test_nobody_is_behind_himself(state):
    assert not is_behind(state, state)


def test_a_snapshot_that_serves_is_ahead_of_one_that_does_not():
    waiting = {"list": "jd/fraud", "chains": [chain("a", 3, served=False)]}
    assert is_behind(waiting, of_list(a=3))
    assert not is_behind(of_list(a=3), waiting)


def test_an_owner_is_behind_by_catalogue_or_epochs():
    assert is_behind(of_owner(1), of_owner(2))
    assert is_behind(of_owner(2, 1), of_owner(1, 2))
    assert not is_behind(of_owner(2, 2), of_owner(1, 2))
    assert is_behind(of_owner(0, 0), of_owner(1, 0))
