"""Rotating the data key: every row that is sealed under the former one is sealed anew under the next.

Nobody else writes meanwhile (`store.data_keys`), so a pass over all rows, page by page, is enough. Each page is one
transaction. A row says by itself under which of the two keys it is: what opens under the next one was done before a
crash, and is left. So a rotation goes on wherever it stopped, by doing it again.

Order: every row opens under the former key (`verify`), else nothing is begun -> the rotation is begun in the store ->
rows are sealed anew -> the key takes its place -> the store is told that it is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol
from uuid import UUID

from riskshare.errors import OpenError
from riskshare.membership.record import Record
from riskshare.sharing.entry import NONCE_BYTES, DataKey
from riskshare.sharing.kept import State
from riskshare.sharing.never_kept import PLACE

Table = Literal["entries", "versions", "rules"]
TABLES: Final[tuple[Table, ...]] = ("entries", "versions", "rules")
"""Entries, what they were before, and single identifiers of the never-list."""

PAGE: Final = 2_000
"""Rows of one transaction."""


@dataclass(frozen=True, slots=True)
class SealedRow:
    """A row with an identifier under the data key; its key in its table is list and handle, with `number`, or that.

    `name` is the local name of its list, "" for a rule. `record` is there if the row is also found by its record's
    case.
    """

    id: UUID
    list_id: int
    handle: bytes = field(repr=False)
    number: int
    sealed: bytes = field(repr=False)
    state: State
    name: str
    record: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """The same row under the next key."""

    row: SealedRow
    handle: bytes = field(repr=False)
    sealed: bytes = field(repr=False)
    case_handle: bytes | None = field(repr=False)


class Rows(Protocol):
    """The store of all that is sealed under the data key. Every method raises StoreError."""

    async def count(self, table: Table) -> int:
        """How many rows there are."""

    def pages(self, table: Table, size: int) -> AsyncGenerator[Sequence[SealedRow]]:
        """All rows as they are when this begins, each once, so many at a time."""

    async def write(self, table: Table, rows: Sequence[Rekeyed]) -> None:
        """Write rows in one transaction."""

    async def epochs(self) -> Sequence[tuple[bytes, bytes]]:
        """Digest and sealed key of every epoch whose key is kept."""

    async def write_epoch(self, digest: bytes, sealed: bytes) -> None:
        """Write the sealed key of an epoch."""


class Rekeyer:
    """Seals the rows of one member anew. `progress` is told rows done, and all rows that there are."""

    def __init__(
        self,
        *,
        member: str,
        rows: Rows,
        former: DataKey,
        following: DataKey,
        random: Callable[[int], bytes],
        progress: Callable[[int, int], None],
    ) -> None:
        self._member = member
        self._rows = rows
        self._former = former
        self._following = following
        self._random = random
        self._progress = progress

    async def verify(self) -> None:
        """Open every row under the former key, or the next. Raises OpenError: one opens under neither; StoreError."""
        await self._pass(write=False)
        for digest, sealed in await self._rows.epochs():
            self._epoch(digest, sealed)

    async def run(self) -> int:
        """Seal anew what is under the former key; give the number of rows, epochs included.

        Raises:
            OpenError: a row opens under neither key.
            StoreError: PostgreSQL is away; what was done stays done.

        """
        done = await self._pass(write=True)
        for digest, sealed in await self._rows.epochs():
            again = self._epoch(digest, sealed)
            if again is not None:
                await self._rows.write_epoch(digest, again)
                done += 1
        return done

    async def _pass(self, *, write: bool) -> int:
        total = sum([await self._rows.count(table) for table in TABLES])
        seen = done = 0
        for table in TABLES:
            async for rows, made in self._through(table, write=write):
                seen, done = seen + rows, done + made
                self._progress(min(seen, total), total)
        return done

    async def _through(self, table: Table, *, write: bool) -> AsyncIterator[tuple[int, int]]:
        """Page by page: rows read, rows sealed anew. A page is written while the next one is sealed."""
        writing: asyncio.Task[None] | None = None
        try:
            async with aclosing(self._rows.pages(table, PAGE)) as pages:
                async for page in pages:
                    made = await asyncio.to_thread(self._page, table, page, write=write)
                    if writing is not None:
                        await writing
                    writing = asyncio.create_task(self._rows.write(table, made)) if made else None
                    yield len(page), len(made)
        finally:
            if writing is not None:
                await writing

    def _page(self, table: Table, rows: Sequence[SealedRow], *, write: bool) -> list[Rekeyed]:
        found = ((row, *self._open(table, row)) for row in rows)
        return [self._rekeyed(row, name, value) for row, name, value in found if write and value is not None]

    def _open(self, table: Table, row: SealedRow) -> tuple[str, bytes | None]:
        """The full name of the row's list, and its identifier if it is under the former key."""
        name = PLACE if table == "rules" else f"{self._member}/{row.name}"
        try:
            return name, self._former.open_identifier(row.sealed, row=row.id, list_name=name, state=row.state)
        except OpenError:
            self._following.open_identifier(row.sealed, row=row.id, list_name=name, state=row.state)
            return name, None

    def _rekeyed(self, row: SealedRow, name: str, value: bytes) -> Rekeyed:
        key, nonce = self._following, self._random(NONCE_BYTES)
        case = None if row.record is None else key.case_handle(Record.from_bytes(row.record).case, name)
        sealed = key.seal_identifier(value, nonce, row=row.id, list_name=name, state=row.state)
        return Rekeyed(row, key.handle(value, name), sealed, case)

    def _epoch(self, digest: bytes, sealed: bytes) -> bytes | None:
        """The key of an epoch sealed anew; None if it is already."""
        try:
            secret = self._former.open_epoch(sealed, digest)
        except OpenError:
            self._following.open_epoch(sealed, digest)
            return None
        return self._following.seal_epoch(secret, self._random(NONCE_BYTES), digest)
