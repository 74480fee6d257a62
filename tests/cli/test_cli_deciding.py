"""`list withdraw`, `dispute` and `restore`, and `network terms`: on a real PostgreSQL, with no peer running."""

from __future__ import annotations

import pytest

from riskshare.cli.governing_terms import read_terms
from riskshare.errors import InputError

LISTED = ["phone:+8613800138000", "phone:+8613800138001", "phone:+8613800138002"]
UNLISTED = "phone:+14155550100"


@pytest.fixture
def high_risk(run, member, tmp_path):
    """A member with a list of three entries, two of them of case C-1."""
    assert run("list", "create", "high-risk", "--category", "telecom_fraud", "--config", member).exit_code == 0
    file = tmp_path / "three.csv"
    rows = [f"{number},{case}" for number, case in zip(LISTED, ["C-1", "C-1", ""], strict=True)]
    file.write_text("\n".join(["identifier,case", *rows]))
    assert run("list", "import", "high-risk", file, "--config", member).exit_code == 0
    return member


@pytest.fixture
def decide(answer, high_risk):
    def call(action, *words, reason="because"):
        code, [shown] = answer("list", action, "high-risk", *words, "--reason", reason, "--config", high_risk)
        return code, shown

    return call


def test_dispute_and_restore(decide, answer, high_risk):
    code, shown = decide("dispute", *LISTED[:2], UNLISTED, reason="says it is not theirs")
    assert (code, shown["disputed"], shown["not_listed"]) == (1, 2, ["phone:+1415•••••00"])
    assert shown["reason"] == "says it is not theirs"
    assert shown["author"]
    _, [status] = answer("list", "status", "high-risk", "--config", high_risk)
    assert (status["active"], status["disputed"]) == (1, 2)
    code, shown = decide("dispute", LISTED[0])
    assert (code, shown["disputed"], [one["code"] for one in shown["refused"]]) == (0, 0, ["unchanged"])
    code, shown = decide("restore", *LISTED[:2])
    assert (code, shown["restored"]) == (0, 2)


def test_a_case_is_decided_as_a_whole(decide, run, high_risk):
    code, shown = decide("withdraw", "--case", "C-1", reason="appeal_upheld")
    assert (code, shown["withdrawn"]) == (0, 2)
    result = run("list", "restore", "high-risk", "--case", "C-1", "--reason", "second look", "--config", high_risk)
    assert result.exit_code == 0
    assert "2 entries of jd/high-risk restored (second look)" in result.stdout
    assert "an appeal had been upheld before: 2" in result.stdout
    code, shown = decide("dispute", "--case", "C-2")
    assert (code, shown["error"]["code"]) == (2, "unknown_case")


def test_who_does_it_can_be_named(decide):
    _, shown = decide("dispute", LISTED[0], "--author", "appeals desk")
    assert shown["author"] == "appeals desk"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["restore", "high-risk", "--reason", "x"], "invalid_input"),
        (["restore", "high-risk", LISTED[0], "--case", "C-1", "--reason", "x"], "invalid_input"),
        (["restore", "high-risk", LISTED[0], "--reason", ""], "reason_missing"),
        (["dispute", "high-risk", LISTED[0], "--reason", "x" * 201], "reason_invalid"),
        (["dispute", "high-risk", LISTED[0], "--reason", "two\nlines"], "reason_invalid"),
        (["dispute", "high-risk", LISTED[0], "--reason", "x", "--author", "x" * 101], "author_invalid"),
        (["dispute", "high-risk", "phone:12", "--reason", "x"], "invalid_identifier"),
        (["dispute", "none", LISTED[0], "--reason", "x"], "unknown_list"),
    ],
)
def test_bad_input_is_2_with_its_code(answer, high_risk, words, code):
    exit_code, [shown] = answer("list", *words, "--config", high_risk)
    assert (exit_code, shown["error"]["code"]) == (2, code)


def test_a_reason_of_withdrawal_is_one_of_the_table(run, high_risk):
    words = ["withdraw", "high-risk", LISTED[0], "--reason", "because", "--config", high_risk]
    assert run("list", *words).exit_code == 2


def test_the_network_says_how_long_an_entry_may_stand(answer, run, network, high_risk, tmp_path):
    code, [shown] = answer("network", "terms", "--dir", network, "telecom_fraud=90")
    assert (code, shown["version"], shown["terms"]) == (0, 3, {"telecom_fraud": 90})
    assert "telecom_fraud (at most 90 days)" in run("network", "show", network).stdout
    file = tmp_path / "rows.csv"
    file.write_text(f"identifier,days\n{UNLISTED},90\nphone:+14155550101,91\nphone:+14155550102,\n")
    code, [shown] = answer("list", "import", "high-risk", file, "--config", high_risk)
    assert (code, shown["error"]["code"]) == (2, "term_too_long")
    code, [shown] = answer("list", "import", "high-risk", file, "--days", "30", "--config", high_risk)
    assert (code, shown["bad_by_code"]) == (1, {"term_too_long": 1})
    # What stood there before the network said so is beyond it now: 180 days.
    answer("list", "withdraw", "high-risk", LISTED[0], "--reason", "corrected", "--config", high_risk)
    code, [shown] = answer("list", "restore", "high-risk", LISTED[0], "--reason", "x", "--config", high_risk)
    assert (code, [one["code"] for one in shown["refused"]]) == (1, ["term_over"])
    code, [shown] = answer("network", "terms", "--dir", network, "telecom_fraud=none")
    assert (code, shown["terms"]) == (0, {})
    code, [shown] = answer("network", "terms", "--dir", network, "nonsense=3")
    assert (code, shown["error"]["code"]) == (2, "config")


@pytest.mark.parametrize(
    "text",
    ["telecom_fraud", "telecom_fraud=", "telecom_fraud=0", "telecom_fraud=3651", "telecom_fraud=-1", "A=3", "=3", ""],
)
def test_terms_that_cannot_be_meant_are_refused(text):
    with pytest.raises(InputError):
        read_terms([text])
    with pytest.raises(InputError):
        read_terms(["telecom_fraud=3", "telecom_fraud=4"])
