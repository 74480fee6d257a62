"""What `list show` and `list stats` are made of, over a real database."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from riskshare.membership.identifier import parse
from riskshare.metrics import Metrics
from riskshare.peer.readers import Readers
from riskshare.peer.showing import shown
from riskshare.peer.watching import gauge_own_lists
from riskshare.sharing.changing import Decider
from riskshare.sharing.entry import DataKey
from riskshare.sharing.kept import Seen
from riskshare.sharing.rows import Defaults
from riskshare.sharing.statistics import by_day
from riskshare.store.history import SQL
from riskshare.store.migrate import migrations
from tests.simulator.changing import DISPUTE, RESTORE, withdrawal
from tests.simulator.importing import OPS, importer_over

KEY = DataKey(bytes(range(32)))
ONE, TWO = "phone:+8613800138000", "phone:+8613800138001"


def now():
    return datetime.now(UTC)


class House:
    def __init__(self, store):
        self.store = store

    async def bring(self, *rows, name="fraud"):
        of = await self.store.lists.list_named(name)
        importer = importer_over(self.store.imports, KEY, now)
        data = "\n".join(["identifier,level,case", *rows]).encode()
        await importer.run(of, io.BytesIO(data), Defaults("telecom_fraud", days=90), OPS)

    async def decide(self, change, *numbers):
        of = await self.store.lists.list_named("fraud")
        decider = Decider(
            member="jd", data_key=KEY, lists=self.store.lists, never=self.store.never, now=now, random=os.urandom
        )
        return await decider.decide(of, change, identifiers=[parse(number) for number in numbers])

    async def show(self, text=ONE):
        lists = await self.store.lists.lists()
        return await shown(self.store, KEY, "jd", parse(text), lists=lists, now=now())


@pytest.fixture
async def house(store):
    for name in ("fraud", "other"):
        await store.lists.create_list(name, "telecom_fraud", "default")
    return House(store)


async def test_an_entry_is_shown_with_all_that_was_done_to_it(house):
    await house.bring(f"{ONE},high,2026-1", f"{TWO},low,")
    await house.decide(DISPUTE, ONE)
    await house.decide(withdrawal("appeal_upheld"), ONE)
    await house.decide(RESTORE, ONE)
    await house.bring(f"{ONE},low,2026-2")
    await house.bring(f"{ONE},critical,", name="other")
    first, second = await house.show()
    assert (first.list, first.state, first.level, first.case, first.category) == (
        "jd/fraud",
        "active",
        "low",
        "2026-2",
        "telecom_fraud",
    )
    assert [(one.number, one.author, one.action, one.why, one.state, one.withdrawn_for) for one in first.history] == [
        (1, "ops", "import", "reported", "active", None),
        (2, "ops", "dispute", "says it is not theirs", "disputed", None),
        (3, "ops", "withdraw", "appeal_upheld", "withdrawn", "appeal_upheld"),
        (4, "ops", "restore", "looked into", "active", None),
        (5, "ops", "import", "reported", "active", None),
    ]
    assert [one.level for one in first.history] == ["high"] * 4 + ["low"]
    assert (second.list, second.level, len(second.history)) == ("jd/other", "critical", 1)
    assert "13800138000" not in first.model_dump_json()


async def test_what_was_never_listed_is_not_shown(house):
    assert await house.show("phone:+14155550100") == []


async def test_what_was_done_before_changes_were_kept_has_no_author(house, sql):
    await house.bring(f"{ONE},high,")
    await sql.execute("delete from list_changes")
    [entry] = await house.show()
    assert [(one.author, one.at, one.state) for one in entry.history] == [(None, None, "active")]


async def test_members_that_hold_it_are_shown_with_what_they_have(house, store, made):
    await house.bring(f"{ONE},high,")
    of = await store.lists.list_named("fraud")
    epoch = made.epoch()
    await store.publications.add_epoch(epoch)
    snapshots = [
        made.snapshot(of.id, epoch.digest, 1, [], changed=1),
        made.snapshot(of.id, epoch.digest, 2, [], changed=2),
    ]
    await store.publications.publish(snapshots[0], [], 0)
    await store.publications.publish(snapshots[1], [], 1)
    readers = Readers(store.history)
    readers.saw("bank", "jd/fraud", epoch.digest, snapshots[0].digest)
    readers.saw("wallet", "jd/fraud", epoch.digest, snapshots[0].digest)
    readers.saw("wallet", "jd/fraud", epoch.digest, snapshots[1].digest)
    readers.saw("liar", "jd/fraud", epoch.digest, b"\x07" * 32)
    await readers.keep()
    await readers.keep()
    [entry] = await house.show()
    assert [(one.member, one.version, one.current) for one in entry.holders] == [("bank", 1, True), ("wallet", 2, True)]
    await house.decide(DISPUTE, ONE)
    [entry] = await house.show()
    assert [(one.member, one.current) for one in entry.holders] == [("bank", False), ("wallet", True)]


@pytest.mark.parametrize(("reason", "current"), [("corrected", True), ("expired", False), ("replaced", False)])
async def test_a_withdrawal_that_went_ahead_of_a_large_change_is_seen_with_its_snapshot(
    house, store, made, reason, current
):
    await house.bring(f"{ONE},high,")
    of = await store.lists.list_named("fraud")
    epoch = made.epoch()
    await store.publications.add_epoch(epoch)
    snapshot = made.snapshot(of.id, epoch.digest, 1, [], changed=1)
    await store.publications.publish(replace(snapshot, withdrawn=2), [], 0)
    readers = Readers(store.history)
    readers.saw("bank", "jd/fraud", epoch.digest, snapshot.digest)
    await readers.keep()
    await house.decide(withdrawal("corrected"), ONE)
    await store.pool.execute("update entries set reason = $1", reason)
    [entry] = await house.show()
    assert [(one.member, one.version, one.current) for one in entry.holders] == [("bank", 1, current)]


async def test_what_came_later_from_another_process_is_not_taken_back(store, house, made):
    await house.bring(f"{ONE},high,")
    of = await store.lists.list_named("fraud")
    epoch = made.epoch()
    await store.publications.add_epoch(epoch)
    snapshots = [made.snapshot(of.id, epoch.digest, version, [], changed=1) for version in (1, 2)]
    for version, snapshot in enumerate(snapshots):
        await store.publications.publish(snapshot, [], version)
    for snapshot, at in ((snapshots[1], now()), (snapshots[0], now() - timedelta(seconds=9))):
        await store.history.keep_readers([Seen("bank", epoch.digest, snapshot.digest, at)])
    assert [one.version for one in await store.history.readers(of.id, epoch.not_before)] == [2]


def watched(metrics, name="jd/fraud"):
    """What a scrape has of one list: by name without its beginning, and the state of the last import."""
    found = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            if family.name.startswith("riskshare_own_list_") and sample.labels["list"] == name:
                found[family.name.removeprefix("riskshare_own_list_")] = sample.value
                found |= {"state": sample.labels["state"]} if "state" in sample.labels else {}
    return found


async def test_what_an_operator_of_lists_is_woken_for(store, house, made):
    metrics = Metrics()

    async def gauge(moment):
        await gauge_own_lists(store, metrics, "jd", moment)
        return watched(metrics)

    soon = now() + timedelta(minutes=5)
    assert await gauge(soon) == {"entries": 0, "waiting_seconds": 0, "readers_behind": 0}
    await house.bring(f"{ONE},high,", f"{TWO},high,")
    await house.bring(f"{ONE},nonsense,")
    seen = await gauge(soon)
    assert 290 < seen.pop("waiting_seconds") <= 300
    assert seen.pop("import_timestamp_seconds") == pytest.approx(now().timestamp(), abs=60)
    assert seen == {"entries": 2, "readers_behind": 0, "import_bad_rows": 1, "state": "refused"}
    of = await store.lists.list_named("fraud")
    epoch = replace(made.epoch(), not_before=now(), not_after=now() + timedelta(days=30))
    await store.publications.add_epoch(epoch)
    snapshots = [made.snapshot(of.id, epoch.digest, n, [], changed=n, issued_at=now()) for n in (1, 2)]
    await store.publications.publish(snapshots[0], [], 0)
    await store.history.keep_readers([Seen("bank", epoch.digest, snapshots[0].digest, now())])
    seen = await gauge(soon)
    assert seen["published_timestamp_seconds"] == pytest.approx(snapshots[0].issued_at.timestamp(), abs=1e-3)
    assert (seen["waiting_seconds"], seen["readers_behind"]) == (0, 0)
    await house.decide(withdrawal("corrected"), ONE)
    seen = await gauge(soon)
    assert (seen["entries"], seen["waiting_seconds"] > 290, seen["readers_behind"]) == (1, True, 0)
    await store.publications.publish(snapshots[1], [], 1)
    seen = await gauge(soon)
    assert (seen["waiting_seconds"], seen["readers_behind"]) == (0, 1)
    assert (await gauge(soon + timedelta(hours=2)))["readers_behind"] == 0, "who has not asked for an hour is away"
    await store.history.keep_readers([Seen("bank", epoch.digest, snapshots[1].digest, now())])
    assert (await gauge(soon))["readers_behind"] == 0
    assert watched(metrics, "jd/other") == {"entries": 0, "waiting_seconds": 0, "readers_behind": 0}


async def test_days_have_their_counts_and_sizes(house, sql):
    await house.bring(f"{ONE},high,", f"{TWO},high,")
    await sql.execute("update list_changes set at = at - interval '3 days'")
    await house.decide(DISPUTE, ONE)
    await house.decide(withdrawal("corrected"), ONE, TWO)
    await house.decide(RESTORE, TWO)
    of = await house.store.lists.list_named("fraud")
    today = now().date()
    midnight = datetime(today.year, today.month, today.day, tzinfo=UTC)
    before, rows = await house.store.history.days(of.id, midnight - timedelta(days=1))
    assert before == 2
    days = by_day(before, rows, today - timedelta(days=1), today)
    assert [(one.size, one.withdrawn, one.disputed, one.relisted) for one in days] == [
        (2, {}, 0, 0),
        (1, {"corrected": 2}, 1, 1),
    ]


async def test_statistics_never_look_at_the_entries(house, sql):
    """So they cost the same on a list of a million: they read the list's changes, by index."""
    await house.bring(f"{ONE},high,")
    await sql.execute(
        "insert into list_changes (list_id, number, at, author, action, reason, added)"
        " select 1, n + 1, now() - n * interval '1 minute', 'ops', 'import', '', 1 from generate_series(1, 100000) n"
    )
    await sql.execute("analyze list_changes")
    for name, span in (("days", "1 day"), ("size_before", "60 days")):
        text = SQL[name].replace("$1", "1").replace("$2", f"(now() - interval '{span}')")
        plan = "\n".join(row[0] for row in await sql.fetch("explain " + text))
        assert "list_changes_by_time" in plan
        assert "Seq Scan" not in plan
        assert "entries" not in plan


async def test_a_list_of_before_changes_were_kept_begins_with_its_size(empty_dsn):
    """The migration writes down what stands, so that sizes count from there."""
    connection = await asyncpg.connect(empty_dsn)
    steps = [step.sql for step in migrations()]
    for step in steps[:7]:
        await connection.execute(step)
    await connection.execute("insert into lists (name, category, keyset, changed) values ('a', 'x', 'k', 7)")
    for n, state in enumerate(["active", "disputed", "withdrawn"]):
        await connection.execute(
            "insert into entries values (gen_random_uuid(), 1, $1, '', '', 'c', $2, $3, now(),"
            " now() + interval '1 day', 7)",
            bytes([n]) * 32,
            state,
            "corrected" if state == "withdrawn" else None,
        )
    for step in steps[7:]:
        await connection.execute(step)
    row = await connection.fetchrow("select * from list_changes")
    assert (row["number"], row["author"], row["added"]) == (7, "peer", 2)
    assert await connection.fetchval("select listed from lists") == 2
    await connection.close()
