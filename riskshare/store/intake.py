"""Imports: all rows become entries in one transaction, or none does.

Rows go by COPY into a table that outlives its process (`store.imports`), so memory stays flat and nothing is locked
while they come. Only the commit takes the list's lock.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from riskshare.errors import InputError
from riskshare.sharing.kept import Change, ChangeCounts, ImportCounts, ListRow
from riskshare.store.connection import Target, affected
from riskshare.store.entries import SQL, Reseal, change_states, conclude, locked, refuse_newer_rules, stream
from riskshare.store.failures import guarded
from riskshare.store.queries import load

if TYPE_CHECKING:
    from riskshare.store.connection import Connection

IMPORTS: Final = load("imports.sql")

IDLE_SECONDS: Final = 600
"""An importer that is silent this long in its transaction is cut off, so that no lock outlives it."""

STATEMENT_SECONDS: Final = 1800.0
"""Bound of each statement of an import: millions of rows are written by one."""

SORT_MEMORY: Final = "128MB"
"""What PostgreSQL may take to bring an import's rows into the order of their handles; more of them go to its disk."""

BARRED: Final = ("appeal_upheld",)
"""Reasons of withdrawal that no import undoes: a person whose appeal was upheld stays off the list."""


class Applying:
    """Makes entries of the rows of a table, within a transaction of the connection. `table` is a name of ours.

    Disputed entries are left alone: a dispute ends by a decision, not by the next file.
    """

    def __init__(self, connection: Connection, list_id: int, table: str = "incoming") -> None:
        self._connection = connection
        self._list_id = list_id
        self._table = table

    def sql(self, statement: str) -> str:
        """A statement of `lists.sql` or `imports.sql` over this table."""
        return (SQL.get(statement) or IMPORTS[statement]).replace("incoming", self._table)

    async def count(self, *, replace: bool) -> ImportCounts:
        """What the rows would do to the list as it is now."""
        if await self._connection.fetchval(IMPORTS["is_empty"], self._list_id):
            return await self._count_first()
        await self._settle()
        row = await self._connection.fetchrow(self.sql("count_import"), timeout=STATEMENT_SECONDS)
        missing = 0
        if replace:
            missing = await self._connection.fetchval(SQL["count_missing"], self._list_id, timeout=STATEMENT_SECONDS)
        assert row is not None
        return ImportCounts(**row, withdrawn=missing)

    async def _count_first(self) -> ImportCounts:
        row = await self._connection.fetchrow(self.sql("count_distinct"), timeout=STATEMENT_SECONDS)
        assert row is not None
        return ImportCounts(row[1], 0, 0, 0, 0, 0, repeated=row[0] - row[1])

    async def _settle(self) -> None:
        for statement in (
            "drop table if exists settled",
            self.sql("analyze_import"),
            (self.sql("settle_import"), self._list_id, BARRED),
            "analyze settled",
        ):
            text, *arguments = (statement,) if isinstance(statement, str) else statement
            await self._connection.execute(text, *arguments, timeout=STATEMENT_SECONDS)

    async def write(
        self, change: Change, never_upto: int, replace: tuple[str, Reseal] | None, most_withdrawn: int = 100
    ) -> ImportCounts:
        """Write the entries, under the list's lock, and say what was done.

        Raises:
            InputError: `unknown_list`; `never_changed`; `replace_too_large`: a replacement would withdraw more than
                `most_withdrawn` percent of the list's entries.

        """
        of = await locked(self._connection, self._list_id)
        await refuse_newer_rules(self._connection, never_upto)
        if await self._connection.fetchval(IMPORTS["is_empty"], of.id):
            counts = await self._write_first(of)
        else:
            counts = await self.count(replace=replace is not None)
            if counts.withdrawn and replace is not None:
                await self._check_share(counts, most_withdrawn)
                reason, reseal = replace
                gone = stream(self._connection, SQL["missing"], of.id)
                await change_states(self._connection, of, gone, state="withdrawn", reason=reason, reseal=reseal)
            if counts.replaced or counts.relisted:
                await self._connection.execute(SQL["keep_former"], of.id, of.changed + 1, timeout=STATEMENT_SECONDS)
            if counts.new or counts.replaced or counts.relisted:
                sql = self.sql("write_import")
                await self._connection.execute(sql, of.id, of.changed + 1, timeout=STATEMENT_SECONDS)
        if counts.changes:
            await conclude(self._connection, of, change, _done(counts))
        return counts

    async def _write_first(self, of: ListRow) -> ImportCounts:
        """A list without entries takes the rows as they are; only the last of each handle is written."""
        await self._connection.execute(f"set local work_mem = '{SORT_MEMORY}'")
        sql = self.sql("write_first")
        new = affected(await self._connection.execute(sql, of.id, of.changed + 1, timeout=STATEMENT_SECONDS))
        rows = await self._connection.fetchval(self.sql("count_rows"), timeout=STATEMENT_SECONDS)
        return ImportCounts(new, 0, 0, 0, 0, 0, repeated=rows - new)

    async def _check_share(self, counts: ImportCounts, most: int) -> None:
        live = await self._connection.fetchval(IMPORTS["live"], self._list_id, timeout=STATEMENT_SECONDS)
        if 100 * counts.withdrawn > most * live:
            raise InputError(
                f"The file would withdraw {counts.withdrawn:,} of {live:,} entries, more than {most} %. If it is whole"
                " and this is meant, force it with --force.",
                code="replace_too_large",
            )


def _done(counts: ImportCounts) -> ChangeCounts:
    return ChangeCounts(
        added=counts.new, replaced=counts.replaced, relisted=counts.relisted, withdrawn=counts.withdrawn
    )


async def patient(target: Target) -> Connection:
    """A connection of its own, whose statements may all be long: those of a commit too. Raises StoreError."""
    long = replace(target, statement_seconds=STATEMENT_SECONDS)
    with guarded():
        async with asyncio.timeout(target.client_timeout):
            return await long.connect(idle_in_transaction_session_timeout=str(IDLE_SECONDS * 1000))
