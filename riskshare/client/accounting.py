"""AccountingClient: what members show one another of their logs, and of what they hold."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self, final

from riskshare.client.calling import Calls
from riskshare.client.reading import CBOR
from riskshare.client.remote import Registries, Remotes
from riskshare.ledger.entry_page import ENTRIES, ENTRY
from riskshare.ledger.entry_page import MAX_PAGE_BYTES as MAX_ENTRIES
from riskshare.sharing.held_page import HELD, HELD_STATEMENT
from riskshare.sharing.held_page import MAX_PAGE_BYTES as MAX_HELD
from riskshare.sharing.snapshot import MAX_BYTES as MAX_SNAPSHOT

CONNECTIONS: Final = 4
"""Most connections to one member for this: nobody waits for it."""

SECONDS: Final = 10.0
"""Deadline of a request."""


@final
class AccountingClient:
    """Asks other members' peers. Make it in a running event loop; `close` it at the end.

    `certificate` and `key` are this member's TLS files (PEM). What comes is bounded here, and judged by
    `ledger.account` and `sharing.compare`. Every method raises a PeerError.
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

    async def entries(self, member: str, after: int, size: int) -> bytes:
        """Fetch a page of the member's entries that concern us, for one who knows `size` entries of its log."""
        query = {"after": str(after), "size": str(size)}
        return await self._calls.get(member, ENTRIES, CBOR, MAX_ENTRIES, SECONDS, query=query)

    async def entry(self, member: str, source: bytes, size: int) -> bytes:
        """Fetch the page with the one entry of a source (32 bytes)."""
        path = ENTRY.format(source=source.hex())
        return await self._calls.get(member, path, CBOR, MAX_ENTRIES, SECONDS, query={"size": str(size)})

    async def held(self, member: str, after: int) -> bytes:
        """Fetch a page of what the member holds of others; `after` is 0, or where the page before said to go on."""
        return await self._calls.get(member, HELD, CBOR, MAX_HELD, SECONDS, query={"after": str(after)})

    async def held_statement(self, member: str, digest: bytes) -> bytes:
        """Fetch a statement that the member holds, by its digest (32 bytes): the wire form."""
        path = HELD_STATEMENT.format(digest=digest.hex())
        return await self._calls.get(member, path, CBOR, MAX_SNAPSHOT + 1024, SECONDS)
