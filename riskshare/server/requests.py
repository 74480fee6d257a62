"""Reading requests of the client API and writing its responses: JSON, strictly."""

from __future__ import annotations

from typing import Final

from aiohttp import web
from pydantic import BaseModel

from riskshare.encoding import check_keys
from riskshare.errors import IdempotencyError, InputError
from riskshare.server.bodies import read_body
from riskshare.server.idempotency import read_key

JSON: Final = "application/json"
_HEADERS: Final = {"Content-Type": JSON, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def idempotency_key(request: web.Request) -> str | None:
    """The request's Idempotency-Key, if it has one. Raises IdempotencyError `idempotency_key_malformed`."""
    given = request.headers.getall("Idempotency-Key", ())
    if len(given) > 1:
        raise IdempotencyError("There are several Idempotency-Key headers.", code="idempotency_key_malformed")
    return read_key(given[0]) if given else None


async def read_json(request: web.Request) -> bytes:
    """The body of a request that says it is JSON, and names no field twice.

    A gateway that reads the first of two payees must not let another one be checked than it saw.

    Raises:
        InputError: `unsupported_media_type`, `upload_stalled`.
        EncodingError: an object names a field twice.

    """
    if request.content_type != JSON or "Content-Encoding" in request.headers:
        raise InputError(f"The body is {JSON}, not encoded further.", code="unsupported_media_type")
    body = await read_body(request)
    check_keys(body)
    return body


def canonical(kind: str, model: BaseModel) -> bytes:
    """What makes two requests the same: their kind and their content, however it was written."""
    return kind.encode() + b"\n" + model.model_dump_json().encode()


def json_response(data: bytes) -> web.Response:
    """A response of JSON that is there already."""
    return web.Response(body=data, headers=_HEADERS)


def model_response(model: BaseModel) -> web.Response:
    """A response from a model."""
    return json_response(model.model_dump_json().encode())
