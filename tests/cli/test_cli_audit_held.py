"""An owner that shows one querier another list: convicted by what the querier's folder holds. Honest ones never are."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from riskshare.encoding import format_time
from tests.simulator.casefolder import START
from tests.simulator.fraud import FRAUDS, Stage, play

BY_NAME = {crime.act.__name__: crime for crime in FRAUDS}


@pytest.fixture
def audit(run, tmp_path):
    """Replay and reconcile the folders of a stage, with what members hold; gives both reports."""

    def call(stage, held, opened=START):
        folder, out = tmp_path / "shown", tmp_path / "case"
        case = stage.case
        case.write(folder, opened, case.now)
        for member, name, wire in held:
            (folder / "members" / member / "held").mkdir(exist_ok=True)
            (folder / "members" / member / "held" / name).write_bytes(wire)
        words = ("--from", format_time(opened), "--to", format_time(case.now), "--network", folder / "registry")
        offline = ("--offline", *[folder / "members" / name for name in case.names])
        run("audit", "replay", *words, "--out", out, *offline)
        run("audit", "reconcile", "--out", out)
        return tuple(json.loads((out / f"{name}.json").read_bytes()) for name in ("replay", "reconcile"))

    return call


def convicted(report):
    return {(finding["kind"], finding["accused"]) for finding in report["findings"]}


def figures(report):
    return {figure["name"]: figure["value"] for figure in report["figures"]}


SHOWN = "Snapshots on no owner's log, shown by members"


@pytest.mark.parametrize("act", ["shows_another_list", "hides_a_list"])
def test_who_showed_one_querier_another_list_is_convicted(act, audit):
    crime = BY_NAME[act]
    stage = play(crime)
    [hidden] = stage.held
    replayed, reconciled = audit(stage, [("bank", f"{hidden.digest.hex()}.cbor", hidden.wire())])
    assert figures(replayed)[SHOWN].startswith("1 of ")
    assert convicted(reconciled) == crime.guilty


def test_a_querier_cannot_keep_out_what_another_holds(audit):
    """Nor bring in what nobody asks for."""
    stage = play(BY_NAME["hides_a_list"])
    [hidden] = stage.held
    name = f"{hidden.digest.hex()}.cbor"
    held = [("bank", name, b"garbage"), ("card", name, hidden.wire()), ("card", "x.cbor", hidden.wire())]
    _, reconciled = audit(stage, held)
    assert convicted(reconciled) == {("hidden_snapshot", "jd")}


def test_without_the_statement_it_is_counted_and_nobody_is_convicted(audit):
    replayed, reconciled = audit(play(BY_NAME["hides_a_list"]), [])
    assert figures(replayed)[SHOWN] == "0 of 1"
    assert (replayed["clean"], replayed["complete"]) == (True, True)
    assert convicted(reconciled) == set()
    assert [one["kind"] for one in reconciled["observations"]] == ["unknown_snapshot"]


def test_a_snapshot_that_waits_for_its_owners_log_convicts_nobody(audit):
    stage = Stage.honest()
    stage.days(3)
    stage.case.step(hours=2)
    pending = stage.case.snapshot("jd/high-risk", log=False)
    stage.case.exchange("bank", "jd")
    stage.case.step(hours=20)
    stage.case.exchange("bank", "jd")
    stage.case.checkpoint()
    replayed, reconciled = audit(stage, [("bank", f"{pending.digest.hex()}.cbor", pending.wire())])
    assert figures(replayed)[SHOWN] == "1 of 1"
    assert convicted(reconciled) == set()


def test_a_snapshot_from_before_the_period_convicts_nobody(audit):
    stage = Stage.honest()
    stage.days(4)
    old = stage.case.snapshots["jd/high-risk"]
    _, reconciled = audit(stage, [("bank", f"{old.digest.hex()}.cbor", old.wire())], START + timedelta(days=2))
    assert convicted(reconciled) == set()


def test_honest_members_name_nothing_that_is_not_on_logs(audit):
    stage = Stage.honest()
    stage.days(2)
    replayed, _ = audit(stage, [])
    assert SHOWN not in figures(replayed)
