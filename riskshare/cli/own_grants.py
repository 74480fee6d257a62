"""The work of `list grant` and `revoke`, and how grants are shown."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from riskshare.cli.acting import Own, author_of, opened
from riskshare.cli.periods import read_end
from riskshare.cli.publication import peer_runs
from riskshare.cli.screen import Screen, minute
from riskshare.encoding import format_time
from riskshare.errors import InputError
from riskshare.names import check_member_name
from riskshare.peer.directory import directory_of
from riskshare.peer.opening import now
from riskshare.registry import Registry
from riskshare.sharing.grants import Grant
from riskshare.sharing.kept import ListRow


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be granted: list, member, purposes (none: all), end ("": none), and by whom."""

    name: str
    member: str
    purposes: frozenset[str]
    until: str
    author: str


def grant_list(config_file: Path, wish: Wish, *, json: bool) -> None:
    """Let a member use a list.

    Raises:
        InputError: no such list, or one that is open to all; no such member, purpose or time; an end that is past.

    """
    ends_at = read_end(wish.until) if wish.until else None
    if ends_at is not None and ends_at <= now():
        raise InputError("The grant would have ended already: name a later --until.", code="invalid_time")
    check_member_name(wish.member)
    asyncio.run(_grant(config_file, wish, ends_at, Screen(as_json=json)))


async def _grant(config_file: Path, wish: Wish, until: datetime | None, screen: Screen) -> None:
    member, purposes = wish.member, wish.purposes
    async with opened(config_file, screen) as own:
        of = await _granted_list(own, wish.name)
        _check_grantee(own.member.name, (await directory_of(own.member, own.store)).current(), member, purposes)
        made = await own.store.grants.grant(of.id, member, purposes, until, author_of(wish.author))
        running = await peer_runs(own.store)
    full = f"{own.member.name}/{of.name}"
    screen.result({"list": full, **grant_json(made, now()), "peer_running": running})
    purpose = f"for {', '.join(sorted(purposes))}" if purposes else "for every purpose that the registry allows it"
    end = f"until {format_time(until)}" if until else "until it is revoked"
    screen.say(f"{member} may use {full} {purpose}, {end}.", "green")
    screen.say("Its peer follows the list within seconds." if running else "It can be had when the peer starts.")


def _check_grantee(owner: str, registry: Registry, member: str, purposes: frozenset[str]) -> None:
    """Refuse whom the registry does not know, and purposes that it does not allow that member."""
    registered = registry.member(member)
    if registered is None:
        raise InputError(
            f"The registry names no member {member}. It names: {', '.join(sorted(registry.members))}.",
            code="unknown_member",
        )
    if member == owner:
        raise InputError("A member needs no grant for its own list.", code="unknown_member")
    foreign = sorted(purposes - set(registered.purposes))
    if foreign:
        raise InputError(
            f"The registry does not allow {member} to ask for {', '.join(foreign)}; it allows"
            f" {', '.join(sorted(registered.purposes)) or 'nothing'}.",
            code="unknown_purpose",
        )


async def _granted_list(own: Own, name: str) -> ListRow:
    of = await own.list_named(name)
    if not of.granted:
        raise InputError(
            f"{of.name} is open to all members, and stays so: what they hold of it cannot be taken back. Make another"
            " list with riskshare list create NAME --granted, and import into that one.",
            code="open_list",
        )
    return of


def revoke_list(config_file: Path, name: str, member: str, author: str, *, json: bool) -> int:
    """End a member's grant; returns the exit code: 1 if it has none.

    Raises:
        InputError: no such list, or one that is open to all.

    """
    check_member_name(member)
    return asyncio.run(_revoke(config_file, name, member, author, Screen(as_json=json)))


async def _revoke(config_file: Path, name: str, member: str, author: str, screen: Screen) -> int:
    async with opened(config_file, screen) as own:
        of = await _granted_list(own, name)
        done = await own.store.grants.revoke(of.id, member, author_of(author))
        running = await peer_runs(own.store)
    full = f"{own.member.name}/{of.name}"
    screen.result({"list": full, "member": member, "revoked": done, "peer_running": running})
    if not done:
        screen.say(f"{member} has no grant for {full}.", "yellow")
        return 1
    screen.say(f"The grant of {member} for {full} has ended: it is refused files and evaluation.", "green")
    screen.say(
        "What it holds it can go on testing against tokens that it holds. riskshare epoch end"
        f" {of.keyset} --reason withdrawn ends the key, if that matters."
    )
    return 0


def grant_json(grant: Grant, at: datetime) -> dict[str, Any]:
    """One grant, for a program."""
    return {
        "member": grant.member,
        "purposes": sorted(grant.purposes),
        "until": None if grant.until is None else format_time(grant.until),
        "granted_at": format_time(grant.granted_at),
        "author": grant.author,
        "revoked_at": None if grant.revoked_at is None else format_time(grant.revoked_at),
        "revoked_by": grant.revoked_by or None,
        "in_force": grant.in_force(at),
    }


def grants_json(of: ListRow, grants: Sequence[Grant], at: datetime) -> dict[str, Any]:
    """What the status of a list says of its grants; nothing, if it is open to all members."""
    if not of.granted:
        return {"granted": False}
    return {"granted": True, "grants": [grant_json(grant, at) for grant in grants]}


def say_grants(screen: Screen, grants: Sequence[Grant], at: datetime) -> None:
    """All grants that a list ever had, as a table."""
    if not grants:
        screen.say("Nobody has a grant for this list: riskshare list grant NAME --member MEMBER", "yellow")
        return
    rows = [
        (
            grant.member,
            ", ".join(sorted(grant.purposes)) or "all",
            minute(grant.granted_at),
            grant.author,
            minute(grant.ends_at) if grant.ends_at else "-",
            "yes" if grant.in_force(at) else "no",
        )
        for grant in grants
    ]
    screen.table(("member", "purposes", "since", "granted by", "until", "in force"), rows)
