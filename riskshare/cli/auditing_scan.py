"""Going through a member's own sealed checks: on all cores, with a progress bar, a few parts at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from riskshare.audit.sealed_scan import Found, Part, scan
from riskshare.cli.acting import Own
from riskshare.cli.screen import Screen
from riskshare.cores import Processes
from riskshare.errors import EncodingError, StoreError
from riskshare.ledger.sealed import HourKey, open_hour_key
from riskshare.query.check_record import CheckRecord

PART: Final = 1_000
"""Checks of one part: about a megabyte."""

FEW: Final = 20_000
"""Up to so many checks are opened in this process: others would take longer to start."""

Take = Callable[[CheckRecord], None]


@dataclass
class Scanned:
    """How many checks were gone through, and how many of them do not open."""

    checks: int = 0
    closed: int = 0


class Scan:
    """Goes through the checks of a period, and gives those in whose record some bytes stand to `take`, in any order."""

    def __init__(self, own: Own, needle: bytes, period: tuple[datetime, datetime]) -> None:
        self._own = own
        self._needle = needle
        self._period = period
        self._hours: dict[UUID, HourKey] = {}

    async def run(self, take: Take, screen: Screen) -> Scanned:
        """Do it. Raises StoreError; OpenError: the hour keys are sealed to another key than the member's."""
        total = await self._own.store.records.count_checks(*self._period)
        columns = (TextColumn("Opening checks"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with Progress(*columns, console=screen.err, transient=True, disable=not screen.err.is_terminal) as bar:
            task = bar.add_task("", total=total)
            work = partial(self._work, asyncio.get_running_loop(), total, take, lambda done: bar.advance(task, done))
            return await asyncio.to_thread(work)

    def _work(
        self, loop: asyncio.AbstractEventLoop, total: int, take: Take, progress: Callable[[int], None]
    ) -> Scanned:
        """In a thread: feeds the processes, and reads what they find."""
        done = Scanned()
        parts = self._parts(loop)
        if total <= FEW:
            self._gather(map(scan, parts), done, take, progress)
            return done
        with Processes() as processes:
            self._gather(processes.map(scan, parts, ordered=False), done, take, progress)
        return done

    @staticmethod
    def _gather(found: Iterator[Found], done: Scanned, take: Take, progress: Callable[[int], None]) -> None:
        for each in found:
            done.checks += each.checks
            done.closed += each.closed
            for record in each.records:
                try:
                    take(CheckRecord.from_bytes(record))
                except EncodingError:
                    done.closed += 1  # it opens, and is no record
            progress(each.checks)

    def _parts(self, loop: asyncio.AbstractEventLoop) -> Iterator[Part]:
        after: UUID | None = None
        while True:
            part = asyncio.run_coroutine_threadsafe(self._part(after), loop).result()
            if part is None:
                return
            after = part.checks[-1][0]
            yield part

    async def _part(self, after: UUID | None) -> Part | None:
        rows = await self._own.store.records.checks_between(*self._period, after, PART)
        if not rows:
            return None
        wanted = {hour for _, hour, _ in rows}
        self._hours = {hour: key for hour, key in self._hours.items() if hour in wanted}
        for hour in wanted - self._hours.keys():
            self._hours[hour] = await self._hour(hour)
        hours = tuple((key.id, key.hour, key.export()) for key in self._hours.values())
        return Part(self._own.member.name, self._needle, hours, tuple(rows))

    async def _hour(self, hour: UUID) -> HourKey:
        row = await self._own.store.records.hour_key(hour)
        if row is None:
            raise StoreError("The database lacks the hour key of a check that it keeps.", code="store_refused")
        member = self._own.member
        return open_hour_key(row[2], member.keys.sealing, member=member.name, id=row[0], hour=row[1])
