"""What is given to operators names metrics that a peer really has, and says what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from riskshare.metrics import Metrics, render_workers

ROOT = Path(__file__).parent.parent
ALERTS = ROOT / "deploy" / "alerts.yml"
PLACES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "deploy").rglob("*.*"))]
NAME = re.compile(r"\briskshare_[a-z0-9_]+\b")
SUFFIXES = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def exposed() -> dict[str, str]:
    """The name of each series that a peer gives, with the kind of its metric; and the bare names of histograms."""
    found = {}
    told = Metrics().render() + render_workers({1: None})
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", told.decode(), re.MULTILINE):
        found[name] = kind
        for suffix in SUFFIXES[kind]:
            found[name + suffix] = kind
    return found


def rules() -> list[dict]:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def named_in(text: str) -> set[str]:
    return set(NAME.findall(text))


def unbalanced(expression: str) -> bool:
    """Whether brackets do not close in the order in which they open."""
    waiting = []
    pairs = {")": "(", "]": "[", "}": "{"}
    for sign in re.sub(r'"[^"]*"', "", expression):
        if sign in pairs.values():
            waiting.append(sign)
        elif sign in pairs and (not waiting or waiting.pop() != pairs[sign]):
            return True
    return bool(waiting)


@pytest.mark.parametrize("place", PLACES, ids=lambda path: path.name)
def test_every_metric_that_is_named_exists(place):
    assert named_in(place.read_text(encoding="utf-8")) - set(exposed()) == set()


def test_the_names_are_those_of_series_and_not_of_their_family():
    """In a rule, a histogram without suffix or a counter without `_total` would match nothing, and never fire."""
    series = exposed()
    used = {name for rule in rules() for name in named_in(rule["expr"])}
    assert used
    assert {name for name in used if series[name] == "histogram" and not name.endswith(SUFFIXES["histogram"])} == set()
    assert {name for name in used if series[name] == "counter" and not name.endswith("_total")} == set()


def test_no_counter_is_used_but_as_a_rate():
    for rule in rules():
        for name in named_in(rule["expr"]):
            if exposed()[name] != "gauge":
                parts = rf"(?:rate|increase)\({name}(?:\{{[^}}]*\}})?\[\d+m\]\)"
                assert len(re.findall(parts, rule["expr"])) == rule["expr"].count(name), rule["alert"]


def test_every_rule_is_whole():
    for rule in rules():
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}, rule
        assert re.fullmatch(r"Riskshare[A-Za-z]+", rule["alert"])
        assert re.fullmatch(r"\d+[mh]", rule["for"]), rule["alert"]
        assert rule["labels"]["severity"] in {"warning", "critical"}, rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]
        for text in rule["annotations"].values():
            assert text.strip().endswith("."), rule["alert"]
            assert text.count("{{") == text.count("}}"), rule["alert"]
        assert not unbalanced(rule["expr"]), rule["alert"]


def test_no_alert_has_the_name_of_another():
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))


def test_what_must_not_pass_unseen_has_a_rule():
    expressions = " ".join(rule["expr"] for rule in rules())
    for wanted in (
        "up{",
        "riskshare_list_current == 0",
        "riskshare_list_age_seconds >",
        "riskshare_list_expires_timestamp_seconds - time()",
        "riskshare_registry_days_left < 28",
        "riskshare_registry_days_left < 7",
        "riskshare_ask_failures_total",
        "riskshare_unanswered_asks",
        "riskshare_ledger_missing > 0",
        "riskshare_ledger_stalled > 0",
        'verdict="incomplete"',
        "histogram_quantile(0.99",
        "riskshare_ledger_halted > 0",
        "riskshare_ledger_size > riskshare_ledger_final_size",
        "riskshare_ledger_pending",
        "riskshare_own_list_waiting_seconds > 60",
        "riskshare_own_list_readers_behind > 0",
        "increase(riskshare_audit_accesses_total[",
    ):
        assert wanted in expressions, wanted


def test_a_label_that_an_annotation_names_is_left_by_the_expression():
    """What is summed away would be shown as nothing."""
    for rule in rules():
        used = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
        kept = [set(re.split(r",\s*", inner)) for inner in re.findall(r"\bby \(([^)]*)\)", rule["expr"])]
        for labels in kept:
            assert used <= labels, rule["alert"]


def test_the_operators_are_told_of_the_rules():
    assert "(../deploy/alerts.yml)" in (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
