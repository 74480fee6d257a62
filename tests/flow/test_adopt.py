"""After a crash: what the owner accounted for and the querier forgot is found again, and nothing else is believed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from riskshare.errors import PeerDown, StoreError
from riskshare.query.adopt import BEFORE, BEGINNING, Adopter
from riskshare.query.message import AnswerMessage, AskMessage
from riskshare.query.receipt_page import read_page, write_page
from tests.simulator.query import (
    NETWORK,
    Clock,
    SimulatedOwner,
    SimulatedQuerier,
    Wire,
    ask_body,
    element,
    identity,
    make_ask,
)


class Restart:
    """A querier that comes back: `owner` keeps receipts of its asks, its own store may know some of them."""

    def __init__(self, page=3):
        self.clock = Clock()
        self.owner = SimulatedOwner("jd", self.clock)
        self.querier = SimulatedQuerier("icbc", self.clock, Wire(self.owner))
        self.last = None
        self.page = page
        self.since = []
        self.change = lambda item: item
        self.refused = []
        self.down = False
        self.adopter = Adopter(
            querier="icbc",
            network=NETWORK,
            own_keys=lambda: [identity("icbc").public],
            pages=self,
            kept=self,
            verified=self.querier.asker.verified,
        )

    async def asked(self, count, **changes):
        for _ in range(count):
            blinded = element(self.querier.random)
            ask = make_ask(self.owner, blinded, **changes)
            await self.owner.answerer.answer(ask_body(ask, blinded), "icbc")

    def kept_there(self):
        return list(self.owner.receipts.receipts.values())

    async def receipts(self, owner, since, after=0):
        if self.down:
            raise PeerDown(owner, "away")
        self.since.append(since)
        numbered = list(enumerate(self.kept_there(), 1))
        page = read_page(write_page([pair for pair in numbered if pair[0] > after][: self.page]))
        return [self.change(item) for item in page]

    async def last_kept(self, _owner):
        return self.last

    async def known_batches(self, _owner, batches):
        return {batch for batch in batches if batch in self.querier.store.receipts}

    async def keep_receipts(self, receipts):
        await self.querier.store.keep_receipts(receipts)

    async def adopt(self):
        return await self.adopter.adopt("jd", self.refused.append)


async def test_forgotten_receipts_are_adopted_and_marked():
    restart = Restart()
    await restart.asked(7)
    assert await restart.adopt() == 7
    found = restart.querier.store.receipts
    assert {kept.receipt for kept in found.values()} == {kept.receipt for kept in restart.kept_there()}
    assert all(kept.adopted and kept.side == "querier" for kept in found.values())


async def test_what_is_known_is_left_as_it_is():
    restart = Restart()
    await restart.asked(4)
    known = [replace(kept, side="querier", counterparty="jd") for kept in restart.kept_there()[:2]]
    await restart.querier.store.keep_receipts(known)
    assert await restart.adopt() == 2
    assert [restart.querier.store.receipts[kept.batch] for kept in known] == known


async def test_a_second_adoption_finds_nothing_new():
    restart = Restart()
    await restart.asked(3)
    assert await restart.adopt() == 3
    assert await restart.adopt() == 0


async def test_the_search_begins_a_little_before_the_last_receipt_kept():
    restart = Restart()
    await restart.adopt()
    restart.last = restart.clock.wall - timedelta(hours=1)
    await restart.adopt()
    assert restart.since == [BEGINNING, restart.last - BEFORE]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 6, 7])
async def test_all_pages_are_read(count):
    restart = Restart(page=3)
    await restart.asked(count)
    assert await restart.adopt() == count


def _other_signature(item):
    ask = item.ask
    return replace(item, ask=AskMessage(ask.ask, bytes(64), ask.elements))


def _other_elements(item):
    ask = item.ask
    return replace(item, ask=AskMessage(ask.ask, ask.signature, ask.elements[::-1]))


def _no_ask(item):
    return replace(item, ask=AskMessage(b"{}", item.ask.signature, item.ask.elements))


def _other_answer(item):
    answer = AnswerMessage.from_bytes(item.answer)
    return replace(item, answer=replace(answer, elements=answer.elements[::-1]).to_bytes())


def _no_answer(item):
    return replace(item, answer=b"\xa0")


@pytest.mark.parametrize("damage", [_other_signature, _other_elements, _no_ask, _other_answer, _no_answer])
async def test_a_receipt_that_does_not_hold_is_refused_and_stands_in_nobodys_way(damage):
    restart = Restart()
    await restart.asked(4)
    second = restart.kept_there()[1].receipt.ask
    restart.change = lambda item: damage(item) if item.ask.ask == second else item
    assert await restart.adopt() == 3
    assert [error.member for error in restart.refused] == ["jd"]
    assert second not in {kept.receipt.ask for kept in restart.querier.store.receipts.values()}


async def test_an_ask_of_ours_to_another_owner_is_refused():
    restart = Restart()
    await restart.asked(1)
    other = SimulatedOwner("unionpay", restart.clock)
    blinded = element(restart.querier.random)
    await other.answerer.answer(ask_body(make_ask(other, blinded), blinded), "icbc")
    restart.owner.receipts.receipts.update(other.receipts.receipts)
    assert await restart.adopt() == 1
    assert [error.code for error in restart.refused] == ["bad_signature"]


async def test_an_owner_that_is_down_is_asked_again_later():
    restart = Restart()
    await restart.asked(2)
    restart.down = True
    with pytest.raises(PeerDown):
        await restart.adopt()
    restart.down = False
    assert await restart.adopt() == 2


async def test_what_could_not_be_kept_is_adopted_the_next_time():
    restart = Restart()
    await restart.asked(2)
    restart.querier.store.away = True
    with pytest.raises(StoreError):
        await restart.adopt()
    restart.querier.store.away = False
    assert await restart.adopt() == 2


async def test_what_is_kept_since_the_start_does_not_move_the_search():
    """Receipts lost in a crash long ago must not be passed over because a check was faster than the adoption."""
    restart = Restart()
    restart.last = crashed = restart.clock.wall - timedelta(hours=1)
    await restart.adopter.begin(["jd"])
    restart.last = restart.clock.wall
    restart.down = True
    with pytest.raises(PeerDown):
        await restart.adopt()
    restart.down = False
    await restart.adopt()
    await restart.adopt()
    assert restart.since == [crashed - BEFORE, restart.last - BEFORE]
