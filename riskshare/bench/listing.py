"""Figures of importing: from the rows of a file to the segment that publishes them."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, Final

from riskshare.bench.building import LIST, WARM, composed, stored_entries
from riskshare.bench.measure import Figure, Raw, hash_and_multiply
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
    """Rows a second from a CSV file to a durable segment, against the bare group operations of as many entries.

    Half of these are measured before each round, and half behind it: a fifth of a second of them would say more of that
    moment than of the machine. The round in the middle counts.
    """
    lines = (identifier.canonical for identifier in generate(1, ROWS, TYPES))
    data = ("identifier\n" + "\n".join(lines)).encode()
    rounds: list[tuple[float, float, _Times]] = []
    with (
        tempfile.TemporaryDirectory(prefix="riskshare-bench-") as folder,
        start_server(Path(folder) / "postgres") as server,
    ):
        before = _bare_seconds(raw)
        for number in range(ROUNDS):
            times = await _round(server, Path(folder) / f"round-{number}", BytesIO(data))
            behind = _bare_seconds(raw)
            rounds.append(((before + behind) / times.built, before + behind, times))
            before = behind
    ratio, bare, middle = sorted(rounds, key=itemgetter(0))[ROUNDS // 2]
    return [
        Figure(
            "importing a list, against bare hash-to-group and multiplication on all cores",
            ratio,
            "ratio",
            0.55,
            detail=f"{ROWS / middle.built:,.0f} rows/s of {ROWS / bare:,.0f}; {ROWS:,} rows of phones, cards and"
            f" wallets, from CSV to the durable segment: read, encrypted and stored {middle.read:.1f} s, made entries"
            f" {middle.committed - middle.read:.1f} s, built {middle.built - middle.committed:.1f} s, without the start"
            f" of these processes; other rounds {_others(rounds, ratio)}",
        )
    ]


def _bare_seconds(raw: Raw) -> float:
    """Seconds that all cores take for the group operations of half of the rows."""
    half = ROWS // 2
    return half / raw.rate(hash_and_multiply, half // CORES)


def _others(rounds: Sequence[tuple[float, float, _Times]], ratio: float) -> str:
    return ", ".join(f"{other:.3f}" for other, _, _ in rounds if other != ratio)


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
