"""What counterparties have accounted for, and what they have not: on a real PostgreSQL."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from riskshare.ledger.kept import AccountRow, AwaitedRow, FollowedRow
from riskshare.ledger.merkle import EMPTY_ROOT
from riskshare.store.exchange import OwnerCommits, QuerierCommits
from riskshare.store.queries import load

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
SOON = timedelta(seconds=1)
BEFORE = NOW - 100 * SOON  # so that only what is awaited is counted


@asynccontextmanager
async def committing(kind, store):
    commits = kind(store)
    yield commits
    await commits.close()


async def keep(store, sql, *receipts, at=NOW):
    """Keep receipts as an owner, as if at that time."""
    async with committing(OwnerCommits, store) as commits:
        for kept in receipts:
            await commits.keep(kept)
            await sql.execute("update receipts set recorded_at = $2 where id = $1", kept.receipt.id, at)


def account(kept, index=0):
    return AccountRow("receipt", kept.receipt.id, index, bytes(16), b"", 10, NOW)


async def test_what_is_not_accounted_for_in_time_is_missing(store, made, sql):
    one, other, late = made.receipt(), made.receipt(counterparty="ccb"), made.receipt()
    await keep(store, sql, one, other)
    await keep(store, sql, late, at=NOW + SOON)
    assert await store.accounts.missing(BEFORE) == {}
    await store.accounts.settle(NOW + SOON, [])
    assert await store.accounts.missing(BEFORE) == {"jd": 1, "ccb": 1}
    await store.accounts.settle(NOW + 2 * SOON, [])
    assert await store.accounts.missing(BEFORE) == {"jd": 2, "ccb": 1}


async def test_what_was_accounted_for_in_time_is_never_missing(store, made, sql):
    kept = made.receipt()
    await keep(store, sql, kept)
    await store.ledger.account("jd", [account(kept)])
    await store.accounts.settle(NOW + SOON, [])
    assert await store.accounts.missing(BEFORE) == {}


async def test_what_is_accounted_for_at_last_is_missing_no_longer(store, made, sql):
    kept = made.receipt()
    await keep(store, sql, kept)
    await store.accounts.settle(NOW + SOON, [])
    await store.ledger.account("ccb", [account(kept)])
    await store.accounts.settle(NOW + SOON, [])
    assert await store.accounts.missing(BEFORE) == {"jd": 1}
    await store.ledger.account("jd", [account(kept)])
    await store.accounts.settle(NOW + SOON, [])
    assert await store.accounts.missing(BEFORE) == {}


async def test_a_receipt_of_the_querier_is_awaited_too(store, made, sql):
    async with committing(QuerierCommits, store) as commits:
        await commits.keep_receipts([made.receipt("querier")])
    await sql.execute("update receipts set recorded_at = $1", NOW)
    await store.accounts.settle(NOW + SOON, [])
    assert await store.accounts.missing(BEFORE) == {"jd": 1}


@pytest.mark.parametrize("most", [1, 2, 3, 100])
async def test_many_receipts_are_looked_at_in_turn_and_none_is_passed_over(store, made, sql, most):
    for number in range(10):
        await keep(store, sql, made.receipt(), made.receipt(), at=NOW + number * SOON)
    for _ in range(30):
        await store.accounts.settle(NOW + 100 * SOON, [], most=most)
    assert await store.accounts.missing(BEFORE) == {"jd": 20}


async def test_a_clock_that_goes_back_changes_nothing(store, made, sql):
    await keep(store, sql, made.receipt())
    await store.accounts.settle(NOW + SOON, [])
    await store.accounts.settle(NOW - SOON, [])
    assert await store.accounts.missing(BEFORE) == {"jd": 1}


async def test_a_clock_that_was_ahead_hides_nothing_that_is_kept_afterwards(store, made, sql):
    await store.accounts.settle(NOW + 3600 * SOON, [])
    await store.accounts.settle(NOW, [])
    await keep(store, sql, made.receipt(), at=NOW + SOON)
    await store.accounts.settle(NOW + 2 * SOON, [])
    assert await store.accounts.missing(BEFORE) == {"jd": 1}


async def test_what_nobody_looked_at_yet_is_counted_too(store, made, sql):
    """As in a member whose peer does not run."""
    one, known, late = (made.receipt() for _ in range(3))
    await keep(store, sql, one, known, made.receipt(counterparty="ccb"))
    await keep(store, sql, late, at=NOW + 10 * SOON)
    await store.ledger.account("jd", [account(known)])
    assert await store.accounts.missing(NOW + SOON) == {"jd": 1, "ccb": 1}
    await store.accounts.settle(NOW + SOON, [])
    assert await store.accounts.missing(NOW + SOON) == {"jd": 1, "ccb": 1}
    assert await store.accounts.missing(NOW + 11 * SOON) == {"jd": 2, "ccb": 1}
    await store.accounts.settle(NOW - SOON, [])  # the mark went back: nothing is counted twice
    assert await store.accounts.missing(NOW + 11 * SOON) == {"jd": 2, "ccb": 1}


@pytest.mark.parametrize("settled", [True, False])
async def test_what_is_missing_counts_for_as_long_as_the_audit_window(store, made, sql, settled):
    day = timedelta(days=1)
    await keep(store, sql, made.receipt(), at=NOW - 181 * day)
    await keep(store, sql, made.receipt(), at=NOW - 179 * day)
    await keep(store, sql, made.receipt(), at=NOW - 2 * day)
    if settled:
        await store.accounts.settle(NOW, [])
        assert await store.accounts.missing(NOW) == {"jd": 3}
    assert await store.accounts.missing(NOW, NOW - 180 * day) == {"jd": 2}
    await store.accounts.settle(NOW, [], oldest=NOW - 180 * day)
    assert len(await store.accounts.take_missing("jd", 10)) == 2
    assert await store.accounts.missing(NOW) == {"jd": 2}


async def test_one_call_says_whether_more_wait(store, made, sql):
    for number in range(3):
        await keep(store, sql, made.receipt(), at=NOW + number * SOON)
    assert await store.accounts.settle(NOW + 10 * SOON, [], most=2)
    assert not await store.accounts.settle(NOW + 10 * SOON, [], most=2)
    assert await store.accounts.missing(BEFORE) == {"jd": 3}


async def test_counting_what_is_missing_reads_only_what_nobody_looked_at(store, sql):
    """However many receipts and accounts there are: those before the mark are not read, the others found one by one."""
    await sql.execute(
        "insert into receipts (side, counterparty, batch, id, epoch, count, receipt, elements, evaluated, proof, salt,"
        " adopted, recorded_at) select 'owner', 'jd', gen_random_uuid(), sha256(n::text::bytea), '', 1, '', '', '', '',"
        " '', false, $1::timestamptz - n * interval '1 second' from generate_series(1, 20000) n",
        NOW,
    )
    await sql.execute(
        "insert into ledger_accounts select 'jd', 'receipt', id, seq, decode(repeat('00', 16), 'hex'), '', seq + 1, now()"
        " from receipts"
    )
    await sql.execute("insert into ledger_awaited_upto (upto) values ($1)", NOW - 5 * SOON)
    await sql.execute("analyze receipts; analyze ledger_accounts")
    query = load("accounts.sql")["count_missing"]
    for placeholder, when in (("$1", NOW - timedelta(days=180)), ("$2", NOW)):
        query = query.replace(placeholder, f"timestamptz '{when.isoformat()}'")
    plan = [row[0] for row in await sql.fetch("explain (analyze, costs off, timing off) " + query)]
    [receipts] = [line for line in plan if " on receipts r" in line]
    [accounts] = [line for line in plan if " on ledger_accounts a" in line]
    assert "receipts_by_time" in receipts
    assert "ledger_accounts_pkey" in accounts
    assert "loops=5)" in accounts


async def test_statements_are_missing_for_as_long_as_they_are_held(store):
    one, other = (AwaitedRow("jd", "snapshot", bytes([number]) * 32, NOW) for number in (1, 2))
    await store.accounts.settle(NOW, [one, other])
    assert await store.accounts.missing(BEFORE) == {"jd": 2}
    await store.accounts.settle(NOW, [other])
    assert await store.accounts.missing(BEFORE) == {"jd": 1}
    await store.ledger.account("jd", [AccountRow("snapshot", other.source, 0, bytes(16), b"", 1, NOW)])
    await store.accounts.settle(NOW, [other])
    assert await store.accounts.missing(BEFORE) == {}


async def test_what_is_missing_is_given_in_turn(store, made, sql):
    receipts = [made.receipt() for _ in range(5)]
    await keep(store, sql, *receipts, made.receipt(counterparty="ccb"))
    await store.accounts.settle(NOW + SOON, [])
    given = [await store.accounts.take_missing("jd", 2) for _ in range(5)]
    assert sorted(place for turn in given for place in turn) == sorted(
        2 * [("receipt", kept.receipt.id) for kept in receipts]
    )
    assert await store.accounts.take_missing("unionpay", 2) == []


async def test_when_a_member_was_last_answered(store, made, sql):
    assert await store.accounts.last_answered("jd") is None
    await keep(store, sql, made.receipt())
    await keep(store, sql, made.receipt(), at=NOW + SOON)
    await keep(store, sql, made.receipt(counterparty="ccb"), at=NOW + 2 * SOON)
    async with committing(QuerierCommits, store) as commits:
        await commits.keep_receipts([made.receipt("querier")])
    assert await store.accounts.last_answered("jd") == NOW + SOON


async def test_receipts_are_found_by_id_and_counterparty(store, made, sql):
    one, other = made.receipt(), made.receipt(counterparty="ccb")
    await keep(store, sql, one, other)
    ids = [one.receipt.id, other.receipt.id, bytes(32)]
    assert await store.accounts.receipts_of("jd", ids) == {one.receipt.id: one.receipt.to_bytes()}


async def test_an_entry_is_found_by_its_source_and_shown_to_its_counterparty_alone(store, made, sql):
    kept = made.receipt()
    await keep(store, sql, kept)
    assert await store.accounts.entry_for("jd", kept.receipt.id) is None
    await sql.execute("insert into ledger_entries (index, kind, source) values (7, 'receipt', $1)", kept.receipt.id)
    row = await store.accounts.entry_for("jd", kept.receipt.id)
    assert (row.index, row.kind, row.source, row.salt) == (7, "receipt", kept.receipt.id, kept.salt)
    assert await store.accounts.entry_for("ccb", kept.receipt.id) is None


async def test_who_has_stalled_is_known_to_every_process(store):
    row = FollowedRow("jd", 0, 0, EMPTY_ROOT, b"", 5, NOW, NOW)
    await store.ledger.follow(row)
    assert await store.accounts.stalled() == []
    assert await store.ledger.followed("jd") == row
    await store.ledger.follow(replace(row, stalled_since=NOW))
    assert await store.accounts.stalled() == ["jd"]
    await store.ledger.follow(replace(row, latest_size=6, waiting_since=None))
    assert await store.accounts.stalled() == []
