"""Withdraw, dispute and restore over a real database, sealed for real."""

from __future__ import annotations

import asyncio
import io
import os
from uuid import uuid4

import pytest

from riskshare.errors import InputError
from riskshare.membership.identifier import parse
from riskshare.membership.record import Record
from riskshare.sharing.changing import Decider
from riskshare.sharing.entry import DataKey
from riskshare.sharing.kept import Change
from riskshare.sharing.never import exact_rule, prefix_rule
from riskshare.sharing.never_kept import seal_rule
from riskshare.sharing.rows import Defaults
from tests.simulator.changing import DISPUTE, RESTORE, withdrawal
from tests.simulator.importing import OPS, importer_over
from tests.simulator.publishing import Clock

KEY = DataKey(bytes(range(32)))
NUMBERS = [f"phone:+86138001380{n:02}" for n in range(6)]


class Desk:
    """A member's list with six entries: two of case A, one of case B; and its clock."""

    def __init__(self, store):
        self.store = store
        self.clock = Clock()
        self.most_days = 3650
        self.decider = Decider(
            member="jd",
            data_key=KEY,
            lists=store.lists,
            never=store.never,
            most_days=lambda _: self.most_days,
            now=self.clock,
            random=os.urandom,
        )

    async def open(self):
        await self.store.lists.create_list("fraud", "telecom_fraud", "default")
        await self.import_all()

    async def import_all(self):
        of = await self.store.lists.list_named("fraud")
        cases = ["A", "A", "B", "", "", ""]
        rows = "\n".join(["identifier,case", *(f"{n},{case}" for n, case in zip(NUMBERS, cases, strict=True))])
        importer = importer_over(self.store.imports, KEY, self.clock)
        return await importer.run(of, io.BytesIO(rows.encode()), Defaults("telecom_fraud", days=90), OPS)

    async def decide(self, change, *numbers, **options):
        of = await self.store.lists.list_named("fraud")
        settled = await self.decider.decide(of, change, identifiers=[parse(number) for number in numbers], **options)
        return [one.code for one in settled]

    async def states(self):
        of = await self.store.lists.list_named("fraud")
        found = {}
        async with self.store.lists.changes(of.id, 0) as changes:
            async for batch in changes:
                for one in batch:
                    value = KEY.open_identifier(one.sealed, row=one.id, list_name="jd/fraud", state=one.state)
                    found[value.decode()] = (one.state, Record.from_bytes(one.record).disputed)
        return [found[number] for number in NUMBERS]

    async def bar(self, rule):
        await self.store.never.add([seal_rule(KEY, rule, "ops", row=uuid4(), nonce=os.urandom(12))])


@pytest.fixture
async def desk(store):
    made = Desk(store)
    await made.open()
    return made


async def test_each_identifier_is_answered_on_its_own_and_in_order(desk):
    assert await desk.decide(DISPUTE, NUMBERS[1], "phone:+8613900139000", NUMBERS[0]) == [None, "not_listed", None]
    assert await desk.decide(DISPUTE, NUMBERS[0], NUMBERS[3]) == ["unchanged", None]
    assert (await desk.states())[:4] == [("disputed", True), ("disputed", True), ("active", False), ("disputed", True)]


async def test_a_dispute_ends_by_restoring_and_the_record_says_so(desk):
    await desk.decide(DISPUTE, NUMBERS[0])
    assert await desk.decide(RESTORE, NUMBERS[0], NUMBERS[1]) == [None, "unchanged"]
    assert (await desk.states())[0] == ("active", False)


async def test_what_was_withdrawn_is_restored_while_its_term_lasts(desk):
    await desk.decide(withdrawal("corrected"), NUMBERS[0], NUMBERS[1])
    assert await desk.decide(withdrawal("corrected"), NUMBERS[0]) == ["not_listed"]
    assert await desk.decide(DISPUTE, NUMBERS[0]) == ["not_listed"]
    assert await desk.decide(RESTORE, NUMBERS[0]) == [None]
    desk.clock.wait(days=91)
    assert await desk.decide(RESTORE, NUMBERS[1]) == ["term_over"]
    assert (await desk.states())[:2] == [("active", False), ("withdrawn", False)]


@pytest.mark.parametrize("by", ["identifier", "case"])
async def test_an_appeal_is_upheld_of_an_entry_that_is_withdrawn_already(desk, sql, by):
    """From then on no file lists it again; the list gets no shorter a second time."""
    await desk.decide(withdrawal("corrected"), NUMBERS[2])
    asked = {"case": "B"} if by == "case" else {}
    chosen = [] if by == "case" else [NUMBERS[2]]
    assert await desk.decide(withdrawal("appeal_upheld"), *chosen, **asked) == [None]
    last = await sql.fetchrow("select * from list_changes order by number desc limit 1")
    assert (last["reason"], last["withdrawn"]) == ("appeal_upheld", 0)
    assert (await desk.store.lists.list_named("fraud")).listed == 5
    assert await sql.fetchval("select array_agg(state || reason) from entry_versions where reason <> ''") == [
        "withdrawncorrected"
    ]
    again = await desk.import_all()
    assert (again.counts.barred, again.counts.relisted) == (1, 0)
    assert (await desk.states())[2] == ("withdrawn", False)


async def test_a_disputed_entry_is_restored_although_the_network_allows_less_by_now(desk):
    await desk.decide(DISPUTE, NUMBERS[0], NUMBERS[1])
    desk.most_days = 30
    assert await desk.decide(RESTORE, NUMBERS[0]) == [None]
    desk.clock.wait(days=30)
    assert await desk.decide(RESTORE, NUMBERS[1]) == ["term_over"], "it has stood for as long as it may"


async def test_what_stands_longer_than_the_network_allows_by_now_is_not_restored(desk):
    await desk.decide(withdrawal("corrected"), NUMBERS[0])
    desk.most_days = 30
    assert await desk.decide(RESTORE, NUMBERS[0]) == ["term_over"]


async def test_a_disputed_entry_that_was_withdrawn_comes_back_undisputed(desk):
    await desk.decide(DISPUTE, NUMBERS[0])
    await desk.decide(withdrawal("appeal_upheld"), NUMBERS[0])
    assert await desk.decide(RESTORE, NUMBERS[0]) == [None]
    assert (await desk.states())[0] == ("active", False)


async def test_all_entries_of_a_case_are_decided_together(desk, sql):
    assert await desk.decide(DISPUTE, case="A") == [None, None]
    assert await desk.decide(withdrawal("appeal_upheld"), case="A") == [None, None]
    assert await desk.decide(RESTORE, case="A") == [None, None]
    assert await desk.decide(withdrawal("corrected"), case="B") == [None]
    assert [row["disputed"] for row in await sql.fetch("select * from list_changes order by number")] == [0, 2, 0, 0, 0]
    assert await desk.states() == [("active", False)] * 2 + [("withdrawn", False)] + [("active", False)] * 3


async def test_of_a_case_what_is_withdrawn_already_is_as_was_asked_for(desk):
    await desk.decide(withdrawal("corrected"), NUMBERS[0])
    assert sorted(await desk.decide(withdrawal("erroneous"), case="A", atomic=True), key=str) == [None, "unchanged"]
    assert await desk.decide(withdrawal("erroneous"), case="A") == ["unchanged"] * 2
    assert await desk.decide(DISPUTE, case="A") == ["not_listed"] * 2


async def numbers_of_changes(sql, column):
    return [
        row[column] for row in await sql.fetch("select * from list_changes where action <> 'import' order by number")
    ]


async def test_a_long_case_is_decided_in_changes_that_hold_up_nobody_for_long(desk, sql, monkeypatch):
    monkeypatch.setattr("riskshare.store.lists.CHANGED_ROWS", 1)
    replies = []

    def reply(settled):
        replies.append([one.code for one in settled])
        return "key", bytes(32), bytes(32), b"{}"

    assert await desk.decide(withdrawal("corrected"), case="A", reply=reply) == [None, None]
    assert await numbers_of_changes(sql, "withdrawn") == [1, 1]
    assert replies == [[None, None]], "the answer tells of all, and is kept with the last"
    assert await desk.decide(RESTORE, case="A", atomic=True) == [None, None]
    assert await numbers_of_changes(sql, "relisted") == [0, 0, 2]
    assert await desk.decide(withdrawal("corrected"), case="B") == [None]


async def test_a_long_case_goes_on_where_it_was_cut_off(desk, sql, monkeypatch):
    monkeypatch.setattr("riskshare.store.lists.CHANGED_ROWS", 1)
    sealing = desk.decider._reseal
    sealed = []

    def breaks(of, entry, state):
        sealed.append(entry.id)
        if len(sealed) == 2:
            raise KeyError(state)
        return sealing(of, entry, state)

    desk.decider._reseal = breaks
    with pytest.raises(KeyError):
        await desk.decide(withdrawal("corrected"), case="A")
    assert await numbers_of_changes(sql, "withdrawn") == [1]
    assert sorted(await desk.decide(withdrawal("corrected"), case="A"), key=str) == [None, "unchanged"]
    assert await numbers_of_changes(sql, "withdrawn") == [1, 1]


async def test_a_case_that_no_entry_has_is_refused(desk):
    with pytest.raises(InputError) as refused:
        await desk.decide(DISPUTE, case="C")
    assert refused.value.code == "unknown_case"


async def test_a_decision_without_a_reason_is_refused(desk):
    with pytest.raises(InputError) as refused:
        await desk.decide(Change("ops", "restore", ""), NUMBERS[0])
    assert refused.value.code == "reason_missing"


async def test_atomic_is_all_or_nothing(desk, sql):
    assert await desk.decide(DISPUTE, NUMBERS[0]) == [None]
    assert await desk.decide(DISPUTE, NUMBERS[1], "phone:+8613900139000", atomic=True) == [None, "not_listed"]
    await desk.decide(withdrawal("corrected"), NUMBERS[5])
    assert await desk.decide(DISPUTE, NUMBERS[1], NUMBERS[5], atomic=True) == [None, "not_listed"]
    assert (await desk.states())[1] == ("active", False)
    assert await desk.decide(DISPUTE, NUMBERS[0], NUMBERS[1], NUMBERS[1], atomic=True) == ["unchanged", None, None]
    assert await sql.fetchval("select sum(disputed) from list_changes") == 2


@pytest.mark.parametrize("rule", [exact_rule(NUMBERS[0]), prefix_rule("phone:+861380013800")], ids=["exact", "prefix"])
async def test_what_the_never_list_names_is_not_restored(desk, rule):
    await desk.decide(withdrawal("erroneous"), NUMBERS[0])
    await desk.bar(rule)
    assert await desk.decide(RESTORE, NUMBERS[0]) == ["never_listed"]
    assert (await desk.states())[0] == ("withdrawn", False)


async def test_a_rule_that_comes_while_restoring_is_not_missed(desk):
    """The never-list is read before the lock; a rule added between is seen under it."""
    await desk.decide(withdrawal("erroneous"), NUMBERS[0])
    reading = desk.store.never.never_list

    async def read_then_add(key):
        found = await reading(key)
        await desk.bar(exact_rule(NUMBERS[0]))
        return found

    desk.store.never.never_list = read_then_add
    with pytest.raises(InputError) as refused:
        await desk.decide(RESTORE, NUMBERS[0])
    assert refused.value.code == "never_changed"


async def test_of_many_who_decide_at_once_one_does(desk, sql):
    done = await asyncio.gather(*(desk.decide(withdrawal("corrected"), *NUMBERS) for _ in range(5)))
    assert sorted(codes.count(None) for codes in done) == [0, 0, 0, 0, 6]
    assert await sql.fetchval("select sum(withdrawn) from list_changes") == 6


async def test_a_rule_is_kept_without_its_identifier(desk, sql):
    await desk.bar(exact_rule("phone:+8613912345678", "our hotline"))
    for table in ("never_rules", "entries"):
        text = await sql.fetchval(f"select coalesce(string_agg(t::text, ' '), '') from {table} t")
        assert "13912345678" not in text
        assert b"13912345678".hex() not in text
    assert (await desk.store.never.never_list(KEY)).matching(parse("phone:+8613912345678")).note == "our hotline"


async def test_a_rule_stands_once(desk):
    rules = [exact_rule("phone:+8613912345678"), prefix_rule("phone:+86400")]
    sealed = [seal_rule(KEY, rule, "ops", row=uuid4(), nonce=os.urandom(12)) for rule in rules]
    assert await desk.store.never.add(sealed) == [(1, True), (2, True)]
    again = [seal_rule(KEY, rule, "ops", row=uuid4(), nonce=os.urandom(12)) for rule in rules]
    assert [new for _, new in await desk.store.never.add(again)] == [False, False]
    assert await desk.store.never.remove([1, 99]) == [1]
    assert len(await desk.store.never.rules()) == 1
