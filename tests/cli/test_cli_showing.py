"""`list show` and `list stats`: on a real PostgreSQL, with no peer running."""

from __future__ import annotations

import pytest

from riskshare.cli.showing import MOST

ONE, TWO = "phone:+8613800138000", "phone:+8613800138001"


@pytest.fixture
def high_risk(run, member, tmp_path):
    """A member with a list of two entries, one of them disputed."""
    assert run("list", "create", "high-risk", "--category", "telecom_fraud", "--config", member).exit_code == 0
    file = tmp_path / "two.csv"
    file.write_text(f"identifier,level,reason,case,evidence\n{ONE},high,impersonation,C-1,court\n{TWO},low,spoofed,,\n")
    assert run("list", "import", "high-risk", file, "--author", "import desk", "--config", member).exit_code == 0
    words = ["high-risk", ONE, "--reason", "says it was sold", "--author", "appeals desk", "--config", member]
    assert run("list", "dispute", *words).exit_code == 0
    return member


def test_show_says_why_since_when_by_whom_and_what_was_done(run, answer, high_risk):
    code, [entry] = answer("list", "show", ONE, "--config", high_risk)
    assert code == 0
    assert (entry["list"], entry["state"], entry["reason"], entry["case"], entry["evidence"]) == (
        "jd/high-risk",
        "disputed",
        "impersonation",
        "C-1",
        "court",
    )
    assert [(one["author"], one["action"], one["why"]) for one in entry["history"]] == [
        ("import desk", "import", "reported"),
        ("appeals desk", "dispute", "says it was sold"),
    ]
    result = run("list", "show", ONE, "--list", "high-risk", "--config", high_risk)
    assert "appeals desk" in result.stdout
    assert "No member has said yet" in result.stdout
    assert "13800138000" not in result.output


def test_show_is_1_if_one_is_on_no_list_now(run, answer, high_risk):
    assert answer("list", "show", TWO, "phone:+14155550100", "--config", high_risk)[0] == 1
    answer("list", "withdraw", "high-risk", TWO, "--reason", "corrected", "--config", high_risk)
    code, [entry] = answer("list", "show", TWO, "--config", high_risk)
    assert (code, entry["state"], entry["withdrawn_for"]) == (1, "withdrawn", "corrected")
    assert "or ever held it" in run("list", "show", "phone:+14155550100", "--config", high_risk).stdout


def test_whom_it_is_about_may_stand_in_a_file(answer, high_risk, tmp_path):
    file = tmp_path / "whom"
    file.write_bytes(f"\ufeff{ONE}\n# a colleague's note\n\n{TWO}\n{ONE}\n".encode())
    code, shown = answer("list", "show", "--file", file, "--config", high_risk)
    assert (code, [entry["reason"] for entry in shown]) == (0, ["impersonation", "spoofed"])
    code, shown = answer("list", "show", "--file", "-", "--config", high_risk, typed=f"{TWO}\n")
    assert (code, len(shown)) == (0, 1)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"# nothing\n", "file_empty"),
        (b"phone:+14155550100\nphone:12\n", "invalid_identifier"),
        (b"phone:\xff\n", "file_encoding"),
        (b"phone:+14155550100\n" * (MOST + 1), "too_many_identifiers"),
    ],
    ids=["empty", "bad-line", "encoding", "too-many"],
)
def test_a_file_to_show_that_cannot_be_used_is_2(answer, high_risk, tmp_path, data, code):
    file = tmp_path / "whom"
    file.write_bytes(data)
    exit_code, [shown] = answer("list", "show", "--file", file, "--config", high_risk)
    assert (exit_code, shown["error"]["code"]) == (2, code)


@pytest.mark.parametrize("words", [[], [ONE, "--file", "-"]])
def test_either_identifiers_or_a_file_are_shown(run, high_risk, words):
    assert run("list", "show", *words, "--config", high_risk).exit_code == 2


@pytest.mark.parametrize(
    ("words", "code"),
    [(["show", "phone:12"], "invalid_identifier"), (["show", ONE, "--list", "none"], "unknown_list"),
     (["stats", "none"], "unknown_list")],
)  # fmt: skip
def test_bad_input_is_2_with_its_code(answer, high_risk, words, code):
    exit_code, [shown] = answer("list", *words, "--config", high_risk)
    assert (exit_code, shown["error"]["code"]) == (2, code)


def test_stats_show_each_day(run, answer, high_risk):
    answer("list", "withdraw", "high-risk", ONE, "--reason", "appeal_upheld", "--config", high_risk)
    code, [shown] = answer("list", "stats", "high-risk", "--days", "3", "--config", high_risk)
    assert (code, shown["list"], len(shown["days"])) == (0, "jd/high-risk", 3)
    assert [one["size"] for one in shown["days"]] == [0, 0, 1]
    today = shown["days"][-1]
    assert (today["added"], today["disputed"], today["withdrawn"]) == (2, 1, {"appeal_upheld": 1})
    told = run("list", "stats", "high-risk", "--config", high_risk).stdout
    assert "appeal_upheld 1" in told
    assert len([line for line in told.splitlines() if line.strip()[:2] == "20"]) == 1, "no day before the list was made"
