"""What an auditor asks of this member, on the peers' listener: for members only, each its own requests.

POST audits                         a signed request (CBOR): admitted, durable and told to the operators, then answered
GET  audits/{digest}/range          which part of the log is shown under it
GET  audits/{digest}/statements     a page of that part: `first` is its first index, `size` the end of the range
GET  audits/{digest}/opened         a page of the checks that it names, opened, from number `first` on
GET  audits/{digest}/proofs         a page of the receipts that it names, proved, from number `first` on
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from time import monotonic
from typing import Final, Protocol, final

from aiohttp import web

from riskshare.audit.access import AUDITS, OPENED, PROOFS, RANGE, STATEMENTS
from riskshare.errors import InputError
from riskshare.query.quota import Allowance, Rate
from riskshare.server.bodies import read_body
from riskshare.server.gate import Gate

QUIET: Final = frozenset({STATEMENTS})
"""Routes that an auditor asks all the time."""

ALLOWED: Final = Rate(10.0, 100.0)
"""Requests and pages of one auditor a second, and at once: a log of a million entries has 500 pages."""

PAGES_AT_ONCE: Final = 2
"""Pages that are read at once: one may hold some 35 MB for a moment."""

CBOR: Final = "application/cbor"
_DIGEST: Final = "{digest:[0-9a-f]{64}}"
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,15}")
_HEADERS: Final = {"Content-Type": CBOR, "Cache-Control": "no-store"}


class Auditing(Protocol):
    """What this member shows to auditors (`audit.show.Showing`). Every method raises AuditRefused, StoreError."""

    async def admit(self, wire: bytes, reader: str) -> bytes:
        """Admit a request: the answer. Raises EncodingError too."""

    async def range(self, digest: bytes, reader: str) -> bytes:
        """The range shown under a request. Raises InputError too."""

    async def statements(self, digest: bytes, reader: str, first: int, size: int) -> bytes:
        """A page of it. Raises InputError too."""

    async def opened(self, digest: bytes, reader: str, first: int) -> bytes:
        """A page of the checks that a request names. Raises InputError too."""

    async def proofs(self, digest: bytes, reader: str, first: int) -> bytes:
        """A page of proofs for the receipts that a request names. Raises InputError, OpenError too."""


@final
class _Audits:
    """The handlers."""

    def __init__(self, auditing: Auditing, gate: Gate) -> None:
        self._auditing = auditing
        self._gate = gate
        self._allowance = Allowance(ALLOWED)
        self._reading = asyncio.Semaphore(PAGES_AT_ONCE)
        # One of each reader's at a time, so that whoever asks for many keeps nobody else waiting.
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def _reader(self, request: web.Request) -> str:
        name = self._gate.member(request).name
        self._allowance.take(name, now=monotonic())
        return name

    async def admit(self, request: web.Request) -> web.Response:
        reader = self._reader(request)
        if request.headers.get("Content-Type") != CBOR:
            raise InputError(f"A request travels as {CBOR}.", code="unsupported_media_type")
        return _answer(await self._auditing.admit(await read_body(request), reader))

    async def range(self, request: web.Request) -> web.Response:
        reader = self._reader(request)
        return _answer(await self._auditing.range(_digest(request), reader))

    async def statements(self, request: web.Request) -> web.Response:
        reader = self._reader(request)
        first, size = _number(request, "first"), _number(request, "size")
        async with self._turns[reader], self._reading:
            return _answer(await self._auditing.statements(_digest(request), reader, first, size))

    async def opened(self, request: web.Request) -> web.Response:
        reader, first = self._reader(request), _number(request, "first")
        async with self._turns[reader], self._reading:
            return _answer(await self._auditing.opened(_digest(request), reader, first))

    async def proofs(self, request: web.Request) -> web.Response:
        reader, first = self._reader(request), _number(request, "first")
        async with self._turns[reader], self._reading:
            return _answer(await self._auditing.proofs(_digest(request), reader, first))


def _answer(data: bytes) -> web.Response:
    return web.Response(body=data, headers=_HEADERS)


def _digest(request: web.Request) -> bytes:
    return bytes.fromhex(request.match_info["digest"])


def _number(request: web.Request, name: str) -> int:
    text = request.query.get(name, "")
    if _NUMBER.fullmatch(text) is None:
        raise InputError(f"The query {name} is a whole number.")
    return int(text)


def audit_routes(auditing: Auditing, gate: Gate) -> list[web.RouteDef]:
    """The routes for `web.Application.add_routes`."""
    audits = _Audits(auditing, gate)
    return [
        web.post(AUDITS, audits.admit),
        web.get(RANGE.replace("{digest}", _DIGEST), audits.range),
        web.get(STATEMENTS.replace("{digest}", _DIGEST), audits.statements),
        web.get(OPENED.replace("{digest}", _DIGEST), audits.opened),
        web.get(PROOFS.replace("{digest}", _DIGEST), audits.proofs),
    ]
