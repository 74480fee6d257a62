"""Imports that outlive their process: rows as they come, each transaction with the place behind them.

Each import has a table of its own, `import_rows_NUMBER`, sealed as entries are. A process that dies leaves it; the same
file goes on behind the last place. What the import does to its list is one transaction, and the table goes with it.
One import at a time works on a list: the locks are those of the session, so PostgreSQL takes them back when it ends.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, final
from uuid import UUID

from riskshare.errors import InputError, StoreError
from riskshare.sharing.kept import Change, ImportCounts
from riskshare.sharing.row_place import Place
from riskshare.sharing.rows import BadRow
from riskshare.sharing.staged import ImportRow, NewImport, Piece, SavedMapping
from riskshare.store.applying import IMPORTS as SQL
from riskshare.store.applying import STATEMENT_SECONDS, Applying
from riskshare.store.connection import IMPORT_LOCKS, LIST_IMPORT_LOCKS, Target, affected
from riskshare.store.copy_rows import COLUMNS, END, START
from riskshare.store.entries import Reseal, waiting
from riskshare.store.failures import guarded

if TYPE_CHECKING:
    import asyncpg

    from riskshare.store.connection import Connection, Pool, Session

RESUME: Final = timedelta(days=7)
"""An import that began longer ago is not gone on with: the terms of its entries count from its beginning."""

RECONSIDER: Final = timedelta(hours=1)
"""So long the rows of a dry run, or of an import that was refused, are used again, if none has ended meanwhile. Later
the file is read anew: its terms count from the import, not from the day on which it was tried."""

KEEP_FAULTS: Final = timedelta(days=30)
"""So long the bad rows of an import can be looked up."""

FEW_ROWS: Final = 5_000
"""An import of at most so many rows, into a list of at most so many entries if it replaces it, holds its list's lock
from the beginning to the end: a fraction of a second."""

IDLE_SECONDS: Final = 600
"""An importer that is silent this long in its transaction is cut off, so that no lock outlives it."""

PAGE: Final = 1000
FORGET_ROWS: Final = 10_000
LOCK_TRIES: Final = 15
LOCK_PAUSE: Final = 0.2
CLOSE_SECONDS: Final = 5.0
_OPEN: Final = ("reading", "read", "refused")


@final
class Staging:
    """An import under way: `add` pieces, `finish`, then `count`, and `commit` or `refuse`. `row` is how it began.

    Every method raises StoreError if PostgreSQL is away: what was added stays. And InputError `import_cancelled` if
    somebody has cancelled the import.
    """

    def __init__(self, connection: Connection, pool: Pool, row: ImportRow, *, resumed: bool) -> None:
        self._connection = connection
        self._pool = pool
        self._table = _table(row.number)
        self._applying = Applying(connection, row.list_id, self._table)
        self._bad: dict[str, int] = dict(row.bad)
        self.row = row
        self.resumed = resumed

    async def add(self, piece: Piece) -> None:
        """Take rows in, and move the place behind them: both, or neither."""
        bad = dict(self._bad)
        for fault in piece.faults:
            bad[fault.code] = bad.get(fault.code, 0) + 1
        with guarded():
            async with self._connection.transaction():
                moved = await self._connection.execute(
                    SQL["move"],
                    self.row.id,
                    piece.after.offset,
                    piece.after.line,
                    piece.rows,
                    piece.good,
                    json.dumps(bad),
                )
                self._check(moved)
                if piece.good:
                    source = BytesIO(b"".join((START, piece.payload, END)))
                    await self._connection.copy_to_table(
                        self._table, source=source, columns=COLUMNS, format="binary", timeout=STATEMENT_SECONDS
                    )
                if piece.faults:
                    records = [
                        (self.row.number, one.line, one.column, one.code, one.message, one.suggestion)
                        for one in piece.faults
                    ]
                    await self._connection.copy_records_to_table("import_faults", records=records)
        self._bad = bad

    async def finish(self) -> None:
        """The file is read to its end."""
        with guarded():
            self._check(await self._connection.execute(SQL["read"], self.row.id))

    async def count(self, *, replace: bool) -> ImportCounts:
        """What a commit would do, as the list is now."""
        with guarded():
            async with self._connection.transaction():
                await self._hold()
                return await self._applying.count(replace=replace)

    async def commit(
        self,
        change: Change,
        *,
        replace: tuple[str, Reseal] | None,
        most_withdrawn: int = 100,
        mapping: SavedMapping | None = None,
    ) -> ImportCounts:
        """Make entries of all rows, durably, and drop them here; `mapping` is kept for the list's next import.

        `replace` makes the import the whole list: entries that it does not name are withdrawn for the reason given,
        sealed anew by the callback.

        Raises:
            InputError: the list is gone; `never_changed`; `replace_too_large`, see `Applying.write`. Nothing was done.

        """
        with guarded():
            async with self._connection.transaction():
                await self._connection.execute("set local synchronous_commit = on")
                await self._hold()
                of = self.row.list_id, FEW_ROWS, replace is not None
                short = await self._connection.fetchval(self._applying.sql("is_short"), *of)
                ahead = None if short else self._pool
                counts = await self._applying.write(change, self.row.never_upto, replace, most_withdrawn, ahead=ahead)
                await self._end("committed", counts, None)
                await self._connection.execute(self._applying.sql("drop_rows"))
                if mapping is not None:
                    await self._connection.execute(SQL["save_mapping"], self.row.list_id, *_columns(mapping))
        return counts

    async def refuse(self, code: str, counts: ImportCounts | None) -> None:
        """Keep why nothing was done. The rows stay, for the case that the operator decides otherwise."""
        with guarded():
            await self._end("refused", counts, code)

    async def drop(self, code: str) -> None:
        """Keep why nothing can be done, and no row."""
        with guarded():
            async with self._connection.transaction():
                await _cancel(self._connection, self.row.id, code)

    async def _end(self, state: str, counts: ImportCounts | None, code: str | None) -> None:
        kept = None if counts is None else json.dumps(asdict(counts))
        self._check(await self._connection.execute(SQL["end"], self.row.id, state, kept, code, ("read", "refused")))

    async def _hold(self) -> None:
        """Let whoever cancels wait for the end of the transaction: the table stays until then.

        They wait for this row. If they had it, and waited for the table, a commit would wait for them in its turn.
        """
        self._check(await self._connection.execute(SQL["hold"], self.row.id))

    def _check(self, status: str) -> None:
        if not affected(status):
            raise InputError("Somebody has cancelled this import: nothing was changed.", code="import_cancelled")

    async def faults(self) -> AsyncIterator[BadRow]:
        """All bad rows, by line."""
        after = -1
        while page := await self._page(after):
            for fault in page:
                yield fault
            after = page[-1].line

    async def _page(self, after: int) -> list[BadRow]:
        with guarded():
            return [BadRow(*row) for row in await self._connection.fetch(SQL["faults"], self.row.id, after, PAGE)]

    async def repeated(self) -> AsyncIterator[tuple[int, int]]:
        """The rows that a later row overrides: its line, and that of the row that counts."""
        with guarded():
            async with self._connection.transaction():
                await self._hold()
                cursor = await self._connection.cursor(self._applying.sql("repeated"))
                while rows := await cursor.fetch(PAGE):
                    for row in rows:
                        yield row["line"], row["last"]


@final
class Imports:
    """The imports of this member's lists. Every method raises StoreError if PostgreSQL is away."""

    def __init__(self, target: Target, pool: Pool) -> None:
        self._target = target
        self._pool = pool

    @asynccontextmanager
    async def staging(self, wanted: NewImport) -> AsyncIterator[Staging]:
        """Begin an import, or go on with the one of the same fingerprint, on a connection of its own.

        Raises:
            InputError: `import_running`: another import works on this list.

        """
        connection = await _patient(self._target)
        try:
            with guarded():
                await _lock(connection, LIST_IMPORT_LOCKS, wanted.list_id)
                await connection.execute("set synchronous_commit = off")  # rows and place are lost together
                async with connection.transaction():
                    found = await _resumable(connection, wanted)
                    if found is None:
                        await _begin(connection, wanted)
                    else:
                        used = _kept_mapping(wanted.saved_mapping)
                        await connection.execute(SQL["take_up"], found, wanted.author, wanted.mode, used)
                    for other in await connection.fetch(SQL["superseded"], wanted.list_id, found or wanted.id):
                        await _cancel(connection, other["id"])
                row = await _row(connection, found or wanted.id)
                assert row is not None
                await _lock(connection, IMPORT_LOCKS, row.number)
            yield Staging(connection, self._pool, row, resumed=found is not None)
            with suppress(StoreError), guarded():  # what is committed stays so, and the locks end with the connection
                await connection.execute(SQL["unlock"], timeout=CLOSE_SECONDS)
        finally:
            connection.terminate()  # a transaction that was under way is rolled back

    async def import_with(self, import_id: UUID) -> ImportRow | None:
        """An import by its id."""
        with guarded():
            return await _row(self._pool, import_id)

    async def imports_of(self, list_id: int, limit: int = 50) -> list[ImportRow]:
        """The last imports into a list, newest first."""
        with guarded():
            return [_import(row) for row in await self._pool.fetch(SQL["of_list"], list_id, IMPORT_LOCKS, limit)]

    async def faults(self, import_id: UUID, after: int, limit: int) -> Sequence[BadRow]:
        """Bad rows of an import behind a line, by line."""
        with guarded():
            return [BadRow(*row) for row in await self._pool.fetch(SQL["faults"], import_id, after, limit)]

    async def cancel(self, import_id: UUID, code: str | None = None) -> bool:
        """End an import that was not committed, and drop its rows; whether there was one to end. `code` says why.

        Raises:
            StoreError: `list_busy`, it is being committed, and that takes long.

        """
        with guarded(), waiting():
            async with self._pool.acquire() as connection, connection.transaction():
                return await _cancel(connection, import_id, code)

    async def drop_stale(self, before: datetime) -> int:
        """Cancel what nobody has worked on since; give how many."""
        with guarded():
            found = [row["id"] for row in await self._pool.fetch(SQL["stale"], before)]
        return sum([await self.cancel(one) for one in found])

    async def drop_refused(self) -> int:
        """Drop the rows that were kept of dry runs and of imports that were refused; give of how many."""
        with guarded():
            found = [row["id"] for row in await self._pool.fetch(SQL["refused"])]
        return sum([await self.cancel(one) for one in found])

    async def unfinished(self) -> list[tuple[str, UUID]]:
        """The imports that were not read to their end, or not committed: list (local name) and id."""
        with guarded():
            found = await self._pool.fetch(SQL["unfinished"])
        return [(row["name"], UUID(int=row["id"].int)) for row in found]

    async def forget_faults(self, before: datetime) -> int:
        """Forget the bad rows of imports that were over by then, a bounded number at a time; give how many."""
        done = 0
        while True:
            with guarded():
                gone = affected(await self._pool.execute(SQL["forget_faults"], before, FORGET_ROWS))
            done += gone
            if gone < FORGET_ROWS:
                return done

    async def mapping(self, list_id: int) -> SavedMapping | None:
        """How the columns of this list's files are called."""
        with guarded():
            row = await self._pool.fetchrow(SQL["mapping"], list_id)
        if row is None:
            return None
        fields = tuple(json.loads(row["fields"]).items())
        return SavedMapping(row["type"], row["column_name"], row["region"], fields, row["author"], row["saved_at"])


async def _patient(target: Target) -> Connection:
    """A connection of its own, whose statements may all be long: those of a commit too. Raises StoreError."""
    long = replace(target, statement_seconds=STATEMENT_SECONDS)
    with guarded():
        async with asyncio.timeout(target.client_timeout):
            return await long.connect(idle_in_transaction_session_timeout=str(IDLE_SECONDS * 1000))


def _table(number: int) -> str:
    return f"import_rows_{number}"


async def _lock(connection: Connection, purpose: int, number: int) -> None:
    for _ in range(LOCK_TRIES):
        if await connection.fetchval(SQL["try_lock"], purpose, number):
            return
        # A process that was killed in a long statement: PostgreSQL sees within seconds that it is gone.
        await asyncio.sleep(LOCK_PAUSE)
    raise InputError("Another import into this list is under way: wait until it has ended.", code="import_running")


async def _resumable(connection: Connection, wanted: NewImport) -> UUID | None:
    """The import that goes on with this one, if there is one."""
    of = wanted.list_id, wanted.fingerprint, wanted.never_upto
    found = await connection.fetchrow(SQL["resumable"], *of, wanted.began_at - RESUME, wanted.began_at - RECONSIDER)
    if found is None:
        return None
    ended = SQL["has_ended"].replace("incoming", _table(found["number"]))
    if found["refused"] and await connection.fetchval(ended, wanted.began_at):
        return None
    row_id: UUID = found["id"]
    return row_id


async def _begin(connection: Connection, wanted: NewImport) -> None:
    number = await connection.fetchval(
        SQL["begin"],
        wanted.id,
        wanted.list_id,
        wanted.fingerprint,
        wanted.format,
        wanted.author,
        wanted.mode,
        wanted.began_at,
        wanted.never_upto,
        wanted.size,
        _kept_mapping(wanted.saved_mapping),
    )
    await connection.execute(SQL["make_rows"].replace("incoming", _table(number)))


async def _cancel(connection: Session, import_id: UUID, code: str | None = None) -> bool:
    number = await connection.fetchval(SQL["end"], import_id, "cancelled", None, code, _OPEN)
    if number is None:
        return False
    await connection.execute(SQL["drop_rows"].replace("incoming", _table(number)))
    return True


async def _row(connection: Connection | Pool, import_id: UUID) -> ImportRow | None:
    row = await connection.fetchrow(SQL["one"], import_id, IMPORT_LOCKS)
    return None if row is None else _import(row)


def _import(row: asyncpg.Record) -> ImportRow:
    fields: dict[str, Any] = dict(row)
    place = Place(fields.pop("place"), fields.pop("line"))
    counts = fields.pop("counts")
    fields.pop("fingerprint")
    bad = json.loads(fields.pop("bad"))
    known = None if counts is None else ImportCounts(**json.loads(counts))
    identity = UUID(int=fields.pop("id").int)  # asyncpg has a UUID of its own
    mapping = _mapping_used(fields.pop("saved_mapping"))
    return ImportRow(id=identity, place=place, bad=bad, counts=known, saved_mapping=mapping, **fields)


def _kept_mapping(used: SavedMapping | None) -> str | None:
    if used is None:
        return None
    saved_at = None if used.saved_at is None else used.saved_at.isoformat()
    return json.dumps({**asdict(used), "saved_at": saved_at})


def _mapping_used(kept: str | None) -> SavedMapping | None:
    if kept is None:
        return None
    found = json.loads(kept)
    at = found["saved_at"]
    fields = tuple((field, column) for field, column in found["fields"])
    return SavedMapping(**{**found, "fields": fields, "saved_at": None if at is None else datetime.fromisoformat(at)})


def _columns(mapping: SavedMapping) -> tuple[str, str, str, str, str]:
    return mapping.type, mapping.column, mapping.region, json.dumps(dict(mapping.fields)), mapping.author
