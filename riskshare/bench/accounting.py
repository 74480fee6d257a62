"""The ledger among five members: how soon a receipt is final, how many a second, and what it costs a check.

All members run as peers, in processes of their own; this process asks over HTTP as a payment system does. A second
network without a ledger (`unledgered`) stands beside the first, and both are asked in turns.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

import aiohttp

from riskshare.bench.measure import Figure, median_of
from riskshare.bench.network import CATEGORIES, QUERIER, fill
from riskshare.dialled import dial
from riskshare.generate import stream
from riskshare.loopback import GENEROUS, LoopbackNetwork, Spec
from riskshare.membership.identifier import Identifier
from riskshare.peer.opening import opened_store
from riskshare.store.ledger import Ledger

PACE: Final = 0.1
"""Seconds between checks when it is measured how soon they are final."""

PACED: Final = 300
BUSY_SECONDS: Final = 10.0
CONCURRENT: Final = 32
TURNS: Final = 8
TURN_SECONDS: Final = 3.0
PAUSE: Final = 1.0
"""Seconds between turns: what the ledger does after a check belongs to its own turn."""

PATIENCE: Final = 60.0
_LOOK: Final = 0.02


async def accounting() -> list[Figure]:
    """All figures of the ledger among members."""
    fresh = stream(78, ("bank_card", "cn_id", "iban"))
    with tempfile.TemporaryDirectory(prefix="riskshare-bench-") as folder:
        async with (
            _running(Path(folder) / "on", "-m", "riskshare") as ledgered,
            _running(Path(folder) / "off", "-m", "riskshare.bench.unledgered") as plain,
        ):
            await _warm(ledgered, plain, fresh)
            cost = await _cost(ledgered, plain, fresh)
            async with opened_store(ledgered.network.members[QUERIER].config) as store:
                soon = await _soon(ledgered, store.ledger, fresh)
                return [*soon, await _rate(ledgered, store.ledger, fresh), *cost]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A running network and a session with its querier's API."""

    network: LoopbackNetwork
    session: aiohttp.ClientSession

    async def check(self, fresh: Iterator[Identifier], *categories: str) -> list[str]:
        """One check; gives the ids of its receipts."""
        body = {
            "identifiers": [next(fresh).canonical],
            "purpose": "payment",
            "categories": list(categories),
            "deadline_ms": 5_000,
        }
        async with self.session.post("/v1/check", json=body) as response:
            answer = await response.json()
        if answer.get("verdict") != "clear":
            raise AssertionError(f"a check of an unlisted identifier gave {answer}")
        receipts: list[str] = answer["receipts"]
        return receipts


@asynccontextmanager
async def _running(folder: Path, *program: str) -> AsyncIterator[_Asked]:
    specs = [Spec(QUERIER, "Querier", "bank", ("querier",), {"check": {"token_cache_entries": 0}})]
    specs += [Spec(f"owner-{number}", f"Owner {number}", "payment") for number in range(4)]
    network = await asyncio.to_thread(LoopbackNetwork.create, folder, specs, quota=GENEROUS)
    querier, *owners = network.members.values()
    for number, member in enumerate(owners):
        await asyncio.to_thread(fill, member, CATEGORIES[number], number)
    try:
        await asyncio.to_thread(network.start, program=program)
        await asyncio.to_thread(network.wait_for_lists, QUERIER, [f"{member.name}/listed" for member in owners])
        headers = {"Authorization": f"Bearer {querier.api_key}"}
        connector = aiohttp.TCPConnector(socket_factory=dial)
        async with aiohttp.ClientSession(querier.urls["clients"], connector=connector, headers=headers) as session:
            yield _Asked(network, session)
    finally:
        await asyncio.to_thread(network.stop)


async def _warm(ledgered: _Asked, plain: _Asked, fresh: Iterator[Identifier]) -> None:
    for _ in range(50):
        await ledgered.check(fresh)
        await plain.check(fresh)


async def _cost(ledgered: _Asked, plain: _Asked, fresh: Iterator[Identifier]) -> list[Figure]:
    """One check after another, of one owner; the two networks in turns."""
    times: dict[str, list[float]] = {"on": [], "off": []}
    for _ in range(TURNS):
        for name, asked in (("on", ledgered), ("off", plain)):
            until = time.perf_counter() + TURN_SECONDS
            while (began := time.perf_counter()) < until:
                await asked.check(fresh, CATEGORIES[0])
                times[name].append(time.perf_counter() - began)
            await asyncio.sleep(PAUSE)
    on, off = sorted(times["on"]), sorted(times["off"])
    return [
        Figure(
            f"a check with the ledger on, against off: {name}",
            of(on) / of(off),
            "ratio",
            bar,
            "at most",
            detail=f"{of(on) * 1e3:.2f} ms against {of(off) * 1e3:.2f} ms; {len(on):,} and {len(off):,} checks",
        )
        for name, of, bar in (("median", median_of, 1.05), ("99th percentile", _p99, 1.15))
    ]


def _p99(ordered: Sequence[float]) -> float:
    return ordered[int(0.99 * len(ordered))]


class _Finality:
    """When which size of a log was final, as far as looking every 20 ms tells."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._seen: list[tuple[int, float]] = []
        self._grown = asyncio.Event()
        self._task = asyncio.ensure_future(self._look())

    async def _look(self) -> None:
        while True:
            final = await self._ledger.final()
            if final is not None and (not self._seen or self._seen[-1][0] < final.size):
                self._seen.append((final.size, time.perf_counter()))
                self._grown.set()
            await asyncio.sleep(_LOOK)

    async def times(self, receipts: Sequence[str]) -> list[float]:
        """When each receipt became final; waits until all are, and looks no more."""
        indexes = []
        async with asyncio.timeout(PATIENCE):
            for text in receipts:
                while (index := await self._ledger.index_of("receipt", bytes.fromhex(text))) is None:
                    self._grown.clear()
                    await self._grown.wait()
                indexes.append(index)
            while not self._seen or self._seen[-1][0] <= max(indexes):
                self._grown.clear()
                await self._grown.wait()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        return [next(moment for size, moment in self._seen if size > index) for index in indexes]


async def _soon(ledgered: _Asked, ledger: Ledger, fresh: Iterator[Identifier]) -> list[Figure]:
    """Ten checks a second of all four owners: from the answer, when the receipt is durable, until it is final."""
    finality = _Finality(ledger)
    kept: list[tuple[str, float]] = []

    async def ask() -> None:
        receipts = await ledgered.check(fresh)
        kept.extend((receipt, time.perf_counter()) for receipt in receipts)

    async with asyncio.TaskGroup() as group:
        for _ in range(PACED):
            group.create_task(ask())
            await asyncio.sleep(PACE)
    finals = await finality.times([receipt for receipt, _ in kept])
    waited = sorted(final - moment for final, (_, moment) in zip(finals, kept, strict=True))
    detail = f"{len(waited):,} receipts, {1 / PACE:g} checks a second of four owners"
    return [
        Figure(f"a receipt is final, five members: {name}", value, "s", bar, "at most", detail=detail)
        for name, value, bar in (("median", median_of(waited), 2.0), ("99th percentile", _p99(waited), 4.0))
    ]


async def _rate(ledgered: _Asked, ledger: Ledger, fresh: Iterator[Identifier]) -> Figure:
    """Receipts a second from the first ask to the last that is final, with 32 checks of four owners at a time."""
    finality = _Finality(ledger)
    began = time.perf_counter()
    receipts: dict[str, None] = {}
    numbers = count()

    async def repeat() -> None:
        while time.perf_counter() - began < BUSY_SECONDS:
            receipts.update(dict.fromkeys(await ledgered.check(fresh)))
            next(numbers)

    await asyncio.gather(*(repeat() for _ in range(CONCURRENT)))
    seconds = max(await finality.times(list(receipts))) - began
    return Figure(
        "receipts from ask to final, five members",
        len(receipts) / seconds,
        "receipts/s",
        detail=f"{len(receipts):,} receipts of {next(numbers):,} checks in {seconds:.1f} s, {CONCURRENT} at a time",
    )
