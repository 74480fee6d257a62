"""Labels that owners withdrew because an appeal was upheld, as this member saw it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, final

from riskshare.sharing.upheld import Place
from riskshare.store.connection import affected
from riskshare.store.failures import guarded
from riskshare.store.queries import load

if TYPE_CHECKING:
    from riskshare.store.connection import Pool

_SQL: Final = load("appeals.sql")


@final
class Appeals:
    """Every method raises `StoreError` if PostgreSQL is away."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def keep(self, list_name: str, epoch: bytes, labels: Sequence[bytes]) -> int:
        """Keep labels of a list under an epoch (digest); give how many were not kept already."""
        with guarded():
            return affected(await self._pool.execute(_SQL["keep"], list_name, epoch, labels))

    async def upheld(self, since: datetime) -> dict[Place, datetime]:
        """When each was first seen, of those seen since a time."""
        with guarded():
            rows = await self._pool.fetch(_SQL["all"], since)
        return {(row["list_name"], row["epoch"], row["label"]): row["seen_at"] for row in rows}
