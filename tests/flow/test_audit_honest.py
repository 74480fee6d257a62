"""An honest network, whatever befalls it, gives observations and no finding at all."""

import random
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from riskshare.audit import charges, conviction
from tests.simulator.casefolder import START
from tests.simulator.fraud import reconcile
from tests.simulator.honest import HonestNetwork


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**40),
    begins=st.integers(0, 3 * 1440),
    ends=st.integers(720, 6 * 1440),
    trouble=st.sampled_from([0.3, 1.0, 3.0]),
)
def test_whatever_befalls_honest_members_convicts_nobody(seed, begins, ends, trouble, tmp_path_factory):
    case = HonestNetwork(seed, trouble=trouble).play()
    opened = START + timedelta(minutes=begins)
    trial = reconcile(case, tmp_path_factory.mktemp("case"), opened=opened, closed=opened + timedelta(minutes=ends))
    assert trial.convicted == set()
    *rules, ends_of_logs = trial.found.steps
    assert {step.outcome for step in rules} == {"holds"}, rules
    assert ends_of_logs.outcome in {"holds", "skipped"}, "a log that nobody would cosign for days ends early"
    assert not trial.replayed.findings


def test_trouble_is_observed(tmp_path):
    """The game is no game: of a few troubled histories, every kind of trouble leaves its trace."""
    kinds: set[str] = set()
    for seed in range(6):
        trial = reconcile(HonestNetwork(seed, trouble=3).play(), tmp_path / f"case-{seed}")
        assert trial.convicted == set()
        kinds |= {one.kind for one in trial.found.observations}
    assert {"late", "unanswered", "adopted", "answered_late", "undisclosed"} <= kinds


@pytest.mark.parametrize("seed", [2011])
def test_without_the_rule_of_contact_an_honest_querier_would_be_convicted(seed, tmp_path, monkeypatch):
    """It crashed, and could not ask the owner again for days: what it does not log then, it does not know."""
    case = HonestNetwork(seed, trouble=random.Random(seed).choice([1, 3]), days=9, settles=False).play()
    assert reconcile(case, tmp_path / "as it is").convicted == set()
    monkeypatch.setattr(charges._Contacts, "_contact", lambda *_: ((), ()))
    monkeypatch.setattr(conviction, "_require_contact", lambda *_: None)
    assert {kind for kind, _ in reconcile(case, tmp_path / "without").convicted} == {"missing"}
