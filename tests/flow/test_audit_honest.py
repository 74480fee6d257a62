"""An honest network, whatever befalls it, gives observations and no finding at all."""

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.simulator.casefolder import START
from tests.simulator.fraud import reconcile
from tests.simulator.honest import HonestNetwork


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
    assert {step.outcome for step in trial.found.steps} == {"holds"}, trial.found.steps
    assert not trial.replayed.findings


@pytest.mark.parametrize("seed", range(3))
def test_trouble_is_observed(seed, tmp_path):
    trial = reconcile(HonestNetwork(seed, trouble=3).play(), tmp_path)
    kinds = {one.kind for one in trial.found.observations}
    assert {"late", "unanswered"} <= kinds
    assert trial.convicted == set()
