"""What a check is given to look into: when a list counts, and when its owner's part is not complete."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from riskshare.errors import PeerDown, SegmentError, SnapshotError
from riskshare.membership import oprf
from riskshare.membership.identifier import parse
from riskshare.membership.record import label, open_record, record_key
from riskshare.query.holdings import LASTS, Holdings
from riskshare.sharing.catalogue import CatalogueStatement
from riskshare.sharing.copies import Rules
from riskshare.sharing.segment_read import NeedBucket
from tests.simulator.publishing import Clock, Desk, MemoryState, Reader, StubbornSource, forge, look_up

PHONES = [f"phone:+86138001380{n:02}" for n in range(60)]
ALL = frozenset()
FRAUD = frozenset({"telecom_fraud"})
MULES = frozenset({"high_risk_account"})


class Shelves:
    """`holdings.Buckets`: gives parts of an owner's files, altered on command."""

    def __init__(self, desk):
        self.desk = desk
        self.asked = []
        self.alter = lambda data: data

    async def bucket(self, owner, digest, offset, length, total):
        data = self.desk.files.path(digest).read_bytes()
        assert len(data) == total
        self.asked.append((owner, offset, length))
        return self.alter(data[offset : offset + length])


class World:
    """icbc asks; jd has two lists in one keyset, `fraud` with entries and `mules`."""

    def __init__(self, folder, *, rules=None):
        self.clock = Clock()
        self.desk, self.own = Desk(folder, "jd", self.clock), Desk(folder, "icbc", self.clock)
        self.of = self.desk.create_list()
        self.desk.put(self.of, *PHONES[:10])
        self.mules = self.desk.create_list("mules", "high_risk_account")
        self.source = StubbornSource()
        self.published = self.own.new_published()
        self.owners = ["jd", "icbc"]
        self.expires = self.clock() + timedelta(days=365)
        self.unreachable = set()
        self.shelves = Shelves(self.desk)
        self.state = MemoryState()
        self.start(folder / "mirror", rules)

    def start(self, folder, rules=None):
        self.reader = Reader(folder, self.source, [self.desk], clock=self.clock, state=self.state, rules=rules)
        self.mirror = self.reader.mirror
        self.holdings = Holdings(
            member="icbc",
            owners=lambda: self.owners,
            expired=lambda now: now >= self.expires,
            mirror=self.mirror,
            published=self.published,
            unreachable=lambda: frozenset(self.unreachable),
            buckets=self.shelves,
        )

    @property
    def epoch(self):
        return self.desk.store.all_epochs[-1].digest

    async def publish(self):
        await self.desk.publisher().refresh()
        self.source.owners["jd"] = await self.desk.published()

    async def learn(self):
        await self.reader.subscriber._read_catalogue("jd")
        for task in self.reader.subscriber._following_lists.values():
            task.cancel()

    def offered(self, name):
        return self.source.owners["jd"].snapshot(name, self.epoch, "icbc")[1]

    async def take(self, *names):
        for name in names or ("jd/fraud", "jd/mules"):
            await self.mirror.take("jd", (name, self.epoch), self.offered(name))

    async def follow(self, *names):
        await self.publish()
        await self.learn()
        await self.take(*names)

    def held(self, categories=ALL, owner="jd"):
        return next(held for held in self.holdings.concerning(categories, self.clock()) if held.owner == owner)

    def shown(self, categories=ALL):
        """The owner's state, and of each list whether it may give a clear."""
        held = self.held(categories)
        return held.state, {each.name: each.current for epoch in held.epochs for each in epoch.lists}


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


# --- another owner


async def test_the_lists_of_an_owner_that_is_in_order(world):
    await world.follow()
    assert world.shown() == ("current", {"jd/fraud": True, "jd/mules": True})
    (epoch,) = world.held().epochs
    assert epoch.digest == world.epoch
    fraud = epoch.lists[0]
    following = world.mirror.following("jd/fraud", world.epoch)
    assert (fraud.category, fraud.version, fraud.digest) == ("telecom_fraud", 1, following.digest)
    assert fraud.view is following.view


def test_every_owner_that_the_registry_names_is_there_even_if_nothing_is_known_of_it(world):
    found = world.holdings.concerning(ALL, world.clock())
    assert [(held.owner, held.state, held.epochs) for held in found] == [("jd", "stale", ()), ("icbc", "current", ())]


def test_an_owner_of_whom_nothing_is_known_and_who_does_not_answer_is_down(world):
    world.unreachable.add("jd")
    assert world.shown() == ("down", {})


async def test_an_owner_that_is_in_order_is_not_down_because_a_connection_failed(world):
    await world.follow()
    world.unreachable.add("jd")
    assert world.shown() == ("current", {"jd/fraud": True, "jd/mules": True})


async def test_under_a_registry_that_has_expired_nothing_of_the_others_is_looked_into(world):
    """Nobody is asked then, and what was answered before must not make a check clear either."""
    await world.follow()
    assert [(held.state, len(held.epochs)) for held in world.holdings.concerning(ALL, world.clock())] == [
        ("current", 1),
        ("current", 0),
    ]
    world.own.put(world.own.create_list("own"), *PHONES[:2])
    await world.own.publisher().refresh()
    await world.published.load()
    assert [held.state for held in world.holdings.concerning(ALL, world.clock())] == ["current", "current"]
    world.expires = world.clock() + timedelta(milliseconds=1)
    world.clock.wait(milliseconds=1)
    others, own = world.holdings.concerning(ALL, world.clock())
    assert (others.owner, others.state, others.epochs) == ("jd", "untrusted", ())
    assert (own.owner, own.state, len(own.epochs)) == ("icbc", "current", 1), "own lists are looked into as ever"


async def test_a_catalogue_that_was_not_confirmed_leaves_hits_and_no_clear(world):
    await world.follow()
    world.clock.wait(seconds=61)
    for name in ("jd/fraud", "jd/mules"):
        await world.mirror.unchanged("jd", name, world.epoch)
    assert world.shown() == ("stale", {"jd/fraud": True, "jd/mules": True})


async def test_a_list_that_was_not_confirmed_leaves_hits_and_no_clear(world):
    await world.follow()
    world.clock.wait(seconds=61)
    await world.learn()
    await world.mirror.unchanged("jd", "jd/mules", world.epoch)
    assert world.shown() == ("current", {"jd/fraud": False, "jd/mules": True})


async def test_an_expired_list_is_not_looked_into(world):
    await world.follow()
    world.clock.wait(hours=24)
    await world.learn()
    assert world.shown() == ("stale", {})


async def test_a_catalogued_list_that_is_not_here_makes_its_owner_stale_and_the_others_are_looked_into(world):
    await world.follow("jd/mules")
    assert world.shown() == ("stale", {"jd/mules": True})


async def test_a_list_of_another_category_does_not_matter(world):
    await world.follow("jd/mules")
    assert world.shown(MULES) == ("current", {"jd/mules": True})
    assert world.shown(FRAUD) == ("stale", {})
    assert world.shown(frozenset({"no_such_category"})) == ("current", {})


async def test_a_list_whose_newest_snapshot_is_refused_leaves_hits_and_no_clear(world):
    await world.follow()
    mine = world.mirror.following("jd/fraud", world.epoch).snapshot
    with pytest.raises(SnapshotError):
        await world.mirror.take("jd", ("jd/fraud", world.epoch), forge(world.desk, replace(mine, count=14), "snapshot"))
    assert world.shown() == ("current", {"jd/fraud": False, "jd/mules": True})


async def test_a_list_whose_files_are_damaged_at_the_start_makes_its_owner_stale(world):
    await world.follow()
    ref = world.mirror.following("jd/fraud", world.epoch).snapshot.segments[0]
    world.reader.files.delete(ref.file_digest)
    world.start(world.reader.files._folder)
    await world.mirror.restore(["jd"])
    assert world.shown() == ("stale", {"jd/mules": False})


async def test_a_list_that_vanished_makes_its_owner_stale_in_its_category(world):
    await world.follow()
    del world.desk.store.rows[world.of.id]
    await world.publish()
    await world.learn()
    assert world.shown() == ("stale", {"jd/mules": True})
    assert world.shown(MULES) == ("current", {"jd/mules": True})


async def test_a_list_that_has_ended_is_not_looked_into_and_nothing_is_missed(world):
    await world.follow()
    known = world.mirror.trusted.catalogue("jd")
    lists = tuple(replace(entry, ended=entry.list_name == "jd/fraud") for entry in known.lists)
    ended = CatalogueStatement("jd", "icbc", known.version + 1, world.clock(), known.expires_at, lists)
    world.source.catalogues["jd"] = forge(world.desk, ended, "catalogue")
    await world.learn()
    assert world.shown() == ("current", {"jd/mules": True})


async def test_an_epoch_that_was_ended_early_is_not_looked_into(world):
    await world.follow()
    end = world.mirror.trusted.epoch(world.epoch).end(world.clock(), "key_exposed")
    world.source.epochs[world.epoch] = forge(world.desk, end, "epoch")
    await world.learn()
    assert world.shown() == ("stale", {})


async def test_all_lists_of_a_keyset_are_looked_into_under_one_epoch(world):
    """In a change-over: the old one, until every list is here under the new one."""
    await world.follow()
    old = world.epoch
    world.clock.wait(days=29, hours=1)
    await world.follow("jd/fraud")
    for name in ("jd/fraud", "jd/mules"):
        data = world.source.owners["jd"].snapshot(name, old, "icbc")[1]
        await world.mirror.take("jd", (name, old), data)
    assert [epoch.digest for epoch in world.held().epochs] == [old]
    assert world.shown() == ("current", {"jd/fraud": True, "jd/mules": True})
    await world.take("jd/mules")
    assert [epoch.digest for epoch in world.held().epochs] == [world.epoch]


# --- how long an answer lasts


async def test_checks_share_an_answer_for_a_quarter_of_a_second(world):
    await world.follow()
    first = world.holdings.concerning(ALL, world.clock())
    world.clock.now += LASTS - timedelta(milliseconds=1)
    assert world.holdings.concerning(ALL, world.clock()) is first
    assert world.holdings.concerning(FRAUD, world.clock()) is not first
    world.clock.now += timedelta(milliseconds=1)
    assert world.holdings.concerning(ALL, world.clock()) is not first


async def test_a_clock_that_is_set_back_makes_no_answer_last(world):
    await world.follow()
    first = world.holdings.concerning(ALL, world.clock())
    world.clock.wait(hours=-1)
    assert world.holdings.concerning(ALL, world.clock()) is not first


async def test_a_change_is_seen_at_once(world):
    await world.follow()
    assert world.held().epochs[0].lists[0].version == 1
    world.desk.put(world.of, PHONES[20])
    await world.publish()
    await world.take("jd/fraud")
    assert world.held().epochs[0].lists[0].version == 2


async def test_a_change_of_an_own_list_is_seen_at_once(world):
    assert world.held(owner="icbc").epochs == ()
    world.own.put(world.own.create_list("own"), PHONES[30])
    await world.own.publisher().refresh()
    await world.published.load()
    assert [each.name for epoch in world.held(owner="icbc").epochs for each in epoch.lists] == ["icbc/own"]


async def test_answers_for_ever_new_categories_are_not_hoarded(world):
    await world.follow()
    for number in range(200):
        world.holdings.concerning(frozenset({f"c{number}"}), world.clock())
    assert len(world.holdings._known) <= 65


# --- this member's own lists


async def test_own_lists_are_current_and_looked_into_under_their_own_key(world):
    own = world.own.create_list("own")
    world.own.put(own, PHONES[30])
    await world.own.publisher().refresh()
    await world.published.load()
    held = world.held(owner="icbc")
    assert held.state == "current"
    (epoch,) = held.epochs
    (each,) = epoch.lists
    assert (each.name, each.category, each.version, each.current) == ("icbc/own", "telecom_fraud", 1, True)
    key = world.holdings.own_key(epoch.digest)
    assert look_up(each.view, key, "icbc/own", PHONES[30]) is not None
    assert look_up(each.view, key, "icbc/own", PHONES[31]) is None
    assert world.held(MULES, owner="icbc").epochs == ()
    assert world.holdings.own_key(bytes(32)) is None


async def test_a_member_that_the_registry_names_no_owner_looks_into_its_own_lists_too(world):
    world.owners.remove("icbc")
    assert [held.owner for held in world.holdings.concerning(ALL, world.clock())] == ["jd"]
    world.own.put(world.own.create_list("own"), PHONES[30])
    await world.published.load()
    assert world.held(owner="icbc").state == "stale", "it is not published yet"
    await world.own.publisher().refresh()
    await world.published.load()
    held = world.held(owner="icbc")
    assert (held.state, [each.name for epoch in held.epochs for each in epoch.lists]) == ("current", ["icbc/own"])


async def test_an_own_list_that_cannot_be_looked_into_is_no_clear_in_its_category(world):
    world.own.put(world.own.create_list("own"), PHONES[30])
    await world.own.publisher().refresh()
    world.own.files.delete(world.own.store.snapshots[-1].segments[0])
    with pytest.raises(SegmentError):
        await world.published.load()
    assert world.held(owner="icbc").state == "stale"
    assert world.held(FRAUD, owner="icbc").state == "stale"
    assert world.held(MULES, owner="icbc").state == "current"


# --- what an ask tells its owner


async def test_an_ask_names_the_snapshots_that_are_held(world):
    assert world.holdings.snapshots("jd") == {}
    await world.follow("jd/fraud")
    fraud = world.mirror.following("jd/fraud", world.epoch)
    assert world.holdings.snapshots("jd") == {"jd/fraud": fraud.digest}
    await world.take("jd/mules")
    mules = world.mirror.following("jd/mules", world.epoch)
    assert world.holdings.snapshots("jd") == {"jd/fraud": fraud.digest, "jd/mules": mules.digest}
    assert world.holdings.snapshots("nobody") == {}


# --- buckets


@pytest.fixture
async def on_demand(tmp_path):
    made = World(tmp_path, rules=Rules(on_demand_by_default=True))
    await made.follow()
    return made


def wanted(world, phone):
    """The list, the bucket that a maybe names, and the label of a listed number."""
    (fraud, _) = world.held().epochs[0].lists
    key = world.source.owners["jd"].own_key(world.epoch)
    token = oprf.token(key, parse(phone).oprf_input)
    name = label(token, "jd/fraud")
    need = fraud.view.find(name)
    assert isinstance(need, NeedBucket)
    return fraud, need, name, record_key(token, "jd/fraud")


async def test_a_bucket_is_fetched_and_gives_the_record(on_demand):
    held, need, name, key = wanted(on_demand, PHONES[0])
    sealed = await on_demand.holdings.bucket("jd", held, need, name)
    assert open_record(sealed, key, "jd/fraud", name).level == "high"
    assert on_demand.shelves.asked == [("jd", need.offset, need.length)]


async def test_a_bucket_without_the_label_is_no_record(on_demand):
    held, need, _, _ = wanted(on_demand, PHONES[0])
    for _ in range(2):
        assert await on_demand.holdings.bucket("jd", held, need, bytes(32)) is None
    assert len(on_demand.shelves.asked) == 1


async def test_the_owner_is_not_shown_that_a_question_is_repeated(on_demand):
    held, need, name, _ = wanted(on_demand, PHONES[0])
    sealed = await on_demand.holdings.bucket("jd", held, need, name)
    on_demand.shelves.alter = None  # it would fail
    assert await on_demand.holdings.bucket("jd", held, need, name) == sealed
    assert len(on_demand.shelves.asked) == 1


def held_up(shelves):
    """Let no bucket come before the event is set; `begun` are those that were asked for."""
    go, at_once, shelves.begun = asyncio.Event(), shelves.bucket, []

    async def bucket(*args):
        shelves.begun.append(args)
        await go.wait()
        return await at_once(*args)

    shelves.bucket = bucket
    return go


async def test_the_owner_is_not_shown_that_two_ask_the_same_at_once(on_demand):
    held, need, name, _ = wanted(on_demand, PHONES[0])
    go = held_up(on_demand.shelves)
    asking = [asyncio.ensure_future(on_demand.holdings.bucket("jd", held, need, name)) for _ in range(3)]
    other = asyncio.ensure_future(on_demand.holdings.bucket("jd", held, need, bytes(32)))
    await asyncio.sleep(0)
    go.set()
    first, *rest = await asyncio.gather(*asking)
    assert first is not None
    assert rest == [first, first]
    assert await other is None
    assert len(on_demand.shelves.asked) == 2
    assert not on_demand.holdings._fetching


async def test_who_stops_waiting_for_a_bucket_takes_it_from_nobody(on_demand):
    held, need, name, _ = wanted(on_demand, PHONES[0])
    go = held_up(on_demand.shelves)
    leaves, stays = (asyncio.ensure_future(on_demand.holdings.bucket("jd", held, need, name)) for _ in range(2))
    await asyncio.sleep(0)
    leaves.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaves
    go.set()
    assert await stays is not None
    assert len(on_demand.shelves.begun) == 1


async def test_a_bucket_for_which_nobody_waits_any_more_is_remembered_all_the_same(on_demand):
    """Its owner has seen the question: it shall not see it again."""
    held, need, name, _ = wanted(on_demand, PHONES[0])
    go = held_up(on_demand.shelves)
    alone = asyncio.ensure_future(on_demand.holdings.bucket("jd", held, need, name))
    await asyncio.sleep(0)
    alone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await alone
    go.set()
    assert await on_demand.holdings.bucket("jd", held, need, name) is not None
    assert len(on_demand.shelves.begun) == 1


async def test_a_fetch_that_fails_fails_for_all_who_wait_and_is_tried_again_by_the_next(on_demand):
    held, need, name, _ = wanted(on_demand, PHONES[0])
    at_once, go = on_demand.shelves.bucket, held_up(on_demand.shelves)
    on_demand.shelves.alter = lambda data: data[:-1]
    asking = [asyncio.ensure_future(on_demand.holdings.bucket("jd", held, need, name)) for _ in range(2)]
    await asyncio.sleep(0)
    go.set()
    assert all(isinstance(each, SegmentError) for each in await asyncio.gather(*asking, return_exceptions=True))
    on_demand.shelves.bucket, on_demand.shelves.alter = at_once, lambda data: data
    assert await on_demand.holdings.bucket("jd", held, need, name) is not None
    assert len(on_demand.shelves.asked) == 2


@pytest.mark.parametrize("bound", ["REMEMBERED", "REMEMBERED_BYTES"])
async def test_what_is_remembered_of_buckets_is_bounded(on_demand, monkeypatch, bound):
    """Whoever was looked for last stays."""
    found = [wanted(on_demand, phone)[:3] for phone in PHONES[:3]]
    sizes = [len(await on_demand.holdings.bucket("jd", *one)) for one in found]
    assert len(on_demand.shelves.asked) == 3
    monkeypatch.setattr(f"riskshare.query.holdings.{bound}", 2 if bound == "REMEMBERED" else max(sizes) * 2)
    await on_demand.holdings.bucket("jd", *found[0])
    await on_demand.holdings.bucket("jd", found[0][0], found[0][1], bytes(32))  # the second is forgotten for it
    remembered = on_demand.holdings._remembered
    assert len([one for one in remembered._records.values() if one is not None]) <= 2
    assert remembered._bytes == sum(len(one or b"") for one in remembered._records.values())
    asked = len(on_demand.shelves.asked)
    await on_demand.holdings.bucket("jd", *found[0])
    assert len(on_demand.shelves.asked) == asked
    await on_demand.holdings.bucket("jd", *found[1])
    assert len(on_demand.shelves.asked) == asked + 1


async def test_another_segment_is_asked_anew(on_demand):
    held, need, name, _ = wanted(on_demand, PHONES[0])
    await on_demand.holdings.bucket("jd", held, need, name)
    remembered = on_demand.holdings._remembered
    assert remembered.get(need.file_digest, name)[0]
    assert not remembered.get(bytes(32), name)[0]


@pytest.mark.parametrize("alter", [lambda data: data[:-1], lambda data: data + b"x", lambda data: bytes(len(data))])
async def test_a_bucket_that_is_not_what_was_signed_is_refused(on_demand, alter):
    held, need, name, _ = wanted(on_demand, PHONES[0])
    on_demand.shelves.alter = alter
    with pytest.raises(SegmentError):
        await on_demand.holdings.bucket("jd", held, need, name)


async def test_a_bucket_that_cannot_be_had_is_told(on_demand):
    held, need, name, _ = wanted(on_demand, PHONES[0])

    def gone(_data):
        raise PeerDown("jd", "gone")

    on_demand.shelves.alter = gone
    with pytest.raises(PeerDown):
        await on_demand.holdings.bucket("jd", held, need, name)


async def test_a_check_for_another_purpose_is_not_about_a_list_that_was_granted_for_some(world):
    """It is complete without it, and not refused by the owner each time."""
    watch = world.desk.create_list("watch", granted=True)
    world.desk.grant(watch, "icbc", "payment")
    await world.publish()
    await world.learn()
    [epoch] = [row.digest for row in world.desk.store.all_epochs if row.keyset == "default"]
    for name in ("jd/fraud", "jd/mules"):
        offered = world.source.owners["jd"].snapshot(name, epoch, "icbc")[1]
        await world.mirror.take("jd", (name, epoch), offered)
    with_it = world.holdings.concerning(ALL, world.clock(), "payment")
    without = world.holdings.concerning(ALL, world.clock(), "marketing")
    [of_payment] = [held for held in with_it if held.owner == "jd"]
    [of_marketing] = [held for held in without if held.owner == "jd"]
    assert of_payment.state == "stale"  # nobody has fetched it yet
    assert of_marketing.state == "current"
    assert {each.name for epoch in of_marketing.epochs for each in epoch.lists} == {"jd/fraud", "jd/mules"}
    assert world.holdings.concerning(ALL, world.clock())[0].state == "stale"
