"""What is seen of a list that is being computed: metrics while it is, and a line in the log now and then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

from riskshare.logs import get_log
from riskshare.metrics import Metrics

LINE_SECONDS: Final = 10.0


@dataclass(slots=True)
class _Begun:
    at: float
    share: float
    rows: int
    told: float


@final
class BuildingWatch:
    """`composing.Watch` of a peer; short computings leave no trace."""

    def __init__(self, metrics: Metrics, monotonic: Callable[[], float]) -> None:
        self._metrics = metrics
        self._monotonic = monotonic
        self._begun: dict[tuple[str, int], _Begun] = {}

    def computed(self, list_name: str, epoch: int, rows: int, share: float) -> None:
        """So many rows of a list, that part of it, are computed."""
        now, place = self._monotonic(), (list_name, epoch)
        begun = self._begun.setdefault(place, _Begun(now, share, rows, now))
        labels = list_name, str(epoch)
        self._metrics.building_rows.labels(*labels).set(rows)
        self._metrics.building_share.labels(*labels).set(share)
        over = share >= 1.0
        if now - begun.told >= LINE_SECONDS or (over and begun.told > begun.at):
            begun.told = now
            self._say(list_name, epoch, rows, share, begun)
        if over:
            del self._begun[place]
            self._metrics.building_rows.remove(*labels)
            self._metrics.building_share.remove(*labels)

    def _say(self, list_name: str, epoch: int, rows: int, share: float, begun: _Begun) -> None:
        """Log rows done, rows a second, and seconds left."""
        taken, gained = self._monotonic() - begun.at, share - begun.share
        get_log().info(
            "list_building",
            list=list_name,
            epoch=epoch,
            rows=rows,
            percent=round(100 * share, 1),
            rate=round((rows - begun.rows) / taken) if taken else 0,
            seconds_left=round(taken * (1 - share) / gained) if gained > 0 else None,
        )
