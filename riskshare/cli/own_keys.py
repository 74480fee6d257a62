"""The work of `keys rotate data`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from riskshare.cli.acting import load_config
from riskshare.cli.screen import Screen, counted
from riskshare.key_source import source_of
from riskshare.logs import configure
from riskshare.peer.opening import opened_store
from riskshare.peer.rekeying import Progress as Told
from riskshare.peer.rekeying import rotate_data_key


def rotate_key(config_file: Path, *, json: bool) -> None:
    """Rotate the data key. Raises InputError, ConfigError, OpenError, StoreError, DiskError."""
    configure("warning", "console")
    asyncio.run(_rotate(config_file, Screen(as_json=json)))


async def _rotate(config_file: Path, screen: Screen) -> None:
    config = load_config(config_file)
    began = time.monotonic()
    source = source_of(config)
    async with opened_store(config) as store:
        with _bar(screen) as progress:
            done = await rotate_data_key(config, source, store, progress)
    seconds = time.monotonic() - began
    former = None if done.former is None else str(done.former)
    screen.result({"key": "data", "number": done.number, "rows": done.rows, "former": former, "seconds": seconds})
    rate = done.rows / max(seconds, 1e-3)
    screen.say(
        f"{counted(done.rows, 'row')} sealed under the new data key (number {done.number}), in {seconds:,.1f} s:"
        f" {rate:,.0f} rows a second.",
        "green",
    )
    if former is None:
        screen.say("Put the new key in the old one's place before you start the peer: where it is kept, not here.")
        former = "The former key"
    screen.say(
        f"{former} opens backups of the database that were made before. Destroy it when the last of them is gone;"
        " until then whoever has both has the entries."
    )
    screen.say("Answers kept for Idempotency-Keys are forgotten: a request that is repeated now is answered anew.")


@contextmanager
def _bar(screen: Screen) -> Iterator[Told]:
    """A bar on a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.completed:,.0f} rows"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=screen.err, transient=True, disable=not screen.err.is_terminal) as bar:
        task = bar.add_task("Opening", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total or None)
