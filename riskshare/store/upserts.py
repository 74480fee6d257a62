"""Entries that a program brings a few at a time: one transaction under the list's lock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from riskshare.sharing.kept import Change, ChangeCounts, EntryRow, ListRow
from riskshare.sharing.states import Effect, effect
from riskshare.store.entries import SQL, conclude
from riskshare.store.entry_tables import has_table, make_table

if TYPE_CHECKING:
    import asyncpg

    from riskshare.store.connection import Connection

KeptReply = tuple[str, bytes, bytes, bytes]
"""Id of the API key, digest of the Idempotency-Key, digest of the request, the sealed response."""

_Outcome = TypeVar("_Outcome")
_WRITTEN: Final = ("listed", "replaced", "relisted")


async def effects_of(connection: Connection, of: ListRow, rows: Sequence[EntryRow]) -> dict[bytes, Effect]:
    """What becomes of each row, by what stands there."""
    standing = {
        row["handle"]: row for row in await connection.fetch(SQL["standing"], of.id, [row.handle for row in rows])
    }
    found: dict[bytes, Effect] = {}
    for row in rows:
        there = standing.get(row.handle)
        found[row.handle] = (
            effect(None, None, same=False)
            if there is None
            else effect(there["state"], there["reason"], same=_is_same(there, row))
        )
    return found


def _is_same(there: asyncpg.Record, row: EntryRow) -> bool:
    """Whether what stands there says the same: not if it had ended when the row's term began."""
    return bool(there["content"] == row.content and there["valid_until"] > row.valid_from)


async def write_rows(
    connection: Connection, of: ListRow, rows: Sequence[EntryRow], effects: Mapping[bytes, Effect], change: Change
) -> None:
    """Write the rows that are new or other than what stands there; what stood there is kept."""
    written = [row for row in rows if effects[row.handle] in _WRITTEN]
    if not written:
        return
    number = of.changed + 1
    if not await has_table(connection, of.id):
        await make_table(connection, of.id)
    await connection.execute(SQL["keep_former_of"], of.id, number, [row.handle for row in written])
    await connection.execute(
        SQL["write_upsert"],
        of.id,
        number,
        [row.id for row in written],
        [row.handle for row in written],
        [row.sealed for row in written],
        [row.record for row in written],
        [row.content for row in written],
        [row.valid_from for row in written],
        [row.valid_until for row in written],
        [row.case_handle for row in written],
    )
    words = [effects[row.handle] for row in written]
    counts = ChangeCounts(
        added=words.count("listed"), replaced=words.count("replaced"), relisted=words.count("relisted")
    )
    await conclude(connection, of, change, counts)


async def keep_reply(connection: Connection, reply: Callable[[_Outcome], KeptReply] | None, outcome: _Outcome) -> None:
    """Keep what a reply makes of an outcome, in the transaction under way."""
    if reply is not None:
        await connection.execute(SQL["keep_reply"], *reply(outcome))
