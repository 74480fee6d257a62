"""The description of the client API, made from the models that validate it (OpenAPI 3.1.1)."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from riskshare.api_entries import (
    DecisionRequest,
    EntriesResponse,
    EntryResponse,
    ShowRequest,
    UpsertRequest,
    WithdrawRequest,
)
from riskshare.api_imports import ErrorsRequest, ImportModel, ImportRequest, ImportsResponse, RowErrorsResponse
from riskshare.api_models import (
    MAX_CHECKS,
    AuditsResponse,
    CheckModel,
    CheckRequest,
    CheckResponse,
    ChecksRequest,
    ChecksResponse,
    ListsResponse,
    MembersResponse,
    ProblemModel,
    ReceiptModel,
)
from riskshare.server.imports import FORMATS

_REQUESTS: tuple[type[BaseModel], ...] = (
    CheckRequest,
    ChecksRequest,
    DecisionRequest,
    ShowRequest,
    UpsertRequest,
    WithdrawRequest,
)
_RESPONSES: tuple[type[BaseModel], ...] = (
    AuditsResponse,
    CheckModel,
    CheckResponse,
    ChecksResponse,
    EntriesResponse,
    EntryResponse,
    ImportModel,
    ImportsResponse,
    ListsResponse,
    MembersResponse,
    ProblemModel,
    ReceiptModel,
    RowErrorsResponse,
)
_REFUSALS: Mapping[int, str] = {
    400: "The body is not JSON, a header is malformed, or a parameter unknown.",
    401: "The API key is missing, wrong or expired.",
    403: "The API key may not do this, or not from here.",
    404: "There is no such thing.",
    409: "A request with this Idempotency-Key is being worked on; the never-list was added to meanwhile: repeat;"
    " or another import works on the list, or this one is over.",
    408: "Nothing of the file came for 30 seconds.",
    413: "The body is longer than 1 MiB, or a file longer than publish.import_mib.",
    415: "The body has another media type than those named here.",
    422: "A field or an identifier is not valid, or the Idempotency-Key was used for another request.",
    503: "PostgreSQL is away: nothing was decided. Try again.",
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": 'A quoted text of your own, such as "8e03978e-40d5-43dd-bc93-6894a57f9324": '
    "a repeated request is answered as it was the first time.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9-]{1,255}$"},
}


def describe(identifiers: int, deadline_ms: int) -> dict[str, Any]:
    """The OpenAPI document of a peer that takes so many identifiers a check, with that default deadline."""
    _, schemas = models_json_schema(
        [(model, "validation") for model in _REQUESTS] + [(model, "serialization") for model in _RESPONSES],
        ref_template="#/components/schemas/{model}",
    )
    components: dict[str, Any] = schemas["$defs"]
    asked = components["CheckRequest"]["properties"]
    asked["identifiers"]["maxItems"] = identifiers
    asked["deadline_ms"]["description"] += f" Without it, {deadline_ms}."
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "riskshare client API",
            "version": version("riskshare"),
            "summary": "Ask all members of the network whether an identifier is listed, without telling them which.",
        },
        "security": [{"apiKey": []}],
        "paths": _paths(),
        "components": {
            "schemas": components,
            "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer"}},
        },
    }


def _paths() -> dict[str, Any]:
    many = {
        "oneOf": [
            _ref("ChecksRequest"),
            {"type": "array", "items": _ref("CheckRequest"), "minItems": 1, "maxItems": MAX_CHECKS},
        ]
    }
    results = {
        "oneOf": [
            _ref("ChecksResponse"),
            {"type": "array", "items": {"anyOf": [_ref("CheckResponse"), _ref("ProblemModel")]}},
        ]
    }
    asking = (400, 401, 403, 409, 413, 415, 422, 503)
    return {
        "/v1/check": {
            "post": _operation(
                "check",
                "Check identifiers against all lists.",
                _ref("CheckResponse"),
                asking,
                body=_ref("CheckRequest"),
            )
        },
        "/v1/checks": {
            "post": _operation("checks", "Make many checks, each answered on its own.", results, asking, body=many)
        },
        "/v1/lists": {
            "get": _operation("lists", "The lists that a check consults.", _ref("ListsResponse"), (401, 403))
        },
        **_entry_paths(),
        **_import_paths(),
        "/v1/members": {"get": _operation("members", "The network's members.", _ref("MembersResponse"), (401, 403))},
        "/v1/audits": {
            "get": _operation(
                "audits",
                "Who saw what of this member's records, and what it saw of others'.",
                _ref("AuditsResponse"),
                (401, 403, 503),
            )
        },
        "/v1/receipts/{receipt}": {
            "get": _operation(
                "receipt",
                "A receipt by its id.",
                _ref("ReceiptModel"),
                (401, 403, 404, 503),
                parameter=("receipt", {"type": "string", "pattern": "^[0-9a-f]{64}$"}),
            )
        },
        "/v1/checks/{check}": {
            "get": _operation(
                "former_check",
                "What is known of a former check; its record stays sealed.",
                _ref("CheckModel"),
                (401, 403, 404, 503),
                parameter=("check", {"type": "string", "format": "uuid"}),
            )
        },
    }


def _entry_paths() -> dict[str, Any]:
    changing = (400, 401, 403, 404, 409, 413, 415, 422, 503)
    place = ("list", {"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,62}$"})
    decisions = {
        "withdraw": ("Take entries off a list.", "WithdrawRequest"),
        "dispute": ("Mark entries as disputed: they still answer, and say so.", "DecisionRequest"),
        "restore": ("End a dispute, or undo a withdrawal while the term lasts.", "DecisionRequest"),
    }
    paths = {
        "/v1/lists/{list}/entries": {
            "post": _operation(
                "upsert",
                "List entries, each answered on its own.",
                _ref("EntriesResponse"),
                changing,
                body=_ref("UpsertRequest"),
                parameter=place,
            )
        },
        "/v1/entries/show": {
            "post": _operation(
                "show",
                "Why an identifier stands on own lists, its history, and who has it.",
                _ref("EntryResponse"),
                (400, 401, 403, 404, 413, 415, 422, 503),
                body=_ref("ShowRequest"),
                keyed=False,
            )
        },
    }
    for name, (summary, model) in decisions.items():
        paths[f"/v1/lists/{{list}}/entries/{name}"] = {
            "post": _operation(name, summary, _ref("EntriesResponse"), changing, body=_ref(model), parameter=place)
        }
    return paths


def _import_paths() -> dict[str, Any]:
    place = ("list", {"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,62}$"})
    refusals = (401, 403, 404, 503)
    one = {"name": "import", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
    begin = _operation(
        "begin_import",
        "Import a file: a job begins, or goes on where the same file was broken off.",
        _ref("ImportModel"),
        (400, 401, 403, 404, 408, 409, 413, 415, 422, 503),
        parameter=place,
    )
    begin["responses"] = {("202" if status == "200" else status): said for status, said in begin["responses"].items()}
    location = {"description": "Where its state is told.", "schema": {"type": "string"}}
    begin["responses"]["202"] |= {"description": "The job has begun.", "headers": {"Location": location}}
    begin["requestBody"] = {"required": True, "content": {kind: {} for kind in FORMATS}}
    begin["parameters"] += _query(ImportRequest)
    named = {
        "find_import": ("get", "How an import stands.", "ImportModel", refusals),
        "cancel_import": ("delete", "End an import that is not over.", "ImportModel", (401, 403, 404, 409, 503)),
        "import_errors": ("get", "The bad rows of an import, by line.", "RowErrorsResponse", (400, *refusals, 422)),
    }
    made = {
        name: {method: _operation(name, summary, _ref(model), codes, parameter=place)}
        for name, (method, summary, model, codes) in named.items()
    }
    for operations in made.values():
        for operation in operations.values():
            operation["parameters"].append(one)
    made["import_errors"]["get"]["parameters"] += _query(ErrorsRequest)
    whole = _operation("imports", "The last imports into a list.", _ref("ImportsResponse"), refusals, parameter=place)
    path = "/v1/lists/{list}/imports"
    return {
        path: {"post": begin, "get": whole},
        f"{path}/{{import}}": {**made["find_import"], **made["cancel_import"]},
        f"{path}/{{import}}/errors": made["import_errors"],
    }


def _query(model: type[BaseModel]) -> list[dict[str, Any]]:
    """The fields of a model as parameters of a query."""
    found = []
    for name, schema in model.model_json_schema()["properties"].items():
        plain = next((one for one in schema.get("anyOf", ()) if one.get("type") != "null"), schema)
        kept = {key: value for key, value in plain.items() if key not in ("title", "description", "default")}
        said = schema.get("description", "")
        found.append({"name": name, "in": "query", "required": False, "description": said, "schema": kept})
    return found


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _operation(
    name: str,
    summary: str,
    answer: Mapping[str, Any],
    refusals: tuple[int, ...],
    *,
    body: Mapping[str, Any] | None = None,
    parameter: tuple[str, Mapping[str, Any]] | None = None,
    keyed: bool = True,
) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": "Done.", "content": {"application/json": {"schema": answer}}}}
    for status in refusals:
        content = {"application/problem+json": {"schema": _ref("ProblemModel")}}
        responses[str(status)] = {"description": _REFUSALS[status], "content": content}
    operation: dict[str, Any] = {"operationId": name, "summary": summary, "responses": responses}
    parameters = []
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
        parameters = [_KEY] if keyed else []
    if parameter is not None:
        parameters = [{"name": parameter[0], "in": "path", "required": True, "schema": parameter[1]}, *parameters]
    if parameters:
        operation["parameters"] = parameters
    return operation
