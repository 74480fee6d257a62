"""Identifiers as commands take them: on the command line, or in a file of one TYPE:VALUE a line.

Of a file, lines with nothing on them and those that begin with # are left out. A bad line is told by its number, and
never by its text.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from riskshare.cli.failures import say_error
from riskshare.errors import ConfigError, IdentifierError, InputError
from riskshare.membership.identifier import Identifier, parse

MAX_LINE: Final = 4096
"""Longest line of a file, in bytes."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file, from 1: an identifier, or why it is none."""

    number: int
    content: Identifier | IdentifierError


def parse_words(texts: Iterable[str], *, as_json: bool) -> list[Identifier]:
    """The identifiers of a command line. Raises IdentifierError: the last one that is none; those before are told."""
    found: list[Identifier] = []
    bad: list[IdentifierError] = []
    for position, text in enumerate(texts):
        try:
            found.append(parse(text, position=position))
        except IdentifierError as error:
            bad.append(error)
    for each in bad[:-1]:
        say_error(each, as_json=as_json)
    if bad:
        raise bad[-1]
    return found


def bad_line(number: int, error: IdentifierError) -> dict[str, Any]:
    """What is told a program of a line that holds no identifier."""
    details = {"code": error.code, "message": error.message, "type": error.type, "reason": error.reason}
    return {"line": number, "error": details}


def no_identifier() -> InputError:
    """The error of a file that has no line with something on it: `file_empty`."""
    return InputError("The file holds no identifier.", code="file_empty")


@contextmanager
def opened_lines(path: Path) -> Iterator[Iterator[Line]]:
    """Open a file, or standard input for `-`, and give its lines as they are read.

    Raises:
        ConfigError: it cannot be opened, or there is no standard input.
        InputError: while reading: a line is longer than `MAX_LINE`; `file_encoding`, a line is not UTF-8.

    """
    if str(path) == "-":
        if sys.stdin is None:  # the process was started without one
            raise ConfigError("Standard input is closed: pipe the identifiers into it, or name a file.")
        yield read_lines(sys.stdin.buffer)
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    with file:
        yield read_lines(file)


def read_lines(file: BinaryIO) -> Iterator[Line]:
    """The lines with something on them; those that begin with # are comments. Raises InputError."""
    number = 0
    while data := file.readline(MAX_LINE + 1):
        number += 1
        if len(data) > MAX_LINE:
            raise InputError(f"Line {number} is longer than {MAX_LINE} bytes: one identifier a line is expected.")
        try:
            text = data.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            raise InputError(
                f"Line {number} is not UTF-8. Convert the file: iconv -t UTF-8.", code="file_encoding"
            ) from error
        if not text or text.startswith("#"):
            continue
        try:
            yield Line(number, parse(text, position=number))
        except IdentifierError as error:
            yield Line(number, error)
