"""docs/audit.md says what the code does: kinds of findings and observations, limits, numbers of the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from riskshare.audit.chart import TOGETHER
from riskshare.audit.finding import FINDINGS, OBSERVATIONS
from riskshare.audit.page import FOLDER, RANGE_FILE
from riskshare.audit.report import ALWAYS
from riskshare.audit.report_page import ROWS, SHOWN

TEXT = (Path(__file__).parent.parent / "docs" / "audit.md").read_text(encoding="utf-8")


def section(title):
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)[1]


def rows(title):
    return re.findall(r"^\| `([a-z_]+)` \| (.+) \|$", section(title), re.MULTILINE)


@pytest.mark.parametrize(("title", "kinds"), [("Findings", FINDINGS), ("Observations", OBSERVATIONS)])
def test_the_tables_of_kinds_are_those_of_the_code(title, kinds):
    assert rows(title) == list(kinds.items())


def test_what_every_report_says_that_it_cannot_find_stands_there_too():
    assert all(f"- {limit}\n" in section("What it cannot find") for limit in ALWAYS)


def test_the_limits_of_the_page_are_those_of_the_code():
    assert f"at most {SHOWN} findings, of a table {ROWS} rows" in section("The report")
    assert TOGETHER == 4
    assert "More than four names" in section("The report")


def test_the_folder_has_the_paths_of_the_code():
    assert f"`members/<member>/{RANGE_FILE}`" in section("The folder of a case")
    assert f"`members/<member>/{FOLDER}/<first>.cbor`" in section("The folder of a case")
