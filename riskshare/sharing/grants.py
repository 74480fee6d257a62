"""Grants: who may know of a list that is not open to all members (pure).

A list is open, or under grants. A grant names a member, purposes and an end, and is in force until it is revoked or its
end has come, whichever is first. Of the grants that a member had for a list, the newest one counts. A member whose
grant is over is told so, by a catalogue that names the list as ended, for as long as it may hold something of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from riskshare.sharing.kept import ListRow

NAMED_AS_ENDED: Final = timedelta(days=32)
"""How long a list is named as ended after a grant: no snapshot (`publish.snapshot_term_h`) and no catalogue is in force
longer than 30 days after the grant's end, and until then a list that vanished would count as hidden (`announced.Gone`).
"""


@dataclass(frozen=True, slots=True)
class Grant:
    """A member's right to a list. No purposes: for all that the registry allows the member. No `until`: until revoked.

    `author` granted it, `revoked_by` took it back ("" while nobody has).
    """

    list_id: int
    member: str
    purposes: frozenset[str]
    until: datetime | None
    granted_at: datetime
    author: str
    revoked_at: datetime | None = None
    revoked_by: str = ""

    @property
    def ends_at(self) -> datetime | None:
        """When it is over, or was; None if no end is known."""
        ends = [end for end in (self.until, self.revoked_at) if end is not None]
        return min(ends, default=None)

    def in_force(self, now: datetime) -> bool:
        """Whether it gives access. One that is revoked does not, whatever the clocks of two machines say."""
        return self.revoked_at is None and (self.until is None or now < self.until)


class Grants:
    """The newest grant of each member for each list of `owner`, who may always read its own."""

    def __init__(self, owner: str, newest: Iterable[Grant] = ()) -> None:
        self._owner = owner
        self._newest: Mapping[tuple[int, str], Grant] = {(each.list_id, each.member): each for each in newest}

    def readable(self, row: ListRow, reader: str, now: datetime) -> bool:
        """Whether `reader` may know of the list."""
        if not row.granted or reader == self._owner:
            return bool(reader)
        found = self._newest.get((row.id, reader))
        return found is not None and found.in_force(now)

    def ended(self, row: ListRow, reader: str, now: datetime) -> bool:
        """Whether `reader` is to be told that the list has ended for it: it had a grant not long ago."""
        found = self._newest.get((row.id, reader))
        if not row.granted or found is None or found.in_force(now):
            return False
        ended_at = found.ends_at
        return ended_at is not None and now < ended_at + NAMED_AS_ENDED

    def allows(self, row: ListRow, reader: str, purpose: str, now: datetime) -> bool:
        """Whether `reader` may ask about the list for a purpose, as far as the owner decides that."""
        if not self.readable(row, reader, now):
            return False
        purposes = self.purposes(row, reader)
        return not purposes or purpose in purposes

    def purposes(self, row: ListRow, reader: str) -> frozenset[str]:
        """The purposes to which a grant is bound; empty: to none."""
        found = self._newest.get((row.id, reader)) if row.granted else None
        return found.purposes if found is not None else frozenset()

    def ends_at(self, row: ListRow, reader: str) -> datetime | None:
        """Until when `reader` may read the list; None if no end is known."""
        found = self._newest.get((row.id, reader)) if row.granted else None
        return None if found is None else found.ends_at
