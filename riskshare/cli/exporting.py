"""The work of `ledger export`: a member's own log as files; for an auditor, with what its entries stand for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from riskshare.audit.fact import read_receipt
from riskshare.audit.page import MAX_PAGE_BYTES, page_path, read_statements
from riskshare.audit.show import Part, export_statements, part_of, whole_period
from riskshare.cli.acting import Own, opened
from riskshare.cli.own_ledger import registry_in_force
from riskshare.cli.periods import Period, check_begun
from riskshare.cli.screen import Screen, counted
from riskshare.encoding import base64_text, format_time
from riskshare.errors import LedgerError
from riskshare.ledger.checkpoint import SignedCheckpoint, parse_signed
from riskshare.ledger.export import Exported, Progress, export
from riskshare.ledger.policy import network_policy
from riskshare.peer.opening import now
from riskshare.store.case_folders import HELD, held_name
from riskshare.store.log_folder import LogFolder
from riskshare.store.member_folder import MemberFolder


@dataclass(frozen=True, slots=True)
class _Shown:
    """What was written of the statements."""

    part: Part
    pages: int
    written: int
    held: int


def export_log(config_file: Path, out: Path, *, statements: bool, period: Period | None, json: bool) -> None:
    """Write the log, as far as it is final, into a folder.

    With `statements` also what its entries stand for, of a period (None: of all that there is), up to the checkpoint
    that an auditor would be shown.

    Raises:
        InputError: the period has not begun.
        LedgerError: codes `not_final` (nothing is), `another_export`, `missing_part`.
        DiskError: the folder cannot be written.

    """
    if period is not None:
        check_begun(period, now())
    asyncio.run(_export(config_file, out, Screen(as_json=json), statements=statements, period=period))


async def _export(config_file: Path, out: Path, screen: Screen, *, statements: bool, period: Period | None) -> None:
    async with opened(config_file, screen) as own:
        part = await _part(own, period)
        signed = await _checkpoint(own) if part is None or not statements else parse_signed(part.end.note)
        folder = LogFolder(out, private=statements)
        with _bar(screen, "Writing") as progress:
            done = await write_log(own, signed, folder, progress)
        shown = None
        if statements and part is not None:
            with _bar(screen, "Statements") as progress:
                pages = await export_statements(own.store.audits, part, folder, progress)
            shown = _Shown(part, *pages, held=await _export_held(own, out))
    checkpoint = signed.checkpoint
    screen.result(
        {
            "log": checkpoint.origin,
            "size": checkpoint.size,
            "root": base64_text(checkpoint.root),
            "files": done.files,
            "written": done.written,
            "removed": done.removed,
            "directory": str(out),
            **_statements_json(shown),
        }
    )
    screen.say(f"{counted(checkpoint.size, 'entry', 'entries')} of {checkpoint.origin} are in {out}.", "green")
    screen.pairs([("files", f"{done.files:,}"), ("written now", f"{done.written:,}")])
    if shown is not None:
        _tell_statements(shown, out, screen)
    screen.steps("Anybody can verify it:", [f"riskshare ledger verify {out} --policy {out / 'policy'}"])


async def write_log(own: Own, signed: SignedCheckpoint, folder: LogFolder, progress: Progress | None) -> Exported:
    """Write the member's log up to a checkpoint, with the policy of its registry. Raises as `export_log`."""
    policy = network_policy(await registry_in_force(own), own.member.name, now())
    return await export(own.store.ledger, signed, policy.to_bytes(), folder, progress)


async def _export_held(own: Own, out: Path) -> int:
    """Write the snapshots that the member holds and that its asks on the pages in a folder name; gives how many.

    Raises:
        DiskError, StoreError: reading or writing failed; run it again.

    """
    folder, written = LogFolder(out / HELD, private=True), 0
    for digest in sorted(_named(MemberFolder(out))):
        wire = await own.store.trust.held(digest)
        if wire is not None:
            folder.write(held_name(digest), wire)
            written += 1
    return written


def _named(files: MemberFolder) -> set[bytes]:
    """The digests of the snapshots that a member's own asks name."""
    found: set[bytes] = set()
    for first in files.firsts():
        for row in read_statements(files.read(page_path(first), MAX_PAGE_BYTES) or b"").rows:
            if row.kind == "receipt" and row.note != "owner":
                found.update(digest for _, digest in read_receipt(row.statement).snapshots)
    return found


async def _part(own: Own, period: Period | None) -> Part | None:
    since, until = whole_period(now()) if period is None else period
    return await part_of(own.store.ledger, own.store.audits, since, until)


async def _checkpoint(own: Own) -> SignedCheckpoint:
    head = await own.store.ledger.final()
    if head is None:
        raise LedgerError(
            "Nothing of this log is final yet: riskshare ledger status says what it waits for.", code="not_final"
        )
    return parse_signed(head.note)


def _statements_json(shown: _Shown | None) -> dict[str, Any]:
    if shown is None:
        return {}
    found = shown.part.range
    return {
        "from": format_time(found.opened),
        "to": format_time(found.closed),
        "start": found.start,
        "pages": shown.pages,
        "pages_written": shown.written,
        "held": shown.held,
    }


def _tell_statements(shown: _Shown, out: Path, screen: Screen) -> None:
    found = shown.part.range
    screen.pairs([("statements", f"from entry {found.start:,} on, {counted(shown.pages, 'page')}")])
    screen.pairs([("lists that it was shown", f"{counted(shown.held, 'snapshot')} in held")])
    screen.note(f"{out} holds salts and statements now: who asked whom, when, for what. It is for the auditor alone.")


@contextmanager
def _bar(screen: Screen, what: str) -> Iterator[Any]:
    columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Bar(*columns, console=screen.err, transient=True, disable=not screen.err.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, count: bar.update(task, completed=done, total=count)
