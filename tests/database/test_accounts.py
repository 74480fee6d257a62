"""What counterparties have accounted for, and what they have not: on a real PostgreSQL."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from riskshare.ledger.kept import AccountRow, AwaitedRow, FollowedRow
from riskshare.ledger.merkle import EMPTY_ROOT
from riskshare.store.exchange import OwnerCommits, QuerierCommits

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
SOON = timedelta(seconds=1)


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
    assert await store.accounts.missing() == {}
    await store.accounts.settle(NOW + SOON, [])
    assert await store.accounts.missing() == {"jd": 1, "ccb": 1}
    await store.accounts.settle(NOW + 2 * SOON, [])
    assert await store.accounts.missing() == {"jd": 2, "ccb": 1}


async def test_what_was_accounted_for_in_time_is_never_missing(store, made, sql):
    kept = made.receipt()
    await keep(store, sql, kept)
    await store.ledger.account("jd", [account(kept)])
    await store.accounts.settle(NOW + SOON, [])
    assert await store.accounts.missing() == {}


async def test_what_is_accounted_for_at_last_is_missing_no_longer(store, made, sql):
    kept = made.receipt()
    await keep(store, sql, kept)
    await store.accounts.settle(NOW + SOON, [])
    await store.ledger.account("ccb", [account(kept)])
    await store.accounts.settle(NOW + SOON, [])
    assert await store.accounts.missing() == {"jd": 1}
    await store.ledger.account("jd", [account(kept)])
    await store.accounts.settle(NOW + SOON, [])
    assert await store.accounts.missing() == {}


async def test_a_receipt_of_the_querier_is_awaited_too(store, made, sql):
    async with committing(QuerierCommits, store) as commits:
        await commits.keep_receipts([made.receipt("querier")])
    await sql.execute("update receipts set recorded_at = $1", NOW)
    await store.accounts.settle(NOW + SOON, [])
    assert await store.accounts.missing() == {"jd": 1}


@pytest.mark.parametrize("most", [1, 2, 3, 100])
async def test_many_receipts_are_looked_at_in_turn_and_none_is_passed_over(store, made, sql, most):
    for number in range(10):
        await keep(store, sql, made.receipt(), made.receipt(), at=NOW + number * SOON)
    for _ in range(30):
        await store.accounts.settle(NOW + 100 * SOON, [], most=most)
    assert await store.accounts.missing() == {"jd": 20}


async def test_a_clock_that_goes_back_changes_nothing(store, made, sql):
    await keep(store, sql, made.receipt())
    await store.accounts.settle(NOW + SOON, [])
    await store.accounts.settle(NOW - SOON, [])
    assert await store.accounts.missing() == {"jd": 1}


async def test_statements_are_missing_for_as_long_as_they_are_held(store):
    one, other = (AwaitedRow("jd", "snapshot", bytes([number]) * 32, NOW) for number in (1, 2))
    await store.accounts.settle(NOW, [one, other])
    assert await store.accounts.missing() == {"jd": 2}
    await store.accounts.settle(NOW, [other])
    assert await store.accounts.missing() == {"jd": 1}
    await store.ledger.account("jd", [AccountRow("snapshot", other.source, 0, bytes(16), b"", 1, NOW)])
    await store.accounts.settle(NOW, [other])
    assert await store.accounts.missing() == {}


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
