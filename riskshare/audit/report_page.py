"""The HTML page of a report: one file without script or network, to be read, printed and signed (pure).

Whatever comes from outside (names, sentences, reasons, paths) is text between tags, escaped by the template engine; it
never stands in an attribute, in the style sheet, or in a comment. The style sheet knows one such value: the digest of
the JSON report, in hex, which every printed page names.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from riskshare.audit.axis import MONTHS
from riskshare.audit.chart import Chart, Panel, make_chart
from riskshare.audit.finding import FINDINGS, OBSERVATIONS, Finding, Observation
from riskshare.audit.report import ALWAYS, Report, Step, Table
from riskshare.encoding import base64_text, canonical_json, sha256

SHOWN: Final = 100
"""Findings that the page shows of one kind and member; the JSON report has all."""

ROWS: Final = 500
"""Rows of a table that the page shows."""

CONTENT_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
)

_NUMBER: Final = re.compile(r"[-+]?[0-9][0-9,.]*(?: ?%)?|\N{EN DASH}?")


@dataclass(frozen=True, slots=True)
class Group:
    """The findings of one kind against one member."""

    kind: str
    meaning: str
    findings: tuple[Finding, ...]

    @property
    def shown(self) -> tuple[Finding, ...]:
        """Those that the page shows."""
        return self.findings[:SHOWN]


def report_digest(report: Report) -> bytes:
    """SHA-256 of the JSON report, 32 bytes."""
    return sha256(canonical_json(report.body()))


def render(report: Report) -> str:
    """The page of a report: the same text whenever it is made from the same JSON.

    Raises:
        EncodingError: the report has no canonical JSON, or is not one that could be read back.

    """
    written = Report.from_body(report.body())  # as it will be read: times in milliseconds, all in UTC
    page = _ENVIRONMENT.get_template("report.html")
    return page.render(
        report=written,
        policy=CONTENT_POLICY,
        digest=report_digest(written).hex(),
        outcome={0: "holds", 1: "fails", 3: "skipped"}[written.exit_code],
        accused=_grouped(written.findings),
        observations=sorted(written.observations, key=lambda one: not one.unusual),
        charts=[(series, make_chart(series)) for series in written.series],
        rows=written.main_steps,
        matrix=_matrix(written.steps),
        limits=(*ALWAYS, *written.limits),
        meanings=OBSERVATIONS,
        most_rows=ROWS,
    )


def _grouped(findings: Iterable[Finding]) -> list[tuple[str, list[Group]]]:
    """Of each accused the findings by kind, in the order of the names and of the documentation."""
    found: dict[str, dict[str, list[Finding]]] = {}
    for finding in findings:
        found.setdefault(finding.accused, {}).setdefault(finding.kind, []).append(finding)
    return [
        (name, [Group(kind, FINDINGS[kind], tuple(kinds[kind])) for kind in FINDINGS if kind in kinds])
        for name, kinds in sorted(found.items())
    ]


# --- Steps ----------------------------------------------------------------------------------------


def _matrix(steps: Iterable[Step]) -> tuple[list[str], list[tuple[str, list[Step | None]]]] | None:
    """The parts of steps as a table: a row for each part (mostly a member), a column for each step."""
    cells: dict[str, dict[str, Step]] = {}
    columns: dict[str, None] = {}
    for step in steps:
        number, dot, part = step.number.partition(".")
        if dot:
            cells.setdefault(part, {})[number] = step
            columns[number] = None
    rows = [(part, [row.get(column) for column in columns]) for part, row in cells.items()]
    return (list(columns), rows) if rows else None


# --- How values are written -------------------------------------------------------------------------


def _shown(value: object) -> object:
    """A text as it is shown: without what reorders letters, moves a cursor, or is no letter at all."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return "".join(map(_letter, value))


def _letter(letter: str) -> str:
    if letter.isprintable() or unicodedata.category(letter) == "Zs":
        return letter
    return " " if letter in "\t\r\n" else "\N{REPLACEMENT CHARACTER}"


def _moment(moment: datetime) -> str:
    moment = moment.astimezone(UTC)
    return f"{moment.day} {MONTHS[moment.month - 1]} {moment.year}, {moment:%H:%M} UTC"


def _bound(moment: datetime) -> str:
    """The bound of a period: no second of it is left out."""
    return _second(moment) if moment.second or moment.microsecond else _moment(moment)


def _second(moment: datetime) -> str:
    moment = moment.astimezone(UTC)
    return f"{moment.day} {MONTHS[moment.month - 1]} {moment.year}, {moment:%H:%M:%S} UTC"


def _figure(value: float) -> str:
    """A value of a series, for a person: whole, or with three significant digits."""
    if float(value).is_integer() or abs(value) >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _share(one: Observation) -> str:
    if not one.of:
        return "\N{EN DASH}"
    share = one.count / one.of
    return "< 0.01 %" if 0 < share < 0.0001 else f"{share:.2%}".replace("%", " %")


def _numeric(table: Table, column: int) -> bool:
    """Whether a column holds nothing but numbers."""
    return all(_NUMBER.fullmatch(row[column]) for row in table.rows)


def _described(chart: Chart, panel: Panel) -> str:
    """What a chart shows, for those who do not see it: without the names, which stand beside it."""
    return (
        f"Stepped lines from {_moment(chart.begin)} to {_moment(chart.end)};"
        f" the axis of values reaches from {panel.up[0][1]} to {panel.up[-1][1]}."
    )


def _environment(filters: Mapping[str, Any]) -> Environment:
    made = Environment(
        loader=PackageLoader("riskshare.audit"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_shown,
    )
    made.filters.update(filters)
    return made


_ENVIRONMENT: Final = _environment(
    {
        "count": lambda number: f"{number:,}",
        "moment": _moment,
        "second": _second,
        "bound": _bound,
        "figure": _figure,
        "share": _share,
        "described": _described,
        "base64": base64_text,
        "numeric": _numeric,
    }
)
