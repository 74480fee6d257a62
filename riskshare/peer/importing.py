"""`server.imports.OwnImports`: files that programs send, imported in the background of this process.

A body holds identifiers in clear: it lies in a file without a name, which is gone with the process. What is known of a
job stands in the database, so that any process of the member tells it, and whoever sends the same file again after this
one has ended goes on where it stopped.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, replace
from typing import BinaryIO, Final, cast, final
from uuid import UUID

from riskshare.api_imports import (
    CountsModel,
    ImportModel,
    ImportRequest,
    MappingModel,
    RowErrorModel,
    RowErrorsResponse,
)
from riskshare.errors import DiskError, InputError, RiskshareError
from riskshare.logs import get_log
from riskshare.peer.intake import columns_of, importer_of
from riskshare.peer.opening import Member
from riskshare.sharing.importing import Order, Watcher
from riskshare.sharing.kept import ListRow
from riskshare.sharing.reading import HEAD_BYTES, Format, format_of
from riskshare.sharing.rows import Defaults, parse_fields, usual_days
from riskshare.sharing.staged import Called, ImportRow, SavedMapping
from riskshare.store.store import Store

AT_ONCE: Final = 2
"""So many jobs run at once in one process; each uses all cores."""

SENTENCES: Final = {
    "bad_rows": "Nothing was changed: some rows are bad, see errors. Correct them, or send the same with"
    " bad_rows=skip.",
    "replace_too_large": "Nothing was changed: too many entries would be withdrawn. See that the file is whole; then"
    " send the same with force=true.",
    "dry_run": "Nothing was changed, as you wished. Send the same without dry_run, and it is done.",
    "interrupted": "Nobody works on it any more. Send the same file with the same parameters, and it goes on.",
    "cancelled": "Somebody has cancelled it: nothing was changed.",
    "internal": "The peer made a mistake; nothing was changed. Its log has more under the id of the import.",
}
_OTHER: Final = "Nothing was changed. The table of codes in docs/errors.md says what to do."


@final
class OwnImports:
    """The imports into one member's own lists. `most_days` gives the longest term of a category, in days.

    `stop` ends what is under way; it goes on when the same file is sent again.
    """

    def __init__(self, member: Member, store: Store, most_days: Callable[[str], int]) -> None:
        self._member = member
        self._store = store
        self._most_days = most_days
        self._importer = importer_of(member, store)
        self._most_bytes = member.config.publish.import_mib << 20
        self._busy = 0
        self._jobs: set[asyncio.Task[None]] = set()

    async def begin(
        self, list_name: str, wanted: ImportRequest, format_: Format, body: AsyncIterator[bytes], author: str
    ) -> ImportModel:
        """Take the body in and begin."""
        of = await self._list(list_name)
        called = await self._called(of, wanted, author)
        if self._busy >= AT_ONCE:
            raise InputError("Two imports are under way in this peer. Send this one later.", code="imports_busy")
        self._busy += 1
        begun: asyncio.Future[ImportRow] = asyncio.get_running_loop().create_future()
        try:
            file = await self._received(body)
            order = self._order(wanted, called, format_, author)
            job = asyncio.ensure_future(self._work(of, file, called.defaults, order, begun))
        except BaseException:
            self._busy -= 1
            raise
        self._jobs.add(job)
        job.add_done_callback(self._over)
        try:
            row = await begun
        except InputError as error:
            if error.code != "no_column" or called.saved is None:
                raise
            told = f"{error.message} Its columns were taken to be those of the last import: see saved_mapping."
            raise InputError(told, code=error.code) from None
        return self._shown(of, replace(row, running=True))

    async def stop(self) -> None:
        """End all jobs; their rows stay for whoever sends the same file again."""
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)

    async def imports(self, list_name: str) -> tuple[ImportModel, ...]:
        """The last ones, newest first."""
        of = await self._list(list_name)
        return tuple([self._shown(of, row) for row in await self._store.imports.imports_of(of.id)])

    async def find(self, list_name: str, import_id: UUID) -> ImportModel:
        """One of them."""
        of = await self._list(list_name)
        return self._shown(of, await self._row(of, import_id))

    async def errors(self, list_name: str, import_id: UUID, after: int, limit: int) -> RowErrorsResponse:
        """Its bad rows behind a line."""
        await self._row(await self._list(list_name), import_id)
        found = await self._store.imports.faults(import_id, after, limit)
        errors = [
            RowErrorModel(
                line=one.line, column=one.column, code=one.code, expected=one.message, suggestion=one.suggestion
            )
            for one in found
        ]
        return RowErrorsResponse(errors=tuple(errors), after=found[-1].line if len(found) == limit else None)

    async def cancel(self, list_name: str, import_id: UUID) -> ImportModel:
        """End it."""
        of = await self._list(list_name)
        await self._row(of, import_id)
        if not await self._store.imports.cancel(import_id):
            raise InputError("This import is over: there is nothing to cancel.", code="import_over")
        return self._shown(of, await self._row(of, import_id))

    async def _list(self, name: str) -> ListRow:
        found = await self._store.lists.list_named(name)
        if found is None:
            raise InputError("This member has no list of that name: GET /v1/lists names them.", code="not_found")
        return found

    async def _row(self, of: ListRow, import_id: UUID) -> ImportRow:
        found = await self._store.imports.import_with(import_id)
        if found is None or found.list_id != of.id:
            raise InputError("This list has no import of that id.", code="not_found")
        return found

    def _defaults(self, of: ListRow, wanted: ImportRequest) -> Defaults:
        most = self._most_days(of.category)
        return Defaults(
            of.category,
            wanted.type,
            wanted.column,
            wanted.region,
            wanted.level,
            wanted.reason,
            wanted.evidence,
            wanted.appeal,
            usual_days(most) if wanted.days is None else int(wanted.days),
            most,
            parse_fields(wanted.map),
        )

    async def _called(self, of: ListRow, wanted: ImportRequest, author: str) -> Called:
        asked, saved = self._defaults(of, wanted), wanted.saved_mapping == "true"
        return await columns_of(self._store, of, asked, author, saved=saved)

    def _order(self, wanted: ImportRequest, called: Called, format_: Format, author: str) -> Order:
        forced = wanted.force == "true"
        return Order(
            author=author,
            format=format_,
            skip_bad=wanted.bad_rows == "skip",
            dry_run=wanted.dry_run == "true",
            replace=wanted.mode == "replace",
            most_withdrawn=100 if forced else self._member.config.publish.replace_limit_percent,
            mapping=called.given,
            saved_mapping=called.saved,
            unattended=True,
        )

    async def _received(self, body: AsyncIterator[bytes]) -> BinaryIO:
        """The body in a file without a name. Raises InputError `too_large`; DiskError."""
        folder = self._member.config.paths.data_dir
        try:
            file = cast("BinaryIO", await asyncio.to_thread(tempfile.TemporaryFile, dir=folder))
            try:
                size = 0
                async for part in body:
                    size += len(part)
                    if size > self._most_bytes:
                        raise InputError(
                            f"The file is longer than {self._most_bytes >> 20} MiB (publish.import_mib). Split it, or"
                            " import it by the command riskshare list import.",
                            code="too_large",
                        )
                    await asyncio.to_thread(file.write, part)
                await asyncio.to_thread(file.flush)
            except BaseException:
                file.close()
                raise
        except ConnectionError:
            raise
        except OSError as error:
            raise DiskError(f"The file cannot be kept while it is imported: {error.strerror}.") from error
        return file

    async def _work(
        self, of: ListRow, file: BinaryIO, defaults: Defaults, order: Order, begun: asyncio.Future[ImportRow]
    ) -> None:
        """One job from its beginning to its end; whatever goes wrong, its row says so."""
        log = get_log()
        try:
            file.seek(0)
            format_of(file.read(HEAD_BYTES), given=order.format)
            never = await self._store.never.never_list(self._member.data_key)
            report = await self._importer.run(of, file, defaults, order, never=never, watcher=_Beginning(begun))
            log.info("import_over", import_id=str(report.id), committed=report.committed, rows=report.rows)
        except RiskshareError as error:
            if _tell(begun, error):
                log.warning("import_failed", import_id=str(begun.result().id), code=error.code)
        except Exception as error:
            if _tell(begun, error):
                log.exception("import_broken", import_id=str(begun.result().id))
                await self._break_off(begun.result().id)
        finally:
            begun.cancel()
            file.close()

    async def _break_off(self, import_id: UUID) -> None:
        """End it, if PostgreSQL was away when that was tried at first."""
        try:
            await self._store.imports.cancel(import_id, "internal")
        except RiskshareError as error:
            get_log().warning("import_failed", import_id=str(import_id), code=error.code)

    def _over(self, job: asyncio.Task[None]) -> None:
        self._jobs.discard(job)
        self._busy -= 1

    def _shown(self, of: ListRow, row: ImportRow) -> ImportModel:
        state, code = row.standing, row.code
        message = SENTENCES.get(code or state, _OTHER if code else "")
        return ImportModel.model_validate(
            {
                "import": str(row.id),
                "list": f"{self._member.name}/{of.name}",
                "state": state,
                "author": row.author,
                "mode": row.mode,
                "format": row.format,
                "began_at": row.began_at,
                "changed_at": row.changed_at,
                "bytes": row.size,
                "rows": row.rows,
                "good": row.good,
                "bad": dict(sorted(row.bad.items())),
                "counts": None if row.counts is None else CountsModel(**asdict(row.counts)),
                "saved_mapping": _mapping(row.saved_mapping),
                "code": code,
                "message": message,
            }
        )


@final
class _Beginning(Watcher):
    """Waits for the row of an import."""

    def __init__(self, begun: asyncio.Future[ImportRow]) -> None:
        self._begun = begun

    def began(self, row: ImportRow, *, resumed: bool, total: int | None) -> None:  # noqa: ARG002 - as Watcher
        if not self._begun.done():
            self._begun.set_result(row)


def _tell(begun: asyncio.Future[ImportRow], error: Exception) -> bool:
    """Tell who waits for the beginning; whether the row is there, and has to tell it instead."""
    if not begun.done():
        begun.set_exception(error)
    return not begun.cancelled() and begun.exception() is None


def _mapping(used: SavedMapping | None) -> MappingModel | None:
    if used is None or used.saved_at is None:
        return None
    fields = tuple(f"{field}={column}" for field, column in used.fields)
    return MappingModel(
        type=used.type, column=used.column, region=used.region, map=fields, author=used.author, saved_at=used.saved_at
    )
