"""Entries that stand longer than the network allows by now: the registry's longest term of a category was shortened.

Nothing is shortened on paper: the entry keeps its record, and expires when the new longest term since its listing is
over, as any other does when its own is. To look for such entries takes a pass over the list, so it is done when the
longest term changes, when the next of them is due, and once a day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final, Protocol

from riskshare.sharing.kept import ListRow, Resealed, State, StoredEntry

AGAIN: Final = timedelta(days=1)

Reseal = Callable[[ListRow, StoredEntry, State], Resealed]


class Lists(Protocol):
    """The store of lists and entries."""

    async def next_overlong(self, list_id: int, longest: timedelta) -> datetime | None:
        """When the next entry whose term is longer than that has stood so long; None if there is none."""

    async def expire_overlong(self, list_id: int, longest: timedelta, now: datetime, reseal: Reseal) -> int:
        """Withdraw, as expired, those that have stood so long already; return how many."""


class Overlong:
    """Remembers of each list when to look next. `most_days` gives a category's longest term in days."""

    def __init__(self, lists: Lists, most_days: Callable[[str], int], unbounded: int) -> None:
        self._lists = lists
        self._most_days = most_days
        self._unbounded = unbounded
        self._next: dict[int, tuple[int, datetime]] = {}

    async def expire(self, rows: Iterable[ListRow], now: datetime, reseal: Reseal) -> int:
        """Withdraw what stands too long on these lists; return how many. Raises StoreError."""
        done = 0
        for row in rows:
            days = self._most_days(row.category)
            known = self._next.get(row.id)
            if days >= self._unbounded or (known is not None and known[0] == days and now < known[1]):
                continue
            longest = timedelta(days=days)
            due = await self._lists.next_overlong(row.id, longest)
            if due is not None and due <= now:
                done += await self._lists.expire_overlong(row.id, longest, now, reseal)
                due = await self._lists.next_overlong(row.id, longest)
            self._next[row.id] = (days, min(due, now + AGAIN) if due is not None else now + AGAIN)
        return done
