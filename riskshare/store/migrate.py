"""Migrations: `sql/NNNN_name.sql`, each applied once, in order, under an advisory lock.

Each runs in a transaction of its own together with its row in `migrations`, so a crash leaves the schema between two
migrations and the next start goes on. Peers that start at once wait for one another at the lock.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Final

import asyncpg

from riskshare.errors import StoreError
from riskshare.store.connection import LOCK_CLASS, MIGRATION_LOCK, Target
from riskshare.store.failures import guarded
from riskshare.store.queries import sql_text

WAIT_SECONDS: Final = 120.0
_FILE: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema; `version` counts from 1 without gaps."""

    version: int
    name: str
    sql: str = field(repr=False)


def migrations() -> Sequence[Migration]:
    """All migrations that this code knows, in order.

    Raises:
        ValueError: the numbers have a gap or stand twice.

    """
    names = sorted(file.name for file in files("riskshare.store").joinpath("sql").iterdir() if _FILE.match(file.name))
    known = [Migration(int(name[:4]), name.removesuffix(".sql"), sql_text(name)) for name in names]
    if [step.version for step in known] != list(range(1, len(known) + 1)):
        raise ValueError("the migrations are not numbered 1, 2, 3 and so on")
    return known


async def migrate(target: Target, steps: Sequence[Migration] | None = None) -> int:
    """Bring the database to the newest schema; give the number of migrations applied.

    Raises:
        StoreError: PostgreSQL is away or refuses; `store_newer`: the database belongs to a
            newer riskshare; `store_busy`: another peer is migrating for minutes.

    """
    steps = migrations() if steps is None else steps
    connection = await target.connect()
    try:
        with guarded():
            await connection.execute("set statement_timeout = 0")
            await _lock(connection)
            return await _apply(connection, steps)
    finally:
        connection.terminate()  # frees the lock


async def _lock(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    try:
        await connection.execute("select pg_advisory_lock($1, $2)", LOCK_CLASS, MIGRATION_LOCK, timeout=WAIT_SECONDS)
    except TimeoutError:
        raise StoreError(
            "Another peer has been migrating this database for minutes: wait for it, or stop it, and start again.",
            code="store_busy",
        ) from None


async def _apply(connection: asyncpg.Connection[asyncpg.Record], steps: Sequence[Migration]) -> int:
    exists = await connection.fetchval("select to_regclass('migrations') is not null")
    at = await connection.fetchval("select max(version) from migrations") if exists else 0
    if at > len(steps):
        raise StoreError(
            f"The database has schema version {at}, this riskshare knows up to {len(steps)}: upgrade riskshare.",
            code="store_newer",
        )
    for step in steps[at:]:
        async with connection.transaction():
            await connection.execute(step.sql, timeout=None)
            await connection.execute("insert into migrations (version, name) values ($1, $2)", step.version, step.name)
    return len(steps) - at
