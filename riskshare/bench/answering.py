"""The owner's throughput: elements evaluated a second over TLS and HTTP, receipts signed and durable.

The owner runs as one worker in a process of its own; the load comes from this process, on the same cores. Its elements
were blinded beforehand and it does not finalize, but it signs each ask, and each has a batch of its own.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Final

from riskshare import sodium
from riskshare.bench.measure import Figure, Raw, middle_round, multiply
from riskshare.bench.network import Measured
from riskshare.ledger import merkle
from riskshare.query.message import Ask, AskMessage, new_batch
from riskshare.statement import sign

BATCH: Final = 256
SECONDS: Final = 3.0
ROUNDS: Final = 3
AT_ONCE: Final = 6
BARE: Final = 40_000
"""Elements that each core multiplies to measure the bare speed: one to two seconds."""


async def answering(measured: Measured, raw: Raw) -> list[Figure]:
    """Evaluated elements a second, against bare multiplication on all cores."""
    owner = measured.owners[0].name
    load = _Load(measured, owner)
    await load.run(0.5)
    ours, bare = [], [await _bare_speed(raw)]
    for _ in range(ROUNDS):
        ours.append(await load.run(SECONDS))
        bare.append(await _bare_speed(raw))
    middle, others = middle_round(ours, bare)
    return [
        Figure(
            f"owner: elements evaluated over TLS in batches of {BATCH}, against bare multiplication on all cores",
            middle.ratio,
            "ratio",
            0.75,
            detail=f"{middle.rate:,.0f} elements/s of {middle.floor:,.0f}; one worker, receipts durable, load on the"
            f" same cores; {others}",
        )
    ]


async def _bare_speed(raw: Raw) -> float:
    """Multiplications a second, for about half as long as a round lasts: before each and behind it."""
    return await asyncio.to_thread(raw.rate, multiply, BARE)


class _Load:
    """Sends batches of one set of blinded elements."""

    def __init__(self, measured: Measured, owner: str) -> None:
        self._owner = owner
        self._peer = measured.querier
        held = self._peer.querier.holdings.concerning(frozenset(), self._peer.now())
        self._epoch = next(each for each in held if each.owner == owner).epochs[0].digest
        self._elements = b"".join(sodium.point_from_hash(secrets.token_bytes(64)) for _ in range(BATCH))
        self._root = merkle.root_of(self._elements)

    async def run(self, seconds: float) -> float:
        """Elements a second, with `AT_ONCE` asks on their way."""
        began = time.perf_counter()
        counts = await asyncio.gather(*(self._send(began + seconds) for _ in range(AT_ONCE)))
        return sum(counts) * BATCH / (time.perf_counter() - began)

    async def _send(self, until: float) -> int:
        sent = 0
        while time.perf_counter() < until:
            await self._peer.shared.client.evaluate(self._owner, self._body(), 30.0)
            sent += 1
        return sent

    def _body(self) -> bytes:
        member, moment = self._peer.shared.member, self._peer.now()
        ask = Ask(
            batch=new_batch(int(moment.timestamp() * 1000), secrets.token_bytes(10)),
            network=self._peer.shared.directory.network,
            registry=self._peer.shared.directory.version(),
            querier=member.name,
            owner=self._owner,
            epoch=self._epoch,
            purpose="payment",
            count=BATCH,
            elements=self._root,
            snapshots={},
            asked_at=moment,
        )
        signed = sign("ask", ask.network, ask.body(), member.keys.identity)
        return AskMessage(signed.json, signed.signature, self._elements).to_bytes()
