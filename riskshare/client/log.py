"""A member's log, read at its URL: for audits, which need no account and no certificate of one's own.

What comes over this connection is verified anyway; TLS keeps others from seeing or breaking it. Nothing of the
environment is believed but the system's certificate authorities; no redirect is followed, nothing decompressed.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final, final

import aiohttp
from yarl import URL

from riskshare.client.reading import failure
from riskshare.dialled import dial
from riskshare.errors import InputError, PeerDown, PeerError, PeerGarbage, PeerRefused

SECONDS: Final = 20.0
"""Longest that one request may take."""

TRIES: Final = 4
PAUSE: Final = 0.25
"""Seconds before the second try; each later one waits twice as long."""

CONNECTIONS: Final = 16
PREFIX: Final = "ledger"
_CHECKPOINT: Final = "checkpoint"
_MAX_CHECKPOINT: Final = 1024 * 1024
_ABSENT: Final = frozenset({401, 403, 404, 410})
"""Statuses that say that there is nothing: a store of files answers 403 where nobody may list."""


@final
class ServedLog:
    """The log below a prefix of URLs."""

    def __init__(self, session: aiohttp.ClientSession, prefix: URL, context: ssl.SSLContext) -> None:
        self._session = session
        self._prefix = prefix
        self._context = context

    async def fetch(self, path: str, limit: int) -> bytes | None:
        """The bytes at a path, cut behind `limit` + 1 of them; None if there is nothing.

        What fails without being an answer is tried again, four times in all.

        Raises:
            PeerDown, PeerLate, PeerGarbage, PeerRefused: it cannot be had.

        """
        pause = PAUSE
        for _ in range(TRIES - 1):
            try:
                return await self._try(path, limit)
            except PeerError:
                await asyncio.sleep(pause)
                pause *= 2
        return await self._try(path, limit)

    def parts(self) -> Iterable[str]:
        """None: a URL does not tell what there is below it."""
        return ()

    async def _try(self, path: str, limit: int) -> bytes | None:
        host = self._prefix.host or ""
        try:
            async with self._session.get(self._prefix / path, ssl=self._context, allow_redirects=False) as response:
                if response.status in _ABSENT:
                    return None
                if response.status != 200:
                    raise PeerRefused(
                        host,
                        f"{host} answered with status {response.status}.",
                        remote_code="unknown",
                        status=response.status,
                    )
                if "Content-Encoding" in response.headers:
                    raise PeerGarbage(host, f"{host} encoded its answer, which nobody asked for.")
                return await _read(response, limit)
        except aiohttp.ClientConnectorCertificateError as error:
            raise PeerDown(
                host,
                f"The TLS certificate of {host} is of nobody who is believed here. If it is a member, name the"
                " network's registry with --registry; else name its authority with --cafile.",
                code="tls_untrusted",
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise failure(host, error) from error


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > limit:
            break
    return bytes(data[: limit + 1])


@asynccontextmanager
async def served_log(url: str, context: ssl.SSLContext) -> AsyncIterator[ServedLog]:
    """Open the log at a URL: the one of its checkpoint without `checkpoint`, or the URL of its member's peer.

    Raises:
        InputError: it is no such URL.
        PeerDown, PeerLate, PeerGarbage, PeerRefused: nothing can be had there.

    """
    prefix = _prefix(url)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS, socket_factory=dial),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=SECONDS),
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
    ) as session:
        log, below = (ServedLog(session, at, context) for at in (prefix, prefix / PREFIX))
        if await log.fetch(_CHECKPOINT, _MAX_CHECKPOINT) is None:
            log = below if await below.fetch(_CHECKPOINT, _MAX_CHECKPOINT) is not None else log
        yield log


def _prefix(url: str) -> URL:
    try:
        prefix = URL(url)
    except ValueError:
        prefix = URL()
    if prefix.scheme != "https" or not prefix.host or prefix.query_string or prefix.fragment:
        raise InputError("Name a log by its folder, or by a URL such as https://peer.bank.example:8443/ledger/.")
    return prefix
