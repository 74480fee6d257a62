"""Both sides know, on the peers' listener: for members only.

GET entries    this member's entries that concern the reader, with proofs; page by page, or one by its source
GET held       what this member holds of others: digests and checkpoints, page by page; or one statement by its digest
"""

from __future__ import annotations

import re
from time import monotonic
from typing import Final, Protocol, final

from aiohttp import web

from riskshare.errors import InputError
from riskshare.ledger.entry_page import ENTRIES, ENTRY
from riskshare.query.quota import Allowance, Rate
from riskshare.server.gate import Gate
from riskshare.sharing.held_page import HELD, HELD_STATEMENT

QUIET: Final = frozenset({ENTRIES, HELD})
"""Routes that members ask all the time."""

ALLOWED: Final = Rate(10.0, 100.0)
"""Pages and statements that one member may read a second, and at once."""

_DIGEST: Final = "[0-9a-f]{64}"
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,15}")
_HEADERS: Final = {"Content-Type": "application/cbor", "Cache-Control": "no-store"}


class Accounting(Protocol):
    """What this member shows of its log, and of what it holds. Every method raises StoreError.

    None means that there is no such thing, or none for this reader.
    """

    async def entries(self, reader: str, after: int, size: int) -> bytes | None:
        """The page of entries that concern the reader from `after` on, for one that knows `size` entries."""

    async def entry(self, reader: str, source: bytes, size: int) -> bytes | None:
        """The page with the one entry of a source, or with none."""

    async def held(self, after: int) -> bytes:
        """A page of what this member holds of others; `after` is 0, or what the page before said."""

    async def held_statement(self, digest: bytes) -> bytes | None:
        """A statement that it holds, in its wire form."""


@final
class _Accounts:
    """The handlers."""

    def __init__(self, accounting: Accounting, gate: Gate) -> None:
        self._accounting = accounting
        self._gate = gate
        self._allowance = Allowance(ALLOWED)

    def _reader(self, request: web.Request) -> str:
        name = self._gate.member(request).name
        self._allowance.take(name, now=monotonic())
        return name

    async def entries(self, request: web.Request) -> web.Response:
        reader = self._reader(request)
        return _found(await self._accounting.entries(reader, _number(request, "after"), _number(request, "size")))

    async def entry(self, request: web.Request) -> web.Response:
        reader = self._reader(request)
        source = bytes.fromhex(request.match_info["source"])
        return _found(await self._accounting.entry(reader, source, _number(request, "size")))

    async def held(self, request: web.Request) -> web.Response:
        self._reader(request)
        return _found(await self._accounting.held(_number(request, "after")))

    async def held_statement(self, request: web.Request) -> web.Response:
        self._reader(request)
        return _found(await self._accounting.held_statement(bytes.fromhex(request.match_info["digest"])))


def _found(data: bytes | None) -> web.Response:
    if data is None:
        raise InputError("This member has nothing of that name to show, or not yet. Ask again later.", code="not_found")
    return web.Response(body=data, headers=_HEADERS)


def _number(request: web.Request, name: str) -> int:
    text = request.query.get(name, "0")
    if _NUMBER.fullmatch(text) is None:
        raise InputError(f"The query {name} is a whole number.")
    return int(text)


def accounting_routes(accounting: Accounting, gate: Gate) -> list[web.RouteDef]:
    """The routes for `web.Application.add_routes`."""
    accounts = _Accounts(accounting, gate)
    return [
        web.get(ENTRIES, accounts.entries),
        web.get(ENTRY.replace("{source}", f"{{source:{_DIGEST}}}"), accounts.entry),
        web.get(HELD, accounts.held),
        web.get(HELD_STATEMENT.replace("{digest}", f"{{digest:{_DIGEST}}}"), accounts.held_statement),
    ]
