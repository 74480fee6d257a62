"""AuditClient: what an auditor asks of other members' peers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self, final

from riskshare.audit.access import AUDITS, OPENED, PROOFS, RANGE, STATEMENTS
from riskshare.audit.opened import MAX_OPENED_PAGE, MAX_PROOFS_PAGE
from riskshare.audit.page import MAX_PAGE_BYTES, MAX_RANGE_BYTES
from riskshare.client.calling import Calls, within
from riskshare.client.reading import CBOR, read_bounded, refuse_unless
from riskshare.client.remote import Registries, Remotes

CONNECTIONS: Final = 4
"""Most connections to one member for this."""

SECONDS: Final = 30.0
"""Deadline of a request; a page may have some megabytes."""

_MAX_ANSWER: Final = 1024


@final
class AuditClient:
    """Asks other members' peers. Make it in a running event loop; `close` it at the end.

    `certificate` and `key` are the auditor's TLS files (PEM). What comes is bounded here, and judged by those who ask.
    Every method raises a PeerError; a member's refusal is `PeerRefused` with the code of `AuditRefused`.
    """

    def __init__(self, *, registries: Registries, certificate: Path, key: Path, now: Callable[[], datetime]) -> None:
        self._calls = Calls(Remotes(registries, certificate, key, now), CONNECTIONS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._calls.close()

    async def request(self, member: str, wire: bytes) -> bytes:
        """Send a signed request (`Statement.wire`): the member's answer, once it is durable there."""
        headers = {"Content-Type": CBOR}
        async with self._calls.open(member, AUDITS, timeout=within(SECONDS), headers=headers, body=wire) as response:
            await refuse_unless(member, response, CBOR)
            return await read_bounded(member, response, _MAX_ANSWER)

    async def range(self, member: str, digest: bytes) -> bytes:
        """Fetch the range that is shown under a request (`page.AuditRange`); `digest` names the request."""
        return await self._calls.get(member, RANGE.format(digest=digest.hex()), CBOR, MAX_RANGE_BYTES, SECONDS)

    async def statements(self, member: str, digest: bytes, first: int, size: int) -> bytes:
        """Fetch the page that begins at an index, of a range that ends at `size` (`page.StatementPage`)."""
        path, query = STATEMENTS.format(digest=digest.hex()), {"first": str(first), "size": str(size)}
        return await self._calls.get(member, path, CBOR, MAX_PAGE_BYTES, SECONDS, query=query)

    async def opened(self, member: str, digest: bytes, first: int) -> bytes:
        """Fetch a page of the checks that a request names, from number `first` on (`opened.OpenedPage`)."""
        path, query = OPENED.format(digest=digest.hex()), {"first": str(first)}
        return await self._calls.get(member, path, CBOR, MAX_OPENED_PAGE, SECONDS, query=query)

    async def proofs(self, member: str, digest: bytes, first: int) -> bytes:
        """Fetch a page of proofs for the receipts that a request names (`opened.ProofsPage`)."""
        path, query = PROOFS.format(digest=digest.hex()), {"first": str(first)}
        return await self._calls.get(member, path, CBOR, MAX_PROOFS_PAGE, SECONDS, query=query)
