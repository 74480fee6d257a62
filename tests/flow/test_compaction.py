"""What merging costs the readers of a list, and that what it must not hide is still shown behind it."""

from __future__ import annotations

import asyncio

import pytest

from riskshare.errors import StoreError
from riskshare.sharing import compaction
from riskshare.sharing.upheld import upheld
from tests.simulator.published import PHONES, shown
from tests.simulator.publishing import Reader, StubbornSource


def reasons(found):
    return [sorted(delta.withdrawn.values()) for delta in found.list.view.deltas]


# --- upheld appeals


@pytest.fixture
async def reader(desk, of, tmp_path):
    """A member that follows the list, in steps that the test takes."""
    source = StubbornSource()
    made = Reader(tmp_path / "mirror", source, [desk], clock=desk.clock)

    async def follow():
        source.owners["jd"] = await desk.published()
        await made.subscriber._read_catalogue("jd")
        for task in made.subscriber._following_lists.values():
            task.cancel()
        await made.subscriber.poll((desk.full(of), desk.store.all_epochs[-1].digest), 0.0)

    made.follow = follow
    return made


def noted(reader):
    """The labels of upheld appeals in the reader's files, which its peer looks through every second."""
    found = [upheld(reader.files.path(digest).read_bytes(), digest) for digest in reader.files.digests()]
    return {label for each in found if each is not None for label in each.labels}


async def test_a_reader_whose_list_is_merged_at_once_still_sees_that_an_appeal_was_upheld(desk, of, reader):
    """It is never shown the delta: when it asks again, a new base has taken its place."""
    publisher = desk.publisher(deltas=0)
    await publisher.refresh()
    await reader.follow()
    desk.change(of, PHONES[0], reason="appeal_upheld")
    desk.change(of, PHONES[1], reason="corrected")
    assert await publisher.refresh() == 2, "the delta, and the base in its place"
    await reader.follow()
    found = await shown(desk, of)
    assert (found.kinds, found.listed(), reasons(found)) == (["base", "delta"], PHONES[2:10], [["appeal_upheld"]])
    assert noted(reader) == set(found.list.view.deltas[0].withdrawn)
    assert found.list.view.base.count == 8 + 3


async def test_an_appeal_is_shown_behind_further_bases_for_an_hour(desk, of):
    publisher = desk.publisher(deltas=0)
    await publisher.refresh()
    desk.change(of, PHONES[0], reason="appeal_upheld")
    await publisher.refresh()
    desk.clock.wait(minutes=59)
    desk.put(of, PHONES[20])
    await publisher.refresh()
    assert reasons(await shown(desk, of)) == [["appeal_upheld"]]
    desk.clock.wait(minutes=60)
    desk.put(of, PHONES[21])
    await publisher.refresh()
    assert (await shown(desk, of)).kinds == ["base"]


async def test_whom_an_owner_lists_again_after_an_appeal_stays_listed(desk, of):
    publisher = desk.publisher(deltas=0)
    await publisher.refresh()
    desk.change(of, PHONES[0], reason="appeal_upheld")
    await publisher.refresh()
    desk.change(of, PHONES[0], "active")
    await publisher.refresh()
    found = await shown(desk, of)
    assert (found.kinds, found.listed()) == (["base"], PHONES[:10])


async def test_an_appeal_is_shown_behind_a_base_of_all_entries_too(desk, of):
    """A change that is too large for a delta makes one, and so do files that are lost."""
    publisher = desk.publisher()
    await publisher.refresh()
    desk.change(of, PHONES[0], reason="appeal_upheld")
    await publisher.refresh()
    publisher._composer._most_changes = 5
    desk.put(of, *PHONES[10:20])
    await publisher.refresh()
    found = await shown(desk, of)
    assert (found.kinds, found.listed(), reasons(found)) == (["base", "delta"], PHONES[1:20], [["appeal_upheld"]])
    desk.files.delete(found.list.snapshot.segments[0])
    await publisher.refresh()
    found = await shown(desk, of)
    assert (found.kinds, found.listed(), reasons(found)) == (["base", "delta"], PHONES[1:20], [["appeal_upheld"]])
    for digest in found.list.snapshot.segments:  # what nobody has any more cannot be told again
        desk.files.delete(digest)
    await publisher.refresh()
    found = await shown(desk, of)
    assert (found.kinds, found.listed()) == (["base"], PHONES[1:20])


async def test_an_appeal_that_is_upheld_twice_is_shown_once(desk, of):
    """The delta behind the new base, and the last one that came while it was merged, are equal to the byte."""
    publisher = desk.publisher(deltas=0)
    await publisher.refresh()
    true = publisher._composer.merged

    async def meanwhile(*args):
        publisher._composer.merged = true
        result = await true(*args)
        for state in ("active", "withdrawn"):
            desk.change(of, PHONES[0], state, "appeal_upheld")
            await desk.publisher().refresh()
        return result

    publisher._composer.merged = meanwhile
    desk.change(of, PHONES[0], reason="appeal_upheld")
    desk.change(of, PHONES[1], reason="corrected")
    await publisher.refresh()
    found = await shown(desk, of)
    assert (found.listed(), reasons(found)) == (PHONES[2:10], [[], ["appeal_upheld"]])


# --- long lists


@pytest.fixture
def long(monkeypatch):
    """From how many bytes on a list counts as long: the one here is."""
    monkeypatch.setattr(compaction, "SHORT_BASE", 100_000)
    monkeypatch.setattr(compaction, "SMALLEST_BASE", 100_000)


MANY = 4
"""Deltas, from which on they are merged."""


async def change(desk, of, number):
    """List one phone, and withdraw another, which came by a delta itself from the eleventh change on."""
    desk.put(of, PHONES[10 + number])
    desk.change(of, PHONES[number], reason="appeal_upheld" if number % 5 == 0 else "corrected")


async def test_a_long_list_keeps_its_base_however_often_it_changes(desk, of, reader, long):
    publisher = desk.publisher(deltas=MANY)
    await publisher.refresh()
    await reader.follow()
    [base] = desk.store.snapshots[0].segments
    fetched = len(reader.source.fetched)
    for number in range(3 * MANY + 1):
        await change(desk, of, number)
        await publisher.refresh()
        await reader.follow()
        newest = desk.store.snapshots[-1].segments
        assert newest[0] == base
        assert len(newest) <= MANY + 1
        assert set(reader.files.digests()) == set(newest), "what is merged is needed no more"
    assert len(desk.store.snapshots) > 3 * MANY + 4, "deltas were merged"
    assert base not in {digest for digest, _, _ in reader.source.fetched[fetched:]}
    found = await shown(desk, of)
    assert found.listed() == PHONES[3 * MANY + 1 : 3 * MANY + 11]
    assert sorted(word for each in reasons(found) for word in each if word == "appeal_upheld") == ["appeal_upheld"] * 3
    assert len(noted(reader)) == 3
    following = reader.mirror.following(desk.full(of), desk.store.all_epochs[-1].digest)
    assert list(following.view.rows()) == list(found.list.view.rows())


async def test_a_long_list_gets_a_new_base_when_its_deltas_are_a_good_part_of_it(desk, of, long):
    publisher = desk.publisher(deltas=100)
    await publisher.refresh()
    [base] = desk.store.snapshots[0].segments
    length = desk.store.all_segments[base].ref.file_length
    while (newest := desk.store.snapshots[-1].segments)[0] == base:
        deltas = [desk.store.all_segments[digest].ref.file_length for digest in newest[1:]]
        assert sum(deltas) <= length / 4
        desk.put(of, PHONES[len(newest)], level="low")
        await publisher.refresh()
    assert len(newest) == 1


@pytest.mark.parametrize("step", ["publish", "published"])
async def test_a_crash_as_merged_deltas_are_stored_loses_nothing(desk, of, long, step):
    publisher = desk.publisher(deltas=1)
    await publisher.refresh()
    base = desk.store.snapshots[0].segments
    await change(desk, of, 0)
    await publisher.refresh()

    def crash(now):
        if now == step and len(desk.store.snapshots) == (3 if step == "publish" else 4):
            raise StoreError("gone")

    desk.store.fault = crash
    await change(desk, of, 1)
    with pytest.raises(StoreError):
        await publisher.refresh()
    found = await shown(desk, of)
    assert found.listed() == PHONES[2:12]
    desk.store.fault = lambda _: None
    publisher = desk.publisher(deltas=1)
    await change(desk, of, 2)
    await publisher.refresh()
    found = await shown(desk, of)
    assert found.listed() == PHONES[3:13]
    assert found.list.snapshot.segments[:1] == base
    assert len(found.list.snapshot.segments) == 2


async def test_deltas_that_say_nothing_together_leave_the_base_alone(desk, of, long):
    publisher = desk.publisher(deltas=1)
    await publisher.refresh()
    desk.put(of, PHONES[20])
    await publisher.refresh()
    desk.change(of, PHONES[20])
    await publisher.refresh()
    found = await shown(desk, of)
    assert (found.list.snapshot.segments, found.listed()) == (desk.store.snapshots[0].segments, PHONES[:10])


async def test_deltas_that_come_while_others_are_merged_stand_behind_them(desk, of, long):
    publisher = desk.publisher(deltas=1)
    await publisher.refresh()
    true = publisher._composer.compacted

    async def meanwhile(*args):
        publisher._composer.compacted = true
        result = await true(*args)
        desk.put(of, PHONES[20])
        desk.change(of, PHONES[10])
        await desk.publisher().refresh()
        return result

    publisher._composer.compacted = meanwhile
    for phone in PHONES[10:12]:
        desk.put(of, phone)
        await publisher.refresh()
    found = await shown(desk, of)
    assert (len(found.list.snapshot.segments), found.listed()) == (3, [*PHONES[:10], PHONES[11], PHONES[20]])


async def test_deltas_are_merged_while_another_list_gets_a_long_base(desk, of, long):
    publisher = desk.publisher(deltas=1)
    await publisher.refresh()
    async with publisher._merging, asyncio.timeout(20):
        for number in range(4):
            await change(desk, of, number)
            await publisher.refresh()
    found = await shown(desk, of)
    assert (len(found.list.snapshot.segments), found.listed()) == (2, PHONES[4:14])


async def test_more_words_than_a_delta_can_hold_make_a_base(desk, of, long, monkeypatch):
    monkeypatch.setattr(compaction.fitting, "__defaults__", (5,))
    publisher = desk.publisher(deltas=1)
    await publisher.refresh()
    for number in range(0, 6, 3):
        desk.put(of, *PHONES[10 + number : 13 + number])
        await publisher.refresh()
    found = await shown(desk, of)
    assert (found.kinds, found.listed()) == (["base"], PHONES[:16])
    assert found.list.snapshot.segments != desk.store.snapshots[0].segments


async def test_files_that_a_merge_of_deltas_replaced_are_served_until_the_next(desk, of, long):
    """A reader may be in the middle of fetching them; but not for ever."""
    publisher, published = desk.publisher(deltas=2), desk.new_published()
    await publisher.refresh()
    for number in range(12):
        await published.load()
        former = published.current()[0].snapshot.segments
        await change(desk, of, number)
        await publisher.refresh()
        await published.load()
        assert all(published.segment(digest, "icbc").exists() for digest in former)
        assert len(published.current()[0].files) <= 6
