"""Rotating a keyset: a new epoch, and its lists computed under it, in a process beside the peer.

The labels are computed into buildings, which the peer takes up: it adds what changed meanwhile, publishes, and ends the
old epoch after the change-over. So if this process is killed, the peer goes on where it stopped; and so does the next
rotation, which goes on with an epoch that is not published in all lists rather than begin another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, final

from riskshare.errors import InputError
from riskshare.sharing.chain import MOST_EPOCHS
from riskshare.sharing.composing import Builders, Composer, Held, Job
from riskshare.sharing.kept import EpochRow, ListRow
from riskshare.sharing.rotating import Epochs, EpochShelf, newest_of


class Lists(Protocol):
    """The store of lists."""

    async def lists(self) -> Sequence[ListRow]:
        """All lists of this member."""

    async def tell(self, list_id: int) -> None:
        """Let the peer look at a list again."""


@dataclass(frozen=True, slots=True)
class Rotated:
    """An epoch whose lists are computed, `rows` in all; `resumed` tells that it had begun before."""

    epoch: EpochRow
    lists: tuple[str, ...]
    resumed: bool
    rows: int


@final
class Rotation:
    """Rotates keysets of one member."""

    def __init__(
        self,
        *,
        member: str,
        epochs: Epochs,
        composer: Composer,
        builders: Builders,
        lists: Lists,
        shelf: EpochShelf,
        now: Callable[[], datetime],
    ) -> None:
        self._member = member
        self._epochs = epochs
        self._composer = composer
        self._builders = builders
        self._lists = lists
        self._shelf = shelf
        self._now = now

    async def run(self, keyset: str, begun: Callable[[EpochRow, bool], None]) -> Rotated:
        """Begin an epoch, or go on with one, and compute its lists; `begun` is told which, and whether it goes on.

        Raises:
            InputError: `no_epoch`, no list has this keyset; `rotation_running`, another process is at it;
                `too_many_epochs`.
            DiskError, StoreError, OpenError: the next rotation, or the peer, goes on from here.

        """
        lists = [row for row in await self._lists.lists() if row.keyset == keyset]
        if not lists:
            known = ", ".join(sorted({row.keyset for row in await self._lists.lists()})) or "none"
            raise InputError(
                f"No list has this keyset, so there is nothing to rotate. The lists here have the keysets: {known}.",
                code="no_epoch",
            )
        known_epochs = await self._shelf.epochs(keyset)
        newest = newest_of(known_epochs, keyset)
        resumed = newest is not None and newest.in_service(self._now())
        missing = await self._epochs.missing(newest, lists) if newest is not None and resumed else []
        if newest is not None and missing:
            epoch, held = newest, self._hold(newest, missing)
        else:
            epoch, resumed = self._next(keyset, known_epochs), False
            held = self._hold(epoch, lists)
            if not await self._shelf.add_epoch(epoch):
                self._let_go(held, drop=True)
                held = []
        if not held:
            raise InputError(
                "This keyset is being rotated already. riskshare list status shows when its lists are out.",
                code="rotation_running",
            )
        try:
            begun(epoch, resumed)
            rows = [await self._compute(job, one) for job, one in held]
        finally:
            self._let_go(held)
        return Rotated(epoch, tuple(job.name for job, _ in held), resumed, sum(rows))

    def _next(self, keyset: str, known: Sequence[EpochRow]) -> EpochRow:
        if sum(row.in_service(self._now()) for row in known) >= MOST_EPOCHS - 1:
            raise InputError(
                "So many epochs are in their change-over that readers take no more. Rotate when one is over.",
                code="too_many_epochs",
            )
        return self._epochs.new(keyset, max((row.number for row in known), default=0) + 1)

    def _hold(self, epoch: EpochRow, lists: Iterable[ListRow]) -> list[tuple[Job, Held]]:
        """Take the buildings that nobody is at, before anybody else can know of the epoch."""
        key = self._epochs.key(epoch)
        jobs = [Job(row, f"{self._member}/{row.name}", epoch, key, None, ()) for row in lists]
        return [(job, held) for job in jobs if (held := self._composer.hold(job)) is not None]

    async def _compute(self, job: Job, held: Held) -> int:
        async with self._builders(job.key) as build:
            marks, _ = await self._composer.compute(job, build, held, few=-1)
        held.close()
        await self._lists.tell(job.row.id)
        return marks.rows

    @staticmethod
    def _let_go(held: Iterable[tuple[Job, Held]], *, drop: bool = False) -> None:
        for _, one in held:
            if drop:
                one.drop()
            else:
                one.close()
