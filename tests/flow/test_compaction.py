"""What merging costs the readers of a list, and that what it must not hide is still shown behind it."""

from __future__ import annotations

import pytest

from riskshare.sharing.upheld import upheld
from tests.simulator.published import PHONES, Shown
from tests.simulator.publishing import Desk, Reader, StubbornSource


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


@pytest.fixture
def of(desk):
    made = desk.create_list()
    desk.put(made, *PHONES[:10])
    return made


async def shown(desk, of):
    published = await desk.published()
    return Shown(published, desk.full(of), desk.store.all_epochs[-1].digest)


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
