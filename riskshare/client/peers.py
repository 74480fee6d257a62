"""PeerClient: what this peer asks of others.

Nothing is taken from the environment, no redirect is followed, no cookie kept, nothing decompressed. Each
response has a deadline and a limit in bytes, and counts only if the certificate shown
belongs to that member by the registry in force when the answer is here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from enum import Enum
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import BinaryIO, Final, Literal, Self

import aiohttp
from multidict import CIMultiDict

from riskshare.client.calling import ERRORS, Calls, check_key, open_session, within
from riskshare.client.reading import CBOR, failure, read_bounded, refuse_unless
from riskshare.client.remote import Registries, Remotes
from riskshare.encoding import format_time
from riskshare.errors import DiskError, EncodingError, PeerError, PeerGarbage
from riskshare.metrics import Metrics
from riskshare.names import split_list_name
from riskshare.query.message import (
    EPOCH,
    LISTS,
    MAX_ANSWER_BYTES,
    RECEIPTS,
    REGISTRY,
    SEGMENT,
    SNAPSHOT,
    SNAPSHOT_NAMED,
    SNAPSHOT_VERSION,
)
from riskshare.query.receipt_page import MAX_PAGE_BYTES, PagedReceipt, read_page
from riskshare.registry.network import MAX_FILE as MAX_REGISTRY

MAX_STATEMENT = 4 * 1024 * 1024
"""Longest catalogue, epoch or snapshot statement that is read, in bytes; their own parsers have tighter limits."""

ASKING = 128
"""Most connections for asks to one member."""

FOLLOWING = 1024
"""Most connections for all else: each list that is followed holds a poll."""
"""Most connections to one member: asks in flight, and a long poll for each list."""

QUIET = 15.0
"""Seconds without a byte after which a transfer is given up."""

_CHUNK = 256 * 1024
_ETAG = re.compile(r'"([0-9a-f]{64})"')
_CBOR_HEADERS: Final = CIMultiDict({"Content-Type": CBOR})


class NotModified(Enum):
    """The answer to a poll: nothing newer than what is held."""

    NOT_MODIFIED = "not modified"


NOT_MODIFIED: Final = NotModified.NOT_MODIFIED


class PeerClient:
    """Asks other members' peers. Make it in a running event loop; `close` it at the end.

    `certificate` and `key` are this member's TLS files (PEM). Every method raises a PeerError
    for whatever goes wrong at the other side or on the way.
    """

    def __init__(
        self,
        *,
        registries: Registries,
        certificate: Path,
        key: Path,
        now: Callable[[], datetime],
        metrics: Metrics,
    ) -> None:
        self._remotes = Remotes(registries, certificate, key, now)
        self._metrics = metrics
        # Asks have connections of their own: a payment never waits behind the long polls of many lists.
        self._asking = open_session(ASKING)
        self._following = Calls(self._remotes, FOLLOWING)
        self._open, self._get = self._following.open, self._following.get

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._asking.close()
        await self._following.close()

    async def evaluate(self, owner: str, body: bytes, timeout: float) -> bytes:  # noqa: ASYNC109 - the Transport's own
        """Send an ask (CBOR), return the body of the answer, at most `MAX_ANSWER_BYTES`; see `query.ask.Transport`."""
        began = perf_counter()
        try:
            remote = self._remotes.find(owner)
            async with self._asking.post(
                remote.evaluate,
                data=body,
                headers=_CBOR_HEADERS,
                ssl=remote.context,
                timeout=within(timeout),
                allow_redirects=False,
            ) as response:
                check_key(self._remotes, remote, response)
                if response.status != 200 or response.headers.get("Content-Type") != CBOR:
                    await refuse_unless(owner, response, CBOR)
                answer = await read_bounded(owner, response, MAX_ANSWER_BYTES)
        except PeerError as error:
            self._metrics.ask_failed(owner, error)
            raise
        except ERRORS as error:
            found = failure(owner, error)
            self._metrics.ask_failed(owner, found)
            raise found from error
        self._metrics.ask_answered(owner, perf_counter() - began)
        return answer

    async def catalogue(self, owner: str, *, timeout: float = 10.0) -> bytes:  # noqa: ASYNC109
        """Fetch the owner's catalogue for us: the statement's wire form (CBOR)."""
        return await self._get(owner, LISTS, CBOR, MAX_STATEMENT, timeout)

    async def epoch(self, owner: str, digest: bytes, *, timeout: float = 10.0) -> bytes:  # noqa: ASYNC109
        """Fetch an epoch statement by its digest: the wire form."""
        return await self._get(owner, EPOCH.format(digest=digest.hex()), CBOR, MAX_STATEMENT, timeout)

    async def snapshot(
        self,
        owner: str,
        list_name: str,
        epoch: bytes,
        held: bytes | None,
        *,
        wait: int = 0,
        timeout: float = 10.0,  # noqa: ASYNC109
    ) -> tuple[bytes, bytes] | Literal[NotModified.NOT_MODIFIED]:
        """Fetch the newest snapshot of a list (full name) under an epoch, if its digest is not the one `held`.

        The owner may hold the answer for up to `wait` seconds (at most 20), until there is a newer one;
        `timeout` counts beyond that.

        Returns:
            The snapshot's digest (32 bytes, as the owner claims it) and its wire form; or NOT_MODIFIED.

        """
        path = SNAPSHOT.format(list=split_list_name(list_name)[1], epoch=epoch.hex())
        headers = {} if held is None else {"If-None-Match": f'"{held.hex()}"'}
        query = {"wait": str(wait)} if wait else {}
        async with self._open(owner, path, timeout=within(timeout + wait), query=query, headers=headers) as response:
            if response.status == 304 and held is not None:
                return NOT_MODIFIED
            await refuse_unless(owner, response, CBOR)
            found = _ETAG.fullmatch(response.headers.get("ETag", ""))
            if found is None:
                raise PeerGarbage(owner, "The peer's snapshot comes without its digest as ETag.")
            return bytes.fromhex(found[1]), await read_bounded(owner, response, MAX_STATEMENT)

    async def snapshot_version(
        self,
        owner: str,
        list_name: str,
        epoch: bytes,
        version: int,
        *,
        timeout: float = 10.0,  # noqa: ASYNC109
    ) -> bytes:
        """Fetch one version of a list's snapshot under an epoch: the wire form."""
        path = SNAPSHOT_VERSION.format(list=split_list_name(list_name)[1], epoch=epoch.hex(), version=version)
        return await self._get(owner, path, CBOR, MAX_STATEMENT, timeout)

    async def snapshot_named(self, owner: str, list_name: str, digest: bytes, *, timeout: float = 10.0) -> bytes:  # noqa: ASYNC109
        """Fetch the snapshot of a list that has this digest, under whichever epoch: the wire form."""
        path = SNAPSHOT_NAMED.format(list=split_list_name(list_name)[1], digest=digest.hex())
        return await self._get(owner, path, CBOR, MAX_STATEMENT, timeout)

    async def segment(self, owner: str, digest: bytes, out: BinaryIO, *, length: int, start: int = 0) -> None:
        """Write the bytes from `start` of a segment file, `length` bytes long, to `out`.

        There is no bound in time as long as bytes come. Reading stops at the length promised.

        Raises:
            PeerError: also if the file is not exactly `length` bytes long; what came is in `out`.
            DiskError: `out` cannot be written.

        """
        headers = {"Range": f"bytes={start}-{length - 1}"} if start else {}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=QUIET, sock_read=QUIET)
        path = SEGMENT.format(digest=digest.hex())
        async with self._open(owner, path, timeout=timeout, headers=headers) as response:
            await _expect(owner, response, start, length, length, ranged=bool(start))
            left = length - start
            async for chunk in response.content.iter_chunked(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise PeerGarbage(owner, "The segment is longer than the snapshot says.")
                _write(out, chunk)
            if left:
                raise PeerGarbage(owner, "The segment is shorter than the snapshot says.")

    async def segment_range(
        self,
        owner: str,
        digest: bytes,
        *,
        offset: int,
        length: int,
        total: int,
        timeout: float = 5.0,  # noqa: ASYNC109
    ) -> bytes:
        """Fetch `length` bytes from `offset` of a segment file that is `total` bytes long."""
        headers = {"Range": f"bytes={offset}-{offset + length - 1}"}
        path = SEGMENT.format(digest=digest.hex())
        async with self._open(owner, path, timeout=within(timeout), headers=headers) as response:
            await _expect(owner, response, offset, offset + length, total, ranged=True)
            return await read_bounded(owner, response, length)

    async def receipts(
        self,
        owner: str,
        since: datetime,
        after: int = 0,
        *,
        timeout: float = 30.0,  # noqa: ASYNC109
    ) -> list[PagedReceipt]:
        """Fetch a page of our receipts that the owner keeps since a time, numbers above `after`; empty at the end."""
        query = {"since": format_time(since), "after": str(after)}
        data = await self._get(owner, RECEIPTS, CBOR, MAX_PAGE_BYTES, timeout, query=query)
        try:
            page = read_page(data)
        except EncodingError as error:
            raise PeerGarbage(owner, f"The owner's page of receipts is malformed: {error.message}") from error
        if any(item.seq <= after for item in page):
            raise PeerGarbage(owner, "The owner's page of receipts holds numbers that were not asked for.")
        return page

    async def registry(
        self,
        member: str,
        version: int | Literal["latest"] = "latest",
        *,
        timeout: float = 10.0,  # noqa: ASYNC109
    ) -> bytes:
        """Fetch a version of the registry that another member has: the bytes of `network.json`."""
        return await self._get(member, REGISTRY.format(version=version), "application/json", MAX_REGISTRY, timeout)

    async def newer_registry(
        self,
        member: str,
        held: bytes,
        *,
        limit: int = MAX_REGISTRY,
        timeout: float = 10.0,  # noqa: ASYNC109
    ) -> bytes | Literal[NotModified.NOT_MODIFIED]:
        """Fetch the newest registry that another member has, at most `limit` bytes.

        NOT_MODIFIED if its digest is the one `held` (32 bytes).
        """
        headers = {"If-None-Match": f'"{held.hex()}"'}
        path = REGISTRY.format(version="latest")
        async with self._open(member, path, timeout=within(timeout), headers=headers) as response:
            if response.status == 304:
                return NOT_MODIFIED
            await refuse_unless(member, response, "application/json")
            return await read_bounded(member, response, limit)


async def _expect(
    owner: str, response: aiohttp.ClientResponse, start: int, end: int, total: int, *, ranged: bool
) -> None:
    """Check status, Content-Range and Content-Length of a segment, or of the part [start, end) of one."""
    await refuse_unless(owner, response, "application/octet-stream", (206,) if ranged else (200,))
    if ranged and response.headers.get("Content-Range") != f"bytes {start}-{end - 1}/{total}":
        raise PeerGarbage(owner, "The owner sent another part of the segment than the one asked for.")
    if response.content_length != end - start or "Content-Encoding" in response.headers:
        raise PeerGarbage(owner, "The segment has another length than the snapshot says.")


def _write(out: BinaryIO, chunk: bytes) -> None:
    try:
        out.write(chunk)
    except OSError as error:
        raise DiskError(f"A segment could not be written: {error.strerror}. Free some space.") from error
