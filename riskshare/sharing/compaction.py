"""When deltas are merged, into what, and what a merge must not lose (rules only).

A new base is fetched whole by every reader. So it is made when the list is short, or the deltas are a good part of it.
Else deltas that are many are merged among themselves: the base stays, and readers fetch one delta. Which of them: the
newest, and older ones as long as each is at most twice as long as what is merged already. So the sizes of those that
are left grow at least threefold from one to the one before it; they stay few, and what is in a long delta is fetched
again only when the list has changed by as much as that.

A delta says of a label that it was withdrawn, and why; a base says nothing of what is gone. Who looks after a merge
would never learn that an appeal was upheld. So what young deltas withdraw for that reason stands, as a delta of its
own, behind the base that takes their place.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from riskshare.sharing.kept import SegmentRow
from riskshare.sharing.segment import DELTA_ENTRIES, DELTA_LIMIT
from riskshare.sharing.segment_read import BaseSegment, DeltaSegment
from riskshare.sharing.upheld import REASON
from riskshare.sharing.view import ListView

SMALLEST_BASE: Final = 2**20
"""A base counts as at least so many bytes when deltas are held against it: short lists are not merged all the time."""

SHORT_BASE: Final = 2**24
"""A base of at most so many bytes is fetched within a second or so: it is replaced when its deltas are many, however
short. A longer one stays then."""

APPEALS_SHOWN: Final = timedelta(hours=1)
"""How long at least a snapshot shows that an appeal was upheld. Readers take note of it within seconds, if they are
there, and if their database is."""


def due(segments: Sequence[SegmentRow], deltas: int, share: float) -> int | None:
    """From which place on segments are merged now: 0, all of them into a base; else into one delta; None: not yet.

    Due is it beyond `deltas` deltas, or beyond that share of the base in bytes. The first segment is the base.
    """
    base, *lengths = [segment.ref.file_length for segment in segments]
    if sum(lengths) > share * max(base, SMALLEST_BASE):
        return 0
    if len(lengths) <= deltas:
        return None
    if base <= SHORT_BASE:
        return 0
    start = max(0, (deltas + 1) // 2 - 1)  # at most half as many as are allowed are left
    merged = sum(lengths[start:])
    while start and lengths[start - 1] <= 2 * merged:
        start -= 1
        merged += lengths[start]
    if merged > DELTA_LIMIT:
        return 0
    return start + 1 if len(lengths) - start > 1 else None


def fitting(words: Sequence[int], start: int, limit: int = DELTA_ENTRIES) -> int:
    """From which place on segments, of so many words each, can be merged into one delta; at least `start`.

    Give 0, a base is due, if no more than half of what should be merged can be: those that are left would be many.
    """
    wanted = len(words) - start
    while sum(words[start:]) > limit:
        start += 1
    return start if len(words) - start > max(1, wanted // 2) else 0


def joined(
    base: BaseSegment, older: Sequence[DeltaSegment], deltas: Sequence[DeltaSegment]
) -> tuple[dict[bytes, bytes], dict[bytes, str]]:
    """What one delta says in place of `deltas`, oldest first, behind `base` and `older` ones: added and withdrawn.

    That is the last word on each label. That one is withdrawn which nothing before them lists needs no word, but if
    an appeal was upheld: readers may not have seen that yet. (The filter of a base, verified when it was opened, never
    denies what is listed.)
    """
    added: dict[bytes, bytes] = {}
    withdrawn: dict[bytes, str] = {}
    for delta in deltas:
        for position, label in enumerate(delta.added):
            withdrawn.pop(label, None)
            added[label] = delta.added.at(position)
        for label, reason in delta.withdrawn.items():
            added.pop(label, None)
            withdrawn[label] = reason
    before = ListView(None, older)

    def may_be_listed(label: bytes) -> bool:
        return before.find(label) is not None or (before.withdrawal(label) is None and base.might_contain(label))

    return added, {label: reason for label, reason in withdrawn.items() if reason == REASON or may_be_listed(label)}


def needs_word(view: ListView, label: bytes, reason: str) -> bool:
    """Whether a delta behind `view` is to tell of a withdrawal: not of what is not listed there.

    An upheld appeal is always told, once: an entry may be long withdrawn for another reason then, and who has reported
    the hit to a customer is to hear of it.
    """
    return view.find(label) is not None or (reason == REASON and view.withdrawal(label) != REASON)


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
