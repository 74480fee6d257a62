"""Settlements in the logs: what receipts contradict convicts, and what came late, or is not shown, never does."""

from dataclasses import replace
from datetime import timedelta

import pytest

from riskshare.audit.contradicted import Sums, contradicts, sums_of
from riskshare.audit.conviction import REFUSALS, convicts
from riskshare.audit.evidence import read_evidence
from riskshare.audit.rules import HOUR
from riskshare.audit.settlement import Direction, Line, Root
from riskshare.ledger.merkle import EMPTY_ROOT
from tests.simulator.agreed import log_settlement, receipts_of, settle
from tests.simulator.casefolder import START
from tests.simulator.fraud import FRAUDS, Stage, play, reconcile

PAIR = ("bank", "jd")


def settled(case, receipts=None, *, opened=START, closed=None):
    return settle(case, PAIR, opened, closed or case.now, receipts_of(case, "bank") if receipts is None else receipts)


@pytest.fixture
def stage():
    made = Stage.honest()
    made.days(1)
    made.case.step(hours=1)
    return made


def test_a_settlement_of_what_both_have_is_right(stage, tmp_path):
    log_settlement(stage.case, settled(stage.case))
    stage.days(3)
    trial = reconcile(stage.case, tmp_path)
    assert trial.convicted == set()
    assert not trial.found.observations


@pytest.mark.parametrize("days", [0, 2], ids=["at once", "after days"])
def test_what_came_after_the_settlement_convicts_nobody(stage, tmp_path, days):
    """An owner's machine stood still between its answer's time and its database."""
    case = stage.case
    late = case.exchange("bank", "jd", logged=[])
    case.step(minutes=10)
    stage.days(days)
    log_settlement(case, settled(case, closed=START + timedelta(days=1, hours=1, minutes=5)))
    for member, note in (("jd", "owner"), ("bank", "adopted")):
        case.log_receipt(late, member, note)
    stage.days(3)
    assert reconcile(case, tmp_path).convicted == set()


def test_what_waited_with_the_settlement_and_was_logged_before_it_convicts_nobody(stage, tmp_path):
    case = stage.case
    closed = case.now + timedelta(minutes=5)
    late = case.exchange("bank", "jd", logged=[])
    agreed = settled(case, closed=closed)
    case.step(hours=20)  # the logs stood still
    for member, note in (("jd", "owner"), ("bank", "adopted")):
        case.log_receipt(late, member, note)
    log_settlement(case, agreed)
    stage.days(3)
    assert reconcile(case, tmp_path).convicted == set()


def test_a_period_that_the_case_shows_in_part_is_not_judged(stage, tmp_path):
    case = stage.case
    log_settlement(case, settled(case, receipts_of(case, "bank")[3:]))
    stage.days(3)
    trial = reconcile(case, tmp_path, opened=START + timedelta(hours=20))
    assert trial.convicted == set()


def test_a_log_that_is_not_far_enough_is_not_judged(stage, tmp_path):
    case = stage.case
    invented = case.exchange("bank", "jd", logged=[])
    case.step(hours=1)
    log_settlement(case, settled(case, [*receipts_of(case, "bank"), invented]))
    case.step(hours=20)
    case.exchange("bank", "jd")
    case.checkpoint()
    assert reconcile(case, tmp_path).convicted == set()


def test_who_dropped_a_receipt_that_it_had_settled_is_convicted_alone(stage, tmp_path):
    case = stage.case
    dropped = case.exchange("bank", "jd", logged=["owner"])
    case.step(minutes=10)
    log_settlement(case, settled(case, [*receipts_of(case, "bank"), dropped]))
    stage.days(3)
    assert reconcile(case, tmp_path).convicted == {("wrong_settlement", "bank"), ("missing", "bank")}


def test_a_settlement_in_one_log_only_is_undisclosed(stage, tmp_path):
    log_settlement(stage.case, settled(stage.case), "bank")
    stage.days(3)
    trial = reconcile(stage.case, tmp_path)
    assert trial.convicted == set()
    [observation] = trial.found.observations
    assert (observation.kind, observation.member, observation.count, observation.of) == ("undisclosed", "jd", 1, 1)


def test_of_a_log_that_is_not_in_the_case_nothing_is_said(stage, tmp_path):
    log_settlement(stage.case, settled(stage.case), "bank")
    stage.days(3)
    trial = reconcile(stage.case, tmp_path, members=("bank", "card"))
    assert trial.convicted == set()
    assert not trial.count("undisclosed", "jd")


# -- the evidence ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def convicting(tmp_path_factory):
    """The evidence against the bank, of a settlement that leaves out a receipt."""
    stage = play(next(crime for crime in FRAUDS if crime.act.__name__ == "settles_for_less"))
    trial = reconcile(stage.case, tmp_path_factory.mktemp("case"))
    finding = next(one for one in trial.found.findings if one.accused == "bank")
    data = (trial.out / finding.evidence[0].path).read_bytes()
    assert convicts(data, trial.versions, stage.case.now).replay.endswith("are 24 hours older.")
    return trial.versions, stage.case.now, read_evidence(data)


@pytest.mark.parametrize(
    "change",
    [
        lambda _: {"accused": "jd"},
        lambda file: {"entries": file.entries[:1]},
        lambda file: {"entries": file.entries[::-1]},
        lambda file: {"entries": (replace(file.entries[0], signature=bytes(128)), file.entries[1])},
        lambda file: {"entries": (replace(file.entries[0], signature=b""), file.entries[1])},
        lambda file: {"receipts": file.receipts[2:]},
        lambda _: {"receipts": ()},
        lambda file: {"receipts": (*file.receipts[2:], file.receipts[2])},
        lambda file: {"receipts": (*file.receipts[2:], b"none")},
        lambda _: {"grace": 100 * 24 * HOUR},
    ],
    ids=["accused", "no place", "order", "forged", "unsigned", "fewer", "none", "twice", "no receipt", "grace"],
)
def test_evidence_that_does_not_hold_convicts_nobody(convicting, change):
    versions, now, file = convicting
    with pytest.raises(REFUSALS):
        convicts(replace(file, **change(file)).to_bytes(), versions, now)


# -- the comparison ----------------------------------------------------------------------------------------


def direction(receipts, evaluations, root):
    lines = (Line(1, "0.1", receipts, evaluations),) if receipts else ()
    return Direction("jd", "bank", lines, None, root)


def test_sums_are_those_of_a_settlement():
    root = Root()
    for leaf in (bytes(32), bytes([1]) * 32):
        root.add(leaf)
    assert sums_of([(bytes(32), 3), (bytes([1]) * 32, 4)]) == (2, 7, root.value())
    assert sums_of([]) == (0, 0, EMPTY_ROOT)


@pytest.mark.parametrize(
    ("found", "whole", "before"),
    [
        ((5, 50, b"r"), False, False),
        ((5, 50, b"x"), True, True),
        ((5, 51, b"r"), True, True),
        ((4, 40, b"x"), True, False),
        ((6, 60, b"x"), False, True),
        ((6, 49, b"x"), True, True),
        ((4, 51, b"x"), True, True),
    ],
)
def test_a_part_is_no_more_than_the_whole(found, whole, before):
    counted = direction(5, 50, b"r")
    assert contradicts(counted, Sums(*found), "whole") is whole
    assert contradicts(counted, Sums(*found), "before") is before
