"""Binding an application to an address, and letting go of it."""

from __future__ import annotations

import errno
import ssl
from dataclasses import dataclass

from aiohttp import web

from riskshare.config_sections import is_loopback
from riskshare.errors import ConfigError

KEEP_ALIVE = 600.0
"""Seconds that an idle connection is kept: longer than the other side keeps it."""

SHUTDOWN = 10.0
"""Seconds that running requests have to end when a listener closes."""


@dataclass(frozen=True, slots=True)
class Listening:
    """A listener that is open; `port` is the one that the system chose if 0 was asked for."""

    runner: web.AppRunner
    host: str
    port: int

    async def close(self) -> None:
        """Take no more requests, let the running ones end, close."""
        await self.runner.cleanup()


async def listen(
    app: web.Application,
    host: str,
    port: int,
    *,
    name: str,
    tls: ssl.SSLContext | None = None,
    plain_anywhere: bool = False,
    reuse_port: bool = False,
) -> Listening:
    """Serve `app`; `name` is that of the listener in the configuration.

    Without TLS only a loopback address is allowed, unless `plain_anywhere`. With `reuse_port` several processes
    share one port.

    Raises:
        ConfigError: the address is taken, not ours, not allowed, or must not be plain.

    """
    if tls is None and not plain_anywhere and not is_loopback(host):
        raise ConfigError(f"listen.{name}: without TLS only a loopback address such as 127.0.0.1 is allowed.")
    # Handlers are not cancelled when a client goes away: what was begun is finished and kept.
    runner = web.AppRunner(
        app,
        handle_signals=False,
        access_log=None,
        handler_cancellation=False,
        auto_decompress=False,
        keepalive_timeout=KEEP_ALIVE,
        shutdown_timeout=SHUTDOWN,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls, reuse_port=reuse_port or None).start()
    except OSError as error:
        await runner.cleanup()
        raise ConfigError(f"listen.{name}: {_why(error, port)}") from error
    bound = runner.addresses[0][1]
    return Listening(runner, host, int(bound))


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
