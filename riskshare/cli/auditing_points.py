"""The work of `audit points` and `audit disclose`: a querier's own count, and the auditor's disclosure."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from riskshare.audit.points import DEFAULT, MAX_BYTES, Distinct, PointsReport, bounds, disclose, read_report
from riskshare.audit.sealed_scan import HITS
from riskshare.cli.acting import opened
from riskshare.cli.auditing_scan import Scan
from riskshare.cli.screen import Screen, counted
from riskshare.errors import AccessError, InputError, OpenError
from riskshare.keys import write_new
from riskshare.peer.directory import directory_of
from riskshare.peer.opening import now


def points(config_file: Path, month: str, out: Path, *, json: bool) -> None:
    """Count this member's hits of a month and sign the totals, for the auditor.

    Raises:
        InputError: no month, or one that is not over.
        OpenError: some checks do not open, so the count would be wrong.
        ConfigError: the file exists already.

    """
    asyncio.run(_points(config_file, month, out, Screen(as_json=json)))


async def _points(config_file: Path, month: str, out: Path, screen: Screen) -> None:
    period = bounds(month)
    if period[1] > now():
        raise InputError("The month is not over yet: points are counted after its end (UTC).", code="period_open")
    async with opened(config_file, screen) as own:
        counted_ = Distinct(own.member.name)
        done = await Scan(own, HITS, period).run(counted_.add, screen)
        if done.closed:
            raise OpenError(f"{done.closed:,} checks of this month do not open with this member's keys: restore them.")
        report = PointsReport(own.member.registry.network, month, own.member.name, counted_.totals())
        write_new(out, report.to_file(own.member.keys.identity), mode=0o600)
    screen.result({"file": str(out), "month": month, "owners": dict(report.owners), "checks": done.checks})
    screen.say(f"The points of {month} from {counted(done.checks, 'check')} are in {out}: for the auditor alone.")


def disclose_points(config_file: Path, files: Sequence[Path], out: Path, *, json: bool) -> None:
    """Write the network's totals of a month, as far as they may be told.

    Raises:
        InputError: a file cannot be read; the reports do not belong together.
        TrustError: a report is not signed by its querier.
        AccessError: this member is no auditor.
        ConfigError: the file exists already: a month is disclosed once.

    """
    asyncio.run(_disclose(config_file, files, out, Screen(as_json=json)))


async def _disclose(config_file: Path, files: Sequence[Path], out: Path, screen: Screen) -> None:
    async with opened(config_file, screen) as own:
        registry = (await directory_of(own.member, own.store)).current()
        member = registry.member(own.member.name)
        if member is None or not member.has_role("auditor"):
            raise AccessError("Points are disclosed by an auditor, and the registry does not name this member as one.")
        reports = [read_report(_read(file), registry) for file in files]
    disclosure = disclose(reports)
    write_new(out, disclosure.to_json())
    screen.result({"file": str(out), "month": disclosure.month, "owners": dict(disclosure.owners)})
    screen.say(f"The points of {disclosure.month} from {counted(len(reports), 'querier')} are in {out}.")
    screen.table(("owner", "points"), [(owner, f"{total:,}") for owner, total in disclosure.owners.items()])
    screen.note(
        f"Owners with hits at fewer than {DEFAULT.queriers} queriers, or fewer than {DEFAULT.threshold}, are left out;"
        f" totals are rounded down to {DEFAULT.multiple}s. A month is disclosed once: a second set of reports would"
        " show the difference."
    )


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened_file:
            return opened_file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.") from error
