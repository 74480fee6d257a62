"""What counterparties have accounted for in their own logs, and what they have not.

Receipts are looked at once, when their time of grace is over: those that the counterparty has not accounted for until
then become awaited, and stay so until it does. So counting what is missing costs what is missing, however
many receipts there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, final

from riskshare.ledger.kept import AwaitedRow, EntryRow
from riskshare.store.connection import columns
from riskshare.store.failures import guarded
from riskshare.store.queries import load

if TYPE_CHECKING:
    from riskshare.store.connection import Pool

_SQL: Final = load("accounts.sql")
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
MOST: Final = 5_000
"""Receipts that one call of `settle` looks at."""


@final
class Accounts:
    """Every method raises `StoreError` if PostgreSQL is away."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def settle(
        self,
        before: datetime,
        statements: Sequence[AwaitedRow],
        *,
        oldest: datetime = _BEGINNING,
        most: int = MOST,
    ) -> bool:
        """Await what was kept before that time and is not accounted for; what is accounted for, no longer.

        `statements` are all statements of others that are held and whose time of grace is over. Receipts from before
        `oldest` are waited for no longer. True: there are more receipts than one call looks at; call again.
        """
        held = columns([(row.member, row.kind, row.source, row.since) for row in statements], 4)
        with guarded():
            async with self._pool.acquire() as connection, connection.transaction():
                since = max(await connection.fetchval(_SQL["awaited_upto"]) or oldest, oldest)
                # Behind a clock that has gone back, the mark goes back too: what is kept now is looked at in its time.
                upto = before
                if since < before:
                    upto = await connection.fetchval(_SQL["next_upto"], since, before, most)
                    await connection.execute(_SQL["await_receipts"], since, upto)
                await connection.execute(_SQL["move_awaited"], upto)
                await connection.execute(_SQL["drop_old"], oldest)
                await connection.execute(_SQL["await_statements"], *held)
                await connection.execute(_SQL["drop_statements"], *held[:3])
                await connection.execute(_SQL["drop_accounted"])
        return bool(upto < before)

    async def missing(self, before: datetime, since: datetime = _BEGINNING) -> Mapping[str, int]:
        """By member: how much it has not accounted for: statements held, and receipts from `since` until `before`.

        Members of whom nothing is missing are left out. It holds whether the peer runs or not: receipts that `settle`
        has not looked at are looked at here.
        """
        with guarded():
            rows = await self._pool.fetch(_SQL["count_missing"], since, before)
        return {row["member"]: row["missing"] for row in rows}

    async def take_missing(self, member: str, limit: int) -> list[tuple[str, bytes]]:
        """Kinds and sources of some of that, in turn: each call gives those that were given least often."""
        with guarded():
            return [(row["kind"], row["source"]) for row in await self._pool.fetch(_SQL["take_awaited"], member, limit)]

    async def last_answered(self, member: str) -> datetime | None:
        """When this owner last kept a receipt of an answer to that member."""
        with guarded():
            found: datetime | None = await self._pool.fetchval(_SQL["last_answered"], member)
        return found

    async def receipts_of(self, member: str, ids: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """Receipts of exchanges with a member, by id: their bytes."""
        with guarded():
            return {row["id"]: row["receipt"] for row in await self._pool.fetch(_SQL["receipts_of"], member, ids)}

    async def entry_for(self, member: str, source: bytes) -> EntryRow | None:
        """This member's entry of a source, if it may concern `member`; see `Ledger.entries_for`."""
        with guarded():
            row = await self._pool.fetchrow(_SQL["entry_for"], member, source)
        return None if row is None else EntryRow(**row)

    async def stalled(self) -> list[str]:
        """The members whose logs have stalled."""
        with guarded():
            return [row["member"] for row in await self._pool.fetch(_SQL["stalled"])]
