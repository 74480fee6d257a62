"""The table of a list's entries: a part of `entries` by its list, there from the list's first entries on.

The rows of a first import become it as they lie there: they get the columns that an import does not know, all of them
constant, their indexes at once, and are attached. Nothing is written again, which is most of what writing entries
costs. The functions work within the transaction of a connection; whoever calls them is the one who brings entries
into the list (`entries.adding`), and nothing is to be seen before the commit.

Attaching a part keeps nobody from reading or writing the others, and waits for others who attach one; so it comes last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import asyncpg

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


async def has_entries(connection: Connection, list_id: int) -> bool:
    """Whether a list has, or had, any entry: then it has a table too."""
    return bool(await connection.fetchval(_SQL["has_entries"], list_id))


async def make_table(connection: Connection, list_id: int) -> None:
    """Make the table of a list without entries."""
    for step in ("make", "index_by_handle", *_INDEXES, "attach"):
        await connection.execute(_sql(step, list_id))


async def take_over(connection: Connection, list_id: int, rows: str, number: int, seconds: float) -> tuple[int, int]:
    """Make the rows of an import the entries of a list without any; give how many, and how many rows there were.

    Of rows with the same handle the last one counts. `number` is that of the change, `seconds` bounds each statement.
    """
    taking = _TakingOver(connection, list_id, rows, number, seconds)
    return await taking.run()


class _TakingOver:
    def __init__(self, connection: Connection, list_id: int, rows: str, number: int, seconds: float) -> None:
        self._connection = connection
        self._list_id = list_id
        self._rows = rows
        self._number = number
        self._seconds = seconds

    async def run(self) -> tuple[int, int]:
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
                await self._become()
        except asyncpg.UniqueViolationError:  # the file names something twice
            count = await self._order()
            await self._become()
        for index in _INDEXES:
            await self._execute(index)
        await self._execute("attach")
        await self._execute("release")
        return count, read

    async def _order(self) -> int:
        """Write the last row of each handle anew, in the order of the handles."""
        await self._execute("make_ordered")
        await self._execute("write_ordered")
        await self._execute("drop_rows")
        await self._execute("rename_ordered")
        return await self._count()

    async def _become(self) -> None:
        for step in ("rename", "complete", "constrain", "index_by_handle"):
            await self._execute(step)

    async def _count(self) -> int:
        sql = self._sql("count_rows")
        return int(await self._connection.fetchval(sql, timeout=self._seconds))

    async def _execute(self, statement: str) -> None:
        await self._connection.execute(self._sql(statement), timeout=self._seconds)

    def _sql(self, statement: str) -> str:
        return _sql(statement, self._list_id).replace("incoming", self._rows).replace("CHANGED", str(self._number))


def _sql(statement: str, list_id: int) -> str:
    return _SQL[statement].replace("PART", f"entries_{list_id}").replace("NUMBER", str(list_id))
