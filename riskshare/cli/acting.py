"""What commands that act for a member begin with: its configuration, its keys, its database."""

from __future__ import annotations

import getpass
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from riskshare.cli.screen import Screen
from riskshare.config import Config
from riskshare.errors import ConfigError, InputError
from riskshare.logs import configure
from riskshare.names import check_local_list_name
from riskshare.peer.opening import Member, opened_store, read_member
from riskshare.sharing.kept import ListRow
from riskshare.store.store import Store


@dataclass(frozen=True, slots=True)
class Own:
    """A member's own things, open."""

    member: Member
    store: Store

    def local_name(self, name: str) -> str:
        """The local part of a list's name, given alone or in full. Raises InputError."""
        owner, slash, local = name.partition("/")
        if slash and owner != self.member.name:
            raise InputError(
                f"Only lists of {self.member.name} are kept here: name one alone, or as {self.member.name}/NAME.",
                code="unknown_list",
            )
        return check_local_list_name(local if slash else name)

    async def list_named(self, name: str) -> ListRow:
        """One of the member's lists. Raises InputError."""
        found = await self.store.lists.list_named(self.local_name(name))
        if found is None:
            known = ", ".join(row.name for row in await self.store.lists.lists()) or "none yet"
            raise InputError(
                f"{self.member.name} has no list of that name. It has: {known}. Make one with riskshare list create.",
                code="unknown_list",
            )
        return found


def author_of(given: str) -> str:
    """Who changes a list: the name given with `--author`, else the operating system's user name."""
    if given:
        return given
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return f"uid {os.getuid()}"


def check_config_file(path: Path) -> None:
    """Refuse a configuration file that is not there. Raises ConfigError."""
    if not path.exists():
        raise ConfigError(
            f"There is no {path}. Name the member's configuration with --config FILE or RISKSHARE_CONFIG, or make one"
            " with riskshare init."
        )


def load_config(path: Path) -> Config:
    """Read a member's configuration. Raises ConfigError."""
    check_config_file(path)
    return Config.load(path)


@asynccontextmanager
async def opened(config_file: Path, screen: Screen) -> AsyncIterator[Own]:
    """The member of a configuration, with its database; started, if no peer runs that has started it.

    Raises:
        ConfigError, RegistryError, StoreError: the sentence says what to do.

    """
    configure("warning", "console")
    member = read_member(load_config(config_file))
    status = screen.err.status("Opening the database …")
    status.start()
    try:
        async with opened_store(member.config, member.data_key) as store:
            status.stop()
            yield Own(member, store)
    finally:
        status.stop()
