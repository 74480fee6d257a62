"""The report of an audit, as a program and as a person reads it (pure).

Every command of `riskshare audit` ends in one `Report`. `body` is the JSON; `report_page` makes the HTML page of the
same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from riskshare.audit.finding import Finding, Observation
from riskshare.encoding import format_time

Outcome = Literal["holds", "fails", "skipped"]

ALWAYS: Final = (
    "Two members that both leave an exchange out of their logs leave no trace of it that an audit could find.",
    "What a member was told by other means than through its peer is outside of any log.",
)
"""What no audit can find; every report says so."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of what was verified: its number as documented (`3`, `3.bank`), what, how many, and how it came out."""

    number: str
    name: str
    outcome: Outcome
    count: int = 0
    sentence: str = ""

    def body(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "count": self.count,
            "name": self.name,
            "number": self.number,
            "outcome": self.outcome,
            "sentence": self.sentence,
        }


@dataclass(frozen=True, slots=True)
class Figure:
    """A single figure of the summary, such as `Exchanges reconciled`: `1,204,331`."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Series:
    """Figures over time for one chart: for each name as many values as there are times."""

    title: str
    unit: str
    times: tuple[datetime, ...]
    values: tuple[tuple[str, tuple[float, ...]], ...]

    def body(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "times": [format_time(time) for time in self.times],
            "title": self.title,
            "unit": self.unit,
            "values": {name: list(values) for name, values in self.values},
        }


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the report: a title, column heads, rows of texts."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def body(self) -> dict[str, Any]:
        """The JSON object."""
        return {"columns": list(self.columns), "rows": [list(row) for row in self.rows], "title": self.title}


@dataclass(frozen=True, slots=True)
class Report:
    """What one command of an audit found, and how to find it again.

    `command` is replay, reconcile, open, settle or tell; `again` are shell commands that verify it anew from the
    folder; `limits` say what this audit cannot find, beyond `ALWAYS`.
    """

    command: str
    title: str
    network: str
    made_by: str
    made_at: datetime
    opened: datetime | None
    closed: datetime | None
    members: tuple[str, ...]
    figures: tuple[Figure, ...] = ()
    steps: tuple[Step, ...] = ()
    findings: tuple[Finding, ...] = ()
    observations: tuple[Observation, ...] = ()
    series: tuple[Series, ...] = ()
    tables: tuple[Table, ...] = ()
    limits: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    checkpoints: Sequence[tuple[str, int, bytes]] = field(default=())
    """Of each member the size and root (32 bytes) of the log that was audited."""

    @property
    def complete(self) -> bool:
        """Whether everything that belongs to this audit could be verified."""
        return all(step.outcome != "skipped" for step in self.steps)

    @property
    def clean(self) -> bool:
        """Whether nobody is convicted, and no step failed."""
        return not self.findings and all(step.outcome != "fails" for step in self.steps)

    @property
    def exit_code(self) -> int:
        """0: it holds; 1: there are findings; 3: nothing was found, but not everything could be verified."""
        return 1 if not self.clean else 0 if self.complete else 3

    def body(self) -> dict[str, Any]:
        """The JSON object of `report.json`."""
        return {
            "again": list(self.again),
            "checkpoints": [
                {"member": member, "root": root.hex(), "size": size} for member, size, root in self.checkpoints
            ],
            "clean": self.clean,
            "command": self.command,
            "complete": self.complete,
            "figures": {figure.name: figure.value for figure in self.figures},
            "findings": [finding.body() for finding in self.findings],
            "from": None if self.opened is None else format_time(self.opened),
            "limits": [*ALWAYS, *self.limits],
            "made_at": format_time(self.made_at),
            "made_by": self.made_by,
            "members": list(self.members),
            "network": self.network,
            "observations": [one.body() for one in self.observations],
            "series": [series.body() for series in self.series],
            "steps": [step.body() for step in self.steps],
            "tables": [table.body() for table in self.tables],
            "title": self.title,
            "to": None if self.closed is None else format_time(self.closed),
        }
