"""The work of `audit report`: the page of a report is the one that its JSON gives, or is made anew."""

from __future__ import annotations

from pathlib import Path

from riskshare.audit.report_page import render
from riskshare.cli.auditing_screen import show_written
from riskshare.cli.screen import Screen
from riskshare.errors import InputError, TrustError
from riskshare.store.reports import WrittenReport, read_page, read_report, write_page


def remake_page(file: Path, page: Path | None, *, json: bool) -> None:
    """Compare the page with the one that the JSON gives; write it if there is none.

    Raises:
        InputError: there is no report, or it is not the canonical JSON of one.
        TrustError: `wrong_page`: another page lies there.
        DiskError: a file can be neither read nor written.

    """
    screen = Screen(as_json=json)
    page = page or file.with_suffix(".html")
    if page == file:
        raise InputError("The page and the JSON report are two files: name another one with --page.")
    report, digest = read_report(file)
    there = read_page(page)
    if there is None:
        write_page(page, report)
    elif there != render(report).encode():
        raise TrustError(
            f"{page} is not the page of {file}: it was altered, or another version of riskshare made it than this one"
            f" (the report names {report.program or 'none'}). Take it away, and run this again to make it anew.",
            code="wrong_page",
        )
    screen.result({"page": str(page), "report": digest.hex(), "same": there is not None, "clean": report.clean})
    if there is None:
        screen.say("The page is made anew from the report.", "bold green")
    else:
        screen.say("The page is the one that the report gives, byte for byte.", "bold green")
    screen.say(report.verdict)
    show_written(WrittenReport(file, page, digest), screen)
