"""The one table from errors to HTTP: RFC 9457 problem details with our own code.

    {"type": "urn:riskshare:problem:<code>", "title": …, "status": …, "detail": …, "code": …, "errors": […]}

`detail` is the error's own sentence; no problem holds anything that the client sent, not even the name of a
field that it made up.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from riskshare.errors import (
    AccessError,
    AskRefused,
    AuditRefused,
    ConfigError,
    DiskError,
    EncodingError,
    GroupError,
    IdempotencyError,
    IdentifierError,
    InputError,
    PeerError,
    RegistryError,
    RiskshareError,
    StoreError,
)

MEDIA_TYPE: Final = "application/problem+json"
MAX_ERRORS: Final = 100
"""Most defects that one problem lists."""

BY_CODE: Final[Mapping[str, int]] = {
    **AskRefused.STATUS,
    **AuditRefused.STATUS,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "body_too_large": 413,
    "unsupported_media_type": 415,
    "range_not_satisfiable": 416,
    "idempotency_key_malformed": 400,
    "idempotency_key_in_use": 409,
    "idempotency_key_reused": 422,
    "invalid_input": 422,
    "unknown_purpose": 422,
    "unknown_category": 422,
    "too_many_identifiers": 422,
    "registry_expired": 503,
    "period_open": 409,
    "settlement_period": 409,
    "settlement_overlap": 409,
    "never_changed": 409,
    "unknown_parameter": 400,
    "import_running": 409,
    "import_cancelled": 409,
    "import_over": 409,
    "too_large": 413,
    "upload_stalled": 408,
    "imports_busy": 503,
    "internal": 500,
}
"""Status by code."""

BY_CLASS: Final[Sequence[tuple[type[RiskshareError], int]]] = (
    (IdentifierError, 422),
    (EncodingError, 400),
    (InputError, 422),
    (AccessError, 401),
    (IdempotencyError, 422),
    (GroupError, 400),
    (RegistryError, 503),
    (StoreError, 503),
    (DiskError, 503),
    (PeerError, 502),
    (ConfigError, 500),
)
"""Status by class, for codes that are not in `BY_CODE`; the first that fits. Anything else is 500."""

_OF_HTTP: Final[Mapping[int, tuple[str, str]]] = {
    400: ("malformed", "The request is not HTTP as it should be."),
    404: ("not_found", "There is nothing at this path. The paths are in /openapi.json."),
    405: ("method_not_allowed", "This path has another method; see the Allow header."),
    413: ("body_too_large", "The body is longer than what is allowed here. Split the request."),
    415: ("unsupported_media_type", "The body has another media type than the one expected here."),
    416: ("range_not_satisfiable", "The file has no such range of bytes."),
}

_SENTENCES: Final[Mapping[str, str]] = {
    "missing": "This field is required.",
    "extra_forbidden": "This object has a field that is unknown here. The fields are in /openapi.json.",
    "string_type": "A text is expected.",
    "int_type": "A whole number is expected.",
    "list_type": "An array is expected.",
    "model_type": "An object is expected.",
    "model_attributes_type": "An object is expected.",
    "too_short": "The array has too few items.",
    "too_long": "The array has too many items.",
    "string_too_short": "The text is too short.",
    "string_too_long": "The text is too long.",
    "string_pattern_mismatch": "The text has not the form expected here.",
    "greater_than_equal": "The number is too small.",
    "less_than_equal": "The number is too large.",
    "string_unicode": "The text is not valid Unicode.",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem as it leaves. `errors` names each defect with a JSON pointer as URI fragment (RFC 6901 6)."""

    status: int
    code: str
    detail: str
    errors: tuple[Mapping[str, Any], ...] = ()
    retry_after: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """The JSON object."""
        body: dict[str, Any] = {
            "type": f"urn:riskshare:problem:{self.code}",
            "title": self.code.replace("_", " ").capitalize(),
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.errors:
            body["errors"] = list(self.errors)
        return body

    def response(self) -> web.Response:
        """The HTTP response."""
        headers = {"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store", **self.headers}
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after)))
        return web.Response(status=self.status, body=json.dumps(self.body()).encode(), headers=headers)


class InvalidRequest(InputError):  # noqa: N818 - a whole request, as opposed to one input
    """A request with defects, each with its place; `errors` as in `Problem`."""

    def __init__(self, message: str, errors: Sequence[Mapping[str, Any]], *, code: str = "invalid_input") -> None:
        super().__init__(message, code=code)
        self.errors = tuple(errors)


def status_of(error: RiskshareError) -> int:
    """The HTTP status that carries an error."""
    if (status := BY_CODE.get(error.code)) is not None:
        return status
    return next((status for kind, status in BY_CLASS if isinstance(error, kind)), 500)


def problem_of(error: RiskshareError) -> Problem:
    """The problem that tells of an error."""
    status = status_of(error)
    if status == 500:
        return internal()
    retry_after: float | None = None
    headers: dict[str, str] = {}
    errors: tuple[Mapping[str, Any], ...] = ()
    if isinstance(error, AskRefused | AuditRefused):
        retry_after = error.retry_after
    elif isinstance(error, InvalidRequest):
        errors = error.errors
    elif isinstance(error, IdentifierError):
        errors = (identifier_error(error),)
    elif isinstance(error, AccessError) and status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="riskshare"'
    if status == 503 and retry_after is None:
        retry_after = 1
    return Problem(status, error.code, error.message, errors, retry_after, headers)


def internal() -> Problem:
    """The problem for a mistake of our own: it says nothing but that."""
    return Problem(500, "internal", "The peer made a mistake. Its log has more under this request's id.")


def problem_of_http(error: web.HTTPException) -> Problem:
    """The problem for what aiohttp itself refuses."""
    status = error.status if error.status in _OF_HTTP else (400 if error.status < 500 else 500)
    code, detail = _OF_HTTP.get(status, ("internal", internal().detail))
    allow = error.headers.get("Allow")
    return Problem(status, code, detail, headers={"Allow": allow} if allow else {})


def identifier_error(error: IdentifierError) -> dict[str, Any]:
    """One bad identifier, with its place in the request if it is known."""
    found: dict[str, Any] = {
        "code": error.code,
        "detail": error.message,
        "reason": error.reason,
        "identifier_type": error.type,
    }
    if error.position is not None:
        found["pointer"] = f"#/identifiers/{error.position}"
    return found


def invalid_request(error: ValidationError) -> InvalidRequest:
    """Turn what pydantic found into defects that hold nothing of the input.

    Raises nothing; text that is not JSON at all becomes an error with the code `malformed`.
    """
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if any(item["type"] == "json_invalid" for item in found):
        return InvalidRequest("The body is not valid JSON in UTF-8.", (), code="malformed")
    places: dict[str, dict[str, Any]] = {}
    for item in found[:MAX_ERRORS]:
        places.setdefault(_pointer(item), {"code": "invalid_input", "detail": _sentence(item)})
    errors = [{"pointer": pointer, **defect} for pointer, defect in places.items()]
    return InvalidRequest("The request is not as /openapi.json describes it; see errors.", errors)


def _pointer(item: ErrorDetails) -> str:
    """The place of a defect. An unknown field's name is the client's, so its object is named instead."""
    place = item["loc"][:-1] if item["type"] == "extra_forbidden" else item["loc"]
    parts: list[str] = []
    for part in place:
        # Behind the index of an identifier stand only the branches of the union, which are ours.
        if len(parts) > 1 and parts[-2] == "identifiers" and part not in ("type", "value"):
            continue
        parts.append(str(part))
    return "#" + "".join(f"/{part}" for part in parts)


def _sentence(item: ErrorDetails) -> str:
    if item["loc"][:1] == ("identifiers",) and len(item["loc"]) == 3:
        return "An identifier is the text type:value, or an object with type and value."
    return _SENTENCES.get(item["type"], "The value is not valid here; see /openapi.json.")
