"""The querier's half towards one owner: who travels with whom, what is believed, and that nothing sent is forgotten."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskshare.encoding import canonical_json, format_time, sha256
from riskshare.errors import AskRefused, PeerDown, PeerGarbage, PeerRefused, StoreError
from riskshare.keyterm import KeyTerm
from riskshare.ledger import merkle
from riskshare.ledger.receipt import UnansweredAsk
from riskshare.membership import oprf
from riskshare.query import ask as ask_module
from riskshare.query.ask import FULL, TOO_OLD
from riskshare.query.batch import AskFailed
from riskshare.query.message import MAX_SNAPSHOTS, Answer, AnswerMessage, Ask, AskMessage
from riskshare.signature import SigningKey
from riskshare.statement import sign
from tests.simulator.query import (
    NETWORK,
    START,
    Clock,
    Disconnect,
    Forge,
    Hold,
    SimulatedOwner,
    SimulatedQuerier,
    Wire,
    ask_body,
    down,
    element,
    identity,
    late,
    make_ask,
)


class Pair:
    """One querier, one owner (another, `unionpay`, for company)."""

    def __init__(self, **asker):
        self.clock = Clock()
        self.owner = SimulatedOwner("jd", self.clock)
        self.other = SimulatedOwner("unionpay", self.clock)
        self.wire = Wire(self.owner, self.other)
        self.querier = SimulatedQuerier("icbc", self.clock, self.wire, **asker)
        self.asker = self.querier.asker
        self.store = self.querier.store

    def submit(self, *, owner="jd", purpose="payment", epoch=None, blinded=None):
        blinded = blinded or element(self.querier.random)
        at = self.wire.owners[owner].epoch if epoch is None else epoch
        return self.asker.submit(owner, at, purpose, blinded)

    async def settled(self):
        await asyncio.gather(*self.asker._tasks, return_exceptions=True)
        return await self.asker.settle()


@pytest.fixture
def pair():
    return Pair()


async def failure(ticket):
    with pytest.raises(AskFailed) as caught:
        await ticket.done
    return caught.value.reason


async def test_one_element_is_evaluated_and_verified(pair):
    ticket = pair.submit()
    evaluated = await ticket.done
    assert evaluated == oprf.evaluate(pair.owner.secrets[pair.owner.epoch], ticket.element)
    assert ticket.position == 0
    assert ticket.batch.kept.evaluated == evaluated
    assert ticket.batch.receipt_id == ticket.batch.kept.receipt.id
    assert repr(ticket.element) not in repr(ticket) + repr(ticket.batch)


async def test_what_the_ask_says(pair):
    name = pair.owner.list("telecom_fraud", [])
    tickets = [pair.submit(), pair.submit()]
    await asyncio.gather(*(ticket.done for ticket in tickets))
    (ask,) = pair.wire.asks()
    assert ask == Ask(
        batch=tickets[0].batch.ask.batch,
        network="simnet",
        registry=7,
        querier="icbc",
        owner="jd",
        epoch=pair.owner.epoch,
        purpose="payment",
        count=2,
        elements=merkle.root([ticket.element for ticket in tickets]),
        snapshots={name: pair.owner.views[pair.owner.epoch][name].digest},
        asked_at=START,
        proof=False,
    )
    assert ask.batch.int >> 80 == int(START.timestamp() * 1000)


async def test_an_ask_names_no_more_snapshots_than_it_may(pair):
    pair.querier.registry.held = lambda _: {f"jd/list-{number:04}": bytes(32) for number in range(MAX_SNAPSHOTS + 9)}
    await pair.submit().done
    assert list(pair.wire.asks()[0].snapshots) == [f"jd/list-{number:04}" for number in range(MAX_SNAPSHOTS)]


# --- travelling together ------------------------------------------------------------------


async def test_elements_of_one_turn_travel_together(pair):
    tickets = [pair.submit() for _ in range(20)]
    await asyncio.gather(*(ticket.done for ticket in tickets))
    assert [ask.count for ask in pair.wire.asks()] == [20]
    assert [ticket.position for ticket in tickets] == list(range(20))
    secret = pair.owner.secrets[pair.owner.epoch]
    assert [ticket.done.result() for ticket in tickets] == [oprf.evaluate(secret, one.element) for one in tickets]


async def test_other_owners_epochs_and_purposes_travel_apart(pair):
    second = pair.owner.open_epoch()
    tickets = [
        pair.submit(),
        pair.submit(owner="unionpay"),
        pair.submit(purpose="marketing"),
        pair.submit(epoch=second),
        pair.submit(),
    ]
    await asyncio.gather(*(ticket.done for ticket in tickets))
    found = {(ask.owner, ask.epoch, ask.purpose, ask.count) for ask in pair.wire.asks()}
    assert found == {
        ("jd", pair.owner.epoch, "payment", 2),
        ("unionpay", pair.other.epoch, "payment", 1),
        ("jd", pair.owner.epoch, "marketing", 1),
        ("jd", second, "payment", 1),
    }


async def test_no_more_asks_than_allowed_are_in_flight_and_those_that_wait_leave_together():
    pair = Pair(in_flight=2)
    hold = pair.wire.conduct["jd"] = Hold()
    first = pair.submit()
    await pair.wire.until_sent(1)
    second = pair.submit()
    await pair.wire.until_sent(2)
    waiting = []
    for _ in range(5):
        waiting.append(pair.submit())
        await asyncio.sleep(0)
    assert len(pair.wire.sent) == 2
    hold.release()
    await asyncio.gather(*(ticket.done for ticket in (first, second, *waiting)))
    assert [ask.count for ask in pair.wire.asks()] == [1, 1, 5]


async def test_one_owner_that_is_slow_holds_up_no_other_lane():
    pair = Pair(in_flight=1)
    hold = pair.wire.conduct["jd"] = Hold()
    slow = pair.submit()
    await pair.submit(owner="unionpay").done
    assert not slow.done.done()
    hold.release()
    await slow.done


async def test_more_than_a_full_ask_is_split(pair):
    blinded = element(pair.querier.random)
    tickets = [pair.submit(blinded=blinded) for _ in range(FULL + 1)]
    await asyncio.gather(*(ticket.done for ticket in tickets))
    assert sorted(ask.count for ask in pair.wire.asks()) == [1, FULL]


async def test_without_coalescing_each_element_leaves_alone():
    pair = Pair(coalesce=False)
    tickets = [pair.submit() for _ in range(6)]
    await asyncio.gather(*(ticket.done for ticket in tickets))
    assert [ask.count for ask in pair.wire.asks()] == [1] * 6


async def test_a_cancelled_element_does_not_leave(pair):
    tickets = [pair.submit() for _ in range(3)]
    tickets[1].done.cancel()
    await tickets[0].done
    await tickets[2].done
    assert [ask.count for ask in pair.wire.asks()] == [2]
    assert (tickets[1].batch, tickets[1].position) == (None, -1)
    assert [tickets[0].position, tickets[2].position] == [0, 1]


async def test_if_all_are_cancelled_nothing_leaves_and_the_next_does(pair):
    pair.submit().done.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert pair.wire.sent == []
    await pair.submit().done
    assert pair.asker._lanes == {}


async def test_an_element_cancelled_in_flight_keeps_its_receipt(pair):
    hold = pair.wire.conduct["jd"] = Hold()
    ticket = pair.submit()
    await pair.wire.until_sent(1)
    ticket.done.cancel()
    hold.release()
    assert await pair.settled() == 0
    assert set(pair.store.receipts) == {ticket.batch.ask.batch}


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(0, 2)), max_size=40), st.integers(1, 3))
def test_whatever_the_order_every_element_gets_its_own_result(history, in_flight):
    async def play():
        pair = Pair(in_flight=in_flight)
        tickets = []
        for purpose, cancelled, turns in history:
            ticket = pair.submit(purpose=("payment", "marketing", "audit")[purpose])
            if cancelled:
                ticket.done.cancel()
            else:
                tickets.append(ticket)
            for _ in range(turns):
                await asyncio.sleep(0)
        results = await asyncio.gather(*(ticket.done for ticket in tickets))
        secret = pair.owner.secrets[pair.owner.epoch]
        assert results == [oprf.evaluate(secret, ticket.element) for ticket in tickets]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert await pair.settled() == 0
        assert pair.asker._lanes == {}
        assert set(pair.store.receipts) == {ask.batch for ask in pair.wire.asks()}

    asyncio.run(play())


# --- trouble on the way ---------------------------------------------------------------------


async def test_an_owner_that_is_down_has_seen_nothing_so_nothing_is_kept(pair):
    pair.wire.conduct["jd"] = down
    assert (await failure(pair.submit())).code == "peer_down"
    assert await pair.settled() == 0
    assert pair.store.unanswered == {}


async def test_an_owner_may_have_read_an_ask_before_its_alert(pair):
    """Or an owner could account for an ask, end the connection with a TLS alert, and the querier would forget it."""

    async def alert(owner, *_):
        raise PeerDown(owner, "refused", code="tls_refused")

    pair.wire.conduct["jd"] = alert
    assert (await failure(pair.submit())).code == "tls_refused"
    await pair.settled()
    assert len(pair.store.unanswered) == 1


@pytest.mark.parametrize("after", [False, True])
async def test_a_broken_connection_gets_the_same_bytes_once_more(pair, after):
    pair.wire.conduct["jd"] = Disconnect(1, after=after)
    await pair.submit().done
    assert len(pair.wire.sent) == 2
    assert pair.wire.sent[0] == pair.wire.sent[1]
    assert pair.owner.evaluated == [1]


async def test_two_broken_connections_leave_an_unanswered_ask(pair):
    pair.wire.conduct["jd"] = Disconnect(2)
    ticket = pair.submit()
    assert (await failure(ticket)).code == "peer_disconnected"
    assert len(pair.wire.sent) == 2
    assert await pair.settled() == 0
    (kept,) = pair.store.unanswered.values()
    assert AskMessage(kept.ask, kept.ask_signature, kept.elements).to_bytes() == pair.wire.sent[0][1]
    assert (kept.owner, kept.count, kept.epoch, kept.batch) == ("jd", 1, pair.owner.epoch, ticket.batch.ask.batch)


async def test_down_after_a_broken_connection_is_not_unseen(pair):
    tries = iter([Disconnect(1, after=True), down])

    async def conduct(*arguments):
        return await next(tries)(*arguments)

    pair.wire.conduct["jd"] = conduct
    assert (await failure(pair.submit())).code == "peer_down"
    await pair.settled()
    assert len(pair.store.unanswered) == 1


async def test_a_late_answer_leaves_an_unanswered_ask(pair):
    pair.wire.conduct["jd"] = late
    assert (await failure(pair.submit())).code == "peer_late"
    await pair.settled()
    assert len(pair.store.unanswered) == 1


async def test_a_refusal_leaves_an_unanswered_ask_and_its_code(pair):
    pair.owner.registry.admit("icbc", purposes=frozenset())
    reason = await failure(pair.submit())
    assert isinstance(reason, PeerRefused)
    assert (reason.remote_code, reason.status) == ("purpose_not_allowed", 403)
    await pair.settled()
    assert len(pair.store.unanswered) == 1


async def test_a_failed_ask_fails_all_of_its_elements_and_no_others(pair):
    pair.wire.conduct["jd"] = down
    tickets = [pair.submit() for _ in range(3)]
    well = pair.submit(owner="unionpay")
    for ticket in tickets:
        assert (await failure(ticket)).member == "jd"
    await well.done


async def test_a_fault_of_ours_leaves_nobody_waiting(pair):
    faults = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context["exception"]))
    pair.querier.registry.held = lambda _: {"no list": bytes(31), "é": bytes(32)}
    assert (await failure(pair.submit())).code == "given_up"
    await asyncio.sleep(0)
    gc.collect()
    assert len(faults) == 1
    assert pair.asker._lanes == {}


# --- answers that are not believed ------------------------------------------------------------


def resigned(message, key, **changes):
    """The answer with other contents, properly signed by `key`."""
    answer = replace(Answer.from_json(message.answer), **changes)
    owner = SimulatedOwner("jd", Clock())
    json, signature = owner.sign("answer", answer.body(), key)
    return replace(message, answer=json, signature=signature)


JD = identity("jd")
GARBAGE = {
    "nothing": ("peer_garbage", lambda _: b""),
    "html": ("peer_garbage", lambda _: b"<html>"),
    "too long": ("peer_garbage", lambda _: bytes(10**6)),
    "no answer": ("peer_garbage", lambda m: replace(m, answer=b"{}")),
    "not canonical": ("peer_garbage", lambda m: replace(m, answer=m.answer + b" ")),
    "extra field": ("peer_garbage", lambda m: replace(m, answer=m.answer[:-1] + b',"x":1}')),
    "an ask": ("peer_garbage", lambda m: AskMessage(m.answer, m.signature, m.elements).to_bytes()),
    "unsigned": ("bad_signature", lambda m: replace(m, signature=bytes(64))),
    "altered": ("bad_signature", lambda m: replace(m, answer=canonical_json({**Answer.from_json(m.answer).body(), "answered_at": "2026-11-22T08:30:00.001Z"}))),
    "signed by another": ("bad_signature", lambda m: resigned(m, identity("unionpay"))),
    "other ask": ("other_ask", lambda m: resigned(m, JD, ask=bytes(32))),
    "other root": ("wrong_root", lambda m: resigned(m, JD, elements=bytes(32))),
    "altered element": ("wrong_root", lambda m: replace(m, elements=m.elements[:-1] + b"\x00")),
    "swapped elements": ("wrong_root", lambda m: replace(m, elements=m.elements[32:] + m.elements[:32])),
    "too few": ("wrong_count", lambda m: resigned(replace(m, elements=m.elements[:32]), JD, elements=merkle.root_of(m.elements[:32]))),
    "too many": ("wrong_count", lambda m: resigned(replace(m, elements=m.elements * 2), JD, elements=merkle.root_of(m.elements * 2))),
    "half an element": ("wrong_count", lambda m: replace(m, elements=m.elements[:-1])),
    "none": ("wrong_count", lambda m: resigned(replace(m, elements=b""), JD, elements=merkle.root([]))),
}  # fmt: skip


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_an_answer_that_is_not_believed(pair, garbage):
    code, change = GARBAGE[garbage]
    pair.wire.conduct["jd"] = Forge(change)
    tickets = [pair.submit(), pair.submit()]
    for ticket in tickets:
        reason = await failure(ticket)
        assert isinstance(reason, PeerGarbage)
        assert (reason.code, reason.member) == (code, "jd")
    assert len(pair.wire.sent) == 1
    await pair.settled()
    assert pair.store.receipts == {}
    assert len(pair.store.unanswered) == 1


async def test_the_answer_to_an_earlier_ask_is_not_believed(pair):
    earlier = []

    async def replay(owner, body, answer):
        earlier.append(await answer())
        return earlier[0]

    pair.wire.conduct["jd"] = replay
    await pair.submit().done
    assert (await failure(pair.submit())).code == "other_ask"


async def test_a_key_of_the_owner_that_the_registry_does_not_name_any_more(pair):
    pair.querier.registry.admit("jd", keys=[SigningKey(bytes(32)).public])
    assert (await failure(pair.submit())).code == "bad_signature"


async def test_a_proof_that_was_asked_for_must_be_there(pair):
    blinded = element(pair.querier.random)
    ask = make_ask(pair.owner, blinded, proof=True)
    sent = AskMessage.from_bytes(ask_body(ask, blinded))
    data, _ = await pair.owner.answerer.answer(sent.to_bytes(), "icbc")
    assert len(pair.asker.verified(ask, sent, data).proof) == 64
    bare = replace(AnswerMessage.from_bytes(data), proof=b"").to_bytes()
    with pytest.raises(PeerGarbage) as caught:
        pair.asker.verified(ask, sent, bare)
    assert caught.value.code == "no_proof"


# --- adoption -----------------------------------------------------------------------------------


async def foreign(pair):
    """An exchange that our side has forgotten."""
    blinded = element(pair.querier.random)
    ask = make_ask(pair.owner, blinded)
    sent = AskMessage.from_bytes(ask_body(ask, blinded))
    data, _ = await pair.owner.answerer.answer(sent.to_bytes(), "icbc")
    return ask, sent, data


async def test_a_receipt_is_adopted_and_marked(pair):
    ask, sent, data = await foreign(pair)
    kept = pair.asker.verified(ask, sent, data, adopted=True)
    (stored,) = pair.owner.receipts.receipts.values()
    assert (kept.adopted, kept.side, kept.receipt) == (True, "querier", stored.receipt)
    assert (kept.elements, kept.evaluated) == (stored.elements, stored.evaluated)
    assert len(kept.salt) == 16


@pytest.mark.parametrize("elements", [b"", bytes(32), bytes(64)])
async def test_elements_that_our_ask_does_not_commit_to_are_not_adopted(pair, elements):
    ask, sent, data = await foreign(pair)
    with pytest.raises(PeerGarbage) as caught:
        pair.asker.verified(ask, replace(sent, elements=elements), data, adopted=True)
    assert caught.value.code == "wrong_root"


HOUR = timedelta(hours=1)
NEW = SigningKey(bytes(32))
ROTATED = [KeyTerm(JD.public, START - HOUR, START + HOUR), KeyTerm(NEW.public, START + HOUR)]


async def given(pair, asked_at=START, *, key=JD, answered_at=None):
    """An ask of ours, and an answer to it that says what a signer with that key chooses."""
    blinded = element(pair.querier.random)
    ask = make_ask(pair.owner, blinded)
    data, _ = await pair.owner.answerer.answer(ask_body(ask, blinded), "icbc")
    message = AnswerMessage.from_bytes(data)
    pair.owner.receipts.receipts.clear()
    ask = replace(ask, asked_at=asked_at)
    sent = AskMessage.from_bytes(ask_body(ask, blinded))
    changes = {"ask": sha256(sent.ask).hex(), "answered_at": format_time(answered_at or asked_at)}
    body = {**Answer.from_json(message.answer).body(), **changes}
    signed = sign("answer", NETWORK, body, key)
    return ask, sent, replace(message, answer=signed.json, signature=signed.signature).to_bytes()


OLD = [{"late": True}, {"adopted": True}]


@pytest.mark.parametrize("how", OLD, ids=["late", "adopted"])
@pytest.mark.parametrize(
    "case",
    [
        (0, 2, JD, 0, True),
        (0, 0.5, JD, 0, True),
        (0.99, 2, JD, 0.99, True),
        (0.99, 2, NEW, 1, True),
        (2, 3, NEW, 2, True),
        (0, 2, NEW, 0, False),
        (0, 2, NEW, 1.5, False),
        (2, 3, JD, 0.5, False),
        (2, 3, JD, 2, False),
        (2, 3, JD, -5, False),
        (2, 3, JD, 10**4, False),
    ],
)
async def test_an_old_answer_is_judged_by_our_times_and_not_by_its_signers(pair, how, case):
    """The key was changed after an hour: who has the old one still can write any time into an answer."""
    asked, received, key, answered, stands = case
    pair.querier.registry.terms["jd"] = ROTATED
    found = await given(pair, START + asked * HOUR, key=key, answered_at=START + answered * HOUR)
    pair.clock.wait(3600 * received)
    if stands:
        assert pair.asker.verified(*found, **how).batch == found[0].batch
    else:
        with pytest.raises(PeerGarbage) as caught:
            pair.asker.verified(*found, **how)
        assert caught.value.code == "bad_signature"


@pytest.mark.parametrize("how", [*OLD, {}], ids=["late", "adopted", "at once"])
@pytest.mark.parametrize(("received", "stands"), [(0.4, True), (0.5, False), (2, False)])
async def test_what_is_first_received_when_its_key_was_compromised_is_void(pair, how, received, stands):
    term = KeyTerm(JD.public, START - HOUR, compromised_from=START + 0.5 * HOUR)
    pair.querier.registry.terms["jd"] = [term, KeyTerm(NEW.public, START - HOUR)]
    found = await given(pair)
    pair.clock.wait(3600 * received)
    if stands:
        assert pair.asker.verified(*found, **how).batch == found[0].batch
    else:
        with pytest.raises(PeerGarbage) as caught:
            pair.asker.verified(*found, **how)
        assert caught.value.code == "bad_signature"


async def test_an_answer_at_once_needs_a_key_that_is_in_force(pair):
    pair.querier.registry.terms["jd"] = ROTATED
    found = await given(pair)
    assert pair.asker.verified(*found)
    pair.clock.wait(7200)
    with pytest.raises(PeerGarbage):
        pair.asker.verified(*found)


# --- nothing that was sent is forgotten --------------------------------------------------------------


async def test_settle_keeps_what_no_check_took_over(pair):
    await pair.submit().done
    await pair.submit(owner="unionpay").done
    assert await pair.asker.settle() == 0
    assert {kept.counterparty for kept in pair.store.receipts.values()} == {"jd", "unionpay"}
    assert await pair.asker.settle() == 0
    assert set(pair.store.writes.values()) == {1}


async def test_settle_says_how_much_is_not_durable_and_tries_again(pair):
    await pair.submit().done
    pair.store.away = True
    assert await pair.asker.settle() == 1
    pair.store.away = False
    assert await pair.asker.settle() == 0
    assert len(pair.store.receipts) == 1


async def test_what_a_check_kept_is_not_kept_again(pair):
    ticket = pair.submit()
    await ticket.done
    pair.asker.settled([ticket.batch])
    assert ticket.batch.durable
    assert await pair.asker.settle() == 0
    assert pair.store.receipts == {}


async def test_one_receipt_that_cannot_be_kept_holds_up_no_other(pair):
    tickets = [pair.submit(), pair.submit(owner="unionpay"), pair.submit(purpose="audit")]
    await asyncio.gather(*(ticket.done for ticket in tickets))
    pair.store.refuses = tickets[1].batch.ask.batch
    assert await pair.asker.settle() == 1
    assert set(pair.store.receipts) == {tickets[0].batch.ask.batch, tickets[2].batch.ask.batch}
    assert await pair.asker.settle() == 1


async def test_with_too_much_unsettled_nothing_new_is_asked(pair, monkeypatch):
    monkeypatch.setattr(ask_module, "MOST_UNSETTLED", 2)
    for purpose in ("payment", "audit"):
        await pair.submit(purpose=purpose).done
    with pytest.raises(StoreError) as caught:
        pair.submit()
    assert caught.value.code == "overloaded"
    assert await pair.asker.settle() == 0
    await pair.submit().done


async def unanswered(pair, conduct):
    pair.wire.conduct["jd"] = conduct
    await failure(pair.submit())
    await pair.settled()
    (kept,) = pair.store.unanswered.values()
    del pair.wire.conduct["jd"]
    pair.wire.sent.clear()
    return kept


async def test_an_answer_that_got_lost_is_fetched_with_the_same_bytes(pair):
    kept = await unanswered(pair, late)
    pair.clock.wait(TOO_OLD.total_seconds())
    assert await pair.asker.resend(kept)
    assert pair.wire.sent == [("jd", AskMessage(kept.ask, kept.ask_signature, kept.elements).to_bytes())]
    (receipt,) = pair.store.receipts.values()
    assert (receipt.batch, receipt.salt, receipt.adopted) == (kept.batch, kept.salt, False)
    assert pair.store.unanswered == {}
    assert pair.owner.evaluated == [1]


async def test_an_ask_is_not_sent_again_while_it_would_be_evaluated_in_vain(pair):
    kept = await unanswered(pair, Disconnect(2))
    for seconds in (0, 60, 59.999):
        pair.clock.wait(seconds)
        assert not await pair.asker.resend(kept)
    assert pair.wire.sent == []
    pair.clock.wait(0.001)
    assert await pair.asker.resend(kept)
    assert pair.owner.evaluated == []
    assert set(pair.store.unanswered) == {kept.batch}


async def test_a_resend_may_be_allowed_earlier():
    pair = Pair(resend_after=timedelta(0))
    kept = await unanswered(pair, Disconnect(2))
    assert await pair.asker.resend(kept)
    assert pair.owner.evaluated == [1]


async def test_an_early_refusal_is_not_the_last_word():
    pair = Pair(resend_after=timedelta(0))
    kept = await unanswered(pair, Disconnect(2))
    secret = pair.owner.secrets.pop(pair.owner.epoch)
    assert not await pair.asker.resend(kept)
    pair.owner.secrets[pair.owner.epoch] = secret
    assert await pair.asker.resend(kept)


@pytest.mark.parametrize("conduct", [down, late, Disconnect(1), Forge(lambda _: b"")])
async def test_a_resend_that_fails_leaves_the_matter_open(pair, conduct):
    kept = await unanswered(pair, late)
    pair.clock.wait(TOO_OLD.total_seconds())
    pair.wire.conduct["jd"] = conduct
    assert not await pair.asker.resend(kept)


@pytest.mark.parametrize(
    ("spoil", "closed"),
    [
        (lambda _: None, True),
        (lambda owner: owner.registry.admit("icbc", good_standing=False), False),
    ],
    ids=["clock", "suspended"],
)
async def test_refusals_of_an_old_ask(pair, spoil, closed):
    kept = await unanswered(pair, Disconnect(2))
    pair.clock.wait(TOO_OLD.total_seconds())
    spoil(pair.owner)
    assert await pair.asker.resend(kept) is closed


async def test_an_owner_that_wants_nothing_for_a_while_is_left_alone(pair):
    """It could not look, or would not: the ask stays open, and who sends more of them stops for now."""
    kept = await unanswered(pair, Disconnect(2))
    pair.clock.wait(TOO_OLD.total_seconds())
    pair.owner.receipts.away = True
    with pytest.raises(PeerRefused) as caught:
        await pair.asker.resend(kept)
    assert caught.value.remote_code == "store_unavailable"
    pair.owner.receipts.away = False
    spent(pair.owner)
    with pytest.raises(PeerRefused) as caught:
        await pair.asker.resend(kept)
    assert caught.value.remote_code == "too_often"
    pair.clock.wait(1)
    assert await pair.asker.resend(kept)


def spent(owner, querier="icbc"):
    """The owner has looked up all that it looks up for this member."""
    with suppress(AskRefused):
        while True:
            owner.answerer._lookups.take(querier, now=owner.clock.monotonic())


async def test_a_resend_while_the_store_is_away_leaves_the_matter_open(pair):
    kept = await unanswered(pair, late)
    pair.clock.wait(TOO_OLD.total_seconds())
    pair.store.away = True
    assert not await pair.asker.resend(kept)
    pair.store.away = False
    assert await pair.asker.resend(kept)


async def test_an_unanswered_ask_shows_nothing(pair):
    kept = await unanswered(pair, late)
    assert isinstance(kept, UnansweredAsk)
    assert repr(kept.elements) not in repr(kept)


# --- registry and end ------------------------------------------------------------------------------------


async def test_under_an_expired_registry_nobody_is_asked(pair):
    pair.querier.registry.has_expired = True
    assert (await failure(pair.submit())).code == "registry_expired"
    assert pair.wire.sent == []
    assert pair.asker._lanes == {}


async def test_closing_waits_for_what_is_under_way_and_keeps_it(pair):
    hold = pair.wire.conduct["jd"] = Hold()
    ticket = pair.submit()
    await pair.wire.until_sent(1)
    closing = asyncio.create_task(pair.asker.close())
    await asyncio.sleep(0)
    hold.release()
    await closing
    assert ticket.done.done()
    assert len(pair.store.receipts) == 1


async def test_closing_gives_up_after_the_timeout_and_keeps_the_ask_as_unanswered():
    pair = Pair(timeout=0.01, in_flight=1)
    pair.wire.conduct["jd"] = Hold()
    first = pair.submit()
    await pair.wire.until_sent(1)
    second = pair.submit()
    await pair.asker.close()
    assert (await failure(first)).code == "given_up"
    assert (await failure(second)).code == "closing"
    assert len(pair.wire.sent) == 1
    assert set(pair.store.unanswered) == {first.batch.ask.batch}
    assert (await failure(pair.submit())).code == "closing"
    assert pair.asker._tasks == set()


async def test_the_digest_of_an_ask_is_that_of_its_bytes(pair):
    ticket = pair.submit()
    await ticket.done
    asked = AskMessage.from_bytes(pair.wire.sent[0][1])
    assert ticket.batch.kept.receipt.ask_digest == sha256(asked.ask)
