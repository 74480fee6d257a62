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
