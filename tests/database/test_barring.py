"""The never-list over a real database: what is on a list already, and what comes while a rule is added."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from riskshare.errors import InputError, OpenError
from riskshare.membership.identifier import parse
from riskshare.membership.record import Record
from riskshare.sharing.barring import Barring
from riskshare.sharing.entry import DataKey
from riskshare.sharing.kept import EntryRow
from riskshare.sharing.never import exact_rule, prefix_rule, range_rule
from tests.simulator.changing import DISPUTE, IMPORT, withdrawal
from tests.simulator.intake import bring, intake_of

KEY = DataKey(bytes(range(32)))
NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
NUMBERS = [f"phone:+86138001380{n:02}" for n in range(60)]
RULES = [prefix_rule("phone:+861380013800"), exact_rule(NUMBERS[20]), range_rule("phone:+8613800138030-+8613800138034")]
NAMED = [*NUMBERS[:10], NUMBERS[20], *NUMBERS[30:35]]


def row(text, name="jd/fraud"):
    identifier, place = parse(text), uuid4()
    value, until = identifier.oprf_input, NOW + timedelta(days=90)
    record = Record("telecom_fraud", "reported", "high", "", NOW, until)
    sealed = KEY.seal_identifier(value, os.urandom(12), row=place, list_name=name, state="active")
    return EntryRow(place, KEY.handle(value, name), sealed, record.to_bytes(), b"c", NOW, until)


class House:
    def __init__(self, store, key=KEY):
        self.store = store
        self.barring = Barring(
            member="jd", data_key=key, rules=store.never, lists=store.lists, random=os.urandom, new_id=uuid4
        )

    async def list(self, name="fraud"):
        return await self.store.lists.list_named(name)

    async def bring(self, numbers, *, never_upto=0, name="fraud"):
        of = await self.list(name)
        rows = [row(number, f"jd/{name}") for number in numbers]
        return await bring(self.store, of.id, rows, IMPORT, never_upto=never_upto)

    async def add(self, *rules, name="fraud"):
        await self.barring.keep(rules, "ops")
        return await self.apply(*rules, name=name)

    async def apply(self, *rules, name="fraud"):
        found = await self.barring.find(await self.list(name), rules)
        return await self.barring.withdraw(found, rules, "ops")

    async def live(self, name="fraud"):
        found = []
        async with self.store.lists.listed((await self.list(name)).id, b"") as changes:
            async for batch in changes:
                found += [
                    KEY.open_identifier(one.sealed, row=one.id, list_name=f"jd/{name}", state=one.state)
                    for one in batch
                ]
        return sorted(value.decode() for value in found)


@pytest.fixture
async def house(store):
    for name in ("fraud", "other"):
        await store.lists.create_list(name, "telecom_fraud", "default")
    return House(store)


async def test_what_rules_name_is_found_and_withdrawn_with_its_history(house, sql):
    await house.bring(NUMBERS)
    told = []
    found = await house.barring.find(await house.list(), RULES, told.append)
    assert len(found.handles) == len(NAMED)
    assert told[-1] == 60
    assert await sql.fetchval("select count(*) from list_changes") == 1
    assert await house.add(*RULES) == len(NAMED)
    assert await house.live() == sorted(set(NUMBERS) - set(NAMED))
    change = await sql.fetchrow("select * from list_changes where action = 'never'")
    assert (change["author"], change["reason"], change["withdrawn"]) == ("ops", "erroneous", len(NAMED))
    assert await sql.fetchval("select count(*) from entry_versions") == len(NAMED)


async def test_disputed_entries_go_too_and_withdrawn_ones_stay_as_they_are(house, sql):
    await house.bring(NUMBERS[:3])
    of = await house.list()

    def reseal(of, entry, state):
        return house.barring._reseal(of, entry, state)

    handles = [KEY.handle(parse(number).oprf_input, "jd/fraud") for number in NUMBERS[:3]]
    await house.store.lists.change_state(of.id, handles[:1], "withdrawn", withdrawal("appeal_upheld"), reseal)
    await house.store.lists.change_state(of.id, handles[1:2], "disputed", DISPUTE, reseal)
    assert await house.add(RULES[0]) == 2
    reasons = await sql.fetch("select reason from entries order by handle = $1 desc", handles[0])
    assert [one["reason"] for one in reasons] == ["appeal_upheld", "erroneous", "erroneous"]


async def test_a_rule_that_names_nothing_changes_nothing(house):
    await house.bring(NUMBERS[:3])
    assert await house.add(prefix_rule("phone:+1800"), exact_rule("phone:+14155550100")) == 0
    assert (await house.list()).changed == 1


async def test_every_list_has_handles_of_its_own(house):
    await house.bring(NUMBERS[:25])
    await house.bring(NUMBERS[:25], name="other")
    await house.barring.keep([RULES[1]], "ops")
    assert [await house.apply(RULES[1], name=name) for name in ("fraud", "other")] == [1, 1]


async def test_applying_twice_changes_nothing_more(house):
    """Whoever was interrupted repeats the command."""
    await house.bring(NUMBERS)
    assert await house.add(*RULES) == len(NAMED)
    assert await house.add(*RULES) == 0
    assert len(await house.store.never.rules()) == len(RULES)


async def test_what_comes_between_looking_and_withdrawing_is_withdrawn_too(house):
    """An import that was held against the older never-list and got the lock before the rule was kept."""
    await house.bring(NUMBERS[:5])
    found = await house.barring.find(await house.list(), RULES)
    await house.bring(NUMBERS[5:])
    await house.barring.keep(RULES, "ops")
    assert await house.barring.withdraw(found, RULES, "ops") == len(NAMED)
    assert await house.live() == sorted(set(NUMBERS) - set(NAMED))


async def test_many_are_withdrawn_in_changes_that_hold_up_nobody_for_long(house, sql, monkeypatch):
    """Those that were found, and those that came since."""
    monkeypatch.setattr("riskshare.store.lists.CHANGED_ROWS", 2)
    monkeypatch.setattr("riskshare.store.entries.STREAM_ROWS", 2)
    rule = prefix_rule("phone:+8613800138")
    await house.bring(NUMBERS[:5])
    found = await house.barring.find(await house.list(), [rule])
    await house.bring(NUMBERS[5:10])
    await house.barring.keep([rule], "ops")
    assert await house.barring.withdraw(found, [rule], "ops") == 10
    changes = await sql.fetch("select withdrawn from list_changes where action = 'never' order by number")
    assert [row["withdrawn"] for row in changes] == [2, 2, 3, 2, 1]
    assert await house.live() == []


async def test_an_import_that_knew_no_rule_is_refused_once_it_is_kept(house):
    of = await house.list()
    async with intake_of(house.store, of.id) as intake:
        await intake.add([row(number) for number in NUMBERS])
        await house.add(*RULES)
        with pytest.raises(InputError) as refused:
            await intake.commit(IMPORT)
    assert refused.value.code == "never_changed"
    assert await house.live() == []


async def test_nothing_slips_through_between_imports_and_rules(house):
    """Imports that know the present never-list, and leave out what it names, beside rules that are added."""
    rules = [prefix_rule(f"phone:+86138001380{tens}", f"{tens}") for tens in range(6)]

    async def importing(turn):
        never = await house.store.never.never_list(KEY)
        good = [number for number in NUMBERS[turn::3] if never.matching(parse(number)) is None]
        with suppress(InputError):
            await house.bring(good, never_upto=never.upto)
            return
        await importing(turn)

    async def barring():
        for rule in rules[:4]:
            await house.add(rule)

    await asyncio.gather(*(importing(turn) for turn in (0, 1, 2)), barring(), *(importing(turn) for turn in (0, 1, 2)))
    assert await house.live() == NUMBERS[40:]


async def test_rules_that_are_added_at_once_have_numbers_in_the_order_of_their_commits(house):
    """A number that becomes visible after a higher one would let an import pass that never saw its rule."""
    seen = []

    async def watch():
        while len(seen) < 30:
            seen.append([one.number for one in await house.store.never.rules()])

    await asyncio.gather(watch(), *(house.barring.keep([prefix_rule(f"phone:+1{n}")], "ops") for n in range(100, 120)))
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in seen)


async def test_another_data_key_stops_before_anything_is_changed(house, store):
    await house.bring(NUMBERS[:3])
    stranger = House(store, DataKey(bytes(32)))
    with pytest.raises(OpenError):
        await stranger.barring.find(await house.list(), RULES)
    assert len(await house.live()) == 3
