"""Running a peer: one process, or several workers that share the ports and the database.

A worker is a whole peer in a process of its own; the kernel deals connections out to them (SO_REUSEPORT). Which one
publishes is decided by a lock in the database; if that one dies, another takes over within seconds. The supervisor
looks first whether the ports are free, for workers take seconds to start, and would share a port with anybody who lets
them. It starts a worker that died again, after a pause, and passes SIGTERM and SIGINT on; workers end when it is gone.
"""

from __future__ import annotations

import gc
import math
import multiprocessing
import signal
import sys
import tempfile
import time
from collections.abc import Coroutine
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any, Final

import uvloop

from riskshare.config import Config
from riskshare.errors import ConfigError, RiskshareError
from riskshare.logs import configure, get_log
from riskshare.peer.peer import Peer
from riskshare.server.listen import require_free
from riskshare.server.workers import Workers

STOP_SECONDS: Final = 30.0
LONGEST_PARENT: Final = 60
"""The path of a socket may have 107 bytes."""

RESTART_SECONDS: Final = 1.0
LONGEST_PAUSE: Final = 30.0
STEADY_SECONDS: Final = 10.0
"""A worker that has run for so long does not die at its start: its successor need not wait."""

GARBAGE: Final = 10_000
"""Objects that may gather before Python looks among them for cycles (its default is 700).

A check makes some hundreds that die by themselves. Measured, it takes 4 to 6 % less time so, and its slowest ones a
fifth less; to look at 10,000 takes some 0.15 ms.
"""

SWITCH_SECONDS: Final = 20e-6
"""How long a thread that wants the interpreter's lock waits before it asks for it (Python's default is 5 ms).

A thread that multiplies needs the lock for a microsecond between two multiplications. While the event loop held it
for milliseconds, both cores stood still: measured, an owner evaluates a fifth to a third more with this setting.
"""


def run_loop(running: Coroutine[Any, Any, None]) -> None:
    """Run the peer to its end."""
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(GARBAGE)
    uvloop.run(running)


def serve(config_file: Path, workers: int = 1) -> None:
    """Run the peer of a configuration until SIGTERM or SIGINT. Blocks.

    Raises:
        ConfigError, RegistryError, StoreError: it cannot start; the sentence says why.

    """
    config = Config.load(config_file)
    configure(config.log.level, config.log.format)
    if workers == 1:
        run_loop(_run(config, None))
        return
    for name, section in config.listen:
        if section.port == 0:
            raise ConfigError("Several workers share their ports, so none of them may be 0 in the configuration.")
        require_free(section.host, section.port, name=name)
    parent = None if len(tempfile.gettempdir()) < LONGEST_PARENT else "/tmp"  # noqa: S108 - the folder is made 0700
    with tempfile.TemporaryDirectory(prefix="riskshare-", dir=parent) as folder:
        _Supervisor(config_file, Path(folder), workers).run()


async def _run(config: Config, workers: Workers | None, supervisor: BaseProcess | None = None) -> None:
    peer = Peer(config, workers=workers)
    await peer.start()
    gc.collect()
    gc.freeze()  # what is there now stays: no collection goes through it again
    try:
        if workers is not None:
            workers.note_start()
        await peer.run(None if supervisor is None else supervisor.sentinel)
    finally:
        await peer.stop()


def _work(config_file: Path, workers: Workers) -> None:
    """Be one worker."""
    config = Config.load(config_file)
    configure(config.log.level, config.log.format)
    try:
        run_loop(_run(config, workers, multiprocessing.parent_process()))
    except RiskshareError as error:
        get_log().error("worker_failed", code=error.code, detail=error.message)
        sys.exit(1)


class _Supervisor:
    """Keeps the workers running."""

    def __init__(self, config_file: Path, folder: Path, count: int) -> None:
        self._config_file = config_file
        self._workers = [Workers(folder, number, count) for number in range(1, count + 1)]
        self._spawn = multiprocessing.get_context("spawn")
        self._running: dict[BaseProcess, float] = {}
        self._which: dict[BaseProcess, Workers] = {}
        self._pause = RESTART_SECONDS
        self._stopping = False
        self._kill_at = math.inf

    def run(self) -> None:
        """Run until told to stop. Raises ConfigError: a worker did not start the first time."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        for worker in self._workers:
            self._start(worker)
        steady = failed = False
        while self._running:
            wait([process.sentinel for process in self._running], timeout=1.0)
            now = time.monotonic()
            if now > self._kill_at:
                for process in self._running:
                    process.kill()
            # Not a matter of time: on a busy machine a worker may need longer to fail than another one to start.
            steady = steady or all(worker.has_started for worker in self._workers)
            for process in [process for process in self._running if process.exitcode is not None]:
                lasted, which = now - self._running.pop(process), self._which.pop(process)
                if self._stopping:
                    continue
                # Killed by a signal, it did not fail to start.
                if not steady and (process.exitcode or 0) >= 0:
                    failed = True
                    self._stop(signal.SIGTERM, None)
                    continue
                get_log().error("worker_died", pid=process.pid, code=str(process.exitcode))
                self._pause = RESTART_SECONDS if lasted > STEADY_SECONDS else min(LONGEST_PAUSE, 2 * self._pause)
                self._restart(which)
        if failed:
            raise ConfigError("A worker did not start; what it wrote above says why.")

    def _restart(self, worker: Workers) -> None:
        """Start a worker in place of one that died; after a pause, which grows if they keep dying."""
        until = time.monotonic() + self._pause
        while not self._stopping and time.monotonic() < until:
            time.sleep(0.1)
        if not self._stopping:
            self._start(worker)

    def _start(self, worker: Workers) -> None:
        process = self._spawn.Process(target=_work, args=(self._config_file, worker), name="riskshare-worker")
        process.start()
        self._running[process] = time.monotonic()
        self._which[process] = worker
        if self._stopping:  # told so in between
            process.terminate()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True
        self._kill_at = min(self._kill_at, time.monotonic() + STOP_SECONDS)
        for process in list(self._running):
            process.terminate()
