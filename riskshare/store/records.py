"""Reading what exchanges left behind: receipts, unanswered asks, sealed checks, usage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, final
from uuid import UUID

from riskshare.ledger.receipt import KeptReceipt, Receipt, Side, UnansweredAsk
from riskshare.ledger.sealed import SealedCheck
from riskshare.store.failures import guarded
from riskshare.store.queries import load

if TYPE_CHECKING:
    import asyncpg

    from riskshare.store.connection import Pool

_SQL: Final = load("records.sql")
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
LONGEST: Final = timedelta(hours=1)
"""By so much the time in a check's id and that of its verdict differ at most: deadlines are seconds."""


@final
class Records:
    """Every method raises `StoreError` if PostgreSQL is away."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def receipt_of_batch(self, side: Side, counterparty: str, batch: UUID) -> KeptReceipt | None:
        """The receipt of one batch, as this member kept it on that side."""
        with guarded():
            row = await self._pool.fetchrow(_SQL["receipt_of_batch"], side, counterparty, batch)
        return None if row is None else _kept(row)

    async def receipt(self, digest: bytes) -> KeptReceipt | None:
        """The receipt with this id (32 bytes)."""
        with guarded():
            row = await self._pool.fetchrow(_SQL["receipt"], digest)
        return None if row is None else _kept(row)

    async def receipts_for(
        self, counterparty: str, after_seq: int, limit: int, *, since: datetime = _BEGINNING
    ) -> list[tuple[int, KeptReceipt]]:
        """Receipts that this owner keeps of one querier since a time, in the order of keeping, each with its number.

        A row may appear behind one with a higher number: who adopts receipts after a crash asks
        again from a little before the last number seen.
        """
        with guarded():
            rows = await self._pool.fetch(_SQL["receipts_for"], counterparty, after_seq, limit, since)
        return [(row["seq"], _kept(row)) for row in rows]

    async def last_kept(self, owner: str) -> datetime | None:
        """When this querier last kept a receipt of that owner."""
        with guarded():
            found: datetime | None = await self._pool.fetchval(_SQL["last_kept"], owner)
        return found

    async def begin_adoption(self, owner: str, upto: datetime) -> datetime:
        """Open the search for forgotten receipts at an owner, or the one that a crash left open; give where it begins.

        That is `upto`, or the earlier time to which the open search had come.
        """
        with guarded():
            stands: datetime = await self._pool.fetchval(_SQL["begin_adoption"], owner, upto)
        return stands

    async def move_adoption(self, owner: str, upto: datetime) -> None:
        """Note that nothing is missing of what the owner kept before `upto`; never moves back."""
        with guarded():
            await self._pool.execute(_SQL["move_adoption"], owner, upto)

    async def end_adoption(self, owner: str) -> None:
        """Close the search."""
        with guarded():
            await self._pool.execute(_SQL["end_adoption"], owner)

    async def known_batches(self, owner: str, batches: Sequence[UUID]) -> set[UUID]:
        """Those of the batches that this querier knows of: it keeps a receipt of that owner, or the unanswered ask.

        An unanswered ask is not forgotten: sending it again gets its receipt, with the salt that was drawn for it.
        """
        with guarded():
            rows = await self._pool.fetch(_SQL["known_batches"], owner, batches)
        return {UUID(int=row["batch"].int) for row in rows}

    async def usage(self, begin: datetime, end: datetime, *, seconds: float = 60.0) -> Mapping[str, int]:
        """Elements that each querier had evaluated in a period, which is read whole, in at most so many seconds."""
        rows = await self._sums(seconds, "usage", begin, end)
        return {row["counterparty"]: row["elements"] for row in rows}

    async def epoch_usage(
        self, epochs: Sequence[bytes], begin: datetime, end: datetime, *, seconds: float = 60.0
    ) -> Mapping[tuple[str, bytes], int]:
        """As `usage`, for each (querier, epoch digest) of these epochs."""
        rows = await self._sums(seconds, "epoch_usage", begin, end, epochs)
        return {(row["counterparty"], row["epoch"]): row["elements"] for row in rows}

    async def _sums(self, seconds: float, query: str, *arguments: object) -> Sequence[asyncpg.Record]:
        with guarded():
            async with self._pool.acquire() as connection, connection.transaction(readonly=True):
                await connection.execute(f"set local statement_timeout = {round(seconds * 1000)}")
                return await connection.fetch(_SQL[query], *arguments, timeout=seconds + 1)

    async def open_asks(self, owners: Sequence[str], limit: int = 1000) -> list[UnansweredAsk]:
        """Asks without an answer that are not closed: of each of the owners the `limit` oldest, in their order."""
        with guarded():
            return [_ask(row) for row in await self._pool.fetch(_SQL["open_asks"], owners, limit)]

    async def close_asks(self, owner: str, batches: Sequence[UUID]) -> None:
        """Note that these asks are not to be sent again."""
        with guarded():
            await self._pool.execute(_SQL["close_asks"], owner, batches)

    async def close_asks_before(self, asked_at: datetime, limit: int = 10_000) -> None:
        """Note so of asks that are older, at most `limit` of them."""
        with guarded():
            await self._pool.execute(_SQL["close_asks_before"], asked_at, limit)

    async def count_open_asks(self) -> int:
        """How many asks have no answer and are not closed."""
        with guarded():
            return int(await self._pool.fetchval(_SQL["count_open_asks"]))

    async def check(self, check: UUID) -> SealedCheck | None:
        """The sealed record of one check."""
        with guarded():
            row = await self._pool.fetchrow(_SQL["check"], check)
        if row is None:
            return None
        return SealedCheck(**{**row, "id": _uuid(row["id"]), "hour_key": _uuid(row["hour_key"])})

    async def count_checks(self, since: datetime, until: datetime) -> int:
        """How many checks were answered in a period."""
        first, last = _ids(since, until)
        with guarded():
            return int(await self._pool.fetchval(_SQL["count_checks_between"], first, last, since, until, timeout=600))

    async def checks_between(
        self, since: datetime, until: datetime, after: UUID | None, limit: int
    ) -> list[tuple[UUID, UUID, bytes]]:
        """Checks answered in a period, with ids above `after`: id, id of the hour key, sealed record."""
        first, last = _ids(since, until)
        with guarded():
            rows = await self._pool.fetch(_SQL["checks_between"], after or first, last, since, until, limit)
        return [(_uuid(row["id"]), _uuid(row["hour_key"]), row["record"]) for row in rows]

    async def hour_key(self, key: UUID) -> tuple[UUID, datetime, bytes] | None:
        """An hour key: id, hour, sealed bytes."""
        with guarded():
            row = await self._pool.fetchrow(_SQL["hour_key"], key)
        return None if row is None else (_uuid(row["id"]), row["hour"], row["sealed"])


def _ids(since: datetime, until: datetime) -> tuple[UUID, UUID]:
    """Bounds for the ids of checks that were answered in a period: an id holds the time at which a check began."""
    first = max(0, round((since - LONGEST).timestamp() * 1000))
    last = max(0, round((until + LONGEST).timestamp() * 1000))
    return UUID(int=first << 80), UUID(int=(min(last, 2**48 - 1) << 80) | (2**80 - 1))


def _uuid(value: UUID) -> UUID:
    # asyncpg gives its own subclass, which pickles and compares well but prints another repr.
    return UUID(int=value.int)


def _kept(row: asyncpg.Record) -> KeptReceipt:
    return KeptReceipt(
        side=row["side"],
        counterparty=row["counterparty"],
        batch=_uuid(row["batch"]),
        epoch=row["epoch"],
        count=row["count"],
        receipt=Receipt.from_bytes(row["receipt"]),
        elements=row["elements"],
        evaluated=row["evaluated"],
        proof=row["proof"],
        salt=row["salt"],
        adopted=row["adopted"],
    )


def _ask(row: asyncpg.Record) -> UnansweredAsk:
    return UnansweredAsk(
        owner=row["owner"],
        batch=_uuid(row["batch"]),
        epoch=row["epoch"],
        count=row["count"],
        ask=row["ask"],
        ask_signature=row["ask_signature"],
        elements=row["elements"],
        salt=row["salt"],
    )
