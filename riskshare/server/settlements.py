"""Settlements, on the peers' listener: for members only.

POST settlements            a proposal (CBOR), answered with the settlement that both have signed, or with our own
GET  settlements/receipts   our receipts of exchanges with the reader, of one direction and period, page by page
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from datetime import datetime
from time import monotonic
from typing import Final, Protocol, final

from aiohttp import web

from riskshare.audit.proposal import SETTLEMENT_RECEIPTS, SETTLEMENTS
from riskshare.encoding import parse_time
from riskshare.errors import EncodingError, InputError
from riskshare.query.quota import Allowance, Rate
from riskshare.server.bodies import read_body
from riskshare.server.gate import Gate

ALLOWED: Final = Rate(5.0, 200.0)
"""Proposals and pages that one member may send or read a second, and at once: each reads the receipts of a period."""

AT_ONCE: Final = 2
"""Periods that are read at once, whoever asks."""

CBOR: Final = "application/cbor"
_HEADERS: Final = {"Content-Type": CBOR, "Cache-Control": "no-store"}
_ID: Final = re.compile(r"(?:[0-9a-f]{64})?")


class Settling(Protocol):
    """The other side of a settlement (`audit.settle.Settler`). Raises what is told there."""

    async def answer(self, body: bytes, proposer: str) -> bytes:
        """Answer a proposal."""

    async def page(self, reader: str, owner: str, opened: datetime, closed: datetime, after: bytes) -> bytes:
        """A page of receipts, ids above `after`."""


@final
class _Settlements:
    """The handlers."""

    def __init__(self, settling: Settling, gate: Gate) -> None:
        self._settling = settling
        self._gate = gate
        self._allowance = Allowance(ALLOWED)
        self._reading = asyncio.Semaphore(AT_ONCE)
        # One of each reader's at a time, so that whoever asks for many keeps nobody else waiting.
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def propose(self, request: web.Request) -> web.Response:
        proposer = self._member(request)
        if request.headers.get("Content-Type") != CBOR:
            raise InputError(f"A settlement travels as {CBOR}.", code="unsupported_media_type")
        body = await read_body(request)
        async with self._turns[proposer], self._reading:
            return web.Response(body=await self._settling.answer(body, proposer), headers=_HEADERS)

    async def receipts(self, request: web.Request) -> web.Response:
        reader = self._member(request)
        after = request.query.get("after", "")
        try:
            opened, closed = parse_time(request.query.get("from")), parse_time(request.query.get("to"))
        except EncodingError as error:
            raise InputError("The queries from and to are times such as 2026-01-31T23:59:59.000Z.") from error
        if _ID.fullmatch(after) is None:
            raise InputError("The query after is the id of a receipt, 64 hex digits.")
        async with self._turns[reader], self._reading:
            page = await self._settling.page(
                reader, request.query.get("owner", ""), opened, closed, bytes.fromhex(after)
            )
        return web.Response(body=page, headers=_HEADERS)

    def _member(self, request: web.Request) -> str:
        name = self._gate.member(request).name
        self._allowance.take(name, now=monotonic())
        return name


def settlement_routes(settling: Settling, gate: Gate) -> list[web.RouteDef]:
    """The routes for `web.Application.add_routes`."""
    settlements = _Settlements(settling, gate)
    return [
        web.post(SETTLEMENTS, settlements.propose),
        web.get(SETTLEMENT_RECEIPTS, settlements.receipts),
    ]
