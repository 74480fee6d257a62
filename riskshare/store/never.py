"""The never-list: rules that keep identifiers off every list of this member."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, final

from riskshare.sharing.entry import DataKey
from riskshare.sharing.never import NeverList
from riskshare.sharing.never_kept import NeverRow, NewRule, never_list
from riskshare.store.failures import guarded
from riskshare.store.queries import load

if TYPE_CHECKING:
    from riskshare.store.connection import Pool

SQL: Final = load("never.sql")


@final
class NeverRules:
    """Every method raises `StoreError` if PostgreSQL is away."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def rules(self) -> list[NeverRow]:
        """All rules, by number."""
        with guarded():
            return [NeverRow(**row) for row in await self._pool.fetch(SQL["never_rules"])]

    async def never_list(self, key: DataKey) -> NeverList:
        """All rules, ready to be asked. Raises OpenError: a rule was sealed under another data key."""
        return never_list(key, await self.rules())

    async def add(self, rules: Sequence[NewRule]) -> list[tuple[int, bool]]:
        """Keep rules; give the number of each, and whether it is new."""
        kept: list[tuple[int, bool]] = []
        with guarded():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(SQL["lock_never"])
                for one in rules:
                    number = await connection.fetchval(
                        SQL["add_never"],
                        one.kind,
                        one.type,
                        one.pattern,
                        one.handle,
                        one.sealed,
                        one.row,
                        one.note,
                        one.author,
                    )
                    known = number is None
                    if known:
                        number = await connection.fetchval(
                            SQL["known_never"], one.kind, one.type, one.handle, one.pattern
                        )
                    kept.append((number, not known))
        return kept

    async def remove(self, numbers: Sequence[int]) -> list[int]:
        """Forget rules; give the numbers of those that there were."""
        with guarded():
            return sorted(row["number"] for row in await self._pool.fetch(SQL["remove_never"], numbers))
