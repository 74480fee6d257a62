"""Opening a member's own things: configuration, keys, database. For the peer and for commands beside it."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID

from riskshare.config import Config
from riskshare.errors import RiskshareError, StoreError
from riskshare.governance import load_registry
from riskshare.key_source import source_of
from riskshare.keys import MemberKeys, read_member_keys
from riskshare.logs import get_log
from riskshare.query.message import new_batch
from riskshare.registry import Registry
from riskshare.sharing.entry import DataKey
from riskshare.store.embedded import EmbeddedServer, start_server
from riskshare.store.store import Store

SEGMENTS: Final = "segments"
MIRROR: Final = "mirror"
BUILDING: Final = "building"
REVIVE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Member:
    """One member as its own programs see it: configuration, keys, the registry that it is set up with."""

    config: Config
    keys: MemberKeys
    data_key: DataKey
    registry: Registry

    @property
    def name(self) -> str:
        """The member's name."""
        return self.config.member.name

    @property
    def segments(self) -> Path:
        """Where its own segment files lie."""
        return self.config.paths.data_dir / SEGMENTS

    @property
    def building(self) -> Path:
        """Where lies what is computed of lists that are not published yet."""
        return self.config.paths.data_dir / BUILDING

    @property
    def mirror(self) -> Path:
        """Where copies of others' segment files lie."""
        return self.config.paths.data_dir / MIRROR


def read_member(config: Config) -> Member:
    """Read keys and registry.

    Raises:
        ConfigError: a key is missing, or its file open to others.
        RegistryError: the registry is not the one that was pinned, or is broken.

    """
    keys = read_member_keys(config.paths.keys_dir, source_of(config))
    registry = load_registry(config.member.network_file, config.registry_digest)
    return Member(config, keys, DataKey(keys.data), registry)


@asynccontextmanager
async def opened_store(config: Config, data_key: DataKey | None = None) -> AsyncIterator[Store]:
    """The member's database: the one of the DSN, or one in a PostgreSQL of our own, started if need be.

    Whoever seals anything gives the data key, and is refused if the database is sealed under another one.

    Raises:
        ConfigError, StoreError: it cannot be had; the sentence says what to do.

    """
    fingerprint = b"" if data_key is None else data_key.fingerprint
    async with AsyncExitStack() as stack:
        dsn = config.store.dsn.get_secret_value()
        server: EmbeddedServer | None = None
        if not dsn:
            server = await asyncio.to_thread(start_server, config.server_dir)
            stack.push_async_callback(asyncio.to_thread, server.close)
            dsn = await server.database(config.database)
        store = await Store.open(dsn, pool_size=config.store.connections, data_key=fingerprint)
        stack.push_async_callback(store.close)
        if fingerprint:
            await store.data_keys.admit(fingerprint)
        if server is not None:
            ended = asyncio.Event()
            reviving = asyncio.ensure_future(_keep_running(server, store, ended))
            stack.push_async_callback(_end, reviving, ended)
        yield store


async def _keep_running(server: EmbeddedServer, store: Store, ended: asyncio.Event) -> None:
    """Start our own PostgreSQL again if it is gone, killed or stopped by hand; the store reconnects by itself."""
    while not ended.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(REVIVE_SECONDS):
                await ended.wait()
                return
        try:
            await store.healthy()
        except StoreError:
            try:
                await asyncio.to_thread(server.ensure_running)
            except RiskshareError as error:
                get_log().error("postgresql_gone", code=error.code, detail=error.message)
            except (OSError, subprocess.SubprocessError):
                get_log().exception("postgresql_gone")


async def _end(reviving: asyncio.Future[None], ended: asyncio.Event) -> None:
    """Wait for a start that is under way: it must not come after the stop."""
    ended.set()
    await asyncio.wait([reviving])


def now() -> datetime:
    """The wall clock, in UTC."""
    return datetime.now(UTC)


def new_id() -> UUID:
    """A fresh UUIDv7."""
    return new_batch(time.time_ns() // 1_000_000, secrets.token_bytes(10))
