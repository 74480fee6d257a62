"""Preparing a file's chunks on all cores: processes of this machine, fed from a thread.

A short file is prepared in a thread, for starting the processes takes longer than it does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import suppress
from itertools import chain, islice
from typing import Final, cast, final

from riskshare.cores import CORES, Processes
from riskshare.sharing.entry import DataKey
from riskshare.sharing.prepare import Preparer, RowForm, prepare_in_worker, start_worker
from riskshare.sharing.reading import Reader
from riskshare.sharing.row_place import Chunk
from riskshare.sharing.staged import Piece

SMALL_CHUNKS: Final = 2
"""A file of no more chunks than these takes less than the start of the processes."""


@final
class Preparers:
    """`importing.Prepare`: prepares on `cores` processes, or in a thread a file of few chunks."""

    def __init__(self, data_key: DataKey, form: RowForm, *, small: int = SMALL_CHUNKS, cores: int = CORES) -> None:
        self._data_key = data_key
        self._form = form
        self._small = small
        self._cores = cores

    async def __call__(self, list_name: str, reader: Reader, chunks: Iterator[Chunk]) -> AsyncGenerator[Piece, None]:
        """The chunks of a file as pieces, in their order. Close it, if not read to its end.

        Raises:
            InputError: what reading the chunks raises.
            RiskshareError: `worker_lost`, a process ended before its work.

        """
        first = await asyncio.to_thread(lambda: list(islice(chunks, self._small + 1)))
        if len(first) <= self._small:
            preparer = Preparer(self._data_key, list_name, reader, self._form)
            for chunk in first:
                yield await asyncio.to_thread(preparer.prepare, chunk)
            return
        secrets = (self._data_key.export(), list_name, reader, self._form)
        processes = Processes(start_worker, secrets, count=self._cores)
        pieces = cast("Generator[Piece]", processes.map(prepare_in_worker, chain(first, chunks)))
        step: asyncio.Future[Piece | None] | None = None
        try:
            while True:
                step = asyncio.ensure_future(asyncio.to_thread(next, pieces, None))
                piece = await asyncio.shield(step)  # the thread outlives a cancellation of ours
                if piece is None:
                    return
                yield piece
        finally:
            if step is not None:
                await asyncio.wait([step])
            with suppress(ValueError):  # the loop is ending, and the thread has not yet
                pieces.close()
            await asyncio.to_thread(processes.close)
