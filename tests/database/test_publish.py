"""Publishing out of a real PostgreSQL: import, base, delta, withdrawal, expiry, and two processes at once."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os

import pytest

from riskshare.encoding import cbor_decode, parse_canonical_json
from riskshare.errors import SegmentError, StoreError
from riskshare.keyterm import KeyTerm
from riskshare.membership.identifier import parse
from riskshare.peer.adapters import PeerPublications
from riskshare.sharing.builders import ProcessBuilders
from riskshare.sharing.ending import end_epoch
from riskshare.sharing.entry import DataKey, reseal
from riskshare.sharing.kept import Change
from riskshare.sharing.publish import CANARIES, Publisher, Terms
from riskshare.sharing.published import Published
from riskshare.sharing.rows import Defaults
from riskshare.sharing.trusted import TrustedSnapshots
from riskshare.signature import SigningKey
from riskshare.store.buildings import Buildings
from riskshare.store.files import SegmentFiles
from tests.simulator.importing import OPS, importer_over
from tests.simulator.publishing import START, Clock, look_up

NUMBERS = [f"138001380{n:02}" for n in range(60)]
NETWORK = "simnet"


class House:
    """A member with a database: imports, publishes, and looks at what it has published."""

    def __init__(self, store, folder):
        self.store = store
        self.clock = Clock()
        self.data_key = DataKey(bytes(range(32)))
        self.files = SegmentFiles(folder)
        self.buildings = Buildings(folder.with_name("building"))
        self.importer = importer_over(store.imports, self.data_key, self.clock)

    def publisher(self, shelf=None, **terms):
        return Publisher(
            member="jd",
            network=NETWORK,
            identity=SigningKey(bytes(32)),
            data_key=self.data_key,
            lists=self.store.lists,
            shelf=shelf or self.store.publications,
            files=self.files,
            buildings=self.buildings,
            builders=ProcessBuilders(self.data_key, small=40, cores=1),
            terms=Terms(**terms),
            now=self.clock,
            random=os.urandom,
        )

    async def bring(self, *numbers, days=90):
        of = await self.store.lists.list_named("fraud")
        defaults = Defaults("telecom_fraud", type="phone", region="CN", days=days)
        await self.importer.run(of, io.BytesIO("\n".join(numbers).encode()), defaults, OPS)

    async def change(self, number, state, reason=""):
        of = await self.store.lists.list_named("fraud")
        handle = self.data_key.handle(parse(f"phone:+86{number}").oprf_input, "jd/fraud")

        def again(of, entry, state):
            return reseal(self.data_key, f"jd/{of.name}", entry, state, os.urandom(12))

        action = {"withdrawn": "withdraw", "disputed": "dispute", "active": "restore"}[state]
        change = Change("ops", action, reason)
        assert await self.store.lists.change_state(of.id, [handle], state, change, again) == 1

    def new_published(self):
        return Published(
            member="jd",
            network=NETWORK,
            identity=SigningKey(bytes(32)),
            data_key=self.data_key,
            lists=self.store.lists,
            grants=self.store.grants,
            shelf=self.store.publications,
            files=self.files,
            now=self.clock,
        )

    async def shown(self, number=-1):
        published = self.new_published()
        await published.load()
        epoch = (await self.store.publications.epochs())[number].digest
        return Shown(published, epoch)


class Shown:
    def __init__(self, published, epoch):
        self.published = published
        self.list = next(one for one in published.current() if one.epoch.digest == epoch)
        self.body = parse_canonical_json(self.list.snapshot.statement, limit=1 << 20)
        self._key = published.own_key(epoch)

    def record(self, identifier):
        return look_up(self.list.view, self._key, "jd/fraud", identifier)

    def listed(self):
        return [number for number in NUMBERS if self.record(f"phone:+86{number}") is not None]


@pytest.fixture
async def house(store, tmp_path):
    await store.lists.create_list("fraud", "telecom_fraud", "default")
    return House(store, tmp_path / "segments")


async def test_a_life_of_a_list(house):
    publisher = house.publisher()
    await house.bring(*NUMBERS[:50])
    assert await publisher.refresh() == 1
    first = await house.shown()
    assert first.listed() == NUMBERS[:50]
    await house.bring(*NUMBERS[50:])
    await house.change(NUMBERS[0], "withdrawn", "appeal_upheld")
    await house.change(NUMBERS[1], "disputed")
    assert await publisher.refresh() == 1
    second = await house.shown()
    assert (second.listed(), len(second.list.view.deltas)) == (NUMBERS[1:], 1)
    assert second.record(f"phone:+86{NUMBERS[1]}").disputed
    assert second.body["previous"] == first.list.snapshot.digest.hex()
    assert await publisher.refresh() == 0


async def test_labels_and_canaries_are_as_stated(house):
    await house.bring(*NUMBERS)
    await house.publisher().refresh()
    found = await house.shown()
    labels = b"".join(name for name, _ in found.list.view.rows())
    assert found.body["labels"] == hashlib.sha256(labels).hexdigest()
    assert found.body["count"] == 60 + CANARIES
    assert [found.record(canary).reason for canary in found.body["canaries"]] == ["canary"] * CANARIES


async def test_deltas_are_merged(house):
    publisher = house.publisher(deltas=1)
    for number in NUMBERS[:4]:
        await house.bring(number)
        await publisher.refresh()
    found = await house.shown()
    assert found.listed() == NUMBERS[:4]
    assert len(found.list.view.deltas) <= 1


async def test_terms_end(house):
    publisher = house.publisher()
    await house.bring(*NUMBERS[:3], days=2)
    await house.bring(*NUMBERS[3:5], days=80)
    await publisher.refresh()
    house.clock.wait(days=2)
    await publisher.refresh()
    found = await house.shown()
    assert found.listed() == NUMBERS[3:5]
    assert set(found.list.view.deltas[0].withdrawn.values()) == {"expired"}


async def test_both_epochs_are_served_in_the_changeover(house):
    publisher = house.publisher()
    await house.bring(*NUMBERS[:5])
    await publisher.refresh()
    house.clock.wait(days=29)
    await publisher.refresh()
    old, new = await house.shown(0), await house.shown(1)
    assert old.listed() == new.listed() == NUMBERS[:5]
    assert new.body["previous"] == old.body["previous"] or new.body["previous"] == old.list.snapshot.digest.hex()
    assert len(new.published.current()) == 2


async def test_of_two_processes_at_once_one_publishes(house):
    await house.bring(*NUMBERS[:5])
    assert sum(await asyncio.gather(house.publisher().refresh(), house.publisher().refresh())) == 1
    await house.bring(NUMBERS[6])
    assert sum(await asyncio.gather(house.publisher().refresh(), house.publisher().refresh())) == 1
    found = await house.shown()
    assert found.body["version"] == 2
    assert len(await house.store.publications.epochs()) == 1
    assert [found.record(canary) is not None for canary in found.body["canaries"]] == [True] * len(
        found.body["canaries"]
    )


class Crashing:
    """The shelf, but for one `publish` that fails: before it is stored, or after."""

    def __init__(self, shelf, *, after):
        self._shelf = shelf
        self._after = after

    def __getattr__(self, name):
        return getattr(self._shelf, name)

    async def publish(self, *args):
        if self._after:
            await self._shelf.publish(*args)
        raise StoreError("gone")


@pytest.mark.parametrize("after", [False, True], ids=["failed", "failed, but stored"])
async def test_a_crash_between_file_and_row_costs_a_repetition(house, after):
    crashing = house.publisher(Crashing(house.store.publications, after=after))
    for numbers in (NUMBERS[:5], NUMBERS[5:7]):
        await house.bring(*numbers)
        with pytest.raises(StoreError):
            await crashing.refresh()
        await house.publisher().refresh()
    found = await house.shown()
    assert found.listed() == NUMBERS[:7]
    assert found.body["version"] == 2


# --- two processes of one member, over one database


@pytest.fixture
async def processes(house):
    """What two workers serve; both have loaded the same."""
    await house.bring(*NUMBERS[:5])
    await house.publisher().refresh()
    return [(await house.shown()).published for _ in range(2)]


def body(wire):
    return parse_canonical_json(cbor_decode(wire, limit=1 << 20)["statement"], limit=1 << 20)


def named(catalogue):
    return [entry["list"] for entry in catalogue["lists"]]


async def test_a_reader_gets_one_catalogue_from_all_processes(processes):
    first, second = processes
    wires = await asyncio.gather(*(one.catalogue("icbc") for one in (first, second) * 8))
    assert len(set(wires)) == 1
    assert body(wires[0])["version"] == 1
    assert await second.catalogue("ub") == await first.catalogue("ub")


async def test_versions_grow_for_a_reader_that_goes_from_process_to_process(house, processes):
    """Each change reaches the processes at different times; whoever is asked says no less than was said before."""
    first, second = processes
    reader = TrustedSnapshots(NETWORK, "icbc", lambda _: [KeyTerm(SigningKey(bytes(32)).public, START)])
    versions = []
    for number in range(4):
        await house.store.lists.create_list(f"list-{number}", "telecom_fraud", "default")
        await house.publisher().refresh()
        ahead, behind = (first, second) if number % 2 else (second, first)
        await ahead.load()
        for one in (ahead, behind, behind, ahead):
            catalogue = reader.accept_catalogue("jd", await one.catalogue("icbc"), house.clock())
            assert f"jd/list-{number}" in [entry.list_name for entry in catalogue]
            versions.append(catalogue.version)
        house.clock.wait(hours=1)
    assert versions == sorted(versions)
    assert max(versions) == 4


async def test_a_process_that_is_behind_does_not_take_back_what_another_has_told(house, processes):
    first, second = processes
    await house.store.lists.create_list("more", "telecom_fraud", "default")
    await house.publisher().refresh()
    await first.load()
    told = body(await first.catalogue("icbc"))
    assert named(told) == ["jd/fraud", "jd/more"]
    assert body(await second.catalogue("icbc")) == told


async def test_processes_agree_although_one_of_them_has_damaged_files(house, processes):
    """Or each would replace what the other has told, for ever."""
    house.clock.wait(days=29)
    await house.publisher().refresh()
    first, _ = processes
    await first.load()
    told = await first.catalogue("icbc")
    for digest in house.files.digests():
        house.files.delete(digest)
    late = house.new_published()
    with pytest.raises(SegmentError):
        await late.load()
    assert await late.catalogue("icbc") == told == await first.catalogue("icbc")


async def test_a_process_that_is_behind_gives_no_older_snapshot_than_the_reader_has(house, processes):
    first, second = (PeerPublications(one) for one in processes)
    epoch = (await house.store.publications.epochs())[0].digest
    before = await second.snapshot("jd/fraud", epoch, "icbc")
    await house.bring(*NUMBERS[5:7])
    await house.publisher().refresh()
    await processes[0].load()
    newest = await first.snapshot("jd/fraud", epoch, "icbc", before[0])
    assert newest != before == await second.snapshot("jd/fraud", epoch, "icbc")
    assert await second.snapshot("jd/fraud", epoch, "icbc", newest[0]) == newest
    generation = processes[1].generation
    assert await second.snapshot("jd/fraud", epoch, "icbc", bytes(32)) == newest
    assert await second.snapshot("jd/none", epoch, "icbc") is None
    assert await second.snapshot("jd/fraud", bytes(32), "icbc") is None
    assert processes[1].generation == generation, "what nobody has is no reason to load again"


async def test_a_process_that_is_behind_has_what_another_has_named(house, processes):
    second = PeerPublications(processes[1])
    old = (await house.store.publications.epochs())[0].digest
    [former] = (await house.store.publications.latest_snapshot(1, old)).segments
    await house.bring(*NUMBERS[5:7])
    house.clock.wait(days=29)
    await house.publisher().refresh()
    new = (await house.store.publications.epochs())[1].digest
    for digest in (old, new):
        for file in (await house.store.publications.latest_snapshot(1, digest)).segments:
            assert (await second.segment(file, "icbc")).exists()
    assert await second.epoch(new, "icbc") is not None
    assert await second.snapshot("jd/fraud", new, "icbc") is not None
    generation = processes[1].generation
    assert await second.epoch(bytes(32), "icbc") is None
    assert await second.segment(bytes(32), "icbc") is None
    assert await second.segment(former, "icbc") is not None
    assert processes[1].generation == generation


async def test_an_epoch_that_another_process_ended_is_told_as_ended(house, processes):
    """And polls of its snapshots are no reason to load again and again."""
    [row] = await house.store.publications.epochs()
    ended = end_epoch(NETWORK, row, SigningKey(bytes(32)), at=house.clock(), reason="key_exposed", salt=bytes(16))
    assert await house.store.publications.end_epoch(ended)
    second = PeerPublications(processes[1])
    await processes[1].load()
    generation = processes[1].generation
    assert body(await second.epoch(row.digest, "icbc"))["ended"]["reason"] == "key_exposed"
    assert await second.snapshot("jd/fraud", row.digest, "icbc") is None
    assert processes[1].served(row.digest, "icbc", house.clock()) is None
    assert processes[1].generation == generation
