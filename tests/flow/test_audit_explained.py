"""What looks like a fraud and has an honest explanation: each protection of the rules, with what it protects from.

Each test plays the same absence or act twice where it can: once with the explanation, and once without it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from riskshare.audit import reconcile as reconciling
from riskshare.audit.conviction import convicts
from riskshare.audit.evidence import read_evidence
from riskshare.audit.page import page_path, read_statements
from riskshare.audit.settled import CONTACTS
from riskshare.errors import TrustError
from tests.simulator.fraud import FRAUDS, Stage, play, reconcile

BY_NAME = {crime.act.__name__: crime for crime in FRAUDS}


def quiet_pair(stage, days, *, pair=("bank", "jd"), rounds=4):
    """Days in which two members do not reach each other, and everybody else does."""
    for _ in range(days * rounds):
        stage.case.step(hours=24 / rounds)
        for querier in stage.case.names:
            for owner in stage.case.names:
                if querier != owner and {querier, owner} != set(pair):
                    stage.case.exchange(querier, owner)
        stage.case.checkpoint()


def lost_by_a_crash(stage):
    stage.case.exchange("bank", "jd", logged=["owner"])


def test_a_querier_that_crashed_and_cannot_reach_the_owner_is_late(tmp_path):
    stage = Stage.honest()
    stage.days(1)
    lost_by_a_crash(stage)
    quiet_pair(stage, 4)
    trial = reconcile(stage.case, tmp_path / "case")
    assert trial.convicted == set()
    assert trial.count("late", "bank") == 1


def test_once_it_was_in_contact_again_it_is_convicted(tmp_path):
    stage = Stage.honest()
    stage.days(1)
    lost_by_a_crash(stage)
    quiet_pair(stage, 2)
    stage.days(2)
    assert reconcile(stage.case, tmp_path / "case").convicted == {("missing", "bank")}


def test_a_few_contacts_between_crashes_are_not_enough(tmp_path):
    stage = Stage.honest()
    stage.days(1)
    lost_by_a_crash(stage)
    quiet_pair(stage, 2)
    for _ in range(CONTACTS - 1):
        stage.case.exchange("bank", "jd")
        stage.case.step(hours=2)
    quiet_pair(stage, 1)
    assert reconcile(stage.case, tmp_path / "case").convicted == set()


def test_a_short_moment_of_contact_is_not_enough(tmp_path):
    stage = Stage.honest()
    stage.days(1)
    lost_by_a_crash(stage)
    quiet_pair(stage, 2)
    stage.case.exchange("bank", "jd")
    stage.case.step(minutes=20)
    stage.case.exchange("bank", "jd")
    quiet_pair(stage, 2)
    assert reconcile(stage.case, tmp_path / "case").convicted == set()


def test_within_the_grace_it_is_late(tmp_path):
    stage = Stage.honest()
    stage.days(3)
    lost_by_a_crash(stage)
    stage.days(1)
    trial = reconcile(stage.case, tmp_path / "case")
    assert trial.convicted == set()
    assert trial.count("late", "bank") == 1


@pytest.mark.parametrize("heeded", [True, False])
def test_a_member_that_has_just_come_back_after_days_is_late(tmp_path, monkeypatch, heeded):
    if not heeded:
        monkeypatch.setattr(reconciling, "silences", lambda *_: ())
    stage = Stage.honest()
    stage.days(1)
    stage.case.exchange("bank", "jd", logged=["querier"])
    for _ in range(12):
        stage.case.step(hours=6)
        stage.case.exchange("bank", "card")
        stage.case.checkpoint("bank", "card", "telco")
    stage.case.exchange("card", "jd")
    stage.case.checkpoint()
    trial = reconcile(stage.case, tmp_path / "case")
    assert trial.convicted == (set() if heeded else {("missing", "jd")})
    assert trial.count("late", "jd") == heeded


def test_an_ask_that_got_no_answer_is_said_to_be_one(tmp_path):
    stage = Stage.honest()
    stage.days(1)
    receipt = stage.case.exchange("bank", "jd", logged=["owner"])
    stage.case.logs["bank"].add("unanswered", receipt.ask, stage.case.now, signature=receipt.ask_signature)
    stage.days(3)
    trial = reconcile(stage.case, tmp_path / "case")
    assert trial.convicted == set()
    assert trial.count("unanswered", "bank") == 1


def test_who_was_given_another_answer_than_is_logged_has_hidden_nothing(tmp_path):
    trial = reconcile(play(BY_NAME["answers_twice"]).case, tmp_path / "case")
    assert trial.convicted == {("altered", "jd")}


def test_a_receipt_that_was_adopted_days_later_is_counted(tmp_path):
    stage = Stage.honest()
    stage.days(1)
    receipt = stage.case.exchange("bank", "jd", logged=["owner"])
    stage.days(3)
    stage.case.log_receipt(receipt, "bank", "adopted")
    stage.case.checkpoint()
    trial = reconcile(stage.case, tmp_path / "case")
    assert trial.convicted == set()
    assert trial.count("adopted", "bank") == 1


def test_a_purpose_that_was_taken_away_meanwhile_was_allowed(tmp_path):
    stage = Stage.honest()
    stage.days(1)
    member, old = stage.case.network.registry.members["bank"], stage.case.network.registry.version
    kept = tuple(purpose for purpose in member.purposes if purpose != "marketing")
    stage.case.network.issue([replace(member, purposes=kept)], now=stage.case.now)
    stage.case.step(hours=2)
    stage.case.exchange("bank", "jd", purpose="marketing", registry=old)
    stage.days(2)
    assert reconcile(stage.case, tmp_path / "case").convicted == set()


def test_an_owner_that_has_not_heard_of_a_suspension_answers(tmp_path):
    stage = Stage.honest()
    stage.days(1)
    old = stage.case.network.registry.version
    member = stage.case.network.registry.members["bank"]
    stage.case.network.issue([replace(member, standing="suspended")], now=stage.case.now)
    stage.case.register("jd")  # where it stands in the log says nothing of when jd learned of it
    stage.case.step(hours=2)
    stage.case.exchange("bank", "jd", registry=old)
    stage.case.checkpoint()
    assert reconcile(stage.case, tmp_path / "case").convicted == set()


def test_an_owner_whose_log_had_the_suspension_before_the_period_knew_it(tmp_path):
    stage = Stage.honest()
    stage.days(1)
    old = stage.case.network.registry.version
    member = stage.case.network.registry.members["bank"]
    stage.case.network.issue([replace(member, standing="suspended")], now=stage.case.now)
    stage.case.register("jd")
    stage.case.step(hours=2)
    stage.case.checkpoint()
    opened = stage.case.step(hours=2)
    stage.case.exchange("bank", "jd", registry=old)
    stage.case.step(hours=2)
    stage.case.checkpoint()
    trial = reconcile(stage.case, tmp_path / "case", opened=opened)
    assert trial.convicted == {("answered_suspended", "jd")}
    [finding] = trial.found.findings
    file = read_evidence((trial.out / finding.evidence[0].path).read_bytes())
    assert [entry.kind for entry in file.entries] == ["receipt", "registry"]


def test_what_a_thief_asked_with_a_stolen_key_convicts_nobody(tmp_path):
    stage = Stage.honest()
    stage.days(1)
    stolen = stage.case.now
    stage.case.step(hours=1)
    lost_by_a_crash(stage)  # the thief asks in the bank's name: the bank's log knows nothing of it
    stage.days(3)
    stage.case.network.compromise("bank", stolen)
    trial = reconcile(stage.case, tmp_path / "case")
    assert ("missing", "bank") not in trial.convicted


def test_an_answer_signed_after_days_of_standing_still_is_late(tmp_path):
    stage = Stage.honest()
    stage.days(1)
    asked = stage.case.now
    stage.case.step(hours=30)
    stage.case.exchange("bank", "jd", asked_at=asked, answered_at=stage.case.now)
    stage.days(1)
    trial = reconcile(stage.case, tmp_path / "case")
    assert trial.convicted == set()
    assert trial.count("answered_late", "jd") == 1


def test_an_exchange_of_before_the_period_is_not_looked_for(tmp_path):
    """The bank logged it at once, jd after the beginning of the period."""
    stage = Stage.honest()
    stage.days(1)
    receipt = stage.case.exchange("bank", "jd", logged=["querier"])
    stage.case.step(minutes=1)
    stage.case.checkpoint()
    opened = stage.case.step(minutes=30)
    stage.case.log_receipt(receipt, "jd", "owner")
    stage.days(3)
    trial = reconcile(stage.case, tmp_path / "case", opened=opened)
    assert trial.convicted == set()
    assert not trial.found.observations


def test_a_snapshot_that_nobody_shows_is_counted(tmp_path):
    stage = play(BY_NAME["hides_a_list"])
    trial = reconcile(stage.case, tmp_path / "case")
    assert trial.convicted == set()
    assert trial.count("unknown_snapshot", "bank") == 1


def test_a_snapshot_shown_by_somebody_else_s_signature_is_none(tmp_path):
    stage = play(BY_NAME["hides_a_list"])
    [statement] = stage.held
    forged = replace(statement, signature=bytes(64))
    trial = reconcile(stage.case, tmp_path / "case", held=(forged,))
    assert trial.convicted == set()


def test_a_log_that_hides_rows_proves_no_absence(tmp_path):
    """A row that is not shown is the replay's matter: the receipt may well be in the log."""
    stage = play(BY_NAME["drops_a_receipt_as_owner"])
    out = tmp_path / "case"
    assert reconcile(stage.case, out).convicted == {("missing", "jd")}
    other = tmp_path / "other"
    write = stage.case.write

    def write_with_a_gap(folder, *period):
        write(folder, *period)
        path = folder / "members" / "jd" / page_path(0)
        page = read_statements(path.read_bytes())
        path.write_bytes(replace(page, rows=page.rows[:-3] + page.rows[-2:]).to_bytes())

    stage.case.write = write_with_a_gap
    trial = reconcile(stage.case, other)
    assert ("missing", "jd") not in trial.convicted
    assert not trial.replayed.clean or not trial.replayed.complete


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_evidence_turned_against_another_member_convicts_nobody(name, tmp_path):
    """Whoever changes the accused, a grace, or drops what is in favour of the accused gets no conviction by it."""
    crime = BY_NAME[name]
    stage = play(crime)
    trial = reconcile(stage.case, tmp_path / "case", held=tuple(stage.held))
    for finding in trial.found.findings:
        data = (trial.out / finding.evidence[0].path).read_bytes()
        if not data.startswith(b'{"absent":'):
            continue
        file = read_evidence(data)
        guilty = {accused for kind, accused in crime.guilty if kind == finding.kind}
        for other in set(stage.case.names) - guilty:
            with pytest.raises(TrustError):
                convicts(replace(file, accused=other).to_bytes(), trial.versions, stage.case.now)
        if file.absent is not None:
            year = int(timedelta(days=365) / timedelta(milliseconds=1))
            for wrong in (replace(file, grace=year), replace(file, absent=None), replace(file, checkpoints=())):
                with pytest.raises(TrustError):
                    convicts(wrong.to_bytes(), trial.versions, stage.case.now)
        if file.entries:
            fewer = replace(file, entries=file.entries[1:])
            with pytest.raises(TrustError):
                convicts(fewer.to_bytes(), trial.versions, stage.case.now)


def test_a_member_that_shows_an_old_checkpoint_is_named_and_blamed_for_nothing(tmp_path):
    stage = Stage.honest()
    stage.days(1)
    end = stage.case.now
    for _ in range(8):
        stage.case.step(hours=6)
        stage.case.exchange("bank", "jd")
        stage.case.exchange("card", "telco")
        stage.case.checkpoint("bank", "card", "telco")
    trial = reconcile(stage.case, tmp_path / "case", closed=stage.case.now + timedelta(seconds=1))
    assert trial.convicted == set()
    assert trial.count("late", "jd") == 8
    step = trial.found.steps[-1]
    assert (step.name, step.outcome) == (reconciling.ENDS, "skipped")
    assert f"The log of jd ends with what a quorum had seen by {end:%Y-%m-%dT%H:%M}" in step.sentence
    assert "others logged 5 exchanges with it more than 24 hours later, up to 48.0 hours" in step.sentence
    assert "The log of bank" not in step.sentence


def test_a_log_that_ends_within_the_grace_of_the_others_is_not_named(tmp_path):
    stage = Stage.honest()
    stage.days(1)
    stage.case.step(hours=23)
    stage.case.exchange("bank", "jd")
    stage.case.checkpoint("bank", "card", "telco")
    assert reconcile(stage.case, tmp_path / "case").found.steps[-1].outcome == "holds"
