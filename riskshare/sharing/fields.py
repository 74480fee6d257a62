"""Strict reading of the fields of a signed body (pure).

A body has exactly the keys that its kind names; every value has exactly one spelling.
Anything else is refused as `malformed_statement`, so that no two members ever read the
same signed bytes differently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

from riskshare.encoding import MAX_SAFE_INTEGER, parse_hex, parse_time
from riskshare.errors import InputError, SnapshotError

DIGEST_BYTES = 32
_Value = TypeVar("_Value")


def malformed(sentence: str) -> SnapshotError:
    """The refusal of a body that is not of the form it must have."""
    return SnapshotError(sentence, code="malformed_statement")


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn what the parsers refuse inside into a SnapshotError `malformed_statement` about `what`."""
    try:
        yield
    except InputError as error:
        raise malformed(f"A field of the {what} is refused: {error.message}") from error


def whole_milliseconds(moment: datetime) -> datetime:
    """The moment as a statement writes it: UTC, rounded down to milliseconds. Refuses a time without a zone."""
    if moment.tzinfo is None:
        raise malformed("A time has no zone; times are given in UTC.")
    moment = moment.astimezone(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


class Fields:
    """The fields of one JSON object, each read once with its type."""

    __slots__ = ("_body", "_what")

    def __init__(self, body: object, keys: frozenset[str], what: str) -> None:
        """Take the object `what` apart; it must have exactly `keys`. Raises SnapshotError."""
        if not isinstance(body, Mapping) or body.keys() != keys:
            raise malformed(f"The {what} does not have exactly the fields of its kind.")
        self._body = body
        self._what = what

    def _get(self, key: str, kind: type[_Value]) -> _Value:
        value = self._body[key]
        if type(value) is not kind:
            raise malformed(f"The {self._what} has a {key} of the wrong type.")
        return value

    def named(self, key: str, check: Callable[[object], str]) -> str:
        """A text that `check` lets through."""
        with reading(self._what):
            return check(self._body[key])

    def integer(self, key: str, least: int = 0) -> int:
        """An integer from `least` to 2^53 - 1."""
        value = self._get(key, int)
        if not least <= value <= MAX_SAFE_INTEGER:
            raise malformed(f"The {self._what} has a {key} out of its range.")
        return value

    def boolean(self, key: str) -> bool:
        """True or false."""
        return self._get(key, bool)

    def time(self, key: str) -> datetime:
        """A time in the one form that statements use."""
        with reading(self._what):
            return parse_time(self._body[key])

    def digest(self, key: str) -> bytes:
        """32 bytes in lower-case hex."""
        with reading(self._what):
            return parse_hex(self._body[key], DIGEST_BYTES)

    def digest_or_null(self, key: str) -> bytes | None:
        """32 bytes in lower-case hex, or null."""
        return None if self._body[key] is None else self.digest(key)

    def items(self, key: str, limit: int) -> list[Any]:
        """A list of at most `limit` items."""
        value: list[Any] = self._get(key, list)
        if len(value) > limit:
            raise malformed(f"The {self._what} has more than {limit} {key}.")
        return value

    def constant(self, key: str, value: str) -> None:
        """Refuse any other value."""
        if self._get(key, str) != value:
            raise malformed(f"The {self._what} names a {key} that this version does not know.")

    def value(self, key: str) -> Any:
        """The value as it stands, for a caller that checks it."""
        return self._body[key]
