"""What was done to a list, day by day. Rules only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from riskshare.sharing.kept import DayRow


@dataclass(slots=True)
class Day:
    """One day (UTC) of a list, in entries. `withdrawn` is by reason; `size` is what stood at its end."""

    day: date
    added: int = 0
    replaced: int = 0
    relisted: int = 0
    withdrawn: dict[str, int] = field(default_factory=dict)
    disputed: int = 0
    restored: int = 0
    size: int = 0

    @property
    def gone(self) -> int:
        """Entries withdrawn, for whatever reason."""
        return sum(self.withdrawn.values())

    def to_json(self) -> Mapping[str, object]:
        """For a program."""
        return {
            "day": f"{self.day:%Y-%m-%d}",
            "added": self.added,
            "replaced": self.replaced,
            "relisted": self.relisted,
            "withdrawn": dict(sorted(self.withdrawn.items())),
            "disputed": self.disputed,
            "restored": self.restored,
            "size": self.size,
        }


def by_day(size: int, rows: Iterable[DayRow], first: date, last: date) -> Sequence[Day]:
    """Every day from the first to the last, those without changes too. `size` is that before the first."""
    days = {first + timedelta(days=n): Day(first + timedelta(days=n)) for n in range((last - first).days + 1)}
    for row in rows:
        # A change may be noted a moment after `last` was read from another clock.
        day = days.setdefault(row.day, Day(row.day))
        counts = row.counts
        day.added += counts.added
        day.replaced += counts.replaced
        day.relisted += counts.relisted
        day.disputed += counts.disputed
        day.restored += counts.restored
        if row.why is not None:
            day.withdrawn[row.why] = day.withdrawn.get(row.why, 0) + counts.withdrawn
    found = [days[day] for day in sorted(days)]
    for day in found:
        size += day.added + day.relisted - day.gone
        day.size = size
    return found
