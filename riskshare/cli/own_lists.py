"""The work of `list create`, `status` and `withdraw`."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from riskshare.cli.acting import Own, opened
from riskshare.cli.publication import Published, await_publication, newest
from riskshare.cli.screen import Screen, counted, minute
from riskshare.encoding import format_time
from riskshare.errors import InputError
from riskshare.membership.identifier import Identifier, mask, parse
from riskshare.names import check_category, check_keyset_name
from riskshare.peer.opening import Member, now
from riskshare.sharing.entry import NONCE_BYTES, reseal
from riskshare.sharing.kept import Change, ListCounts, ListRow, Resealed, State, StoredEntry
from riskshare.store.entries import Reseal


def create_list(config_file: Path, name: str, category: str, keyset: str, *, json: bool) -> None:
    """Make a list. Raises InputError: a name is not usable, taken, or no category of the network."""
    screen = Screen(as_json=json)
    check_keyset_name(keyset)
    check_category(category)
    asyncio.run(_create(config_file, name, category, keyset, screen))


async def _create(config_file: Path, name: str, category: str, keyset: str, screen: Screen) -> None:
    async with opened(config_file, screen) as own:
        registry = own.member.registry
        if category not in registry.categories:
            raise InputError(
                f"The network has no such category; it has {', '.join(registry.categories)}.", code="unknown_category"
            )
        of = await own.store.lists.create_list(own.local_name(name), category, keyset)
        full = f"{own.member.name}/{of.name}"
        screen.result(
            {"list": full, "category": of.category, "keyset": of.keyset, "created_at": format_time(of.created_at)}
        )
        screen.say(f"List {full} is made, in the category {category}.", "green")
        screen.steps("Next:", [f"riskshare list import {of.name} FILE --config {config_file}"])
        _say_role(own.member, screen)


def _say_role(member: Member, screen: Screen) -> None:
    registered = member.registry.members.get(member.name)
    if registered is None:
        screen.note(f"The registry does not name {member.name} yet: nobody sees the list before a governor admits it.")
    elif "owner" not in registered.roles:
        screen.note(f"The registry does not name {member.name} as an owner: nobody will follow the list.")


def show_lists(config_file: Path, name: str, *, json: bool) -> None:
    """Show one list, or all. Raises InputError: there is none of that name."""
    asyncio.run(_show(config_file, name, Screen(as_json=json)))


async def _show(config_file: Path, name: str, screen: Screen) -> None:
    async with opened(config_file, screen) as own:
        lists = [await own.list_named(name)] if name else await own.store.lists.lists()
        rows = []
        waiting = 0
        for of in lists:
            counts = await own.store.lists.counts(of.id)
            published = await newest(own.store, of, now())
            waiting += counts.pending
            screen.result(_status(own.member.name, of, counts, published))
            rows.append(_status_row(own.member.name, of, counts, published))
    if not rows:
        screen.say("No lists yet. Make one: riskshare list create NAME --category CATEGORY")
        return
    columns = ("list", "category", "active", "disputed", "withdrawn", "waiting", "version", "published", "expires")
    screen.table(columns, rows, right=("active", "disputed", "withdrawn", "waiting", "version"))
    if waiting:
        screen.say(
            f"{counted(waiting, 'change')} wait to be published: by the running peer, or when it starts.", "yellow"
        )


def _status(member: str, of: ListRow, counts: ListCounts, published: Sequence[Published]) -> dict[str, Any]:
    return {
        "list": f"{member}/{of.name}",
        "category": of.category,
        "keyset": of.keyset,
        "active": counts.active,
        "disputed": counts.disputed,
        "withdrawn": counts.withdrawn,
        "pending": counts.pending,
        "created_at": format_time(of.created_at),
        "snapshots": [one.to_json() for one in published],
    }


def _status_row(member: str, of: ListRow, counts: ListCounts, published: Sequence[Published]) -> tuple[str, ...]:
    newest_one = published[-1].snapshot if published else None
    return (
        f"{member}/{of.name}",
        of.category,
        f"{counts.active:,}",
        f"{counts.disputed:,}",
        f"{counts.withdrawn:,}",
        f"{counts.pending:,}",
        str(newest_one.version) if newest_one else "-",
        minute(newest_one.issued_at) if newest_one else "not yet",
        minute(newest_one.expires_at) if newest_one else "-",
    )


def withdraw_from(config_file: Path, name: str, texts: Sequence[str], change: Change, *, json: bool) -> int:
    """Withdraw identifiers from a list; returns the exit code: 1 if some are not on it.

    Raises:
        InputError: no such list, or a text is no identifier; then nothing was changed.

    """
    wanted = [parse(text, position=position) for position, text in enumerate(texts)]
    return asyncio.run(_withdraw(config_file, name, list(dict.fromkeys(wanted)), change, Screen(as_json=json)))


async def _withdraw(config_file: Path, name: str, wanted: Sequence[Identifier], change: Change, screen: Screen) -> int:
    async with opened(config_file, screen) as own:
        of = await own.list_named(name)
        full = f"{own.member.name}/{of.name}"
        handles = [own.member.data_key.handle(one.oprf_input, full) for one in wanted]
        on_it = {entry.handle for list_id, entry in await own.store.lists.consult(handles, now()) if list_id == of.id}
        missing = [mask(one) for one, handle in zip(wanted, handles, strict=True) if handle not in on_it]
        done = await own.store.lists.change_state(of.id, handles, "withdrawn", change, resealing(own))
        outcome = await await_publication(own, of.name, screen) if done else None
    result = {"list": full, "withdrawn": done, "not_listed": missing, **(outcome.to_json() if outcome else {})}
    screen.result(result)
    screen.say(f"{counted(done, 'entry', 'entries')} of {full} withdrawn ({change.reason}).", "green" if done else "")
    for masked in missing:
        screen.say(f"Not on the list: {masked}", "yellow")
    if outcome:
        outcome.tell(screen, of.name)
    return 1 if missing else 0


def resealing(own: Own) -> Reseal:
    """What gives an entry its new state's seal, with the member's data key."""

    def run(of: ListRow, entry: StoredEntry, state: State) -> Resealed:
        name = f"{own.member.name}/{of.name}"
        return reseal(own.member.data_key, name, entry, state, secrets.token_bytes(NONCE_BYTES))

    return run
