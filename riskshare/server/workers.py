"""The workers of one member, as one of them sees the others.

The kernel deals connections out to the workers, so an operator reaches any of them. Each therefore listens on a socket
of its own, in a folder that nobody else may enter, and whichever is asked collects what all have to say.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ASK_SECONDS: Final = 4.0
"""Longest time that a worker may take: a little more than its probes."""

_LIMIT: Final = 1 << 26


@dataclass(frozen=True, slots=True)
class Workers:
    """Worker `number` of `count`, counted from 1; `folder` is where their sockets are."""

    folder: Path
    number: int
    count: int

    def note_start(self) -> None:
        """Tell the supervisor that this worker has started."""
        self._started.touch()

    @property
    def has_started(self) -> bool:
        """Whether this worker, or the one in whose place it is, has started once."""
        return self._started.exists()

    async def serve(self, said: Mapping[str, Callable[[], Awaitable[object]]]) -> asyncio.Server:
        """Tell other workers, by the word that they ask with, something that has a JSON form."""

        async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                word = (await reader.readline()).decode().strip()
                if word in said:
                    writer.write(json.dumps(await said[word]()).encode() + b"\n")
                    await writer.drain()
            except (OSError, ValueError):
                return  # whoever asked has gone
            finally:
                writer.close()

        return await asyncio.start_unix_server(tell, self._socket(self.number))

    async def ask(self, word: str) -> dict[int, Any]:
        """What each of the other workers says to a word; None of one that does not answer."""
        others = [number for number in range(1, self.count + 1) if number != self.number]
        return dict(zip(others, await asyncio.gather(*(self._ask(number, word) for number in others)), strict=True))

    async def _ask(self, number: int, word: str) -> Any:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                reader, writer = await asyncio.open_unix_connection(self._socket(number), limit=_LIMIT)
                try:
                    writer.write(word.encode() + b"\n")
                    return json.loads(await reader.readline())
                finally:
                    writer.close()
        except (OSError, ValueError):  # TimeoutError is an OSError
            return None

    @property
    def _started(self) -> Path:
        return self.folder / f"{self.number}.started"

    def _socket(self, number: int) -> Path:
        return self.folder / str(number)
