"""Requests to members' peers: each over TLS that the registry pins, with a deadline, judged by whose key answered.

Nothing is taken from the environment, no redirect is followed, no cookie kept, nothing decompressed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Final, cast, final

import aiohttp
from yarl import URL

from riskshare.client.reading import PeerResponse, failure, read_bounded, refuse_unless
from riskshare.client.remote import Remote, Remotes
from riskshare.dialled import dial
from riskshare.errors import PeerGarbage

KEEP_ALIVE = 300.0
"""Seconds that an idle connection is kept: a new mutual handshake costs as much as ten checks."""

ERRORS: Final = (aiohttp.ClientError, OSError)
"""What `reading.failure` turns into a PeerError."""


@lru_cache(maxsize=64)
def within(seconds: float) -> aiohttp.ClientTimeout:
    """The deadline of a whole request."""
    # A connection that takes nine tenths of the time is none: `PeerDown`, and nothing has left.
    return aiohttp.ClientTimeout(total=seconds, sock_connect=0.9 * seconds)


def open_session(connections: int) -> aiohttp.ClientSession:
    """A session with at most so many connections to one member; nothing of its environment is believed."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0, limit_per_host=connections, keepalive_timeout=KEEP_ALIVE, socket_factory=dial
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        raise_for_status=False,
        response_class=PeerResponse,
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
    )


def check_key(remotes: Remotes, remote: Remote, response: aiohttp.ClientResponse) -> None:
    """Refuse a response unless the certificate shown belongs to the member by the registry in force now.

    Raises:
        PeerGarbage: code `foreign_key`.

    """
    if not remotes.shows_own_key(remote, cast("PeerResponse", response).certificate):
        raise PeerGarbage(
            remote.member, "The peer's TLS key is not one of this member by the registry.", code="foreign_key"
        )


@final
class Calls:
    """Requests over a pool of its own, at most `connections` to one member. Make it in a running event loop."""

    def __init__(self, remotes: Remotes, connections: int) -> None:
        self._remotes = remotes
        self._session = open_session(connections)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    @asynccontextmanager
    async def open(
        self,
        member: str,
        path: str,
        *,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - handed on to aiohttp
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a GET, or a POST if there is a body, and yield the response, once the other side's key is checked.

        Raises:
            PeerError: whatever goes wrong there, on the way, or within the block while the response is read.

        """
        remote = self._remotes.find(member)
        url: URL = remote.url.with_path(path).with_query(query)
        try:
            async with self._session.request(
                "GET" if body is None else "POST",
                url,
                data=body,
                headers=headers,
                ssl=remote.context,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                check_key(self._remotes, remote, response)
                yield response
        except ERRORS as error:
            raise failure(member, error) from error

    async def get(
        self,
        member: str,
        path: str,
        content_type: str,
        limit: int,
        timeout: float,  # noqa: ASYNC109 - the caller's deadline, in seconds
        *,
        query: Mapping[str, str] | None = None,
    ) -> bytes:
        """Fetch at most `limit` bytes of this content type. Raises PeerError."""
        async with self.open(member, path, timeout=within(timeout), query=query) as response:
            await refuse_unless(member, response, content_type)
            return await read_bounded(member, response, limit)
