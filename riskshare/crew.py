"""Large batches of group operations in processes of their own, beside the event loop.

A thread that multiplies needs the interpreter's lock for a microsecond after each multiplication, and waits for it as
long as the event loop works: measured, both cores then stand still for a sixth of the time. A process has a lock of
its own. It works at a lower priority (`NICE`), so that the event loop, and the small asks that the peer evaluates
itself, go ahead.

The processes start when the first large batch comes; until they are ready, and whenever one is lost, the threads that
feed them compute in their stead. So a batch never fails for want of a process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from time import monotonic
from typing import Final, final

from riskshare.cores import CORES, Spawn
from riskshare.threads import Threads

Function = Callable[[bytes, bytes], bytes]
"""From a secret and a part (both not empty) to its result, which is not empty; at the top level of a module."""

NICE: Final = 5
"""By how much the processes are nicer than the peer (nice(2))."""

PAUSE_SECONDS: Final = 5.0
"""How long after a process was lost no other is started: what ends them all must not cost a start for each part."""

END_SECONDS: Final = 5.0
"""How long a process may take to end at its part's end before it is killed."""


def _work(connection: Connection, function: Function) -> None:
    """The life of a process: a secret and a part in, a result out, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICE)
    try:
        connection.send_bytes(b"")
        while True:
            secret, part = connection.recv_bytes(), connection.recv_bytes()
            try:
                result = function(secret, part)
            except Exception:  # noqa: BLE001 - the peer computes the part again, and meets the error itself
                result = b""
            connection.send_bytes(result)
    except (EOFError, OSError):
        return  # The peer is gone, or has closed its crew.


@final
class _Hand:
    """One process of the crew, and our end of the way to it."""

    def __init__(self, function: Function) -> None:
        self._connection, there = multiprocessing.Pipe()
        self._process = Spawn().Process(target=_work, args=(there, function), name="riskshare-crew", daemon=True)
        try:
            self._process.start()
        finally:
            there.close()  # else its end would never be seen
        self._ready = False

    def ready(self) -> bool:
        """Whether it has come up. Raises EOFError or OSError if it never will."""
        if not self._ready and self._connection.poll():
            self._connection.recv_bytes()
            self._ready = True
        return self._ready

    def compute(self, secret: bytes, part: bytes) -> bytes:
        """Its result, or b"" if it met an error. Raises EOFError or OSError if it is lost."""
        self._connection.send_bytes(secret)
        self._connection.send_bytes(part)
        return self._connection.recv_bytes()

    def end(self) -> None:
        """Close the way to it, and wait until it has ended."""
        self._connection.close()
        self._process.join(END_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()


@final
class Crew:
    """Processes, one for each core, that apply one function to the parts of large batches."""

    def __init__(self, function: Function, count: int = CORES) -> None:
        self._function = function
        self._threads = Threads(count)
        self._free: deque[_Hand] = deque()
        self._none_before = 0.0

    async def spread(self, secret: bytes, data: bytes, unit: int) -> bytes:
        """Apply the function to `data`, cut into parts of whole units, and join the results in order.

        Args:
            secret: such as an exported key; it goes through a socket pair with each part, and is not kept.
            data: a multiple of `unit` bytes.
            unit: bytes that must not be torn apart.

        Raises:
            ValueError: `data` is not a whole number of units.
            Exception: what the function raises first.

        """
        return await self._threads.spread(partial(self._part, secret), data, unit)

    def close(self) -> None:
        """End the processes after the part that each is at; batches not finished fail with RuntimeError."""
        self._threads.close()
        while self._free:
            self._free.pop().end()

    def _part(self, secret: bytes, part: bytes) -> bytes:
        """One part, in a thread that feeds a process; computed here where there is none."""
        hand = self._hand()
        if hand is None:
            return self._function(secret, part)
        try:
            result = hand.compute(secret, part) if hand.ready() else b""
        except (EOFError, OSError):
            self._none_before = monotonic() + PAUSE_SECONDS
            hand.end()
            return self._function(secret, part)
        self._free.append(hand)
        return result or self._function(secret, part)

    def _hand(self) -> _Hand | None:
        """A process that is free: one that was, or a new one, unless there was trouble just now."""
        try:
            return self._free.pop()
        except IndexError:
            pass
        if monotonic() < self._none_before:
            return None
        try:
            return _Hand(self._function)
        except OSError:
            self._none_before = monotonic() + PAUSE_SECONDS
            return None
