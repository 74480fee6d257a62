"""Whether what was changed has been published: by which peer, in which version."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from riskshare.cli.acting import Own
from riskshare.cli.screen import Screen
from riskshare.encoding import format_time
from riskshare.peer.opening import now
from riskshare.sharing.kept import EpochRow, ListRow, SnapshotRow
from riskshare.store.leader import is_led
from riskshare.store.store import Store

AGAIN_SECONDS: Final = 0.6
"""Longer than a peer that lost its connection takes to lead again."""

WAIT_SECONDS: Final = 15.0
PAUSE_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Published:
    """The newest snapshot of a list under one epoch."""

    epoch: EpochRow
    snapshot: SnapshotRow

    def to_json(self) -> dict[str, Any]:
        """For a program."""
        return {
            "epoch": self.epoch.number,
            "version": self.snapshot.version,
            "issued_at": format_time(self.snapshot.issued_at),
            "expires_at": format_time(self.snapshot.expires_at),
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether a peer publishes for this member, and the snapshot that holds the change, if there is one yet."""

    running: bool
    published: Published | None

    def to_json(self) -> dict[str, Any]:
        """For a program."""
        return {"peer_running": self.running, "published": self.published.to_json() if self.published else None}

    def tell(self, screen: Screen, list_name: str) -> None:
        """Say when others see it."""
        if self.published is not None:
            snapshot = self.published.snapshot
            screen.say(f"Published: version {snapshot.version}. Connected subscribers have it within seconds.", "green")
        elif self.running:
            screen.say(f"The running peer is publishing it; riskshare list status {list_name} shows when it is out.")
        else:
            screen.say("It will be published when the peer starts: riskshare serve.", "yellow")


async def newest(store: Store, of: ListRow, at: datetime) -> list[Published]:
    """The newest snapshot of a list under each epoch that is in service."""
    found = []
    for epoch in await store.publications.epochs(of.keyset):
        if at < epoch.until:
            snapshot = await store.publications.latest_snapshot(of.id, epoch.digest)
            if snapshot is not None:
                found.append(Published(epoch, snapshot))
    return found


async def await_publication(own: Own, name: str, screen: Screen, *, withdrawals: bool = False) -> Outcome:
    """Wait until a running peer has published all that a list holds now, at most 15 seconds.

    `withdrawals`: only those count, which do not wait for a larger change that is being computed.
    """
    of = await own.list_named(name)
    if not await peer_runs(own.store):
        return Outcome(running=False, published=None)
    with screen.err.status("The peer is publishing …"):
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                return Outcome(running=True, published=await _until_published(own.store, of, withdrawals=withdrawals))
        except TimeoutError:
            return Outcome(running=True, published=None)


async def peer_runs(store: Store) -> bool:
    """Tell whether some process leads for this database: who does publishes what others change."""
    if await is_led(store):
        return True
    await asyncio.sleep(AGAIN_SECONDS)
    return await is_led(store)


async def _until_published(store: Store, of: ListRow, *, withdrawals: bool) -> Published:
    while True:
        found = await newest(store, of, now())
        # One that shows a change is enough to say where; what is gone must be gone from each.
        out = [one for one in found if (one.snapshot.withdrawn if withdrawals else one.snapshot.changed) >= of.changed]
        if out and (len(out) == len(found) or not withdrawals):
            return out[-1]
        await asyncio.sleep(PAUSE_SECONDS)
