"""The table of a list's entries: whoever brings the first ones, it is like all others."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from riskshare.errors import InputError, StoreError
from riskshare.sharing.kept import Change, ListCounts, Resealed
from riskshare.store import entry_tables
from riskshare.store.connection import Target
from riskshare.store.entries import SQL
from riskshare.store.migrate import migrate, migrations
from riskshare.store.store import Store
from tests.database.conftest import handle
from tests.simulator.changing import IMPORT, withdrawal
from tests.simulator.intake import bring, intake_of

UPSERT = Change("ops", "upsert", "reported")
INHERITED = "select inhrelid::regclass::text as name from pg_inherits where inhparent = 'entries'::regclass order by 1"


def reseal(of, entry, state):
    return Resealed(entry.sealed, entry.record)


@pytest.fixture
async def mine(store):
    return await store.lists.create_list("fraud", "transaction_fraud", "default")


async def tables(sql):
    return [row["name"] for row in await sql.fetch(INHERITED)]


async def shape(sql, table):
    """What a table is made of, names apart."""
    columns = """
        select attname, format_type(atttypid, atttypmod), attnotnull, attstorage, atthasdef from pg_attribute
        where attrelid = $1::text::regclass and attnum > 0 and not attisdropped order by attname"""
    checks = """
        select conname, pg_get_constraintdef(oid) from pg_constraint
        where conrelid = $1::text::regclass and contype = 'c' order by conname"""
    indexes = """
        select indisunique, indisprimary, substring(pg_get_indexdef(indexrelid) from 'USING.*') from pg_index
        where indrelid = $1::text::regclass order by 3, 1"""
    return {
        "columns": [tuple(row) for row in await sql.fetch(columns, table)],
        "checks": [tuple(row) for row in await sql.fetch(checks, table)],
        "indexes": [tuple(row) for row in await sql.fetch(indexes, table)],
    }


@pytest.fixture(params=["import", "ordered", "repeated", "upsert"])
async def begun(store, mine, made, monkeypatch, request):
    """A list whose first entries, a, b and c, came in one way or another."""
    how = request.param
    rows = [made.entry(who) for who in "cab"]
    if how == "upsert":
        await store.lists.upsert(mine.id, rows, UPSERT, never_upto=0, atomic=False)
        return mine
    if how == "ordered":
        monkeypatch.setattr(entry_tables, "ORDERED_ROWS", 2)
    if how == "repeated":
        rows += [made.entry("a", "newer")]
    counts = await bring(store, mine.id, rows, IMPORT)
    assert (counts.new, counts.changes, counts.repeated) == (3, 3, 1 if how == "repeated" else 0)
    return mine


async def test_it_is_made_as_the_whole_is(store, sql, begun):
    mine = begun
    assert await tables(sql) == [f"entries_{mine.id}"]
    whole, part = await shape(sql, "entries"), await shape(sql, f"entries_{mine.id}")
    assert part == whole
    assert len(part["indexes"]) == 5
    attached = "select count(*) from pg_inherits where inhrelid in (select indexrelid from pg_index where indrelid = $1::text::regclass)"
    assert await sql.fetchval(attached, f"entries_{mine.id}") == 5
    row = await sql.fetchrow("select reloptions, relpersistence from pg_class where relname = $1", f"entries_{mine.id}")
    assert tuple(row) == (None, b"p")
    assert await sql.fetchval("select count(*) from pg_class where relname ~ 'import_rows_[0-9]'") == 0
    found = await sql.fetch("select * from entries order by handle")
    assert [row["handle"] for row in found] == sorted(map(handle, "abc"))
    assert {(row["list_id"], row["state"], row["reason"]) for row in found} == {(mine.id, "active", None)}
    numbers = {row["changed"] for row in found}
    assert numbers == {(await store.lists.list_named("fraud")).changed}


async def test_what_comes_later_goes_into_it(store, sql, begun, made):
    mine = begun
    counts = await bring(store, mine.id, [made.entry("a", "other"), made.entry("d")], IMPORT)
    assert (counts.new, counts.replaced) == (1, 1)
    await store.lists.upsert(mine.id, [made.entry("e")], UPSERT, never_upto=0, atomic=False)
    await store.lists.change_state(mine.id, [handle("b")], "withdrawn", withdrawal("corrected"), reseal)
    counts = await store.lists.counts(mine.id)
    assert (counts.active, counts.withdrawn) == (4, 1)
    assert await tables(sql) == [f"entries_{mine.id}"]
    with pytest.raises(asyncpg.CheckViolationError, match="entries_handle_check"):
        await sql.execute("update entries set handle = 'short'")


async def test_rows_lie_where_the_import_wrote_them(store, sql, mine, made):
    async with intake_of(store, mine.id) as under_way:
        await under_way.add([made.entry(who) for who in "cab"])
        number = (await store.imports.imports_of(mine.id))[0].number
        written = await sql.fetchval("select pg_relation_filenode($1::text::regclass)", f"import_rows_{number}")
        await under_way.commit(IMPORT)
    assert await sql.fetchval("select pg_relation_filenode($1::text::regclass)", f"entries_{mine.id}") == written


async def test_a_long_import_is_brought_into_the_order_of_its_handles(store, sql, mine, made, monkeypatch):
    monkeypatch.setattr(entry_tables, "ORDERED_ROWS", 99)
    await bring(store, mine.id, [made.entry(f"{n}") for n in range(100)], IMPORT)
    found = [row["handle"] for row in await sql.fetch("select handle from entries order by ctid")]
    assert found == sorted(handle(f"{n}") for n in range(100))


@pytest.mark.parametrize("most", [1_000, 2])
async def test_of_rows_with_one_handle_the_last_counts(store, mine, made, monkeypatch, most):
    monkeypatch.setattr(entry_tables, "ORDERED_ROWS", most)
    rows = [
        made.entry("a", "1"),
        made.entry("b", "2"),
        made.entry("a", "3"),
        made.entry("b", "4"),
        made.entry("a", "5"),
    ]
    counts = await bring(store, mine.id, rows, IMPORT)
    assert (counts.new, counts.repeated) == (2, 3)
    async with store.lists.changes(mine.id, 0) as changes:
        assert {entry.id async for batch in changes for entry in batch} == {rows[3].id, rows[4].id}


async def test_an_import_of_no_row_makes_none(store, sql, mine, made):
    async with intake_of(store, mine.id) as under_way:
        counts = await under_way.commit(IMPORT)
    assert (counts.changes, counts.repeated) == (0, 0)
    assert await tables(sql) == []
    await bring(store, mine.id, [made.entry("a")], IMPORT)
    assert await store.lists.counts(mine.id) == ListCounts(1, 0, 0, 1)


async def test_an_upsert_that_is_refused_makes_none(store, sql, mine, made):
    rows = [made.entry("a"), made.entry("b", until=datetime(2000, 1, 1, tzinfo=UTC))]
    with pytest.raises(StoreError):
        await store.lists.upsert(mine.id, rows, UPSERT, never_upto=0, atomic=True)
    assert await tables(sql) == []


async def test_rows_that_the_table_would_refuse_are_refused(store, sql, mine, made):
    """What was attached is held against the same rules as what is written."""
    entry = made.entry("a", until=datetime(2000, 1, 1, tzinfo=UTC))
    with pytest.raises(StoreError) as refused:
        await bring(store, mine.id, [entry], IMPORT)
    assert refused.value.code == "store_refused"
    assert await tables(sql) == []


async def test_what_was_refused_at_the_end_can_be_done_again(store, sql, mine, made, monkeypatch):
    """All of it is undone, the name of the table too."""

    async def refuse(*_):
        raise InputError("no", code="never_changed")

    async with intake_of(store, mine.id) as under_way:
        await under_way.add([made.entry(who) for who in "aba"])
        with monkeypatch.context() as patch:
            patch.setattr("riskshare.store.applying.conclude", refuse)
            with pytest.raises(InputError):
                await under_way.commit(IMPORT)
        assert await tables(sql) == []
        counts = await under_way.commit(IMPORT)
    assert (counts.new, counts.repeated) == (2, 1)


async def test_another_data_key_takes_nothing_over(dsn, store, mine, made):
    mine_key = os.urandom(32)
    await store.data_keys.first(mine_key)
    stale = await Store.open(dsn, pool_size=1, data_key=os.urandom(32))
    with pytest.raises(StoreError) as refused:
        await bring(stale, mine.id, [made.entry("a")], IMPORT)
    assert refused.value.code == "other_data_key"
    await stale.close()
    named = await Store.open(dsn, pool_size=1, data_key=mine_key)
    await bring(named, mine.id, [made.entry("a")], IMPORT)
    await named.close()


async def test_first_imports_hold_up_nobody_else(dsn, store, sql, mine, made):
    """While one is attached and not committed, others read and write; and another first import waits for it only."""
    other, third = [await store.lists.create_list(name, "telecom_fraud", "default") for name in ("other", "third")]
    await bring(store, other.id, [made.entry("a"), made.entry("b")], IMPORT)
    holder = await asyncpg.connect(dsn)
    reader = await asyncpg.connect(dsn)
    reading = reader.transaction(isolation="repeatable_read")
    await reading.start()
    assert await reader.fetchval("select count(*) from entries") == 2
    held = holder.transaction()
    await held.start()
    await entry_tables.make_table(holder, mine.id)
    assert len(await store.lists.entries_of([handle("a")])) == 1
    await store.lists.upsert(other.id, [made.entry("c")], UPSERT, never_upto=0, atomic=False)
    await store.lists.change_state(other.id, [handle("b")], "withdrawn", withdrawal("corrected"), reseal)
    waiting = asyncio.create_task(bring(store, third.id, [made.entry("d")], IMPORT))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    await held.rollback()
    assert (await waiting).new == 1
    assert await reader.fetchval("select count(*) from entries") == 2
    await reading.rollback()
    for connection in (holder, reader):
        await connection.close()
    assert await tables(sql) == [f"entries_{other.id}", f"entries_{third.id}"]


async def view_of(lists, kind, of):
    """A view that is open, and how to read it."""
    context = getattr(lists, kind)(of.id, b"" if kind in ("listed", "sealed") else 0)
    view = await context.__aenter__()

    async def read():
        rows = view.batches() if kind == "sealed" else view
        found = [row async for batch in rows for row in (batch[1] if kind == "sealed" else batch)]
        await context.__aexit__(None, None, None)
        return view.upto, len(found)

    return read


@pytest.mark.parametrize("kind", ["changes", "listed", "sealed"])
async def test_a_view_of_before_a_first_import_shows_nothing_of_it(store, mine, made, kind):
    """PostgreSQL shows rows that are attached, if they were written before a transaction began that is open still."""
    async with intake_of(store, mine.id) as under_way:
        await under_way.add([made.entry(f"{n}") for n in range(50)])
        early = await view_of(store.lists, kind, mine)
        await under_way.add([made.entry(f"{n}") for n in range(50, 80)])
        late = await view_of(store.lists, kind, mine)
        await under_way.commit(IMPORT)
    behind = await view_of(store.lists, kind, mine)
    assert [await early(), await late()] == [(0, 0), (0, 0)]
    upto, found = await behind()
    assert (upto > 0, found) == (True, 80)


async def test_a_first_import_that_waits_for_its_list_holds_up_no_other(dsn, store, mine, made, monkeypatch):
    monkeypatch.setattr("riskshare.store.imports.FEW_ROWS", 0)
    other = await store.lists.create_list("other", "telecom_fraud", "default")
    holder = await asyncpg.connect(dsn)
    held = holder.transaction()
    await held.start()
    await holder.execute("select 1 from lists where id = $1 for update", mine.id)
    importing = asyncio.create_task(bring(store, mine.id, [made.entry("a")], IMPORT))
    waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    async with asyncio.timeout(20):
        while not await store.pool.fetchval(waits):  # noqa: ASYNC110 - PostgreSQL tells nobody
            await asyncio.sleep(0.01)
        await store.lists.upsert(other.id, [made.entry("b")], UPSERT, never_upto=0, atomic=False)
    assert not importing.done()
    await held.rollback()
    await holder.close()
    assert (await importing).new == 1
    assert await tables(store.pool) == [f"entries_{mine.id}", f"entries_{other.id}"]


async def test_an_upsert_that_cannot_have_a_table_in_time_says_so(dsn, sql, made):
    store = await Store.open(dsn, statement_seconds=1)
    of = await store.lists.create_list("fraud", "telecom_fraud", "default")
    async with sql.transaction():
        await sql.execute("lock table entries in share update exclusive mode")
        with pytest.raises(StoreError) as refused:
            await store.lists.upsert(of.id, [made.entry("a")], UPSERT, never_upto=0, atomic=False)
    assert refused.value.code == "list_busy"
    assert (await store.lists.upsert(of.id, [made.entry("a")], UPSERT, never_upto=0, atomic=False)) is not None
    await store.close()


async def test_many_are_looked_for_by_their_handles_right_behind_a_first_import(store, sql, mine, made):
    await bring(store, mine.id, [made.entry(f"{n}") for n in range(20_000)], IMPORT)
    for name in ("live_handles", "standing"):
        handles = [handle(f"{n}") for n in range(500)]
        plan = [row[0][:80] for row in await sql.fetch("explain " + SQL[name], mine.id, handles)]
        assert any("Index Cond:" in line and "handle = ANY" in line for line in plan), plan


async def test_a_table_that_somebody_has_emptied_is_used(store, sql, mine, made):
    await bring(store, mine.id, [made.entry("a")], IMPORT)
    await sql.execute("delete from entries")
    await sql.execute("update lists set listed = 0")
    await bring(store, mine.id, [made.entry("b")], IMPORT)
    await store.lists.upsert(mine.id, [made.entry("c")], UPSERT, never_upto=0, atomic=False)
    assert (await store.lists.counts(mine.id)).active == 2


# --- a database of before


@pytest.fixture
async def former(empty_dsn):
    """Three lists: two with entries, one without."""
    connection = await asyncpg.connect(empty_dsn)
    await migrate(Target(empty_dsn), migrations()[:17])
    for name in "abc":
        await connection.execute("insert into lists (name, category, keyset) values ($1, 'telecom_fraud', 'k')", name)
    until = datetime.now(UTC) + timedelta(days=9)
    rows = "insert into entries values (gen_random_uuid(), $1, $2, '', '', 'c', 'active', null, now(), $3, 1)"
    for list_id, who in ((1, "x"), (1, "y"), (3, "x")):
        await connection.execute(rows, list_id, handle(who), until)
    await connection.execute("update lists set changed = 1, listed = case id when 1 then 2 when 3 then 1 else 0 end")
    yield empty_dsn, connection
    await connection.close()


async def test_entries_of_before_stay_where_they_lie(former):
    dsn, sql = former
    lay = await sql.fetchval("select pg_relation_filenode('entries')")
    before = await sql.fetch("select * from entries order by list_id, handle")
    assert await migrate(Target(dsn)) == 1
    assert await sql.fetch("select * from entries order by list_id, handle") == before
    assert await tables(sql) == ["entries_former"]
    assert await sql.fetchval("select pg_relation_filenode('entries_former')") == lay
    assert await shape(sql, "entries_former") == await shape(sql, "entries")


async def test_lists_of_before_go_on(former, made):
    dsn, sql = former
    store = await Store.open(dsn)
    counts = await bring(store, 1, [made.entry("x", "other"), made.entry("z")], IMPORT)
    assert (counts.new, counts.replaced) == (1, 1)
    await store.lists.upsert(3, [made.entry("w")], UPSERT, never_upto=0, atomic=False)
    await store.lists.change_state(1, [handle("y")], "withdrawn", withdrawal("corrected"), reseal)
    assert (await bring(store, 2, [made.entry("x")], IMPORT)).new == 1
    found = [await store.lists.counts(number) for number in (1, 2, 3)]
    assert [(one.active, one.withdrawn) for one in found] == [(2, 1), (1, 0), (2, 0)]
    await store.close()
    assert await tables(sql) == ["entries_2", "entries_former"]


async def test_an_entry_whose_list_is_gone_keeps_no_peer_from_starting(former):
    dsn, sql = former
    await sql.execute("update entries set list_id = 99 where list_id = 3")
    await sql.execute("update lists set listed = 0 where id = 3")
    await (await Store.open(dsn)).close()
    assert await sql.fetchval("select count(*) from entries") == 3
