"""The table from errors to HTTP: every error has a place, and nothing of the input gets out."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from riskshare import errors
from riskshare.api_models import CheckRequest, ProblemModel
from riskshare.errors import (
    AccessError,
    AskRefused,
    ConfigError,
    EncodingError,
    IdempotencyError,
    IdentifierError,
    InputError,
    PeerDown,
    PeerRefused,
    RegistryError,
    RiskshareError,
    StoreError,
)
from riskshare.server.problems import (
    BY_CODE,
    MAX_ERRORS,
    MEDIA_TYPE,
    invalid_request,
    problem_of,
    problem_of_http,
    status_of,
)

SECRET = "8613800138000"


def classes(top: type[RiskshareError] = RiskshareError) -> Iterator[type[RiskshareError]]:
    yield top
    for below in top.__subclasses__():
        yield from classes(below)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("x"), 422),
        (InputError("x", code="not_found"), 404),
        (InputError("x", code="body_too_large"), 413),
        (IdentifierError("phone", "length", "x"), 422),
        (EncodingError("x"), 400),
        (AccessError("x"), 401),
        (AccessError("x", code="forbidden"), 403),
        (IdempotencyError("x", code="idempotency_key_malformed"), 400),
        (IdempotencyError("x", code="idempotency_key_in_use"), 409),
        (IdempotencyError("x"), 422),
        (StoreError("x"), 503),
        (StoreError("x", code="overloaded"), 503),
        (RegistryError("x", code="registry_expired"), 503),
        (PeerDown("jd", "x"), 502),
        (ConfigError("x"), 500),
        (RiskshareError("x"), 500),
    ],
)
def test_status(error: RiskshareError, status: int) -> None:
    assert problem_of(error).status == status


@pytest.mark.parametrize(("code", "status"), AskRefused.STATUS.items())
def test_a_refused_ask_has_the_status_of_the_protocol(code: str, status: int) -> None:
    assert status_of(AskRefused(code, "x")) == status


def test_every_class_of_the_tree_has_a_status_of_an_error() -> None:
    for kind in classes():
        error = kind.__new__(kind)
        error.args = ("x",)
        assert 400 <= status_of(error) < 600
        assert kind.__module__.startswith(errors.__name__.partition(".")[0])


def test_a_problem_is_what_the_api_describes() -> None:
    answer = problem_of(InputError("Do something else.")).response()
    assert answer.headers["Content-Type"] == MEDIA_TYPE
    assert answer.headers["Cache-Control"] == "no-store"
    assert isinstance(answer.body, bytes)
    assert json.loads(answer.body) == {
        "type": "urn:riskshare:problem:invalid_input",
        "title": "Invalid input",
        "status": 422,
        "detail": "Do something else.",
        "code": "invalid_input",
    }
    assert ProblemModel.model_validate_json(answer.body).code == "invalid_input"


def test_a_mistake_of_our_own_says_nothing_of_itself() -> None:
    problem = problem_of(RiskshareError(SECRET, code="odd"))
    assert (problem.code, SECRET in problem.detail) == ("internal", False)


def test_who_is_not_authenticated_is_told_how() -> None:
    assert problem_of(AccessError("x")).response().headers["WWW-Authenticate"].startswith("Bearer")
    assert "WWW-Authenticate" not in problem_of(AccessError("x", code="forbidden")).response().headers


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.01, "2"), (3600.0, "3600")])
def test_retry_after_is_rounded_up(seconds: float, text: str) -> None:
    refusal = AskRefused("quota_exhausted", "x", retry_after=seconds)
    assert problem_of(refusal).response().headers["Retry-After"] == text


def test_an_outage_names_a_delay() -> None:
    assert problem_of(StoreError("x")).response().headers["Retry-After"] == "1"


def test_a_remote_refusal_is_a_bad_gateway() -> None:
    assert problem_of(PeerRefused("jd", "x", remote_code="clock_off", status=412)).status == 502


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (web.HTTPNotFound(), 404, "not_found"),
        (web.HTTPMethodNotAllowed("PUT", ["GET"]), 405, "method_not_allowed"),
        (web.HTTPRequestEntityTooLarge(1, 2), 413, "body_too_large"),
        (web.HTTPBadRequest(text=SECRET), 400, "malformed"),
        (web.HTTPExpectationFailed(text=SECRET), 400, "malformed"),
        (web.HTTPServiceUnavailable(text=SECRET), 500, "internal"),
    ],
)
def test_what_the_framework_refuses_is_a_problem_too(error: web.HTTPException, status: int, code: str) -> None:
    problem = problem_of_http(error)
    assert (problem.status, problem.code) == (status, code)
    assert SECRET not in str(problem.body())
    assert code in BY_CODE or code == "internal"


def test_the_methods_allowed_are_named() -> None:
    error = web.HTTPMethodNotAllowed("PUT", ["GET", "HEAD"])
    assert problem_of_http(error).response().headers["Allow"] == "GET,HEAD"


def defects(data: object) -> list[dict[str, str]]:
    try:
        CheckRequest.model_validate_json(data if isinstance(data, str) else json.dumps(data))
    except ValidationError as error:
        problem = problem_of(invalid_request(error))
        assert SECRET not in json.dumps(problem.body())
        return [dict(defect) for defect in problem.errors] or [{"code": problem.code}]
    return []


GOOD = {"identifiers": [f"phone:+{SECRET}"], "purpose": "payment"}


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({SECRET: 1}, "#"),
        ({"identifiers": [{"type": "phone", "value": SECRET, SECRET: SECRET}]}, "#/identifiers/0"),
        ({"identifiers": [f"phone:+{SECRET}", 8613800138000]}, "#/identifiers/1"),
        ({"identifiers": [{"type": "phone"}]}, "#/identifiers/0/value"),
        ({"identifiers": [{"type": SECRET * 10, "value": SECRET}]}, "#/identifiers/0/type"),
        ({"identifiers": SECRET}, "#/identifiers"),
        ({"identifiers": []}, "#/identifiers"),
        ({"purpose": f"phone:+{SECRET}"}, "#/purpose"),
        ({"purpose": 8613800138000}, "#/purpose"),
        ({"reference": SECRET * 30}, "#/reference"),
        ({"reference": 8613800138000}, "#/reference"),
        ({"categories": [f"phone:+{SECRET}"]}, "#/categories/0"),
        ({"categories": {SECRET: SECRET}}, "#/categories"),
        ({"deadline_ms": SECRET}, "#/deadline_ms"),
        ({"deadline_ms": 8613800138000}, "#/deadline_ms"),
        ({"deadline_ms": 0}, "#/deadline_ms"),
        ({"deadline_ms": True}, "#/deadline_ms"),
        ({"deadline_ms": 1.5}, "#/deadline_ms"),
    ],
)
def test_a_defect_is_named_by_its_place_and_repeats_nothing(change: dict[str, object], pointer: str) -> None:
    found = defects({**GOOD, **change})
    assert pointer in [defect["pointer"] for defect in found]


@pytest.mark.parametrize("text", ["", "{", SECRET + "x", '{"identifiers":["' + SECRET, '{"purpose":"\\ud800"}', "NaN,"])
def test_text_that_is_not_json(text: str) -> None:
    assert defects(text) == [{"code": "malformed"}]


@pytest.mark.parametrize("text", [SECRET, f'["{SECRET}"]', f'"{SECRET}"', "null", "true"])
def test_json_that_is_not_an_object(text: str) -> None:
    assert defects(text)[0]["pointer"] == "#"


def test_not_every_one_of_many_defects_is_listed() -> None:
    assert len(defects({**GOOD, "identifiers": [1] * 1000})) <= MAX_ERRORS


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(SECRET) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([SECRET, *GOOD, "value"]), inner),
    max_leaves=8,
)


@given(JSON, st.sampled_from(["identifiers", "purpose", "reference", "categories", "deadline_ms", SECRET]))
def test_no_problem_repeats_its_input(value: object, field: str) -> None:
    defects({**GOOD, field: value})
