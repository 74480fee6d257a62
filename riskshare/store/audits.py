"""Requests of auditors, and what is shown to them of this member's log.

A request is kept in the same statement with its pending entry: both sides account for it before anything is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, final

from riskshare.audit.access import Action
from riskshare.audit.kept import AuditRow, Kept
from riskshare.audit.page import StatementRow
from riskshare.ledger.kept import Head
from riskshare.ledger.receipt import Receipt
from riskshare.store.connection import AUDIT_LOCK, LOCK_CLASS
from riskshare.store.failures import guarded
from riskshare.store.queries import load

if TYPE_CHECKING:
    import asyncpg

    from riskshare.store.connection import Pool, Session

_SQL: Final = load("audits.sql")
LOOKED_AT: Final = 256
"""Entries that one call of `shown` gives: of ordinary ones some 300 kB, of the largest 35 MB."""


@final
class Audits:
    """Every method raises `StoreError` if PostgreSQL is away."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    # -- requests --------------------------------------------------------------------

    async def keep(self, row: AuditRow) -> bool:
        """Keep a request, with its pending entry of the log. False: it was kept before, and nothing is changed."""
        with guarded():
            return await _keep(self._pool, row)

    async def keep_within(self, row: AuditRow, since: datetime, most: int) -> Kept:
        """Keep a request, unless with it the auditor's of this action would name more than `most` since that time.

        Of requests that come at once to several processes, each is counted.
        """
        with guarded():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(_SQL["lock"], LOCK_CLASS, AUDIT_LOCK)
                if await connection.fetchrow(_SQL["find"], row.digest) is not None:
                    return "known"
                named = await connection.fetchval(_SQL["named"], row.auditor, row.member, row.action, since)
                if named + row.checks > most:
                    return "beyond"
                return "new" if await _keep(connection, row) else "known"

    async def find(self, digest: bytes) -> AuditRow | None:
        """The request with this digest."""
        with guarded():
            row = await self._pool.fetchrow(_SQL["find"], digest)
        return None if row is None else AuditRow(**row)

    async def newest(self, limit: int) -> list[AuditRow]:
        """The requests kept last, newest first."""
        with guarded():
            return [AuditRow(**row) for row in await self._pool.fetch(_SQL["newest"], limit)]

    async def made_since(self, since: datetime, auditor: str, member: str, action: Action) -> list[AuditRow]:
        """Requests of one auditor to one member kept since a time, newest first."""
        with guarded():
            rows = await self._pool.fetch(_SQL["made_since"], since, auditor, member, action)
        return [AuditRow(**row) for row in rows]

    # -- what is shown ---------------------------------------------------------------

    async def final_before(self, moment: datetime) -> Head | None:
        """The newest checkpoint of this log that had its quorum by that time."""
        with guarded():
            return _head(await self._pool.fetchrow(_SQL["final_before"], moment))

    async def final_after(self, moment: datetime) -> Head | None:
        """The first final checkpoint that this log signed at that time or later."""
        with guarded():
            return _head(await self._pool.fetchrow(_SQL["final_after"], moment))

    async def shown(self, first: int, below: int, start: int, limit: int = LOOKED_AT) -> tuple[list[StatementRow], int]:
        """Rows of the entries with `first` ≤ index < `below` that are shown of a part that begins at `start`.

        At most `limit` entries, in order; the second part is where to go on. An entry whose statement is not kept any
        more has no row.
        """
        with guarded():
            entries = await self._pool.fetch(_SQL["shown_entries"], first, below, start, limit)
            found = await self._statements(entries)
        rows = [found[each["kind"], each["source"]] for each in entries if (each["kind"], each["source"]) in found]
        following = below if len(entries) < limit else entries[-1]["index"] + 1
        return rows, following

    async def _statements(self, entries: Sequence[asyncpg.Record]) -> dict[tuple[str, bytes], StatementRow]:
        """The row of each entry, by kind and source: one query for each kind that there is."""
        found: dict[tuple[str, bytes], StatementRow] = {}
        for kind in sorted({each["kind"] for each in entries}):
            indices = {each["source"]: each["index"] for each in entries if each["kind"] == kind}
            for row in await self._pool.fetch(_SQL[f"{kind}_rows"], _sources(kind, indices)):
                found[kind, row["source"]] = _statement(kind, indices[row["source"]], row)
        return found


async def _keep(session: Session | Pool, row: AuditRow) -> bool:
    kept = await session.fetchval(
        _SQL["keep"],
        row.digest,
        row.statement,
        row.signature,
        row.salt,
        row.auditor,
        row.member,
        row.action,
        row.checks,
        row.kept_at,
    )
    return bool(kept)


def _sources(kind: str, sources: Iterable[bytes]) -> list[bytes]:
    """Those that can be of this kind: the id of a check or an ask is a UUID."""
    length = 16 if kind in ("check", "unanswered") else 32
    return [source for source in sources if len(source) == length]


def _statement(kind: str, index: int, row: asyncpg.Record) -> StatementRow:
    statement, signature = row["statement"], row["signature"]
    if statement is None:
        receipt = Receipt.from_bytes(row["receipt"])
        statement, signature = receipt.ask, receipt.ask_signature
    return StatementRow(index, kind, row["salt"], statement, signature, row["note"])


def _head(row: asyncpg.Record | None) -> Head | None:
    return None if row is None else Head(**row)
