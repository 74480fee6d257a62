"""`riskshare audit report`, and its page in a real browser where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace

import pytest

from riskshare.audit.finding import Finding
from riskshare.audit.report_page import render
from riskshare.store.reports import write_report
from tests.simulator import reports
from tests.simulator.page import Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
)


@pytest.fixture
def written(tmp_path):
    return write_report(tmp_path / "out", reports.convicting())


def test_the_page_that_lies_there_is_the_one_of_the_report(run, answer, written):
    result = run("audit", "report", written.json)
    assert result.exit_code == 0
    assert "byte for byte" in result.stdout
    assert written.digest.hex() in result.stdout
    code, [told] = answer("audit", "report", written.json)
    assert (code, told["same"], told["clean"], told["report"]) == (0, True, False, written.digest.hex())


def test_a_page_that_is_not_there_is_made_anew(run, answer, written):
    before = written.page.read_bytes()
    written.page.unlink()
    code, [told] = answer("audit", "report", written.json)
    assert (code, told["same"]) == (0, False)
    assert written.page.read_bytes() == before


def test_it_may_lie_elsewhere(run, written, tmp_path):
    result = run("audit", "report", written.json, "--page", tmp_path / "page.html")
    assert result.exit_code == 0
    assert "made anew" in result.stdout
    assert (tmp_path / "page.html").read_bytes() == written.page.read_bytes()


def test_an_altered_page_is_found_and_left_alone(answer, written):
    altered = written.page.read_bytes().replace(b"bank-a", b"bank-z")
    written.page.write_bytes(altered)
    code, [told] = answer("audit", "report", written.json)
    assert (code, told["error"]["code"]) == (1, "wrong_page")
    assert "Take it away" in told["error"]["message"]
    assert written.page.read_bytes() == altered


def test_an_altered_report_has_another_page(answer, written):
    data = written.json.read_bytes()
    written.json.write_bytes(data.replace(b'"made_by":"regulator"', b'"made_by":"regulatoz"'))
    code, [told] = answer("audit", "report", written.json)
    assert (code, told["error"]["code"]) == (1, "wrong_page")


def test_what_is_no_report_is_bad_input(answer, run, written, tmp_path):
    for file in (tmp_path / "none.json", written.page):
        assert run("audit", "report", file).exit_code == 2
    written.json.write_bytes(b"{}")
    code, [told] = answer("audit", "report", written.json)
    assert (code, told["error"]["code"]) == (2, "malformed")


def test_the_page_does_not_take_the_place_of_the_report(run, written):
    before = written.json.read_bytes()
    assert run("audit", "report", written.json, "--page", written.json).exit_code == 2
    assert written.json.read_bytes() == before


# --- In a browser ---------------------------------------------------------------------------------------


@pytest.fixture
def browse(tmp_path):
    """Open a page in Chromium; give the elements that it made of it. What it complains of fails the test."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed here: the page is not opened in a browser")

    def call(text, *words):
        page = tmp_path / "page.html"
        page.write_text(text, encoding="utf-8")
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        done = subprocess.run(
            [CHROMIUM, *QUIET, profile, *words, page.as_uri()], capture_output=True, text=True, check=True, timeout=120
        )
        assert "CONSOLE" not in done.stderr, done.stderr
        return done.stdout

    return call


def test_a_browser_makes_of_the_page_what_was_written(browse):
    evil = "</title></style></svg><script>document.title='owned'</script><img src=x onerror=alert(1)>"
    report = reports.convicting()
    report = replace(report, title=evil, network=evil, findings=(*report.findings, Finding("double", evil, evil)))
    text = render(report)
    seen = browse(text, "--dump-dom")
    assert not re.search(r"<(script|img|a)[ >]", seen)
    tags = [tag for tag, _ in Page(text).elements]
    found = re.findall(r"<([a-z][a-z0-9]*)[ >/]", re.sub(r"(?s)<style>.*?</style>", "<style>", seen))
    assert found == tags


def test_a_browser_prints_the_page(browse, tmp_path):
    browse(render(reports.clean()), f"--print-to-pdf={tmp_path / 'page.pdf'}")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF-")
