"""Which snapshots other members say they hold, as their polls come by. Kept every few seconds; some may be lost."""

from __future__ import annotations

from typing import Final, final

from riskshare.peer.opening import now
from riskshare.sharing.kept import Seen
from riskshare.store.history import History

KEEP_SECONDS: Final = 3.0
MOST: Final = 100_000
"""So many readers' lists are remembered between two writes."""


@final
class Readers:
    """Remembers what was seen, until `keep` writes it down."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._seen: dict[tuple[str, str, bytes], Seen] = {}

    def saw(self, reader: str, list_name: str, epoch: bytes, digest: bytes) -> None:
        """A member's poll said that it holds that snapshot (digest) of a list under an epoch (digest)."""
        if len(self._seen) < MOST:
            self._seen[reader, list_name, epoch] = Seen(reader, epoch, digest, now())

    async def keep(self) -> None:
        """Write down what was seen since the last time. Raises StoreError: that is forgotten then."""
        seen, self._seen = self._seen, {}
        if seen:
            await self._history.keep_readers(list(seen.values()))
