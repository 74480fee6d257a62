"""Any report of an audit, with any texts in it, for properties."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from riskshare.audit.finding import FINDINGS, OBSERVATIONS, Evidence, Finding, Observation
from riskshare.audit.report import Figure, Report, Series, Step, Table

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TIMES = st.integers(0, 10**14).map(lambda time: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time))
VALUES = st.floats(-(2**53 - 1), 2**53 - 1)
DIGESTS = st.binary(min_size=32, max_size=32)
COUNTS = st.integers(0, 2**53 - 1)
OUTCOMES = st.sampled_from(["holds", "fails", "skipped"])


def some(strategy):
    return st.lists(strategy, max_size=3).map(tuple)


@st.composite
def any_series(draw, texts):
    times = tuple(sorted(draw(st.sets(TIMES, max_size=4))))
    values = st.tuples(texts, st.tuples(*[VALUES] * len(times)))
    return Series(draw(texts), draw(texts), times, tuple(draw(st.lists(values, max_size=6))))


@st.composite
def any_table(draw, texts):
    columns = draw(st.lists(texts, max_size=3))
    rows = draw(st.lists(st.tuples(*[texts] * len(columns)), max_size=3))
    return Table(draw(texts), tuple(columns), tuple(rows))


def any_step(texts):
    numbers = texts | st.sampled_from(["1", "2"]) | st.tuples(st.sampled_from(["1", "2"]), texts).map(".".join)
    return st.builds(Step, numbers, texts, OUTCOMES, COUNTS, texts)


def any_finding(texts):
    evidence = st.builds(Evidence, texts, DIGESTS, texts)
    about = st.dictionaries(st.text("abc_ <&'", max_size=5), texts, max_size=3)
    return st.builds(Finding, st.sampled_from(sorted(FINDINGS)), texts, texts, st.none() | TIMES, about, some(evidence))


def any_report(texts):
    """A report that has any of these texts wherever it has one."""
    return st.builds(
        Report,
        command=texts,
        title=texts,
        network=texts,
        made_by=texts,
        made_at=TIMES,
        opened=st.none() | TIMES,
        closed=st.none() | TIMES,
        members=some(texts),
        figures=some(st.builds(Figure, texts, texts)),
        steps=some(any_step(texts)),
        findings=some(any_finding(texts)),
        observations=some(st.builds(Observation, st.sampled_from(sorted(OBSERVATIONS)), texts, COUNTS, COUNTS, texts)),
        series=some(any_series(texts)),
        tables=some(any_table(texts)),
        limits=some(texts),
        again=some(texts),
        checkpoints=some(st.tuples(texts, COUNTS, DIGESTS)),
        program=texts,
    )
