"""How a report of an audit is shown on a terminal; with `--json` its body is printed."""

from __future__ import annotations

from collections import Counter
from typing import Final

from rich.text import Text

from riskshare.audit.report import ALWAYS, Report
from riskshare.cli.screen import Screen, clean, exact
from riskshare.store.reports import WrittenReport

SHOWN: Final = 20
"""Findings that are shown of one kind and member; the report has all."""

_OUTCOMES: Final = {"holds": ("holds", "green"), "fails": ("FAILS", "bold red"), "skipped": ("skipped", "yellow")}
_VERDICTS: Final = {0: "bold green", 1: "bold red", 3: "bold yellow"}


def show(report: Report, screen: Screen) -> None:
    """Print steps, findings, observations and verdict, or for a program the body. The caller exits with `exit_code`."""
    screen.result(report.body())
    _head(report, screen)
    _steps(report, screen)
    _findings(report, screen)
    _observations(report, screen)
    for table in report.tables:
        screen.say(table.title, "bold")
        screen.table(tuple(map(clean, table.columns)), table.rows)
    screen.pairs((clean(figure.name), figure.value) for figure in report.figures)
    if report.figures:
        screen.say()
    screen.say("What this audit cannot find", "bold")
    for limit in (*ALWAYS, *report.limits):
        screen.say(f"  {limit}")
    screen.say()
    screen.say(report.verdict, _VERDICTS[report.exit_code])


def show_written(written: WrittenReport, screen: Screen) -> None:
    """Say where the files of the report lie."""
    screen.pairs([("report", str(written.json)), ("SHA-256", written.digest.hex()), ("page", str(written.page))])


def _head(report: Report, screen: Screen) -> None:
    screen.say(report.title, "bold")
    if report.opened and report.closed:
        screen.say(f"{report.network}, {exact(report.opened)} to {exact(report.closed)}", "dim")
    else:
        screen.say(report.network, "dim")
    screen.say()


def _steps(report: Report, screen: Screen) -> None:
    if not report.steps:
        return
    screen.say("Verified in steps", "bold")
    rows = [
        (step.number, Text(*_OUTCOMES[step.outcome]), f"{step.count:,}", step.name, step.sentence)
        for step in report.main_steps
    ]
    screen.table(("step", "outcome", "count", "what", ""), rows, right=("count",))


def _findings(report: Report, screen: Screen) -> None:
    if not report.findings:
        return
    screen.say(f"Findings: {len(report.findings):,}", "bold red")
    seen: Counter[tuple[str, str]] = Counter()
    for finding in report.findings:
        group = finding.accused, finding.kind
        seen[group] += 1
        if seen[group] > SHOWN:
            continue
        screen.say(
            Text.assemble("  ", (clean(finding.accused), "bold"), f"  {finding.kind}  {clean(finding.sentence)}")
        )
        about = dict(finding.about) | ({"at": exact(finding.at)} if finding.at else {})
        if about:
            screen.say(f"      {', '.join(f'{name} {text}' for name, text in sorted(about.items()))}", "dim")
        for evidence in finding.evidence:
            screen.say(f"      {evidence.path}  {evidence.shows}", "dim")
    for (accused, kind), count in seen.items():
        if count > SHOWN:
            screen.say(f"  {accused}  {kind}: {count - SHOWN:,} more stand in the report.", "dim")
    screen.say()


def _observations(report: Report, screen: Screen) -> None:
    if not report.observations:
        return
    screen.say("Observed, and blamed on nobody", "bold")
    rows = [(one.kind, one.member, f"{one.count:,}", f"{one.of:,}", one.unusual) for one in report.observations]
    screen.table(("kind", "member", "count", "of", "unusual"), rows, right=("count", "of"))
