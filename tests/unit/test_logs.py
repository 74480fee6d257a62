"""The log: an allow-list of fields, and nothing that names a customer."""

from __future__ import annotations

import ast
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from riskshare.errors import StoreError
from riskshare.logs import FIELDS, MAX_TEXT, configure, describe_exception, get_log, masked, only_known_fields

PHONE = "+8613800138000"


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    configure("info", "json", stream)
    yield stream
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_is_json_with_time_and_level(out: io.StringIO) -> None:
    get_log(listener="peers").info("request", status=200, ms=1.5, route="/v1/check")
    [line] = lines(out)
    assert line.pop("time").endswith("Z")
    assert line == {"event": "request", "level": "info", "listener": "peers", "status": 200, "ms": 1.5,
                    "route": "/v1/check"}  # fmt: skip


def test_what_is_below_the_level_is_not_written(out: io.StringIO) -> None:
    get_log().debug("request")
    assert lines(out) == []


def test_an_unknown_field_is_dropped_and_counted(out: io.StringIO) -> None:
    get_log().info("check", identifier=PHONE, body=b"x", code="x")
    [line] = lines(out)
    assert (line["dropped"], line["code"]) == (2, "x")
    assert "138001" not in out.getvalue()


def test_every_field_that_the_program_logs_is_on_the_list() -> None:
    """One that is not is dropped: the line says less than its writer meant."""
    found = {}
    for path in (Path(__file__).parents[2] / "riskshare").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _logs(node.func):
                found |= {each.arg: f"{path.name}:{node.lineno}" for each in node.keywords if each.arg}
    assert len(found) > 20
    assert {name: place for name, place in found.items() if name not in FIELDS | {"exc_info"}} == {}


def _logs(called: ast.expr) -> bool:
    text = ast.unparse(called)
    method = text.rpartition(".")[2]
    levels = {"debug", "info", "warning", "error", "exception"}
    return text == "get_log" or ("log" in text.rpartition(".")[0] and method in levels)


@pytest.mark.parametrize(
    "text", [f"phone:{PHONE}", f"bad phone:{PHONE}!", f"for {PHONE}", "6222 0212 3456 7894", "card 6222021234567894.",
             "email:a@example.org", "86-138-0013-8000"]
)  # fmt: skip
def test_what_looks_like_an_identifier_is_masked(text: str) -> None:
    shown = masked(text)
    assert not any(part in shown for part in ("138", "6222", "example"))


@pytest.mark.parametrize(
    "text", ["2026-11-22T08:30:00.123Z", "01939100-0000-7b00-8000-00000000000a", "a" * 10 + "1" * 22, "127.0.0.1:18443",
             "listen.peers: port 8443 is taken.", "/v1/receipts/{receipt}"]
)  # fmt: skip
def test_what_does_not_is_left(text: str) -> None:
    assert masked(text) == text


def test_a_long_text_is_cut() -> None:
    assert len(masked("x" * 10_000)) == MAX_TEXT


def test_bytes_and_objects_are_named_by_kind() -> None:
    event = only_known_fields(
        None, "info", {"path": b"secret", "kind": object(), "detail": {"a": "b"}, "list": ["x", b"y"]}
    )
    assert event == {"path": "<6 bytes>", "kind": "<object>", "detail": "<1 fields>", "list": ["x", "<1 bytes>"]}


def test_of_a_foreign_exception_only_class_and_place_are_told(out: io.StringIO) -> None:
    try:
        int(PHONE + "x")
    except ValueError as error:
        get_log().error("request failed", exc_info=error)
    [line] = lines(out)
    assert line["error"] == "ValueError"
    assert line["trace"][-1].startswith("test_logs.py:")
    assert "138001" not in out.getvalue()


def test_of_our_own_exception_the_sentence_is_told() -> None:
    event = describe_exception(None, "error", {"event": "x", "exc_info": StoreError("PostgreSQL is away.")})
    assert (event["error"], event["code"], event["detail"]) == (
        "StoreError",
        "store_unavailable",
        "PostgreSQL is away.",
    )


def test_no_exception_adds_nothing() -> None:
    assert describe_exception(None, "error", {"event": "x", "exc_info": None}) == {"event": "x"}


def test_libraries_are_heard_without_their_arguments(out: io.StringIO) -> None:
    logging.getLogger("aiohttp.server").error("Error handling request from %s", PHONE)
    logging.getLogger("asyncio").error("Task exception was never retrieved\nfuture: <Task +8613800138000>")
    first, second = lines(out)
    assert (first["event"], first["logger"]) == ("Error handling request from %s", "aiohttp.server")
    assert second["event"] == "Task exception was never retrieved"
    assert "138001" not in out.getvalue()


@given(st.dictionaries(st.sampled_from(["event", "code", "detail", "x"]), st.text() | st.binary() | st.integers()))
def test_every_line_can_be_written(fields: dict[str, object]) -> None:
    json.dumps(only_known_fields(None, "info", dict(fields)))


def test_the_console_form_is_for_people() -> None:
    stream = io.StringIO()
    configure("info", "console", stream)
    try:
        get_log().info("ready", port=8443)
        assert "ready" in stream.getvalue()
        assert "8443" in stream.getvalue()
    finally:
        logging.getLogger().handlers = []
        structlog.reset_defaults()
