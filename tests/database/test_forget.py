"""Old snapshots, segments and files go when neither a reader nor an audit needs them, whatever crashes in between."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest

from riskshare.sharing.forget import ORPHAN_TERM, forget
from tests.database.test_publish import NUMBERS, House

WINDOW = timedelta(days=180)


@pytest.fixture
async def house(store, tmp_path):
    await store.lists.create_list("fraud", "telecom_fraud", "default")
    return House(store, tmp_path / "segments")


class Kept:
    """What a house keeps: the age of its files follows its clock."""

    def __init__(self, house):
        self.house = house
        self.shelf = house.store.publications

    async def publish(self, *numbers, **terms):
        if numbers:
            await self.house.bring(*numbers, days=3000)
        await self.house.publisher(**terms).refresh()
        self.touch()

    def touch(self):
        """Files that were just written are as old as the clock says."""
        moment = self.house.clock().timestamp()
        for digest in self.house.files.digests():
            path = self.house.files.path(digest)
            if path.stat().st_atime != 1:
                os.utime(path, (1, moment))

    async def forget(self):
        await forget(self.shelf, self.house.files, self.house.clock(), WINDOW)

    def files(self):
        return set(self.house.files.digests())

    async def rows(self):
        async with self.shelf._pool.acquire() as connection:
            return {row["file_digest"] for row in await connection.fetch("select file_digest from segments")}

    async def versions(self):
        async with self.shelf._pool.acquire() as connection:
            rows = await connection.fetch(
                "select version from snapshots s join epochs e on e.digest = epoch order by number, version"
            )
            return [row["version"] for row in rows]

    async def newest(self):
        last = (await self.shelf.epochs())[-1]
        return set((await self.shelf.latest_snapshot(1, last.digest)).segments)


@pytest.fixture
def kept(house):
    return Kept(house)


TERMS = {"epoch": timedelta(days=3000), "deltas": 1}


async def compacted(kept):
    """A base and two deltas, then one base in their place; give the former ones."""
    for number in NUMBERS[:3]:
        await kept.publish(number, **TERMS)
    former = kept.files() - await kept.newest()
    assert len(former) == 3
    return former


async def test_segments_stay_while_their_snapshots_are_valid_and_within_the_window(kept):
    former = await compacted(kept)
    for span in (timedelta(0), timedelta(hours=23), timedelta(days=1), WINDOW - timedelta(minutes=1)):
        kept.house.clock.wait(seconds=span.total_seconds())
        await kept.publish(NUMBERS[3], **TERMS, reissue=timedelta(days=9000))
        if kept.house.clock() < (await issued(kept)) + timedelta(days=1) + WINDOW:
            await kept.forget()
            assert former <= kept.files() == await kept.rows()
            assert (await kept.versions())[0] == 1


async def issued(kept):
    async with kept.shelf._pool.acquire() as connection:
        return await connection.fetchval("select min(issued_at) from snapshots")


async def test_segments_go_with_the_window_and_the_newest_snapshot_stays(kept):
    former = await compacted(kept)
    newest = await kept.newest()
    kept.house.clock.wait(days=181, seconds=1)
    await kept.forget()
    assert kept.files() == await kept.rows() == newest
    assert not former & kept.files()
    assert len(await kept.versions()) == 1
    await kept.publish(NUMBERS[5], **TERMS)
    found = await kept.house.shown()
    assert found.listed() == [*NUMBERS[:3], NUMBERS[5]]


async def test_a_segment_that_a_valid_snapshot_names_stays_however_old_it_is(kept):
    await kept.publish(NUMBERS[0], **TERMS)
    [base] = kept.files()
    for _ in range(4):
        kept.house.clock.wait(days=100)
        await kept.publish(**TERMS)
        await kept.forget()
        assert kept.files() == await kept.rows() == {base}


async def test_the_last_snapshot_of_an_epoch_goes_when_the_list_has_gone_on_under_another(kept):
    """Or each epoch would leave its base behind for ever."""
    await kept.publish(NUMBERS[0])
    [old] = kept.files()
    kept.house.clock.wait(days=29, hours=1)
    await kept.publish(NUMBERS[1])
    assert len(await kept.shelf.epochs()) == 2
    kept.house.clock.wait(days=2)
    await kept.publish(NUMBERS[2])
    for days, there in ((100, True), (78, True), (4, False)):
        kept.house.clock.wait(days=days)
        await kept.publish(NUMBERS[3])
        await kept.forget()
        assert (old in kept.files()) is there
    assert kept.files() == await kept.rows()


async def test_the_newest_of_a_chain_whose_epoch_may_be_used_stays(kept):
    """Or the chain would begin anew, with a second statement for each version."""
    await kept.publish(NUMBERS[0], epoch=timedelta(days=3000), changeover=timedelta(days=2990))
    epochs = kept.house.publisher(**TERMS)._epochs
    assert await kept.shelf.add_epoch(epochs.new("default", 2))
    await kept.publish(NUMBERS[1], epoch=timedelta(days=3000), changeover=timedelta(days=2990))
    before = await kept.versions()
    kept.house.clock.wait(days=400)
    await kept.forget()
    assert await kept.versions() == [max(before), 1]


async def test_a_crash_between_row_and_file_leaves_a_file_that_goes_later(kept):
    former = await compacted(kept)
    kept.house.clock.wait(days=181, seconds=1)
    await kept.shelf.forget_snapshots(kept.house.clock() - WINDOW)
    assert await kept.shelf.forget_segments(list(former)) == 3
    assert former <= kept.files()
    await kept.forget()
    assert kept.files() == await kept.newest()


async def test_a_file_that_no_snapshot_ever_named_goes_after_a_day(kept):
    await kept.publish(NUMBERS[0], **TERMS)
    named = kept.files()
    orphan = kept.house.files.path(bytes(32))
    orphan.write_bytes(b"written, and then a crash")
    os.utime(orphan, (1, kept.house.clock().timestamp()))
    await kept.forget()
    assert kept.files() == {*named, bytes(32)}
    kept.house.clock.wait(seconds=ORPHAN_TERM.total_seconds() + 1)
    await kept.forget()
    assert kept.files() == named


async def test_segments_that_a_snapshot_names_are_never_forgotten(kept):
    await kept.publish(NUMBERS[0], **TERMS)
    assert await kept.shelf.forget_segments(list(kept.files())) == 0
    assert await kept.rows() == kept.files()
