"""Reports of audits as files: `<command>.json` (canonical JSON) and beside it the page `<command>.html`.

Both have mode 0600, in a folder of mode 0700: they say who asked whom how often. Each is written under another name,
flushed and renamed, the JSON first. After a crash between the two, the page is the one of the report before: it names
another digest, and `riskshare audit report` finds that. The report of a former run is kept, both files, as
`former/<command>-<first 12 digits of the SHA-256 of its JSON>`: an audit of another member in the same folder, or the
same one a day later, takes nothing away.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Final

from riskshare.audit.report import Report
from riskshare.audit.report_page import render
from riskshare.encoding import canonical_json, parse_canonical_json, sha256
from riskshare.errors import DiskError, InputError

MAX_BYTES: Final = 256 * 1024 * 1024
"""Longest report or page that is read."""

FORMER: Final = "former"
"""Folder beside a report in which the reports of former runs are kept."""

_NEW: Final = ".new"


@dataclass(frozen=True, slots=True)
class WrittenReport:
    """Where a report lies: its JSON, its page, and the SHA-256 of the JSON (32 bytes)."""

    json: Path
    page: Path
    digest: bytes = field(repr=False)


def write_report(folder: Path, report: Report) -> WrittenReport:
    """Write the JSON and the page of a report; those that the same command wrote before are put aside.

    Raises:
        EncodingError: the report has no canonical JSON: a mistake in our own code.
        DiskError: disk full, or no right to write.

    """
    report = replace(report, program=f"riskshare {version('riskshare')}")
    data, page = canonical_json(report.body()), render(report)
    written = WrittenReport(folder / f"{report.command}.json", folder / f"{report.command}.html", sha256(data))
    with _guarded(folder, "written"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _put_aside(written)
    _replace(written.json, data)
    _replace(written.page, page.encode())
    return written


def _put_aside(written: WrittenReport) -> None:
    """Keep a copy of the report of a former run, if it is another one: before anything of it is replaced."""
    data = _read(written.json)
    if data is None or sha256(data) == written.digest:
        return
    former = written.json.parent / FORMER
    with _guarded(former, "written"):
        former.mkdir(exist_ok=True, mode=0o700)
    for file, content in ((written.json, data), (written.page, _read(written.page))):
        if content is not None:
            _replace(former / f"{file.stem}-{sha256(data).hex()[:12]}{file.suffix}", content)


def read_report(file: Path) -> tuple[Report, bytes]:
    """Read the JSON of a report, strictly; nothing of what it says is verified. Gives its SHA-256 too.

    Raises:
        InputError: there is no such file.
        EncodingError: it is not the canonical JSON of a report.
        DiskError: it may not be read.

    """
    data = _read(file)
    if data is None:
        raise InputError(f"There is no {file}. Name the JSON report that a command of riskshare audit wrote.")
    return Report.from_body(parse_canonical_json(data, limit=MAX_BYTES)), sha256(data)


def read_page(file: Path) -> bytes | None:
    """The bytes of a page, or None if there is none. Raises DiskError."""
    return _read(file)


def write_page(file: Path, report: Report) -> None:
    """Write the page of a report, whatever lies there. Raises DiskError, and EncodingError as `write_report`."""
    _replace(file, render(report).encode())


def _read(file: Path) -> bytes | None:
    with _guarded(file, "read"):
        try:
            with file.open("rb") as opened:
                return opened.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return None


def _replace(file: Path, data: bytes) -> None:
    """Put a file in place, whole and durable, or leave what was there."""
    beside = file.with_name(file.name + _NEW)
    with _guarded(file, "written"):
        beside.unlink(missing_ok=True)  # what a crash left, or somebody else put there
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as opened:
                os.fchmod(opened.fileno(), 0o600)  # whatever the umask says
                opened.write(data)
                opened.flush()
                os.fsync(opened.fileno())
            beside.replace(file)
        finally:
            with suppress(OSError):
                beside.unlink()
        _flush_folder(file.parent)


def _flush_folder(folder: Path) -> None:
    """Make a rename durable: the folder is a file of its own."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _guarded(place: Path, done: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskError(f"{place} cannot be {done}: {error.strerror or 'input/output error'}.") from error
