"""The loop is kept from sleeping for one check of one owner, within bounds, and for nothing else."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.query.awake import REST, Awake


class _Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


async def _turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_it_polls_while_one_check_waits_for_one_owner_and_then_ends() -> None:
    clock = _Clock()
    awake = Awake(1.0, clock)
    awake.begin(1)
    await _turns()
    assert awake.polling
    awake.end()
    await _turns()
    assert not awake.polling


@pytest.mark.parametrize("owners", [0, 2, 4])
async def test_none_or_several_owners_are_awaited_asleep(owners: int) -> None:
    awake = Awake(1.0, _Clock())
    awake.begin(owners)
    assert not awake.polling
    awake.end()


async def test_zero_is_never() -> None:
    awake = Awake(0.0, _Clock())
    awake.begin(1)
    assert not awake.polling
    awake.end()


async def test_a_second_check_ends_it() -> None:
    awake = Awake(1.0, _Clock())
    awake.begin(1)
    awake.begin(1)
    await _turns()
    assert not awake.polling
    awake.end()
    awake.end()


async def test_a_far_owner_is_awaited_asleep_and_the_next_checks_do_not_try() -> None:
    clock = _Clock()
    awake = Awake(0.003, clock)
    awake.begin(1)
    clock.time = 0.004
    await _turns()
    assert not awake.polling
    awake.end()
    for _ in range(REST):
        awake.begin(1)
        assert not awake.polling
        awake.end()
    awake.begin(1)
    assert awake.polling
    awake.end()


async def test_checks_one_after_the_other_leave_one_turn_in_the_loop() -> None:
    clock = _Clock()
    awake = Awake(1.0, clock)
    for _ in range(50):
        awake.begin(1)
        awake.end()
    await _turns()
    assert not awake.polling


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 0.002)), max_size=30))
def test_whatever_comes_it_ends_with_the_last_check(checks: list[tuple[int, float]]) -> None:
    async def run() -> None:
        clock = _Clock()
        awake = Awake(0.003, clock)
        for owners, took in checks:
            awake.begin(owners)
            await _turns(1)
            clock.time += took
            await _turns(1)
            awake.end()
        await _turns()
        assert not awake.polling

    asyncio.run(run())
