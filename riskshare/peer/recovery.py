"""Making good what a crash, or an owner's silence, left open: adopt forgotten receipts, send unanswered asks again.

All owners are dealt with at once, each within a bound of time: one that is slow, or has pages without end, keeps
nobody else waiting.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from riskshare.errors import PeerError, PeerRefused
from riskshare.ledger.receipt import UnansweredAsk
from riskshare.logs import get_log
from riskshare.peer.opening import now
from riskshare.peer.parts import QuerierHalf, Shared

ROUND_SECONDS: Final = 60.0
"""Most time for one owner in one round; what is left comes in the next."""

MOST_ASKS: Final = 1000
"""Asks that one owner is sent again in one round, the oldest first."""

RESEND_TERM: Final = timedelta(hours=24)
"""An ask that has had no answer for so long is not sent again; it stays kept as unanswered."""


class Recovery:
    """What is still open with the owners."""

    def __init__(self, shared: Shared, querier: QuerierHalf) -> None:
        self._shared = shared
        self._querier = querier

    async def begin(self, owners: Sequence[str]) -> None:
        """Note at which owners to look for forgotten receipts, before anything new is asked. Raises StoreError."""
        await self._querier.adopter.begin(owners)

    async def adopt(self) -> None:
        """Ask owners where a search is due for receipts that we do not know. Raises StoreError."""
        owners = sorted(set(self._querier.adopter.due()) & set(self._shared.directory.others()))
        await _together([self._adopt_from(owner) for owner in owners])

    async def _adopt_from(self, owner: str) -> None:
        refused: dict[str, list[str]] = defaultdict(list)
        try:
            async with asyncio.timeout(ROUND_SECONDS):
                count = await self._querier.adopter.adopt(
                    owner, lambda error: refused[error.code].append(error.message)
                )
        except PeerError as error:
            get_log().info("not_adopted", owner=owner, code=error.code)
            return
        except TimeoutError:
            get_log().warning("adoption_goes_on", owner=owner)
            return
        finally:  # a line for each kind: an owner can send as many as it likes
            for code, details in refused.items():
                get_log().warning("receipt_refused", owner=owner, code=code, detail=details[0], count=len(details))
        if count:
            self._shared.metrics.adopted.inc(count)
            get_log().warning("adopted", owner=owner, count=count)

    async def resend(self) -> None:
        """Send asks that have no answer again, until they are answered or hopeless. Raises StoreError."""
        records = self._shared.store.records
        await records.close_asks_before(now() - RESEND_TERM)
        open_asks: dict[str, list[UnansweredAsk]] = {}
        for ask in await records.open_asks(self._shared.directory.others(), MOST_ASKS):
            open_asks.setdefault(ask.owner, []).append(ask)
        await _together([self._resend_to(owner, asks) for owner, asks in open_asks.items()])

    async def _resend_to(self, owner: str, asks: Sequence[UnansweredAsk]) -> None:
        closed: list[UUID] = []
        with suppress(TimeoutError, PeerRefused):  # the next round goes on
            async with asyncio.timeout(ROUND_SECONDS):
                for ask in asks:
                    if await self._querier.asker.resend(ask):
                        closed.append(ask.batch)  # noqa: PERF401 - those before a failure count
        if closed:
            await self._shared.store.records.close_asks(owner, closed)


async def _together(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run all to their end, then raise the first failure."""
    outcomes = await asyncio.gather(*works, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
