"""SettlementClient: what members say to each other to settle."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self, final

from riskshare.audit.proposal import MAX_PAGE, MAX_PROPOSAL, SETTLEMENT_RECEIPTS, SETTLEMENTS
from riskshare.client.calling import Calls, within
from riskshare.client.reading import CBOR, read_bounded, refuse_unless
from riskshare.client.remote import Registries, Remotes
from riskshare.encoding import format_time

SECONDS: Final = 900.0
"""Deadline of a request: the other side reads all receipts of the period for it."""


@final
class SettlementClient:
    """Asks other members' peers. Make it in a running event loop; `close` it at the end.

    `certificate` and `key` are this member's TLS files (PEM). What comes is bounded here, and judged by
    `audit.settle`. Every method raises a PeerError.
    """

    def __init__(self, *, registries: Registries, certificate: Path, key: Path, now: Callable[[], datetime]) -> None:
        self._calls = Calls(Remotes(registries, certificate, key, now), 1)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._calls.close()

    async def propose(self, member: str, body: bytes) -> bytes:
        """Send a proposal (CBOR); gives its answer."""
        headers = {"Content-Type": CBOR}
        async with self._calls.open(
            member, SETTLEMENTS, timeout=within(SECONDS), headers=headers, body=body
        ) as response:
            await refuse_unless(member, response, CBOR)
            return await read_bounded(member, response, MAX_PROPOSAL)

    async def receipts(self, member: str, owner: str, opened: datetime, closed: datetime, after: bytes) -> bytes:
        """Fetch a page of the receipts that the member keeps of exchanges with us, of one direction."""
        query = {"owner": owner, "from": format_time(opened), "to": format_time(closed), "after": after.hex()}
        return await self._calls.get(member, SETTLEMENT_RECEIPTS, CBOR, MAX_PAGE, SECONDS, query=query)
