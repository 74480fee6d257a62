"""The network that is measured: owners in processes of their own, the querier's peer in this one."""

from __future__ import annotations

import asyncio
import csv
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from riskshare.errors import RiskshareError
from riskshare.generate import generate
from riskshare.loopback import GENEROUS, LoopbackMember, LoopbackNetwork, Spec
from riskshare.membership.identifier import Identifier
from riskshare.peer.peer import Peer

QUERIER: Final = "querier"
CATEGORIES: Final = ("transaction_fraud", "high_risk_account", "marketing_cheating", "telecom_fraud")
ENTRIES: Final = 3000
FOLLOWED_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Measured:
    """A running network: `querier` is a peer in this process; owner number i publishes one list of CATEGORIES[i]."""

    network: LoopbackNetwork
    querier: Peer
    owners: tuple[LoopbackMember, ...]


@asynccontextmanager
async def measured_network(directory: Path, owners: int) -> AsyncIterator[Measured]:
    """Make and start the network; everything is followed when the context begins.

    The token cache is off, so that every check asks.
    """
    specs = [Spec(QUERIER, "Querier", "bank", ("querier",), {"check": {"token_cache_entries": 0}})]
    specs += [Spec(f"owner-{number}", f"Owner {number}", "payment") for number in range(owners)]
    network = await asyncio.to_thread(LoopbackNetwork.create, directory, specs, quota=GENEROUS)
    made = tuple(network.members[spec.name] for spec in specs[1:])
    for number, member in enumerate(made):
        await asyncio.to_thread(fill, member, CATEGORIES[number], number)
    try:
        await asyncio.to_thread(network.start, *(member.name for member in made))
        querier = Peer(network.members[QUERIER].config)
        await querier.start()
        try:
            await _followed(querier, owners)
            yield Measured(network, querier, made)
        finally:
            await querier.stop()
    finally:
        await asyncio.to_thread(network.stop)


def fill(member: LoopbackMember, category: str, number: int, entries: int = ENTRIES) -> list[Identifier]:
    """Give an owner a list, by the commands that an operator would use; return what is on it."""
    listed = generate(number, entries, ("phone", "bank_card"))
    file = member.directory / "list.csv"
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["identifier"])
        writer.writerows([identifier.canonical] for identifier in listed)
    for arguments in (["create", "listed", "--category", category], ["import", "listed", str(file)]):
        done = subprocess.run(  # noqa: S603 - ourselves, with arguments made here
            [sys.executable, "-m", "riskshare", "list", *arguments, "--json"],
            env={**os.environ, "RISKSHARE_CONFIG": str(member.config_file)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RiskshareError(f"The list could not be made: {done.stderr.strip()}", code="bench_failed")
    return listed


async def _followed(querier: Peer, owners: int) -> None:
    """Wait until all lists are held and current."""
    async with asyncio.timeout(FOLLOWED_SECONDS):
        while True:
            held = querier.querier.holdings.concerning(frozenset(), querier.now())
            if sum(len(epoch.lists) for owner in held for epoch in owner.epochs) == owners:
                return
            await asyncio.sleep(0.1)
