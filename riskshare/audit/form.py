"""How parts of a report are read back: exactly the fields that were written, each of its type (pure)."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from riskshare.encoding import MAX_SAFE_INTEGER
from riskshare.errors import EncodingError


def read_fields(value: object, names: Collection[str]) -> dict[str, Any]:
    """An object with exactly these fields. Raises EncodingError."""
    if type(value) is not dict or value.keys() != set(names):
        raise EncodingError(f"A part of the report has not exactly the fields {', '.join(sorted(names))}.")
    return value


def read_list(value: object) -> list[Any]:
    """A list. Raises EncodingError."""
    if type(value) is not list:
        raise EncodingError("A part of the report is not a list.")
    return value


def read_text(value: object) -> str:
    """A text. Raises EncodingError."""
    if type(value) is not str:
        raise EncodingError("A part of the report is not a text.")
    return value


def read_texts(value: object) -> tuple[str, ...]:
    """A list of texts. Raises EncodingError."""
    return tuple(map(read_text, read_list(value)))


def read_count(value: object) -> int:
    """A number of things. Raises EncodingError."""
    if type(value) is not int or not 0 <= value <= MAX_SAFE_INTEGER:
        raise EncodingError("A number in the report is out of its range.")
    return value


def value_text(value: float) -> str:
    """A finite figure as text, for canonical JSON has no fractions: `12`, or the shortest decimal such as `0.1`."""
    return str(int(value)) if float(value).is_integer() and abs(value) <= MAX_SAFE_INTEGER else repr(float(value))


def read_value(text: object) -> float:
    """Read what `value_text` writes, and nothing else. Raises EncodingError."""
    try:
        value = float(read_text(text))
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value_text(value) != text:
        raise EncodingError("A figure of the report is not written as 12 or 0.1.")
    return value
