"""A payment system's side: the client API on loopback, with a checker that answers as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network
from typing import Any
from uuid import UUID

import aiohttp

from riskshare.api_entries import EntriesResponse, EntryModel, EntryResult, UpsertRequest
from riskshare.api_imports import ImportModel, RowErrorsResponse
from riskshare.api_models import AuditModel, ListModel, LogModel
from riskshare.config_sections import ApiKeySection, Scope
from riskshare.errors import IdempotencyError, InputError, StoreError
from riskshare.keys import ApiKey, new_api_key
from riskshare.ledger.receipt import KeptReceipt
from riskshare.ledger.sealed import SealedCheck
from riskshare.membership.identifier import Identifier
from riskshare.metrics import Metrics
from riskshare.query.message import new_batch
from riskshare.query.verdict import Question, Verdict
from riskshare.server.access import ApiKeys
from riskshare.server.clients import Limits, clients_application
from riskshare.server.entries import OwnEntries
from riskshare.server.idempotency import Idempotency, KeptReply
from riskshare.server.listen import listen
from tests.simulator.listening import View
from tests.simulator.network import make_network, seed

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)


@dataclass
class Replies:
    """The store of responses, in memory; None stands for a claim whose request is being worked on."""

    rows: dict[tuple[str, bytes], tuple[bytes, bytes | None]] = field(default_factory=dict)
    down: bool = False

    async def begin(self, api_key: str, key_digest: bytes, request_digest: bytes) -> bytes | None:
        if self.down:
            raise StoreError("PostgreSQL is away. Try again.")
        request, response = self.rows.setdefault((api_key, key_digest), (request_digest, b""))
        if request != request_digest:
            raise IdempotencyError("This Idempotency-Key was used for another request.")
        if response is None:
            raise IdempotencyError("Being worked on.", code="idempotency_key_in_use")
        if response == b"":
            self.rows[api_key, key_digest] = (request_digest, None)
            return None
        return response

    async def give_up(self, api_key: str, key_digest: bytes) -> None:
        if self.down:
            raise StoreError("PostgreSQL is away. Try again.")
        self.rows.pop((api_key, key_digest), None)

    def keep(self, row: KeptReply) -> None:
        self.rows[row[0], row[1]] = (row[2], row[3])


@dataclass
class Checks:
    """A checker: everything is clear, once `go` is set."""

    replies: Replies
    questions: list[Question] = field(default_factory=list)
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    running: int = 0
    most: int = 0
    error: Exception | None = None
    go: asyncio.Event = field(default_factory=asyncio.Event)
    began: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.go.set()

    async def check(self, question: Question, reply: Callable[[Verdict], object] | None = None) -> Verdict:
        self.questions.append(question)
        number = len(self.questions)
        self.running += 1
        self.most = max(self.most, self.running)
        self.began.set()
        try:
            await asyncio.sleep(0)
            await self.go.wait()
            if self.error is not None:
                raise self.error
            verdict = Verdict(
                new_batch(1_000 + number, seed("check", number)[:10]),
                "clear",
                complete=True,
                hits=(),
                owners=(),
                receipts=(),
                ms=1.0,
                answered_at=NOW,
            )
            if reply is not None:
                self.replies.keep(reply(verdict))  # type: ignore[arg-type]
            self.finished.set()
            return verdict
        finally:
            self.running -= 1


@dataclass
class Kept:
    """What is kept of former exchanges."""

    receipts: dict[bytes, KeptReceipt] = field(default_factory=dict)
    checks: dict[UUID, SealedCheck] = field(default_factory=dict)
    held: list[ListModel] = field(default_factory=list)
    known: dict[str, LogModel] = field(default_factory=dict)
    asked: list[AuditModel] = field(default_factory=list)

    async def receipt(self, digest: bytes) -> KeptReceipt | None:
        return self.receipts.get(digest)

    async def check(self, check: UUID) -> SealedCheck | None:
        return self.checks.get(check)

    async def lists(self) -> Sequence[ListModel]:
        return self.held

    async def logs(self) -> Mapping[str, LogModel]:
        return self.known

    async def audits(self) -> Sequence[AuditModel]:
        return self.asked


class Entries:
    """Own lists: there is one, `fraud`, and nothing on it."""

    async def upsert(
        self, list_name: str, wanted: UpsertRequest, _author: str, reply: Callable[[EntriesResponse], object] | None
    ) -> EntriesResponse:
        found = self._results(list_name, len(wanted.entries), "listed")
        if reply is not None:
            reply(found)
        return found

    async def decide(self, list_name: str, _action: str, wanted: Any, **_: Any) -> EntriesResponse:
        return self._results(list_name, len(wanted.identifiers), "none")

    async def show(self, _identifier: Identifier, list_name: str | None) -> Sequence[EntryModel]:
        if list_name not in (None, "fraud"):
            raise InputError("There is no such list.", code="not_found")
        return []

    def _results(self, list_name: str, number: int, state: str) -> EntriesResponse:
        if list_name != "fraud":
            raise InputError("There is no such list.", code="not_found")
        results = tuple(EntryResult(entry=place, done=True, state=state) for place in range(number))
        return EntriesResponse(list="icbc/fraud", changed=number, results=results)


class Imports:
    """Imports into own lists: there is one list, `fraud`, and whatever is sent is committed."""

    async def begin(self, list_name: str, _wanted: Any, _format: str, body: Any, _author: str) -> ImportModel:
        [_ async for _ in body]
        return await self.find(list_name, UUID(int=0))

    async def imports(self, list_name: str) -> tuple[ImportModel, ...]:
        return (await self.find(list_name, UUID(int=0)),)

    async def find(self, list_name: str, import_id: UUID) -> ImportModel:
        if list_name != "fraud":
            raise InputError("There is no such list.", code="not_found")
        row = {"import": str(import_id), "list": "icbc/fraud", "state": "committed", "author": "key:x", "mode": "add"}
        row |= {"format": "csv", "began_at": NOW, "changed_at": NOW, "bytes": 1, "rows": 1, "good": 1, "bad": {}}
        return ImportModel.model_validate(row | {"counts": None, "saved_mapping": None, "code": None, "message": ""})

    async def errors(self, list_name: str, import_id: UUID, _after: int, _limit: int) -> RowErrorsResponse:
        await self.find(list_name, import_id)
        return RowErrorsResponse(errors=(), after=None)

    async def cancel(self, list_name: str, import_id: UUID) -> ImportModel:
        return await self.find(list_name, import_id)


@dataclass
class Till:
    """The API as it is served, and a session towards it."""

    url: str
    port: int
    checks: Checks
    replies: Replies
    kept: Kept
    view: View
    metrics: Metrics
    keys: dict[str, ApiKey]
    session: aiohttp.ClientSession
    time: list[datetime]

    def bearer(self, name: str = "check") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[name].secret}"}


def section(key: ApiKey, *scopes: Scope, addresses: tuple[str, ...] = ()) -> ApiKeySection:
    return ApiKeySection(
        id=key.id,
        sha256=key.sha256,
        scopes=scopes,
        expires=NOW + timedelta(days=1),
        addresses=tuple(IPv4Network(address) for address in addresses),
    )


@asynccontextmanager
async def till(
    *, max_identifiers: int = 4, entries: OwnEntries | None = None, answered: Any = None
) -> AsyncIterator[Till]:
    """The client API with keys named check, publish, both, audit, far (bound to an address elsewhere) and near.

    `entries` and `answered`, the store of responses, may be real ones.
    """
    keys = {name: new_api_key(name) for name in ("check", "publish", "both", "audit", "far", "near")}
    sections = [
        section(keys["check"], "check"),
        section(keys["publish"], "publish"),
        section(keys["both"], "check", "publish", "audit"),
        section(keys["audit"], "audit"),
        section(keys["far"], "check", addresses=("192.0.2.0/24",)),
        section(keys["near"], "check", addresses=("192.0.2.0/24", "127.0.0.0/8")),
    ]
    time = [NOW]
    replies, kept, metrics = Replies(), Kept(), Metrics()
    checks = Checks(replies)
    view = View(make_network())
    app = clients_application(
        member="icbc",
        checking=checks,
        lists=kept,
        kept=kept,
        logs=kept,
        audits=kept,
        registries=view,
        keys=ApiKeys(sections, lambda: time[0]),
        idempotency=Idempotency(
            answered or replies, seed("data"), lambda size: seed("nonce", len(replies.rows))[:size]
        ),
        metrics=metrics,
        limits=Limits(deadline_ms=150, identifiers=max_identifiers),
        entries=entries or Entries(),
        imports=Imports(),
    )
    listening = await listen(app, "127.0.0.1", 0, name="clients")
    url = f"http://127.0.0.1:{listening.port}"
    async with aiohttp.ClientSession() as session:
        try:
            yield Till(url, listening.port, checks, replies, kept, view, metrics, keys, session, time)
        finally:
            checks.go.set()
            await listening.close()
