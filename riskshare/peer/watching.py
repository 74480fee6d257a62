"""What an operator of own lists wants to be woken for: as metrics, from what the database says of them."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from riskshare.metrics import Metrics
from riskshare.sharing.kept import WatchedList
from riskshare.sharing.staged import ImportRow
from riskshare.store.store import Store

WATCH_SECONDS: Final = 10.0


async def gauge_own_lists(store: Store, metrics: Metrics, member: str, moment: datetime) -> None:
    """Set the gauges of this member's own lists, as they stand at a moment. Raises StoreError."""
    lists = await store.history.watched(moment)
    last = {each.list_id: await store.imports.imports_of(each.list_id, 1) for each in lists}
    for gauge in (metrics.own_entries, metrics.own_published, metrics.own_waiting, metrics.own_behind):
        gauge.clear()
    metrics.own_import.clear()
    metrics.own_import_bad.clear()
    for each in lists:
        _gauge(metrics, f"{member}/{each.name}", each, last[each.list_id], moment)


def _gauge(metrics: Metrics, name: str, each: WatchedList, last: list[ImportRow], moment: datetime) -> None:
    metrics.own_entries.labels(name).set(each.entries)
    metrics.own_behind.labels(name).set(each.behind)
    since = each.waiting_since
    metrics.own_waiting.labels(name).set(0 if since is None else max(0.0, (moment - since).total_seconds()))
    if each.published_at is not None:
        metrics.own_published.labels(name).set(each.published_at.timestamp())
    for row in last:
        metrics.own_import.labels(name, row.standing).set(row.changed_at.timestamp())
        metrics.own_import_bad.labels(name).set(sum(row.bad.values()))
