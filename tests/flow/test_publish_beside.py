"""What goes on beside the passes of publishing: merging, and the computing of a list that a crash interrupts."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from riskshare.errors import DiskError, RiskshareError, SegmentError, StoreError
from riskshare.sharing import beside, composing, publish
from riskshare.sharing.beside import Beside
from riskshare.store.buildings import Buildings
from tests.simulator.published import PHONES, shown
from tests.simulator.publishing import Clock, Desk


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "WATCH_SECONDS", 0.01)
    monkeypatch.setattr(beside, "PATIENCE", 0.01)
    return Desk(tmp_path)


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in the store
            await asyncio.sleep(0.002)


class Slow:
    """A step of the composer that begins, and goes on when it is told to."""

    def __init__(self, publisher, name):
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self._true = getattr(publisher._composer, name)
        setattr(publisher._composer, name, self)

    async def __call__(self, *args):
        result = await self._true(*args)
        self.begun.set()
        await self.go_on.wait()
        return result


# --- merging


async def test_deltas_are_published_while_older_ones_are_merged_and_stand_behind_the_new_base(desk, of):
    publisher = desk.publisher(deltas=1)
    await publisher.refresh()
    desk.put(of, PHONES[10])
    assert await publisher.refresh() == 1
    desk.put(of, PHONES[11])
    merging = Slow(publisher, "merged")
    passing = asyncio.create_task(publisher.refresh())
    await merging.begun.wait()
    assert (await shown(desk, of)).kinds == ["base", "delta", "delta"]
    desk.put(of, PHONES[12])
    desk.change(of, PHONES[0], reason="appeal_upheld")
    publisher.stir()
    await until(lambda: len(desk.store.snapshots) == 4)
    found = await shown(desk, of)
    assert (found.kinds, found.listed()) == (["base", "delta", "delta", "delta"], PHONES[1:13])
    merging.go_on.set()
    assert await passing == 3
    found = await shown(desk, of)
    assert (found.kinds, found.listed()) == (["base", "delta"], PHONES[1:13])
    assert found.list.view.base.header.counts[0] == 12 + publish.CANARIES
    assert [row.version for row in desk.store.snapshots] == [1, 2, 3, 4, 5]


async def test_a_base_that_another_process_has_overtaken_is_not_published(desk, of, monkeypatch):
    publisher = desk.publisher(deltas=0)
    await publisher.refresh()
    desk.put(of, PHONES[10])
    merging = Slow(publisher, "merged")
    resting, true_wait = asyncio.Event(), Beside.wait

    async def wait(self, seconds):
        """Its next pass would replace the files too."""
        if self is publisher._beside and merging.begun.is_set():
            resting.set()
            await merging.go_on.wait()
        await true_wait(self, seconds)

    monkeypatch.setattr(Beside, "wait", wait)
    passing = asyncio.create_task(publisher.refresh())
    await resting.wait()
    assert await desk.publisher(deltas=5).refresh() == 0
    last = desk.store.snapshots[-1]
    for digest in last.segments:  # which the other process replaces
        desk.files.delete(digest)
    assert await desk.publisher().refresh() == 1
    merging.go_on.set()
    assert await passing == 1
    found = await shown(desk, of)
    assert (found.kinds, found.listed(), found.body["version"]) == (["base"], PHONES[:11], 3)


@pytest.mark.parametrize("step", ["publish", "published"])
async def test_a_crash_as_the_merged_base_is_stored_costs_a_repetition(desk, of, step):
    publisher = desk.publisher(deltas=0)
    await publisher.refresh()
    desk.put(of, PHONES[10])

    def crash(now):
        if now == step and len(desk.store.snapshots) == (2 if step == "publish" else 3):
            raise StoreError("gone")

    desk.store.fault = crash
    with pytest.raises(StoreError):
        await publisher.refresh()
    desk.store.fault = lambda _: None
    assert (await shown(desk, of)).listed() == PHONES[:11]
    desk.put(of, PHONES[11])
    await desk.publisher(deltas=0).refresh()
    found = await shown(desk, of)
    assert (found.kinds, found.listed()) == (["base"], PHONES[:12])


async def test_large_segments_are_merged_in_a_process(desk, of, monkeypatch):
    monkeypatch.setattr(composing, "SMALL_FILES", 0)
    publisher = desk.publisher(deltas=0)
    await publisher.refresh()
    desk.put(of, PHONES[10])
    desk.change(of, PHONES[0])
    assert await publisher.refresh() == 2
    found = await shown(desk, of)
    assert (found.kinds, found.listed()) == (["base"], PHONES[1:11])


async def test_a_damaged_file_that_a_process_finds_is_told_here(desk, of, monkeypatch):
    monkeypatch.setattr(composing, "SMALL_FILES", 0)
    publisher = desk.publisher(deltas=0)
    await publisher.refresh()
    [row] = desk.store.all_segments.values()
    path = desk.files.path(row.ref.file_digest)
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    job = await publisher._job(of, desk.store.all_epochs[0], desk.store.snapshots[-1])
    with pytest.raises(SegmentError):
        await publisher._composer.merged(job, [row])


# --- computing a base


async def test_what_is_withdrawn_while_a_new_epoch_is_computed_is_not_published_again(desk, of):
    publisher = desk.publisher()
    await publisher.refresh()
    desk.clock.wait(days=29)
    computing = Slow(publisher, "base")
    passing = asyncio.create_task(publisher.refresh())
    await computing.begun.wait()
    desk.change(of, PHONES[0], reason="appeal_upheld")
    desk.put(of, PHONES[10])
    publisher.stir()
    await until(lambda: len(desk.store.snapshots) == 3)
    assert [row.version for row in desk.store.snapshots] == [1, 2, 3], "under the old epoch it is gone at once"
    computing.go_on.set()
    assert await passing == 3
    first = desk.store.snapshots[-1]
    assert (first.epoch, first.version) == (desk.store.all_epochs[1].digest, 1)
    assert len(first.segments) == 2
    assert (await shown(desk, of)).listed() == PHONES[1:11]


async def test_a_list_that_is_new_does_not_wait_for_a_long_one(desk, of):
    publisher = desk.publisher()
    computing = Slow(publisher, "base")
    passing = asyncio.create_task(publisher.refresh())
    await computing.begun.wait()
    other = desk.create_list("aaa")
    desk.put(other, PHONES[0])
    publisher.stir()
    publisher._composer.base = computing._true
    await until(lambda: [row.list_id for row in desk.store.snapshots] == [other.id])
    computing.go_on.set()
    assert await passing == 2


def interrupted(desk, after):
    """A publisher that a crash ends as it is to write its run of that number."""

    class Crashing(Buildings):
        def hold(self, epoch, list_name):
            held = super().hold(epoch, list_name)
            true = held.write

            def write(number, fill):
                if number == after:
                    raise RiskshareError("crash")
                return true(number, fill)

            held.write = write
            return held

    publisher = desk.publisher()
    publisher._composer._buildings = Crashing(desk.folder.parent / "jd-building")
    return parts(publisher)


def parts(publisher, rows=7):
    publisher._composer._run_rows = rows
    return publisher


class Counting:
    """Builders that count the entries that they were given."""

    def __init__(self, publisher):
        self.entries = 0
        self._true = publisher._engine
        publisher._engine = self

    def __call__(self, key):
        self._context = self._true(key)
        return self

    async def __aenter__(self):
        self._build = await self._context.__aenter__()
        return self._counted

    async def __aexit__(self, *args):
        return await self._context.__aexit__(*args)

    async def _counted(self, name, chunks):
        async def counted():
            async for chunk in chunks:
                self.entries += len(chunk)
                yield chunk

        async for rows in self._build(name, counted()):
            yield rows


@pytest.mark.parametrize("crash", [0, 1, 4])
async def test_a_computing_that_crashed_goes_on_where_it_stopped(desk, of, crash):
    desk.store.batch = 3
    desk.put(of, *PHONES)
    with pytest.raises(RiskshareError):
        await interrupted(desk, crash).refresh()
    assert desk.store.snapshots == []
    desk.change(of, PHONES[0])
    desk.change(of, PHONES[30], "disputed")
    publisher = parts(desk.publisher())
    counting = Counting(publisher)
    await publisher.refresh()
    assert counting.entries == 59 - 9 * crash or crash, "with nothing kept, all is computed"
    assert counting.entries <= 60 - 9 * crash
    found = await shown(desk, of)
    assert found.listed() == PHONES[1:]
    assert found.record(PHONES[30]).disputed
    assert not list((desk.folder.parent / "jd-building").iterdir())


async def test_a_computing_that_is_ended_goes_on_where_it_stopped(desk, of, monkeypatch):
    """As above, and everything changes meanwhile: entries are replaced, withdrawn, relisted and added."""
    desk.store.batch = 3
    desk.put(of, *PHONES[:40])
    with pytest.raises(RiskshareError):
        await interrupted(desk, 3).refresh()
    desk.put(of, *PHONES[:5], level="low")
    for phone in PHONES[5:15]:
        desk.change(of, phone)
    desk.put(of, *PHONES[10:15], level="medium")
    desk.put(of, *PHONES[40:])
    await parts(desk.publisher()).refresh()
    found = await shown(desk, of)
    assert found.listed() == [*PHONES[:5], *PHONES[10:]]
    assert {found.record(phone).level for phone in PHONES[:5]} == {"low"}
    assert {found.record(phone).level for phone in PHONES[10:15]} == {"medium"}


@pytest.mark.parametrize("harm", ["altered", "lost"])
async def test_what_is_kept_of_a_computing_is_verified_or_computed_anew(desk, of, harm):
    desk.store.batch = 3
    desk.put(of, *PHONES)
    with pytest.raises(RiskshareError):
        await interrupted(desk, 3).refresh()
    run = next((desk.folder.parent / "jd-building").glob("*/*/000001.run"))
    if harm == "lost":
        run.unlink()
    else:
        written = run.read_bytes()
        run.write_bytes(written[:-1] + bytes([written[-1] ^ 1]))
    publisher = parts(desk.publisher())
    with pytest.raises(SegmentError):
        await publisher.refresh()
    assert desk.store.snapshots == []
    await publisher.refresh()
    assert (await shown(desk, of)).listed() == PHONES


async def test_another_data_key_begins_a_computing_anew(desk, of):
    desk.store.batch = 3
    desk.put(of, *PHONES)
    with pytest.raises(RiskshareError):
        await interrupted(desk, 3).refresh()
    marks = next((desk.folder.parent / "jd-building").glob("*/*/marks.json"))
    text = marks.read_text()
    at = text.index('"data_key":"') + len('"data_key":"')
    marks.write_text(text[:at] + "0" * 64 + text[at + 64 :])
    publisher = parts(desk.publisher())
    counting = Counting(publisher)
    await publisher.refresh()
    assert counting.entries == 60
    assert (await shown(desk, of)).listed() == PHONES


async def test_a_change_too_large_for_a_delta_is_a_further_run(desk, of):
    """While a list was computed, more changed than one delta holds."""
    desk.store.batch = 3
    desk.put(of, *PHONES[:40])
    publisher = parts(desk.publisher())
    publisher._composer._most_changes = 4
    computing = Slow(publisher, "base")
    passing = asyncio.create_task(publisher.refresh())
    await computing.begun.wait()
    desk.put(of, *PHONES[40:])
    for phone in PHONES[:8]:
        desk.change(of, phone)
    computing.go_on.set()
    assert await passing == 1
    found = await shown(desk, of)
    assert (found.kinds, found.listed()) == (["base"], PHONES[8:])
    assert found.body["count"] == 52 + publish.CANARIES


async def test_a_building_that_another_process_is_at_is_left_to_it(desk, of):
    held = desk.buildings.hold((await first_epoch(desk)).digest, of.name)
    publisher = desk.publisher()
    assert await publisher.refresh() == 0
    held.close()
    assert await publisher.refresh() == 1


async def first_epoch(desk):
    publisher = desk.publisher()
    await publisher._epochs.in_service({"default"})
    return desk.store.all_epochs[0]


async def test_a_building_that_is_taken_at_the_very_end_of_a_pass_is_let_go(desk, of, monkeypatch):
    publisher = desk.publisher()
    true, loop = publisher._composer.hold, asyncio.get_running_loop()

    def hold(job):
        held = true(job)
        loop.call_soon_threadsafe(passing.cancel)
        return held

    with monkeypatch.context() as patch:
        patch.setattr(publisher._composer, "hold", hold)
        passing = asyncio.create_task(publisher.refresh())
        with pytest.raises(asyncio.CancelledError):
            await passing
    assert await publisher.refresh() == 1
    assert (await shown(desk, of)).listed() == PHONES[:10]


async def test_buildings_that_nobody_needs_are_removed(desk, of):
    publisher = desk.publisher()
    await publisher.refresh()
    for epoch, name in [(bytes(32), of.name), (desk.store.all_epochs[0].digest, of.name), (bytes(32), "gone")]:
        desk.buildings.hold(epoch, name).close()
    at_work = desk.buildings.hold(b"\1" * 32, "at-work")
    await publisher.refresh()
    left = [path.name for path in (desk.folder.parent / "jd-building").glob("*/*")]
    assert left == ["at-work"]
    at_work.close()


async def test_a_full_disk_stops_a_computing_and_it_goes_on(desk, of):
    desk.store.batch = 3
    desk.put(of, *PHONES)
    publisher = parts(desk.publisher())
    true_hold = publisher._composer._buildings.hold
    folder = desk.folder.parent / "jd-building"

    def full(epoch, name):
        held = true_hold(epoch, name)
        true_write = held.write

        def write(number, fill):
            if number == 2:
                raise DiskError("full")
            return true_write(number, fill)

        held.write = write
        return held

    publisher._composer._buildings = type("Full", (), {"hold": staticmethod(full)})()
    with pytest.raises(DiskError):
        await publisher.refresh()
    assert len(list(folder.glob("*/*/*.run"))) == 2
    await parts(desk.publisher()).refresh()
    assert (await shown(desk, of)).listed() == PHONES


async def test_the_watch_is_told_how_far_a_computing_is(desk, of):
    told = []

    class Watching:
        def computed(self, list_name, epoch, rows, share):
            told.append((list_name, epoch, rows, share))

    desk.store.batch = 3
    desk.put(of, *PHONES)
    publisher = desk.publisher()
    publisher._composer._watch = Watching()
    await publisher.refresh()
    assert [row[2] for row in told] == [*range(3, 61, 3), 60]
    assert {row[:2] for row in told} == {("jd/fraud", 1)}
    shares = [row[3] for row in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


# --- a change that is too large for others to wait for it


class Large:
    """A published list, and a publisher for which more than three entries are many; more than `most` take a base."""

    def __init__(self, desk, of, most=100):
        self.desk, self.of, self.publisher = desk, of, desk.publisher()
        self.publisher._composer._few_changes, self.publisher._composer._most_changes = 3, most

    async def begin(self, step, *phones, **record):
        """Publish, list more than a few, and halt when `step` of what publishes them is done."""
        await self.publisher.refresh()
        self.desk.put(self.of, *phones, **record)
        await self._halt(step)

    async def begin_withdrawing(self, *phones):
        """Publish, withdraw more than `most` in one change, and halt when the base without them is computed."""
        await self.publisher.refresh()
        for phone in phones:
            self.desk.change(self.of, phone, reason="erroneous")
        number, entries = self.desk.store.rows[self.of.id].changed, self.desk.store.entries[self.of.id]
        for handle, entry in entries.items():
            entries[handle] = replace(entry, changed=number) if entry.state == "withdrawn" else entry
        await self._halt("base")

    async def _halt(self, step):
        self.slow = Slow(self.publisher, step)
        self.passing = asyncio.create_task(self.publisher.refresh())
        await self.slow.begun.wait()

    async def stirred(self, versions):
        """Look again, until there are so many snapshots."""
        self.publisher.stir()
        await until(lambda: len(self.desk.store.snapshots) >= versions)
        assert len(self.desk.store.snapshots) == versions
        return await shown(self.desk, self.of)

    async def end(self):
        self.slow.go_on.set()
        published = await self.passing
        last, changed = self.desk.store.snapshots[-1], self.desk.store.rows[self.of.id].changed
        assert (last.changed, last.withdrawn) == (changed, changed)
        assert [row.version for row in self.desk.store.snapshots] == [*range(1, len(self.desk.store.snapshots) + 1)]
        return published, await shown(self.desk, self.of)

    async def passes(self):
        """Wait for some passes that find nothing to publish."""
        for _ in range(3):
            self.publisher.stir()
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(("step", "most", "kinds"), [("delta", 100, ["base", "delta", "delta"]), ("base", 5, ["base"])])
async def test_a_withdrawal_goes_out_while_a_large_change_is_computed_and_nothing_of_that_change(
    desk, of, step, most, kinds
):
    large = Large(desk, of, most)
    await large.begin(step, *PHONES[5:20], level="low")
    assert (await shown(desk, of)).listed() == PHONES[:10]
    desk.change(of, PHONES[0], reason="appeal_upheld")
    desk.change(of, PHONES[5])
    found = await large.stirred(2)
    assert (found.kinds, found.listed()) == (["base", "delta"], [*PHONES[1:5], *PHONES[6:10]])
    assert found.record(PHONES[6]).level == "high"
    last = desk.store.snapshots[-1]
    assert last.changed == 1, "the large change is not said to be shown"
    assert last.withdrawn == desk.store.rows[of.id].changed, "the withdrawal is"
    desk.change(of, PHONES[1])
    assert (await large.stirred(3)).listed() == [*PHONES[2:5], *PHONES[6:10]]
    published, found = await large.end()
    assert (published, found.listed()) == (3, [*PHONES[2:5], *PHONES[6:20]])
    assert (found.kinds[: len(kinds)], found.record(PHONES[6]).level) == (kinds, "low")


async def test_what_a_large_change_lists_and_is_withdrawn_meanwhile_never_shows(desk, of):
    large = Large(desk, of)
    await large.begin("delta", *PHONES[10:20])
    desk.change(of, PHONES[10])
    await large.passes()
    [only] = desk.store.snapshots
    assert only.withdrawn == desk.store.rows[of.id].changed > only.changed, "no snapshot has shown it: that is noted"
    published, found = await large.end()
    assert (published, found.listed()) == (1, [*PHONES[:10], *PHONES[11:20]])


@pytest.mark.parametrize("reason", ["replaced", "expired"])
async def test_what_belongs_to_the_large_change_or_ends_by_itself_waits(desk, of, reason):
    large = Large(desk, of)
    await large.begin("delta", *PHONES[10:20])
    desk.change(of, PHONES[0], reason=reason)
    desk.change(of, PHONES[1], "disputed")
    await large.passes()
    assert len(desk.store.snapshots) == 1
    published, found = await large.end()
    assert (published, found.listed(), found.record(PHONES[1]).disputed) == (1, PHONES[1:20], True)


async def test_what_is_withdrawn_and_listed_again_meanwhile_is_listed_in_the_end(desk, of):
    large = Large(desk, of)
    await large.begin("delta", *PHONES[10:20])
    desk.change(of, PHONES[0])
    assert (await large.stirred(2)).listed() == PHONES[1:10]
    desk.put(of, PHONES[0], level="low")
    await large.passes()
    desk.change(of, PHONES[1])
    assert (await large.stirred(3)).listed() == PHONES[2:10]
    _, found = await large.end()
    assert (found.listed(), found.record(PHONES[0]).level) == ([PHONES[0], *PHONES[2:20]], "low")


async def test_when_much_changes_again_all_of_it_goes_out_together(desk, of):
    large = Large(desk, of)
    await large.begin("delta", *PHONES[10:20])
    desk.put(of, *PHONES[20:30])
    desk.change(of, PHONES[19])
    published, found = await large.end()
    assert (published, found.kinds) == (1, ["base", "delta", "delta"])
    assert found.listed() == [*PHONES[:19], *PHONES[20:30]]


async def test_many_withdrawals_ahead_of_a_large_change_go_out_number_by_number(desk, of):
    large = Large(desk, of)
    await large.begin("delta", *PHONES[10:20])
    desk.store.batch = 2
    for phone in PHONES[:8]:
        desk.change(of, phone)
    found = await large.stirred(4)
    assert found.listed() == PHONES[8:10]
    assert [row.segments[:1] for row in desk.store.snapshots] == [desk.store.snapshots[0].segments[:1]] * 4
    published, found = await large.end()
    assert (published, found.listed()) == (4, PHONES[8:20])


async def test_withdrawals_that_are_themselves_too_large_a_change_keep_no_later_one_waiting(desk, of):
    large = Large(desk, of, most=5)
    await large.begin_withdrawing(*PHONES[:7])
    assert len(desk.store.snapshots) == 1
    desk.change(of, PHONES[8])
    assert (await large.stirred(2)).listed() == [*PHONES[:8], PHONES[9]]
    assert [row.withdrawn for row in desk.store.snapshots] == [1, 1], "those that went before it are not shown yet"
    published, found = await large.end()
    assert (published, found.listed()) == (2, [PHONES[7], PHONES[9]])
    await large.begin("base", *PHONES[10:20])  # with the large change all of them are out
    desk.change(of, PHONES[9])
    assert (await large.stirred(4)).listed() == [PHONES[7]]
    last, changed = desk.store.snapshots[-1], desk.store.rows[of.id].changed
    assert (last.changed < changed, last.withdrawn) == (True, changed)
    await large.end()


@pytest.mark.parametrize("again", [False, True], ids=["same process", "another process"])
async def test_behind_withdrawals_that_are_too_large_a_change_all_others_go_out(desk, of, again):
    """However many, a few at a time, and whether or not the process knows already what it passed over."""
    desk.put(of, *PHONES[10:20])
    large = Large(desk, of, most=5)
    await large.begin_withdrawing(*PHONES[:7])
    for phone in PHONES[7:16]:
        desk.change(of, phone)
    if again:
        large.publisher._passed_over.clear()
    desk.store.batch = 2
    assert (await large.stirred(4)).listed() == [*PHONES[:7], *PHONES[16:20]]
    await large.passes()
    assert len(desk.store.snapshots) == 4, "what is out is not computed again"
    desk.change(of, PHONES[16])
    assert (await large.stirred(5)).listed() == [*PHONES[:7], *PHONES[17:20]]
    _, found = await large.end()
    assert found.listed() == PHONES[17:20]


@pytest.mark.parametrize("step", ["delta", "base"])
async def test_a_process_that_dies_while_it_computes_a_large_change_takes_nothing_back(desk, of, step):
    large = Large(desk, of, most=100 if step == "delta" else 5)
    await large.begin(step, *PHONES[10:20])
    desk.change(of, PHONES[0])
    await large.stirred(2)
    large.passing.cancel()
    await asyncio.wait([large.passing])
    assert (await shown(desk, of)).listed() == PHONES[1:10]
    again = Large(desk, of)
    desk.change(of, PHONES[1])
    await again.publisher.refresh()
    assert (await shown(desk, of)).listed() == PHONES[2:20]
    assert [row.version for row in desk.store.snapshots] == [1, 2, 3, 4]
    assert [row.withdrawn - row.changed for row in desk.store.snapshots] == [1, 2, 3, 0]


async def test_a_statement_is_issued_again_while_a_large_change_is_computed(desk, of):
    large = Large(desk, of)
    await large.begin("delta", *PHONES[10:20])
    desk.clock.wait(hours=2)
    found = await large.stirred(2)
    assert (found.kinds, found.listed()) == (["base"], PHONES[:10])
    published, found = await large.end()
    assert (published, found.listed()) == (2, PHONES[:20])


async def test_files_that_are_lost_while_a_large_change_is_computed_are_replaced(desk, of):
    large = Large(desk, of)
    await large.begin("delta", *PHONES[10:20])
    for digest in desk.store.snapshots[-1].segments:
        desk.files.delete(digest)
    desk.change(of, PHONES[0])
    await large.passes()
    published, found = await large.end()
    assert (published, found.kinds, found.listed()) == (1, ["base"], PHONES[1:20])


async def test_another_process_that_publishes_the_large_change_first_is_not_undone(desk, of):
    large = Large(desk, of)
    await large.begin("delta", *PHONES[10:20], level="low")
    desk.put(of, PHONES[10], level="critical")
    desk.change(of, PHONES[11])
    assert await desk.publisher().refresh() == 1
    _, found = await large.end()
    assert found.listed() == [*PHONES[:11], *PHONES[12:20]]
    assert found.record(PHONES[10]).level == "critical"


# --- the tasks themselves


async def test_trouble_of_the_store_ends_all_works():
    ended = []

    async def long():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)
        return 0

    async def failing():
        raise StoreError("gone")

    works = Beside(Clock())
    await works.begin("a", long, patience=0)
    with pytest.raises(StoreError):
        await works.begin("b", failing)
    await works.stop()
    assert ended == [True]


async def test_a_place_in_trouble_is_left_alone_for_a_while():
    clock, tries = Clock(), []

    async def failing():
        tries.append(1)
        raise DiskError("full")

    works = Beside(clock)
    for _ in range(3):
        await works.begin("a", failing)
    assert (len(tries), works.trouble.code) == (1, DiskError("").code)
    clock.wait(seconds=31)
    await works.begin("a", failing)
    assert len(tries) == 2


async def test_a_clock_that_goes_on_keeps_nothing_from_beginning():
    clock = Clock()

    def ticking():
        clock.wait(seconds=1)
        return clock()

    async def quick():
        return 1

    works = Beside(ticking)
    for _ in range(3):
        await works.begin("a", quick)
    assert works.published == 3


# --- the life of epochs


async def test_an_epoch_whose_successor_is_published_has_the_change_over_left(desk, of):
    publisher = desk.publisher()
    await publisher.refresh()
    other = desk.create_list("more")
    await publisher.refresh()
    desk.clock.wait(days=3)
    assert await desk.store.add_epoch(publisher._epochs.new("default", 2))
    computing = Slow(publisher, "base")
    passing = asyncio.create_task(publisher.refresh())
    await computing.begun.wait()
    assert desk.store.all_epochs[0].ended_at is None, "it is not published yet"
    computing.go_on.set()
    assert await passing >= 2
    old, new = desk.store.all_epochs
    assert (old.until, new.ended_at) == (desk.clock() + publisher._terms.changeover, None)
    for hours, served in ((23, [True, True]), (1, [False, True])):
        desk.clock.wait(hours=hours)
        published = await desk.published()
        assert [published.served(row.digest, "icbc", desk.clock()) is not None for row in (old, new)] == served
        assert set(published.own_lists()) == {new.digest}
    assert await publisher.refresh() == 2, "the new one is issued again, and nothing else is done"
    assert len(desk.store.all_epochs) == 2
    assert {row.list_id for row in desk.store.snapshots if row.epoch == new.digest} == {of.id, other.id}


async def test_an_epoch_that_ends_with_its_term_needs_no_statement(desk, of):
    publisher = desk.publisher()
    await publisher.refresh()
    desk.clock.wait(days=29)
    await publisher.refresh()
    await publisher.refresh()
    assert [row.ended_at for row in desk.store.all_epochs] == [None, None]


async def test_a_new_epoch_that_one_list_is_missing_from_ends_no_other(desk, of):
    publisher = desk.publisher()
    await publisher.refresh()
    broken = desk.create_list("broken")
    desk.put(broken, PHONES[0])
    await publisher.refresh()
    desk.clock.wait(days=1)
    assert await desk.store.add_epoch(publisher._epochs.new("default", 2))
    held = desk.buildings.hold(desk.store.all_epochs[1].digest, "broken")
    await publisher.refresh()
    assert desk.store.all_epochs[0].ended_at is None
    held.close()
    await publisher.refresh()
    assert desk.store.all_epochs[0].ended_at is not None
