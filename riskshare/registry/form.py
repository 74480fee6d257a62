"""The forms of single values in a registry or a request to join, read strictly.

Every function returns its value or raises EncodingError with a sentence that says what is expected.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, TypeVar
from urllib.parse import urlsplit

from riskshare.encoding import MAX_SAFE_INTEGER, parse_time
from riskshare.errors import EncodingError

T = TypeVar("T")

MAX_TITLE = 200
MAX_URL = 300

_SLUG = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_DECIMAL = re.compile(r"(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,9})?")
_CURRENCY = re.compile(r"[A-Z]{3}")
_HOST_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?")


def read_object(
    value: object, keys: frozenset[str], what: str, *, optional: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """A JSON object with all of `keys`, and none but those and `optional`."""
    if type(value) is not dict:
        raise EncodingError(f"{what} is not an object.")
    missing, unknown = sorted(keys - set(value)), sorted(set(value) - keys - optional)
    if missing:
        raise EncodingError(f"{what} lacks {', '.join(missing)}.")
    if unknown:
        raise EncodingError(f"{what} has a key that is unknown here: {unknown[0][:40]!r}.")
    return value


def read_list(value: object, item: Callable[[Any], T], what: str, *, limit: int, least: int = 0) -> tuple[T, ...]:
    """A JSON list of `least` to `limit` items, each read by `item`."""
    if type(value) is not list or not least <= len(value) <= limit:
        raise EncodingError(f"{what} is not a list of {least} to {limit} items.")
    return tuple(item(part) for part in value)


def read_sorted(value: object, item: Callable[[Any], str], what: str, *, limit: int, least: int = 0) -> tuple[str, ...]:
    """A JSON list of different texts in sorted order."""
    parts = read_list(value, item, what, limit=limit, least=least)
    check_sorted(parts, what)
    return parts


def check_sorted(parts: Sequence[str | bytes], what: str) -> None:
    """Refuse a sequence that is not sorted or has a part twice."""
    if any(not first < second for first, second in pairwise(parts)):  # type: ignore[operator]
        raise EncodingError(f"{what} is not sorted, each once.")


def read_integer(value: object, what: str, *, least: int, most: int = MAX_SAFE_INTEGER) -> int:
    """An integer from `least` to `most`."""
    if type(value) is not int or not least <= value <= most:
        raise EncodingError(f"{what} is not an integer from {least} to {most}.")
    return value


def read_title(value: object) -> str:
    """A human name: 1 to 200 printable characters."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TITLE or not value.isprintable():
        raise EncodingError(f"A title is not 1 to {MAX_TITLE} printable characters.")
    return value


def read_slug(value: object) -> str:
    """A word such as `card_network`."""
    if not isinstance(value, str) or _SLUG.fullmatch(value) is None:
        raise EncodingError("A word is not 1 to 63 of a-z, 0-9, _ and -, beginning with a letter.")
    return value


def read_price(value: object) -> str:
    """A price per evaluation as a decimal text such as `0.002`, never negative."""
    if not isinstance(value, str) or _DECIMAL.fullmatch(value) is None:
        raise EncodingError('A price is not a decimal text such as "0.002".')
    return value


def read_currency(value: object) -> str:
    """A currency's three letters (ISO 4217)."""
    if not isinstance(value, str) or _CURRENCY.fullmatch(value) is None:
        raise EncodingError("A currency is not three capital letters (ISO 4217).")
    return value


def read_optional_time(value: object) -> datetime | None:
    """A time, or null."""
    return None if value is None else parse_time(value)


def read_peer_url(value: object) -> str:
    """The address of a peer: `https://host` or `https://host:port`, lower case, nothing behind it."""
    parse_peer_url(value)
    return str(value)


def parse_peer_url(value: object) -> tuple[str, int]:
    """Part a peer's URL into host (an IPv6 address without brackets) and port."""
    if not isinstance(value, str) or len(value) > MAX_URL or not value.isascii():
        raise EncodingError(f"A peer's URL is not an ASCII text of at most {MAX_URL} characters.")
    if not value.startswith("https://"):
        raise EncodingError("A peer's URL does not begin with https://; peers speak nothing else.")
    try:
        parts = urlsplit(value)
        host, port = parts.hostname or "", 443 if parts.port is None else parts.port
    except ValueError as error:
        raise EncodingError("A peer's URL has a malformed host or port.") from error
    shown = f"[{host}]" if ":" in host else host
    spellings = (f"https://{shown}", f"https://{shown}:{port}")
    if value not in spellings or not is_host(host) or not 0 < port < 65536:
        raise EncodingError(
            "A peer's URL is not https://host or https://host:port, lower case, with nothing behind it."
        )
    return host, port


def is_host(text: str) -> bool:
    """Tell whether `text` is a DNS name in lower case or an IP address in its canonical spelling."""
    try:
        return str(ipaddress.ip_address(text)) == text
    except ValueError:
        labels = text.split(".")
        return (
            0 < len(text) <= 253 and all(_HOST_LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()
        )
