"""The sequencer on a real PostgreSQL: killed at every step, two at once, faults around every write, a flipped bit."""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from riskshare.encoding import sha256
from riskshare.errors import LedgerError, StoreError
from riskshare.ledger.bundle import decode_entries
from riskshare.ledger.checkpoint import Checkpoint, origin_of, sign_checkpoint, witness_name
from riskshare.ledger.derivation import Derivation
from riskshare.ledger.kept import EntryRow, Head, Written
from riskshare.ledger.leaf import KINDS
from riskshare.ledger.merkle import root
from riskshare.ledger.note import cosign, parse_note
from riskshare.ledger.sequence import Sequencer
from riskshare.ledger.tile import Bundle, Tile, bundles_between, check_tile, tiles_between
from riskshare.sharing.kept import RegistryRow
from riskshare.signature import SigningKey
from riskshare.store.exchange import OwnerCommits, QuerierCommits
from riskshare.store.ledger import Ledger

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
ORIGIN = origin_of("test", "me")
KEY = SigningKey(b"\x05" * 32)
STEPS = [
    f"{when} {write}"
    for write in ("take", "tiles", "bundles", "entries", "checkpoint", "commit")
    for when in ("before", "after")
]


class Fault:
    """Raises once at a step."""

    def __init__(self, step):
        self.step = step

    async def __call__(self, step):
        if step == self.step:
            self.step = ""
            raise StoreError("injected")


def sequencer(ledger, most=1024):
    return Sequencer(origin=ORIGIN, key=KEY, log=ledger, now=lambda: NOW, most=most)


async def keep(sql, count, start=0):
    """Pending rows without what they stand for; gives their entries."""
    rows = [(number, number.to_bytes(32, "big")) for number in range(start, start + count)]
    await sql.executemany(
        "insert into ledger_pending values ('receipt', int8send($1) || int8send($1) || $2, sha256($2))", rows
    )
    return [row["entry"] for row in await sql.fetch("select entry from ledger_pending")]


async def derived(ledger):
    """The entries of the whole log, every tile and the head held against them."""
    head = await ledger.head()
    bundles = await ledger.bundles(bundles_between(0, head.size))
    tiles = await ledger.tiles(tiles_between(0, head.size))
    derivation, made, entries = Derivation(head.size), [], []
    while wanted := derivation.wanted:
        entries += decode_entries(wanted, bundles[wanted])
        made += derivation.feed(bundles[wanted])
    for tile, hashes in (*made, *derivation.rest()):
        check_tile(tile, hashes, tiles[tile])
    derivation.check_root(head.root)
    return entries


@pytest.mark.parametrize("counts", [(1,), (256,), (3, 256, 1), (255, 1, 300)])
async def test_pending_rows_become_the_log(store, sql, counts):
    runner = sequencer(store.ledger, most=100)
    await runner.open()
    expected = []
    for count in counts:
        expected += await keep(sql, count, len(expected))
        assert await runner.step() == count
    assert await derived(store.ledger) == expected
    assert await store.ledger.pending() == 0
    head = await store.ledger.head()
    assert head.root == root(expected)
    assert head.final_at is None
    assert await store.ledger.final() is None
    rows = await sql.fetch("select index from ledger_entries order by index")
    assert [row["index"] for row in rows] == list(range(sum(counts)))


async def test_tiles_and_bundles_are_given_as_wide_as_asked_and_no_wider_than_they_are(store, sql):
    runner = sequencer(store.ledger)
    await runner.open()
    entries = await keep(sql, 300)
    await runner.step()
    narrow, full, partial, wide, absent = Tile(0, 1, 7), Tile(0, 0), Tile(0, 1, 44), Tile(0, 1, 45), Tile(1, 0, 2)
    found = await store.ledger.tiles([narrow, full, partial, wide, absent])
    assert set(found) == {narrow, full, partial}
    assert found[narrow] == found[partial][: 7 * 32]
    bundles = await store.ledger.bundles([Bundle(0), Bundle(1, 3), Bundle(1, 45), Bundle(2, 1)])
    assert decode_entries(Bundle(1, 3), bundles[Bundle(1, 3)]) == tuple(entries[256:259])
    assert set(bundles) == {Bundle(0), Bundle(1, 3)}
    assert await store.ledger.tiles([]) == {}


async def test_receipts_and_checks_are_found_in_the_log_by_what_they_stand_for(store, made, sql):
    owner, querier = OwnerCommits(store), QuerierCommits(store)
    receipts = [made.receipt(counterparty=name) for name in ("a", "b", "a")]
    for kept in receipts:
        await owner.keep(kept)
    check, asked = made.check(), made.receipt("querier", "a")
    await querier.keep(check, [asked])
    epoch = made.epoch()
    await store.publications.add_epoch(epoch)
    end = {"end_statement": b"{}", "end_signature": bytes(64), "end_salt": b"\x08" * 16}
    await store.publications.end_epoch(replace(epoch, ended_at=NOW, **end))
    await owner.close()
    await querier.close()
    runner = sequencer(store.ledger)
    await runner.open()
    assert await runner.step() == 7
    entries = await derived(store.ledger)
    for kind, source in [
        *(("receipt", kept.receipt.id) for kept in [*receipts, asked]),
        ("check", check.id.bytes),
        ("epoch", epoch.digest),
    ]:
        index = await store.ledger.index_of(kind, source)
        assert entries[index] == (await store.ledger.leaf_of(kind, source)).entry
    assert await store.ledger.index_of("receipt", b"\x00" * 32) is None
    rows, upto = await store.ledger.entries_for("a", -1, 7, 100)
    by_index = sorted(
        [(await store.ledger.index_of("receipt", kept.receipt.id), "receipt", kept.salt) for kept in receipts[::2]]
        + [(await store.ledger.index_of("receipt", asked.receipt.id), "receipt", asked.salt)]
        + [(await store.ledger.index_of("epoch", epoch.digest), "epoch", epoch.salt)]
        + [(6, "epoch", b"\x08" * 16)]
    )
    assert [(row.index, row.kind, row.salt) for row in rows] == by_index
    assert upto == 6
    assert rows[-2] == EntryRow(5, "epoch", epoch.digest, epoch.salt, "default")
    # In parts, looking at two entries each time.
    found, after = [], -1
    while (part := await store.ledger.entries_for("a", after, 6, 2))[1] != after:
        found += part[0]
        after = part[1]
    assert found == rows[:-1]
    assert await store.ledger.entries_for("a", 6, 7, 100) == ([], 6)


async def served(ledger):
    """All that a stranger can read of a log: the note, every tile and every bundle."""
    head = await ledger.head()
    bundles = await ledger.bundles(bundles_between(0, head.size))
    tiles = await ledger.tiles(tiles_between(0, head.size))
    return {"checkpoint": head.note} | {place.path: data for place, data in (*tiles.items(), *bundles.items())}


async def receipts_alone(store, made):
    """Twelve receipts as an owner."""
    owner = OwnerCommits(store)
    for _ in range(12):
        await owner.keep(made.receipt(count=1))
    await owner.close()


async def of_every_kind(store, made):
    """Twelve entries of all kinds, small and large."""
    owner, querier = OwnerCommits(store), QuerierCommits(store)
    for count in (1, 200, 4096):
        await owner.keep(made.receipt(counterparty="ccb", count=count))
    for size in (10, 9000):
        await querier.keep(made.check(record=made.bytes(size)), [made.receipt("querier")], [made.ask(count=3)])
    epoch = made.epoch()
    await store.publications.add_epoch(epoch)
    ended = {"end_statement": made.bytes(300), "end_signature": made.bytes(64), "end_salt": made.bytes(16)}
    await store.publications.end_epoch(replace(epoch, ended_at=NOW, **ended))
    await store.trust.keep_registry(RegistryRow(1, made.bytes(32), made.bytes(900), NOW))
    await owner.close()
    await querier.close()


@pytest.mark.parametrize("fill", [receipts_alone, of_every_kind])
async def test_an_outsider_learns_how_many_entries_there_are_and_nothing_else(store, made, sql, fill):
    runner = sequencer(store.ledger)
    await runner.open()
    await fill(store, made)
    secret = set()
    for table in ("receipts", "checks", "unanswered", "epochs", "registry_versions"):
        for row in await sql.fetch(f"select * from {table}"):
            secret |= {value for value in row.values() if isinstance(value, bytes) and len(value) >= 16}
            secret |= {value.bytes for value in row.values() if isinstance(value, UUID)}
    kinds = [row["kind"] for row in await sql.fetch("select kind from ledger_pending")]
    assert await runner.step() == len(kinds) == 12
    found = await served(store.ledger)
    # The same files of the same lengths, whatever the entries stand for.
    assert {path: len(data) for path, data in found.items()} == {
        "checkpoint": len(sign_checkpoint(Checkpoint(ORIGIN, 12, bytes(32)), KEY).to_bytes()),
        "tile/0/000.p/12": 12 * 32,
        "tile/entries/000.p/12": 12 * 34,
    }
    # No salt, id or statement; nor what anybody could hash who has seen a statement and no salt.
    guessed = {sha256(kind.encode() + b"\n" + value) for kind in KINDS for value in secret}
    guessed |= {sha256(value) for value in secret}
    everything = b"".join(found.values())
    assert len(secret) > 24
    assert not [value for value in secret | guessed if value in everything]
    assert not [word for word in (*KINDS, "jd", "ccb") if word.encode() in found["checkpoint"]]


async def test_one_statement_under_two_salts_has_two_entries(store, made, sql):
    """Both sides of an exchange log the same receipt; nobody sees that from their logs."""
    same = [made.receipt(counterparty=name) for name in ("a", "b")]
    owner = OwnerCommits(store)
    for kept in same:
        await owner.keep(replace(kept, receipt=same[0].receipt))
    await owner.close()
    rows = await sql.fetch("select source, entry from ledger_pending")
    assert len({row["source"] for row in rows}) == 1
    assert len({row["entry"] for row in rows}) == 2


async def test_what_stands_twice_among_the_pending_holds_nothing_up(store, sql):
    runner = sequencer(store.ledger)
    await runner.open()
    await sql.execute(
        "insert into ledger_pending select 'receipt', '\\x01', sha256('\\x02') from generate_series(1, 3)"
    )
    assert await runner.step() == 3
    assert await store.ledger.index_of("receipt", b"\x01") == 0
    assert len(await derived(store.ledger)) == 3


# --- bad luck


@pytest.mark.parametrize("step", STEPS)
async def test_a_fault_at_any_step_leaves_everything_before_or_everything_after(store, sql, step):
    await sequencer(store.ledger).open()
    expected = await keep(sql, 5)
    await sequencer(store.ledger).step()
    expected += await keep(sql, 300, 5)
    with pytest.raises(StoreError, match="injected"):
        await sequencer(Ledger(store.pool, fault=Fault(step))).step()
    done = step == "after commit"
    assert (await store.ledger.head()).size == (305 if done else 5)
    assert await store.ledger.pending() == (0 if done else 300)
    await sequencer(store.ledger).open()
    assert await sequencer(store.ledger).step() == (0 if done else 300)
    assert await derived(store.ledger) == expected


KILLED = """
import asyncio, os, signal, sys
from datetime import UTC, datetime
from riskshare.ledger.sequence import Sequencer
from riskshare.signature import SigningKey
from riskshare.store.connection import Target
from riskshare.store.ledger import Ledger

dsn, origin, step = sys.argv[1:]

async def fault(at):
    if at == step:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    ledger = Ledger(await Target(dsn).pool(1), fault=fault)
    await Sequencer(
        origin=origin, key=SigningKey(b"\\x05" * 32), log=ledger, now=lambda: datetime.now(UTC), most=100
    ).step()

asyncio.run(main())
"""


@pytest.mark.parametrize("step", STEPS)
async def test_a_sequencer_killed_at_any_step_loses_doubles_and_forks_nothing(store, dsn, sql, step):
    await sequencer(store.ledger).open()
    expected = await keep(sql, 150)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, dsn, ORIGIN, step)
    assert await process.wait() == -signal.SIGKILL
    await sequencer(store.ledger).open()
    await sequencer(store.ledger).step()
    assert await derived(store.ledger) == expected
    assert await store.ledger.pending() == 0


async def test_two_that_sequence_at_once_give_one_log(store, sql):
    await sequencer(store.ledger).open()
    expected = await keep(sql, 2000)
    runners = [sequencer(store.ledger, most=50), sequencer(store.ledger, most=70)]
    for _ in range(30):
        await asyncio.gather(*(runner.step() for runner in runners))
    assert sorted(await derived(store.ledger)) == sorted(expected)
    assert len(expected) == 2000


async def test_two_that_open_an_empty_log_at_once_sign_one_checkpoint(store, sql):
    await asyncio.gather(*(sequencer(store.ledger).open() for _ in range(4)))
    assert await sql.fetchval("select count(*) from ledger_checkpoints") == 1


async def test_a_head_that_is_no_longer_the_one_that_was_read_is_not_built_upon(store, sql):
    """Whoever does not take the lock, by a defect or by hand, is found by comparing and swapping."""
    await sequencer(store.ledger).open()
    expected = await keep(sql, 3)
    intruder = await asyncpg.connect(store.target.dsn)

    async def fault(step):
        if step == "before checkpoint":
            await intruder.execute("insert into ledger_checkpoints values (1, sha256(''), '', now())")

    with pytest.raises(StoreError) as refused:
        await sequencer(Ledger(store.pool, fault=fault)).step()
    assert refused.value.code == "store_busy"
    await sql.execute("delete from ledger_checkpoints where size = 1")
    assert await sequencer(store.ledger).step() == 3
    assert await derived(store.ledger) == expected
    await intruder.close()


@pytest.mark.parametrize(
    "damage",
    [
        "update ledger_tiles set hashes = set_byte(hashes, 40, get_byte(hashes, 40) # 1) where width < 256",
        "update ledger_bundles set entries = set_byte(entries, 40, get_byte(entries, 40) # 1) where width < 256",
        "delete from ledger_tiles",
        "delete from ledger_bundles",
        "update ledger_checkpoints set root = sha256('')",
        "update ledger_checkpoints set note = 'nonsense'",
    ],
)
async def test_a_damaged_edge_in_postgresql_is_found_and_nothing_is_lost(store, sql, damage):
    await sequencer(store.ledger).open()
    await keep(sql, 600)
    await sequencer(store.ledger).step()
    await keep(sql, 4, 600)
    await sql.execute(damage)
    for act in (sequencer(store.ledger).open, sequencer(store.ledger).step):
        with pytest.raises(LedgerError) as refused:
            await act()
        assert refused.value.code == "log_damaged"
    assert await store.ledger.pending() == 4
    assert (await store.ledger.head()).size == 600


async def test_what_comes_while_a_transaction_runs_waits_for_the_next(store, made, sql):
    await sequencer(store.ledger).open()
    await keep(sql, 3)
    owner = OwnerCommits(store)
    late = made.receipt()

    async def fault(step):
        if step == "after take":
            await owner.keep(late)  # does not wait for the sequencer

    assert await sequencer(Ledger(store.pool, fault=fault)).step() == 3
    assert await store.ledger.pending() == 1
    assert await sequencer(store.ledger).step() == 1
    assert await store.ledger.index_of("receipt", late.receipt.id) == 3
    await owner.close()


# --- cosignatures


def cosignature(head, number, time=1):
    return cosign(
        parse_note(head.note).text, witness_name("test", f"w{number}"), SigningKey(bytes([number]) * 32), time
    )


async def test_cosignatures_are_added_and_a_final_checkpoint_stands_for_the_smaller_ones(store, sql):
    runner = sequencer(store.ledger)
    await runner.open()
    heads = []
    for number in range(3):
        await keep(sql, 2, 2 * number)
        await runner.step()
        heads.append(await store.ledger.head())
    one, two, again = (cosignature(heads[1], number, time) for number, time in ((1, 1), (2, 1), (1, 9)))
    assert parse_note((await store.ledger.cosign(4, [one])).note).signatures[1:] == (one,)
    kept = await store.ledger.cosign(4, [two, again], final=NOW)
    assert parse_note(kept.note).signatures[1:] == (again, two)
    assert kept.final_at == NOW
    assert await store.ledger.final() == kept
    assert (await store.ledger.head()).size == 6
    assert [row["size"] for row in await sql.fetch("select size from ledger_checkpoints order by size")] == [4, 6]
    assert await store.ledger.cosign(2, [one], final=NOW) is None
    later = await store.ledger.cosign(4, [], final=NOW + timedelta(hours=1))
    assert later.final_at == NOW
    assert (await store.ledger.final()) == kept


async def test_cosignatures_that_come_at_once_are_all_kept(store, sql):
    await sequencer(store.ledger).open()
    head = await store.ledger.head()
    made = [cosignature(head, number) for number in range(1, 20)]
    await asyncio.gather(*(store.ledger.cosign(0, [one]) for one in made))
    assert set(parse_note((await store.ledger.head()).note).signatures[1:]) == set(made)


async def test_the_first_checkpoint_is_written_only_where_there_is_none(store):
    def make(held, _entries):
        note = sign_checkpoint(Checkpoint(ORIGIN, 0, root([])), KEY)
        return Written(Head(0, root([]), note.to_bytes(), NOW)) if held.head is None else None

    assert (await store.ledger.grow(0, make)).entries == 0
    assert await store.ledger.grow(0, make) is None
