"""How a report of an audit looks on a terminal."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from riskshare.audit.finding import Finding
from riskshare.audit.report import ALWAYS, Figure, Report, Table
from riskshare.cli.auditing_screen import SHOWN, show
from riskshare.cli.screen import Screen
from tests.simulator import reports


def shown(report, capsys):
    show(report, Screen(as_json=False))
    return capsys.readouterr().out


@pytest.mark.parametrize("name", reports.ALL)
def test_every_variant_says_its_verdict_and_its_limits(name, capsys):
    report = reports.ALL[name]()
    text = shown(report, capsys)
    assert text.splitlines()[-1] == report.verdict
    assert all(limit in text for limit in (*ALWAYS, *report.limits))
    assert all(step.name in text for step in report.steps)
    assert all(figure.value in text for figure in report.figures)


def test_with_json_the_body_is_all_that_is_printed(capsys):
    report = reports.convicting()
    show(report, Screen(as_json=True))
    printed = capsys.readouterr()
    assert Report.from_body(json.loads(printed.out)) == report
    assert printed.err == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "2026-11-20 08:00 UTC"),
        (59.0, "2026-11-20 08:00:59 UTC"),
        (0.25, "2026-11-20 08:00:00.250 UTC"),
    ],
)
def test_a_period_is_told_as_exactly_as_it_is(seconds, text, capsys):
    opened = datetime(2026, 11, 20, 8, tzinfo=UTC)
    report = replace(reports.bare(), opened=opened + timedelta(seconds=seconds), closed=opened + timedelta(hours=1))
    assert f"{text} to 2026-11-20 09:00 UTC" in shown(report, capsys)


def test_findings_name_who_what_when_and_the_evidence(capsys):
    text = shown(reports.convicting(), capsys)
    assert "Findings: " in text
    for part in ("bank-a", "wrong_key", "evidence/wrong_key-0.json", "at 2026-11-0"):
        assert part in text


def test_of_one_kind_and_member_only_some_findings_are_shown(capsys):
    found = tuple(Finding("double", "bank-a", f"Number {number}.") for number in range(SHOWN + 5))
    other = Finding("wrong_key", "telco-d", "The other one.")
    text = shown(replace(reports.bare(), findings=(*found, other)), capsys)
    assert f"Number {SHOWN - 1}." in text
    assert f"Number {SHOWN}." not in text
    assert "bank-a  double: 5 more stand in the report." in text
    assert "The other one." in text


def test_texts_from_elsewhere_do_not_move_the_cursor(capsys):
    evil = "a\x1b[2Jb\u202ec"
    report = replace(
        reports.clean(),
        title=evil,
        network=evil,
        findings=(Finding("double", evil, evil, None, {"receipt": evil}),),
        figures=(Figure(evil, evil),),
        tables=(Table(evil, (evil,), ((evil,),)),),
        limits=(evil,),
    )
    text = shown(report, capsys)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "a\ufffd[2Jb\ufffdc" in text
