"""One piece of work in a process of its own, such as the merging of large files.

It would else hold the interpreter's lock that checks wait for.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar, final

from riskshare.cores import BACKGROUND, Spawn, settle, worker_lost

T = TypeVar("T")
R = TypeVar("R")


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
            raise worker_lost() from lost
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
    settle(nice)
    function, argument = connection.recv()
    outcome: tuple[Any, Exception | None]
    try:
        outcome = function(argument), None
    except Exception as error:  # noqa: BLE001 - it belongs to the caller
        outcome = None, error
    connection.send(outcome)
