"""Where results and messages go: results to standard output, all else to standard error.

Texts from other members are shown as they are, but for control characters: nobody writes a title that moves the cursor.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from riskshare.cli.column_widths import GAP, column_widths

WIDE: Final = 200
"""Width where nobody looks at a terminal: a log or a pipe breaks no cells."""


@final
class Screen:
    """One command's output. With `as_json` only `result` writes to standard output."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.out = _console(stderr=False)
        self.err = _console(stderr=True)

    def result(self, value: Mapping[str, Any]) -> None:
        """Print the result for a program, if JSON is wanted."""
        if self.as_json:
            print(json.dumps(value, ensure_ascii=False), flush=True)

    def say(self, text: str | Text = "", style: str = "") -> None:
        """Print a line for a person, unless JSON is wanted. Lines are not broken, so that they can be copied."""
        if not self.as_json:
            self.out.print(_text(text, style), soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, right: Sequence[str] = ()) -> None:
        """Print a table for a person, unless JSON is wanted; the columns named in `right` hold numbers.

        Where the terminal is too narrow for it, each row is shown as names with values, one a line.
        """
        if self.as_json:
            return
        made = [[_text(cell) for cell in row] for row in rows]
        texts = [[name, *(row[place].plain for row in made)] for place, name in enumerate(columns)]
        widths = column_widths(texts, self.out.width)
        if widths is None:
            for row in made:
                self.say()
                self.pairs((name, cell) for name, cell in zip(columns, row, strict=True) if cell)
            return
        table = Table(box=SIMPLE_HEAD, padding=(0, GAP - 1, 0, 0), pad_edge=False, header_style="bold")
        for column, width in zip(columns, widths, strict=True):
            table.add_column(column, justify="right" if column in right else "left", width=width)
        for row in made:
            table.add_row(*row)
        self.out.print(table)

    def pairs(self, pairs: Iterable[tuple[str, str | Text]]) -> None:
        """Print names with their values, one a line."""
        listed = list(pairs)
        width = max((len(name) for name, _ in listed), default=0) + 3
        for name, value in listed:
            self.say(Text.assemble("  ", (name.ljust(width), "dim"), _text(value)))

    def steps(self, heading: str, steps: Iterable[str]) -> None:
        """Print what to do next."""
        self.say()
        self.say(heading, "bold")
        for step in steps:
            self.say(f"  {step}")

    def note(self, text: str, style: str = "yellow") -> None:
        """Print a message beside the result, on standard error."""
        self.err.print(_text(text, style), soft_wrap=True)


def clean(text: str) -> str:
    """A text from elsewhere, without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def day(moment: datetime) -> str:
    """The day, for a person."""
    return f"{moment:%Y-%m-%d}"


def minute(moment: datetime) -> str:
    """The minute, for a person."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def exact(moment: datetime) -> str:
    """A bound of a period, for a person: seconds and milliseconds only where it has them."""
    if not moment.second and not moment.microsecond:
        return minute(moment)
    return f"{moment:%Y-%m-%d %H:%M:%S}" + (f".{moment.microsecond // 1000:03}" if moment.microsecond else "") + " UTC"


def counted(number: int, word: str, words: str = "") -> str:
    """A number with its noun: 1 row, 2,000 rows."""
    return f"{number:,} {word if number == 1 else words or word + 's'}"


def _text(text: str | Text, style: str = "") -> Text:
    return text if isinstance(text, Text) else Text(clean(text), style)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # noqa: PLE0704 - within the handler; rich would exit with 1, which says something in `check`


def _console(*, stderr: bool) -> Console:
    console = _Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = WIDE
    return console
