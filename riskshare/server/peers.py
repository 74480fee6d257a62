"""The listener for other members: the routes of `riskshare.query.message` over mutual TLS.

    POST evaluate      an ask (CBOR), answered with an answer (CBOR)
    GET  lists         the catalogue made for the reader
    GET  epochs        an epoch statement
    GET  snapshots     the newest snapshot of a list, by ETag and long poll; or one, by its version or its digest
    GET  segments      a segment file, whole or a range
    GET  receipts      the reader's own receipts, page by page
    GET  registry      the network's registry, newest or one version
    POST audits        a request of an auditor, and what is shown under it (`riskshare.server.audits`)

Beside them, and open to anybody, are the paths of `riskshare.server.ledger`.

A path names a list by its local name: the owner is whose peer it is. What the reader may not have looks
like what does not exist. A request is not cancelled when its connection breaks: the exchange is finished and kept.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from time import monotonic, perf_counter
from typing import Final, Protocol

from aiohttp import web

from riskshare.encoding import parse_time
from riskshare.errors import AskRefused, EncodingError, InputError
from riskshare.ledger.receipt import KeptReceipt
from riskshare.metrics import Metrics
from riskshare.query.message import (
    EPOCH,
    EVALUATE,
    LISTS,
    MAX_ASK_BYTES,
    MAX_ELEMENTS,
    RECEIPTS,
    REGISTRY,
    SEGMENT,
    SNAPSHOT,
    SNAPSHOT_NAMED,
    SNAPSHOT_VERSION,
)
from riskshare.query.quota import PAGES, Allowance
from riskshare.query.receipt_page import MAX_PAGE, write_page
from riskshare.server.accounting import QUIET as QUIET_ACCOUNTING
from riskshare.server.accounting import Accounting, accounting_routes
from riskshare.server.audits import QUIET as QUIET_AUDITS
from riskshare.server.audits import Auditing, audit_routes
from riskshare.server.bodies import read_body
from riskshare.server.gate import Gate, Registries
from riskshare.server.ledger import PUBLIC, Log, Witnessing, ledger_routes
from riskshare.server.observing import Observer
from riskshare.server.settlements import Settling, settlement_routes

CBOR: Final = "application/cbor"
MAX_WAIT: Final = 20
"""Longest time that a poll is held, in seconds."""

PAGES_AT_ONCE: Final = 2
"""Pages of receipts that are read at once: one may hold some 25 MB for a moment."""

_CBOR_HEADERS: Final = {"Content-Type": CBOR}
_IMMUTABLE: Final = "private, max-age=31536000, immutable"
_PATTERNS: Final = {
    "{list}": "{list:[a-z0-9][a-z0-9-]{0,62}}",
    "{epoch}": "{epoch:[0-9a-f]{64}}",
    "{digest}": "{digest:[0-9a-f]{64}}",
}
_VERSION: Final = "{version:[1-9][0-9]{0,14}}"
_ETAG: Final = re.compile(r'"([0-9a-f]{64})"')
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,15}")


class Answering(Protocol):
    """The owner's half of an exchange (`query.answer.Answerer`)."""

    async def answer(self, body: bytes, asker: str) -> tuple[bytes, int]:
        """Answer an ask: body of the answer, elements evaluated. Raises AskRefused."""


class Publications(Protocol):
    """What this owner publishes. `list_name` is a full name, digests are 32 bytes, statements in wire form.

    None means that there is no such thing, or none for this reader.
    """

    async def catalogue(self, reader: str) -> bytes | None:
        """The catalogue made for a member."""

    async def epoch(self, digest: bytes, reader: str) -> bytes | None:
        """The newest statement of an epoch: the one that opened it, or has ended it since."""

    async def snapshot(
        self, list_name: str, epoch: bytes, reader: str, held: bytes = b""
    ) -> tuple[bytes, bytes] | None:
        """The newest snapshot: its digest, its wire form; not older than `held`, the digest of what the reader has."""

    async def wait(self, list_name: str, epoch: bytes, digest: bytes, seconds: float, reader: str) -> None:
        """Return when the newest snapshot for the reader is not `digest` any more, at the latest after `seconds`."""

    async def snapshot_version(self, list_name: str, epoch: bytes, version: int, reader: str) -> bytes | None:
        """One version of a snapshot."""

    async def snapshot_named(self, list_name: str, digest: bytes, reader: str) -> bytes | None:
        """The snapshot of a list with this digest, under whichever epoch."""

    async def segment(self, digest: bytes, reader: str) -> Path | None:
        """The file of a segment."""


Saw = Callable[[str, str, bytes, bytes], None]
"""Told whenever a member says what it holds: its name, list (full name), epoch and snapshot (digests)."""


class Receipts(Protocol):
    """The store of receipts, owner's side."""

    async def page(self, querier: str, since: datetime, after: int, limit: int) -> Sequence[tuple[int, KeptReceipt]]:
        """At most `limit` receipts of a querier kept since a time, numbers above `after`, in their order."""


class _Peers:
    """The handlers."""

    def __init__(
        self,
        *,
        member: str,
        gate: Gate,
        answering: Answering,
        publications: Publications,
        receipts: Receipts,
        registries: Registries,
        metrics: Metrics,
        saw: Saw,
    ) -> None:
        self._saw = saw
        self._member = member
        self._gate = gate
        self._answering = answering
        self._publications = publications
        self._receipts = receipts
        self._registries = registries
        self._metrics = metrics
        self._closing = asyncio.Event()
        self._pages = Allowance(PAGES)
        self._reading = asyncio.Semaphore(PAGES_AT_ONCE)

    async def closing(self, _app: web.Application) -> None:
        """Let go of the polls that are held."""
        self._closing.set()

    async def evaluate(self, request: web.Request) -> web.Response:
        began = perf_counter()
        member = self._gate.member(request)
        if request.headers.get("Content-Type") != CBOR:
            raise InputError(f"An ask travels as {CBOR}.", code="unsupported_media_type")
        try:
            body = await read_body(request)
        except web.HTTPRequestEntityTooLarge as error:
            raise AskRefused(
                "too_many_elements", f"An ask carries at most {MAX_ELEMENTS} elements. Split it."
            ) from error
        answer, count = await self._answering.answer(body, member.name)
        self._metrics.ask_served(member.name, count, perf_counter() - began)
        return web.Response(body=answer, headers=_CBOR_HEADERS)

    async def catalogue(self, request: web.Request) -> web.Response:
        return _statement(await self._publications.catalogue(self._gate.member(request).name))

    async def epoch(self, request: web.Request) -> web.Response:
        reader = self._gate.member(request).name
        return _statement(await self._publications.epoch(_digest(request, "digest"), reader))

    async def snapshot(self, request: web.Request) -> web.Response:
        reader = self._gate.member(request).name
        name, epoch = self._list(request), _digest(request, "epoch")
        held = request.headers.get("If-None-Match", "")
        known = _ETAG.fullmatch(held)
        wait = min(_number(request, "wait"), MAX_WAIT)
        found = await self._publications.snapshot(name, epoch, reader, bytes.fromhex(known[1]) if known else b"")
        if found is not None and known:
            self._saw(reader, name, epoch, bytes.fromhex(known[1]))
        if found is not None and wait and held == _etag(found[0]):
            await self._hold(name, epoch, found[0], wait, reader)
            if request.transport is None:  # the reader has gone; nobody is there to be judged again
                return web.Response(status=304)
            found = await self._publications.snapshot(name, epoch, self._gate.member(request).name)
        if found is None:
            raise _not_found()
        etag = _etag(found[0])
        if held == etag:
            return web.Response(status=304, headers={"ETag": etag})
        response = _statement(found[1])
        response.headers["ETag"] = etag
        return response

    async def _hold(self, name: str, epoch: bytes, digest: bytes, seconds: float, reader: str) -> None:
        """Wait for another snapshot, but not when this peer closes."""
        news = asyncio.ensure_future(self._publications.wait(name, epoch, digest, seconds, reader))
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait({news, closing}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if news.done():
                news.result()
        finally:
            news.cancel()
            closing.cancel()

    async def snapshot_version(self, request: web.Request) -> web.Response:
        reader = self._gate.member(request).name
        version = int(request.match_info["version"])
        wire = await self._publications.snapshot_version(
            self._list(request), _digest(request, "epoch"), version, reader
        )
        return _statement(wire, _IMMUTABLE)

    async def snapshot_named(self, request: web.Request) -> web.Response:
        reader = self._gate.member(request).name
        digest = _digest(request, "digest")
        return _statement(await self._publications.snapshot_named(self._list(request), digest, reader), _IMMUTABLE)

    async def segment(self, request: web.Request) -> web.StreamResponse:
        reader = self._gate.member(request).name
        path = await self._publications.segment(_digest(request, "digest"), reader)
        if path is None:
            raise _not_found()
        _check_range(request, path)
        headers = {"Content-Type": "application/octet-stream", "Cache-Control": _IMMUTABLE}
        return web.FileResponse(path, headers=headers)

    async def receipts(self, request: web.Request) -> web.Response:
        reader = self._gate.member(request).name
        try:
            since = parse_time(request.query.get("since"))
        except EncodingError as error:
            raise InputError("The query since is a time such as 2026-01-31T23:59:59.000Z.") from error
        after = _number(request, "after")
        self._pages.take(reader, now=monotonic())
        async with self._reading:
            page = write_page(await self._receipts.page(reader, since, after, MAX_PAGE))
        return web.Response(body=page, headers=_CBOR_HEADERS)

    async def registry(self, request: web.Request) -> web.Response:
        self._gate.member(request)
        text = request.match_info["version"]
        current = self._registries.current()
        headers = {"Content-Type": "application/json"}
        if text == "latest":
            headers["ETag"] = etag = _etag(current.digest)
            if request.headers.get("If-None-Match") == etag:
                return web.Response(status=304, headers={"ETag": etag})
            return web.Response(body=current.to_file(), headers=headers)
        number = int(text)
        data = current.to_file() if number == current.version else await self._registries.version(number)
        if data is None:
            raise _not_found()
        return web.Response(body=data, headers=headers)

    def _list(self, request: web.Request) -> str:
        return f"{self._member}/{request.match_info['list']}"


def _statement(wire: bytes | None, cache: str = "no-cache") -> web.Response:
    if wire is None:
        raise _not_found()
    return web.Response(body=wire, headers={"Content-Type": CBOR, "Cache-Control": cache})


def _not_found() -> InputError:
    return InputError("This peer has nothing of that name for you. Read its catalogue again.", code="not_found")


def _check_range(request: web.Request, path: Path) -> None:
    """Refuse a range that the file does not have: aiohttp would do so only while it sends, without our code."""
    try:
        start, size = request.http_range.start, path.stat().st_size
    except ValueError:
        start, size = 0, 0
    except OSError as error:
        raise _not_found() from error
    if start is not None and start >= size:
        raise InputError("The file has no such range of bytes.", code="range_not_satisfiable")


def _digest(request: web.Request, name: str) -> bytes:
    return bytes.fromhex(request.match_info[name])


def _number(request: web.Request, name: str) -> int:
    text = request.query.get(name, "0")
    if _NUMBER.fullmatch(text) is None:
        raise InputError(f"The query {name} is a whole number.")
    return int(text)


def _etag(digest: bytes) -> str:
    return f'"{digest.hex()}"'


def _path(template: str) -> str:
    for name, pattern in _PATTERNS.items():
        template = template.replace(name, pattern)
    return template


def peers_application(
    *,
    member: str,
    registries: Registries,
    answering: Answering,
    publications: Publications,
    receipts: Receipts,
    log: Log,
    witness: Witnessing,
    accounting: Accounting,
    auditing: Auditing,
    settling: Settling,
    metrics: Metrics,
    now: Callable[[], datetime],
    open_log: bool = True,
    saw: Saw = lambda *_: None,
) -> web.Application:
    """Make the application of the peers' listener; serve it with `gate.PeersTls` (see `listen`).

    `open_log`: whoever comes may read the member's log; else only members may. `saw` must not block.
    """
    gate = Gate(registries, now)
    peers = _Peers(
        member=member,
        gate=gate,
        answering=answering,
        publications=publications,
        receipts=receipts,
        registries=registries,
        metrics=metrics,
        saw=saw,
    )
    quiet = frozenset({EVALUATE, LISTS, SNAPSHOT, REGISTRY}) | QUIET_ACCOUNTING | QUIET_AUDITS
    observer = Observer("peers", metrics, quiet=quiet, public=PUBLIC)
    app = observer.application(client_max_size=MAX_ASK_BYTES)
    app.on_shutdown.append(peers.closing)
    app.add_routes(
        [
            web.post(EVALUATE, peers.evaluate),
            web.get(LISTS, peers.catalogue),
            web.get(_path(EPOCH), peers.epoch),
            web.get(_path(SNAPSHOT), peers.snapshot),
            web.get(_path(SNAPSHOT_VERSION).replace("{version}", _VERSION), peers.snapshot_version),
            web.get(_path(SNAPSHOT_NAMED), peers.snapshot_named),
            web.get(_path(SEGMENT), peers.segment),
            web.get(RECEIPTS, peers.receipts),
            web.get(REGISTRY.replace("{version}", "{version:latest|[1-9][0-9]{0,14}}"), peers.registry),
            *ledger_routes(log, witness, gate, now, open_to_all=open_log),
            *accounting_routes(accounting, gate),
            *audit_routes(auditing, gate),
            *settlement_routes(settling, gate),
        ]
    )
    return app
