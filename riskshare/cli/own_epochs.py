"""The work of `epoch end`."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

from riskshare.cli.acting import opened
from riskshare.cli.publication import peer_runs
from riskshare.cli.screen import Screen
from riskshare.errors import InputError
from riskshare.peer.opening import now
from riskshare.sharing.ending import end_epoch
from riskshare.statement import SALT_BYTES


def end_epochs(config_file: Path, keyset: str, reason: str, *, json: bool) -> None:
    """End all epochs of a keyset that are in service. Raises InputError: there is none."""
    asyncio.run(_end(config_file, keyset, reason, Screen(as_json=json)))


async def _end(config_file: Path, keyset: str, reason: str, screen: Screen) -> None:
    async with opened(config_file, screen) as own:
        at = now()
        network, identity = own.member.registry.network, own.member.keys.identity
        ended = []
        for row in await own.store.publications.epochs(keyset):
            if at < row.until:
                salt = secrets.token_bytes(SALT_BYTES)
                over = end_epoch(network, row, identity, at=at, reason=reason, salt=salt)
                if await own.store.publications.end_epoch(over):
                    ended.append(row.number)
        if not ended:
            known = sorted({row.keyset for row in await own.store.lists.lists()})
            raise InputError(
                f"No epoch of this keyset is in service. The lists here have the keysets {', '.join(known) or '-'}.",
                code="no_epoch",
            )
        running = await peer_runs(own.store)
    screen.result({"keyset": keyset, "ended": ended, "reason": reason, "peer_running": running})
    epochs = "epoch" if len(ended) == 1 else "epochs"
    screen.say(f"Ended: {epochs} {', '.join(map(str, ended))} of the keyset {keyset} ({reason}).", "green")
    if running:
        screen.say("The running peer publishes the lists anew; riskshare list status shows when they are out.")
    else:
        screen.say("The lists are published anew when the peer starts: riskshare serve.", "yellow")
