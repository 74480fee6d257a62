"""What an owner announces and then does not announce any more; and how much it may announce."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from riskshare.encoding import canonical_json, parse_canonical_json
from riskshare.errors import SnapshotError
from riskshare.sharing import announced
from riskshare.sharing.announced import MOST_LISTS
from riskshare.sharing.catalogue import CatalogueEntry
from riskshare.sharing.chain import MOST_EPOCHS
from riskshare.sharing.standing import Status
from riskshare.sharing.trusted import TrustedSnapshots
from tests.simulator.owner import Follower, Network, Owner

NAME = "jd/high-risk"
HOUR = timedelta(hours=1)


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def owner(network) -> Owner:
    owner = network.add("jd")
    owner.open_epoch()
    owner.create_list("high-risk")
    owner.publish(NAME)
    return owner


@pytest.fixture
def follower(network, owner) -> Follower:
    return Follower(network)


def learn(follower, owner, **changes):
    wire = owner.catalogue("icbc", expires_at=owner.network.now + HOUR, **changes)
    follower.trusted.accept_catalogue("jd", wire, owner.network.now)
    for epoch in owner.epochs["default"]:
        follower.trusted.accept_epoch("jd", owner.wire(epoch), owner.network.now)


def standing(follower):
    found = follower.trusted.standing("jd", follower.network.now)
    return [(each.entry.list_name, each.status) for each in found.lists]


def refused(code, call, *arguments, **more):
    with pytest.raises(SnapshotError) as caught:
        call(*arguments, **more)
    assert caught.value.code == code


# -- lists that are gone --------------------------------------------------------------


def test_a_list_that_vanishes_is_missed_as_long_as_its_snapshot_was_in_force(network, owner, follower):
    learn(follower, owner)
    follower.poll(owner, NAME)
    expires_at = follower.trusted.newest(NAME, owner.lists[NAME].epoch).snapshot.expires_at
    del owner.lists[NAME]
    learn(follower, owner)
    while network.now < expires_at:
        assert standing(follower) == [(NAME, Status.MISSING)]
        assert follower.trusted.status(NAME, network.now) is Status.MISSING
        network.wait(minutes=59)
        learn(follower, owner)
    assert standing(follower) == []
    assert follower.trusted.status(NAME, network.now) is Status.UNLISTED
    assert follower.trusted.owner_state("jd")["gone"] == []


def test_nothing_serves_of_a_list_that_is_gone(network, owner, follower):
    learn(follower, owner)
    follower.poll(owner, NAME)
    del owner.lists[NAME]
    learn(follower, owner)
    (each,) = follower.trusted.standing("jd", network.now).lists
    assert each.held is None


def test_a_list_that_nobody_had_fetched_is_missed_as_long_as_its_catalogue_would_have_lasted(network, owner, follower):
    learn(follower, owner)
    del owner.lists[NAME]
    network.wait(minutes=1)
    learn(follower, owner)
    assert standing(follower) == [(NAME, Status.MISSING)]
    network.wait(minutes=59)
    assert standing(follower) == []


def test_a_list_whose_epoch_is_over_is_not_missed_beyond_it(network, owner, follower):
    learn(follower, owner)
    follower.poll(owner, NAME)
    epoch = owner.epochs["default"][0]
    end = epoch.end(network.now + 2 * HOUR, "key_exposed")
    follower.trusted.accept_epoch("jd", owner.wire(end), network.now)
    del owner.lists[NAME]
    learn(follower, owner)
    network.wait(minutes=119)
    assert standing(follower) == [(NAME, Status.MISSING)]
    network.wait(minutes=1)
    assert standing(follower) == []


def test_a_list_whose_end_was_told_is_not_missed(network, owner, follower):
    """So an owner ends a list, or a grant, without harm to its reader's checks."""
    learn(follower, owner)
    follower.poll(owner, NAME)
    owner.lists[NAME] = replace(owner.lists[NAME], ended=True)
    learn(follower, owner)
    assert standing(follower) == []
    del owner.lists[NAME]
    network.wait(minutes=1)
    learn(follower, owner)
    assert standing(follower) == []


def test_a_list_that_is_gone_and_then_told_to_have_ended_is_not_missed_any_more(network, owner, follower):
    learn(follower, owner)
    follower.poll(owner, NAME)
    entry = owner.lists.pop(NAME)
    learn(follower, owner)
    assert standing(follower) == [(NAME, Status.MISSING)]
    owner.lists[NAME] = replace(entry, ended=True)
    learn(follower, owner)
    assert standing(follower) == []


def test_a_list_that_comes_back_is_as_it_was(network, owner, follower):
    learn(follower, owner)
    follower.poll(owner, NAME)
    entry = owner.lists.pop(NAME)
    learn(follower, owner)
    owner.lists[NAME] = entry
    learn(follower, owner)
    assert standing(follower) == [(NAME, Status.CURRENT)]
    assert follower.trusted.owner_state("jd")["gone"] == []


def test_a_list_that_is_gone_is_remembered_over_a_restart(network, owner, follower):
    learn(follower, owner)
    follower.poll(owner, NAME)
    del owner.lists[NAME]
    learn(follower, owner)
    state = parse_canonical_json(canonical_json(follower.trusted.state()), limit=1 << 24)
    follower.trusted = TrustedSnapshots("testnet", "icbc", network.keys)
    follower.trusted.restore(state)
    assert standing(follower) == [(NAME, Status.MISSING)]
    network.wait(minutes=1)
    learn(follower, owner)
    assert standing(follower) == [(NAME, Status.MISSING)]


def test_a_list_that_vanishes_while_the_reader_is_away_is_missed_too(network, owner, follower):
    learn(follower, owner)
    follower.poll(owner, NAME)
    state = parse_canonical_json(canonical_json(follower.trusted.state()), limit=1 << 24)
    del owner.lists[NAME]
    network.wait(hours=3)
    follower.trusted = TrustedSnapshots("testnet", "icbc", network.keys)
    follower.trusted.restore(state)
    learn(follower, owner)
    assert standing(follower) == [(NAME, Status.MISSING)]


def test_a_state_from_before_lists_were_missed_is_read(network, owner, follower):
    learn(follower, owner)
    state = follower.trusted.owner_state("jd")
    del state["gone"]
    follower.trusted.restore_owner(state)
    assert standing(follower) == [(NAME, Status.MISSING)]


@pytest.mark.parametrize("harm", [None, {}, {"list": None, "until": "x"}, {"list": {}, "until": 1}])
def test_a_kept_list_that_is_gone_and_malformed_is_refused(owner, follower, harm):
    learn(follower, owner)
    state = {**follower.trusted.owner_state("jd"), "gone": [harm]}
    refused("malformed_statement", follower.trusted.restore_owner, state)


def test_a_refused_catalogue_makes_no_list_vanish(network, owner, follower):
    learn(follower, owner)
    follower.poll(owner, NAME)
    old = owner.catalogue("icbc", lists=[])
    learn(follower, owner)
    refused("rollback", follower.trusted.accept_catalogue, "jd", old, network.now)
    assert standing(follower) == [(NAME, Status.CURRENT)]


# -- bounds ---------------------------------------------------------------------------


def many(owner, count, start=0):
    epoch = owner.lists[NAME].epoch
    return [CatalogueEntry(f"jd/l{n:04}", "fraud", "default", epoch) for n in range(start, start + count)]


def test_an_owner_has_at_most_so_many_lists(network, owner, follower):
    learn(follower, owner, lists=many(owner, MOST_LISTS))
    wire = owner.catalogue("icbc", lists=many(owner, MOST_LISTS + 1))
    refused("too_many_lists", follower.trusted.accept_catalogue, "jd", wire, network.now)
    assert len(follower.trusted.catalogue("jd").lists) == MOST_LISTS
    assert len(standing(follower)) == MOST_LISTS


def test_the_bound_on_lists_is_the_readers_to_set(network, owner):
    follower = Follower(network, most_lists=2)
    learn(follower, owner, lists=many(owner, 2))
    refused("too_many_lists", learn, follower, owner, lists=many(owner, 3))


def test_ended_lists_do_not_count(owner, follower):
    ended = [replace(entry, ended=True) for entry in many(owner, MOST_LISTS)]
    learn(follower, owner, lists=[*ended, owner.lists[NAME]])
    assert standing(follower) == [(NAME, Status.MISSING)]


def test_lists_that_are_gone_count(network, owner):
    """Or names could be changed for ever, and each would be remembered."""
    follower = Follower(network, most_lists=3)
    learn(follower, owner, lists=many(owner, 2))
    refused("too_many_lists", learn, follower, owner, lists=many(owner, 2, start=2))
    assert standing(follower) == [(entry.list_name, Status.MISSING) for entry in many(owner, 2)]
    network.wait(hours=1)
    learn(follower, owner, lists=many(owner, 2, start=2))


def test_the_bound_on_lists_holds_after_a_restart(network, owner):
    follower = Follower(network, most_lists=2)
    learn(follower, owner, lists=many(owner, 2))
    follower.trusted.restore_owner(follower.trusted.owner_state("jd"))
    refused("too_many_lists", learn, follower, owner, lists=many(owner, 3))


def test_a_keyset_has_at_most_so_many_epochs_at_once(network, owner, follower):
    for _ in range(MOST_EPOCHS - 1):
        owner.open_epoch()
    learn(follower, owner)
    more = owner.open_epoch()
    refused("too_many_epochs", follower.trusted.accept_epoch, "jd", owner.wire(more), network.now)
    assert follower.trusted.epoch(more.digest) is None
    for known in owner.epochs["default"][:-1]:
        follower.trusted.accept_epoch("jd", owner.wire(known), network.now)


def test_an_epoch_that_is_ended_makes_room_for_the_next(network, owner, follower):
    for _ in range(MOST_EPOCHS - 1):
        owner.open_epoch()
    learn(follower, owner)
    end = owner.epochs["default"][0].end(network.now, "key_exposed")
    follower.trusted.accept_epoch("jd", owner.wire(end), network.now)
    follower.trusted.accept_epoch("jd", owner.wire(owner.open_epoch()), network.now)


def test_an_owner_has_at_most_so_many_epochs_at_once_of_all_keysets(network, owner):
    follower = Follower(network, most_lists=2)
    for number in range(2 * MOST_EPOCHS):
        epoch = owner.open_epoch(f"k{number}")
        follower.trusted.accept_epoch("jd", owner.wire(epoch), network.now)
    more = owner.wire(owner.open_epoch("more"))
    refused("too_many_epochs", follower.trusted.accept_epoch, "jd", more, network.now)


def test_of_epochs_that_are_over_the_last_are_remembered(monkeypatch, network, owner, follower):
    monkeypatch.setattr(announced, "MOST_EPOCHS_KEPT", 3)
    learn(follower, owner)
    for _ in range(6):
        network.wait(days=1)
        follower.trusted.accept_epoch("jd", owner.wire(owner.open_epoch("short", days=0.5)), network.now)
    numbers = sorted(epoch.number for epoch in follower.trusted.epochs("jd") if epoch.keyset == "short")
    assert numbers == [3, 4, 5, 6]
    assert owner.epochs["default"][0] in follower.trusted.epochs("jd")
