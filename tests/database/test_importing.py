"""Importing into a real PostgreSQL.

By hand, once: 200 MB of CSV, 11,770,000 distinct phone numbers with a level each, through `Importer.run` into one list
of a PostgreSQL that `start_server` started, on two shared cores, with `statement_seconds=1800`: all rows taken in 483 s,
and the importing process never held more than 48 MB (45 MB before it began).
"""

from __future__ import annotations

import asyncio
import io
import os
import sys
import textwrap
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from riskshare.errors import InputError, StoreError
from riskshare.membership.identifier import parse
from riskshare.membership.record import Record
from riskshare.sharing.entry import DataKey, content_of
from riskshare.sharing.importing import BATCH, Importer
from riskshare.sharing.kept import ListCounts
from riskshare.sharing.rows import Defaults
from tests.simulator.publishing import START, Clock

KEY = DataKey(bytes(range(32)))
PHONES = Defaults("telecom_fraud", type="phone", region="CN")
NUMBERS = [f"138001380{n:02}" for n in range(60)]


class Office:
    """An importer with a clock, over a store; `bad` and `progress` are what it was told."""

    def __init__(self, store):
        self.store = store
        self.clock = Clock()
        self.bad = []
        self.progress = []
        self.importer = Importer(
            member="jd", data_key=KEY, lists=store.lists, now=self.clock, random=os.urandom, new_id=uuid4
        )

    async def run(self, lines, defaults=PHONES, **options):
        of = await self.store.lists.list_named("fraud")
        file = io.BytesIO("\n".join(lines).encode())
        return await self.importer.run(
            of, file, defaults, author="ops", bad=self.bad.append, progress=self.progress.append, **options
        )

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
async def office(store):
    await store.lists.create_list("fraud", "telecom_fraud", "default")
    return Office(store)


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
    assert len(await office.store.lists.consult([handle], START)) == 1


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


async def test_several_batches_are_one_change(office):
    lines = [f"138{n:08}" for n in range(2 * BATCH + 10)]
    report = await office.run(lines)
    assert report.counts.new == len(lines)
    assert office.progress == [BATCH, 2 * BATCH, len(lines)]
    assert {entry.changed for entry in await office.entries()} == {1}


async def test_a_store_that_goes_away_in_the_middle_keeps_nothing(office):
    true = office.store.lists.import_entries

    class Cut:
        def __init__(self, under_way):
            self.under_way, self.left = under_way, 1

        async def add(self, batch):
            if not self.left:
                raise StoreError("away")
            self.left -= 1
            await self.under_way.add(batch)

    @asynccontextmanager
    async def import_entries(list_id):
        async with true(list_id) as under_way:
            yield Cut(under_way)

    office.store.lists.import_entries = import_entries
    with pytest.raises(StoreError):
        await office.run([f"138{n:08}" for n in range(3 * BATCH)])
    office.store.lists.import_entries = true
    assert await office.entries() == []


IMPORTER = textwrap.dedent("""
    import asyncio, os, sys
    from datetime import UTC, datetime
    from uuid import uuid4
    from riskshare.sharing.entry import DataKey
    from riskshare.sharing.importing import Importer
    from riskshare.sharing.rows import Defaults
    from riskshare.store.store import Store

    async def main(dsn, path):
        store = await Store.open(dsn)
        of = await store.lists.list_named("fraud")
        importer = Importer(member="jd", data_key=DataKey(bytes(range(32))), lists=store.lists,
                            now=lambda: datetime.now(UTC), random=os.urandom, new_id=uuid4)
        with open(path, "rb") as file:
            await importer.run(of, file, Defaults("telecom_fraud", type="phone", region="CN"),
                               author="ops", progress=lambda rows: print(rows, flush=True))

    asyncio.run(main(*sys.argv[1:]))
""")


async def test_an_importer_that_is_killed_leaves_nothing(office, dsn, tmp_path):
    """The file never ends, so the import is certainly under way when its process is killed."""
    pipe = tmp_path / "file.csv"
    os.mkfifo(pipe)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", IMPORTER, dsn, str(pipe), stdout=asyncio.subprocess.PIPE
    )
    file = await asyncio.to_thread(pipe.open, "wb")
    await asyncio.to_thread(file.writelines, [b"138%08d\n" % n for n in range(3 * BATCH)])
    assert await process.stdout.readline()
    process.kill()
    await process.wait()
    with suppress(BrokenPipeError):
        file.close()
    assert await office.entries() == []
    report = await office.run(NUMBERS)
    assert report.counts.new == 60


MEASURED = textwrap.dedent("""
    import asyncio, os, sys
    from datetime import UTC, datetime
    from io import RawIOBase
    from pathlib import Path
    from uuid import uuid4
    from riskshare.sharing.entry import DataKey
    from riskshare.sharing.importing import Importer
    from riskshare.sharing.rows import Defaults
    from riskshare.store.store import Store

    class Numbers(RawIOBase):
        # A file that is made while it is read, so that nothing but the importer holds its rows.
        def __init__(self, rows):
            self.lines = (b"138%08d,%s\\n" % (n, b"x" * 60) for n in range(rows))
            self.rest = b"number,note\\n"

        def readable(self):
            return True

        def readinto(self, out):
            while len(self.rest) < len(out) and (line := next(self.lines, b"")):
                self.rest += line
            data, self.rest = self.rest[:len(out)], self.rest[len(out):]
            out[:len(data)] = data
            return len(data)

    async def main(dsn, *counts):
        store = await Store.open(dsn)
        of = await store.lists.list_named("fraud")
        importer = Importer(member="jd", data_key=DataKey(bytes(range(32))), lists=store.lists,
                            now=lambda: datetime.now(UTC), random=os.urandom, new_id=uuid4)
        defaults = Defaults("telecom_fraud", type="phone", column="number", region="CN")
        for count in map(int, counts):
            report = await importer.run(of, Numbers(count), defaults, author="ops", dry_run=True)
            assert report.good == count, report
            # Not ru_maxrss, which begins with what the parent held.
            status = Path("/proc/self/status").read_text().splitlines()
            print(next(line.split()[1] for line in status if line.startswith("VmHWM")), flush=True)
        await store.close()

    asyncio.run(main(*sys.argv[1:]))
""")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is told by Linux only")
async def test_memory_does_not_grow_with_the_rows(office, dsn):
    """The most that a process of its own ever held, after a short file and after one that is ten times as long.

    The long file has 3 MB of text and some 20 MB of entries: a process that kept either would show it.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MEASURED, dsn, str(2 * BATCH), str(20 * BATCH), stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0
    after_short, after_long = (int(line) * 1024 for line in printed.split())
    assert after_long - after_short < 2_500_000
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
