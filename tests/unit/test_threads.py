"""Batches of group operations in threads, on all cores."""

from __future__ import annotations

import asyncio
import operator
import os
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskshare.errors import GroupError
from riskshare.membership import oprf
from riskshare.threads import INLINE_UNITS, PART_UNITS, Threads

DEADLINE = 30  # seconds that nothing may take; reached only when something hangs


class Held:
    """Work that says that it has begun, and goes on when it may."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()
        self.parts: list[bytes] = []

    def __call__(self, part: bytes) -> bytes:
        self.begun.set()
        assert self.go.wait(DEADLINE)
        self.parts.append(part)
        return part


@pytest.fixture
def threads():
    pool = Threads(3)
    yield pool
    pool.close()


@settings(max_examples=50)
@given(st.integers(0, 5 * PART_UNITS), st.sampled_from([1, 3, 32]), st.integers(1, 5), st.integers(0, 9))
def test_results_stand_in_order_whatever_the_sizes(units, unit, count, inline_below):
    data = os.urandom(units * unit)
    seen = []

    def work(part: bytes) -> bytes:
        seen.append(len(part))
        return bytes(255 - byte for byte in part)

    async def scenario() -> bytes:
        pool = Threads(count)
        try:
            return await pool.spread(work, data, unit, inline_below=inline_below)
        finally:
            pool.close()

    assert asyncio.run(scenario()) == bytes(255 - byte for byte in data)
    assert sum(seen) == len(data)
    assert all(size % unit == 0 for size in seen)
    if units >= max(inline_below, 1):
        assert max(seen) <= PART_UNITS * unit
        if units <= PART_UNITS * count:
            assert max(seen) == -(-units // count) * unit, "the longest part is as short as it can be"


@pytest.mark.parametrize("size", [1, 31, 33, 63])
async def test_torn_units_are_refused(threads, size):
    with pytest.raises(ValueError):
        await threads.spread(bytes, bytes(size), 32)


@pytest.mark.parametrize("units", range(2 * INLINE_UNITS))
async def test_small_batches_run_in_the_callers_thread(threads, units):
    where = set()

    def work(part: bytes) -> bytes:
        where.add(threading.current_thread())
        return part

    await threads.spread(work, bytes(units), 1)
    assert (where == {threading.current_thread()}) == (units < INLINE_UNITS)
    assert (threading.current_thread() in where) == (units < INLINE_UNITS)


async def test_all_cores_work_at_once(threads):
    meeting = threading.Barrier(3)  # passes only if three are there together

    def work(part: bytes) -> bytes:
        meeting.wait(DEADLINE)
        return part

    assert await threads.spread(work, b"abc", 1, inline_below=1) == b"abc"


async def test_the_event_loop_runs_on_meanwhile(threads):
    work = Held()
    waiting = asyncio.create_task(threads.spread(work, bytes(9), 1))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not waiting.done()
    work.go.set()
    assert await waiting == bytes(9)


async def test_a_small_batch_does_not_wait_for_the_whole_of_a_large_one():
    pool = Threads(1)
    go, small_done, done_before = threading.Event(), threading.Event(), []

    def large(part: bytes) -> bytes:
        assert go.wait(DEADLINE)
        done_before.append(small_done.is_set())
        return part

    def small(part: bytes) -> bytes:
        small_done.set()
        return part

    first = asyncio.create_task(pool.spread(large, bytes(4 * PART_UNITS), 1))
    await asyncio.sleep(0)
    second = asyncio.create_task(pool.spread(small, bytes(INLINE_UNITS), 1))
    await asyncio.sleep(0)
    go.set()
    await asyncio.wait_for(asyncio.gather(first, second), DEADLINE)
    assert done_before == [False, True, True, True]
    pool.close()


async def test_the_error_of_a_part_reaches_the_caller_and_the_pool_goes_on(threads):
    def work(part: bytes) -> bytes:
        if 7 in part:
            raise GroupError("seven")
        return part

    for size in (8, 20, 3 * PART_UNITS, 20 * PART_UNITS):
        with pytest.raises(GroupError, match="seven"):
            await threads.spread(work, bytes(7) + b"\x07" + bytes(size), 1)
    with pytest.raises(GroupError, match="seven"):
        await threads.spread(work, b"\x07", 1)
    assert await threads.spread(work, bytes(500), 1) == bytes(500)


async def test_a_cancelled_batch_drops_what_is_not_begun():
    pool = Threads(1)
    work = Held()
    waiting = asyncio.create_task(pool.spread(work, bytes(10 * PART_UNITS), 1))
    await asyncio.to_thread(work.begun.wait, DEADLINE)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    work.go.set()
    assert await pool.spread(bytes.upper, b"after it", 1) == b"AFTER IT"
    assert len(work.parts) == 1
    pool.close()


async def test_closing_fails_what_is_under_way_instead_of_hanging():
    pool = Threads(1)
    work = Held()
    waiting = asyncio.create_task(pool.spread(work, bytes(10 * PART_UNITS), 1))
    await asyncio.to_thread(work.begun.wait, DEADLINE)
    closing = asyncio.create_task(asyncio.to_thread(pool.close))
    while not pool._pool._shutdown:  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(0)
    work.go.set()
    with pytest.raises(RuntimeError):
        await asyncio.wait_for(waiting, DEADLINE)
    await closing
    with pytest.raises(RuntimeError):
        await pool.spread(bytes, bytes(10), 1)


def test_a_loop_that_is_gone_does_not_trouble_the_threads():
    pool = Threads(1)
    work = Held()

    async def leave() -> None:
        waiting = asyncio.create_task(pool.spread(work, bytes(INLINE_UNITS), 1))
        await asyncio.to_thread(work.begun.wait, DEADLINE)
        waiting.cancel()

    asyncio.run(leave())
    work.go.set()
    assert asyncio.run(pool.spread(bytes, b"next", 1, inline_below=0)) == b"next"
    pool.close()


async def test_run_calls_in_a_thread_and_hands_back_result_or_error(threads):
    assert await threads.run(threading.current_thread) is not threading.current_thread()
    assert await threads.run(int, "ff", base=16) == 255
    with pytest.raises(ZeroDivisionError):
        await threads.run(operator.truediv, 1, 0)


@pytest.mark.parametrize("units", [1, 2, 5, 200])
async def test_evaluation_over_all_cores_is_evaluation(threads, units):
    key = oprf.SecretKey.derive(bytes(32), b"cores")
    elements = b"".join(oprf.hash_to_group(str(place).encode()) for place in range(units))
    found = await threads.spread(lambda part: oprf.evaluate_many(key, part), elements, 32)
    assert found == oprf.evaluate_many(key, elements)


async def test_many_batches_at_once(threads):
    batches = [os.urandom(size) for size in range(0, 600, 7)]
    found = await asyncio.gather(*(threads.spread(bytes.swapcase, batch, 1) for batch in batches))
    assert found == [batch.swapcase() for batch in batches]
