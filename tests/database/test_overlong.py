"""Entries that stand longer than the network allows by now, over a real database."""

from __future__ import annotations

import io
import os
from datetime import timedelta

import pytest

from riskshare.sharing.entry import DataKey, reseal
from riskshare.sharing.overlong import Overlong
from riskshare.sharing.rows import MAX_DAYS, Defaults
from tests.simulator.importing import OPS, importer_over
from tests.simulator.publishing import Clock

KEY = DataKey(bytes(range(32)))


class House:
    """A list, a clock, and the longest term that the network allows."""

    def __init__(self, store):
        self.store = store
        self.clock = Clock()
        self.most = MAX_DAYS
        self.looked = 0
        self.overlong = Overlong(self, lambda _: self.most, MAX_DAYS)

    async def next_overlong(self, list_id, longest):
        self.looked += 1
        return await self.store.lists.next_overlong(list_id, longest)

    async def expire_overlong(self, list_id, longest, now, again):
        return await self.store.lists.expire_overlong(list_id, longest, now, again)

    async def bring(self, number, days):
        of = await self.store.lists.list_named("fraud")
        importer = importer_over(self.store.imports, KEY, self.clock)
        row = io.BytesIO(f"phone:+86138001380{number:02}".encode())
        await importer.run(of, row, Defaults("telecom_fraud", days=days), OPS)

    async def expire(self):
        def again(of, entry, state):
            return reseal(KEY, f"jd/{of.name}", entry, state, os.urandom(12))

        return await self.overlong.expire(await self.store.lists.lists(), self.clock(), again)


@pytest.fixture
async def house(store):
    await store.lists.create_list("fraud", "telecom_fraud", "default")
    return House(store)


async def test_without_a_longest_term_nothing_is_looked_at(house):
    await house.bring(1, 3650)
    assert await house.expire() == 0
    assert house.looked == 0


async def test_what_stands_too_long_by_now_expires_and_says_so(house, sql):
    await house.bring(1, 365)
    house.clock.wait(days=40)
    await house.bring(2, 365)
    await house.bring(3, 30)
    house.most = 30
    assert await house.expire() == 1
    change = await sql.fetchrow("select * from list_changes order by number desc limit 1")
    assert (change["author"], change["action"], change["reason"], change["withdrawn"]) == (
        "peer",
        "expire",
        "expired",
        1,
    )
    assert await sql.fetchval("select count(*) from entry_versions") == 1
    house.clock.wait(days=30)
    assert await house.expire() == 1
    # Of a term within bounds the end itself decides, not this.
    assert await sql.fetchval("select count(*) from entries where state = 'active'") == 1


async def test_many_expire_in_changes_that_hold_up_nobody_for_long(house, sql, monkeypatch):
    monkeypatch.setattr("riskshare.store.lists.CHANGED_ROWS", 2)
    for number in range(5):
        await house.bring(number, 365)
    house.most = 30
    house.clock.wait(days=30)
    assert await house.expire() == 5
    changes = await sql.fetch("select withdrawn from list_changes where action = 'expire' order by number")
    assert [row["withdrawn"] for row in changes] == [2, 2, 1]


async def test_what_changed_since_it_was_looked_for_is_looked_at_again(house, sql):
    """A file gives an entry a shorter term just then."""
    await house.bring(1, 365)
    house.most = 30
    house.clock.wait(days=30)
    true = house.store.lists._read_long

    async def read(query, *arguments):
        found = await true(query, *arguments)
        if query == "overlong_handles":
            await house.bring(1, 20)
        return found

    house.store.lists._read_long = read
    assert await house.expire() == 0
    assert await sql.fetchval("select count(*) from entries where state = 'active'") == 1


async def test_it_is_looked_again_when_the_next_is_due_or_the_term_changes_or_after_a_day(house):
    await house.bring(1, 365)
    house.most = 100
    for _ in range(5):
        assert await house.expire() == 0
    assert house.looked == 1
    house.clock.wait(days=1)
    await house.expire()
    assert house.looked == 2
    house.most = 99
    await house.expire()
    assert house.looked == 3
    house.clock.wait(days=98, hours=-1)
    assert await house.expire() == 0
    before = house.looked
    house.clock.wait(hours=1)
    assert await house.expire() == 1
    assert house.looked == before + 2


async def test_exactly_the_longest_term_is_not_too_long(house):
    await house.bring(1, 30)
    house.most = 30
    house.clock.wait(days=29)
    assert await house.expire() == 0
    assert await house.store.lists.next_overlong(1, timedelta(days=30)) is None
