"""The work of `audit tell`: what a member's own records hold of one data subject, logged before it is shown."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from riskshare.audit.access import AccessRequest
from riskshare.audit.report import Figure, Report, Step, Table
from riskshare.audit.sealed_scan import needle_of
from riskshare.cli.acting import Own, opened
from riskshare.cli.auditing_own import log_own_request
from riskshare.cli.auditing_scan import Scan, Scanned
from riskshare.cli.auditing_screen import show, show_written
from riskshare.cli.identifier_lines import no_identifier, opened_lines
from riskshare.cli.periods import Period, read_period
from riskshare.cli.screen import Screen, minute
from riskshare.encoding import format_time
from riskshare.errors import ConfigError, IdentifierError, InputError
from riskshare.membership.identifier import Identifier, mask, parse
from riskshare.membership.record import Record
from riskshare.peer.opening import now
from riskshare.query.check_record import CheckRecord
from riskshare.sharing.kept import ListRow, StoredEntry
from riskshare.store.reports import write_report

REASON: Final = "A data subject asks what is kept about it."
LIMITS: Final = (
    "What others asked this member about the subject cannot be told: an owner does not learn whom an ask concerns.",
    "Each member answers for itself.",
    "Lists of other members are not in this answer, but for the hits that our own checks found on them.",
)

_LISTS: Final = ("list", "state", "reason", "listed at", "valid from", "valid until", "category", "why")
_CHECKS: Final = ("check", "when", "purpose", "reference", "verdict", "hits", "owners asked")


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted: the identifier as typed, or a file with it; a period as typed, or ""; reason and folder."""

    identifier: str
    file: Path | None
    since: str
    until: str
    reason: str
    out: Path | None


def tell(config_file: Path, wish: Wish, *, json: bool) -> int:
    """Tell of one identifier; gives the exit code: 3 if some checks could not be opened.

    Raises:
        InputError: no identifier, a file of several or that cannot be read; a period that is none.
        StoreError: the request could not be logged, so nothing is shown; or the records cannot be read.

    """
    try:
        identifier = parse(wish.identifier) if wish.file is None else _read(wish.file)
    except ConfigError as error:
        raise InputError(error.message) from error
    period = read_period(wish.since or "1970-01-01", wish.until or "8999-12-31")
    return asyncio.run(_tell(config_file, identifier, period, wish, Screen(as_json=json)))


def _read(file: Path) -> Identifier:
    with opened_lines(file) as lines:
        line = next(lines, None)
        if line is None:
            raise no_identifier()
        if isinstance(line.content, IdentifierError):
            raise line.content
        # A pipe is not read further: whoever types ends with the line.
        if str(file) != "-" and next(lines, None) is not None:
            raise InputError("The file holds several identifiers, and one person is told of at a time.")
    return line.content


async def _tell(config_file: Path, identifier: Identifier, period: Period, wish: Wish, screen: Screen) -> int:
    async with opened(config_file, screen) as own:
        logged = await log_own_request(own, identifier.oprf_input, wish.reason or REASON, action="tell")
        held = await _held(own, identifier)
        asked: list[CheckRecord] = []
        done = await Scan(own, needle_of(identifier.canonical), period).run(asked.append, screen)
        member, network = own.member.name, own.member.registry.network
    asked.sort(key=lambda record: record.answered_at)
    report = Report(
        command="tell",
        title=f"What {member} keeps of {mask(identifier)}",
        network=network,
        made_by=member,
        made_at=now(),
        opened=period[0] if wish.since else None,
        closed=period[1] if wish.until else None,
        members=(member,),
        figures=(
            Figure("Lists of ours that hold it", f"{sum(entry.state != 'withdrawn' for _, entry in held):,}"),
            Figure("Checks of ours that asked about it", f"{len(asked):,}"),
            Figure("Logged as the subject", logged.subject.hex()),
            Figure("which is the SHA-256 of these 32 bytes and the identifier", logged.nonce.hex()),
        ),
        steps=_steps(member, logged.request, held, done),
        tables=_tables(member, identifier, held, asked),
        limits=LIMITS,
    )
    written = None if wish.out is None else write_report(wish.out, report)
    show(report, screen)
    if written is not None:
        show_written(written, screen)
    return report.exit_code


async def _held(own: Own, identifier: Identifier) -> list[tuple[ListRow, StoredEntry]]:
    """Entries of our own lists for the identifier, in whatever state they are: found by handles, nothing is opened."""
    lists = {row.id: row for row in await own.store.lists.lists()}
    handles = [
        own.member.data_key.handle(identifier.oprf_input, f"{own.member.name}/{row.name}") for row in lists.values()
    ]
    return [(lists[place], entry) for place, entry in await own.store.lists.entries_of(handles)]


def _steps(
    member: str, request: AccessRequest, held: Sequence[tuple[ListRow, StoredEntry]], done: Scanned
) -> tuple[Step, ...]:
    return (
        Step("1", "the request is kept and on its way to the ledger", "holds", 1, f"Request {request.access}."),
        Step("2", f"all lists of {member} are looked up", "holds", len(held)),
        Step(
            "3",
            f"the sealed checks of {member} are opened",
            "skipped" if done.closed else "holds",
            done.checks,
            f"{done.closed:,} do not open with the member's keys." if done.closed else "",
        ),
    )


def _tables(
    member: str, identifier: Identifier, held: Sequence[tuple[ListRow, StoredEntry]], asked: Sequence[CheckRecord]
) -> tuple[Table, ...]:
    lists = Table("Lists of ours that hold it, or held it", _LISTS, tuple(_list_row(member, *each) for each in held))
    checks = Table(
        "Checks of ours that asked about it", _CHECKS, tuple(_check_row(identifier, record) for record in asked)
    )
    return lists, checks


def _list_row(member: str, of: ListRow, entry: StoredEntry) -> tuple[str, ...]:
    record = Record.from_bytes(entry.record)
    expired = entry.state != "withdrawn" and entry.valid_until <= now()
    return (
        f"{member}/{of.name}",
        "expired" if expired else entry.state,
        entry.reason or "",
        minute(record.listed_at),
        minute(entry.valid_from),
        minute(entry.valid_until),
        record.category,
        f"{record.reason}, {record.level}" + (f", case {record.case}" if record.case else ""),
    )


def _check_row(identifier: Identifier, record: CheckRecord) -> tuple[str, ...]:
    places = {place for place, each in enumerate(record.identifiers) if each == identifier}
    hits = [hit.list for hit in record.hits if hit.identifier in places]
    return (
        str(record.check),
        format_time(record.answered_at),
        record.purpose,
        record.reference,
        "hit" if hits else "no hit" if record.word == "hit" else record.word,
        ", ".join(hits),
        ", ".join(f"{owner} ({status})" for owner, (status, _) in sorted(record.owners.items())),
    )
