"""All cores at work: processes for building lists, for importing and for audits.

They do as much in Python as in libsodium, so threads would wait for each other; keys reach a process through a pipe.
`threads` serves small batches, `crew` the large batches of asks, `apart` one long piece of work. Nothing here needs
asyncio, which takes a fifth of the time in which a worker starts.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from types import ModuleType, TracebackType
from typing import Any, Final, Self, TypeVar, final

from riskshare.errors import RiskshareError

T = TypeVar("T")
R = TypeVar("R")

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
"""The cores that this process may use."""

BACKGROUND: Final = 10
"""By how much work that nobody waits for is nicer (nice(2)) than what answers checks."""


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "only workers come here"
    parent.join()
    os._exit(1)


def settle(nice: int) -> None:
    """First thing in a process of ours.

    A worker waits for work on a pipe whose other end it holds itself, so it would outlive
    a parent that is killed: a thread watches the parent. The parent alone answers Ctrl-C.
    """
    threading.Thread(target=_end_with_parent, name="riskshare-parent", daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if nice:
        os.nice(nice)


def _start_worker(setup: Callable[..., None] | None, secrets: tuple[Any, ...], nice: int) -> None:
    settle(nice)
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
            raise worker_lost() from error
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


def worker_lost() -> RiskshareError:
    """What is raised where a process ended before its work."""
    return RiskshareError(
        "A worker process ended before its work. Look whether memory ran out, then try again.", code="worker_lost"
    )
