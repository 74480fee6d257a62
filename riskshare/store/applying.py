"""Making entries of an import's rows, in one transaction, most of it before the list's lock is taken.

A large import takes seconds to write, and a withdrawal must not wait for that. So, `ahead` of the lock:

1. Whoever else brings entries waits (`adding`); whoever withdraws, disputes or restores some does not.
2. The rows are matched with the entries as of a change of the list, `seen`, and written under a number far above it.
   What others change meanwhile gets numbers between the two, so that numbers still become visible in their order, and
   is passed over. What is new, and what entries were before, comes first: nobody can wait for that. Then the entries
   that there are: if somebody has to wait for one of them, all of them are given back and written again afterwards.
3. Under the list's lock, what was changed after `seen` - few entries - is matched, written and counted as it is then.

The rows of a list's first import are not written at all: their table becomes that of the list (`entry_tables`).

Nothing of all that is visible before the commit. Without `ahead` the list is locked from the beginning.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import asyncpg

from riskshare.errors import StoreError
from riskshare.sharing.kept import Change, ChangeCounts, ImportCounts, ListRow
from riskshare.sharing.staged import check_share
from riskshare.store.connection import affected
from riskshare.store.entries import (
    SQL,
    Reseal,
    adding,
    change_states,
    conclude,
    locked,
    read_list,
    refuse_newer_rules,
    stream,
)
from riskshare.store.entry_tables import FirstEntries, has_table
from riskshare.store.failures import FAILURES
from riskshare.store.queries import load

if TYPE_CHECKING:
    from riskshare.store.connection import Connection, Pool

IMPORTS: Final = load("imports.sql")

STATEMENT_SECONDS: Final = 1800.0
"""Bound of each statement of an import: millions of rows are written by one."""

BARRED: Final = ("appeal_upheld",)
"""Reasons of withdrawal that no import undoes: a person whose appeal was upheld stays off the list."""

AHEAD: Final = 1_000_000
"""So many changes of a list can be made while an import is written into it: more than there is time for."""

WATCH_SECONDS: Final = 0.1
"""How often it is looked whether somebody waits for an entry that an import is writing."""


TRIES: Final = 5
"""So often an import gives back the entries that it is writing; then it takes the list's lock before them."""


class _GivenWay(Exception):  # noqa: N818 - an outcome: the caller does it again
    """Somebody else had to change an entry that was being written."""


class Applying:
    """Makes entries of the rows of a table, within a transaction of the connection. `table` is a name of ours.

    Disputed entries are left alone: a dispute ends by a decision, not by the next file.
    """

    def __init__(self, connection: Connection, list_id: int, table: str) -> None:
        self._connection = connection
        self._list_id = list_id
        self._table = table

    def sql(self, statement: str) -> str:
        """A statement of `lists.sql` or `imports.sql` over this table."""
        return (SQL.get(statement) or IMPORTS[statement]).replace("incoming", self._table)

    async def _execute(self, statement: str, *arguments: object) -> int:
        """Execute a statement that may take long; give the rows that it inserted."""
        status = await self._connection.execute(self.sql(statement), *arguments, timeout=STATEMENT_SECONDS)
        return affected(status) if status.startswith("INSERT") else 0

    # -- what would be done ----------------------------------------------------------

    async def count(self, *, replace: bool) -> ImportCounts:
        """What the rows would do to the list as it is now."""
        if not await has_table(self._connection, self._list_id):
            row = await self._connection.fetchrow(self.sql("count_distinct"), timeout=STATEMENT_SECONDS)
            assert row is not None
            return ImportCounts(row[1], 0, 0, 0, 0, 0, repeated=row[0] - row[1])
        await self._settle(replace=replace)
        rows = await self._connection.fetchval(self.sql("count_rows"), timeout=STATEMENT_SECONDS)
        return await self._counts(rows)

    async def _settle(self, *, replace: bool) -> None:
        await self._connection.execute("drop table if exists settled")
        await self._execute("analyze_import")
        await self._execute("settle_import", self._list_id, BARRED)
        if replace:
            await self._execute("settle_missing", self._list_id)
        await self._execute("index_settled")
        await self._connection.execute("analyze settled", timeout=STATEMENT_SECONDS)

    async def _counts(self, rows: int) -> ImportCounts:
        row = await self._connection.fetchrow(SQL["count_import"], rows, timeout=STATEMENT_SECONDS)
        assert row is not None
        return ImportCounts(**row)

    # -- doing it --------------------------------------------------------------------

    async def write(
        self,
        change: Change,
        never_upto: int,
        replace: tuple[str, Reseal] | None,
        most_withdrawn: int = 100,
        *,
        ahead: Pool | None = None,
    ) -> ImportCounts:
        """Write the entries, and say what was done. With `ahead`, most of it without the list's lock.

        Raises:
            InputError: `unknown_list`; `never_changed`; `replace_too_large`: a replacement would withdraw more than
                `most_withdrawn` percent of the list's entries.
            StoreError: `list_busy`, others change the list all the time.

        """
        await adding(self._connection, self._list_id)
        seen = await (locked if ahead is None else read_list)(self._connection, self._list_id)
        number = seen.changed + (1 if ahead is None else AHEAD)
        await refuse_newer_rules(self._connection, never_upto)
        first = None
        if not await has_table(self._connection, self._list_id):
            first = FirstEntries(self._connection, self._list_id, self._table, STATEMENT_SECONDS)
            new, rows = await first.prepare(number)
            counts = ImportCounts(new, 0, 0, 0, 0, 0, repeated=rows - new)
        else:
            counts = await self.count(replace=replace is not None)
            check_share(counts, most_withdrawn)
            if counts.new:
                await self._write(seen, number, ["new"], late=False)
            if counts.changes > counts.new:
                await self._write_over(seen, number, replace, ahead)
        of = await locked(self._connection, self._list_id)
        await refuse_newer_rules(self._connection, never_upto)
        if of.changed >= number:
            raise StoreError("This list is changed too often for an import just now: try it later.", code="list_busy")
        if first is None and of.changed > seen.changed:
            counts = await self._write_late(seen, of, number, replace, counts.rows)
            check_share(counts, most_withdrawn)
        if counts.changes:
            if first is not None:
                await first.attach()
            await conclude(self._connection, of, change, _done(counts), number)
        return counts

    async def _write_over(
        self, seen: ListRow, number: int, replace: tuple[str, Reseal] | None, ahead: Pool | None
    ) -> None:
        """Write over the entries that are as they were at `seen`; the list is locked when this returns."""
        await self._keep_former(seen, number, late=False)
        for _ in range(TRIES):
            if ahead is None:
                break
            with suppress(_GivenWay):
                async with _giving_way(ahead, self._connection), self._connection.transaction():
                    await self._write_standing(seen, number, replace, late=False)
                    await locked(self._connection, self._list_id)
                return
        await locked(self._connection, self._list_id)
        await self._write_standing(seen, number, replace, late=False)

    async def _write_late(
        self, seen: ListRow, of: ListRow, number: int, replace: tuple[str, Reseal] | None, rows: int
    ) -> ImportCounts:
        """Write over the entries that others have changed between `seen` and `of`; count anew. The list is locked."""
        late = await self._execute("settle_again", of.id, seen.changed, of.changed, BARRED, replace is not None)
        counts = await self._counts(rows)
        if late:
            await self._execute("forget_former", of.id, number)
        if await self._connection.fetchval(SQL["late_to_write"], timeout=STATEMENT_SECONDS):
            await self._keep_former(of, number, late=True)
            await self._write_standing(of, number, replace, late=True)
        return counts

    async def _write_standing(
        self, of: ListRow, number: int, replace: tuple[str, Reseal] | None, *, late: bool
    ) -> None:
        if replace is not None:
            reason, reseal = replace
            gone = stream(self._connection, SQL["missing"], of.id, of.changed, late)
            await change_states(
                self._connection, of, gone, state="withdrawn", reason=reason, reseal=reseal, number=number
            )
        await self._write(of, number, ["replaced", "relisted"], late=late)

    async def _keep_former(self, of: ListRow, number: int, *, late: bool) -> None:
        await self._execute("keep_former", of.id, number, of.changed, late)

    async def _write(self, of: ListRow, number: int, effects: list[str], *, late: bool) -> None:
        await self._execute("write_import", of.id, number, of.changed, late, effects)


def _done(counts: ImportCounts) -> ChangeCounts:
    return ChangeCounts(
        added=counts.new, replaced=counts.replaced, relisted=counts.relisted, withdrawn=counts.withdrawn
    )


@asynccontextmanager
async def _giving_way(pool: Pool, connection: Connection) -> AsyncIterator[None]:
    """End the statement under way on a connection if somebody waits for an entry that its transaction has written.

    Whoever waits so holds the list's lock, and the transaction would wait for that in its turn. Raises _GivenWay.
    """
    watch = _Watch(pool, connection.get_server_pid())
    watching = asyncio.ensure_future(watch.run())
    try:
        yield
    except asyncpg.DeadlockDetectedError:  # PostgreSQL was faster
        raise _GivenWay from None
    except (asyncpg.QueryCanceledError, StoreError):  # the latter by `locked`
        if await watch.has_ended_it():
            raise _GivenWay from None
        raise
    finally:
        watching.cancel()
        await asyncio.wait([watching])


class _Watch:
    """Looks whether somebody waits for an entry that a session has written, and ends its statement then."""

    def __init__(self, pool: Pool, pid: int) -> None:
        self._pool = pool
        self._pid = pid
        self._looking = asyncio.Lock()
        self._ended = False

    async def run(self) -> None:
        """Look until cancelled."""
        with suppress(*FAILURES):  # without a connection, PostgreSQL's own search for deadlocks remains
            while True:
                await asyncio.sleep(WATCH_SECONDS)
                async with self._looking:
                    if await self._pool.fetchval(IMPORTS["give_way"], self._pid):
                        self._ended = True

    async def has_ended_it(self) -> bool:
        """Whether it was this that ended a statement: the session may know that before this does."""
        async with self._looking:
            return self._ended
