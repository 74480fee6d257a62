"""What becomes pending for the ledger, and what the store keeps of logs."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from riskshare.encoding import canonical_json, sha256
from riskshare.errors import LedgerError
from riskshare.ledger.addition import Known
from riskshare.ledger.kept import AccountRow, FollowedRow, Held, Witnessed
from riskshare.ledger.leaf import Leaf
from riskshare.ledger.merkle import EMPTY_ROOT
from riskshare.registry.signed import sign_file
from riskshare.sharing.kept import RegistryRow
from riskshare.signature import SigningKey
from riskshare.store.connection import Target
from riskshare.store.exchange import OwnerCommits, QuerierCommits
from riskshare.store.migrate import migrate, migrations
from riskshare.store.store import Store

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)


@asynccontextmanager
async def committing(kind, store):
    commits = kind(store)
    yield commits
    await commits.close()


def registry_row(version):
    signed = sign_file("registry", "test", {"network": "test", "version": version}, [SigningKey(b"\x07" * 32)])
    return RegistryRow(version, signed.digest, signed.to_bytes(), NOW)


def receipt_leaf(kept):
    return ("receipt", kept.receipt.id, Leaf("receipt", kept.salt, kept.receipt.to_bytes()).entry)


def check_leaf(check):
    return ("check", check.id.bytes, Leaf("check", check.salt, check.statement).entry)


def ask_leaf(ask):
    return ("unanswered", ask.batch.bytes, Leaf("unanswered", ask.salt, ask.ask).entry)


async def pending(sql):
    return sorted(tuple(row) for row in await sql.fetch("select kind, source, entry from ledger_pending"))


# --- becoming pending


async def test_a_receipt_of_the_owner_becomes_pending_once(store, made, sql):
    kept = made.receipt()
    async with committing(OwnerCommits, store) as commits:
        await commits.keep(kept)
        await commits.keep(kept)
        await commits.keep(made.receipt(batch=kept.batch))
    assert await pending(sql) == [receipt_leaf(kept)]


async def test_receipts_of_one_flush_become_pending_once_each(store, made, sql):
    receipts = [made.receipt(counterparty=f"m{number}") for number in range(50)]
    async with committing(OwnerCommits, store) as commits:
        await asyncio.gather(*map(commits.keep, [*receipts, *receipts]))
        await asyncio.gather(*map(commits.keep, receipts))
    assert await pending(sql) == sorted(map(receipt_leaf, receipts))


async def test_two_processes_that_keep_one_batch_give_one_pending_row(store, made, sql):
    one = made.receipt()
    async with committing(OwnerCommits, store) as here, committing(OwnerCommits, store) as there:
        await asyncio.gather(here.keep(one), there.keep(made.receipt(batch=one.batch)))
    assert len(await pending(sql)) == 1


async def test_a_check_with_one_receipt_gives_two_pending_rows_however_often_it_is_sent(store, made, sql):
    check, kept = made.check(), made.receipt("querier")
    async with committing(QuerierCommits, store) as commits:
        for _ in range(2):
            await commits.keep(check, [kept])
    assert await pending(sql) == sorted([check_leaf(check), receipt_leaf(kept)])


async def test_checks_that_share_a_receipt_make_it_pending_once(store, made, sql):
    kept = made.receipt("querier")
    checks = [made.check() for _ in range(3)]
    async with committing(QuerierCommits, store) as commits:
        for check in checks:
            await commits.keep(check, [kept, *(made.receipt("querier") for _ in range(2))])
    found = await pending(sql)
    assert [row for row in found if row[1] == kept.receipt.id] == [receipt_leaf(kept)]
    assert [row for row in found if row[0] == "check"] == sorted(map(check_leaf, checks))
    assert len(found) == 3 + 1 + 6


async def test_a_unit_with_everything_gives_its_rows_once(store, made, sql):
    check, kept, ask = made.check(), made.receipt("querier"), made.ask()
    hour, response = (check.hour_key, NOW, b"sealed"), ("key", b"\x01" * 32, b"\x02" * 32, b"sealed")
    async with committing(QuerierCommits, store) as commits:
        for _ in range(3):
            await commits.keep(check, [kept], [ask], hour, response)
    assert await pending(sql) == sorted([check_leaf(check), receipt_leaf(kept), ask_leaf(ask)])


async def test_an_ask_answered_late_has_both_entries_and_both_leaves(store, made, sql):
    ask = made.ask("late")
    answered = made.receipt("querier", "late", batch=ask.batch)
    answered = replace(answered, receipt=replace(answered.receipt, ask=ask.ask), salt=ask.salt)
    other = made.receipt("querier", "before")
    async with committing(QuerierCommits, store) as commits:
        await commits.keep_receipts([other], [ask])
        assert await store.ledger.leaf_of("unanswered", ask.batch.bytes) == Leaf("unanswered", ask.salt, ask.ask)
        await commits.keep_receipts([answered])
        await commits.keep_receipts([answered], [ask])
    assert await pending(sql) == sorted([ask_leaf(ask), receipt_leaf(answered), receipt_leaf(other)])
    assert await sql.fetchval("select count(*) from unanswered") == 0
    assert await store.ledger.leaf_of("unanswered", ask.batch.bytes) == Leaf("unanswered", ask.salt, ask.ask)


async def test_an_ask_whose_receipt_is_kept_does_not_become_unanswered(store, made, sql):
    kept = made.receipt("querier")
    async with committing(QuerierCommits, store) as commits:
        await commits.keep_receipts([kept])
        await commits.keep_receipts([made.receipt("querier")], [made.ask(batch=kept.batch)])
    assert {row[0] for row in await pending(sql)} == {"receipt"}


async def test_epochs_snapshots_and_registry_versions_become_pending_once(store, made, sql):
    own = await store.lists.create_list("fraud", "transaction_fraud", "default")
    epoch = made.epoch()
    segment = made.segment(own.id, epoch.digest)
    snapshot = made.snapshot(own.id, epoch.digest, 1, [segment])
    registry = registry_row(1)
    for _ in range(2):
        await store.publications.add_epoch(epoch)
        await store.publications.publish(snapshot, [segment], 0)
        await store.trust.keep_registry(registry)
    leaf = await store.ledger.leaf_of("registry", registry.digest)
    assert leaf.statement == canonical_json({"network": "test", "version": 1})
    assert sha256(leaf.statement) == registry.digest
    assert await pending(sql) == sorted(
        [
            ("epoch", epoch.digest, Leaf("epoch", epoch.salt, epoch.statement).entry),
            ("snapshot", snapshot.digest, Leaf("snapshot", snapshot.salt, snapshot.statement).entry),
            ("registry", registry.digest, leaf.entry),
        ]
    )
    assert await store.ledger.leaf_of("epoch", epoch.digest) == Leaf("epoch", epoch.salt, epoch.statement)
    assert await store.ledger.leaf_of("snapshot", snapshot.digest) == Leaf(
        "snapshot", snapshot.salt, snapshot.statement
    )


async def test_the_emergency_end_of_an_epoch_becomes_pending_beside_the_epoch(store, made, sql):
    epoch = made.epoch()
    await store.publications.add_epoch(epoch)
    ended = replace(
        epoch, ended_at=NOW, end_statement=made.bytes(350), end_signature=made.bytes(64), end_salt=made.bytes(16)
    )
    for _ in range(2):
        await store.publications.end_epoch(ended)
    leaf = Leaf("epoch", ended.end_salt, ended.end_statement)
    assert await pending(sql) == sorted(
        [
            ("epoch", epoch.digest, Leaf("epoch", epoch.salt, epoch.statement).entry),
            ("epoch", sha256(ended.end_statement), leaf.entry),
        ]
    )
    assert await store.ledger.leaf_of("epoch", sha256(ended.end_statement)) == leaf


async def test_registry_versions_have_salts_of_their_own(store, sql):
    for version in (1, 2, 3):
        await store.trust.keep_registry(registry_row(version))
    salts = {row["salt"] for row in await sql.fetch("select salt from registry_versions")}
    assert len(salts) == 3
    assert {len(salt) for salt in salts} == {16}


async def test_leaves_of_what_is_kept_and_of_what_is_not(store, made):
    kept, check = made.receipt(), made.check()
    async with committing(OwnerCommits, store) as owner, committing(QuerierCommits, store) as querier:
        await owner.keep(kept)
        await querier.keep(check, [])
    assert await store.ledger.leaf_of("receipt", kept.receipt.id) == Leaf("receipt", kept.salt, kept.receipt.to_bytes())
    assert await store.ledger.leaf_of("check", check.id.bytes) == Leaf("check", check.salt, check.statement)
    for kind in ("receipt", "check", "unanswered", "snapshot", "epoch", "registry", "settlement", "no"):
        for source in (b"", b"\x00" * 16, b"\x00" * 32):
            assert await store.ledger.leaf_of(kind, source) is None


async def test_what_was_kept_before_the_ledger_becomes_pending_in_its_order(empty_dsn, made):
    await migrate(Target(empty_dsn), migrations()[:3])
    registry, epoch, ask, check = registry_row(4), made.epoch(), made.ask(), made.check()
    receipts = [made.receipt() for _ in range(3)]
    sql = await asyncpg.connect(empty_dsn)
    await sql.execute(
        "insert into registry_versions values ($1, $2, $3, $4)", registry.version, registry.digest, registry.file, NOW
    )
    for kept in receipts:
        await sql.execute(
            "insert into receipts (side, counterparty, batch, id, epoch, count, receipt, elements, evaluated, proof,"
            " salt, adopted) values ('owner', 'jd', $1, $2, '', 1, $3, '', '', '', $4, false)",
            kept.batch,
            kept.receipt.id,
            kept.receipt.to_bytes(),
            kept.salt,
        )
    await sql.execute(
        "insert into epochs values ($1, 'default', 1, $2, $3, $4, '', now(), now() + interval '1 day', now(),"
        " '\\x07', $3, $4)",
        epoch.digest,
        epoch.statement,
        epoch.signature,
        epoch.salt,
    )
    await sql.execute(
        "insert into unanswered (owner, batch, epoch, count, ask, ask_signature, elements, salt)"
        " values ('jd', $1, '', 1, $2, '', '', $3)",
        ask.batch,
        ask.ask,
        ask.salt,
    )
    await sql.execute(
        "insert into checks values ($1, now(), $1, '', $2, '', $3)", check.id, check.statement, check.salt
    )
    store = await Store.open(empty_dsn)
    found = [tuple(row) for row in await sql.fetch("select kind, source, entry from ledger_pending")]
    leaf = await store.ledger.leaf_of("registry", registry.digest)
    assert found == [
        ("registry", registry.digest, leaf.entry),
        ("epoch", epoch.digest, Leaf("epoch", epoch.salt, epoch.statement).entry),
        ("epoch", sha256(b"\x07"), Leaf("epoch", epoch.salt, b"\x07").entry),
        *map(receipt_leaf, receipts),
        check_leaf(check),
        ask_leaf(ask),
    ]
    await store.close()
    await sql.close()


# --- as a witness


async def test_a_witness_swaps_what_it_knows_only_for_what_follows_it(store):
    first, second = Known(3, b"\x01" * 32), Known(5, b"\x02" * 32)
    ledger = store.ledger
    assert await ledger.witnessed("log") == Witnessed()
    assert not await ledger.witness("log", first, second, b"note", NOW)
    assert await ledger.witness("log", Known(), first, b"one", NOW)
    assert not await ledger.witness("log", Known(), second, b"two", NOW)
    assert not await ledger.witness("log", Known(3, b"\x09" * 32), second, b"two", NOW)
    assert await ledger.witness("log", first, second, b"two", NOW)
    assert await ledger.witnessed("log") == Witnessed(second, b"two", NOW)
    assert await ledger.all_witnessed() == {"log": Witnessed(second, b"two", NOW)}


async def test_a_witness_of_an_empty_log_sees_it_grow(store):
    one = Known(1, b"\x01" * 32)
    assert await store.ledger.witness("log", Known(), Known(), b"empty", NOW)
    assert await store.ledger.witness("log", Known(0, EMPTY_ROOT), one, b"one", NOW)
    assert not await store.ledger.witness("log", Known(), one, b"one", NOW)


async def test_of_many_that_cosign_at_once_one_wins(store):
    tries = [Known(size, bytes([size]) * 32) for size in range(1, 9)]
    won = await asyncio.gather(*(store.ledger.witness("log", Known(), new, b"", NOW) for new in tries))
    assert sum(won) == 1
    assert (await store.ledger.witnessed("log")).known == tries[won.index(True)]


# --- both sides know


def account(index, source, **changes):
    fields = {
        "kind": "receipt",
        "source": source,
        "index": index,
        "salt": b"\x05" * 16,
        "proof": b"\x06" * 64,
        "size": index + 1,
        "received_at": NOW,
    }
    return AccountRow(**fields | changes)


async def test_accounts_are_kept_once(store, made):
    receipts = [made.receipt(counterparty=name) for name in ("a", "a", "a", "b", "c")]
    async with committing(OwnerCommits, store) as commits:
        for kept in receipts:
            await commits.keep(kept)
    ids = [kept.receipt.id for kept in receipts]
    assert await store.ledger.account("a", [account(0, ids[0]), account(1, ids[1])]) == 2
    assert await store.ledger.account("a", [account(7, ids[0]), account(2, ids[3])]) == 1
    assert await store.ledger.account("c", [account(1, ids[4])]) == 1
    assert await store.ledger.account("c", []) == 0
    assert await store.ledger.accounted("a", "receipt", ids[0]) == account(0, ids[0])
    assert await store.ledger.accounted("b", "receipt", ids[3]) is None


async def test_what_is_known_of_a_log_never_goes_back(store):
    row = FollowedRow("jd", 5, 8, b"\x01" * 32, b"note", 9, NOW)
    assert await store.ledger.followed("jd") is None
    assert await store.ledger.follow(row)
    further = replace(row, next_index=8, latest_size=12, grown_at=NOW + timedelta(hours=1))
    assert await store.ledger.follow(further)
    for less in (replace(further, next_index=7), replace(further, size=7), replace(further, latest_size=11)):
        assert not await store.ledger.follow(less)
    assert await store.ledger.followed("jd") == further
    assert await store.ledger.all_followed() == [further]


# --- halting


async def test_the_first_reason_of_a_halt_stands_and_nothing_grows(store):
    ledger = store.ledger
    assert await ledger.halted() is None
    await ledger.halt("ledger_behind", "Restore the newest database.")
    await ledger.halt("other", "Another reason.")
    assert await ledger.halted() == ("ledger_behind", "Restore the newest database.")
    with pytest.raises(LedgerError, match="Restore") as refused:
        await ledger.grow(1, pytest.fail)
    assert refused.value.code == "ledger_behind"
    await ledger.resume()
    assert await ledger.halted() is None


async def test_nothing_is_taken_when_nothing_is_made(store, made, sql):
    async with committing(OwnerCommits, store) as commits:
        await commits.keep(made.receipt())
    before = await pending(sql)
    given = []
    assert await store.ledger.grow(5, lambda *held: given.append(held)) is None
    assert given == [(Held(None), [before[0][2]])]
    assert await pending(sql) == before
    assert await store.ledger.pending() == 1
    assert await store.ledger.head() is None
    assert await store.ledger.final() is None


async def test_an_error_of_the_maker_leaves_everything_as_it_was(store, made, sql):
    async with committing(OwnerCommits, store) as commits:
        await commits.keep(made.receipt())

    def fail(_held, _entries):
        raise LedgerError("no", code="wrong_tile")

    with pytest.raises(LedgerError):
        await store.ledger.grow(5, fail)
    assert len(await pending(sql)) == 1
