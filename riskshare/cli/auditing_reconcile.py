"""The work of `audit reconcile`: hold the logs of a replayed case against each other, and report.

Exit codes: 0 it holds, 1 findings, 2 bad usage or input, 3 nothing was found, but not everything could be proven.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from riskshare.audit import reconcile
from riskshare.cli.auditing_collect import registry_folder
from riskshare.cli.auditing_replay import read_chain
from riskshare.cli.auditing_screen import show, show_written
from riskshare.cli.screen import Screen
from riskshare.errors import InputError
from riskshare.logs import configure
from riskshare.peer.opening import now
from riskshare.peer.reconciling import Wish, reconcile_case
from riskshare.store.reports import read_report, write_report

REPLAYED: Final = "replay.json"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asked for."""

    out: Path
    network: Path | None
    grace: float | None


def reconcile_logs(asked: Asked, *, json: bool) -> int:
    """Do all of it; gives the exit code.

    Raises:
        InputError, ConfigError: it could not be tried.
        RegistryError: the registry is not to be believed.
        DiskError: it could not be read or written.

    """
    screen = Screen(as_json=json)
    configure("warning", "console")
    try:
        grace = reconcile.default_grace(asked.grace)
    except ValueError as error:
        raise InputError("The grace is at least one hour: name it with --grace.") from error
    wish = Wish(asked.out, tuple(read_chain(_registry(asked))), grace, _made_by(asked.out))
    with _bar(screen) as progress:
        report = reconcile_case(wish, now(), progress)
    written = write_report(asked.out, report)
    show(report, screen)
    show_written(written, screen)
    return report.exit_code


def _registry(asked: Asked) -> Path:
    folder = asked.network or registry_folder(asked.out)
    if not folder.exists():
        raise InputError(
            f"{asked.out} holds no registry. Run riskshare audit replay --out {asked.out} first, or name the registry"
            " with --network."
        )
    return folder


def _made_by(out: Path) -> str:
    """Who the auditor was in the replay before."""
    file = out / REPLAYED
    return read_report(file)[0].made_by if file.is_file() else "offline"


@contextmanager
def _bar(screen: Screen) -> Iterator[reconcile.Progress]:
    columns = TextColumn("Reconciling"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}")
    with Progress(*columns, console=screen.err, transient=True, disable=not screen.err.is_terminal) as bar:
        task = bar.add_task("", total=1)
        yield lambda done, of, what: bar.update(task, completed=done, total=of, description=what)
