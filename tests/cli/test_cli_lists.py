"""`list`: on a real PostgreSQL, with no peer running."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import openpyxl
import pyarrow as pa
import pytest
from pyarrow import parquet

from riskshare.config import Config
from riskshare.generate import generate
from riskshare.peer.opening import opened_store
from riskshare.store.leader import Leadership

GOOD = generate(1, 50, ["phone", "email", "bank_card"])
ROWS = ["identifier,level,days"]
ROWS += [f"{one.canonical},high,30" for one in GOOD[:3]]
BAD = [
    ("phone:+1415555010", "length"),
    ("phone:+14155550101", "level_invalid"),
    ("bank_card:6222021234567890", "check_digit"),
]
BAD_LINES = [f"{BAD[0][0]},high,30", f"{BAD[1][0]},severe,30", f"{BAD[2][0]},low,30"]


@pytest.fixture
def high_risk(run, member):
    """A member with an empty list."""
    assert run("list", "create", "high-risk", "--category", "telecom_fraud", "--config", member).exit_code == 0
    return member


@pytest.fixture
def clean_file(tmp_path):
    file = tmp_path / "clean.csv"
    file.write_text("\n".join(one.canonical for one in GOOD) + "\n")
    return file


@pytest.fixture
def dirty_file(tmp_path):
    file = tmp_path / "dirty.csv"
    file.write_text("\n".join(ROWS + BAD_LINES) + "\n")
    return file


def clear_texts(*files):
    """Every identifier of the tests, and every long number in the files."""
    found = {one.value for one in GOOD} | {text.partition(":")[2] for text, _ in BAD}
    for file in files:
        found |= set(re.findall(r"\d{7,}", file.read_text()))
    return found


def assert_nothing_in_the_clear(output, *files):
    assert [text for text in clear_texts(*files) if text in output] == []


def test_create_and_status(answer, run, member):
    code, [made] = answer("list", "create", "high-risk", "--category", "telecom_fraud", "--config", member)
    assert (code, made["list"], made["category"], made["keyset"]) == (0, "jd/high-risk", "telecom_fraud", "default")
    code, [shown] = answer("list", "status", "--config", member)
    assert code == 0
    assert {key: shown[key] for key in ("list", "active", "pending", "snapshots")} == {
        "list": "jd/high-risk",
        "active": 0,
        "pending": 0,
        "snapshots": [],
    }
    assert answer("list", "status", "jd/high-risk", "--config", member) == (0, [shown])
    assert "jd/high-risk" in run("list", "status", "high-risk", "--config", member).stdout


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["create", "high-risk", "--category", "telecom_fraud"], "list_exists"),
        (["create", "other", "--category", "nonsense"], "unknown_category"),
        (["create", "other", "--category", "Non Sense"], "invalid_name"),
        (["create", "Other", "--category", "telecom_fraud"], "invalid_name"),
        (["create", "other", "--category", "telecom_fraud", "--keyset", "A B"], "invalid_name"),
        (["create", "icbc/other", "--category", "telecom_fraud"], "unknown_list"),
        (["status", "none"], "unknown_list"),
        (["withdraw", "none", "phone:+14155550100", "--reason", "withdrawn"], "unknown_list"),
        (["withdraw", "high-risk", "phone:0100", "--reason", "withdrawn"], "invalid_identifier"),
    ],
)
def test_bad_input_is_2_with_its_code(answer, high_risk, words, code):
    exit_code, [shown] = answer("list", *words, "--config", high_risk)
    assert (exit_code, shown["error"]["code"]) == (2, code)


def test_import_of_a_clean_file(answer, run, high_risk, clean_file):
    code, [done] = answer("list", "import", "high-risk", clean_file, "--config", high_risk)
    assert code == 0
    assert (done["committed"], done["rows"], done["good"], done["bad"], done["new"]) == (True, 50, 50, 0, 50)
    assert (done["peer_running"], done["published"]) == (False, None)
    code, [again] = answer("list", "import", "jd/high-risk", clean_file, "--config", high_risk)
    assert (code, again["new"], again["same"]) == (0, 0, 50)
    code, [shown] = answer("list", "status", "high-risk", "--config", high_risk)
    assert (shown["active"], shown["pending"]) == (50, 50)
    assert "50 changes wait" in run("list", "status", "--config", high_risk).stdout


def test_import_says_when_it_will_be_published(run, high_risk, clean_file):
    result = run("list", "import", "high-risk", clean_file, "--config", high_risk)
    assert "It will be published when the peer starts" in result.stdout
    assert_nothing_in_the_clear(result.output)


def test_bad_rows_are_refused_by_default(answer, run, tmp_path, high_risk, dirty_file):
    code, [done] = answer("list", "import", "high-risk", dirty_file, "--config", high_risk)
    assert code == 1
    assert (done["committed"], done["rows"], done["good"], done["bad"], done["new"]) == (False, 6, 3, 3, 3)
    assert done["bad_by_code"] == {"check_digit": 1, "length": 1, "level_invalid": 1}
    assert [(row["line"], row["column"], row["code"]) for row in done["bad_rows"]] == [
        (5, "identifier", "length"),
        (6, "level", "level_invalid"),
        (7, "identifier", "check_digit"),
    ]
    _, [shown] = answer("list", "status", "high-risk", "--config", high_risk)
    assert shown["active"] == 0
    result = run("list", "import", "high-risk", dirty_file, "--config", high_risk)
    assert "--bad-rows skip" in result.stdout
    assert_nothing_in_the_clear(result.output, dirty_file)


def test_bad_rows_are_all_in_the_report_without_their_text(run, tmp_path, high_risk):
    file = tmp_path / "many.csv"
    file.write_text("number\n" + "".join(f"20255501{i}\n" for i in range(100, 130)))
    words = ["high-risk", file, "--type", "phone", "--column", "number", "--region", "US", "--config", high_risk]
    result = run("list", "import", *words)
    assert result.exit_code == 1
    report = tmp_path / "high-risk.bad-rows.csv"
    rows = list(csv.reader(report.read_text().splitlines()))
    assert rows[0] == ["line", "column", "code", "expected", "suggestion"]
    assert [row[:2] for row in rows[1:]] == [[str(line), "number"] for line in range(2, 32)]
    assert "30 bad rows; and 10 more in high-risk.bad-rows.csv" in result.stdout
    assert_nothing_in_the_clear(result.output + report.read_text(), file)


def test_bad_rows_can_be_skipped(answer, run, tmp_path, high_risk, dirty_file):
    words = ["high-risk", dirty_file, "--config", high_risk, "--bad-rows", "skip", "--bad-rows-file", "report.csv"]
    code, [done] = answer("list", "import", *words)
    assert (code, done["committed"], done["new"], done["bad"]) == (0, True, 3, 3)
    assert done["bad_rows_file"] == "report.csv"
    assert len((tmp_path / "report.csv").read_text().splitlines()) == 4
    assert "left out 3 bad rows" in run("list", "import", *words).stdout


def test_a_dry_run_changes_nothing(answer, high_risk, clean_file):
    code, [done] = answer("list", "import", "high-risk", clean_file, "--config", high_risk, "--dry-run")
    assert (code, done["committed"], done["new"]) == (0, False, 50)
    _, [shown] = answer("list", "status", "high-risk", "--config", high_risk)
    assert shown["active"] == 0


def test_a_dry_run_of_a_file_that_would_be_refused_is_1(answer, high_risk, dirty_file):
    code, _ = answer("list", "import", "high-risk", dirty_file, "--config", high_risk, "--dry-run")
    assert code == 1


def test_a_file_can_be_the_whole_list(answer, tmp_path, high_risk, clean_file):
    answer("list", "import", "high-risk", clean_file, "--config", high_risk)
    less = tmp_path / "less.csv"
    less.write_text("".join(f"{one.canonical}\n" for one in GOOD[:10]))
    code, [done] = answer("list", "import", "high-risk", less, "--config", high_risk, "--replace", "--force")
    assert (code, done["same"], done["withdrawn"]) == (0, 10, 40)
    _, [shown] = answer("list", "status", "high-risk", "--config", high_risk)
    assert (shown["active"], shown["withdrawn"]) == (10, 40)


def test_a_file_without_a_good_row_does_not_empty_the_list(answer, run, tmp_path, high_risk, clean_file):
    answer("list", "import", "high-risk", clean_file, "--config", high_risk)
    bad = tmp_path / "bad.csv"
    bad.write_text("phone:0100\n")
    words = ["high-risk", bad, "--config", high_risk, "--bad-rows", "skip"]
    assert answer("list", "import", *words, "--replace")[0] == 2
    result = run("list", "import", *words)
    assert result.exit_code == 1
    assert "not one row is good" in result.stdout
    _, [shown] = answer("list", "status", "high-risk", "--config", high_risk)
    assert shown["active"] == 50


@pytest.mark.parametrize(
    ("content", "words", "code"),
    [
        (b"", [], "file_empty"),
        (b"\n\n", [], "file_empty"),
        ("phone:+14155550100\n".encode("utf-16"), [], "file_encoding"),
        (b"PK\x03\x04 a workbook", [], "file_damaged"),
        (b"\x1f\x8b\x08 an archive", [], "file_packed"),
        (b"phone:+14155550100\n", ["--format", "xml"], "file_format"),
        (b"phone:+14155550100\n", ["--map", "level"], "mapping_invalid"),
        (b"phone:+14155550100\n", ["--map", "number=x"], "mapping_invalid"),
        (b"identifier\nphone:+14155550100\n", ["--map", "level=x"], "no_column"),
        (b"a,b\n1,2\n", ["--type", "phone", "--column", "c"], "no_column"),
        (b"phone:+14155550100\n", ["--level", "severe"], "default_invalid"),
        (b"phone:+14155550100\n", ["--type", "fax"], "default_invalid"),
        (b"phone:+14155550100\n", ["--days", "0"], "default_invalid"),
    ],
)
def test_a_file_that_cannot_be_imported_is_2(answer, high_risk, content, words, code):
    file = Path("file.csv")
    file.write_bytes(content)
    exit_code, [shown] = answer("list", "import", "high-risk", file, "--config", high_risk, *words)
    assert (exit_code, shown["error"]["code"]) == (2, code)


def test_the_table_of_bad_rows_has_suggestions_only_where_one_is_certain(run, tmp_path, high_risk):
    file = tmp_path / "bad.csv"
    file.write_text(f"identifier,level\n{BAD[0][0]},high\n")
    shown = run("list", "import", "high-risk", file, "--config", high_risk).stdout
    assert ("expected" in shown, "suggestion" in shown) == (True, False)
    file.write_text("identifier,level\nphone:+14155550101,High\n")
    shown = run("list", "import", "high-risk", file, "--config", high_risk).stdout
    assert "suggestion" in shown
    assert (tmp_path / "high-risk.bad-rows.csv").read_text().startswith("line,column,code,expected,suggestion")


@pytest.mark.parametrize("name", ["high-risk.bad-rows.csv", "report.json"])
def test_where_no_row_is_bad_no_older_report_is_left(answer, high_risk, dirty_file, clean_file, name):
    options = ["--config", high_risk, "--bad-rows-file", name]
    assert answer("list", "import", "high-risk", dirty_file, *options)[0] == 1
    assert Path(name).exists()
    code, [done] = answer("list", "import", "high-risk", clean_file, *options)
    assert (code, done["bad_rows_file"], Path(name).exists()) == (0, None, False)


def test_what_is_no_report_is_not_taken_away(run, tmp_path, high_risk, clean_file):
    (tmp_path / "mine").write_text("line by line\n")
    options = ["--config", high_risk, "--bad-rows-file", tmp_path / "mine"]
    assert run("list", "import", "high-risk", clean_file, *options).exit_code == 0
    assert (tmp_path / "mine").read_text() == "line by line\n"


def test_an_import_that_fails_leaves_the_older_report(run, tmp_path, high_risk, dirty_file):
    options = ["--config", high_risk, "--bad-rows-file", tmp_path / "report.csv"]
    assert run("list", "import", "high-risk", dirty_file, *options).exit_code == 1
    before = (tmp_path / "report.csv").read_bytes()
    (tmp_path / "empty.csv").write_text("")
    assert run("list", "import", "high-risk", tmp_path / "empty.csv", *options).exit_code == 2
    assert (tmp_path / "report.csv").read_bytes() == before


def test_the_report_can_be_json(run, tmp_path, high_risk, dirty_file):
    words = ["high-risk", dirty_file, "--config", high_risk, "--bad-rows-file", "report.json"]
    assert run("list", "import", *words).exit_code == 1
    rows = json.loads((tmp_path / "report.json").read_text())
    assert [(row["line"], row["code"]) for row in rows] == [
        (5, "length"),
        (6, "level_invalid"),
        (7, "check_digit"),
    ]
    assert_nothing_in_the_clear(json.dumps(rows), dirty_file)


def test_a_dry_run_reports_every_row_that_another_overrides(answer, tmp_path, high_risk):
    file = tmp_path / "twice.csv"
    file.write_text(f"{GOOD[0].canonical}\n{GOOD[1].canonical}\n{GOOD[0].canonical}")
    code, [done] = answer("list", "import", "high-risk", file, "--config", high_risk, "--dry-run")
    assert (code, done["new"], done["repeated"], done["bad"]) == (0, 2, 1, 0)
    rows = list(csv.reader((tmp_path / "high-risk.bad-rows.csv").read_text().splitlines()))
    assert [(row[0], row[2]) for row in rows[1:]] == [("1", "repeated")]
    assert "Line 3" in rows[1][3]


@pytest.mark.parametrize("format_", ["jsonl", "parquet", "xlsx"])
def test_other_formats(answer, tmp_path, high_risk, format_):
    file = tmp_path / f"list.{format_}"
    texts = [one.canonical for one in GOOD]
    if format_ == "jsonl":
        file.write_text("".join(json.dumps({"identifier": text}) + "\n" for text in texts))
    elif format_ == "parquet":
        parquet.write_table(pa.table({"identifier": texts}), file)
    else:
        book = openpyxl.Workbook()
        for text in ["identifier", *texts]:
            book.active.append([text])
        book.save(file)
    code, [done] = answer("list", "import", "high-risk", file, "--config", high_risk)
    assert (code, done["new"]) == (0, 50)


def test_the_mapping_of_the_last_import_is_used(answer, run, tmp_path, high_risk):
    file = tmp_path / "numbers.csv"
    file.write_text("Nummer,Risiko\n4155550101,low\n")
    words = ["high-risk", file, "--config", high_risk]
    given = ["--type", "phone", "--column", "Nummer", "--region", "US", "--map", "level=Risiko"]
    assert answer("list", "import", *words, *given)[1][0]["new"] == 1
    result = run("list", "import", *words, "--json")
    assert json.loads(result.stdout)["same"] == 1
    assert "type phone, column Nummer, region US, level Risiko (--no-mapping" in result.stderr
    code, [refused] = answer("list", "import", *words, "--no-mapping")
    assert (code, refused["bad_by_code"]) == (1, {"no_type": 2})
    file.write_text("identifier\nphone:+14155550102\n")
    code, [refused] = answer("list", "import", *words)
    assert (code, refused["error"]["code"]) == (2, "no_column")
    assert "--no-mapping" in refused["error"]["message"]
    assert answer("list", "import", *words, "--no-mapping")[1][0]["new"] == 1


def test_a_replacement_that_withdraws_too_much_is_1_unless_forced(answer, run, tmp_path, high_risk, clean_file):
    answer("list", "import", "high-risk", clean_file, "--config", high_risk)
    less = tmp_path / "less.csv"
    less.write_text("".join(f"{one.canonical}\n" for one in GOOD[:10]))
    words = ["high-risk", less, "--config", high_risk, "--replace"]
    code, [refused] = answer("list", "import", *words)
    assert (code, refused["error"]["code"]) == (1, "replace_too_large")
    result = run("list", "import", *words)
    assert "40 entries to withdraw" in result.stderr
    assert "Its 10 rows were read already" in result.stderr
    [line] = [
        each
        for each in run("list", "imports", "high-risk", "--config", high_risk).stdout.splitlines()
        if "replace" in each
    ]
    assert ("refused" in line, "replace_too_large" in line) == (True, True)
    assert "40 of 50 entries, more than 20 %" in result.stdout
    code, [refused] = answer("list", "import", *words, "--dry-run")
    assert (code, refused["error"]["code"]) == (1, "replace_too_large")
    assert answer("list", "import", *words, "--force")[1][0]["withdrawn"] == 40


def test_imports_are_listed_and_cancelled(answer, run, high_risk, clean_file, dirty_file):
    answer("list", "import", "high-risk", clean_file, "--config", high_risk)
    answer("list", "import", "high-risk", dirty_file, "--config", high_risk)
    code, rows = answer("list", "imports", "high-risk", "--config", high_risk)
    assert [(code, row["state"], row["code"], row["rows"]) for row in rows] == [
        (0, "refused", "bad_rows", 6),
        (0, "committed", None, 50),
    ]
    assert "refused" in run("list", "imports", "high-risk", "--config", high_risk).stdout
    words = ["list", "imports", "high-risk", "--config", high_risk, "--cancel"]
    assert answer(*words, rows[0]["import"])[0] == 0
    assert answer(*words, rows[0]["import"])[0] == 1
    assert answer(*words, "none")[0] == 2
    assert answer("list", "imports", "high-risk", "--config", high_risk)[1][0]["state"] == "cancelled"


async def killed_before_its_commit(config, command, imports):
    """Kill an import once it has stored rows; till it is dead, its list is locked, so that it cannot be over before."""
    async with opened_store(Config.load(config)) as store, store.pool.acquire() as own, own.transaction():
        await own.execute("select 1 from lists where name = 'high-risk' for no key update")
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
        while not (rows := await asyncio.to_thread(imports)) or not rows[0]["rows"]:
            assert process.returncode is None, "it has ended by itself"
        process.kill()
        await process.wait()
    return rows[0]["rows"]


def test_an_import_that_was_stopped_goes_on(answer, run, tmp_path, high_risk):
    file = tmp_path / "long.csv"
    file.write_text("number,note\n" + "".join(f"+86138{n:08},{'x' * 60}\n" for n in range(20_000)))
    words = ["high-risk", file, "--type", "phone", "--column", "number", "--config", high_risk]
    command = [sys.executable, "-m", "riskshare", "list", "import", *map(str, words)]
    imports = ["list", "imports", "high-risk", "--config", high_risk]
    stored = asyncio.run(killed_before_its_commit(high_risk, command, lambda: answer(*imports)[1]))
    result = run("list", "import", *words, "--json")
    done = json.loads(result.stdout)
    assert done["resumed_at"] >= stored > 0
    assert (done["rows"], done["new"]) == (20_000, 20_000)
    assert f"Resuming at row {done['resumed_at'] + 1:,} of an import begun at" in result.stderr


def test_a_line_in_another_encoding_is_a_bad_row(answer, tmp_path, high_risk):
    file = tmp_path / "latin.csv"
    file.write_bytes(b"identifier,reason\nphone:+14155550100,Betrug\nphone:+14155550101,F\xe4lschung\n")
    code, [done] = answer("list", "import", "high-risk", file, "--config", high_risk)
    assert (code, done["bad_by_code"]) == (1, {"encoding": 1})
    assert done["bad_rows"][0]["line"] == 3


def test_the_report_is_not_written_over_the_file(run, high_risk, dirty_file):
    before = dirty_file.read_bytes()
    result = run("list", "import", "high-risk", dirty_file, "--config", high_risk, "--bad-rows-file", dirty_file)
    assert result.exit_code == 2
    assert dirty_file.read_bytes() == before


def test_a_report_that_cannot_be_written_stops_the_import(answer, tmp_path, high_risk, dirty_file):
    words = ["high-risk", dirty_file, "--config", high_risk, "--bad-rows", "skip"]
    code, [shown] = answer("list", "import", *words, "--bad-rows-file", tmp_path / "none" / "report.csv")
    assert (code, shown["error"]["code"]) == (1, "disk")
    _, [status] = answer("list", "status", "high-risk", "--config", high_risk)
    assert status["active"] == 0


def test_a_pipe_can_be_imported(answer, high_risk, clean_file):
    read, write = os.pipe()
    os.write(write, clean_file.read_bytes())
    os.close(write)
    code, [done] = answer("list", "import", "high-risk", f"/dev/fd/{read}", "--config", high_risk)
    os.close(read)
    assert (code, done["new"]) == (0, 50)


def test_ctrl_c_in_the_middle_leaves_nothing(answer, high_risk):
    pipe = Path("endless.csv")
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "riskshare", "list", "import", "high-risk", str(pipe), "--config", str(high_risk)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        with pipe.open("w") as writer:  # opens when the import reads
            writer.write("phone:+14155550100\n")
            writer.flush()
            process.send_signal(signal.SIGINT)
            assert process.stderr.readline() == "Stopped: nothing was changed.\n"
            assert process.wait(60) == 130, "though the pipe is open still"
        assert process.stdout.read() == ""
        assert process.stderr.read() == ""
    _, [status] = answer("list", "status", "high-risk", "--config", high_risk)
    assert status["active"] == 0


def test_withdraw(answer, run, high_risk, clean_file):
    answer("list", "import", "high-risk", clean_file, "--config", high_risk)
    listed, unlisted = GOOD[0].canonical, "phone:+14155550100"
    words = ["withdraw", "high-risk", listed, listed, unlisted, "--reason", "appeal_upheld", "--config", high_risk]
    result = run("list", *words)
    assert result.exit_code == 1
    assert "1 entry of jd/high-risk withdrawn" in result.stdout
    assert "phone:+1415" in result.stdout
    assert_nothing_in_the_clear(result.output)
    assert "4155550100" not in result.output
    assert run("list", *words).exit_code == 1
    code, [again] = answer("list", "import", "high-risk", clean_file, "--config", high_risk)
    assert (code, again["barred"], again["same"]) == (0, 1, 49)


def test_withdrawing_what_is_listed_is_0(answer, high_risk, clean_file):
    answer("list", "import", "high-risk", clean_file, "--config", high_risk)
    words = ["withdraw", "high-risk", *(one.canonical for one in GOOD[:3]), "--reason", "corrected"]
    code, [done] = answer("list", *words, "--config", high_risk)
    assert (code, done["withdrawn"], done["not_listed"], done["peer_running"]) == (0, 3, [], False)


def test_nothing_is_withdrawn_if_one_text_is_no_identifier(answer, high_risk, clean_file):
    answer("list", "import", "high-risk", clean_file, "--config", high_risk)
    words = ["withdraw", "high-risk", GOOD[0].canonical, "phone:0100", "--reason", "corrected"]
    code, [shown] = answer("list", *words, "--config", high_risk)
    assert (code, shown["error"]["position"]) == (2, 1)
    _, [status] = answer("list", "status", "high-risk", "--config", high_risk)
    assert status["active"] == 50


def test_looking_for_a_peer_does_not_take_its_place(answer, high_risk, clean_file):
    """A peer that starts right after the import leads at once."""
    answer("list", "import", "high-risk", clean_file, "--config", high_risk)

    async def lead():
        async with opened_store(Config.load(high_risk)) as store:
            leadership = Leadership(store)
            await asyncio.wait_for(leadership.acquire(), 10)
            held = leadership.held
            await leadership.release()
            return held

    assert asyncio.run(lead())


def test_the_registry_must_be_pinned(answer, run):
    run("init", "--dir", "a", "--name", "a", "--url", "https://127.0.0.1:8443")
    code, [shown] = answer("list", "create", "x", "--category", "telecom_fraud", "--config", "a/riskshare.toml")
    assert (code, shown["error"]["code"]) == (2, "config")
    assert "network_sha256" in shown["error"]["message"]


def test_keys_open_to_others_are_refused(run, member):
    (member.parent / "keys" / "data.key").chmod(0o644)
    result = run("list", "status", "--config", member)
    assert result.exit_code == 2
    assert "chmod 600" in result.stderr
