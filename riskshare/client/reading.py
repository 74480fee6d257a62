"""Reading what another peer answers: bounded, checked, and every failure blamed on the right party.

| what happens | becomes |
|---|---|
| no connection: refused, no such name, TLS fails, no room in time | `PeerDown` |
| no whole answer in time | `PeerLate` |
| the connection broke after the request left | `PeerGarbage`, code `peer_disconnected` |
| an HTTP error | `PeerRefused`, with the `code` of its problem object where we know it |
| a redirect, another content type, too long, malformed | `PeerGarbage` |
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Collection
from typing import Any

import aiohttp

from riskshare.encoding import parse_json
from riskshare.errors import (
    AskRefused,
    AuditRefused,
    EncodingError,
    PeerDown,
    PeerError,
    PeerGarbage,
    PeerLate,
    PeerRefused,
)
from riskshare.tls import presented

MAX_PROBLEM = 16 * 1024
MAX_RETRY_AFTER = 86_400
CBOR = "application/cbor"

KNOWN_CODES = (
    frozenset(AskRefused.STATUS)
    | frozenset(AuditRefused.STATUS)
    | {
        "body_too_large",
        "internal",
        "invalid_input",
        "method_not_allowed",
        "not_found",
        "period_open",
        "settlement_period",
        "range_not_satisfiable",
        "registry_expired",
        "registry_gap",
        "settlement_overlap",
        "unsupported_media_type",
    }
)
"""Codes of refusals that we understand; any other becomes `unknown`."""

_NUMBER = re.compile(r"[0-9]{1,6}")


class PeerResponse(aiohttp.ClientResponse):
    """A response that remembers which certificate (DER) the other side showed.

    It is taken before the first byte is read: once a short answer is whole, aiohttp has
    given the connection back to the pool.
    """

    certificate: bytes | None = None

    async def start(self, connection: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        """Read the head of the response."""
        transport = connection.transport
        if transport is not None:
            self.certificate = presented(transport.get_extra_info("ssl_object"))
        return await super().start(connection)


def failure(member: str, error: Exception) -> PeerError:
    """Turn what aiohttp raised into the PeerError that says whose fault it is."""
    match error:
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError() | aiohttp.ClientConnectorDNSError():
            return PeerDown(member, "No connection to the peer. It is down, or its address in the registry is wrong.")
        case TimeoutError():
            return PeerLate(member, "The peer did not answer in time.")
        case aiohttp.ClientOSError() | ssl.SSLError() if _is_alert(error):
            # TLS 1.3: the server judges our certificate after our handshake is done; no request was read.
            return PeerDown(
                member, "The peer refused our TLS certificate. Does it have the newest registry?", code="tls_refused"
            )
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError() | OSError():
            return PeerGarbage(member, "The connection broke before the answer was whole.", code="peer_disconnected")
        case _:
            return PeerGarbage(member, "The peer answered with something that is not HTTP as it should be.")


def _is_alert(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return "ALERT" in (error.reason or "")
        error = error.__cause__ or error.__context__
    return False


async def read_bounded(member: str, response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read the body of at most `limit` bytes.

    Raises:
        PeerGarbage: it is longer, or encoded.

    """
    length = response.content_length
    if "Content-Encoding" in response.headers:
        raise PeerGarbage(member, "The peer encoded its answer, which nobody asked for.")
    if length is not None:
        if length > limit:
            raise PeerGarbage(member, f"The peer's answer is longer than the {limit} bytes allowed here.")
        # A short answer is here with its head.
        return response.content.read_nowait() if response.content.is_eof() else await response.read()
    chunks: list[bytes] = []
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        limit -= len(chunk)
        if limit < 0:
            raise PeerGarbage(member, "The peer's answer is longer than what is allowed here.")
    return b"".join(chunks)


async def refuse_unless(
    member: str, response: aiohttp.ClientResponse, content_type: str | None, statuses: Collection[int] = (200,)
) -> None:
    """Let a response of one of `statuses` pass, if it has the content type (None: any).

    Raises:
        PeerRefused: an HTTP error, with the code of its problem object.
        PeerGarbage: anything else.

    """
    status = response.status
    if status in statuses:
        if content_type is None or response.headers.get("Content-Type") == content_type:
            return
        raise PeerGarbage(member, f"The peer's answer is not {content_type}.")
    if not 400 <= status < 600:
        raise PeerGarbage(member, f"The peer answered with status {status}, which does not belong here.")
    code = "unknown"
    if response.content_type == "application/problem+json":
        code = _code_of(await read_bounded(member, response, MAX_PROBLEM))
    raise PeerRefused(
        member,
        f"The peer refused with status {status}, code {code}.",
        remote_code=code,
        status=status,
        retry_after=_retry_after(response.headers.get("Retry-After", "")),
    )


def _code_of(data: bytes) -> str:
    try:
        problem: Any = parse_json(data, limit=MAX_PROBLEM)
    except EncodingError:
        return "unknown"
    code = problem.get("code") if isinstance(problem, dict) else None
    return code if isinstance(code, str) and code in KNOWN_CODES else "unknown"


def _retry_after(text: str) -> float | None:
    return float(min(int(text), MAX_RETRY_AFTER)) if _NUMBER.fullmatch(text) else None
