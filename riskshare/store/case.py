"""The case database of an audit: one SQLite file of facts, rebuilt from the members' folders at any time.

So nothing here needs to outlive the machine: SQLite does not wait for the disk. What is written together stands
together, whenever the process is killed; if the machine fails, the file is thrown away and made again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, final

from riskshare.audit import fact
from riskshare.errors import DiskError
from riskshare.store import queries

FILE_NAME: Final = "case.sqlite"
CACHE_KIB: Final = 32 * 1024
"""Most memory that SQLite keeps pages in."""
TOGETHER: Final = 64
"""Rows that are inserted at once: of 13 columns they have fewer values than any SQLite takes (999)."""
SORT_KIB: Final = 2 * 1024
"""While it makes indices: what it sorts at once is as large, and stays in a core's own cache; a second thread helps."""

TABLES: Final[Mapping[str, type[NamedTuple]]] = {
    "log": fact.LogRow,
    "receipt": fact.ReceiptRow,
    "exchange": fact.Exchange,
    "named_snapshot": fact.SnapshotNamed,
    "unanswered": fact.UnansweredRow,
    "epoch": fact.EpochRow,
    "snapshot": fact.SnapshotRow,
    "check_": fact.CheckRow,
    "registry": fact.RegistryRow,
    "audit": fact.AuditRow,
    "settlement": fact.SettlementRow,
    "checkpoint": fact.CheckpointRow,
}
"""The tables of facts, with their rows: the fields stand in the order of the columns."""

_SQL: Final = queries.load("case.sql")
_CACHE: Final = f"pragma cache_size = -{CACHE_KIB}"
_INDICES: Final = ("receipt_by_id", "exchange_by_id", "exchange_faulty")
_NAMES: Final = (*TABLES, "about", "activity", "tally", "flaw", "waiting", "done")


@final
class Case:
    """One open case database; use it in one thread. Every method raises DiskError if the file cannot be used."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the file, or make it."""
        with _guarded():
            connection = sqlite3.connect(path, isolation_level=None)
            path.chmod(0o600)
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = off")
            connection.execute(_CACHE)
            connection.execute("pragma temp_store = file")
            connection.executescript(_SQL["schema"])
        return cls(connection)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- writing ---------------------------------------------------------------------

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is written inside stands as a whole, or not at all."""
        with _guarded():
            self._connection.execute("begin immediate")
            try:
                yield
            except BaseException:
                self._connection.execute("rollback")
                raise
            self._connection.execute("commit")

    def add(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        """Add rows to a table of facts, in the order of its fields; one that is there stays as it is."""
        marks = f"({','.join('?' * len(TABLES[table]._fields))})"
        insert = f"insert or ignore into {table} values {marks}"  # noqa: S608 - a name of ours
        following = iter(rows)
        with _guarded():
            # To bind and run a statement takes as long as to insert a row: many share one.
            while len(some := list(islice(following, TOGETHER))) == TOGETHER:
                values = list(chain.from_iterable(some))
                self._connection.execute(insert + f",{marks}" * (TOGETHER - 1), values)
            self._connection.executemany(insert, some)

    def add_activity(self, rows: Iterable[Sequence[Any]]) -> None:
        """Add counts to minutes (`ActivityRow`)."""
        with _guarded():
            self._connection.executemany(
                "insert into activity values (?, ?, ?, ?, ?) on conflict do update set receipts = receipts +"
                " excluded.receipts, checks = checks + excluded.checks, elements = elements + excluded.elements",
                rows,
            )

    def add_tallies(self, member: str, counts: Mapping[str, int]) -> None:
        """Add to the counts of a member."""
        with _guarded():
            self._connection.executemany(
                "insert into tally values (?, ?, ?) on conflict do update set count = count + excluded.count",
                [(member, name, count) for name, count in counts.items()],
            )

    def add_flaws(self, rows: Iterable[Sequence[Any]]) -> None:
        """Keep what does not hold (`Flaw`)."""
        with _guarded():
            self._connection.executemany("insert or ignore into flaw values (?, ?, ?, ?, ?)", rows)

    def reach(self, member: str, step: str, upto: int) -> None:
        """Note how far a step has come, in the transaction of what it wrote."""
        with _guarded():
            self._connection.execute(
                "insert into done values (?, ?, ?) on conflict do update set upto = excluded.upto", (member, step, upto)
            )

    def begin(self, inputs: bytes) -> bool:
        """Go on with a case of the same inputs (a digest of them), or empty it. Tells whether there was one."""
        with _guarded():
            found = self._connection.execute("select value from about where name = 'inputs'").fetchone()
            if found is not None and found[0] == inputs:
                return True
            with self.together():
                for name in _NAMES:
                    self._connection.execute(f"delete from {name}")  # noqa: S608 - a name of ours
                for index in _INDICES:
                    self._connection.execute(f"drop index if exists {index}")
                self._connection.execute("insert into about values ('inputs', ?)", (inputs,))
            return False

    def index(self) -> None:
        """Make the indices that reading needs, once all receipts are there, and leave each exchange there once.

        Ids are random: an index that is kept while they come would be written all over again with each page.
        """
        with self._sorting():
            try:
                self._connection.execute(_SQL["index_exchanges"])
            except sqlite3.IntegrityError:  # two members say that they are the owner of one
                self._connection.execute(_SQL["leave_one_of_each"])
                self._connection.execute(_SQL["index_exchanges"])
            self._connection.executescript(_SQL["indices"])

    def wait(self) -> int:
        """Note of each receipt that nobody has verified one place where it stands (after `index`); gives how many."""
        with self.together():
            self._connection.execute("delete from waiting")
            return self._connection.execute(_SQL["wait"]).rowcount

    def finish(self) -> None:
        """All is in: the next `begin` makes the case anew."""
        with _guarded():
            self._connection.execute("delete from about where name = 'inputs'")

    # -- reading ---------------------------------------------------------------------

    def reached(self, member: str, step: str) -> int:
        """How far a step has come; 0 if it has not begun."""
        found = self._one("select upto from done where member = ? and step = ?", member, step)
        return 0 if found is None else int(found[0])

    def select(self, sql: str, *parameters: object) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, one after the other: never all in memory."""
        with _guarded():
            yield from self._connection.execute(sql, parameters)

    def logs(self) -> list[fact.LogRow]:
        """The audited part of each log, by member."""
        return [fact.LogRow(*row) for row in self.select("select * from log order by member")]

    def exchanges(self) -> Iterator[fact.Exchange]:
        """Each distinct exchange once, in no order."""
        return map(fact.Exchange._make, self.select("select * from exchange"))

    def registries(self) -> Iterator[fact.RegistryRow]:
        """Every row of a registry version, by member and index."""
        return map(fact.RegistryRow._make, self.select("select * from registry order by member, idx"))

    def exchange(self, id: bytes) -> fact.Exchange | None:  # noqa: A002 - the field's own word
        """The exchange with an id."""
        found = self._one("select * from exchange where id = ?", id)
        return None if found is None else fact.Exchange(*found)

    def places(self, id: bytes) -> list[fact.ReceiptRow]:  # noqa: A002 - the field's own word
        """Where a receipt stands, by member and index (after `index`)."""
        return [fact.ReceiptRow(*row) for row in self.select("select * from receipt where id = ? order by 1, 2", id)]

    def activity(self, member: str) -> Iterator[fact.ActivityRow]:
        """The minutes in which the member was active, in order."""
        return map(
            fact.ActivityRow._make, self.select("select * from activity where member = ? order by bucket", member)
        )

    def bounds(self, member: str) -> tuple[int, int] | None:
        """The first and the last minute in which the member was active, or None."""
        found = self._one("select min(bucket), max(bucket) from activity where member = ?", member)
        return None if found is None or found[0] is None else (found[0], found[1])

    def tallies(self, member: str) -> dict[str, int]:
        """The counts of a member."""
        return dict(self.select("select name, count from tally where member = ?", member))

    def flaws(self, member: str, limit: int) -> list[fact.Flaw]:
        """What does not hold of a member's log, by step, kind and index: of each step and kind the first `limit`."""
        return [fact.Flaw(*row) for row in self.select(_SQL["flaws"], member, limit)]

    def flaw_counts(self, member: str) -> dict[tuple[str, str], int]:
        """How much does not hold of a member's log, by step and kind."""
        rows = self.select("select step, kind, count(*) from flaw where member = ? group by 1, 2", member)
        return {(step, kind): count for step, kind, count in rows}

    def faulty(self) -> Iterator[tuple[fact.ReceiptRow, int]]:
        """Every row of a receipt that has faults, with them (after `index`)."""
        for *row, faults in self.select(_SQL["faulty"]):
            yield fact.ReceiptRow(*row), faults

    def waiting(self, member: str, first: int, following: int) -> frozenset[int]:
        """Indices of a part of a log at which receipts stand that nobody has verified (after `wait`)."""
        rows = self.select(
            "select idx from waiting where member = ? and idx >= ? and idx < ?", member, first, following
        )
        return frozenset(index for (index,) in rows)

    def counts(self, sql: str, *parameters: object) -> tuple[int, ...]:
        """The numbers that a named query of `case.sql` gives in its one row."""
        found = self._one(_SQL[sql], *parameters)
        return () if found is None else tuple(value or 0 for value in found)

    @contextmanager
    def _sorting(self) -> Iterator[None]:
        """What is done inside sorts much, and looks little up."""
        with _guarded():
            self._connection.execute(f"pragma cache_size = -{SORT_KIB}")
            self._connection.execute("pragma threads = 1")
            try:
                yield
            finally:
                self._connection.execute("pragma threads = 0")
                self._connection.execute(_CACHE)

    def _one(self, sql: str, *parameters: object) -> tuple[Any, ...] | None:
        with _guarded():
            found: tuple[Any, ...] | None = self._connection.execute(sql, parameters).fetchone()
            return found


@contextmanager
def _guarded() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise DiskError(
            f"The case database cannot be used: {error}. Check the disk, or delete the file: it is made again from the"
            " members' folders."
        ) from error
