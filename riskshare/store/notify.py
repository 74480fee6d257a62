"""Notifications from PostgreSQL, that survive the loss of the connection.

PostgreSQL forgets what it would have told a listener that was away. So after each loss the listener is told
`RECONNECTED` once it listens again, and reads anew whatever it cares for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from riskshare.errors import StoreError
from riskshare.store.connection import Target
from riskshare.store.failures import guarded

if TYPE_CHECKING:
    from riskshare.store.connection import Connection

LISTS: Final = "riskshare_lists"
"""A list was created or its entries changed; the payload is its local name."""
SNAPSHOTS: Final = "riskshare_snapshots"
"""A snapshot was published; the payload is the list's local name."""
GRANTS: Final = "riskshare_grants"
"""A list was granted, or a grant revoked; the payload is the list's local name."""
EPOCHS: Final = "riskshare_epochs"
"""An epoch began or ended; the payload is the keyset."""
TRUSTED: Final = "riskshare_trusted"
"""The trusted state of a followed list changed; the payload is its full name."""
REGISTRY: Final = "riskshare_registry"
"""A new version of the registry is kept; the payload is the version."""
RECONNECTED: Final = "reconnected"
"""Given to the callback in place of a channel: notifications may have been missed."""

FIRST_WAIT: Final = 0.05
LONGEST_WAIT: Final = 2.0
PING_SECONDS: Final = 5.0

Callback = Callable[[str, str], None]


class Listener:
    """Listens until it is closed. The callback gets (channel, payload) and must not block."""

    def __init__(self, target: Target, channels: Sequence[str], callback: Callback) -> None:
        self._target = target
        self._channels = tuple(channels)
        self._callback = callback
        self._task: asyncio.Task[None] | None = None
        self._connection: Connection | None = None

    async def start(self) -> None:
        """Listen; what is notified after this returns reaches the callback.

        Raises:
            StoreError: PostgreSQL is away.

        """
        connection = await self._listen()
        self._task = asyncio.create_task(self._keep_listening(connection), name="listen")

    async def close(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        # Not left to the task: one that is cancelled before its first step does nothing.
        if self._connection is not None:
            self._connection.terminate()

    async def _listen(self) -> Connection:
        connection = self._connection = await self._target.connect()
        try:
            with guarded():
                for channel in self._channels:
                    await connection.add_listener(channel, self._heard)
        except BaseException:
            connection.terminate()
            raise
        return connection

    def _heard(self, _connection: object, _pid: int, channel: str, payload: Any) -> None:
        self._callback(channel, str(payload))

    async def _keep_listening(self, connection: Connection) -> None:
        while True:
            await until_lost(connection)
            connection.terminate()
            connection = await self._listen_again()
            self._callback(RECONNECTED, "")

    async def _listen_again(self) -> Connection:
        wait = FIRST_WAIT
        while True:
            try:
                return await self._listen()
            except StoreError:
                await asyncio.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT)


async def until_lost(connection: Connection, every: float = PING_SECONDS) -> None:
    """Return when the connection is gone, or has not answered a ping in time."""
    lost = asyncio.Event()

    def gone(_connection: object) -> None:
        lost.set()

    connection.add_termination_listener(gone)
    while not connection.is_closed() and not lost.is_set():
        try:
            await asyncio.wait_for(lost.wait(), every)
        except TimeoutError:
            try:
                with guarded():
                    await connection.execute("select", timeout=every)
            except StoreError:
                return
