from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskshare import crew as crew_module
from riskshare.crew import NICE, Crew
from riskshare.errors import GroupError
from riskshare.membership import oprf
from tests.unit.crew_work import deadly_elsewhere, mix, nice, picky, where

ROOT = Path(__file__).parents[2]
DEADLINE = 30  # seconds that nothing may take; reached only when something hangs


@pytest.fixture
def make():
    made: list[Crew] = []

    def make(function: crew_module.Function, count: int = 2) -> Crew:
        made.append(Crew(function, count))
        return made[-1]

    yield make
    for crew in made:
        crew.close()


async def until(
    crew: Crew, holds: Callable[[bytes], bool], data: bytes = bytes(64), secret: bytes = b"\x01", unit: int = 1
) -> bytes:
    """Spread until the result is as wanted: the processes come up meanwhile."""
    async with asyncio.timeout(DEADLINE):
        while not holds(found := await crew.spread(secret, data, unit)):
            pass
        return found


def pids(found: bytes) -> set[int]:
    return {int.from_bytes(found[start : start + 4], "big") for start in range(0, len(found), 4)}


async def test_parts_come_to_be_computed_in_processes_of_their_own(make):
    crew = make(where)
    assert pids(await crew.spread(b"s", bytes(64), 1)) == {os.getpid()}, "nothing waits for a process to come up"
    found = await until(crew, lambda found: os.getpid() not in pids(found))
    assert pids(found) <= {child.pid for child in psutil.Process().children()}


async def test_they_are_nicer_than_the_peer(make):
    await until(make(nice), lambda found: set(found) == {os.nice(0) + NICE})


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=600), st.binary(min_size=1, max_size=2))
def test_results_are_those_of_the_function_in_order(data, secret):
    assert asyncio.run(SHARED.spread(secret, data, 1)) == mix(secret, data)


SHARED = Crew(mix, 2)


@pytest.fixture(scope="module", autouse=True)
def _end_shared():
    yield
    SHARED.close()


async def test_many_batches_at_once(make):
    crew = make(mix, 3)
    batches = [os.urandom(size) for size in range(0, 600, 17)]
    assert await asyncio.gather(*(crew.spread(b"\x05", batch, 1) for batch in batches)) == [
        mix(b"\x05", batch) for batch in batches
    ]


async def test_an_error_reaches_the_caller_as_it_is(make):
    crew = make(picky)
    for _ in range(2):
        with pytest.raises(ValueError, match="a zero"):
            await crew.spread(b"s", b"\x01" * 63 + b"\x00", 1)
        await until(crew, lambda _: bool(crew._free) and crew._free[0]._ready, data=b"\x01" * 64)


async def test_data_that_is_no_whole_number_of_units_is_refused(make):
    with pytest.raises(ValueError, match="whole number"):
        await make(mix).spread(b"s", bytes(33), 32)


async def test_evaluation_by_a_crew_is_evaluation(make):
    key = oprf.SecretKey.derive(bytes(32), b"crew")
    crew = make(oprf.evaluate_exported)
    elements = b"".join(oprf.hash_to_group(str(place).encode()) for place in range(70))
    for _ in range(3):
        found = await until(crew, lambda _: _all_ready(crew), elements, key.export(), 32)
        assert found == oprf.evaluate_many(key, elements)
    with pytest.raises(GroupError, match="not a canonical encoding"):
        await crew.spread(key.export(), elements + b"\xff" * 32, 32)


def _all_ready(crew: Crew) -> bool:
    return len(crew._free) == 2 and all(hand._ready for hand in crew._free)


async def test_a_process_that_was_killed_costs_no_batch(make):
    crew = make(where)
    # All hands are free between two batches. Killed are those, and never a number that a batch named: a part for which
    # a new process was just started is computed here.
    await until(crew, lambda found: os.getpid() not in pids(found) and all(hand._ready for hand in crew._free))
    for hand in crew._free:
        hand._process.kill()
        hand._process.join()
    assert pids(await crew.spread(b"s", bytes(64), 1)) == {os.getpid()}
    crew._none_before = 0.0
    await until(crew, lambda found: os.getpid() not in pids(found))


async def test_what_ends_every_process_is_not_started_for_each_part(make, monkeypatch):
    started = []
    spawn = crew_module._Hand
    monkeypatch.setattr(crew_module, "_Hand", lambda function: started.append(1) or spawn(function))
    crew, me = make(deadly_elsewhere), os.getpid().to_bytes(4, "big")
    async with asyncio.timeout(DEADLINE):
        while not crew._none_before:
            assert await crew.spread(me, bytes(64), 1) == bytes(64)
    begun = len(started)
    for _ in range(20):
        assert await crew.spread(me, bytes(640), 1) == bytes(640)
    assert len(started) == begun <= 4


async def test_no_process_can_be_started_and_the_threads_compute(make, monkeypatch):
    def refuse(_function: crew_module.Function) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(crew_module, "_Hand", refuse)
    assert await make(mix).spread(b"\x07", bytes(64), 1) == b"\x07" * 64


async def test_close_leaves_no_process():
    crew = Crew(where, 2)
    found = await until(crew, lambda found: os.getpid() not in pids(found))
    children = [psutil.Process(pid) for pid in pids(found)]
    crew.close()
    assert children
    assert not any(child.is_running() for child in children)
    with pytest.raises(RuntimeError):
        await crew.spread(b"s", bytes(64), 1)


def test_a_crew_ends_with_its_peer_however_that_ends():
    script = """
import asyncio, os, sys
from tests.unit.crew_work import where
from riskshare.crew import Crew
async def main():
    crew = Crew(where, 1)
    while (found := (await crew.spread(b"s", bytes(8), 1))[:4]) == os.getpid().to_bytes(4, "big"):
        pass
    print(int.from_bytes(found, "big"), flush=True)
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, timeout=DEADLINE, check=False)
    assert done.returncode == -9, done.stderr
    try:
        psutil.Process(int(done.stdout)).wait(DEADLINE)
    except psutil.NoSuchProcess:
        return
