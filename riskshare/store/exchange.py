"""What an exchange leaves behind, made durable before the answer or the verdict leaves.

`OwnerCommits` keeps receipts at the owner, `QuerierCommits` checks with all that belongs to them at the querier;
each a group commit on a connection of its own (`group_commit` states the order of durability).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, final
from uuid import UUID

from asyncpg import UniqueViolationError

from riskshare.errors import StoreError
from riskshare.ledger.receipt import KeptReceipt, UnansweredAsk
from riskshare.ledger.sealed import SealedCheck
from riskshare.store.group_commit import Fault, GroupCommit, Watch
from riskshare.store.queries import load
from riskshare.store.store import Store

if TYPE_CHECKING:
    import asyncpg

    from riskshare.store.connection import Connection

    Statement = asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record]

MOST_WAITING: Final = 10_000
MOST_OPEN_ASKS: Final = 65_536

_SQL: Final = load("exchange.sql")

Row = tuple[object, ...]
Key = tuple[str, UUID]


HourKeyRow = tuple[UUID, datetime, bytes]
"""An hour key as it is kept with the first check that uses it: id, hour, the key sealed to the member itself."""

ResponseRow = tuple[str, bytes, bytes, bytes]
"""The response to a request with an Idempotency-Key: name of the API key, digest of the Idempotency-Key (32 bytes),
digest of the request (32 bytes), the sealed response."""


def _receipt_row(kept: KeptReceipt) -> Row:
    return (
        kept.counterparty,
        kept.batch,
        kept.epoch,
        kept.count,
        kept.receipt.to_bytes(),
        kept.elements,
        kept.evaluated,
        kept.proof,
        kept.salt,
        kept.adopted,
    )


def _ask_row(ask: UnansweredAsk) -> Row:
    return (ask.owner, ask.batch, ask.epoch, ask.count, ask.ask, ask.ask_signature, ask.elements, ask.salt)


def _check_row(check: SealedCheck) -> Row:
    return (
        check.id,
        check.answered_at,
        check.hour_key,
        check.record,
        check.statement,
        check.signature,
        check.salt,
    )


@final
class OwnerCommits:
    """Keeps the owner's side of each exchange.

    `most` bounds the receipts that wait; `fault` is for tests, `watch` for metrics.
    """

    def __init__(
        self, store: Store, *, most: int = MOST_WAITING, fault: Fault | None = None, watch: Watch | None = None
    ) -> None:
        self._records = store.records
        self._commit = GroupCommit(store.target, _OwnerWriter(), most=most, fault=fault, watch=watch)

    async def keep(self, kept: KeptReceipt) -> KeptReceipt:
        """Make a receipt durable.

        Returns `kept` itself if it is new; else what stands under its (counterparty, batch) already.
        The caller compares `receipt.ask_digest`: the same ask gets the stored answer, another is a conflict.

        Raises:
            StoreError: not known to be durable; `overloaded`: too many wait.

        """
        stored = await self._commit.keep(kept)
        if stored is None:
            stored = await self._records.receipt_of_batch("owner", kept.counterparty, kept.batch)
        if stored is None:
            raise StoreError("A receipt was taken out of the store while it was asked for; ask again.")
        return stored

    async def find(self, counterparty: str, batch: UUID) -> KeptReceipt | None:
        """The receipt of one batch from this querier, if there is one.

        Raises:
            StoreError: PostgreSQL is away.

        """
        return await self._records.receipt_of_batch("owner", counterparty, batch)

    async def warm(self) -> None:
        """Connect now. Raises StoreError if PostgreSQL is away."""
        await self._commit.warm()

    async def close(self) -> None:
        """Write what waits, then disconnect."""
        await self._commit.close()


@dataclass(frozen=True, slots=True)
class _Concluded:
    """One unit of the querier: a check with what belongs to it, or receipts alone."""

    check: SealedCheck | None
    receipts: Sequence[KeptReceipt]
    unanswered: Sequence[UnansweredAsk] = ()
    hour_key: HourKeyRow | None = None
    response: ResponseRow | None = None


@final
class QuerierCommits:
    """Keeps the querier's side: each check with its receipts and asks, one atomic unit.

    `most` bounds the units that wait; `fault` is for tests, `watch` for metrics.
    """

    def __init__(
        self, store: Store, *, most: int = MOST_WAITING, fault: Fault | None = None, watch: Watch | None = None
    ) -> None:
        self._commit = GroupCommit(store.target, _QuerierWriter(), most=most, fault=fault, watch=watch)

    async def keep(
        self,
        check: SealedCheck,
        receipts: Sequence[KeptReceipt],
        unanswered: Sequence[UnansweredAsk] = (),
        hour_key: HourKeyRow | None = None,
        response: ResponseRow | None = None,
    ) -> None:
        """Make a check durable with all that belongs to it, all or nothing.

        A receipt that is there already stays as it is (checks share asks); an ask that has its receipt by now is
        not kept as unanswered. Repeating a call that failed is safe.

        Raises:
            StoreError: not known to be durable; `overloaded`: too many wait.

        """
        await self._commit.keep(_Concluded(check, receipts, unanswered, hour_key, response))

    async def keep_receipts(self, receipts: Sequence[KeptReceipt], unanswered: Sequence[UnansweredAsk] = ()) -> None:
        """Make receipts of late or adopted answers durable, whose asks are unanswered no longer, and asks without one.

        Raises:
            StoreError: not known to be durable; `overloaded`: too many wait.

        """
        if receipts or unanswered:
            await self._commit.keep(_Concluded(None, receipts, unanswered))

    async def warm(self) -> None:
        """Connect now. Raises StoreError if PostgreSQL is away."""
        await self._commit.warm()

    async def close(self) -> None:
        """Write what waits, then disconnect."""
        await self._commit.close()


class _OwnerWriter:
    """Writes receipts; the result is the receipt that stands, or None where only the database knows it."""

    _one: Statement
    _many: Statement

    async def prepare(self, connection: Connection) -> None:
        self._one = await connection.prepare(_SQL["keep_owner_receipt_one"])
        self._many = await connection.prepare(_SQL["keep_owner_receipts"])

    async def write(self, units: Sequence[KeptReceipt]) -> Sequence[KeptReceipt | None]:
        if len(units) == 1:
            with suppress(UniqueViolationError):  # one that stands already: nothing was written, see exchange.sql
                await self._one.fetch(*_receipt_row(units[0]))
                return units
        first: dict[Key, KeptReceipt] = {}
        for kept in units:
            first.setdefault((kept.counterparty, kept.batch), kept)
        new = {(row[0], row[1]) for row in await self._many.fetch([_receipt_row(kept) for kept in first.values()])}
        keys = [(kept.counterparty, kept.batch) for kept in units]
        return [first[key] if key in new else None for key in keys]


class _QuerierWriter:
    """Writes checks and what belongs to them, with the least statement that does.

    It remembers which asks it wrote as unanswered: only for their receipts it pays for the larger statement.
    Beyond `MOST_OPEN_ASKS` it stops remembering and always pays.
    """

    _one: Statement
    _many: Statement
    _everything: Statement

    def __init__(self) -> None:
        self._open: set[Key] = set()
        self._forgot = False

    async def prepare(self, connection: Connection) -> None:
        self._one = await connection.prepare(_SQL["keep_check_one"])
        self._many = await connection.prepare(_SQL["keep_checks"])
        self._everything = await connection.prepare(_SQL["keep_everything"])

    async def write(self, units: Sequence[_Concluded]) -> Sequence[None]:
        receipts = {(r.counterparty, r.batch): r for unit in units for r in unit.receipts}
        checks = [unit.check for unit in units if unit.check is not None]
        if not self._simple(units, receipts):
            await self._write_everything(units, receipts, checks)
        else:
            await self._write_simply(list(map(_receipt_row, receipts.values())), list(map(_check_row, checks)))
        return [None] * len(units)

    async def _write_simply(self, receipts: Sequence[Row], checks: Sequence[Row]) -> None:
        if len(receipts) == len(checks) == 1:
            with suppress(UniqueViolationError):  # one of them stands already: nothing was written, see exchange.sql
                await self._one.fetch(*receipts[0], *checks[0])
                return
        await self._many.fetch(receipts, checks)

    def _simple(self, units: Sequence[_Concluded], receipts: dict[Key, KeptReceipt]) -> bool:
        if self._forgot or not self._open.isdisjoint(receipts):
            return False
        return not any(unit.check is None or unit.unanswered or unit.hour_key or unit.response for unit in units)

    async def _write_everything(
        self, units: Sequence[_Concluded], receipts: dict[Key, KeptReceipt], checks: Sequence[SealedCheck]
    ) -> None:
        asks = {(ask.owner, ask.batch): ask for unit in units for ask in unit.unanswered}
        asks = {key: ask for key, ask in asks.items() if key not in receipts}
        # Before the statement: if its outcome stays in doubt, the asks may stand.
        self._open.update(asks)
        if len(self._open) > MOST_OPEN_ASKS:
            self._open.clear()
            self._forgot = True
        responses = {unit.response[:2]: unit.response for unit in units if unit.response is not None}
        await self._everything.fetch(
            [_receipt_row(receipt) for receipt in receipts.values()],
            [_check_row(check) for check in checks],
            [_ask_row(ask) for ask in asks.values()],
            list({unit.hour_key[0]: unit.hour_key for unit in units if unit.hour_key is not None}.values()),
            list(responses.values()),
        )
        self._open.difference_update(receipts)
