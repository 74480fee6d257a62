"""Under which data key the rows of this database are, and sealing them under another one.

The database knows the key by its fingerprint, and refuses whoever would write under another one (`require_data_key`).
While a rotation is under way nobody with keys is admitted but the rotation itself.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, final
from uuid import UUID

import asyncpg

from riskshare.errors import ConfigError, StoreError
from riskshare.sharing.rekey import Rekeyed, SealedRow, Table
from riskshare.store.connection import affected
from riskshare.store.failures import guarded
from riskshare.store.queries import load

if TYPE_CHECKING:
    from riskshare.store.connection import Pool

_SQL: Final = load("data_keys.sql")
PASS_SECONDS: Final = 60.0
"""Bound of a count of all rows, and of one page."""


@dataclass(frozen=True, slots=True)
class KeyState:
    """The key in force: how many there were, with it; its fingerprint; that of the key that takes its place."""

    number: int
    fingerprint: bytes = field(repr=False)
    next: bytes | None = field(repr=False)


@final
class DataKeys:
    """Every method raises `StoreError` if PostgreSQL is away."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    # -- which key -------------------------------------------------------------------

    async def state(self) -> KeyState | None:
        """The key in force; None if no program with keys has been here."""
        with guarded():
            row = await self._pool.fetchrow(_SQL["state"])
        return None if row is None else KeyState(**row)

    async def admit(self, fingerprint: bytes) -> None:
        """Refuse another data key than that of the database; the first one that comes is that.

        Raises:
            ConfigError: `other_data_key`, `key_rotating`.

        """
        state = await self.first(fingerprint)
        if state.next is not None:
            raise ConfigError(
                "The data key is being rotated, or that was broken off. Go on with riskshare keys rotate data.",
                code="key_rotating",
            )
        if state.fingerprint != fingerprint:
            raise ConfigError(
                "The database is sealed under another data key. Put that one in its place: from the backup that belongs"
                " to this database, or the new one after a rotation.",
                code="other_data_key",
            )

    async def first(self, fingerprint: bytes) -> KeyState:
        """The key in force, which is this one if none was."""
        with guarded():
            await self._pool.execute(_SQL["admit"], fingerprint)
        state = await self.state()
        assert state is not None
        return state

    async def begin(self, former: bytes, following: bytes) -> None:
        """Begin a rotation: from now on nobody writes under the former key.

        Raises:
            StoreError: `data_key_in_use`: somebody is writing; or another rotation was begun.

        """
        with guarded():
            try:
                async with self._pool.acquire() as connection, connection.transaction():
                    await connection.execute(_SQL["held_now"])
                    begun = affected(await connection.execute(_SQL["begin"], former, following))
            except asyncpg.LockNotAvailableError:
                begun = 0
        if not begun:
            raise StoreError(
                "Something is being written under the data key, such as an import: do this again when it is done.",
                code="data_key_in_use",
            )

    async def finish(self, following: bytes) -> None:
        """End a rotation; kept replies are forgotten, since nobody can find them any more."""
        with guarded():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(_SQL["forget_replies"])
                await connection.execute(_SQL["finish"], following)

    async def staged(self) -> int:
        """How many imports are not over: their rows lie apart, under the present key."""
        with guarded():
            return int(await self._pool.fetchval(_SQL["staged"]))

    # -- what is sealed under it (`rekey.Rows`) --------------------------------------

    async def count(self, table: Table) -> int:
        """How many rows there are."""
        with guarded():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(f"set local statement_timeout = {round(PASS_SECONDS * 1000)}")
                return int(await connection.fetchval(_SQL[f"count_{table}"], timeout=PASS_SECONDS + 1))

    async def pages(self, table: Table, size: int) -> AsyncGenerator[Sequence[SealedRow]]:
        """All rows as they are when this begins, each once: those that are written meanwhile do not come again."""
        with guarded():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(f"set local statement_timeout = {round(PASS_SECONDS * 1000)}")
                cursor = await connection.cursor(_SQL[f"all_{table}"])
                while rows := await cursor.fetch(size, timeout=PASS_SECONDS + 1):
                    yield [SealedRow(**{**row, "id": UUID(int=row["id"].int)}) for row in rows]

    async def write(self, table: Table, rows: Sequence[Rekeyed]) -> None:
        """Write rows in one transaction."""
        lists, former = [one.row.list_id for one in rows], [one.row.handle for one in rows]
        sealed, handles = [one.sealed for one in rows], [one.handle for one in rows]
        columns: Sequence[Sequence[object]]
        match table:
            case "entries":
                columns = lists, former, sealed, handles, [one.case_handle for one in rows]
            case "versions":
                columns = lists, former, [one.row.number for one in rows], sealed, handles
            case "rules":
                columns = [one.row.number for one in rows], sealed, handles
        with guarded():
            async with self._pool.acquire() as connection, connection.transaction():
                # By their keys: rather than look into many tables of entries, PostgreSQL would read all of them.
                await connection.execute("set local enable_seqscan = off")
                await connection.execute(_SQL[f"write_{table}"], *columns)

    async def epochs(self) -> Sequence[tuple[bytes, bytes]]:
        """Digest and sealed key of every epoch whose key is kept."""
        with guarded():
            return [(row["digest"], row["secret_sealed"]) for row in await self._pool.fetch(_SQL["epochs"])]

    async def write_epoch(self, digest: bytes, sealed: bytes) -> None:
        """Write the sealed key of an epoch."""
        with guarded():
            await self._pool.execute(_SQL["write_epoch"], digest, sealed)
