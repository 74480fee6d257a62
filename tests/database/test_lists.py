from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from riskshare.errors import InputError, StoreError
from riskshare.sharing.kept import ImportCounts, ListCounts, Resealed
from riskshare.store.entries import SQL
from tests.simulator import intake
from tests.simulator.changing import DISPUTE, IMPORT, RESTORE, withdrawal

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)


def handle(who):
    return hashlib.sha256(who.encode()).digest()


def reseal(of, entry, state):
    """What a peer's data key would do: the additional data name list and state."""
    return Resealed(f"{state}:{of.name}".encode(), entry.record + b" ")


def counts(**given):
    return ImportCounts(
        **{"new": 0, "replaced": 0, "relisted": 0, "same": 0, "disputed": 0, "barred": 0, "repeated": 0} | given
    )


@pytest.fixture
async def mine(store):
    return await store.lists.create_list("fraud", "transaction_fraud", "default")


async def bring(store, of, entries, replace=None):
    return await intake.bring(store, of.id, entries, IMPORT, replace=replace)


async def seen(store, of, after=0, **options):
    async with store.lists.changes(of.id, after, **options) as changes:
        return changes.upto, [entry async for batch in changes for entry in batch]


# --- lists


async def test_a_list_is_created_once(store, mine):
    assert await store.lists.list_named("fraud") == mine
    assert (mine.name, mine.category, mine.keyset, mine.changed) == ("fraud", "transaction_fraud", "default", 0)
    with pytest.raises(InputError) as refused:
        await store.lists.create_list("fraud", "telecom_fraud", "default")
    assert refused.value.code == "list_exists"
    assert await store.lists.list_named("other") is None
    other = await store.lists.create_list("another", "telecom_fraud", "granted")
    assert await store.lists.lists() == [other, mine]


async def test_counts_of_an_empty_list(store, mine):
    assert await store.lists.counts(mine.id) == ListCounts(0, 0, 0, 0)


# --- files that are imported


async def test_an_import_adds_entries_that_are_active(store, mine, made):
    entries = [made.entry("a"), made.entry("b")]
    assert await bring(store, mine, entries) == counts(new=2)
    upto, stand = await seen(store, mine)
    assert upto == 1
    for brought, one in zip(sorted(entries, key=lambda e: e.id), sorted(stand, key=lambda e: e.id), strict=True):
        assert (one.id, one.handle, one.sealed, one.record) == (
            brought.id,
            brought.handle,
            brought.sealed,
            brought.record,
        )
        assert (one.state, one.reason, one.changed) == ("active", None, 1)
        assert (one.valid_from, one.valid_until) == (brought.valid_from, brought.valid_until)
    assert await store.lists.counts(mine.id) == ListCounts(2, 0, 0, 2)


async def test_the_same_file_again_changes_nothing(store, mine, made):
    await bring(store, mine, [made.entry("a"), made.entry("b")])
    assert await bring(store, mine, [made.entry("a"), made.entry("b")]) == counts(same=2)
    assert (await store.lists.list_named("fraud")).changed == 1


async def test_other_content_replaces_and_only_that_is_changed(store, mine, made):
    await bring(store, mine, [made.entry("a"), made.entry("b")])
    newer = made.entry("b", "other")
    assert await bring(store, mine, [made.entry("a"), newer, made.entry("c")]) == counts(new=1, same=1, replaced=1)
    upto, stand = await seen(store, mine, after=1)
    assert upto == 2
    assert {one.handle for one in stand} == {handle("b"), handle("c")}
    assert newer.id in {one.id for one in stand}


async def test_the_last_of_repeated_rows_counts(store, mine, made):
    last = made.entry("a", "z")
    assert await bring(store, mine, [made.entry("a"), made.entry("b"), made.entry("a", "y"), last]) == counts(
        new=2, repeated=2
    )
    _, stand = await seen(store, mine)
    assert last.id in {one.id for one in stand}


async def test_an_import_may_come_in_parts_and_is_previewed(store, mine, made):
    await bring(store, mine, [made.entry("a"), made.entry("gone")])
    async with intake.intake_of(store, mine.id) as under_way:
        await under_way.add([made.entry("a", "other")])
        await under_way.add([])
        await under_way.add([made.entry("b")])
        assert await under_way.count() == counts(new=1, replaced=1)
        assert await under_way.count(replace=True) == counts(new=1, replaced=1, withdrawn=1)
        assert await under_way.commit(IMPORT) == counts(new=1, replaced=1)
    assert await store.lists.counts(mine.id) == ListCounts(3, 0, 0, 3)


async def test_an_empty_import_is_no_change(store, mine):
    assert await bring(store, mine, []) == counts()
    assert (await store.lists.list_named("fraud")).changed == 0


async def test_an_import_that_is_the_whole_list_withdraws_the_rest(store, mine, made):
    await bring(store, mine, [made.entry(who) for who in "abc"])
    assert await bring(store, mine, [made.entry("a")], replace=("corrected", reseal)) == counts(same=1, withdrawn=2)
    _, stand = await seen(store, mine, after=1)
    assert {(one.state, one.reason, one.sealed) for one in stand} == {("withdrawn", "corrected", b"withdrawn:fraud")}
    assert await store.lists.counts(mine.id) == ListCounts(1, 0, 2, 3)
    assert await bring(store, mine, [made.entry("a")], replace=("corrected", reseal)) == counts(same=1)


async def test_a_withdrawn_entry_is_listed_again_by_an_import(store, mine, made):
    await bring(store, mine, [made.entry("a")])
    await store.lists.change_state(mine.id, [handle("a")], "withdrawn", withdrawal("corrected"), reseal)
    assert await bring(store, mine, [made.entry("a")]) == counts(relisted=1)
    assert await store.lists.counts(mine.id) == ListCounts(1, 0, 0, 1)


async def test_no_import_undoes_an_upheld_appeal_or_a_dispute(store, mine, made):
    await bring(store, mine, [made.entry("a"), made.entry("b")])
    await store.lists.change_state(mine.id, [handle("a")], "withdrawn", withdrawal("appeal_upheld"), reseal)
    await store.lists.change_state(mine.id, [handle("b")], "disputed", DISPUTE, reseal)
    assert await bring(store, mine, [made.entry("a", "new"), made.entry("b", "new")]) == counts(barred=1, disputed=1)
    assert await store.lists.counts(mine.id) == ListCounts(0, 1, 1, 2)


async def test_what_is_not_committed_is_not_there(store, mine, made):
    async with intake.intake_of(store, mine.id) as under_way:
        await under_way.add([made.entry("a")])
        await under_way.count()
    with suppress(RuntimeError):
        async with intake.intake_of(store, mine.id) as under_way:
            await under_way.add([made.entry("b")])
            raise RuntimeError
    assert await store.lists.counts(mine.id) == ListCounts(0, 0, 0, 0)


async def test_a_bad_row_takes_the_whole_import_with_it(store, mine, made):
    bad = made.entry("b", until=NOW - timedelta(days=9))
    with pytest.raises(StoreError) as refused:
        await bring(store, mine, [made.entry("a"), bad])
    assert refused.value.code == "store_refused"
    assert await store.lists.counts(mine.id) == ListCounts(0, 0, 0, 0)


async def test_readers_and_other_lists_do_not_wait_for_an_import(store, mine, made):
    other = await store.lists.create_list("other", "telecom_fraud", "default")
    async with intake.intake_of(store, mine.id) as under_way:
        await under_way.add([made.entry("a")])
        assert await bring(store, other, [made.entry("b")]) == counts(new=1)
        await store.lists.upsert(mine.id, [made.entry("c")], IMPORT, never_upto=0, atomic=True)
        assert await under_way.commit(IMPORT) == counts(new=1)
    assert (await store.lists.list_named("fraud")).changed == 2


async def test_a_large_import_is_one_change(store, mine, made):
    entry = made.entry("x")
    async with intake.intake_of(store, mine.id) as under_way:
        for part in range(4):
            await under_way.add([made.entry(f"{part}/{n}") for n in range(2500)])
        assert (await under_way.commit(IMPORT)).new == 10_000
    upto, stand = await seen(store, mine)
    assert ({one.changed for one in stand}, len(stand)) == ({upto}, 10_000)
    assert entry.handle not in {one.handle for one in stand}


# --- states


async def test_entries_are_withdrawn_disputed_and_restored(store, mine, made):
    await bring(store, mine, [made.entry(who) for who in "abc"])
    a, b = handle("a"), handle("b")
    assert await store.lists.change_state(mine.id, [a, b, handle("nobody")], "disputed", DISPUTE, reseal) == 2
    assert await store.lists.change_state(mine.id, [a], "disputed", DISPUTE, reseal) == 0
    assert await store.lists.change_state(mine.id, [a], "withdrawn", withdrawal("corrected"), reseal) == 1
    assert await store.lists.change_state(mine.id, [a], "disputed", DISPUTE, reseal) == 0
    assert await store.lists.counts(mine.id) == ListCounts(1, 1, 1, 3)
    assert await store.lists.change_state(mine.id, [a, b], "active", RESTORE, reseal) == 2
    _, stand = await seen(store, mine, after=3)
    assert {(one.handle, one.state, one.reason, one.sealed, one.changed) for one in stand} == {
        (one, "active", None, b"active:fraud", 4) for one in (a, b)
    }


async def test_a_withdrawal_has_a_reason_of_the_table(store, mine):
    with pytest.raises(ValueError, match="table"):
        await store.lists.change_state(mine.id, [], "withdrawn", withdrawal("because"), reseal)


async def test_a_callback_that_fails_changes_nothing(store, mine, made):
    await bring(store, mine, [made.entry("a")])

    def broken(of, entry, state):
        raise KeyError(state)

    with pytest.raises(KeyError):
        await store.lists.change_state(mine.id, [handle("a")], "withdrawn", withdrawal("corrected"), broken)
    assert await store.lists.counts(mine.id) == ListCounts(1, 0, 0, 1)


async def test_what_is_due_at_one_moment_expires_in_changes_that_hold_up_nobody_for_long(
    store, mine, made, sql, monkeypatch
):
    """All rows of a file that names no term are due at once."""
    monkeypatch.setattr("riskshare.store.lists.CHANGED_ROWS", 2)
    soon = NOW + timedelta(hours=1)
    await bring(store, mine, [made.entry(name, until=soon) for name in "abcde"] + [made.entry("f")])
    assert await store.lists.expire_due(soon, reseal) == 5
    changes = await sql.fetch("select withdrawn from list_changes where list_id = $1 order by number", mine.id)
    assert [row["withdrawn"] for row in changes] == [0, 2, 2, 1]
    assert await store.lists.counts(mine.id) == ListCounts(1, 0, 5, 6)
    assert await store.lists.expire_due(soon, reseal) == 0


async def test_whether_anything_is_due_is_seen_without_reading_a_long_list(store, mine, made, sql):
    """Another list may have many that are due: then PostgreSQL would rather read all of this one."""
    other = await store.lists.create_list("other", "telecom_fraud", "default")
    await bring(store, mine, [made.entry("a")])
    await bring(store, other, [made.entry("b", until=NOW + timedelta(hours=1))])
    copied = (
        "insert into entries (id, list_id, handle, sealed, record, content, state, valid_from, valid_until, changed)"
        " select gen_random_uuid(), list_id, sha256(n::text::bytea || handle), sealed, record, content, state,"
        " valid_from, valid_until, changed from entries, generate_series(1, $2) as n where list_id = $1"
    )
    await sql.execute(copied, mine.id, 20_000)
    await sql.execute(copied, other.id, 2_000)
    await sql.execute("analyze entries")
    plan = await sql.fetchval(
        "explain (analyze, buffers, format json) "
        + SQL["lists_with_due"].replace("$1", f"'{NOW + timedelta(hours=2)}'::timestamptz")
    )
    read = json.loads(plan)[0]["Plan"]
    assert read["Shared Hit Blocks"] + read["Shared Read Blocks"] < 40
    await sql.execute("update lists set listed = (select count(*) from entries where list_id = lists.id)")


async def test_what_is_due_expires_on_every_list(store, mine, made):
    other = await store.lists.create_list("other", "telecom_fraud", "default")
    soon = NOW + timedelta(hours=1)
    await bring(store, mine, [made.entry("a", until=soon), made.entry("b")])
    await bring(store, other, [made.entry("c", until=soon)])
    assert await store.lists.expire_due(NOW, reseal) == 0
    assert await store.lists.expire_due(soon, reseal) == 2
    assert await store.lists.expire_due(soon, reseal) == 0
    _, (expired,) = await seen(store, mine, after=1)
    assert (expired.state, expired.reason, expired.handle) == ("withdrawn", "expired", handle("a"))
    assert await store.lists.counts(other.id) == ListCounts(0, 0, 1, 1)


# --- changes


async def test_changes_are_one_consistent_view(store, mine, made):
    await bring(store, mine, [made.entry(f"{n}") for n in range(2500)])
    async with store.lists.changes(mine.id, 0) as changes:
        batches = aiter(changes)
        first = await anext(batches)
        await store.lists.change_state(
            mine.id, [handle(f"{n}") for n in range(2500)], "withdrawn", withdrawal("corrected"), reseal
        )
        rest = [one async for batch in batches for one in batch]
        assert changes.upto == 1
    assert len(first) + len(rest) == 2500
    assert {one.state for one in first + rest} == {"active"}
    upto, after = await seen(store, mine, after=1)
    assert (upto, len(after)) == (2, 2500)


async def test_what_is_listed_comes_in_the_order_of_handles_and_goes_on_behind_any(store, mine, made):
    await bring(store, mine, [made.entry(f"{n}") for n in range(2500)])
    await store.lists.change_state(
        mine.id, [handle(f"{n}") for n in range(0, 2500, 5)], "withdrawn", withdrawal("corrected"), reseal
    )
    expected = sorted(handle(f"{n}") for n in range(2500) if n % 5)
    for after, rest in [(b"", expected), (expected[700], expected[701:]), (expected[-1], [])]:
        async with store.lists.listed(mine.id, after) as listed:
            found = [one async for batch in listed for one in batch]
        assert (listed.upto, [one.handle for one in found]) == (2, rest)


async def test_an_index_gives_the_order_of_handles(store, mine, made, sql):
    """Or the first rows of some million would come after minutes."""
    await bring(store, mine, [made.entry(f"{n}") for n in range(2500)])
    await sql.execute("analyze entries")
    await sql.execute("set enable_sort = off")
    for name, after in [("listed", "'\\x80'::bytea"), ("changes", "0"), ("withdrawals", "0")]:
        query = SQL[name].replace("$1", str(mine.id)).replace("$2", after).replace("$3", "1000000")
        plan = [row[0] for row in await sql.fetch(f"explain {query}")]
        assert not any("Sort" in line and "Incremental" not in line for line in plan), plan
        assert (name == "withdrawals") == any(f"entries_{mine.id}_withdrawn" in line for line in plan), plan


async def test_withdrawals_are_those_that_somebody_decided(store, mine, made):
    await bring(store, mine, [made.entry(who) for who in "abcde"])
    for who, reason in (("c", "expired"), ("b", "appeal_upheld"), ("d", "replaced"), ("a", "corrected")):
        await store.lists.change_state(mine.id, [handle(who)], "withdrawn", withdrawal(reason), reseal)
    for after, expected in ((0, ["b", "a"]), (3, ["a"])):
        async with store.lists.withdrawals(mine.id, after) as changes:
            found = [entry.handle async for batch in changes for entry in batch]
        assert (found, changes.upto) == ([handle(who) for who in expected], 5)


async def test_changes_of_a_list_that_is_not_there(store):
    with pytest.raises(InputError):
        async with store.lists.changes(4711, 0):
            pass


async def test_no_identifier_is_in_any_table(store, mine, made, sql):
    """What went in as a name comes out of no column: the store only ever saw handles and sealed bytes."""
    await bring(store, mine, [made.entry("phone:+4915112345678")])
    tables = await sql.fetch(
        "select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace"
    )
    for row in tables:
        text = await sql.fetchval(f"select coalesce(string_agg(t::text, ' '), '') from {row['relname']} t")
        assert "4915112345678" not in text
        assert b"4915112345678".hex() not in text


async def test_handles_are_exactly_32_bytes(sql, store, mine, made):
    await bring(store, mine, [made.entry("a")])
    with pytest.raises(asyncpg.CheckViolationError, match="entries_handle_check"):
        await sql.execute(
            "insert into entries values (gen_random_uuid(), $1, 'short', '', '', 'c', 'active', null, now(),"
            " now() + interval '1 day', 1)",
            mine.id,
        )
