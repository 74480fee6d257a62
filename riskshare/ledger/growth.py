"""Whether a member goes on publishing its log (pure).

Who was answered must account for it: its own log must grow. It has stalled when ten minutes after a receipt no
checkpoint signed by it is larger than before; cosignatures, which others may withhold, do not matter. It goes on as
soon as the log grows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

STALL: Final = timedelta(minutes=10)
"""How long after a receipt a member's log may stand still."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What is known of a log's growth: its greatest size, and when it was first seen.

    `waiting_since` is the time of a receipt that no growth has followed yet; `stalled_since` when that was too long.
    """

    size: int
    grown_at: datetime
    waiting_since: datetime | None = None
    stalled_since: datetime | None = None

    @property
    def has_stalled(self) -> bool:
        """Whether its member is answered no more, for now."""
        return self.stalled_since is not None

    def looked(self, size: int | None, last_receipt: datetime | None, now: datetime) -> Growth:
        """After a look at `now`, which found a checkpoint of `size`, or None if there was none to be had.

        `last_receipt` is when that member was last answered. A log is judged only by a look, so that whoever was away
        himself looks before he judges. What was seen by a clock that was ahead counts as seen now.
        """
        if size is not None and size > self.size:
            return Growth(size, now)
        after = self
        if self.grown_at > now:
            after = replace(after, grown_at=now)
        if after.waiting_since is not None and after.waiting_since > now:
            after = replace(after, waiting_since=now)
        if after.waiting_since is None and last_receipt is not None and last_receipt > after.grown_at:
            after = replace(after, waiting_since=last_receipt)
        if after.waiting_since is not None and now - after.waiting_since >= STALL and not after.has_stalled:
            after = replace(after, stalled_since=now)
        return after
