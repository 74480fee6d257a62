"""`never`: on a real PostgreSQL, with no peer running."""

from __future__ import annotations

import json

import pytest

LISTED = ["phone:+8613800138000", "phone:+8613800138001", "phone:+8613900139000"]


@pytest.fixture
def high_risk(run, member, tmp_path):
    """A member with a list of three entries."""
    assert run("list", "create", "high-risk", "--category", "telecom_fraud", "--config", member).exit_code == 0
    file = tmp_path / "three.csv"
    file.write_text("\n".join(LISTED))
    assert run("list", "import", "high-risk", file, "--config", member).exit_code == 0
    return member


@pytest.fixture
def never(answer, high_risk):
    def call(*words):
        return answer("never", *words, "--config", high_risk)

    return call


def test_a_dry_run_tells_and_changes_nothing(never):
    code, [shown] = never("add", "--prefix", "phone:+861380013", "--dry-run")
    assert (code, shown["found"], shown["withdrawn"], shown["added"]) == (0, {"jd/high-risk": 2}, {}, 0)
    assert never("list") == (0, [])


def test_what_rules_name_is_withdrawn_and_stays_off(never, run, answer, high_risk):
    result = run("never", "add", "--prefix", "phone:+861380013", LISTED[2], "--note", "ours", "--config", high_risk)
    assert result.exit_code == 0
    assert "On jd/high-risk: 3 entries that the rules name." in result.stdout
    assert "2 rules added; 3 entries withdrawn." in result.stdout
    assert "13900139000" not in result.output
    _, [status] = answer("list", "status", "high-risk", "--config", high_risk)
    assert (status["active"], status["withdrawn"]) == (0, 3)
    code, [done] = answer("list", "restore", "high-risk", *LISTED, "--reason", "x", "--config", high_risk)
    assert (code, [one["code"] for one in done["refused"]]) == (1, ["never_listed"] * 3)
    code, rules = never("list")
    assert [(one["rule"], one["kind"], one["names"], one["note"]) for one in rules] == [
        (1, "exact", "phone:+8613•••••••00", "ours"),
        (2, "prefix", "phone:+861380013", "ours"),
    ]


def test_a_rule_that_is_there_is_not_added_again(never):
    never("add", LISTED[0])
    code, [shown] = never("add", LISTED[0], LISTED[1], LISTED[1])
    assert (code, shown["added"], shown["known"], shown["withdrawn"]) == (0, 1, 1, {"jd/high-risk": 1})


def test_rules_are_removed_by_number(never, answer, high_risk):
    never("add", LISTED[0])
    code, [shown] = never("remove", 1, 7)
    assert (code, shown["removed"], shown["not_there"]) == (1, [1], [7])
    assert never("list") == (0, [])
    code, [done] = answer("list", "restore", "high-risk", LISTED[0], "--reason", "x", "--config", high_risk)
    assert (code, done["restored"]) == (0, 1)


def test_what_a_rule_names_is_a_bad_row_of_every_import(never, answer, high_risk, tmp_path):
    never("add", "--prefix", "phone:+861380013", "--note", "our own numbers")
    file = tmp_path / "more.csv"
    file.write_text(f"{LISTED[0]}\nphone:+14155550100\n")
    code, [shown] = answer("list", "import", "high-risk", file, "--config", high_risk)
    assert (code, shown["committed"], shown["bad_by_code"]) == (1, False, {"never_listed": 1})
    code, [shown] = answer("list", "import", "high-risk", file, "--bad-rows", "skip", "--config", high_risk)
    assert (code, shown["committed"], shown["new"]) == (0, True, 1)
    report = next(tmp_path.glob("*.bad-rows.csv")).read_text()
    assert "rule 1: our own numbers" in report
    assert "13800138000" not in report


def test_a_file_with_a_rule_that_is_not_understood_changes_nothing_unless_told_to(never, tmp_path):
    file = tmp_path / "rules.txt"
    file.write_text("prefix phone:+861380013\nnonsense\n")
    code, [shown] = never("add", "--file", file)
    assert (code, shown["added"], [one["place"] for one in shown["bad"]]) == (1, 0, [2])
    assert never("list") == (0, [])
    code, [shown] = never("add", "--file", file, "--bad-rows", "skip")
    assert (code, shown["added"], shown["withdrawn"]) == (0, 1, {"jd/high-risk": 2})


def test_a_warning_list_is_read(never, tmp_path):
    file = tmp_path / "banks.json"
    file.write_text(json.dumps({"type": "hostname", "name": "Banks", "list": [".bank.example"]}))
    code, [shown] = never("add", "--file", file)
    assert (code, shown["added"]) == (0, 1)
    assert never("list")[1][0]["note"] == "Banks"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], "invalid_input"),
        (["phone:12"], "invalid_identifier"),
        (["--prefix", "phone:400"], "never_rule_invalid"),
        (["--range", "phone:+1-+2"], "never_rule_invalid"),
        ([LISTED[0], "--note", "x" * 201], "note_invalid"),
        ([LISTED[0], "--author", "x" * 101], "author_invalid"),
    ],
)
def test_bad_input_is_2_with_its_code(never, words, code):
    exit_code, [shown] = never("add", *words)
    assert (exit_code, shown["error"]["code"]) == (2, code)
    assert never("list") == (0, [])


def test_a_file_that_is_no_warning_list_is_2(never, tmp_path):
    file = tmp_path / "cidr.json"
    file.write_text(json.dumps({"type": "cidr", "list": []}))
    exit_code, [shown] = never("add", "--file", file)
    assert (exit_code, shown["error"]["code"]) == (2, "never_file_invalid")
