"""Every write to a list leaves who, why and when, and what the entries were before."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import textwrap
from datetime import UTC, datetime, timedelta

import pytest

from riskshare.errors import InputError
from riskshare.sharing.kept import Change, Resealed
from tests.simulator import intake
from tests.simulator.changing import DISPUTE, IMPORT, RESTORE, withdrawal

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
COUNTED = ("added", "replaced", "relisted", "withdrawn", "disputed", "restored")


def handle(who):
    return hashlib.sha256(who.encode()).digest()


def reseal(of, entry, state):
    return Resealed(f"{state}:{of.name}".encode(), entry.record + b" ")


@pytest.fixture
async def mine(store):
    return await store.lists.create_list("fraud", "transaction_fraud", "default")


async def bring(store, of, entries, change=IMPORT, **options):
    return await intake.bring(store, of.id, entries, change, **options)


async def changes(sql):
    rows = await sql.fetch("select * from list_changes order by list_id, number")
    return [
        (row["number"], row["author"], row["action"], row["reason"], {name: row[name] for name in COUNTED if row[name]})
        for row in rows
    ]


async def versions(sql, who):
    return await sql.fetch("select * from entry_versions where handle = $1 order by superseded_by", handle(who))


async def test_each_kind_of_change_is_noted_with_its_counts(store, mine, made, sql):
    soon = NOW + timedelta(hours=1)
    await bring(store, mine, [made.entry("a"), made.entry("b"), made.entry("c", until=soon)])
    await store.lists.change_state(mine.id, [handle("a")], "disputed", DISPUTE, reseal)
    await store.lists.change_state(mine.id, [handle("a")], "active", RESTORE, reseal)
    await store.lists.change_state(mine.id, [handle("a")], "withdrawn", withdrawal("corrected"), reseal)
    await bring(store, mine, [made.entry("a"), made.entry("b", "other"), made.entry("d")])
    await store.lists.expire_due(soon, reseal)
    await bring(store, mine, [made.entry("d")], Change("ops", "replace", "new file"), replace=("replaced", reseal))
    assert await changes(sql) == [
        (1, "ops", "import", "reported", {"added": 3}),
        (2, "ops", "dispute", "says it is not theirs", {"disputed": 1}),
        (3, "ops", "restore", "looked into", {"restored": 1}),
        (4, "ops", "withdraw", "corrected", {"withdrawn": 1}),
        (5, "ops", "import", "reported", {"added": 1, "replaced": 1, "relisted": 1}),
        (6, "peer", "expire", "expired", {"withdrawn": 1}),
        (7, "ops", "replace", "new file", {"withdrawn": 2}),
    ]
    assert (await store.lists.list_named("fraud")).changed == 7


async def test_a_first_import_leaves_no_former_versions(store, mine, made, sql):
    await bring(store, mine, [made.entry("a"), made.entry("b")])
    assert await sql.fetchval("select count(*) from entry_versions") == 0


async def test_what_changes_nothing_is_no_change(store, mine, made, sql):
    await bring(store, mine, [made.entry("a")])
    await bring(store, mine, [made.entry("a")])
    await store.lists.change_state(mine.id, [handle("nobody")], "disputed", DISPUTE, reseal)
    assert len(await changes(sql)) == 1


async def test_the_former_row_is_kept_as_it_was(store, mine, made, sql):
    first, second = made.entry("a"), made.entry("a", "other")
    await bring(store, mine, [first])
    await store.lists.change_state(mine.id, [handle("a")], "disputed", DISPUTE, reseal)
    await store.lists.change_state(mine.id, [handle("a")], "withdrawn", withdrawal("appeal_upheld"), reseal)
    await store.lists.change_state(mine.id, [handle("a")], "active", RESTORE, reseal)
    await bring(store, mine, [second])
    was = await versions(sql, "a")
    assert [(row["superseded_by"], row["changed"], row["state"], row["reason"], row["sealed"]) for row in was] == [
        (2, 1, "active", None, first.sealed),
        (3, 2, "disputed", None, b"disputed:fraud"),
        (4, 3, "withdrawn", "appeal_upheld", b"withdrawn:fraud"),
        (5, 4, "active", None, b"active:fraud"),
    ]
    assert {row["id"] for row in was} == {first.id}
    assert was[0]["record"] == first.record
    assert {(row["valid_from"], row["valid_until"]) for row in was} == {(first.valid_from, first.valid_until)}


async def test_what_a_whole_file_withdraws_and_what_expires_is_kept_too(store, mine, made, sql):
    soon = NOW + timedelta(hours=1)
    await bring(store, mine, [made.entry("a"), made.entry("b"), made.entry("c", until=soon)])
    await store.lists.expire_due(soon, reseal)
    await bring(store, mine, [made.entry("a")], Change("ops", "replace", ""), replace=("replaced", reseal))
    assert [(row["superseded_by"], row["state"]) for row in await versions(sql, "b")] == [(3, "active")]
    assert [(row["superseded_by"], row["state"]) for row in await versions(sql, "c")] == [(2, "active")]
    assert await versions(sql, "a") == []


async def test_a_change_that_fails_half_way_leaves_no_trace(store, mine, made, sql):
    """The callback fails at an entry of the second batch: the first one was written already."""
    await bring(store, mine, [made.entry(f"{n}") for n in range(1500)])
    left = iter(range(1200))

    def broken(of, entry, state):
        if next(left, None) is None:
            raise KeyError(state)
        return reseal(of, entry, state)

    everybody = [handle(f"{n}") for n in range(1500)]
    with pytest.raises(KeyError):
        await store.lists.change_state(mine.id, everybody, "withdrawn", withdrawal("corrected"), broken)
    assert len(await changes(sql)) == 1
    assert await sql.fetchval("select count(*) from entry_versions") == 0
    assert await sql.fetchval("select count(*) from entries where state = 'active'") == 1500


KILLED = textwrap.dedent("""
    import asyncio, hashlib, os, signal, sys
    from riskshare.sharing.kept import Change, Resealed
    from riskshare.store.store import Store

    async def main(dsn, list_id, at):
        store = await Store.open(dsn)
        handles = [hashlib.sha256(str(n).encode()).digest() for n in range(1500)]
        done = iter(range(1, 1501))
        def reseal(of, entry, state):
            if next(done) == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return Resealed(b"x", entry.record)
        await store.lists.change_state(list_id, handles, "disputed", Change("ops", "dispute", ""), reseal)

    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
""")


@pytest.mark.parametrize("at", [1, 999, 1001, 1500])
async def test_a_process_killed_while_it_changes_entries_leaves_no_trace(store, made, sql, dsn, at):
    mine = await store.lists.create_list("fraud", "transaction_fraud", "default")
    await bring(store, mine, [made.entry(f"{n}") for n in range(1500)])
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, dsn, str(mine.id), str(at))
    assert await process.wait() == -9
    # A change after it shows that its lock is gone and its number was not used.
    await store.lists.change_state(mine.id, [handle("0")], "withdrawn", withdrawal("corrected"), reseal)
    assert [number for number, *_ in await changes(sql)] == [1, 2]
    assert await sql.fetchval("select count(*) from entries where state = 'disputed'") == 0
    assert await sql.fetchval("select count(*) from entry_versions") == 1


async def test_changes_at_once_have_numbers_without_gaps(store, mine, made, sql):
    await bring(store, mine, [made.entry(f"{n}") for n in range(20)])
    await asyncio.gather(
        *(
            store.lists.change_state(mine.id, [handle(f"{n}")], "withdrawn", withdrawal("corrected"), reseal)
            for n in range(20)
        )
    )
    assert [number for number, *_ in await changes(sql)] == list(range(1, 22))
    assert await sql.fetchval("select count(distinct superseded_by) from entry_versions") == 20


async def test_an_import_held_against_an_older_never_list_is_refused(store, mine, made, sql):
    await sql.execute(
        "insert into never_rules (kind, type, pattern, note, author) values ('prefix', 'phone', '+86400', '', 'ops')"
    )
    with pytest.raises(InputError) as refused:
        await bring(store, mine, [made.entry("a")])
    assert refused.value.code == "never_changed"
    assert await changes(sql) == []
    assert (await bring(store, mine, [made.entry("a")], never_upto=1)).new == 1


async def test_entries_are_found_by_their_case(store, mine, made, sql):
    await bring(store, mine, [made.entry("a", case="2026-1"), made.entry("b")])
    of_case = await sql.fetch("select handle from entries where case_handle = $1", handle("case 2026-1"))
    assert [row["handle"] for row in of_case] == [handle("a")]
    await bring(store, mine, [made.entry("a", "other")])
    assert await sql.fetch("select handle from entries where case_handle is not null") == []


@pytest.mark.parametrize(
    ("author", "reason", "code"),
    [
        ("", "x", "author_invalid"),
        ("a" * 101, "x", "author_invalid"),
        ("two\nlines", "x", "author_invalid"),
        ("ops", "é" * 101, "reason_invalid"),
        ("ops", "tab\there", "reason_invalid"),
        ("ops", "\x00", "reason_invalid"),
    ],
)
def test_a_change_with_words_that_cannot_be_kept_is_refused(author, reason, code):
    with pytest.raises(InputError) as refused:
        Change(author, "dispute", reason)
    assert refused.value.code == code


def test_the_longest_words_are_kept():
    assert Change("a" * 100, "dispute", "é" * 100).author == "a" * 100
