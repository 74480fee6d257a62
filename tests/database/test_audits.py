"""Requests of auditors, and what is shown to them, out of a real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from riskshare.audit.access import KIND, AccessRequest
from riskshare.audit.kept import AuditRow
from riskshare.errors import StoreError
from riskshare.ledger.checkpoint import origin_of
from riskshare.ledger.leaf import KINDS, Leaf
from riskshare.ledger.sequence import Sequencer
from riskshare.ledger.tile import Bundle
from riskshare.sharing.kept import RegistryRow
from riskshare.signature import SigningKey
from riskshare.statement import sign
from riskshare.store.exchange import OwnerCommits, QuerierCommits
from riskshare.store.queries import load

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
KEY = SigningKey(b"\x05" * 32)


def uuid7(number):
    return UUID(int=number | 7 << 76 | 2 << 62)


def row(number, *, action="open", checks=1, auditor="regulator", member="jd", kept_at=NOW, salt=b"s" * 16):
    named = {
        "open": {"checks": tuple(uuid7(1000 * number + one) for one in range(checks))},
        "read": {"start": NOW - timedelta(days=1), "end": NOW},
    }[action]
    request = AccessRequest(
        access=uuid7(number),
        action=action,
        auditor=auditor,
        member=member,
        network="test",
        registry=1,
        reason="a test",
        requested_at=NOW,
        **named,
    )
    return AuditRow.of(sign(KIND, "test", request.body(), KEY), request, salt, kept_at)


async def grow(store, *, signed_at=NOW, final_at=None):
    """Make all that is pending entries of the log; with `final_at`, under a final checkpoint."""
    sequencer = Sequencer(origin=origin_of("test", "jd"), key=KEY, log=store.ledger, now=lambda: signed_at)
    await sequencer.open()
    await sequencer.step()
    head = await store.ledger.head()
    if final_at is not None:
        await store.ledger.cosign(head.size, [], final=final_at)
    return head


# -- requests -------------------------------------------------------------------------------------------------------


async def test_a_request_is_kept_once_and_becomes_one_entry(store):
    kept = row(1)
    assert await store.audits.keep(kept)
    assert not await store.audits.keep(replace(kept, salt=b"t" * 16, kept_at=NOW + timedelta(hours=1)))
    assert await store.audits.find(kept.digest) == kept
    assert await store.ledger.pending() == 1
    await grow(store)
    assert await store.ledger.index_of("audit", kept.digest) == 0
    leaf = await store.ledger.leaf_of("audit", kept.digest)
    assert leaf == Leaf("audit", kept.salt, kept.statement)
    bundles = await store.ledger.bundles([Bundle(0, 1)])
    assert bundles[Bundle(0, 1)][2:] == leaf.entry


async def test_what_was_asked_is_read_out_of_what_is_kept(store):
    kept = row(1, checks=3)
    await store.audits.keep(kept)
    found = await store.audits.find(kept.digest)
    assert (found.request.checks, found.checks) == (tuple(uuid7(1000 + one) for one in range(3)), 3)
    assert found.request.reason == json.loads(kept.statement)["reason"]
    assert b"reason" not in repr(found).encode()


async def test_a_request_that_is_not_there_is_not_found(store):
    assert await store.audits.find(bytes(32)) is None
    assert await store.ledger.leaf_of("audit", bytes(32)) is None


async def test_a_digest_of_another_length_is_refused(store):
    with pytest.raises(StoreError):
        await store.audits.keep(replace(row(1), digest=b"x"))


async def test_the_newest_come_first(store):
    rows = [row(number, kept_at=NOW + timedelta(minutes=number)) for number in range(5)]
    for each in rows:
        await store.audits.keep(each)
    assert await store.audits.newest(3) == rows[:1:-1]


async def test_ones_own_requests_are_found_again(store):
    mine = [row(number, action="read", kept_at=NOW + timedelta(hours=number)) for number in range(3)]
    others = [row(8, action="read", member="ccb"), row(9, action="read", auditor="ccb"), row(10)]
    for each in [*mine, *others]:
        await store.audits.keep(each)
    found = await store.audits.made_since(NOW + timedelta(hours=1), "regulator", "jd", "read")
    assert found == [mine[2], mine[1]]


# -- the day's number -----------------------------------------------------------------------------------------------


async def test_no_more_checks_are_opened_than_the_day_has(store):
    day = NOW.replace(hour=0, minute=0)
    assert await store.audits.keep_within(row(1, checks=3), day, 5) == "new"
    assert await store.audits.keep_within(row(1, checks=3), day, 5) == "known"
    assert await store.audits.keep_within(row(2, checks=3), day, 5) == "beyond"
    assert await store.audits.keep_within(row(3, checks=2), day, 5) == "new"
    assert await store.audits.keep_within(row(4, checks=1), day, 5) == "beyond"
    assert await store.ledger.pending() == 2
    assert len(await store.audits.newest(10)) == 2


async def test_what_was_opened_before_today_for_others_or_otherwise_is_not_counted(store):
    day = NOW.replace(hour=0, minute=0)
    await store.audits.keep(row(1, checks=5, kept_at=day - timedelta(seconds=1)))
    await store.audits.keep(row(2, checks=5, auditor="ccb"))
    await store.audits.keep(row(3, checks=5, member="ccb"))
    await store.audits.keep(row(4, action="read"))
    assert await store.audits.keep_within(row(5, checks=5), day, 5) == "new"


async def test_requests_that_come_at_once_share_the_day(store):
    day = NOW.replace(hour=0, minute=0)
    found = await asyncio.gather(*(store.audits.keep_within(row(number), day, 4) for number in range(12)))
    assert sorted(found) == ["beyond"] * 8 + ["new"] * 4


async def test_a_right_to_open_nothing_opens_nothing(store):
    assert await store.audits.keep_within(row(1), NOW, 0) == "beyond"


# -- the part of the log --------------------------------------------------------------------------------------------


async def test_the_part_begins_and_ends_at_final_checkpoints(store, made):
    commits = OwnerCommits(store)
    heads = []
    for hour in range(4):
        await commits.keep(made.receipt())
        signed_at = NOW + timedelta(hours=hour)
        final_at = None if hour == 2 else signed_at + timedelta(minutes=20)
        heads.append(await grow(store, signed_at=signed_at, final_at=final_at))
    await commits.close()

    async def before(**after):
        found = await store.audits.final_before(NOW + timedelta(**after))
        return found and found.size

    async def after(**after):
        found = await store.audits.final_after(NOW + timedelta(**after))
        return found and found.size

    assert [head.size for head in heads] == [1, 2, 3, 4]
    # What was signed and had its quorum later is not before.
    assert [await before(), await before(minutes=20), await before(hours=1), await before(hours=9)] == [None, 1, 1, 4]
    # The third was never final.
    assert [await after(), await after(seconds=1), await after(hours=2), await after(hours=4)] == [1, 2, 4, None]


# -- what is shown --------------------------------------------------------------------------------------------------


async def everything(store, made):
    """One thing of each kind that has an entry, and the rows that are expected, by kind."""
    owner, querier = OwnerCommits(store), QuerierCommits(store)
    answered, asked, adopted = made.receipt(), made.receipt("querier", "ccb"), made.receipt("querier", adopted=True)
    check, silent, late = made.check(), made.ask(), made.ask()
    await owner.keep(answered)
    await querier.keep_receipts([asked, adopted])
    await querier.keep(check, [], [silent, late])
    registry = RegistryRow(1, made.bytes(32), b'{"signatures":[],"statement":{"version":1}}', NOW)
    await store.trust.keep_registry(registry)
    epoch = made.epoch()
    await store.publications.add_epoch(epoch)
    listed = await store.lists.create_list("fraud", "telecom_fraud", "default")
    segment = made.segment(listed.id, epoch.digest)
    snapshot = made.snapshot(listed.id, epoch.digest, 1, [segment])
    assert await store.publications.publish(snapshot, [segment], 0)
    ended = replace(
        epoch,
        ended_at=NOW,
        end_statement=made.bytes(300),
        end_signature=made.bytes(64),
        end_salt=made.bytes(16),
    )
    await store.publications.end_epoch(ended)
    await store.audits.keep(row(1))
    head = await grow(store)
    # One ask is answered after it became an entry as unanswered.
    halves = made.receipt().receipt
    late_receipt = made.receipt("querier", late.owner, batch=late.batch)
    late_receipt = replace(
        late_receipt, receipt=replace(halves, ask=late.ask, ask_signature=late.ask_signature), salt=late.salt
    )
    await querier.keep_receipts([late_receipt])
    assert await store.records.count_open_asks() == 1
    await owner.close()
    await querier.close()
    audit = row(1)
    return head.size, {
        ("receipt", answered.receipt.to_bytes(), b"", "owner"),
        ("receipt", asked.receipt.to_bytes(), b"", "querier"),
        ("receipt", adopted.receipt.to_bytes(), b"", "adopted"),
        ("check", check.statement, check.signature, ""),
        ("unanswered", silent.ask, silent.ask_signature, ""),
        ("unanswered", late.ask, late.ask_signature, ""),
        ("registry", b'{"version":1}', registry.file, ""),
        ("epoch", epoch.statement, epoch.signature, ""),
        ("epoch", ended.end_statement, ended.end_signature, ""),
        ("snapshot", snapshot.statement, snapshot.signature, ""),
        ("audit", audit.statement, audit.signature, ""),
    }


async def entries(store, size):
    bundles = await store.ledger.bundles([Bundle(0, size)])
    data = bundles[Bundle(0, size)]
    return [data[34 * index + 2 : 34 * index + 34] for index in range(size)]


async def test_every_entry_is_shown_with_what_it_stands_for(store, made):
    size, expected = await everything(store, made)
    rows, following = await store.audits.shown(0, size, 0)
    assert following == size == len(expected)
    assert [each.index for each in rows] == list(range(size))
    assert {(each.kind, each.statement, each.signature, each.note) for each in rows} == expected
    assert [each.entry for each in rows] == await entries(store, size)


async def test_before_the_part_only_what_stands_is_shown(store, made):
    size, _ = await everything(store, made)
    rows, following = await store.audits.shown(0, size, size)
    assert sorted(each.kind for each in rows) == ["epoch", "epoch", "registry"]
    assert following == size
    whole, _ = await store.audits.shown(0, size, 0)
    for start in range(size + 1):
        rows, _ = await store.audits.shown(0, size, start)
        assert rows == [each for each in whole if each.index >= start or each.kind in ("epoch", "registry")]


@pytest.mark.parametrize("limit", [1, 2, 5])
@pytest.mark.parametrize("start", [0, 4, 11])
async def test_part_by_part_it_is_the_same(store, made, limit, start):
    size, _ = await everything(store, made)
    whole, _ = await store.audits.shown(0, size, start)
    found, at = [], 0
    while at < size:
        rows, following = await store.audits.shown(at, size, start, limit)
        assert at < following <= size
        assert len(rows) <= limit
        found += rows
        at = following
    assert found == whole


async def test_what_is_not_kept_any_more_has_no_row(store, made):
    size, _ = await everything(store, made)
    await store.pool.execute("delete from snapshots")
    rows, following = await store.audits.shown(0, size, 0)
    assert (len(rows), following) == (size - 1, size)


async def test_every_kind_that_is_kept_can_be_shown():
    """A settlement is not kept anywhere yet."""
    sql = load("audits.sql")
    assert {name.removesuffix("_rows") for name in sql if name.endswith("_rows")} >= KINDS - {"settlement"}


async def test_of_a_large_log_no_table_is_read_through(store, dsn):
    """The plans for a part of 200,000 entries go by keys."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            "insert into receipts (side, counterparty, batch, id, epoch, count, receipt, elements, evaluated, proof,"
            " salt, adopted) select case when n % 2 = 0 then 'owner' else 'querier' end, 'm' || n % 5,"
            " gen_random_uuid(), sha256(int8send(n)), '', 1, int8send(n), '', '', '',"
            " substr(sha256(int8send(n)), 1, 16), false from generate_series(1, 150000) as n"
        )
        await connection.execute(
            "insert into checks (id, answered_at, hour_key, record, statement, signature, salt)"
            " select gen_random_uuid(), now(), gen_random_uuid(), '', '{}', '', substr(sha256(int8send(n)), 1, 16)"
            " from generate_series(1, 50000) as n"
        )
        await connection.execute(
            "insert into unanswered (owner, batch, epoch, count, ask, ask_signature, elements, salt)"
            " select 'm' || n % 5, gen_random_uuid(), '', 1, convert_to(repeat('x', 700), 'UTF8'), '', '', '' from generate_series(1, 50000) as n"
        )
        await connection.execute(
            "insert into ledger_entries select row_number() over () - 1, kind, source from ("
            " select 'receipt' as kind, id as source from receipts union all select 'check', uuid_send(id) from checks"
            " union all select 'unanswered', uuid_send(batch) from unanswered) as all_of_it"
        )
        await connection.execute("analyze")
        sql = load("audits.sql")
        plans = {}
        for kind in ("receipt", "check", "unanswered"):
            found = await connection.fetch(
                "select source from ledger_entries where kind = $1 order by index limit 256", kind
            )
            plans[kind] = await explain(connection, sql[f"{kind}_rows"], [each["source"] for each in found])
        plans["entries"] = await explain(connection, sql["shown_entries"], 0, 100_256, 100_000, 256)
        await connection.execute(
            "insert into ledger_checkpoints select n, sha256(''), '', now() - n * interval '1 s', now()"
            " from generate_series(1, 100000) as n"
        )
        await connection.execute("analyze ledger_checkpoints")
        plans["before"] = await explain(connection, sql["final_before"], NOW)
        plans["after"] = await explain(connection, sql["final_after"], NOW)
    finally:
        await connection.close()
    for name, plan in plans.items():
        assert "Seq Scan on" not in plan, f"{name}:\n{plan}"


async def explain(connection, query, *arguments):
    """The plan that holds for any arguments, and the one for these."""
    texts = []
    for mode in ("force_generic_plan", "force_custom_plan"):
        await connection.execute(f"set plan_cache_mode = {mode}")
        rows = await connection.fetch(f"explain {query}", *arguments)
        texts.append("\n".join(row[0] for row in rows))
    return "\n\n".join(texts)
