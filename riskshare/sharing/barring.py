"""Rules of the never-list, applied to what is on the lists already.

A rule is kept first and applied then, so nothing slips through between: who writes entries says under the list's lock
against which never-list they were held, and is refused if a rule was added since; and what was written before the rule
was kept is found here. Single identifiers are found by their keyed hash; for patterns every entry is opened once,
without the lock, and under it only those that changed meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from riskshare.membership.identifier import Identifier, stored
from riskshare.sharing.entry import NONCE_BYTES, DataKey, reseal
from riskshare.sharing.kept import Change, ListRow, Resealed, State, StoredEntry
from riskshare.sharing.never import NeverList, NeverRule
from riskshare.sharing.never_kept import NewRule, seal_rule

REASON = "erroneous"
"""Why what a rule names is withdrawn: it ought not to have been listed."""

Matches = Callable[[ListRow, StoredEntry], bool]
Reseal = Callable[[ListRow, StoredEntry, State], Resealed]


class Rules(Protocol):
    """The store of the never-list."""

    async def add(self, rules: Sequence[NewRule]) -> Sequence[tuple[int, bool]]:
        """Keep rules; give the number of each, and whether it is new."""


class Changes(Protocol):
    """A consistent view of a list's entries."""

    upto: int

    def __aiter__(self) -> AsyncIterator[Sequence[StoredEntry]]:
        """Batches of entries."""


class Lists(Protocol):
    """The store of lists and entries."""

    async def live_handles(self, list_id: int, handles: Sequence[bytes]) -> Sequence[bytes]:
        """Those handles whose entries are on the list, not withdrawn."""

    def listed(self, list_id: int, after: bytes) -> AbstractAsyncContextManager[Changes]:
        """Entries that are not withdrawn and have a handle above `after`."""

    async def withdraw_matching(
        self,
        list_id: int,
        handles: Sequence[bytes],
        change: Change,
        *,
        after: int,
        matches: Matches,
        reseal: Reseal,
    ) -> int:
        """Withdraw, under the list's lock, entries of these handles and those changed after a number that match."""


@dataclass(frozen=True, slots=True)
class Found:
    """Entries of a list that rules name, as of change number `upto`."""

    of: ListRow
    upto: int
    handles: frozenset[bytes] = field(repr=False)


class Barring:
    """Keeps rules of the never-list and applies them to one member's lists."""

    def __init__(
        self,
        *,
        member: str,
        data_key: DataKey,
        rules: Rules,
        lists: Lists,
        random: Callable[[int], bytes],
        new_id: Callable[[], UUID],
    ) -> None:
        self._member = member
        self._data_key = data_key
        self._rules = rules
        self._lists = lists
        self._random = random
        self._new_id = new_id

    async def keep(self, rules: Sequence[NeverRule], author: str) -> Sequence[tuple[int, bool]]:
        """Keep rules; give the number of each, and whether it is new. They hold for all that is written from now on."""
        return await self._rules.add(
            [
                seal_rule(self._data_key, rule, author, row=self._new_id(), nonce=self._random(NONCE_BYTES))
                for rule in rules
            ]
        )

    async def find(
        self, of: ListRow, rules: Sequence[NeverRule], progress: Callable[[int], None] = lambda _: None
    ) -> Found:
        """Find what rules name on a list. `progress` is told the number of entries opened.

        Raises:
            OpenError: an entry does not open: another data key.
            StoreError: PostgreSQL is away.

        """
        exact = [Identifier(rule.type, rule.pattern) for rule in rules if rule.kind == "exact"]
        handles = [self._data_key.handle(one.oprf_input, self._name(of)) for one in exact]
        found = set(await self._lists.live_handles(of.id, handles))
        upto = of.changed
        # The row may be older than what was looked up just now: then too much is looked at again, and nothing missed.
        patterns = NeverList(rule for rule in rules if rule.kind != "exact")
        if len(exact) < len(rules):
            opened = 0
            async with self._lists.listed(of.id, b"") as changes:
                upto = changes.upto
                async for batch in changes:
                    found.update(await asyncio.to_thread(self._matching, of, batch, patterns))
                    opened += len(batch)
                    progress(opened)
        return Found(of, upto, frozenset(found))

    async def withdraw(self, found: Found, rules: Sequence[NeverRule], author: str) -> int:
        """Withdraw what was found, and what came since and is named by these rules; give the number.

        Of many entries some thousand at a time, so that others have their turn; the same call goes on with the rest.

        Raises:
            OpenError: an entry does not open: another data key.
            StoreError: PostgreSQL is away.

        """
        never = NeverList(rules)

        def matches(of: ListRow, entry: StoredEntry) -> bool:
            return never.matching(self._identifier(of, entry)) is not None

        change = Change(author, "never", REASON)
        return await self._lists.withdraw_matching(
            found.of.id, sorted(found.handles), change, after=found.upto, matches=matches, reseal=self._reseal
        )

    def _matching(self, of: ListRow, batch: Sequence[StoredEntry], never: NeverList) -> list[bytes]:
        return [one.handle for one in batch if never.matching(self._identifier(of, one)) is not None]

    def _identifier(self, of: ListRow, entry: StoredEntry) -> Identifier:
        value = self._data_key.open_identifier(entry.sealed, row=entry.id, list_name=self._name(of), state=entry.state)
        return stored(value)

    def _reseal(self, of: ListRow, entry: StoredEntry, state: State) -> Resealed:
        return reseal(self._data_key, self._name(of), entry, state, self._random(NONCE_BYTES))

    def _name(self, of: ListRow) -> str:
        return f"{self._member}/{of.name}"
