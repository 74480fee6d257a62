"""The store of one member: a pool for short statements, and the parts that use it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, final

from riskshare.errors import StoreError
from riskshare.store.accounts import Accounts
from riskshare.store.appeals import Appeals
from riskshare.store.audits import Audits
from riskshare.store.connection import Target
from riskshare.store.data_keys import DataKeys
from riskshare.store.failures import guarded
from riskshare.store.grants import GrantsKept
from riskshare.store.history import History
from riskshare.store.idempotency import Idempotency
from riskshare.store.imports import Imports
from riskshare.store.ledger import Ledger
from riskshare.store.lists import Lists
from riskshare.store.migrate import migrate
from riskshare.store.never import NeverRules
from riskshare.store.notify import Callback, Listener
from riskshare.store.publications import Publications
from riskshare.store.records import Records
from riskshare.store.settlements import Settlements
from riskshare.store.trust import Trust

if TYPE_CHECKING:
    from riskshare.store.connection import Pool

HEALTH_SECONDS: Final = 2.0
CLOSE_SECONDS: Final = 5.0


@final
class Store:
    """One member's database. Open it with `Store.open`; it reconnects by itself.

    `lists`, `grants`, `imports`, `publications`, `trust`, `records`, `idempotency`, `ledger`, `accounts`, `audits`,
    `settlements`, `appeals`, `never` and `history` use the pool; group commits, imports under way, streams, listeners
    and leadership have connections of their own, so that nothing long keeps a short statement waiting.
    """

    def __init__(self, target: Target, pool: Pool) -> None:
        self.target = target
        self.pool = pool
        self.lists = Lists(target, pool)
        self.grants = GrantsKept(pool)
        self.imports = Imports(target, pool)
        self.data_keys = DataKeys(pool)
        self.publications = Publications(pool)
        self.trust = Trust(pool)
        self.records = Records(pool)
        self.idempotency = Idempotency(pool)
        self.ledger = Ledger(pool)
        self.accounts = Accounts(pool)
        self.audits = Audits(pool)
        self.settlements = Settlements(target, pool)
        self.appeals = Appeals(pool)
        self.never = NeverRules(pool)
        self.history = History(pool)

    @classmethod
    async def open(
        cls, dsn: str, *, pool_size: int = 4, statement_seconds: float = 5.0, data_key: bytes = b""
    ) -> Store:
        """Migrate the database and connect. `statement_seconds` bounds each statement.

        `data_key` is the fingerprint of the data key under which the caller seals, if it does; see `DataKeys.admit`.

        Raises:
            StoreError: PostgreSQL is away, refuses, or has a newer schema than this code.
            ConfigError: the DSN is malformed.

        """
        target = Target(dsn, statement_seconds, data_key)
        await migrate(target)
        return cls(target, await target.pool(pool_size))

    async def healthy(self) -> None:
        """Return if PostgreSQL answers within two seconds and takes writes.

        Raises:
            StoreError: it does not.

        """
        with guarded():
            async with asyncio.timeout(HEALTH_SECONDS):
                standby = await self.pool.fetchval("select pg_is_in_recovery()")
        if standby:
            raise StoreError("PostgreSQL is a standby and takes no writes: the DSN must name the primary.")

    async def listen(self, channels: Sequence[str], callback: Callback) -> Listener:
        """Call `callback(channel, payload)` for each notification, until the listener is closed.

        Raises:
            StoreError: PostgreSQL is away at the start; later losses are repaired, and told as `RECONNECTED`.

        """
        listener = Listener(self.target, channels, callback)
        await listener.start()
        return listener

    async def close(self) -> None:
        """Disconnect; statements under way get five seconds."""
        try:
            await asyncio.wait_for(self.pool.close(), CLOSE_SECONDS)
        except TimeoutError:
            self.pool.terminate()
