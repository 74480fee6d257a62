"""What was done to lists and entries, when and by whom, and which members have seen it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, final

from riskshare.sharing.kept import ChangeCounts, DayRow, FormerEntry, NotedChange, ReaderRow, Seen, WatchedList
from riskshare.store.entries import entry
from riskshare.store.failures import guarded
from riskshare.store.queries import load

if TYPE_CHECKING:
    import asyncpg

    from riskshare.store.connection import Pool

SQL: Final = load("history.sql")

LATELY: Final = timedelta(hours=1)
"""A member that follows a list asks for news of it at least every 20 seconds."""


@final
class History:
    """Every method raises `StoreError` if PostgreSQL is away."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def versions(self, handles: Sequence[bytes]) -> list[FormerEntry]:
        """What the entries of these handles were before, on all lists, in the order of their ends."""
        with guarded():
            rows = await self._pool.fetch(SQL["versions"], handles)
        return [FormerEntry(row["list_id"], row["superseded_by"], entry(row)) for row in rows]

    async def changes(self, list_id: int, numbers: Sequence[int]) -> list[NotedChange]:
        """The changes of a list with these numbers; those made before changes were kept are missing."""
        with guarded():
            rows = await self._pool.fetch(SQL["changes_numbered"], list_id, numbers)
        return [
            NotedChange(
                row["number"], row["at"], row["author"], row["action"], row["reason"], row["import_id"], _counts(row)
            )
            for row in rows
        ]

    async def days(self, list_id: int, since: datetime) -> tuple[int, list[DayRow]]:
        """Entries that stood on a list at that time, and what was done on each day since, by reason of withdrawal."""
        with guarded():
            before = await self._pool.fetchval(SQL["size_before"], list_id, since)
            rows = await self._pool.fetch(SQL["days"], list_id, since)
        return before, [DayRow(row["day"], row["why"], _counts(row)) for row in rows]

    async def watched(self, now: datetime) -> list[WatchedList]:
        """What an operator watches of each list; members that were not seen for an hour are left out."""
        with guarded():
            rows = await self._pool.fetch(SQL["watched"], now, now - LATELY)
        return [WatchedList(**row) for row in rows]

    async def keep_readers(self, seen: Sequence[Seen]) -> None:
        """Keep which snapshots members hold; digests of none of ours are left out."""
        with guarded():
            await self._pool.execute(
                SQL["keep_readers"],
                [one.reader for one in seen],
                [one.epoch for one in seen],
                [one.digest for one in seen],
                [one.at for one in seen],
            )

    async def readers(self, list_id: int, now: datetime) -> list[ReaderRow]:
        """Which snapshot of a list each member holds, under each epoch in service."""
        with guarded():
            return [ReaderRow(**row) for row in await self._pool.fetch(SQL["readers"], list_id, now)]


def _counts(row: asyncpg.Record) -> ChangeCounts:
    return ChangeCounts(
        row["added"], row["replaced"], row["relisted"], row["withdrawn"], row["disputed"], row["restored"]
    )
