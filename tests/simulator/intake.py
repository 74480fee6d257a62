"""Rows brought into a list as an import brings them, without a file."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import uuid4

from riskshare.sharing.kept import Change, EntryRow, ImportCounts
from riskshare.sharing.row_place import Place
from riskshare.sharing.staged import NewImport, Piece
from riskshare.store.copy_rows import head, tail
from riskshare.store.entries import Reseal
from riskshare.store.imports import Staging
from riskshare.store.store import Store


class Intake:
    """An import under way: `add` as often as needed, then `commit`."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._line = 0

    async def add(self, rows: Sequence[EntryRow]) -> None:
        parts = []
        for row in rows:
            self._line += 1
            parts += [
                head(self._line, row.id.bytes, row.handle, row.sealed),
                tail(row.record, row.content, row.valid_from, row.valid_until, row.case_handle),
            ]
        await self._staging.add(Piece(Place(self._line, self._line), len(rows), len(rows), b"".join(parts), ()))

    async def count(self, *, replace: bool = False) -> ImportCounts:
        await self._staging.finish()
        return await self._staging.count(replace=replace)

    async def commit(self, change: Change, *, replace: tuple[str, Reseal] | None = None) -> ImportCounts:
        await self._staging.finish()
        return await self._staging.commit(change, replace=replace)


@asynccontextmanager
async def intake_of(store: Store, list_id: int, *, never_upto: int = 0) -> AsyncIterator[Intake]:
    """An import into a list of rows that were held against the never-list up to that rule."""
    wanted = NewImport(uuid4(), list_id, os.urandom(32), "csv", "ops", "add", datetime.now(UTC), never_upto, 1)
    async with store.imports.staging(wanted) as staging:
        yield Intake(staging)


async def bring(
    store: Store,
    list_id: int,
    rows: Sequence[EntryRow],
    change: Change,
    *,
    never_upto: int = 0,
    replace: tuple[str, Reseal] | None = None,
) -> ImportCounts:
    """An import of these rows, from its beginning to its end."""
    async with intake_of(store, list_id, never_upto=never_upto) as intake:
        await intake.add(rows)
        return await intake.commit(change, replace=replace)
