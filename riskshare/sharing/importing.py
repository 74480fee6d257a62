"""Importing: from the rows of a file to entries, all of them or none.

Rows are parsed, encrypted and copied into the database in batches, so memory stays flat whatever the
length of the file. Nothing of it is visible before the one commit at the end; a process that dies
before leaves nothing. Every bad row is reported; whether the good ones are kept besides is the operator's choice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import BinaryIO, Final, Protocol
from uuid import UUID

from riskshare.errors import InputError
from riskshare.membership.record import Record
from riskshare.sharing.entry import NONCE_BYTES, DataKey, content_of, reseal
from riskshare.sharing.kept import Change, EntryRow, ImportCounts, ListRow, Resealed, State, StoredEntry
from riskshare.sharing.reading import read_rows
from riskshare.sharing.rows import BadRow, Defaults, Row

BATCH: Final = 2000

REPLACED: Final = "replaced"
"""The reason for which a file that is the whole list withdraws what it does not name."""

Reseal = Callable[[ListRow, StoredEntry, State], Resealed]


class Import(Protocol):
    """An import under way in the store."""

    async def add(self, batch: Sequence[EntryRow]) -> None:
        """Take rows in."""

    async def count(self, *, replace: bool = False) -> ImportCounts:
        """What a commit would do."""

    async def commit(
        self, change: Change, *, never_upto: int = 0, replace: tuple[str, Reseal] | None = None
    ) -> ImportCounts:
        """Write them all, durably; with `replace`, withdraw all others for that reason."""


class Lists(Protocol):
    """The store of lists and entries."""

    def import_entries(self, list_id: int) -> AbstractAsyncContextManager[Import]:
        """Begin an import; what is not committed at the end of the context is rolled back."""


@dataclass(slots=True)
class Report:
    """What an import found and did.

    `rows` counts all rows of the file, `bad` those that could not be taken, by code; `counts` is what
    was (or, with `committed` false, would be) done to the list.
    """

    rows: int = 0
    good: int = 0
    bad: dict[str, int] = field(default_factory=dict)
    counts: ImportCounts | None = None
    committed: bool = False

    @property
    def bad_rows(self) -> int:
        """Number of bad rows."""
        return sum(self.bad.values())


class Importer:
    """Imports files into lists of one member."""

    def __init__(
        self,
        *,
        member: str,
        data_key: DataKey,
        lists: Lists,
        now: Callable[[], datetime],
        random: Callable[[int], bytes],
        new_id: Callable[[], UUID],
    ) -> None:
        self._member = member
        self._data_key = data_key
        self._lists = lists
        self._now = now
        self._random = random
        self._new_id = new_id

    async def run(
        self,
        of: ListRow,
        file: BinaryIO,
        defaults: Defaults,
        *,
        author: str,
        skip_bad: bool = False,
        dry_run: bool = False,
        replace: bool = False,
        bad: Callable[[BadRow], None] = lambda _: None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Report:
        """Import a file, as done by `author`.

        `bad` is told each bad row (in a thread), `progress` the number of rows read so far.

        With bad rows the list is left as it is, unless `skip_bad`; with `dry_run` in any case. With `replace` the
        file is the whole list, and what it does not name, or only in a bad row, is withdrawn.

        Raises:
            InputError: the file cannot be read as a whole, see `read_rows`; or `file_empty`, it has no good row and
                would replace the list. Nothing was changed.
            StoreError: PostgreSQL is away; nothing was changed.

        """
        report = Report()
        rows = read_rows(file, defaults, self._now())
        async with self._lists.import_entries(of.id) as under_way:
            batch = await asyncio.to_thread(self._next_batch, of, rows, report, bad)
            while batch is not None:
                read = report.rows
                # The next rows are parsed while the database takes these.
                batch, _ = await asyncio.gather(
                    asyncio.to_thread(self._next_batch, of, rows, report, bad), under_way.add(batch)
                )
                progress(read)
            if replace and not report.good:
                raise InputError("The file has no good row, and would empty the list.", code="file_empty")
            if dry_run or (report.bad and not skip_bad):
                report.counts = await under_way.count(replace=replace)
            else:
                change = Change(author, "replace" if replace else "import", defaults.reason)
                report.counts = await under_way.commit(change, replace=(REPLACED, self._reseal) if replace else None)
                report.committed = True
        return report

    def _reseal(self, of: ListRow, entry: StoredEntry, state: State) -> Resealed:
        return reseal(self._data_key, f"{self._member}/{of.name}", entry, state, self._random(NONCE_BYTES))

    def _next_batch(
        self, of: ListRow, rows: Iterator[Row | BadRow], report: Report, bad: Callable[[BadRow], None]
    ) -> list[EntryRow] | None:
        """Read, parse and encrypt the next rows; None at the end. Runs in a thread."""
        taken = list(islice(rows, BATCH))
        if not taken:
            return None
        name = f"{self._member}/{of.name}"
        batch: list[EntryRow] = []
        written: dict[int, tuple[Record, bytes, bytes]] = {}  # by identity: rows share their records
        for row in taken:
            report.rows += 1
            if isinstance(row, BadRow):
                report.bad[row.code] = report.bad.get(row.code, 0) + 1
                bad(row)
            else:
                known = written.get(id(row.record))
                if known is None:
                    known = written[id(row.record)] = (row.record, row.record.to_bytes(), content_of(row.record))
                batch.append(self._entry(name, row, known[1], known[2]))
        report.good += len(batch)
        return batch

    def _entry(self, list_name: str, row: Row, record: bytes, content: bytes) -> EntryRow:
        value = row.identifier.oprf_input
        place = self._new_id()
        nonce = self._random(NONCE_BYTES)
        return EntryRow(
            id=place,
            handle=self._data_key.handle(value, list_name),
            sealed=self._data_key.seal_identifier(value, nonce, row=place, list_name=list_name, state="active"),
            record=record,
            content=content,
            valid_from=row.record.listed_at,
            valid_until=row.record.valid_until,
            case_handle=self._data_key.case_handle(row.record.case, list_name) if row.record.case else None,
        )
