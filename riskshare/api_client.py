"""The client for an institution's programs: `riskshare.Client`.

    async with Client("https://127.0.0.1:9443", api_key) as client:
        verdict = await client.check(["phone:+8613800138000"], purpose="payment")

A request that got no answer is sent again, with the same Idempotency-Key, so that it is answered and paid
once. `incomplete` is a verdict, not an error: it never means clear.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self, TypeVar
from urllib.parse import quote, urlencode
from uuid import uuid4

import aiohttp
from pydantic import BaseModel, ValidationError
from yarl import URL

from riskshare.api_entries import EntriesResponse, EntryModel, EntryRequest, EntryResponse
from riskshare.api_imports import (
    MAX_ERRORS,
    MEDIA_TYPES,
    ImportModel,
    ImportsResponse,
    RowErrorModel,
    RowErrorsResponse,
)
from riskshare.api_models import (
    CheckRequest,
    CheckResponse,
    ChecksResponse,
    ListModel,
    ListsResponse,
    ProblemModel,
)
from riskshare.dialled import dial
from riskshare.errors import (
    AccessError,
    IdempotencyError,
    InputError,
    PeerDown,
    PeerGarbage,
    PeerLate,
    RiskshareError,
    StoreError,
)
from riskshare.sharing.reading import HEAD_BYTES, format_of

MAX_RESPONSE = 16 * 1024 * 1024
"""Longest response that is read, in bytes."""

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0
PART_BYTES: Final = 1 << 20
UPLOAD_SECONDS: Final = 600.0

_OWN = "own peer"
_AGAIN = frozenset({409, 429, 502, 503, 504})
_UNDER_WAY = frozenset({"reading", "read"})
T = TypeVar("T")
_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True, repr=False)
class _Request:
    """One request, with a body of `json` or of `parts`, made anew each time; the answer may take so many `seconds`.

    What can be sent `once` only is not sent again where there was no answer.
    """

    method: str
    path: str
    seconds: float
    json: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    parts: Callable[[], AsyncIterable[bytes]] | None = None
    once: bool = False


class Client:
    """Asks one's own peer. Make it in a running event loop; `close` it at the end.

    `timeout` is in seconds and counts on top of a check's deadline, for each of at most `attempts`. `tls` is for a
    peer whose certificate no public authority signed.

    Every method raises:
        AccessError: the API key.
        InputError: the request; its sentence names each defect.
        IdempotencyError: the key was used for another request.
        StoreError: the peer could not keep the record, so there is no verdict.
        PeerDown, PeerLate, PeerGarbage: the peer cannot be reached, is slow, or answers something else.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        timeout: float = 5.0,
        attempts: int = 3,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._attempts = attempts
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=True if tls is None else tls, limit=0, socket_factory=dial),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Authorization": f"Bearer {api_key}", "Accept": "application/json"},
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def check(
        self,
        identifiers: Iterable[str | tuple[str, str]],
        *,
        purpose: str,
        reference: str = "",
        categories: Iterable[str] = (),
        deadline_ms: int | None = None,
        idempotency_key: str | None = None,
    ) -> CheckResponse:
        """Ask whether any of the identifiers is listed; each is `type:value`, or a tuple of both."""
        body = question(
            identifiers, purpose=purpose, reference=reference, categories=categories, deadline_ms=deadline_ms
        )
        return _read(
            CheckResponse, await self._post("/v1/check", body, _seconds([body]), idempotency_key or str(uuid4()))
        )

    async def checks(
        self, questions: Sequence[CheckRequest | Mapping[str, Any]], *, idempotency_key: str | None = None
    ) -> tuple[CheckResponse | ProblemModel, ...]:
        """Make up to 1,000 checks; each is answered on its own, by a verdict or by the problem that prevented one.

        A question is what `question` makes, or a `CheckRequest`.
        """
        bodies = [
            item.model_dump(mode="json", exclude_none=True) if isinstance(item, CheckRequest) else dict(item)
            for item in questions
        ]
        data = await self._post(
            "/v1/checks", {"checks": bodies}, _seconds(bodies) * len(bodies), idempotency_key or str(uuid4())
        )
        results = _read(ChecksResponse, data).results
        if len(results) != len(bodies):
            raise PeerGarbage(_OWN, "The peer answered another number of checks than it was asked.")
        return results

    async def lists(self) -> tuple[ListModel, ...]:
        """The lists that a check consults, and how fresh they are."""
        return _read(ListsResponse, await self._get("/v1/lists")).lists

    async def list_entries(
        self,
        list_name: str,
        entries: Iterable[EntryRequest | Mapping[str, Any]],
        *,
        atomic: bool = False,
        idempotency_key: str | None = None,
    ) -> EntriesResponse:
        """Put up to 1,000 entries on one of this member's own lists; what became of each."""
        given = [_plain(entry) for entry in entries]
        return await self._change(list_name, "", {"entries": given, "atomic": atomic}, idempotency_key)

    async def withdraw(self, list_name: str, identifiers: Iterable[str] = (), **which: Any) -> EntriesResponse:
        """Take entries off an own list: identifiers, or all of one `case`; `reason` is a word of the table.

        `atomic` changes nothing if one of them cannot be; `idempotency_key` is drawn if you give none.
        """
        return await self._decide(list_name, "/withdraw", identifiers, which)

    async def dispute(self, list_name: str, identifiers: Iterable[str] = (), **which: Any) -> EntriesResponse:
        """Mark entries of an own list as disputed, as `withdraw`; `reason` is free."""
        return await self._decide(list_name, "/dispute", identifiers, which)

    async def restore(self, list_name: str, identifiers: Iterable[str] = (), **which: Any) -> EntriesResponse:
        """End a dispute or undo a withdrawal, as `withdraw`; `reason` is free."""
        return await self._decide(list_name, "/restore", identifiers, which)

    async def show(self, identifier: str, list_name: str | None = None) -> tuple[EntryModel, ...]:
        """Why an identifier stands on own lists, its history, and which members hold it."""
        body = {"identifier": identifier, "list": list_name}
        asked = _Request("POST", "/v1/entries/show", self._timeout, body)
        return _read(EntryResponse, await self._send(asked)).entries

    async def begin_import(
        self,
        list_name: str,
        file: Path | bytes | AsyncIterable[bytes],
        *,
        seconds: float = UPLOAD_SECONDS,
        **wanted: Any,
    ) -> ImportModel:
        """Send a file to be imported into an own list; the answer says how the job began, and its `id`.

        `wanted` are the parameters of `api_imports.ImportRequest`, such as `type="phone"`, `days=90`, `dry_run=True`,
        `map={"level": "Risk"}`. The format is told as by the command; a stream is CSV unless `format` says otherwise.
        A file or bytes are sent again where there was no answer, and go on where they were broken off; a stream can be
        sent once. The upload may take so many `seconds`.

        Raises InputError, besides what every method does, for a file that cannot be read as a whole; OSError.
        """
        given = str(wanted.pop("format", ""))
        once = not isinstance(file, Path | bytes)
        head, name = (b"", "") if isinstance(file, AsyncIterable) else await asyncio.to_thread(_head, file)
        headers = {"Content-Type": MEDIA_TYPES[format_of(head, name, given)]}
        path = _path(list_name, f"imports?{urlencode(_query(wanted))}")
        sent = _Request("POST", path, seconds, headers=headers, parts=partial(_parts, file), once=once)
        return _read(ImportModel, await self._send(sent))

    async def imports(self, list_name: str) -> tuple[ImportModel, ...]:
        """The last imports into an own list, newest first."""
        path = _path(list_name, "imports")
        return _read(ImportsResponse, await self._get(path)).imports

    async def find_import(self, list_name: str, import_id: str) -> ImportModel:
        """How an import stands."""
        return await self._import("GET", list_name, import_id)

    async def cancel_import(self, list_name: str, import_id: str) -> ImportModel:
        """End an import that is not over: nothing of it is kept."""
        return await self._import("DELETE", list_name, import_id)

    async def wait_for_import(self, list_name: str, import_id: str) -> ImportModel:
        """Ask until an import is under way no more; `state` and `message` say what became of it.

        It may take long: use `asyncio.timeout` for a bound. The job goes on when nobody waits.
        """
        pause = FIRST_PAUSE
        while (found := await self.find_import(list_name, import_id)).state in _UNDER_WAY:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        return found

    async def import_errors(self, list_name: str, import_id: str, *, after: int = 0) -> AsyncIterator[RowErrorModel]:
        """The bad rows of an import behind a line, by line. Their text is in none of them."""
        following: int | None = after
        while following is not None:
            query = urlencode({"after": following, "limit": MAX_ERRORS})
            path = _path(list_name, f"imports/{quote(import_id, safe='')}/errors?{query}")
            page = _read(RowErrorsResponse, await self._get(path))
            for error in page.errors:
                yield error
            following = page.after

    async def _import(self, method: str, list_name: str, import_id: str) -> ImportModel:
        path = _path(list_name, f"imports/{quote(import_id, safe='')}")
        return _read(ImportModel, await self._send(_Request(method, path, self._timeout)))

    async def _decide(
        self, list_name: str, action: str, identifiers: Iterable[str], which: dict[str, Any]
    ) -> EntriesResponse:
        key = which.pop("idempotency_key", None)
        return await self._change(list_name, action, {"identifiers": _several(identifiers), **which}, key)

    async def _change(self, list_name: str, action: str, body: Mapping[str, Any], key: str | None) -> EntriesResponse:
        path = _path(list_name, f"entries{action}")
        return _read(EntriesResponse, await self._post(path, body, self._timeout, key or str(uuid4())))

    async def _get(self, path: str) -> bytes:
        return await self._send(_Request("GET", path, self._timeout))

    async def _post(self, path: str, body: Mapping[str, Any], seconds: float, key: str) -> bytes:
        return await self._send(_Request("POST", path, self._timeout + seconds, body, {"Idempotency-Key": f'"{key}"'}))

    async def _send(self, request: _Request) -> bytes:
        """Send until there is an answer, at most so many times."""
        pause = FIRST_PAUSE
        most = 1 if request.once else self._attempts
        for attempt in range(1, most + 1):
            try:
                status, data, after = await self._once(request)
            except (PeerDown, PeerLate, PeerGarbage) as error:
                if attempt == most or error.code == "peer_garbage":
                    raise
            else:
                if status in (200, 202):
                    return data
                if attempt == most or status not in _AGAIN:
                    raise _refusal(status, data)
                pause = max(pause, min(after, LONGEST_PAUSE))
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        raise ValueError("at least one attempt is needed")

    async def _once(self, request: _Request) -> tuple[int, bytes, float]:
        try:
            async with self._session.request(
                request.method,
                URL(self._url + request.path, encoded=True),
                json=request.json,
                data=request.parts() if request.parts is not None else None,
                headers=request.headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=request.seconds),
            ) as response:
                chunks: list[bytes] = []
                size = 0
                async for chunk in response.content.iter_any():
                    chunks.append(chunk)
                    size += len(chunk)
                    if size > MAX_RESPONSE:
                        raise PeerGarbage(_OWN, "The peer's answer is too long.")
                after = response.headers.get("Retry-After", "")
                return response.status, b"".join(chunks), float(after) if after.isdecimal() else 0.0
        except aiohttp.ClientConnectorError as error:
            raise PeerDown(_OWN, "The peer cannot be reached. Is it running, and is the URL right?") from error
        except TimeoutError as error:
            raise PeerLate(_OWN, "The peer did not answer in time.") from error
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError) as error:
            raise PeerGarbage(_OWN, "The connection to the peer broke.", code="peer_disconnected") from error
        except aiohttp.ClientError as error:
            raise PeerGarbage(_OWN, "The peer did not answer in HTTP as it should be.") from error


def question(
    identifiers: Iterable[str | tuple[str, str]],
    *,
    purpose: str,
    reference: str = "",
    categories: Iterable[str] = (),
    deadline_ms: int | None = None,
) -> dict[str, Any]:
    """One check as JSON; the peer validates it. Raises TypeError: one text in place of several."""
    body: dict[str, Any] = {
        "identifiers": [
            item if isinstance(item, str) else {"type": item[0], "value": item[1]} for item in _several(identifiers)
        ],
        "purpose": purpose,
        "reference": reference,
        "categories": _several(categories),
    }
    if deadline_ms is not None:
        body["deadline_ms"] = deadline_ms
    return body


def _several(texts: Iterable[T]) -> list[T]:
    """All of them. Raises TypeError: they are one text, which would be taken apart into letters."""
    if isinstance(texts, str):
        raise TypeError("give a list of texts, also of a single one")
    return list(texts)


def _plain(entry: EntryRequest | Mapping[str, Any]) -> dict[str, Any]:
    return entry.model_dump(mode="json", exclude_none=True) if isinstance(entry, EntryRequest) else dict(entry)


def _path(list_name: str, what: str) -> str:
    """The path of something of a list, whatever the program has taken for the list's name."""
    return f"/v1/lists/{quote(list_name, safe='')}/{what}"


def _head(file: Path | bytes) -> tuple[bytes, str]:
    """The first bytes of a file, and its name. Raises OSError."""
    if isinstance(file, bytes):
        return file[:HEAD_BYTES], ""
    with file.open("rb") as opened:
        return opened.read(HEAD_BYTES), file.name


async def _parts(file: Path | bytes | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    if isinstance(file, AsyncIterable):
        async for part in file:
            yield part
        return
    opened: BinaryIO = BytesIO(file) if isinstance(file, bytes) else await asyncio.to_thread(file.open, "rb")
    with closing(opened):
        while part := await asyncio.to_thread(opened.read, PART_BYTES):
            yield part


def _query(wanted: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Parameters in the words of a query."""
    found = []
    for name, value in wanted.items():
        if name == "map":
            pairs = value.items() if isinstance(value, Mapping) else (text.split("=", 1) for text in value)
            found += [(name, "=".join(pair)) for pair in pairs]
        else:
            found.append((name, str(value).lower() if isinstance(value, bool) else str(value)))
    return found


def _seconds(bodies: Iterable[Mapping[str, Any]]) -> float:
    return max((body.get("deadline_ms") or 0 for body in bodies), default=0) / 1000


def _read(model: type[_Model], data: bytes) -> _Model:
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise PeerGarbage(_OWN, "The peer's answer is not of the form that this version knows.") from error


def _refusal(status: int, data: bytes) -> RiskshareError:
    try:
        problem = ProblemModel.model_validate_json(data)
    except ValidationError:
        return PeerGarbage(_OWN, f"The peer refused with status {status} and no reason.")
    message = problem.sentence
    if status in (401, 403):
        return AccessError(message, code=problem.code)
    if problem.code.startswith("idempotency_key"):
        return IdempotencyError(message, code=problem.code)
    if status < 500:
        return InputError(message, code=problem.code)
    return StoreError(message, code=problem.code) if status == 503 else RiskshareError(message, code=problem.code)
