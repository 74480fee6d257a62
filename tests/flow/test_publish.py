"""Publishing over a store in memory: what the statements and files say, and that a crash anywhere costs a repetition."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace

import pytest

from riskshare.errors import DiskError, OpenError, SegmentError, StoreError
from riskshare.sharing import publish
from riskshare.sharing.view import summary
from tests.simulator.disk import largest_file
from tests.simulator.published import PHONES, shown


async def test_the_first_pass_makes_epoch_base_and_snapshot(desk, of):
    assert await desk.publisher().refresh() == 1
    found = await shown(desk, of)
    assert (found.body["version"], found.body["previous"], found.kinds) == (1, None, ["base"])
    assert found.listed() == PHONES[:10]
    assert found.record(PHONES[0]).level == "high"
    assert found.record("phone:+8613800138099") is None


async def test_canaries_are_in_the_list_and_in_the_statement(desk, of):
    await desk.publisher().refresh()
    found = await shown(desk, of)
    assert len(found.body["canaries"]) == publish.CANARIES
    assert found.body["count"] == 10 + publish.CANARIES
    assert [found.record(canary).reason for canary in found.body["canaries"]] == ["canary"] * publish.CANARIES


async def test_the_label_digest_is_that_of_all_labels(desk, of):
    publisher = desk.publisher()
    await publisher.refresh()
    desk.put(of, *PHONES[10:15])
    desk.change(of, PHONES[0])
    await publisher.refresh()
    found = await shown(desk, of)
    labels = b"".join(name for name, _ in found.list.view.rows())
    assert found.body["labels"] == hashlib.sha256(labels).hexdigest()
    assert found.body["count"] == len(labels) // 16 == summary(found.list.view).count


async def test_an_empty_list_has_its_canaries_only(desk):
    of = desk.create_list()
    assert await desk.publisher().refresh() == 1
    assert (await shown(desk, of)).body["count"] == publish.CANARIES


async def test_nothing_is_published_without_a_change(desk, of):
    publisher = desk.publisher()
    await publisher.refresh()
    assert await publisher.refresh() == 0


async def test_a_change_makes_a_delta(desk, of):
    publisher = desk.publisher()
    await publisher.refresh()
    first = (await shown(desk, of)).list.snapshot
    desk.put(of, *PHONES[10:12])
    desk.put(of, PHONES[0], level="low")
    desk.change(of, PHONES[1], reason="appeal_upheld")
    assert await publisher.refresh() == 1
    found = await shown(desk, of)
    assert found.kinds == ["base", "delta"]
    assert (found.body["version"], found.body["previous"]) == (2, first.digest.hex())
    assert found.listed() == [PHONES[0], *PHONES[2:12]]
    assert found.record(PHONES[0]).level == "low"
    delta = found.list.view.deltas[0]
    assert (len(delta.added), list(delta.withdrawn.values())) == (3, ["appeal_upheld"])


async def test_each_withdrawal_has_its_reason(desk, of):
    publisher = desk.publisher()
    await publisher.refresh()
    for phone, reason in zip(PHONES, ["corrected", "erroneous", "corrected", "withdrawn"], strict=False):
        desk.change(of, phone, reason=reason)
    await publisher.refresh()
    withdrawn = (await shown(desk, of)).list.view.deltas[0].withdrawn
    assert sorted(withdrawn.values()) == ["corrected", "corrected", "erroneous", "withdrawn"]


async def test_an_entry_that_no_snapshot_has_shown_is_withdrawn_without_a_word(desk, of):
    publisher = desk.publisher()
    await publisher.refresh()
    desk.put(of, PHONES[20])
    desk.change(of, PHONES[20])
    assert await publisher.refresh() == 1
    found = await shown(desk, of)
    assert found.kinds == ["base"]
    assert found.list.snapshot.changed == desk.store.rows[of.id].changed
    assert await publisher.refresh() == 0


async def test_an_appeal_upheld_of_what_was_withdrawn_before_is_told_once(desk, of):
    """Readers had it as a hit until it was withdrawn for another reason: their customers are to hear of the appeal."""
    publisher = desk.publisher()
    await publisher.refresh()
    desk.change(of, PHONES[0], reason="corrected")
    await publisher.refresh()
    desk.change(of, PHONES[0], reason="appeal_upheld")
    assert await publisher.refresh() == 1
    desk.put(of, PHONES[20])
    assert await publisher.refresh() == 1
    found = await shown(desk, of)
    assert [list(delta.withdrawn.values()) for delta in found.list.view.deltas] == [
        ["corrected"],
        ["appeal_upheld"],
        [],
    ]
    assert found.listed() == [*PHONES[1:10], PHONES[20]]


async def test_an_expired_entry_is_withdrawn(desk, of):
    publisher = desk.publisher()
    desk.put(of, PHONES[30], days=1)
    await publisher.refresh()
    desk.clock.wait(days=1)
    await publisher.refresh()
    found = await shown(desk, of)
    assert found.listed() == PHONES[:10]
    assert list(found.list.view.deltas[0].withdrawn.values()) == ["expired"]


async def test_a_disputed_entry_stays_and_says_so(desk, of):
    publisher = desk.publisher()
    await publisher.refresh()
    desk.change(of, PHONES[3], "disputed")
    await publisher.refresh()
    assert (await shown(desk, of)).record(PHONES[3]).disputed


async def test_an_unchanged_snapshot_is_issued_again_in_time(desk, of):
    publisher = desk.publisher()
    await publisher.refresh()
    first = await shown(desk, of)
    desk.clock.wait(minutes=59)
    assert await publisher.refresh() == 0
    desk.clock.wait(minutes=1)
    assert await publisher.refresh() == 1
    second = await shown(desk, of)
    assert second.body["segments"] == first.body["segments"]
    assert second.body["version"] == 2
    assert second.list.snapshot.expires_at > first.list.snapshot.expires_at


async def test_deltas_that_pile_up_are_merged_after_the_last_is_published(desk, of):
    publisher = desk.publisher(deltas=2)
    await publisher.refresh()
    kinds = []
    for phone in PHONES[10:14]:
        desk.put(of, phone)
        await publisher.refresh()
        kinds.append((await shown(desk, of)).kinds)
    assert kinds == [["base", "delta"], ["base", "delta", "delta"], ["base"], ["base", "delta"]]
    assert [row.version for row in desk.store.snapshots] == [1, 2, 3, 4, 5, 6]
    assert len(desk.store.snapshots[3].segments) == 4
    assert (await shown(desk, of)).listed() == PHONES[:14]


async def test_a_large_change_is_published_at_once_and_then_merged(desk, of):
    publisher = desk.publisher(delta_share=0.005)
    await publisher.refresh()
    desk.put(of, *PHONES[10:40])
    assert await publisher.refresh() == 2
    assert [len(row.segments) for row in desk.store.snapshots] == [1, 2, 1]
    found = await shown(desk, of)
    assert (found.kinds, found.listed()) == (["base"], PHONES[:40])
    assert set(desk.files.digests()) == set(desk.store.all_segments)


async def test_a_change_too_large_for_memory_is_a_new_base(desk, of):
    publisher = desk.publisher()
    await publisher.refresh()
    publisher._composer._most_changes = 5
    desk.put(of, *PHONES[10:20])
    desk.change(of, PHONES[0])
    assert await publisher.refresh() == 2, "the withdrawal goes out before the base"
    found = await shown(desk, of)
    assert (found.kinds, found.listed(), found.body["version"]) == (["base"], PHONES[1:20], 3)


async def test_the_same_withdrawal_twice_gives_no_segment_twice(desk, of):
    """Two deltas that only withdraw are equal to the byte; a snapshot names each file once."""
    publisher = desk.publisher()
    await publisher.refresh()
    for _ in range(2):
        desk.change(of, PHONES[0])
        await publisher.refresh()
        desk.put(of, PHONES[0])
        await publisher.refresh()
    found = await shown(desk, of)
    assert found.listed() == PHONES[:10]
    assert all(digest in set(desk.files.digests()) for row in desk.store.snapshots for digest in row.segments)


async def test_the_next_epoch_begins_before_the_old_one_ends(desk, of):
    publisher = desk.publisher()
    await publisher.refresh()
    desk.clock.wait(days=29)
    desk.put(of, PHONES[11])
    assert await publisher.refresh() == 2
    old, new = await shown(desk, of, 0), await shown(desk, of, 1)
    assert (old.body["version"], new.body["version"]) == (2, 1)
    assert new.body["previous"] == old.list.snapshot.digest.hex()
    assert old.listed() == new.listed() == [*PHONES[:10], PHONES[11]]
    assert set(dict(old.list.view.rows())).isdisjoint(dict(new.list.view.rows()))
    published = await desk.published()
    epochs = [row.digest for row in desk.store.all_epochs]
    assert [published.served(epoch, "icbc", desk.clock()) is not None for epoch in epochs] == [True, True]
    desk.clock.wait(days=1)
    published = await desk.published()
    assert [published.served(epoch, "icbc", desk.clock()) is not None for epoch in epochs] == [False, True]


async def test_an_epoch_that_has_ended_is_replaced(desk, of):
    publisher = desk.publisher()
    await publisher.refresh()
    store = desk.store
    store.all_epochs[0] = replace(store.all_epochs[0], ended_at=desk.clock())
    assert await publisher.refresh() == 1
    assert [row.number for row in store.all_epochs] == [1, 2]


async def test_keysets_have_epochs_of_their_own(desk, of):
    other = desk.create_list("granted", keyset="partners")
    assert await desk.publisher().refresh() == 2
    assert {row.keyset for row in desk.store.all_epochs} == {"default", "partners"}
    assert {(row.list_id, row.epoch) for row in desk.store.snapshots} == {
        (one.id, epoch.digest) for one in (of, other) for epoch in desk.store.all_epochs if epoch.keyset == one.keyset
    }


# --- bad luck


@pytest.mark.parametrize("step", ["publish", "published"])
async def test_a_crash_at_the_store_costs_a_repetition(desk, of, step):
    """`published` is the worse one: stored, but the publisher does not know."""

    def crash(now):
        if now == step:
            raise StoreError("gone")

    publisher = desk.publisher()
    for change in (lambda: None, lambda: desk.put(of, PHONES[10]), lambda: desk.change(of, PHONES[0])):
        change()
        desk.store.fault = crash
        with pytest.raises(StoreError):
            await publisher.refresh()
        desk.store.fault = lambda _: None
        await publisher.refresh()
    found = await shown(desk, of)
    assert found.listed() == PHONES[1:11]
    versions = [row.version for row in desk.store.snapshots]
    assert versions == list(range(1, len(versions) + 1))


async def test_a_full_disk_changes_nothing_and_is_made_good(desk, of):
    publisher = desk.publisher()
    with largest_file(3000), pytest.raises(DiskError):
        await publisher.refresh()
    assert list(desk.files.digests()) == []
    assert desk.store.snapshots == []
    await publisher.refresh()
    assert (await shown(desk, of)).listed() == PHONES[:10]


@pytest.mark.parametrize("harm", ["lost", "cut short", "altered"])
@pytest.mark.parametrize("kind", ["base", "delta"])
async def test_a_file_that_is_not_as_written_is_replaced_by_a_new_base_with_the_next_pass(desk, of, harm, kind):
    publisher = desk.publisher()
    await publisher.refresh()
    desk.put(of, PHONES[10])
    await publisher.refresh()
    [last] = [row for row in desk.store.snapshots if row.version == 2]
    path = desk.files.path(last.segments[0 if kind == "base" else 1])
    data = bytearray(path.read_bytes())
    if harm == "lost":
        path.unlink()
    elif harm == "cut short":
        path.write_bytes(data[:-1])
    else:
        data[-1] ^= 1  # of a base, in its last bucket, which opening does not look into
        path.write_bytes(data)
    with pytest.raises(SegmentError):
        await desk.published()
    assert await publisher.refresh() == 1
    found = await shown(desk, of)
    assert (found.body["version"], found.kinds, found.listed()) == (3, ["base"], PHONES[:11])
    assert await publisher.refresh() == 0


async def test_a_base_that_cannot_be_merged_is_replaced(desk, of):
    """It was damaged after it had been opened: what is read for the merge is not what was written."""
    publisher = desk.publisher(deltas=0)
    await publisher.refresh()
    desk.put(of, PHONES[10])
    path = desk.files.path(desk.store.snapshots[-1].segments[0])
    data = path.read_bytes()
    at = data.index(min(name for name, _ in (await shown(desk, of)).list.view.rows()), 4096)
    path.write_bytes(data[:at] + b"\xff" * 32 + data[at + 32 :])
    await publisher.refresh()
    found = await shown(desk, of)
    assert (found.kinds, found.listed()) == (["base"], PHONES[:11])


async def test_trouble_with_one_list_does_not_stop_the_others(desk, of):
    publisher = desk.publisher()
    await publisher.refresh()
    other = desk.create_list("aaa")
    desk.put(other, PHONES[0])
    desk.put(of, PHONES[11])
    broken = desk.store.entries[of.id]
    for handle, entry in broken.items():
        broken[handle] = replace(entry, sealed=bytes(60))
    with pytest.raises(OpenError):
        await publisher.refresh()
    assert (await shown(desk, other)).listed() == PHONES[:1]


async def test_of_two_publishers_at_once_one_wins(desk, of):
    """The second finds the version taken when it stores its snapshot, and changes nothing."""
    first, second = desk.publisher(), desk.publisher()
    await first.refresh()
    desk.put(of, PHONES[10])
    running = False

    async def overtake():
        nonlocal running
        running = True
        await second.refresh()

    true_publish = desk.store.publish

    async def late(*args):
        if not running:
            await overtake()
        return await true_publish(*args)

    desk.store.publish = late
    assert await first.refresh() == 0
    assert [row.version for row in desk.store.snapshots] == [1, 2]
    assert (await shown(desk, of)).listed() == PHONES[:11]


async def test_canaries_are_those_of_the_segments_whoever_wrote_more(desk, of):
    publisher = desk.publisher()
    await publisher.refresh()
    await desk.store.add_canaries(of.id, [f"canary:{'0' * 32}"])
    desk.put(of, PHONES[10])
    await publisher.refresh()
    found = await shown(desk, of)
    assert len(found.body["canaries"]) == publish.CANARIES
    assert all(found.record(canary) is not None for canary in found.body["canaries"])


async def test_other_lists_go_on_while_a_base_is_built(desk, of, monkeypatch):
    """A change of one list is published although the first base of another is still being built."""
    monkeypatch.setattr(publish, "WATCH_SECONDS", 0.001)
    publisher = desk.publisher()
    await publisher.refresh()
    slow = desk.create_list("zzz")
    desk.put(slow, PHONES[0])
    true_base = publisher._composer.base

    async def base(job, build, held):
        desk.put(of, PHONES[20])
        while len(desk.store.snapshots) < 2:  # noqa: ASYNC110 - the publisher has no event to wait for
            await asyncio.sleep(0.001)
        return await true_base(job, build, held)

    publisher._composer.base = base
    assert await publisher.refresh() == 2
    assert [row.list_id for row in desk.store.snapshots] == [of.id, of.id, slow.id]


async def test_processes_build_what_a_thread_builds(desk, of):
    desk.put(of, *PHONES)
    await desk.publisher(small=20).refresh()
    assert (await shown(desk, of)).listed() == PHONES
