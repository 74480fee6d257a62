"""Grants of this member's lists: every one that was given, with its end; nothing is deleted."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Final, final

from riskshare.sharing.grants import Grant
from riskshare.store.failures import guarded
from riskshare.store.queries import load

if TYPE_CHECKING:
    import asyncpg

    from riskshare.store.connection import Pool

_SQL: Final = load("grants.sql")


@final
class GrantsKept:
    """Every method raises `StoreError` if PostgreSQL is away."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def newest(self) -> list[Grant]:
        """The newest grant of each member for each list, in force or not."""
        with guarded():
            return [_grant(row) for row in await self._pool.fetch(_SQL["newest"])]

    async def of_list(self, list_id: int) -> list[Grant]:
        """All grants that a list ever had, oldest first."""
        with guarded():
            return [_grant(row) for row in await self._pool.fetch(_SQL["of_list"], list_id)]

    async def grant(
        self, list_id: int, member: str, purposes: Iterable[str], until: datetime | None, author: str
    ) -> Grant:
        """Grant a list, in place of the grant that the member has; the running peers are told at the commit."""
        with guarded():
            async with self._pool.acquire() as connection, connection.transaction():
                # Two grants to one member at once: the second waits here for the first.
                await connection.execute("select 1 from lists where id = $1 for no key update", list_id)
                await connection.execute(_SQL["revoke"], list_id, member, author)
                row = await connection.fetchrow(_SQL["grant"], list_id, member, sorted(set(purposes)), until, author)
        assert row is not None
        return _grant(row)

    async def revoke(self, list_id: int, member: str, author: str) -> bool:
        """Take a grant back; False if there is none in force. The running peers are told at the commit."""
        with guarded():
            return bool(await self._pool.fetchval(_SQL["revoke"], list_id, member, author))


def _grant(row: asyncpg.Record) -> Grant:
    return Grant(
        list_id=row["list_id"],
        member=row["member"],
        purposes=frozenset(row["purposes"]),
        until=row["until"],
        granted_at=row["granted_at"],
        author=row["author"],
        revoked_at=row["revoked_at"],
        revoked_by=row["revoked_by"],
    )
