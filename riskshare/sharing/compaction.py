"""When deltas are merged, and what a merge must not lose (rules only).

A delta says of a label that it was withdrawn, and why; a base says nothing of what is gone. Who looks after a merge
would never learn that an appeal was upheld. So what young deltas withdraw for that reason stands, as a delta of its
own, behind the base that takes their place.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from riskshare.sharing.kept import SegmentRow
from riskshare.sharing.segment import DELTA_ENTRIES
from riskshare.sharing.segment_read import BaseSegment, DeltaSegment
from riskshare.sharing.upheld import REASON
from riskshare.sharing.view import ListView

SMALLEST_BASE: Final = 2**20
"""A base counts as at least so many bytes when deltas are held against it: short lists are not merged all the time."""

APPEALS_SHOWN: Final = timedelta(hours=1)
"""How long at least a snapshot shows that an appeal was upheld. Readers take note of it within seconds, if they are
there, and if their database is."""


def piled_up(segments: Sequence[SegmentRow], deltas: int, share: float) -> bool:
    """Whether there are more than `deltas` deltas, or more bytes of them than that share of the base's."""
    lengths = [segment.ref.file_length for segment in segments if segment.kind == "delta"]
    base = sum(segment.ref.file_length for segment in segments if segment.kind == "base")
    return len(lengths) > deltas or sum(lengths) > share * max(base, SMALLEST_BASE)


def each_once(segments: Sequence[SegmentRow]) -> list[SegmentRow]:
    """Of two that are equal to the byte the last, which decides alone: a snapshot names each file once."""
    return [*{segment.ref: segment for segment in reversed(segments)}.values()][::-1]


def young_deltas(segments: Sequence[SegmentRow], now: datetime) -> list[SegmentRow]:
    """Those whose upheld appeals are still to be shown. What they withdrew for other reasons nobody needs later."""
    return [row for row in segments if row.kind == "delta" and now - row.created_at < APPEALS_SHOWN]


def upheld_still(deltas: Sequence[DeltaSegment], base: BaseSegment, limit: int = DELTA_ENTRIES) -> dict[bytes, str]:
    """The labels that deltas, oldest first, withdraw for an upheld appeal and `base` does not hold, with that reason.

    A base that holds one was made before the appeal, or after it was listed again: a later delta says which. Of more
    labels than `limit`, which no delta can name, those of the newest deltas are given.
    """
    newest = ListView(None, deltas)
    chosen: dict[bytes, str] = {}
    for delta in reversed(deltas):
        found = {
            label: REASON
            for label, reason in delta.withdrawn.items()
            if reason == REASON and newest.withdrawal(label) == REASON and base.find(label) is None
        }
        if len(chosen | found) > limit:
            break
        chosen |= found
    return chosen
