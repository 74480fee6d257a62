"""The work of `list create` and `status`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from riskshare.cli.acting import opened
from riskshare.cli.own_grants import grants_json, say_grants
from riskshare.cli.publication import Published, newest
from riskshare.cli.screen import Screen, counted, minute
from riskshare.encoding import format_time
from riskshare.errors import InputError
from riskshare.names import check_category, check_keyset_name
from riskshare.peer.opening import Member, now
from riskshare.sharing.epoch import OPEN
from riskshare.sharing.kept import ListCounts, ListRow


def create_list(config_file: Path, name: str, category: str, keyset: str, *, granted: bool, json: bool) -> None:
    """Make a list; without a name for its keyset it is `default`, and its own under grants.

    Raises:
        InputError: a name is not usable, taken, or no category of the network; another keyset for a list under grants.

    """
    screen = Screen(as_json=json)
    check_keyset_name(keyset or OPEN)
    check_category(category)
    asyncio.run(_create(config_file, name, category, keyset, screen, granted=granted))


def _keyset(name: str, keyset: str, *, granted: bool) -> str:
    """The keyset of a new list. Raises InputError `own_keyset`."""
    if not granted:
        return keyset or OPEN
    if keyset not in ("", name) or name == OPEN:
        raise InputError(
            f"A list under grants has a keyset of its own, of its own name: leave --keyset away, and do not name it"
            f" {OPEN}.",
            code="own_keyset",
        )
    return name


async def _create(config_file: Path, name: str, category: str, keyset: str, screen: Screen, *, granted: bool) -> None:
    async with opened(config_file, screen) as own:
        registry = own.member.registry
        if category not in registry.categories:
            raise InputError(
                f"The network has no such category; it has {', '.join(registry.categories)}.", code="unknown_category"
            )
        local = own.local_name(name)
        keyset = _keyset(local, keyset, granted=granted)
        of = await own.store.lists.create_list(local, category, keyset, granted=granted)
        full = f"{own.member.name}/{of.name}"
        screen.result(
            {
                "list": full,
                "category": of.category,
                "keyset": of.keyset,
                "granted": of.granted,
                "created_at": format_time(of.created_at),
            }
        )
        screen.say(f"List {full} is made, in the category {category}.", "green")
        steps = [f"riskshare list import {of.name} FILE --config {config_file}"]
        if granted:
            screen.say("Members without a grant do not learn that it exists.")
            steps.append(f"riskshare list grant {of.name} --member MEMBER --config {config_file}")
        screen.steps("Next:", steps)
        _say_role(own.member, screen)


def _say_role(member: Member, screen: Screen) -> None:
    registered = member.registry.members.get(member.name)
    if registered is None:
        screen.note(f"The registry does not name {member.name} yet: nobody sees the list before a governor admits it.")
    elif "owner" not in registered.roles:
        screen.note(
            f"The registry does not name {member.name} as an owner: no other member follows the list; its own checks do"
            " look into it."
        )


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
            grants = await own.store.grants.of_list(of.id) if of.granted else []
            screen.result(_status(own.member.name, of, counts, published) | grants_json(of, grants, now()))
            rows.append(_status_row(own.member.name, of, counts, published))
            if name and of.granted:
                say_grants(screen, grants, now())
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
