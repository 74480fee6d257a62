"""The work of `list withdraw`, `dispute` and `restore`."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from riskshare.cli.acting import Own, opened
from riskshare.cli.identifier_lines import bad_line, no_identifier, opened_lines, parse_words
from riskshare.cli.publication import await_publication
from riskshare.cli.screen import Screen, counted
from riskshare.errors import IdentifierError, InputError
from riskshare.membership.identifier import Identifier, mask
from riskshare.peer.opening import now
from riskshare.sharing.changing import Decider
from riskshare.sharing.kept import Change
from riskshare.sharing.states import SENTENCES, Refusal, Settled

_DONE: Final = {"withdraw": "withdrawn", "dispute": "disputed", "restore": "restored"}

MOST: Final = 10_000
"""Most identifiers of a file. They change under the list's lock, at some 0.15 ms each: with 50,000 of them, the
withdrawals of others would wait longer than they do (`statement_seconds`), and be refused as `list_busy`."""

SHOWN: Final = 20
"""Identifiers of a file that a person is shown because they could not be changed."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Which entries of a list are meant: those of identifiers, of the identifiers in a file, or of one case."""

    name: str
    identifiers: tuple[str, ...] = field(repr=False)
    file: Path | None
    case: str

    def chosen(self, screen: Screen) -> _Chosen:
        """All identifiers, none for a case; bad lines of a file are told first. Raises as `decide_on`."""
        if (bool(self.identifiers), self.file is not None, bool(self.case)).count(True) != 1:
            raise InputError(
                "Name identifiers, a file of them with --file, or a case reference with --case: one of the three."
            )
        if self.file is not None:
            return _read(self.file, screen)
        wanted = parse_words(self.identifiers, as_json=screen.as_json)
        return _Chosen(tuple(dict.fromkeys(wanted)))


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Identifiers, each once. Of a file `lines` has the first line of each, and `repeated` counts the further ones."""

    identifiers: tuple[Identifier, ...]
    lines: tuple[int, ...] = ()
    repeated: int = 0


def decide_on(config_file: Path, wish: Wish, change: Change, *, json: bool) -> int:
    """Withdraw, dispute or restore what is named, in one change; gives the exit code: 1 if some could not be.

    Raises:
        InputError: no such list or case, not exactly one of identifiers, a file and a case, a text that is no
            identifier; `bad_lines`, `file_empty`, `file_encoding`, `too_many_identifiers`: the file cannot be used.
            Then nothing was changed.
        ConfigError: the file cannot be opened.

    """
    screen = Screen(as_json=json)
    chosen = wish.chosen(screen)
    return asyncio.run(_decide(config_file, wish, chosen, change, screen))


def _read(file: Path, screen: Screen) -> _Chosen:
    with opened_lines(file) as lines:
        read = list(islice(lines, MOST + 1))
    if not read:
        raise no_identifier()
    if len(read) > MOST:
        raise InputError(
            f"The file holds more than {MOST:,} identifiers, and one change of a list takes no more. Nothing was"
            f" changed: split the file, such as with split -l {MOST}.",
            code="too_many_identifiers",
        )
    bad = 0
    first: dict[Identifier, int] = {}
    for line in read:
        if isinstance(line.content, IdentifierError):
            bad += 1
            screen.result(bad_line(line.number, line.content))
            screen.note(f"Line {line.number:,} ({line.content.code}, {line.content.reason}): {line.content.message}")
        else:
            first.setdefault(line.content, line.number)
    if bad:
        raise InputError(
            f"Nothing was changed: {counted(bad, 'line')} of the file {'is' if bad == 1 else 'are'} not valid. Correct"
            " them, or take them out.",
            code="bad_lines",
        )
    return _Chosen(tuple(first), tuple(first.values()), len(read) - len(first))


async def _decide(config_file: Path, wish: Wish, chosen: _Chosen, change: Change, screen: Screen) -> int:
    async with opened(config_file, screen) as own:
        of = await own.list_named(wish.name)
        settled = await decider_of(own).decide(of, change, identifiers=chosen.identifiers, case=wish.case)
        done = sum(one.code is None for one in settled)
        withdrawals = change.action == "withdraw"
        outcome = await await_publication(own, of.name, screen, withdrawals=withdrawals) if done else None
        full = f"{own.member.name}/{of.name}"
    told = _Told(full, change, settled, chosen)
    screen.result({**told.to_json(), **(outcome.to_json() if outcome else {})})
    told.tell(screen)
    if outcome:
        outcome.tell(screen, of.name)
    return 0 if all(one.done for one in settled) else 1


def decider_of(own: Own) -> Decider:
    """What decides about the entries of a member."""
    registry = own.member.registry
    return Decider(
        member=own.member.name,
        data_key=own.member.data_key,
        lists=own.store.lists,
        never=own.store.never,
        most_days=registry.most_days,
        now=now,
        random=secrets.token_bytes,
    )


@dataclass(frozen=True, slots=True)
class _Named:
    """What became of one identifier, as it may be shown; `line` is 0 if it stood on the command line."""

    masked: str
    line: int
    code: Refusal | None

    def to_json(self) -> dict[str, Any]:
        """For a program."""
        assert self.code is not None
        place = {"line": self.line} if self.line else {}
        return {**place, "identifier": self.masked, "code": self.code, "message": SENTENCES[self.code]}

    def tell(self, screen: Screen) -> None:
        """For a person."""
        assert self.code is not None
        where = f" (line {self.line:,})" if self.line else ""
        if self.code == "not_listed":
            screen.say(f"Not on the list: {self.masked}{where}", "yellow")
        else:
            screen.say(f"{self.masked}{where}: {SENTENCES[self.code]}", "yellow")


class _Told:
    """What is said of a decision. Of a case the entries stay unnamed; of a file a person is shown the first ones."""

    def __init__(self, full: str, change: Change, settled: Sequence[Settled], chosen: _Chosen) -> None:
        self._full = full
        self._change = change
        self._chosen = chosen
        self._done = [one for one in settled if one.code is None]
        lines = chosen.lines or (0,) * len(chosen.identifiers)
        named = zip(chosen.identifiers, lines, settled, strict=True) if chosen.identifiers else ()
        self._named = [_Named(mask(one), line, of.code) for one, line, of in named if of.code is not None]
        self._refused = Counter(one.code for one in settled if one.code is not None)

    def to_json(self) -> dict[str, Any]:
        """For a program."""
        absent = [one for one in self._named if one.code == "not_listed"]
        of_file = {"not_listed_lines": [one.line for one in absent], "repeated": self._chosen.repeated}
        return {
            "list": self._full,
            _DONE[self._change.action]: len(self._done),
            "not_listed": [one.masked for one in absent],
            **(of_file if self._chosen.lines else {}),
            "refused": [one.to_json() for one in self._named if one.code != "not_listed"],
            "refused_by_code": dict(sorted(self._refused.items())),
            "author": self._change.author,
            "reason": self._change.reason,
        }

    def tell(self, screen: Screen) -> None:
        """For a person."""
        number, word = len(self._done), _DONE[self._change.action]
        text = f"{counted(number, 'entry', 'entries')} of {self._full} {word} ({self._change.reason})."
        screen.say(text, "green" if number else "")
        gone = sum(one.was == "withdrawn" for one in self._done)
        if gone and word == "withdrawn":
            screen.say(f"Of these, off the list before: {gone:,}. No file lists them again from now on.")
        upheld = sum(one.upheld for one in self._done)
        if upheld and word == "restored":
            screen.say(f"Of these, an appeal had been upheld before: {upheld:,}.", "yellow")
        if self._chosen.repeated:
            screen.say(f"{counted(self._chosen.repeated, 'line repeats', 'lines repeat')} an earlier one.")
        if self._chosen.lines or not self._chosen.identifiers:
            words = ("identifier", "") if self._chosen.lines else ("entry", "entries")
            for code, count in sorted(self._refused.items()):
                screen.say(f"{counted(count, *words)}: {SENTENCES[code]}", "yellow")
        shown = sorted(self._named, key=lambda one: one.code != "not_listed")
        most = SHOWN if self._chosen.lines else len(shown)
        for one in shown[:most]:
            one.tell(screen)
        if len(shown) > most:
            screen.say(f"… and {len(shown) - most:,} more; --json names all of them.", "yellow")
