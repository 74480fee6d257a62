"""What a member shows of its checks and proves of its evaluations, page by page; and how an auditor asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskshare.audit import opened as forms
from riskshare.audit import unseal
from riskshare.audit.access import AccessRequest, Sample
from riskshare.audit.kept import AuditRow
from riskshare.audit.opened import OpenedPage, ProofsPage, read_opened, read_proofs
from riskshare.audit.recompute import Recomputed
from riskshare.audit.visit import Visits
from riskshare.errors import InputError, PeerGarbage, PeerRefused, StoreError
from riskshare.ledger.merkle import pieces
from riskshare.membership import oprf
from riskshare.query.message import new_batch
from tests.simulator.network import make_network
from tests.simulator.opening import BANK, LISTED, START, UNLISTED, Owned, Room, here_and_now
from tests.simulator.query import Hold, down, identity, late

THIRD = "phone:+8613800138002"


# --- showing checks -------------------------------------------------------------------------------------


async def test_a_check_is_shown_with_its_record_and_every_batch():
    room = Room()
    verdict = await room.check(LISTED, UNLISTED)
    shown = await room.shown(verdict.check)
    assert shown.state == "opened"
    assert {batch.owner: batch.state for batch in shown.batches} == {"jd": "answered", "unionpay": "answered"}
    for batch in shown.batches:
        kept = room.bank.store.receipts[batch.batch]
        assert (batch.receipt, batch.elements, batch.evaluated) == (
            kept.receipt.to_bytes(),
            kept.elements,
            kept.evaluated,
        )


async def test_states_of_checks_and_batches_are_told():
    room = Room()
    room.wire.conduct["jd"] = late
    verdict = await room.check(LISTED)
    store = room.bank.store
    adopted = next(batch for batch, kept in store.receipts.items() if kept.counterparty == "unionpay")
    store.receipts[adopted] = replace(store.receipts[adopted], adopted=True)
    shown = await room.shown(verdict.check)
    assert {batch.owner: batch.state for batch in shown.batches} == {"jd": "unanswered", "unionpay": "adopted"}
    store.unanswered.clear()
    shown = await room.shown(verdict.check)
    assert {batch.state for batch in shown.batches} == {"unknown", "adopted"}
    missing = new_batch(1, bytes(10))
    assert (await room.unsealer().page([missing], 0)).checks[0].state == "unknown"
    store.hour_keys.clear()
    assert (await room.shown(verdict.check)).state == "sealed"


async def test_a_record_that_does_not_open_is_sealed():
    room = Room()
    verdict = await room.check(LISTED)
    kept = room.bank.store.checks[verdict.check]
    room.bank.store.checks[verdict.check] = replace(kept, record=kept.record[:-1] + b"x")
    assert (await room.shown(verdict.check)).state == "sealed"


async def test_pages_go_on_until_all_are_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(unseal, "PAGE_BYTES", 4_000)
    room = Room()
    checks = [(await room.check(text)).check for text in (LISTED, UNLISTED, THIRD, LISTED, UNLISTED)]
    unsealer, first, seen, pages = room.unsealer(), 0, [], 0
    while first < len(checks):
        page = read_opened((await unsealer.page(checks, first)).to_bytes())
        seen += [shown.check for shown in page.checks]
        first, pages = page.next, pages + 1
    assert seen == checks
    assert 1 < pages < 5


async def test_a_check_with_more_batches_than_there_is_room_for_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(unseal, "BATCH_BYTES", 100)
    room = Room()
    verdict = await room.check(LISTED)
    shown = await room.shown(verdict.check)
    assert [batch.state for batch in shown.batches] == ["answered", "left_out"]
    found = await room.recompute(verdict.check, shown)
    assert found.faults == ()
    assert [step for step, _ in found.gaps] == ["4"]


@pytest.mark.parametrize("first", [-1, 1, 1000])
async def test_numbers_that_a_request_does_not_have_are_not_found(first: int):
    room = Room()
    verdict = await room.check(LISTED)
    receipt = next(iter(room.bank.store.receipts.values())).receipt.id
    for pages in (room.unsealer().page([verdict.check], first), room.prover("jd").page([receipt], first)):
        with pytest.raises(InputError) as caught:
            await pages
        assert caught.value.code == "not_found"


# --- proving ----------------------------------------------------------------------------------------------


async def test_a_proof_holds_under_the_key_of_the_epoch_and_each_is_another_one():
    room = Room()
    await room.check(LISTED, UNLISTED)
    kept = next(iter(room.owners["jd"].receipts.receipts.values()))
    first, second = [await room.proof("jd", kept.receipt.id) for _ in range(2)]
    assert first.proof != second.proof
    for shown in (first, second):
        public = room.committed["jd", kept.epoch]
        oprf.verify_proof(public, pieces(shown.elements), pieces(shown.evaluated), shown.proof)


async def test_a_querier_proves_nothing():
    room = Room()
    await room.check(LISTED)
    owned = Owned(room.owners["jd"])
    for place, kept in room.owners["jd"].receipts.receipts.items():
        room.owners["jd"].receipts.receipts[place] = replace(kept, side="querier")
        page = await room.prover("jd", owned).page([kept.receipt.id], 0)
        assert page.proofs[0].state == "unknown"


async def test_pages_of_proofs_are_bounded_by_their_elements(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("riskshare.audit.prove.PAGE_ELEMENTS", 2)
    room = Room()
    for text in (LISTED, UNLISTED, THIRD):
        await room.check(text)
    receipts = [kept.receipt.id for kept in room.owners["jd"].receipts.receipts.values()]
    page = await room.prover("jd").page(receipts, 0)
    assert (page.first, page.next, len(page.proofs)) == (0, 2, 2)
    assert (await room.prover("jd").page(receipts, 2)).next == 3


async def test_a_page_of_proofs_is_no_longer_than_what_is_read():
    assert forms.MAX_PROOFS_PAGE > forms.PAGE_BYTES + forms.MAX_PROOF
    assert forms.MAX_OPENED_PAGE > forms.PAGE_BYTES + forms.MAX_CHECK
    assert await here_and_now(lambda: b"x") == b"x"


# --- asking -----------------------------------------------------------------------------------------------


class Peer:
    """A member's peer with its rules of access left out; `spoil` makes of a page what arrives."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.requests: dict[bytes, AccessRequest] = {}
        self.kept: list[AuditRow] = []
        self.order: list[str] = []
        self.spoil: Callable[[Any], bytes] = lambda page: page.to_bytes()
        self.refuses = False
        self.fails = False

    async def keep(self, row: AuditRow) -> bool:
        if self.fails:
            raise StoreError("PostgreSQL is away.")
        self.order.append("kept")
        self.kept.append(row)
        return True

    async def request(self, member: str, wire: bytes) -> bytes:
        if self.refuses:
            raise PeerRefused(member, "No.", remote_code="no_audit_right", status=403)
        self.order.append("sent")
        row = next(row for row in self.kept if row.wire() == wire)
        self.requests[row.digest] = row.request
        return b""

    async def opened(self, member: str, digest: bytes, first: int) -> bytes:
        assert member == BANK
        return self.spoil(await self.room.unsealer().page(self.requests[digest].checks, first))

    async def proofs(self, member: str, digest: bytes, first: int) -> bytes:
        return self.spoil(await self.room.prover(member).page(self.requests[digest].receipts, first))


def visits(peer: Peer, sample: Sample | None = None) -> Visits:
    counter = iter(range(1, 1000))
    return Visits(
        auditor="regulator",
        identity=identity("regulator"),
        registry=make_network().registry,
        members=peer,
        requests=peer,
        reason="a dispute",
        sample=sample,
        now=lambda: START,
        new_id=lambda: new_batch(next(counter), bytes(10)),
        random=bytes,
    )


async def everything(pages: AsyncIterator[Any]) -> list[Any]:
    return [one async for one in pages]


async def test_a_request_is_kept_before_it_is_sent_and_names_all():
    room = Room()
    peer = Peer(room)
    checks = [(await room.check(text)).check for text in (LISTED, UNLISTED)]
    sample = Sample(bytes(32), 2, 9)
    shown = await everything(visits(peer, sample).opened(BANK, checks))
    assert [one.check for one in shown] == checks
    assert peer.order == ["kept", "sent"]
    request = peer.kept[0].request
    assert (request.action, request.checks, request.sample, request.reason) == (
        "open",
        tuple(checks),
        sample,
        "a dispute",
    )
    receipts = [kept.receipt.id for kept in room.owners["jd"].receipts.receipts.values()]
    proofs = await everything(visits(peer, sample).proofs("jd", receipts))
    assert [one.receipt for one in proofs] == receipts
    assert (peer.kept[1].request.action, peer.kept[1].request.sample) == ("prove", None)


async def test_what_was_not_kept_is_not_sent_and_what_was_refused_shows_nothing():
    room = Room()
    verdict = await room.check(LISTED)
    peer = Peer(room)
    peer.fails = True
    with pytest.raises(StoreError):
        await everything(visits(peer).opened(BANK, [verdict.check]))
    assert peer.order == []
    peer.fails, peer.refuses = False, True
    with pytest.raises(PeerRefused):
        await everything(visits(peer).opened(BANK, [verdict.check]))


BAD_PAGES: dict[str, Callable[[Any], bytes]] = {
    "garbage": lambda _: b"garbage",
    "another first": lambda page: replace(page, first=page.first + 1, next=page.next + 1).to_bytes(),
    "more than were named": lambda page: _longer(page).to_bytes(),
    "another one": lambda page: _other(page).to_bytes(),
}


def _longer(page: Any) -> Any:
    items = page.checks if isinstance(page, OpenedPage) else page.proofs
    name = "checks" if isinstance(page, OpenedPage) else "proofs"
    return replace(page, next=page.next + 1, **{name: (*items, items[-1])})


def _other(page: Any) -> Any:
    if isinstance(page, ProofsPage):
        return replace(page, proofs=tuple(replace(one, receipt=bytes(32)) for one in page.proofs))
    return replace(page, checks=tuple(replace(one, check=new_batch(5, bytes(10))) for one in page.checks))


@pytest.mark.parametrize("spoil", BAD_PAGES.values(), ids=BAD_PAGES.keys())
async def test_a_page_that_is_not_the_one_asked_for_is_refused(spoil):
    room = Room()
    verdict = await room.check(LISTED)
    peer = Peer(room)
    peer.spoil = spoil
    receipt = next(iter(room.owners["jd"].receipts.receipts.values())).receipt.id
    for pages in (visits(peer).opened(BANK, [verdict.check]), visits(peer).proofs("jd", [receipt])):
        with pytest.raises(PeerGarbage):
            await everything(pages)


def test_the_two_kinds_of_page_are_not_taken_for_each_other():
    for read in (read_opened, read_proofs):
        with pytest.raises(InputError):
            read(b"\xa0")


# --- an honest network gives no finding --------------------------------------------------------------------

CONDUCT = st.sampled_from(["", "", "down", "late", "slow"])


@st.composite
def turns(draw: st.DrawFn) -> list[tuple[list[str], str, str, int]]:
    """Checks: identifiers, what the wire does with each of the two owners' asks, seconds until the next."""
    texts = st.lists(st.sampled_from([LISTED, UNLISTED, THIRD]), min_size=1, max_size=3)
    one = st.tuples(texts, CONDUCT, CONDUCT, st.sampled_from([0, 1, 400]))
    return draw(st.lists(one, min_size=1, max_size=5))


async def _play(plan: list[tuple[list[str], str, str, int]]) -> list[Recomputed]:
    room = Room(LISTED, THIRD, cache_seconds=300.0)
    checks: list[UUID] = []
    for texts, first, second, pause in plan:
        holds = []
        for owner, how in (("jd", first), ("unionpay", second)):
            room.wire.conduct.pop(owner, None)
            if how == "slow":
                holds.append(room.wire.conduct.setdefault(owner, Hold()))
            elif how:
                room.wire.conduct[owner] = down if how == "down" else late
        verdict = await room.check(*texts, deadline=0.02 if holds else 60.0)
        checks.append(verdict.check)
        for hold in holds:
            hold.release()  # type: ignore[attr-defined] # each is a Hold
        room.clock.wait(pause)
    await room.bank.asker.close()
    return [await room.recompute(check, owners={"jd", "unionpay"}) for check in checks]


@settings(max_examples=25)
@given(turns())
def test_honest_members_are_never_blamed_whatever_happens_on_the_way(plan):
    found = asyncio.run(_play(plan))
    assert [one.faults for one in found] == [()] * len(plan)
    assert all(one.recomputed == one.recorded for one in found)


async def test_a_clock_that_is_set_back_during_a_check_blames_nobody():
    room = Room()
    hold = room.wire.conduct["jd"] = Hold()
    task = asyncio.create_task(room.check(LISTED))
    await room.wire.until_sent(2)
    room.clock.wall -= timedelta(seconds=50)
    hold.release()
    verdict = await task
    assert verdict.answered_at < START
    assert (await room.recompute(verdict.check)).faults == ()
