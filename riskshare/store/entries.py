"""Entries: from rows to values, and the change of their state inside a transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Final
from uuid import UUID

from riskshare.errors import InputError
from riskshare.sharing.kept import ListRow, Resealed, State, StoredEntry
from riskshare.store.queries import load

if TYPE_CHECKING:
    import asyncpg

    from riskshare.store.connection import Connection

SQL: Final = load("lists.sql")

STREAM_ROWS: Final = 1000

Reseal = Callable[[ListRow, StoredEntry, State], Resealed]
"""Seals an entry's identifier for a new state (its additional data names row, list and state) and gives the
record that goes with that state. Called for each entry, inside the transaction; must not block."""


def entry(row: asyncpg.Record) -> StoredEntry:
    """An entry from a row of `entries`."""
    return StoredEntry(
        id=UUID(int=row["id"].int),
        handle=row["handle"],
        sealed=row["sealed"],
        record=row["record"],
        state=row["state"],
        reason=row["reason"],
        valid_from=row["valid_from"],
        valid_until=row["valid_until"],
        changed=row["changed"],
    )


async def locked(connection: Connection, list_id: int) -> ListRow:
    """Lock a list against other writers until the end of the transaction.

    Raises:
        InputError: `unknown_list`.

    """
    row = await connection.fetchrow(SQL["lock_list"], list_id)
    if row is None:
        raise InputError("There is no such list any more.", code="unknown_list")
    return ListRow(**row)


async def stream(connection: Connection, sql: str, *arguments: object) -> AsyncIterator[list[StoredEntry]]:
    """Entries in batches of `STREAM_ROWS`, from a cursor of the transaction under way."""
    cursor = await connection.cursor(sql, *arguments)
    while rows := await cursor.fetch(STREAM_ROWS):
        yield [entry(row) for row in rows]


async def change_states(
    connection: Connection,
    of: ListRow,
    entries: AsyncIterator[list[StoredEntry]],
    *,
    state: State,
    reason: str | None,
    reseal: Reseal,
) -> int:
    """Give entries a new state under the number `of.changed + 1`; give their number.

    The list is locked; the number is raised, and listeners are told, by the caller.
    """
    done = 0
    async for batch in entries:
        resealed = [reseal(of, one, state) for one in batch]
        await connection.execute(
            SQL["change_state"],
            [one.id for one in batch],
            [new.sealed for new in resealed],
            [new.record for new in resealed],
            state,
            reason,
            of.changed + 1,
        )
        done += len(batch)
    return done


async def conclude(connection: Connection, of: ListRow) -> None:
    """Raise the list's number and tell the listeners, at the commit."""
    await connection.execute(SQL["raise_change"], of.id)
    await connection.execute(SQL["tell"], of.name)
