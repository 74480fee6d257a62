"""One ask on its way, and one element in it: what passes between `check` and `ask`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from riskshare.errors import PeerError
from riskshare.ledger.receipt import KeptReceipt, UnansweredAsk
from riskshare.query.message import Ask, AskMessage

T = TypeVar("T")

TURNS = 3
"""Turns of the event loop until an element has left, if nothing else is to be done: the ask is made;
aiohttp writes it, before Python 3.12 in a task of its own; and uvloop sends what was written in a turn at its end."""


@dataclass(slots=True)
class Batch:
    """One ask on its way, and what came of it.

    `kept` is set when a verified answer is there, `unanswered` when it failed after bytes may have left.
    """

    ask: Ask = field(repr=False)
    message: AskMessage = field(repr=False)
    salt: bytes = field(repr=False)
    kept: KeptReceipt | None = field(default=None, repr=False)
    unanswered: UnansweredAsk | None = field(default=None, repr=False)
    durable: bool = False
    _receipt_id: bytes = field(default=b"", repr=False)

    def give_up(self) -> None:
        """Note that no answer came although bytes may have left."""
        self.unanswered = UnansweredAsk(
            owner=self.ask.owner,
            batch=self.ask.batch,
            epoch=self.ask.epoch,
            count=self.ask.count,
            ask=self.message.ask,
            ask_signature=self.message.signature,
            elements=self.message.elements,
            salt=self.salt,
        )

    @property
    def receipt_id(self) -> bytes:
        """Id of the receipt, 32 bytes; empty as long as there is none. Computed once for all checks in the batch."""
        if not self._receipt_id and self.kept is not None:
            self._receipt_id = self.kept.receipt.id
        return self._receipt_id


@dataclass(slots=True, eq=False)
class Ticket:
    """One element that was submitted.

    `done` gives the 32 bytes of the evaluated element, or raises `AskFailed`; `batch` and `position` are set when
    it has left with an ask. Cancelling `done` abandons the element, not the ask; `told` is called once it is answered
    or has failed, not when it is cancelled.
    """

    element: bytes = field(repr=False)
    done: asyncio.Future[bytes] = field(repr=False)
    batch: Batch | None = None
    position: int = -1
    told: Callable[[asyncio.Future[bytes]], None] | None = field(default=None, repr=False)

    def answer(self, evaluated: bytes) -> None:
        """Give the evaluated element (32 bytes) to whoever still waits for it."""
        if not self.done.done():
            self.done.set_result(evaluated)
            self._tell()

    def fail(self, failure: AskFailed) -> None:
        """Tell whoever still waits for it that there is no answer."""
        if not self.done.done():
            self.done.set_exception(failure)
            self.done.exception()  # retrieved: a check that has left does not want to hear of it
            self._tell()

    def _tell(self) -> None:
        if self.told is not None:
            self.told(self.done)


@dataclass(slots=True)
class Lane:
    """Elements of one owner, epoch and purpose that wait for the next ask, and how many asks of them are on their way.

    `scheduled` says that the next one leaves in the next turn of the event loop.
    """

    waiting: deque[Ticket] = field(default_factory=deque)
    in_flight: int = 0
    scheduled: bool = False

    def take(self, most: int) -> list[Ticket]:
        """Take at most so many elements out, without those that their checks have given up."""
        taken: list[Ticket] = []
        while self.waiting and len(taken) < most:
            ticket = self.waiting.popleft()
            if not ticket.done.cancelled():
                taken.append(ticket)
        return taken


class Inbox(Generic[T]):
    """Futures that one check waits for, each with what it stands for, until all are there or the time is over.

    Does what `asyncio.wait` does, at a cost that does not grow with the number that still waits.
    """

    __slots__ = ("_done", "_over", "_waiter", "waiting")

    def __init__(self) -> None:
        self.waiting: dict[asyncio.Future[Any], T] = {}
        self._done: list[asyncio.Future[Any]] = []
        self._over = False
        self._waiter: asyncio.Future[None] | None = None

    def watch(self, future: asyncio.Future[bytes | None], meaning: T) -> None:
        """Wait for a future, too."""
        self.waiting[future] = meaning
        future.add_done_callback(self._arrive)

    def expect(self, ticket: Ticket, meaning: T) -> None:
        """Wait for an element, too; it is here a turn of the event loop sooner than by its future."""
        self.waiting[ticket.done] = meaning
        if ticket.done.done():
            self._arrive(ticket.done)
        else:
            ticket.told = self._arrive

    def end(self) -> None:
        """The time is over."""
        self._over = True
        self._wake()

    async def take(self) -> list[T]:
        """What is done since the last time, once there is any; nothing if all is done, or the time is over."""
        if not self._done and self.waiting and not self._over:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        done, self._done = self._done, []
        return [self.waiting.pop(future) for future in done]

    def abandon(self) -> list[T]:
        """Cancel what is not done; return what it stood for."""
        for future in list(self.waiting):
            future.remove_done_callback(self._arrive)
            future.cancel()
        left = list(self.waiting.values())
        self.waiting.clear()
        self._done.clear()
        return left

    def _arrive(self, future: asyncio.Future[Any]) -> None:
        self._done.append(future)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class AskFailed(Exception):  # noqa: N818 - named by what is the case
    """An element got no answer; `reason` is the PeerError that says why."""

    def __init__(self, reason: PeerError) -> None:
        super().__init__(reason.message)
        self.reason = reason


async def let_leave() -> None:
    """Let elements leave that were submitted just now: whatever their check does sooner makes it wait longer."""
    for _ in range(TURNS):
        await asyncio.sleep(0)
