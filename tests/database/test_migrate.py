from __future__ import annotations

import asyncio
import sys

import asyncpg
import pytest

from riskshare.errors import ConfigError, StoreError
from riskshare.store import migrate as module
from riskshare.store.connection import LOCK_CLASS, MIGRATION_LOCK, Target
from riskshare.store.migrate import Migration, migrate, migrations
from riskshare.store.queries import load, sql_text
from riskshare.store.store import Store

STRUCTURE = {
    "columns": """
        select c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attstorage,
               a.attidentity, a.attgenerated, pg_get_expr(d.adbin, d.adrelid)
        from pg_attribute a
        join pg_class c on c.oid = a.attrelid and c.relnamespace = 'public'::regnamespace
        left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where a.attnum > 0 order by 1, 2""",
    "relations": """
        select relname, relkind, reloptions, relpersistence from pg_class
        where relnamespace = 'public'::regnamespace order by 1""",
    "indexes": "select indexname, indexdef from pg_indexes where schemaname = 'public' order by 1",
    "constraints": """
        select conrelid::regclass::text, conname, contype, pg_get_constraintdef(oid) from pg_constraint
        where connamespace = 'public'::regnamespace and contype <> 'n' -- attnotnull: their names say nothing
        order by 1, 2""",
    "types": "select typname, typtype from pg_type where typnamespace = 'public'::regnamespace order by 1",
    "functions": "select proname, prosrc from pg_proc where pronamespace = 'public'::regnamespace order by 1",
    "triggers": "select tgname, pg_get_triggerdef(oid) from pg_trigger where not tgisinternal order by 1",
}


async def structure(dsn):
    connection = await asyncpg.connect(dsn)
    found = {name: [tuple(row) for row in await connection.fetch(sql)] for name, sql in STRUCTURE.items()}
    await connection.close()
    return found


async def versions(dsn):
    connection = await asyncpg.connect(dsn)
    found = [row["version"] for row in await connection.fetch("select version from migrations order by version")]
    await connection.close()
    return found


async def test_the_migrations_lead_to_the_schema(server, empty_dsn):
    await migrate(Target(empty_dsn))
    whole = await server.database("whole_schema")
    connection = await asyncpg.connect(whole)
    await connection.execute(sql_text("schema.sql"))
    await connection.close()
    migrated, written = await structure(empty_dsn), await structure(whole)
    assert migrated["columns"]
    assert migrated == written


async def test_a_database_is_migrated_once(empty_dsn):
    assert await migrate(Target(empty_dsn)) == len(migrations())
    assert await migrate(Target(empty_dsn)) == 0
    assert await versions(empty_dsn) == [step.version for step in migrations()]


async def test_processes_that_start_at_once_migrate_once(empty_dsn):
    program = "import asyncio, sys; from riskshare.store.migrate import migrate; from riskshare.store.connection import Target; print(asyncio.run(migrate(Target(sys.argv[1]))))"
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", program, empty_dsn, stdout=asyncio.subprocess.PIPE)
        for _ in range(3)
    ]
    printed = [(await one.communicate())[0].strip() for one in processes]
    assert sorted(map(int, printed)) == [0, 0, len(migrations())]


async def test_peers_of_one_process_migrate_once(empty_dsn):
    done = await asyncio.gather(*(migrate(Target(empty_dsn)) for _ in range(5)))
    assert sorted(done) == [0, 0, 0, 0, len(migrations())]


async def test_a_database_of_a_newer_riskshare_is_refused(empty_dsn):
    further = [*migrations(), Migration(len(migrations()) + 1, "9999_later", "create table later ()")]
    assert await migrate(Target(empty_dsn), further) == len(further)
    with pytest.raises(StoreError, match="upgrade") as refused:
        await Store.open(empty_dsn)
    assert refused.value.code == "store_newer"


async def test_a_step_that_fails_is_undone_and_the_ones_before_it_stay(empty_dsn):
    steps = [
        Migration(1, "0001_a", migrations()[0].sql),
        Migration(2, "0002_b", "create table half (); select 1 / 0"),
    ]
    with pytest.raises(StoreError) as refused:
        await migrate(Target(empty_dsn), steps)
    assert refused.value.code == "store_refused"
    assert await versions(empty_dsn) == [1]
    assert "half" not in {row[0] for row in (await structure(empty_dsn))["relations"]}
    steps[1] = Migration(2, "0002_b", "create table half ()")
    assert await migrate(Target(empty_dsn), steps) == 1


async def test_who_waits_too_long_for_another_migration_is_told(empty_dsn, monkeypatch):
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.2)
    holder = await asyncpg.connect(empty_dsn)
    await holder.execute("select pg_advisory_lock($1, $2)", LOCK_CLASS, MIGRATION_LOCK)
    with pytest.raises(StoreError) as refused:
        await migrate(Target(empty_dsn))
    assert refused.value.code == "store_busy"
    await holder.close()
    assert await migrate(Target(empty_dsn)) == len(migrations())


def test_every_statement_has_a_name_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr("riskshare.store.queries.files", lambda _: tmp_path)
    folder = tmp_path / "sql"
    folder.mkdir()
    (folder / "good.sql").write_text("-- a remark\n\n-- name: one\nselect 1\n\n-- name: two\nselect 2\n")
    assert load("good.sql") == {"one": "select 1", "two": "select 2"}
    for text in ("-- name: one\nselect 1\n-- name: one\nselect 2\n", "select 0\n-- name: one\nselect 1\n"):
        (folder / "bad.sql").write_text(text)
        with pytest.raises(ValueError, match=r"bad\.sql"):
            load("bad.sql")


@pytest.mark.parametrize(
    "file",
    [
        "exchange",
        "records",
        "lists",
        "publications",
        "trust",
        "idempotency",
        "ledger",
        "audits",
        "settlements",
        "appeals",
        "history",
    ],
)
async def test_every_statement_is_understood_by_postgresql(sql, file):
    statements = load(f"{file}.sql")
    assert statements
    if file == "lists":
        await sql.execute("begin; create temporary table incoming (like import_rows_pattern)")
        await sql.execute(statements["settle_import"].replace("$1", "1").replace("$2", "'{}'"))
    for text in statements.values():
        await sql.prepare(text)


# --- opening


@pytest.mark.parametrize("dsn", ["postgresql://[", "mysql://x", "postgresql://u@h:port/d"])
async def test_a_dsn_that_cannot_be_read_is_the_operators(dsn):
    with pytest.raises(ConfigError) as refused:
        await Store.open(dsn)
    assert refused.value.__cause__ is None


async def test_a_database_that_is_not_there_is_named_as_such(server):
    with pytest.raises(StoreError, match="DSN"):
        await Store.open(server.dsn("nowhere"))


async def test_nobody_at_the_address(tmp_path):
    with pytest.raises(StoreError, match="away") as refused:
        await Store.open(f"postgresql:///x?host={tmp_path}&user=u&password=hidden")
    assert "hidden" not in str(refused.value)


def test_a_target_hides_its_dsn():
    assert "hidden" not in repr(Target("postgresql://u:hidden@h/d"))


async def test_the_store_is_healthy(store):
    await store.healthy()


async def test_a_statement_that_takes_too_long_is_ended(dsn):
    store = await Store.open(dsn, statement_seconds=1)
    connection = await store.target.connect()
    with pytest.raises(asyncpg.QueryCanceledError):
        await connection.execute("select pg_sleep(30)")
    connection.terminate()
    await store.close()
