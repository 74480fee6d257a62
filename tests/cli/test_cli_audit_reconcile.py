"""`riskshare audit reconcile` and `audit evidence`: codes, files, sentences."""

from __future__ import annotations

import pytest

from riskshare.peer.replaying import Wish, replay_case
from riskshare.store.case import FILE_NAME, Case
from tests.simulator.casefolder import START
from tests.simulator.fraud import FRAUDS, Stage, Unwatched, play, replay

BY_NAME = {crime.act.__name__: crime for crime in FRAUDS}


@pytest.fixture(scope="module")
def guilty(tmp_path_factory):
    """A replayed case in which the bank dropped a receipt, and the owner jd answered after a suspension."""
    out = tmp_path_factory.mktemp("guilty") / "case"
    replay(play(BY_NAME["drops_a_receipt_as_querier"]).case, out)
    return out


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    out = tmp_path_factory.mktemp("clean") / "case"
    stage = Stage.honest()
    stage.days(2)
    replay(stage.case, out)
    return out


def test_a_clean_case_has_code_0_and_both_reports(run, answer, clean):
    code, [told] = answer("audit", "reconcile", "--out", clean)
    assert (code, told["findings"], told["complete"], told["command"]) == (0, [], True, "reconcile")
    assert told["made_by"] == "offline"
    for name in ("reconcile.json", "reconcile.html"):
        assert (clean / name).stat().st_mode & 0o777 == 0o600
    result = run("audit", "reconcile", "--out", clean, "--grace", "12")
    assert result.exit_code == 0
    assert "each exchange stands in the logs of both sides" in result.stdout
    assert "What this audit cannot find" in result.stdout


def test_a_report_says_what_no_audit_can_find(answer, clean):
    _, [told] = answer("audit", "reconcile", "--out", clean)
    assert "Two members that both leave an exchange out" in " ".join(told["limits"])
    assert "let the next audit begin there" in " ".join(told["limits"])
    assert "should be heard" in " ".join(told["limits"])


def test_a_finding_has_code_1_and_evidence_that_convicts(run, answer, guilty):
    code, [told] = answer("audit", "reconcile", "--out", guilty)
    assert code == 1
    [finding] = told["findings"]
    assert (finding["kind"], finding["accused"]) == ("missing", "bank")
    file = guilty / finding["evidence"][0]["path"]
    result = run("audit", "evidence", file, "--network", guilty / "registry")
    assert result.exit_code == 0
    assert "bank did not log the exchange" in result.stdout
    assert "Replay the log of bank up to" in result.stdout
    code, [judged] = answer("audit", "evidence", file, "--network", guilty / "registry")
    assert (code, judged["convicts"], judged["accused"], judged["kind"]) == (0, True, "bank", "missing")


def test_a_case_that_was_replayed_again_is_reconciled_again(run, guilty):
    assert run("audit", "reconcile", "--out", guilty).exit_code == 1
    with Case.open(guilty / FILE_NAME) as case:
        left = {name for (name,) in case.select("select name from sqlite_master where type = 'index'")}
    left.discard("exchange_by_id")  # the replay made it
    assert not {name for name in left if name.startswith(("exchange_by", "snapshot_by"))}


def test_evidence_that_was_altered_convicts_nobody(run, answer, guilty, tmp_path):
    _, [told] = answer("audit", "reconcile", "--out", guilty)
    data = (guilty / told["findings"][0]["evidence"][0]["path"]).read_bytes()
    altered = tmp_path / "altered.json"
    for replaced in (data.replace(b'"accused":"bank"', b'"accused":"card"'), data[:-1], b'{"absent":', b"nothing"):
        altered.write_bytes(replaced)
        result = run("audit", "evidence", altered, "--network", guilty / "registry")
        assert result.exit_code == 1
        assert "convicts nobody" in result.stdout


def test_a_fraud_proof_is_evidence_too(run, tmp_path):
    out = tmp_path / "case"
    replay(play(BY_NAME["doubles_a_snapshot"]).case, out)
    assert run("audit", "reconcile", "--out", out).exit_code == 1
    [file] = (out / "evidence").glob("doubled_snapshot-jd-*.json")
    result = run("audit", "evidence", file, "--network", out / "registry" / "2.json")
    assert result.exit_code == 0
    assert "jd signed two statements that contradict each other" in result.stdout


def test_older_versions_that_are_not_given_are_named(run, tmp_path):
    out = tmp_path / "case"
    replay(play(BY_NAME["answers_one_that_is_suspended"]).case, out)
    assert run("audit", "reconcile", "--out", out).exit_code == 1
    [file] = (out / "evidence").glob("answered_suspended-jd-*.json")
    assert run("audit", "evidence", file, "--network", out / "registry").exit_code == 0
    newest = max((out / "registry").iterdir(), key=lambda path: int(path.stem))
    result = run("audit", "evidence", file, "--network", newest)
    assert result.exit_code == 2
    assert "Name the folder with all versions" in result.stderr


def test_without_a_replay_it_is_refused(run, tmp_path, clean):
    result = run("audit", "reconcile", "--out", tmp_path)
    assert result.exit_code == 2
    assert "riskshare audit replay" in result.stderr
    result = run("audit", "reconcile", "--out", tmp_path, "--network", clean / "registry")
    assert result.exit_code == 2
    assert "no replay that was run to its end" in result.stderr


def test_a_replay_that_was_not_finished_is_refused(run, clean, tmp_path):
    with Case.open(tmp_path / FILE_NAME) as case:
        case.begin(b"inputs")
    result = run("audit", "reconcile", "--out", tmp_path, "--network", clean / "registry")
    assert result.exit_code == 2
    assert "no replay that was run to its end" in result.stderr


def test_a_grace_below_an_hour_is_refused(run, clean):
    result = run("audit", "reconcile", "--out", clean, "--grace", "0.5")
    assert result.exit_code == 2
    assert "at least one hour" in result.stderr


def test_a_log_that_is_not_in_the_case_is_not_held_against_its_member(answer, tmp_path):
    out, stage = tmp_path / "case", play(BY_NAME["drops_a_receipt_as_querier"])
    replay(stage.case, out, members=("card", "jd", "telco"))
    code, [told] = answer("audit", "reconcile", "--out", out)
    assert (code, told["findings"], told["complete"]) == (3, [], False)
    [skipped] = [step for step in told["steps"] if step["outcome"] != "holds"]
    assert skipped["name"] == "each exchange stands in the logs of both sides"
    assert "verified from one side alone" in skipped["sentence"]
    assert "the log of bank" in skipped["sentence"]


def test_a_log_that_shows_no_statements_leaves_its_exchanges_to_one_side(answer, tmp_path):
    out, stage = tmp_path / "case", Stage.honest()
    stage.days(2)
    stage.case.write(out, START, stage.case.now)
    for page in (out / "members" / "jd" / "statements").iterdir():
        page.unlink()
    names, versions = tuple(stage.case.names), tuple(stage.case.network.history)
    wish = Wish(out, START, stage.case.now, names, versions, tmp_path / "state", "regulator", cores=1)
    assert replay_case(wish, Unwatched(), stage.case.now).exit_code == 3
    code, [told] = answer("audit", "reconcile", "--out", out)
    figures = {figure["name"]: figure["value"] for figure in told["figures"]}
    assert (code, told["findings"]) == (3, [])
    # Four members, each with each other, four times on each of two days: half of them are with jd.
    assert (figures["In both logs"], figures["Verified from one side alone"]) == ("48", "48")
