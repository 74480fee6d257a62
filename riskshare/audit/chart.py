"""The geometry of the charts in a report: what is drawn where, in the units of an SVG's `viewBox` (pure).

No text of a series ends up in what is computed here but as text; the page writes the SVG and escapes it. A value is
drawn as a step, from its own time to the next. Many values are gathered: a step is then their mean, and a band reaches
from the smallest to the largest. Up to `TOGETHER` names share a chart, told apart by dashes as well as by colour; more
of them get a small chart each, on one scale of values unless the smallest would be flat on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from riskshare.audit.axis import Scale, Tick, time_ticks, value_scale
from riskshare.audit.report import Series

TOGETHER: Final = 4
"""Most names in one chart."""

FLAT: Final = 10
"""So many times smaller than the largest, a line is flat on its scale."""

_GATHERED: Final = (1, 2, 3, 4, 6, 12, 24, 48, 96, 168)
"""How many values make a step: of hourly ones, what fits into days and weeks."""

_ALONE: Final = timedelta(hours=1)
"""How long a single value is drawn: nothing says until when it holds."""


@dataclass(frozen=True, slots=True)
class Size:
    """A kind of chart: its outer width and height, the margins around its plot, and how much it can show."""

    width: int
    height: int
    left: int
    top: int
    right: int
    bottom: int
    steps: int
    times: int
    values: int

    @property
    def plot_width(self) -> int:
        """Width of the plot itself."""
        return self.width - self.left - self.right

    @property
    def plot_height(self) -> int:
        """Height of the plot itself."""
        return self.height - self.top - self.bottom


LARGE: Final = Size(760, 250, left=64, top=12, right=30, bottom=28, steps=370, times=8, values=5)
SMALL: Final = Size(250, 110, left=46, top=8, right=20, bottom=20, steps=170, times=4, values=3)


@dataclass(frozen=True, slots=True)
class Line:
    """What is drawn for one name, and its figures: the smallest and the largest value and when, the mean, the last."""

    name: str
    path: str
    band: str
    least: float
    mean: float
    most: float
    most_at: datetime
    last: float


@dataclass(frozen=True, slots=True)
class Panel:
    """One SVG: its lines share axes. `up` are the ticks of values, each with its y; `zero` is the y of the value 0."""

    lines: tuple[Line, ...]
    up: tuple[tuple[str, str], ...]
    zero: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A series as one large panel, or as many small ones; `panels` is empty if there is nothing to draw.

    `across` are the ticks of times with the x at which they stand; `gathered` is how many values one step stands for;
    `shared` says whether all panels have the same scale of values.
    """

    title: str
    unit: str
    size: Size
    begin: datetime
    end: datetime
    across: tuple[tuple[str, str], ...]
    gathered: int
    shared: bool
    panels: tuple[Panel, ...]


def make_chart(series: Series) -> Chart | None:
    """The chart of a series, or None if it has no times or no names."""
    if not series.times or not series.values:
        return None
    size = LARGE if len(series.values) <= TOGETHER else SMALL
    every = _gathering(len(series.times), size.steps)
    begin, end = series.times[0], _end(series.times)
    everything = [value for _, values in series.values for value in values]
    shared = size is LARGE or not _unlike([values for _, values in series.values])
    one = _Plot(size, value_scale(everything, size.values), begin, end)
    plots = [
        one if shared else _Plot(size, value_scale(values, size.values), begin, end) for _, values in series.values
    ]
    lines = [
        _line(plot, name, series.times, values, every)
        for plot, (name, values) in zip(plots, series.values, strict=True)
    ]
    return Chart(
        title=series.title,
        unit=series.unit,
        size=size,
        begin=begin,
        end=end,
        across=tuple((_number(one.x_of(tick)), tick.text) for tick in time_ticks(begin, end, size.times)),
        gathered=every,
        shared=shared,
        panels=(one.panel(lines),)
        if size is LARGE
        else tuple(plot.panel([line]) for plot, line in zip(plots, lines, strict=True)),
    )


def _end(times: Sequence[datetime]) -> datetime:
    """Until when the last value is drawn: as long as the one before it, where the calendar has room."""
    length = times[-1] - times[-2] if len(times) > 1 else _ALONE
    try:
        return times[-1] + length
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def _unlike(values: Sequence[Sequence[float]]) -> bool:
    """Whether what is smallest would be flat beside what is largest."""
    sizes = [max(map(abs, one)) for one in values]
    return max(sizes) > FLAT * min(size for size in sizes if size) if any(sizes) else False


def _gathering(count: int, steps: int) -> int:
    least = -(-count // steps)
    return next((every for every in _GATHERED if every >= least), least)


@dataclass(frozen=True, slots=True)
class _Plot:
    """Where times and values lie in a panel."""

    size: Size
    scale: Scale
    begin: datetime
    end: datetime

    def panel(self, lines: Sequence[Line]) -> Panel:
        up = ((_number(self.y_of(tick.place)), tick.text) for tick in self.scale.ticks)
        return Panel(tuple(lines), tuple(up), _number(self.y(0.0)))

    def x(self, time: datetime) -> float:
        return self.size.left + (time - self.begin) / (self.end - self.begin) * self.size.plot_width

    def x_of(self, tick: Tick) -> float:
        return self.size.left + tick.place * self.size.plot_width

    def y(self, value: float) -> float:
        return self.y_of(self.scale.place(value))

    def y_of(self, place: float) -> float:
        return self.size.top + (1 - place) * self.size.plot_height


def _line(plot: _Plot, name: str, times: Sequence[datetime], values: Sequence[float], every: int) -> Line:
    groups = [values[first : first + every] for first in range(0, len(values), every)]
    edges = [plot.x(time) for time in (*times[::every], plot.end)]
    most = max(values)
    return Line(
        name=name,
        path=_steps(edges, [plot.y(sum(group) / len(group)) for group in groups]),
        band=_band(edges, [plot.y(min(group)) for group in groups], [plot.y(max(group)) for group in groups])
        if every > 1
        else "",
        least=min(values),
        mean=sum(values) / len(values),
        most=most,
        most_at=times[values.index(most)],
        last=values[-1],
    )


def _steps(edges: Sequence[float], heights: Sequence[float]) -> str:
    """A stepped line: `edges` has one x more than there are heights."""
    return f"M{_number(edges[0])} {_number(heights[0])}" + "".join(_walk(edges[1:], heights, heights[0]))


def _band(edges: Sequence[float], low: Sequence[float], high: Sequence[float]) -> str:
    """The area between two stepped lines: along the upper one, and back along the lower one."""
    there = "".join(_walk(edges[1:], high, high[0]))
    back = "".join(_walk(edges[-2::-1], low[::-1], high[-1]))
    return f"M{_number(edges[0])} {_number(high[0])}{there}{back}Z"


def _walk(edges: Sequence[float], heights: Sequence[float], height: float) -> Iterator[str]:
    for edge, after in zip(edges, heights, strict=True):
        if _number(after) != _number(height):
            yield f"V{_number(after)}"
        height = after
        yield f"H{_number(edge)}"


def _number(value: float) -> str:
    """A coordinate with one decimal."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text
