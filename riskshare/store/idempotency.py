"""Requests with an Idempotency-Key: begun once, answered once, repeated from what was kept.

`begin` claims the key; the response is kept with the check itself, in one commit (`QuerierCommits.keep`). A claim whose
peer died is free again after a while.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, final

from riskshare.errors import IdempotencyError
from riskshare.store.connection import affected
from riskshare.store.failures import guarded
from riskshare.store.queries import load

if TYPE_CHECKING:
    from riskshare.store.connection import Pool

CLAIM_TERM: Final = timedelta(seconds=30)
"""After this long without a response a claim is taken over: far beyond any deadline of a check."""

_SQL: Final = load("idempotency.sql")


@final
class Idempotency:
    """The keys that clients used, by name of the API key and digest of the Idempotency-Key.

    Every method raises `StoreError` if PostgreSQL is away.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def begin(
        self, api_key: str, key_digest: bytes, request_digest: bytes, *, term: timedelta = CLAIM_TERM
    ) -> bytes | None:
        """Claim a key for a request. Gives the sealed response if the same request was answered before.

        Raises:
            IdempotencyError: `idempotency_key_reused`: the key stands for another request;
                `idempotency_key_in_use`: the same request is being worked on.

        """
        with guarded():
            row = await self._pool.fetchrow(_SQL["begin"], api_key, key_digest, request_digest, term)
        if row is None or row["mine"]:
            # No row: the claim of another was withdrawn in this very moment; a retry settles it.
            if row is None:
                raise _in_use()
            return None
        if row["request_digest"] != request_digest:
            raise IdempotencyError("This Idempotency-Key was used for another request: choose a new one.")
        if row["response"] is None:
            raise _in_use()
        return bytes(row["response"])

    async def give_up(self, api_key: str, key_digest: bytes) -> None:
        """Free a claim whose request failed, so that it may be tried again at once."""
        with guarded():
            await self._pool.execute(_SQL["give_up"], api_key, key_digest)

    async def forget(self, before: datetime) -> int:
        """Delete what was begun before that time; give the number of keys."""
        with guarded():
            return affected(await self._pool.execute(_SQL["forget"], before))


def _in_use() -> IdempotencyError:
    return IdempotencyError(
        "A request with this Idempotency-Key is being worked on: wait for it, then repeat.",
        code="idempotency_key_in_use",
    )
