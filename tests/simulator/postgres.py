"""A real PostgreSQL, as `store.embedded` starts it, that does not wait for the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from riskshare.store.embedded import EmbeddedServer, start_server


@contextmanager
def quick_server(folder: Path) -> Iterator[EmbeddedServer]:
    """A server over this folder, until the end.

    A crash of the machine is not among the tests; a crash of PostgreSQL, or of its client, needs no fsync.
    """
    with start_server(folder) as running:
        asyncio.run(_without_fsync(running))
        yield running


async def _without_fsync(server: EmbeddedServer) -> None:
    connection = await asyncpg.connect(server.dsn())
    await connection.execute("alter system set fsync = off")
    await connection.execute("select pg_reload_conf()")
    await connection.close()
