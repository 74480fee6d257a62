"""An import that is cancelled says so, and nothing else: what was read stays, and is gone on with."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from riskshare.sharing.importing import Report, Watcher, _read
from riskshare.sharing.row_place import Place
from riskshare.sharing.staged import Piece


class Staging:
    """Takes pieces at once."""

    async def add(self, piece):
        pass


async def test_an_import_that_is_cancelled_while_it_waits_for_its_next_piece_is_cancelled():
    begun = asyncio.Event()

    async def pieces():
        yield Piece(Place(1, 1), 1, 1, b"", ())
        begun.set()
        await asyncio.sleep(60)

    reading = asyncio.create_task(_read(Staging(), pieces(), Report(uuid4()), Watcher()))
    await begun.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
