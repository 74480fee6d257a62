"""Importing: from the rows of a file to entries, all of them or none.

Rows are read, encrypted and stored piece by piece, each with the place behind it, so memory stays flat whatever the
length of the file, and an import that was cut off goes on where it stopped. Nothing of it is visible before the one
commit at the end. Every bad row is reported; whether the good ones are kept besides is the operator's choice.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from dataclasses import asdict, dataclass, field
from dataclasses import replace as with_changes
from datetime import datetime
from typing import BinaryIO, Final, Protocol
from uuid import UUID

from riskshare.encoding import canonical_json
from riskshare.errors import InputError, RiskshareError
from riskshare.sharing.entry import NONCE_BYTES, DataKey, reseal
from riskshare.sharing.kept import Change, ImportCounts, ListRow, Resealed, State, StoredEntry
from riskshare.sharing.never import NeverList
from riskshare.sharing.reading import NOTHING, Format, Reader, no_rows, open_source, reader_of
from riskshare.sharing.row_place import Chunk, Place
from riskshare.sharing.rows import BadRow, Defaults
from riskshare.sharing.staged import ImportRow, NewImport, Piece, SavedMapping, check_share

REPLACED: Final = "replaced"
"""The reason for which a file that is the whole list withdraws what it does not name."""

MOST_WITHDRAWN: Final = 20
"""Percent of a list's entries that a replacement withdraws at most, unless it is forced."""

HASH_BYTES: Final = 1 << 20

Reseal = Callable[[ListRow, StoredEntry, State], Resealed]


class Staging(Protocol):
    """An import under way in the store. `row` is how it began, or was left."""

    row: ImportRow
    resumed: bool

    async def add(self, piece: Piece) -> None:
        """Take rows in, and move the place behind them."""

    async def finish(self) -> None:
        """The file is read to its end."""

    async def count(self, *, replace: bool) -> ImportCounts:
        """What a commit would do."""

    async def commit(
        self,
        change: Change,
        *,
        replace: tuple[str, Reseal] | None,
        most_withdrawn: int = 100,
        mapping: SavedMapping | None = None,
    ) -> ImportCounts:
        """Write them all, durably; with `replace`, withdraw all others for that reason."""

    async def refuse(self, code: str, counts: ImportCounts | None) -> None:
        """Keep why nothing was done, and the rows."""

    async def drop(self, code: str) -> None:
        """Keep why nothing can be done, and no row."""

    def faults(self) -> AsyncIterator[BadRow]:
        """All bad rows, by line."""

    def repeated(self) -> AsyncIterator[tuple[int, int]]:
        """The rows that a later row overrides: its line, and that of the row that counts."""


class Imports(Protocol):
    """The store of imports."""

    def staging(self, wanted: NewImport) -> AbstractAsyncContextManager[Staging]:
        """Begin an import, or go on with the one of the same fingerprint."""


class Prepare(Protocol):
    """Turns the chunks of a file into pieces, on all cores."""

    def __call__(self, list_name: str, reader: Reader, chunks: Iterator[Chunk]) -> AsyncGenerator[Piece, None]:
        """The pieces, in the order of the chunks."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted of an import.

    With bad rows the list is left as it is, unless `skip_bad`; with `dry_run` in any case. With `replace` the file is
    the whole list, and what it does not name, or only in a bad row, is withdrawn: at most `most_withdrawn` percent of
    the entries. `mapping` is kept for the list's next import, once this one is committed; `saved_mapping` is the one
    that an earlier import left, if the columns are taken to be called so. `unattended`: nobody sees a fault of ours, so
    it ends the import for good, and the import says so.
    """

    author: str
    format: Format = "csv"
    skip_bad: bool = False
    dry_run: bool = False
    replace: bool = False
    most_withdrawn: int = 100
    mapping: SavedMapping | None = None
    saved_mapping: SavedMapping | None = None
    unattended: bool = False


class Watcher:
    """Is told how an import goes; every method may be left as it is."""

    def began(self, row: ImportRow, *, resumed: bool, total: int | None) -> None:
        """It begins, or goes on behind `row.place`; at the end `offset` will be `total`, if that is known."""

    def moved(self, place: Place, rows: int) -> None:
        """So much of the file, and so many of its rows, are stored."""

    def bad(self, row: BadRow) -> None:
        """A row is bad. All of them are told, by line, when the file is read. May raise, and so end the import."""

    def repeated(self, line: int, counting: int) -> None:
        """A later row overrides that of `line`. Told in a dry run only."""

    def counted(self, counts: ImportCounts) -> None:
        """What a replacement is going to do, before it is done."""

    def writing(self) -> None:
        """The file is read; what it does is being computed and written."""


@dataclass(slots=True)
class Report:
    """What an import found and did.

    `rows` counts all rows of the file, `bad` those that could not be taken, by code; `counts` is what
    was (or, with `committed` false, would be) done to the list.
    """

    id: UUID
    rows: int = 0
    good: int = 0
    bad: dict[str, int] = field(default_factory=dict)
    counts: ImportCounts | None = None
    committed: bool = False
    resumed_at: int | None = None

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
        imports: Imports,
        prepare: Prepare,
        now: Callable[[], datetime],
        random: Callable[[int], bytes],
        new_id: Callable[[], UUID],
    ) -> None:
        self._member = member
        self._data_key = data_key
        self._imports = imports
        self._prepare = prepare
        self._now = now
        self._random = random
        self._new_id = new_id

    async def run(
        self,
        of: ListRow,
        file: BinaryIO,
        defaults: Defaults,
        order: Order,
        *,
        never: NeverList = NOTHING,
        watcher: Watcher | None = None,
    ) -> Report:
        """Import a file that can be read from any place.

        Raises:
            InputError: `author_invalid`, `reason_invalid`; the file cannot be read as a whole, see
                `reading.open_source`; `file_empty`: it has no row, or no good one and would replace the list;
                `import_running`; `import_cancelled`; `never_changed`; `replace_too_large`. The list was not changed.
            StoreError: PostgreSQL is away; the list was not changed, and the same file goes on where it stopped.

        """
        watcher = watcher or Watcher()
        # What no change can say is refused before anything is read, not behind the last row.
        change = Change(order.author, "replace" if order.replace else "import", defaults.reason)
        source = await asyncio.to_thread(open_source, file, order.format, defaults)
        wanted = await asyncio.to_thread(self._wanted, of, file, defaults, order, never)
        async with self._imports.staging(wanted) as staging:
            row = staging.row
            watcher.began(row, resumed=staging.resumed, total=source.total)
            report = Report(row.id, row.rows, row.good, dict(row.bad))
            report.resumed_at = row.rows if staging.resumed else None
            try:
                if row.state == "reading":
                    reader = reader_of(source, defaults, row.began_at, never)
                    pieces = self._prepare(self._full(of), reader, source.chunks(row.place))
                    await _read(staging, pieces, report, watcher)
                    await staging.finish()
                await _tell_bad(staging, watcher)
                await self._conclude(staging, with_changes(change, import_id=row.id), order, report, watcher)
            except InputError as error:
                await _give_up(staging, error, report)
                raise
            except Exception as error:
                if order.unattended and not isinstance(error, RiskshareError):
                    # Now, while it still counts as under way: nobody shall take it for one that goes on.
                    with suppress(RiskshareError):
                        await staging.drop("internal")
                raise
        return report

    async def _conclude(self, staging: Staging, change: Change, order: Order, report: Report, watcher: Watcher) -> None:
        """Commit what is stored, or say what it would do."""
        if not report.rows:
            raise no_rows()
        if order.replace and not report.good:
            raise InputError(
                "The file has no good row, and would empty the list. Are its type, column and region right?",
                code="file_empty",
            )
        watcher.writing()
        refused = bool(report.bad) and not order.skip_bad
        if order.dry_run or refused or order.replace:
            report.counts = await staging.count(replace=order.replace)
        if order.dry_run:
            async for line, counting in staging.repeated():
                watcher.repeated(line, counting)
        if refused:
            await staging.refuse("bad_rows", report.counts)
            return
        if report.counts is not None and order.replace:
            watcher.counted(report.counts)
            check_share(report.counts, order.most_withdrawn)
        if order.dry_run:
            await staging.refuse("dry_run", report.counts)
        else:
            reason = (REPLACED, self._reseal) if order.replace else None
            most = order.most_withdrawn
            report.counts = await staging.commit(change, replace=reason, most_withdrawn=most, mapping=order.mapping)
            report.committed = True

    def _wanted(self, of: ListRow, file: BinaryIO, defaults: Defaults, order: Order, never: NeverList) -> NewImport:
        digest = hashlib.sha256()
        file.seek(0)
        size = 0
        while block := file.read(HASH_BYTES):
            digest.update(block)
            size += len(block)
        options: Mapping[str, object] = {"format": order.format, **asdict(with_changes(defaults, fields=()))}
        fields = [list(pair) for pair in sorted(defaults.fields)]
        # No identifier's OPRF input begins with a zero, so that this handle is none of an entry.
        text = b"\0import" + digest.digest() + never.digest + canonical_json({**options, "fields": fields})
        return NewImport(
            id=self._new_id(),
            list_id=of.id,
            fingerprint=self._data_key.handle(text, self._full(of)),
            format=order.format,
            author=order.author,
            mode="replace" if order.replace else "add",
            began_at=self._now(),
            never_upto=never.upto,
            size=size,
            saved_mapping=order.saved_mapping,
        )

    def _full(self, of: ListRow) -> str:
        return f"{self._member}/{of.name}"

    def _reseal(self, of: ListRow, entry: StoredEntry, state: State) -> Resealed:
        return reseal(self._data_key, self._full(of), entry, state, self._random(NONCE_BYTES))


async def _read(staging: Staging, pieces: AsyncGenerator[Piece, None], report: Report, watcher: Watcher) -> None:
    """Store all pieces; the next one is prepared while the database takes one."""
    async with aclosing(pieces):
        piece = await anext(pieces, None)
        while piece is not None:
            following = asyncio.ensure_future(anext(pieces, None))
            try:
                await staging.add(piece)
            finally:
                try:
                    await asyncio.wait([following])
                except asyncio.CancelledError:  # a generator that is running cannot be closed
                    following.cancel()
                    await asyncio.wait([following])
                    raise
                failed = None if following.cancelled() else following.exception()
            report.rows += piece.rows
            report.good += piece.good
            for fault in piece.faults:
                report.bad[fault.code] = report.bad.get(fault.code, 0) + 1
            watcher.moved(piece.after, report.rows)
            if failed is not None:
                await _tell_bad(staging, watcher)
                raise failed
            piece = following.result()


async def _tell_bad(staging: Staging, watcher: Watcher) -> None:
    async for fault in staging.faults():
        watcher.bad(fault)


async def _give_up(staging: Staging, error: InputError, report: Report) -> None:
    """Keep the rows where the operator may decide otherwise; else the import is over."""
    if error.code == "replace_too_large":
        await staging.refuse(error.code, report.counts)
    elif error.code != "import_cancelled":
        await staging.drop(error.code)
