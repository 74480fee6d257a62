"""The table of a list's entries: a part of `entries` by its list, there from the list's first entries on.

The rows of a first import become it as they lie there: they get the columns that an import does not know, all of them
constant, their indexes at once, and are attached. Nothing is written again, which is most of what writing entries
costs. All this is done within the transaction of a connection by the one who brings entries into the list
(`entries.adding`), and nothing is to be seen before the commit. Behind it, PostgreSQL shows the rows to transactions
that began before, too: whoever reads a list as of one moment leaves out what has a later number (`lists.sql`).

Attaching a part keeps nobody from reading or writing the others, and waits for others who attach one. So it comes last,
when nothing else is to be waited for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import asyncpg

from riskshare.errors import StoreError
from riskshare.store.queries import load

if TYPE_CHECKING:
    from riskshare.store.connection import Connection

_SQL: Final = load("entry_tables.sql")

ORDERED_ROWS: Final = 1_000_000
"""More rows than that (300 MB) are brought into the order of their handles, as a building reads them: a table that no
memory holds would be read in leaps."""

SORT_MEMORY: Final = "128MB"
"""What PostgreSQL may take to bring rows into an order; more of them go to its disk."""

_INDEXES: Final = ("index_by_change", "index_by_expiry", "index_by_case", "index_withdrawn")


async def has_table(connection: Connection, list_id: int) -> bool:
    """Whether a list has a table: if it has, or had, any entry."""
    return bool(await connection.fetchval(_SQL["has_table"], list_id))


async def make_table(connection: Connection, list_id: int) -> None:
    """Make the table of a list that has none.

    Raises:
        StoreError: `list_busy`, others held the lock of `entries` for too long.

    """
    for step in ("make", "index_by_handle", *_INDEXES):
        await connection.execute(_sql(step, list_id))
    try:
        await connection.execute(_sql("attach", list_id))
    except asyncpg.QueryCanceledError:
        raise StoreError(
            "Another list is getting its first entries, or PostgreSQL is working on all of them: do this again in a"
            " few seconds.",
            code="list_busy",
        ) from None


class FirstEntries:
    """The rows of an import, in the table `rows`, that become the entries of a list which has no table.

    First `prepare`, which takes most of the time; then, with the list locked, `attach`. `seconds` bounds a statement.
    """

    def __init__(self, connection: Connection, list_id: int, rows: str, seconds: float) -> None:
        self._connection = connection
        self._list_id = list_id
        self._rows = rows
        self._seconds = seconds

    async def prepare(self, number: int) -> tuple[int, int]:
        """Make the table what a part of `entries` is; give how many entries, and how many rows there were.

        Of rows with the same handle the last one counts. `number` is that of the change that they come with. Without
        any row there is nothing to attach.
        """
        await self._execute("may_write")
        for setting in ("work_mem", "maintenance_work_mem"):
            await self._connection.execute(f"set local {setting} = '{SORT_MEMORY}'")
        count = read = await self._count()
        if not read:
            return 0, 0
        if read > ORDERED_ROWS:
            count = await self._order()
        try:
            async with self._connection.transaction():
                await self._become(number)
        except asyncpg.UniqueViolationError:  # the file names something twice
            count = await self._order()
            await self._become(number)
        for index in _INDEXES:
            await self._execute(index)
        await self._execute("analyze")
        return count, read

    async def attach(self) -> None:
        """Make them part of `entries`. Until the commit nobody else attaches a table; all else goes on."""
        await self._execute("attach")
        await self._execute("release")

    async def _order(self) -> int:
        """Write the last row of each handle anew, in the order of the handles."""
        for step in ("make_ordered", "write_ordered", "drop_rows", "rename_ordered"):
            await self._execute(step)
        return await self._count()

    async def _become(self, number: int) -> None:
        await self._execute("rename")
        complete = self._sql("complete").replace("CHANGED", str(number))
        await self._connection.execute(complete, timeout=self._seconds)
        await self._execute("constrain")
        await self._execute("index_by_handle")

    async def _count(self) -> int:
        return int(await self._connection.fetchval(self._sql("count_rows"), timeout=self._seconds))

    async def _execute(self, statement: str) -> None:
        await self._connection.execute(self._sql(statement), timeout=self._seconds)

    def _sql(self, statement: str) -> str:
        return _sql(statement, self._list_id).replace("incoming", self._rows)


def _sql(statement: str, list_id: int) -> str:
    return _SQL[statement].replace("PART", f"entries_{list_id}").replace("NUMBER", str(list_id))
