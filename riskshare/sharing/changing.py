"""Decisions about entries: withdraw, dispute, restore, by identifier or by case reference.

Everything is decided under the list's lock: which entries there are, whether the rules of `states` let them change,
whether the never-list names one that is to be restored. Other members see the change with the next delta.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from riskshare.errors import InputError
from riskshare.membership.identifier import Identifier, stored
from riskshare.sharing.entry import NONCE_BYTES, DataKey, reseal
from riskshare.sharing.kept import Change, ListRow, Resealed, State, StoredEntry
from riskshare.sharing.never import NeverList
from riskshare.sharing.rows import MAX_DAYS
from riskshare.sharing.states import Refusal, Settled, refusal

Reseal = Callable[[ListRow, StoredEntry, State], Resealed]
Refuse = Callable[[ListRow, StoredEntry, State], Refusal | None]

ACTIONS: Final[Mapping[str, State]] = {"withdraw": "withdrawn", "dispute": "disputed", "restore": "active"}
"""The state that an action leads to."""


class Lists(Protocol):
    """The store of lists and entries."""

    async def settle(
        self,
        list_id: int,
        handles: Sequence[bytes],
        case_handle: bytes | None,
        state: State,
        change: Change,
        *,
        refuse: Refuse,
        reseal: Reseal,
        never_upto: int | None,
        atomic: bool,
        reply: Callable[[Sequence[Settled]], Any] | None = None,
    ) -> Sequence[Settled]:
        """Give entries that state, in one transaction: those of the handles, or those of a case.

        Those that `refuse` gives a code for stay as they are, and so do all of them then with `atomic`. `never_upto` is
        that of the never-list asked by `refuse`, None if it asks none. What `reply` makes of it is kept in the same
        transaction. Raises InputError `never_changed`.
        """


class Never(Protocol):
    """The store of the never-list."""

    async def never_list(self, key: DataKey) -> NeverList:
        """All rules."""


class Decider:
    """Decides about entries of one member's lists. `most_days` gives the longest term of a category, in days."""

    def __init__(
        self,
        *,
        member: str,
        data_key: DataKey,
        lists: Lists,
        never: Never,
        most_days: Callable[[str], int] = lambda _: MAX_DAYS,
        now: Callable[[], datetime],
        random: Callable[[int], bytes],
    ) -> None:
        self._member = member
        self._data_key = data_key
        self._lists = lists
        self._never = never
        self._most_days = most_days
        self._now = now
        self._random = random

    async def decide(
        self,
        of: ListRow,
        change: Change,
        *,
        identifiers: Sequence[Identifier] = (),
        case: str = "",
        atomic: bool = False,
        reply: Callable[[Sequence[Settled]], Any] | None = None,
    ) -> Sequence[Settled]:
        """Withdraw, dispute or restore, as the action of `change` says; give what became of each.

        In the order of the identifiers, one result each; or of all entries with that case reference, in some order.
        With `atomic`, one that cannot be changed keeps all as they are. What `reply` makes of the results is kept in
        the same transaction; where `atomic` kept all as they are, it is not. A case of some thousand entries is changed
        in several transactions, unless `atomic`, so that others have their turn; the last keeps the reply.

        Raises:
            InputError: `reason_missing`; `unknown_case`, no entry of the list has that reference; `never_changed`.
            StoreError: PostgreSQL is away; nothing was changed, or of a long case the rest: the same call goes on.

        """
        if not change.reason:
            raise InputError("Every change of an entry has a reason: say why.", code="reason_missing")
        name = f"{self._member}/{of.name}"
        state = ACTIONS[change.action]
        never = await self._never.never_list(self._data_key) if state == "active" else None
        handles = [self._data_key.handle(one.oprf_input, name) for one in identifiers]

        def in_order(settled: Sequence[Settled]) -> Sequence[Settled]:
            found = {one.handle: one for one in settled}
            if case:
                return settled
            return [found.get(handle) or Settled(handle, None, None, "not_listed") for handle in handles]

        settled = await self._lists.settle(
            of.id,
            handles,
            self._data_key.case_handle(case, name) if case else None,
            state,
            change,
            refuse=self._refusing(change.reason, never, of_case=bool(case)),
            reseal=self._reseal,
            never_upto=None if never is None else never.upto,
            atomic=atomic,
            reply=None if reply is None else lambda settled: reply(in_order(settled)),
        )
        if case and not settled:
            raise InputError("No entry of this list has that case reference.", code="unknown_case")
        return in_order(settled)

    def _refusing(self, reason: str, never: NeverList | None, *, of_case: bool) -> Refuse:
        now = self._now()

        def refuse(of: ListRow, entry: StoredEntry, state: State) -> Refusal | None:
            code = refusal(entry, state, reason, now, timedelta(days=self._most_days(of.category)))
            if code == "not_listed" and of_case and entry.state == state:
                code = "unchanged"  # nobody said that this one is on the list
            if code is None and never is not None and never.matching(self._identifier(of, entry)) is not None:
                code = "never_listed"
            return code

        return refuse

    def _identifier(self, of: ListRow, entry: StoredEntry) -> Identifier:
        value = self._data_key.open_identifier(
            entry.sealed, row=entry.id, list_name=f"{self._member}/{of.name}", state=entry.state
        )
        return stored(value)

    def _reseal(self, of: ListRow, entry: StoredEntry, state: State) -> Resealed:
        return reseal(self._data_key, f"{self._member}/{of.name}", entry, state, self._random(NONCE_BYTES))
