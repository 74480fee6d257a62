"""The work of `list import`."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Final

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from riskshare.cli.acting import Own, opened
from riskshare.cli.bad_rows import BadRows
from riskshare.cli.publication import Outcome, await_publication
from riskshare.cli.screen import Screen, counted
from riskshare.errors import ConfigError, InputError
from riskshare.peer.opening import new_id, now
from riskshare.sharing.importing import Importer, Report
from riskshare.sharing.kept import ListRow
from riskshare.sharing.rows import Defaults

_KINDS: Final = (
    ("new", "new"),
    ("replaced", "changed"),
    ("relisted", "listed again"),
    ("withdrawn", "withdrawn, as the file does not name them"),
    ("same", "already there"),
    ("disputed", "disputed, left as they are"),
    ("barred", "left off: an appeal was upheld"),
    ("repeated", "repeated in the file"),
)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be imported, and how. The category of `defaults` is filled in from the list."""

    name: str
    file: Path
    defaults: Defaults
    skip_bad: bool
    bad_rows_file: Path | None
    replace: bool
    dry_run: bool
    author: str


def import_into(config_file: Path, wish: Wish, *, json: bool) -> int:
    """Import a file; returns the exit code: 1 if bad rows kept it from being imported.

    Raises:
        InputError: the file, an option or the list's name is not usable; nothing was changed.
        StoreError, DiskError: as `Importer.run`; nothing was changed.

    """
    return asyncio.run(_import(config_file, wish, Screen(as_json=json)))


async def _import(config_file: Path, wish: Wish, screen: Screen) -> int:
    outcome: Outcome | None = None
    async with opened(config_file, screen) as own:
        of = await own.list_named(wish.name)
        path = wish.bad_rows_file or Path(f"{of.name}.bad-rows.csv")
        bad = BadRows(path, wish.file)
        try:
            with bad:
                report = await _run(own, of, wish, bad, screen)
        except InputError:
            bad.tell(screen)
            raise
        except asyncio.CancelledError:
            screen.note("Stopped: nothing was changed.")
            raise
        if report.committed and report.counts and report.counts.changes:
            outcome = await await_publication(own, of.name, screen)
    full = f"{own.member.name}/{of.name}"
    screen.result(_result(full, wish, report, bad, outcome))
    _tell(screen, full, wish, report, bad)
    if outcome is not None:
        outcome.tell(screen, of.name)
    return 1 if (report.bad and not wish.skip_bad) or not report.good else 0


async def _run(own: Own, of: ListRow, wish: Wish, bad: BadRows, screen: Screen) -> Report:
    importer = Importer(
        member=own.member.name,
        data_key=own.member.data_key,
        lists=own.store.lists,
        now=now,
        random=secrets.token_bytes,
        new_id=new_id,
    )
    try:
        file = wish.file.open("rb")
    except OSError as error:
        raise ConfigError(f"{wish.file} cannot be read: {error.strerror}.") from error
    with file, _progress(screen, wish.file, file) as progress:
        return await importer.run(
            of,
            file,
            replace(wish.defaults, category=of.category, most_days=own.member.registry.most_days(of.category)),
            author=wish.author,
            skip_bad=wish.skip_bad,
            dry_run=wish.dry_run,
            replace=wish.replace,
            bad=bad.add,
            progress=progress,
        )


@contextmanager
def _progress(screen: Screen, path: Path, file: BinaryIO) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal: how much of the file is read, how fast, how long still."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]:,} rows, {task.fields[rate]:,.0f} a second"),
        TimeRemainingColumn(),
    )
    size = path.stat().st_size if path.is_file() else 0
    began = time.monotonic()
    with Progress(*columns, console=screen.err, transient=True, disable=not screen.err.is_terminal) as bar:
        task = bar.add_task("Reading", total=size or None, rows=0, rate=0.0)

        def told(rows: int) -> None:
            place = file.tell() if size else 0
            rate = rows / max(time.monotonic() - began, 1e-3)
            description = "Writing" if size and place >= size else "Reading"
            bar.update(task, completed=place, rows=rows, rate=rate, description=description)

        yield told


def _result(full: str, wish: Wish, report: Report, bad: BadRows, outcome: Outcome | None) -> dict[str, Any]:
    counts = asdict(report.counts) if report.counts else {}
    return {
        "list": full,
        "dry_run": wish.dry_run,
        "committed": report.committed,
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
        text = f"Nothing was changed in {full}: {bad}. Correct them, or import the other {report.good:,} with"
        return f"{text} --bad-rows skip; then it would be:", "bold red"
    if wish.dry_run:
        return f"Dry run: nothing was changed in {full}. Without --dry-run it would be:", "bold"
    return f"Imported {good} into {full}" + (f", and left out {bad}." if report.bad else "."), "bold green"
