"""Files of a report: modes, replacing, what a crash or a full disk leaves, and that only a report is read."""

from __future__ import annotations

import hashlib
import os
import resource
from dataclasses import replace

import pytest

from riskshare.audit.report_page import render
from riskshare.encoding import canonical_json
from riskshare.errors import DiskError, EncodingError, InputError
from riskshare.store.reports import read_page, read_report, write_page, write_report
from tests.simulator import reports


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", reports.ALL)
def test_what_is_written_is_read_back_and_the_page_names_its_digest(tmp_path, name):
    report = reports.ALL[name]()
    written = write_report(tmp_path / "out", report)
    again, digest = read_report(written.json)
    assert digest == written.digest == hashlib.sha256(written.json.read_bytes()).digest()
    assert again.program.startswith("riskshare ")
    assert replace(again, program="") == report
    page = written.page.read_bytes()
    assert page == render(again).encode()
    assert digest.hex().encode() in page
    assert names(tmp_path / "out") == [f"{report.command}.html", f"{report.command}.json"]


def test_only_their_owner_may_read_them(tmp_path):
    before = os.umask(0)
    try:
        written = write_report(tmp_path / "case" / "out", reports.clean())
    finally:
        os.umask(before)
    assert (tmp_path / "case" / "out").stat().st_mode & 0o777 == 0o700
    assert written.json.stat().st_mode & 0o777 == 0o600
    assert written.page.stat().st_mode & 0o777 == 0o600


def test_a_report_replaces_what_a_crash_left_and_keeps_the_one_before(tmp_path):
    first = write_report(tmp_path, reports.clean())
    page = first.page.read_bytes()
    (tmp_path / "reconcile.json.new").write_bytes(b"half")
    second = write_report(tmp_path, reports.convicting())
    assert second.digest != first.digest
    assert read_report(second.json)[0].findings
    assert names(tmp_path) == ["former", "reconcile.html", "reconcile.json"]
    name = f"reconcile-{first.digest.hex()[:12]}"
    assert names(tmp_path / "former") == [f"{name}.html", f"{name}.json"]
    assert read_report(tmp_path / "former" / f"{name}.json")[1] == first.digest
    assert read_page(tmp_path / "former" / f"{name}.html") == page


def test_the_same_report_once_more_puts_nothing_aside(tmp_path):
    write_report(tmp_path, reports.clean())
    write_report(tmp_path, reports.clean())
    assert names(tmp_path) == ["reconcile.html", "reconcile.json"]


def test_a_link_in_the_way_is_not_followed(tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"keep")
    (tmp_path / "reconcile.json.new").symlink_to(other)
    (tmp_path / "reconcile.html").symlink_to(other)
    write_report(tmp_path, reports.clean())
    assert other.read_bytes() == b"keep"
    assert not (tmp_path / "reconcile.html").is_symlink()


def test_on_a_full_disk_the_report_before_stays(tmp_path):
    written = write_report(tmp_path, reports.bare())
    before = written.json.read_bytes(), written.page.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(DiskError) as caught:
            write_report(tmp_path, replace(reports.bare(), title="Another"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.code == "disk"
    assert (written.json.read_bytes(), written.page.read_bytes()) == before
    assert names(tmp_path) == ["former", "settle.html", "settle.json"]


def test_where_no_folder_can_be_nothing_is_written(tmp_path):
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(DiskError):
        write_report(tmp_path / "out" / "in", reports.clean())


def test_a_report_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="There is no"):
        read_report(tmp_path / "none.json")
    assert read_page(tmp_path / "none.html") is None
    with pytest.raises(DiskError):
        read_report(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: data + b"\n",
        lambda data: data.replace(b'"clean":true', b'"clean":false'),
        lambda data: data.replace(b"598,112", b"598,112\xff"),
        lambda data: b" " + data,
        lambda _: b"",
        lambda _: b"{}",
        lambda _: b"[]",
    ],
)
def test_what_is_no_report_in_canonical_form_is_refused(tmp_path, change):
    file = tmp_path / "reconcile.json"
    file.write_bytes(change(canonical_json(reports.clean().body())))
    with pytest.raises(EncodingError):
        read_report(file)


def test_a_page_alone_is_written_for_its_owner_only(tmp_path):
    write_page(tmp_path / "page.html", reports.clean())
    assert (tmp_path / "page.html").stat().st_mode & 0o777 == 0o600
    assert read_page(tmp_path / "page.html") == render(reports.clean()).encode()
