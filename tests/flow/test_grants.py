"""Lists under grants: who has one sees it, whoever has none sees what it would see if the list did not exist."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from riskshare.encoding import cbor_decode, parse_canonical_json
from riskshare.peer.adapters import PeerPublications
from riskshare.sharing.published import NO_EPOCH
from riskshare.sharing.standing import Status
from tests.simulator.publishing import Desk, Reader, StubbornSource, look_up

PHONE = "phone:+8613800138000"
PURPOSE = "payment"


class Office:
    """An owner with an open list and one under grants; another one beside it that has the open list alone."""

    def __init__(self, folder):
        self.desk = Desk(folder / "with")
        self.of = self.desk.create_list("watch", granted=True)
        self.open = self.desk.create_list("fraud")
        self.desk.put(self.of, PHONE)
        self.desk.put(self.open, PHONE)

    async def open_for_business(self):
        await self.desk.publisher().refresh()
        self.published = await self.desk.published()
        self.epoch = next(row.digest for row in self.desk.store.all_epochs if row.keyset == "watch")
        return self

    async def grant(self, member, *purposes, until=None):
        self.desk.grant(self.of, member, *purposes, until=until)
        await self.published.load()

    async def revoke(self, member):
        self.desk.revoke(self.of, member)
        await self.published.load()

    async def names(self, reader):
        return {entry["list"]: entry["ended"] for entry in (await self.catalogue(reader))["lists"]}

    async def catalogue(self, reader):
        wire = cbor_decode(await self.published.catalogue(reader), limit=1 << 20)
        return parse_canonical_json(wire["statement"], limit=1 << 20)


@pytest.fixture
async def office(tmp_path):
    return await Office(tmp_path).open_for_business()


def everything(office):
    """Each way to something of the list under grants, as a question that a reader asks."""
    published, pages = office.published, PeerPublications(office.published)
    snapshot = next(row for row in office.desk.store.snapshots if row.list_id == office.of.id)
    now = office.desk.clock()
    return {
        "catalogue": office.names,
        "epoch": lambda reader: pages.epoch(office.epoch, reader),
        "snapshot": lambda reader: pages.snapshot("jd/watch", office.epoch, reader),
        "snapshot held": lambda reader: pages.snapshot("jd/watch", office.epoch, reader, bytes(32)),
        "version": lambda reader: pages.snapshot_version("jd/watch", office.epoch, 1, reader),
        "named": lambda reader: pages.snapshot_named("jd/watch", snapshot.digest, reader),
        "segment": lambda reader: pages.segment(snapshot.segments[0], reader),
        "kept segment": lambda reader: published.kept_segment(snapshot.segments[0], reader),
        "key": lambda reader: published.served(office.epoch, reader, now),
        "purpose": lambda reader: published.allows(office.epoch, reader, PURPOSE, now),
        "log, snapshot": lambda reader: published.tells("snapshot", "watch", reader),
        "log, epoch": lambda reader: published.tells("epoch", "watch", reader),
    }


async def told(question, reader):
    found = question(reader)
    return await found if asyncio.iscoroutine(found) else found


async def test_with_a_grant_all_is_told(office):
    await office.grant("icbc")
    for name, question in everything(office).items():
        assert await told(question, "icbc"), name
    assert await office.names("icbc") == {"jd/fraud": False, "jd/watch": False}


@pytest.mark.parametrize("reader", ["ub", "icbc-2"])
async def test_without_a_grant_nothing_is(office, reader):
    await office.grant("icbc")
    for name, question in everything(office).items():
        assert not await told(question, reader) or name == "catalogue", name
    assert await office.names(reader) == {"jd/fraud": False}


async def test_a_stranger_cannot_tell_it_from_a_list_that_does_not_exist(tmp_path, office):
    """Byte for byte the same catalogue; and what is looked up in the store to answer is the same too."""
    other = Desk(tmp_path / "without")
    of = other.create_list("fraud")
    other.put(of, PHONE)
    other.store.all_epochs = [row for row in office.desk.store.all_epochs if row.keyset == "default"]
    await other.publisher().refresh()
    without = await other.published()
    await office.grant("icbc")
    assert await office.published.catalogue("ub") == await without.catalogue("ub")
    await office.revoke("icbc")
    office.desk.put(office.of, "phone:+8613800138001")
    await office.desk.publisher().refresh()
    await office.published.load()
    assert await office.published.catalogue("ub") == await without.catalogue("ub")
    assert (await office.catalogue("ub"))["version"] == 1


async def test_the_store_is_asked_for_the_same_things_whether_the_list_exists_or_not(office, monkeypatch):
    asked = []
    store = office.desk.store
    for name in ("latest_snapshot", "snapshot", "segments", "epoch", "lists", "epochs"):
        true = getattr(store, name)

        async def spy(*arguments, name=name, true=true):
            asked.append(name)
            return await true(*arguments)

        monkeypatch.setattr(store, name, spy)
    pages = PeerPublications(office.published)
    snapshot = next(row for row in store.snapshots if row.list_id == office.of.id)
    for here, nowhere in (
        (lambda: pages.epoch(office.epoch, "ub"), lambda: pages.epoch(bytes(32), "ub")),
        (
            lambda: pages.snapshot("jd/watch", office.epoch, "ub"),
            lambda: pages.snapshot("jd/none", office.epoch, "ub"),
        ),
        (
            lambda: pages.snapshot_version("jd/watch", office.epoch, 1, "ub"),
            lambda: pages.snapshot_version("jd/none", office.epoch, 1, "ub"),
        ),
        (
            lambda: pages.snapshot_named("jd/watch", snapshot.digest, "ub"),
            lambda: pages.snapshot_named("jd/none", bytes(32), "ub"),
        ),
        (lambda: pages.segment(snapshot.segments[0], "ub"), lambda: pages.segment(bytes(32), "ub")),
    ):
        assert await here() is None
        for_this, asked[:] = list(asked), []
        assert await nowhere() is None
        for_nothing, asked[:] = list(asked), []
        assert for_this == for_nothing


async def test_a_grant_ends_with_its_time_without_a_word_from_anybody(office):
    await office.grant("icbc", until=office.desk.clock() + timedelta(hours=1))
    assert await office.names("icbc") == {"jd/fraud": False, "jd/watch": False}
    office.desk.clock.wait(hours=1)
    for name, question in everything(office).items():
        assert not await told(question, "icbc") or name == "catalogue", name
    [ended] = [entry for entry in (await office.catalogue("icbc"))["lists"] if entry["ended"]]
    assert (ended["list"], ended["epoch"]) == ("jd/watch", NO_EPOCH.hex())
    assert await office.names("ub") == {"jd/fraud": False}


async def test_the_end_is_named_for_a_month_and_a_new_grant_begins_again(office):
    await office.grant("icbc")
    await office.revoke("icbc")
    assert await office.names("icbc") == {"jd/fraud": False, "jd/watch": True}
    office.desk.clock.wait(days=20)
    await office.grant("icbc")
    assert await office.names("icbc") == {"jd/fraud": False, "jd/watch": False}
    await office.revoke("icbc")
    office.desk.clock.wait(days=33)
    await office.desk.publisher().refresh()
    await office.published.load()
    assert await office.names("icbc") == {"jd/fraud": False}


async def test_a_poll_that_is_held_ends_when_the_grant_is_revoked(office):
    await office.grant("icbc")
    await office.grant("ub")
    digest, _ = office.published.snapshot("jd/watch", office.epoch, "icbc")
    polls = [
        asyncio.create_task(office.published.wait("jd/watch", office.epoch, digest, 60, reader))
        for reader in ("icbc", "ub")
    ]
    await asyncio.sleep(0)
    await office.revoke("icbc")
    await asyncio.wait_for(polls[0], 10)
    assert not polls[1].done()
    polls[1].cancel()


async def test_a_poll_that_is_held_ends_with_the_time_of_the_grant(office):
    await office.grant("icbc", until=office.desk.clock() + timedelta(milliseconds=20))
    digest, _ = office.published.snapshot("jd/watch", office.epoch, "icbc")
    poll = asyncio.create_task(office.published.wait("jd/watch", office.epoch, digest, 60, "icbc"))
    await asyncio.sleep(0)
    office.desk.clock.wait(milliseconds=20)
    await asyncio.wait_for(poll, 10)
    await office.published.wait("jd/watch", office.epoch, digest, 60, "stranger")


async def test_purposes_of_a_grant_are_the_only_ones(office):
    await office.grant("icbc", "payment", "withdrawal")
    now = office.desk.clock()
    allowed = {
        purpose: office.published.allows(office.epoch, "icbc", purpose, now)
        for purpose in ("payment", "withdrawal", "marketing")
    }
    assert allowed == {"payment": True, "withdrawal": True, "marketing": False}
    default = next(row.digest for row in office.desk.store.all_epochs if row.keyset == "default")
    assert office.published.allows(default, "icbc", "marketing", now)
    assert not office.published.allows(bytes(32), "icbc", "payment", now)


async def test_the_catalogue_tells_a_grantee_its_purposes(office):
    await office.grant("icbc", "withdrawal", "payment")
    await office.grant("ub")
    told = {
        reader: [entry.get("purposes") for entry in (await office.catalogue(reader))["lists"]]
        for reader in ("icbc", "ub")
    }
    assert told == {"icbc": [None, ["payment", "withdrawal"]], "ub": [None, None]}


async def test_the_owner_itself_always_looks_into_its_own_list(office):
    names = {each.name for lists in office.published.own_lists().values() for each in lists}
    assert names == {"jd/fraud", "jd/watch"}
    assert office.published.own_missing() == frozenset()


# --- the subscriber --------------------------------------------------------------------------------------------


@pytest.fixture
def reader(tmp_path, office):
    source = StubbornSource()
    source.owners["jd"] = office.published
    return Reader(tmp_path / "icbc", source, [office.desk], clock=office.desk.clock)


async def until(true):
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - nothing tells when it comes true
            await asyncio.sleep(0.005)


def standing(reader):
    found = reader.mirror.standing("jd", reader.clock())
    return found.status, {each.entry.list_name: each.status for each in found.lists}


async def test_a_grantee_follows_the_list_and_drops_it_when_its_grant_ends(office, reader):
    """After the end its checks do not concern the list: they are neither incomplete for ever, nor clear by it before."""
    running = asyncio.create_task(reader.subscriber.run())
    try:
        await until(lambda: standing(reader) == (Status.CURRENT, {"jd/fraud": Status.CURRENT}))
        await office.grant("icbc")
        both = {"jd/fraud": Status.CURRENT, "jd/watch": Status.CURRENT}
        await until(lambda: standing(reader) == (Status.CURRENT, both))
        view = reader.mirror.following("jd/watch", office.epoch).view
        assert look_up(view, office.published.own_key(office.epoch), "jd/watch", PHONE) is not None

        await office.revoke("icbc")
        await until(lambda: "jd/watch" not in standing(reader)[1])
        assert standing(reader) == (Status.CURRENT, {"jd/fraud": Status.CURRENT})
        await until(lambda: reader.mirror.following("jd/watch", office.epoch) is None)
        assert reader.mirror.trusted.gone("jd", reader.clock()) == {}
        assert reader.witness.told.count(("failed", "jd", "jd/watch", "list_ended")) == 1
        assert reader.mirror.trusted.catalogue("jd").get("jd/watch").ended

        office.desk.put(office.of, "phone:+8613800138001")
        await office.desk.publisher().refresh()
        await office.grant("icbc")
        await until(lambda: standing(reader) == (Status.CURRENT, both))
        assert reader.mirror.following("jd/watch", office.epoch).snapshot.version == 2
        assert reader.mirror.trusted.proofs == []
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_what_a_grantee_holds_is_told_to_nobody(office, reader):
    running = asyncio.create_task(reader.subscriber.run())
    try:
        await office.grant("icbc")
        await until(lambda: standing(reader)[1].get("jd/watch") is Status.CURRENT)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    kept = {row.list_name for row in reader.state.held.values()}
    assert kept == {"jd/fraud"}
    open_epochs = {row.digest for row in office.desk.store.all_epochs if row.keyset == "default"}
    for value, _ in reader.mirror.trusted.open_statements():
        assert getattr(value, "epoch", None) in open_epochs or value.digest in open_epochs
