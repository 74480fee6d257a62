"""`server.entries.OwnEntries`: what a program asks of this member's own lists, and what became of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import final

from riskshare.api_entries import EntriesResponse, EntryModel, EntryRequest, EntryResult, UpsertRequest
from riskshare.errors import InputError
from riskshare.membership.identifier import Identifier
from riskshare.peer.opening import new_id, now
from riskshare.peer.showing import shown
from riskshare.server.entries import Decision, Reply
from riskshare.sharing.changing import Decider
from riskshare.sharing.entry import DataKey
from riskshare.sharing.kept import Action, Change, ListRow
from riskshare.sharing.states import SENTENCES, Settled
from riskshare.sharing.upserting import Upserted, Upserter
from riskshare.store.store import Store

_DONE = {"withdraw": "withdrawn", "dispute": "disputed", "restore": "restored"}


@final
class OwnEntries:
    """The entries of one member's own lists. `most_days` gives the longest term of a category, in days."""

    def __init__(self, member: str, data_key: DataKey, store: Store, most_days: Callable[[str], int]) -> None:
        self._name = member
        self._data_key = data_key
        self._store = store
        self._upserter = Upserter(
            member=self._name,
            data_key=self._data_key,
            lists=self._store.lists,
            never=self._store.never,
            most_days=most_days,
            now=now,
            random=secrets.token_bytes,
            new_id=new_id,
        )
        self._decider = Decider(
            member=self._name,
            data_key=self._data_key,
            lists=self._store.lists,
            never=self._store.never,
            most_days=most_days,
            now=now,
            random=secrets.token_bytes,
        )

    async def upsert(self, list_name: str, wanted: UpsertRequest, author: str, reply: Reply | None) -> EntriesResponse:
        """List entries."""
        of = await self._list(list_name)
        change = Change(author, "upsert", "listed by a program")

        def response(outcome: Sequence[Upserted]) -> EntriesResponse:
            return self._response(of, [_upserted(place, one) for place, one in enumerate(outcome)])

        outcome = await self._upserter.upsert(
            of,
            [_cells(entry) for entry in wanted.entries],
            change,
            atomic=wanted.atomic,
            reply=None if reply is None else lambda outcome: reply(response(outcome)),
        )
        return response(outcome)

    async def decide(
        self,
        list_name: str,
        action: Action,
        wanted: Decision,
        *,
        identifiers: Sequence[Identifier],
        author: str,
        reply: Reply | None,
    ) -> EntriesResponse:
        """Withdraw, dispute or restore entries."""
        of = await self._list(list_name)

        def response(outcome: Sequence[Settled]) -> EntriesResponse:
            return self._response(of, [_settled(place, action, one) for place, one in enumerate(_once(outcome))])

        outcome = await self._decider.decide(
            of,
            Change(author, action, wanted.reason),
            identifiers=identifiers,
            case=wanted.case,
            atomic=wanted.atomic,
            reply=None if reply is None else lambda outcome: reply(response(outcome)),
        )
        return response(outcome)

    async def show(self, identifier: Identifier, list_name: str | None) -> Sequence[EntryModel]:
        """What own lists hold of an identifier."""
        lists = await self._store.lists.lists() if list_name is None else [await self._list(list_name)]
        return await shown(self._store, self._data_key, self._name, identifier, lists=lists, now=now())

    async def _list(self, name: str) -> ListRow:
        found = await self._store.lists.list_named(name.removeprefix(f"{self._name}/"))
        if found is None:
            raise InputError("This member has no list of that name: GET /v1/lists names them.", code="not_found")
        return found

    def _response(self, of: ListRow, results: Sequence[EntryResult]) -> EntriesResponse:
        changed = sum(one.done and one.code is None for one in results)
        return EntriesResponse(list=f"{self._name}/{of.name}", changed=changed, results=tuple(results))


def _cells(entry: EntryRequest) -> tuple[str, ...]:
    given = entry.identifier
    return (
        given if isinstance(given, str) else f"{given.type}:{given.value}",
        entry.level,
        entry.reason,
        entry.evidence,
        entry.case,
        entry.appeal,
        "" if entry.days is None else str(entry.days),
        entry.valid_until or "",
    )


def _upserted(place: int, one: Upserted) -> EntryResult:
    state = one.effect if one.effect is not None and one.done else "none"
    return EntryResult(entry=place, done=one.done, state=state, code=one.code, message=one.message)


def _once(outcome: Sequence[Settled]) -> Iterator[Settled]:
    """What became of each entry; one that is named again finds what was asked for done already."""
    seen: set[bytes] = set()
    for one in outcome:
        yield replace(one, code="unchanged") if one.code is None and one.handle in seen else one
        seen.add(one.handle)


def _settled(place: int, action: Action, one: Settled) -> EntryResult:
    state = _DONE[action] if one.done else "none"
    return EntryResult(
        entry=place, done=one.done, state=state, code=one.code, message="" if one.code is None else SENTENCES[one.code]
    )
