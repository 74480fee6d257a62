"""Building rows on all cores: `composing.Builders` over processes of this machine, or over another engine.

A small list is built in a thread, for starting the processes takes longer than it does. A larger one goes
chunk by chunk to a process for each core; at most two chunks a process are under way, so memory is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final, Protocol, cast, final

from riskshare.cores import CORES, Processes
from riskshare.membership.oprf import SecretKey
from riskshare.sharing.build import Chunk, StoredRow, build_chunk, build_in_worker, start_worker
from riskshare.sharing.entry import DataKey
from riskshare.sharing.packed import PackedRows

SMALL_ROWS: Final = 2000
"""Fewer rows than these take less than the start of a process."""


class Pool(Protocol):
    """What computes chunks somewhere. Blocking: it is called from a thread."""

    def map(self, chunks: Iterable[Chunk]) -> Iterator[PackedRows]:
        """For each chunk its rows, in the order of the chunks."""

    def close(self) -> None:
        """End it."""


Engine = Callable[[DataKey, SecretKey], Pool]
"""Starts a pool that opens entries under a data key and computes under an epoch's key. Blocking."""


@final
class ProcessPool:
    """`Pool` over processes of this machine."""

    def __init__(self, data_key: DataKey, key: SecretKey, *, cores: int = CORES, nice: int = 0) -> None:
        keys = data_key.export(), key.export()
        self._processes = Processes(start_worker, keys, count=cores, nice=nice)

    def map(self, chunks: Iterable[Chunk]) -> Iterator[PackedRows]:
        """As `Pool`. Raises RiskshareError: `worker_lost`; OpenError."""
        return self._processes.map(build_in_worker, chunks)

    def close(self) -> None:
        """End the processes."""
        self._processes.close()


@final
class ProcessBuilders:
    """`composing.Builders`: builds on `cores` processes, or in a thread what has fewer than `small` rows.

    The processes are by `nice` nicer than this one. An `engine` takes their place.
    """

    def __init__(
        self,
        data_key: DataKey,
        *,
        small: int = SMALL_ROWS,
        cores: int = CORES,
        nice: int = 0,
        engine: Engine | None = None,
    ) -> None:
        self._data_key = data_key
        self._small = small
        self._engine = engine or partial(ProcessPool, cores=cores, nice=nice)

    @asynccontextmanager
    async def __call__(self, key: SecretKey) -> AsyncIterator[Building]:
        """Build under one epoch's key; the processes end with the context."""
        building = Building(self._data_key, key, self._small, self._engine)
        try:
            yield building
        finally:
            await building.close()


@final
class Building:
    """`publish.Build`: call it once for each list."""

    def __init__(self, data_key: DataKey, key: SecretKey, small: int, engine: Engine) -> None:
        self._data_key = data_key
        self._key = key
        self._small = small
        self._engine = engine
        self._pool: Pool | None = None

    async def __call__(
        self, list_name: str, chunks: AsyncIterator[Sequence[StoredRow]]
    ) -> AsyncGenerator[PackedRows, None]:
        """For each chunk its rows; in the order of the chunks. Close it, if not read to its end.

        Raises:
            OpenError: an entry does not open.
            RiskshareError: `worker_lost`, a process ended before its work.

        """
        first: list[Sequence[StoredRow]] = []
        async for chunk in chunks:
            first.append(chunk)
            if sum(map(len, first)) >= self._small:
                break
        else:
            for chunk in first:
                yield await asyncio.to_thread(build_chunk, list_name, self._data_key, self._key, chunk)
            return
        if self._pool is None:
            self._pool = await asyncio.to_thread(self._engine, self._data_key, self._key)
        jobs = _jobs(list_name, first, chunks, asyncio.get_running_loop())
        results = cast("Generator[PackedRows]", self._pool.map(jobs))
        step: asyncio.Future[PackedRows | None] | None = None
        try:
            while True:
                step = asyncio.ensure_future(asyncio.to_thread(next, results, None))
                rows = await asyncio.shield(step)  # the thread outlives a cancellation of ours
                if rows is None:
                    return
                yield rows
        finally:
            if step is not None:
                await asyncio.wait([step])
            with suppress(ValueError):  # the loop is ending, and the thread has not yet
                results.close()

    async def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            await asyncio.to_thread(self._pool.close)


def _jobs(
    list_name: str,
    first: Sequence[Sequence[StoredRow]],
    chunks: AsyncIterator[Sequence[StoredRow]],
    loop: asyncio.AbstractEventLoop,
) -> Iterator[Chunk]:
    """All chunks, for a thread: those that come later are fetched by the event loop."""
    for chunk in first:
        yield list_name, chunk

    async def fetch() -> Sequence[StoredRow] | None:
        return await anext(chunks, None)

    while (later := asyncio.run_coroutine_threadsafe(fetch(), loop).result()) is not None:
        yield list_name, later
