"""What a member serves of its lists: catalogues, statements, files, long polls, and its own view of itself."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from riskshare.encoding import cbor_decode, format_time, parse_canonical_json
from riskshare.errors import SegmentError
from riskshare.sharing.ending import end_epoch
from riskshare.signature import SigningKey
from riskshare.statement import read
from tests.simulator.publishing import NETWORK, Desk

PHONES = [f"phone:+86138001380{n:02}" for n in range(20)]


class Office:
    def __init__(self, folder):
        self.desk = Desk(folder)
        self.of = self.desk.create_list()
        self.desk.put(self.of, *PHONES[:5])
        self.publisher = self.desk.publisher(deltas=1)

    async def publish(self, *phones):
        if phones:
            self.desk.put(self.of, *phones)
        await self.publisher.refresh()

    @property
    def epoch(self):
        return self.desk.store.all_epochs[-1].digest


@pytest.fixture
async def office(tmp_path):
    made = Office(tmp_path)
    await made.publish()
    return made


def body(wire):
    return parse_canonical_json(cbor_decode(wire, limit=1 << 20)["statement"], limit=1 << 20)


async def test_a_catalogue_names_the_published_lists(office):
    office.desk.create_list("not-yet-published")
    published = await office.desk.published()
    catalogue = body(await published.catalogue("icbc"))
    assert [entry["list"] for entry in catalogue["lists"]] == ["jd/fraud"]
    assert (catalogue["reader"], catalogue["version"]) == ("icbc", 1)


async def test_a_catalogue_stays_until_it_says_something_new_or_grows_old(office):
    published = await office.desk.published()
    first = await published.catalogue("icbc")
    assert await published.catalogue("icbc") == first
    office.desk.clock.wait(hours=1)
    second = await published.catalogue("icbc")
    office.desk.create_list("more")
    await office.publish()
    await published.load()
    third = await published.catalogue("icbc")
    assert [body(wire)["version"] for wire in (first, second, third)] == [1, 2, 3]
    assert body(await published.catalogue("ub"))["version"] == 1


async def test_readers_at_once_get_one_catalogue(office):
    """Of two versions the lower must not be what is served: the reader would call it a rollback."""
    published = await office.desk.published()
    true, barrier = office.desk.store.issued_catalogue, asyncio.Barrier(2)

    async def together(reader):
        newest = await true(reader)
        if newest is None:
            await barrier.wait()
        return newest

    office.desk.store.issued_catalogue = together
    async with asyncio.timeout(10):
        first, second = await asyncio.gather(published.catalogue("icbc"), published.catalogue("icbc"))
    assert first == second == await published.catalogue("icbc")
    assert body(first)["version"] == 1


async def test_a_catalogue_is_issued_again_under_a_new_key(office):
    published = await office.desk.published()
    await published.catalogue("icbc")
    office.desk.identity = SigningKey(bytes(32))
    published = await office.desk.published()
    wire = cbor_decode(await published.catalogue("icbc"), limit=1 << 20)
    statement = read(
        "catalogue", NETWORK, wire["statement"], wire["signature"], [office.desk.identity.public], limit=1 << 20
    )
    assert statement.body["version"] == 2


@pytest.mark.parametrize(("seconds", "version"), [(-59, 1), (-61, 2), (3599, 1), (3600, 2)])
async def test_clocks_of_two_processes_may_be_a_little_apart(office, seconds, version):
    published = await office.desk.published()
    await published.catalogue("icbc")
    office.desk.clock.wait(seconds=seconds)
    assert body(await published.catalogue("icbc"))["version"] == version


async def test_the_catalogue_moves_to_an_epoch_when_all_lists_are_there(office):
    office.desk.create_list("more")
    await office.publish()
    old = office.epoch
    office.desk.clock.wait(days=29)
    await office.publish()
    new = office.epoch
    store = office.desk.store
    missing = next(row for row in store.snapshots if row.epoch == new and row.list_id == 2)
    store.snapshots.remove(missing)
    published = await office.desk.published()
    assert {entry["epoch"] for entry in body(await published.catalogue("icbc"))["lists"]} == {old.hex()}
    store.snapshots.append(missing)
    await published.load()
    assert {entry["epoch"] for entry in body(await published.catalogue("icbc"))["lists"]} == {new.hex()}
    assert set(published.own_lists()) == {new}


async def test_a_poll_ends_with_the_next_snapshot(office):
    published = await office.desk.published()
    digest, _ = published.snapshot("jd/fraud", office.epoch, "icbc")
    poll = asyncio.create_task(published.wait("jd/fraud", office.epoch, digest, 60, "icbc"))
    await published.load()
    await asyncio.sleep(0)
    assert not poll.done()
    await office.publish(PHONES[6])
    await published.load()
    await asyncio.wait_for(poll, 5)
    assert published.snapshot("jd/fraud", office.epoch, "icbc")[0] != digest


async def test_a_poll_ends_with_its_time_or_if_there_is_nothing_to_wait_for(office):
    published = await office.desk.published()
    digest, _ = published.snapshot("jd/fraud", office.epoch, "icbc")
    await published.wait("jd/fraud", office.epoch, digest, 0.001, "icbc")
    await published.wait("jd/none", office.epoch, digest, 60, "icbc")
    await published.wait("jd/fraud", office.epoch, bytes(32), 60, "icbc")


async def test_files_that_a_merge_replaced_are_served_a_while_longer(office):
    """A subscriber may be in the middle of fetching them."""
    published = await office.desk.published()
    served = []
    for phone in PHONES[6:12]:
        served.append(published.current()[0].snapshot.segments)
        await office.publish(phone)
        await published.load()
        assert all(published.segment(digest, "icbc").exists() for digest in served[-1])
    assert published.segment(served[0][0], "icbc") is None
    assert len(published.current()[0].files) < 8


async def test_files_of_former_snapshots_are_had_for_audits_as_long_as_they_are_kept(office):
    published = await office.desk.published()
    former = published.current()[0].snapshot.segments[0]
    for phone in PHONES[6:12]:
        await office.publish(phone)
    published = await office.desk.published()
    assert published.segment(former, "icbc") is None
    assert (await published.kept_segment(former, "icbc")).exists()
    assert await published.kept_segment(former, "") is None
    office.desk.files.delete(former)
    assert await published.kept_segment(former, "icbc") is None


async def test_what_is_not_published_is_not_served(office):
    published = await office.desk.published()
    assert published.segment(bytes(32), "icbc") is None
    assert await published.kept_segment(bytes(32), "icbc") is None
    assert published.epoch(bytes(32), "icbc") is None
    assert published.snapshot("jd/fraud", bytes(32), "icbc") is None
    assert published.snapshot("jd/none", office.epoch, "icbc") is None
    assert await published.snapshot_version("jd/none", office.epoch, 1, "icbc") is None
    assert await published.snapshot_version("jd/fraud", office.epoch, 2, "icbc") is None
    assert await published.snapshot_named("jd/fraud", bytes(32), "icbc") is None
    assert await published.snapshot_named("jd/none", published.current()[0].snapshot.digest, "icbc") is None
    assert published.served(bytes(32), "icbc", office.desk.clock()) is None
    assert published.own_key(bytes(32)) is None


async def test_every_version_is_served(office):
    for phone in PHONES[6:9]:
        await office.publish(phone)
    published = await office.desk.published()
    newest = published.current()[0].snapshot.version
    wires = [await published.snapshot_version("jd/fraud", office.epoch, n, "icbc") for n in range(1, newest + 1)]
    digests = [row.digest for row in office.desk.store.snapshots]
    assert [await published.snapshot_named("jd/fraud", digest, "icbc") for digest in digests] == wires
    assert [body(wire)["version"] for wire in wires] == list(range(1, newest + 1))


async def test_a_list_whose_files_are_lost_keeps_what_was_loaded_and_the_others_go_on(office):
    more = office.desk.create_list("more")
    await office.publish()
    published = await office.desk.published()
    await office.publish(PHONES[6])
    office.desk.put(more, PHONES[7])
    await office.publish()
    lost = next(row for row in reversed(office.desk.store.snapshots) if row.list_id == office.of.id)
    office.desk.files.delete(lost.segments[-1])
    generation = published.generation
    with pytest.raises(SegmentError):
        await published.load()
    versions = {one.name: one.snapshot.version for one in published.current()}
    assert versions == {"jd/fraud": 1, "jd/more": 2}
    assert published.generation == generation + 1


async def test_the_key_of_an_epoch_ends_with_its_term(office):
    published = await office.desk.published()
    now = office.desk.clock()
    row = office.desk.store.all_epochs[0]
    assert published.served(office.epoch, "icbc", now).public == published.own_key(office.epoch).public
    assert published.served(office.epoch, "icbc", row.not_after) is None
    office.desk.store.all_epochs[0] = replace(row, ended_at=now)
    await published.load()
    assert published.served(office.epoch, "icbc", now) is None


async def test_an_epoch_that_was_ended_is_told_and_not_served_until_the_lists_are_out_again(office):
    """Its lists stay named: one that was marked as ended would not be consulted, and what stands on it called clear."""
    published = await office.desk.published()
    before = body(await published.catalogue("icbc"))
    old, now = office.epoch, office.desk.clock()
    assert body(published.epoch(old, "icbc"))["ended"] is None
    row = office.desk.store.all_epochs[0]
    office.desk.store.all_epochs[0] = end_epoch(
        NETWORK, row, office.desk.identity, at=now, reason="key_exposed", salt=bytes(16)
    )
    await published.load()
    assert body(published.epoch(old, "icbc"))["ended"] == {"at": format_time(now), "reason": "key_exposed"}
    assert published.served(old, "icbc", now) is None
    assert published.own_key(old) is None
    assert published.snapshot("jd/fraud", old, "icbc") is None
    assert body(await published.catalogue("icbc"))["lists"] == before["lists"]
    assert published.own_missing() == {office.of.category}

    await office.publish()
    await published.load()
    after = body(await published.catalogue("icbc"))
    assert after["version"] == before["version"] + 1
    assert [(entry["epoch"], entry["ended"]) for entry in after["lists"]] == [(office.epoch.hex(), False)]
    assert office.epoch != old
    assert body(published.epoch(old, "icbc"))["ended"] is not None
    assert published.served(old, "icbc", now) is None
    assert published.served(office.epoch, "icbc", now) is not None
    assert published.own_missing() == frozenset()


@pytest.mark.parametrize("trouble", ["damaged", "left behind", "no epoch"])
async def test_a_list_that_cannot_be_had_stays_in_the_catalogue(office, trouble):
    """Or all readers, and this member, would call clear what stands on it."""
    row = office.desk.store.all_epochs[0]
    if trouble == "damaged":
        office.desk.files.delete(office.desk.store.snapshots[-1].segments[-1])
    elif trouble == "left behind":
        office.desk.create_list("more")
        office.desk.clock.wait(days=29)
        await office.publish()
        store, new = office.desk.store, office.epoch
        store.snapshots[:] = [one for one in store.snapshots if (one.epoch, one.list_id) != (new, office.of.id)]
        office.desk.clock.wait(days=2)
    else:
        office.desk.clock.now = row.not_after
    published = office.desk.new_published()
    if trouble == "damaged":
        with pytest.raises(SegmentError):
            await published.load()
    else:
        await published.load()
    assert "jd/fraud" in [entry["list"] for entry in body(await published.catalogue("icbc"))["lists"]]
    assert published.own_missing() == {office.of.category}
    assert not [one for lists in published.own_lists().values() for one in lists if one.name == "jd/fraud"]


async def test_nothing_is_missing_where_all_is_published(office):
    published = await office.desk.published()
    assert published.own_missing() == frozenset()


async def test_an_own_list_is_missing_until_it_is_published(office):
    """Or its owner would call clear what it has just listed."""
    office.desk.create_list("more", "marketing_cheating")
    published = await office.desk.published()
    assert published.own_missing() == {"marketing_cheating"}
    assert published.unpublished() == ["jd/more"]
    await office.publish()
    await published.load()
    assert published.own_missing() == frozenset()


async def test_who_may_know_of_a_snapshot_or_an_epoch(office):
    published = await office.desk.published()
    assert published.tells("snapshot", "fraud", "icbc")
    assert published.tells("epoch", "default", "icbc")
    assert not published.tells("snapshot", "default", "icbc")
    assert not published.tells("epoch", "fraud", "icbc")
    assert not published.tells("snapshot", "jd/fraud", "icbc")
