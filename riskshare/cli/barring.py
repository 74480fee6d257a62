"""The work of `never add`, `list` and `remove`."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from riskshare.cli.acting import Own, opened
from riskshare.cli.publication import await_publication
from riskshare.cli.screen import Screen, counted, minute
from riskshare.encoding import format_time
from riskshare.errors import ConfigError, InputError
from riskshare.membership.identifier import Identifier, mask
from riskshare.peer.opening import new_id, now
from riskshare.sharing.barring import Barring, Found
from riskshare.sharing.kept import Change
from riskshare.sharing.never import NeverRule, exact_rule, prefix_rule, range_rule
from riskshare.sharing.never_file import BadRule, read_rules
from riskshare.sharing.never_kept import NeverRow, open_rule


@dataclass(frozen=True, slots=True)
class Wish:
    """Which rules are to be added, and how."""

    identifiers: Sequence[str]
    prefixes: Sequence[str]
    ranges: Sequence[str]
    file: Path | None
    skip_bad: bool
    note: str
    dry_run: bool
    author: str

    def rules(self) -> Iterator[NeverRule | BadRule]:
        """All of them. Raises InputError, IdentifierError, ConfigError."""
        yield from (exact_rule(text, self.note) for text in self.identifiers)
        yield from (prefix_rule(text, self.note) for text in self.prefixes)
        yield from (range_rule(text, self.note) for text in self.ranges)
        if self.file is not None:
            try:
                data = self.file.read_bytes()
            except OSError as error:
                raise ConfigError(f"{self.file} cannot be read: {error.strerror}.") from error
            yield from read_rules(data, self.note)


def add_rules(config_file: Path, wish: Wish, *, json: bool) -> int:
    """Keep rules and withdraw what they name; gives the exit code: 1 if some were not understood, so none was kept.

    Raises:
        InputError: a rule of the command line is none, or there is none at all; nothing was changed.
        StoreError, OpenError: the rules may be kept, and not applied to all lists: the same command goes on.

    """
    screen = Screen(as_json=json)
    Change(wish.author, "never", "")
    read = list(wish.rules())
    bad = [one for one in read if isinstance(one, BadRule)]
    rules = list(dict.fromkeys(one for one in read if isinstance(one, NeverRule)))
    for one in bad:
        screen.note(f"Rule {one.place:,} of {wish.file}: {one.message}")
    if bad and not wish.skip_bad:
        screen.result({"added": 0, "bad": [{"place": one.place, "message": one.message} for one in bad]})
        is_, them = ("is", "it") if len(bad) == 1 else ("are", "them")
        screen.say(
            f"Nothing was changed: {counted(len(bad), 'rule')} of the file {is_} not understood. Correct {them}, or"
            f" leave {them} out with --bad-rows skip.",
            "bold red",
        )
        return 1
    if not rules:
        raise InputError("Name what may stand on no list: TYPE:VALUE, --prefix, --range or --file.")
    asyncio.run(_add(config_file, wish, rules, bad, screen))
    return 0


async def _add(config_file: Path, wish: Wish, rules: list[NeverRule], bad: list[BadRule], screen: Screen) -> None:
    async with opened(config_file, screen) as own:
        barring = barring_of(own)
        kept = [] if wish.dry_run else await barring.keep(rules, wish.author)
        found = [await _find(own, barring, of.name, rules, screen) for of in await own.store.lists.lists()]
        _tell_found(own, found, screen)
        withdrawn = {}
        for one in found if kept else ():
            withdrawn[one.of.name] = await barring.withdraw(one, rules, wish.author)
            if withdrawn[one.of.name]:
                await await_publication(own, one.of.name, screen, withdrawals=True)
    new = sum(fresh for _, fresh in kept)
    screen.result(
        {
            "dry_run": wish.dry_run,
            "added": new,
            "known": len(kept) - new,
            "rules": [number for number, _ in kept],
            "bad": [{"place": one.place, "message": one.message} for one in bad],
            "found": {f"{own.member.name}/{one.of.name}": len(one.handles) for one in found},
            "withdrawn": {f"{own.member.name}/{name}": number for name, number in withdrawn.items()},
        }
    )
    if wish.dry_run:
        screen.say(f"Dry run: {counted(len(rules), 'rule')} would be added; nothing was changed.", "bold")
        return
    old = len(kept) - new
    known = f", {old:,} {'was' if old == 1 else 'were'} there already" if old else ""
    gone = counted(sum(withdrawn.values()), "entry", "entries")
    screen.say(f"{counted(new, 'rule')} added{known}; {gone} withdrawn.", "bold green")


async def _find(own: Own, barring: Barring, name: str, rules: Sequence[NeverRule], screen: Screen) -> Found:
    of = await own.list_named(name)
    counts = await own.store.lists.counts(of.id)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen.err, transient=True, disable=not screen.err.is_terminal) as bar:
        task = bar.add_task(f"Looking through {name}", total=counts.active + counts.disputed)
        return await barring.find(of, rules, lambda opened: bar.update(task, completed=opened))


def _tell_found(own: Own, found: Sequence[Found], screen: Screen) -> None:
    for one in found:
        if one.handles:
            number = counted(len(one.handles), "entry", "entries")
            screen.say(f"On {own.member.name}/{one.of.name}: {number} that the rules name.", "yellow")


def barring_of(own: Own) -> Barring:
    """What keeps and applies rules of a member."""
    return Barring(
        member=own.member.name,
        data_key=own.member.data_key,
        rules=own.store.never,
        lists=own.store.lists,
        random=secrets.token_bytes,
        new_id=new_id,
    )


def show_rules(config_file: Path, *, json: bool) -> None:
    """Show all rules. Raises StoreError, OpenError."""
    asyncio.run(_show(config_file, Screen(as_json=json)))


async def _show(config_file: Path, screen: Screen) -> None:
    async with opened(config_file, screen) as own:
        rows = [(row, open_rule(own.member.data_key, row)) for row in await own.store.never.rules()]
    for row, rule in rows:
        screen.result(_rule(row, rule))
    if not rows:
        screen.say("No rules yet. Add some: riskshare never add --prefix TYPE:PREFIX --note WHY")
        return
    columns = ("rule", "kind", "names", "note", "by", "since")
    cells = [(str(row.number), row.kind, _shown(rule), row.note, row.author, minute(row.at)) for row, rule in rows]
    screen.table(columns, cells, right=("rule",))


def _rule(row: NeverRow, rule: NeverRule) -> dict[str, Any]:
    return {
        "rule": row.number,
        "kind": row.kind,
        "type": row.type,
        "names": _shown(rule),
        "note": row.note,
        "author": row.author,
        "at": format_time(row.at),
    }


def _shown(rule: NeverRule) -> str:
    """A pattern as it is; of a single identifier what a person may see."""
    return mask(Identifier(rule.type, rule.pattern)) if rule.kind == "exact" else f"{rule.type}:{rule.pattern}"


def remove_rules(config_file: Path, numbers: Sequence[int], *, json: bool) -> int:
    """Forget rules; gives the exit code: 1 if one was not there. Raises StoreError."""
    return asyncio.run(_remove(config_file, numbers, Screen(as_json=json)))


async def _remove(config_file: Path, numbers: Sequence[int], screen: Screen) -> int:
    async with opened(config_file, screen) as own:
        gone = await own.store.never.remove(numbers)
    missing = sorted(set(numbers) - set(gone))
    screen.result({"removed": gone, "not_there": missing, "at": format_time(now())})
    screen.say(f"{counted(len(gone), 'rule')} removed.", "green" if gone else "")
    for number in missing:
        screen.say(f"There is no rule {number}.", "yellow")
    return 1 if missing else 0
