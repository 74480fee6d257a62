"""Work that goes on beside the passes of publishing, so that nothing waits for it.

What is quick is done where it is begun. What takes longer than `PATIENCE` goes on beside, while the passes go on with
everything else; of one place there is one work at a time. Trouble is kept until the end of all, and the place is left
alone for a while; but trouble of the store ends everything at once, for nothing can be done without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from datetime import datetime, timedelta
from typing import Any, Final, final

from riskshare.errors import RiskshareError, StoreError

PATIENCE: Final = 0.5
"""Seconds that a pass waits for a work before it leaves it to itself."""

AGAIN: Final = timedelta(seconds=30)
"""How long a place where there was trouble is left alone."""

Work = Callable[[], Coroutine[Any, Any, int]]
"""Does one thing, and gives the number of snapshots that it published. Raises RiskshareError."""


@final
class Beside:
    """The works under way."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._tasks: dict[Hashable, asyncio.Task[int]] = {}
        self._not_before: dict[Hashable, datetime] = {}
        self._stir = asyncio.Event()
        self.published = 0
        """Snapshots that were published."""
        self.trouble: RiskshareError | None = None
        """The first that there was."""

    def __bool__(self) -> bool:
        """Whether anything is under way."""
        return bool(self._tasks)

    def __contains__(self, place: object) -> bool:
        """Whether a work is under way at a place."""
        return place in self._tasks

    def stir(self) -> None:
        """End a wait: something has changed."""
        self._stir.set()

    async def begin(self, place: Hashable, work: Work, *, patience: float | None = None) -> None:
        """Begin a work, unless one is under way at this place or was in trouble there a moment ago.

        It is waited for so many seconds, `PATIENCE` unless said otherwise.

        Raises:
            StoreError: PostgreSQL is away.

        """
        if place in self._tasks or (place in self._not_before and self._now() < self._not_before[place]):
            return
        self._tasks[place] = task = asyncio.ensure_future(work())
        await asyncio.wait([task], timeout=PATIENCE if patience is None else patience)
        self._collect()

    async def wait(self, seconds: float) -> None:
        """Return when something is done or has changed, or after a while. Raises StoreError."""
        stirred = asyncio.ensure_future(self._stir.wait())
        try:
            await asyncio.wait([*self._tasks.values(), stirred], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stirred.cancel()
        self._stir.clear()
        self._collect()

    def _collect(self) -> None:
        for place, task in list(self._tasks.items()):
            if not task.done():
                continue
            del self._tasks[place]
            try:
                self.published += task.result()
            except StoreError:
                raise
            except RiskshareError as error:
                self.trouble = self.trouble or error
                self._not_before[place] = self._now() + AGAIN

    async def stop(self) -> None:
        """End all works, and wait until they have."""
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
