"""How soon a change of a list is at all who follow it: an entry withdrawn, a thousand added. And what following costs.

An owner and five subscribers, each a peer of its own with mutual TLS and database, on loopback. A change counts as
visible when checks at *all* of them say so: each subscriber is asked every few milliseconds, until its answer is the
new one. That answer is whole (`clear`, not `incomplete`), and the token of what is asked about is cached.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from riskshare.api_client import Client
from riskshare.bench.measure import Figure, Raw, hash_and_multiply, median_of
from riskshare.bench.network import CATEGORIES, fill
from riskshare.bench.resident import resident
from riskshare.errors import RiskshareError
from riskshare.generate import generate
from riskshare.loopback import GENEROUS, LoopbackMember, LoopbackNetwork, Spec
from riskshare.membership.identifier import Identifier
from riskshare.peer.opening import opened_store, read_member
from riskshare.sharing.entry import NONCE_BYTES, reseal
from riskshare.sharing.kept import Change, ListRow, Resealed, State, StoredEntry
from riskshare.store import notify
from riskshare.store.store import Store

OWNER: Final = "owner"
SUBSCRIBERS: Final = tuple(f"subscriber-{number}" for number in range(5))
ENTRIES: Final = 20_000
WITHDRAWALS: Final = 100
DELTAS: Final = 7
DELTA_ENTRIES: Final = 1000
PAUSE_SECONDS: Final = 0.04
"""Between two checks at one subscriber; so much a figure may be too large."""
PATIENCE_SECONDS: Final = 60.0


async def revoking(raw: Raw) -> list[Figure]:
    """The time from a withdrawal, and from an import of a thousand rows, to the last of five subscribers."""
    with tempfile.TemporaryDirectory(prefix="riskshare-bench-") as folder:
        async with _followed(Path(folder)) as followed:
            additions = await _additions(followed, raw)
            withdrawals = await _withdrawals(followed)
    return [additions, *withdrawals, resident()]


@dataclass(frozen=True, slots=True)
class _Followed:
    """A running network in which all five hold the owner's list, of `listed`."""

    owner: LoopbackMember
    store: Store
    of: ListRow
    listed: Sequence[Identifier]
    subscribers: Sequence[Client]

    async def seen(self, identifier: Identifier, verdict: str) -> float:
        """When the last subscriber's check gave this verdict, by `perf_counter`."""
        return max(await asyncio.gather(*(_told(client, identifier, verdict) for client in self.subscribers)))


async def _told(client: Client, identifier: Identifier, verdict: str) -> float:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if (await client.check([identifier.canonical], purpose="payment")).verdict == verdict:
                return time.perf_counter()
            await asyncio.sleep(PAUSE_SECONDS)


@asynccontextmanager
async def _followed(directory: Path) -> AsyncIterator[_Followed]:
    specs = [Spec(OWNER, "Owner", "payment"), *(Spec(name, name, "bank", ("querier",)) for name in SUBSCRIBERS)]
    network = await asyncio.to_thread(LoopbackNetwork.create, directory, specs, quota=GENEROUS)
    owner = network.members[OWNER]
    try:
        async with AsyncExitStack() as stack:
            listed = await asyncio.to_thread(fill, owner, CATEGORIES[0], 0, ENTRIES)
            await asyncio.to_thread(network.start)
            store = await stack.enter_async_context(opened_store(owner.config))
            of = await store.lists.list_named("listed")
            assert of is not None, "the list that was filled"
            clients = []
            for name in SUBSCRIBERS:
                await asyncio.to_thread(network.wait_for_lists, name, [f"{OWNER}/listed"])
                member = network.members[name]
                clients.append(await stack.enter_async_context(Client(member.urls["clients"], member.api_key)))
            yield _Followed(owner, store, of, listed, clients)
    finally:
        await asyncio.to_thread(network.stop)


async def _withdrawals(followed: _Followed) -> list[Figure]:
    """From the call that withdraws an entry to the last subscriber without a hit."""
    withdraw = _withdrawing(followed)
    times = []
    for identifier in followed.listed[:WITHDRAWALS]:
        await followed.seen(identifier, "hit")
        began = time.perf_counter()
        await withdraw(identifier)
        times.append(await followed.seen(identifier, "clear") - began)
    percentile = statistics.quantiles(times, n=100, method="inclusive")[98]
    detail = (
        f"of {len(times)} withdrawals from a list of {ENTRIES:,}, one by one, to the last of {len(SUBSCRIBERS)}"
        f" subscribers whose check is clear; fastest {min(times):.2f} s, slowest {max(times):.2f} s"
    )
    return [
        Figure("revocation: from withdraw to no hit anywhere, median", median_of(times), "s", 1.0, "at most", detail),
        Figure("revocation: from withdraw to no hit anywhere, 99th percentile", percentile, "s", 3.0, "at most"),
    ]


def _withdrawing(followed: _Followed) -> Callable[[Identifier], Awaitable[object]]:
    """What withdraws one entry, as the command does."""
    member, of = read_member(followed.owner.config), followed.of
    full = f"{member.name}/{of.name}"

    def sealed(_of: ListRow, entry: StoredEntry, state: State) -> Resealed:
        return reseal(member.data_key, full, entry, state, secrets.token_bytes(NONCE_BYTES))

    async def withdraw(identifier: Identifier) -> None:
        handle = member.data_key.handle(identifier.oprf_input, full)
        change = Change("bench", "withdraw", "appeal_upheld")
        if await followed.store.lists.change_state(of.id, [handle], "withdrawn", change, sealed) != 1:
            raise RiskshareError("An entry to be withdrawn is not listed.", code="bench_failed")

    return withdraw


async def _additions(followed: _Followed, raw: Raw) -> Figure:
    """From the commit of an import to the last subscriber that has its entries; the group operations aside."""
    fresh = generate(1, DELTAS * DELTA_ENTRIES, ("phone", "bank_card"), exclude=set(followed.listed))
    file = followed.owner.directory / "more.csv"
    times, bare = [], []
    for start in range(0, len(fresh), DELTA_ENTRIES):
        rows = fresh[start : start + DELTA_ENTRIES]
        await asyncio.to_thread(file.write_text, "\n".join(["identifier", *(each.canonical for each in rows)]))
        bare.append(DELTA_ENTRIES / await asyncio.to_thread(raw.rate, hash_and_multiply))
        began, ended = await asyncio.gather(_imported(followed, file), followed.seen(rows[-1], "hit"))
        times.append(ended - began)
    seconds, operations = median_of(times), median_of(bare)
    return Figure(
        f"a delta of {DELTA_ENTRIES:,} entries at five subscribers, beyond its group operations",
        seconds - operations,
        "s",
        2.0,
        "at most",
        detail=f"{seconds:.2f} s from the commit to the last subscriber that reports a hit, less {operations:.2f} s"
        f" for the bare operations on all cores; median of {DELTAS}, slowest {max(times):.2f} s",
        parts={"seconds": seconds, "operations": operations},
    )


async def _imported(followed: _Followed, file: Path) -> float:
    """Import a file by the command; when the change was committed, by `perf_counter`."""
    committed: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def heard(_channel: str, _payload: str) -> None:
        if not committed.done():
            committed.set_result(time.perf_counter())

    listener = await followed.store.listen([notify.LISTS], heard)
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "riskshare", "list", "import", followed.of.name, str(file), "--json"),
            env={**os.environ, "RISKSHARE_CONFIG": str(followed.owner.config_file)},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()
        if process.returncode:
            raise RiskshareError(f"The rows could not be imported: {said.decode().strip()}", code="bench_failed")
        return await committed
    finally:
        await listener.close()
