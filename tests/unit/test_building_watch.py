from __future__ import annotations

import structlog

from riskshare.metrics import Metrics
from riskshare.peer.building import BuildingWatch


def sample(metrics, name):
    return metrics.registry.get_sample_value(f"riskshare_{name}", {"list": "jd/fraud", "epoch": "2"})


def test_a_long_computing_is_in_metrics_and_log():
    metrics, moment = Metrics(), [100.0]
    watch = BuildingWatch(metrics, lambda: moment[0])
    with structlog.testing.capture_logs() as lines:
        for rows, share in ((1000, 0.1), (2000, 0.2), (6000, 0.6)):
            watch.computed("jd/fraud", 2, rows, share)
            assert (sample(metrics, "building_rows"), sample(metrics, "building_share")) == (rows, share)
            moment[0] += 10
        watch.computed("jd/fraud", 2, 10_000, 1.0)
    assert [(line["rows"], line["percent"], line["rate"], line["seconds_left"]) for line in lines] == [
        (2000, 20.0, 100, 80),
        (6000, 60.0, 250, 16),
        (10_000, 100.0, 300, 0),
    ]
    assert {(line["event"], line["list"], line["epoch"]) for line in lines} == {("list_building", "jd/fraud", 2)}
    assert sample(metrics, "building_rows") is sample(metrics, "building_share") is None


def test_a_computing_that_goes_on_counts_its_own_rate():
    moment = [0.0]
    watch = BuildingWatch(Metrics(), lambda: moment[0])
    with structlog.testing.capture_logs() as lines:
        watch.computed("jd/fraud", 2, 500_000, 0.5)
        moment[0] += 10
        watch.computed("jd/fraud", 2, 600_000, 0.6)
    assert [(line["rate"], line["seconds_left"]) for line in lines] == [(10_000, 40)]


def test_a_short_computing_leaves_no_line():
    watch = BuildingWatch(Metrics(), lambda: 0.0)
    with structlog.testing.capture_logs() as lines:
        watch.computed("jd/fraud", 2, 10, 1.0)
        watch.computed("jd/fraud", 2, 10, 1.0)
    assert lines == []
