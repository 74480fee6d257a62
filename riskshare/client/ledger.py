"""LedgerClient: what this peer asks of other members' logs and witnesses.

A log's words are nobody's until they are verified: what comes is bounded here, and judged by `riskshare.ledger`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self, final

from riskshare.client.calling import Calls, within
from riskshare.client.reading import read_bounded, refuse_unless
from riskshare.client.remote import Registries, Remotes
from riskshare.errors import PeerGarbage, PeerRefused
from riskshare.ledger.addition import MAX_ANSWER, TEXT_TYPE
from riskshare.ledger.note import MAX_BYTES as MAX_NOTE
from riskshare.ledger.paths import ADD_CHECKPOINT, CHECKPOINT, LATEST, path_of
from riskshare.ledger.tile import Bundle, Tile

CONNECTIONS: Final = 16
"""Most connections to one member for its log and its witness: they wait neither for asks nor for long polls."""

_TILE_TYPE: Final = "application/octet-stream"


@final
class LedgerClient:
    """Asks other members' logs and witnesses. Make it in a running event loop; `close` it at the end.

    `certificate` and `key` are this member's TLS files (PEM): these paths need none, but members have
    allowances of their own. Every method raises a PeerError for whatever goes wrong at the other side or on the way.
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

    async def add_checkpoint(self, member: str, body: bytes, timeout: float) -> tuple[int, bytes]:  # noqa: ASYNC109
        """Ask a member's witness for a cosignature: status and body, at most 16 KiB, for `addition.read_answer`.

        Raises:
            PeerError: no answer, or one whose status is neither 200 nor an error.

        """
        async with self._calls.open(member, ADD_CHECKPOINT, timeout=within(timeout), body=body) as response:
            if response.status != 200 and not 400 <= response.status < 600:
                raise PeerGarbage(member, f"The witness answered with status {response.status}.")
            return response.status, await read_bounded(member, response, MAX_ANSWER)

    async def checkpoint(self, member: str, *, timeout: float = 10.0) -> bytes | None:  # noqa: ASYNC109
        """Fetch the newest final checkpoint of a member's log, a signed note; None before its first."""
        return await self._note(member, CHECKPOINT, timeout)

    async def latest(self, member: str, *, timeout: float = 10.0) -> bytes | None:  # noqa: ASYNC109
        """Fetch the newest checkpoint that a member's log signed, a signed note; None before its first."""
        return await self._note(member, LATEST, timeout)

    async def tile(self, member: str, place: Tile | Bundle, *, timeout: float = 10.0) -> bytes:  # noqa: ASYNC109
        """Fetch a tile or a bundle of a member's log: exactly as many bytes as its width says.

        Raises:
            PeerError: also if it has another length; `PeerRefused` with status 404, the log does not reach there.

        """
        data = await self._calls.get(member, path_of(place), _TILE_TYPE, place.length, timeout)
        if len(data) != place.length:
            raise PeerGarbage(member, f"{place.path} has {len(data)} bytes and should have {place.length}.")
        return data

    async def _note(self, member: str, path: str, timeout: float) -> bytes | None:  # noqa: ASYNC109
        async with self._calls.open(member, path, timeout=within(timeout)) as response:
            try:
                await refuse_unless(member, response, TEXT_TYPE)
            except PeerRefused as error:
                if error.status == 404:
                    return None
                raise
            return await read_bounded(member, response, MAX_NOTE)
