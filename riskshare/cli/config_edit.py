"""Changing two keys of a configuration file, and nothing else in it: its comments are the operator's."""

from __future__ import annotations

import json
import os
import re
import secrets
import tomllib
from pathlib import Path
from typing import Any, Final

from riskshare.errors import ConfigError
from riskshare.keys import disk_errors, write_new

SECTION: Final = "member"
_HEADER = re.compile(r"\s*\[")
_OWN_HEADER = re.compile(r"\s*\[\s*member\s*\]\s*(#.*)?$")


def write_pin(path: Path, network_file: str, network_sha256: str) -> None:
    """Set `network_file` and `network_sha256` in the section member. The file is whole, old or new, at any moment.

    Raises:
        ConfigError: the file is written in a way that cannot be changed line by line. DiskError.

    """
    values = {"network_file": network_file, "network_sha256": network_sha256}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as text.") from error
    changed = with_values(text, values)
    wanted = _expected(text, values)
    if wanted is None or _parsed(changed) != wanted:
        raise ConfigError(f"{path} is not written line by line. Set {' and '.join(values)} in it by hand, to: {values}")
    path = path.resolve()  # of a link, what it leads to is replaced
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        write_new(beside, changed.encode(), mode=0o600)
        with disk_errors(path):
            _give(beside, path.stat())
            beside.replace(path)
            _sync(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def with_values(text: str, values: dict[str, str]) -> str:
    """The text of a configuration with values set in the section member, new keys at its beginning."""
    missing = dict(values)
    lines: list[str] = []
    inside = False
    start = -1
    for line in text.splitlines(keepends=True):
        if _HEADER.match(line):
            inside = _OWN_HEADER.match(line.rstrip("\r\n")) is not None
            start = len(lines) + 1 if inside else start
        name = line.partition("=")[0].strip()
        if inside and name in missing:
            lines.append(_line(name, missing.pop(name)))
        else:
            lines.append(line)
    if start < 0:
        lines.append(f"\n[{SECTION}]\n")
        start = len(lines)
    lines[start:start] = [_line(name, value) for name, value in missing.items()]
    return "".join(lines)


def _line(name: str, value: str) -> str:
    # JSON's text strings are TOML's basic strings but for the delete character.
    text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return f"{name} = {text}\n"


def _expected(text: str, values: dict[str, str]) -> dict[str, Any] | None:
    old = _parsed(text)
    return None if old is None else {**old, SECTION: {**old.get(SECTION, {}), **values}}


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _give(file: Path, like: os.stat_result) -> None:
    """Give a file the owner, group and rights of another: the peer, which may not be who writes, reads it still."""
    made = file.stat()
    if (made.st_uid, made.st_gid) != (like.st_uid, like.st_gid):
        os.chown(file, like.st_uid, like.st_gid)
    file.chmod(like.st_mode & 0o777)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
