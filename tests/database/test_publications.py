from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from riskshare.errors import StoreError
from riskshare.sharing.kept import IssuedCatalogueRow, ListCounts
from riskshare.store.connection import Target
from riskshare.store.migrate import migrate, migrations
from riskshare.store.store import Store
from tests.simulator.changing import IMPORT
from tests.simulator.intake import bring

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)


@pytest.fixture
async def mine(store):
    return await store.lists.create_list("fraud", "transaction_fraud", "default")


@pytest.fixture
async def epoch(store, made):
    row = made.epoch()
    assert await store.publications.add_epoch(row)
    return row


async def test_epochs_come_back_by_keyset_and_number(store, made, epoch):
    second, granted = made.epoch(number=2), made.epoch(keyset="a-granted")
    assert await store.publications.add_epoch(second)
    assert await store.publications.add_epoch(granted)
    assert await store.publications.epochs() == [granted, epoch, second]
    assert await store.publications.epochs("default") == [epoch, second]
    assert await store.publications.epoch(epoch.digest) == epoch
    assert await store.publications.epoch(b"\x00" * 32) is None


async def test_one_number_of_a_keyset_has_one_epoch(store, made, epoch):
    assert not await store.publications.add_epoch(made.epoch(number=1))
    assert not await store.publications.add_epoch(epoch)
    assert await store.publications.epochs() == [epoch]


async def test_an_epoch_ends_once(store, epoch):
    ended = replace(epoch, ended_at=NOW, end_statement=b"{}", end_signature=bytes(64), end_salt=bytes(16))
    assert await store.publications.end_epoch(ended)
    assert not await store.publications.end_epoch(replace(ended, ended_at=NOW + timedelta(hours=1)))
    assert await store.publications.epoch(epoch.digest) == ended
    assert await store.publications.epochs() == [ended]
    assert not await store.publications.end_epoch(replace(ended, digest=b"\x00" * 32))


async def test_canaries_are_kept_once_and_sorted(store, mine):
    await store.publications.add_canaries(mine.id, ["canary:b", "canary:a"])
    await store.publications.add_canaries(mine.id, ["canary:a"])
    assert await store.publications.canaries(mine.id) == ("canary:a", "canary:b")


async def test_a_snapshot_is_published_with_its_segments(store, mine, epoch, made):
    base = made.segment(mine.id, epoch.digest)
    first = made.snapshot(mine.id, epoch.digest, 1, [base])
    assert await store.publications.latest_snapshot(mine.id, epoch.digest) is None
    assert await store.publications.publish(first, [base], 0)
    delta = made.segment(mine.id, epoch.digest, "delta")
    second = made.snapshot(mine.id, epoch.digest, 2, [base, delta])
    assert await store.publications.publish(second, [delta], 1)
    assert await store.publications.latest_snapshot(mine.id, epoch.digest) == second
    assert await store.publications.snapshot(mine.id, epoch.digest, 1) == first
    assert await store.publications.snapshot(mine.id, epoch.digest, 3) is None
    assert await store.publications.snapshot_named(mine.id, first.digest) == first
    assert await store.publications.snapshot_named(mine.id, bytes(32)) is None
    assert await store.publications.snapshot_named(mine.id + 1, first.digest) is None
    assert await store.publications.segment(delta.ref.file_digest) == delta
    assert await store.publications.segment(b"\x00" * 32) is None
    wanted = [delta.ref.file_digest, b"\x00" * 32, base.ref.file_digest]
    assert await store.publications.segments(wanted) == [delta, base]


@pytest.mark.parametrize(("version", "expected"), [(1, 0), (2, 0), (3, 2), (2, 2)])
async def test_a_publisher_that_saw_another_version_writes_nothing(store, mine, epoch, made, version, expected):  # noqa: PLR0917 - fixtures
    base = made.segment(mine.id, epoch.digest)
    await store.publications.publish(made.snapshot(mine.id, epoch.digest, 1, [base]), [base], 0)
    other = made.segment(mine.id, epoch.digest)
    late = made.snapshot(mine.id, epoch.digest, version, [other])
    assert not await store.publications.publish(late, [other], expected)
    assert await store.publications.segment(other.ref.file_digest) is None


async def test_what_no_snapshot_has_shown_is_noted_as_withdrawn_and_never_less(store, mine, epoch, made):
    base = made.segment(mine.id, epoch.digest)
    first = made.snapshot(mine.id, epoch.digest, 1, [base], changed=3)
    await store.publications.publish(first, [base], 0)
    for upto, noted in (7, 7), (5, 7):
        await store.publications.note_withdrawn(first, upto)
        found = await store.publications.latest_snapshot(mine.id, epoch.digest)
        assert (found.changed, found.withdrawn) == (3, noted)


async def test_what_was_noted_is_not_taken_back_by_a_publisher_that_did_not_know(store, mine, epoch, made):
    """It had read the list before the withdrawal, and would show what nobody is shown."""
    base, other = made.segment(mine.id, epoch.digest), made.segment(mine.id, epoch.digest)
    first = made.snapshot(mine.id, epoch.digest, 1, [base], changed=3)
    await store.publications.publish(first, [base], 0)
    await store.publications.note_withdrawn(first, 7)
    late = made.snapshot(mine.id, epoch.digest, 2, [base, other], changed=6)
    assert not await store.publications.publish(late, [other], 1)
    assert (await store.publications.latest_snapshot(mine.id, epoch.digest)).version == 1
    assert await store.publications.publish(replace(late, withdrawn=7), [other], 1)


async def test_a_note_and_the_next_snapshot_at_once_leave_one_of_them(store, mine, epoch, made):
    base, other = made.segment(mine.id, epoch.digest), made.segment(mine.id, epoch.digest)
    last = made.snapshot(mine.id, epoch.digest, 1, [base], changed=3)
    await store.publications.publish(last, [base], 0)
    for version in range(2, 12):
        following = made.snapshot(mine.id, epoch.digest, version, [base, other], changed=last.withdrawn + 1)
        noting = store.publications.note_withdrawn(last, last.withdrawn + 2)
        published, _ = await asyncio.gather(store.publications.publish(following, [other], version - 1), noting)
        found = await store.publications.latest_snapshot(mine.id, epoch.digest)
        if not published:
            assert (found.version, found.withdrawn) == (version - 1, last.withdrawn + 2)
            following = replace(following, withdrawn=found.withdrawn)
            assert await store.publications.publish(following, [other], version - 1)
        last = await store.publications.latest_snapshot(mine.id, epoch.digest)
        assert (last.version, last.withdrawn) == (version, following.withdrawn)


async def test_of_publishers_at_once_one_wins(store, mine, epoch, made):
    segments = [made.segment(mine.id, epoch.digest) for _ in range(8)]
    results = await asyncio.gather(
        *(store.publications.publish(made.snapshot(mine.id, epoch.digest, 1, [one]), [one], 0) for one in segments)
    )
    assert sorted(results) == [False] * 7 + [True]
    kept = await store.publications.segments([one.ref.file_digest for one in segments])
    assert kept == [segments[results.index(True)]]


async def test_a_snapshot_of_a_segment_that_is_not_kept_is_refused(store, mine, epoch, made):
    base, lost = made.segment(mine.id, epoch.digest), made.segment(mine.id, epoch.digest)
    with pytest.raises(StoreError) as refused:
        await store.publications.publish(made.snapshot(mine.id, epoch.digest, 1, [base, lost]), [base], 0)
    assert refused.value.code == "store_refused"
    assert await store.publications.segment(base.ref.file_digest) is None


async def test_chains_of_two_epochs_and_lists_are_apart(store, mine, epoch, made):
    other = await store.lists.create_list("other", "telecom_fraud", "default")
    second = made.epoch(number=2)
    await store.publications.add_epoch(second)
    for list_id, digest in [(mine.id, epoch.digest), (mine.id, second.digest), (other.id, epoch.digest)]:
        base = made.segment(list_id, digest)
        assert await store.publications.publish(made.snapshot(list_id, digest, 1, [base]), [base], 0)


async def test_what_is_published_is_no_longer_pending(store, mine, epoch, made):
    await bring(store, mine.id, [made.entry("a"), made.entry("b")], IMPORT)
    await store.publications.publish(made.snapshot(mine.id, epoch.digest, 1, [], changed=1), [], 0)
    assert await store.lists.counts(mine.id) == ListCounts(2, 0, 0, 0)
    await bring(store, mine.id, [made.entry("c")], IMPORT)
    assert await store.lists.counts(mine.id) == ListCounts(3, 0, 0, 1)


async def test_old_snapshots_and_their_segments_are_forgotten_in_order(store, mine, epoch, made):
    old, new = made.segment(mine.id, epoch.digest), made.segment(mine.id, epoch.digest)
    day = timedelta(days=1)
    await store.publications.publish(made.snapshot(mine.id, epoch.digest, 1, [old]), [old], 0)
    await store.publications.publish(made.snapshot(mine.id, epoch.digest, 2, [new], issued_at=NOW + day), [new], 1)
    later = NOW + 300 * day
    assert await store.publications.unreferenced_segments(later) == []
    assert await store.publications.forget_segments([old.ref.file_digest]) == 0
    assert await store.publications.forget_snapshots(NOW) == 0
    assert await store.publications.forget_snapshots(later) == 1
    assert (await store.publications.latest_snapshot(mine.id, epoch.digest)).version == 2
    assert await store.publications.unreferenced_segments(NOW) == []
    assert await store.publications.unreferenced_segments(later) == [old]
    assert await store.publications.forget_segments([old.ref.file_digest, new.ref.file_digest]) == 1
    assert await store.publications.segment(new.ref.file_digest) == new


def catalogue(version, reader="bank"):
    return IssuedCatalogueRow(reader, version, bytes([version]) * 32, NOW, b"{}", bytes(64))


async def test_a_catalogue_takes_the_place_of_the_version_before_it(store):
    shelf = store.publications
    assert await shelf.issued_catalogue("bank") is None
    for version in (1, 2, 3):
        assert await shelf.issue_catalogue(catalogue(version))
        assert await shelf.issued_catalogue("bank") == catalogue(version)
    for version in (1, 2, 3, 5):
        assert not await shelf.issue_catalogue(replace(catalogue(version), content=bytes(32)))
    assert await shelf.issued_catalogue("bank") == catalogue(3)
    assert await shelf.issue_catalogue(catalogue(1, "card"))


async def test_of_processes_that_issue_a_version_at_once_one_does(store):
    rows = [replace(catalogue(1), content=bytes([number]) * 32) for number in range(8)]
    for version in (1, 2):
        rows = [replace(row, version=version) for row in rows]
        won = await asyncio.gather(*(store.publications.issue_catalogue(row) for row in rows))
        assert sorted(won) == [False] * 7 + [True]
        assert await store.publications.issued_catalogue("bank") == rows[won.index(True)]


async def test_versions_of_before_catalogues_were_kept_go_on_growing(empty_dsn):
    """A database of the first schema has versions only."""
    await migrate(Target(empty_dsn), migrations()[:1])
    connection = await asyncpg.connect(empty_dsn)
    await connection.execute("insert into catalogue_versions (reader, version) values ('bank', 7)")
    await connection.close()
    store = await Store.open(empty_dsn)
    try:
        found = await store.publications.issued_catalogue("bank")
        assert (found.version, found.content) == (7, b"")
        assert await store.publications.issue_catalogue(catalogue(8))
    finally:
        await store.close()
