"""Subscribing: follow every owner's catalogue and lists, for as long as the peer runs.

For each owner one task reads the catalogue every few seconds and, each time, the statements of the epochs that it
names or that are not over: an emergency end has the name of the epoch that it ends, and may concern the old epoch of
a change-over, which no catalogue names. So an end takes effect here with the next look at the catalogue. For each of
the owner's lists, in each epoch that is answered for, another task holds a long poll, so that a change arrives as soon
as it is published. What is believed is decided by `TrustedSnapshots`, what is kept by `Mirror`.

Whoever was away catches up first: after a start, a failure or a halt of this process the next poll is not held, and
until it has been answered nothing is confirmed that was not confirmed before.

Whatever fails is told to the observer and tried again after growing pauses; one owner's trouble touches no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from riskshare.errors import PeerDown, PeerRefused, RiskshareError, SnapshotError
from riskshare.sharing.copies import Rules
from riskshare.sharing.mirror import Mirror, Observer, Place, Source

FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 15.0
LATE: Final = timedelta(seconds=10)
"""An answer that has been on its way for so much longer than it was held may be of a time before this process was
halted, as with its machine: it confirms nothing."""

EPOCHS_AT_ONCE: Final = 8
"""Epoch statements that are read from one owner at the same time."""

_Key = TypeVar("_Key")
_Tasks = dict[_Key, asyncio.Task[None]]


class Subscriber:
    """Follows all owners that `owners` names, asked anew at each catalogue round."""

    def __init__(
        self,
        *,
        mirror: Mirror,
        owners: Callable[[], Sequence[str]],
        source: Source,
        rules: Rules,
        observer: Observer,
        now: Callable[[], datetime],
        jitter: Callable[[], float],
    ) -> None:
        self.mirror = mirror
        self.unreachable: set[str] = set()
        """Owners to whom the last connection failed."""
        self._owners = owners
        self._source = source
        self._rules = rules
        self._observer = observer
        self._now = now
        self._jitter = jitter
        self._following_owners: _Tasks[str] = {}
        self._following_lists: _Tasks[Place] = {}
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Follow until cancelled."""
        try:
            while True:
                _keep(self._following_owners, set(self._owners()), self._follow_owner)
                for place in [place for place in self._following_lists if _owner(place) not in self._following_owners]:
                    self._following_lists.pop(place).cancel()
                    self.mirror.retain(_owner(place), ())
                self._wake.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._rules.catalogue_seconds):
                        await self._wake.wait()
        finally:
            tasks = [*self._following_owners.values(), *self._following_lists.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def owners_changed(self) -> None:
        """Look at the registry's owners again, now."""
        self._wake.set()

    async def _follow_owner(self, owner: str) -> None:
        async def look() -> None:
            await self._read_catalogue(owner)
            self.unreachable.discard(owner)
            await asyncio.sleep(self._rules.catalogue_seconds)

        await self._again_and_again(owner, "", look)

    async def _read_catalogue(self, owner: str) -> None:
        """One look at an owner's catalogue: accept it, get its epochs, follow its lists."""
        trusted = self.mirror.trusted
        before, gone = trusted.catalogue(owner), trusted.gone(owner, self._now())
        data = await self._source.catalogue(owner)
        try:
            catalogue = trusted.accept_catalogue(owner, data, self._now())
            trouble = await self._read_epochs(owner, {entry.epoch for entry in catalogue if not entry.ended})
        finally:
            await self.mirror.tell_frauds()
        wanted: set[Place] = {
            (entry.list_name, epoch.digest)
            for entry in catalogue
            if not entry.ended
            for epoch in trusted.answered_epochs(owner, entry.keyset, self._now())
        }
        mine = {place: task for place, task in self._following_lists.items() if _owner(place) == owner}
        _keep(mine, wanted, self._follow_list)
        self._following_lists = {
            **{place: task for place, task in self._following_lists.items() if _owner(place) != owner},
            **mine,
        }
        self.mirror.retain(owner, wanted)
        for name in sorted(trusted.gone(owner, self._now()).keys() - gone.keys()):
            vanished = SnapshotError("The owner names a list no more that it has not ended.", code="list_gone")
            self._observer.failed(owner, name, vanished)
        going = {entry.list_name for entry in before or () if not entry.ended}
        for entry in catalogue:
            if entry.ended and entry.list_name in going:
                over = SnapshotError("The owner has ended the list, or this member's grant for it.", code="list_ended")
                self._observer.failed(owner, entry.list_name, over)
        if before is None or before.lists != catalogue.lists:
            self.mirror.generation += 1
        await self.mirror.save(owner, "")
        if trouble is not None:
            raise trouble

    async def _read_epochs(self, owner: str, named: set[bytes]) -> RiskshareError | None:
        """Read the epochs that the catalogue names, and those not over; return the first trouble, of one keyset."""
        trusted, now = self.mirror.trusted, self._now()
        known = {epoch.digest: epoch for epoch in trusted.epochs(owner)}
        wanted = sorted(digest for digest in named | known.keys() if digest not in known or now < known[digest].until)
        troubles: list[RiskshareError | None] = []
        for start in range(0, len(wanted), EPOCHS_AT_ONCE):
            several = wanted[start : start + EPOCHS_AT_ONCE]
            reads = [self._read_epoch(owner, digest, known=digest in known) for digest in several]
            troubles += await asyncio.gather(*reads)
        return next((trouble for trouble in troubles if trouble is not None), None)

    async def _read_epoch(self, owner: str, digest: bytes, *, known: bool) -> RiskshareError | None:
        try:
            data = await self._source.epoch(owner, digest)
            if self.mirror.trusted.accept_epoch(owner, data, self._now()).digest != digest:
                raise SnapshotError("The owner offered another epoch than the one asked for.", code="wrong_epoch")
        except PeerRefused as error:
            # Of a known one, the polls for its snapshots tell the same; its end may be a moment away by our clock.
            return None if known else error
        except RiskshareError as error:
            return error
        return None

    async def _follow_list(self, place: Place) -> None:
        hold = 0.0

        async def step() -> None:
            nonlocal hold
            held, hold = hold, 0.0
            hold = self._rules.hold_seconds if await self.poll(place, held) else 0.0

        await self._again_and_again(_owner(place), place[0], step)

    async def poll(self, place: Place, hold: float) -> bool:
        """Ask once for the newest snapshot of a list, held for `hold` seconds; False if the answer came too late.

        Raises:
            RiskshareError: it cannot be had, is refused, or could not be stored; see `Mirror.take`.

        """
        list_name, epoch = place
        owner = _owner(place)
        following = self.mirror.following(list_name, epoch)
        known = following.digest if following else None
        asked = self._now()
        data = await self._source.snapshot(owner, list_name, epoch, known, hold)
        self.unreachable.discard(owner)
        if self._now() - asked > timedelta(seconds=hold) + LATE:
            return False
        if data is not None:
            news = await self.mirror.take(owner, place, data)
        else:
            news = known is not None
            if news:
                await self.mirror.unchanged(owner, list_name, epoch)
        if not news:
            await asyncio.sleep(FIRST_PAUSE)  # an owner that does not hold polls must not keep us busy
        return True

    async def _again_and_again(self, owner: str, list_name: str, step: Callable[[], Awaitable[None]]) -> None:
        """Repeat a step for ever, with growing pauses after failures."""
        pause = FIRST_PAUSE
        while True:
            try:
                await step()
                pause = FIRST_PAUSE
            except RiskshareError as error:
                if isinstance(error, PeerDown):
                    self.unreachable.add(owner)
                self._observer.failed(owner, list_name, error)
                await asyncio.sleep(pause * (0.5 + self._jitter()))
                pause = min(LONGEST_PAUSE, 2 * pause)


def _owner(place: Place) -> str:
    return place[0].partition("/")[0]


def _keep(tasks: _Tasks[_Key], wanted: set[_Key], follow: Callable[[_Key], Coroutine[Any, Any, None]]) -> None:
    """End the tasks that are not wanted, start those that are missing or have died."""
    for key in tasks.keys() - wanted:
        tasks.pop(key).cancel()
    for key in wanted:
        if key not in tasks or tasks[key].done():
            tasks[key] = asyncio.get_running_loop().create_task(follow(key))
