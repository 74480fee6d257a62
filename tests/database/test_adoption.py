"""Adoption over a real PostgreSQL: a process that is killed at any step, and what the next one finds."""

from __future__ import annotations

import asyncio
import sys
import textwrap
from dataclasses import replace
from datetime import timedelta

import pytest

from riskshare.query.adopt import BEGINNING, LATE, Adopter
from riskshare.query.receipt_page import read_page, write_page
from riskshare.store.exchange import QuerierCommits
from riskshare.store.store import Store
from tests.simulator.query import (
    NETWORK,
    Clock,
    SimulatedOwner,
    SimulatedQuerier,
    Wire,
    ask_body,
    element,
    identity,
    make_ask,
)

PAGE = 2
LOST = 5
STEPS = ("begin_adoption", "known_batches", "keep_receipts", "move_adoption", "end_adoption")


async def owner_with(clock, lost):
    owner = SimulatedOwner("jd", clock)
    for _ in range(lost):
        blinded = element(owner.random)
        await owner.answerer.answer(ask_body(make_ask(owner, blinded), blinded), "icbc")
        clock.wait(1)
    return owner


class Process:
    """A querier's process over the store. It ends (raises Killed) when `deadly` says so."""

    def __init__(self, store, clock, owner, deadly=("", 0), *, persisted=False):
        self.store = store
        self.owner = owner
        self.deadly, self.left = deadly
        self.persisted = persisted
        self.asked = []
        self.commits = QuerierCommits(store)
        querier = SimulatedQuerier("icbc", clock, Wire(owner))
        self.clock = clock
        self.adopter = Adopter(
            querier="icbc",
            network=NETWORK,
            own_keys=lambda: [identity("icbc").public],
            pages=self,
            kept=self,
            verified=querier.asker.verified,
            now=clock.now,
        )

    async def receipts(self, _owner, since, after=0):
        self.asked.append(since)
        numbered = list(enumerate(self.owner.receipts.receipts.values(), 1))
        return read_page(write_page([pair for pair in numbered if pair[0] > after][:PAGE]))

    def __getattr__(self, name):
        for_real = getattr(self.commits if name == "keep_receipts" else self.store.records, name)

        async def step(*arguments):
            self.left -= name == self.deadly
            dies = name == self.deadly and self.left < 0
            if not dies or self.persisted:
                result = await for_real(*arguments)
            if dies:
                raise Killed
            return result

        return step

    async def run(self):
        """From its start to the end of the search."""
        await self.adopter.begin(["jd"])
        count = await self.adopter.adopt("jd")
        self.clock.wait(LATE.total_seconds())
        return count + await self.adopter.adopt("jd")


class Killed(Exception):  # noqa: N818 - what happens, not an error
    """The process is gone."""


@pytest.mark.parametrize("persisted", [False, True], ids=["failed", "failed, but persisted"])
@pytest.mark.parametrize("nth", [0, 1, 2])
@pytest.mark.parametrize("step", STEPS)
async def test_a_second_crash_at_any_step_leaves_nothing_out(store, step, nth, persisted):
    clock = Clock()
    owner = await owner_with(clock, LOST)
    first = Process(store, clock, owner, (step, nth), persisted=persisted)
    try:
        await first.run()
    except Killed:
        pass
    else:
        assert nth, "this step never came"
    await first.commits.close()
    second = Process(store, clock, owner)
    await second.run()
    await second.commits.close()
    batches = [kept.batch for kept in owner.receipts.receipts.values()]
    for batch in batches:
        kept = await store.records.receipt_of_batch("querier", "jd", batch)
        assert kept is not None
        assert kept.adopted
    assert await store.pool.fetchval("select count(*) from adoptions") == 0
    assert await store.pool.fetchval("select count(*) from receipts") == LOST


PROGRAM = textwrap.dedent("""
    import asyncio, os, signal, sys
    from riskshare.store.store import Store
    from tests.database.test_adoption import Killed, Process, owner_with
    from tests.simulator.query import Clock

    async def main(dsn, step, nth, persisted):
        store, clock = await Store.open(dsn), Clock()
        process = Process(store, clock, await owner_with(clock, 5), (step, int(nth)), persisted=persisted == "True")
        try:
            await process.run()
        except Killed:
            os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(main(*sys.argv[1:]))
""")


@pytest.mark.parametrize("persisted", [False, True])
@pytest.mark.parametrize("step", STEPS)
async def test_a_process_that_is_killed_at_a_step(store, dsn, step, persisted):
    died = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, dsn, step, "0", str(persisted))
    assert await died.wait() == -9
    clock = Clock()
    owner = await owner_with(clock, LOST)
    second = Process(store, clock, owner)
    await second.run()
    await second.commits.close()
    assert await store.pool.fetchval("select count(*) from receipts where adopted") == LOST
    assert await store.pool.fetchval("select count(*) from adoptions") == 0


async def test_the_mark_begins_at_the_earlier_time_and_moves_forward_only(store):
    records = store.records
    later, earlier = BEGINNING + timedelta(days=2), BEGINNING + timedelta(days=1)
    assert await records.begin_adoption("jd", later) == later
    assert await records.begin_adoption("jd", earlier) == earlier
    assert await records.begin_adoption("jd", later) == earlier
    await records.move_adoption("jd", later)
    await records.move_adoption("jd", earlier)
    assert await records.begin_adoption("jd", later + timedelta(days=1)) == later
    assert await records.begin_adoption("unionpay", earlier) == earlier
    await records.end_adoption("jd")
    await records.move_adoption("jd", later)
    assert await records.begin_adoption("jd", later) == later
    assert await records.begin_adoption("unionpay", later) == earlier


async def test_an_open_search_outlives_the_store(store, dsn):
    await store.records.begin_adoption("jd", BEGINNING)
    await store.records.move_adoption("jd", BEGINNING + timedelta(hours=1))
    again = await Store.open(dsn)
    assert await again.records.begin_adoption("jd", BEGINNING + timedelta(days=1)) == BEGINNING + timedelta(hours=1)
    await again.close()


async def test_what_was_kept_by_itself_is_left_alone(store):
    clock = Clock()
    owner = await owner_with(clock, LOST)
    process = Process(store, clock, owner)
    mine = [replace(kept, side="querier", counterparty="jd") for kept in owner.receipts.receipts.values()][:2]
    await process.commits.keep_receipts(mine)
    assert await process.run() == LOST - 2
    await process.commits.close()
    assert await store.pool.fetchval("select count(*) from receipts where adopted") == LOST - 2
