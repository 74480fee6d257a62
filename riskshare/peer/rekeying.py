"""Rotating the data key of a member, with no peer running: keys, database and files put together.

Offline, because a look-up by handle finds a row under one key only: rows under two keys at once would let an identifier
be listed twice, or not be found. The lock of the leader is held meanwhile, so that a peer that starts waits; whoever
has keys is refused (`DataKeys.admit`), and the database itself takes nothing sealed under the former key.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from riskshare.config import Config
from riskshare.errors import ConfigError, InputError, StoreError
from riskshare.key_files import data_keys, next_data_key, replace_data_key
from riskshare.keys import KeySource
from riskshare.sharing.entry import DataKey
from riskshare.sharing.rekey import Rekeyer
from riskshare.store.data_keys import KeyState
from riskshare.store.leader import Leadership
from riskshare.store.store import Store

LEAD_SECONDS: Final = 3.0
"""A peer that runs leads; one that lost its connection leads again within a second."""

NEXT: Final = "data-next"
OTHERS: Final = ("data", NEXT, "data-former")
"""The kinds of data keys that a source other than files is asked for."""

Progress = Callable[[str, int, int], None]
"""What is being done, rows done, all rows."""


@dataclass(frozen=True, slots=True)
class Rotated:
    """Rows that were sealed anew, the number of the key in force, and the file of the former one, if it lies in one."""

    rows: int
    number: int
    former: Path | None


async def rotate_data_key(config: Config, source: KeySource, store: Store, progress: Progress) -> Rotated:
    """Seal all rows under a new data key, or go on with that.

    `source` is made before the database is opened: a PostgreSQL that is started for it gets no key in its environment.

    Raises:
        InputError: `peer_running`, `import_open`, `same_key`: nothing was begun.
        ConfigError: a key is missing, or another one than that of the database.
        OpenError: a row opens under none of the keys; nothing was begun.
        StoreError: PostgreSQL is away, or something is being written: do it again.
        DiskError: a key file cannot be written.

    """
    async with _alone(store):
        await _refuse_open_imports(store)
        current = DataKey(source.read("data"))
        state = await store.data_keys.first(current.fingerprint)
        former, following = _both(config, source, current, state)

        def rekeyer(what: str) -> Rekeyer:
            return Rekeyer(
                member=config.member.name,
                rows=store.data_keys,
                former=former,
                following=following,
                random=secrets.token_bytes,
                progress=lambda done, total: progress(what, done, total),
            )

        if state.next is None:
            await rekeyer("Opening").verify()
            await store.data_keys.begin(former.fingerprint, following.fingerprint)
        rows = await rekeyer("Sealing").run()
        kept = replace_data_key(config.paths.keys_dir, state.number) if _in_files(config) else None
        await store.data_keys.finish(following.fingerprint)
    return Rotated(rows, state.number + 1, kept)


async def lead(leadership: Leadership, store: Store, data_key: DataKey) -> None:
    """Wait until this peer leads, under the data key of the database.

    Raises:
        ConfigError: it was rotated while this process was cut off from the database; nothing can be sealed here any
            more, and this process does not lead.

    """
    await leadership.acquire()
    try:
        await store.data_keys.admit(data_key.fingerprint)
    except (ConfigError, StoreError):
        await leadership.release()
        raise


async def _refuse_open_imports(store: Store) -> None:
    """See that no rows lie apart under the present key; those of dry runs and of refused imports go.

    Raises:
        InputError: `import_open`, an import can still go on.

    """
    await store.imports.drop_refused()
    if not await store.data_keys.staged():
        return
    named = "; ".join(f"riskshare list imports {name} --cancel {one}" for name, one in await store.imports.unfinished())
    raise InputError(
        "An import is not over, and its rows are sealed under the present key. Import its file again, which goes on"
        f" where it stopped, or cancel it{': ' + named if named else ''}.",
        code="import_open",
    )


@asynccontextmanager
async def _alone(store: Store) -> AsyncIterator[None]:
    """Lead in the place of a peer. Raises InputError `peer_running`."""
    leadership = Leadership(store)
    try:
        with suppress(TimeoutError):
            await asyncio.wait_for(leadership.acquire(), LEAD_SECONDS)
        if not leadership.held:
            raise InputError(
                "The peer is running. Stop it, rotate, and start it again: it takes about a minute for a million"
                " entries, in which checks cannot be answered.",
                code="peer_running",
            )
        yield
    finally:
        await leadership.release()


def _both(config: Config, source: KeySource, current: DataKey, state: KeyState) -> tuple[DataKey, DataKey]:
    """The former key and the one that takes its place."""
    if state.next is None:
        if current.fingerprint != state.fingerprint:
            raise ConfigError(
                "The database is sealed under another data key. If it was rotated, put the new key in the old one's"
                " place; else restore the key that belongs to this database.",
                code="other_data_key",
            )
        following = DataKey(next_data_key(config.paths.keys_dir) if _in_files(config) else source.read(NEXT))
        if following.fingerprint == current.fingerprint:
            raise InputError("The next data key is the present one: give another one.", code="same_key")
        return current, following
    known = {key.fingerprint: key for key in _known(config, source)}
    try:
        return known[state.fingerprint], known[state.next]
    except KeyError:
        raise ConfigError(
            "A rotation was broken off, and goes on only with both its keys: the one under which the database was"
            " sealed, and the next one. Put both in their places.",
            code="other_data_key",
        ) from None


def _known(config: Config, source: KeySource) -> list[DataKey]:
    if _in_files(config):
        return [DataKey(secret) for secret in data_keys(config.paths.keys_dir)]
    found = []
    for kind in OTHERS:
        with suppress(ConfigError):  # which of them there are depends on how far it went
            found.append(DataKey(source.read(kind)))
    return found


def _in_files(config: Config) -> bool:
    return (config.keys.data or config.keys.source) == "file"
