"""Imports: all rows of a file become entries in one transaction, or none does.

Rows go by COPY into a temporary table, so memory stays flat and nothing is locked while a file is read. Only
`commit` takes the list's lock. A process that dies before leaves nothing behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from riskshare.errors import StoreError
from riskshare.sharing.kept import Change, ChangeCounts, EntryRow, ImportCounts
from riskshare.store.connection import Target
from riskshare.store.entries import SQL, Reseal, change_states, conclude, locked, refuse_newer_rules, stream
from riskshare.store.failures import guarded

if TYPE_CHECKING:
    from asyncpg.transaction import Transaction

    from riskshare.store.connection import Connection

IDLE_SECONDS: Final = 600
"""An importer that is silent this long in its transaction is cut off, so that no lock outlives it."""

STATEMENT_SECONDS: Final = 1800.0
"""Bound of each statement of an import: millions of rows are written by one."""

BARRED: Final = ("appeal_upheld",)
"""Reasons of withdrawal that no import undoes: a person whose appeal was upheld stays off the list."""

_COLUMNS: Final = ("id", "handle", "sealed", "record", "content", "valid_from", "valid_until", "case_handle")


class Import:
    """An import under way. `add` as often as needed, `count` to preview, then `commit` once.

    Disputed entries are left alone: a dispute ends by a decision, not by the next file.
    """

    def __init__(self, connection: Connection, transaction: Transaction, list_id: int) -> None:
        self._connection = connection
        self._transaction = transaction
        self._list_id = list_id
        self._settled = False

    async def add(self, batch: Sequence[EntryRow]) -> None:
        """Take rows in. Batches of some thousand are best.

        Raises:
            StoreError: PostgreSQL is away or refuses; the import is over.

        """
        if self._settled:
            raise StoreError("This import was counted already: begin another.", code="store_refused")
        records = [
            (r.id, r.handle, r.sealed, r.record, r.content, r.valid_from, r.valid_until, r.case_handle) for r in batch
        ]
        with guarded():
            await self._connection.copy_records_to_table(
                "incoming", records=records, columns=_COLUMNS, timeout=STATEMENT_SECONDS
            )

    async def count(self, *, replace: bool = False) -> ImportCounts:
        """What a commit would do, as the list is now. No row is taken in after this.

        Raises:
            StoreError: PostgreSQL is away or refuses; the import is over.

        """
        with guarded():
            return await self._count(replace=replace)

    async def commit(
        self, change: Change, *, never_upto: int = 0, replace: tuple[str, Reseal] | None = None
    ) -> ImportCounts:
        """Write the entries, all durable when this returns, and say what was done. Ends the import.

        `never_upto` is that of the never-list which all rows were held against. `replace` makes the import the whole
        list: entries that it does not name are withdrawn for the reason given, sealed anew by the callback.

        Raises:
            StoreError: PostgreSQL is away or refuses; nothing of the import stands.
            InputError: the list is gone; `never_changed`: a rule was added to the never-list after the rows were
                held against it.

        """
        with guarded():
            of = await locked(self._connection, self._list_id)
            await refuse_newer_rules(self._connection, never_upto)
            # Others may have written since a preview: what stands under the lock decides.
            await self._connection.execute("drop table if exists settled")
            self._settled = False
            counts = await self._count(replace=replace is not None)
            if counts.withdrawn and replace is not None:
                reason, reseal = replace
                gone = stream(self._connection, SQL["missing"], of.id)
                await change_states(self._connection, of, gone, state="withdrawn", reason=reason, reseal=reseal)
            if counts.replaced or counts.relisted:
                await self._connection.execute(SQL["keep_former"], of.id, of.changed + 1, timeout=STATEMENT_SECONDS)
            if counts.new or counts.replaced or counts.relisted:
                await self._connection.execute(SQL["write_import"], of.id, of.changed + 1, timeout=STATEMENT_SECONDS)
            if counts.changes:
                await conclude(self._connection, of, change, _done(counts))
            await self._transaction.commit()
        return counts

    async def _count(self, *, replace: bool) -> ImportCounts:
        if not self._settled:
            await self._connection.execute("analyze incoming", timeout=STATEMENT_SECONDS)
            await self._connection.execute(SQL["settle_import"], self._list_id, BARRED, timeout=STATEMENT_SECONDS)
            await self._connection.execute("analyze settled", timeout=STATEMENT_SECONDS)
            self._settled = True
        row = await self._connection.fetchrow(SQL["count_import"], timeout=STATEMENT_SECONDS)
        missing = 0
        if replace:
            missing = await self._connection.fetchval(SQL["count_missing"], self._list_id, timeout=STATEMENT_SECONDS)
        assert row is not None
        return ImportCounts(**row, withdrawn=missing)


def _done(counts: ImportCounts) -> ChangeCounts:
    return ChangeCounts(
        added=counts.new, replaced=counts.replaced, relisted=counts.relisted, withdrawn=counts.withdrawn
    )


@asynccontextmanager
async def importing(target: Target, list_id: int) -> AsyncIterator[Import]:
    """An import into one list, on a connection of its own. What is not committed is rolled back.

    Raises:
        StoreError: PostgreSQL is away or refuses.

    """
    # Every statement of an import may be long, those of the commit too: the client's own bound must not be shorter.
    patient = replace(target, statement_seconds=STATEMENT_SECONDS)
    with guarded():
        async with asyncio.timeout(target.client_timeout):
            connection = await patient.connect(idle_in_transaction_session_timeout=str(IDLE_SECONDS * 1000))
    try:
        with guarded():
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(SQL["begin_import"])
        yield Import(connection, transaction, list_id)
    finally:
        connection.terminate()  # whatever is not committed is rolled back
