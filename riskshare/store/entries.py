"""Entries: from rows to values, and the change of their state inside a transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from uuid import UUID

import asyncpg

from riskshare.errors import InputError, StoreError
from riskshare.sharing.kept import Change, ChangeCounts, ListRow, Resealed, State, StoredEntry
from riskshare.store.connection import LIST_ADDING_LOCKS
from riskshare.store.queries import load

if TYPE_CHECKING:
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
        StoreError: `list_busy`, another change of it took too long.

    """
    with waiting():
        return await read_list(connection, list_id, "lock_list")


async def read_list(connection: Connection, list_id: int, query: str = "list_with_id") -> ListRow:
    """A list as it is now. Raises InputError `unknown_list`."""
    row = await connection.fetchrow(SQL[query], list_id)
    if row is None:
        raise InputError("There is no such list any more.", code="unknown_list")
    return ListRow(**row)


async def adding(connection: Connection, list_id: int) -> None:
    """Wait until nobody else brings new entries into a list, and be the one who does, until the transaction ends.

    To be called before `locked`. Who changes entries that there are does not need it.

    Raises:
        StoreError: `list_busy`, a large import was not written in the time that there is for a statement.

    """
    with waiting():
        await connection.execute(SQL["lock_adding"], LIST_ADDING_LOCKS, list_id)


@contextmanager
def waiting() -> Iterator[None]:
    """Tell whoever has waited too long for an import what to do. Raises StoreError `list_busy`."""
    try:
        yield
    except asyncpg.QueryCanceledError:
        raise StoreError(
            "A large import is being committed into this list: do this again in a few seconds.", code="list_busy"
        ) from None


async def refuse_newer_rules(connection: Connection, never_upto: int) -> None:
    """Refuse rows that were held against an older never-list, under the list's lock.

    A rule is committed before it is applied to any list, under that list's lock: so either this sees the rule, or
    applying the rule sees these rows.

    Raises:
        InputError: `never_changed`.

    """
    if await connection.fetchval(SQL["rules_since"], never_upto):
        raise InputError("The never-list was added to meanwhile: do this again.", code="never_changed")


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
    number: int | None = None,
) -> int:
    """Give entries a new state under a number, or `of.changed + 1`; give how many. What they were is kept.

    The list, or else the entries, are locked; the number is raised, and listeners are told, by the caller.
    """
    done = 0
    number = number or of.changed + 1
    async for batch in entries:
        resealed = [reseal(of, one, state) for one in batch]
        await connection.execute(
            SQL["change_state"],
            [one.handle for one in batch],
            [new.sealed for new in resealed],
            [new.record for new in resealed],
            state,
            reason,
            number,
            of.id,
        )
        done += len(batch)
    return done


async def conclude(
    connection: Connection, of: ListRow, change: Change, counts: ChangeCounts, number: int | None = None
) -> None:
    """Raise the locked list's number, to the next or a given one; note who did what and why; tell the listeners."""
    numbers = (
        counts.added,
        counts.replaced,
        counts.relisted,
        counts.withdrawn,
        counts.disputed,
        counts.restored,
    )
    number = number or of.changed + 1
    arguments = (of.id, of.changed, number, change.author, change.action, change.reason, change.import_id)
    noted = await connection.fetchval(SQL["conclude"], *arguments, *numbers)
    assert noted == number, "a list is locked while it is changed"
