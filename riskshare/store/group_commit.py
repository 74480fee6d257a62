"""Group commit: many callers, one commit, and no delay for one that comes alone.

The order of durability:

1. `keep` puts the unit into the queue. If no flush is under way, one begins at once.
2. A flush takes what is queued (at most `MOST_UNITS`) and sends it in one statement: one round trip, one
   implicit transaction. Whoever comes meanwhile waits for the next flush.
3. PostgreSQL says that the transaction is committed: durable.
4. Only then the callers of this flush return, and what depends on them may leave the peer.

If step 3 is in doubt (the connection broke after step 2, or no answer came in time), the flush has *failed*: its
callers get a `StoreError` that is `in_doubt`, for the rows may stand. So each row has a key, and sending it again
changes nothing.

A unit that PostgreSQL refuses must not take others with it: a refused flush is sent again unit by unit.
A caller that is cancelled has handed its unit over: it is still committed, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from riskshare.errors import StoreError
from riskshare.store.connection import Target
from riskshare.store.failures import FAILURES, guarded, translate

if TYPE_CHECKING:
    from riskshare.store.connection import Connection

Unit_contra = TypeVar("Unit_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)
U = TypeVar("U")
R = TypeVar("R")

_TOLD: Final[tuple[type[BaseException], ...]] = (*FAILURES, StoreError)

MOST_UNITS: Final = 256
"""Units in one flush: enough to make the commit's share vanish, few enough for a small statement."""

_PLANS: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
"""Each statement is planned once, while tables may be empty: its plan must look rows up by index all the same."""

Fault = Callable[[str], Awaitable[None]]
"""Called with "before" (nothing sent) and "after" (committed, nobody told); may raise, to test crashes."""


Watch = Callable[[float, int], None]
"""Told of each flush that is durable: seconds, units."""


class Writer(Protocol[Unit_contra, Result_co]):
    """Writes units on one connection."""

    async def prepare(self, connection: Connection) -> None:
        """Prepare the statements on a new connection."""

    async def write(self, units: Sequence[Unit_contra]) -> Sequence[Result_co]:
        """Write all units in one transaction; a result for each, in order."""


class GroupCommit(Generic[U, R]):
    """A queue before one dedicated connection.

    `most` bounds the units that wait: beyond it `keep` refuses at once, with code
    `overloaded`.
    """

    def __init__(
        self,
        target: Target,
        writer: Writer[U, R],
        *,
        most: int,
        fault: Fault | None,
        watch: Watch | None = None,
    ) -> None:
        self._target = target
        self._writer = writer
        self._most = most
        self._fault = fault
        self._watch = watch
        self._queue: deque[tuple[U, asyncio.Future[R]]] = deque()
        self._flusher: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._closed = False

    async def keep(self, unit: U) -> R:
        """Return once the unit is durable.

        Raises:
            StoreError: it is not known to be durable (`in_doubt`); `overloaded`: too many wait;
                `store_refused`: PostgreSQL refuses this unit.

        """
        if self._closed:
            raise StoreError("The store is closed; nothing more can be kept.")
        if len(self._queue) >= self._most:
            raise StoreError(
                "Too much waits to be made durable: PostgreSQL does not keep up; try again later.", code="overloaded"
            )
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self._queue.append((unit, future))
        if self._flusher is None:
            self._flusher = loop.create_task(self._flush_all(), name="group-commit")
        return await future

    async def warm(self) -> None:
        """Connect and prepare now, so that the first unit does not wait for it.

        Raises:
            StoreError: PostgreSQL is away.

        """
        if self._flusher is None:
            with guarded():
                await self._ready()

    async def close(self) -> None:
        """Write what waits, then disconnect. Nothing is accepted any more."""
        self._closed = True
        if self._flusher is not None:
            with suppress(asyncio.CancelledError):
                await asyncio.shield(self._flusher)
        self._drop()

    async def _flush_all(self) -> None:
        # Nothing awaits between the last look at the queue and the reset: no unit is left behind.
        try:
            while self._queue:
                size = min(len(self._queue), MOST_UNITS)
                await self._flush([self._queue.popleft() for _ in range(size)])
        finally:
            self._flusher = None
            while self._queue:  # only if this task was cancelled, at shutdown
                _fail([self._queue.popleft()], _not_durable())

    async def _flush(self, batch: Sequence[tuple[U, asyncio.Future[R]]]) -> None:
        try:
            results = await self._write([unit for unit, _ in batch])
        except asyncio.CancelledError:
            self._drop()
            _fail(batch, _not_durable())
            raise
        except StoreError as error:
            if error.code == "store_refused" and len(batch) > 1:
                for one in batch:
                    await self._flush([one])
            else:
                _fail(batch, error)
            return
        except Exception:  # noqa: BLE001 - supervises: whatever happens, no caller is left waiting
            self._drop()
            _fail(batch, _not_durable("an unexpected error; nothing of it is shown, it may quote values"))
            return
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():  # done: its caller was cancelled
                future.set_result(result)

    async def _write(self, units: Sequence[U]) -> Sequence[R]:
        try:
            await self._ready()
            if self._fault is not None:
                await self._fault("before")
            began = perf_counter()
            results = await self._writer.write(units)
            if self._watch is not None:
                self._watch(perf_counter() - began, len(units))
            if self._fault is not None:
                await self._fault("after")
        except _TOLD as error:
            cause = translate(error)
            if cause.code == "store_refused":
                raise cause from None
            self._drop()
            raise _not_durable(cause.message) from None
        return results

    async def _ready(self) -> None:
        if self._connection is not None and not self._connection.is_closed():
            return
        async with self._connecting:
            if self._connection is not None and not self._connection.is_closed():
                return
            connection = await self._target.connect(**_PLANS)
            try:
                await self._writer.prepare(connection)
            except BaseException:
                connection.terminate()
                raise
            self._connection = connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def _not_durable(why: str = "the store is closing") -> StoreError:
    return StoreError(f"Not known to be durable, so nothing may leave: {why}", in_doubt=True)


def _fail(batch: Sequence[tuple[U, asyncio.Future[R]]], error: StoreError) -> None:
    for _, future in batch:
        if not future.done():
            # One instance for each caller: tracebacks grow on the instance that is raised.
            future.set_exception(StoreError(error.message, code=error.code, in_doubt=error.in_doubt))
