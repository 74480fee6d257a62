"""A check from end to end, against owners that evaluate and sign for real."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskshare.encoding import cbor_encode, parse_canonical_json, sha256
from riskshare.errors import InputError, PeerDown, PeerLate, StoreError
from riskshare.membership import oprf
from riskshare.membership.group import is_element
from riskshare.membership.identifier import parse
from riskshare.query import check as check_module
from riskshare.query.check import INLINE
from riskshare.query.message import MAX_SNAPSHOTS, Ask, AskMessage
from riskshare.signature import verify
from riskshare.statement import signed_bytes
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
    down,
    identity,
    late,
    record,
)

LISTED, UNLISTED = "phone:+8613800138000", "phone:+8613800138001"
SOON = 0.05
"""A deadline that a test waits for."""


class Scene:
    """A bank that asks jd and unionpay; jd lists one phone number."""

    def __init__(self, **querier):
        self.clock = Clock()
        self.jd = SimulatedOwner("jd", self.clock)
        self.unionpay = SimulatedOwner("unionpay", self.clock)
        self.fraud = self.jd.list("telecom_fraud", [LISTED])
        self.high_risk = self.unionpay.list("high_risk_account", ["email:mule@example.org"])
        self.wire = Wire(self.jd, self.unionpay)
        self.bank = SimulatedQuerier("icbc", self.clock, self.wire, **querier)
        self.store = self.bank.store

    async def check(self, *texts, **changes):
        return await self.bank.checker.check(self.bank.question(*texts, **changes))

    async def settled(self):
        await asyncio.gather(*self.bank.asker._tasks, return_exceptions=True)
        return await self.bank.asker.settle()


@pytest.fixture
def scene():
    return Scene()


def statuses(verdict):
    return {part.owner: part.status for part in verdict.owners}


# --- hit, clear, incomplete ------------------------------------------------------------------


async def test_a_hit_with_its_record(scene):
    verdict = await scene.check(UNLISTED, LISTED)
    assert (verdict.word, verdict.complete) == ("hit", True)
    (hit,) = verdict.hits
    assert (hit.identifier, hit.owner, hit.list, hit.record) == (1, "jd", "jd/telecom-fraud", record())
    assert statuses(verdict) == {"jd": "answered", "unionpay": "answered"}
    assert {part.owner: dict(part.lists) for part in verdict.owners} == {
        "jd": {scene.fraud: 1},
        "unionpay": {scene.high_risk: 1},
    }
    assert verdict.check.version == 7
    assert verdict.answered_at == START


async def test_a_clear(scene):
    verdict = await scene.check(UNLISTED)
    assert (verdict.word, verdict.complete, verdict.hits) == ("clear", True, ())
    assert set(verdict.receipts) == {kept.receipt.id for kept in scene.store.receipts.values()}
    assert len(verdict.receipts) == 2


async def test_another_spelling_of_a_listed_value_is_a_hit(scene):
    assert (await scene.check("phone:+86 138 0013 8000")).word == "hit"


async def test_hits_on_several_lists_and_of_several_identifiers_are_in_order(scene):
    scene.unionpay.list("telecom_fraud", [LISTED, UNLISTED])
    scene.jd.list("marketing_cheating", [LISTED])
    verdict = await scene.check(UNLISTED, LISTED)
    assert [(hit.identifier, hit.list) for hit in verdict.hits] == [
        (0, "unionpay/telecom-fraud"),
        (1, "jd/marketing-cheating"),
        (1, "jd/telecom-fraud"),
        (1, "unionpay/telecom-fraud"),
    ]


async def test_the_same_identifier_twice_is_a_hit_twice(scene):
    assert [hit.identifier for hit in (await scene.check(LISTED, LISTED)).hits] == [0, 1]


async def test_a_label_in_a_delta_is_found(scene):
    scene.jd.list("telecom_fraud", [UNLISTED], local="fresh", delta=True)
    assert [hit.list for hit in (await scene.check(UNLISTED)).hits] == ["jd/fresh"]


async def test_an_owner_with_very_many_lists_is_asked_once_and_all_are_looked_into(scene):
    """More lists than an ask may name snapshots: those that it names are the first by name."""
    names = [scene.jd.list("telecom_fraud", [LISTED], local=f"list-{number:03}") for number in range(300)]
    verdict = await scene.check(LISTED, UNLISTED)
    assert [hit.list for hit in verdict.hits if hit.list in set(names)] == names
    assert statuses(verdict)["jd"] == "answered"
    [ask] = scene.wire.asks("jd")
    assert (ask.count, list(ask.snapshots)) == (2, [*names, scene.fraud][:MAX_SNAPSHOTS])
    part = next(part for part in verdict.owners if part.owner == "jd")
    assert set(part.lists) == {*names, scene.fraud}


async def test_only_the_categories_asked_for_are_looked_into(scene):
    verdict = await scene.check(LISTED, categories=frozenset({"high_risk_account"}))
    assert verdict.word == "clear"
    assert {part.owner: dict(part.lists) for part in verdict.owners} == {"jd": {}, "unionpay": {scene.high_risk: 1}}
    assert [ask.owner for ask in scene.wire.asks()] == ["unionpay"]


async def test_lists_of_two_epochs_are_asked_for_under_each(scene):
    second = scene.jd.open_epoch()
    scene.jd.list("high_risk_account", [LISTED], epoch=second)
    verdict = await scene.check(LISTED)
    assert {hit.list for hit in verdict.hits} == {"jd/telecom-fraud", "jd/high-risk-account"}
    assert {ask.epoch for ask in scene.wire.asks("jd")} == {scene.jd.epoch, second}
    assert len({ask.elements for ask in scene.wire.asks()}) == 1


async def test_many_identifiers_take_the_threads_and_come_out_the_same(scene):
    texts = [f"phone:+86138001380{number:02}" for number in range(INLINE + 4)]
    own = SimulatedOwner("icbc", scene.clock)
    own.list("telecom_fraud", [texts[3]])
    scene.bank.own = own
    verdict = await scene.check(*texts)
    assert [(hit.identifier, hit.owner) for hit in verdict.hits] == [(0, "jd"), (3, "icbc")]
    assert [ask.count for ask in scene.wire.asks()] == [len(texts)] * 2


async def test_without_any_owner_there_is_no_clear():
    clock = Clock()
    bank = SimulatedQuerier("icbc", clock, Wire())
    verdict = await bank.checker.check(bank.question(LISTED))
    assert (verdict.word, verdict.complete) == ("incomplete", False)
    assert verdict.check in bank.store.checks


async def test_an_owner_without_lists_is_nothing_to_wait_for(scene):
    scene.unionpay.views.clear()
    assert (await scene.check(UNLISTED)).word == "clear"
    assert [ask.owner for ask in scene.wire.asks()] == ["jd"]


async def test_an_owner_that_is_named_twice_counts_once(scene):
    scene.bank.again = ["jd"]
    verdict = await scene.check(LISTED)
    assert len(verdict.hits) == 1
    assert [part.owner for part in verdict.owners] == ["jd", "unionpay"]
    assert [ask.count for ask in scene.wire.asks("jd")] == [1]


# --- owners that fail ---------------------------------------------------------------------------


FAILURES = [
    (down, "down"),
    (late, "late"),
    (Disconnect(2), "down"),
    (Forge(lambda _: b""), "untrusted"),
    (Forge(lambda message: replace(message, signature=bytes(64))), "untrusted"),
]


@pytest.mark.parametrize(("conduct", "status"), FAILURES, ids=["down", "late", "broken", "garbage", "unsigned"])
async def test_an_owner_that_fails_makes_the_check_incomplete_and_is_named(scene, conduct, status):
    scene.wire.conduct["unionpay"] = Disconnect(2) if isinstance(conduct, Disconnect) else conduct
    verdict = await scene.check(UNLISTED)
    assert (verdict.word, verdict.complete) == ("incomplete", False)
    assert statuses(verdict) == {"jd": "answered", "unionpay": status}


@pytest.mark.parametrize(("conduct", "status"), FAILURES, ids=["down", "late", "broken", "garbage", "unsigned"])
async def test_a_hit_is_a_hit_whoever_else_fails(scene, conduct, status):
    scene.wire.conduct["unionpay"] = Disconnect(2) if isinstance(conduct, Disconnect) else conduct
    verdict = await scene.check(LISTED)
    assert (verdict.word, verdict.complete) == ("hit", False)
    assert statuses(verdict) == {"jd": "answered", "unionpay": status}


async def test_a_refusal(scene):
    scene.unionpay.registry.admit("icbc", purposes=frozenset())
    assert statuses(await scene.check(UNLISTED)) == {"jd": "answered", "unionpay": "refused"}


@pytest.mark.parametrize("state", ["stale", "down", "untrusted"])
async def test_a_state_that_is_not_current_forbids_a_clear_not_a_hit(scene, state):
    scene.jd.state = state
    verdict = await scene.check(UNLISTED)
    assert (verdict.word, statuses(verdict)["jd"]) == ("incomplete", state)
    verdict = await scene.check(LISTED)
    assert (verdict.word, verdict.complete) == ("hit", False)


async def test_a_stale_list_may_give_hits_never_a_clear(scene):
    scene.jd.list("telecom_fraud", [LISTED], current=False)
    verdict = await scene.check(UNLISTED)
    assert (verdict.word, statuses(verdict)["jd"]) == ("incomplete", "stale")
    assert (await scene.check(LISTED)).word == "hit"


NO_POINT = next(
    encoding for encoding in (number.to_bytes(32, "little") for number in range(2, 200, 2)) if not is_element(encoding)
)


@pytest.mark.parametrize(
    "evaluated",
    [bytes(32), b"\xff" * 32, (1).to_bytes(32, "little"), NO_POINT],
    ids=["identity", "not canonical", "negative", "no point"],
)
async def test_an_owner_that_signs_for_elements_that_are_none_is_untrusted_and_its_receipt_is_kept(scene, evaluated):
    async def lie(key, elements):
        return evaluated * (len(elements) // 32)

    scene.unionpay.answerer._evaluate = lie
    verdict = await scene.check(UNLISTED)
    assert (verdict.word, statuses(verdict)["unionpay"]) == ("incomplete", "untrusted")
    assert {kept.counterparty for kept in scene.store.receipts.values()} == {"jd", "unionpay"}


async def test_an_owner_that_evaluates_under_another_key_finds_nothing_and_has_signed_it(scene):
    other = oprf.SecretKey.from_random(bytes(range(64)))

    async def lie(key, elements):
        return oprf.evaluate_many(other, elements)

    scene.jd.answerer._evaluate = lie
    assert (await scene.check(LISTED)).hits == ()
    assert len(scene.store.receipts) == 2


async def test_under_an_expired_registry_others_are_untrusted_and_nothing_leaves(scene):
    scene.bank.own = SimulatedOwner("icbc", scene.clock)
    scene.bank.own.list("telecom_fraud", [LISTED])
    scene.bank.registry.has_expired = True
    verdict = await scene.check(UNLISTED)
    assert verdict.word == "incomplete"
    assert statuses(verdict) == {"jd": "untrusted", "unionpay": "untrusted", "icbc": "answered"}
    assert scene.wire.sent == []
    assert [hit.owner for hit in (await scene.check(LISTED)).hits] == ["icbc"]


# --- the deadline -----------------------------------------------------------------------------------


async def test_nothing_waits_past_the_deadline_and_the_hits_of_others_count(scene):
    hold = scene.wire.conduct["unionpay"] = Hold()
    verdict = await scene.check(LISTED, deadline=SOON)
    assert (verdict.word, verdict.complete) == ("hit", False)
    assert statuses(verdict) == {"jd": "answered", "unionpay": "late"}
    assert not hold.released.is_set()


async def test_if_nobody_answers_there_is_a_verdict_all_the_same(scene):
    for owner in ("jd", "unionpay"):
        scene.wire.conduct[owner] = Hold()
    verdict = await scene.check(LISTED, deadline=SOON)
    assert (verdict.word, verdict.hits, verdict.receipts) == ("incomplete", (), ())
    assert set(statuses(verdict).values()) == {"late"}
    assert verdict.check in scene.store.checks


@pytest.mark.parametrize("deadline", [0.0, -1.0])
async def test_a_deadline_that_has_passed_gives_a_verdict_and_keeps_the_receipts(scene, deadline):
    verdict = await scene.check(LISTED, deadline=deadline)
    assert verdict.word in ("hit", "incomplete")
    assert await scene.settled() == 0
    assert set(scene.store.receipts) == {ask.batch for ask in scene.wire.asks()}


async def test_the_receipt_of_an_answer_after_the_deadline_is_kept_and_the_record_knows_its_place(scene):
    hold = scene.wire.conduct["unionpay"] = Hold()
    verdict = await scene.check(UNLISTED, deadline=SOON)
    (ask,) = scene.wire.asks("unionpay")
    assert ask.batch not in scene.store.receipts
    asked = {part["owner"]: part for part in scene.store.opened(verdict.check)["asked"]}
    assert (asked["unionpay"]["batch"], asked["unionpay"]["position"]) == (ask.batch.bytes, 0)
    hold.release()
    assert await scene.settled() == 0
    kept = scene.store.receipts[ask.batch]
    blinded = oprf.blind(UNLISTED.encode(), asked["unionpay"]["blind"])
    assert kept.elements == blinded


async def test_an_element_that_never_left_has_no_place(scene):
    scene = Scene(in_flight=1)
    hold = scene.wire.conduct["jd"] = Hold()
    first = asyncio.create_task(scene.check(UNLISTED, deadline=60.0))
    await scene.wire.until_sent(2)
    verdict = await scene.check(UNLISTED, deadline=SOON)
    asked = {part["owner"]: part for part in scene.store.opened(verdict.check)["asked"]}
    assert (asked["jd"]["batch"], asked["jd"]["position"]) == (None, -1)
    hold.release()
    assert (await first).word == "clear"
    assert [ask.count for ask in scene.wire.asks("jd")] == [1]


async def test_a_commit_that_hangs_ends_in_no_verdict(scene, monkeypatch):
    monkeypatch.setattr(check_module, "COMMIT_SECONDS", 0.01)
    scene.store.hold = asyncio.Event()
    with pytest.raises(StoreError) as open_still:
        await scene.check(UNLISTED)
    assert open_still.value.in_doubt
    assert await scene.settled() == 0
    assert len(scene.store.receipts) == 2


# --- records that are none --------------------------------------------------------------------------


async def test_a_record_that_does_not_open_is_no_hit_and_its_owner_untrusted(scene):
    scene.unionpay.list("telecom_fraud", [LISTED], spoil=lambda _, sealed: sealed[:-1] + bytes([sealed[-1] ^ 1]))
    verdict = await scene.check(LISTED)
    assert [hit.owner for hit in verdict.hits] == ["jd"]
    assert statuses(verdict)["unionpay"] == "untrusted"


async def test_a_record_that_opens_and_is_none_is_no_hit_and_its_owner_untrusted(scene):
    scene.jd.list("telecom_fraud", {LISTED: b'{"reason":"none of your business"}'})
    verdict = await scene.check(LISTED)
    assert (verdict.word, verdict.hits, statuses(verdict)["jd"]) == ("incomplete", (), "untrusted")


@pytest.mark.parametrize(("until", "word"), [(-1, "clear"), (0, "clear"), (1, "hit")])
async def test_the_querier_enforces_the_end_of_a_record(scene, until, word):
    scene.jd.list("telecom_fraud", {LISTED: record(valid_until=START + timedelta(milliseconds=until))})
    assert (await scene.check(LISTED)).word == word


# --- records on demand --------------------------------------------------------------------------------


@pytest.fixture
def on_demand(scene):
    scene.jd.list("telecom_fraud", [LISTED], on_demand=True)
    return scene


async def test_a_bucket_is_fetched_after_a_maybe_only(on_demand):
    assert (await on_demand.check(UNLISTED)).word == "clear"
    assert on_demand.bank.buckets == []
    assert (await on_demand.check(LISTED)).word == "hit"
    assert len(on_demand.bank.buckets) == 1


async def fails(error):
    raise error


@pytest.mark.parametrize(
    ("conduct", "status"),
    [
        (lambda _: fails(PeerDown("jd", "x")), "down"),
        (lambda _: fails(PeerLate("jd", "x")), "late"),
        (lambda data: asyncio.sleep(0, data[:-1] + b"\x00"), "untrusted"),
        (lambda data: asyncio.sleep(0, data[:-1]), "untrusted"),
        (lambda _: asyncio.Event().wait(), "late"),
    ],
    ids=["down", "late", "altered", "cut", "never"],
)
async def test_a_bucket_that_cannot_be_had(on_demand, conduct, status):
    on_demand.bank.bucket_conduct = conduct
    verdict = await on_demand.check(LISTED, deadline=SOON)
    assert (verdict.word, verdict.hits, statuses(verdict)["jd"]) == ("incomplete", (), status)


async def test_a_bucket_does_not_wait_for_owners_that_are_silent(on_demand):
    on_demand.wire.conduct["unionpay"] = Hold()
    verdict = await on_demand.check(LISTED, deadline=SOON)
    assert (verdict.word, statuses(verdict)) == ("hit", {"jd": "answered", "unionpay": "late"})


async def test_a_fault_in_fetching_a_bucket_is_raised_and_nothing_is_left_behind(on_demand):
    on_demand.bank.bucket_conduct = lambda _: fails(RuntimeError("a fault of ours"))
    on_demand.wire.conduct["unionpay"] = Hold()
    with pytest.raises(RuntimeError):
        await on_demand.check(LISTED)
    on_demand.wire.conduct["unionpay"].release()
    assert await on_demand.settled() == 0
    assert len(on_demand.store.receipts) == 2


# --- the member's own lists -----------------------------------------------------------------------------


async def test_own_lists_are_looked_into_without_asking_anybody(scene):
    scene.bank.own = SimulatedOwner("icbc", scene.clock)
    name = scene.bank.own.list("transaction_fraud", [UNLISTED])
    verdict = await scene.check(UNLISTED)
    assert [(hit.owner, hit.list) for hit in verdict.hits] == [("icbc", name)]
    assert statuses(verdict)["icbc"] == "answered"
    assert {ask.owner for ask in scene.wire.asks()} == {"jd", "unionpay"}


async def test_own_lists_whose_key_is_not_at_hand_are_no_clear(scene):
    scene.bank.own = SimulatedOwner("icbc", scene.clock)
    scene.bank.own.list("transaction_fraud", [UNLISTED])
    scene.bank.own.secrets.clear()
    verdict = await scene.check(UNLISTED)
    assert (verdict.word, statuses(verdict)["icbc"]) == ("incomplete", "stale")


# --- cached tokens ------------------------------------------------------------------------------------------


async def test_a_cached_token_needs_no_ask_and_the_record_says_whence_it_came():
    scene = Scene(cache_seconds=60)
    first = await scene.check(LISTED)
    again = await scene.check(LISTED)
    assert len(scene.wire.sent) == 2
    assert again.hits == first.hits
    assert set(statuses(again).values()) == {"cached"}
    assert (again.complete, set(again.receipts)) == (True, set(first.receipts))
    before, after = (scene.store.opened(one.check)["asked"] for one in (first, again))
    assert [{**part, "cached": True} for part in before] == after
    scene.clock.wait(60)
    await scene.check(LISTED)
    assert len(scene.wire.sent) == 4


async def test_a_cached_token_serves_no_other_purpose_epoch_or_identifier():
    scene = Scene(cache_seconds=60)
    await scene.check(LISTED)
    await scene.check(LISTED, purpose="marketing")
    assert [ask.purpose for ask in scene.wire.asks("jd")] == ["payment", "marketing"]
    await scene.check(UNLISTED)
    assert len(scene.wire.asks("jd")) == 3
    second = scene.jd.open_epoch()
    scene.jd.list("high_risk_account", [LISTED], epoch=second)
    await scene.check(LISTED)
    assert [ask.epoch for ask in scene.wire.asks("jd")][3:] == [second]


async def test_a_cached_token_is_looked_up_in_the_lists_of_now():
    scene = Scene(cache_seconds=60)
    assert (await scene.check(UNLISTED)).word == "clear"
    scene.jd.list("telecom_fraud", [UNLISTED])
    assert (await scene.check(UNLISTED)).word == "hit"


async def test_cached_and_asked_together_are_answered():
    scene = Scene(cache_seconds=60)
    await scene.check(LISTED)
    verdict = await scene.check(LISTED, UNLISTED)
    assert set(statuses(verdict).values()) == {"answered"}
    assert [ask.count for ask in scene.wire.asks()] == [1, 1, 1, 1]


async def test_no_verdict_rests_on_a_cached_token_whose_receipt_is_not_durable():
    scene = Scene(cache_seconds=60)
    scene.store.away = True
    with pytest.raises(StoreError):
        await scene.check(LISTED)
    assert len(scene.bank.cache) == 0
    scene.store.away = False
    verdict = await scene.check(LISTED)
    assert set(statuses(verdict).values()) == {"answered"}
    durable = {kept.receipt.id for kept in scene.store.receipts.values()}
    assert set(verdict.receipts) <= durable


# --- what is kept ---------------------------------------------------------------------------------------------


async def test_no_verdict_without_its_record_and_the_receipts_remain_to_settle(scene):
    scene.store.away = True
    with pytest.raises(StoreError):
        await scene.check(LISTED)
    assert await scene.settled() == 2
    scene.store.away = False
    assert await scene.settled() == 0
    assert len(scene.store.receipts) == 2
    assert scene.store.checks == {}


async def test_what_a_check_kept_is_not_written_again(scene):
    await scene.check(LISTED)
    await scene.settled()
    assert set(scene.store.writes.values()) == {1}


async def test_the_statement_commits_to_the_record_and_tells_nothing(scene):
    verdict = await scene.check(LISTED, reference="txn-17")
    kept = scene.store.checks[verdict.check]
    assert verify(identity("icbc").public, signed_bytes("check", NETWORK, kept.statement), kept.signature)
    body = parse_canonical_json(kept.statement, limit=1000)
    assert body.keys() == {"answered_at", "check", "querier", "record"}
    assert (body["check"], body["querier"]) == (str(verdict.check), "icbc")
    assert body["record"] == sha256(cbor_encode(scene.store.opened(verdict.check))).hex()
    assert len(kept.salt) == 16


async def test_the_record_holds_exactly_what_was_asked_and_answers_can_be_replayed_from_it(scene):
    verdict = await scene.check(
        LISTED, UNLISTED, reference="txn-17", categories=frozenset({"telecom_fraud", "high_risk_account"})
    )
    opened = scene.store.opened(verdict.check)
    assert opened.keys() == {
        "answered_at", "asked", "categories", "check", "identifiers", "outcome", "purpose", "random", "receipts",
        "reference", "snapshots",
    }  # fmt: skip
    assert opened["identifiers"] == [LISTED, UNLISTED]
    assert (opened["purpose"], opened["reference"]) == ("payment", "txn-17")
    assert opened["categories"] == ["high_risk_account", "telecom_fraud"]
    assert opened["snapshots"] == {**scene.bank.snapshots("jd"), **scene.bank.snapshots("unionpay")}
    assert opened["receipts"] == list(verdict.receipts)
    assert len(opened["random"]) == 32
    assert opened["outcome"] == {
        "complete": True,
        "hits": [[0, "jd/telecom-fraud", record().to_bytes()]],
        "owners": {"jd": ["answered", {scene.fraud: 1}], "unionpay": ["answered", {scene.high_risk: 1}]},
        "verdict": "hit",
    }
    assert len(opened["asked"]) == 4
    receipts = {batch.bytes: kept for batch, kept in scene.store.receipts.items()}
    for part in opened["asked"]:
        kept = receipts[part["batch"]]
        text = opened["identifiers"][part["identifier"]].encode()
        place = slice(32 * part["position"], 32 * part["position"] + 32)
        assert kept.elements[place] == oprf.blind(text, part["blind"])
        token = oprf.finalize(text, oprf.invert(part["blind"]), kept.evaluated[place])
        owner = scene.wire.owners[part["owner"]]
        assert token == oprf.token(owner.secrets[part["epoch"]], text)


async def test_each_identifier_of_each_check_has_a_fresh_blind_shared_among_owners(scene):
    blinds = []
    for _ in range(2):
        asked = scene.store.opened((await scene.check(LISTED, UNLISTED)).check)["asked"]
        by_identifier = [{part["blind"] for part in asked if part["identifier"] == index} for index in (0, 1)]
        assert [len(found) for found in by_identifier] == [1, 1]
        blinds += [found.pop() for found in by_identifier]
    assert len(set(blinds)) == 4


async def test_both_sides_keep_the_same_receipt_and_elements(scene):
    await scene.check(LISTED)
    for owner in (scene.jd, scene.unionpay):
        (theirs,) = owner.receipts.receipts.values()
        ours = scene.store.receipts[theirs.batch]
        assert (ours.receipt, ours.elements, ours.evaluated) == (theirs.receipt, theirs.elements, theirs.evaluated)
        assert ours.salt != theirs.salt


async def test_the_hour_key_is_kept_with_the_first_record_and_not_again(scene):
    first = await scene.check(LISTED)
    second = await scene.check(LISTED)
    assert len(scene.store.hour_keys) == 1
    scene.clock.wait(3600)
    third = await scene.check(LISTED)
    assert len(scene.store.hour_keys) == 2
    for verdict in (first, second, third):
        assert scene.store.opened(verdict.check)["identifiers"] == [LISTED]


async def test_a_hour_key_whose_commit_failed_comes_with_the_next_record(scene):
    scene.store.away = True
    with pytest.raises(StoreError):
        await scene.check(LISTED)
    scene.store.away = False
    verdict = await scene.check(LISTED)
    assert scene.store.opened(verdict.check)["identifiers"] == [LISTED]


async def test_the_reply_is_kept_in_the_same_commit(scene):
    question = scene.bank.question(LISTED)
    verdict = await scene.bank.checker.check(question, lambda found: ("kept", found.check, found.word))
    assert scene.store.replies == [("kept", verdict.check, "hit")]


async def test_an_ask_without_an_answer_is_kept_with_the_check(scene):
    scene.wire.conduct["unionpay"] = late
    await scene.check(UNLISTED)
    (ask,) = scene.store.unanswered.values()
    assert ask.owner == "unionpay"
    assert await scene.settled() == 0


async def test_checks_that_share_an_ask_each_rest_on_its_receipt(scene):
    verdicts = await asyncio.gather(*(scene.check(LISTED) for _ in range(10)))
    assert [ask.count for ask in scene.wire.asks()] == [10, 10]
    assert {verdict.word for verdict in verdicts} == {"hit"}
    assert len({receipt for verdict in verdicts for receipt in verdict.receipts}) == 2
    assert len(scene.store.checks) == 10
    positions = [
        part["position"]
        for verdict in verdicts
        for part in scene.store.opened(verdict.check)["asked"]
        if part["owner"] == "jd"
    ]
    assert sorted(positions) == list(range(10))


async def test_a_check_that_is_cancelled_leaves_nothing_behind_but_its_receipts(scene):
    hold = scene.wire.conduct["jd"] = Hold()
    task = asyncio.create_task(scene.check(LISTED))
    await scene.wire.until_sent(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    hold.release()
    assert await scene.settled() == 0
    assert len(scene.store.receipts) == 2
    assert scene.store.checks == {}


# --- questions, and what is never shown ------------------------------------------------------------------------


async def test_a_question_that_is_none_asks_nobody_and_keeps_nothing(scene):
    question = scene.bank.question(LISTED)
    canary = parse("canary:" + "0a" * 16, allow_canary=True)
    for bad in (
        replace(question, identifiers=()),
        replace(question, identifiers=(canary,)),
        replace(question, purpose=""),
        replace(question, reference="\ud800"),
    ):
        with pytest.raises(InputError):
            await scene.bank.checker.check(bad)
    assert scene.wire.sent == []
    assert scene.store.checks == {}


async def test_what_an_owner_receives_has_nothing_of_the_identifier(scene):
    await scene.check(LISTED)
    await scene.check(LISTED)
    bodies = [body for _, body in scene.wire.sent]
    assert not any(b"13800138000" in body or LISTED.encode() in body for body in bodies)
    elements = {AskMessage.from_bytes(body).elements for body in bodies}
    assert len(elements) == 2, "one blinded element a check, the same for both owners"
    assert {Ask.from_json(AskMessage.from_bytes(body).ask).purpose for body in bodies} == {"payment"}


TROUBLE = {"none": None, "down": down, "late": late, "garbage": Forge(lambda _: b"\x00")}


@settings(max_examples=25)
@given(st.integers(13000000000, 13999999999), st.sampled_from(sorted(TROUBLE)), st.booleans(), st.booleans())
def test_no_identifier_is_in_any_log_repr_or_error(number, trouble, listed, away):
    text = f"phone:+86{number}"
    try:
        parse(text)
    except InputError:
        return
    shown: list[str] = []

    class Ear(logging.Handler):
        def emit(self, entry: logging.LogRecord) -> None:
            shown.append(self.format(entry))

    async def play():
        scene = Scene(cache_seconds=60)
        if listed:
            scene.jd.list("telecom_fraud", [text])
        if TROUBLE[trouble]:
            scene.wire.conduct["unionpay"] = TROUBLE[trouble]
        scene.store.away = away
        question = scene.bank.question(text)
        try:
            verdict = await scene.bank.checker.check(question)
            shown.append(repr(verdict))
        except StoreError as error:
            shown.append(repr(error) + repr(error.__cause__) + str(error))
        await scene.settled()
        checker, asker = scene.bank.checker, scene.bank.asker
        shown.extend(map(repr, (question, checker, asker, scene.bank.cache, asker._unsettled, asker._lanes)))
        shown.extend(map(repr, (scene.store.receipts, scene.store.unanswered, scene.store.checks)))
        shown.extend(map(repr, (scene.jd.receipts.receipts, vars(scene.jd.answerer), vars(scene.jd.quotas))))

    ear = Ear()
    logging.getLogger().addHandler(ear)
    try:
        asyncio.run(play())
    finally:
        logging.getLogger().removeHandler(ear)
    everything = "\n".join(shown)
    assert str(number) not in everything
    assert "8613800138000" not in everything


async def test_the_state_of_a_running_check_shows_nothing(scene):
    hold = scene.wire.conduct["jd"] = Hold()
    task = asyncio.create_task(scene.bank.checker.check(scene.bank.question(LISTED)))
    await scene.wire.until_sent(2)
    shown, running = [repr(task)], task.get_coro()
    while getattr(running, "cr_frame", None) is not None:
        shown.append(repr(running.cr_frame.f_locals))
        running = running.cr_await
    assert len(shown) > 3
    assert "13800138000" not in "\n".join(shown)
    hold.release()
    assert (await task).word == "hit"
