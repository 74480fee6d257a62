"""What members had evaluated, added up from the receipts: for the quotas of a day and of an epoch.

Other processes of this member answer as well, and a restart forgives nothing, so the receipts are the account. They are
kept for ever, and there may be many millions a day: what is older than `SETTLED` is added up once, and only what came
since is read again each time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Protocol

from riskshare.peer.opening import now
from riskshare.query.quota import Quotas
from riskshare.sharing.kept import EpochRow

SETTLED: Final = timedelta(minutes=10)
"""A receipt has its time before it is committed, some seconds at most; and the clock of PostgreSQL may be another."""

EARLY: Final = timedelta(days=1)
"""No receipt of an epoch was kept so long before its beginning."""

FIRST_SECONDS: Final = 600.0
"""Most time to add up what is settled: at the start that is all of the day, or of all epochs in service."""

_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


class Records(Protocol):
    """Sums over the receipts that this owner kept in a period. Raise StoreError."""

    async def usage(self, begin: datetime, end: datetime, *, seconds: float = ...) -> Mapping[str, int]:
        """Elements of each querier; read in at most so many seconds."""

    async def epoch_usage(
        self, epochs: Sequence[bytes], begin: datetime, end: datetime, *, seconds: float = ...
    ) -> Mapping[tuple[str, bytes], int]:
        """Elements of each querier under each of these epochs (digests)."""


class Usage:
    """Keeps the quotas of one process true to the receipts of all.

    `epochs` gives this member's epochs; `bounded` whether anybody's quota of an epoch is: only then they are added up.
    """

    def __init__(
        self,
        quotas: Quotas,
        records: Records,
        *,
        epochs: Callable[[], Awaitable[Sequence[EpochRow]]],
        bounded: Callable[[], bool],
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._quotas = quotas
        self._records = records
        self._epochs = epochs
        self._bounded = bounded
        self._clock = clock
        self._day: date | None = None
        self._day_upto = _LONG_AGO
        self._of_day: Counter[str] = Counter()
        self._served: frozenset[bytes] = frozenset()
        self._epochs_upto = _LONG_AGO
        self._of_epochs: Counter[tuple[str, bytes]] = Counter()

    async def follow(self) -> None:
        """Take up what was kept since the last time; the first time, all of today and of the epochs in service.

        Raises:
            StoreError: PostgreSQL is away. The next time goes on from what was added up.

        """
        moment = self._clock()
        await self._follow_day(moment)
        if self._bounded():
            await self._follow_epochs(moment)

    async def _follow_day(self, moment: datetime) -> None:
        begin = datetime.combine(moment.date(), time(), moment.tzinfo)
        end = begin + timedelta(days=1)
        if self._day != moment.date():
            self._day, self._day_upto, self._of_day = moment.date(), begin, Counter()
        settled = max(self._day_upto, moment - SETTLED)
        if settled > self._day_upto:
            self._of_day.update(await self._records.usage(self._day_upto, settled, seconds=FIRST_SECONDS))
            self._day_upto = settled
        recent = await self._records.usage(settled, end)
        self._quotas.load(moment.date(), self._of_day + Counter(recent), {})

    async def _follow_epochs(self, moment: datetime) -> None:
        rows = [row for row in await self._epochs() if moment < row.until]
        served = frozenset(row.digest for row in rows)
        if not served:
            return
        if not served <= self._served:  # one that is new to us may have been answered for by others long since
            self._of_epochs = Counter()
            self._epochs_upto = min(row.not_before for row in rows) - EARLY
        self._served = served
        digests, settled = sorted(served), max(self._epochs_upto, moment - SETTLED)
        if settled > self._epochs_upto:
            older = await self._records.epoch_usage(digests, self._epochs_upto, settled, seconds=FIRST_SECONDS)
            self._of_epochs.update(older)
            self._epochs_upto = settled
        recent = await self._records.epoch_usage(digests, settled, moment + EARLY)
        self._quotas.load(moment.date(), {}, self._of_epochs + Counter(recent))
