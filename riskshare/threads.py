"""Threads, one for each core, for batches of group operations.

libsodium's functions run without the interpreter's lock, and threads share the keys in memory. Large batches of asks
go on to the processes of `crew`.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar, final

from riskshare.cores import CORES

R = TypeVar("R")
P = ParamSpec("P")

PART_UNITS = 64
"""Most units that a thread takes at once: about 3 ms of multiplications.

After each part the next batch has its turn, so that a small one does not wait for the
whole of a large one.
"""

INLINE_UNITS = 4
"""From this many units on, threads pay: the hop costs as much as two multiplications."""


@final
class _Batch:
    """The parts of one call of `Threads.spread`, and what has become of them."""

    __slots__ = ("_future", "_left", "_lock", "_loop", "_next", "_parts", "_results", "_work")

    def __init__(self, work: Callable[[bytes], bytes], parts: list[bytes], future: asyncio.Future[bytes]) -> None:
        self._work = work
        self._parts = parts
        self._results = [b""] * len(parts)
        self._left = len(parts)
        self._next = itertools.count()
        self._lock = threading.Lock()
        self._future = future
        self._loop = future.get_loop()

    def step(self) -> bool:
        """Compute one part, in a thread; tell whether it makes sense to come again."""
        place = next(self._next)
        if place >= len(self._parts) or self._future.done():
            return False
        try:
            self._results[place] = self._work(self._parts[place])
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the caller
            self.fail(error)
            return False
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._tell(self._succeed)
        return place + 1 < len(self._parts)

    def fail(self, error: BaseException) -> None:
        """Let the caller's await raise `error`, unless it is over already."""

        def settle() -> None:
            if not self._future.done():
                self._future.set_exception(error)

        self._tell(settle)

    def _succeed(self) -> None:
        if not self._future.done():
            self._future.set_result(b"".join(self._results))

    def _tell(self, settle: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(settle)
        except RuntimeError:
            # The loop is closed: nobody waits any more.
            return


@final
class Threads:
    """Threads, one for each core, for work that runs without the interpreter's lock."""

    def __init__(self, count: int = CORES) -> None:
        self._count = count
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="riskshare-core")

    async def spread(
        self, work: Callable[[bytes], bytes], data: bytes, unit: int, *, inline_below: int = INLINE_UNITS
    ) -> bytes:
        """Apply `work` to `data`, cut into parts over all cores, and join the results in order.

        A batch of fewer than `inline_below` units runs here and now, without a hop to a
        thread. Concurrent batches take turns, part by part. When the caller is cancelled,
        parts not yet begun are dropped.

        Args:
            work: from a part (a whole number of units) to its result; called in threads.
            data: a multiple of `unit` bytes.
            unit: bytes that must not be torn apart.
            inline_below: see above.

        Raises:
            ValueError: `data` is not a whole number of units.
            Exception: what `work` raises first; an index in its sentence counts within its part.

        """
        units, rest = divmod(len(data), unit)
        if rest:
            raise ValueError("the data is not a whole number of units")
        if units < inline_below or units == 0:
            return work(data)
        # As many parts as cores, or a multiple of that, so that all end at about one time.
        turns = -(-units // (PART_UNITS * self._count))
        size = -(-units // (turns * self._count)) * unit
        parts = [data[start : start + size] for start in range(0, len(data), size)]
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        batch = _Batch(work, parts, future)
        for _ in parts[: self._count]:
            self._pool.submit(self._advance, batch)
        return await future

    def _advance(self, batch: _Batch) -> None:
        if not batch.step():
            return
        try:
            self._pool.submit(self._advance, batch)
        except RuntimeError as error:
            batch.fail(error)  # closed meanwhile

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call one function in one of the threads: for work that cannot be cut, such as a proof."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: function(*args, **kwargs))

    def close(self) -> None:
        """End the threads after the part that each is at; batches not finished fail with RuntimeError."""
        self._pool.shutdown()
