"""The demo's end: the regulator audits all logs, then once more with a member's records rewritten in a copy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from riskshare.audit.page import FOLDER, StatementPage, read_statements
from riskshare.demo.commands import answered, command
from riskshare.demo.scenario import REGULATOR
from riskshare.encoding import format_time
from riskshare.errors import RiskshareError
from riskshare.ledger.receipt import Receipt
from riskshare.loopback import LoopbackNetwork

CULPRIT: Final = "lotus-pay"
"""Who rewrites its records in the copy: an owner that was asked."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What was rewritten in the copy, and the report of the audit that read it."""

    member: str
    index: int
    before: str
    after: str
    report: dict[str, Any] = field(repr=False)

    @property
    def finding(self) -> dict[str, Any]:
        """The finding about it; empty if there is none."""
        found: list[dict[str, Any]] = self.report.get("findings", [])
        return next((one for one in found if str(self.index) in one["sentence"]), {})

    @property
    def named(self) -> bool:
        """Whether the right member is convicted, and nobody else."""
        accused = {one["accused"] for one in self.report.get("findings", [])}
        return accused == {self.member} and self.finding.get("kind") == "wrong_statement"


@dataclass(frozen=True, slots=True)
class Audited:
    """The reports of both audits; `folder` holds the case, `exchanges` is how many stood in both sides' logs."""

    folder: Path
    replay: dict[str, Any] = field(repr=False)
    reconcile: dict[str, Any] = field(repr=False)
    rewritten: Rewritten

    @property
    def exchanges(self) -> int:
        """Exchanges that stand in the logs of both sides."""
        figures = {figure["name"]: figure["value"] for figure in self.reconcile["figures"]}
        return int(figures["In both logs"].replace(",", ""))

    @property
    def passed(self) -> bool:
        """Whether the honest audit is clean and complete, saw exchanges, and the rewritten records are found."""
        clean = all(report["clean"] and report["complete"] for report in (self.replay, self.reconcile))
        return clean and self.exchanges > 0 and self.rewritten.named


def audit(network: LoopbackNetwork, began: datetime, ended: datetime, say: Say) -> Audited:
    """Audit what was asked in a period, by the very commands that an auditor would use.

    Raises:
        RiskshareError: code `demo_failed`, a command did not end as it must.

    """
    regulator = network.members[REGULATOR]
    period = ("--from", format_time(began), "--to", format_time(ended + timedelta(minutes=1)))
    folder, copy = network.directory / "audit", network.directory / "audit-of-a-copy"
    say("The regulator replays all logs and holds both sides of every exchange against each other")
    replayed = command(regulator, "audit", "replay", *period, "--out", str(folder))
    reconciled = command(regulator, "audit", "reconcile", "--out", str(folder))
    say("Once more, with a copy in which Lotus Pay rewrote the time of an answer")
    logs = network.directory / "logs-copy"
    shutil.copytree(folder / "members", logs)
    index, before, after = _rewrite(logs / CULPRIT)
    offline = [part for name in sorted(network.members) for part in ("--offline", str(logs / name))]
    chain = ("--network", str(folder / "registry"))
    found = answered(regulator, "audit", "replay", *period, *offline, *chain, "--out", str(copy), exit_code=1)
    return Audited(folder, replayed, reconciled, Rewritten(CULPRIT, index, before, after, found))


def _rewrite(folder: Path) -> tuple[int, str, str]:
    """Date an answer an hour back in the records that a member shows: its index in the log, and both times."""
    for file in sorted((folder / FOLDER).glob("[0-9]*.cbor")):
        page = read_statements(file.read_bytes())
        for place, row in enumerate(page.rows):
            if row.kind == "receipt":
                receipt, before, after = _backdated(Receipt.from_bytes(row.statement))
                rows = list(page.rows)
                rows[place] = replace(row, statement=receipt.to_bytes())
                file.write_bytes(StatementPage(page.first, page.next, tuple(rows)).to_bytes())
                return row.index, before, after
    raise RiskshareError("The records show no receipt to rewrite.", code="demo_failed")


def _backdated(receipt: Receipt) -> tuple[Receipt, str, str]:
    before = json.loads(receipt.answer)["answered_at"]
    after = format_time(datetime.fromisoformat(before) - timedelta(hours=1))
    return replace(receipt, answer=receipt.answer.replace(before.encode(), after.encode())), before, after
