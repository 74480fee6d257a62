"""The work of `audit replay`: collect or take the members' folders, replay them, gather what reconcile needs, report.

Exit codes: 0 it holds, 1 findings, 2 bad usage or input, 3 nothing was found, but not everything could be verified.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from riskshare.audit.collect import Missed, Wanted
from riskshare.audit.finding import Observation
from riskshare.audit.gather import Gathered
from riskshare.audit.report import Report, Step
from riskshare.cli.acting import load_config, opened
from riskshare.cli.auditing_collect import collect_members, member_folder, members_to_audit, registry_folder
from riskshare.cli.auditing_held import gather_offline, gather_online, with_gathered
from riskshare.cli.auditing_screen import show, show_written
from riskshare.cli.own_ledger import registry_in_force
from riskshare.cli.periods import check_begun
from riskshare.cli.screen import Screen, clean
from riskshare.errors import EncodingError, InputError, RegistryError
from riskshare.governance import read_registry
from riskshare.keys import make_private_directory
from riskshare.ledger import note
from riskshare.ledger.checkpoint import member_of, parse_signed
from riskshare.logs import configure
from riskshare.peer.opening import now, read_member
from riskshare.peer.replaying import Wish, replay_case
from riskshare.registry import Registry, verify_next
from riskshare.registry.network import MAX_FILE
from riskshare.store.member_folder import MemberFolder, take_in
from riskshare.store.reports import write_report

_OUTCOMES: Final = {"holds": "green", "fails": "bold red", "skipped": "yellow"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asked for."""

    period: tuple[datetime, datetime]
    out: Path
    members: Sequence[str]
    offline: Sequence[Path]
    network: Path | None
    config: Path
    reason: str
    state: Path | None


def replay_logs(asked: Asked, *, json: bool) -> int:
    """Do all of it; gives the exit code.

    Raises:
        InputError, ConfigError: it could not be tried.
        RegistryError: the registry is not to be believed.
        DiskError, StoreError: it could not be read or written.

    """
    screen = Screen(as_json=json)
    configure("warning", "console")
    check_begun(asked.period, now())
    make_private_directory(asked.out)
    missed: list[Missed] = []
    if asked.offline:
        wish = _offline(asked)
    else:
        wish, missed = asyncio.run(_online(asked, screen))
    with _watched(screen) as watch:
        report = _with_missed(replay_case(wish, watch, now()), missed)
    report = with_gathered(report, _gathered(asked, wish, screen))
    written = write_report(asked.out, report)
    show(report, screen)
    show_written(written, screen)
    return report.exit_code


def _gathered(asked: Asked, wish: Wish, screen: Screen) -> Gathered | None:
    try:
        chain: Sequence[Registry] = read_chain(registry_folder(asked.out))
    except RegistryError:
        chain = wish.registries  # files of another audit lie there too: reconcile says so
    if asked.offline:
        return gather_offline(asked.out, chain)
    return gather_online(asked.out, chain, asked.config, screen)


# -- what is replayed ----------------------------------------------------------------------------------------


def _offline(asked: Asked) -> Wish:
    """The folders named, by the logs that they hold; no network and no database is used."""
    registries, made_by, state = _believed(asked)
    members: list[str] = []
    for folder in asked.offline:
        member = _member_of(folder, registries[-1].network)
        if member in members:
            raise InputError(f"Two folders hold the log of {member}. Name one.")
        if not asked.members or member in asked.members:
            members.append(member)
            take_in(folder, member_folder(asked.out, member))
    if missing := sorted(set(asked.members) - set(members)):
        raise InputError(f"No folder holds the log of {missing[0]}.")
    opened, closed = asked.period
    return Wish(asked.out, opened, closed, tuple(sorted(members)), tuple(registries), state, made_by)


def _believed(asked: Asked) -> tuple[list[Registry], str, Path]:
    """The versions of the registry to go by, who the auditor is, and where it says what it has audited."""
    if asked.network is not None:
        registries = read_chain(asked.network)
        return registries, "offline", asked.state or asked.out
    member = read_member(load_config(asked.config))
    return [member.registry], member.name, asked.state or member.config.paths.data_dir / "audit"


def read_chain(path: Path) -> list[Registry]:
    """A registry file, or a folder of them: the first is believed, and each later one must follow from it.

    Raises:
        InputError: the folder has none.
        ConfigError, RegistryError: a file cannot be read, or does not follow.

    """
    if not path.is_dir():
        return [read_registry(path)]
    files = sorted((file for file in path.glob("*.json") if file.stem.isdecimal()), key=lambda file: int(file.stem))
    if not files:
        raise InputError(f"{path} has no version of a registry. Name network.json, or the folder registry/.")
    chain = [read_registry(files[0])]
    for file in files[1:]:
        chain.append(verify_next(chain[-1], _read(file)))
    return chain


def _read(file: Path) -> bytes:
    with file.open("rb") as opened_file:
        return opened_file.read(MAX_FILE + 1)


def _member_of(folder: Path, network: str) -> str:
    data = MemberFolder(folder).read("checkpoint", note.MAX_BYTES)
    if data is None:
        raise InputError(f"{folder} has no checkpoint. Name a folder that riskshare ledger export --statements wrote.")
    try:
        member = member_of(parse_signed(data).checkpoint.origin, network)
    except EncodingError as error:
        raise InputError(f"The checkpoint in {folder} cannot be read: {error.message}") from error
    if member is None:
        raise InputError(f"{folder} holds a log of another network than {network}.")
    return member


async def _online(asked: Asked, screen: Screen) -> tuple[Wish, list[Missed]]:
    """Collect first; what is there already is not fetched again."""
    since, until = asked.period
    async with opened(asked.config, screen) as own:
        registry = await registry_in_force(own)
        members = members_to_audit(registry, own.member.name, asked.members)
        with _bar(screen) as bar:
            tasks: dict[str, TaskID] = {}

            def progress(member: str, done: int, of: int) -> None:
                if member not in tasks:
                    tasks[member] = bar.add_task(f"Collecting {member}", total=of)
                bar.update(tasks[member], completed=done, total=of)

            found = await collect_members(own, asked.out, members, Wanted(since, until, asked.reason), progress)
        chain = read_chain(registry_folder(asked.out)) if registry_folder(asked.out).is_dir() else [registry]
        state = asked.state or own.member.config.paths.data_dir / "audit"
        missed = [one for one in found if isinstance(one, Missed)]
        here = tuple(sorted(set(members) - {one.member for one in missed}))
        if not here:
            raise missed[0].error
        wish = Wish(
            asked.out, since, until, here, tuple(chain if chain[-1] == registry else [registry]), state, own.member.name
        )
        return wish, missed


def _with_missed(report: Report, missed: Sequence[Missed]) -> Report:
    """Say of whom nothing could be had."""
    if not missed:
        return report
    steps = tuple(Step(f"1.{one.member}", "The log was collected", "skipped", 0, one.error.message) for one in missed)
    unseen = tuple(Observation("not_shown", one.member, 1, 1) for one in missed)
    return replace(report, steps=(*report.steps, *steps), observations=(*report.observations, *unseen))


# -- what is shown -------------------------------------------------------------------------------------------


@final
class _Shown:
    """`replay.Watch`: each step as it is done, and bars on a terminal."""

    def __init__(self, screen: Screen, bar: Progress) -> None:
        self._screen = screen
        self._bar = bar
        self._tasks: dict[str, TaskID] = {}

    def progress(self, what: str, done: int, of: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=of)
        self._bar.update(self._tasks[what], completed=done, total=of)

    def step(self, step: Step) -> None:
        if not self._screen.err.is_terminal:
            return  # the report is printed at the end, all of it
        line = Text.assemble(
            (f"{step.number:<20} ", "bold"),
            (f"{step.outcome:<8} ", _OUTCOMES[step.outcome]),
            f"{step.name}. {clean(step.sentence)}",
        )
        self._screen.err.print(line, soft_wrap=True)


@contextmanager
def _watched(screen: Screen) -> Iterator[_Shown]:
    with _bar(screen) as bar:
        yield _Shown(screen, bar)


def _bar(screen: Screen) -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=screen.err, transient=True, disable=not screen.err.is_terminal)
