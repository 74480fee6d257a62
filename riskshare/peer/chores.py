"""The background work of a peer. Each chore is repeated for as long as the peer runs, and survives its failures.

publish     bring this member's lists to date (one process of the member at a time)
lead        wait for the lock of the one process that publishes and grows the log, and do so while it holds
sequence    make what is kept part of this member's log (in the process that leads)
finalize    have its newest checkpoint cosigned by the other members (in the process that leads)
account     see that the others account for what concerns us (in the process that leads)
compare     compare with the others what each holds of everybody (in the process that leads)
judge       look which members' logs have stalled, so that they are not answered
load        take up what was published, by this process or another
subscribe   follow the others' lists
usage       sum up what members had evaluated, by all processes of this one
gauges      freshness of lists, registry and cache, for the metrics
watch       own lists: what stands, what waits, who is behind, for the metrics
settle      make durable what no check has made durable yet
resend      send unanswered asks again
adopt       ask owners for receipts that a crash made us forget
registry    look for a new version, at the other members and in the local file
sweep       delete copied files that nothing needs
tidy        forget what has had its time
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from riskshare.errors import RiskshareError
from riskshare.logs import get_log

FAILED_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
PERSISTENT: Final = 3
"""A chore that failed so often in a row, over seconds, is a matter for people: the health of the peer says so."""


@dataclass(slots=True)
class Chore:
    """A named step, repeated every `seconds`, and at once when `wake` is called."""

    name: str
    step: Callable[[], Awaitable[object]]
    seconds: float
    failures: int = 0
    """How often it failed in a row."""
    trouble: str = ""
    """Why it failed last, if it has not succeeded since."""
    _awake: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Do it now, or right after the time that is under way."""
        self._awake.set()

    async def run(self) -> None:
        """Repeat for ever. A failure is logged, once as long as it stays the same, and tried again soon."""
        pause = FAILED_PAUSE
        last = ""
        while True:
            self._awake.clear()
            try:
                await self.step()
            except Exception as error:  # noqa: BLE001 - a supervisor
                last = self._failed(error, last)
                await asyncio.sleep(FAILED_PAUSE)
                await self._rest(pause - FAILED_PAUSE)
                pause = min(LONGEST_PAUSE, 2 * pause)
                continue
            if last:
                get_log().info("chore_recovered", name=self.name)
            pause, last = FAILED_PAUSE, ""
            self.failures, self.trouble = 0, ""
            await self._rest(self.seconds)

    async def _rest(self, seconds: float) -> None:
        """Wait so long, or until there is something to do: trouble with one thing must not hold up another."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._awake.wait()

    def _failed(self, error: Exception, last: str) -> str:
        """Note and log a failure; `last` is the code of the one before, "" if there was none."""
        self.failures += 1
        if isinstance(error, RiskshareError):
            code, self.trouble = error.code, error.message
            if code != last:
                get_log().warning("chore_failed", name=self.name, code=code, detail=error.message)
        else:
            # A fault of ours must not end the chore for good: it is logged with its places in the code.
            code, self.trouble = type(error).__name__, "an unexpected error; the log has it."
            get_log().exception("chore_broken", name=self.name)
        return code


class Chores:
    """All chores of a peer, as tasks."""

    def __init__(self) -> None:
        self._chores: list[Chore] = []
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, chore: Chore) -> None:
        """Begin one."""
        self._chores.append(chore)
        self._tasks.append(asyncio.ensure_future(chore.run()))

    def watch(self, chore: Chore) -> None:
        """Tell the trouble of a chore too that somebody else runs."""
        self._chores.append(chore)

    def troubles(self) -> list[str]:
        """Of each chore that keeps failing, its name and why."""
        return [f"{each.name}: {each.trouble}" for each in self._chores if each.failures >= PERSISTENT]

    async def stop(self) -> None:
        """End them all, and wait until they have."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
