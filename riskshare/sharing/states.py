"""What may become of an entry by a decision: withdrawn, disputed, restored. Rules only.

active ----------> disputed      dispute; it still answers, marked as disputed
active, disputed -> withdrawn    withdraw, or its term is over
disputed --------> active        restore
withdrawn -------> active        restore, if its term is not over and no rule of the never-list names it
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

from riskshare.sharing.kept import State, StoredEntry

Refusal = Literal["unchanged", "not_listed", "term_over", "never_listed"]

UPHELD: Final = "appeal_upheld"

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
    def upheld(self) -> bool:
        """Whether an appeal of the person was upheld before."""
        return self.reason == UPHELD


def refusal(entry: StoredEntry, state: State, now: datetime, longest: timedelta) -> Refusal | None:
    """Why an entry cannot be given that state now, None if it can. `longest` is the longest term of its category."""
    if entry.state == "withdrawn" and state != "active":
        return "not_listed"
    if entry.state == state:
        return "unchanged"
    if state == "active" and (entry.valid_until <= now or entry.valid_until - entry.valid_from > longest):
        return "term_over"
    return None
