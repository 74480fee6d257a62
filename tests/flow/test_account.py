"""Both sides know: a log's entries for us are read, held against our own copies, and what is missing is asked for."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from riskshare.errors import PeerDown, RegistryError, StoreError
from riskshare.ledger import account
from riskshare.ledger.account import GRACE, LOOKUP_EVERY, MOST_PAGES, Accountant
from riskshare.ledger.entry_page import EntryPage
from riskshare.ledger.growth import STALL
from riskshare.ledger.note import ED25519, VerifierKey
from tests.simulator.entries import LOG, ORIGIN, OTHER, POLICY, Log, kind, salt, source, statement

START = datetime(2026, 11, 22, tzinfo=UTC)
KEYS = [VerifierKey(ORIGIN, ED25519, LOG.public)]


class World:
    """icbc follows the log of jd, in which every entry is of its concern."""

    def __init__(self, size=13, *, page=500):
        self.log, self.size_of_page = Log(size), page
        self.latest_note = None
        self.lie = lambda page: page
        self.down, self.asked = set(), []
        self.now = START
        self.rows, self.kept, self.order = None, {}, []
        self.ours = {(kind(index), source(index)): statement(index) for index in range(1000)}
        self.lost, self.receipt_at, self.offered = [], None, 0
        self.doubts, self.sentences, self.doubted_notes, self.stalls = [], [], [], []
        self.policy_error = None
        self.accountant = Accountant(
            logs=self,
            kept=self,
            log_keys=lambda _: KEYS,
            policy=self.policy,
            doubt=self.doubt,
            watch=self,
            now=lambda: self.now,
        )

    # logs
    async def latest(self, member):
        self._reach(member, "latest")
        return self.latest_note or self.log.signed(final=False).note.to_bytes()

    async def entries(self, member, after, size):
        self._reach(member, "entries")
        self.asked.append((after, size))
        indices = list(range(after, self.log.edge.size))[: self.size_of_page]
        following = indices[-1] + 1 if indices else self.log.edge.size
        return self._bytes(self.log.page(size, indices, following))

    async def entry(self, member, source, size):
        self._reach(member, "entry")
        index = int.from_bytes(source, "big")
        self.asked.append(index)
        return self._bytes(self.log.page(size, [index] if index < self.log.edge.size else []))

    def _reach(self, member, what):
        if what in self.down:
            raise PeerDown(member, "No connection.")

    def _bytes(self, page):
        page = self.lie(page)
        return page.to_bytes() if isinstance(page, EntryPage) else page

    # kept
    async def followed(self, _member):
        return self.rows

    async def follow(self, followed):
        self.order.append("mark")
        self.rows = followed

    async def account(self, _member, rows):
        if "store" in self.down:
            raise StoreError("PostgreSQL is away.")
        self.order.append("rows")
        self.kept.update({row.index: row for row in rows})

    async def statements(self, _member, places):
        return {place: self.ours[place] for place in places if place in self.ours}

    async def missing(self, _member, limit):
        return self.lost[:limit]

    async def last_receipt(self, _member):
        return self.receipt_at

    async def witnessed(self, _member):
        return self.offered

    # policy, doubt, watch
    def policy(self, _member):
        if self.policy_error is not None:
            raise self.policy_error
        return POLICY

    async def doubt(self, _member, signed):
        self.doubted_notes.append(signed)

    def doubted(self, _member, code, sentence):
        assert sentence.endswith(".")
        self.doubts.append(code)
        self.sentences.append(sentence)

    def stalled(self, _member, since):
        self.stalls.append(since)

    async def account_for(self, **span):
        self.now += timedelta(**span)
        await self.accountant.account(["jd"])


@pytest.fixture
def world():
    return World()


async def test_every_entry_that_holds_is_kept_with_its_proof(world):
    await world.account_for()
    assert sorted(world.kept) == list(range(13))
    assert all(row.size == 13 and row.salt == salt(index) for index, row in world.kept.items())
    assert (world.rows.next_index, world.rows.size, world.rows.root) == (13, 13, world.log.edge.root())
    assert world.rows.note == world.log.signed().note.to_bytes()
    assert world.doubts == []


async def test_a_second_round_goes_on_where_the_first_ended(world):
    await world.account_for()
    world.log = Log(20)
    await world.account_for()
    assert world.asked == [(0, 0), (13, 13)]
    assert sorted(world.kept) == list(range(20))


async def test_pages_are_turned_until_the_end():
    world = World(20, page=6)
    await world.account_for()
    assert [after for after, _ in world.asked] == [0, 6, 12, 18]
    assert sorted(world.kept) == list(range(20))


async def test_a_round_has_a_most_of_pages_and_the_next_goes_on():
    world = World(MOST_PAGES + 5, page=1)
    await world.account_for()
    assert sorted(world.kept) == list(range(MOST_PAGES))
    await world.account_for()
    assert sorted(world.kept) == list(range(MOST_PAGES + 5))


async def test_rows_are_kept_before_the_mark_moves(world):
    await world.account_for()
    assert world.order == ["mark", "rows", "mark"]


async def test_a_crash_between_rows_and_mark_reads_the_page_again(world):
    world.down.add("store")
    with pytest.raises(StoreError):
        await world.account_for()
    assert world.rows.next_index == 0
    world.down.clear()
    await world.account_for()
    assert sorted(world.kept) == list(range(13))


async def test_what_we_do_not_hold_stands_in_nobodys_way(world):
    del world.ours[kind(5), source(5)]
    await world.account_for()
    assert sorted(world.kept) == [index for index in range(13) if index != 5]
    assert world.rows.next_index == 13
    assert world.doubts == []


FALSE_ROWS = {
    "salt": lambda row: replace(row, entry=replace(row.entry, salt=bytes(16))),
    "kind": lambda row: replace(row, entry=replace(row.entry, source=source(6))),
    "proof": lambda row: replace(row, hashes=row.hashes[::-1]),
}


@pytest.mark.parametrize("what", FALSE_ROWS)
async def test_a_false_row_is_named_and_the_others_are_kept(world, what):
    world.ours[kind(5), source(6)] = statement(6)
    world.lie = lambda page: replace(page, rows=(*page.rows[:5], FALSE_ROWS[what](page.rows[5]), *page.rows[6:]))
    await world.account_for()
    assert world.doubts == ["wrong_inclusion"]
    assert sorted(world.kept) == [index for index in range(13) if index != 5]


async def test_a_page_of_lies_is_named_once(world):
    world.ours = dict.fromkeys(world.ours, b"what we hold")
    await world.account_for()
    assert world.doubts == ["wrong_inclusion"]
    assert world.sentences == [
        "Entry 0 of its log is not that of the receipt that it names, nor are 12 more of that page."
    ]


async def test_another_statement_than_ours_is_named(world):
    world.ours[kind(5), source(5)] = b"what we hold"
    await world.account_for()
    assert world.doubts == ["wrong_inclusion"]


@pytest.mark.parametrize("lie", [lambda _: b"nonsense", lambda page: replace(page, next=20)])
async def test_a_malformed_page_is_named(world, lie):
    world.lie = lie
    await world.account_for()
    assert world.doubts == ["malformed"]
    assert world.kept == {}


async def test_a_checkpoint_that_is_not_final_proves_nothing(world):
    world.lie = lambda page: replace(page, signed=world.log.signed(final=False))
    await world.account_for()
    assert (world.doubts, world.kept, world.doubted_notes) == (["not_final"], {}, [])


SECOND = {
    "rollback": lambda: Log(7),
    "two_histories": lambda: Log(13, other=3),
    "wrong_consistency": lambda: Log(20, other=3),
}


@pytest.mark.parametrize("code", SECOND)
async def test_a_log_that_does_not_extend_what_is_known_is_handed_on(world, code):
    await world.account_for()
    before = world.rows
    world.log = SECOND[code]()
    await world.account_for()
    assert world.doubts == [code]
    assert [signed.checkpoint for signed in world.doubted_notes] == [world.log.signed().checkpoint]
    assert replace(world.rows, growth=before.growth) == before


async def test_a_member_without_a_quorum_is_named(world):
    world.policy_error = RegistryError("Too few members can cosign.", code="no_witnesses")
    await world.account_for()
    assert world.doubts == ["no_witnesses"]


async def test_one_member_that_is_down_keeps_nobody_waiting(world):
    world.down.update(["entries", "latest"])
    await world.account_for()
    assert (world.doubts, world.kept) == ([], {})
    assert world.rows.growth.size == 0


async def test_one_member_that_never_answers_keeps_nobody_waiting(world, monkeypatch):
    monkeypatch.setattr(account, "ROUND_SECONDS", 0.05)

    async def never(member, after, size):
        await asyncio.Event().wait()

    world.entries = never
    await world.account_for()
    assert world.rows.growth.size == 13
    assert world.kept == {}


# --- what is missing


async def test_what_is_missing_is_asked_for_by_its_source(world):
    del world.ours[kind(5), source(5)]
    await world.account_for()
    world.ours[kind(5), source(5)] = statement(5)
    world.lost = [(kind(5), source(5))]
    await world.account_for(seconds=GRACE.seconds)
    assert 5 in world.kept
    assert world.rows.next_index == 13


async def test_what_is_missing_is_asked_for_now_and_then(world):
    world.lost = [(kind(50), source(50))]
    for _ in range(6):
        await world.account_for(seconds=LOOKUP_EVERY.seconds / 3)
    assert world.asked.count(50) == 2
    assert world.doubts == []


async def test_what_is_missing_is_asked_for_after_a_clock_that_was_ahead_was_put_right(world):
    world.lost = [(kind(50), source(50))]
    await world.account_for(seconds=86_400 * 365)
    await world.account_for(seconds=-86_400 * 365)
    assert world.asked.count(50) == 2
    await world.account_for(seconds=1)
    assert world.asked.count(50) == 2


async def test_another_entry_than_the_one_asked_for_is_named(world):
    world.lost = [(kind(5), source(5))]
    world.lie = lambda page: replace(page, rows=world.log.page(0, [6]).rows) if len(page.rows) == 1 else page
    await world.account_for()
    assert world.doubts == ["wrong_entry"]


# --- whether the log grows


async def test_a_log_that_stands_still_after_a_receipt_stalls_and_goes_on(world):
    await world.account_for()
    world.receipt_at = world.now + timedelta(seconds=1)
    await world.account_for(seconds=5)
    await world.account_for(seconds=STALL.seconds - 6)
    assert world.stalls == []
    await world.account_for(seconds=5)
    assert world.stalls == [world.now]
    assert world.rows.growth.has_stalled
    world.log = Log(14)
    await world.account_for(seconds=5)
    assert world.stalls[1:] == [None]
    assert not world.rows.growth.has_stalled


async def test_a_member_that_shows_no_log_stalls(world):
    world.down.update(["entries", "latest"])
    await world.account_for()
    world.receipt_at = world.now + timedelta(seconds=1)
    await world.account_for(seconds=5)
    await world.account_for(seconds=STALL.seconds)
    assert world.rows.growth.has_stalled


async def test_what_we_were_offered_as_a_witness_is_growth_too(world):
    world.down.update(["entries", "latest"])
    await world.account_for()
    world.receipt_at = world.now + timedelta(seconds=1)
    await world.account_for(seconds=5)
    world.offered = 7
    await world.account_for(seconds=STALL.seconds)
    assert not world.rows.growth.has_stalled


FALSE_NOTES = {
    "bad_signature": lambda log: log.signed(key=OTHER).note.to_bytes(),
    "malformed": lambda _: b"nonsense",
}


@pytest.mark.parametrize("code", ["bad_signature", "malformed"])
async def test_a_latest_checkpoint_that_does_not_hold_is_no_growth(world, code):
    world.latest_note = FALSE_NOTES[code](world.log)
    world.down.add("entries")
    await world.account_for()
    assert world.doubts == [code]
    assert world.rows.growth.size == 0


async def test_the_checkpoint_of_another_log_is_no_growth(world):
    world.latest_note = world.log.signed(origin="riskshare/simnet/icbc").note.to_bytes()
    world.down.add("entries")
    await world.account_for()
    assert world.doubts == ["bad_signature"]
    assert world.rows.growth.size == 0
