"""Replaying a case: the verb with the files, the database and the processes that it needs, and its report.

OUT/members/<member>/  the folders; OUT/registry/<version>.json  the chain; OUT/case.sqlite  the facts
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from riskshare.audit.exhibits import make_exhibits
from riskshare.audit.fact import Flaw, moment_of
from riskshare.audit.files import MemberFiles
from riskshare.audit.finding import Evidence
from riskshare.audit.paging import GARBAGE
from riskshare.audit.registries import Chain
from riskshare.audit.replay import Replay, Replayed, Watch
from riskshare.audit.replayed import KINDS, Member
from riskshare.audit.report import Figure, Report, Series, Table
from riskshare.cores import CORES
from riskshare.encoding import format_time
from riskshare.keys import make_private_directory
from riskshare.ledger.audit import derive
from riskshare.ledger.checkpoint import Checkpoint
from riskshare.ledger.policy import Final as FinalCheckpoint
from riskshare.registry import Registry
from riskshare.store.audited import AuditedLogs
from riskshare.store.case import FILE_NAME, Case
from riskshare.store.evidence_folder import EvidenceFolder
from riskshare.store.log_folder import LogFolder
from riskshare.store.member_folder import MemberFolder

MEMBERS: Final = "members"
REGISTRY: Final = "registry"
LIMIT: Final = "A replay looks at each log by itself; riskshare audit reconcile holds the logs against each other."
POINTS: Final = 240
"""Most points of a chart."""
OPEN: Final = "The period had not ended when this report was made: what is logged after that is not in it."
CARRIED: Final = (
    "That a log does not hold, or that what is shown is not what stands in it, is seen in the folder that came as the"
    " member's: whoever carried it could have altered it. Have it from the member itself before it is held against it."
)
_CARRIED: Final = frozenset({"broken_log", "withheld", "wrong_statement"})


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be replayed: the case folder, the period, whose logs (by the names of their folders), and by whom.

    `registries` are versions that are believed, oldest first; `state` is the auditor's own folder, in which it says
    what was audited before.
    """

    out: Path
    opened: datetime
    closed: datetime
    members: tuple[str, ...]
    registries: tuple[Registry, ...] = field(repr=False)
    state: Path
    made_by: str
    cores: int = CORES


def replay_case(wish: Wish, watch: Watch, now: datetime) -> Report:
    """Replay the members' folders of a case; the report is not written yet.

    Raises:
        InputError: a folder is none, or not that of its member.
        DiskError: a file cannot be read or written.
        RiskshareError: a process was lost (`worker_lost`); run it again, and it goes on.

    """
    make_private_directory(wish.out)
    folders = {member: MemberFolder(wish.out / MEMBERS / member) for member in wish.members}
    chain, memory, evidence = Chain(wish.registries), AuditedLogs(wish.state), EvidenceFolder(wish.out)
    network = chain.newest.network

    def exhibit(files: MemberFiles, flaw: Flaw) -> tuple[Evidence, ...]:
        made = make_exhibits(network, files, flaw, memory.before(flaw.member))
        return tuple(evidence.write(one.name, one.data, one.shows) for one in made)

    with _few_collections(), Case.open(wish.out / FILE_NAME) as case:
        replay = Replay(
            folders,
            (wish.opened, wish.closed),
            chain,
            case=case,
            memory=memory,
            derive=derive_log,
            exhibit=exhibit,
            watch=watch,
            now=now,
            cores=wish.cores,
        )
        replayed = replay.run()
        series = _series(case, wish.members)
    _write_chain(wish.out, chain.versions)
    return _report(wish, replayed, chain.versions, series, now)


@contextmanager
def _few_collections() -> Iterator[None]:
    """As `paging.start_worker` has it, for as long as rows come in."""
    threshold = gc.get_threshold()
    gc.set_threshold(GARBAGE)
    try:
        yield
    finally:
        gc.set_threshold(*threshold)


def derive_log(files: Any, checkpoint: Checkpoint) -> tuple[int, int]:
    """`log_part.Derive`: derive a log anew from its folder, in order. Raises LedgerError, DiskError."""
    found = asyncio.run(derive(files, FinalCheckpoint(checkpoint, (), ())))
    return found.bundles, found.tiles


def _write_chain(out: Path, versions: Iterable[Registry]) -> None:
    folder = LogFolder(out / REGISTRY, private=True)
    for registry in versions:
        folder.write(f"{registry.version}.json", registry.to_file())


# -- the report --------------------------------------------------------------------------------------------


def _report(
    wish: Wish, replayed: Replayed, versions: Iterable[Registry], series: tuple[Series, ...], now: datetime
) -> Report:
    chain = list(versions)
    members = replayed.members
    logs = [member.log for member in members if member.log is not None]
    return Report(
        command="replay",
        title=f"Replay of the logs of {len(members)} members" if len(members) != 1 else f"Replay of {members[0].name}",
        network=chain[0].network,
        made_by=wish.made_by,
        made_at=now,
        opened=wish.opened,
        closed=wish.closed,
        members=tuple(member.name for member in members),
        figures=(
            Figure("Entries derived", f"{sum(log.size for log in logs):,}"),
            Figure("Entries shown", f"{sum(_shown(member) for member in members):,}"),
            Figure("Receipts in the logs", f"{replayed.receipts:,}"),
            Figure("Distinct exchanges", f"{replayed.exchanges:,}"),
            Figure(f"Digest of version {chain[0].version} of the registry", chain[0].digest.hex()),
        ),
        steps=replayed.steps,
        findings=replayed.findings,
        observations=replayed.observations,
        series=series,
        tables=(_table(members),),
        limits=(
            LIMIT,
            *([OPEN] if wish.closed > now else ()),
            *([CARRIED] if any(finding.kind in _CARRIED for finding in replayed.findings) else ()),
        ),
        again=(_again(wish),),
        checkpoints=tuple((log.member, log.size, log.root) for log in logs),
    )


def _shown(member: Member) -> int:
    return sum(member.tallies.get(kind, 0) for kind in KINDS)


def _table(members: Iterable[Member]) -> Table:
    kinds = tuple(kind for kind in KINDS if any(member.tallies.get(kind) for member in members))
    rows = tuple(
        (
            member.name,
            "-" if member.log is None else f"{member.log.size:,}",
            *(f"{member.tallies.get(kind, 0):,}" for kind in kinds),
        )
        for member in members
    )
    return Table("Entries of the period, by kind", ("member", "entries of the log", *kinds), rows)


def _again(wish: Wish) -> str:
    folders = " ".join(f"{MEMBERS}/{member}" for member in wish.members)
    period = f"--from {format_time(wish.opened)} --to {format_time(wish.closed)}"
    return f"riskshare audit replay {period} --network {REGISTRY} --out NEW --offline {folders}"


def _series(case: Case, members: Iterable[str]) -> tuple[Series, ...]:
    """Receipts by member over time, in at most `POINTS` points."""
    bounds = [case.bounds(member) for member in members]
    known = [bound for bound in bounds if bound is not None]
    if not known:
        return ()
    first, last = min(low for low, _ in known), max(high for _, high in known)
    span = max(60_000, -(-(last - first + 60_000) // POINTS // 60_000) * 60_000)
    count = (last - first) // span + 1
    if count == 1:  # a chart of one value would not show how short the time was
        first, count = first - span, 3
    values: dict[str, list[float]] = {}
    for member in members:
        row = values.setdefault(member, [0.0] * count)
        for minute in case.activity(member):
            row[(minute.bucket - first) // span] += minute.receipts
    times = tuple(moment_of(first + place * span) for place in range(count))
    unit = f"receipts in {span // 60_000:,} min"
    return (Series("Receipts by the time of their answers", unit, times, _frozen(values)),)


def _frozen(values: Mapping[str, list[float]]) -> tuple[tuple[str, tuple[float, ...]], ...]:
    return tuple((member, tuple(row)) for member, row in values.items())
