"""The report of an audit, as a program and as a person reads it (pure).

Every command of `riskshare audit` ends in one `Report`. `body` is the JSON; `report_page` makes the HTML page of the
same. The JSON says all that the page does, so the page can be made again from it: `Report.from_body` reads it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any, Final, Literal, get_args

from riskshare.audit.finding import Finding, Observation
from riskshare.audit.form import read_count, read_fields, read_list, read_text, read_texts, read_value, value_text
from riskshare.encoding import MAX_SAFE_INTEGER, format_time, parse_hex, parse_time
from riskshare.errors import EncodingError

FORMAT: Final = "riskshare/v1/audit-report"

Outcome = Literal["holds", "fails", "skipped"]
_OUTCOMES: Final = frozenset(get_args(Outcome))

ALWAYS: Final = (
    "Two members that both leave an exchange out of their logs leave no trace of it that an audit could find.",
    "What a member was told by other means than through its peer is outside of any log.",
)
"""What no audit can find; every report says so."""

_KEYS: Final = frozenset(
    {
        "again",
        "checkpoints",
        "clean",
        "command",
        "complete",
        "figures",
        "findings",
        "format",
        "from",
        "limits",
        "made_at",
        "made_by",
        "members",
        "network",
        "observations",
        "program",
        "series",
        "steps",
        "tables",
        "title",
        "to",
    }
)


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

    @classmethod
    def from_body(cls, value: object) -> Step:
        """Read what `body` gave. Raises EncodingError."""
        body = read_fields(value, ("count", "name", "number", "outcome", "sentence"))
        if type(body["outcome"]) is not str or body["outcome"] not in _OUTCOMES:
            raise EncodingError("A step of the report neither holds nor fails nor was skipped.")
        outcome: Any = body["outcome"]
        texts = read_text(body["number"]), read_text(body["name"]), read_text(body["sentence"])
        return cls(texts[0], texts[1], outcome, read_count(body["count"]), texts[2])


@dataclass(frozen=True, slots=True)
class Figure:
    """A single figure of the summary, such as `Exchanges reconciled`: `1,204,331`."""

    name: str
    value: str

    def body(self) -> dict[str, Any]:
        """The JSON object."""
        return {"name": self.name, "value": self.value}

    @classmethod
    def from_body(cls, value: object) -> Figure:
        """Read what `body` gave. Raises EncodingError."""
        body = read_fields(value, ("name", "value"))
        return cls(read_text(body["name"]), read_text(body["value"]))


@dataclass(frozen=True, slots=True)
class Series:
    """Figures over time for one chart: for each name as many values as there are times.

    A value belongs to the time from its own to the next. Times grow; values reach from -(2^53 - 1) to 2^53 - 1.
    """

    title: str
    unit: str
    times: tuple[datetime, ...]
    values: tuple[tuple[str, tuple[float, ...]], ...]

    def __post_init__(self) -> None:
        """Refuse what no chart can show: a mistake in our own code. Raises ValueError."""
        for _, values in self.values:
            if len(values) != len(self.times) or not all(abs(value) <= MAX_SAFE_INTEGER for value in values):
                raise ValueError("a series has not one value for each time, or one that is out of range")
        if any(before >= after for before, after in pairwise(self.times)):
            raise ValueError("the times of a series do not grow")

    def body(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "times": [format_time(time) for time in self.times],
            "title": self.title,
            "unit": self.unit,
            "values": [{"name": name, "values": list(map(value_text, values))} for name, values in self.values],
        }

    @classmethod
    def from_body(cls, value: object) -> Series:
        """Read what `body` gave. Raises EncodingError."""
        body = read_fields(value, ("times", "title", "unit", "values"))
        named = [read_fields(one, ("name", "values")) for one in read_list(body["values"])]
        values = [(read_text(one["name"]), tuple(map(read_value, read_list(one["values"])))) for one in named]
        try:
            return cls(
                title=read_text(body["title"]),
                unit=read_text(body["unit"]),
                times=tuple(map(parse_time, read_list(body["times"]))),
                values=tuple(values),
            )
        except ValueError as error:
            raise EncodingError("A series of the report has not one value for each of its growing times.") from error


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the report: a title, column heads, rows of as many texts."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        """Refuse a row that does not fit: a mistake in our own code. Raises ValueError."""
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError("a row of a table has another length than its heads")

    def body(self) -> dict[str, Any]:
        """The JSON object."""
        return {"columns": list(self.columns), "rows": [list(row) for row in self.rows], "title": self.title}

    @classmethod
    def from_body(cls, value: object) -> Table:
        """Read what `body` gave. Raises EncodingError."""
        body = read_fields(value, ("columns", "rows", "title"))
        columns, rows = read_texts(body["columns"]), tuple(map(read_texts, read_list(body["rows"])))
        try:
            return cls(read_text(body["title"]), columns, rows)
        except ValueError as error:
            raise EncodingError("A table of the report has a row of another length than its heads.") from error


@dataclass(frozen=True, slots=True)
class Report:
    """What one command of an audit found, and how to find it again.

    `command` is replay, reconcile, open, settle or tell; `again` are shell commands that verify it anew from the
    folder; `limits` say what this audit cannot find, beyond `ALWAYS`; `program` is the version of riskshare that made
    it, and is filled in when the report is written.
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
    program: str = ""

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

    @property
    def verdict(self) -> str:
        """The outcome in a sentence or two."""
        skipped, failed = (self._steps_that(outcome) for outcome in ("skipped", "fails"))
        parts = []
        if self.findings:
            accused = len({finding.accused for finding in self.findings})
            against = _count(len(self.findings), "finding"), _count(accused, "member")
            parts.append(f"There {'is' if len(self.findings) == 1 else 'are'} {against[0]} against {against[1]}.")
        if failed:
            parts.append(f"{_count(failed, 'step')} of the verification did not hold.")
        if not parts:
            parts.append(
                "Nothing was found against any member."
                if skipped
                else "All that was verified holds. There is no finding."
            )
        if skipped:
            parts.append(f"Not everything could be verified: {_count(skipped, 'step')} had to be skipped.")
        return " ".join(parts)

    @property
    def main_steps(self) -> tuple[Step, ...]:
        """The steps themselves, and of their parts (`3.bank`) those that do not hold or belong to no step here."""
        numbers = {step.number for step in self.steps if "." not in step.number}
        return tuple(
            step
            for step in self.steps
            if "." not in step.number or step.outcome != "holds" or step.number.partition(".")[0] not in numbers
        )

    def _steps_that(self, outcome: str) -> int:
        """How many steps came out so; a step and its parts (`3`, `3.bank`) count as one."""
        return len({step.number.partition(".")[0] for step in self.steps if step.outcome == outcome})

    def body(self) -> dict[str, Any]:
        """The JSON object of `report.json`; `canonical_json` can write it."""
        return {
            "again": list(self.again),
            "checkpoints": [
                {"member": member, "root": root.hex(), "size": size} for member, size, root in self.checkpoints
            ],
            "clean": self.clean,
            "command": self.command,
            "complete": self.complete,
            "figures": [figure.body() for figure in self.figures],
            "findings": [finding.body() for finding in self.findings],
            "format": FORMAT,
            "from": None if self.opened is None else format_time(self.opened),
            "limits": [*ALWAYS, *self.limits],
            "made_at": format_time(self.made_at),
            "made_by": self.made_by,
            "members": list(self.members),
            "network": self.network,
            "observations": [one.body() for one in self.observations],
            "program": self.program,
            "series": [series.body() for series in self.series],
            "steps": [step.body() for step in self.steps],
            "tables": [table.body() for table in self.tables],
            "title": self.title,
            "to": None if self.closed is None else format_time(self.closed),
        }

    @classmethod
    def from_body(cls, value: object) -> Report:
        """Read what `body` gave; nothing of what it says is verified.

        Raises:
            EncodingError: a field missing, unknown or of another form; a verdict that does not follow from the steps
                and findings; a kind that this version does not know.

        """
        body = read_fields(value, _KEYS)
        checkpoints = [read_fields(one, ("member", "root", "size")) for one in read_list(body["checkpoints"])]
        report = cls(
            command=read_text(body["command"]),
            title=read_text(body["title"]),
            network=read_text(body["network"]),
            made_by=read_text(body["made_by"]),
            made_at=parse_time(body["made_at"]),
            opened=None if body["from"] is None else parse_time(body["from"]),
            closed=None if body["to"] is None else parse_time(body["to"]),
            members=read_texts(body["members"]),
            figures=tuple(map(Figure.from_body, read_list(body["figures"]))),
            steps=tuple(map(Step.from_body, read_list(body["steps"]))),
            findings=tuple(map(Finding.from_body, read_list(body["findings"]))),
            observations=tuple(map(Observation.from_body, read_list(body["observations"]))),
            series=tuple(map(Series.from_body, read_list(body["series"]))),
            tables=tuple(map(Table.from_body, read_list(body["tables"]))),
            limits=read_texts(body["limits"])[len(ALWAYS) :],
            again=read_texts(body["again"]),
            checkpoints=tuple(
                (read_text(one["member"]), read_count(one["size"]), parse_hex(one["root"], 32)) for one in checkpoints
            ),
            program=read_text(body["program"]),
        )
        if report.body() != body:
            raise EncodingError("The report does not follow from its own parts, or this version writes another form.")
        return report


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"
