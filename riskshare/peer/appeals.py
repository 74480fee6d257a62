"""Taking note of upheld appeals, as the deltas of other members' lists come by.

An owner shows each for an hour at least, behind a new base too (`sharing.compaction`); later ones tell of none.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import final

from riskshare.errors import SegmentError
from riskshare.logs import get_log
from riskshare.sharing.segment_ref import HEADER_ROOM
from riskshare.sharing.upheld import Upheld, is_delta, upheld
from riskshare.store.appeals import Appeals


@final
class AppealsSeen:
    """Looks through the copies of other members' lists in a folder, each file once."""

    def __init__(self, folder: Path, appeals: Appeals) -> None:
        self._folder = folder
        self._appeals = appeals
        self._seen: set[str] = set()

    async def gather(self) -> None:
        """Keep the labels of deltas that were not looked at yet. Raises StoreError: then they are looked at again."""
        names = await asyncio.to_thread(self._names)
        self._seen &= names
        for name in sorted(names - self._seen):
            found = await asyncio.to_thread(self._read, name)
            # At each start, and by each worker, the files are looked through anew; what is new is told once.
            if found and (count := await self._appeals.keep(found.list_name, found.epoch, found.labels)):
                get_log().info("appeals_upheld", list=found.list_name, count=count)
            self._seen.add(name)

    def _names(self) -> set[str]:
        with suppress(OSError):
            return {file.name for file in self._folder.iterdir() if len(file.name) == 64}
        return set()

    def _read(self, name: str) -> Upheld | None:
        file = self._folder / name
        with suppress(OSError, SegmentError):  # gone meanwhile, or not what it should be: the mirror deals with it
            with file.open("rb") as opened:
                head = opened.read(HEADER_ROOM)
            if is_delta(head, file.stat().st_size):
                return upheld(file.read_bytes(), bytes.fromhex(name))
        return None
