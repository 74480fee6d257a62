"""One leader among the peers of a database: it publishes, polls and merges; the others wait.

Leadership is an advisory lock of one session, so PostgreSQL itself takes it back when the leader's connection
ends. A leader that is cut off learns of it by `lost`; until then its writes are still safe, for each is a
compare-and-swap.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from riskshare.errors import StoreError
from riskshare.store.connection import LEADER_LOCK, LOCK_CLASS
from riskshare.store.failures import guarded
from riskshare.store.notify import until_lost

if TYPE_CHECKING:
    from riskshare.store.connection import Connection
    from riskshare.store.store import Store

RETRY_SECONDS: Final = 0.25
PING_SECONDS: Final = 2.0


_LED: Final = """
select exists (
    select from pg_locks
    where locktype = 'advisory' and granted
      and database = (select oid from pg_database where datname = current_database())
      -- A lock of two numbers has them in these columns, and a 2 in the third.
      and classid::bigint = $1 and objid::bigint = $2 and objsubid = 2
)"""


async def is_led(store: Store) -> bool:
    """Tell whether some process leads for this database, without a try to lead. Raises StoreError."""
    with guarded():
        return bool(await store.pool.fetchval(_LED, LOCK_CLASS, LEADER_LOCK))


class Leadership:
    """The leader's lock on one database. `lost` is set while this peer does not lead."""

    def __init__(self, store: Store) -> None:
        self._target = store.target
        self._connection: Connection | None = None
        self._watch: asyncio.Task[None] | None = None
        self.lost = asyncio.Event()
        self.lost.set()

    @property
    def held(self) -> bool:
        """Whether this peer leads."""
        return not self.lost.is_set()

    async def acquire(self) -> None:
        """Wait until this peer leads, through any outage of PostgreSQL. May be called again after a loss."""
        while not await self._try():  # noqa: ASYNC110 - PostgreSQL tells nobody that a lock is free
            await asyncio.sleep(RETRY_SECONDS)

    async def release(self) -> None:
        """Stop leading, or waiting to."""
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None
        self._drop()

    async def _try(self) -> bool:
        if self.held:
            return True
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._target.connect()
            with guarded():
                won = await self._connection.fetchval("select pg_try_advisory_lock($1, $2)", LOCK_CLASS, LEADER_LOCK)
        except StoreError:
            self._drop()
            return False
        if won:
            self.lost.clear()
            self._watch = asyncio.create_task(self._until_lost(self._connection), name="leadership")
        return bool(won)

    async def _until_lost(self, connection: Connection) -> None:
        await until_lost(connection, PING_SECONDS)
        self._drop()

    def _drop(self) -> None:
        self.lost.set()
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
