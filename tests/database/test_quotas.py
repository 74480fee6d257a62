"""Quotas over a real store: what one process answered counts in all, and after every restart; each receipt once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from riskshare.errors import AskRefused, StoreError
from riskshare.peer.usage import SETTLED, Usage
from riskshare.query.quota import Limits, Quotas
from riskshare.sharing.kept import EpochRow
from riskshare.store.exchange import OwnerCommits
from riskshare.store.queries import load

SQL = load("records.sql")
EPOCH, NEXT = b"\x01" * 32, b"\x02" * 32
LIMITS = Limits(10**6, 10, 15)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def epoch(digest, begins):
    return EpochRow(digest, "default", 1, b"", bytes(64), bytes(16), b"", begins, begins + timedelta(days=30))


class Owner:
    """Processes of one owner, whose receipts are kept at times that the test sets."""

    def __init__(self, store, made, sql):
        self.store, self.made, self.sql = store, made, sql
        self.now = NOON
        self.bounded = True
        self.epochs = [epoch(EPOCH, NOON - timedelta(days=3))]

    def process(self):
        """The quotas of one, and what follows the receipts for it."""
        quotas = Quotas()

        async def epochs():
            return self.epochs

        usage = Usage(quotas, self.store.records, epochs=epochs, bounded=lambda: self.bounded, clock=lambda: self.now)
        return quotas, usage

    async def keep(self, count, *, ago=timedelta(0), epoch=EPOCH):
        """A receipt that some process kept a while ago."""
        commits = OwnerCommits(self.store)
        kept = self.made.receipt(counterparty="icbc", count=count, epoch=epoch)
        await commits.keep(kept)
        await commits.close()
        await self.sql.execute("update receipts set recorded_at = $1 where batch = $2", self.now - ago, kept.batch)

    def left(self, quotas, of=EPOCH):
        """How many elements the member may still have evaluated; `quota_exhausted` names what bounds it."""
        for count in range(1, 20):
            try:
                quotas.check("icbc", of, count, LIMITS, now=0.0, day=self.now.date())
            except AskRefused as refusal:
                return count - 1, "epoch" if "epoch" in refusal.message else "day"
        return 19, ""


@pytest.fixture
def owner(store, made, sql):
    return Owner(store, made, sql)


async def test_what_one_process_answered_counts_in_the_other_and_after_a_restart(owner):
    first, first_usage = owner.process()
    second, second_usage = owner.process()
    await first_usage.follow()
    await second_usage.follow()
    first.take("icbc", EPOCH, 6, LIMITS, now=0.0, day=NOON.date())
    await owner.keep(6)
    await first_usage.follow()
    await second_usage.follow()
    restarted, usage = owner.process()
    await usage.follow()
    assert [owner.left(each) for each in (first, second, restarted)] == [(4, "day")] * 3


@pytest.mark.parametrize(
    "ago", [timedelta(0), SETTLED - timedelta(seconds=1), SETTLED, timedelta(hours=11, minutes=59)]
)
async def test_all_receipts_of_the_day_count_once_however_old_they_are_and_however_often_they_are_followed(owner, ago):
    await owner.keep(3, ago=ago)
    quotas, usage = owner.process()
    for _ in range(3):
        await usage.follow()
        owner.now += timedelta(minutes=7)
    assert owner.left(quotas) == (7, "day")


async def test_what_is_settled_is_not_read_again(owner):
    """Some million receipts of the same day, every few seconds."""
    await owner.keep(3, ago=timedelta(hours=1))
    await owner.keep(2, ago=timedelta(minutes=1))
    quotas, usage = owner.process()
    await usage.follow()
    await owner.sql.execute("update receipts set count = 9 where count = 3")
    owner.now += timedelta(minutes=20)
    await owner.keep(1)
    await usage.follow()
    assert owner.left(quotas) == (4, "day")


async def test_a_new_day_begins_without_the_receipts_of_the_last(owner):
    quotas, usage = owner.process()
    await owner.keep(10)
    await usage.follow()
    assert owner.left(quotas) == (0, "day")
    owner.now += timedelta(hours=12, minutes=1)
    await owner.keep(2)
    await usage.follow()
    assert owner.left(quotas) == (3, "epoch")
    restarted, usage = owner.process()
    await usage.follow()
    assert owner.left(restarted) == (3, "epoch")


async def test_the_sum_of_an_epoch_outlives_the_day(owner):
    await owner.keep(10, ago=timedelta(days=2))
    quotas, usage = owner.process()
    await usage.follow()
    await usage.follow()
    assert owner.left(quotas) == (5, "epoch")


async def test_the_sums_of_epochs_are_read_only_if_a_quota_is_bounded_by_them(owner):
    await owner.keep(10, ago=timedelta(days=2))
    owner.bounded = False
    quotas, usage = owner.process()
    await usage.follow()
    assert owner.left(quotas) == (10, "day")
    owner.bounded = True
    await usage.follow()
    assert owner.left(quotas) == (5, "epoch")


async def test_an_epoch_that_others_have_served_for_long_counts_from_its_beginning(owner):
    quotas, usage = owner.process()
    await usage.follow()
    await owner.keep(9, ago=timedelta(days=1), epoch=NEXT)
    owner.epochs = [*owner.epochs, epoch(NEXT, NOON - timedelta(days=2))]
    await owner.keep(8, ago=timedelta(days=2))
    await usage.follow()
    assert (owner.left(quotas), owner.left(quotas, NEXT)) == ((7, "epoch"), (6, "epoch"))
    owner.epochs = owner.epochs[1:]
    await usage.follow()
    assert owner.left(quotas, NEXT) == (6, "epoch")


async def test_without_an_epoch_in_service_the_day_counts(owner):
    owner.epochs = [epoch(EPOCH, NOON - timedelta(days=60))]
    await owner.keep(4)
    quotas, usage = owner.process()
    await usage.follow()
    assert owner.left(quotas) == (6, "day")


async def test_a_querier_s_own_receipts_count_against_nobody(owner):
    await owner.keep(3)
    await owner.sql.execute("update receipts set side = 'querier'")
    quotas, usage = owner.process()
    await usage.follow()
    assert owner.left(quotas) == (10, "day")


@pytest.mark.parametrize("failing", ["usage", "epoch_usage"])
async def test_after_a_failure_nothing_is_missing_and_nothing_counts_twice(owner, monkeypatch, failing):
    await owner.keep(3, ago=timedelta(hours=1))
    await owner.keep(2)
    whole = getattr(owner.store.records, failing)
    calls = 0

    async def every_second_one(*arguments, **options):
        nonlocal calls
        calls += 1
        if calls % 2 == 0:
            raise StoreError("away")
        return await whole(*arguments, **options)

    quotas, usage = owner.process()
    monkeypatch.setattr(
        type(owner.store.records), failing, lambda _, *args, **options: every_second_one(*args, **options)
    )
    with pytest.raises(StoreError):
        await usage.follow()
    await usage.follow()
    assert owner.left(quotas) == (5, "day")


@pytest.mark.parametrize("query", ["usage", "epoch_usage"])
async def test_the_sums_are_read_from_an_index_of_their_time(sql, query):
    """There are receipts of years."""
    await sql.execute(
        "insert into receipts (side, counterparty, batch, id, epoch, count, receipt, elements, evaluated, proof, salt,"
        " adopted, recorded_at) select 'owner', 'icbc', gen_random_uuid(), '', '', 1, '', '', '', '', '', false,"
        " now() - n * interval '1 hour' from generate_series(1, 20000) as n"
    )
    await sql.execute("analyze receipts")
    statement = SQL[query].replace("$1", "now() - interval '1 day'").replace("$2", "now()").replace("$3", "'{}'")
    plan = "\n".join(row[0] for row in await sql.fetch(f"explain {statement}"))
    assert "receipts_by_time" in plan
    assert "recorded_at >=" in plan
