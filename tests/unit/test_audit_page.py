"""The page of a report: its structure, that nothing breaks out of it, that it is the same whenever it is made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from importlib.resources import files
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.audit.finding import Evidence, Finding, Observation
from riskshare.audit.report import ALWAYS, Figure, Report, Step, Table
from riskshare.audit.report_page import CONTENT_POLICY, ROWS, SHOWN, render, report_digest
from riskshare.encoding import canonical_json, parse_canonical_json
from riskshare.errors import EncodingError
from tests.simulator import reports
from tests.simulator.any_report import TEXTS, any_report
from tests.simulator.page import Page

STYLE = (files("riskshare.audit") / "templates" / "report.css").read_text(encoding="utf-8")

HOSTILE = (
    "<script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    "</svg></desc><svg onload=alert(1)>",
    "\"' onmouseover='alert(1)",
    "--><b>x</b><!--",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt; &amp; &#60;",
    "]]><a href=javascript:alert(1)>x</a>",
    "a\u202eb\x00\x1b[2J\u2028c\ud7ff\ue000",
    "</code></pre>\n\r\t</div>",
    "</textarea><plaintext>",
)
ANY_TEXT = st.sampled_from(HOSTILE) | TEXTS | st.lists(st.sampled_from("<>&\"'/=x "), max_size=12).map("".join)


@pytest.fixture(scope="module", params=reports.ALL)
def variant(request):
    report = reports.ALL[request.param]()
    return report, Page(render(report))


# --- Structure --------------------------------------------------------------------------------------


def test_the_page_needs_nothing_from_elsewhere(variant):
    _, page = variant
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form", "a", "use", "image"} & {
        tag for tag, _ in page.elements
    }
    for _, attributes in page.elements:
        assert not {"style", "src", "href", "xlink:href", "srcset", "action"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
    assert page.comments == []
    assert not re.search(r"url\(|@import|@font-face|expression", STYLE)


def test_the_page_forbids_all_that_it_does_not_need(variant):
    _, page = variant
    policies = [one["content"] for one in page.named("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert policies == [CONTENT_POLICY]
    assert CONTENT_POLICY.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")


def test_headings_go_down_by_one_level(variant):
    _, page = variant
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_every_id_is_there_once_and_every_label_leads_to_one(variant):
    _, page = variant
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = [attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes]
    assert {one for label in labels for one in label.split()} <= set(ids)


def test_tables_and_charts_can_be_read_without_eyes(variant):
    _, page = variant
    assert all(one.get("scope") in {"col", "row"} for one in page.named("th"))
    for svg in page.named("svg"):
        assert svg.get("aria-hidden") == "true" or (svg["role"] == "img" and len(svg["aria-labelledby"].split()) == 2)
    assert page.named("html") == [{"lang": "en"}]
    drawn = [one for one in page.named("svg") if "role" in one]
    assert len(page.named("desc")) == len(drawn)
    assert len(page.named("title")) == len(drawn) + 1
    for one in page.named("div"):
        if "tabindex" in one:
            assert one["role"] == "region"


def test_the_head_says_what_one_signs(variant):
    report, page = variant
    digest = report_digest(report).hex()
    assert page.text.count(digest) == 3  # in the head, beside the signature, and below each printed page
    for part in (report.title, report.network, report.made_by, report.verdict, *report.members, "9 Nov 2026"):
        assert part in page.text or (part == "9 Nov 2026" and report.made_at == reports.CLOSED)


def test_everything_of_the_report_stands_on_the_page(variant):
    report, page = variant
    for text in (
        *(text for figure in report.figures for text in (figure.name, figure.value)),
        *(one.unusual for one in report.observations),
        *(one.title for one in report.series),
        *(name for one in report.series for name, _ in one.values if one.times),
        *(cell for table in report.tables for row in (table.columns, *table.rows) for cell in row),
        *(text for step in report.steps for text in (step.number.partition(".")[0], step.name, step.sentence)),
        *(text for _, _, root in report.checkpoints for text in (root.hex(),)),
        *(*ALWAYS, *report.limits, *report.again),
        f"riskshare audit report {report.command}.json",
    ):
        assert text in page.text


def test_findings_come_before_all_else_and_carry_their_evidence():
    report = reports.convicting()
    page = Page(render(report))
    text = page.text
    assert text.index("Findings") < text.index("Observations") < text.index("Figures over time")
    seen = {}
    for finding in report.findings:
        group = seen.setdefault((finding.accused, finding.kind), [])
        group.append(finding)
        shown = len(group) <= SHOWN
        for part in (*finding.about.values(), *(one.digest.hex() for one in finding.evidence)):
            assert (part in text) is shown
    assert "30 more of this kind stand in the JSON report." in text


@pytest.mark.parametrize(("command", "all_of_it"), [("reconcile", True), ("replay", False), ("open", False)])
def test_only_evidence_that_convinces_a_third_party_is_said_to(command, all_of_it):
    page = render(replace(reports.convicting(), command=command))
    assert ("Each file of evidence convinces a third party" in page) == all_of_it
    assert ("weigh as much as the way by which they came" in page) != all_of_it


@pytest.mark.parametrize(
    ("bound", "shown"),
    [
        (datetime(2026, 11, 1, 9, 5, tzinfo=UTC), "09:05 UTC"),
        (datetime(2026, 11, 1, 9, 5, 30, tzinfo=UTC), "09:05:30 UTC"),
    ],
)
def test_the_bounds_of_a_period_leave_no_second_out(bound, shown):
    page = render(replace(reports.convicting(), opened=bound, closed=datetime(2026, 11, 2, tzinfo=UTC)))
    assert f"<dt>Period</dt><dd>1 Nov 2026, {shown} to 2 Nov 2026, 00:00 UTC</dd>" in page


def test_one_with_many_findings_does_not_hide_the_one_of_another():
    flood = tuple(Finding("double", "bank-a", f"Number {number}.") for number in range(SHOWN * 3))
    other = Finding("wrong_key", "telco-d", "The other one.")
    text = Page(render(replace(reports.bare(), findings=(*flood, other)))).text
    assert "The other one." in text
    assert f"Number {SHOWN - 1}." in text
    assert f"Number {SHOWN}." not in text


def test_long_tables_are_cut_and_say_so():
    rows = tuple((f"row-{number}",) for number in range(ROWS + 7))
    text = Page(render(replace(reports.bare(), tables=(Table("Long", ("name",), rows),)))).text
    assert f"row-{ROWS - 1}" in text
    assert f"row-{ROWS}" not in text
    assert "7 more rows stand in the JSON report." in text


def test_what_is_unusual_comes_first():
    seen = (Observation("late", "bank-a", 1, 9), Observation("late", "telco-d", 5, 9, "5 times the others"))
    text = Page(render(replace(reports.bare(), observations=seen))).text
    assert text.index("telco-d") < text.index("bank-a")


@pytest.mark.parametrize(
    ("count", "of", "share"),
    [(0, 0, "\N{EN DASH}"), (0, 9, "0.00 %"), (1, 10**6, "< 0.01 %"), (1, 8, "12.50 %"), (9, 9, "100.00 %")],
)
def test_the_share_of_an_observation(count, of, share):
    page = Page(render(replace(reports.bare(), observations=(Observation("late", "bank-a", count, of),))))
    assert share in page.pieces


def test_parts_of_steps_are_a_table_and_those_that_fail_are_named():
    steps = (
        Step("3", "Begins", "fails", 2),
        Step("3.bank-a", "Begins", "holds", 11),
        Step("3.telco-d", "Begins", "fails", 12, "It begins elsewhere."),
        Step("4.bank-a", "Rows", "holds", 13),
    )
    text = Page(render(replace(reports.bare(), steps=steps))).text
    for part in ("It begins elsewhere.", "The same, part by part", "Step 3", "Step 4", "11", "12", "4.bank-a"):
        assert part in text
    assert "3.bank-a" not in text


# --- What comes from outside ----------------------------------------------------------------------------


def texts_of(value):
    """All texts of a report that come from outside."""
    if isinstance(value, str):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            if field.name == "number":
                yield from value.number.split(".", 1)
            elif field.name not in {"kind", "outcome"}:
                yield from texts_of(getattr(value, field.name))
    elif isinstance(value, Mapping):
        yield from texts_of(tuple(value.items()))
    elif isinstance(value, tuple):
        for one in value:
            yield from texts_of(one)


def renamed(value, names):
    """The same with other texts."""
    if isinstance(value, str):
        return names[value]
    if is_dataclass(value):
        changes = {
            field.name: renamed(getattr(value, field.name), names)
            for field in fields(value)
            if field.name not in {"kind", "outcome", "number"}
        }
        if isinstance(value, Step):
            changes["number"] = ".".join(names[part] for part in value.number.split(".", 1))
        return replace(value, **changes)
    if isinstance(value, Mapping):
        return {names[key]: names[text] for key, text in value.items()}
    return tuple(renamed(one, names) for one in value) if isinstance(value, tuple) else value


SHAPES = [("class", "number"), ("class", "long")]


def without_numbers(page):
    """Elements and attributes, but for whether a column was taken for one of numbers, and a figure for a long one."""
    return [
        (tag, {name: value for name, value in attributes.items() if (name, value) not in SHAPES})
        for tag, attributes in page.elements
    ]


def harmless(text):
    """As the page shows a text: what is no letter is one sign, and white space is a space."""
    return "".join(
        letter
        if letter.isprintable()
        or letter in "\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
        else " "
        if letter in "\t\r\n"
        else "\ufffd"
        for letter in text
    )


@given(any_report(ANY_TEXT))
def test_no_text_from_outside_breaks_out(report):
    """The page has the very elements of one with harmless texts, and shows each text as it is."""
    every = sorted(set(texts_of(report)) - {""})
    names = {text: f"QQ{place:04d}QQ" for place, text in enumerate(every)} | {"": ""}
    plain = renamed(report, names)
    page, other = (Page(render(one)) for one in (report, plain))
    assert without_numbers(page) == without_numbers(other)
    assert page.comments == []
    digests = [report_digest(one).hex() for one in (report, plain)]
    shown = "\0".join(page.pieces).replace(digests[0], digests[1])
    expected = "\0".join(other.pieces)
    expected = re.sub("QQ([0-9]{4})QQ", lambda found: harmless(every[int(found[1])]), expected)
    assert shown == expected


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_text_wherever_it_stands(text):
    report = replace(
        reports.convicting(),
        title=text,
        network=text,
        made_by=text,
        members=(text,),
        figures=(Figure(text, text),),
        steps=(Step("1", text, "fails", 1, text), Step(f"1.{text}", text, "holds", 1, text)),
        findings=(Finding("double", text, text, None, {"receipt": text}, (Evidence(text, bytes(32), text),)),),
        observations=(Observation("late", text, 1, 2, text),),
        series=(replace(reports.clean().series[1], title=text, unit=text),),
        tables=(Table(text, (text,), ((text,),)),),
        limits=(text,),
        again=(text,),
        checkpoints=((text, 1, bytes(32)),),
        program=text,
    )
    page = Page(render(report))
    assert not {"script", "img", "a", "b", "plaintext"} & {tag for tag, _ in page.elements}
    assert page.text.count(harmless(text)) >= 20
    assert all(harmless(text) not in str(attributes) for _, attributes in page.elements)


# --- The same page from the same JSON ----------------------------------------------------------------------


@given(any_report(ANY_TEXT))
def test_the_page_is_made_anew_from_the_json_byte_for_byte(report):
    written = canonical_json(report.body())
    assert render(Report.from_body(parse_canonical_json(written, limit=len(written)))) == render(report)


def test_more_than_milliseconds_of_a_time_change_nothing():
    report = reports.clean()
    finer = replace(report, made_at=report.made_at.replace(microsecond=250_999))
    assert render(finer) == render(report)


def test_a_report_that_could_not_be_read_back_has_no_page():
    with pytest.raises(EncodingError):
        render(replace(reports.bare(), title="\ud800"))
    with pytest.raises(EncodingError):
        render(replace(reports.bare(), findings=(Finding("double", "x", "x", None, {"é": "x"}),)))


# --- Colours -----------------------------------------------------------------------------------------------


def luminance(colour):
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    """WCAG 2.2, contrast ratio."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", [0, 1, 2], ids=["light", "dark", "print"])
def test_colours_have_enough_contrast(theme):
    blocks = re.findall(r":root \{([^}]*)\}", STYLE)
    assert len(blocks) == 3
    colours = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", blocks[theme]))
    for ground in (colours["page"], colours["faint"]):
        for ink in ("ink", "soft", "holds", "fails", "skipped"):
            assert contrast(colours[ink], ground) >= 4.5
    for line in ("line-0", "line-1", "line-2", "line-3"):
        assert contrast(colours[line], colours["page"]) >= 4.5


def test_lines_of_a_chart_differ_without_colour():
    dashes = {re.search(rf"\.line-{place} {{([^}}]*)}}", STYLE)[1].partition("dasharray:")[2] for place in range(4)}
    assert len(dashes) == 4
