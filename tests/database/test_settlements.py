"""Settlements in PostgreSQL: receipts by the time of their answers, one statement for a period, its entry on the ledger."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from riskshare.audit.proposal import Proposal, ReceiptRow
from riskshare.audit.settlement import Direction, Settlement
from riskshare.encoding import canonical_json, format_time
from riskshare.errors import InputError
from riskshare.ledger.leaf import Leaf
from riskshare.ledger.merkle import EMPTY_ROOT
from riskshare.ledger.receipt import KeptReceipt, Receipt
from riskshare.query.message import Answer, Ask
from riskshare.store.exchange import OwnerCommits, QuerierCommits

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)
OPENED, CLOSED = NOW - 30 * timedelta(minutes=1), NOW


def kept(made, side, counterparty, *, count=3, registry=7, answered_at=NOW - timedelta(minutes=10), **words):
    ask = Ask(
        batch=UUID(bytes=b"\0\0\0\0\0\0\x70\0\x80" + made.bytes(7)),
        network="simnet",
        registry=registry,
        querier="icbc",
        owner="jd",
        epoch=bytes(32),
        purpose=words.get("purpose", "payment"),
        count=count,
        elements=bytes(32),
        snapshots=words.get("snapshots", {}),
        asked_at=answered_at - timedelta(seconds=1),
    )
    json = canonical_json(ask.body())
    answer = canonical_json(Answer(bytes(32), bytes(32), answered_at).body())
    receipt = Receipt(json, made.bytes(64), answer, words.get("signature") or made.bytes(64))
    return KeptReceipt(side, counterparty, ask.batch, bytes(32), count, receipt, b"", b"", b"", made.bytes(16))


async def filled(store, *rows):
    owner, querier = OwnerCommits(store), QuerierCommits(store)
    try:
        for row in rows:
            await (owner.keep(row) if row.side == "owner" else querier.keep_receipts([row]))
    finally:
        await owner.close()
        await querier.close()


def row_of(receipt, *, registry=7, answered_at=NOW - timedelta(minutes=10)):
    return ReceiptRow(receipt.receipt.id, receipt.batch, receipt.count, registry, format_time(answered_at))


async def read(store, side, counterparty, opened=OPENED, closed=CLOSED):
    return [row async for batch in store.settlements.receipts(side, counterparty, opened, closed) for row in batch]


async def test_receipts_are_given_by_side_counterparty_and_time_of_the_answer_in_the_order_of_ids(store, made):
    inside = [kept(made, "owner", "icbc") for _ in range(5)]
    edge = kept(made, "owner", "icbc", answered_at=OPENED)
    outside = [
        kept(made, "owner", "icbc", answered_at=OPENED - timedelta(milliseconds=1)),
        kept(made, "owner", "icbc", answered_at=CLOSED),
        kept(made, "owner", "unionpay"),
        kept(made, "querier", "icbc"),
    ]
    await filled(store, *inside, edge, *outside)
    expected = [*map(row_of, inside), row_of(edge, answered_at=OPENED)]
    assert await read(store, "owner", "icbc") == sorted(expected, key=lambda row: row.id)
    assert len(await read(store, "querier", "icbc")) == 1
    assert await read(store, "owner", "nobody") == []
    assert await store.settlements.counterparties(OPENED) == ["icbc", "unionpay"]


async def test_what_looks_like_a_field_within_a_text_or_a_signature_is_none(store, made):
    trap = '{"answered_at":"1999-01-01T00:00:00.000Z",' + ',"registry":1'
    rows = [
        kept(made, "owner", "icbc", purpose=trap, registry=9007199254740991),
        kept(made, "owner", "icbc", registry=12, signature=(b'{"answered_at":"' + b"x" * 64)[:64]),
        kept(made, "owner", "icbc", registry=3, snapshots={f"jd/l{n}": bytes(32) for n in range(256)}),
    ]
    await filled(store, *rows)
    found = {row.id: row.registry for row in await read(store, "owner", "icbc")}
    assert found == {row.receipt.id: registry for row, registry in zip(rows, (9007199254740991, 12, 3), strict=True)}


async def test_pages_follow_one_another(store, made):
    rows = [kept(made, "owner", "icbc") for _ in range(7)]
    await filled(store, *rows)
    found, after, pages = [], b"", 0
    while True:
        page = await store.settlements.page("owner", "icbc", OPENED, CLOSED, after, most=3)
        found += page.rows
        pages += 1
        if page.last:
            break
        after = page.rows[-1].id
    assert pages == 3
    assert found == await read(store, "owner", "icbc")


# -- what is agreed ---------------------------------------------------------------------------------


def agreed(opened=OPENED, closed=CLOSED, *, registry=1, other="jd"):
    nothing = (
        Direction("icbc", other, (), None, EMPTY_ROOT),
        Direction(other, "icbc", (), None, EMPTY_ROOT),
    )
    settlement = Settlement("simnet", opened, closed, registry, "CNY", nothing)
    return Proposal(settlement, settlement.to_json(), b"1" * 64, b"2" * 64)


async def entries(store):
    async with store.pool.acquire() as connection:
        return [
            (row["kind"], row["source"], row["entry"])
            for row in await connection.fetch("select * from ledger_pending where kind = 'settlement'")
        ]


async def test_a_settlement_and_its_entry_are_kept_together_and_once(store):
    one = agreed()
    assert await store.settlements.agreed("jd", OPENED, CLOSED) is None
    assert await store.settlements.keep("jd", one) == one
    assert await store.settlements.keep("jd", one) == one
    assert await store.settlements.agreed("jd", OPENED, CLOSED) == one
    assert await store.settlements.all_agreed() == [one]
    [(_, source, entry)] = await entries(store)
    leaf = await store.ledger.leaf_of("settlement", source)
    assert isinstance(leaf, Leaf)
    assert (source, leaf.statement, leaf.entry) == (one.settlement.digest, one.json, entry)


async def test_an_auditor_is_shown_it_with_both_signatures(store):
    one = agreed()
    await store.settlements.keep("jd", one)
    async with store.pool.acquire() as connection:
        await connection.execute(
            "insert into ledger_entries (index, kind, source) values (0, 'settlement', $1)", one.settlement.digest
        )
    [row], following = await store.audits.shown(0, 1, 0)
    assert (row.kind, row.statement, row.signature) == ("settlement", one.json, one.first + one.second)
    assert following == 1


async def test_the_first_statement_of_a_period_stands(store):
    first, second = agreed(), agreed(registry=2)
    await store.settlements.keep("jd", first)
    assert await store.settlements.keep("jd", second) == first
    assert len(await entries(store)) == 1


@pytest.mark.parametrize(
    ("opened", "closed"),
    [
        (OPENED - HOUR, CLOSED),
        (OPENED, CLOSED + HOUR),
        (OPENED + HOUR / 4, CLOSED - HOUR / 8),
        (OPENED, CLOSED - HOUR / 8),
    ],
)
async def test_periods_that_overlap_are_refused_and_leave_nothing(store, opened, closed):
    await store.settlements.keep("jd", agreed())
    assert await store.settlements.overlapping("jd", opened, closed) == (OPENED, CLOSED)
    with pytest.raises(InputError) as caught:
        await store.settlements.keep("jd", agreed(opened, closed))
    assert caught.value.code == "settlement_overlap"
    assert len(await entries(store)) == 1


async def test_periods_that_meet_and_other_members_are_no_overlap(store):
    await store.settlements.keep("jd", agreed())
    await store.settlements.keep("jd", agreed(CLOSED, CLOSED + HOUR))
    await store.settlements.keep("unionpay", agreed(other="unionpay"))
    assert await store.settlements.overlapping("jd", OPENED, CLOSED) is None
    assert len(await entries(store)) == 3


async def test_of_many_that_overlap_at_once_one_is_kept(store):
    periods = [(OPENED + timedelta(minutes=n), CLOSED + timedelta(minutes=n)) for n in range(8)]
    outcomes = await asyncio.gather(
        *(store.settlements.keep("jd", agreed(*period)) for period in periods), return_exceptions=True
    )
    assert sum(isinstance(outcome, Proposal) for outcome in outcomes) == 1
    assert len(await entries(store)) == 1


async def test_a_half_signed_one_is_never_kept(store):
    with pytest.raises(ValueError):
        await store.settlements.keep("jd", Proposal.of(agreed().settlement))
    async with store.pool.acquire() as connection:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(
                "insert into settlements (digest, other, opened, closed, statement, first_signature, second_signature)"
                " values (sha256(''), 'jd', now(), now() + interval '1 day', '', sha512(''), '')"
            )
