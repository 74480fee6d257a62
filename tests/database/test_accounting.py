"""What a member shows of its log, out of a real PostgreSQL, as its counterparty reads it."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from riskshare.errors import LedgerError, PeerDown, PeerError, PeerGarbage, PeerRefused
from riskshare.ledger.addition import Known
from riskshare.ledger.checkpoint import log_key, origin_of, witness_key, witness_name
from riskshare.ledger.entry_page import MAX_ROWS, read_entries, verify_page, verify_row
from riskshare.ledger.note import cosign, parse_note
from riskshare.ledger.policy import Policy, PolicyLog, PolicyWitness
from riskshare.ledger.sequence import Sequencer
from riskshare.ledger.tile import Tile
from riskshare.metrics import Metrics
from riskshare.peer import accounting
from riskshare.peer.accounting import Desk, Others, Shown
from riskshare.sharing.kept import FraudProofRow
from riskshare.signature import SigningKey
from riskshare.store.exchange import OwnerCommits

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
LOG, WITNESS = SigningKey(b"\x05" * 32), SigningKey(b"\x06" * 32)
POLICY = Policy(
    (PolicyLog(log_key("test", "jd", LOG.public)),),
    (PolicyWitness("ccb", witness_key("test", "ccb", WITNESS.public)),),
    (),
    "ccb",
)


class Member:
    """The member jd with its log."""

    def __init__(self, store, told=()):
        self.store = store
        published = SimpleNamespace(tells=lambda kind, about, reader: (kind, about, reader) in told)
        shared = SimpleNamespace(store=store)
        self.shown = Shown(shared, SimpleNamespace(published=published), SimpleNamespace())
        self.sequencer = Sequencer(origin=origin_of("test", "jd"), key=LOG, log=store.ledger, now=lambda: NOW)

    async def keep(self, *receipts):
        commits = OwnerCommits(self.store)
        for kept in receipts:
            await commits.keep(kept)
        await commits.close()

    async def grow(self, *, final=True):
        await self.sequencer.open()
        await self.sequencer.step()
        head = await self.store.ledger.head()
        if final:
            made = cosign(parse_note(head.note).text, witness_name("test", "ccb"), WITNESS, 1_800_000_000)
            await self.store.ledger.cosign(head.size, [made], final=NOW)
        return head

    async def read(self, reader, after=0, known=None):
        """The page as the reader verifies it, and its checkpoint."""
        page = read_entries(await self.shown.entries(reader, after, known.size if known else 0))
        return page, verify_page(page, POLICY, known or Known(), after)


async def test_before_the_first_final_checkpoint_there_is_nothing(store, made):
    member = Member(store)
    await member.keep(made.receipt())
    assert await member.shown.entries("jd", 0, 0) is None
    await member.grow(final=False)
    assert await member.shown.entries("jd", 0, 0) is None
    assert await member.shown.entry("jd", bytes(32), 0) is None


async def test_each_reader_gets_its_own_entries_with_proofs_that_hold(store, made):
    member = Member(store)
    mine, theirs = [made.receipt() for _ in range(5)], [made.receipt(counterparty="ccb") for _ in range(7)]
    await member.keep(*mine, *theirs)
    await member.grow()
    for reader, receipts in (("jd", mine), ("ccb", theirs), ("unionpay", [])):
        page, checkpoint = await member.read(reader)
        statements = {kept.receipt.id: kept.receipt.to_bytes() for kept in receipts}
        assert {row.entry.source for row in page.rows} == statements.keys()
        for row in page.rows:
            verify_row(row, statements[row.entry.source], checkpoint)
        assert page.next == checkpoint.size == 12


async def test_a_reader_goes_on_from_what_it_knows(store, made):
    member = Member(store)
    await member.keep(*(made.receipt() for _ in range(5)))
    await member.grow()
    page, checkpoint = await member.read("jd")
    known = Known(checkpoint.size, checkpoint.root)
    page, _ = await member.read("jd", page.next, known)
    assert (page.rows, page.next) == ((), 5)
    await member.keep(*(made.receipt() for _ in range(3)))
    await member.grow()
    page, checkpoint = await member.read("jd", 5, known)
    assert [row.entry.index for row in page.rows] == [5, 6, 7]
    assert page.next == checkpoint.size == 8


async def test_what_is_not_final_is_not_shown(store, made):
    member = Member(store)
    await member.keep(made.receipt())
    await member.grow()
    await member.keep(made.receipt())
    await member.grow(final=False)
    page, _ = await member.read("jd")
    assert [row.entry.index for row in page.rows] == [0]
    [late] = await store.pool.fetch("select source from ledger_entries where index = 1")
    assert read_entries(await member.shown.entry("jd", late["source"], 0)).rows == ()


async def test_a_page_has_a_most_of_rows_and_leads_on(store):
    member = Member(store)
    receipts = set()
    await store.pool.execute(
        "insert into receipts (side, counterparty, batch, id, epoch, count, receipt, elements, evaluated, proof, salt,"
        " adopted) select 'owner', 'jd', gen_random_uuid(), sha256(int8send(n)), '', 1, '', '', '', '',"
        " substr(sha256(int8send(n)), 1, 16), false from generate_series(1, $1::bigint) as n",
        MAX_ROWS + 20,
    )
    await store.pool.execute(
        "insert into ledger_pending select 'receipt', id, ledger_entry(salt, 'receipt', receipt) from receipts"
    )
    await member.grow()
    page, checkpoint = await member.read("jd")
    assert (len(page.rows), page.next) == (MAX_ROWS, MAX_ROWS)
    receipts |= {row.entry.source for row in page.rows}
    page, _ = await member.read("jd", page.next, Known(checkpoint.size, checkpoint.root))
    assert (len(page.rows), page.next) == (20, MAX_ROWS + 20)
    assert len(receipts | {row.entry.source for row in page.rows}) == MAX_ROWS + 20


@pytest.mark.parametrize("looked_at", [1, 3])
async def test_a_page_looks_through_a_part_of_the_log_and_leads_on(store, made, monkeypatch, looked_at):
    monkeypatch.setattr(accounting, "LOOKED_AT", looked_at)
    member = Member(store)
    await member.keep(*(made.receipt(counterparty="ccb") for _ in range(6)), made.receipt())
    await member.grow()
    after, found = 0, []
    for _ in range(20):
        page, checkpoint = await member.read("jd", after)
        found += page.rows
        after = page.next
        if after == checkpoint.size:
            break
    assert (after, len(found)) == (7, 1)


async def test_a_snapshot_is_shown_to_who_may_know_of_its_list(store):
    member = Member(store, told={("snapshot", "fraud", "jd"), ("epoch", "default", "jd")})
    await store.pool.execute(
        "insert into lists (name, category, keyset) values ('fraud', 'telecom_fraud', 'default'),"
        " ('granted', 'telecom_fraud', 'granted')"
    )
    await store.pool.execute(
        "insert into epochs (digest, keyset, number, statement, signature, salt, secret_sealed, not_before, not_after)"
        " select sha256(keyset::bytea), keyset, 1, 'e', decode(repeat('00', 64), 'hex'), decode(repeat('00', 16), 'hex'),"
        " '', now(), now() + interval '1 day' from lists"
    )
    await store.pool.execute(
        "insert into snapshots (list_id, epoch, version, digest, statement, signature, salt, issued_at, expires_at,"
        " changed, segments, withdrawn) select id, sha256(keyset::bytea), 1, sha256(name::bytea), 's',"
        " decode(repeat('00', 64), 'hex'), decode(repeat('00', 16), 'hex'), now(), now() + interval '1 day', 0, '{}', 0"
        " from lists"
    )
    await store.pool.execute(
        "update epochs set end_statement = 'end', end_signature = signature, end_salt = salt, ended_at = now()"
    )
    await store.pool.execute(
        "insert into ledger_pending select 'snapshot', digest, ledger_entry(salt, 'snapshot', statement) from snapshots"
        " union all select 'epoch', digest, ledger_entry(salt, 'epoch', statement) from epochs"
        " union all select 'epoch', sha256(end_statement), ledger_entry(end_salt, 'epoch', end_statement) from epochs"
        " where keyset = 'default'"
    )
    await member.grow()
    page, checkpoint = await member.read("jd")
    assert sorted(row.entry.kind for row in page.rows) == ["epoch", "epoch", "snapshot"]
    statements = {hashlib.sha256(b"end").digest(): b"end"}
    for row in page.rows:
        statement = statements.get(row.entry.source, b"s" if row.entry.kind == "snapshot" else b"e")
        verify_row(row, statement, checkpoint)
        one = read_entries(await member.shown.entry("jd", row.entry.source, 0))
        assert [each.entry for each in one.rows] == [row.entry]
        assert read_entries(await member.shown.entry("ccb", row.entry.source, 0)).rows == ()
    assert (await member.read("ccb"))[0].rows == ()


async def test_a_damaged_log_shows_nothing_false(store, made):
    member = Member(store)
    await member.keep(made.receipt(), made.receipt())
    await member.grow()
    await store.pool.execute("delete from ledger_tiles")
    with pytest.raises(LedgerError):
        await member.shown.entries("jd", 0, 0)


class Tiles:
    """A client that finds every tile, or meets an error."""

    def __init__(self, error=None):
        self.error = error

    async def tile(self, _member, place):
        if self.error is not None:
            raise self.error
        return bytes(place.length)


def others(store, error=None):
    nobody = SimpleNamespace(entries=None, entry=None, held=None, held_statement=None)
    return Others(SimpleNamespace(member=SimpleNamespace(name="jd"), store=store), Tiles(error), nobody)


async def test_tiles_come_from_the_others_and_our_own_from_the_database(store, made):
    assert await others(store).tiles("ccb", [Tile(0, 0, 3)]) == {Tile(0, 0, 3): bytes(96)}
    member = Member(store)
    await member.keep(made.receipt(), made.receipt())
    await member.grow()
    own = await others(store).tiles("jd", [Tile(0, 0, 2), Tile(0, 0, 3)])
    assert own.keys() == {Tile(0, 0, 2)}


@pytest.mark.parametrize(
    "error",
    [
        PeerRefused("ccb", "Not found.", remote_code="not_found", status=404),
        PeerGarbage("ccb", "The tile has another length."),
    ],
)
async def test_a_log_that_has_no_such_tile_is_told_from_one_that_cannot_be_asked(store, error):
    with pytest.raises(LedgerError, check=lambda raised: raised.code == "wrong_tile"):
        await others(store, error).tiles("ccb", [Tile(0, 0)])


@pytest.mark.parametrize(
    "error",
    [
        PeerDown("ccb", "No connection."),
        PeerRefused("ccb", "Too many.", remote_code="too_often", status=429),
        PeerGarbage("ccb", "Another key.", code="foreign_key"),
    ],
)
async def test_a_log_that_cannot_be_asked_is_not_doubted(store, error):
    with pytest.raises(PeerError):
        await others(store, error).tiles("ccb", [Tile(0, 0)])


async def test_what_is_doubted_is_counted_and_what_convicts_is_kept_once(store):
    metrics = Metrics()
    desk = Desk(SimpleNamespace(metrics=metrics, store=store))
    row = FraudProofRow("snapshot", "jd", bytes(32), b"{}", NOW)
    assert await desk.add_fraud_proof(row)
    assert not await desk.add_fraud_proof(row)
    desk.convicted(row)
    for _ in range(3):
        desk.doubted("jd", "wrong_inclusion", "An entry does not hold.")
    text = metrics.render().decode()
    assert 'riskshare_ledger_doubts_total{code="wrong_inclusion",member="jd"} 3.0' in text
    assert 'riskshare_fraud_proofs{kind="snapshot",member="jd"} 1.0' in text
