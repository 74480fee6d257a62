"""A list is changed by others while a large import is committed into it.

"Large" is here what has more than no rows. `Halted` holds an import where all is written that can be without the list's
lock; whatever happens then, what stands after the commit is what the file makes of what stood at the commit.
"""

from __future__ import annotations

import asyncio
import io
import os
import sys
from datetime import timedelta
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from riskshare.errors import InputError, StoreError
from riskshare.membership.identifier import parse
from riskshare.membership.record import Record
from riskshare.sharing.entry import NONCE_BYTES, DataKey, content_of, reseal
from riskshare.sharing.importing import Order
from riskshare.sharing.kept import Change, EntryRow
from riskshare.sharing.never import NeverRule
from riskshare.sharing.never_kept import seal_rule
from riskshare.sharing.rows import Defaults
from riskshare.store import applying, imports
from riskshare.store.store import Store
from tests.database.test_importing import IMPORTER
from tests.simulator.changing import DISPUTE, RESTORE, withdrawal
from tests.simulator.importing import importer_over
from tests.simulator.publishing import Clock

KEY = DataKey(bytes(range(32)))
ALL = range(12)
FILE = {0: "low", 1: "low", 2: "high", 3: "high", 10: "low", 11: "high"}
"""Numbers that a file names, with their levels; 0 to 9 stand there with the level high."""


def identifier(number):
    return f"phone:+86138001380{number:02}"


class House:
    """One member's lists over a store; what it brings in is named by numbers."""

    def __init__(self, store, sql):
        self.store, self.sql, self.clock = store, sql, Clock()
        self.importer = importer_over(store.imports, KEY, self.clock)

    async def list(self, name="fraud"):
        return await self.store.lists.list_named(name)

    def handle(self, number, name="fraud"):
        return KEY.handle(parse(identifier(number)).oprf_input, f"jd/{name}")

    async def bring(self, levels, name="fraud", **order):
        lines = ["identifier,level", *(f"{identifier(number)},{level}" for number, level in levels.items())]
        of = await self.list(name)
        file = io.BytesIO("\n".join(lines).encode())
        return await self.importer.run(of, file, Defaults("telecom_fraud"), Order("ops", **order))

    async def fill(self, name):
        """Numbers 0 to 9: 8 is disputed, 9 was withdrawn."""
        await self.bring(dict.fromkeys(range(10), "high"), name)
        await self.change(8, "disputed", DISPUTE, name)
        await self.withdraw(9, name=name)

    async def change(self, number, state, change, name="fraud", store=None):
        of = await self.list(name)
        lists = (store or self.store).lists

        def sealed(_of, entry, wanted):
            return reseal(KEY, f"jd/{name}", entry, wanted, os.urandom(NONCE_BYTES))

        return await lists.change_state(of.id, [self.handle(number, name)], state, change, sealed)

    async def withdraw(self, number, reason="corrected", **options):
        return await self.change(number, "withdrawn", withdrawal(reason), **options)

    async def upsert(self, number, store=None, until=None):
        of, now = await self.list(), self.clock()
        until = until or now + timedelta(days=9)
        record = Record("telecom_fraud", "r", "low", "", now, until)
        row = EntryRow(uuid4(), self.handle(number), b"sealed", record.to_bytes(), content_of(record), now, until)
        lists = (store or self.store).lists
        return await lists.upsert(of.id, [row], Change("ops", "upsert", "r"), never_upto=0, atomic=False)

    async def stands(self, name="fraud"):
        """Of each number that there is: state, reason, level; and how often it was something else."""
        found = {}
        for number in ALL:
            handle = self.handle(number, name)
            for _, entry in await self.store.lists.entries_of([handle]):
                value = KEY.open_identifier(entry.sealed, row=entry.id, list_name=f"jd/{name}", state=entry.state)
                assert value.decode() == identifier(number)
                former = await self.store.history.versions([handle])
                levels = [(one.entry.state, Record.from_bytes(one.entry.record).level) for one in former]
                found[number] = (entry.state, entry.reason, Record.from_bytes(entry.record).level, levels)
        return found

    async def waiting(self):
        """Return when a session waits for the end of a transaction."""
        assert not await self.done_without_waiting(asyncio.get_running_loop().create_future())

    async def done_without_waiting(self, task):
        """Wait until a task is done, or a session waits for the end of a transaction; whether it is done."""
        waits = "select exists (select from pg_locks where not granted and locktype = 'transactionid')"
        async with asyncio.timeout(20):
            while not task.done() and not await self.sql.fetchval(waits):  # noqa: ASYNC110 - it happens in PostgreSQL
                await asyncio.sleep(0.005)
        return task.done()


class Halted:
    """An import halts before it takes the list's lock for the first time, until it is told to go on."""

    def __init__(self, monkeypatch):
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()
        true = applying.locked

        async def locked(connection, list_id):
            self.reached.set()
            await self.go_on.wait()
            return await true(connection, list_id)

        monkeypatch.setattr(applying, "locked", locked)


@pytest.fixture
async def house(store, sql, monkeypatch):
    made = House(store, sql)
    for name in ("fraud", "other"):
        await store.lists.create_list(name, "telecom_fraud", "default")
        await made.fill(name)
    monkeypatch.setattr(imports, "FEW_ROWS", 0)
    return made


@pytest.fixture
def halted(monkeypatch):
    return Halted(monkeypatch)


@pytest.fixture
async def begun(house, halted):
    """The import of FILE, halted."""
    task = asyncio.create_task(house.bring(FILE))
    await halted.reached.wait()
    yield task
    halted.go_on.set()
    await asyncio.gather(task, return_exceptions=True)


async def finish(task, halted):
    halted.go_on.set()
    return (await task).counts


async def test_a_large_import_into_an_empty_list_is_one_change(store, house):
    await store.lists.create_list("empty", "telecom_fraud", "default")
    report = await house.bring(FILE, "empty")
    assert (report.counts.new, report.counts.changes) == (6, 6)
    of = await house.list("empty")
    assert of.changed == applying.AHEAD
    [noted] = await store.history.changes(of.id, [of.changed])
    assert (noted.counts.added, noted.import_id) == (6, report.id)


@pytest.mark.parametrize(
    ("few", "replace", "ahead"), [(0, False, applying.AHEAD), (1, False, 1), (8, True, applying.AHEAD), (9, True, 1)]
)
async def test_few_rows_take_the_lock_first_unless_they_replace_many(house, monkeypatch, few, replace, ahead):
    """What they replace may be millions of entries: these are written before the lock is taken."""
    monkeypatch.setattr(imports, "FEW_ROWS", few)
    before = (await house.list()).changed
    counts = (await house.bring({0: "low"}, replace=replace)).counts
    assert (counts.replaced, counts.withdrawn, counts.missing_disputed) == ((1, 7, 1) if replace else (1, 0, 0))
    assert (await house.list()).changed == before + ahead


async def test_nothing_is_seen_of_an_import_before_its_commit_and_all_of_it_then(house, halted, begun):
    before = await house.stands()
    assert await house.stands("other") == before
    number = (await house.list()).changed
    counts = await finish(begun, halted)
    assert (counts.new, counts.replaced, counts.same) == (2, 2, 2)
    after = await house.stands()
    assert {at for at in ALL if after.get(at) != before.get(at)} == {0, 1, 10, 11}
    of = await house.list()
    async with house.store.lists.changes(of.id, number) as changes:
        seen = [entry async for batch in changes for entry in batch]
    assert (len(seen), {entry.changed for entry in seen}, changes.upto) == (4, {of.changed}, of.changed)


async def test_withdrawals_go_on_while_an_import_is_written_and_come_before_it(house, halted, begun):
    before = (await house.list()).changed
    assert await house.withdraw(5, "appeal_upheld") == 1
    assert await house.withdraw(2, "appeal_upheld") == 1
    assert await house.withdraw(3, "corrected") == 1
    assert (await house.list()).changed == before + 3
    counts = await finish(begun, halted)
    assert (counts.new, counts.replaced, counts.relisted, counts.same, counts.barred) == (2, 2, 1, 0, 1)
    stands = await house.stands()
    assert [stands[at][:2] for at in (5, 2)] == [("withdrawn", "appeal_upheld")] * 2
    assert stands[3] == ("active", None, "high", [("active", "high"), ("withdrawn", "high")])
    of = await house.list()
    [noted] = await house.store.history.changes(of.id, [of.changed])
    assert (noted.counts.added, noted.counts.replaced, noted.counts.relisted) == (2, 2, 1)
    assert of.changed > before + 3


async def test_an_import_gives_way_to_whoever_waits_for_an_entry_that_it_writes(house, halted, begun):
    withdrawing = asyncio.create_task(house.withdraw(0, "appeal_upheld"))
    await house.waiting()
    counts = await finish(begun, halted)
    assert await withdrawing == 1
    assert (counts.new, counts.replaced, counts.barred) == (2, 1, 1)
    stands = await house.stands()
    assert stands[0] == ("withdrawn", "appeal_upheld", "high", [("active", "high")])
    assert stands[1] == ("active", None, "low", [("active", "high")])


async def test_an_import_that_has_given_way_too_often_takes_the_lock_first(house, halted, monkeypatch):
    monkeypatch.setattr(applying, "TRIES", 1)
    task = asyncio.create_task(house.bring(FILE))
    await halted.reached.wait()
    withdrawing = asyncio.create_task(house.withdraw(0))
    await house.waiting()
    counts = await finish(task, halted)
    assert await withdrawing == 1
    assert (counts.replaced, counts.relisted) == (1, 1)
    assert (await house.stands())[0] == ("active", None, "low", [("active", "high"), ("withdrawn", "high")])


async def test_without_anybody_who_looks_postgresql_decides_who_gives_way(house, halted, begun):
    for task in asyncio.all_tasks():
        if task.get_coro().__qualname__ == "_Watch.run":
            task.cancel()
    withdrawing = asyncio.create_task(house.withdraw(0))
    await house.waiting()
    counts = await finish(begun, halted)
    assert counts.replaced + counts.relisted == 2
    try:
        assert await withdrawing == 1
    except StoreError:
        assert (await house.stands())[0][0] == "active"


async def test_expiry_does_not_wait_for_what_an_import_writes(house, halted, begun):
    later = house.clock() + timedelta(days=181)

    def sealed(_of, entry, wanted):
        return reseal(KEY, "jd/fraud", entry, wanted, os.urandom(NONCE_BYTES))

    of = await house.list()
    assert await house.store.lists._expire(of.id, "due", (of.id, later, 100), sealed) == 7
    counts = await finish(begun, halted)
    assert (counts.new, counts.replaced, counts.relisted) == (2, 2, 2)
    assert (await house.stands())[0][:3] == ("active", None, "low")


# --- what stands at the commit decides


@pytest.mark.parametrize("later", [[], [4, 5]], ids=["it is the same", "others were withdrawn"])
async def test_the_limit_of_a_replacement_counts_what_stands_at_the_commit(house, halted, later):
    levels = dict.fromkeys(range(6), "high")  # 6 and 7 would be withdrawn, of 9
    task = asyncio.create_task(house.bring(levels, replace=True, most_withdrawn=25))
    await halted.reached.wait()
    for number in later:
        await house.withdraw(number, "appeal_upheld")
    halted.go_on.set()
    if not later:
        assert (await task).counts.withdrawn == 2
        return
    before = await house.stands()
    with pytest.raises(InputError) as refused:
        await task
    assert refused.value.code == "replace_too_large"
    assert "2 of 7 entries" in refused.value.message
    assert await house.stands() == before


async def test_what_is_restored_meanwhile_and_not_named_is_withdrawn_by_a_replacement(house, halted):
    task = asyncio.create_task(house.bring(dict.fromkeys(range(8), "high"), replace=True))
    await halted.reached.wait()
    assert await house.change(9, "active", RESTORE) == 1
    counts = await finish(task, halted)
    assert (counts.withdrawn, counts.same, counts.missing_disputed) == (1, 8, 1)
    assert {at: row[:2] for at, row in (await house.stands()).items() if row[0] != "active"} == {
        8: ("disputed", None),
        9: ("withdrawn", "replaced"),
    }


@pytest.mark.parametrize("few", [0, 100], ids=["ahead", "under the lock"])
async def test_a_replacement_leaves_what_is_disputed(house, monkeypatch, few):
    monkeypatch.setattr(imports, "FEW_ROWS", few)
    levels = dict.fromkeys(range(8), "high")
    told = (await house.bring(levels, replace=True, dry_run=True)).counts
    counts = (await house.bring(levels, replace=True)).counts
    assert told == counts
    assert (counts.withdrawn, counts.missing_disputed, counts.disputed, counts.rows) == (0, 1, 0, 8)
    assert (await house.bring({**levels, 8: "low"}, replace=True)).counts.disputed == 1
    assert (await house.stands())[8][:3] == ("disputed", None, "high"), "nor is it brought back unmarked"


async def test_what_is_disputed_meanwhile_is_left_by_a_replacement(house, halted):
    task = asyncio.create_task(house.bring(dict.fromkeys(range(7), "high"), replace=True))
    await halted.reached.wait()
    assert await house.change(9, "active", RESTORE) == 1
    assert await house.change(9, "disputed", DISPUTE) == 1
    counts = await finish(task, halted)
    assert (counts.withdrawn, counts.same, counts.missing_disputed, counts.rows) == (1, 7, 2, 7)
    assert (await house.stands())[9][:2] == ("disputed", None)


async def test_what_had_ended_is_not_the_same_as_a_row_that_lasts(house):
    """Of one day, the record is the same to the byte that counts; the entry is only not withdrawn yet."""
    lines = "identifier,valid_until\n{},{}"
    of, morning = await house.list(), house.clock().replace(hour=9, minute=0, second=0, microsecond=0)
    evening = morning.replace(hour=23)

    async def bring(until):
        text = lines.format(identifier(11), f"{until:%Y-%m-%dT%H:%M:%S}.000Z")
        return await house.importer.run(of, io.BytesIO(text.encode()), Defaults("telecom_fraud"), Order("ops"))

    house.clock.now = morning - timedelta(hours=1)
    assert (await bring(morning)).counts.new == 1
    assert (await bring(evening)).counts.same == 1, "while it stands, the day counts"
    house.clock.now = morning
    assert (await bring(evening)).counts.replaced == 1
    [(_, stands)] = await house.store.lists.entries_of([house.handle(11)])
    assert stands.valid_until == evening


async def test_what_had_ended_is_not_the_same_as_what_a_program_lists(house):
    morning = house.clock().replace(hour=9, minute=0, second=0, microsecond=0)
    house.clock.now = morning - timedelta(hours=1)
    assert [*(await house.upsert(11, until=morning)).values()] == ["listed"]
    assert [*(await house.upsert(11, until=morning.replace(hour=23))).values()] == ["unchanged"]
    house.clock.now = morning
    assert [*(await house.upsert(11, until=morning.replace(hour=23))).values()] == ["replaced"]


async def test_a_rule_of_the_never_list_that_comes_meanwhile_ends_the_import(house, halted, begun):
    before = await house.stands()
    rule = NeverRule("phone", "prefix", "+8613800138010")
    await house.store.never.add([seal_rule(KEY, rule, "ops", row=uuid4(), nonce=os.urandom(NONCE_BYTES))])
    with pytest.raises(InputError) as refused:
        await finish(begun, halted)
    assert refused.value.code == "never_changed"
    assert await house.stands() == before


async def test_more_changes_than_there_are_numbers_for_are_refused(house, halted, monkeypatch):
    monkeypatch.setattr(applying, "AHEAD", 1)
    task = asyncio.create_task(house.bring(FILE))
    await halted.reached.wait()
    await house.withdraw(5)
    before = await house.stands()
    with pytest.raises(StoreError) as refused:
        await finish(task, halted)
    assert refused.value.code == "list_busy"
    assert await house.stands() == before
    monkeypatch.undo()
    assert (await house.bring(FILE)).counts.new == 2


CHANGES = st.lists(
    st.tuples(st.sampled_from(range(10)), st.sampled_from(["corrected", "appeal_upheld", "dispute", "restore"])),
    max_size=6,
)
FILES = st.dictionaries(st.sampled_from(ALL), st.sampled_from(["low", "high"]), min_size=1)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file=FILES, changes=CHANGES, replace=st.booleans())
async def test_an_import_beside_which_others_change_the_list_does_the_same_as_one_after_them(
    house, file, changes, replace
):
    """On one list others come while the import is written, until one has to wait for it; on the other one before."""
    for name in ("fraud", "other"):
        of = await house.list(name)
        await house.sql.execute(f"drop table if exists entries_{of.id}")
        await house.sql.execute("delete from entry_versions where list_id = $1", of.id)
        await house.sql.execute("update lists set listed = 0 where name = $1", name)
        await house.fill(name)

    async def change(number, what, name):
        if what in ("dispute", "restore"):
            states = {"dispute": ("disputed", DISPUTE), "restore": ("active", RESTORE)}
            await house.change(number, *states[what], name)
        else:
            await house.withdraw(number, what, name=name)

    done = []
    with pytest.MonkeyPatch.context() as patch:
        halted = Halted(patch)
        task = asyncio.create_task(house.bring(file, replace=replace))
        await halted.reached.wait()
        changing = []
        for one in changes:
            changing.append(asyncio.create_task(change(*one, "fraud")))
            done.append(one)
            if not await house.done_without_waiting(changing[-1]):
                break
        beside = await finish(task, halted)
        await asyncio.gather(*changing)
    for one in done:
        await change(*one, "other")
    after = await house.bring(file, "other", replace=replace)
    assert beside == after.counts
    stands = await house.stands()
    assert stands == await house.stands("other")
    standing = sum(state != "withdrawn" for state, *_ in stands.values())
    assert [(await house.list(name)).listed for name in ("fraud", "other")] == [standing] * 2


# --- who waits, and who is killed


async def test_whoever_has_to_wait_too_long_is_told_why(house, halted, dsn):
    hurried = await Store.open(dsn, statement_seconds=0.5)
    try:
        task = asyncio.create_task(house.bring(FILE))
        await halted.reached.wait()
        with pytest.raises(StoreError) as refused:
            await house.upsert(5, hurried)
        assert refused.value.code == "list_busy"
        await finish(task, halted)
        async with house.sql.transaction():
            await house.sql.execute("select 1 from lists where name = 'fraud' for no key update")
            with pytest.raises(StoreError) as refused:
                await house.withdraw(5, store=hurried)
        assert refused.value.code == "list_busy"
    finally:
        await hurried.close()
    assert await house.withdraw(5) == 1


async def test_an_importer_that_is_killed_before_its_commit_leaves_nothing_and_goes_on(house, dsn, tmp_path):
    path = tmp_path / "file.csv"
    path.write_text("\n".join(["number", *(f"139{n:08}" for n in range(6000))]))

    async def started():
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", IMPORTER, dsn, str(path), "10000"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )

    before = await house.stands()
    async with house.sql.transaction():  # the list is locked: the import writes all, and waits
        await house.sql.execute("select 1 from lists where name = 'fraud' for no key update")
        importer = await started()
        await house.waiting()
        importer.kill()
        await importer.wait()
    assert await house.withdraw(5) == 1
    assert await house.sql.fetchval("select count(*) from entries") == 20
    assert {**(await house.stands()), 5: before[5]} == before
    importer = await started()
    said, _ = await importer.communicate(b"")
    assert b"committed 6000 0" in said
    assert b"began 6000" in said


# --- who cancels


async def test_whoever_cancels_an_import_that_is_being_committed_comes_too_late(house, halted, begun):
    [row] = await house.store.imports.imports_of((await house.list()).id, 1)
    cancelling = asyncio.create_task(house.store.imports.cancel(row.id))
    await house.waiting()
    counts = await finish(begun, halted)
    assert await cancelling is False
    assert (counts.new, counts.replaced) == (2, 2)
    assert (await house.store.imports.import_with(row.id)).state == "committed"


async def test_whoever_cancels_too_early_for_that_is_told_why(house, halted, begun, dsn):
    [row] = await house.store.imports.imports_of((await house.list()).id, 1)
    hurried = await Store.open(dsn, statement_seconds=0.5)
    try:
        with pytest.raises(StoreError) as refused:
            await hurried.imports.cancel(row.id)
    finally:
        await hurried.close()
    assert refused.value.code == "list_busy"
    assert (await finish(begun, halted)).new == 2
