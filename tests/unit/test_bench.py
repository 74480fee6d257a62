"""The frame of the benchmarks: when a bar is reached, and how the program says so. What they measure is not run here."""

from __future__ import annotations

import json
import math

import pytest

from riskshare import bench, sodium
from riskshare.bench import GROUPS, LONG, machine, run_bench
from riskshare.bench.measure import Figure, Raw, median_of, middle_round, multiply
from riskshare.cores import CORES
from riskshare.errors import InputError

REACHED = Figure("fast", 0.9, "ratio", 0.8, detail="of 100")
MISSED = Figure("slow", 4.0, "µs", 3.0, "at most")
WITHOUT_BAR = Figure("told", 7.0, "")


class Idle:
    """In place of the processes for bare measures, whose start takes a second."""

    def close(self):
        pass


@pytest.fixture
def measured(monkeypatch):
    """Give the figures of each group by hand; the names that were measured are kept, in their order."""
    asked = []
    monkeypatch.setattr(bench, "Raw", Idle)

    def give(**figures):
        def measure(name, raw):
            assert isinstance(raw, Idle)
            asked.append(name)
            return figures.get(name, [])

        monkeypatch.setattr(bench, "_measure", measure)
        return asked

    return give


@pytest.mark.parametrize(
    ("sense", "value", "reached"),
    [
        ("at least", 1.0, True),
        ("at least", math.nextafter(1.0, 2), True),
        ("at least", math.nextafter(1.0, 0), False),
        ("at most", 1.0, True),
        ("at most", math.nextafter(1.0, 0), True),
        ("at most", math.nextafter(1.0, 2), False),
    ],
)
def test_a_bar_is_reached_from_its_side(sense, value, reached):
    assert Figure("x", value, "ratio", 1.0, sense).reached is reached


def test_a_round_is_held_against_the_bare_speed_right_before_and_behind_it():
    """The machine is three times faster at the end; a rate is a mean of two if both took the same work."""
    middle, others = middle_round([50.0, 60.0, 300.0], [100.0, 100.0, 300.0, 300.0])
    assert (middle.rate, middle.floor, middle.number) == (50.0, 100.0, 0)
    assert middle.ratio == 0.5
    assert others == "other rounds 0.400, 1.000"


def test_each_round_needs_a_bare_speed_on_both_sides():
    with pytest.raises(ValueError, match="shorter"):
        middle_round([1.0, 1.0], [1.0, 1.0])


@pytest.mark.parametrize("sense", ["at least", "at most"])
def test_what_is_no_number_reaches_nothing(sense):
    assert Figure("x", math.nan, "ratio", 1.0, sense).reached is False


@pytest.mark.parametrize("sense", ["at least", "at most"])
def test_a_bar_of_zero_is_a_bar(sense):
    assert Figure("x", 0.0, "ratio", 0.0, sense).reached is True


def test_without_a_bar_nothing_is_reached_or_missed():
    assert WITHOUT_BAR.reached is None


def test_the_median_of_an_even_number_lies_between():
    assert median_of([4.0, 1.0, 2.0, 100.0]) == 3.0


@pytest.mark.parametrize("names", [["nonsense"], ["build", "nonsense"], [""], ["Build"]])
def test_an_unknown_figure_is_refused_before_anything_is_measured(measured, names):
    asked = measured()
    with pytest.raises(InputError) as refused:
        run_bench(names)
    assert refused.value.code == "unknown_figure"
    assert all(group in str(refused.value) for group in GROUPS)
    assert "nonsense" not in str(refused.value)
    assert asked == []


def test_all_groups_are_measured_if_none_is_named(measured, capsys):
    asked = measured()
    assert run_bench([]) == 0
    assert asked == [name for name in GROUPS if name not in LONG]


def test_groups_are_measured_once_and_in_their_order(measured, capsys):
    asked = measured()
    run_bench(["psi", "build", "psi"])
    assert asked == ["build", "psi"]


@pytest.mark.parametrize(
    ("figures", "code"),
    [
        ([], 0),
        ([REACHED], 0),
        ([WITHOUT_BAR], 0),
        ([REACHED, WITHOUT_BAR], 0),
        ([MISSED], 1),
        ([REACHED, MISSED], 1),
        ([MISSED, WITHOUT_BAR, REACHED], 1),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_the_exit_code_is_1_if_one_bar_is_missed(measured, capsys, figures, code, as_json):
    measured(build=figures[:1], filter=figures[1:])
    assert run_bench(["build", "filter"], json=as_json) == code


def test_the_table_has_each_figure_with_its_bar_and_its_end(measured, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    measured(build=[REACHED, MISSED, WITHOUT_BAR])
    run_bench(["build"])
    lines = capsys.readouterr().out.splitlines()
    [fast] = [line for line in lines if "fast" in line]
    [slow] = [line for line in lines if "slow" in line]
    [told] = [line for line in lines if "told" in line]
    assert all(part in fast for part in ("0.90 ratio", "≥ 0.8", "reached"))
    assert all(part in slow for part in ("4.00 µs", "≤ 3", "missed"))
    assert "7.00" in told
    assert not any(word in told for word in ("reached", "missed", "≥", "≤"))
    assert any("of 100" in line for line in lines)
    assert machine() in " ".join(line.strip() for line in lines)


def test_json_has_each_figure_and_nothing_else_stands_on_standard_output(measured, capsys):
    measured(build=[REACHED, MISSED], filter=[Figure("parts", 1.0, "ms", parts={"sign": 0.1})])
    run_bench(["build", "filter"], json=True)
    said = json.loads(capsys.readouterr().out)
    assert said["machine"] == machine()
    assert [figure["name"] for figure in said["figures"]] == ["fast", "slow", "parts"]
    assert said["figures"][0] == {
        "name": "fast",
        "value": 0.9,
        "unit": "ratio",
        "bar": 0.8,
        "sense": "at least",
        "reached": True,
        "detail": "of 100",
        "parts": {},
    }
    assert [figure["reached"] for figure in said["figures"]] == [True, False, None]
    assert said["figures"][2]["parts"] == {"sign": 0.1}


def test_a_group_that_fails_ends_the_processes_and_says_why(monkeypatch):
    used = []

    def fail(name, raw):
        used.append(raw)
        raise InputError("It cannot be measured.")

    monkeypatch.setattr(bench, "_measure", fail)
    with pytest.raises(InputError, match="cannot be measured"):
        run_bench(["filter"])
    [raw] = used
    assert isinstance(raw, Raw)
    with pytest.raises(RuntimeError):
        raw.rate(multiply, 1)


def test_the_machine_is_named():
    said = machine()
    assert f"{CORES} cores" in said
    assert sodium.VERSION in said
    assert not said.startswith(",")
