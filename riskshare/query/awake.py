"""Keeping the event loop awake while one payment waits for one owner.

A process that sleeps until an answer comes is slow to go on: its core has been given away or put to rest meanwhile, and
its caches are cold. That costs a check five to ten percent of its time. So while *one* check is under
way, and waits for *one* owner, the loop turns without sleeping: it polls, as networks do that are after microseconds.

It is bounded. With a second check under way the loop has work anyway; with several owners awaited, those that run on
this machine need its cores. A wait that outlasts `most` is one of a far owner, where a wake-up is nothing:
the loop sleeps, and the next checks do not try again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, final

REST: Final = 64
"""Checks that are let sleep after one that waited too long."""


@final
class Awake:
    """Polls for at most `most` seconds in each check; 0: never."""

    __slots__ = ("_monotonic", "_most", "_rest", "_turning", "_under_way", "_until")

    def __init__(self, most: float, monotonic: Callable[[], float]) -> None:
        self._most = most
        self._monotonic = monotonic
        self._under_way = 0
        self._until = 0.0
        self._turning = False
        self._rest = 0

    @property
    def polling(self) -> bool:
        """Whether the loop is being kept from sleeping."""
        return self._turning

    def begin(self, owners: int) -> None:
        """Begin to wait in a check, for so many owners; every call is followed by one of `end`."""
        self._under_way += 1
        if self._under_way > 1 or owners != 1 or not self._most:
            return
        if self._rest:
            self._rest -= 1
            return
        self._until = self._monotonic() + self._most
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    def end(self) -> None:
        """End it: the check is answered, or given up."""
        self._under_way -= 1

    def _turn(self) -> None:
        # What is scheduled while the loop runs makes its next look at the sockets one that does not wait.
        if self._under_way == 1:
            if self._monotonic() < self._until:
                asyncio.get_running_loop().call_soon(self._turn)
                return
            self._rest = REST
        self._turning = False
