"""Whether a log is so far that what is not in it will not come any more (pure).

What a member was part of comes into its log soon, unless it stood still, was cut off, or works off what has piled up.
So an absence counts against it only if its log *reaches* beyond the exchange by the grace, after any silence; and
against a querier only if it was *in contact* with the owner afterwards. For an owner keeps the receipt before its
answer leaves, but a querier that crashed knows of it only after it could ask the owner again.

All times are milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from riskshare.audit.fact import MINUTE, LogRow
from riskshare.audit.rules import HOUR
from riskshare.audit.versions import CLOCKS

GRACE: Final = 24 * HOUR
"""How long after an exchange it may be missing in a log without that meaning anything."""

RETURN: Final = HOUR
"""How long after a silence, or after first contact, a member may need to make up for what it missed."""

CONTACTS: Final = 5
"""So many contacts with an owner, each an hour after the last, leave a querier no excuse for not asking again."""

SUPPRESSED: Final = 10
"""In so many hours, for longer than the grace, a querier asked what its log does not know: these are no crashes.

Hours, not asks: one crash can make it forget all that it had on their way.
"""

TAIL_PART: Final = 20
TAIL_MOST: Final = 4096


def tail_length(shown: int) -> int:
    """How many of the last entries of a log say how far it reaches, of those that are shown."""
    return max(1, min(TAIL_MOST, shown // TAIL_PART))


def reach(tail: Sequence[int]) -> int | None:
    """How far a log reaches by the own times of its last entries: nine in ten of them are from then or later.

    A log that works off what has piled up mixes old entries with new ones, and reaches only as far as the old ones; a
    few receipts that were adopted, and so are old, do not matter. None if there are no times.
    """
    return sorted(tail)[len(tail) // 10] if tail else None


def silences(minutes: Iterable[int], grace: int) -> tuple[tuple[int, int], ...]:
    """Where a log is silent for longer than the grace: begin and end, from the minutes (rising) with own times."""
    return tuple((one + MINUTE, after) for one, after in pairwise(minutes) if after - one - MINUTE > grace)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a log can be held against its member.

    `reached` is its `reach`, None if nothing is shown; `last` its latest own time; `quiet` its `silences`; `anchor` the
    index of an entry that shows how far it reaches; `whole` whether the log holds and shows all its entries.
    """

    log: LogRow
    reached: int | None
    last: int
    quiet: tuple[tuple[int, int], ...]
    anchor: int = -1
    whole: bool = True

    def shows(self, at: int) -> bool:
        """Whether what was exchanged at a time stands in the part that is shown, if it stands in the log."""
        before = self.log.first_cosigned if self.log.start else None
        return at >= self.log.opened and (before is None or at > before + CLOCKS)

    def is_settled(self, at: int, grace: int) -> bool:
        """Whether what was exchanged at a time, and is shown nowhere, should have come into the log."""
        if not self.shows(at) or self.reached is None or self.reached < at + grace:
            return False
        return not any(at >= begin - RETURN and self.last < end + RETURN for begin, end in self.quiet)


def in_contact(contacts: Sequence[int], at: int, grace: int) -> tuple[int, ...] | None:
    """Contacts of a querier with an owner after the grace, each long enough after the last to make up in between.

    `contacts` are the times (rising) of exchanges of the two that stand in the querier's own log. One that crashes
    again and again may not come to it between two of them, so `CONTACTS` are wanted. None: there are not so many.
    """
    taken: list[int] = []
    for time in contacts:
        if time >= (taken[-1] + RETURN if taken else at + grace):
            taken.append(time)
        if len(taken) == CONTACTS:
            return tuple(taken)
    return None


def is_suppressed(unknown: Sequence[int], at: int, grace: int) -> bool:
    """Whether a querier knows nothing of an owner on purpose.

    `unknown` are the times (rising) of exchanges after the grace that its log knows neither as answered nor as
    unanswered: each of the hours in which they were would need a crash of its own, and no answer of the owner's in
    between.
    """
    late = [time for time in unknown if time >= at + grace]
    return len({time // HOUR for time in late}) >= SUPPRESSED and late[-1] - late[0] >= grace
