"""In the PostgreSQL of this worker, a fresh, migrated database for each test."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import random
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from riskshare.ledger.receipt import KeptReceipt, Receipt, UnansweredAsk
from riskshare.ledger.sealed import SealedCheck
from riskshare.sharing.kept import EntryRow, EpochRow, SegmentRow, SnapshotRow
from riskshare.sharing.segment_ref import SegmentRef
from riskshare.store.connection import Target
from riskshare.store.migrate import migrate
from riskshare.store.store import Store

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
_numbers = itertools.count(1)


class Made:
    """Rows with content that is random, but the same in every run."""

    def __init__(self):
        self._random = random.Random(20261122)

    def bytes(self, size):
        return self._random.randbytes(size)

    def uuid(self):
        return UUID(bytes=self.bytes(16), version=4)

    def receipt(self, side="owner", counterparty="jd", *, count=1, batch=None, epoch=None, proof=b"", adopted=False):
        halves = Receipt(self.bytes(700), self.bytes(64), self.bytes(300), self.bytes(64))
        return KeptReceipt(
            side=side,
            counterparty=counterparty,
            batch=batch or self.uuid(),
            epoch=epoch or b"\x01" * 32,
            count=count,
            receipt=halves,
            elements=self.bytes(32 * count),
            evaluated=self.bytes(32 * count),
            proof=proof,
            salt=self.bytes(16),
            adopted=adopted,
        )

    def ask(self, owner="jd", *, batch=None, count=1):
        return UnansweredAsk(
            owner=owner,
            batch=batch or self.uuid(),
            epoch=b"\x01" * 32,
            count=count,
            ask=self.bytes(700),
            ask_signature=self.bytes(64),
            elements=self.bytes(32 * count),
            salt=self.bytes(16),
        )

    def check(self, **changes):
        fields = {
            "id": self.uuid(),
            "answered_at": NOW,
            "hour_key": self.uuid(),
            "record": self.bytes(600),
            "statement": self.bytes(400),
            "signature": self.bytes(64),
            "salt": self.bytes(16),
        }
        return SealedCheck(**fields | changes)

    def entry(self, who, content="a", *, until=NOW + timedelta(days=90), case=""):
        return EntryRow(
            id=self.uuid(),
            handle=handle(who),
            sealed=b"active:" + self.bytes(60),
            record=b'{"level":"high"}',
            content=hashlib.sha256(content.encode()).digest(),
            valid_from=NOW - timedelta(days=1),
            valid_until=until,
            case_handle=handle(f"case {case}") if case else None,
        )

    def epoch(self, keyset="default", number=1):
        return EpochRow(
            digest=self.bytes(32),
            keyset=keyset,
            number=number,
            statement=self.bytes(300),
            signature=self.bytes(64),
            salt=self.bytes(16),
            secret_sealed=self.bytes(60),
            not_before=NOW,
            not_after=NOW + timedelta(days=30),
        )

    def segment(self, list_id, epoch, kind="base", created_at=NOW):
        ref = SegmentRef(self.bytes(32), 500, self.bytes(32), 5000)
        return SegmentRow(ref=ref, list_id=list_id, epoch=epoch, kind=kind, created_at=created_at)

    def snapshot(self, list_id, epoch, version, segments, *, changed=0, issued_at=NOW):
        return SnapshotRow(
            list_id=list_id,
            epoch=epoch,
            version=version,
            digest=self.bytes(32),
            statement=self.bytes(300),
            signature=self.bytes(64),
            salt=self.bytes(16),
            issued_at=issued_at,
            expires_at=issued_at + timedelta(days=1),
            changed=changed,
            segments=tuple(one.ref.file_digest for one in segments),
            withdrawn=changed,
        )


def handle(who):
    return hashlib.sha256(who.encode()).digest()


@pytest.fixture
def made():
    return Made()


@pytest.fixture
def server_folder():
    """A folder with a path short enough for a socket in it."""
    folder = Path(tempfile.mkdtemp(prefix="rs-"))
    yield folder / "pg"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated(server):
    """One migrated database; copying a template for each test takes ten times as long as emptying its tables."""

    async def make():
        dsn = await server.database("riskshare")
        await migrate(Target(dsn))
        connection = await asyncpg.connect(dsn)
        tables = await connection.fetch(
            "select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace"
        )
        await connection.close()
        return dsn, ", ".join(row["relname"] for row in tables if row["relname"] != "migrations")

    return asyncio.run(make())


@pytest.fixture
async def empty_dsn(server):
    """A database without any schema."""
    return await server.database(f"empty_{next(_numbers)}")


@pytest.fixture
async def dsn(migrated):
    """A migrated database without rows."""
    dsn, tables = migrated
    connection = await asyncpg.connect(dsn)
    await connection.execute(f"truncate {tables} restart identity")
    for row in await connection.fetch(
        r"select relname from pg_class where relkind = 'r' and relname ~ '^(import_rows|entries)_(\d|former$)'"
    ):
        await connection.execute(f"drop table {row['relname']}")
    await connection.close()
    return dsn


DRIFTED = """
select name, listed, entries from lists, lateral (
    select count(*) as entries from entries where list_id = lists.id and state <> 'withdrawn'
) as found where listed <> entries
"""


@pytest.fixture
async def store(dsn):
    opened = await Store.open(dsn)
    yield opened
    await opened.close()
    connection = await asyncpg.connect(dsn)
    drifted = await connection.fetch(DRIFTED)
    await connection.close()
    assert not drifted, "what is noted of a list is what stands on it"


@pytest.fixture
async def sql(dsn):
    """A bare connection, to look behind the store."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()
