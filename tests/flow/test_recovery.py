"""What a crash or an owner's silence left open: all owners at once, none holds up another, nothing is sent for ever."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import SimpleNamespace
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from riskshare.errors import PeerDown, PeerGarbage, PeerRefused, StoreError
from riskshare.ledger.receipt import UnansweredAsk
from riskshare.metrics import Metrics
from riskshare.peer import recovery as module
from riskshare.peer.opening import now
from riskshare.peer.recovery import RESEND_TERM, Recovery

FALSE_RECEIPTS = 3


@dataclass
class Querier:
    """The querier's half as recovery sees it. `conduct` says what happens with an owner, `sent` what was sent to it."""

    conduct: dict[str, object] = field(default_factory=dict)
    searches: list[str] = field(default_factory=list)
    adopted: list[str] = field(default_factory=list)
    sent: list[tuple[str, UUID]] = field(default_factory=list)
    closes: bool = True

    async def begin(self, owners):
        self.searches = list(owners)

    def due(self):
        return self.searches

    async def adopt(self, owner, refused):
        self.adopted.append(owner)
        await self._happen(owner, refused)
        self.searches = [each for each in self.searches if each != owner]
        return 2

    async def resend(self, ask):
        self.sent.append((ask.owner, ask.batch))
        await self._happen(ask.owner, None)
        return self.closes

    async def _happen(self, owner, refused):
        conduct = self.conduct.get(owner)
        if isinstance(conduct, Exception):
            raise conduct
        if conduct == "hangs":
            await asyncio.Event().wait()
        if conduct == "false receipt" and refused is not None:
            for _ in range(FALSE_RECEIPTS):
                refused(PeerGarbage(owner, "not ours", code="bad_signature"))


@dataclass
class Records:
    """The unanswered asks that are kept."""

    rows: list[tuple[datetime, UnansweredAsk]] = field(default_factory=list)
    added: int = 0

    def add(self, owner, age=timedelta(minutes=5)):
        self.added += 1
        ask = UnansweredAsk(owner, UUID(int=self.added), bytes(32), 1, b"{}", bytes(64), bytes(32), bytes(16))
        self.rows.append((now() - age, ask))
        return owner, ask.batch

    async def open_asks(self, owners, limit):
        return [ask for owner in owners for ask in [ask for _, ask in self.rows if ask.owner == owner][:limit]]

    async def close_asks(self, owner, batches):
        self.rows = [(at, ask) for at, ask in self.rows if ask.owner != owner or ask.batch not in batches]

    async def close_asks_before(self, asked_at):
        self.rows = [(at, ask) for at, ask in self.rows if at >= asked_at]


class World:
    def __init__(self, *members):
        self.members = list(members)
        self.querier = Querier()
        self.records = Records()
        self.metrics = Metrics()
        shared = SimpleNamespace(
            directory=SimpleNamespace(others=lambda: self.members),
            metrics=self.metrics,
            store=SimpleNamespace(records=self.records),
        )
        half = SimpleNamespace(adopter=self.querier, asker=self.querier)
        self.recovery = Recovery(shared, half)

    def count(self):
        return self.metrics.adopted._value.get()


# --- adopting -----------------------------------------------------------------------------------------


async def test_every_owner_where_a_search_is_due_is_asked_once():
    world = World("jd", "unionpay")
    await world.recovery.begin(["jd", "unionpay"])
    await world.recovery.adopt()
    await world.recovery.adopt()
    assert world.querier.adopted == ["jd", "unionpay"]
    assert world.count() == 4


async def test_an_owner_that_is_a_member_no_more_is_not_asked():
    world = World("jd")
    await world.recovery.begin(["jd", "gone"])
    await world.recovery.adopt()
    assert world.querier.adopted == ["jd"]
    world.members.append("gone")
    await world.recovery.adopt()
    assert world.querier.adopted == ["jd", "gone"]


@pytest.mark.parametrize("conduct", [PeerDown("jd", "away"), "hangs"])
async def test_an_owner_that_is_away_or_slow_holds_up_nobody_and_is_asked_again(conduct, monkeypatch):
    monkeypatch.setattr(module, "ROUND_SECONDS", 0.01)
    world = World("jd", "unionpay")
    world.querier.conduct["jd"] = conduct
    await world.recovery.begin(["jd", "unionpay"])
    with capture_logs() as logs:
        await world.recovery.adopt()
    told = "adoption_goes_on" if conduct == "hangs" else "not_adopted"
    assert {(line["event"], line["owner"]) for line in logs} == {(told, "jd"), ("adopted", "unionpay")}
    assert world.querier.searches == ["jd"]
    assert world.count() == 2
    world.querier.conduct.clear()
    await world.recovery.adopt()
    assert world.querier.adopted == ["jd", "unionpay", "jd"]


async def test_a_store_that_is_away_is_told_when_all_have_been_asked():
    world = World("jd", "unionpay")
    world.querier.conduct["jd"] = StoreError("away")
    await world.recovery.begin(["jd", "unionpay"])
    with pytest.raises(StoreError):
        await world.recovery.adopt()
    assert world.querier.searches == ["jd"]
    assert world.count() == 2


async def test_receipts_that_do_not_hold_are_logged_in_one_line_without_their_content():
    world = World("jd")
    world.querier.conduct["jd"] = "false receipt"
    await world.recovery.begin(["jd"])
    with capture_logs() as logs:
        await world.recovery.adopt()
    [line] = [line for line in logs if line["event"] == "receipt_refused"]
    assert (line["owner"], line["code"], line["count"]) == ("jd", "bad_signature", FALSE_RECEIPTS)


# --- sending again --------------------------------------------------------------------------------------


async def test_open_asks_are_sent_again_in_their_order_so_many_to_each_owner_in_a_round(monkeypatch):
    monkeypatch.setattr(module, "MOST_ASKS", 3)
    world = World("jd", "unionpay")
    asks = [world.records.add("jd") for _ in range(5)]
    theirs = world.records.add("unionpay")
    await world.recovery.resend()
    assert sorted(world.querier.sent) == sorted([*asks[:3], theirs])
    assert world.querier.sent.index(asks[0]) < world.querier.sent.index(asks[2])
    await world.recovery.resend()
    assert world.querier.sent[4:] == asks[3:]


async def test_asks_of_an_owner_that_is_a_member_no_more_are_closed_when_their_time_is_over():
    world = World("jd")
    world.records.add("gone", RESEND_TERM - timedelta(minutes=1))
    world.records.add("gone", RESEND_TERM + timedelta(minutes=1))
    await world.recovery.resend()
    assert world.querier.sent == []
    assert len(world.records.rows) == 1


async def test_an_ask_whose_matter_is_closed_is_not_sent_a_second_time():
    """It stays kept as unanswered if the owner has refused it for good."""
    world = World("jd", "unionpay")
    first = world.records.add("jd")
    await world.recovery.resend()
    second = world.records.add("jd")
    await world.recovery.resend()
    assert world.querier.sent == [first, second]


async def test_an_ask_that_stays_open_is_sent_each_time_until_it_is_hopeless():
    world = World("jd", "unionpay")
    world.querier.closes = False
    world.records.add("jd", RESEND_TERM + timedelta(seconds=1))
    last = world.records.add("jd", RESEND_TERM - timedelta(minutes=1))
    for _ in range(3):
        await world.recovery.resend()
    assert world.querier.sent == [last] * 3


async def test_an_owner_that_hangs_holds_up_nobody_elses_asks(monkeypatch):
    monkeypatch.setattr(module, "ROUND_SECONDS", 0.01)
    world = World("jd", "unionpay")
    first, _, theirs = (world.records.add(owner) for owner in ("jd", "jd", "unionpay"))
    world.querier.conduct["jd"] = "hangs"
    await world.recovery.resend()
    assert sorted(world.querier.sent) == sorted([first, theirs])


async def test_an_owner_that_wants_nothing_now_is_asked_in_the_next_round():
    world = World("jd", "unionpay")
    asks = [world.records.add("jd") for _ in range(3)]
    theirs = world.records.add("unionpay")
    world.querier.conduct["jd"] = PeerRefused("jd", "busy", remote_code="too_often", status=429)
    await world.recovery.resend()
    assert sorted(world.querier.sent) == sorted([asks[0], theirs])
    world.querier.conduct.clear()
    world.querier.sent.clear()
    await world.recovery.resend()
    assert world.querier.sent == asks


async def test_a_store_that_is_away_while_sending_is_told():
    world = World("jd", "unionpay")
    world.records.add("jd")
    theirs = world.records.add("unionpay")
    world.querier.conduct["jd"] = StoreError("away")
    with pytest.raises(StoreError):
        await world.recovery.resend()
    assert theirs in world.querier.sent
