"""The log: one JSON object a line, and nothing in it that names a customer.

Fields are an allow-list: what is not in `FIELDS` is dropped and counted, so that nobody logs a new thing by
accident. Values are numbers, words and short texts; anything that looks like an identifier is masked.
Of an exception, its class, code and places in the code are logged; its text only if the error is ours, for
those texts never hold what a client sent.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Mapping, MutableMapping, Sequence
from types import TracebackType
from typing import Any, Final, Literal, TextIO, cast

import structlog

from riskshare.errors import RiskshareError
from riskshare.membership.identifier import TYPES

FIELDS: Final = frozenset(
    {
        "action", "address", "adopted", "attempt", "auditor", "category", "checks", "code", "committed", "count",
        "days", "detail", "dropped", "entries", "epoch", "error", "event", "host", "import_id", "keyset", "kind",
        "level", "list", "listener", "logger", "member", "method", "mode", "ms", "name", "network", "number", "owner",
        "path", "percent", "pid", "port", "purpose", "rate", "reason", "receipts", "request", "route", "rows", "scope",
        "seconds", "seconds_left", "segment", "server", "side", "since", "state", "status", "time", "trace", "until",
        "url", "version", "witness", "worker",
    }
)  # fmt: skip
"""Names of all fields that a log line may have."""

MAX_TEXT = 500
MAX_FRAMES = 12

Level = Literal["debug", "info", "warning", "error"]
Log = structlog.typing.FilteringBoundLogger
_Event = MutableMapping[str, Any]

_IDENTIFIER = re.compile(rf"\b({'|'.join(TYPES)}):\S+")
# Not inside a word: a digest or an id in hex is none.
_NUMBER = re.compile(r"(?<![\w.-])\+?\d(?:[ -]?\d){8,}(?![\w-])")


def get_log(**fields: str) -> Log:
    """A log that adds `fields` to each line."""
    return cast("Log", structlog.get_logger(**fields))


def configure(level: Level = "info", form: Literal["json", "console"] = "json", stream: TextIO | None = None) -> None:
    """Set up the log of this process, that of the libraries included; `stream` is standard error by default."""
    number = logging.getLevelNamesMapping()[level.upper()]
    out = sys.stderr if stream is None else stream
    renderer: structlog.typing.Processor
    if form == "json":
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=out.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper("iso", utc=True, key="time"),
            describe_exception,
            only_known_fields,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [Bridge()]
    root.setLevel(max(number, logging.WARNING))


class Bridge(logging.Handler):
    """Takes the lines of libraries that use `logging`.

    Only the constant part of a line is taken, never its arguments: those may be a client's.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one line on."""
        event = str(record.msg).partition("\n")[0]
        level = min(record.levelno, logging.ERROR)
        get_log().log(level, event, logger=record.name, exc_info=record.exc_info)


def describe_exception(_logger: object, _method: str, event: _Event) -> _Event:
    """Replace `exc_info` by `error`, `code`, `detail` and `trace`."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    if not isinstance(error, BaseException):
        return event
    event["error"] = type(error).__name__
    if isinstance(error, RiskshareError):
        event["code"] = error.code
        event["detail"] = error.message
    event["trace"] = _frames(error.__traceback__)
    return event


def _frames(trace: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(trace)[-MAX_FRAMES:]
    return [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames]


def only_known_fields(_logger: object, _method: str, event: _Event) -> _Event:
    """Drop unknown fields, mask what looks like an identifier."""
    kept = {key: _value(value) for key, value in event.items() if key in FIELDS}
    if dropped := len(event) - len(kept):
        kept["dropped"] = dropped
    return kept


def _value(value: object) -> object:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return masked(value)
        case Mapping():
            return f"<{len(value)} fields>"
        case bytes() | bytearray() | memoryview():
            return f"<{len(value)} bytes>"
        case Sequence():
            return [_value(item) for item in value]
        case _:
            return f"<{type(value).__name__}>"


def masked(text: str) -> str:
    """Mask `type:value` and numbers of nine digits and more, and bound the length."""
    return _NUMBER.sub("<number>", _IDENTIFIER.sub(r"<\1 …>", text[:MAX_TEXT]))
