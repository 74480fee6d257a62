"""Connections to one database: how they are opened, and what holds for each of them.

Every connection has a bound for each statement, at the server (`statement_timeout`) and a second later
here, so that nothing hangs when either end falls silent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import asyncpg

from riskshare.errors import ConfigError
from riskshare.store.failures import guarded

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[asyncpg.Record]
    Session = Connection | PoolConnectionProxy[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]

LOCK_CLASS: Final = 0x7269736B
"""First key of every advisory lock of riskshare ("risk"), beside the number of its purpose."""

MIGRATION_LOCK: Final = 1
LEADER_LOCK: Final = 2
LEDGER_LOCK: Final = 3
HELD_LOCK: Final = 4
AUDIT_LOCK: Final = 5
SETTLEMENT_LOCK: Final = 6
KEYSET_LOCK: Final = 10

LIST_IMPORT_LOCKS: Final = LOCK_CLASS + 1
"""First key of the locks of lists that an import works on, beside the list's id."""

IMPORT_LOCKS: Final = LOCK_CLASS + 2
"""First key of the locks of imports that a process works on, beside the import's number."""

LIST_ADDING_LOCKS: Final = LOCK_CLASS + 3
"""First key of the locks of lists that somebody brings new entries into, beside the list's id."""


@dataclass(frozen=True, slots=True)
class Target:
    """A database and the bound for each statement in it, in seconds. The DSN may hold a password."""

    dsn: str = field(repr=False)
    statement_seconds: float = 5.0
    data_key: bytes = b""
    """The fingerprint of the data key of whoever connects; b"" if it has none, and so seals nothing."""

    @property
    def client_timeout(self) -> float:
        """Seconds after which a call gives up by itself; the server's own bound comes first."""
        return self.statement_seconds + 1

    def settings(self, **more: str) -> dict[str, str]:
        """Session settings that every connection starts with."""
        return {
            "application_name": "riskshare",
            "statement_timeout": str(round(self.statement_seconds * 1000)),
            "timezone": "UTC",
            "jit": "off",
            # The bounds for a peer that vanished without a word; they do nothing on Unix sockets.
            "tcp_keepalives_idle": "5",
            "tcp_keepalives_interval": "2",
            "tcp_keepalives_count": "3",
            "tcp_user_timeout": "10000",
            **({"riskshare.data_key": self.data_key.hex()} if self.data_key else {}),
            **more,
        }

    async def connect(self, **settings: str) -> Connection:
        """Open a dedicated connection.

        Raises:
            StoreError: PostgreSQL is away, or does not let us in.
            ConfigError: the DSN is malformed.

        """
        with guarded(), _well_formed():
            return await asyncpg.connect(
                self.dsn,
                timeout=self.statement_seconds,
                command_timeout=self.client_timeout,
                server_settings=self.settings(**settings),
            )

    async def pool(self, size: int) -> Pool:
        """Open a pool of at most `size` connections, one of them at once.

        Raises:
            StoreError: PostgreSQL is away, or does not let us in.
            ConfigError: the DSN is malformed.

        """
        with guarded(), _well_formed():
            pool = asyncpg.create_pool(
                self.dsn,
                min_size=1,
                max_size=size,
                timeout=self.statement_seconds,
                command_timeout=self.client_timeout,
                server_settings=self.settings(),
                # No statement of ours leaves anything behind in a session: all settings are local to
                # their transaction. The default reset would cost each use one more round trip.
                reset=_nothing_to_reset,
            )
            return await pool


@contextmanager
def _well_formed() -> Iterator[None]:
    """A DSN that asyncpg cannot read is the operator's fault, not PostgreSQL's; it is not repeated."""
    try:
        yield
    except (asyncpg.ClientConfigurationError, ValueError):
        raise ConfigError(
            "The PostgreSQL DSN cannot be read: write it as postgresql://user@host:5432/database."
        ) from None


async def _nothing_to_reset(connection: Session) -> None:
    """Leave the session as it is."""


def affected(status: str) -> int:
    """The number of rows in a command's status, such as `INSERT 0 3`."""
    return int(status.rpartition(" ")[2])


def columns(rows: Sequence[Sequence[object]], width: int) -> list[list[object]]:
    """Turn rows into one list for each column, as `unnest` takes them; no rows give empty columns."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
