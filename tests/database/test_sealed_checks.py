"""Sealed checks by period, own entries in every state, and upheld appeals, in PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from riskshare.query.message import new_batch
from riskshare.store.exchange import QuerierCommits

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


async def keep(store, *checks):
    commits = QuerierCommits(store)
    try:
        for check in checks:
            await commits.keep(check, [])
    finally:
        await commits.close()


def check(made, answered_at, *, began=None):
    began = began or answered_at - timedelta(seconds=1)
    return made.check(id=new_batch(int(began.timestamp() * 1000), made.bytes(10)), answered_at=answered_at)


async def test_checks_are_given_by_period_in_the_order_of_ids_and_page_by_page(store, made):
    inside = [check(made, NOW + timedelta(seconds=number)) for number in range(5)]
    edge = check(made, NOW, began=NOW - timedelta(seconds=4))
    outside = [check(made, NOW - timedelta(milliseconds=1)), check(made, NOW + HOUR)]
    await keep(store, *inside, edge, *outside)
    wanted = sorted([*inside, edge], key=lambda one: one.id)
    assert await store.records.count_checks(NOW, NOW + HOUR) == 6
    found, after = [], None
    while page := await store.records.checks_between(NOW, NOW + HOUR, after, 4):
        found += page
        after = page[-1][0]
    assert found == [(one.id, one.hour_key, one.record) for one in wanted]


async def test_any_period_can_be_asked_for(store, made):
    await keep(store, check(made, NOW))
    beginning, end = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
    assert await store.records.count_checks(beginning, end) == 1
    assert len(await store.records.checks_between(beginning, end, None, 10)) == 1
    assert await store.records.checks_between(NOW + HOUR, end, None, 10) == []


async def test_upheld_appeals_are_kept_once_and_by_when_they_were_seen(store):
    labels = [bytes([number]) * 16 for number in range(3)]
    assert await store.appeals.keep("jd/fraud", b"e" * 32, labels[:2]) == 2
    first = await store.appeals.upheld(NOW - HOUR)
    assert await store.appeals.keep("jd/fraud", b"e" * 32, labels) == 1
    second = await store.appeals.upheld(NOW - HOUR)
    assert second.keys() == {("jd/fraud", b"e" * 32, label) for label in labels}
    assert all(second[place] == seen for place, seen in first.items())
    assert await store.appeals.upheld(datetime(9000, 1, 1, tzinfo=UTC)) == {}
