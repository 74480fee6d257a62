"""The speed of an audit: receipts replayed and reconciled, against the bare signature checks that they need."""

from __future__ import annotations

import resource
import secrets
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle, islice
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from riskshare.audit.fact import read_receipt
from riskshare.audit.reconcile import Reconciler
from riskshare.audit.report import Step
from riskshare.audit.versions import Versions
from riskshare.bench.casebook import NETWORK, OPENED, OWNER, QUERIER, Casebook, key_of, make_casebook, make_receipts
from riskshare.bench.measure import Figure, Raw
from riskshare.cores import Spawn
from riskshare.peer.replaying import Wish, replay_case
from riskshare.registry import verify_next
from riskshare.registry.network import Registry
from riskshare.signature import verify
from riskshare.statement import signed_bytes
from riskshare.store.case import FILE_NAME, Case
from riskshare.store.case_folders import CaseFolders
from riskshare.store.crosscheck import CrossCheck
from riskshare.store.evidence_folder import EvidenceFolder

EXCHANGES: Final = 100_000
LARGE: Final = 1_000_000
ROUNDS: Final = 3
STATE: Final = "state"
BARE: Final = 20_000
"""Exchanges whose two signatures each core verifies to measure the bare speed: two seconds."""


DISTINCT: Final = 2_000
"""Of so many different ones."""


def check_signatures(count: int) -> float:
    """In a worker: seconds for the bare checks of both signatures of so many exchanges.

    They are of many receipts by turns, as an audit has them: of one alone the processor learns each branch by heart.
    """
    querier, owner = key_of(QUERIER, "identity").public, key_of(OWNER, "identity").public
    pairs = []
    for receipt in map(read_receipt, make_receipts((secrets.token_bytes(32), 0, min(DISTINCT, count)))):
        ask, answer = signed_bytes("ask", NETWORK, receipt.ask), signed_bytes("answer", NETWORK, receipt.answer)
        pairs.append((ask, receipt.ask_signature, answer, receipt.answer_signature))
    began = time.perf_counter()
    for ask, ask_signature, answer, answer_signature in islice(cycle(pairs), count):
        verify(querier, ask, ask_signature)
        verify(owner, answer, answer_signature)
    return time.perf_counter() - began


@dataclass(frozen=True, slots=True)
class _Run:
    """One audit in a process of its own: seconds of replay and of reconcile, and peaks of memory in MiB.

    `workers` is the peak of the largest of its worker processes.
    """

    replay: float
    reconcile: float
    memory: float
    workers: float

    @property
    def seconds(self) -> float:
        """Of all of it."""
        return self.replay + self.reconcile


def auditing(raw: Raw) -> list[Figure]:
    """What an audit of 10^5 receipts takes: the median of some, each held against the bare checks just before it."""
    with _made(EXCHANGES) as made:
        rounds = [(raw.rate(check_signatures, BARE), _audit(made)) for _ in range(ROUNDS)]
    ratios = [EXCHANGES / run.seconds / bare for bare, run in rounds]
    bare, run = rounds[ratios.index(statistics.median_low(ratios))]
    rate = EXCHANGES / run.seconds
    return [
        Figure(
            "receipts replayed and reconciled, against bare signature checks",
            rate / bare,
            "x",
            0.6,
            detail=f"{rate:,.0f} of {bare:,.0f} receipts/s: replay {run.replay:.1f} s, reconcile {run.reconcile:.1f} s;"
            f" {ROUNDS} audits {min(ratios):.2f} to {max(ratios):.2f}",
            parts={"bare": bare, "receipts": rate, "replay": run.replay, "reconcile": run.reconcile},
        ),
        Figure(
            f"memory of an audit of {EXCHANGES:,} receipts",
            run.memory,
            "MiB",
            detail=f"each worker {run.workers:.0f} MiB",
            parts={"workers": run.workers},
        ),
    ]


def auditing_much() -> list[Figure]:
    """Whether memory stays the same with ten times as many receipts."""
    with _made(EXCHANGES) as made:
        small = _audit(made)
    with _made(LARGE) as made:
        large = _audit(made)
    rate = LARGE / large.seconds
    return [
        Figure(
            f"memory of an audit of {LARGE:,} receipts, against {EXCHANGES:,}",
            (large.memory + large.workers) / (small.memory + small.workers),
            "x",
            1.25,
            "at most",
            detail=f"{large.memory:.0f} MiB and {small.memory:.0f} MiB, workers {large.workers:.0f} and"
            f" {small.workers:.0f} MiB; {rate:,.0f} receipts/s",
            parts={"large": large.memory, "small": small.memory, "rate": rate},
        )
    ]


@contextmanager
def _made(exchanges: int) -> Iterator[Casebook]:
    with tempfile.TemporaryDirectory(prefix="riskshare-bench-") as folder:
        yield make_casebook(Path(folder) / "case", exchanges)


def _audit(made: Casebook) -> _Run:
    """One audit from nothing: what another has left there is removed."""
    shutil.rmtree(made.out / STATE, ignore_errors=True)
    for left in made.out.glob(f"{FILE_NAME}*"):
        left.unlink()
    ours, theirs = Pipe()
    process = Spawn().Process(target=_work, args=(theirs, made.out, made.closed))
    process.start()
    theirs.close()
    try:
        run: _Run = ours.recv()
    finally:
        process.join()
    return run


class _Silent:
    """`replay.Watch`: nobody is told."""

    def progress(self, what: str, done: int, of: int) -> None:
        """Pass over it."""

    def step(self, step: Step) -> None:
        """Pass over it."""


def _work(connection: Connection, out: Path, closed: datetime) -> None:
    """Replay and reconcile a case, and say what it took."""
    first, second = ((out / "registry" / f"{version}.json").read_bytes() for version in (1, 2))
    registries = Registry.from_file(first), verify_next(Registry.from_file(first), second)
    now = datetime.now(UTC)
    began = time.perf_counter()
    wish = Wish(out, OPENED, closed, (QUERIER, OWNER), registries, out / STATE, "bench")
    report = replay_case(wish, _Silent(), now)
    replayed = time.perf_counter()
    with Case.open(out / FILE_NAME) as case:
        reconciled = Reconciler(
            facts=CrossCheck(case),
            folders=CaseFolders(out),
            shelf=EvidenceFolder(out),
            versions=Versions(registries),
            now=now,
        ).run()
    ended = time.perf_counter()
    assert not report.findings, report.findings
    assert not reconciled.findings, reconciled.findings
    peaks = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    connection.send(_Run(replayed - began, ended - replayed, *peaks))
