"""The routes of the client API for the entries of this member's own lists; all need the scope `publish`.

    POST /v1/lists/{list}/entries             up to 1,000 entries, each answered on its own
    POST /v1/lists/{list}/entries/withdraw    by identifiers, or all of one case reference
    POST /v1/lists/{list}/entries/dispute
    POST /v1/lists/{list}/entries/restore
    POST /v1/entries/show                     one identifier: why it stands, its history, who has it

What can be done is done in one transaction, and the response to an Idempotency-Key is kept in it. With `atomic` one
entry that cannot be done keeps all as they are, and the problem names each such entry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from riskshare.api_entries import (
    DecisionRequest,
    EntriesResponse,
    EntryModel,
    EntryResponse,
    GivenIdentifier,
    ShowRequest,
    UpsertRequest,
    WithdrawRequest,
)
from riskshare.errors import IdentifierError, InputError
from riskshare.membership.identifier import Identifier, make, parse
from riskshare.server.access import ApiKeys
from riskshare.server.idempotency import Claim, Idempotency, KeptReply
from riskshare.server.problems import InvalidRequest, identifier_error, invalid_request
from riskshare.server.requests import canonical, idempotency_key, json_response, model_response, read_json
from riskshare.sharing.kept import Action

LIST: Final = "/v1/lists/{list:[a-z0-9][a-z0-9-]{0,62}}/entries"

Reply = Callable[[EntriesResponse], KeptReply]
Decision = DecisionRequest | WithdrawRequest
_Asked = TypeVar("_Asked", bound=BaseModel)


class OwnEntries(Protocol):
    """The entries of this member's own lists (`peer.entries.OwnEntries`)."""

    async def upsert(self, list_name: str, wanted: UpsertRequest, author: str, reply: Reply | None) -> EntriesResponse:
        """List entries. `reply` makes what is kept with them. Raises InputError `not_found`, `never_changed`."""

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
        """Withdraw, dispute or restore entries. Raises InputError as `Decider.decide`, and `not_found`."""

    async def show(self, identifier: Identifier, list_name: str | None) -> Sequence[EntryModel]:
        """What own lists hold of an identifier. Raises InputError `not_found`: there is no such list."""


class _Entries:
    """The handlers."""

    def __init__(self, entries: OwnEntries, keys: ApiKeys, idempotency: Idempotency) -> None:
        self._entries = entries
        self._keys = keys
        self._idempotency = idempotency

    async def upsert(self, request: web.Request) -> web.Response:
        api_key = self._keys.allow(request, "publish")
        wanted = await _asked(request, UpsertRequest)
        name, author = request.match_info["list"], f"key:{api_key}"

        async def work(reply: Reply | None) -> EntriesResponse:
            response = await self._entries.upsert(name, wanted, author, reply)
            return _all_done(response, "entries") if wanted.atomic else response

        return await self._once(request, api_key, f"upsert {name}", wanted, work)

    async def withdraw(self, request: web.Request) -> web.Response:
        return await self._decide(request, "withdraw", WithdrawRequest)

    async def dispute(self, request: web.Request) -> web.Response:
        return await self._decide(request, "dispute", DecisionRequest)

    async def restore(self, request: web.Request) -> web.Response:
        return await self._decide(request, "restore", DecisionRequest)

    async def _decide(self, request: web.Request, action: Action, model: type[Decision]) -> web.Response:
        api_key = self._keys.allow(request, "publish")
        wanted: Decision = await _asked(request, model)
        if bool(wanted.identifiers) == bool(wanted.case):
            raise InputError("Name identifiers, or a case reference: one of the two.")
        identifiers = _identifiers(wanted.identifiers)
        name, author = request.match_info["list"], f"key:{api_key}"

        async def work(reply: Reply | None) -> EntriesResponse:
            response = await self._entries.decide(
                name, action, wanted, identifiers=identifiers, author=author, reply=reply
            )
            return _all_done(response, "identifiers") if wanted.atomic else response

        return await self._once(request, api_key, f"{action} {name}", wanted, work)

    async def show(self, request: web.Request) -> web.Response:
        self._keys.allow(request, "publish")
        wanted = await _asked(request, ShowRequest)
        [identifier] = _identifiers([wanted.identifier], pointer="#/identifier")
        return model_response(EntryResponse(entries=tuple(await self._entries.show(identifier, wanted.list))))

    async def _once(
        self,
        request: web.Request,
        api_key: str,
        kind: str,
        wanted: BaseModel,
        work: Callable[[Reply | None], Awaitable[EntriesResponse]],
    ) -> web.Response:
        """Do it, or repeat what was answered before under the same Idempotency-Key."""
        key = idempotency_key(request)
        if key is None:
            return model_response(await work(None))
        claim = self._idempotency.claim(api_key, key, canonical(kind, wanted))
        before = await self._idempotency.begin(claim)
        if before is not None:
            return json_response(before)
        try:
            # The list is changed whether or not the client waits: its answer must not be lost on the way.
            return model_response(await asyncio.shield(work(self._kept(claim))))
        except BaseException:
            await self._idempotency.give_up(claim)
            raise

    def _kept(self, claim: Claim) -> Reply:
        return lambda response: self._idempotency.kept(claim, response.model_dump_json().encode())


async def _asked(request: web.Request, model: type[_Asked]) -> _Asked:
    body = await read_json(request)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise invalid_request(error) from None


def _identifiers(given: Sequence[GivenIdentifier], pointer: str = "") -> list[Identifier]:
    """Read identifiers. Raises InvalidRequest: names every bad one by its place."""
    good: list[Identifier] = []
    bad: list[dict[str, Any]] = []
    for position, one in enumerate(given):
        try:
            good.append(
                parse(one, position=position) if isinstance(one, str) else make(one.type, one.value, position=position)
            )
        except IdentifierError as error:
            bad.append(identifier_error(error) | ({"pointer": pointer} if pointer else {}))
    if bad:
        raise InvalidRequest("Some identifiers are not valid; see errors.", bad, code="invalid_identifier")
    return good


def _all_done(response: EntriesResponse, field: str) -> EntriesResponse:
    """Of an atomic request: refuse it if some of it could not be done. Raises InvalidRequest `entries_refused`."""
    bad = [
        {"code": one.code, "detail": one.message, "pointer": f"#/{field}/{one.entry}"}
        for one in response.results
        if one.code not in (None, "unchanged")
    ]
    if bad:
        raise InvalidRequest("Nothing was changed: some entries cannot be; see errors.", bad, code="entries_refused")
    return response


def entry_routes(entries: OwnEntries, keys: ApiKeys, idempotency: Idempotency) -> list[web.RouteDef]:
    """The routes, for the application of the clients' listener."""
    handlers = _Entries(entries, keys, idempotency)
    return [
        web.post(LIST, handlers.upsert),
        web.post(f"{LIST}/withdraw", handlers.withdraw),
        web.post(f"{LIST}/dispute", handlers.dispute),
        web.post(f"{LIST}/restore", handlers.restore),
        web.post("/v1/entries/show", handlers.show),
    ]
