"""Subscribing: follow every owner's catalogue and lists, for as long as the peer runs.

For each owner one task reads the catalogue every few seconds and fetches epoch statements that it has
not seen. For each of its lists, in each epoch that is answered for, another holds a long poll, so that a change
arrives as soon as it is published. What is believed is decided by `TrustedSnapshots`, what is kept by `Mirror`.

Whatever fails is told to the observer and tried again after growing pauses; one owner's trouble touches no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, TypeVar

from riskshare.errors import PeerDown, RiskshareError
from riskshare.sharing.copies import Rules
from riskshare.sharing.mirror import Mirror, Observer, Place, Source

FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 15.0

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
        before = trusted.catalogue(owner)
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
        if before is None or before.lists != catalogue.lists:
            self.mirror.generation += 1
        await self.mirror.save(owner, "")
        if trouble is not None:
            raise trouble

    async def _read_epochs(self, owner: str, digests: set[bytes]) -> RiskshareError | None:
        """Get the epoch statements that are not known; return the first trouble, which concerns one keyset only."""
        trouble: RiskshareError | None = None
        for digest in sorted(digests):
            if self.mirror.trusted.epoch(digest) is None:
                try:
                    data = await self._source.epoch(owner, digest)
                    self.mirror.trusted.accept_epoch(owner, data, self._now())
                except RiskshareError as error:
                    trouble = trouble or error
        return trouble

    async def _follow_list(self, place: Place) -> None:
        list_name, epoch = place
        owner = _owner(place)

        async def poll() -> None:
            following = self.mirror.following(list_name, epoch)
            known = following.digest if following else None
            data = await self._source.snapshot(owner, list_name, epoch, known, self._rules.hold_seconds)
            self.unreachable.discard(owner)
            if data is not None:
                news = await self.mirror.take(owner, place, data)
            else:
                news = known is not None
                if news:
                    await self.mirror.unchanged(owner, list_name, epoch)
            if not news:
                await asyncio.sleep(FIRST_PAUSE)  # an owner that does not hold polls must not keep us busy

        await self._again_and_again(owner, list_name, poll)

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
