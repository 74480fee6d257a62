from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.errors import OpenError
from riskshare.membership import oprf
from riskshare.membership.record import Record, label, open_record, record_key
from riskshare.sharing.build import build_chunk, build_rows, open_rows, stored_row
from riskshare.sharing.builders import ProcessBuilders
from riskshare.sharing.entry import DataKey
from riskshare.sharing.kept import StoredEntry

NOW = datetime(2026, 11, 22, tzinfo=UTC)
DATA = DataKey(bytes(range(32)))
KEY = oprf.SecretKey.from_random(bytes(range(64)))
LIST = "jd/fraud"


def record(case=""):
    return Record("telecom_fraud", "reported", "high", "", NOW, NOW + timedelta(days=1), case=case)


def row(value, *, key=DATA, case=""):
    place = uuid4()
    sealed = key.seal_identifier(value, os.urandom(12), row=place, list_name=LIST, state="active")
    return place.bytes, sealed, "active", record(case).to_bytes()


def values(count, start=0):
    return [b"phone:+8613%09d" % (start + number) for number in range(count)]


async def stream(chunks):
    for chunk in chunks:
        yield chunk


@given(st.lists(st.tuples(st.binary(max_size=40), st.text("abc", max_size=5)), max_size=6, unique_by=lambda r: r[0]))
def test_rows_are_what_the_record_module_says(plain):
    built = build_rows(LIST, KEY, [(value, record(case).to_bytes()) for value, case in plain])
    assert len(built) == len(plain)
    for (name, sealed), (value, case) in zip(built, plain, strict=True):
        token = oprf.token(KEY, value)
        assert name == label(token, LIST)
        assert open_record(sealed, record_key(token, LIST), LIST, name) == record(case)


def test_each_sealing_has_its_own_nonce():
    plain = [(value, record().to_bytes()) for value in values(50)]
    nonces = {sealed[:12] for _ in range(2) for _, sealed in build_rows(LIST, KEY, plain)}
    assert len(nonces) == 100


def test_labels_differ_by_list_and_key():
    plain = [(values(1)[0], record().to_bytes())]
    other = oprf.SecretKey.from_random(os.urandom(64))
    names = {build_rows(*args, plain).labels for args in [(LIST, KEY), ("jd/other", KEY), (LIST, other)]}
    assert len(names) == 3


def test_nothing_gives_nothing():
    assert list(build_chunk(LIST, DATA, KEY, [])) == []


def test_an_entry_of_another_data_key_is_refused():
    with pytest.raises(OpenError):
        open_rows(LIST, DATA, [row(b"a"), row(b"b", key=DataKey(bytes(32)))])


def test_a_stored_entry_gives_what_a_worker_needs():
    entry = StoredEntry(UUID(int=1), bytes(32), b"sealed", b"record", "disputed", None, NOW, NOW, 1)
    assert stored_row(entry) == (UUID(int=1).bytes, b"sealed", "disputed", b"record")


@pytest.mark.parametrize("small", [10**9, 5], ids=["in a thread", "in processes"])
async def test_chunks_come_out_in_their_order(small):
    chunks = [[row(value) for value in values(count, 100 * at)] for at, count in enumerate([3, 0, 4, 1, 2])]
    async with ProcessBuilders(DATA, small=small, cores=2)(KEY) as build:
        results = [rows async for rows in build(LIST, stream(chunks))]
        again = [rows async for rows in build(LIST, stream(chunks[:1] * 3))]
    labels = [
        [label(oprf.token(KEY, v), LIST) for v in values(count, 100 * at)] for at, count in enumerate([3, 0, 4, 1, 2])
    ]
    assert [[name for name, _ in rows] for rows in results] == labels
    assert len(again) == 3


async def test_no_chunks_start_no_process():
    async with ProcessBuilders(DATA, small=1)(KEY) as build:
        assert [rows async for rows in build(LIST, stream([]))] == []
        assert build._pool is None


async def test_what_fails_in_a_process_is_told_here():
    bad = [[row(value) for value in values(3)], [row(b"x", key=DataKey(bytes(32)))]]
    async with ProcessBuilders(DATA, small=1, cores=1)(KEY) as build:
        with pytest.raises(OpenError):
            [rows async for rows in build(LIST, stream(bad))]


async def test_what_fails_in_the_source_is_told_here():
    async def failing():
        yield [row(value) for value in values(3)]
        raise OpenError("no more")

    async with ProcessBuilders(DATA, small=1, cores=1)(KEY) as build:
        with pytest.raises(OpenError, match="no more"):
            [rows async for rows in build(LIST, failing())]


async def test_a_cancelled_build_ends_and_leaves_nothing_behind():
    begun = asyncio.Event()

    async def endless():
        while True:
            yield [row(value) for value in values(20)]
            begun.set()
            await asyncio.sleep(0)

    async def work():
        async with ProcessBuilders(DATA, small=1, cores=1)(KEY) as build:
            async for _ in build(LIST, endless()):
                pass

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
