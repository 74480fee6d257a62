"""Showing this member's log to an auditor: with salts, statements and signatures.

The order of durability
    1. The request is verified (`admission`).
    2. It is durable here, with its pending entry of this log: the operators can always tell who saw what.
    3. They are told (`Watch`).
    4. Only then is it answered; what it gives access to is shown for 24 hours, to its auditor alone.

The same pages are written into a folder by the member's own operator (`export_statements`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Final, Protocol, final

from riskshare.audit.access import VALID, AccessRequest, Action, split_wire
from riskshare.audit.admission import (
    check_clock,
    check_form,
    check_registry,
    check_signature,
    check_valid,
    most_a_day,
    over_quota,
    rights_to,
)
from riskshare.audit.kept import AuditRow, Kept
from riskshare.audit.page import (
    LEAD,
    MAX_ROWS,
    PAGE_BYTES,
    RANGE_FILE,
    SETTLED,
    AuditRange,
    StatementPage,
    StatementRow,
    make_page,
    page_at,
    stale_pages,
)
from riskshare.encoding import cbor_encode, format_time
from riskshare.errors import AuditRefused, InputError
from riskshare.ledger.kept import Head
from riskshare.registry import Registry
from riskshare.statement import SALT_BYTES

NOTHING: Final = "There is nothing of this name under the request, or not yet. Ask for the range again."
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)

Progress = Callable[[int, int], None]
"""Told now and then: entries looked at, entries in all."""


class Log(Protocol):
    """This member's log. Every method raises StoreError."""

    async def final(self) -> Head | None:
        """The newest final checkpoint."""


class Statements(Protocol):
    """What the entries of the log stand for. Every method raises StoreError."""

    async def final_before(self, moment: datetime) -> Head | None:
        """The newest checkpoint that had its quorum by that time."""

    async def final_after(self, moment: datetime) -> Head | None:
        """The first final checkpoint signed at that time or later."""

    async def shown(self, first: int, below: int, start: int) -> tuple[list[StatementRow], int]:
        """Some rows of the entries `first` ≤ index < `below` of a part that begins at `start`; and where to go on."""


class Requests(Protocol):
    """The requests that were admitted. Every method raises StoreError."""

    async def find(self, digest: bytes) -> AuditRow | None:
        """The request with this digest."""

    async def keep(self, row: AuditRow) -> bool:
        """Keep a request; False if it was kept before."""

    async def keep_within(self, row: AuditRow, since: datetime, most: int) -> Kept:
        """Keep a request, unless with it those of its action named more than `most` since that time."""


class Registries(Protocol):
    """The registry in force."""

    def current(self) -> Registry:
        """The newest version that was verified."""

    async def fetch(self, version: int) -> None:
        """Try to get one of at least that version."""


class Watch(Protocol):
    """Who tells the operators."""

    def accessed(self, request: AccessRequest) -> None:
        """A request was admitted for the first time, and is durable."""


class Folder(Protocol):
    """Where pages are written. Every method raises DiskError."""

    def read(self, path: str, limit: int) -> bytes | None:
        """The bytes of a file, cut behind `limit` + 1 of them; None if there is no such file."""

    def pages(self) -> Iterator[str]:
        """Paths of all files below `statements/`."""

    def write(self, path: str, data: bytes) -> bool:
        """Write a file, unless it has these very bytes."""

    def remove(self, path: str) -> None:
        """Remove a file."""


@dataclass(frozen=True, slots=True)
class Part:
    """The part of the log that is shown for a period: from `start` entries on, up to the checkpoint `end`."""

    range: AuditRange
    end: Head

    @property
    def size(self) -> int:
        """Entries of the log at its end."""
        return self.end.size


async def part_of(log: Log, statements: Statements, opened: datetime, closed: datetime) -> Part | None:
    """The part for a period; None before the first final checkpoint. Raises StoreError.

    It begins at the newest checkpoint that had its quorum five minutes before the period: so the times of its
    cosignatures prove that what stands below it is older. It ends at the first final one signed ten minutes after the
    period, or at the newest if there is none yet.
    """
    newest = await log.final()
    if newest is None:
        return None
    before = await statements.final_before(opened - LEAD)
    start = 0 if before is None else before.size
    end = await statements.final_after(closed + SETTLED)
    if end is None or end.size < start:  # a clock was set back
        end = newest
    note = b"" if before is None or not start else before.note
    return Part(AuditRange(opened, closed, start, note, end.note), end)


async def page_from(statements: Statements, first: int, part: Part, size: int) -> StatementPage:
    """The page of a part that begins at an index, of a log of `size` entries. Raises StoreError."""
    rows: list[StatementRow] = []
    at, weight = first, 0
    while at < size and len(rows) < MAX_ROWS and weight < PAGE_BYTES:
        more, at = await statements.shown(at, size, part.range.start)
        rows += more
        weight += sum(len(row.statement) + len(row.signature) for row in more)
    return make_page(first, at, rows)


@final
class Showing:
    """Answers auditors. `random` gives so many fresh random bytes."""

    def __init__(
        self,
        *,
        member: str,
        network: str,
        registries: Registries,
        log: Log,
        statements: Statements,
        requests: Requests,
        watch: Watch,
        now: Callable[[], datetime],
        random: Callable[[int], bytes],
    ) -> None:
        self._member = member
        self._network = network
        self._registries = registries
        self._log = log
        self._statements = statements
        self._requests = requests
        self._watch = watch
        self._now = now
        self._random = random

    async def admit(self, wire: bytes, reader: str) -> bytes:
        """Admit a request of the member `reader`: the CBOR map `{"until": when its access ends}`.

        The same request again is answered again.

        Raises:
            EncodingError: it is none.
            AuditRefused: the codes of `admission`.
            StoreError: it cannot be kept, so nothing is shown.

        """
        json, signature = split_wire(wire)
        request = AccessRequest.from_json(json)
        check_form(request, network=self._network, member=self._member, reader=reader)
        if request.registry > self._registries.current().version:
            await self._registries.fetch(request.registry)
        registry, now = self._registries.current(), self._now()
        check_registry(request, registry, now)
        rights = rights_to(request, registry)
        signed = check_signature(json, signature, registry.members[reader], self._network, now)
        check_valid(request, now)
        if await self._requests.find(signed.digest) is None:
            check_clock(request, now)
            most = most_a_day(request.action, rights)
            await self._keep(AuditRow.of(signed, request, self._random(SALT_BYTES), now), request, most)
        return cbor_encode({"until": format_time(request.requested_at + VALID)})

    async def _keep(self, row: AuditRow, request: AccessRequest, most: int | None) -> None:
        if most is not None:
            midnight = datetime.combine(row.kept_at.date(), time(), row.kept_at.tzinfo)
            outcome = await self._requests.keep_within(row, midnight, most)
        else:
            outcome = "new" if await self._requests.keep(row) else "known"
        if outcome == "beyond":
            raise over_quota(row.kept_at)
        if outcome == "new":
            self._watch.accessed(request)

    async def access(self, digest: bytes, reader: str, action: Action) -> AccessRequest:
        """The request that gives `reader` access now, for an action. Whatever is shown is asked for here first.

        Raises:
            AuditRefused: `unknown_access`, `access_expired`, `wrong_member`, `no_audit_right`.
            StoreError.

        """
        row = await self._requests.find(digest)
        if row is None or (row.auditor, row.member, row.action) != (reader, self._member, action):
            raise AuditRefused(
                "unknown_access", "This member has no such request of this auditor. Send the request itself first."
            )
        request = row.request
        check_valid(request, self._now())
        rights_to(request, self._registries.current())
        return request

    async def range(self, digest: bytes, reader: str) -> bytes:
        """The range that is shown under a request (`AuditRange`).

        Raises:
            AuditRefused: as `access`.
            InputError: code `not_found`, nothing of this log is final yet.
            StoreError.

        """
        return (await self._part(digest, reader)).range.to_bytes()

    async def statements(self, digest: bytes, reader: str, first: int, size: int) -> bytes:
        """The page that begins at an index, of a log of `size` entries: no more than the range has.

        Raises:
            AuditRefused: as `access`.
            InputError: code `not_found`, there is no such page.
            StoreError.

        """
        part = await self._part(digest, reader)
        if not 0 <= first < size <= part.size:
            raise InputError(NOTHING, code="not_found")
        page = await page_from(self._statements, first, part, size)
        # In a thread: a page may have some megabytes, and payments do not wait for it.
        return await asyncio.to_thread(page.to_bytes)

    async def _part(self, digest: bytes, reader: str) -> Part:
        request = await self.access(digest, reader, "read")
        assert request.start is not None
        assert request.end is not None
        part = await part_of(self._log, self._statements, request.start, request.end)
        if part is None:
            raise InputError(NOTHING, code="not_found")
        return part


async def export_statements(
    statements: Statements, part: Part, folder: Folder, progress: Progress | None = None
) -> tuple[int, int]:
    """Write the pages of a part into a folder that holds the log itself, the range last: how many, how many anew.

    A page that is there and right is left alone, so that an export that was interrupted goes on where it was.

    Raises:
        DiskError, StoreError: reading or writing failed; run it again.

    """
    firsts: set[int] = set()
    at = written = 0
    while at < part.size:
        page = page_at(folder.read, at, part.range.start, part.size)
        if page is None:
            page = await page_from(statements, at, part, part.size)
            written += folder.write(page.path, page.to_bytes())
        firsts.add(at)
        at = page.next
        if progress:
            progress(at, part.size)
    written += folder.write(RANGE_FILE, part.range.to_bytes())
    for path in stale_pages(folder.pages(), firsts):
        folder.remove(path)
    return len(firsts), written


def whole_period(now: datetime) -> tuple[datetime, datetime]:
    """The period of all that there is."""
    return _BEGINNING, now
