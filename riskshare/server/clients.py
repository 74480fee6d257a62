"""The listener for the member's own payment systems: the client API.

    POST /v1/check            a verdict
    POST /v1/checks           up to 1,000 checks, each answered on its own
    GET  /v1/lists            the lists that this peer consults, and how fresh they are
    GET  /v1/members          the network's members
    GET  /v1/receipts/{id}    a receipt
    GET  /v1/audits           who saw what of this member's records
    GET  /v1/checks/{id}      what is known of a former check without opening its record
    POST /v1/lists/…/entries  entries of own lists (`riskshare.server.entries`)
    POST /v1/lists/…/imports  files for own lists (`riskshare.server.imports`)
    GET  /openapi.json        all of this as OpenAPI 3.1

A check is not cancelled when the client goes away: its receipts and its record are kept all the same.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID

from aiohttp import web
from pydantic import ValidationError
from pydantic_core import from_json

from riskshare.api_models import (
    MAX_CHECKS,
    AuditModel,
    AuditsResponse,
    CheckRequest,
    ListModel,
    ListsResponse,
    LogModel,
)
from riskshare.errors import IdempotencyError, IdentifierError, InputError, RiskshareError, StoreError
from riskshare.ledger.receipt import KeptReceipt
from riskshare.ledger.sealed import SealedCheck
from riskshare.membership.identifier import Identifier, make, parse
from riskshare.metrics import Metrics
from riskshare.query.verdict import Question, Verdict
from riskshare.registry import Registry
from riskshare.server import shown
from riskshare.server.access import ApiKeys
from riskshare.server.entries import OwnEntries, entry_routes
from riskshare.server.idempotency import Claim, Idempotency
from riskshare.server.imports import OwnImports, import_routes
from riskshare.server.observing import Observer
from riskshare.server.openapi import describe
from riskshare.server.problems import InvalidRequest, identifier_error, invalid_request, problem_of
from riskshare.server.requests import JSON, canonical, idempotency_key, json_response, model_response, read_json

MAX_BODY: Final = 1024 * 1024
"""Longest request body, in bytes."""

AT_ONCE: Final = 64
"""So many checks of one request run at once; the deadline of each begins when it does."""

_UUID: Final = "{check:[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}}"


class Checking(Protocol):
    """Answers questions (`query.check.Checker`)."""

    async def check(self, question: Question, reply: Callable[[Verdict], object] | None = None) -> Verdict:
        """Decide; what `reply` makes of the verdict is kept in the same commit. Raises InputError, StoreError."""


class Lists(Protocol):
    """What this peer holds of all lists."""

    async def lists(self) -> Sequence[ListModel]:
        """Every list that a check would consult, and those that it should."""


class Kept(Protocol):
    """The store of what exchanges left (`store.Records`)."""

    async def receipt(self, digest: bytes) -> KeptReceipt | None:
        """The receipt with this id (32 bytes)."""

    async def check(self, check: UUID) -> SealedCheck | None:
        """The sealed record of a check."""


class Logs(Protocol):
    """What this peer knows of the other members' logs."""

    async def logs(self) -> Mapping[str, LogModel]:
        """By member. Raises StoreError."""


class Audits(Protocol):
    """The requests of auditors that this member keeps."""

    async def audits(self) -> Sequence[AuditModel]:
        """The last ones, newest first. Raises StoreError."""


class Registries(Protocol):
    """The registry in force."""

    def current(self) -> Registry:
        """The newest version that was verified."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`deadline_ms` is the default, `identifiers` the most in one check."""

    deadline_ms: int = 150
    identifiers: int = 32


class _Clients:
    """The handlers."""

    def __init__(
        self,
        *,
        member: str,
        checking: Checking,
        lists: Lists,
        kept: Kept,
        logs: Logs,
        audits: Audits,
        registries: Registries,
        keys: ApiKeys,
        idempotency: Idempotency,
        metrics: Metrics,
        limits: Limits,
    ) -> None:
        self._member = member
        self._checking = checking
        self._lists = lists
        self._kept = kept
        self._logs = logs
        self._audits = audits
        self._registries = registries
        self._keys = keys
        self._idempotency = idempotency
        self._metrics = metrics
        self._limits = limits
        self._openapi = json.dumps(describe(limits.identifiers, limits.deadline_ms)).encode()

    async def check(self, request: web.Request) -> web.Response:
        api_key = self._keys.allow(request, "check")
        key = idempotency_key(request)
        body = await read_json(request)
        try:
            asked = CheckRequest.model_validate_json(body)
        except ValidationError as error:
            raise invalid_request(error) from None
        question = self._question(asked)
        claim = None if key is None else self._idempotency.claim(api_key, key, canonical("check", asked))
        return json_response(await self._decide(question, claim))

    async def checks(self, request: web.Request) -> web.Response:
        api_key = self._keys.allow(request, "check")
        key = idempotency_key(request)
        body = await read_json(request)
        items, bare = _items(body)
        canonical = b"checks\n" + json.dumps(items, sort_keys=True).encode()
        width = asyncio.Semaphore(AT_ONCE)

        async def one(place: int, item: object) -> bytes:
            async with width:
                return await self._one(item, lambda: self._claim(api_key, key, canonical, place))

        results = await asyncio.gather(*(one(place, item) for place, item in enumerate(items)), return_exceptions=True)
        for result in results:
            # A key used for another request concerns the request as a whole; it is said when nothing runs any more.
            if isinstance(result, BaseException):
                raise result
        array = b"[" + b",".join(result for result in results if isinstance(result, bytes)) + b"]"
        return json_response(array if bare else b'{"results":' + array + b"}")

    def _claim(self, api_key: str, key: str | None, request: bytes, place: int) -> Claim | None:
        return None if key is None else self._idempotency.claim(api_key, key, request, place)

    async def _one(self, item: object, claim: Callable[[], Claim | None]) -> bytes:
        """One check of many: its verdict, or the problem object that tells why there is none."""
        try:
            try:
                question = self._question(CheckRequest.model_validate(item))
            except ValidationError as error:
                raise invalid_request(error) from None
            return await self._decide(question, claim())
        except IdempotencyError:
            raise
        except RiskshareError as error:
            return json.dumps(problem_of(error).body()).encode()

    async def _decide(self, question: Question, claim: Claim | None) -> bytes:
        """Check, or repeat what was answered before under the same claim: the response's JSON."""
        if claim is None:
            verdict = await self._checking.check(question)
            self._metrics.checked(verdict)
            return shown.verdict(verdict)
        before = await self._idempotency.begin(claim)
        if before is not None:
            return before
        try:
            verdict = await self._checking.check(
                question, lambda verdict: self._idempotency.kept(claim, shown.verdict(verdict))
            )
        except BaseException as error:
            # In doubt, the check may stand a moment later, and the verdict with it: who repeats the request must get
            # that one, and pay for no other. If it does not stand, the claim lapses by itself.
            if not (isinstance(error, asyncio.CancelledError) or (isinstance(error, StoreError) and error.in_doubt)):
                await self._idempotency.give_up(claim)
            raise
        self._metrics.checked(verdict)
        return shown.verdict(verdict)

    def _question(self, asked: CheckRequest) -> Question:
        """Read the identifiers, and see that the registry knows the words.

        Raises:
            InvalidRequest: names every bad identifier by its place.
            InputError: `too_many_identifiers`, `unknown_purpose`, `unknown_category`.

        """
        if len(asked.identifiers) > self._limits.identifiers:
            raise InputError(
                f"A check has at most {self._limits.identifiers} identifiers. Split it.", code="too_many_identifiers"
            )
        registry = self._registries.current()
        if asked.purpose not in registry.purposes:
            raise InputError(f"The purpose is one of: {', '.join(registry.purposes)}.", code="unknown_purpose")
        member = registry.member(self._member)
        if member is not None and asked.purpose not in member.purposes:
            raise InputError("The registry does not allow this member that purpose.", code="purpose_not_allowed")
        categories = frozenset(asked.categories)
        if not categories <= frozenset(registry.categories):
            raise InputError(f"A category is one of: {', '.join(registry.categories)}.", code="unknown_category")
        deadline = self._limits.deadline_ms if asked.deadline_ms is None else asked.deadline_ms
        return Question(_identifiers(asked), asked.purpose, asked.reference, categories, deadline / 1000)

    async def lists(self, request: web.Request) -> web.Response:
        self._keys.allow(request, "check", "publish", "audit", "admin")
        return model_response(ListsResponse(lists=tuple(await self._lists.lists())))

    async def members(self, request: web.Request) -> web.Response:
        self._keys.allow(request, "check", "publish", "audit", "admin")
        return model_response(shown.members(self._registries.current(), await self._logs.logs()))

    async def audits(self, request: web.Request) -> web.Response:
        self._keys.allow(request, "audit")
        return model_response(AuditsResponse(audits=tuple(await self._audits.audits())))

    async def receipt(self, request: web.Request) -> web.Response:
        self._keys.allow(request, "check", "audit")
        found = await self._kept.receipt(bytes.fromhex(request.match_info["receipt"]))
        if found is None:
            raise InputError("This peer keeps no receipt of that id.", code="not_found")
        return model_response(shown.receipt(found))

    async def former_check(self, request: web.Request) -> web.Response:
        self._keys.allow(request, "check", "audit")
        found = await self._kept.check(UUID(request.match_info["check"]))
        if found is None:
            raise InputError("This peer keeps no check of that id.", code="not_found")
        return model_response(shown.check(found))

    async def openapi(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._openapi, headers={"Content-Type": JSON})


def _identifiers(asked: CheckRequest) -> tuple[Identifier, ...]:
    good: list[Identifier] = []
    bad: list[dict[str, Any]] = []
    for position, given in enumerate(asked.identifiers):
        try:
            if isinstance(given, str):
                good.append(parse(given, position=position))
            else:
                good.append(make(given.type, given.value, position=position))
        except IdentifierError as error:
            bad.append(identifier_error(error))
    if bad:
        raise InvalidRequest("Some identifiers are not valid; see errors.", bad, code="invalid_identifier")
    return tuple(good)


def _items(body: bytes) -> tuple[list[object], bool]:
    """The checks of a request of many, unvalidated, and whether they came as a bare array."""
    try:
        value: Any = from_json(body, allow_inf_nan=False)
    except ValueError:
        raise InvalidRequest("The body is not valid JSON in UTF-8.", (), code="malformed") from None
    bare = isinstance(value, list)
    items = value if bare else value.get("checks") if isinstance(value, dict) and value.keys() == {"checks"} else None
    if not isinstance(items, list) or not 0 < len(items) <= MAX_CHECKS:
        raise InputError(f"The body is an object with the field checks: an array of 1 to {MAX_CHECKS} checks.")
    return items, bare


def clients_application(
    *,
    member: str,
    checking: Checking,
    lists: Lists,
    kept: Kept,
    logs: Logs,
    audits: Audits,
    registries: Registries,
    keys: ApiKeys,
    idempotency: Idempotency,
    metrics: Metrics,
    limits: Limits,
    entries: OwnEntries,
    imports: OwnImports,
) -> web.Application:
    """Make the application of the clients' listener; serve it over TLS, or plain on loopback (see `listen`)."""
    clients = _Clients(
        member=member,
        checking=checking,
        lists=lists,
        kept=kept,
        logs=logs,
        audits=audits,
        registries=registries,
        keys=keys,
        idempotency=idempotency,
        metrics=metrics,
        limits=limits,
    )
    app = Observer("clients", metrics).application(client_max_size=MAX_BODY)
    app.add_routes(
        [
            web.post("/v1/check", clients.check),
            web.post("/v1/checks", clients.checks),
            web.get("/v1/lists", clients.lists),
            web.get("/v1/members", clients.members),
            web.get("/v1/audits", clients.audits),
            web.get("/v1/receipts/{receipt:[0-9a-f]{64}}", clients.receipt),
            web.get(f"/v1/checks/{_UUID}", clients.former_check),
            *entry_routes(entries, keys, idempotency),
            *import_routes(imports, keys),
            web.get("/openapi.json", clients.openapi),
        ]
    )
    return app
