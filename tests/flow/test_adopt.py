"""After a crash: what the owner accounted for and the querier forgot is found again, and nothing else is believed."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.errors import PeerDown, PeerGarbage, PeerRefused, StoreError
from riskshare.query import adopt as module
from riskshare.query.adopt import BEFORE, BEGINNING, LATE, Adopter
from riskshare.query.message import AnswerMessage, Ask, AskMessage
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
        self.hidden = set()
        self.marks = {}
        self.start()

    def start(self):
        """The querier's process, which has forgotten all that its store does not know."""
        self.adopter = Adopter(
            querier="icbc",
            network=NETWORK,
            own_keys=lambda: [identity("icbc").public],
            pages=self,
            kept=self,
            verified=self.querier.asker.verified,
            now=self.clock.now,
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
        numbered = [pair for pair in enumerate(self.kept_there(), 1) if pair[0] not in self.hidden]
        page = read_page(write_page([pair for pair in numbered if pair[0] > after][: self.page]))
        return [self.change(item) for item in page]

    async def last_kept(self, _owner):
        return self.last

    async def begin_adoption(self, owner, upto):
        self.marks[owner] = min(self.marks.get(owner, upto), upto)
        return self.marks[owner]

    async def move_adoption(self, owner, upto):
        self.marks[owner] = max(self.marks[owner], upto)

    async def end_adoption(self, owner):
        self.marks.pop(owner, None)

    async def known_batches(self, _owner, batches):
        return {batch for batch in batches if batch in self.querier.store.receipts}

    async def keep_receipts(self, receipts):
        await self.querier.store.keep_receipts(receipts)
        self.last = self.clock.wall

    async def adopt(self):
        """A start, a while after the asks, and a pass."""
        self.clock.wait(1)
        self.start()
        await self.adopter.begin(["jd"])
        return await self.go_on()

    async def go_on(self):
        return await self.adopter.adopt("jd", self.refused.append)

    async def finish(self):
        """The second pass."""
        self.clock.wait(LATE.total_seconds())
        return await self.go_on()


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
    await restart.finish()
    restart.last = restart.clock.wall - timedelta(hours=1)
    await restart.adopt()
    assert [restart.since[0], restart.since[-1]] == [BEGINNING, restart.last - BEFORE]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 6, 7])
async def test_all_pages_are_read(count):
    restart = Restart(page=3)
    await restart.asked(count)
    assert await restart.adopt() == count


async def test_a_search_ends_with_a_second_pass_and_then_nothing_is_due():
    restart = Restart()
    await restart.asked(2)
    await restart.adopt()
    assert (list(restart.adopter.due()), list(restart.marks)) == ([], ["jd"])
    restart.clock.wait(LATE.total_seconds() - 1)
    assert list(restart.adopter.due()) == []
    restart.clock.wait(1)
    assert list(restart.adopter.due()) == ["jd"]
    assert await restart.go_on() == 0
    assert (list(restart.adopter.due()), restart.marks) == ([], {})
    assert await restart.go_on() == 0


async def test_a_receipt_that_becomes_visible_behind_others_is_adopted():
    """Another worker of the owner commits a lower number later, or answers only now what was sent before the crash."""
    restart = Restart()
    await restart.asked(5)
    restart.hidden = {2, 5}
    assert await restart.adopt() == 3
    restart.hidden = set()
    assert await restart.finish() == 2
    assert len(restart.querier.store.receipts) == 5


async def test_a_search_that_only_comes_to_it_late_needs_one_pass():
    restart = Restart()
    await restart.asked(2)
    restart.down = True
    with pytest.raises(PeerDown):
        await restart.adopt()
    restart.down = False
    assert list(restart.adopter.due()) == ["jd"]
    assert await restart.finish() == 2
    assert restart.marks == {}


async def test_what_this_process_asks_meanwhile_is_not_adopted_and_holds_up_nothing():
    """While payments go on there is always one receipt more; they are kept by their checks."""
    restart = Restart(page=1)
    await restart.asked(2)
    ask_on = restart.receipts

    async def receipts(owner, since, after=0):
        restart.clock.wait(1)
        await restart.asked(1)
        return await ask_on(owner, since, after)

    restart.receipts = receipts
    assert await restart.adopt() == 2
    assert await restart.finish() == 0
    assert restart.marks == {}
    assert len(restart.querier.store.receipts) == 2


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
    assert await restart.go_on() == 2


async def test_a_pass_goes_on_where_the_owner_gave_no_more_pages_for_now():
    """All asks lie in the minutes before the crash, where the mark stays: begun anew, no pass would come to the end."""
    restart = Restart(page=2)
    await restart.asked(23)
    whole, rounds, left = restart.receipts, 0, 0

    async def receipts(owner, since, after=0):
        nonlocal left
        if not left:
            raise PeerRefused(owner, "later", remote_code="too_often", status=429)
        left -= 1
        return await whole(owner, since, after)

    restart.receipts = receipts
    restart.clock.wait(1)
    await restart.adopter.begin(["jd"])
    while "jd" in restart.adopter.due():
        rounds, left = rounds + 1, 3
        restart.clock.wait(30)
        with contextlib.suppress(PeerRefused):
            assert await restart.go_on() == 23
    assert rounds == 5  # twelve pages, and an empty one behind the last
    assert len(restart.querier.store.receipts) == 23
    left = 20
    assert await restart.finish() == 0
    assert restart.marks == {}


async def test_an_owner_whose_receipts_are_none_of_ours_is_asked_for_few_of_them_at_a_time(monkeypatch):
    monkeypatch.setattr(module, "MOST_REFUSED", 4)
    restart = Restart(page=3)
    await restart.asked(9)
    ours = restart.kept_there()[7].receipt.ask
    restart.change = lambda item: item if item.ask.ask == ours else _other_signature(item)
    with pytest.raises(PeerGarbage) as told:
        await restart.adopt()
    assert (told.value.code, len(restart.refused)) == ("bad_signature", 6)
    assert await restart.go_on() == 1
    assert len(restart.refused) == 8


async def test_what_could_not_be_kept_is_adopted_the_next_time():
    restart = Restart()
    await restart.asked(2)
    restart.querier.store.away = True
    with pytest.raises(StoreError):
        await restart.adopt()
    restart.querier.store.away = False
    assert await restart.go_on() == 2


async def test_what_is_kept_since_the_start_does_not_move_the_search():
    """Receipts lost in a crash long ago must not be passed over because a check was faster than the adoption."""
    restart = Restart()
    restart.last = crashed = restart.clock.wall - timedelta(hours=1)
    await restart.adopter.begin(["jd"])
    restart.last = restart.clock.wall
    restart.down = True
    with pytest.raises(PeerDown):
        await restart.go_on()
    restart.down = False
    await restart.go_on()
    assert restart.since == [crashed - BEFORE]


async def test_a_second_crash_does_not_shorten_the_search():
    """Adopted receipts are the newest of our own: a search that began by them would pass over the rest."""
    restart = Restart(page=2)
    restart.last = restart.clock.wall - timedelta(days=2)
    for _ in range(6):
        await restart.asked(1)
        restart.clock.wait(3600)
    pages = restart.receipts

    async def two_pages(owner, since, after=0):
        if after >= 4:
            raise PeerDown(owner, "away")
        return await pages(owner, since, after)

    restart.receipts = two_pages
    with pytest.raises(PeerDown):
        await restart.adopt()
    assert len(restart.querier.store.receipts) == 4
    restart.receipts = pages
    assert restart.last == restart.clock.wall
    assert await restart.adopt() == 2
    behind = [kept for kept in restart.kept_there() if Ask.from_json(kept.receipt.ask).asked_at < restart.since[-1]]
    assert len(behind) == 3, "what was adopted, but for the overlap, is not read again"


async def test_several_processes_that_search_at_once_lose_nothing():
    restart = Restart(page=1)
    await restart.asked(6)
    restart.clock.wait(1)
    await restart.adopter.begin(["jd"])
    first = restart.adopter
    restart.start()
    await restart.adopter.begin(["jd"])
    second = restart.adopter
    counts = await asyncio.gather(first.adopt("jd"), second.adopt("jd"))
    assert len(restart.querier.store.receipts) == 6
    assert sum(counts) >= 6
    restart.clock.wait(LATE.total_seconds())
    await first.adopt("jd")
    await second.adopt("jd")
    assert restart.marks == {}


STEPS = ("last_kept", "begin_adoption", "receipts", "known_batches", "keep_receipts", "move_adoption", "end_adoption")


class Crash(Exception):  # noqa: N818 - what happens, not an error
    """The process ends."""


@contextlib.contextmanager
def crashing(restart, step, after, *, persisted):
    """Let the process end at a step that it takes for the `after`th time: before it, or right behind it."""
    for_real = getattr(restart, step)
    left = after

    async def crash(*arguments):
        nonlocal left
        left -= 1
        if left >= 0 or persisted:
            result = await for_real(*arguments)
        if left < 0:
            raise Crash
        return result

    setattr(restart, step, crash)
    try:
        with contextlib.suppress(Crash):
            yield
    finally:
        setattr(restart, step, for_real)


@given(
    st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 4), st.booleans()), max_size=5),
    st.integers(0, 3),
    st.integers(0, 9),
    st.integers(1, 4),
    st.integers(0, 5400),
)
def test_however_often_it_crashes_in_the_end_nothing_is_missing(crashes, known, lost, page, pause):
    """Each crash comes before a step ("failed") or after it ("failed, but persisted"); the next start goes on."""

    async def play():
        restart = Restart(page=page)
        for _ in range(known):
            await restart.asked(1)
            await restart.keep_receipts([replace(restart.kept_there()[-1], side="querier", counterparty="jd")])
            restart.clock.wait(pause)
        for _ in range(lost):
            await restart.asked(1)
            restart.clock.wait(1)
        for step, after, persisted in crashes:
            restart.clock.wait(pause)
            with crashing(restart, step, after, persisted=persisted):
                await restart.adopt()
                await restart.finish()
        await restart.adopt()
        await restart.finish()
        return restart

    restart = asyncio.run(play())
    assert restart.marks == {}
    assert set(restart.querier.store.receipts) == {kept.batch for kept in restart.kept_there()}
    assert sum(kept.adopted for kept in restart.querier.store.receipts.values()) == lost
    assert restart.refused == []
