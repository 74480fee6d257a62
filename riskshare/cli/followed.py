"""The work of `list status` for other members' lists: what the running peer holds of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from riskshare.api_models import ListModel
from riskshare.cli.acting import load_config
from riskshare.cli.asking import Peer, own_peer
from riskshare.cli.screen import Screen, counted, minute
from riskshare.errors import InputError, PeerDown
from riskshare.governance import API_KEY_FILE


def is_of_another(config_file: Path, name: str) -> bool:
    """Whether `name` is the full name of another member's list. Raises ConfigError."""
    owner, slash, _ = name.partition("/")
    return bool(slash) and owner != load_config(config_file).member.name


def show_followed(config_file: Path, name: str, *, json: bool) -> None:
    """Show one list of another member (full name), or all (empty).

    Raises:
        InputError: the peer knows no such list.
        ConfigError, AccessError, PeerError: the peer cannot be asked.

    """
    screen = Screen(as_json=json)
    lists = [each for each in _fetch(config_file) if not each.own and name in ("", each.list)]
    if name and not lists:
        raise InputError("No catalogue names a list of that name for this member.", code="unknown_list")
    for each in lists:
        screen.result(each.model_dump(mode="json"))
    if not lists:
        screen.say("No lists of other members yet.")
        return
    columns = ("list", "category", "status", "version", "entries", "confirmed", "expires")
    screen.table(columns, [_row(each) for each in lists], right=("version", "entries"))
    refused = [each for each in lists if each.refused is not None]
    for each in refused:
        assert each.refused is not None
        serves = "nothing serves" if each.version is None else f"version {each.version} serves on, without clears"
        screen.say(
            f"{each.list}: the newest snapshot is refused ({each.refused.code}) since {minute(each.refused.since)};"
            f" {serves}.",
            "yellow",
        )
    if refused:
        screen.say(f"What to do about {counted(len(refused), 'code')}: docs/errors.md.")


def _fetch(config_file: Path) -> tuple[ListModel, ...]:
    config = load_config(config_file)
    peer = own_peer(config, config_file.absolute().parent / API_KEY_FILE)
    try:
        return asyncio.run(_lists(peer))
    except PeerDown as error:
        raise PeerDown(
            config.member.name, f"No peer answers at {peer.url}. Start it: riskshare serve --config {config_file}"
        ) from error


async def _lists(peer: Peer) -> tuple[ListModel, ...]:
    async with peer.client() as client:
        return await client.lists()


def _row(each: ListModel) -> tuple[str, ...]:
    return (
        each.list,
        each.category,
        each.status,
        "-" if each.version is None else str(each.version),
        "-" if each.entries is None else f"{each.entries:,}",
        minute(each.confirmed_at) if each.confirmed_at else "never",
        minute(each.expires_at) if each.expires_at else "-",
    )
