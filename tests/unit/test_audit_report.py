"""Reports of audits: what they say in one sentence, and that their JSON is read back strictly."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.audit.finding import Finding
from riskshare.audit.form import read_value, value_text
from riskshare.audit.report import ALWAYS, Report, Series, Step, Table
from riskshare.encoding import canonical_json, parse_canonical_json
from riskshare.errors import EncodingError
from tests.simulator import reports
from tests.simulator.any_report import TEXTS, any_report

VALUES = st.floats(-(2**53 - 1), 2**53 - 1)


@given(any_report(TEXTS))
def test_a_report_is_read_back_as_it_was_written(report):
    written = canonical_json(report.body())
    again = Report.from_body(parse_canonical_json(written, limit=len(written)))
    assert canonical_json(again.body()) == written
    assert again == report
    assert again.exit_code == report.exit_code


@pytest.mark.parametrize("name", reports.ALL)
def test_every_variant_is_read_back(name):
    report = reports.ALL[name]()
    assert Report.from_body(report.body()) == report


@given(VALUES)
def test_a_figure_is_read_back_as_the_same_number(value):
    assert read_value(value_text(value)) == value


@pytest.mark.parametrize("text", ["", "1.0", "01", "1e3", "1_0", " 1", "-0", "nan", "inf", "0.10", "x", 1, 1.5, None])
def test_a_figure_in_another_spelling_is_refused(text):
    with pytest.raises(EncodingError):
        read_value(text)


def broken(**changes):
    body = copy.deepcopy(reports.convicting().body())
    for path, value in changes.items():
        *way, last = [int(part) if part.isdigit() else part for part in path.split("__")]
        place = body
        for part in way:
            place = place[part]
        place[last] = value
    return body


@pytest.mark.parametrize(
    "changes",
    [
        {"unknown": 1},
        {"format": "riskshare/v2/audit-report"},
        {"clean": True},
        {"complete": False},
        {"title": 7},
        {"made_at": "2026-11-01"},
        {"members": "bank-a"},
        {"members__0": None},
        {"limits": []},
        {"limits__0": "Everything was found."},
        {"figures": {"a": "b"}},
        {"figures__0__value": 1},
        {"figures__0__more": 1},
        {"steps__0__outcome": "maybe"},
        {"steps__0__outcome": []},
        {"steps__0__count": -1},
        {"steps__0__count": True},
        {"steps__0__count": "1"},
        {"findings__0__kind": "unheard_of"},
        {"findings__0__kind": ["missing"]},
        {"findings__0__about": []},
        {"findings__0__about__receipt": 1},
        {"findings__0__evidence__0__sha256": "00"},
        {"observations__0__kind": "missing"},
        {"series__0__values__0__values": ["1"]},
        {"series__0__values__0__values__0": 1},
        {"series__0__times__0": "2027-11-01T00:00:00.000Z"},
        {"tables__0__rows__0": ["one"]},
        {"checkpoints__0__root": "AB" * 32},
    ],
    ids=str,
)
def test_another_form_is_refused(changes):
    with pytest.raises(EncodingError):
        Report.from_body(broken(**changes))


@pytest.mark.parametrize("key", sorted(reports.clean().body()))
def test_a_report_without_a_field_is_refused(key):
    body = reports.clean().body()
    del body[key]
    with pytest.raises(EncodingError):
        Report.from_body(body)


@pytest.mark.parametrize("value", [None, [], "report", 1])
def test_what_is_no_object_is_no_report(value):
    with pytest.raises(EncodingError):
        Report.from_body(value)


def test_every_report_says_what_no_audit_can_find():
    assert reports.bare().body()["limits"] == list(ALWAYS)
    assert any("leave no trace" in limit for limit in ALWAYS)


def at(outcome, **changes):
    return replace(reports.bare(), steps=(Step("1", "x", outcome),), **changes)


def test_a_step_and_its_parts_count_as_one_in_the_verdict():
    failed = (Step("7", "x", "fails"), Step("7.bank-a", "x", "fails"), Step("7.telco-d", "x", "fails"))
    assert replace(reports.bare(), steps=failed).verdict == "1 step of the verification did not hold."


FINDING = Finding("double", "bank-a", "x")


@pytest.mark.parametrize(
    ("report", "code", "sentence"),
    [
        (reports.bare(), 0, "All that was verified holds. There is no finding."),
        (at("holds"), 0, "All that was verified holds. There is no finding."),
        (at("fails"), 1, "1 step of the verification did not hold."),
        (
            at("skipped"),
            3,
            "Nothing was found against any member. Not everything could be verified: 1 step had to be skipped.",
        ),
        (at("holds", findings=(FINDING,)), 1, "There is 1 finding against 1 member."),
        (
            at("skipped", findings=(FINDING, replace(FINDING, accused="x"), FINDING)),
            1,
            "There are 3 findings against 2 members. Not everything could be verified: 1 step had to be skipped.",
        ),
    ],
)
def test_the_verdict_is_one_sentence_and_fits_the_exit_code(report, code, sentence):
    assert (report.exit_code, report.verdict) == (code, sentence)


START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("times", "values"),
    [
        ((START,), ()),
        ((), (1.0,)),
        ((START,), (float("nan"),)),
        ((START,), (float("inf"),)),
        ((START,), (2.0**53,)),
        ((START, START), (1.0, 1.0)),
        ((START, START - timedelta(seconds=1)), (1.0, 1.0)),
    ],
)
def test_a_series_that_no_chart_can_show_is_a_mistake_of_ours(times, values):
    with pytest.raises(ValueError):
        Series("title", "unit", times, (("name", values),))


def test_a_table_with_a_row_that_does_not_fit_is_a_mistake_of_ours():
    with pytest.raises(ValueError):
        Table("title", ("one", "two"), (("a",),))
