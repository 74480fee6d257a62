"""`list withdraw`, `dispute` and `restore`, and `network terms`: on a real PostgreSQL, with no peer running."""

from __future__ import annotations

import pytest

from riskshare.cli.deciding import MOST, SHOWN
from riskshare.cli.governing_terms import read_terms
from riskshare.cli.identifier_lines import MAX_LINE
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


def test_an_upheld_appeal_of_what_is_off_the_list_is_kept_and_told(decide, run, answer, high_risk, tmp_path):
    decide("withdraw", LISTED[0], reason="corrected")
    options = ("--reason", "appeal_upheld", "--config", high_risk)
    result = run("list", "withdraw", "high-risk", LISTED[0], LISTED[1], *options)
    assert result.exit_code == 0
    assert "2 entries of jd/high-risk withdrawn (appeal_upheld)" in result.stdout
    assert "Of these, off the list before: 1." in result.stdout
    shown = run("list", "show", LISTED[0], "--config", high_risk)
    assert "corrected" in shown.stdout
    assert "appeal_upheld" in shown.stdout
    _, [told] = answer("list", "import", "high-risk", tmp_path / "three.csv", "--config", high_risk)
    assert (told["barred"], told["relisted"]) == (2, 0)


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


@pytest.fixture
def named(tmp_path):
    """Write a file of identifiers."""

    def write(*lines, data=None):
        file = tmp_path / "named.txt"
        file.write_bytes("\n".join(lines).encode() if data is None else data)
        return file

    return write


@pytest.fixture
def states(answer, high_risk):
    """How many entries are active, disputed and withdrawn, and the number of the list's change that made one of them."""

    def look():
        _, [status] = answer("list", "status", "high-risk", "--config", high_risk)
        _, [entry] = answer("list", "show", LISTED[0], "--config", high_risk)
        return status["active"], status["disputed"], status["withdrawn"], entry["history"][-1]["number"]

    return look


def test_a_file_is_decided_in_one_change(decide, named, answer, high_risk):
    file = named("# sold numbers", "", *LISTED, f"  {UNLISTED}  ", "phone:+86 138 0013 8000")
    code, shown = decide("dispute", "--file", file)
    assert (code, shown["disputed"], shown["refused"]) == (1, 3, [])
    assert (shown["not_listed"], shown["not_listed_lines"], shown["repeated"]) == (["phone:+1415•••••00"], [6], 1)
    assert shown["refused_by_code"] == {"not_listed": 1}
    numbers = set()
    for one in LISTED:
        _, [entry] = answer("list", "show", one, "--config", high_risk)
        assert entry["state"] == "disputed"
        numbers.add(entry["history"][-1]["number"])
    assert len(numbers) == 1
    code, shown = decide("dispute", "--file", named(LISTED[0]))
    assert (code, shown["disputed"], shown["not_listed_lines"]) == (0, 0, [])
    assert [(one["line"], one["code"]) for one in shown["refused"]] == [(1, "unchanged")]
    code, shown = decide("withdraw", "--file", named(*LISTED), reason="erroneous")
    assert (code, shown["withdrawn"], shown["not_listed"], shown["repeated"]) == (0, 3, [], 0)
    code, shown = decide("restore", "--file", named(*LISTED))
    assert (code, shown["restored"]) == (0, 3)


def test_standard_input_is_read(answer, high_risk):
    words = ("list", "withdraw", "high-risk", "--file", "-", "--reason", "corrected", "--config", high_risk)
    code, [shown] = answer(*words, typed="\n".join(LISTED[:2]))
    assert (code, shown["withdrawn"]) == (0, 2)
    code, [shown] = answer(*words, typed="")
    assert (code, shown["error"]["code"]) == (2, "file_empty")


def test_a_person_sees_how_many_and_on_which_lines(run, named, high_risk):
    absent = [f"phone:+1415555{number:04}" for number in range(100, 100 + SHOWN + 5)]
    file = named(*absent, *LISTED, LISTED[0])
    result = run("list", "withdraw", "high-risk", "--file", file, "--reason", "corrected", "--config", high_risk)
    assert result.exit_code == 1
    assert "3 entries of jd/high-risk withdrawn (corrected)." in result.stdout
    assert f"{SHOWN + 5} identifiers: It is not on the list." in result.stdout
    assert "1 line repeats an earlier one." in result.stdout
    assert "Not on the list: phone:+1415•••••00 (line 1)" in result.stdout
    assert result.stdout.count("Not on the list: ") == SHOWN
    assert "… and 5 more; --json names all of them." in result.stdout
    assert not any(one.partition(":")[2] in result.output for one in [*absent, *LISTED])


@pytest.mark.parametrize("action", ["withdraw", "dispute", "restore"])
def test_one_bad_line_and_nothing_is_done(answer, run, named, states, high_risk, *, action):
    before = states()
    file = named(LISTED[0], "phone:1", "# fine", LISTED[1], "nonsense", f"{LISTED[2]},C-1")
    words = ("list", action, "high-risk", "--file", file, "--reason", "corrected", "--config", high_risk)
    code, shown = answer(*words)
    assert (code, shown[-1]["error"]["code"]) == (2, "bad_lines")
    assert [(one["line"], one["error"]["code"]) for one in shown[:-1]] == [
        (number, "invalid_identifier") for number in (2, 5, 6)
    ]
    result = run(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Line 2 (invalid_identifier, no_country_code): " in result.stderr
    assert "Nothing was changed: 3 lines of the file are not valid." in result.stderr
    for text in ("phone:1\n", "nonsense", "13800138"):
        assert text not in result.output
    assert states() == before


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "file_empty"),
        (b"\n# nothing\n  \n", "file_empty"),
        (f"{LISTED[0]}\n".encode() + b"phone:\xe4\n", "file_encoding"),
        (f"{LISTED[0]}\n".encode("utf-16"), "file_encoding"),
        (f"{LISTED[0]}\n".encode() + b"x" * (MAX_LINE + 1), "invalid_input"),
        (f"{LISTED[0]}\n".encode() * (MOST + 1), "too_many_identifiers"),
        (f"{LISTED[0]}\n".encode() + b"x\n" * MOST, "too_many_identifiers"),
    ],
    ids=["empty", "comments", "not UTF-8", "UTF-16", "long line", "too long", "too long and bad"],
)
def test_a_file_that_cannot_be_used_changes_nothing(decide, named, states, data, code):
    before = states()
    exit_code, shown = decide("withdraw", "--file", named(data=data), reason="corrected")
    assert (exit_code, shown["error"]["code"]) == (2, code)
    assert states() == before


def test_a_file_of_the_greatest_length_is_taken(decide, named):
    code, shown = decide("withdraw", "--file", named(data=f"{LISTED[0]}\n".encode() * MOST), reason="corrected")
    assert (code, shown["withdrawn"], shown["repeated"]) == (0, 1, MOST - 1)


def test_a_file_that_is_not_there_is_2(decide, states, tmp_path):
    before = states()
    code, shown = decide("withdraw", "--file", tmp_path / "none.txt", reason="corrected")
    assert (code, shown["error"]["code"]) == (2, "config")
    assert states() == before


def test_a_folder_in_place_of_a_file_is_2(run, high_risk, tmp_path):
    result = run("list", "withdraw", "high-risk", "--file", tmp_path, "--reason", "corrected", "--config", high_risk)
    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.parametrize("words", [[LISTED[0]], ["--case", "C-1"], [LISTED[0], "--case", "C-1"]])
def test_a_file_stands_alone(decide, named, states, words):
    before = states()
    code, shown = decide("withdraw", "--file", named(LISTED[0]), *words, reason="corrected")
    assert (code, shown["error"]["code"]) == (2, "invalid_input")
    assert states() == before


def test_a_reason_of_withdrawal_is_one_of_the_table(run, high_risk):
    words = ["withdraw", "high-risk", LISTED[0], "--reason", "because", "--config", high_risk]
    assert run("list", *words).exit_code == 2


def test_the_network_says_how_long_an_entry_may_stand(answer, run, network, high_risk, tmp_path):
    code, [shown] = answer("network", "terms", "--dir", network, "telecom_fraud=90")
    assert (code, shown["version"], shown["terms"]) == (0, 3, {"telecom_fraud": 90})
    assert "telecom_fraud (at most 90 days)" in run("network", "show", network).stdout
    file = tmp_path / "rows.csv"
    file.write_text(f"identifier,days\n{UNLISTED},90\nphone:+14155550101,91\nphone:+14155550102,\n")
    code, [shown] = answer("list", "import", "high-risk", file, "--days", "91", "--config", high_risk)
    assert (code, shown["error"]["code"]) == (2, "term_too_long")
    for days in (["--days", "30"], []):  # of which nobody says how long it stands, that stands as long as it may
        code, [shown] = answer("list", "import", "high-risk", file, *days, "--config", high_risk)
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
