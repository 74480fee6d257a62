"""All cores at work: threads for batches of group operations, processes for building lists.

Threads serve small batches, because libsodium's functions run without the interpreter's lock; they
share the keys in memory. Large batches of asks go on to the processes of `crew`. Building a list does as
much in Python as in libsodium, so it runs in processes, which get the key through a pipe; so does the merging of
large files (`apart`), which would else hold the interpreter's lock that checks wait for.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from types import ModuleType, TracebackType
from typing import Any, Final, Generic, ParamSpec, Self, TypeVar, final

from riskshare.errors import RiskshareError

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
"""The cores that this process may use."""

PART_UNITS = 64
"""Most units that a thread takes at once: about 3 ms of multiplications.

After each part the next batch has its turn, so that a small one does not wait for the
whole of a large one.
"""

BACKGROUND: Final = 10
"""By how much work that nobody waits for is nicer (nice(2)) than what answers checks."""

INLINE_UNITS = 4
"""From this many units on, threads pay: the hop costs as much as two multiplications."""


@final
class _Batch:
    """The parts of one call of `Threads.spread`, and what has become of them."""

    __slots__ = ("_future", "_left", "_lock", "_loop", "_next", "_parts", "_results", "_work")

    def __init__(self, work: Callable[[bytes], bytes], parts: list[bytes], future: asyncio.Future[bytes]) -> None:
        self._work = work
        self._parts = parts
        self._results = [b""] * len(parts)
        self._left = len(parts)
        self._next = itertools.count()
        self._lock = threading.Lock()
        self._future = future
        self._loop = future.get_loop()

    def step(self) -> bool:
        """Compute one part, in a thread; tell whether it makes sense to come again."""
        place = next(self._next)
        if place >= len(self._parts) or self._future.done():
            return False
        try:
            self._results[place] = self._work(self._parts[place])
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the caller
            self.fail(error)
            return False
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._tell(self._succeed)
        return place + 1 < len(self._parts)

    def fail(self, error: BaseException) -> None:
        """Let the caller's await raise `error`, unless it is over already."""

        def settle() -> None:
            if not self._future.done():
                self._future.set_exception(error)

        self._tell(settle)

    def _succeed(self) -> None:
        if not self._future.done():
            self._future.set_result(b"".join(self._results))

    def _tell(self, settle: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(settle)
        except RuntimeError:
            # The loop is closed: nobody waits any more.
            return


@final
class Threads:
    """Threads, one for each core, for work that runs without the interpreter's lock."""

    def __init__(self, count: int = CORES) -> None:
        self._count = count
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="riskshare-core")

    async def spread(
        self, work: Callable[[bytes], bytes], data: bytes, unit: int, *, inline_below: int = INLINE_UNITS
    ) -> bytes:
        """Apply `work` to `data`, cut into parts over all cores, and join the results in order.

        A batch of fewer than `inline_below` units runs here and now, without a hop to a
        thread. Concurrent batches take turns, part by part. When the caller is cancelled,
        parts not yet begun are dropped.

        Args:
            work: from a part (a whole number of units) to its result; called in threads.
            data: a multiple of `unit` bytes.
            unit: bytes that must not be torn apart.
            inline_below: see above.

        Raises:
            ValueError: `data` is not a whole number of units.
            Exception: what `work` raises first; an index in its sentence counts within its part.

        """
        units, rest = divmod(len(data), unit)
        if rest:
            raise ValueError("the data is not a whole number of units")
        if units < inline_below or units == 0:
            return work(data)
        # As many parts as cores, or a multiple of that, so that all end at about one time.
        turns = -(-units // (PART_UNITS * self._count))
        size = -(-units // (turns * self._count)) * unit
        parts = [data[start : start + size] for start in range(0, len(data), size)]
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        batch = _Batch(work, parts, future)
        for _ in parts[: self._count]:
            self._pool.submit(self._advance, batch)
        return await future

    def _advance(self, batch: _Batch) -> None:
        if not batch.step():
            return
        try:
            self._pool.submit(self._advance, batch)
        except RuntimeError as error:
            batch.fail(error)  # closed meanwhile

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call one function in one of the threads: for work that cannot be cut, such as a proof."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: function(*args, **kwargs))

    def close(self) -> None:
        """End the threads after the part that each is at; batches not finished fail with RuntimeError."""
        self._pool.shutdown()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "only workers come here"
    parent.join()
    os._exit(1)


def _settle(nice: int) -> None:
    """First thing in a process of ours.

    A worker waits for work on a pipe whose other end it holds itself, so it would outlive
    a parent that is killed: a thread watches the parent. The parent alone answers Ctrl-C.
    """
    threading.Thread(target=_end_with_parent, name="riskshare-parent", daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if nice:
        os.nice(nice)


def _start_worker(setup: Callable[..., None] | None, secrets: tuple[Any, ...], nice: int) -> None:
    _settle(nice)
    if setup is not None:
        setup(*secrets)


class _Worker(SpawnProcess):
    """A spawned process that does not run the program's main module anew.

    That takes longer (a command line imports everything) than to build a list of some ten thousand entries.
    """

    _launching = threading.Lock()

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:  # noqa: N802 - the name that multiprocessing calls
        with _Worker._launching:
            main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
            try:
                return SpawnProcess._Popen(process_obj)  # noqa: SLF001 - so does multiprocessing
            finally:
                sys.modules["__main__"] = main


class Spawn(SpawnContext):
    """Starts processes afresh, and none of them runs the program's main module."""

    Process = _Worker


@final
class Processes:
    """Worker processes, for building lists. Blocking: call it from a thread.

    They are started afresh (spawned), as needed, and import what they are given by name:
    functions and `setup` stand at the top level of a module that is not the main one. They end with `close`, and
    with their parent however it ends.
    """

    def __init__(
        self,
        setup: Callable[..., None] | None = None,
        secrets: tuple[Any, ...] = (),
        *,
        count: int = CORES,
        nice: int = 0,
    ) -> None:
        """Prepare up to `count` workers.

        Args:
            setup: called in each worker before any work, as `setup(*secrets)`.
            secrets: such as an exported key; they travel through a pipe, never by
                command line or environment.
            count: most workers.
            nice: by how much they are nicer than this process.

        """
        self._count = count
        self._pool = ProcessPoolExecutor(
            count,
            mp_context=Spawn(),
            initializer=_start_worker,
            initargs=(setup, secrets, nice),
        )

    def start(self) -> None:
        """Start all workers now, to work beside them meanwhile; without it each one starts when it is needed."""
        with contextlib.suppress(BrokenProcessPool):  # `map` tells
            for _ in range(self._count):
                self._pool.submit(os.getpid)

    def map(self, function: Callable[[T], R], chunks: Iterable[T], *, ordered: bool = True) -> Iterator[R]:
        """Apply `function` to each chunk; results come in order, or as they are ready.

        At most two chunks a worker are under way or wait as results, and `chunks` is read
        no further, so memory is bounded whatever its length.

        Raises:
            RiskshareError: a worker ended before its work (code `worker_lost`).
            Exception: what `function`, or the reading of `chunks`, raises.

        """
        source = iter(chunks)
        pending: deque[Future[R]] = deque()
        try:
            for chunk in itertools.islice(source, 2 * self._count):
                pending.append(self._pool.submit(function, chunk))
            while pending:
                done = pending[0] if ordered else next(iter(wait(pending, return_when=FIRST_COMPLETED).done))
                result = done.result()
                pending.remove(done)
                yield result
                for chunk in itertools.islice(source, 1):
                    pending.append(self._pool.submit(function, chunk))
        except BrokenProcessPool as error:
            raise _worker_lost() from error
        finally:
            for future in pending:
                future.cancel()

    def close(self) -> None:
        """End the workers; what is not begun is dropped."""
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


async def apart(function: Callable[[T], R], argument: T, *, nice: int = BACKGROUND) -> R:
    """Call one function in a process of its own, which ends with the call, with its caller's cancellation and with us.

    Args:
        function: at the top level of a module that is not the main one.
        argument: goes through a pipe.
        nice: by how much the process is nicer than this one.

    Raises:
        RiskshareError: the process ended before its work (code `worker_lost`).
        Exception: what `function` raises.

    """
    hand = await asyncio.to_thread(_Apart, function, argument, nice)
    waiting = asyncio.ensure_future(asyncio.to_thread(hand.result))
    try:
        return await asyncio.shield(waiting)
    finally:
        hand.kill()
        await asyncio.wait([waiting])
        hand.close()


@final
class _Apart(Generic[T, R]):
    """A process that does one thing, and our end of the way to it."""

    def __init__(self, function: Callable[[T], R], argument: T, nice: int) -> None:
        self._connection, there = multiprocessing.Pipe()
        self._process = Spawn().Process(target=_do_apart, args=(there, nice), name="riskshare-apart", daemon=True)
        self._work = function, argument
        try:
            self._process.start()
        finally:
            there.close()  # else its end would never be seen

    def result(self) -> R:
        """Wait for it, in a thread."""
        try:
            self._connection.send(self._work)
            result, error = self._connection.recv()
        except (EOFError, OSError) as lost:
            raise _worker_lost() from lost
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]  # what the function gave

    def kill(self) -> None:
        """End it, whatever it is at."""
        self._process.kill()

    def close(self) -> None:
        """Release what it held, once it is killed."""
        self._process.join()
        self._process.close()
        self._connection.close()


def _do_apart(connection: Connection, nice: int) -> None:
    """The life of such a process: one piece of work in, its result or its error out."""
    _settle(nice)
    function, argument = connection.recv()
    outcome: tuple[Any, Exception | None]
    try:
        outcome = function(argument), None
    except Exception as error:  # noqa: BLE001 - it belongs to the caller
        outcome = None, error
    connection.send(outcome)


def _worker_lost() -> RiskshareError:
    return RiskshareError(
        "A worker process ended before its work. Look whether memory ran out, then try again.", code="worker_lost"
    )
