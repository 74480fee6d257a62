"""The owner's half: each refusal in its order, one evaluation and one payment a batch, no answer before its receipt."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import replace

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.encoding import sha256
from riskshare.errors import AskRefused
from riskshare.ledger import merkle
from riskshare.membership import oprf
from riskshare.membership.group import GENERATOR, is_element
from riskshare.query import answer as answer_module
from riskshare.query.answer import MOST_WAITING, SMALL, Lanes
from riskshare.query.message import MAX_ELEMENTS, Answer, AnswerMessage, AskMessage
from riskshare.query.quota import LOOKUPS, Limits
from riskshare.signature import SigningKey, verify
from riskshare.statement import signed_bytes
from tests.simulator.query import NETWORK, Clock, SimulatedOwner, ask_body, element, identity, make_ask


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def owner(clock):
    return SimulatedOwner("jd", clock)


def elements_of(owner, count):
    return b"".join(element(owner.random) for _ in range(count))


async def answered(owner, body, asker="icbc"):
    data, count = await owner.answerer.answer(body, asker)
    message = AnswerMessage.from_bytes(data)
    return message, Answer.from_json(message.answer), count


async def refused(owner, body, code, asker="icbc"):
    with pytest.raises(AskRefused) as caught:
        await owner.answerer.answer(body, asker)
    assert caught.value.code == code
    return caught.value


@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 70])
async def test_an_ask_is_answered_with_what_was_promised(owner, count):
    elements = elements_of(owner, count)
    ask = make_ask(owner, elements, snapshots={"jd/high-risk": bytes(32)})
    body = ask_body(ask, elements)
    message, answer, evaluated = await answered(owner, body)
    assert evaluated == count
    assert message.elements == oprf.evaluate_many(owner.secrets[owner.epoch], elements)
    assert message.proof == b""
    assert verify(identity("jd").public, signed_bytes("answer", NETWORK, message.answer), message.signature)
    asked = AskMessage.from_bytes(body)
    assert answer.ask == sha256(asked.ask)
    assert answer.elements == merkle.root_of(message.elements)
    assert answer.answered_at == owner.clock.wall
    (kept,) = owner.receipts.receipts.values()
    assert (kept.side, kept.counterparty, kept.batch, kept.count) == ("owner", "icbc", ask.batch, count)
    assert (kept.receipt.ask, kept.receipt.answer) == (asked.ask, message.answer)
    assert (kept.elements, kept.evaluated, kept.epoch) == (elements, message.elements, owner.epoch)


async def test_the_token_is_that_of_the_owners_own_evaluation(owner):
    blind = oprf.scalar_from_random(owner.random(64))
    blinded = oprf.blind(b"phone:+8613800138000", blind)
    message, _, _ = await answered(owner, ask_body(make_ask(owner, blinded), blinded))
    token = oprf.finalize(b"phone:+8613800138000", oprf.invert(blind), message.elements)
    assert token == oprf.token(owner.secrets[owner.epoch], b"phone:+8613800138000")


@pytest.mark.parametrize("count", [1, 5, 40])
async def test_a_proof_that_is_asked_for_holds(owner, count):
    elements = elements_of(owner, count)
    message, _, _ = await answered(owner, ask_body(make_ask(owner, elements, proof=True), elements))

    def split(data):
        return [data[start : start + 32] for start in range(0, len(data), 32)]

    public = owner.secrets[owner.epoch].public
    oprf.verify_proof(public, split(elements), split(message.elements), message.proof)
    assert next(iter(owner.receipts.receipts.values())).proof == message.proof


# --- refusals ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"{}",
        cbor2.dumps({}),
        AskMessage(b"{}", bytes(64), b"").to_bytes(),
        AskMessage(b"not json", bytes(64), GENERATOR).to_bytes(),
        bytes(10**6),
    ],
    ids=["empty", "break", "json", "empty map", "empty ask", "no json", "too long"],
)
async def test_a_malformed_body(owner, body):
    assert (await refused(owner, body, "malformed")).status == 400


async def test_nothing_is_looked_up_or_kept_for_a_malformed_body(owner):
    await refused(owner, b"", "malformed")
    assert owner.receipts.finds == 0
    assert owner.receipts.receipts == {}


WRONGS = [
    ("wrong_network", {"network": "othernet"}),
    ("wrong_owner", {"owner": "unionpay"}),
    ("wrong_member", {"querier": "mallory"}),
    ("wrong_count", {"count": 5}),
    ("wrong_root", {"elements": bytes(32)}),
    ("registry_mismatch", {"registry": 8}),
    ("expired", {}),
    ("standing", {}),
    ("log_stalled", {}),
    ("bad_signature", {}),
    ("clock_off", {}),
    ("unknown_epoch", {"epoch": b"?" * 32}),
    ("purpose_not_allowed", {"purpose": "gossip"}),
    ("too_many_elements", {}),
    ("bad_element", {}),
    ("quota_exhausted", {}),
]
"""Everything that can be wrong with an ask, in the order of admission."""

UNHASHED = {"too_many_elements", "quota_exhausted"}
"""An ask that is wrong in one of these has its elements not hashed, and so its root not looked at."""

CODES = {"expired": "registry_mismatch", "standing": "wrong_member"}


def spoilt(owner, wrongs):
    """The body of an ask that is wrong in these ways."""
    count = MAX_ELEMENTS + 1 if "too_many_elements" in wrongs else 2
    elements = GENERATOR * (count - 1) + (bytes(32) if "bad_element" in wrongs else GENERATOR)
    changes = {}
    for name, change in WRONGS:
        changes.update(change if name in wrongs else {})
    if "clock_off" in wrongs:
        changes["asked_at"] = owner.clock.wall.replace(year=2025)
    if "expired" in wrongs:
        owner.registry.has_expired = True
    if wrongs & {"standing", "log_stalled"}:
        owner.registry.admit("icbc", good_standing="standing" not in wrongs, log_stalled="log_stalled" in wrongs)
    if "quota_exhausted" in wrongs:
        owner.registry.quotas["icbc"] = Limits(10**6, 1)
    ask = replace(make_ask(owner, elements), **changes)
    return ask_body(ask, elements, key=SigningKey(bytes(32)) if "bad_signature" in wrongs else None)


@pytest.mark.parametrize("wrong", [name for name, _ in WRONGS])
async def test_each_wrong_by_itself(owner, wrong):
    await refused(owner, spoilt(owner, {wrong}), CODES.get(wrong, wrong))
    assert owner.evaluated == []
    assert owner.receipts.receipts == {}


@given(st.sets(st.sampled_from([name for name, _ in WRONGS]), min_size=1))
def test_an_ask_that_is_wrong_in_several_ways_gets_the_first_code(wrongs):
    async def refuse():
        owner = SimulatedOwner("jd", Clock())
        seen = wrongs - {"wrong_root"} if wrongs & UNHASHED else wrongs
        first = next(name for name, _ in WRONGS if name in seen)
        await refused(owner, spoilt(owner, wrongs), CODES.get(first, first))
        assert owner.evaluated == []

    asyncio.run(refuse())


async def test_the_tls_identity_must_be_the_querier(owner):
    owner.registry.admit("unionpay")
    elements = elements_of(owner, 1)
    await refused(owner, ask_body(make_ask(owner, elements), elements), "wrong_member", asker="unionpay")
    assert owner.receipts.finds == 0


async def test_a_member_without_a_grant_cannot_tell_it_from_an_epoch_that_does_not_exist(owner):
    elements = elements_of(owner, 1)
    unknown = await refused(owner, ask_body(make_ask(owner, elements, epoch=bytes(32)), elements), "unknown_epoch")
    owner.ungranted.add("icbc")
    ungranted = await refused(owner, ask_body(make_ask(owner, elements), elements), "unknown_epoch")
    assert (unknown.message, unknown.status) == (ungranted.message, ungranted.status)


async def test_an_encoding_that_only_the_curve_refuses_costs_its_quota(owner):
    bad = next(
        candidate
        for candidate in (number.to_bytes(32, "little") for number in range(2**200, 2**200 + 1000, 2))
        if not is_element(candidate)
    )
    owner.registry.quotas["icbc"] = Limits(10**6, 3)
    elements = elements_of(owner, 1) + bad
    error = await refused(owner, ask_body(make_ask(owner, elements), elements), "bad_element")
    assert bad.hex() not in error.message
    elements = elements_of(owner, 2)
    await refused(owner, ask_body(make_ask(owner, elements), elements), "quota_exhausted")


async def test_as_many_elements_as_allowed_pass(owner):
    elements = GENERATOR * MAX_ELEMENTS
    assert (await answered(owner, ask_body(make_ask(owner, elements), elements)))[2] == MAX_ELEMENTS


async def test_quota_at_below_and_above(owner):
    owner.registry.quotas["icbc"] = Limits(3, 1000)
    for count in (1, 2):
        elements = elements_of(owner, count)
        await answered(owner, ask_body(make_ask(owner, elements), elements))
    elements = elements_of(owner, 1)
    refusal = await refused(owner, ask_body(make_ask(owner, elements), elements), "quota_exhausted")
    assert refusal.retry_after == pytest.approx(1 / 3)
    owner.clock.wait(1)
    await answered(owner, ask_body(make_ask(owner, elements), elements))


# --- what is refused, or answered again, costs its sender something ----------------------


class Hashed:
    """Counts the elements that an owner hashes."""

    def __init__(self, monkeypatch):
        self.count = 0
        self._hash = merkle.root_of
        monkeypatch.setattr(merkle, "root_of", self)

    def __call__(self, elements, *size):
        self.count += len(elements) // 32
        return self._hash(elements, *size)


BEYOND = {
    "no quota": (3, Limits(0, 0)),
    "a second without": (3, Limits(0, 100)),
    "a day without": (3, Limits(100, 2)),
    "an epoch without": (3, Limits(100, 100, 2)),
    "one element too many": (MAX_ELEMENTS + 1, Limits(10**6, 10**6)),
    "twice as many elements": (2 * MAX_ELEMENTS, Limits(10**6, 10**6)),
}


@pytest.mark.parametrize(("count", "limits"), BEYOND.values(), ids=BEYOND)
async def test_nothing_is_hashed_that_will_not_be_evaluated(owner, count, limits, monkeypatch):
    owner.registry.quotas["icbc"] = limits
    elements = GENERATOR * count
    body = ask_body(make_ask(owner, elements), elements)
    hashed = Hashed(monkeypatch)
    code = "too_many_elements" if count > MAX_ELEMENTS else "quota_exhausted"
    for _ in range(3):
        await refused(owner, body, code)
    assert hashed.count == 0


@pytest.mark.parametrize("wrong", [name for name, _ in WRONGS if name not in UNHASHED])
async def test_a_member_has_no_more_hashed_in_vain_than_its_quota_lets_it_have_evaluated(owner, wrong, monkeypatch):
    owner.registry.quotas["icbc"] = Limits(100, 10**6)
    body = spoilt(owner, {wrong})
    for _ in range(50):
        await refused(owner, body, CODES.get(wrong, wrong))
    hashed = Hashed(monkeypatch)
    for _ in range(50):
        with pytest.raises(AskRefused):
            await owner.answerer.answer(body, "icbc")
    cheap = wrong in {"wrong_network", "wrong_owner", "wrong_member", "wrong_count"}
    assert hashed.count == 0
    assert cheap or 0 < owner.quotas._buckets["icbc"].tokens + 100 <= 100
    owner.clock.wait(1)
    elements = elements_of(owner, 2)
    if wrong not in {"expired", "standing", "log_stalled"}:
        await answered(owner, ask_body(make_ask(owner, elements), elements))


async def test_a_batch_sent_again_and_again_is_hashed_as_often_as_the_quota_allows(owner, monkeypatch):
    owner.registry.quotas["icbc"] = Limits(10, 10**6)
    elements = elements_of(owner, 5)
    body = ask_body(make_ask(owner, elements), elements)
    first = await owner.answerer.answer(body, "icbc")
    hashed = Hashed(monkeypatch)
    for _ in range(20):
        assert await owner.answerer.answer(body, "icbc") == first
    assert hashed.count == 5
    assert owner.evaluated == [5]


async def test_a_member_that_is_refused_too_often_is_looked_up_no_more(owner):
    body = spoilt(owner, {"clock_off"})
    for _ in range(int(LOOKUPS.depth)):
        await refused(owner, body, "clock_off")
    finds = owner.receipts.finds
    error = await refused(owner, body, "too_often")
    assert (error.status, owner.receipts.finds) == (429, finds)
    assert 0 < error.retry_after <= 1 / LOOKUPS.per_second
    owner.clock.wait(1.01 * error.retry_after)
    await refused(owner, body, "clock_off")
    await refused(owner, body, "too_often")


async def test_a_member_that_repeats_itself_too_often_is_looked_up_no_more(owner):
    elements = elements_of(owner, 1)
    body = ask_body(make_ask(owner, elements), elements)
    first = await owner.answerer.answer(body, "icbc")
    for _ in range(int(LOOKUPS.depth)):
        assert await owner.answerer.answer(body, "icbc") == first
    finds = owner.receipts.finds
    await refused(owner, body, "too_often")
    assert owner.receipts.finds == finds
    owner.clock.wait(1)
    assert await owner.answerer.answer(body, "icbc") == first


async def test_who_is_refused_too_often_is_answered_all_the_same_and_harms_nobody_else(owner):
    owner.registry.admit("unionpay")
    bad = spoilt(owner, {"clock_off"})
    for _ in range(2 * int(LOOKUPS.depth)):
        with pytest.raises(AskRefused):
            await owner.answerer.answer(bad, "icbc")
    elements = elements_of(owner, 2)
    for querier in ("icbc", "unionpay"):
        ask = make_ask(owner, elements, querier=querier)
        await answered(owner, ask_body(ask, elements), asker=querier)
    theirs = make_ask(owner, elements, querier="unionpay", purpose="gossip")
    await refused(owner, ask_body(theirs, elements), "purpose_not_allowed", asker="unionpay")


# --- a newer registry -------------------------------------------------------------------


async def test_a_newer_registry_is_fetched_and_then_decides(owner):
    owner.registry.to_be_had = 9
    elements = elements_of(owner, 1)
    await answered(owner, ask_body(make_ask(owner, elements, registry=9), elements))
    assert owner.registry.fetched == [(9, "icbc")]


async def test_a_registry_that_cannot_be_had_is_not_looked_for_again_at_once(owner):
    elements = elements_of(owner, 1)
    for _ in range(3):
        await refused(owner, ask_body(make_ask(owner, elements, registry=2**53 - 1), elements), "registry_mismatch")
    assert len(owner.registry.fetched) == 1
    owner.clock.wait(5)
    await refused(owner, ask_body(make_ask(owner, elements, registry=2**53 - 1), elements), "registry_mismatch")
    assert len(owner.registry.fetched) == 2


async def test_those_who_ask_for_a_newer_registry_at_once_share_one_fetch(owner):
    owner.registry.to_be_had = 8
    elements = elements_of(owner, 1)
    bodies = [ask_body(make_ask(owner, elements, registry=8), elements) for _ in range(5)]
    await asyncio.gather(*(answered(owner, body) for body in bodies))
    assert owner.registry.fetched == [(8, "icbc")]


async def test_a_fetch_that_hangs_is_given_up(owner, monkeypatch):
    monkeypatch.setattr(answer_module, "FETCH_SECONDS", 0.01)

    async def hang(version, first):
        await asyncio.Event().wait()

    owner.registry.fetch = hang
    elements = elements_of(owner, 1)
    await refused(owner, ask_body(make_ask(owner, elements, registry=8), elements), "registry_mismatch")


# --- the same batch again -----------------------------------------------------------------


async def test_the_same_bytes_get_the_same_answer_and_are_paid_and_evaluated_once(owner):
    owner.registry.quotas["icbc"] = Limits(10**6, 3)
    elements = elements_of(owner, 2)
    body = ask_body(make_ask(owner, elements), elements)
    first = await owner.answerer.answer(body, "icbc")
    for _ in range(4):
        assert await owner.answerer.answer(body, "icbc") == first
    assert owner.evaluated == [2]
    one, two = elements_of(owner, 1), elements_of(owner, 2)
    await refused(owner, ask_body(make_ask(owner, two), two), "quota_exhausted")
    await answered(owner, ask_body(make_ask(owner, one), one))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda owner: owner.clock.wait(3600),
        lambda owner: owner.clock.wait(-3600),
        lambda owner: owner.registry.admit("icbc", good_standing=False),
        lambda owner: owner.registry.admit("icbc", keys=[SigningKey(bytes(32)).public]),
        lambda owner: owner.secrets.clear(),
        lambda owner: owner.registry.quotas.update(icbc=Limits(0, 0)),
        lambda owner: setattr(owner.registry, "has_expired", True),
        lambda owner: owner.registry.admit("icbc", purposes=frozenset()),
        lambda owner: owner.registry.admit("icbc", log_stalled=True),
    ],
    ids=[
        "late",
        "early",
        "suspended",
        "key gone",
        "epoch ended",
        "quota spent",
        "registry expired",
        "purpose gone",
        "log stalled",
    ],
)
async def test_a_known_batch_is_answered_whatever_has_changed_since(owner, spoil):
    elements = elements_of(owner, 2)
    body = ask_body(make_ask(owner, elements), elements)
    first = await owner.answerer.answer(body, "icbc")
    spoil(owner)
    assert await owner.answerer.answer(body, "icbc") == first
    assert owner.evaluated == [2]


async def test_a_known_batch_is_another_members_nothing(owner):
    owner.registry.admit("unionpay")
    elements = elements_of(owner, 2)
    ask = make_ask(owner, elements)
    await answered(owner, ask_body(ask, elements))
    await refused(owner, ask_body(ask, elements), "wrong_member", asker="unionpay")
    theirs = replace(ask, querier="unionpay")
    await answered(owner, ask_body(theirs, elements), asker="unionpay")
    assert len(owner.receipts.receipts) == 2


async def test_the_same_batch_for_another_ask_is_a_conflict(owner):
    one, two = elements_of(owner, 1), elements_of(owner, 1)
    ask = make_ask(owner, one)
    await answered(owner, ask_body(ask, one))
    for other, elements in (
        (replace(ask, elements=merkle.root_of(two)), two),
        (replace(ask, purpose="marketing"), one),
        (replace(ask, asked_at=ask.asked_at.replace(year=2020)), one),
    ):
        assert (await refused(owner, ask_body(other, elements), "batch_conflict")).status == 409
    assert owner.evaluated == [1]


async def test_a_restarted_owner_answers_from_its_store_and_gives_the_payment_back(owner, clock):
    elements = elements_of(owner, 2)
    body = ask_body(make_ask(owner, elements), elements)
    first = await owner.answerer.answer(body, "icbc")
    again = SimulatedOwner("jd", clock)
    again.receipts = owner.receipts
    again.answerer._receipts = owner.receipts
    again.registry.quotas["icbc"] = Limits(10**6, 2)
    assert await again.answerer.answer(body, "icbc") == first
    await answered(again, ask_body(make_ask(again, elements), elements))


async def test_concurrent_duplicates_share_one_evaluation(owner):
    owner.registry.quotas["icbc"] = Limits(10**6, 2)
    elements = elements_of(owner, 2)
    ask = make_ask(owner, elements)
    body = ask_body(ask, elements)
    other = ask_body(replace(ask, purpose="marketing"), elements)
    answers = await asyncio.gather(
        *(owner.answerer.answer(body, "icbc") for _ in range(5)), owner.answerer.answer(other, "icbc"),
        return_exceptions=True,
    )  # fmt: skip
    assert len({data for data, _ in answers[:5]}) == 1
    assert answers[5].code == "batch_conflict"
    assert owner.evaluated == [2]


async def test_concurrent_duplicates_share_one_failure(owner):
    owner.receipts.trouble = ["failed"]
    elements = elements_of(owner, 1)
    body = ask_body(make_ask(owner, elements), elements)
    found = await asyncio.gather(*(owner.answerer.answer(body, "icbc") for _ in range(3)), return_exceptions=True)
    assert [error.code for error in found] == ["store_unavailable"] * 3
    await answered(owner, body)


async def test_a_duplicate_whose_first_is_cancelled_is_told_so(owner):
    at_work = asyncio.Event()

    async def hang(count):
        at_work.set()
        await asyncio.Event().wait()

    owner.before_evaluating = hang
    elements = elements_of(owner, 1)
    body = ask_body(make_ask(owner, elements), elements)
    first = asyncio.create_task(owner.answerer.answer(body, "icbc"))
    await at_work.wait()
    second = asyncio.create_task(owner.answerer.answer(body, "icbc"))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(AskRefused) as caught:
        await second
    assert caught.value.code == "overloaded"
    owner.before_evaluating = None
    await answered(owner, body)


async def test_a_joiner_that_leaves_does_not_stop_the_evaluation(owner):
    go = asyncio.Event()
    owner.before_evaluating = lambda _: go.wait()
    elements = elements_of(owner, 1)
    body = ask_body(make_ask(owner, elements), elements)
    first = asyncio.create_task(owner.answerer.answer(body, "icbc"))
    await asyncio.sleep(0)
    second = asyncio.create_task(owner.answerer.answer(body, "icbc"))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    go.set()
    assert (await first)[1] == 1


# --- the store ------------------------------------------------------------------------------


@pytest.mark.parametrize(("trouble", "code"), [("failed", "store_unavailable"), ("overloaded", "overloaded")])
async def test_no_answer_leaves_without_its_receipt_and_nothing_is_paid(owner, trouble, code):
    owner.registry.quotas["icbc"] = Limits(10**6, 1)
    owner.receipts.trouble = [trouble]
    elements = elements_of(owner, 1)
    body = ask_body(make_ask(owner, elements), elements)
    refusal = await refused(owner, body, code)
    assert refusal.status == 503
    assert refusal.retry_after is not None
    assert owner.receipts.receipts == {}
    await answered(owner, body)
    elements = elements_of(owner, 1)
    await refused(owner, ask_body(make_ask(owner, elements), elements), "quota_exhausted")


async def test_failed_but_persisted_is_found_answered_and_paid_once(owner):
    owner.registry.quotas["icbc"] = Limits(10**6, 2)
    owner.receipts.trouble = ["failed, but persisted"]
    elements = elements_of(owner, 1)
    body = ask_body(make_ask(owner, elements), elements)
    (kept,) = [(await answered(owner, body))[0].answer]
    assert kept == next(iter(owner.receipts.receipts.values())).receipt.answer
    assert owner.evaluated == [1]
    await answered(owner, body)
    for code in (None, "quota_exhausted"):
        elements = elements_of(owner, 1)
        fresh = ask_body(make_ask(owner, elements), elements)
        await (refused(owner, fresh, code) if code else answered(owner, fresh))


async def test_failed_but_persisted_with_the_store_away_is_answered_and_paid_once_when_it_is_back(owner):
    owner.registry.quotas["icbc"] = Limits(10**6, 1)
    elements = elements_of(owner, 1)
    body = ask_body(make_ask(owner, elements), elements)
    keep = owner.receipts.keep

    async def persist_and_leave(kept):
        owner.receipts.trouble = ["failed, but persisted"]
        owner.receipts.away = True
        owner.receipts.receipts[kept.counterparty, kept.batch] = kept
        return await keep(kept)

    owner.receipts.keep = persist_and_leave
    await refused(owner, body, "store_unavailable")
    owner.receipts.keep, owner.receipts.trouble = keep, []
    await refused(owner, body, "store_unavailable")
    owner.receipts.away = False
    await answered(owner, body)
    assert owner.evaluated == [1]
    elements = elements_of(owner, 1)
    await refused(owner, ask_body(make_ask(owner, elements), elements), "quota_exhausted")


async def test_with_the_store_away_nobody_is_told_that_a_batch_is_not_known(owner):
    owner.receipts.away = True
    await refused(owner, spoilt(owner, {"clock_off"}), "store_unavailable")
    await refused(owner, spoilt(owner, {"wrong_member"}), "wrong_member")


# --- large and small --------------------------------------------------------------------------


async def test_small_asks_overtake_large_ones_and_the_smallest_large_one_goes_first(owner):
    gates = {count: asyncio.Event() for count in (100, 200, 300, SMALL + 1, SMALL)}
    begun = []

    async def gate(count):
        begun.append(count)
        await gates[count].wait()

    owner.before_evaluating = gate
    tasks = {}
    for count in (300, 200, SMALL + 1, 100, SMALL):
        elements = GENERATOR * count
        tasks[count] = asyncio.create_task(owner.answerer.answer(ask_body(make_ask(owner, elements), elements), "icbc"))
        await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert begun == [300, SMALL]
    for count in (SMALL, 300, SMALL + 1, 100, 200):
        gates[count].set()
        await tasks[count]
    assert begun == [300, SMALL, SMALL + 1, 100, 200]


async def test_too_much_waiting_is_refused_at_once_and_costs_nothing(owner):
    owner.registry.quotas["icbc"] = Limits(10**6, 3 * MAX_ELEMENTS)
    owner.answerer._lanes._waiting = MOST_WAITING - MAX_ELEMENTS + 1
    go, begun = asyncio.Event(), asyncio.Event()

    async def wait(count):
        begun.set()
        await go.wait()

    owner.before_evaluating = wait
    elements = GENERATOR * MAX_ELEMENTS
    first = asyncio.create_task(owner.answerer.answer(ask_body(make_ask(owner, elements), elements), "icbc"))
    await begun.wait()
    for _ in range(5):
        await refused(owner, ask_body(make_ask(owner, elements), elements), "overloaded")
    go.set()
    await first
    assert len(owner.receipts.receipts) == 1


async def test_a_lane_is_handed_on_when_the_next_in_line_has_left():
    lanes = Lanes(1)
    await lanes.enter(100)
    waiting = [asyncio.create_task(lanes.enter(size)) for size in (50, 60, 70)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    lanes.leave()
    await waiting[1]
    lanes.leave()
    waiting[2].cancel()  # after its turn has come, before it knows
    with pytest.raises(asyncio.CancelledError):
        await waiting[2]
    await lanes.enter(80)
    assert lanes._waiting == 0


async def test_lanes_never_let_in_more_than_their_width():
    lanes, inside, most = Lanes(3), 0, 0

    async def visit(size):
        nonlocal inside, most
        await lanes.enter(size)
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        inside -= 1
        lanes.leave()

    await asyncio.gather(*(visit(size) for size in range(40)))
    assert (inside, most, lanes._free) == (0, 3, 3)


async def test_no_task_or_future_is_left_behind(owner, caplog):
    elements = elements_of(owner, 1)
    owner.receipts.trouble = ["failed"]
    await refused(owner, ask_body(make_ask(owner, elements), elements), "store_unavailable")
    await answered(owner, ask_body(make_ask(owner, elements), elements))
    gc.collect()
    assert owner.answerer._running == {}
    assert caplog.records == []
