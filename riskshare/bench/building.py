"""Figures of lists and filters: building a list, looking up in a filter, building a filter."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from riskshare.bench.measure import Figure, Raw, hash_and_multiply, median_of, middle_round
from riskshare.cores import CORES
from riskshare.generate import generate
from riskshare.membership import bloom, bloom_build
from riskshare.membership.identifier import Identifier
from riskshare.membership.oprf import SecretKey
from riskshare.membership.record import Record
from riskshare.peer.opening import new_id, now
from riskshare.sharing.build import StoredRow
from riskshare.sharing.builders import ProcessBuilders
from riskshare.sharing.composing import Build, Composer, Entries, Job
from riskshare.sharing.entry import NONCE_BYTES, DataKey
from riskshare.sharing.kept import EpochRow, ListRow, SegmentRow, StoredEntry
from riskshare.store.buildings import Buildings
from riskshare.store.files import SegmentFiles
from riskshare.store.lists import SEALED_ROWS

ENTRIES: Final = 100_000
WARM: Final = 5_000
ROUNDS: Final = 3
LABELS: Final = 1_000_000
LOOK_UPS: Final = 200_000
LIST: Final = "bench/listed"
EPOCH: Final = bytes(32)


def building(raw: Raw) -> list[Figure]:
    """Entries a second from stored rows to a durable segment file, against the bare group operations."""
    data_key = DataKey(secrets.token_bytes(32))
    stored = stored_entries(data_key, generate(1, ENTRIES, ("phone", "bank_card", "wallet")))
    ours, bare = [], [_bare_speed(raw)]
    for _ in range(ROUNDS):
        ours.append(ENTRIES / asyncio.run(_build(data_key, stored)))
        bare.append(_bare_speed(raw))
    middle, others = middle_round(ours, bare)
    return [
        Figure(
            "building a list, against bare hash-to-group and multiplication on all cores",
            middle.ratio,
            "ratio",
            0.80,
            detail=f"{middle.rate:,.0f} entries/s of {middle.floor:,.0f}; {ENTRIES:,} entries, decrypted, labelled,"
            f" sealed, on disk; without reading PostgreSQL and without the start of the processes; {others}",
        )
    ]


def _bare_speed(raw: Raw) -> float:
    """Group operations a second, over half as many as there are entries: one half before each round, one behind it."""
    return raw.rate(hash_and_multiply, ENTRIES // 2 // CORES)


@dataclass(slots=True)
class Stored:
    """Stored entries as the database gives them to a building, in memory: reading them is not what is measured here.

    `handles` has the handle of each, `rows` what workers need of it.
    """

    handles: list[bytes]
    rows: list[StoredRow]
    upto: int = 1

    def first(self, count: int) -> Stored:
        """So many of them."""
        return Stored(self.handles[:count], self.rows[:count])

    @asynccontextmanager
    async def sealed(self, list_id: int, after: bytes) -> AsyncIterator[Stored]:
        """All of them."""
        del list_id, after
        yield self

    async def batches(self) -> AsyncIterator[tuple[bytes, list[StoredRow]]]:
        """In batches as large as the store's, each behind the handle of its last."""
        for start in range(0, len(self.rows), SEALED_ROWS):
            batch = self.rows[start : start + SEALED_ROWS]
            yield self.handles[start + len(batch) - 1], batch

    @asynccontextmanager
    async def changes(self, list_id: int, after: int) -> AsyncIterator[Unchanged]:
        """None: nothing changes meanwhile."""
        del list_id, after
        yield Unchanged(self.upto)

    withdrawals = changes


@dataclass(slots=True)
class Unchanged:
    """No changes."""

    upto: int

    async def __aiter__(self) -> AsyncIterator[list[StoredEntry]]:
        none: tuple[list[StoredEntry], ...] = ()
        for batch in none:
            yield batch


def stored_entries(data_key: DataKey, identifiers: Sequence[Identifier]) -> Stored:
    """Entries as they are stored: identifiers sealed under the data key, records of one kind."""
    moment = now()
    until = moment + timedelta(days=180)
    record = Record("telecom_fraud", "reported", "high", "", moment, until).to_bytes()
    handles: list[bytes] = []
    rows: list[StoredRow] = []
    for identifier in identifiers:
        row, value = new_id(), identifier.oprf_input
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = data_key.seal_identifier(value, nonce, row=row, list_name=LIST, state="active")
        handles.append(data_key.handle(value, LIST))
        rows.append((row.bytes, sealed, "active", record))
    return Stored(handles, rows)


async def composed(data_key: DataKey, folder: Path, key: SecretKey, stored: Entries, build: Build) -> SegmentRow:
    """A base of these entries, durable in `folder`, by what a peer publishes with."""
    moment = now()
    row = ListRow(1, "listed", "telecom_fraud", "default", moment, 1)
    epoch = EpochRow(EPOCH, "default", 1, b"", bytes(64), bytes(16), b"", moment, moment + timedelta(days=30))
    composer = Composer(
        entries=stored,
        files=SegmentFiles(folder),
        buildings=Buildings(folder / "building"),
        builders=ProcessBuilders(data_key),
        data_key=data_key,
        filter_rate=2.0**-20,
        now=now,
        random=secrets.token_bytes,
    )
    job = Job(row, LIST, epoch, key, None, ())
    held = composer.hold(job)
    assert held is not None, "nobody else is at it"
    try:
        return await composer.base(job, build, held)
    finally:
        held.drop()


async def _build(data_key: DataKey, stored: Stored) -> float:
    """Seconds to build a base; the processes are started before, as one start serves all lists of a keyset."""
    key = SecretKey.from_random(secrets.token_bytes(64))
    with tempfile.TemporaryDirectory() as folder:
        async with ProcessBuilders(data_key)(key) as build:
            await composed(data_key, Path(folder), key, stored.first(WARM), build)
            began = time.perf_counter()
            await composed(data_key, Path(folder), key, stored, build)
            return time.perf_counter() - began


def filtering() -> list[Figure]:
    """A negative look-up, and the building of a filter of a million labels."""
    labels = secrets.token_bytes(bloom.LABEL_BYTES * LABELS)
    parameters = bloom.size(LABELS, seed=7)
    began = time.perf_counter()
    bits = bloom_build.build(
        (labels[start : start + bloom.LABEL_BYTES] for start in range(0, len(labels), bloom.LABEL_BYTES)), parameters
    )
    built = time.perf_counter() - began
    found = bloom.Bloom(parameters, bits)
    times = []
    for _ in range(LOOK_UPS):
        label = secrets.token_bytes(bloom.LABEL_BYTES)
        moment = time.perf_counter_ns()
        hit = label in found
        times.append(time.perf_counter_ns() - moment)
        del hit
    return [
        Figure("filter: a negative look-up, median", median_of(times) / 1000, "µs", 3.0, "at most"),
        Figure("filter: a million labels built", built, "s", 5.0, "at most", f"{len(bits) / 2**20:.1f} MiB at 2^-20"),
    ]
