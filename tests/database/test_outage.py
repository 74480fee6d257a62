"""PostgreSQL goes away under load and comes back: no acknowledged receipt is lost, and errors are clear."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import textwrap
from pathlib import Path

import psutil
import pytest

from riskshare.errors import StoreError
from riskshare.store.embedded import start_server
from riskshare.store.exchange import OwnerCommits, QuerierCommits
from riskshare.store.leader import Leadership
from riskshare.store.notify import LISTS, RECONNECTED
from riskshare.store.store import Store
from tests.simulator.changing import IMPORT
from tests.simulator.intake import intake_of


@pytest.fixture(scope="module")
def own():
    """A server of this module's own, to be stopped at will."""
    folder = Path(tempfile.mkdtemp(prefix="rs-"))
    with start_server(folder / "pg") as running:
        yield running
        running.ensure_running()
    shutil.rmtree(folder)


@pytest.fixture
async def outage_store(own, request):
    await asyncio.to_thread(own.ensure_running)
    dsn = await own.database(f"db_{abs(hash(request.node.name))}")
    store = await Store.open(dsn, statement_seconds=2.0)
    yield store
    await store.close()


def stop(own, how):
    command = [own._programs / "pg_ctl", "-D", own.directory / "data", "-m", how, "-w", "stop"]
    code, printed = own._account.run(command, 60)
    assert code == 0, printed


@pytest.mark.parametrize("how", ["immediate", "fast"])
async def test_stopped_under_load_and_started_again(own, outage_store, made, how):
    commits = OwnerCommits(outage_store)
    durable, failed = [], []
    over = asyncio.Event()

    async def ask_on():
        while not over.is_set():
            kept = made.receipt()
            try:
                await commits.keep(kept)
            except StoreError as error:
                failed.append(error)
                await asyncio.sleep(0.005)
            else:
                durable.append(kept)

    async def until(condition):
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 - load generator and outage run side by side
                await asyncio.sleep(0.005)

    load = [asyncio.create_task(ask_on()) for _ in range(20)]
    await until(lambda: len(durable) > 300)
    await asyncio.to_thread(stop, own, how)
    await until(lambda: failed)
    with pytest.raises(StoreError):
        await outage_store.healthy()
    with pytest.raises(StoreError):
        await commits.find("jd", durable[0].batch)
    await asyncio.to_thread(own.ensure_running)
    before = len(durable)
    await until(lambda: len(durable) > before + 300)
    over.set()
    await asyncio.gather(*load)
    await outage_store.healthy()
    await commits.close()
    assert {error.code for error in failed} == {"store_unavailable"}
    assert all("durable" in error.message for error in failed)
    standing = {row["batch"] for row in await outage_store.pool.fetch("select batch from receipts")}
    assert {kept.batch for kept in durable} <= standing
    assert len(standing) <= len(durable) + len(failed)


async def test_a_frozen_server_lets_nobody_hang(own, outage_store, made):
    commits = QuerierCommits(outage_store)
    await commits.keep(made.check(), [])
    (pid,) = [
        row["pid"]
        for row in await outage_store.pool.fetch(
            "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
            " and query ~ 'into checks'"
        )
    ]
    frozen = psutil.Process(pid)
    frozen.suspend()
    try:
        check = made.check()
        async with asyncio.timeout(20):
            with pytest.raises(StoreError, match="durable"):
                await commits.keep(check, [])
            # The next one has a new connection.
            await commits.keep(check, [])
    finally:
        frozen.resume()
    await commits.close()
    assert await outage_store.records.check(check.id) == check


async def test_listeners_and_leaders_come_back(own, outage_store):
    told = asyncio.Queue()
    listener = await outage_store.listen([LISTS], lambda channel, payload: told.put_nowait((channel, payload)))
    leader = Leadership(outage_store)
    await leader.acquire()
    await asyncio.to_thread(stop, own, "immediate")
    await asyncio.wait_for(leader.lost.wait(), 20)
    again = asyncio.create_task(leader.acquire())
    await asyncio.to_thread(own.ensure_running)
    await asyncio.wait_for(again, 20)
    assert await asyncio.wait_for(told.get(), 20) == (RECONNECTED, "")
    await outage_store.lists.create_list("fraud", "transaction_fraud", "default")
    assert await asyncio.wait_for(told.get(), 20) == (LISTS, "fraud")
    await leader.release()
    await listener.close()


async def test_an_import_during_an_outage_leaves_nothing(own, outage_store, made):
    mine = await outage_store.lists.create_list("fraud", "transaction_fraud", "default")
    async with intake_of(outage_store, mine.id) as intake:
        await intake.add([made.entry(f"{n}") for n in range(100)])
        await asyncio.to_thread(stop, own, "immediate")
        with pytest.raises(StoreError) as refused:
            await intake.commit(IMPORT)
    assert refused.value.code == "store_unavailable"
    await asyncio.to_thread(own.ensure_running)
    assert (await outage_store.lists.counts(mine.id)).active == 0


async def test_an_import_that_is_committed_does_not_fail_when_the_database_goes_away_after_it(own, outage_store, made):
    mine = await outage_store.lists.create_list("fraud", "transaction_fraud", "default")
    async with intake_of(outage_store, mine.id) as intake:
        await intake.add([made.entry(f"{n}") for n in range(100)])
        assert (await intake.commit(IMPORT)).new == 100
        await asyncio.to_thread(stop, own, "immediate")
    await asyncio.to_thread(own.ensure_running)
    assert (await outage_store.lists.counts(mine.id)).active == 100


async def test_what_a_killed_owner_acknowledged_stands(own, outage_store):
    """The process is killed at any moment: each batch that it printed had been durable before."""
    program = textwrap.dedent("""
        import asyncio, os, sys, uuid
        from riskshare.ledger.receipt import KeptReceipt, Receipt
        from riskshare.store.exchange import OwnerCommits
        from riskshare.store.store import Store
        async def ask_on(commits):
            while True:
                kept = KeptReceipt("owner", "jd", uuid.uuid4(), b"e" * 32, 1, Receipt(b"a", b"s" * 64, b"b", b"t" * 64),
                    os.urandom(32), os.urandom(32), b"", os.urandom(16))
                await commits.keep(kept)
                print(kept.batch, flush=True)
        async def main():
            commits = OwnerCommits(await Store.open(sys.argv[1]))
            await asyncio.gather(*(ask_on(commits) for _ in range(8)))
        asyncio.run(main())
    """)
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, outage_store.target.dsn, stdout=asyncio.subprocess.PIPE
    )
    said = [await owner.stdout.readline() for _ in range(500)]
    owner.kill()
    said += (await owner.stdout.read()).splitlines(keepends=True)
    await owner.wait()
    standing = {str(row["batch"]) for row in await outage_store.pool.fetch("select batch from receipts")}
    acknowledged = {line.decode().strip() for line in said if line.endswith(b"\n")}
    assert len(acknowledged) >= 500
    assert acknowledged <= standing
