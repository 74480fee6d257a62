"""`riskshare audit replay` offline: what it prints, what it writes, and its exit codes."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta

import pytest

from tests.simulator.casefolder import START, CaseNetwork

FROM, TO = "2026-11-20T08:20:00Z", "2026-11-20T09:30:00Z"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    case = CaseNetwork()
    case.begin()
    case.step(minutes=30)
    for _ in range(5):
        case.exchange("bank", "jd")
        case.step(minutes=1)
    case.step(minutes=60)
    case.checkpoint()
    return case, case.write(
        tmp_path_factory.mktemp("case"), START + timedelta(minutes=20), START + timedelta(minutes=90)
    )


@pytest.fixture
def replay(run, written, tmp_path):
    def call(*words, members=("bank", "jd"), network="registry/2.json", out="out", period=(FROM, TO), folder=None):
        folder = folder or written[1]
        offline = [word for name in members for word in ("--offline", folder / "members" / name)]
        chosen = ("--from", period[0], "--to", period[1], "--out", tmp_path / out, "--network", folder / network)
        return run("audit", "replay", *chosen, *offline, *words)

    return call


def test_what_holds_is_reported_with_every_step(replay, tmp_path):
    result = replay()
    assert result.exit_code == 0, result.stderr
    report = json.loads((tmp_path / "out" / "replay.json").read_bytes())
    assert report["clean"]
    assert report["complete"]
    assert [step["number"] for step in report["steps"] if step["number"].endswith("bank")] == [
        f"{n}.bank" for n in range(1, 10)
    ]
    assert "There is no finding" in result.stdout
    assert (tmp_path / "out" / "replay.html").read_text().lower().startswith("<!doctype html>")
    for name in ("replay.json", "replay.html", "case.sqlite", "audited.json"):
        assert (tmp_path / "out" / name).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700


def test_the_digest_of_the_first_version_is_shown(replay, written):
    assert written[0].network.history[0].digest.hex() in replay().stdout


def test_the_chain_may_be_a_folder(replay):
    assert replay(network="registry").exit_code == 0


def test_for_a_program_the_report_is_printed(replay, tmp_path):
    result = replay("--json")
    assert json.loads(result.stdout) | {"program": ""} == json.loads(
        (tmp_path / "out" / "replay.json").read_bytes()
    ) | {"program": ""}


def test_the_report_can_be_made_again_from_the_folder(replay, run, tmp_path, monkeypatch):
    replay()
    monkeypatch.chdir(tmp_path / "out")
    again = json.loads((tmp_path / "out" / "replay.json").read_bytes())["again"][0].split()[1:]
    assert run(*again).exit_code == 0


def test_folders_may_follow_one_offline(run, written, tmp_path):
    folders = [written[1] / "members" / name for name in ("bank", "jd", "telco")]
    words = ("--from", FROM, "--to", TO, "--out", tmp_path / "out", "--network", written[1] / "registry")
    result = run("audit", "replay", *words, "--offline", *folders, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["members"] == ["bank", "jd", "telco"]
    result = run("audit", "replay", *words, "--offline", *folders[:2], "--offline", folders[2], "--json")
    assert json.loads(result.stdout)["members"] == ["bank", "jd", "telco"]


def test_folders_without_offline_are_refused(run, written, tmp_path):
    words = ("--from", FROM, "--to", TO, "--out", tmp_path / "out", "--network", written[1] / "registry")
    result = run("audit", "replay", *words, written[1] / "members" / "bank")
    assert result.exit_code == 2
    assert "Put --offline before them" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_there_is_refused(run, written, tmp_path):
    words = ("--from", FROM, "--to", TO, "--out", tmp_path / "out", "--network", written[1] / "registry")
    result = run("audit", "replay", *words, "--offline", written[1] / "members" / "bank", tmp_path / "nowhere")
    assert result.exit_code == 2


def test_a_finding_is_exit_code_1(replay, written, tmp_path):
    folder = shutil.copytree(written[1], tmp_path / "tampered")
    file = folder / "members" / "jd" / "statements" / "000000000000.cbor"
    file.write_bytes(file.read_bytes().replace(b'"count":3', b'"count":4', 1))
    result = replay(folder=folder)
    assert result.exit_code == 1
    assert "jd  wrong_statement" in result.stdout


def test_what_is_not_shown_is_exit_code_3(replay, written, tmp_path):
    folder = shutil.copytree(written[1], tmp_path / "log")
    shutil.rmtree(folder / "members" / "jd" / "statements")
    assert replay(folder=folder).exit_code == 3


@pytest.mark.parametrize(
    ("words", "changes", "what"),
    [
        (("--member", "telco"), {}, "No folder holds the log of telco"),
        ((), {"members": ("bank", "bank")}, "Two folders hold the log of bank"),
        ((), {"members": ("../registry",)}, "has no checkpoint"),
        ((), {"period": (TO, FROM)}, "ends before it begins"),
        ((), {"period": ("today", TO)}, "A time is a day"),
        ((), {"period": ("8000-01-01", "8000-01-31")}, "has not begun"),
        ((), {"network": "members"}, "no version of a registry"),
    ],
    ids=["member", "twice", "no log", "period", "time", "future", "no registry"],
)
def test_what_cannot_be_tried_is_exit_code_2(replay, words, changes, what):
    result = replay(*words, **changes)
    assert result.exit_code == 2
    assert what in result.stderr
