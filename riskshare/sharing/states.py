"""What may become of an entry by a decision: withdrawn, disputed, restored. Rules only.

active ----------> disputed      dispute; it still answers, marked as disputed
active, disputed -> withdrawn    withdraw, or its term is over
disputed --------> active        restore
withdrawn -------> active        restore, if its term is not over and no rule of the never-list names it
withdrawn -------> withdrawn     withdraw because an appeal was upheld: from then on no file lists it again
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

from riskshare.sharing.kept import State, StoredEntry

Refusal = Literal["unchanged", "not_listed", "term_over", "never_listed"]

Effect = Literal["listed", "replaced", "relisted", "unchanged", "disputed", "barred"]
"""What becomes of an entry that is to be listed, by what stands there."""

UPHELD: Final = "appeal_upheld"

WITHDRAWALS: Final = ("withdrawn", "corrected", "erroneous", "appeal_upheld")
"""Why people withdraw entries; the segment's table has the reasons of other withdrawals besides."""

PATIENT: Final = frozenset({"replaced", "expired"})
"""Reasons of withdrawals that wait for a larger change: readers heed the term themselves, and of a file that is the
whole list nobody is shown a part."""

SENTENCES: Final[dict[Refusal, str]] = {
    "unchanged": "It is in this state already.",
    "not_listed": "It is not on the list.",
    "term_over": "Its term is over: import it anew, if there is reason to.",
    "never_listed": "It is on the never-list; riskshare never list shows the rule.",
}


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of one entry. `code` is None if it was changed; `was` and `reason` are what it was before."""

    handle: bytes = field(repr=False)
    was: State | None
    reason: str | None
    code: Refusal | None

    @property
    def done(self) -> bool:
        """Whether the entry is now as was asked for."""
        return self.code in (None, "unchanged")

    @property
    def upheld(self) -> bool:
        """Whether an appeal of the person was upheld before."""
        return self.reason == UPHELD


def refusal(entry: StoredEntry, state: State, reason: str, now: datetime, longest: timedelta) -> Refusal | None:
    """Why an entry cannot be given that state for that reason now, None if it can.

    `longest` is the longest term of its category.
    """
    if entry.state == "withdrawn" and state != "active":
        newly_upheld = state == "withdrawn" and reason == UPHELD != entry.reason
        return None if newly_upheld else "not_listed"
    if entry.state == state:
        return "unchanged"
    return "term_over" if state == "active" and _is_over(entry, now, longest) else None


def _is_over(entry: StoredEntry, now: datetime, longest: timedelta) -> bool:
    """Whether an entry cannot stand any more. A disputed one does: until it has stood for the longest term, at most."""
    if entry.state == "disputed":
        return min(entry.valid_until, entry.valid_from + longest) <= now
    return entry.valid_until <= now or entry.valid_until - entry.valid_from > longest


def effect(state: State | None, reason: str | None, *, same: bool) -> Effect:
    """What becomes of an entry that is to be listed where one of that state stands, or none.

    `reason` is why that one was withdrawn, `same` whether it says the same.
    """
    if state is None:
        return "listed"
    if state == "disputed":
        return "disputed"
    if state == "withdrawn":
        return "barred" if reason == UPHELD else "relisted"
    return "unchanged" if same else "replaced"
