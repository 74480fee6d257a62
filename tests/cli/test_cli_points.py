"""`audit points` and `audit disclose`, and what `audit tell` refuses."""

from __future__ import annotations

import json

import pytest

from riskshare.audit.points import PointsReport, read_report
from riskshare.config import Config
from riskshare.governance import read_registry
from riskshare.peer.opening import read_member


def test_a_month_without_checks_gives_a_signed_report_of_nothing_once(answer, member, network, tmp_path):
    words = ("audit", "points", "--month", "2025-01", "--out", tmp_path / "points", "--config", member)
    code, [done] = answer(*words)
    assert (code, done["owners"], done["checks"]) == (0, {}, 0)
    report = read_report((tmp_path / "points").read_bytes(), read_registry(network / "network.json"))
    assert report == PointsReport("riskshare", "2025-01", "jd", {})
    code, [again] = answer(*words)
    assert (code, again["error"]["code"]) == (2, "config")


@pytest.mark.parametrize(
    ("month", "code"), [("2025-13", "invalid_input"), ("january", "invalid_input"), ("2999-01", "period_open")]
)
def test_a_month_that_is_none_or_not_over_is_refused(answer, member, tmp_path, month, code):
    exit_code, [done] = answer("audit", "points", "--month", month, "--out", tmp_path / "p", "--config", member)
    assert (exit_code, done["error"]["code"]) == (2, code)


def test_only_an_auditor_discloses(answer, member, tmp_path):
    keys = read_member(Config.load(member)).keys
    (tmp_path / "one").write_bytes(PointsReport("riskshare", "2025-01", "jd", {"shop": 7}).to_file(keys.identity))
    words = ("audit", "disclose", tmp_path / "one", "--out", tmp_path / "all", "--config", member)
    code, [done] = answer(*words)
    assert (code, done["error"]["code"]) == (2, "unauthenticated")
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("phone:1",), "invalid_identifier"),
        (("--file", "not-there"), "invalid_input"),
        (("email:a@example.com", "--from", "x"), "invalid_input"),
        (("email:a@example.com", "--reason", "x" * 201), "malformed"),
    ],
)
def test_what_tell_cannot_use_is_refused_and_nothing_is_logged(answer, member, words, code):
    exit_code, found = answer("audit", "tell", *words, "--config", member)
    assert (exit_code, found[-1]["error"]["code"]) == (2, code)
    _, [shown] = answer("audit", "accesses", "--config", member)
    assert shown["audits"] == []


def test_tell_wants_one_identifier(run, member):
    for words in ((), ("email:a@example.com", "--file", "x")):
        assert run("audit", "tell", *words, "--config", member).exit_code == 2


def test_what_is_told_is_logged_and_the_member_knows(answer, member):
    code, [report] = answer("audit", "tell", "email:a@example.com", "--config", member)
    assert code == 0
    assert [step["outcome"] for step in report["steps"]] == ["holds"] * 3
    assert "a@example.com" not in json.dumps(report)
    _, [shown] = answer("audit", "accesses", "--config", member)
    assert [each["action"] for each in shown["audits"]] == ["tell"]
