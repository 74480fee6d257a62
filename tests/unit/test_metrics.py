"""Metrics: what is observed is what is scraped."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from prometheus_client.parser import text_string_to_metric_families

from riskshare.errors import PeerDown, PeerError, PeerGarbage, PeerLate, PeerRefused
from riskshare.metrics import Families, Metrics, Tallies, render_workers
from riskshare.query.verdict import OwnerResult, Verdict


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def test_a_check_counts_with_its_owners() -> None:
    metrics = Metrics()
    owners = (OwnerResult("jd", "answered", 3.0, {}), OwnerResult("alipay", "late", 150.0, {}))
    metrics.checked(
        Verdict(
            check=UUID(int=1),
            word="incomplete",
            complete=False,
            hits=(),
            owners=owners,
            receipts=(),
            ms=12.5,
            answered_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
    )
    found = samples(metrics)
    assert found["riskshare_check_seconds_sum", (("verdict", "incomplete"),)] == 0.0125
    assert found["riskshare_check_owners_total", (("owner", "alipay"), ("status", "late"))] == 1


@pytest.mark.parametrize(
    ("error", "outcome", "code"),
    [
        (PeerDown("jd", "x"), "down", "peer_down"),
        (PeerLate("jd", "x"), "late", "peer_late"),
        (PeerGarbage("jd", "x", code="peer_disconnected"), "garbage", "peer_disconnected"),
        (PeerRefused("jd", "x", remote_code="clock_off", status=412), "refused", "clock_off"),
    ],
)
def test_a_failed_ask_counts_by_outcome_and_code(error: PeerError, outcome: str, code: str) -> None:
    metrics = Metrics()
    metrics.ask_failed("jd", error)
    labels = (("code", code), ("outcome", outcome), ("owner", "jd"))
    assert samples(metrics)["riskshare_ask_failures_total", labels] == 1


def test_an_answer_counts_its_elements() -> None:
    metrics = Metrics()
    metrics.ask_served("icbc", 256, 0.01)
    metrics.ask_served("icbc", 1, 0.01)
    found = samples(metrics)
    assert found["riskshare_answer_elements_sum", (("member", "icbc"),)] == 257
    assert found["riskshare_answer_seconds_count", (("member", "icbc"),)] == 2


def test_a_tally_counts_a_value_on_a_bound_below_it() -> None:
    tallies = Tallies("x", "Help.", (1.0, 2.0), ("owner",))
    for value in (0.5, 1.0, 1.5, 2.0, 9.0):
        tallies.labels("jd").observe(value)
    [family] = tallies.collect()
    found = {sample.labels.get("le", sample.name): sample.value for sample in family.samples}
    assert found == {"1.0": 2, "2.0": 4, "+Inf": 5, "x_count": 5, "x_sum": 14.0}


def test_two_peers_in_one_process_do_not_share_metrics() -> None:
    one, other = Metrics(), Metrics()
    one.responded("peers", "/peer/v1/lists", 200, 0.001)
    assert "/peer/v1/lists" not in other.render().decode()


def test_every_metric_has_a_help_and_the_prefix() -> None:
    families = list(Metrics().registry.collect())
    assert len(families) > 20
    assert all(family.name.startswith("riskshare_") and family.documentation for family in families)


def parsed(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = list(text_string_to_metric_families(text.decode()))
    names = [family.name for family in families]
    assert sorted(set(names)) == sorted(names), "a metric stands in one place"
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_the_metrics_of_all_workers_stand_side_by_side() -> None:
    told: dict[int, Families | None] = {2: None}
    for number in (1, 3):
        metrics = Metrics()
        metrics.ask_served("icbc", 256 * number, 0.01)
        metrics.refusals.labels("bad_signature").inc(number)
        metrics.registry_days.set(float("inf"))
        told[number] = json.loads(json.dumps(metrics.families()))
    found = parsed(render_workers(told))
    assert [found["riskshare_worker_up", (("worker", str(number)),)] for number in (1, 2, 3)] == [1, 0, 1]
    for number in (1, 3):
        worker = ("worker", str(number))
        assert found["riskshare_answer_elements_sum", (("member", "icbc"), worker)] == 256 * number
        assert found["riskshare_answer_elements_bucket", (("le", "+Inf"), ("member", "icbc"), worker)] == 1
        assert found["riskshare_ask_refusals_total", (("code", "bad_signature"), worker)] == number
        assert found["riskshare_registry_days_left", (worker,)] == float("inf")


def test_a_worker_tells_all_that_it_would_have_rendered() -> None:
    metrics = Metrics()
    metrics.responded("peers", "/peer/v1/lists", 200, 0.001)
    alone = samples(metrics)
    together = parsed(render_workers({1: metrics.families()}))
    together.pop(("riskshare_worker_up", (("worker", "1"),)))
    assert together == {
        (name, tuple(sorted((*labels, ("worker", "1"))))): value for (name, labels), value in alone.items()
    }
