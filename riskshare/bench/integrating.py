"""The speed of a log alone: entries integrated a second, and an inclusion proof out of a large one."""

from __future__ import annotations

import asyncio
import hashlib
import random
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import asyncpg

from riskshare.bench.measure import Figure, median_of
from riskshare.ledger.bundle import grow_bundles
from riskshare.ledger.checkpoint import Checkpoint, sign_checkpoint
from riskshare.ledger.edge import Edge
from riskshare.ledger.kept import Head, Held, Written
from riskshare.ledger.merkle import leaf_hash
from riskshare.ledger.proof import inclusion_nodes, prove_inclusion, verify_inclusion
from riskshare.ledger.sequence import MOST, Sequencer
from riskshare.ledger.tile import TileReader, tiles_of
from riskshare.signature import SigningKey
from riskshare.store.embedded import start_server
from riskshare.store.store import Store

ORIGIN: Final = "riskshare/bench/log"
SECONDS: Final = 10.0
WAITING: Final = 20 * MOST
"""Entries that wait at any time: the log is never without work."""

LARGE: Final = 1_000_000
PROOFS: Final = 500
_PART: Final = 50_000


def integrating() -> list[Figure]:
    """Entries integrated in sustained load, and an inclusion proof at a million entries."""
    return asyncio.run(_integrating())


async def _integrating() -> list[Figure]:
    with (
        tempfile.TemporaryDirectory(prefix="riskshare-bench-") as folder,
        start_server(Path(folder) / "postgres") as server,
    ):
        async with _opened(await server.database("sustained")) as store:
            sustained = await _sustained(store)
        async with _opened(await server.database("large")) as store:
            return [sustained, await _inclusion(store)]


@asynccontextmanager
async def _opened(dsn: str) -> AsyncIterator[Store]:
    store = await Store.open(dsn)
    try:
        yield store
    finally:
        await store.close()


async def _sustained(store: Store) -> Figure:
    """What is kept keeps coming, on a connection of its own, while the sequencer makes it entries."""
    sequencer = Sequencer(
        origin=ORIGIN, key=SigningKey(secrets.token_bytes(32)), log=store.ledger, now=lambda: datetime.now(UTC)
    )
    await sequencer.open()
    keeping = await asyncpg.connect(store.target.dsn)
    try:
        await _keep(keeping, WAITING)
        began = time.perf_counter()
        feeding = asyncio.create_task(_feed(store, keeping, began + SECONDS))
        count = 0
        while not feeding.done():
            count += await sequencer.step()
            await asyncio.sleep(0)
        await feeding
        count += await sequencer.step()
        seconds = time.perf_counter() - began
    finally:
        await keeping.close()
    bare = count / _bare(count)
    return Figure(
        "entries integrated into a log, in sustained load",
        count / seconds,
        "entries/s",
        10_000,
        detail=f"{count:,} in {seconds:.1f} s; bare SHA-256 of the same tree: {bare:,.0f}/s",
        parts={"bare": bare, "entries": float(count)},
    )


async def _feed(store: Store, keeping: asyncpg.Connection[asyncpg.Record], until: float) -> None:
    while time.perf_counter() < until:
        left = await store.ledger.pending()
        await (_keep(keeping, WAITING - left) if left < WAITING // 2 else asyncio.sleep(0.02))


async def _keep(connection: asyncpg.Connection[asyncpg.Record], count: int) -> None:
    """Keep random entries, as the statements that keep receipts do."""
    await connection.execute(
        "insert into ledger_pending (kind, source, entry)"
        " select 'receipt', sha256(uuid_send(gen_random_uuid())), sha256(uuid_send(gen_random_uuid()))"
        " from generate_series(1, $1::int)",
        count,
    )


def _bare(count: int) -> float:
    """Seconds for nothing but the hashes of a tree of so many leaves: one of each leaf, one of each node."""
    sha256, leaf, pair = hashlib.sha256, secrets.token_bytes(33), secrets.token_bytes(65)
    began = time.perf_counter()
    for _ in range(count):
        sha256(leaf).digest()
    for _ in range(count - 1):
        sha256(pair).digest()
    return time.perf_counter() - began


async def _inclusion(store: Store) -> Figure:
    """Proofs of entries drawn at random: tiles read from PostgreSQL, hashes made, the proof held against the root."""
    draw = random.Random(20261122)  # noqa: S311 - which entries are proven is no secret
    leaves = await _grow_large(store, draw)
    head = await store.ledger.head()
    assert head is not None
    times = []
    for index in draw.sample(range(LARGE), PROOFS):
        began = time.perf_counter()
        tiles = await store.ledger.tiles(tiles_of(inclusion_nodes(index, LARGE), LARGE))
        proof = prove_inclusion(index, LARGE, TileReader(tiles).read)
        times.append(time.perf_counter() - began)
        verify_inclusion(leaf_hash(leaves[32 * index : 32 * index + 32]), index, LARGE, proof, head.root)
    ordered = sorted(times)
    return Figure(
        f"an inclusion proof at {LARGE:,} entries",
        median_of(times) * 1e3,
        "ms",
        5.0,
        "at most",
        detail=f"median of {PROOFS}; 99th percentile {ordered[int(0.99 * PROOFS)] * 1e3:.2f} ms",
    )


async def _grow_large(store: Store, draw: random.Random) -> bytes:
    """A log of a million entries, grown by the store's own transaction; gives the entries, 32 bytes each."""
    key = SigningKey(secrets.token_bytes(32))

    def make(held: Held, entries: Sequence[bytes]) -> Written:
        size = held.head.size if held.head else 0
        growth = Edge.read(size, held.tiles).append([leaf_hash(entry) for entry in entries])
        note = sign_checkpoint(Checkpoint(ORIGIN, growth.edge.size, growth.edge.root()), key)
        head = Head(growth.edge.size, growth.edge.root(), note.to_bytes(), datetime.now(UTC))
        written.extend(entries)
        return Written(head, growth.tiles, grow_bundles(size, held.bundle, entries))

    written: list[bytes] = []
    while len(written) < LARGE:
        await store.pool.execute(
            "insert into ledger_pending (kind, source, entry)"
            " select 'receipt', sha256(entry), entry from unnest($1::bytea[]) as entry",
            [draw.randbytes(32) for _ in range(_PART)],
        )
        await store.ledger.grow(_PART, make)
    return b"".join(written)
