"""This member's log and its witness, on the peers' listener: open to anybody (C2SP tlog-tiles, tlog-witness).

    GET  checkpoint, latest    a signed checkpoint: the newest that is final, the newest of all
    GET  tile/…                a tile or a bundle, of all that the newest checkpoint covers
    POST add-checkpoint        another member's log asks for a cosignature

A member may let only members read its log (`listen.peers.log_readers`): its witness is open all the same.

What is below a full tile's path never changes. A partial one may be had in every width up to the widest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final, Protocol, final

from aiohttp import web

from riskshare.errors import InputError
from riskshare.ledger.addition import MAX_BYTES, TEXT_TYPE
from riskshare.ledger.paths import ADD_CHECKPOINT, CHECKPOINT, LATEST, PREFIX, TILE
from riskshare.ledger.tile import Bundle, Tile, parse_path
from riskshare.server.bodies import in_time
from riskshare.server.gate import Gate
from riskshare.server.visitors import ADDING, READING, Visitors

PUBLIC: Final = frozenset({ADD_CHECKPOINT, CHECKPOINT, LATEST, TILE})
"""Routes that anybody may ask, and that members ask all the time."""

_IMMUTABLE: Final = "public, max-age=31536000, immutable"
_NO_CACHE: Final = "no-cache"
_TILE_TYPE: Final = "application/octet-stream"


class Signed(Protocol):
    """A checkpoint."""

    @property
    def note(self) -> bytes:
        """The signed note, with the cosignatures that it has."""


class Log(Protocol):
    """This member's log. Every method raises StoreError."""

    async def final(self) -> Signed | None:
        """The newest final checkpoint."""

    async def head(self) -> Signed | None:
        """The newest checkpoint."""

    async def tiles(self, places: Iterable[Tile]) -> Mapping[Tile, bytes]:
        """Tiles as wide as asked for; those that the log does not have are left out."""

    async def bundles(self, places: Iterable[Bundle]) -> Mapping[Bundle, bytes]:
        """Bundles as wide as asked for; those that the log does not have are left out."""


class Reply(Protocol):
    """What a witness answers."""

    @property
    def status(self) -> int:
        """HTTP status."""

    @property
    def body(self) -> bytes:
        """The whole body."""

    @property
    def content_type(self) -> str:
        """Its type."""


class Witnessing(Protocol):
    """This member as witness (`ledger.cosign.Witness`)."""

    async def add_checkpoint(self, body: bytes, now: datetime) -> Reply:
        """Answer a request. Raises StoreError."""


@final
class _Ledger:
    """The handlers."""

    def __init__(
        self, log: Log, witness: Witnessing, gate: Gate, now: Callable[[], datetime], *, open_to_all: bool
    ) -> None:
        self._log = log
        self._witness = witness
        self._now = now
        self._readers = Visitors(gate, READING, open_to_all=open_to_all)
        self._logs = Visitors(gate, ADDING)

    async def checkpoint(self, request: web.Request) -> web.Response:
        async with self._readers.admit(request):
            return _checkpoint(await self._log.final())

    async def latest(self, request: web.Request) -> web.Response:
        async with self._readers.admit(request):
            return _checkpoint(await self._log.head())

    async def tile(self, request: web.Request) -> web.Response:
        # As it was sent: of one place there is one spelling.
        place = parse_path(request.raw_path.removeprefix(PREFIX))
        async with self._readers.admit(request):
            data = await self._find(place)
        if data is None:
            raise InputError("This log does not reach so far. Read its newest checkpoint.", code="not_found")
        headers = {"Content-Type": _TILE_TYPE, "Cache-Control": _IMMUTABLE if place.is_full else _NO_CACHE}
        return web.Response(body=data, headers=headers)

    async def _find(self, place: Tile | Bundle) -> bytes | None:
        if isinstance(place, Tile):
            return (await self._log.tiles([place])).get(place)
        return (await self._log.bundles([place])).get(place)

    async def add_checkpoint(self, request: web.Request) -> web.Response:
        place = self._logs.admit(request)
        body = await _read(request)
        async with place:
            reply = await self._witness.add_checkpoint(body, self._now())
        headers = {"Content-Type": reply.content_type, "Cache-Control": "no-store"}
        return web.Response(status=reply.status, body=reply.body, headers=headers)


def _checkpoint(found: Signed | None) -> web.Response:
    if found is None:
        raise InputError("This log has no such checkpoint yet. Ask again later.", code="not_found")
    return web.Response(body=found.note, headers={"Content-Type": TEXT_TYPE, "Cache-Control": _NO_CACHE})


async def _read(request: web.Request) -> bytes:
    """The body, if it is not longer than a witness reads, and comes in time; no more than that is held."""
    body = bytearray()
    if (request.content_length or 0) <= MAX_BYTES:
        async with in_time():
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > MAX_BYTES:
                    break
            else:
                return bytes(body)
    raise InputError(f"A request to a witness has at most {MAX_BYTES} bytes.", code="body_too_large")


def ledger_routes(
    log: Log, witness: Witnessing, gate: Gate, now: Callable[[], datetime], *, open_to_all: bool = True
) -> list[web.RouteDef]:
    """The routes for `web.Application.add_routes`; `open_to_all`: whoever comes may read the log."""
    ledger = _Ledger(log, witness, gate, now, open_to_all=open_to_all)
    return [
        web.get(CHECKPOINT, ledger.checkpoint),
        web.get(LATEST, ledger.latest),
        web.get(TILE.replace("{place}", "{place:.+}"), ledger.tile),
        web.post(ADD_CHECKPOINT, ledger.add_checkpoint),
    ]
