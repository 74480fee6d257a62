"""The work of `list rotate`."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from riskshare.cli.acting import Own, opened
from riskshare.cli.publication import peer_runs
from riskshare.cli.screen import Screen, counted, minute
from riskshare.encoding import format_time
from riskshare.errors import InputError
from riskshare.peer.opening import now
from riskshare.peer.parts import builders_of, terms_of
from riskshare.sharing.composing import Composer
from riskshare.sharing.kept import EpochRow
from riskshare.sharing.rotate import Rotated, Rotation
from riskshare.sharing.rotating import Epochs
from riskshare.store.buildings import Buildings
from riskshare.store.files import SegmentFiles

WAIT_SECONDS: Final = 15.0
PAUSE_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for: a keyset, or the one of a list; and the engine, where it is not the configured one."""

    keyset: str = ""
    of_list: str = ""
    engine: str = ""
    scheduler: str = ""


def rotate_keyset(config_file: Path, wish: Wish, *, json: bool) -> None:
    """Rotate a keyset. Raises InputError: none was named, or none of that name, or it is being rotated."""
    asyncio.run(_rotate(config_file, wish, Screen(as_json=json)))


async def _rotate(config_file: Path, wish: Wish, screen: Screen) -> None:
    async with opened(config_file, screen) as own:
        keyset = await _keyset(own, wish)
        running = await peer_runs(own.store)
        with _shown(screen) as bar:
            done = await _rotation(own, wish, bar).run(keyset, bar.begun)
        published = running and await _published(own, done.epoch)
    epoch = done.epoch
    screen.result(
        {
            "keyset": keyset,
            "epoch": epoch.number,
            "lists": list(done.lists),
            "rows": done.rows,
            "resumed": done.resumed,
            "not_after": format_time(epoch.not_after),
            "peer_running": running,
            "published": published,
        }
    )
    _say(done, screen, running=running, published=published)


def _say(done: Rotated, screen: Screen, *, running: bool, published: bool) -> None:
    epoch = done.epoch
    went = "Went on with" if done.resumed else "Computed"
    sizes = f"{counted(len(done.lists), 'list')}, {counted(done.rows, 'row')}"
    screen.say(f"{went} epoch {epoch.number} of the keyset {epoch.keyset}: {sizes}.", "green")
    if published:
        screen.say(f"It is published, until {minute(epoch.not_after)}; the old one ends after the change-over.")
    elif running:
        screen.say("The running peer is publishing it; riskshare list status shows when it is out.")
    else:
        screen.say("It will be published when the peer starts: riskshare serve.", "yellow")


async def _keyset(own: Own, wish: Wish) -> str:
    """The keyset that is meant. Raises InputError."""
    if wish.keyset and wish.of_list:
        raise InputError("Name a keyset, or a list with --list: not both.")
    if wish.of_list:
        return (await own.list_named(wish.of_list)).keyset
    known = sorted({row.keyset for row in await own.store.lists.lists()})
    if wish.keyset or len(known) == 1:
        return wish.keyset or known[0]
    if not known:
        raise InputError("There are no lists, so there is nothing to rotate.", code="no_epoch")
    raise InputError(f"The lists here have several keysets; name one of them: {', '.join(known)}.", code="no_epoch")


def _rotation(own: Own, wish: Wish, bar: _Bar) -> Rotation:
    member, store, terms = own.member, own.store, terms_of(own.member.config)
    builders = builders_of(member, engine=wish.engine, scheduler=wish.scheduler)
    epochs = Epochs(
        member=member.name,
        network=member.registry.network,
        identity=member.keys.identity,
        data_key=member.data_key,
        shelf=store.publications,
        term=terms.epoch,
        changeover=terms.changeover,
        now=now,
        random=secrets.token_bytes,
    )
    composer = Composer(
        entries=store.lists,
        files=SegmentFiles(member.segments),
        buildings=Buildings(member.building),
        builders=builders,
        data_key=member.data_key,
        filter_rate=terms.filter_rate,
        now=now,
        random=secrets.token_bytes,
        watch=bar,
    )
    return Rotation(
        member=member.name,
        epochs=epochs,
        composer=composer,
        builders=builders,
        lists=store.lists,
        shelf=store.publications,
        now=now,
    )


async def _published(own: Own, epoch: EpochRow) -> bool:
    """Wait a little until all lists of the epoch's keyset are published under it."""
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                rows = [row for row in await own.store.lists.lists() if row.keyset == epoch.keyset]
                found = [await own.store.publications.latest_snapshot(row.id, epoch.digest) for row in rows]
                if all(found):
                    return True
                await asyncio.sleep(PAUSE_SECONDS)
    except TimeoutError:
        return False


@contextmanager
def _shown(screen: Screen) -> Iterator[_Bar]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]:,} rows, {task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=screen.err, transient=True, disable=not screen.err.is_terminal) as progress:
        yield _Bar(screen, progress)


class _Bar:
    """`composing.Watch`: a bar for each list, with rows done, rate and time left."""

    def __init__(self, screen: Screen, progress: Progress) -> None:
        self._screen = screen
        self._progress = progress
        self._tasks: dict[str, tuple[TaskID, float, int]] = {}

    def begun(self, epoch: EpochRow, resumed: bool) -> None:
        """Say which epoch it is."""
        if resumed:
            self._screen.note(f"Going on with epoch {epoch.number}, which is not published in all lists yet.", "")

    def computed(self, list_name: str, epoch: int, rows: int, share: float) -> None:
        """So much of a list is computed."""
        if list_name not in self._tasks:
            task = self._progress.add_task(f"{list_name}, epoch {epoch}", total=1.0, rows=rows, rate=0.0)
            self._tasks[list_name] = task, monotonic(), rows
        task, since, before = self._tasks[list_name]
        rate = (rows - before) / max(monotonic() - since, 1e-6)
        self._progress.update(task, completed=share, rows=rows, rate=rate)
