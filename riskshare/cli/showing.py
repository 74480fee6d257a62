"""The work of `list show` and `list stats`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from itertools import islice
from pathlib import Path
from typing import Final

from riskshare.api_entries import EntryModel, EventModel
from riskshare.cli.acting import opened
from riskshare.cli.identifier_lines import no_identifier, opened_lines, parse_words
from riskshare.cli.screen import Screen, day, minute
from riskshare.errors import IdentifierError, InputError
from riskshare.membership.identifier import Identifier, mask
from riskshare.peer.opening import now
from riskshare.peer.showing import shown
from riskshare.sharing.statistics import Day, by_day

MOST: Final = 1_000
"""Most identifiers of a file; whoever wants more exports the list."""


def show_entries(config_file: Path, texts: Sequence[str], file: Path | None, name: str, *, json: bool) -> int:
    """Show what own lists hold of identifiers; gives the exit code: 1 if one of them is on none now.

    Raises:
        InputError: a text or a line of the file is no identifier, or there is no such list; `file_empty`,
            `file_encoding`, `too_many_identifiers`: the file cannot be used. ConfigError: it cannot be opened.

    """
    wanted = parse_words(texts, as_json=json) if file is None else _read(file)
    return asyncio.run(_show(config_file, list(dict.fromkeys(wanted)), name, Screen(as_json=json)))


def _read(file: Path) -> list[Identifier]:
    found: list[Identifier] = []
    with opened_lines(file) as lines:
        for line in islice(lines, MOST + 1):
            if isinstance(line.content, IdentifierError):
                raise InputError(f"Line {line.number:,}: {line.content.message}", code=line.content.code)
            found.append(line.content)
    if not found:
        raise no_identifier()
    if len(found) > MOST:
        raise InputError(f"More than {MOST:,} identifiers are not shown at once.", code="too_many_identifiers")
    return found


async def _show(config_file: Path, wanted: Sequence[Identifier], name: str, screen: Screen) -> int:
    async with opened(config_file, screen) as own:
        lists = [await own.list_named(name)] if name else await own.store.lists.lists()
        found = [
            await shown(own.store, own.member.data_key, own.member.name, one, lists=lists, now=now()) for one in wanted
        ]
    for identifier, entries in zip(wanted, found, strict=True):
        for entry in entries:
            screen.result(entry.model_dump(mode="json"))
            _tell(entry, screen)
        if not entries:
            screen.say(f"No list of ours holds {mask(identifier)}, or ever held it.", "yellow")
    return 0 if all(any(entry.state != "withdrawn" for entry in entries) for entries in found) else 1


def _tell(entry: EntryModel, screen: Screen) -> None:
    state = f"{entry.state} ({entry.withdrawn_for})" if entry.withdrawn_for else entry.state
    screen.say(f"{entry.identifier} on {entry.list}: {state}", "bold")
    screen.pairs(
        [
            ("why", f"{entry.category}: {entry.reason}, level {entry.level}"),
            ("evidence", entry.evidence or "-"),
            ("case", entry.case or "-"),
            ("appeal", entry.appeal or "-"),
            ("listed", minute(entry.listed_at)),
            ("until", minute(entry.valid_until)),
        ]
    )
    columns = ("change", "when", "who", "what", "why", "since then", "level", "until")
    screen.table(columns, [_event(one) for one in entry.history], right=("change",))
    if entry.holders:
        rows = [
            (
                one.member,
                str(one.epoch),
                str(one.version),
                minute(one.confirmed_at),
                "yes" if one.current else "not yet",
            )
            for one in entry.holders
        ]
        screen.table(("held by", "epoch", "version", "confirmed", "as it is now"), rows, right=("epoch", "version"))
    else:
        screen.say("  No member has said yet that it holds a snapshot of this list.")


def _event(event: EventModel) -> tuple[str, ...]:
    state = f"{event.state} ({event.withdrawn_for})" if event.withdrawn_for else event.state
    return (
        str(event.number),
        minute(event.at) if event.at else "before changes were kept",
        event.author or "-",
        event.action or "-",
        (event.why or "-") + (f" (import {event.import_id})" if event.import_id else ""),
        state,
        event.level,
        day(event.valid_until),
    )


def show_statistics(config_file: Path, name: str, days: int, *, json: bool) -> None:
    """Show what was done to a list on each of the last days. Raises InputError: there is no such list."""
    asyncio.run(_statistics(config_file, name, days, Screen(as_json=json)))


async def _statistics(config_file: Path, name: str, days: int, screen: Screen) -> None:
    last = now().date()
    first = last - timedelta(days=days - 1)
    async with opened(config_file, screen) as own:
        of = await own.list_named(name)
        before, rows = await own.store.history.days(of.id, datetime.combine(first, time(), UTC))
        full = f"{own.member.name}/{of.name}"
    found = by_day(before, rows, first, last)
    screen.result({"list": full, "days": [one.to_json() for one in found]})
    columns = ("day", "new", "changed", "listed again", "withdrawn", "why", "disputed", "restored", "size")
    right = ("new", "changed", "listed again", "withdrawn", "disputed", "restored", "size")
    begun = min(last, of.created_at.astimezone(UTC).date())
    screen.table(columns, [_day(one) for one in found if one.day >= begun], right=right)


def _day(one: Day) -> tuple[str, ...]:
    numbers = (one.added, one.replaced, one.relisted, one.gone)
    why = ", ".join(f"{reason} {number:,}" for reason, number in sorted(one.withdrawn.items()))
    ends = (one.disputed, one.restored)
    return (
        f"{one.day:%Y-%m-%d}",
        *(f"{number:,}" if number else "" for number in numbers),
        why,
        *(f"{number:,}" if number else "" for number in ends),
        f"{one.size:,}",
    )
