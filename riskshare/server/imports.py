"""The routes of the client API for importing files into this member's own lists; all need the scope `publish`.

    POST   /v1/lists/{list}/imports                the file is the body; the answer comes when the job has begun
    GET    /v1/lists/{list}/imports                the last 50
    GET    /v1/lists/{list}/imports/{id}           how it stands
    GET    /v1/lists/{list}/imports/{id}/errors    its bad rows, page by page
    DELETE /v1/lists/{list}/imports/{id}           end one that is not over

A body may be long, so it is passed on as it comes, and kept nowhere here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Final, Protocol, TypeVar
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, ValidationError

from riskshare.api_imports import (
    MAX_ERRORS,
    MEDIA_TYPES,
    ErrorsRequest,
    ImportModel,
    ImportRequest,
    ImportsResponse,
    RowErrorsResponse,
)
from riskshare.errors import InputError
from riskshare.server.access import ApiKeys
from riskshare.server.problems import invalid_request
from riskshare.server.requests import JSON, model_response
from riskshare.sharing.reading import Format

FORMATS: Final[Mapping[str, Format]] = {media: name for name, media in MEDIA_TYPES.items()}
"""By media type of the body."""

LIST: Final = "/v1/lists/{list:[a-z0-9][a-z0-9-]{0,62}}/imports"
ONE: Final = LIST + "/{import:[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}}"

PART_BYTES: Final = 1 << 20
STALL_SECONDS: Final = 30.0
"""A client that sends nothing for so long is given up: it would keep others from importing."""

_Asked = TypeVar("_Asked", bound=BaseModel)


class OwnImports(Protocol):
    """The imports into this member's own lists (`peer.importing.OwnImports`)."""

    async def begin(
        self, list_name: str, wanted: ImportRequest, format_: Format, body: AsyncIterator[bytes], author: str
    ) -> ImportModel:
        """Take the body in and begin; give how it began, or goes on.

        Raises:
            InputError: `not_found`, `imports_busy`, `too_large`, `upload_stalled`, and what `Importer.run` refuses
                before the first row.
            StoreError, DiskError: nothing was begun.

        """

    async def imports(self, list_name: str) -> tuple[ImportModel, ...]:
        """The last ones, newest first. Raises InputError `not_found`."""

    async def find(self, list_name: str, import_id: UUID) -> ImportModel:
        """One of them. Raises InputError `not_found`."""

    async def errors(self, list_name: str, import_id: UUID, after: int, limit: int) -> RowErrorsResponse:
        """Its bad rows behind a line. Raises InputError `not_found`."""

    async def cancel(self, list_name: str, import_id: UUID) -> ImportModel:
        """End it. Raises InputError `not_found`, `import_over`."""


class _Imports:
    """The handlers."""

    def __init__(self, imports: OwnImports, keys: ApiKeys) -> None:
        self._imports = imports
        self._keys = keys

    async def begin(self, request: web.Request) -> web.Response:
        api_key = self._keys.allow(request, "publish")
        wanted = _asked(request, ImportRequest)
        format_ = FORMATS.get(request.content_type)
        if format_ is None or "Content-Encoding" in request.headers:
            raise InputError(
                f"The body is one of {', '.join(FORMATS)}, not encoded further.", code="unsupported_media_type"
            )
        name = request.match_info["list"]
        begun = await self._imports.begin(name, wanted, wanted.format or format_, _parts(request), f"key:{api_key}")
        response = web.Response(status=202, body=begun.model_dump_json().encode(), headers={"Content-Type": JSON})
        response.headers["Location"] = f"/v1/lists/{name}/imports/{begun.id}"
        response.headers["Cache-Control"] = "no-store"
        return response

    async def imports(self, request: web.Request) -> web.Response:
        self._keys.allow(request, "publish")
        return model_response(ImportsResponse(imports=await self._imports.imports(request.match_info["list"])))

    async def find(self, request: web.Request) -> web.Response:
        self._keys.allow(request, "publish")
        return model_response(await self._imports.find(*_named(request)))

    async def errors(self, request: web.Request) -> web.Response:
        self._keys.allow(request, "publish")
        wanted = _asked(request, ErrorsRequest)
        limit = int(wanted.limit)
        if limit > MAX_ERRORS:
            raise InputError(f"At most {MAX_ERRORS} row errors are given at once.")
        return model_response(await self._imports.errors(*_named(request), int(wanted.after), limit))

    async def cancel(self, request: web.Request) -> web.Response:
        self._keys.allow(request, "publish")
        return model_response(await self._imports.cancel(*_named(request)))


def _named(request: web.Request) -> tuple[str, UUID]:
    return request.match_info["list"], UUID(request.match_info["import"])


def _asked(request: web.Request, model: type[_Asked]) -> _Asked:
    """Read the query. Raises InputError `unknown_parameter`; InvalidRequest."""
    query = request.query
    known = model.model_fields
    many = {"map"} & known.keys()
    if not query.keys() <= known.keys() or any(len(query.getall(name)) > 1 for name in set(query) - many):
        raise InputError(
            f"The query has an unknown parameter, or one twice. There are: {', '.join(known)}.",
            code="unknown_parameter",
        )
    try:
        return model.model_validate({name: query.getall(name) if name in many else query[name] for name in set(query)})
    except ValidationError as error:
        raise invalid_request(error) from None


async def _parts(request: web.Request) -> AsyncIterator[bytes]:
    """The body as it comes. Raises InputError `upload_stalled`; ConnectionResetError: the client has gone."""
    parts = request.content.iter_chunked(PART_BYTES)
    while True:
        try:
            async with asyncio.timeout(STALL_SECONDS):
                part = await anext(parts, b"")
        except TimeoutError:
            raise InputError(
                f"Nothing of the file came for {STALL_SECONDS:g} seconds. Send it again, as a whole.",
                code="upload_stalled",
            ) from None
        if not part:
            return
        yield part


def import_routes(imports: OwnImports, keys: ApiKeys) -> list[web.RouteDef]:
    """The routes, for the application of the clients' listener."""
    handlers = _Imports(imports, keys)
    return [
        web.post(LIST, handlers.begin),
        web.get(LIST, handlers.imports, allow_head=False),
        web.get(ONE, handlers.find, allow_head=False),
        web.get(f"{ONE}/errors", handlers.errors, allow_head=False),
        web.delete(ONE, handlers.cancel),
    ]
