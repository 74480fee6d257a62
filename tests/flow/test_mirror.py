"""Following one list without the tasks of `Subscriber`: each statement is taken when the test says so."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta

import pytest

from riskshare.encoding import parse_canonical_json, sha256
from riskshare.errors import DiskError, PeerDown, PeerError, SegmentError, SnapshotError, StoreError
from riskshare.query.holdings import Holdings
from riskshare.sharing import fraud, segment_build
from riskshare.sharing.copies import Rules
from riskshare.sharing.held_page import read_row
from riskshare.sharing.remembered import Remembered
from riskshare.sharing.segment_read import NeedBucket
from riskshare.sharing.segment_ref import HEADER_ROOM
from riskshare.sharing.snapshot import SnapshotStatement
from riskshare.sharing.standing import Refusal, Status
from riskshare.sharing.view import ListView
from riskshare.signature import SigningKey
from riskshare.statement import Statement, sign
from tests.simulator.disk import largest_file
from tests.simulator.owner import Follower, Network
from tests.simulator.publishing import (
    NETWORK,
    Desk,
    MemoryState,
    Reader,
    StubbornSource,
    forge,
    look_up,
)

PHONES = [f"phone:+86138001380{n:02}" for n in range(60)]
ON_DEMAND = Rules(on_demand_by_default=True)


class World:
    """An owner with one list, and a reader of it."""

    def __init__(self, folder):
        self.folder = folder
        self.desk = Desk(folder)
        self.of = self.desk.create_list()
        self.name = self.desk.full(self.of)
        self.publisher = self.desk.publisher()
        self.source = StubbornSource()
        self.state = MemoryState()
        self.reader = self.start()

    def start(self, *, rules=None, state=None, folder="mirror"):
        return Reader(
            self.folder / folder,
            self.source,
            [self.desk],
            clock=self.desk.clock,
            state=state or self.state,
            rules=rules,
        )

    def restart(self, **options):
        self.reader = self.start(**options)
        return self.reader

    @property
    def epoch(self):
        return self.desk.store.all_epochs[-1].digest

    async def publish(self, *put, withdraw=()):
        if put:
            self.desk.put(self.of, *put)
        for phone in withdraw:
            self.desk.change(self.of, phone)
        await self.publisher.refresh()
        self.source.owners["jd"] = self.published = await self.desk.published()

    async def learn(self, reader=None):
        await (reader or self.reader).subscriber._read_catalogue("jd")
        for task in (reader or self.reader).subscriber._following_lists.values():
            task.cancel()

    def offered(self, epoch=None):
        return self.published.snapshot(self.name, epoch or self.epoch, "icbc")[1]

    async def take(self, data=None, reader=None):
        return await (reader or self.reader).mirror.take("jd", (self.name, self.epoch), data or self.offered())

    async def follow(self, *put, **options):
        await self.publish(*put, **options)
        await self.learn()
        return await self.take()

    def listed(self, reader=None, epoch=None):
        following = (reader or self.reader).mirror.following(self.name, epoch or self.epoch)
        key = self.published.own_key(epoch or self.epoch)
        return [phone for phone in PHONES if look_up(following.view, key, self.name, phone) is not None]

    def status(self):
        return self.reader.mirror.trusted.status(self.name, self.desk.clock())

    def statement(self, version=-1):
        row = self.desk.store.snapshots[version]
        body = parse_canonical_json(row.statement, limit=1 << 20)
        return SnapshotStatement.from_statement(Statement("snapshot", NETWORK, row.statement, row.signature, body))


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


# --- what goes well


async def test_a_list_is_fetched_verified_and_looked_into(world):
    assert await world.follow(*PHONES[:10])
    assert world.listed() == PHONES[:10]
    assert world.status() is Status.CURRENT
    assert world.reader.witness.told == [("followed", world.name, 1, 13)]
    assert world.reader.mirror.generation > 0


async def test_a_change_comes_by_its_delta_alone(world):
    await world.follow(*PHONES[:10])
    world.source.fetched.clear()
    assert await world.follow(PHONES[10], withdraw=[PHONES[0]])
    delta = world.statement().segments[-1]
    assert world.source.fetched == [(delta.file_digest, 0, delta.file_length)]
    assert world.listed() == PHONES[1:11]


async def test_what_is_known_is_not_taken_again(world):
    await world.follow(*PHONES[:3])
    world.source.fetched.clear()
    writes = world.state.writes
    assert await world.take() is False
    assert (world.source.fetched, world.state.writes) == ([], writes)


async def test_an_unchanged_list_issued_again_fetches_nothing(world):
    await world.follow(*PHONES[:3])
    world.source.fetched.clear()
    view = world.reader.mirror.following(world.name, world.epoch).view
    world.desk.clock.wait(hours=1)
    assert await world.follow()
    assert world.source.fetched == []
    following = world.reader.mirror.following(world.name, world.epoch)
    assert (following.snapshot.version, following.view) == (2, view)


async def test_skipped_versions_are_walked(world):
    await world.follow(*PHONES[:3])
    for phone in PHONES[3:7]:
        await world.publish(phone)
    world.source.calls.clear()
    assert await world.take()
    assert [call for call in world.source.calls if call.startswith("version")] == [
        "version 4",
        "version 3",
        "version 2",
    ]
    assert world.listed() == PHONES[:7]


async def test_the_end_of_an_old_epoch_is_walked_from_a_new_one(world):
    """The reader slept through the last versions of the old epoch, and through its end."""
    await world.follow(*PHONES[:3])
    for phone in PHONES[3:5]:
        await world.publish(phone)
    world.desk.clock.wait(days=29, hours=1)
    await world.publish(PHONES[5])
    world.desk.clock.wait(days=1)
    await world.publish(PHONES[6])
    await world.learn()
    assert await world.take()
    assert world.listed() == PHONES[:7]
    assert world.state.proofs == []


async def test_both_epochs_are_followed_in_the_changeover(world):
    await world.follow(*PHONES[:3])
    world.desk.clock.wait(days=29, hours=1)
    await world.publish(PHONES[3])
    await world.learn()
    old, new = (row.digest for row in world.desk.store.all_epochs)
    for epoch in (old, new):
        assert await world.take(world.offered(epoch))
    assert world.listed(epoch=old) == world.listed(epoch=new) == PHONES[:4]


async def test_files_that_a_merge_replaced_are_deleted(world):
    world.publisher = world.desk.publisher(deltas=1)
    for count in range(1, 5):
        await world.follow(PHONES[count])
    named = {ref.file_digest for ref in world.statement().segments}
    assert set(world.reader.files.digests()) == named


async def test_a_list_that_is_gone_takes_its_files_along(world):
    await world.follow(*PHONES[:3])
    world.reader.mirror.retain("jd", ())
    assert world.reader.mirror.following(world.name, world.epoch) is None
    assert list(world.reader.files.digests()) == []


# --- what an owner, or the way to it, does wrong


@pytest.mark.parametrize(
    "alter",
    [
        lambda data, _at: data[:-1],
        lambda _data, _at: b"",
        lambda data, _at: data + b"x",
        lambda data, _at: bytes([data[0] ^ 1]) + data[1:],
        lambda data, _at: data[:HEADER_ROOM] + bytes([data[HEADER_ROOM] ^ 1]) + data[HEADER_ROOM + 1 :],
        lambda data, _at: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data, _at: data[:2000] + b"\1" + data[2001:],
        lambda data, _at: bytes(len(data)),
    ],
    ids=["truncated", "empty", "longer", "header", "bucket", "filter", "between", "zeros"],
)
async def test_a_damaged_segment_is_refused_and_then_fetched_anew(world, alter):
    await world.publish(*PHONES[:10])
    await world.learn()
    world.source.alter = alter
    with pytest.raises((SegmentError, PeerError)):
        await world.take()
    assert world.reader.mirror.following(world.name, world.epoch) is None
    assert list(world.reader.files.digests()) == []
    assert world.status() is Status.MISSING
    world.source.alter = lambda data, _at: data
    assert await world.take()
    assert world.listed() == PHONES[:10]


async def test_a_damaged_delta_leaves_the_last_good_list(world):
    await world.follow(*PHONES[:10])
    await world.publish(PHONES[10])
    world.source.alter = lambda data, _at: data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(SegmentError):
        await world.take()
    assert world.listed() == PHONES[:10]
    world.desk.clock.wait(seconds=61)
    assert world.status() is Status.STALE
    world.desk.clock.wait(hours=24)
    assert world.status() is Status.EXPIRED


async def test_the_segment_of_another_list_is_refused(world):
    other = world.desk.create_list("other")
    world.desk.put(other, *PHONES[20:30])
    await world.follow(*PHONES[:10])
    theirs = next(row for row in world.desk.store.snapshots if row.list_id == other.id)
    segment = world.desk.store.all_segments[theirs.segments[0]].ref
    mine = world.statement(0)
    lie = replace(mine, version=2, previous=mine.digest, segments=(segment,))
    with pytest.raises(SegmentError) as refused:
        await world.take(forge(world.desk, lie, "snapshot"))
    assert refused.value.code == "segment_mixed"
    assert world.listed() == PHONES[:10]


@pytest.mark.parametrize("harm", ["refused", "gone"])
async def test_who_names_the_file_of_another_list_cannot_have_it_deleted(world, harm):
    other = world.desk.create_list("other")
    world.desk.put(other, *PHONES[20:30])
    await world.follow(*PHONES[:10])
    mine = world.statement(0)
    theirs = next(row for row in world.desk.store.snapshots if row.list_id == other.id)
    segment = replace(world.desk.store.all_segments[theirs.segments[0]].ref, header_digest=bytes(32))
    wire = world.published.snapshot("jd/other", world.epoch, "icbc")[1]
    await world.reader.mirror.take("jd", ("jd/other", world.epoch), wire)
    lie = replace(mine, version=2, previous=mine.digest, segments=(segment,))
    with pytest.raises(SegmentError):
        await world.take(forge(world.desk, lie, "snapshot"))
    if harm == "gone":
        world.reader.mirror.retain("jd", {("jd/other", world.epoch)})
    assert segment.file_digest in set(world.reader.files.digests())


@pytest.mark.parametrize("change", [{"labels": bytes(32)}, {"count": 12}])
async def test_a_statement_that_counts_other_labels_is_refused(world, change):
    await world.publish(*PHONES[:10])
    await world.learn()
    with pytest.raises(SnapshotError) as refused:
        await world.take(forge(world.desk, replace(world.statement(), **change), "snapshot"))
    assert refused.value.code == "mixed_segments"
    assert world.reader.mirror.following(world.name, world.epoch) is None


async def test_labels_must_stay_where_the_segments_do(world):
    await world.follow(*PHONES[:10])
    mine = world.statement()
    lie = replace(mine, version=2, previous=mine.digest, labels=bytes(32))
    with pytest.raises(SnapshotError) as refused:
        await world.take(forge(world.desk, lie, "snapshot"))
    assert refused.value.code == "mixed_segments"
    assert world.reader.mirror.following(world.name, world.epoch).snapshot.version == 1


async def test_a_list_whose_newest_statement_is_refused_is_no_clear(world):
    """Its segments are all here, so that nothing else keeps it from looking current, for ever."""

    own = Desk(world.folder / "own", "icbc", world.desk.clock)

    def held(world=world):
        holdings = Holdings(
            member="icbc",
            owners=lambda: ["jd"],
            expired=lambda _: False,
            mirror=world.reader.mirror,
            published=own.new_published(),
            unreachable=frozenset,
            buckets=None,
        )
        (owner,) = holdings.concerning(frozenset(), world.desk.clock())
        return [(one.version, one.current) for epoch in owner.epochs for one in epoch.lists]

    await world.follow(*PHONES[:10])
    assert held() == [(1, True)]
    mine = world.statement()
    lie = replace(mine, version=2, previous=mine.digest, labels=bytes(32))
    for _ in range(2):
        with pytest.raises(SnapshotError):
            await world.take(forge(world.desk, lie, "snapshot"))
        assert held() == [(1, False)]
    true = replace(mine, version=3, previous=lie.digest)
    assert await world.take(forge(world.desk, true, "snapshot"))
    assert held() == [(3, True)]


async def test_the_files_of_a_refused_statement_go_with_the_next(world):
    await world.publish(*PHONES[:10])
    await world.learn()
    lie = replace(world.statement(), labels=bytes(32))
    with pytest.raises(SnapshotError):
        await world.take(forge(world.desk, lie, "snapshot"))
    assert len(list(world.reader.files.digests())) == 1
    nothing = replace(lie, version=2, previous=lie.digest, segments=(), count=0, canaries=(), labels=sha256(b""))
    assert await world.take(forge(world.desk, nothing, "snapshot"))
    assert list(world.reader.files.digests()) == []
    assert world.listed() == []


async def test_a_rollback_is_refused(world):
    await world.follow(*PHONES[:3])
    old = world.offered()
    await world.follow(PHONES[3])
    with pytest.raises(SnapshotError) as refused:
        await world.take(old)
    assert refused.value.code == "rollback"
    assert world.listed() == PHONES[:4]


async def test_a_fork_is_refused_kept_as_a_proof_and_told_once(world):
    await world.follow(*PHONES[:3])
    rival = forge(world.desk, replace(world.statement(), count=14), "snapshot")
    for _ in range(2):
        with pytest.raises(SnapshotError) as refused:
            await world.take(rival)
        assert refused.value.code == "fork"
    assert [told for told in world.reader.witness.told if told[0] == "fraud"] == [("fraud", "jd", "snapshot")]
    proof = world.state.proofs[0]
    keys = {"jd": (world.desk.terms,)}
    again = fraud.FraudProof.from_evidence(NETWORK, proof.evidence, lambda owner: keys[owner], world.desk.clock())
    assert again.about == proof.about


async def test_a_proof_that_could_not_be_kept_is_kept_later(world):
    await world.follow(*PHONES[:3])
    rival = forge(world.desk, replace(world.statement(), count=14), "snapshot")

    def away():
        raise StoreError("away")

    world.state.fault = away
    with pytest.raises(SnapshotError):
        await world.take(rival)
    assert world.state.proofs == []
    world.state.fault = lambda: None
    await world.take()
    assert len(world.state.proofs) == 1


async def test_an_expired_statement_is_refused(world):
    await world.publish(*PHONES[:3])
    world.desk.clock.wait(hours=24)
    await world.learn()
    with pytest.raises(SnapshotError) as refused:
        await world.take()
    assert refused.value.code == "expired"


async def test_a_foreign_key_and_a_foreign_network_are_refused(world):
    await world.publish(*PHONES[:3])
    await world.learn()
    stranger = SigningKey(bytes(32))
    for lie in (
        forge(world.desk, world.statement(), "snapshot", key=stranger),
        forge(world.desk, world.statement(), "snapshot", network="othernet"),
    ):
        with pytest.raises(SnapshotError) as refused:
            await world.take(lie)
        assert refused.value.code == "foreign_key"


async def test_a_snapshot_of_another_list_is_refused(world):
    other = world.desk.create_list("other")
    await world.publish(*PHONES[:3])
    await world.learn()
    wire = world.published.snapshot(world.desk.full(other), world.epoch, "icbc")[1]
    with pytest.raises(SnapshotError) as refused:
        await world.take(wire)
    assert refused.value.code == "wrong_list"


async def test_missing_versions_that_nobody_has_leave_the_last_good_list(world):
    await world.follow(*PHONES[:3])
    for phone in PHONES[3:6]:
        await world.publish(phone)
    del world.desk.store.snapshots[1]
    with pytest.raises(PeerError):
        await world.take()
    assert world.listed() == PHONES[:3]


async def test_garbage_in_place_of_a_missing_version_is_refused(world):
    await world.follow(*PHONES[:3])
    world.desk.clock.wait(days=30)
    await world.publish(PHONES[4])
    await world.learn()

    async def garbage(*_):
        return b"\xff"

    world.source.snapshot_version = garbage
    world.desk.store.snapshots[-1] = world.desk.store.snapshots[-1]
    mine = world.statement()
    gap = forge(world.desk, replace(mine, version=2, previous=bytes(32)), "snapshot")
    with pytest.raises(SnapshotError) as refused:
        await world.take(gap)
    assert refused.value.code == "malformed_statement"


async def test_another_statement_than_the_one_that_is_missing_is_refused_at_once(world):
    """Or an owner could fill the memory of all its readers with the end of a chain that never comes."""
    await world.follow(*PHONES[:3])
    for phone in PHONES[3:6]:
        await world.publish(phone)
    world.desk.clock.wait(days=29, hours=1)
    await world.publish(PHONES[6])
    world.desk.clock.wait(days=1)
    await world.publish()
    await world.learn()
    another = await world.source.snapshot_named("jd", world.name, world.desk.store.snapshots[2].digest)

    async def other(*_):
        world.source.calls.append("named")
        return another

    world.source.snapshot_named = other
    with pytest.raises(SnapshotError) as refused:
        await world.take()
    assert refused.value.code == "broken_chain"
    assert world.source.calls.count("named") == 2
    del world.source.snapshot_named
    assert await world.take()
    assert world.listed() == PHONES[:7]


async def test_epochs_that_were_slept_through_wholly_are_walked(world):
    """Two rotations, or two ends by emergency, while a reader was away: nobody ever told it of the epoch between."""
    await world.follow(*PHONES[:3])
    for number in (3, 4):
        await world.publish(PHONES[number])
        world.desk.clock.wait(days=31)
        await world.publish(withdraw=[PHONES[number - 3]])
    assert [row.number for row in world.desk.store.all_epochs] == [1, 2, 3]
    await world.learn()
    assert await world.take()
    assert world.listed() == PHONES[2:5]
    assert world.state.proofs == []


async def test_a_history_that_skips_an_epoch_is_refused(world):
    """What a whole epoch said cannot be left out: its last statement must lead back to what is held."""
    await world.follow(*PHONES[:3])
    for _ in range(2):
        world.desk.clock.wait(days=31)
        await world.publish(PHONES[4])
    await world.learn()
    middle = world.statement(1)
    forged = sign("snapshot", NETWORK, replace(middle, previous=bytes(32)).body(), world.desk.identity)
    true = world.source.snapshot_named

    async def named(owner, name, wanted):
        return forged.wire() if wanted == forged.digest else await true(owner, name, wanted)

    world.source.snapshot_named = named
    offered = forge(world.desk, replace(world.statement(), previous=forged.digest), "snapshot")
    with pytest.raises(PeerError):
        await world.take(offered)
    assert world.status() is Status.MISSING


async def test_an_owner_that_goes_away_in_the_middle_leaves_nothing(world):
    await world.publish(*PHONES[:3])
    await world.learn()

    def gone(data, offset):
        raise PeerDown("jd", "gone")

    world.source.alter = gone
    with pytest.raises(PeerDown):
        await world.take()
    assert list(world.reader.files._folder.iterdir()) == []


async def test_a_full_disk_leaves_the_last_good_list(world):
    await world.follow(*PHONES[:3])
    await world.publish(PHONES[3])
    with largest_file(1000), pytest.raises(DiskError):
        await world.take()
    assert world.listed() == PHONES[:3]
    assert await world.take()
    assert world.listed() == PHONES[:4]


# --- the newest one is refused, and that shows


def shown(world):
    """What `/v1/lists`, the metrics and checks are told of the list: its status, version and refusal."""
    (each,) = world.reader.mirror.standing("jd", world.desk.clock()).lists
    following = world.reader.mirror.following(world.name, each.held.snapshot.epoch) if each.held else None
    return each.status, following and following.snapshot.version, each.refusal


async def test_a_refused_segment_is_told_with_its_code_since_when_and_what_serves(world):
    await world.follow(*PHONES[:10])
    assert shown(world) == (Status.CURRENT, 1, None)
    began = world.desk.clock()
    await world.publish(PHONES[10])
    world.source.alter = lambda data, _at: data[:-1] + bytes([data[-1] ^ 1])
    for _ in range(2):
        with pytest.raises(SegmentError):
            await world.take()
        assert shown(world) == (Status.STALE, 1, Refusal("segment_altered", began))
        world.desk.clock.wait(seconds=5)
    world.source.alter = lambda data, _at: data
    assert await world.take()
    assert shown(world) == (Status.CURRENT, 2, None)


async def test_a_newer_refusal_has_its_own_code_and_the_first_ones_time(world):
    await world.follow(*PHONES[:3])
    began = world.desk.clock()
    await world.publish(PHONES[3])
    with largest_file(1000), pytest.raises(DiskError):
        await world.take()
    assert shown(world) == (Status.STALE, 1, Refusal("disk", began))
    world.desk.clock.wait(seconds=5)
    with pytest.raises(SnapshotError):
        await world.take(forge(world.desk, replace(world.statement(0), count=14), "snapshot"))
    assert shown(world) == (Status.STALE, 1, Refusal("fork", began))


async def test_a_statement_whose_labels_are_others_is_told_although_its_segments_are_here(world):
    """`TrustedSnapshots` takes it for the newest: neither its version nor its status may be shown."""
    await world.follow(*PHONES[:10])
    mine = world.statement()
    lie = replace(mine, version=2, previous=mine.digest, labels=bytes(32))
    with pytest.raises(SnapshotError):
        await world.take(forge(world.desk, lie, "snapshot"))
    refusal = Refusal("mixed_segments", world.desk.clock())
    assert shown(world) == (Status.STALE, 1, refusal)
    await world.reader.mirror.unchanged("jd", world.name, world.epoch)
    assert shown(world) == (Status.STALE, 1, refusal), "the owner confirms the old version, and nothing newer is good"


async def test_an_owner_that_returns_to_what_serves_is_no_longer_refused(world):
    await world.follow(*PHONES[:3])
    with pytest.raises(SnapshotError):
        await world.take(forge(world.desk, replace(world.statement(), count=14), "snapshot"))
    assert shown(world)[2].code == "fork"
    await world.reader.mirror.unchanged("jd", world.name, world.epoch)
    assert shown(world) == (Status.CURRENT, 1, None)
    with pytest.raises(SnapshotError):
        await world.take(forge(world.desk, replace(world.statement(), count=14), "snapshot"))
    assert await world.take() is False
    assert shown(world) == (Status.CURRENT, 1, None)


async def test_an_older_version_is_not_the_newest_refused(world):
    """Processes of one honest owner may be a moment apart."""
    await world.follow(*PHONES[:3])
    old = world.offered()
    await world.follow(PHONES[3])
    with pytest.raises(SnapshotError):
        await world.take(old)
    assert shown(world) == (Status.CURRENT, 2, None)


async def test_a_list_whose_first_snapshot_is_refused_is_missing_and_says_why(world):
    await world.publish(*PHONES[:10])
    await world.learn()
    world.source.alter = lambda data, _at: bytes(len(data))
    with pytest.raises(SegmentError):
        await world.take()
    status, version, refusal = shown(world)
    assert (status, version, refusal.code) == (Status.MISSING, None, "segment_altered")


async def test_files_that_suffered_before_a_restart_make_their_list_missing(world):
    await world.follow(*PHONES[:10])
    world.reader.files.delete(world.statement().segments[0].file_digest)
    await world.restart().mirror.restore(["jd"])
    assert shown(world) == (Status.MISSING, None, Refusal("segment_missing", world.desk.clock()))
    assert await world.take()
    assert shown(world) == (Status.CURRENT, 1, None)


async def test_a_refusal_goes_with_its_list(world):
    await world.publish(*PHONES[:10])
    await world.learn()
    world.source.alter = lambda data, _at: bytes(len(data))
    with pytest.raises(SegmentError):
        await world.take()
    world.reader.mirror.retain("jd", ())
    assert shown(world)[2] is None


# --- how much an owner can make its readers keep


def size_of(world):
    return sum(ref.file_length for ref in world.statement().segments)


async def test_more_bytes_than_allowed_are_refused_before_any_is_fetched(world):
    await world.publish(*PHONES[:10])
    world.restart(rules=Rules(owner_bytes=size_of(world) - 1))
    await world.learn()
    with pytest.raises(SnapshotError) as refused:
        await world.take()
    assert refused.value.code == "too_many_bytes"
    assert "subscribe.owner_gib" in refused.value.message
    assert world.source.fetched == []
    assert shown(world)[2].code == "too_many_bytes"
    assert world.reader.mirror.bytes_of("jd") == 0


async def test_as_many_bytes_as_allowed_are_fetched(world):
    await world.publish(*PHONES[:10])
    world.restart(rules=Rules(owner_bytes=size_of(world)))
    await world.learn()
    assert await world.take()
    assert world.reader.mirror.bytes_of("jd") == size_of(world)


async def test_the_lists_of_an_owner_count_together_and_one_too_large_does_not_hold_up_the_others(world):
    await world.follow(*PHONES[:10])
    other = world.desk.create_list("other")
    world.desk.put(other, *PHONES[20:30])
    await world.publish()
    world.restart(rules=Rules(owner_bytes=size_of(world) + 100_000))
    await world.reader.mirror.restore(["jd"])
    await world.learn()
    wire = world.published.snapshot("jd/other", world.epoch, "icbc")[1]
    with pytest.raises(SnapshotError) as refused:
        await world.reader.mirror.take("jd", ("jd/other", world.epoch), wire)
    assert refused.value.code == "too_many_bytes"
    assert await world.follow(PHONES[10])
    assert world.listed() == PHONES[:11]


async def test_a_version_that_replaces_another_counts_without_it(world):
    world.publisher = world.desk.publisher(deltas=1)
    await world.follow(*PHONES[:10])
    world.restart(rules=Rules(owner_bytes=int(1.5 * size_of(world))))
    await world.reader.mirror.restore(["jd"])
    bases = set()
    for count in range(10, 15):
        await world.follow(PHONES[count])
        bases.add(world.statement().segments[0])
    assert len(bases) > 1
    assert world.listed() == PHONES[:15]


async def test_on_demand_only_what_is_fetched_counts(world):
    buckets = 60 * 200
    await world.publish(*PHONES)
    whole = size_of(world)
    world.restart(rules=replace(ON_DEMAND, owner_bytes=whole - buckets))
    await world.learn()
    assert await world.take()
    fetched = sum(length for _, _, length in world.source.fetched)
    assert world.reader.mirror.bytes_of("jd") == fetched < whole - buckets
    await world.restart(rules=replace(ON_DEMAND, owner_bytes=whole - buckets)).mirror.restore(["jd"])
    assert world.reader.mirror.bytes_of("jd") == fetched


async def test_on_demand_a_filter_that_is_too_large_is_refused_by_the_header_alone(world):
    await world.publish(*PHONES)
    world.restart(rules=replace(ON_DEMAND, owner_bytes=100_000))
    await world.learn()
    with pytest.raises(SnapshotError) as refused:
        await world.take()
    assert refused.value.code == "too_many_bytes"
    assert [(offset, length) for _, offset, length in world.source.fetched] == [(0, HEADER_ROOM)]
    assert list(world.reader.files._folder.iterdir()) == []


async def test_a_disk_without_room_is_told_before_any_byte_is_fetched(world):
    await world.publish(*PHONES[:3])
    world.restart(rules=Rules(owner_bytes=2**50))
    await world.learn()
    mine = world.statement()
    vast = replace(mine.segments[0], file_length=2**42)
    with pytest.raises(DiskError) as refused:
        await world.take(forge(world.desk, replace(mine, segments=(vast,)), "snapshot"))
    assert f"{2**42:,} are to be fetched" in refused.value.message
    assert world.source.fetched == []
    assert shown(world)[2].code == "disk"


async def test_deltas_of_more_entries_than_allowed_are_refused(world):
    world.publisher = world.desk.publisher(deltas=100, delta_share=100)
    await world.follow(*PHONES[:3])
    world.restart(rules=Rules(delta_entries=3))
    await world.reader.mirror.restore(["jd"])
    assert await world.follow(PHONES[3], PHONES[4])
    assert await world.follow(withdraw=[PHONES[3]])
    with pytest.raises(SnapshotError) as refused:
        await world.follow(PHONES[5])
    assert refused.value.code == "too_many_entries"
    assert world.listed() == [*PHONES[:3], PHONES[4]]
    assert shown(world)[2].code == "too_many_entries"
    world.restart(rules=Rules(delta_entries=4))
    await world.reader.mirror.restore(["jd"])
    await world.take()
    assert world.listed() == [*PHONES[:3], *PHONES[4:6]]


# --- files that nothing needs


def age(world, *digests, hours=2):
    """Let files have been written by so much earlier than now, by the reader's clock."""
    then = (world.desk.clock() - timedelta(hours=hours)).timestamp()
    for digest in digests:
        os.utime(world.reader.files.path(digest), (then, then))


def orphan(world, content=b"left by a crash"):
    digest = sha256(content)
    world.reader.files.path(digest).write_bytes(content)
    return digest


async def test_orphans_are_swept_and_what_serves_stays(world):
    await world.follow(*PHONES[:10])
    serving = set(world.reader.files.digests())
    left = orphan(world)
    age(world, left, *serving)
    assert await world.reader.mirror.sweep() == 1
    assert set(world.reader.files.digests()) == serving
    assert await world.reader.mirror.sweep() == 0


async def test_a_young_file_is_not_swept_it_may_be_another_process_that_wrote_it(world):
    await world.follow(*PHONES[:3])
    left = orphan(world)
    age(world, left, hours=0.9)
    assert await world.reader.mirror.sweep() == 0
    age(world, left, hours=1.1)
    assert await world.reader.mirror.sweep() == 1


async def test_files_of_lists_that_are_gone_are_swept_after_a_restart(world):
    await world.follow(*PHONES[:3])
    left = set(world.reader.files.digests())
    world.desk.store.rows.clear()
    await world.publish()
    world.restart()
    await world.reader.mirror.restore(["jd"])
    age(world, *left)
    assert await world.reader.mirror.sweep() == 0, "no catalogue has said yet that the list is gone"
    await world.learn()
    await world.reader.mirror.sweep()
    assert set(world.reader.files.digests()) == set()


async def test_files_that_wait_for_the_rest_of_their_snapshot_are_not_swept_after_a_restart(world):
    await world.follow(*PHONES[:10])
    await world.publish(PHONES[10])
    world.source.alter = lambda data, _at: data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(SegmentError):
        await world.take()
    age(world, *world.reader.files.digests())
    await world.restart().mirror.restore(["jd"])
    assert await world.reader.mirror.sweep() == 0
    assert world.listed() == PHONES[:10]


async def test_a_download_that_runs_is_not_swept(world):
    await world.publish(*PHONES[:10])
    await world.learn()
    true = world.source.segment
    swept = []

    async def segment(owner, ref, out, **part):
        await true(owner, ref, out, **part)
        out.flush()
        (temporary,) = world.reader.files._folder.iterdir()
        then = (world.desk.clock() - timedelta(hours=2)).timestamp()
        os.utime(temporary, (then, then))
        swept.append(await world.reader.mirror.sweep())

    world.source.segment = segment
    assert await world.take()
    assert swept == [0]
    assert world.listed() == PHONES[:10]


async def test_files_of_a_snapshot_that_is_being_fetched_are_not_swept(world):
    """The first of two files is here, under its name, and serves nobody yet."""
    await world.publish(*PHONES[:10])
    await world.publish(PHONES[10])
    await world.learn()
    true = world.source.segment
    swept = []

    async def segment(owner, ref, out, **part):
        age(world, *world.reader.files.digests())
        swept.append(await world.reader.mirror.sweep())
        await true(owner, ref, out, **part)

    world.source.segment = segment
    assert await world.take()
    assert swept == [0, 0]
    assert len(list(world.reader.files.digests())) == 2


async def test_what_a_dead_writer_left_is_swept(world):
    await world.follow(*PHONES[:3])
    temporary = world.reader.files._folder / "x.part"
    temporary.write_bytes(b"half")
    await world.reader.mirror.sweep()
    assert not temporary.exists()


# --- restarts


async def test_a_restart_takes_up_what_was_there(world):
    await world.follow(*PHONES[:10])
    await world.follow(PHONES[10])
    world.source.fetched.clear()
    world.source.calls.clear()
    await world.restart().mirror.restore(["jd"])
    assert world.listed() == PHONES[:11]
    assert world.source.calls == []
    assert world.status() is Status.STALE  # whatever was withdrawn meanwhile
    assert await world.take() is False
    assert world.status() is Status.CURRENT


async def test_a_restart_remembers_what_to_refuse(world):
    await world.follow(*PHONES[:3])
    old = world.offered()
    await world.follow(PHONES[3])
    await world.restart().mirror.restore(["jd"])
    with pytest.raises(SnapshotError) as refused:
        await world.take(old)
    assert refused.value.code == "rollback"


@pytest.mark.parametrize("harm", ["lost", "truncated", "altered", "zeros"])
async def test_files_that_suffered_meanwhile_are_fetched_again(world, harm):
    await world.follow(*PHONES[:10])
    path = world.reader.files.path(world.statement().segments[0].file_digest)
    data = path.read_bytes()
    if harm == "lost":
        path.unlink()
    else:
        bad = {"truncated": data[:-1], "altered": data[:5000] + b"x" + data[5001:], "zeros": bytes(len(data))}
        path.write_bytes(bad[harm])
    reader = world.restart()
    await reader.mirror.restore(["jd"])
    assert reader.mirror.following(world.name, world.epoch) is None
    assert len(reader.witness.codes()) == 1
    assert await world.take()
    assert world.listed() == PHONES[:10]


async def test_a_state_that_cannot_be_read_is_told_and_begun_anew(world):
    await world.follow(*PHONES[:3])
    place = ("jd", world.name)
    world.state.rows[place] = replace(world.state.rows[place], state=b'{"list":"jd/fraud"}')
    reader = world.restart()
    await reader.mirror.restore(["jd"])
    assert len(reader.witness.codes()) == 1
    assert await world.take()
    assert world.state.rows[place].revision == 2
    await world.restart().mirror.restore(["jd"])
    assert world.listed() == PHONES[:3]


async def test_a_state_that_was_not_stored_is_stored_by_the_next_poll(world):
    await world.publish(*PHONES[:3])
    await world.learn()

    def away():
        raise StoreError("away")

    world.state.fault = away
    with pytest.raises(StoreError):
        await world.take()
    assert world.listed() == PHONES[:3]
    world.state.fault = lambda: None
    await world.reader.mirror.save("jd", world.name)
    await world.restart().mirror.restore(["jd"])
    assert world.listed() == PHONES[:3]


@pytest.mark.parametrize("away", [False, True], ids=["connected", "was away"])
async def test_while_the_newest_is_stored_the_former_is_current_only_if_it_was(world, away):
    """Whom only the newest one lists would be called clear, by a reader that had not asked for long."""
    await world.follow(*PHONES[:2])
    await world.publish(PHONES[2])
    await world.learn()
    mirror, seen = world.reader.mirror, []
    if away:
        world.reader.mirror.trusted.was_away()
        await world.learn()

    def status():
        [found] = mirror.standing("jd", world.desk.clock()).lists
        return found.status

    def look():
        serving = mirror.trusted.serving(world.name, world.epoch)
        seen.append((world.listed() == PHONES[:3], serving.snapshot.version, status() is Status.CURRENT))

    world.state.fault = look
    await world.take()
    assert seen[-1] == (False, 2, not away), "it was looked while the newest was stored"
    assert (world.listed(), status()) == (PHONES[:3], Status.CURRENT)


async def test_a_restart_is_stale_until_the_catalogue_is_read_again_too(world):
    await world.follow(*PHONES[:3])
    await world.restart().mirror.restore(["jd"])
    assert world.reader.mirror.standing("jd", world.desk.clock()).status is Status.STALE
    await world.learn()
    assert world.reader.mirror.standing("jd", world.desk.clock()).status is Status.CURRENT


async def test_what_serves_has_been_stored(world):
    await world.follow(*PHONES[:3])
    served = []
    world.state.fault = lambda: served.append(world.listed())
    await world.follow(PHONES[3], withdraw=[PHONES[0]])
    assert served
    assert all(listed == PHONES[:3] for listed in served)
    assert world.listed() == PHONES[1:4]


async def test_a_crash_while_the_state_is_stored_has_shown_nothing_new(world):
    await world.follow(*PHONES[:3])
    await world.publish(withdraw=[PHONES[0]])

    def crash():
        raise KeyboardInterrupt

    world.state.fault = crash
    with pytest.raises(KeyboardInterrupt):
        await world.take()
    assert world.listed() == PHONES[:3]
    world.state.fault = lambda: None
    await world.restart().mirror.restore(["jd"])
    assert world.status() is not Status.CURRENT
    await world.take()
    assert world.listed() == PHONES[1:3]


# --- several processes of one member


async def test_processes_do_not_undo_what_each_other_stored(world):
    second = world.start()
    await world.publish(*PHONES[:3])
    await world.learn()
    await world.learn(second)
    await world.take()
    await world.take(reader=second)
    first_offer = world.offered()
    await world.publish(PHONES[3])
    middle = world.offered()
    await world.publish(PHONES[4])
    await world.take()
    ahead = world.state.rows["jd", world.name]
    await world.take(middle, reader=second)
    assert world.state.rows["jd", world.name] == ahead
    await world.take(reader=second)
    third = world.start()
    await third.mirror.restore(["jd"])
    for data in (first_offer, middle):
        with pytest.raises(SnapshotError):
            await world.take(data, reader=third)


async def test_the_second_process_stores_when_it_is_ahead(world):
    second = world.start()
    await world.publish(*PHONES[:3])
    await world.learn()
    await world.learn(second)
    await world.take()
    await world.take(reader=second)
    await world.publish(PHONES[3])
    await world.take(reader=second)
    await world.restart().mirror.restore(["jd"])
    assert world.listed() == PHONES[:4]


# --- records on demand


async def test_on_demand_fetches_header_filter_and_index_only(world):
    world.restart(rules=ON_DEMAND)
    assert await world.follow(*PHONES[:40])
    ref = world.statement().segments[0]
    size = sum(length for _, _, length in world.source.fetched)
    assert next(offset for _, offset, _ in world.source.fetched) == 0
    view = world.reader.mirror.following(world.name, world.epoch).view
    buckets = view.base.header.sections["buckets"]
    assert size == ref.file_length - buckets.length - (view.base.header.sections["index"].offset - buckets.end)
    stored = world.reader.files.path(ref.file_digest).read_bytes()
    assert stored[buckets.offset : buckets.end] == bytes(buckets.length)


async def test_on_demand_the_bucket_decides(world):
    world.restart(rules=ON_DEMAND)
    await world.follow(*PHONES[:40])
    view = world.reader.mirror.following(world.name, world.epoch).view
    truth = (await world.desk.published())._lists[world.name, world.epoch].view
    data = world.desk.files.path(world.statement().segments[0].file_digest).read_bytes()
    for label, sealed in truth.rows():
        need = view.find(label)
        assert isinstance(need, NeedBucket)
        bucket = data[need.offset : need.offset + need.length]
        assert need.read(bucket, label) == sealed
        with pytest.raises(SegmentError):
            need.read(bucket[:-1] + b"x", label)


async def test_on_demand_a_delta_is_fetched_whole(world):
    world.restart(rules=ON_DEMAND)
    await world.follow(*PHONES[:10])
    world.source.fetched.clear()
    await world.follow(PHONES[10])
    assert sum(length for _, _, length in world.source.fetched) == world.statement().segments[1].file_length
    view = world.reader.mirror.following(world.name, world.epoch).view
    key = world.published.own_key(world.epoch)
    assert look_up(ListView(None, view.deltas), key, world.name, PHONES[10]) is not None


@pytest.mark.parametrize("offset", [0, 1])
async def test_on_demand_damage_is_refused(world, offset):
    world.restart(rules=ON_DEMAND)
    await world.publish(*PHONES[:10])
    await world.learn()
    world.source.alter = lambda data, at: data[:9] + bytes([data[9] ^ 1]) + data[10:] if bool(at) == offset else data
    with pytest.raises(SegmentError):
        await world.take()
    assert list(world.reader.files.digests()) == []


@pytest.mark.parametrize(("size", "refused"), [(127, True), (128, False)])
async def test_on_demand_buckets_that_would_tell_who_is_asked_about_are_refused(world, size, refused):
    await world.publish(*(f"phone:+86138001{n:05}" for n in range(300)))
    mine = world.statement()
    rows = world.published._lists[world.name, world.epoch].view.rows()
    path = world.folder / "small"
    with path.open("w+b") as out:
        ref = segment_build.write_base(out, world.name, world.epoch, rows, seed=1, bucket=size)
    path.rename(world.desk.files.path(ref.file_digest))
    world.published._lists[world.name, world.epoch] = replace(
        world.published._lists[world.name, world.epoch], files=frozenset({ref.file_digest})
    )
    offered = forge(world.desk, replace(mine, segments=(ref,)), "snapshot")
    world.restart(rules=ON_DEMAND)
    await world.learn()
    if refused:
        with pytest.raises(SegmentError) as caught:
            await world.take(offered)
        assert caught.value.code == "buckets_too_small"
    else:
        assert await world.take(offered)
    world.restart(folder="replicated", state=MemoryState())
    await world.learn()
    assert await world.take(offered), "whole copies need no request"


async def test_a_list_on_demand_is_restored(world):
    world.restart(rules=ON_DEMAND)
    await world.follow(*PHONES[:10])
    world.source.calls.clear()
    await world.restart(rules=ON_DEMAND).mirror.restore(["jd"])
    assert world.reader.mirror.following(world.name, world.epoch) is not None
    assert world.source.calls == []


async def test_a_list_that_is_replicated_from_now_on_is_fetched_whole(world):
    """A sparse copy taken for a whole one would say clear for every listed identifier."""
    world.restart(rules=ON_DEMAND)
    await world.follow(*PHONES[:10])
    await world.restart().mirror.restore(["jd"])
    assert world.reader.mirror.following(world.name, world.epoch) is None
    assert await world.take()
    assert world.listed() == PHONES[:10]


def test_rules_name_exceptions():
    assert Rules(on_demand=frozenset({"jd/a"})).is_on_demand("jd/a")
    assert not Rules(on_demand=frozenset({"jd/a"})).is_on_demand("jd/b")
    assert not Rules(on_demand=frozenset({"jd/a"}), on_demand_by_default=True).is_on_demand("jd/a")
    assert timedelta(seconds=Rules().hold_seconds) < timedelta(seconds=60)


# --- what is remembered, for members to compare


def remembered(world):
    return sorted(row.version for row in world.state.held.values())


async def test_every_version_that_was_taken_is_remembered_and_those_walked_too(world):
    await world.follow(PHONES[0])
    for phone in PHONES[1:4]:
        await world.publish(phone)
    assert await world.take()
    assert remembered(world) == [1, 2, 3, 4]
    for row in world.state.held.values():
        held = read_row(NETWORK, row)
        assert (held.owner, held.version, held.digest) == ("jd", row.version, row.digest)
        assert row.received_at == world.desk.clock()


async def test_what_is_refused_before_it_is_believed_is_not_remembered(world):
    await world.follow(PHONES[0])
    with pytest.raises(SnapshotError):
        await world.take(forge(world.desk, replace(world.statement(), version=3, previous=None), "snapshot"))
    with pytest.raises(SnapshotError):
        await world.take(forge(world.desk, world.statement(), "snapshot", key=SigningKey(bytes(32))))
    assert remembered(world) == [1]


async def test_what_could_not_be_remembered_is_when_the_database_is_back(world):
    await world.follow(PHONES[0])

    def away():
        raise StoreError("away")

    await world.publish(PHONES[1])
    world.state.fault = away
    with pytest.raises(StoreError):
        await world.take()
    world.state.fault = lambda: None
    assert remembered(world) == [1]
    await world.reader.mirror.unchanged("jd", world.name, world.epoch)
    assert remembered(world) == [1, 2]


async def test_what_a_crash_kept_from_being_remembered_is_after_the_start(world):
    await world.follow(PHONES[0])
    world.state.held.clear()
    world.restart()
    await world.reader.mirror.restore(["jd"])
    await world.reader.mirror.unchanged("jd", world.name, world.epoch)
    assert remembered(world) == [1]


async def test_a_list_under_grants_is_not_remembered():
    network = Network("simnet")
    owner, follower, state = network.add("jd"), Follower(network), MemoryState()
    remembered = Remembered(follower.trusted, state)
    for keyset in ("default", "granted"):
        owner.open_epoch(keyset)
        owner.publish(owner.create_list(f"list-{keyset}", keyset=keyset))
    follower.learn(owner)
    for name in owner.lists:
        held = follower.poll(owner, name).held
        remembered.add([(held.snapshot, held.signed)])
    await remembered.keep()
    assert [row.list_name for row in state.held.values()] == ["jd/list-default"]


async def test_another_history_of_an_older_version_convicts(world):
    """Of the older one no more than a digest is believed; the statement itself is remembered."""
    await world.follow(PHONES[0])
    older = world.statement()
    for phone in PHONES[1:3]:
        await world.publish(phone)
        await world.take()
    assert world.state.proofs == []
    with pytest.raises(SnapshotError) as refused:
        await world.take(forge(world.desk, replace(older, count=older.count + 1), "snapshot"))
    assert refused.value.code == "fork"
    (proof,) = world.state.proofs
    assert (proof.kind, proof.accused) == ("snapshot", "jd")
    assert ("fraud", "jd", "snapshot") in world.reader.witness.told
    assert remembered(world) == [1, 2, 3]
    assert {row.digest for row in world.state.held.values()} >= {older.digest}


async def test_two_processes_that_were_shown_two_histories_convict(world):
    await world.follow(PHONES[0])
    other = world.start(folder="other", state=MemoryState())
    other.mirror._remembered._state = world.state
    await world.learn(other)
    lie = forge(
        world.desk,
        replace(world.statement(), expires_at=world.statement().expires_at + timedelta(seconds=1)),
        "snapshot",
    )
    await world.take(lie, other)
    assert [(proof.kind, proof.accused) for proof in other.state.proofs] == [("snapshot", "jd")]
