"""Settlements that both members have signed, and the receipts that they are made of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, final
from uuid import UUID

from riskshare.audit.proposal import MAX_ROWS, Proposal, ReceiptPage, ReceiptRow, overlaps
from riskshare.audit.settlement import Settlement
from riskshare.encoding import format_time
from riskshare.ledger.receipt import Side
from riskshare.store.connection import LOCK_CLASS, SETTLEMENT_LOCK, Target
from riskshare.store.failures import guarded
from riskshare.store.queries import load

if TYPE_CHECKING:
    import asyncpg

    from riskshare.store.connection import Connection, Pool, Session

_SQL: Final = load("settlements.sql")

BATCH: Final = 2_000
"""Receipts that are given at once: some five milliseconds of the event loop."""

SECONDS: Final = 600
"""Bound for a statement that reads the receipts of a period: some microseconds for each."""

MARGIN: Final = timedelta(hours=1)
"""By so much the clock of a database may be behind that of another member's peer."""


@final
class Settlements:
    """Every method raises `StoreError` if PostgreSQL is away. `other` is the other member."""

    def __init__(self, target: Target, pool: Pool) -> None:
        self._target = target
        self._pool = pool

    async def agreed(self, other: str, opened: datetime, closed: datetime) -> Proposal | None:
        """The settlement of exactly this period."""
        with guarded():
            row = await self._pool.fetchrow(_SQL["agreed"], other, opened, closed)
        return None if row is None else _proposal(row)

    async def all_agreed(self) -> list[Proposal]:
        """All settlements, by the beginning of their periods."""
        with guarded():
            return [_proposal(row) for row in await self._pool.fetch(_SQL["all_agreed"])]

    async def overlapping(self, other: str, opened: datetime, closed: datetime) -> tuple[datetime, datetime] | None:
        """The period of another settlement that has a part in common with this one."""
        with guarded():
            return await _overlapping(self._pool, other, opened, closed)

    async def keep(self, other: str, agreed: Proposal) -> Proposal:
        """Make a settlement that both have signed durable, with its entry for the ledger, in one transaction.

        Gives the one that stands for this period: another one, if there was one before.

        Raises:
            InputError: code `settlement_overlap`.
            ValueError: a signature is missing.

        """
        if not agreed.complete:
            raise ValueError("a settlement is kept when both members have signed it")
        settlement = agreed.settlement
        opened, closed = settlement.opened, settlement.closed
        with guarded():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(_SQL["lock"], LOCK_CLASS, SETTLEMENT_LOCK)
                stands = await connection.fetchrow(_SQL["agreed"], other, opened, closed)
                if stands is not None:
                    return _proposal(stands)
                overlap = await _overlapping(connection, other, opened, closed)
                if overlap is not None:
                    raise overlaps(*overlap)
                await connection.execute(
                    _SQL["keep"],
                    settlement.digest,
                    other,
                    opened,
                    closed,
                    agreed.json,
                    agreed.first,
                    agreed.second,
                )
        return agreed

    # -- receipts ----------------------------------------------------------------------------

    async def counterparties(self, opened: datetime) -> list[str]:
        """Members with whom there was an exchange since then, or shortly before."""
        with guarded():
            rows = await self._pool.fetch(_SQL["counterparties"], opened - MARGIN)
        return [row["counterparty"] for row in rows]

    async def receipts(
        self, side: Side, counterparty: str, opened: datetime, closed: datetime
    ) -> AsyncIterator[Sequence[ReceiptRow]]:
        """Receipts answered in a period, in the order of their ids, in batches, from one consistent view.

        On a connection of its own, so that nothing short waits for it.
        """
        connection = await self._connect()
        try:
            with guarded():
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    arguments = (*_arguments(side, counterparty, opened, closed), b"", None)
                    cursor = await connection.cursor(_SQL["receipts"], *arguments, timeout=SECONDS)
                    while rows := await cursor.fetch(BATCH, timeout=SECONDS):
                        yield [_row(row) for row in rows]
        finally:
            connection.terminate()

    async def page(
        self, side: Side, counterparty: str, opened: datetime, closed: datetime, after: bytes, *, most: int = MAX_ROWS
    ) -> ReceiptPage:
        """At most `most` of the same, ids above `after`."""
        connection = await self._connect()
        try:
            with guarded():
                arguments = (*_arguments(side, counterparty, opened, closed), after, most + 1)
                rows = await connection.fetch(_SQL["receipts"], *arguments, timeout=SECONDS)
        finally:
            connection.terminate()
        return ReceiptPage(tuple(_row(row) for row in rows[:most]), last=len(rows) <= most)

    async def _connect(self) -> Connection:
        return await self._target.connect(statement_timeout=str(SECONDS * 1000))


def _arguments(side: Side, counterparty: str, opened: datetime, closed: datetime) -> tuple[object, ...]:
    return side, counterparty, opened - MARGIN, format_time(opened), format_time(closed)


async def _overlapping(
    session: Session | Pool, other: str, opened: datetime, closed: datetime
) -> tuple[datetime, datetime] | None:
    row = await session.fetchrow(_SQL["overlapping"], other, opened, closed)
    return None if row is None else (row["opened"], row["closed"])


def _proposal(row: asyncpg.Record) -> Proposal:
    json = row["statement"]
    return Proposal(Settlement.from_json(json), json, row["first_signature"], row["second_signature"])


def _row(row: asyncpg.Record) -> ReceiptRow:
    return ReceiptRow(row["id"], UUID(int=row["batch"].int), row["count"], row["registry"], row["answered_at"])
