"""A list whose files take long to open holds up the news of no other, and is never shown as it was before."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pytest

from riskshare.errors import DiskError, SegmentError
from riskshare.sharing import openings
from riskshare.sharing.published import Published
from tests.simulator.published import PHONES, Shown
from tests.simulator.publishing import NETWORK, Desk


class HeldUp:
    """Segment files, of which those in `slow` (digests) are not to be had before `go_on`, or their own, is set.

    Counts its maps.
    """

    def __init__(self, files):
        self._files = files
        self.slow: set[bytes] = set()
        self.mapped: list[bytes] = []
        self.go_on = threading.Event()
        self.own: dict[bytes, threading.Event] = {}

    def map(self, ref):
        self.mapped.append(ref.file_digest)
        if ref.file_digest in self.slow:
            assert self.own.get(ref.file_digest, self.go_on).wait(30)
        return self._files.map(ref)

    def __getattr__(self, name):
        return getattr(self._files, name)


class Office:
    """An owner of two lists. What is published of `fraud` from `merge` on has a base that takes long to open."""

    def __init__(self, folder):
        self.desk = Desk(folder)
        self.fraud, self.more = self.desk.create_list(), self.desk.create_list("more")
        for of in (self.fraud, self.more):
            self.desk.put(of, *PHONES[:5])
        self.files = HeldUp(self.desk.files)
        self.published = Published(
            member="jd",
            network=NETWORK,
            identity=self.desk.identity,
            data_key=self.desk.data_key,
            lists=self.desk.store,
            grants=self.desk.store,
            shelf=self.desk.store,
            files=self.files,
            now=self.desk.clock,
        )

    @property
    def epoch(self):
        return self.desk.store.all_epochs[-1].digest

    def newest(self, of):
        return [row for row in self.desk.store.snapshots if row.list_id == of.id][-1]

    async def merge(self):
        """Publish a new base of `fraud`."""
        self.desk.put(self.fraud, PHONES[10])
        await self.desk.publisher(deltas=0).refresh()
        [base] = self.newest(self.fraud).segments
        self.files.slow.add(base)
        return base

    async def publish(self):
        await self.desk.publisher().refresh()

    def shown(self, of):
        found = Shown(self.published, self.desk.full(of), self.epoch)
        return found.list.snapshot.version, found.listed()


@pytest.fixture
async def office(tmp_path, monkeypatch):
    monkeypatch.setattr(openings, "QUICK_SECONDS", 0.05)
    made = Office(tmp_path)
    await made.publish()
    await made.published.load()
    yield made
    made.files.go_on.set()
    await made.published.stop()


async def test_a_withdrawal_is_shown_while_the_new_base_of_another_list_is_opened(office):
    await office.merge()
    async with asyncio.timeout(20):
        await office.published.load(whole=False)
        assert office.shown(office.fraud) == (1, PHONES[:5])
        generation = office.published.generation
        digest, _ = office.published.snapshot("jd/more", office.epoch, "icbc")
        poll = asyncio.create_task(office.published.wait("jd/more", office.epoch, digest, 60, "icbc"))
        office.desk.change(office.more, PHONES[0])
        await office.publish()
        await office.published.load(whole=False)
        await poll
    assert office.shown(office.more) == (2, PHONES[1:5])
    assert office.published.generation > generation
    assert office.shown(office.fraud) == (1, PHONES[:5]), "what was loaded before goes on being served"


async def test_a_list_is_shown_when_it_is_open_without_being_asked_for(office):
    await office.merge()
    await office.published.load(whole=False)
    generation = office.published.generation
    digest, _ = office.published.snapshot("jd/fraud", office.epoch, "icbc")
    poll = asyncio.create_task(office.published.wait("jd/fraud", office.epoch, digest, 60, "icbc"))
    office.files.go_on.set()
    await asyncio.wait_for(poll, 20)
    assert office.shown(office.fraud) == (3, [*PHONES[:5], PHONES[10]])
    assert office.published.generation > generation


async def test_it_is_shown_at_its_newest_snapshot_and_read_once(office):
    """What came while its base was opened stands behind it."""
    base = await office.merge()
    await office.published.load(whole=False)
    office.desk.change(office.fraud, PHONES[0])
    await office.publish()
    await office.published.load(whole=False)
    await office.published.load(whole=False)
    assert office.shown(office.fraud)[0] == 1
    office.files.go_on.set()
    await asyncio.wait_for(office.published.load(), 20)
    assert office.shown(office.fraud) == (4, [*PHONES[1:5], PHONES[10]])
    assert office.files.mapped.count(base) == 1


async def test_who_knows_of_a_newer_snapshot_waits_for_that_list_alone(office):
    base = await office.merge()
    office.desk.change(office.more, PHONES[0])
    await office.publish()
    async with asyncio.timeout(20):
        await office.published.catch_up_list("jd/more", office.epoch, "icbc")
        assert office.shown(office.more) == (2, PHONES[1:5])
        [*_, delta] = office.newest(office.more).segments
        await office.published.catch_up_segment(delta, "icbc")
        assert office.published.segment(delta, "icbc") is not None
        waiting = [
            asyncio.create_task(office.published.catch_up_list("jd/fraud", office.epoch, "icbc")),
            asyncio.create_task(office.published.catch_up_segment(base, "icbc")),
        ]
        done, _ = await asyncio.wait(waiting, timeout=0.5)
        assert not done, "what they would be answered is older"
        office.files.go_on.set()
        await asyncio.gather(*waiting)
    assert office.shown(office.fraud)[0] == 3
    assert office.published.segment(base, "icbc") is not None


async def test_who_waits_for_a_list_is_not_answered_between_its_opening_and_its_showing(office, monkeypatch):
    """It was opened while the files of another list were waited for, whose news hold up the showing."""
    await office.merge()
    await office.published.load(whole=False)
    office.desk.change(office.more, PHONES[0])
    await office.publish()
    [*_, delta] = office.newest(office.more).segments
    office.files.slow.add(delta)
    office.files.own[delta] = threading.Event()
    monkeypatch.setattr(openings, "QUICK_SECONDS", 30)
    show = office.published._openings._opened

    async def slowly():
        for _ in range(100):  # as with a store that answers over a socket
            await asyncio.sleep(0)
        await show()

    office.published._openings._opened = slowly
    async with asyncio.timeout(20):
        waiting = asyncio.create_task(office.published.catch_up_list("jd/fraud", office.epoch, "icbc"))
        while delta not in office.files.mapped:  # noqa: ASYNC110 - what is waited for happens in a thread
            await asyncio.sleep(0.01)
        office.files.go_on.set()
        while office.published._openings._late:  # noqa: ASYNC110 - the opening is in a thread
            await asyncio.sleep(0)
        office.files.own[delta].set()
        await waiting
    assert office.shown(office.fraud)[0] == 3


async def test_a_base_that_is_found_damaged_late_is_told_and_removed(office):
    base = await office.merge()
    path = office.desk.files.path(base)
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    await office.published.load(whole=False)
    office.files.go_on.set()
    with pytest.raises(SegmentError):
        await asyncio.wait_for(office.published.load(), 20)
    assert not path.exists()
    assert office.shown(office.fraud) == (1, PHONES[:5])
    await office.publish()
    await office.published.load()
    assert office.shown(office.fraud) == (4, [*PHONES[:5], PHONES[10]])


async def test_trouble_that_is_found_late_is_told_to_who_loads_next(office):
    """It is not read again at once, though it could not be removed."""
    base = await office.merge()
    path = office.desk.files.path(base)
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")

    def refuse(_digest):
        raise DiskError("read-only")

    office.files.delete = refuse
    await office.published.load(whole=False)
    office.files.go_on.set()
    await office.published._openings.settled()
    with pytest.raises(DiskError):
        await office.published.load(whole=False)
    assert office.files.mapped.count(base) == 1


async def test_a_list_of_an_epoch_that_ended_while_it_was_opened_is_not_shown(office):
    await office.merge()
    await office.published.load(whole=False)
    store = office.desk.store
    store.all_epochs[0] = replace(store.all_epochs[0], ended_at=office.desk.clock())
    await office.published.load(whole=False)
    office.files.go_on.set()
    await asyncio.wait_for(office.published.load(), 20)
    assert office.published.current() == []
    assert office.published.snapshot("jd/fraud", office.epoch, "icbc") is None


async def test_of_long_lists_one_is_opened_at_a_time(office, monkeypatch):
    """The threads are for short ones too."""
    monkeypatch.setattr(openings, "LONG_BYTES", 0)
    await office.merge()
    for name in ("third", "fourth"):
        office.desk.create_list(name)
    await office.publish()
    office.files.slow.update(row.segments[0] for row in office.desk.store.snapshots if row.list_id > 2)
    before = len(office.files.mapped)
    await office.published.load(whole=False)
    async with asyncio.timeout(20):
        while len(office.files.mapped) == before:  # noqa: ASYNC110 - what is waited for happens in a thread
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert len(office.files.mapped) == before + 1
    office.files.go_on.set()
    await asyncio.wait_for(office.published.load(), 20)
    assert len(office.published.current()) == 4
