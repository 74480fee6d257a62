"""Asking a member again what failed without being an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from riskshare.errors import PeerGarbage, PeerLate, PeerRefused

TRIES: Final = 5
PAUSE: Final = 0.25
"""Seconds before the second try; each later one waits twice as long, or as long as the member says."""

LONGEST_PAUSE: Final = 30.0


async def patiently(ask: Callable[[], Awaitable[bytes]]) -> bytes:
    """Ask again what failed without being an answer, and what came too often for the member. Raises PeerError."""
    pause = PAUSE
    for _ in range(TRIES - 1):
        try:
            return await ask()
        except PeerRefused as error:
            if error.status not in (429, 503) or error.remote_code == "audit_quota":
                raise
            await asyncio.sleep(min(LONGEST_PAUSE, max(pause, error.retry_after or 0.0)))
        except (PeerLate, PeerGarbage) as error:
            if isinstance(error, PeerGarbage) and error.code != "peer_disconnected":
                raise
            await asyncio.sleep(pause)
        pause *= 2
    return await ask()
