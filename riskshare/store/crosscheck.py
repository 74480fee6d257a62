"""Reading the case database for reconciliation: named queries over all members' facts, in bounded memory.

What the queries join and sort, SQLite does in its own files; rows come one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, final

from riskshare.audit.fact import BROKEN, LogRow
from riskshare.store import queries
from riskshare.store.case import Case

_SQL: Final = queries.load("crosscheck.sql")


@final
class CrossCheck:
    """The queries of `crosscheck.sql`, by name. Every method raises DiskError."""

    def __init__(self, case: Case) -> None:
        self._case = case

    def prepare(self) -> None:
        """Make the indices and the table of sums that the queries need; what was there is made anew."""
        self._case.index()
        self._run("prepare")

    def finish(self) -> None:
        """Drop what `prepare` made: the next replay would have to keep it up to date."""
        self._run("finish")

    def is_ready(self) -> bool:
        """Whether a replay was run to its end on this case."""
        return bool(next(self.rows("is_ready"))[0])

    def _run(self, name: str) -> None:
        for statement in _SQL[name].split(";"):
            parameters = (BROKEN,) if "?1" in statement else ()
            list(self._case.select(statement, *parameters))

    def logs(self) -> list[LogRow]:
        """The audited part of each log, by member."""
        return self._case.logs()

    def rows(self, name: str, *parameters: object) -> Iterator[tuple[Any, ...]]:
        """The rows of a named query."""
        return self._case.select(_SQL[name], *parameters)

    def minutes(self, member: str) -> Iterator[int]:
        """The minutes (milliseconds of their starts, rising) from which there is something in a member's log."""
        return (row.bucket for row in self._case.activity(member))
