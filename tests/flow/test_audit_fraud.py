"""Each kind of fraud is found, names the right party and blames no honest one; and no rule is idle."""

import pytest

from riskshare.audit.charges import RULES
from riskshare.audit.conviction import convicts
from tests.simulator.fraud import FRAUDS, Stage, play, reconcile


@pytest.mark.parametrize("crime", FRAUDS, ids=lambda crime: crime.act.__name__)
def test_a_fraud_is_found_and_only_the_guilty_are_named(crime, tmp_path):
    stage = play(crime)
    trial = reconcile(stage.case, tmp_path, held=tuple(stage.held))
    assert trial.convicted == crime.guilty
    assert {finding.accused for finding in trial.replayed.findings} <= {accused for _, accused in crime.guilty}
    for finding in trial.found.findings:
        assert finding.evidence, finding.kind
        for evidence in finding.evidence:
            conviction = convicts((trial.out / evidence.path).read_bytes(), trial.versions, stage.case.now)
            assert conviction.accused == finding.accused
            assert finding.accused in conviction.sentence


@pytest.mark.parametrize("crime", FRAUDS, ids=lambda crime: crime.act.__name__)
def test_without_its_rules_a_fraud_is_not_found(crime, tmp_path):
    stage = play(crime)
    rules = {name: rule for name, rule in RULES.items() if name not in crime.rules}
    trial = reconcile(stage.case, tmp_path, held=tuple(stage.held), rules=rules)
    assert trial.convicted == set()


def test_no_rule_that_convicts_is_without_a_fraud():
    assert {name for crime in FRAUDS for name in crime.rules} == set(RULES) - {"counted"}


def test_honest_days_have_no_finding(tmp_path):
    stage = Stage.honest()
    stage.days(4)
    trial = reconcile(stage.case, tmp_path)
    assert trial.convicted == set()
    assert [step.outcome for step in trial.found.steps] == ["holds"] * (len(RULES) + 1)
    assert not trial.found.observations
