"""Importing into a real PostgreSQL.

By hand, once: 200 MB of CSV, 11,770,000 distinct phone numbers with a level each, through `Importer.run` into one list
of a PostgreSQL that `start_server` started, on two shared cores, with `statement_seconds=1800`: all rows taken in 483 s,
and the importing process never held more than 48 MB (45 MB before it began).
"""

from __future__ import annotations

import asyncio
import io
import random
import sys
import textwrap
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from riskshare.errors import InputError
from riskshare.membership.identifier import parse
from riskshare.membership.record import Record
from riskshare.sharing.entry import DataKey, content_of, reseal
from riskshare.sharing.importing import Order
from riskshare.sharing.kept import Change, ListCounts
from riskshare.sharing.never import NeverList, NeverRule
from riskshare.sharing.reading import NOTHING
from riskshare.sharing.rows import Defaults
from riskshare.sharing.staged import NewImport, SavedMapping
from tests.simulator.changing import withdrawal
from tests.simulator.importing import Noting, importer_over
from tests.simulator.publishing import START, Clock

KEY = DataKey(bytes(range(32)))
PHONES = Defaults("telecom_fraud", type="phone", region="CN")
NUMBERS = [f"138001380{n:02}" for n in range(60)]


class Office:
    """An importer with a clock, over a store; `told` notes what it was told."""

    def __init__(self, store, sql):
        self.store = store
        self.sql = sql
        self.clock = Clock()
        self.told = Noting()
        self.importer = importer_over(store.imports, KEY, self.clock)

    @property
    def bad(self):
        return self.told.rows

    async def imports(self):
        of = await self.store.lists.list_named("fraud")
        return await self.store.imports.imports_of(of.id)

    async def tables(self):
        """The tables of imports that are not over."""
        return await self.sql.fetch(r"select relname from pg_class where relname ~ 'import_rows_\d'")

    async def cancel(self):
        for row in await self.imports():
            await self.store.imports.cancel(row.id)

    async def run(self, lines, defaults=PHONES, told=None, never=NOTHING, **options):
        of = await self.store.lists.list_named("fraud")
        file = io.BytesIO("\n".join(lines).encode())
        self.told = told or Noting()
        order = Order(**{"author": "ops", **options})
        return await self.importer.run(of, file, defaults, order, never=never, watcher=self.told)

    async def entries(self):
        of = await self.store.lists.list_named("fraud")
        async with self.store.lists.changes(of.id, -1) as changes:
            return [entry async for batch in changes for entry in batch]

    async def listed(self):
        return sorted(
            KEY.open_identifier(entry.sealed, row=entry.id, list_name="jd/fraud", state=entry.state).decode()
            for entry in await self.entries()
            if entry.state != "withdrawn"
        )

    async def counts(self):
        of = await self.store.lists.list_named("fraud")
        return await self.store.lists.counts(of.id)


@pytest.fixture
async def office(store, sql):
    await store.lists.create_list("fraud", "telecom_fraud", "default")
    return Office(store, sql)


def canonical(numbers):
    return sorted(f"phone:+86{number}" for number in numbers)


async def test_a_file_becomes_entries(office):
    report = await office.run(NUMBERS)
    assert (report.rows, report.good, report.bad_rows, report.committed) == (60, 60, 0, True)
    assert (report.counts.new, report.counts.changes) == (60, 60)
    assert await office.listed() == canonical(NUMBERS)
    entry = (await office.entries())[0]
    record = Record.from_bytes(entry.record)
    assert (record.level, record.listed_at, record.valid_until) == ("high", START, START + timedelta(days=180))
    assert (entry.state, entry.valid_from, entry.valid_until) == ("active", START, record.valid_until)


async def test_an_entry_is_found_by_its_handle(office):
    await office.run(NUMBERS)
    handle = KEY.handle(parse("phone:+8613800138007").oprf_input, "jd/fraud")
    assert len(await office.store.lists.entries_of([handle])) == 1


async def test_no_column_holds_an_identifier_in_the_clear(office, sql):
    await office.run(NUMBERS)
    for row in await sql.fetch("select e::text from entries e"):
        text = row["e"].replace("\\\\x", "")
        assert "1380013" not in text
        assert b"1380013".hex() not in text


@pytest.mark.parametrize(
    ("options", "committed", "entries"),
    [({}, False, 0), ({"skip_bad": True}, True, 3), ({"dry_run": True, "skip_bad": True}, False, 0)],
    ids=["refused", "skipped", "dry run"],
)
async def test_bad_rows_are_all_told_and_the_good_ones_kept_by_choice(office, options, committed, entries):
    report = await office.run([NUMBERS[0], "12", NUMBERS[1], "x", "y", NUMBERS[2]], **options)
    assert [(row.line, row.code) for row in office.bad] == [(2, "length"), (4, "characters"), (5, "characters")]
    assert (report.rows, report.good, report.bad) == (6, 3, {"length": 1, "characters": 2})
    assert (report.committed, report.counts.new) == (committed, 3)
    assert len(await office.entries()) == entries


async def test_the_same_file_again_changes_nothing(office):
    await office.run(NUMBERS)
    before = await office.entries()
    office.clock.wait(hours=3)
    report = await office.run(NUMBERS)
    assert (report.counts.same, report.counts.changes) == (60, 0)
    assert await office.entries() == before


async def test_another_time_of_the_same_day_changes_nothing_but_what_was_withdrawn(office):
    """As the document says, and what to do about it."""
    day = f"{START + timedelta(days=9):%Y-%m-%d}"

    async def until(moment):
        report = await office.run(["identifier,valid_until", f"phone:+86{NUMBERS[0]},{moment}"])
        (entry,) = await office.entries()
        return report.counts, f"{entry.valid_until:%Y-%m-%dT%H:%M:%S.000Z}"

    assert (await until(f"{day}T18:00:00.000Z"))[1] == f"{day}T18:00:00.000Z"
    counts, end = await until(f"{day}T12:00:00.000Z")
    assert (counts.same, counts.changes, end) == (1, 0, f"{day}T18:00:00.000Z")
    of = await office.store.lists.list_named("fraud")
    handle = KEY.handle(parse(f"phone:+86{NUMBERS[0]}").oprf_input, "jd/fraud")

    def again(of, entry, state):
        return reseal(KEY, f"jd/{of.name}", entry, state, bytes(12))

    await office.store.lists.change_state(of.id, [handle], "withdrawn", withdrawal("corrected"), again)
    counts, end = await until(f"{day}T12:00:00.000Z")
    assert (counts.relisted, end) == (1, f"{day}T12:00:00.000Z")


async def test_another_record_replaces_the_entry(office):
    await office.run(NUMBERS[:3])
    report = await office.run(["identifier,level", f"phone:+86{NUMBERS[0]},low"])
    assert (report.counts.replaced, report.counts.new) == (1, 0)
    levels = sorted(Record.from_bytes(entry.record).level for entry in await office.entries())
    assert levels == ["high", "high", "low"]


async def test_spellings_of_one_identifier_are_one_entry(office):
    report = await office.run([NUMBERS[0], f"+86 {NUMBERS[0]}", f"0086-{NUMBERS[0]}", "138 0013 8000"], skip_bad=True)
    assert await office.listed() == canonical(NUMBERS[:1])
    assert report.counts.repeated == report.good - 1


async def test_a_file_that_is_the_whole_list_withdraws_the_others(office):
    await office.run(NUMBERS[:10])
    assert (await office.run(NUMBERS[5:12], replace=True, dry_run=True)).counts.withdrawn == 5
    assert await office.listed() == canonical(NUMBERS[:10])
    report = await office.run(NUMBERS[5:12], replace=True)
    assert (report.counts.withdrawn, report.counts.new, report.counts.same) == (5, 2, 5)
    assert await office.listed() == canonical(NUMBERS[5:12])
    gone = [entry for entry in await office.entries() if entry.state == "withdrawn"]
    assert {entry.reason for entry in gone} == {"replaced"}
    opened = [KEY.open_identifier(e.sealed, row=e.id, list_name="jd/fraud", state="withdrawn") for e in gone]
    assert sorted(value.decode() for value in opened) == canonical(NUMBERS[:5])


async def test_a_file_without_a_good_row_does_not_empty_the_list(office):
    await office.run(NUMBERS[:10])
    with pytest.raises(InputError) as refused:
        await office.run(["x", "y"], replace=True, skip_bad=True)
    assert refused.value.code == "file_empty"
    assert await office.listed() == canonical(NUMBERS[:10])


@pytest.mark.parametrize(
    ("data", "code"), [([], "file_empty"), (["\ufeff\0"], "file_encoding"), (["type"], "no_column")]
)
async def test_a_file_that_cannot_be_read_changes_nothing(office, data, code):
    await office.run(NUMBERS[:3])
    with pytest.raises(InputError) as refused:
        await office.run(data, Defaults("telecom_fraud"))
    assert refused.value.code == code
    assert await office.counts() == ListCounts(active=3, disputed=0, withdrawn=0, pending=3)


def many(count):
    """Numbers whose text fills several chunks of a file."""
    return ["number,note", *(f"138{n:08},{'x' * 60}" for n in range(count))]


LONG = replace(PHONES, column="number")


async def test_several_pieces_are_one_change(office):
    lines = many(5000)
    report = await office.run(lines, LONG)
    assert report.counts.new == 5000
    assert len(office.told.moves) > 2
    assert office.told.moves[-1] == 5000
    assert {entry.changed for entry in await office.entries()} == {1}
    [change] = await office.sql.fetch("select * from list_changes")
    assert (change["author"], change["action"], change["import_id"], change["added"]) == (
        "ops",
        "import",
        report.id,
        5000,
    )


class Cut(Noting):
    """Ends the import after so many pieces, as a cancellation would."""

    def __init__(self, pieces):
        super().__init__()
        self.left = pieces

    def moved(self, place, rows):
        super().moved(place, rows)
        self.left -= 1
        if not self.left:
            raise asyncio.CancelledError


@pytest.mark.parametrize("pieces", [1, 2])
async def test_an_import_that_was_cut_off_goes_on_where_it_stopped(office, pieces):
    lines = many(5000)
    told = Cut(pieces)
    with pytest.raises(asyncio.CancelledError):
        await office.run(lines, LONG, told=told)
    assert await office.entries() == []
    [left] = await office.imports()
    assert (left.state, left.rows, left.place) == ("reading", told.moves[-1], told.places[-1])
    office.clock.wait(hours=1)
    report = await office.run(lines, LONG)
    assert report.resumed_at == office.told.resumed == left.rows
    assert report.counts.new == 5000
    assert {entry.valid_from for entry in await office.entries()} == {START}
    assert [row.state for row in await office.imports()] == ["committed"]
    assert await office.tables() == []


@pytest.mark.parametrize(
    "other",
    [
        {"lines": many(4999)},
        {"defaults": replace(LONG, level="low")},
        {"defaults": replace(LONG, fields=(("case", "note"),))},
        {"days": 8},
    ],
    ids=["another file", "another level", "another mapping", "too late"],
)
async def test_another_import_begins_anew(office, other):
    with pytest.raises(asyncio.CancelledError):
        await office.run(many(5000), LONG, told=Cut(1))
    office.clock.wait(days=other.pop("days", 0))
    report = await office.run(**{"lines": many(5000), "defaults": LONG, **other})
    assert report.resumed_at is None
    assert report.counts.new == report.rows


async def test_what_was_read_for_a_dry_run_is_not_read_again(office):
    dry = await office.run([*NUMBERS, "x"], dry_run=True, skip_bad=True)
    report = await office.run([*NUMBERS, "x"], skip_bad=True)
    assert (report.id, report.resumed_at, report.counts.new, report.committed) == (dry.id, 61, 60, True)
    assert [row.code for row in office.bad] == ["characters"]


@pytest.mark.parametrize(("hours", "resumed"), [(0.9, 61), (1, None)])
async def test_terms_count_from_the_import_not_from_a_dry_run_of_long_ago(office, hours, resumed):
    dry = await office.run([*NUMBERS, "x"], dry_run=True, skip_bad=True)
    office.clock.wait(hours=hours)
    report = await office.run([*NUMBERS, "x"], skip_bad=True)
    assert (report.resumed_at, report.id == dry.id) == (resumed, resumed is not None)
    assert {entry.valid_from for entry in await office.entries()} == {office.clock() if resumed is None else START}
    assert (report.counts.new, len(await office.tables())) == (60, 0)


async def test_a_row_that_has_ended_since_the_dry_run_is_not_listed(office):
    lines = ["identifier,valid_until", f"phone:+86{NUMBERS[0]},{START + timedelta(minutes=5):%Y-%m-%dT%H:%M:%S.000Z}"]
    assert (await office.run(lines, dry_run=True)).counts.new == 1
    office.clock.wait(minutes=5)
    report = await office.run(lines)
    assert (report.resumed_at, report.bad) == (None, {"valid_until_invalid": 1})
    assert await office.entries() == []


async def test_what_was_refused_can_be_decided_otherwise(office):
    refused = await office.run([*NUMBERS, "x"])
    [row] = await office.imports()
    assert (row.state, row.code, row.counts.new) == ("refused", "bad_rows", 60)
    report = await office.run([*NUMBERS, "x"], skip_bad=True)
    assert (report.id, report.committed) == (refused.id, True)


async def test_another_file_takes_the_place_of_one_that_was_refused(office):
    await office.run([*NUMBERS, "x"])
    await office.run(NUMBERS)
    assert [row.state for row in await office.imports()] == ["committed", "cancelled"]
    assert await office.tables() == []


async def test_another_file_takes_the_place_of_one_that_was_cut_off(office):
    with pytest.raises(asyncio.CancelledError):
        await office.run(many(5000), LONG, told=Cut(1))
    await office.run(NUMBERS)
    assert [row.state for row in await office.imports()] == ["committed", "cancelled"]
    assert await office.tables() == []


async def test_a_rule_that_is_removed_frees_the_rows_that_it_refused(office):
    """Also if it was not the newest: what a refused import has read was judged by all of them."""
    rules = [NeverRule("phone", "exact", f"+86{number}", "", place) for place, number in enumerate(NUMBERS[1:3], 1)]
    refused = await office.run(NUMBERS, never=NeverList(rules))
    assert (refused.bad, refused.committed) == ({"never_listed": 2}, False)
    again = await office.run(NUMBERS, never=NeverList(rules[1:]), skip_bad=True)
    assert (again.resumed_at, again.bad, again.counts.new) == (None, {"never_listed": 1}, refused.rows - 1)


@pytest.mark.parametrize(
    ("order", "defaults", "code"),
    [({"author": "o\nps"}, PHONES, "author_invalid"), ({}, replace(PHONES, reason="a\u3000b"), "reason_invalid")],
)
async def test_what_no_change_can_say_is_refused_before_anything_is_read(office, order, defaults, code):
    with pytest.raises(InputError) as refused:
        await office.run(NUMBERS, defaults, **order)
    assert refused.value.code == code
    assert await office.imports() == []


async def test_a_list_takes_one_import_at_a_time(office):
    of = await office.store.lists.list_named("fraud")
    wanted = NewImport(uuid4(), of.id, bytes(32), "csv", "ops", "add", office.clock(), 0, 1)
    async with office.store.imports.staging(wanted) as staging:
        assert (await office.store.imports.import_with(staging.row.id)).running
        with pytest.raises(InputError) as refused:
            await office.run(NUMBERS)
        assert refused.value.code == "import_running"
    row = await office.store.imports.import_with(staging.row.id)
    assert (row.running, row.interrupted) == (False, True)
    assert (await office.run(NUMBERS)).committed


@pytest.mark.parametrize(
    "step",
    [
        lambda staging: staging.count(replace=True),
        lambda staging: anext(staging.repeated()),
        lambda staging: staging.commit(Change("ops", "import", "r"), replace=None),
    ],
    ids=["count", "repeated", "commit"],
)
async def test_an_import_that_is_cancelled_between_two_steps_says_so_at_the_next(office, step):
    of = await office.store.lists.list_named("fraud")
    wanted = NewImport(uuid4(), of.id, bytes(32), "csv", "ops", "add", office.clock(), 0, 1)
    async with office.store.imports.staging(wanted) as staging:
        await staging.finish()
        assert await office.store.imports.cancel(wanted.id)
        with pytest.raises(InputError) as refused:
            await step(staging)
    assert refused.value.code == "import_cancelled"


class Faulty(Noting):
    """Makes a mistake when everything is read."""

    def writing(self):
        raise RuntimeError("phone:+8613800138000")


@pytest.mark.parametrize(
    ("unattended", "standing", "code"), [(False, "interrupted", None), (True, "refused", "internal")]
)
async def test_a_fault_of_ours_ends_an_import_for_good_if_nobody_sees_it(office, unattended, standing, code):
    """Nothing but the import itself says so: at no moment it seems to go on."""
    with pytest.raises(RuntimeError):
        await office.run(NUMBERS, told=Faulty(), unattended=unattended)
    [row] = await office.imports()
    assert (row.standing, row.code) == (standing, code)
    assert len(await office.tables()) == (0 if unattended else 1)
    report = await office.run(NUMBERS)
    assert (report.committed, report.resumed_at) == (True, None if unattended else 60)
    assert await office.listed() == canonical(NUMBERS)


async def test_an_import_can_be_cancelled(office):
    held = office.sql.transaction()  # however fast it is: before it is cancelled, it cannot commit
    await held.start()
    await office.sql.execute("select 1 from lists for no key update")

    async def cancel():
        await office.cancel()
        await held.rollback()

    class Cancelling(Noting):
        def moved(self, place, rows):
            super().moved(place, rows)
            if len(self.moves) == 1:
                asyncio.get_running_loop().create_task(cancel())

    with pytest.raises(InputError) as refused:
        await office.run(many(30_000), LONG, told=Cancelling())
    assert refused.value.code == "import_cancelled"
    assert [row.state for row in await office.imports()] == ["cancelled"]
    assert (await office.entries(), await office.tables()) == ([], [])
    assert not await office.store.imports.cancel((await office.imports())[0].id)


async def test_what_nobody_goes_on_with_is_dropped(office):
    with pytest.raises(asyncio.CancelledError):
        await office.run(many(5000), LONG, told=Cut(1))
    before = datetime.now(UTC) - timedelta(hours=1)
    assert await office.store.imports.drop_stale(before) == 0
    assert await office.store.imports.drop_stale(before + timedelta(hours=2)) == 1
    assert ([row.state for row in await office.imports()], await office.tables()) == (["cancelled"], [])


async def test_bad_rows_of_old_imports_are_forgotten(office):
    report = await office.run([*NUMBERS, "x", "y"], skip_bad=True)
    left = await office.run([NUMBERS[0], "x"])
    faults = office.store.imports.faults
    before = datetime.now(UTC) - timedelta(hours=1)
    assert await office.store.imports.forget_faults(before) == 0
    assert await office.store.imports.forget_faults(before + timedelta(hours=2)) == 2
    assert await faults(report.id, -1, 10) == []
    assert [row.line for row in await faults(left.id, -1, 10)] == [2]


async def test_a_row_that_another_overrides_is_told_in_a_dry_run(office):
    lines = [NUMBERS[0], NUMBERS[1], f"+86 {NUMBERS[0]}", NUMBERS[0]]
    report = await office.run(lines, dry_run=True)
    assert (report.counts.new, report.counts.repeated) == (2, 2)
    assert office.told.overridden == [(1, 4), (3, 4)]


async def test_the_last_row_of_an_identifier_counts(office):
    rows = [f"phone:+86{NUMBERS[0]},low", f"phone:+86{NUMBERS[0]},critical"]
    for earlier in ([], [NUMBERS[1]]):  # into an empty list, and into one with entries
        if earlier:
            await office.run(earlier)
            await office.run(["identifier,level", f"phone:+86{NUMBERS[0]},low"])
        await office.run(["identifier,level", *rows])
        entries = await office.entries()
        assert "critical" in {Record.from_bytes(entry.record).level for entry in entries}


# --- the whole list at once


async def test_a_file_that_would_withdraw_too_much_is_refused(office):
    await office.run(NUMBERS[:10])
    with pytest.raises(InputError) as refused:
        await office.run(NUMBERS[3:10], replace=True, most_withdrawn=20)
    assert refused.value.code == "replace_too_large"
    assert "3 of 10 entries" in refused.value.message
    assert office.told.expected.withdrawn == 3
    assert [row.code for row in await office.imports()][:1] == ["replace_too_large"]
    assert await office.listed() == canonical(NUMBERS[:10])
    report = await office.run(NUMBERS[3:10], replace=True, most_withdrawn=100)
    assert (report.counts.withdrawn, report.resumed_at) == (3, 7)
    assert await office.listed() == canonical(NUMBERS[3:10])


async def test_a_dry_run_refuses_what_the_run_would(office):
    await office.run(NUMBERS[:10])
    with pytest.raises(InputError) as refused:
        await office.run(NUMBERS[3:10], replace=True, most_withdrawn=20, dry_run=True)
    assert (refused.value.code, office.told.expected.withdrawn) == ("replace_too_large", 3)
    report = await office.run(NUMBERS[3:10], replace=True, most_withdrawn=30, dry_run=True)
    assert (report.counts.withdrawn, report.committed) == (3, False)
    assert await office.listed() == canonical(NUMBERS[:10])


async def test_a_file_that_withdraws_a_little_is_not(office):
    await office.run(NUMBERS[:10])
    report = await office.run(NUMBERS[2:10], replace=True, most_withdrawn=20)
    assert report.counts.withdrawn == 2


async def test_a_truncated_file_does_not_empty_a_list(office):
    await office.run(many(200)[1:], replace(LONG, column=""), most_withdrawn=20)
    with pytest.raises(InputError) as refused:
        await office.run(many(200)[1:20], replace(LONG, column=""), replace=True, most_withdrawn=20)
    assert refused.value.code == "replace_too_large"


# --- mappings


async def test_a_mapping_is_kept_with_a_committed_import(office):
    of = await office.store.lists.list_named("fraud")
    mapping = SavedMapping("phone", "number", "CN", (("level", "risk"),), "ops")
    await office.run(["12"], mapping=mapping)
    assert await office.store.imports.mapping(of.id) is None
    await office.run(NUMBERS, mapping=mapping)
    saved = await office.store.imports.mapping(of.id)
    assert (replace(saved, saved_at=None), saved.saved_at is not None) == (mapping, True)
    await office.run(NUMBERS[:2], mapping=replace(mapping, region="US", fields=()))
    assert (await office.store.imports.mapping(of.id)).region == "US"


# --- processes that are killed

IMPORTER = textwrap.dedent("""
    import asyncio, sys
    from datetime import UTC, datetime
    from riskshare.sharing.entry import DataKey
    from riskshare.sharing.importing import Order, Watcher
    from riskshare.sharing.rows import Defaults
    from riskshare.store.store import Store
    from tests.simulator.importing import importer_over

    class Telling(Watcher):
        def began(self, row, *, resumed, total):
            print("began", row.rows, flush=True)

        def moved(self, place, rows):
            print("moved", rows, flush=True)

        def writing(self):
            print("writing", flush=True)

    async def main(dsn, path, small):
        store = await Store.open(dsn)
        of = await store.lists.list_named("fraud")
        importer = importer_over(store.imports, DataKey(bytes(range(32))), lambda: datetime.now(UTC), small=int(small))
        defaults = Defaults("telecom_fraud", type="phone", column="number", region="CN")
        with open(path, "rb") as file:
            report = await importer.run(of, file, defaults, Order("ops"), watcher=Telling())
        print("committed", report.counts.new, report.counts.same, flush=True)
        sys.stdin.read()

    if __name__ == "__main__":
        asyncio.run(main(*sys.argv[1:]))
""")


async def killed(dsn, path, word, times, small):
    """Run an importer until it has said a word so many times, or all before its commit, and kill it; what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", IMPORTER, dsn, str(path), str(small)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    said = []
    while times:
        line = (await process.stdout.readline()).decode().split()
        assert line, said
        said.append(line)
        times -= line[0] == word
        if line[0] == "writing" and word in ("began", "moved"):
            break
    process.kill()
    await process.wait()
    return said


@pytest.mark.parametrize("small", [10_000, 0], ids=["in a thread", "in processes"])
async def test_an_importer_that_is_killed_anywhere_neither_loses_nor_doubles_a_row(office, dsn, sql, tmp_path, small):
    path = tmp_path / "file.csv"
    path.write_text("\n".join(many(10_000)))
    chance = random.Random(small)
    kept = 0
    for word, times in (("began", 1), ("moved", chance.randint(1, 3)), ("moved", chance.randint(1, 2)), ("writing", 1)):
        # It goes on while it is being killed, and must not come to its end before: its commit would lock the list.
        async with sql.transaction():
            if word != "writing":
                await sql.execute("select 1 from lists for no key update")
            said = await killed(dsn, path, word, times, small)
        assert int(said[0][1]) >= kept
        kept = max(int(line[1]) for line in said if line[0] in ("began", "moved"))
        entries = await office.entries()
        assert len(entries) in ((0, 10_000) if word == "writing" else (0,))
    [done] = [line for line in await killed(dsn, path, "committed", 1, small) if line[0] == "committed"]
    assert sum(map(int, done[1:])) == 10_000
    listed = await office.listed()
    assert listed == canonical(f"138{n:08}" for n in range(10_000))
    assert len(await office.entries()) == 10_000
    again = await killed(dsn, path, "committed", 1, small)
    assert again[-1] == ["committed", "0", "10000"]
    assert await office.tables() == []


MEASURED = textwrap.dedent("""
    import asyncio, sys
    from datetime import UTC, datetime
    from pathlib import Path
    from riskshare.sharing.entry import DataKey
    from riskshare.sharing.importing import Order
    from riskshare.sharing.rows import Defaults
    from riskshare.store.store import Store
    from tests.simulator.importing import importer_over

    async def main(dsn, *paths):
        store = await Store.open(dsn)
        of = await store.lists.list_named("fraud")
        importer = importer_over(store.imports, DataKey(bytes(range(32))), lambda: datetime.now(UTC), small=0)
        defaults = Defaults("telecom_fraud", type="phone", column="number", region="CN")
        for path in paths:
            with open(path, "rb") as file:
                await importer.run(of, file, defaults, Order("ops", dry_run=True))
            # Not ru_maxrss, which begins with what the parent held.
            status = Path("/proc/self/status").read_text().splitlines()
            print(next(line.split()[1] for line in status if line.startswith("VmHWM")), flush=True)
        await store.close()

    asyncio.run(main(*sys.argv[1:]))
""")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is told by Linux only")
async def test_memory_does_not_grow_with_the_rows(office, dsn, tmp_path):
    """The most that a process of its own ever held, after a short file and after one that is four times as long.

    The rows that the long file has more are 36 MB in the form in which they are stored, and more as objects: a process
    that kept them would show it.
    """
    paths = []
    for name, rows in (("short", 40_000), ("long", 140_000)):
        paths.append(tmp_path / name)
        paths[-1].write_text("\n".join(many(rows)))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MEASURED, dsn, *map(str, paths), stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0
    after_short, after_long = (int(line) * 1024 for line in printed.split())
    assert after_long - after_short < 30_000_000
    assert await office.entries() == []


async def test_content_leaves_the_moment_out_and_nothing_else():
    record = Record("telecom_fraud", "r", "high", "e", START, START + timedelta(days=3), case="c", appeal="a")
    same = [
        Record("telecom_fraud", "r", "high", "e", START + timedelta(hours=1), record.valid_until, case="c", appeal="a"),
        Record("telecom_fraud", "r", "high", "e", START, record.valid_until + timedelta(hours=1), case="c", appeal="a"),
    ]
    other = [
        Record("telecom_fraud", "r2", "high", "e", START, record.valid_until, case="c", appeal="a"),
        Record("telecom_fraud", "r", "low", "e", START, record.valid_until, case="c", appeal="a"),
        Record("telecom_fraud", "r", "high", "e2", START, record.valid_until, case="c", appeal="a"),
        Record("telecom_fraud", "r", "high", "e", START, record.valid_until + timedelta(days=1), case="c", appeal="a"),
        Record("telecom_fraud", "r", "high", "e", START, record.valid_until, case="c2", appeal="a"),
        Record("telecom_fraud", "r", "high", "e", START, record.valid_until, case="c", appeal="a2"),
    ]
    assert {content_of(one) for one in same} == {content_of(record)}
    assert len({content_of(one) for one in [record, *other]}) == 7
