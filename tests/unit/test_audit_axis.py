"""Axes and charts of a report: ticks are round, lie on the axis, and what is drawn lies in its frame."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from riskshare.audit.axis import SMALLEST_SPAN, time_ticks, value_scale
from riskshare.audit.chart import FLAT, LARGE, SMALL, TOGETHER, make_chart
from riskshare.audit.report import Series
from tests.simulator import reports

START = datetime(2026, 1, 1, tzinfo=UTC)
VALUES = st.floats(-(2**53 - 1), 2**53 - 1) | st.integers(-5, 1_000)
MOMENTS = st.datetimes(timezones=st.just(UTC))


def texts(ticks):
    return [tick.text for tick in ticks]


@given(st.lists(VALUES, min_size=1), st.integers(2, 8))
@example([-5.960464477539063e-08], 2)
def test_the_scale_holds_zero_and_every_value(values, ticks):
    scale = value_scale(values, ticks)
    # What lies closer to 0 than that is drawn as 0, on whichever side of it it lies.
    assert all(-SMALLEST_SPAN <= scale.place(value) <= 1 + SMALLEST_SPAN for value in [0, *values])
    places = [tick.place for tick in scale.ticks]
    assert places == sorted(places)
    assert (places[0], places[-1]) == (0, 1)
    assert 2 <= len(places) <= ticks + 3
    assert len(set(texts(scale.ticks))) == len(places)


@pytest.mark.parametrize(
    ("values", "ticks", "expected"),
    [
        ([7], 5, ["0", "2", "4", "6", "8"]),
        ([0], 5, ["0", "1"]),
        ([2], 5, ["0", "1", "2"]),
        ([0.5], 5, ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5"]),
        ([0.01, 0.02], 2, ["0.00", "0.01", "0.02"]),
        ([-3, 4], 4, ["-4", "-2", "0", "2", "4"]),
        ([1_204_331], 5, ["0", "500,000", "1,000,000", "1,500,000"]),
        ([1e-9], 5, ["0", "1"]),
    ],
)
def test_ticks_of_values_are_round(values, ticks, expected):
    assert texts(value_scale(values, ticks).ticks) == expected


@pytest.mark.parametrize(
    ("begin", "length", "most", "expected"),
    [
        (START, timedelta(seconds=4), 8, ["1 Jan", "00:00:01", "00:00:02", "00:00:03", "00:00:04"]),
        (START, timedelta(hours=1), 8, ["1 Jan", "00:15", "00:30", "00:45", "01:00"]),
        (START, timedelta(days=2), 8, ["1 Jan", "12:00", "2 Jan", "12:00", "3 Jan"]),
        (START, timedelta(days=7), 8, [f"{day} Jan" for day in range(1, 9)]),
        (START, timedelta(days=31), 8, [f"{day} Jan" for day in range(3, 32, 4)]),
        (START, timedelta(days=365), 8, ["Jan 2026", "Mar", "May", "Jul", "Sep", "Nov", "Jan 2027"]),
        (START + timedelta(days=40), timedelta(days=365), 4, ["Apr 2026", "Jul", "Oct", "Jan 2027"]),
        (START, timedelta(days=3_653), 8, ["2026", "2028", "2030", "2032", "2034", "2036"]),
    ],
)
def test_ticks_of_times_are_round(begin, length, most, expected):
    assert texts(time_ticks(begin, begin + length, most)) == expected


@given(MOMENTS, MOMENTS, st.integers(2, 8))
def test_ticks_of_times_lie_on_the_axis(one, other, most):
    begin, end = sorted((one, other))
    if begin == end:
        return
    ticks = time_ticks(begin, end, most)
    assert len(ticks) <= most
    assert all(0 <= tick.place <= 1 for tick in ticks)
    assert [tick.place for tick in ticks] == sorted({tick.place for tick in ticks})


@st.composite
def series(draw):
    count = draw(st.integers(1, 30) | st.integers(300, 800))
    gaps = draw(st.lists(st.integers(1, 10**9), min_size=1, max_size=7))
    times, time = [], draw(MOMENTS.filter(lambda moment: moment.year < 9_000))
    for place in range(count):
        times.append(time)
        time += timedelta(milliseconds=gaps[place % len(gaps)])
    levels = draw(st.lists(VALUES, min_size=1, max_size=9))
    values = tuple(
        (f"n{place}", tuple(level * (1 - at % 3 / 2) for at in range(count))) for place, level in enumerate(levels)
    )
    return Series("title", "unit", tuple(times), values)


def corners(path):
    """The points of a path of the commands M, H, V, Z."""
    found, x, y = [], None, None
    for command, first, second in re.findall(r"([MHVZ])(-?[\d.]+)?(?: (-?[\d.]+))?", path):
        if command == "M":
            x, y = float(first), float(second)
        elif command == "H":
            x = float(first)
        elif command == "V":
            y = float(first)
        found.append((x, y))
    return found


@given(series())
def test_all_that_is_drawn_lies_in_its_frame(given_series):
    chart = make_chart(given_series)
    size = chart.size
    assert size is (LARGE if len(given_series.values) <= TOGETHER else SMALL)
    assert [line.name for panel in chart.panels for line in panel.lines] == [name for name, _ in given_series.values]
    for panel in chart.panels:
        assert size.top <= float(panel.zero) <= size.height - size.bottom
        for line in panel.lines:
            assert re.fullmatch(r"M[\d.]+ [\d.]+(?:[HV][\d.]+)+", line.path)
            points = corners(line.path) + corners(line.band)
            assert all(size.left <= x <= size.width - size.right for x, _ in points)
            assert all(size.top <= y <= size.height - size.bottom for _, y in points)
            assert points[0][0] == size.left
            assert corners(line.path)[-1][0] == size.width - size.right
            assert line.least <= line.mean + 1e-3 * abs(line.mean)
            assert line.mean <= line.most + 1e-3 * abs(line.most)


def one(*values, step=timedelta(hours=1)):
    times = tuple(START + place * step for place in range(len(values)))
    return Series("title", "unit", times, (("bank-a", tuple(map(float, values))),))


def test_a_value_is_a_step_from_its_own_time_to_the_next():
    chart = make_chart(one(0, 4))
    left, middle, right = LARGE.left, LARGE.left + LARGE.plot_width / 2, LARGE.left + LARGE.plot_width
    bottom, top = LARGE.top + LARGE.plot_height, LARGE.top
    assert corners(chart.panels[0].lines[0].path) == [
        (left, bottom),
        (middle, bottom),
        (middle, top),
        (right, top),
    ]
    assert chart.end == START + timedelta(hours=2)


@pytest.mark.parametrize("name", ["times", "names"])
def test_without_times_or_names_there_is_no_chart(name):
    times, values = ((), (("bank-a", ()),)) if name == "times" else ((START,), ())
    assert make_chart(Series("title", "unit", times, values)) is None


@pytest.mark.parametrize("moment", [START, datetime.max.replace(tzinfo=UTC, microsecond=999_000)])
def test_a_single_value_is_drawn(moment):
    chart = make_chart(Series("title", "unit", (moment,), (("bank-a", (7.0,)),)))
    assert len(corners(chart.panels[0].lines[0].path)) == 2


def test_many_values_become_means_with_a_band_from_the_smallest_to_the_largest():
    chart = make_chart(one(*[0, 10] * 4_380))
    line = chart.panels[0].lines[0]
    assert chart.gathered == 24
    heights = {y for _, y in corners(line.path)}
    assert heights == {LARGE.top + LARGE.plot_height / 2}
    assert {y for _, y in corners(line.band)} == {LARGE.top, LARGE.top + LARGE.plot_height}
    assert make_chart(one(*range(300))).panels[0].lines[0].band == ""


def test_many_names_get_a_chart_each():
    chart = make_chart(reports.fifty_members().series[0])
    assert len(chart.panels) == 50
    assert not chart.shared
    alike = make_chart(reports.clean().series[0])
    assert (len(alike.panels), alike.shared) == (5, True)
    assert len({panel.up for panel in alike.panels}) == 1


def test_what_would_be_flat_beside_the_largest_has_a_scale_of_its_own():
    values = tuple((f"n{place}", (1.0,)) for place in range(TOGETHER))
    for most, shared in ((FLAT, True), (FLAT + 1, False)):
        assert make_chart(Series("t", "u", (START,), (*values, ("big", (float(most),))))).shared is shared


def test_names_with_nothing_but_zeros_do_not_count_for_that():
    values = tuple((f"n{place}", (0.0,)) for place in range(TOGETHER + 1))
    assert make_chart(Series("t", "u", (START,), values)).shared
    assert make_chart(Series("t", "u", (START,), (*values, ("big", (9.0,))))).shared
