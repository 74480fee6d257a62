"""Figures of importing: from the rows of a file to the segment that publishes them."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

from riskshare.bench.building import LIST, WARM, composed, stored_entries
from riskshare.bench.measure import Figure, Raw, hash_and_multiply, middle_round
from riskshare.cores import CORES
from riskshare.generate import generate
from riskshare.membership.oprf import SecretKey
from riskshare.peer.intake import ROW_FORM
from riskshare.peer.opening import new_id, now
from riskshare.sharing.builders import ProcessBuilders
from riskshare.sharing.entry import DataKey
from riskshare.sharing.importing import Importer, Order, Watcher
from riskshare.sharing.preparers import Preparers
from riskshare.sharing.rows import Defaults
from riskshare.store.embedded import EmbeddedServer, start_server
from riskshare.store.store import Store

ROWS: Final = 200_000
ROUNDS: Final = 3
CATEGORY: Final = "telecom_fraud"
TYPES: Final = ("phone", "bank_card", "wallet")


@dataclass(slots=True)
class _Times(Watcher):
    """Seconds until the file was read and stored, until it was committed, until its segment was durable."""

    since: float = 0.0
    read: float = 0.0
    committed: float = 0.0
    built: float = 0.0

    def writing(self) -> None:
        """The file is read."""
        self.read = time.perf_counter() - self.since


async def importing_speed(raw: Raw) -> list[Figure]:
    """Rows a second from a CSV file to a durable segment, against the bare group operations of as many entries."""
    lines = (identifier.canonical for identifier in generate(1, ROWS, TYPES))
    data = ("identifier\n" + "\n".join(lines)).encode()
    rounds: list[_Times] = []
    bare = [_bare_speed(raw)]
    with (
        tempfile.TemporaryDirectory(prefix="riskshare-bench-") as folder,
        start_server(Path(folder) / "postgres") as server,
    ):
        for number in range(ROUNDS):
            rounds.append(await _round(server, Path(folder) / f"round-{number}", BytesIO(data)))
            bare.append(_bare_speed(raw))
    middle, others = middle_round([ROWS / times.built for times in rounds], bare)
    times = rounds[middle.number]
    return [
        Figure(
            "importing a list, against bare hash-to-group and multiplication on all cores",
            middle.ratio,
            "ratio",
            0.55,
            detail=f"{middle.rate:,.0f} rows/s of {middle.floor:,.0f}; {ROWS:,} rows of phones, cards and wallets, from"
            f" CSV to the durable segment: read, encrypted and stored {times.read:.1f} s, made entries"
            f" {times.committed - times.read:.1f} s, built {times.built - times.committed:.1f} s, without the start"
            f" of these processes; {others}",
        )
    ]


def _bare_speed(raw: Raw) -> float:
    """Group operations a second, over half as many as there are rows: one half before each round, one behind it."""
    return raw.rate(hash_and_multiply, ROWS // 2 // CORES)


async def _round(server: EmbeddedServer, folder: Path, file: BinaryIO) -> _Times:
    """One import into a new database; the processes that build are started before, as one start serves many lists."""
    await asyncio.to_thread(folder.mkdir)
    data_key = DataKey(secrets.token_bytes(32))
    key = SecretKey.from_random(secrets.token_bytes(64))
    owner, name = LIST.split("/")
    store = await Store.open(await server.database(folder.name.replace("-", "_")))
    try:
        of = await store.lists.create_list(name, CATEGORY, "default")
        importer = Importer(
            member=owner,
            data_key=data_key,
            imports=store.imports,
            prepare=Preparers(data_key, ROW_FORM),
            now=now,
            random=secrets.token_bytes,
            new_id=new_id,
        )
        async with ProcessBuilders(data_key)(key) as build:
            await composed(data_key, folder, key, stored_entries(data_key, list(generate(2, WARM, TYPES))), build)
            times = _Times(time.perf_counter())
            report = await importer.run(of, file, Defaults(CATEGORY), Order("bench"), watcher=times)
            times.committed = time.perf_counter() - times.since
            assert report.committed
            await composed(data_key, folder, key, store.lists, build)
            times.built = time.perf_counter() - times.since
        return times
    finally:
        await store.close()
