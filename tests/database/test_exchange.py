from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from riskshare.errors import StoreError
from riskshare.store.exchange import _SQL, OwnerCommits, QuerierCommits
from riskshare.store.group_commit import _PLANS
from riskshare.store.queries import load

RECORDS = load("records.sql")


@asynccontextmanager
async def owner(store, **options):
    commits = OwnerCommits(store, **options)
    yield commits
    await commits.close()


@asynccontextmanager
async def querier(store, **options):
    commits = QuerierCommits(store, **options)
    yield commits
    await commits.close()


class Faults:
    """Raises at a step as often as asked, or holds it until released."""

    def __init__(self, step, times=1):
        self.step = step
        self.times = times
        self.reached = asyncio.Event()
        self.release = asyncio.Event()
        self.hold = False

    async def __call__(self, step):
        if step != self.step or not self.times:
            return
        self.times -= 1
        self.reached.set()
        if self.hold:
            await self.release.wait()
        else:
            raise OSError("injected")


async def rows(sql, table):
    return await sql.fetchval(f"select count(*) from {table}")


# --- the owner's receipts


@pytest.mark.parametrize(("count", "proof"), [(1, b""), (2, b"\x07" * 64), (100, b""), (256, b"\x07" * 64)])
async def test_a_receipt_comes_back_as_it_was_kept(store, made, count, proof):
    kept = made.receipt(count=count, proof=proof)
    async with owner(store) as commits:
        assert await commits.keep(kept) is kept
        assert await commits.find("jd", kept.batch) == kept
        assert await store.records.receipt(kept.receipt.id) == kept
        assert await commits.find("other", kept.batch) is None


async def test_a_batch_sent_again_gets_the_receipt_that_stands(store, made):
    first = made.receipt()
    async with owner(store) as commits:
        await commits.keep(first)
        again = made.receipt(batch=first.batch)
        assert await commits.keep(again) == first
        assert await commits.keep(replace(first)) == first


async def test_what_is_sent_again_becomes_pending_once(store, made, sql):
    """Alone and with others, whichever part of it stands already: its statement fails, and the general one follows."""
    first, shared = made.receipt(), made.receipt("querier")
    one, other = made.check(), made.check()
    async with owner(store) as answers, querier(store) as checks:
        for _ in range(3):
            await answers.keep(first)
        for check in (one, other, one):
            await checks.keep(check, [shared])
        late = made.receipt("querier")
        await checks.keep(one, [late])
    pending = await sql.fetch("select kind, source from ledger_pending order by kind, source")
    receipts = sorted(receipt.receipt.id for receipt in (first, shared, late))
    assert [tuple(row) for row in pending] == [
        *(("check", check.id.bytes) for check in sorted((one, other), key=lambda check: check.id)),
        *(("receipt", source) for source in receipts),
    ]


async def test_one_batch_number_of_two_queriers_is_two_batches(store, made, sql):
    first = made.receipt(counterparty="a")
    async with owner(store) as commits:
        await commits.keep(first)
        other = made.receipt(counterparty="b", batch=first.batch)
        assert await commits.keep(other) is other
    assert await rows(sql, "receipts") == 2


async def test_a_batch_twice_in_one_flush_is_kept_once(store, made, sql):
    hold = Faults("before")
    hold.hold = True
    async with owner(store, fault=hold) as commits:
        head = asyncio.create_task(commits.keep(made.receipt()))
        await hold.reached.wait()
        one = made.receipt()
        other = made.receipt(batch=one.batch)
        both = asyncio.gather(commits.keep(one), commits.keep(other))
        await asyncio.sleep(0)
        hold.release.set()
        assert await both == [one, one]
        await head
    assert await rows(sql, "receipts") == 2


async def test_two_processes_keep_one_batch_once(store, made, sql):
    one = made.receipt()
    other = made.receipt(batch=one.batch)
    async with owner(store) as here, owner(store) as there:
        results = await asyncio.gather(here.keep(one), there.keep(other))
    assert results[0] == results[1]
    assert results[0] in (one, other)
    assert await rows(sql, "receipts") == 1


async def test_many_callers_share_few_commits(store, made, sql):
    receipts = [made.receipt(counterparty=f"m{index % 7}") for index in range(200)]
    async with owner(store) as commits:
        await commits.warm()
        assert await asyncio.gather(*map(commits.keep, receipts)) == receipts
    assert await rows(sql, "receipts") == 200
    assert await sql.fetchval("select count(distinct xmin::text) from receipts") <= 3  # transactions that wrote them


async def test_more_than_one_flush_holds_all_arrive(store, made, sql):
    receipts = [made.receipt() for _ in range(600)]
    async with owner(store) as commits:
        assert await asyncio.gather(*map(commits.keep, receipts)) == receipts
    assert await rows(sql, "receipts") == 600


async def test_a_cancelled_caller_harms_nobody_and_its_row_stands(store, made, sql):
    hold = Faults("before")
    hold.hold = True
    async with owner(store, fault=hold) as commits:
        tasks = [asyncio.create_task(commits.keep(made.receipt())) for _ in range(3)]
        await hold.reached.wait()
        tasks += [asyncio.create_task(commits.keep(made.receipt())) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        tasks[4].cancel()
        hold.release.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(one, asyncio.CancelledError) for one in results] == [True, False, False, False, True, False]
    assert await rows(sql, "receipts") == 6


async def test_a_failed_flush_fails_its_callers_and_only_those(store, made, sql):
    async with owner(store, fault=Faults("before")) as commits:
        kept = made.receipt()
        with pytest.raises(StoreError, match="durable") as refused:
            await commits.keep(kept)
        assert refused.value.code == "store_unavailable"
        assert await rows(sql, "receipts") == 0
        assert await commits.keep(kept) is kept


async def test_failed_but_persisted_is_repeated_without_harm(store, made, sql):
    async with owner(store, fault=Faults("after")) as commits:
        kept = made.receipt()
        with pytest.raises(StoreError, match="durable"):
            await commits.keep(kept)
        assert await rows(sql, "receipts") == 1
        assert await commits.keep(kept) == kept
        assert await rows(sql, "receipts") == 1


async def test_an_unexpected_error_leaves_no_caller_waiting(store, made):
    async def broken(step):
        raise RuntimeError(step)

    async with owner(store, fault=broken) as commits:
        with pytest.raises(StoreError):
            await asyncio.wait_for(commits.keep(made.receipt()), 5)


@pytest.mark.parametrize("poison", ["nul\x00", "surrogate\ud800"])
async def test_a_row_that_postgresql_refuses_fails_alone(store, made, sql, poison):
    hold = Faults("before")
    hold.hold = True
    async with owner(store, fault=hold) as commits:
        head = asyncio.create_task(commits.keep(made.receipt()))
        await hold.reached.wait()
        good = [made.receipt() for _ in range(4)]
        bad = made.receipt(counterparty=poison)
        tasks = asyncio.gather(*map(commits.keep, [*good[:2], bad, *good[2:]]), return_exceptions=True)
        await asyncio.sleep(0)
        hold.release.set()
        results = await tasks
        await head
    assert results[:2] + results[3:] == good
    assert isinstance(results[2], StoreError)
    assert results[2].code == "store_refused"
    assert poison not in str(results[2])
    assert await rows(sql, "receipts") == 5


async def test_no_error_carries_what_postgresql_said(store, made):
    async with owner(store) as commits:
        with pytest.raises(StoreError) as refused:
            await commits.keep(made.receipt(counterparty="secret\x00"))
    assert refused.value.__cause__ is None
    assert "secret" not in str(refused.value)


async def test_too_many_waiting_are_refused_at_once(store, made):
    hold = Faults("before")
    hold.hold = True
    async with owner(store, most=2, fault=hold) as commits:
        head = asyncio.create_task(commits.keep(made.receipt()))
        await hold.reached.wait()
        waiting = [asyncio.create_task(commits.keep(made.receipt())) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(StoreError) as refused:
            await commits.keep(made.receipt())
        assert refused.value.code == "overloaded"
        hold.release.set()
        await asyncio.gather(head, *waiting)


async def test_closing_writes_what_waits_and_takes_nothing_more(store, made, sql):
    commits = OwnerCommits(store)
    tasks = [asyncio.create_task(commits.keep(made.receipt())) for _ in range(5)]
    await asyncio.sleep(0)
    await commits.close()
    await asyncio.gather(*tasks)
    assert await rows(sql, "receipts") == 5
    with pytest.raises(StoreError, match="closed"):
        await commits.keep(made.receipt())


async def test_a_lost_connection_is_replaced(store, made, sql):
    async with owner(store) as commits:
        await commits.keep(made.receipt())
        await sql.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where query ~ 'owner_receipt|receipts'"
            " and pid <> pg_backend_pid() and datname = current_database()"
        )
        kept = made.receipt()
        # The loss may be seen before the flush or during it; then it is an error, and the next one connects.
        with suppress(StoreError):
            await commits.keep(kept)
        assert await commits.keep(kept) == kept


# --- the querier's checks


async def test_a_check_and_its_receipts_come_back(store, made):
    check, receipts = made.check(), [made.receipt("querier", f"m{index}", count=index + 1) for index in range(4)]
    key = (check.hour_key, check.answered_at, made.bytes(1200))
    async with querier(store) as commits:
        await commits.keep(check, receipts, hour_key=key)
    assert await store.records.check(check.id) == check
    assert await store.records.hour_key(check.hour_key) == key
    for one in receipts:
        assert await store.records.receipt_of_batch("querier", one.counterparty, one.batch) == one
    assert await store.records.check(made.uuid()) is None
    assert await store.records.hour_key(made.uuid()) is None


@pytest.mark.parametrize("receipts", [0, 1, 2, 3])
@pytest.mark.parametrize("asks", [0, 1, 2])
async def test_every_small_unit_is_whole(store, made, sql, receipts, asks):
    async with querier(store) as commits:
        await commits.keep(
            made.check(),
            [made.receipt("querier") for _ in range(receipts)],
            [made.ask() for _ in range(asks)],
        )
    assert [await rows(sql, table) for table in ("checks", "receipts", "unanswered")] == [1, receipts, asks]


async def test_a_unit_is_kept_whole_or_not_at_all(store, made, sql):
    async with querier(store) as commits:
        with pytest.raises(StoreError) as refused:
            await commits.keep(made.check(), [made.receipt("querier")], [made.ask(owner="x\x00")])
    assert (refused.value.code, refused.value.in_doubt) == ("store_refused", False)
    assert [await rows(sql, table) for table in ("checks", "receipts", "unanswered")] == [0, 0, 0]


async def test_checks_share_an_ask(store, made, sql):
    shared = made.receipt("querier", count=3)
    async with querier(store) as commits:
        await asyncio.gather(*(commits.keep(made.check(), [shared]) for _ in range(10)))
        await commits.keep(made.check(), [shared])
    assert [await rows(sql, table) for table in ("checks", "receipts")] == [11, 1]


async def test_a_failed_check_is_repeated_without_harm(store, made, sql):
    check, receipts, asks = made.check(), [made.receipt("querier")], [made.ask("bank")]
    async with querier(store, fault=Faults("after")) as commits:
        with pytest.raises(StoreError) as failed:
            await commits.keep(check, receipts, asks)
        assert failed.value.in_doubt
        await commits.keep(check, receipts, asks)
    assert [await rows(sql, table) for table in ("checks", "receipts", "unanswered")] == [1, 1, 1]


async def test_a_late_receipt_settles_its_ask(store, made, sql):
    asked = made.ask()
    async with querier(store) as commits:
        await commits.keep(made.check(), [], [asked, made.ask()])
        assert asked in await store.records.open_asks([asked.owner])
        await commits.keep_receipts([made.receipt("querier", batch=asked.batch)])
    assert await rows(sql, "unanswered") == 1
    assert await rows(sql, "receipts") == 1


async def test_a_receipt_that_another_check_brings_settles_the_ask(store, made, sql):
    asked = made.ask()
    async with querier(store) as commits:
        await commits.keep(made.check(), [], [asked])
        await commits.keep(made.check(), [made.receipt("querier", batch=asked.batch)])
    assert await rows(sql, "unanswered") == 0


async def test_an_ask_answered_to_another_check_is_not_kept_as_unanswered(store, made, sql):
    asked = made.ask()
    receipt = made.receipt("querier", batch=asked.batch)
    async with querier(store) as commits:
        await commits.keep(made.check(), [receipt])
        await commits.keep(made.check(), [], [asked])
        other = made.ask()
        await asyncio.gather(
            commits.keep(made.check(), [], [other]),
            commits.keep(made.check(), [], [other]),
            commits.keep(made.check(), [made.receipt("querier", batch=other.batch)]),
        )
    assert await rows(sql, "unanswered") == 0


async def test_after_a_restart_late_receipts_still_settle_asks(store, made, sql):
    asked = made.ask()
    async with querier(store) as commits:
        await commits.keep(made.check(), [], [asked])
    async with querier(store) as commits:
        await commits.keep_receipts([made.receipt("querier", batch=asked.batch, adopted=True)])
    assert await rows(sql, "unanswered") == 0
    assert (await store.records.receipt_of_batch("querier", "jd", asked.batch)).adopted


async def test_beyond_the_asks_that_it_remembers_it_still_settles(store, made, sql, monkeypatch):
    monkeypatch.setattr("riskshare.store.exchange.MOST_OPEN_ASKS", 1)
    asks = [made.ask() for _ in range(4)]
    async with querier(store) as commits:
        for one in asks:
            await commits.keep(made.check(), [], [one])
        for one in asks:
            await commits.keep(made.check(), [made.receipt("querier", batch=one.batch)])
    assert await rows(sql, "unanswered") == 0


async def test_any_order_leaves_open_exactly_what_has_no_receipt(store, made):
    """A seeded walk against a model: asks are open until a receipt of their batch is kept, in any order."""
    chance = random.Random(7)
    asks = [made.ask(f"m{index % 3}") for index in range(30)]
    opened, answered = set(), set()
    async with querier(store) as commits:
        for _ in range(60):
            units = []
            for _ in range(chance.randrange(1, 4)):
                one = chance.choice(asks)
                if chance.random() < 0.5:
                    opened.add(one.batch)
                    units.append(commits.keep(made.check(), [], [one]))
                else:
                    answered.add(one.batch)
                    receipt = made.receipt("querier", one.owner, batch=one.batch)
                    late = chance.random() < 0.5
                    units.append(commits.keep_receipts([receipt]) if late else commits.keep(made.check(), [receipt]))
            await asyncio.gather(*units)
            stands = {one.batch for one in await store.records.open_asks(["m0", "m1", "m2"])}
            assert stands == opened - answered


async def test_a_response_is_kept_with_its_check(store, made):
    digest, request = b"\x01" * 32, b"\x02" * 32
    assert await store.idempotency.begin("till", digest, request) is None
    async with querier(store) as commits:
        await commits.keep(made.check(), [], response=("till", digest, request, b"sealed"))
    assert await store.idempotency.begin("till", digest, request) == b"sealed"


# --- reading


async def test_usage_is_summed_by_period_and_by_epoch(store, made, sql):
    first, second = b"\x01" * 32, b"\x02" * 32
    async with owner(store) as commits:
        for member, count, epoch in [("a", 3, first), ("a", 4, second), ("b", 5, first)]:
            await commits.keep(made.receipt(counterparty=member, count=count, epoch=epoch))
    async with querier(store) as commits:
        await commits.keep(made.check(), [made.receipt("querier", "a", count=9)])
    records, moment, hour = store.records, datetime.now(UTC), timedelta(hours=1)
    assert await records.usage(moment - hour, moment + hour) == {"a": 7, "b": 5}
    assert await records.usage(moment - 2 * hour, moment - hour) == {}
    by_epoch = {("a", first): 3, ("a", second): 4, ("b", first): 5}
    assert await records.epoch_usage([first, second], moment - hour, moment + hour) == by_epoch
    assert await records.epoch_usage([first, second], moment + hour, moment + 2 * hour) == {}
    assert await records.epoch_usage([], moment - hour, moment + hour) == {}
    assert await sql.fetchval("select bool_and(recorded_at <= clock_timestamp()) from receipts")


async def test_receipts_of_one_querier_are_paged_in_order(store, made):
    mine = [made.receipt(counterparty="a") for _ in range(5)]
    async with owner(store) as commits:
        for one in mine:
            await commits.keep(one)
            await commits.keep(made.receipt(counterparty="b"))
    first = await store.records.receipts_for("a", 0, 3)
    rest = await store.records.receipts_for("a", first[-1][0], 3)
    assert [one for _, one in first + rest] == mine
    assert await store.records.receipts_for("a", rest[-1][0], 3) == []


async def test_known_batches_include_those_that_are_unanswered(store, made):
    ask = made.ask("jd")
    async with querier(store) as commits:
        await commits.keep_receipts([], [ask])
    assert await store.records.known_batches("jd", [ask.batch]) == {ask.batch}
    assert await store.records.known_batches("other", [ask.batch]) == set()


async def test_known_batches_are_those_with_a_receipt(store, made):
    known, unknown = made.receipt("querier"), made.uuid()
    async with querier(store) as commits:
        await commits.keep_receipts([known])
        await commits.keep_receipts([])
    assert await store.records.known_batches("jd", [known.batch, unknown]) == {known.batch}
    assert await store.records.known_batches("other", [known.batch]) == set()
    assert await store.records.known_batches("jd", []) == set()


async def test_rows_are_looked_up_by_key_even_if_planned_over_empty_tables(store):
    """Each statement is planned once: a plan that walks a table would be slow by the evening."""
    connection = await store.target.connect(**_PLANS)
    await connection.execute(f"prepare hot as {_SQL['keep_everything']}")
    plan = "\n".join(row[0] for row in await connection.fetch("explain execute hot('{}', '{}', '{}', '{}', '{}')"))
    connection.terminate()
    assert "Index Cond: ((side = 'querier'::text) AND (counterparty = u_1.owner) AND (batch = u_1.batch))" in plan
    assert "Index Cond: ((owner = r.counterparty) AND (batch = r.batch))" in plan
    for walk in ("Seq Scan", "Hash", "Materialize"):
        assert walk not in plan


# --- what metrics see


@pytest.mark.parametrize("count", [1, 40])
async def test_each_durable_flush_is_told_with_its_units(store, made, count):
    told = []
    async with owner(store, watch=lambda seconds, units: told.append((seconds > 0, units))) as commits:
        await asyncio.gather(*(commits.keep(made.receipt()) for _ in range(count)))
    assert all(took_time for took_time, _ in told)
    assert sum(units for _, units in told) == count


async def test_a_flush_that_failed_is_not_told(store, made):
    told = []
    async with owner(store, fault=Faults("before"), watch=lambda *flush: told.append(flush)) as commits:
        with pytest.raises(StoreError):
            await commits.keep(made.receipt())
    assert told == []


async def test_open_asks_are_counted_and_given_by_owner_the_oldest_first(store, made):
    asks = {owner: [made.ask(owner) for _ in range(4)] for owner in ("jd", "up", "gone")}
    async with querier(store) as commits:
        for number in range(4):
            await commits.keep_receipts([], [asks[owner][number] for owner in ("gone", "up", "jd")])
    records = store.records
    assert await records.count_open_asks() == 12
    assert await records.open_asks(["jd", "up"], 3) == [*asks["jd"][:3], *asks["up"][:3]]
    assert await records.open_asks([]) == []


async def test_asks_that_are_closed_are_kept_and_not_given_again_and_a_late_receipt_takes_them_away(store, made, sql):
    asks = [made.ask() for _ in range(4)]
    other = made.ask("up", batch=asks[1].batch)
    records = store.records
    async with querier(store) as commits:
        await commits.keep_receipts([], [*asks, other])
        await records.close_asks("jd", [asks[1].batch, asks[2].batch])
        closed = await sql.fetch("select batch, closed_at from unanswered where closed_at is not null order by seq")
        await records.close_asks("jd", [asks[1].batch])
        assert closed == await sql.fetch(
            "select batch, closed_at from unanswered where closed_at is not null order by seq"
        )
        assert await records.open_asks(["jd", "up"]) == [asks[0], asks[3], other]
        await commits.keep_receipts([made.receipt("querier", batch=asks[2].batch)])
    assert (await rows(sql, "unanswered"), await records.count_open_asks()) == (4, 3)


async def test_asks_that_are_too_old_are_closed_so_many_at_a_time(store, made, sql):
    asks = [made.ask() for _ in range(5)]
    async with querier(store) as commits:
        await commits.keep_receipts([], asks)
    moment = datetime.now(UTC)
    old = [ask.batch for ask in asks[:3]]
    await sql.execute("update unanswered set asked_at = $1 where batch = any($2)", moment - timedelta(hours=25), old)
    for left in (3, 2, 2):
        await store.records.close_asks_before(moment - timedelta(hours=24), 2)
        assert await store.records.count_open_asks() == left
    assert await store.records.open_asks(["jd"]) == asks[3:]


async def test_open_asks_are_found_without_reading_the_closed_ones(store, made, sql):
    """Most were refused for good, some million in a year."""
    async with querier(store) as commits:
        await commits.keep_receipts([], [made.ask()])
    await sql.execute("set enable_seqscan = off")
    plan = await sql.fetch("explain " + RECORDS["open_asks"].replace("$1", "'{jd}'").replace("$2", "1000"))
    assert any("unanswered_open" in row[0] for row in plan)
