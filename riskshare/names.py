"""The names that networks, members, lists and categories may have (pure).

A list's full name is `<member>/<list>`; both parts are lower-case words with digits and
hyphens, so that a name is the same in a path, a log, a file name and a signed statement.
"""

from __future__ import annotations

import re

from riskshare.errors import EncodingError, InputError

MAX_PART = 63
"""Longest part of a name, in characters (a DNS label's length, RFC 1035 2.3.4)."""

_PART = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_NETWORK = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
_CATEGORY = re.compile(r"[a-z][a-z0-9_]{0,62}")


def check_member_name(name: object) -> str:
    """Return `name` if it is a member's name such as `icbc`. Raises InputError `invalid_name`."""
    return _check(_PART, name, "A member's name is 1 to 63 of a-z, 0-9 and -, and does not begin with -.")


def check_local_list_name(name: object) -> str:
    """Return `name` if it is the part of a list's name behind its owner's. Raises InputError `invalid_name`."""
    return _check(_PART, name, "A list's name is 1 to 63 of a-z, 0-9 and -, and does not begin with -.")


def check_keyset_name(name: object) -> str:
    """Return `name` if it is a keyset's name such as `default`. Raises InputError `invalid_name`."""
    return _check(_PART, name, "A keyset's name is 1 to 63 of a-z, 0-9 and -, and does not begin with -.")


def check_category(name: object) -> str:
    """Return `name` if it is a category such as `telecom_fraud`. Raises InputError `invalid_name`."""
    return _check(_CATEGORY, name, "A category is 1 to 63 of a-z, 0-9 and _, and begins with a letter.")


def check_list_name(name: object) -> str:
    """Return `name` if it is a list's full name such as `jd/high-risk`. Raises InputError `invalid_name`."""
    owner, slash, local = name.partition("/") if isinstance(name, str) else ("", "", "")
    if not slash:
        raise InputError("A list is named in full, as <member>/<list>.", code="invalid_name")
    check_member_name(owner)
    check_local_list_name(local)
    return f"{owner}/{local}"


def split_list_name(name: str) -> tuple[str, str]:
    """Part a list's full name into owner and local name. Raises InputError `invalid_name`."""
    owner, _, local = check_list_name(name).partition("/")
    return owner, local


def list_owner(name: str) -> str:
    """Return the member that a full list name belongs to. Raises InputError `invalid_name`."""
    return split_list_name(name)[0]


def read_network_name(value: object) -> str:
    """A network's name: it stands in every signed byte string. Raises EncodingError."""
    if not isinstance(value, str) or _NETWORK.fullmatch(value) is None:
        raise EncodingError("A network's name is not 1 to 63 of a-z, 0-9, . and -, beginning with a letter or digit.")
    return value


def _check(pattern: re.Pattern[str], name: object, sentence: str) -> str:
    if not isinstance(name, str) or pattern.fullmatch(name) is None:
        raise InputError(sentence, code="invalid_name")
    return name
