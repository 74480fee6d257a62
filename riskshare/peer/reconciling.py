"""Reconciling a case: the verb with the database and the folders that it needs, and its report.

OUT/case.sqlite  the facts, as a replay left them; OUT/members/<member>/ the folders; OUT/evidence/ what convicts
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from riskshare.audit.fact import LogRow, moment_of
from riskshare.audit.finding import Observation
from riskshare.audit.reconcile import Progress, Reconciled, Reconciler
from riskshare.audit.report import Report, Table
from riskshare.audit.versions import Versions
from riskshare.errors import InputError
from riskshare.registry import Registry
from riskshare.store.case import FILE_NAME, Case
from riskshare.store.case_folders import CaseFolders
from riskshare.store.crosscheck import CrossCheck
from riskshare.store.evidence_folder import EvidenceFolder

_NO_REPLAY: Final = (
    "{out} holds no replay that was run to its end. Run riskshare audit replay --out {out} first: reconcile holds"
    " against each other what it verified."
)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be reconciled: the case folder, by which versions of the registry (oldest first), and by whom.

    `grace` is in milliseconds.
    """

    out: Path
    registries: tuple[Registry, ...] = field(repr=False)
    grace: int
    made_by: str


def reconcile_case(wish: Wish, now: datetime, progress: Progress | None = None) -> Report:
    """Reconcile what a replay left in a case folder; the report is not written yet.

    Raises:
        InputError: no replay was run on it to its end.
        RegistryError: the versions are no chain.
        DiskError: a file cannot be read or written.

    """
    versions, file = Versions(wish.registries), wish.out / FILE_NAME
    if not file.is_file():
        raise InputError(_NO_REPLAY.format(out=wish.out))
    with Case.open(file) as case:
        facts = CrossCheck(case)
        if not facts.is_ready():
            raise InputError(_NO_REPLAY.format(out=wish.out))
        reconciler = Reconciler(
            facts=facts,
            folders=CaseFolders(wish.out),
            shelf=EvidenceFolder(wish.out),
            versions=versions,
            now=now,
            grace=wish.grace,
        )
        found = reconciler.run(progress)
    return _report(wish, versions, found, now)


def _report(wish: Wish, versions: Versions, found: Reconciled, now: datetime) -> Report:
    logs, hours = found.logs, wish.grace / 3_600_000
    evidence = sorted({one.path for finding in found.findings for one in finding.evidence})
    return Report(
        command="reconcile",
        title=f"Reconciliation of the logs of {len(logs)} members",
        network=versions.network,
        made_by=wish.made_by,
        made_at=now,
        opened=min((moment_of(log.opened) for log in logs), default=None),
        closed=max((moment_of(log.closed) for log in logs), default=None),
        members=tuple(log.member for log in logs),
        figures=found.figures,
        steps=found.steps,
        findings=found.findings,
        observations=found.observations,
        series=found.series,
        tables=(_table(logs, found.observations),) if found.observations else (),
        limits=found.limits,
        again=(
            f"riskshare audit reconcile --out . --network registry --grace {hours:g}",
            *(f"riskshare audit evidence {path} --network registry" for path in evidence[:20]),
        ),
        checkpoints=tuple((log.member, log.size, log.root) for log in logs),
    )


def _table(logs: Iterable[LogRow], observations: Iterable[Observation]) -> Table:
    seen = list(observations)
    kinds = tuple(sorted({one.kind for one in seen}))
    counts = {(one.kind, one.member): f"{one.count:,} of {one.of:,}" for one in seen}
    rows = tuple((log.member, *(counts.get((kind, log.member), "0") for kind in kinds)) for log in logs)
    return Table("Observations by member", ("member", *kinds), rows)
