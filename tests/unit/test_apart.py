"""One piece of work in a process of its own: its result, its error, and its end."""

from __future__ import annotations

import asyncio
import os
import signal

import psutil
import pytest

from riskshare.apart import apart
from riskshare.cores import BACKGROUND
from riskshare.errors import RiskshareError, SegmentError
from tests.unit.apart_work import fail, niceness, rest, vanish


def children():
    found = psutil.Process().children(recursive=True)
    return {child.pid for child in found if "spawn_main" in " ".join(child.cmdline())}


async def test_the_result_comes_back_and_the_process_is_gone():
    before = children()
    assert await apart(abs, -5) == 5
    assert children() <= before


async def test_it_is_nicer_than_we_are():
    assert await apart(niceness, None) == os.nice(0) + BACKGROUND
    assert await apart(niceness, None, nice=0) == os.nice(0)


async def test_what_fails_there_is_told_here():
    with pytest.raises(SegmentError) as caught:
        await apart(fail, "segment_altered")
    assert (caught.value.code, caught.value.message) == ("segment_altered", "no")


async def test_a_process_that_is_lost_is_an_error_and_no_hang():
    with pytest.raises(RiskshareError) as caught:
        await apart(vanish, None)
    assert caught.value.code == "worker_lost"


async def test_a_caller_that_is_cancelled_ends_it(tmp_path):
    begun = tmp_path / "begun"
    before = children()
    task = asyncio.create_task(apart(rest, str(begun)))
    async with asyncio.timeout(60):
        while not begun.exists():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children() <= before


async def test_a_process_that_is_killed_from_outside_is_told(tmp_path):
    begun = tmp_path / "begun"
    task = asyncio.create_task(apart(rest, str(begun)))
    async with asyncio.timeout(60):
        while not begun.exists() or not begun.read_text():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.01)
    os.kill(int(begun.read_text()), signal.SIGKILL)
    with pytest.raises(RiskshareError):
        await task
