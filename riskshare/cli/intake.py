"""The work of `list import` and `list imports`."""

from __future__ import annotations

import asyncio
import shutil
import stat
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Final
from uuid import UUID

from rich.text import Text

from riskshare.cli.acting import Own, opened
from riskshare.cli.bad_rows import BadRows
from riskshare.cli.import_progress import shown
from riskshare.cli.publication import Outcome, await_publication
from riskshare.cli.screen import Screen, counted, day, minute
from riskshare.encoding import format_time
from riskshare.errors import ConfigError, InputError
from riskshare.peer.intake import columns_of, importer_of
from riskshare.sharing.importing import Order, Report
from riskshare.sharing.kept import ListRow
from riskshare.sharing.reading import HEAD_BYTES, format_of
from riskshare.sharing.rows import Defaults, usual_days
from riskshare.sharing.staged import Called, ImportRow

_KINDS: Final = (
    ("new", "new"),
    ("replaced", "changed"),
    ("relisted", "listed again"),
    ("withdrawn", "withdrawn, as the file does not name them"),
    ("same", "already there"),
    ("disputed", "disputed, left as they are"),
    ("missing_disputed", "disputed, left as they are, though the file does not name them"),
    ("barred", "left off: an appeal was upheld"),
    ("repeated", "repeated in the file"),
)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be imported, and how. `defaults` get their category from the list, and their term from `days`.

    Without `days` it is the usual one, or what the network allows.
    """

    name: str
    file: Path
    defaults: Defaults
    days: int | None
    skip_bad: bool
    bad_rows_file: Path | None
    replace: bool
    dry_run: bool
    author: str
    format: str = ""
    force: bool = False
    saved_mapping: bool = True


def import_into(config_file: Path, wish: Wish, *, json: bool) -> int:
    """Import a file; returns the exit code: 1 if bad rows, or too much to withdraw, kept it from being imported.

    Raises:
        InputError: the file, an option or the list's name is not usable; the list was not changed.
        StoreError, DiskError: as `Importer.run`; the list was not changed.

    """
    return asyncio.run(_import(config_file, wish, Screen(as_json=json)))


async def _import(config_file: Path, wish: Wish, screen: Screen) -> int:
    outcome: Outcome | None = None
    async with opened(config_file, screen) as own:
        of = await own.list_named(wish.name)
        bad = BadRows(wish.bad_rows_file or Path(f"{of.name}.bad-rows.csv"), wish.file)
        called = await _called(own, of, wish, screen)
        try:
            with bad:
                report = await _run(own, of, wish, called, _Watched(screen, bad))
        except InputError as error:
            bad.tell(screen)
            if error.code == "no_column" and called.saved:
                told = f"{error.message} Its columns were taken to be those of the last import: see --no-mapping."
                raise InputError(told, code=error.code) from None
            if error.code == "replace_too_large":
                return _too_large(screen, error)
            raise
        if report.committed and report.counts and report.counts.changes:
            outcome = await await_publication(own, of.name, screen)
    full = f"{own.member.name}/{of.name}"
    screen.result(_result(full, wish, report, bad, outcome))
    _tell(screen, full, wish, report, bad)
    if outcome is not None:
        outcome.tell(screen, of.name)
    return 1 if (report.bad and not wish.skip_bad) or not report.good else 0


def _too_large(screen: Screen, error: InputError) -> int:
    screen.result({"error": {"code": error.code, "message": error.message}})
    screen.say(f"Nothing was changed. {error.message}", "bold red")
    return 1


@dataclass(frozen=True, slots=True)
class _Watched:
    """Where an import shows how it goes."""

    screen: Screen
    bad: BadRows


async def _called(own: Own, of: ListRow, wish: Wish, screen: Screen) -> Called:
    most = own.member.registry.most_days(of.category)
    days = usual_days(most) if wish.days is None else wish.days
    asked = replace(wish.defaults, category=of.category, days=days, most_days=most)
    called = await columns_of(own.store, of, asked, wish.author, saved=wish.saved_mapping)
    if called.saved is not None and called.saved.saved_at is not None:
        screen.note(
            f"Columns as in the import by {called.saved.author} on {day(called.saved.saved_at)}:"
            f" {called.saved.words()} (--no-mapping leaves that aside).",
            "dim",
        )
    return called


async def _run(own: Own, of: ListRow, wish: Wish, called: Called, watched: _Watched) -> Report:
    stored = 0
    try:
        with await _opened(wish.file) as file, shown(watched.screen, watched.bad) as watcher:
            order = Order(
                author=wish.author,
                format=format_of(file.read(HEAD_BYTES), wish.file.name, wish.format),
                skip_bad=wish.skip_bad,
                dry_run=wish.dry_run,
                replace=wish.replace,
                most_withdrawn=100 if wish.force else own.member.config.publish.replace_limit_percent,
                mapping=called.given,
                saved_mapping=called.saved,
            )
            never = await own.store.never.never_list(own.member.data_key)
            importer = importer_of(own.member, own.store)
            try:
                return await importer.run(of, file, called.defaults, order, never=never, watcher=watcher)
            finally:
                stored = watcher.stored
    except OSError as error:
        raise ConfigError(f"{wish.file} cannot be read: {error.strerror}.") from error
    except asyncio.CancelledError:
        more = f"the list was not changed; the same command goes on behind row {stored:,}."
        watched.screen.note(f"Stopped: {more if stored else 'nothing was changed.'}")
        raise


async def _opened(path: Path) -> BinaryIO:
    """`_seekable`, in a thread that holds up no end of this process: whoever writes into a pipe may never close it."""
    done: Future[BinaryIO] = Future()
    done.set_running_or_notify_cancel()

    def work() -> None:
        try:
            done.set_result(_seekable(path))
        except OSError as error:
            done.set_exception(error)

    threading.Thread(target=work, name="riskshare-reading", daemon=True).start()
    return await asyncio.wrap_future(done)


def _seekable(path: Path) -> BinaryIO:
    """The file, or what comes out of a pipe in a file without a name. Raises OSError."""
    file = path.open("rb")
    if stat.S_ISREG(path.stat().st_mode):
        return file
    with file:
        spooled = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        shutil.copyfileobj(file, spooled)
    spooled.seek(0)
    return spooled


def _result(full: str, wish: Wish, report: Report, bad: BadRows, outcome: Outcome | None) -> dict[str, Any]:
    counts = asdict(report.counts) if report.counts else {}
    return {
        "list": full,
        "import": str(report.id),
        "dry_run": wish.dry_run,
        "committed": report.committed,
        "resumed_at": report.resumed_at,
        "rows": report.rows,
        "good": report.good,
        "bad": report.bad_rows,
        "bad_by_code": dict(sorted(report.bad.items())),
        **counts,
        **bad.to_json(),
        **(outcome.to_json() if outcome else {"peer_running": None, "published": None}),
    }


def _tell(screen: Screen, full: str, wish: Wish, report: Report, bad: BadRows) -> None:
    bad.tell(screen)
    if report.bad:
        codes = sorted(report.bad.items(), key=lambda item: -item[1])
        screen.say(Text.assemble(("Bad rows by code: ", "bold"), ", ".join(f"{code} {n:,}" for code, n in codes)))
        screen.say()
    head, style = _headline(full, wish, report)
    screen.say(head, style)
    counts = asdict(report.counts) if report.counts else {}
    pairs = [(f"{report.rows:,}", "rows in the file"), (f"{report.bad_rows:,}", "bad")]
    pairs += [(f"{counts[key]:,}", words) for key, words in _KINDS if counts.get(key)]
    for number, words in pairs:
        screen.say(f"{number:>11}  {words}")


def _headline(full: str, wish: Wish, report: Report) -> tuple[str, str]:
    bad, good = counted(report.bad_rows, "bad row"), counted(report.good, "row")
    if not report.good:
        return (
            f"Nothing was imported into {full}: not one row is good. Are --type, --column, --region right?",
            "bold red",
        )
    if report.bad and not wish.skip_bad:
        them = "it" if report.bad_rows == 1 else "them"
        text = f"Nothing was changed in {full}: {bad}. Correct {them}, or leave {them} out with --bad-rows skip;"
        return f"{text} then it would be:", "bold red"
    if wish.dry_run:
        return f"Dry run: nothing was changed in {full}. Without --dry-run it would be:", "bold"
    return f"Imported {good} into {full}" + (f", and left out {bad}." if report.bad else "."), "bold green"


def show_imports(config_file: Path, name: str, cancel: str, *, json: bool) -> int:
    """Show the last imports into a list, or end one that was not committed; the exit code is 1 if there is none to end.

    Raises:
        InputError: the list's name, or the import's id, is not usable.
        StoreError: PostgreSQL is away.

    """
    return asyncio.run(_imports(config_file, name, cancel, Screen(as_json=json)))


async def _imports(config_file: Path, name: str, cancel: str, screen: Screen) -> int:
    async with opened(config_file, screen) as own:
        of = await own.list_named(name)
        rows = await own.store.imports.imports_of(of.id)
        if cancel:
            return await _cancel(own, rows, cancel, screen)
    for row in rows:
        screen.result(to_json(row))
    screen.table(
        ("begun", "by", "import", "mode", "state", "why", "rows", "bad", "changes"),
        [
            (
                minute(row.began_at),
                row.author,
                str(row.id),
                row.mode,
                row.standing,
                "" if row.code in (None, row.standing) else row.code,
                f"{row.rows:,}",
                f"{sum(row.bad.values()):,}",
                f"{row.counts.changes:,}" if row.counts else "-",
            )
            for row in rows
        ],
        right=("rows", "bad", "changes"),
    )
    return 0


async def _cancel(own: Own, rows: Sequence[ImportRow], cancel: str, screen: Screen) -> int:
    try:
        wanted = UUID(cancel)
    except ValueError:
        raise InputError("An import is named by its id: see riskshare list imports.", code="not_found") from None
    done = any(row.id == wanted for row in rows) and await own.store.imports.cancel(wanted)
    screen.result({"import": cancel, "cancelled": done})
    screen.say(
        "Cancelled: nothing of it is kept." if done else "There is no such import of this list, or it is over.",
        "" if done else "bold red",
    )
    return 0 if done else 1


def to_json(row: ImportRow) -> dict[str, Any]:
    """An import for a program."""
    return {
        "import": str(row.id),
        "state": row.standing,
        "code": row.code,
        "mode": row.mode,
        "format": row.format,
        "author": row.author,
        "began_at": format_time(row.began_at),
        "rows": row.rows,
        "good": row.good,
        "bad_by_code": dict(sorted(row.bad.items())),
        "saved_mapping": None if row.saved_mapping is None else row.saved_mapping.words(),
        **(asdict(row.counts) if row.counts else {}),
    }
