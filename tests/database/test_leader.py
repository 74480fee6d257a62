from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from riskshare.cli import publication
from riskshare.cli.publication import peer_runs
from riskshare.sharing.kept import RegistryRow
from riskshare.store.connection import LEADER_LOCK, LOCK_CLASS
from riskshare.store.leader import Leadership, is_led
from riskshare.store.notify import EPOCHS, LISTS, RECONNECTED, REGISTRY, SNAPSHOTS, TRUSTED
from riskshare.store.store import Store
from tests.simulator.changing import IMPORT, withdrawal
from tests.simulator.intake import bring

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)


@pytest.fixture
async def second(dsn):
    opened = await Store.open(dsn)
    yield opened
    await opened.close()


async def cut(sql, pattern):
    """End the sessions whose last statement looks so."""
    return await sql.fetchval(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity"
        " where query ~* $1 and pid <> pg_backend_pid() and datname = current_database()",
        pattern,
    )


async def test_one_leads_and_the_other_follows_on(store, second):
    first, other = Leadership(store), Leadership(second)
    await first.acquire()
    await first.acquire()
    waiting = asyncio.create_task(other.acquire())
    done, _ = await asyncio.wait([waiting], timeout=0.6)
    assert not done
    assert (first.held, other.held) == (True, False)
    await first.release()
    assert first.lost.is_set()
    await asyncio.wait_for(waiting, 10)
    assert other.held
    await other.release()


async def test_a_leader_that_is_cut_off_knows_and_another_takes_over(store, second, sql):
    first, other = Leadership(store), Leadership(second)
    await first.acquire()
    waiting = asyncio.create_task(other.acquire())
    assert await cut(sql, "pg_try_advisory_lock") >= 1
    await asyncio.wait_for(first.lost.wait(), 10)
    await asyncio.wait_for(waiting, 10)
    again = asyncio.create_task(first.acquire())
    await other.release()
    await asyncio.wait_for(again, 10)
    await first.release()


async def test_who_stops_waiting_leaves_no_lock_behind(store, second):
    first, other = Leadership(store), Leadership(second)
    await first.acquire()
    waiting = asyncio.create_task(other.acquire())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await other.release()
    await other.release()
    await first.release()
    await asyncio.wait_for(other.acquire(), 10)
    await other.release()


async def test_whoever_asks_sees_that_there_is_a_leader_and_does_not_lead(store, second, server, sql):
    assert not await is_led(second)
    leader = Leadership(store)
    await leader.acquire()
    assert await is_led(second)
    assert await is_led(store)
    await leader.release()
    async with asyncio.timeout(10):
        while await is_led(second):  # noqa: ASYNC110 - PostgreSQL ends sessions on its own
            await asyncio.sleep(0.02)
    # Other locks, and the same lock in another database, are nobody's lead.
    for key in ("1, 2", f"{LOCK_CLASS}, {LEADER_LOCK + 1}", f"{(LOCK_CLASS << 32) + LEADER_LOCK}"):
        await sql.execute(f"select pg_advisory_lock({key})")
    assert not await is_led(second)
    elsewhere = await Store.open(await server.database("led_elsewhere"))
    other = Leadership(elsewhere)
    await other.acquire()
    assert (await is_led(elsewhere), await is_led(second)) == (True, False)
    await other.release()
    await elsewhere.close()


class Clock:
    """In place of `asyncio` in `publication`: what happens while a command waits before it looks again."""

    def __init__(self, meanwhile):
        self.meanwhile = meanwhile
        self.slept = []

    async def sleep(self, seconds):
        self.slept.append(seconds)
        await self.meanwhile()


async def test_a_peer_that_leads_again_a_moment_later_runs(store, second, monkeypatch):
    leader = Leadership(store)
    clock = Clock(leader.acquire)
    monkeypatch.setattr(publication, "asyncio", clock)
    assert await peer_runs(second)
    assert await peer_runs(second)
    assert clock.slept == [0.6], "who leads at once is not waited for"
    await leader.release()


async def test_where_nobody_leads_a_moment_later_no_peer_runs(store, monkeypatch):
    clock = Clock(lambda: asyncio.sleep(0))
    monkeypatch.setattr(publication, "asyncio", clock)
    assert not await peer_runs(store)
    assert clock.slept == [0.6]


# --- notifications


class Heard:
    """What a listener was told, with a way to wait for it."""

    def __init__(self):
        self.queue = asyncio.Queue()

    def __call__(self, channel, payload):
        self.queue.put_nowait((channel, payload))

    async def next(self):
        return await asyncio.wait_for(self.queue.get(), 10)


@pytest.fixture
async def heard(store):
    told = Heard()
    listener = await store.listen([LISTS, SNAPSHOTS, EPOCHS, TRUSTED, REGISTRY], told)
    yield told
    await listener.close()


async def test_every_change_is_told(second, heard, made):
    mine = await second.lists.create_list("fraud", "transaction_fraud", "default")
    assert await heard.next() == (LISTS, "fraud")
    await bring(second, mine.id, [made.entry("a")], IMPORT)
    assert await heard.next() == (LISTS, "fraud")
    epoch = made.epoch()
    await second.publications.add_epoch(epoch)
    assert await heard.next() == (EPOCHS, "default")
    await second.publications.publish(made.snapshot(mine.id, epoch.digest, 1, []), [], 0)
    assert await heard.next() == (SNAPSHOTS, "fraud")
    await second.publications.end_epoch(replace(epoch, ended_at=NOW))
    assert await heard.next() == (EPOCHS, "default")
    await second.trust.save_trusted("jd", "jd/fraud", b"{}", None, NOW)
    assert await heard.next() == (TRUSTED, "jd/fraud")
    await second.trust.keep_registry(RegistryRow(3, b"\x01" * 32, b"{}", NOW))
    assert await heard.next() == (REGISTRY, "3")


async def test_what_changes_nothing_tells_nothing(second, heard, made):
    mine = await second.lists.create_list("fraud", "transaction_fraud", "default")
    assert await heard.next() == (LISTS, "fraud")
    await bring(second, mine.id, [], IMPORT)
    assert (
        await second.lists.change_state(mine.id, [b"\x00" * 32], "withdrawn", withdrawal("corrected"), lambda *_: None)
        == 0
    )
    await second.publications.add_canaries(mine.id, ["canary:a"])
    await second.lists.create_list("next", "transaction_fraud", "default")
    assert await heard.next() == (LISTS, "next")
    assert heard.queue.empty()


async def test_after_a_loss_the_listener_is_told_to_read_anew(second, heard, sql):
    assert await cut(sql, "^listen") == 1
    assert await heard.next() == (RECONNECTED, "")
    await second.lists.create_list("fraud", "transaction_fraud", "default")
    assert await heard.next() == (LISTS, "fraud")


async def test_a_closed_listener_is_told_nothing(store, second, sql):
    told = Heard()
    listener = await store.listen([LISTS], told)
    await listener.close()
    await second.lists.create_list("fraud", "transaction_fraud", "default")
    async with asyncio.timeout(10):
        while await cut(sql, "^listen"):  # noqa: ASYNC110 - PostgreSQL ends sessions on its own
            await asyncio.sleep(0.02)
    assert told.queue.empty()
