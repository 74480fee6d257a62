"""Background work: a failure is tried again after a pause, which ends when there is something to do."""

from __future__ import annotations

import asyncio

import pytest

from riskshare.errors import StoreError
from riskshare.peer import chores as module
from riskshare.peer.chores import Chore, Chores


class Work:
    """A step that fails so often, and then succeeds."""

    def __init__(self, failures):
        self.failures = failures
        self.times = 0
        self.begun = asyncio.Event()

    async def step(self):
        self.times += 1
        self.begun.set()
        if self.times <= self.failures:
            raise StoreError("away")

    async def next(self):
        await asyncio.wait_for(self.begun.wait(), 10)
        self.begun.clear()


@pytest.fixture
async def chores():
    running = Chores()
    yield running
    await running.stop()


async def test_a_chore_that_failed_is_done_at_once_when_it_is_woken(chores, monkeypatch):
    """Its pause grows while one list is in trouble; a withdrawal from another does not wait for it."""
    monkeypatch.setattr(module, "FAILED_PAUSE", 0.001)
    monkeypatch.setattr(module, "LONGEST_PAUSE", 3600.0)
    work = Work(30)
    chore = Chore("publish", work.step, 3600.0)
    chores.start(chore)
    for _ in range(31):  # of its own accord, it would come here after nine hours
        await work.next()
        chore.wake()
    await work.next()  # the last wake: by then the success before it is noted
    assert (chore.failures, chore.trouble) == (0, "")


async def test_a_chore_that_failed_is_not_done_again_all_the_time(chores, monkeypatch):
    monkeypatch.setattr(module, "FAILED_PAUSE", 3600.0)
    work = Work(1)
    chore = Chore("publish", work.step, 3600.0)
    chores.start(chore)
    await work.next()
    for _ in range(10):
        chore.wake()
        await asyncio.sleep(0)
    assert work.times == 1
    assert chores.troubles() == []
