"""Binding an application to an address, and letting go of it.

Whoever reaches a port can open connections to it, so what they cost is bounded. A TLS handshake has `HANDSHAKE`
seconds. On the peers' listener a connection whose other side has shown no member's certificate is a stranger's: it is
closed after `Strangers.seconds`, and beyond `Strangers.most` of them the oldest goes, so that a flood of
strangers keeps out no member, who takes milliseconds to show its certificate.

What is no HTTP, or expects what nobody meets, is refused before any route; aiohttp would repeat it in its answer, and
log it as an error. It is answered as everything else is (`Observer.refused`).
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from aiohttp import web

from riskshare.config_sections import is_loopback
from riskshare.errors import ConfigError
from riskshare.server.observing import OBSERVER, Observer
from riskshare.server.problems import internal, problem_of_http
from riskshare.tls import presented

_Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

KEEP_ALIVE = 600.0
"""Seconds that an idle connection is kept: longer than the other side keeps it."""

SHUTDOWN = 10.0
"""Seconds that running requests have to end when a listener closes."""


HANDSHAKE = 10.0
"""Seconds for a TLS handshake."""

SWEEP = 1.0
"""Seconds between two looks at the connections of strangers."""


@dataclass(frozen=True, slots=True)
class Strangers:
    """How long, and how many of, the connections without a member's certificate are borne.

    They are few: those who read what is open to anybody.
    """

    seconds: float = 10.0
    most: int = 256


@dataclass(frozen=True, slots=True)
class Listening:
    """A listener that is open; `port` is the one that the system chose if 0 was asked for."""

    runner: web.AppRunner
    host: str
    port: int
    sweeping: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Take no more requests, let the running ones end, close."""
        if self.sweeping is not None:
            self.sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await self.sweeping
        await self.runner.cleanup()


class _Connection(web.RequestHandler):
    """One connection."""

    __slots__ = ("_observer",)

    def __init__(self, server: web.Server, observer: Observer) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=KEEP_ALIVE,
            access_log=None,  # type: ignore[arg-type]  # as `web.AppRunner` gives it for none
            auto_decompress=False,
        )
        self._observer = observer

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes what was sent
    ) -> web.StreamResponse:
        """Answer what the parser of HTTP refuses, or what failed outside of all handlers. Closes the connection.

        Raises:
            ConnectionError: an answer has begun already; or the other side has gone, and there is nobody to answer.

        """
        if isinstance(exc, ConnectionError):
            raise exc
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun")
        problem = problem_of_http(web.HTTPBadRequest()) if status < 500 else internal()
        response = self._observer.refused(request, problem, exc)
        response.force_close()
        return response


def _meeting_expectations(handler: _Handler, observer: Observer) -> _Handler:
    """What refuses an Expect header as all else is refused: it is looked at before any middleware."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            response = observer.refused(request, problem_of_http(error))
            response.force_close()  # whoever expected something else may not send the body
            return response

    return handle


class _Site(web.BaseSite):
    """`web.TCPSite`, with connections of ours, and a bound for the handshake."""

    def __init__(
        self,
        runner: web.AppRunner,
        observer: Observer,
        address: tuple[str, int],
        tls: ssl.SSLContext | None,
        *,
        reuse_port: bool,
    ) -> None:
        super().__init__(runner, ssl_context=tls)
        self._observer = observer
        self._address = address
        self._reuse_port = reuse_port

    @property
    def name(self) -> str:
        return f"{self._address[0]}:{self._address[1]}"

    async def start(self) -> None:
        await super().start()
        server = self._runner.server
        assert server is not None
        server.request_handler = _meeting_expectations(server.request_handler, self._observer)
        host, port = self._address
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(server, self._observer),
            host,
            port,
            ssl=self._ssl_context,
            backlog=self._backlog,
            reuse_port=self._reuse_port or None,
            ssl_handshake_timeout=None if self._ssl_context is None else HANDSHAKE,
        )


def require_free(host: str, port: int, *, name: str) -> None:
    """Refuse a port on which a program listens, even one that would share it: our workers would share it with that.

    Raises:
        ConfigError: as `listen`.

    """
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections may linger
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
    except OSError as error:
        raise ConfigError(f"listen.{name}: {_why(error, port)}") from error


async def listen(
    app: web.Application,
    host: str,
    port: int,
    *,
    name: str,
    tls: ssl.SSLContext | None = None,
    plain_anywhere: bool = False,
    reuse_port: bool = False,
    strangers: Strangers | None = None,
) -> Listening:
    """Serve `app`, made by `Observer.application`; `name` is that of the listener in the configuration.

    Without TLS only a loopback address is allowed, unless `plain_anywhere`. With `reuse_port` several processes
    share one port. `strangers` bounds connections without a certificate; None bears them all.

    Raises:
        ConfigError: the address is taken, not ours, not allowed, or must not be plain.

    """
    if tls is None and not plain_anywhere and not is_loopback(host):
        raise ConfigError(f"listen.{name}: without TLS only a loopback address such as 127.0.0.1 is allowed.")
    # Handlers are not cancelled when a client goes away: what was begun is finished and kept.
    runner = web.AppRunner(
        app,
        handle_signals=False,
        handler_cancellation=False,
        shutdown_timeout=SHUTDOWN,
    )
    await runner.setup()
    try:
        await _Site(runner, app[OBSERVER], (host, port), tls, reuse_port=reuse_port).start()
    except OSError as error:
        await runner.cleanup()
        raise ConfigError(f"listen.{name}: {_why(error, port)}") from error
    bound = runner.addresses[0][1]
    sweeping = None if strangers is None else asyncio.get_running_loop().create_task(_sweep(runner, strangers))
    return Listening(runner, host, int(bound), sweeping)


async def _sweep(runner: web.AppRunner, strangers: Strangers) -> None:
    """Close strangers' connections that are too old or too many, whatever they are about."""
    assert runner.server is not None
    time = asyncio.get_running_loop().time
    seen: dict[web.RequestHandler, float | None] = {}  # since when it is a stranger; None: it is a member
    while True:
        # In the order of their arrival.
        open_now = [each for each in runner.server.connections if each.transport is not None]
        seen = {each: seen[each] if each in seen else _arrived(each, time()) for each in open_now}
        unknown = [(each, since) for each, since in seen.items() if since is not None]
        surplus = len(unknown) - strangers.most
        for place, (each, since) in enumerate(unknown):
            if place < surplus or time() - since >= strangers.seconds:
                each.force_close()
        await asyncio.sleep(SWEEP)


def _arrived(connection: web.RequestHandler, now: float) -> float | None:
    assert connection.transport is not None
    certificate = presented(connection.transport.get_extra_info("ssl_object"))
    return now if certificate is None else None


def _why(error: OSError, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {port} is taken. Choose another one, or stop the program that has it."
        case errno.EACCES:
            return f"port {port} may not be used without further rights. Choose one above 1023."
        case errno.EADDRNOTAVAIL:
            return "the host is not an address of this machine."
        case _:
            return f"the address cannot be listened on: {error.strerror or 'no such host'}."
