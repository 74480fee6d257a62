"""Imports: all rows become entries in one transaction, or none does.

Rows go by COPY into a temporary table (`importing`) or into a table that outlives its process (`store.imports`), so
memory stays flat and nothing is locked while they come. What a commit does stands in `applying`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from riskshare.errors import StoreError
from riskshare.sharing.kept import Change, EntryRow, ImportCounts
from riskshare.store.applying import STATEMENT_SECONDS, Applying
from riskshare.store.connection import Target
from riskshare.store.entries import SQL, Reseal
from riskshare.store.failures import guarded

if TYPE_CHECKING:
    from asyncpg.transaction import Transaction

    from riskshare.store.connection import Connection

IDLE_SECONDS: Final = 600
"""An importer that is silent this long in its transaction is cut off, so that no lock outlives it."""

_COLUMNS: Final = ("id", "handle", "sealed", "record", "content", "valid_from", "valid_until", "case_handle")


class Import:
    """An import under way. `add` as often as needed, `count` to preview, then `commit` once.

    Disputed entries are left alone: a dispute ends by a decision, not by the next file.
    """

    def __init__(self, connection: Connection, transaction: Transaction, list_id: int) -> None:
        self._connection = connection
        self._transaction = transaction
        self._applying = Applying(connection, list_id)
        self._counted = False

    async def add(self, batch: Sequence[EntryRow]) -> None:
        """Take rows in. Batches of some thousand are best.

        Raises:
            StoreError: PostgreSQL is away or refuses; the import is over.

        """
        if self._counted:
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
        self._counted = True
        with guarded():
            return await self._applying.count(replace=replace)

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
            # Others may have written since a preview: what stands under the lock decides.
            counts = await self._applying.write(change, never_upto, replace)
            await self._transaction.commit()
        return counts


async def patient(target: Target) -> Connection:
    """A connection of its own, whose statements may all be long: those of a commit too. Raises StoreError."""
    long = replace(target, statement_seconds=STATEMENT_SECONDS)
    with guarded():
        async with asyncio.timeout(target.client_timeout):
            return await long.connect(idle_in_transaction_session_timeout=str(IDLE_SECONDS * 1000))


@asynccontextmanager
async def importing(target: Target, list_id: int) -> AsyncIterator[Import]:
    """An import into one list, on a connection of its own. What is not committed is rolled back.

    Raises:
        StoreError: PostgreSQL is away or refuses.

    """
    connection = await patient(target)
    try:
        with guarded():
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(SQL["begin_import"])
        yield Import(connection, transaction, list_id)
    finally:
        connection.terminate()  # whatever is not committed is rolled back
