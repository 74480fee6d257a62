"""`Subscriber` as it runs in a peer: its tasks follow owners and lists; tests wait for what must come about."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from riskshare.errors import PeerDown, StoreError
from riskshare.sharing.catalogue import CatalogueStatement
from riskshare.sharing.copies import Rules
from riskshare.sharing.standing import Status
from tests.simulator.publishing import Clock, Desk, MemoryState, Reader, StubbornSource, forge, look_up

PHONES = [f"phone:+86138001380{n:02}" for n in range(60)]


async def until(true):
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)


class World:
    """Owners that publish, and a reader whose subscriber runs inside `running`."""

    def __init__(self, folder, *names):
        self.folder = folder
        self.clock = Clock()
        self.source = StubbornSource()
        self.state = MemoryState()
        self.desks = {name: Desk(folder, name, self.clock) for name in names}
        self.publishers = {name: desk.publisher() for name, desk in self.desks.items()}
        self.reader = None
        self.restart()

    def restart(self, rules=None):
        desks = list(self.desks.values())
        self.reader = Reader(
            self.folder / "mirror", self.source, desks, clock=self.clock, state=self.state, rules=rules
        )

    async def publish(self, name="jd"):
        await self.publishers[name].refresh()
        if name in self.source.owners:
            await self.source.owners[name].load()
        else:
            self.source.owners[name] = await self.desks[name].published()

    @asynccontextmanager
    async def running(self):
        task = asyncio.create_task(self.reader.subscriber.run())
        try:
            yield self.reader
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def epoch(self, name="jd"):
        return self.desks[name].store.all_epochs[-1].digest

    def version(self, full):
        following = self.reader.mirror.following(full, self.epoch(full.partition("/")[0]))
        return None if following is None else following.snapshot.version

    def finds(self, full, phone):
        owner = full.partition("/")[0]
        following = self.reader.mirror.following(full, self.epoch(owner))
        key = self.source.owners[owner].own_key(self.epoch(owner))
        return following is not None and look_up(following.view, key, full, phone) is not None

    def status(self, full):
        return self.reader.mirror.trusted.status(full, self.clock())


@pytest.fixture
async def world(tmp_path):
    made = World(tmp_path, "jd")
    made.of = made.desks["jd"].create_list()
    made.desks["jd"].put(made.of, *PHONES[:10])
    await made.publish()
    return made


async def test_lists_are_found_by_the_catalogue_and_followed(world):
    async with world.running():
        await until(lambda: world.version("jd/fraud") == 1)
    assert world.finds("jd/fraud", PHONES[0])
    assert world.status("jd/fraud") is Status.CURRENT
    assert world.reader.subscriber.unreachable == set()


async def test_a_change_wakes_the_poll_and_comes_by_its_delta_alone(world):
    async with world.running():
        await until(lambda: world.version("jd/fraud") == 1)
        world.source.fetched.clear()
        world.desks["jd"].put(world.of, PHONES[20])
        await world.publish()
        await until(lambda: world.finds("jd/fraud", PHONES[20]))
    (delta,) = world.source.fetched
    row = world.desks["jd"].store.all_segments[delta[0]]
    assert (row.kind, delta[1:]) == ("delta", (0, row.ref.file_length))


async def test_a_poll_without_news_confirms_the_list(world):
    async with world.running():
        await until(lambda: world.version("jd/fraud") == 1)
        world.clock.wait(seconds=59)
        polls = world.source.calls.count("snapshot")
        await until(lambda: world.source.calls.count("snapshot") >= polls + 4)
        world.clock.wait(seconds=59)
        assert world.status("jd/fraud") is Status.CURRENT


async def test_an_owner_that_is_down_is_told_and_taken_up_again(world):
    async with world.running():
        await until(lambda: world.version("jd/fraud") == 1)
        world.source.down.add("jd")
        await until(lambda: "jd" in world.reader.subscriber.unreachable)
        world.clock.wait(seconds=61)
        assert world.status("jd/fraud") is Status.STALE
        assert world.finds("jd/fraud", PHONES[0])
        world.desks["jd"].put(world.of, PHONES[20])
        await world.publish()
        world.source.down.clear()
        await until(lambda: world.finds("jd/fraud", PHONES[20]))
        await until(lambda: world.status("jd/fraud") is Status.CURRENT)
        await until(lambda: not world.reader.subscriber.unreachable)
    assert "peer_down" in world.reader.witness.codes()


async def test_one_owners_trouble_touches_no_other(tmp_path):
    world = World(tmp_path, "jd", "ub")
    for desk in world.desks.values():
        desk.put(desk.create_list(), PHONES[0])
    await world.publish("jd")
    await world.publish("ub")
    world.source.down.add("jd")
    async with world.running():
        await until(lambda: world.finds("ub/fraud", PHONES[0]))
    assert world.version("jd/fraud") is None
    assert world.reader.subscriber.unreachable == {"jd"}


async def test_a_new_list_is_followed(world):
    async with world.running():
        await until(lambda: world.version("jd/fraud") == 1)
        more = world.desks["jd"].create_list("more", "marketing_cheating")
        world.desks["jd"].put(more, PHONES[30])
        await world.publish()
        await until(lambda: world.finds("jd/more", PHONES[30]))


async def test_a_list_that_the_catalogue_ends_is_dropped(world):
    async with world.running():
        await until(lambda: world.version("jd/fraud") == 1)
        catalogue = world.reader.mirror.trusted.catalogue("jd")
        ended = tuple(replace(entry, ended=True) for entry in catalogue.lists)
        lie = CatalogueStatement("jd", "icbc", 1000, world.clock(), catalogue.expires_at, ended)
        world.source.catalogues["jd"] = forge(world.desks["jd"], lie, "catalogue")
        await until(lambda: world.version("jd/fraud") is None)
    assert list(world.reader.files.digests()) == []
    assert world.status("jd/fraud") is Status.UNLISTED


async def test_a_list_that_vanishes_is_missed_over_a_restart_too_until_its_snapshot_would_have_expired(world):
    async with world.running():
        await until(lambda: world.version("jd/fraud") == 1)
        world.desks["jd"].store.rows.clear()
        await world.publish()
        await until(lambda: world.version("jd/fraud") is None)
        await until(lambda: "list_gone" in world.reader.witness.codes())
        assert usable(world) == [(Status.MISSING, None)]
        looks = world.source.calls.count("catalogue")
        await until(lambda: world.source.calls.count("catalogue") >= looks + 3)
    assert world.reader.witness.told.count(("failed", "jd", "jd/fraud", "list_gone")) == 1
    assert list(world.reader.files.digests()) == []
    world.restart()
    await world.reader.mirror.restore(["jd"])
    async with world.running():
        await until(lambda: world.reader.mirror.trusted.catalogue_status("jd", world.clock()) is Status.CURRENT)
        assert usable(world) == [(Status.MISSING, None)]
        world.clock.wait(hours=24)
        await until(lambda: world.reader.mirror.trusted.catalogue_status("jd", world.clock()) is Status.CURRENT)
        assert usable(world) == []


async def test_an_owner_that_the_registry_no_longer_names_is_dropped(world):
    async with world.running():
        await until(lambda: world.version("jd/fraud") == 1)
        world.reader.names.clear()
        world.reader.subscriber.owners_changed()
        await until(lambda: world.version("jd/fraud") is None)
        calls = len(world.source.calls)
        await asyncio.sleep(0)
        assert len(world.source.calls) == calls


async def test_the_next_epoch_is_followed_beside_the_old_one(world):
    async with world.running():
        await until(lambda: world.version("jd/fraud") == 1)
        old = world.epoch()
        world.clock.wait(days=29, hours=1)
        await world.publish()
        await until(lambda: world.finds("jd/fraud", PHONES[0]))
        await until(lambda: world.reader.mirror.following("jd/fraud", old).snapshot.version == 2)
        trusted = world.reader.mirror.trusted
        await until(lambda: trusted.epoch_in_use("jd", "default", world.clock()).number == 2)


async def test_a_list_is_whole_at_every_moment_of_its_move_into_the_next_epoch(world, monkeypatch):
    async with world.running():
        await until(lambda: world.version("jd/fraud") == 1)
        store, seen = world.state.save_trusted, []

        async def save(row):
            seen.append(usable(world))
            await asyncio.sleep(0)
            return await store(row)

        monkeypatch.setattr(world.state, "save_trusted", save)
        old = world.epoch()
        world.clock.wait(days=29, hours=1)
        await world.publish()
        await until(lambda: world.reader.mirror.trusted.epoch_in_use("jd", "default", world.clock()).number == 2)
        await until(lambda: world.finds("jd/fraud", PHONES[0]))
    assert Status.MISSING not in {status for [(status, _)] in seen}
    assert old in {epoch for [(_, epoch)] in seen}
    assert [status for status, _ in usable(world)] == [Status.CURRENT]


# --- an epoch that its owner ends early


def end_of(world, epoch, at=None):
    """The owner's emergency statement for an epoch, in its wire form."""
    opened = world.reader.mirror.trusted.epoch(epoch)
    return forge(world.desks["jd"], opened.end(at or world.clock(), "key_exposed"), "epoch")


def usable(world):
    return [
        (each.status, each.held and each.held.snapshot.epoch)
        for each in world.reader.mirror.standing("jd", world.clock()).lists
    ]


async def test_an_epoch_that_is_ended_early_is_out_of_use_with_the_next_catalogue(world):
    async with world.running():
        await until(lambda: world.version("jd/fraud") == 1)
        generation = world.reader.mirror.generation
        world.source.epochs[world.epoch()] = end_of(world, world.epoch())
        await until(lambda: world.version("jd/fraud") is None)
        assert world.reader.mirror.generation > generation
        assert usable(world) == [(Status.MISSING, None)]
        assert world.state.proofs == []
        await until(lambda: list(world.reader.files.digests()) == [])
        polls = world.source.calls.count("snapshot")
        looks = world.source.calls.count("catalogue")
        await until(lambda: world.source.calls.count("catalogue") >= looks + 4)
        assert world.source.calls.count("snapshot") <= polls + 1


async def test_the_end_is_remembered_when_the_owner_is_away_after_a_restart(world):
    async with world.running():
        await until(lambda: world.version("jd/fraud") == 1)
        world.source.epochs[world.epoch()] = end_of(world, world.epoch())
        await until(lambda: world.version("jd/fraud") is None)
        writes = world.state.writes
        looks = world.source.calls.count("catalogue")
        await until(lambda: world.source.calls.count("catalogue") >= looks + 2)
        assert world.state.writes == writes
    world.source.down.add("jd")
    world.restart()
    await world.reader.mirror.restore(["jd"])
    assert usable(world) == [(Status.MISSING, None)]


async def test_the_old_epoch_of_a_change_over_can_be_ended_too(world):
    """No catalogue names it any more, and its key may be the one that was stolen."""
    async with world.running():
        await until(lambda: world.version("jd/fraud") == 1)
        old = world.epoch()
        world.clock.wait(days=29, hours=1)
        await world.publish()
        await until(lambda: world.finds("jd/fraud", PHONES[0]))
        await until(lambda: world.reader.mirror.following("jd/fraud", old) is not None)
        assert old not in {entry.epoch for entry in world.reader.mirror.trusted.catalogue("jd")}
        world.source.epochs[old] = end_of(world, old)
        await until(lambda: world.reader.mirror.following("jd/fraud", old) is None)
        assert usable(world) == [(Status.CURRENT, world.epoch())]


async def test_an_end_is_neither_moved_back_nor_taken_back(world):
    async with world.running():
        await until(lambda: world.version("jd/fraud") == 1)
        opened = world.source.owners["jd"].epoch(world.epoch(), "icbc")
        late = end_of(world, world.epoch(), world.clock.now.replace(hour=20))
        world.source.epochs[world.epoch()] = end_of(world, world.epoch())
        await until(lambda: world.version("jd/fraud") is None)
        for lie in (opened, late):
            world.source.epochs[world.epoch()] = lie
            looks = world.source.calls.count("catalogue")
            await until(lambda seen=looks: world.source.calls.count("catalogue") >= seen + 3)
            assert world.version("jd/fraud") is None


async def test_an_end_that_lies_ahead_takes_effect_when_it_comes(world):
    async with world.running():
        await until(lambda: world.version("jd/fraud") == 1)
        at = world.clock.now.replace(hour=9)
        world.source.epochs[world.epoch()] = end_of(world, world.epoch(), at)
        await until(lambda: world.reader.mirror.trusted.epoch(world.epoch()).until == at)
        assert world.version("jd/fraud") == 1
        world.clock.wait(hours=1)
        await until(lambda: world.version("jd/fraud") is None)


async def test_another_epoch_of_the_same_number_is_a_fraud_and_not_an_end(world):
    async with world.running():
        await until(lambda: world.version("jd/fraud") == 1)
        opened = world.reader.mirror.trusted.epoch(world.epoch())
        other = replace(opened, not_after=world.clock.now.replace(hour=9))
        world.source.epochs[world.epoch()] = forge(world.desks["jd"], other, "epoch")
        await until(lambda: ("fraud", "jd", "epoch") in world.reader.witness.told)
        assert "fork" in world.reader.witness.codes()
        assert world.finds("jd/fraud", PHONES[0])


async def test_another_epoch_than_the_one_asked_for_is_refused(world):
    desk = world.desks["jd"]
    desk.put(desk.create_list("granted", keyset="partners"), PHONES[40])
    await world.publish()
    first, second = (row.digest for row in desk.store.all_epochs)
    world.source.epochs[first] = world.source.owners["jd"].epoch(second, "icbc")
    async with world.running():
        await until(lambda: "wrong_epoch" in world.reader.witness.codes())
        assert world.reader.mirror.trusted.epoch(first) is None


async def test_an_owner_that_no_longer_gives_out_an_epoch_is_followed_on(world):
    async with world.running():
        await until(lambda: world.version("jd/fraud") == 1)
        world.source.epochs[world.epoch()] = None
        looks = world.source.calls.count("catalogue")
        await until(lambda: world.source.calls.count("catalogue") >= looks + 3)
        assert world.reader.witness.codes() == []
        world.desks["jd"].put(world.of, PHONES[20])
        await world.publish()
        await until(lambda: world.finds("jd/fraud", PHONES[20]))


async def test_two_catalogues_of_one_version_are_a_fraud_and_told(world):
    async with world.running():
        await until(lambda: world.version("jd/fraud") == 1)
        true = world.reader.mirror.trusted.catalogue("jd")
        world.source.catalogues["jd"] = forge(world.desks["jd"], replace(true, lists=()), "catalogue")
        await until(lambda: world.state.proofs)
    assert ("fraud", "jd", "catalogue") in world.reader.witness.told
    assert "fork" in world.reader.witness.codes()
    assert world.finds("jd/fraud", PHONES[0])


async def test_an_epoch_that_cannot_be_had_does_not_keep_the_others_away(world):
    desk = world.desks["jd"]
    granted = desk.create_list("granted", keyset="partners")
    desk.put(granted, PHONES[40])
    await world.publish()
    hidden = next(row.digest for row in desk.store.all_epochs if row.keyset == "default")
    true_epoch = world.source.epoch

    async def epoch(owner, digest):
        if digest == hidden:
            raise PeerDown(owner, "gone")
        return await true_epoch(owner, digest)

    world.source.epoch = epoch
    async with world.running():
        await until(lambda: world.finds("jd/granted", PHONES[40]))
        assert world.reader.mirror.following("jd/fraud", hidden) is None
        world.source.epoch = true_epoch
        await until(lambda: world.reader.mirror.following("jd/fraud", hidden) is not None)


async def test_an_owner_that_repeats_itself_does_not_keep_us_busy(world):
    async with world.running():
        await until(lambda: world.version("jd/fraud") == 1)
        world.source.snapshots["jd/fraud"] = world.source.owners["jd"].snapshot("jd/fraud", world.epoch(), "icbc")[1]
        calls = world.source.calls.count("snapshot")
        looks = world.source.calls.count("catalogue")
        await until(lambda: world.source.calls.count("catalogue") >= looks + 8)
        assert world.source.calls.count("snapshot") <= calls + 4


async def test_a_lie_is_told_and_the_last_good_list_serves(world):
    async with world.running():
        await until(lambda: world.version("jd/fraud") == 1)
        old = world.source.owners["jd"].snapshot("jd/fraud", world.epoch(), "icbc")[1]
        world.desks["jd"].put(world.of, PHONES[20])
        await world.publish()
        await until(lambda: world.version("jd/fraud") == 2)
        world.source.snapshots["jd/fraud"] = old
        await until(lambda: "rollback" in world.reader.witness.codes())
        assert world.finds("jd/fraud", PHONES[20])


async def test_a_restart_goes_on_where_it_was(world):
    async with world.running():
        await until(lambda: world.version("jd/fraud") == 1)
        await until(lambda: ("jd", "jd/fraud") in world.state.rows and ("jd", "") in world.state.rows)
    world.restart()
    await world.reader.mirror.restore(["jd"])
    assert world.finds("jd/fraud", PHONES[0])
    world.source.fetched.clear()
    world.desks["jd"].put(world.of, PHONES[20])
    await world.publish()
    async with world.running():
        await until(lambda: world.finds("jd/fraud", PHONES[20]))
    assert len(world.source.fetched) == 1


LONG_POLLS = Rules(catalogue_seconds=0.02, hold_seconds=60)


async def test_after_a_restart_nothing_is_confirmed_and_the_first_poll_is_not_held(world):
    async with world.running():
        await until(lambda: world.version("jd/fraud") == 1)
        await until(lambda: ("jd", "jd/fraud") in world.state.rows and ("jd", "") in world.state.rows)
    world.restart(LONG_POLLS)
    await world.reader.mirror.restore(["jd"])
    assert world.finds("jd/fraud", PHONES[0])
    assert world.status("jd/fraud") is Status.STALE
    async with world.running():
        await until(lambda: world.status("jd/fraud") is Status.CURRENT)


@pytest.mark.parametrize(("late", "believed"), [(0.2 + 10, True), (0.2 + 11, False), (7200, False)])
async def test_an_answer_from_before_this_process_was_halted_confirms_nothing(world, late, believed):
    async with world.running():
        await until(lambda: world.version("jd/fraud") == 1)
    world.clock.wait(seconds=61)
    answer = world.source.snapshot

    async def halted(*arguments):
        answered = await answer(*arguments)
        world.clock.wait(seconds=late)
        return answered

    world.source.snapshot = halted
    assert await world.reader.subscriber.poll(("jd/fraud", world.epoch()), 0.2) is believed
    assert (world.status("jd/fraud") is Status.CURRENT) is believed
    world.source.snapshot = answer
    assert await world.reader.subscriber.poll(("jd/fraud", world.epoch()), 0.0)
    assert world.status("jd/fraud") is Status.CURRENT


@pytest.mark.parametrize("trouble", ["failure", "halt"])
async def test_after_a_failure_or_a_halt_the_next_poll_is_not_held(world, trouble):
    world.restart(LONG_POLLS)
    holds = []
    answer = world.source.snapshot

    async def troubled(owner, list_name, epoch, known, wait):
        holds.append(wait)
        if len(holds) != 2:
            return await answer(owner, list_name, epoch, known, wait)
        world.clock.wait(seconds=120)
        if trouble == "failure":
            raise PeerDown(owner, "There is no connection.")
        return None

    world.source.snapshot = troubled
    async with world.running():
        await until(lambda: len(holds) == 4)
        assert holds == [0, 60, 0, 60]
        assert world.status("jd/fraud") is Status.CURRENT


async def test_a_restart_without_files_fetches_them(world):
    async with world.running():
        await until(lambda: world.version("jd/fraud") == 1)
        await until(lambda: ("jd", "jd/fraud") in world.state.rows and ("jd", "") in world.state.rows)
    for digest in world.reader.files.digests():
        world.reader.files.delete(digest)
    world.restart()
    await world.reader.mirror.restore(["jd"])
    async with world.running():
        await until(lambda: world.finds("jd/fraud", PHONES[0]))


async def test_a_store_that_is_away_is_told_and_the_state_stored_later(world):
    def away():
        raise StoreError("away")

    world.state.fault = away
    async with world.running():
        await until(lambda: "store_unavailable" in world.reader.witness.codes())
        await until(lambda: world.version("jd/fraud") == 1)
        world.state.fault = lambda: None
        await until(lambda: ("jd", "jd/fraud") in world.state.rows and ("jd", "") in world.state.rows)


async def test_the_end_leaves_no_task_behind(world):
    async with world.running():
        await until(lambda: world.version("jd/fraud") == 1)
    assert asyncio.all_tasks() == {asyncio.current_task()}
