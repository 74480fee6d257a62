"""How fresh the lists of others are, for the metrics."""

from __future__ import annotations

from datetime import datetime

from riskshare.peer.parts import Shared
from riskshare.sharing.mirror import Mirror


def gauge_lists(shared: Shared, mirror: Mirror, moment: datetime) -> None:
    """Set the gauges of all lists that are followed, as they stand at a moment."""
    metrics, trusted = shared.metrics, mirror.trusted
    for gauge in (metrics.list_refused, metrics.list_current, metrics.list_age, metrics.list_expires):
        gauge.clear()  # or a list that is gone would look as it did last
    metrics.mirror_bytes_limit.set(shared.config.subscribe.owner_gib * 2**30)
    for owner in shared.directory.other_owners():
        metrics.mirror_bytes.labels(owner).set(mirror.bytes_of(owner))
        for each in mirror.standing(owner, moment).lists:
            name = each.entry.list_name
            if each.refusal is not None:
                since = each.refusal.since.timestamp()
                metrics.list_refused.labels(name, each.refusal.code).set(since)
            metrics.list_current.labels(name).set(each.status.value == "current")
            if each.held is not None:
                confirmed = trusted.confirmed_at(name, each.held.snapshot.epoch)
                if confirmed is not None:
                    metrics.list_age.labels(name).set((moment - confirmed).total_seconds())
                metrics.list_expires.labels(name).set(each.held.snapshot.expires_at.timestamp())
