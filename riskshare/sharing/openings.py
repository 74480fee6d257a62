"""Opening this member's own segment files, so that a list that takes long holds up no other.

Every byte of a file is held against its name before it serves: of a long base that takes seconds. What is open soon is
given at once; the rest goes on beside, one opening for each list and epoch at a time, and when it is there its list is
loaded again, at whatever is its newest snapshot by then. So nothing is shown here: an opening can be late, never old.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol, final

from riskshare.errors import DiskError, OpenError, RiskshareError, SegmentError, StoreError
from riskshare.sharing.segment_read import BaseSegment, DeltaSegment, open_whole
from riskshare.sharing.segment_ref import SegmentRef
from riskshare.sharing.view import ListView

QUICK_SECONDS: Final = 0.25
"""How long the news of all lists wait for those whose files have not been opened yet."""

LONG_BYTES: Final = 2**26
"""So many bytes are opened for one list at a time: the threads are for others too."""

Place = tuple[str, bytes]
"""Full list name and epoch digest."""

Outcome = ListView | RiskshareError
"""What came of an opening; an error is a SegmentError or a DiskError."""


class Files(Protocol):
    """The segment files."""

    def map(self, ref: SegmentRef) -> memoryview:
        """Map a file. Raises SegmentError."""

    def delete(self, digest: bytes) -> None:
        """Remove a file, if it is here; what is mapped stays good. Raises DiskError."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The segments of a snapshot, in order; `former` is the view of the list that serves, if one does."""

    refs: tuple[SegmentRef, ...]
    former: ListView | None = field(repr=False)


@final
class Openings:
    """Those under way. `opened` is called when one that was late is there; it asks for `views` again."""

    def __init__(self, files: Files, opened: Callable[[], Awaitable[None]]) -> None:
        self._files = files
        self._opened = opened
        self._late: set[Place] = set()
        self._going: dict[asyncio.Task[None], Place] = {}
        self._ended: dict[Place, tuple[tuple[SegmentRef, ...], asyncio.Task[Outcome]]] = {}
        self._one_long = asyncio.Semaphore(1)

    async def views(self, wanted: Mapping[Place, Wanted]) -> dict[Place, Outcome]:
        """What came of the openings that are wanted now; those that take longer are left out, and go on."""
        ended = {at: (refs, task.result()) for at, (refs, task) in self._ended.items() if at in wanted}
        self._ended = {}
        found: dict[Place, Outcome] = {}
        tasks: dict[Place, asyncio.Task[Outcome]] = {}
        for place, each in wanted.items():
            refs, outcome = ended.get(place, ((), None))
            if outcome is not None and refs == each.refs:
                found[place] = outcome
            elif place not in self._late:
                held = [view for view in (each.former, outcome) if isinstance(view, ListView)]
                tasks[place] = asyncio.ensure_future(self._open(place, each.refs, held))
        try:
            if tasks:
                await asyncio.wait(tasks.values(), timeout=QUICK_SECONDS)
        except asyncio.CancelledError:
            for task in tasks.values():
                task.cancel()
            raise
        for place, task in tasks.items():
            if task.done():
                found[place] = task.result()
            else:
                self._late.add(place)
                going = asyncio.ensure_future(self._go_on(place, wanted[place].refs, task))
                self._going[going] = place
                going.add_done_callback(self._going.pop)
        return found

    def __bool__(self) -> bool:
        """Whether any is late, or not shown yet."""
        return bool(self._going)

    async def settled(self, place: Place | None = None) -> None:
        """Return when no opening of this list (of any list) is late, and those that were are shown."""
        while going := [task for task, at in self._going.items() if place in (None, at)]:
            await asyncio.wait(going)

    async def stop(self) -> None:
        """End them all."""
        tasks = list(self._going)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _go_on(self, place: Place, refs: tuple[SegmentRef, ...], task: asyncio.Task[Outcome]) -> None:
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            raise
        self._ended[place] = refs, task
        self._late.discard(place)
        if task.exception() is None and isinstance(task.result(), ListView):  # trouble is told to who loads next
            with suppress(StoreError, OpenError):  # then it is shown with the next news
                await self._opened()

    async def _open(self, place: Place, refs: tuple[SegmentRef, ...], held: Sequence[ListView]) -> Outcome:
        """Open the segments of a snapshot; those that are open already are not read again."""
        known = {each.ref: each for view in held for each in (view.base, *view.deltas) if each is not None}
        try:
            if sum(ref.file_length for ref in refs if ref not in known) < LONG_BYTES:
                return await asyncio.to_thread(self._view, place, refs, known)
            async with self._one_long:
                return await asyncio.to_thread(self._view, place, refs, known)
        except (SegmentError, DiskError) as error:
            return error

    def _view(
        self, place: Place, refs: Sequence[SegmentRef], known: Mapping[SegmentRef, BaseSegment | DeltaSegment]
    ) -> ListView:
        opened = [known.get(ref) or self._open_whole(ref, place) for ref in refs]
        base = next((segment for segment in opened if isinstance(segment, BaseSegment)), None)
        return ListView(base, [segment for segment in opened if isinstance(segment, DeltaSegment)])

    def _open_whole(self, ref: SegmentRef, place: Place) -> BaseSegment | DeltaSegment:
        """Open a file of which every byte is as it was written. Raises SegmentError; the file is removed then."""
        try:
            return open_whole(self._files.map(ref), ref, *place)
        except SegmentError:
            self._files.delete(ref.file_digest)
            raise
