"""Making good what a crash, or an owner's silence, left open: adopt forgotten receipts, send unanswered asks again.

All owners are dealt with at once, each within a bound of time: one that is slow, or has pages without end, keeps
nobody else waiting.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Sequence
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

RESEND_TERM: Final = timedelta(hours=24)
"""An ask that has had no answer for so long is not sent again; it stays kept as unanswered."""


class Recovery:
    """What is still open with the owners."""

    def __init__(self, shared: Shared, querier: QuerierHalf) -> None:
        self._shared = shared
        self._querier = querier
        self._closed: set[UUID] = set()

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
        open_asks: dict[str, list[UnansweredAsk]] = {}
        after = 0
        while found := await self._shared.store.records.unanswered(after):
            after = found[-1][0]
            for _, asked_at, ask in found:
                if ask.batch not in self._closed and now() - asked_at <= RESEND_TERM:
                    open_asks.setdefault(ask.owner, []).append(ask)
        await _together([self._resend_to(asks) for asks in open_asks.values()])

    async def _resend_to(self, asks: Sequence[UnansweredAsk]) -> None:
        try:
            async with asyncio.timeout(ROUND_SECONDS):
                for ask in asks:
                    if await self._querier.asker.resend(ask):
                        self._closed.add(ask.batch)
        except (TimeoutError, PeerRefused):
            return  # the next round goes on


async def _together(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run all to their end, then raise the first failure."""
    outcomes = await asyncio.gather(*works, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
