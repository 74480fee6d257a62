"""The quota of a day over a real store: what one process answered counts in all, and after every restart."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from riskshare.errors import AskRefused
from riskshare.query.quota import Limits, Quotas
from riskshare.store.exchange import OwnerCommits

EPOCH = b"\x01" * 32
LIMITS = Limits(10**6, 10, 15)


async def load(store, quotas, day):
    quotas.load(day, await store.records.usage(day), await store.records.epoch_usage([EPOCH]))


async def answer(store, made, quotas, count, day):
    quotas.take("icbc", EPOCH, count, LIMITS, now=0.0, day=day)
    commits = OwnerCommits(store)
    await commits.keep(made.receipt(counterparty="icbc", count=count, epoch=EPOCH))
    await commits.close()


async def test_what_one_process_answered_counts_in_the_other_and_after_a_restart(store, made):
    day = datetime.now(UTC).date()
    first, second = Quotas(), Quotas()
    await answer(store, made, first, 6, day)
    await load(store, second, day)
    with pytest.raises(AskRefused, match="today"):
        await answer(store, made, second, 5, day)
    await answer(store, made, second, 4, day)
    for quotas in (first, Quotas()):
        await load(store, quotas, day)
        with pytest.raises(AskRefused, match="today"):
            await answer(store, made, quotas, 1, day)


async def test_the_sum_of_an_epoch_outlives_the_day(store, made):
    day = datetime.now(UTC).date()
    await answer(store, made, Quotas(), 10, day)
    restarted = Quotas()
    await load(store, restarted, day + timedelta(days=1))
    with pytest.raises(AskRefused, match="key epoch"):
        restarted.take("icbc", EPOCH, 6, LIMITS, now=0.0, day=day + timedelta(days=1))
    restarted.take("icbc", EPOCH, 5, LIMITS, now=0.0, day=day + timedelta(days=1))


async def test_a_querier_s_own_receipts_count_against_nobody(store, made):
    day = datetime.now(UTC).date()
    commits = OwnerCommits(store)
    await commits.keep(made.receipt(counterparty="icbc", count=3, epoch=EPOCH))
    await commits.close()
    await store.pool.execute("update receipts set side = 'querier'")
    assert await store.records.usage(day) == {}
    assert await store.records.epoch_usage([EPOCH]) == {}
