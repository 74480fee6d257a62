"""Checks computed again: honest ones hold, and of every dishonest one the right party is convicted."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from riskshare.audit.basis import Fault
from riskshare.audit.opened import ShownBatch, ShownCheck
from riskshare.encoding import cbor_encode
from riskshare.membership import oprf
from riskshare.query.message import new_batch
from tests.simulator.opening import BANK, LISTED, START, UNLISTED, Owned, Room
from tests.simulator.query import Hold, SimulatedOwner, down, late, record

THIRD = "phone:+8613800138002"


def kinds(found: Any) -> list[tuple[str, str, str]]:
    """Step, kind and accused of every fault."""
    return [(fault.step, fault.kind, fault.accused) for fault in found.faults]


# --- honest members ----------------------------------------------------------------------------------


async def test_a_hit_and_a_clear_of_honest_members_hold():
    room = Room()
    for text, word in ((LISTED, "hit"), (UNLISTED, "clear")):
        verdict = await room.check(text)
        found = await room.recompute(verdict.check, owners={"jd", "unionpay"})
        assert (found.faults, found.gaps) == ((), ())
        assert (found.recorded, found.recomputed) == (word, word) == (verdict.word, word)
        assert (found.elements, found.lists) == (2, 2)


async def test_many_identifiers_in_many_batches_hold():
    room = Room()
    verdict = await room.check(LISTED, UNLISTED, THIRD, LISTED)
    found = await room.recompute(verdict.check)
    assert (found.faults, found.gaps, found.recomputed, found.elements) == ((), (), "hit", 8)


async def test_an_answer_from_the_cache_is_traced_to_the_ask_that_it_came_from():
    room = Room(cache_seconds=300.0)
    await room.check(LISTED)
    asks = len(room.wire.sent)
    room.clock.wait(30)
    verdict = await room.check(LISTED)
    assert len(room.wire.sent) == asks
    found = await room.recompute(verdict.check)
    assert (found.faults, found.gaps, found.recomputed) == ((), (), "hit")


async def test_two_epochs_of_one_owner_hold():
    room = Room()
    second = room.owners["jd"].open_epoch()
    room.publish("jd", "high_risk_account", [UNLISTED], epoch=second)
    verdict = await room.check(UNLISTED)
    found = await room.recompute(verdict.check)
    assert (found.faults, found.gaps, found.recomputed, found.elements) == ((), (), "hit", 3)


async def test_categories_narrow_what_is_looked_into():
    room = Room()
    verdict = await room.check(LISTED, categories=frozenset({"telecom_fraud"}))
    found = await room.recompute(verdict.check)
    assert (found.faults, found.gaps, found.recomputed, found.lists) == ((), (), "hit", 1)


@pytest.mark.parametrize("conduct", [down, late])
async def test_an_owner_that_did_not_answer_makes_it_incomplete_and_convicts_nobody(conduct):
    room = Room()
    room.wire.conduct["jd"] = conduct
    verdict = await room.check(UNLISTED)
    assert verdict.word == "incomplete"
    found = await room.recompute(verdict.check, owners={"jd", "unionpay"})
    assert (found.faults, found.recomputed) == ((), "incomplete")


async def test_an_answer_that_came_after_the_verdict_convicts_nobody():
    """The receipt is kept, and the record does not rest on it: a listed identifier is no hit then."""
    room = Room()
    hold = room.wire.conduct["jd"] = Hold()
    verdict = await room.check(LISTED, deadline=0.05)
    hold.release()
    await room.bank.asker.close()
    assert len(room.bank.store.receipts) == 2
    found = await room.recompute(verdict.check)
    assert (found.faults, found.recorded) == ((), "hit")
    assert {owner.status for owner in verdict.owners} == {"late", "answered"}


async def test_a_stale_list_and_a_record_that_is_over_convict_nobody():
    room = Room()
    room.owners["jd"].views[room.owners["jd"].epoch]["jd/telecom-fraud"] = replace(
        room.owners["jd"].views[room.owners["jd"].epoch]["jd/telecom-fraud"], current=False
    )
    room.publish("unionpay", "transaction_fraud", {LISTED: record(valid_until=START)})
    verdict = await room.check(LISTED)
    assert [hit.list for hit in verdict.hits] == ["jd/telecom-fraud"]
    found = await room.recompute(verdict.check)
    assert (found.faults, found.gaps, found.recomputed) == ((), (), "hit")


async def test_a_record_that_ends_while_the_check_runs_may_be_a_hit_or_not():
    room = Room()
    end = START + timedelta(milliseconds=1)
    room.publish("jd", "telecom_fraud", {LISTED: record(valid_until=end)})
    room.publish("unionpay", "transaction_fraud", [THIRD])
    verdict = await room.check(LISTED)
    assert verdict.word == "hit"

    def later(parts: Any) -> None:
        parts["answered_at"] = "2026-11-22T08:30:01.000Z"

    room.rewrite(verdict.check, later, commit=True)
    kept = room.bank.store.checks[verdict.check]
    room.bank.store.checks[verdict.check] = replace(kept, answered_at=START + timedelta(seconds=1))
    found = await room.recompute(verdict.check)
    assert (found.faults, found.gaps) == ((), ())
    room.rewrite(verdict.check, lambda parts: (later(parts), _forget(parts)), commit=True)
    found = await room.recompute(verdict.check)
    assert found.faults == ()
    assert found.gaps == (("", "a hit on jd/telecom-fraud may have come too late for the verdict"),)


async def test_own_lists_are_not_looked_into_and_said_to_be_so():
    clock_room = Room()
    own = SimulatedOwner(BANK, clock_room.clock)
    own.list("marketing_cheating", [LISTED])
    clock_room.bank.own = own
    verdict = await clock_room.check(LISTED)
    assert f"{BANK}/marketing-cheating" in {hit.list for hit in verdict.hits}
    found = await clock_room.recompute(verdict.check, owners={"jd", "unionpay", BANK})
    assert found.faults == ()
    assert found.gaps == (("", "the member's own lists are not looked into"),)
    assert found.recomputed == "hit"


# --- a dishonest querier -------------------------------------------------------------------------------


def _forget(parts: Any) -> None:
    """Record a hit as clear."""
    parts["outcome"].update(hits=[], verdict="clear")


async def test_another_record_than_the_one_committed_to_is_a_rewritten_check():
    room = Room()
    verdict = await room.check(LISTED)
    room.rewrite(verdict.check, _forget, commit=False)
    fault = await room.basis(verdict.check)
    assert isinstance(fault, Fault)
    assert (fault.step, fault.kind, fault.accused) == ("2", "rewritten_check", BANK)


async def test_a_claim_of_another_identifier_than_the_one_asked_about_is_found():
    room = Room()
    verdict = await room.check(LISTED)

    def claim(parts: Any) -> None:
        parts["identifiers"] = [UNLISTED]
        _forget(parts)

    room.rewrite(verdict.check, claim, commit=True)
    found = await room.recompute(verdict.check)
    assert kinds(found) == [("3", "other_identifier", BANK)] * 2
    assert found.recomputed is None
    assert all("+86" not in fault.sentence for fault in found.faults)


async def test_another_blind_or_position_is_another_identifier():
    for change in (
        lambda parts: parts["asked"][0].update(blind=b"\x01" + bytes(31)),
        lambda parts: parts["asked"][0].update(position=5),
        lambda parts: parts["asked"][0].update(blind=b"\xff" * 32),
        lambda parts: parts["asked"][0].update(identifier=1),
    ):
        room = Room()
        verdict = await room.check(LISTED, UNLISTED)
        room.rewrite(verdict.check, change, commit=True)
        found = await room.recompute(verdict.check)
        assert ("3", "other_identifier", BANK) in kinds(found)
        assert {accused for _, _, accused in kinds(found)} == {BANK}


async def test_a_hit_recorded_as_clear_is_a_wrong_verdict():
    room = Room()
    verdict = await room.check(LISTED)
    room.rewrite(verdict.check, _forget, commit=True)
    found = await room.recompute(verdict.check)
    assert kinds(found) == [("8", "wrong_verdict", BANK)] * 2
    assert (found.recorded, found.recomputed) == ("clear", "hit")


async def test_one_hit_of_two_left_out_is_a_wrong_verdict():
    room = Room()
    verdict = await room.check(LISTED)
    room.rewrite(verdict.check, lambda parts: parts["outcome"]["hits"].pop(), commit=True)
    assert kinds(await room.recompute(verdict.check)) == [("8", "wrong_verdict", BANK)]


async def test_a_hit_that_is_none_is_a_wrong_verdict():
    room = Room()
    verdict = await room.check(UNLISTED)
    hit = [0, "jd/telecom-fraud", record().to_bytes()]
    room.rewrite(verdict.check, lambda parts: parts["outcome"].update(hits=[hit], verdict="hit"), commit=True)
    assert kinds(await room.recompute(verdict.check)) == [("8", "wrong_verdict", BANK)]


async def test_another_reason_for_a_hit_is_a_wrong_verdict():
    room = Room()
    verdict = await room.check(LISTED)

    def change(parts: Any) -> None:
        parts["outcome"]["hits"][0][2] = record(level="low").to_bytes()

    room.rewrite(verdict.check, change, commit=True)
    assert kinds(await room.recompute(verdict.check)) == [("8", "wrong_verdict", BANK)]


async def test_a_hit_on_a_list_that_nobody_has_is_a_wrong_verdict():
    room = Room()
    verdict = await room.check(LISTED)

    def change(parts: Any) -> None:
        parts["outcome"]["hits"][0][1] = "jd/phantom"

    room.rewrite(verdict.check, change, commit=True)
    assert ("8", "wrong_verdict", BANK) in kinds(await room.recompute(verdict.check))


async def test_an_owner_recorded_as_answered_that_did_not_is_a_wrong_verdict():
    room = Room()
    room.wire.conduct["jd"] = down
    verdict = await room.check(UNLISTED)

    def pretend(parts: Any) -> None:
        parts["outcome"]["owners"]["jd"][0] = "answered"
        parts["outcome"].update(complete=True, verdict="clear")

    room.rewrite(verdict.check, pretend, commit=True)
    assert kinds(await room.recompute(verdict.check)) == [("8", "wrong_verdict", BANK)]


async def test_an_owner_left_out_of_a_complete_check_is_a_wrong_verdict():
    room = Room()
    verdict = await room.check(LISTED)

    def leave_out(parts: Any) -> None:
        del parts["outcome"]["owners"]["jd"], parts["snapshots"]["jd/telecom-fraud"]
        parts["outcome"]["hits"] = [hit for hit in parts["outcome"]["hits"] if not hit[1].startswith("jd/")]

    room.rewrite(verdict.check, leave_out, commit=True)
    assert kinds(await room.recompute(verdict.check, owners={"jd", "unionpay"})) == [("8", "wrong_verdict", BANK)]


async def test_a_list_left_out_of_the_record_is_seen_by_the_ask():
    room = Room()
    room.bank.registry.held = room.bank.snapshots
    verdict = await room.check(LISTED)

    def leave_out(parts: Any) -> None:
        del parts["snapshots"]["jd/telecom-fraud"]
        parts["outcome"]["owners"]["jd"][1] = {}
        parts["outcome"]["hits"] = [hit for hit in parts["outcome"]["hits"] if not hit[1].startswith("jd/")]

    room.rewrite(verdict.check, leave_out, commit=True)
    found = await room.recompute(verdict.check)
    assert found.faults == ()
    assert found.gaps == (("", "an ask names lists of jd that the check did not look into"),)


async def test_lists_and_versions_that_do_not_agree_are_a_wrong_verdict():
    for change in (
        lambda parts: parts["outcome"]["owners"]["jd"].__setitem__(1, {}),
        lambda parts: parts["outcome"]["owners"]["jd"].__setitem__(1, {"jd/telecom-fraud": 2}),
        lambda parts: parts["outcome"]["owners"]["jd"][1].update({"jd/more": 1}),
    ):
        room = Room()
        verdict = await room.check(UNLISTED)
        room.rewrite(verdict.check, change, commit=True)
        found = await room.recompute(verdict.check)
        assert {kind for _, kind, _ in kinds(found)} == {"wrong_verdict"}


@pytest.mark.parametrize(
    "outcome",
    [
        {"verdict": "incomplete"},
        {"complete": False},
        {"verdict": "hit"},
        {"verdict": "incomplete", "complete": False},
    ],
)
async def test_a_word_that_does_not_follow_is_a_wrong_verdict(outcome):
    room = Room()
    verdict = await room.check(UNLISTED)
    room.rewrite(verdict.check, lambda parts: parts["outcome"].update(outcome), commit=True)
    assert kinds(await room.recompute(verdict.check)) == [("8", "wrong_verdict", BANK)]


async def test_a_snapshot_out_of_its_term_is_no_complete_answer():
    room = Room()
    verdict = await room.check(UNLISTED)
    sources = dict(room.sources())
    for issued, expires in ((-48, -24), (1, 2)):
        name = "jd/telecom-fraud"
        moved = replace(
            sources[name].snapshot,
            issued_at=START + timedelta(hours=issued),
            expires_at=START + timedelta(hours=expires),
        )
        found = await room.recompute(verdict.check, sources={**sources, name: replace(sources[name], snapshot=moved)})
        assert kinds(found) == [("7", "wrong_verdict", BANK)]


async def test_an_evaluation_for_another_purpose_is_a_wrong_verdict():
    room = Room()
    verdict = await room.check(UNLISTED)
    room.rewrite(verdict.check, lambda parts: parts.update(purpose="withdrawal"), commit=True)
    assert kinds(await room.recompute(verdict.check)) == [("4", "wrong_verdict", BANK)] * 2


async def test_a_record_that_calls_a_false_record_of_an_owner_complete_is_a_wrong_verdict():
    room = Room()
    room.publish("jd", "telecom_fraud", [LISTED], spoil=lambda _, sealed: sealed[:-1] + bytes([sealed[-1] ^ 1]))
    verdict = await room.check(LISTED)
    assert {owner.owner: owner.status for owner in verdict.owners} == {"jd": "untrusted", "unionpay": "answered"}
    assert (await room.recompute(verdict.check)).faults == ()

    def pretend(parts: Any) -> None:
        parts["outcome"]["owners"]["jd"][0] = "answered"
        parts["outcome"]["complete"] = True

    room.rewrite(verdict.check, pretend, commit=True)
    assert kinds(await room.recompute(verdict.check)) == [("8", "wrong_verdict", BANK)]


async def test_an_id_far_in_the_past_or_future_hides_no_hit():
    """The beginning of a check is read from its id, which its author chooses."""
    for moment in (0, 2**48 - 1):
        room = Room()
        verdict = await room.check(LISTED)
        check = new_batch(moment, bytes(10))
        kept = room.bank.store.checks[verdict.check]

        def move(parts: Any, check: UUID = check) -> None:
            parts["check"] = check.bytes
            _forget(parts)

        room.rewrite(verdict.check, move, commit=True)
        stated = replace(room.stated(verdict.check), check=check)
        shown = replace(await room.shown_anyway(verdict.check), check=check)
        room.bank.store.checks[check] = replace(room.bank.store.checks[verdict.check], id=check)
        assert stated.answered_at == kept.answered_at
        assert kinds(await room.recompute(check, shown)) == [("8", "wrong_verdict", BANK)] * 2


# --- a member that does not show -----------------------------------------------------------------------


async def test_a_record_that_is_not_shown_is_withheld():
    room = Room()
    verdict = await room.check(LISTED)
    for state in ("sealed", "unknown"):
        fault = await room.basis(verdict.check, ShownCheck(verdict.check, state))
        assert isinstance(fault, Fault)
        assert (fault.step, fault.kind, fault.accused) == ("2", "withheld", BANK)


async def test_the_record_of_another_check_is_withheld_or_rewritten():
    room = Room()
    first, second = await room.check(LISTED), await room.check(UNLISTED)
    other = await room.shown(second.check)
    assert (await room.basis(first.check, other)).kind == "withheld"
    moved = replace(other, check=first.check)
    assert (await room.basis(first.check, moved)).kind == "rewritten_check"


async def test_a_record_that_is_none_and_was_committed_to_is_a_wrong_verdict():
    room = Room()
    verdict = await room.check(LISTED)
    room.rewrite(verdict.check, lambda parts: parts.pop("random"), commit=True)
    shown = await room.shown(verdict.check)
    assert (shown.state, shown.batches) == ("opened", ())
    fault = await room.basis(verdict.check)
    assert isinstance(fault, Fault)
    assert (fault.step, fault.kind, fault.accused) == ("2", "wrong_verdict", BANK)


async def test_a_record_of_another_time_is_a_wrong_verdict():
    room = Room()
    verdict = await room.check(LISTED)
    room.rewrite(verdict.check, lambda parts: parts.update(answered_at="2026-11-22T09:30:00.000Z"), commit=True)
    assert (await room.basis(verdict.check)).kind == "wrong_verdict"


async def _altered(room: Room, check: UUID, **changes: Any) -> ShownCheck:
    shown = await room.shown(check)
    return replace(shown, batches=(replace(shown.batches[0], **changes), *shown.batches[1:]))


async def test_a_batch_that_is_not_shown_is_withheld():
    room = Room()
    verdict = await room.check(LISTED)
    shown = await room.shown(verdict.check)
    first = shown.batches[0]
    hidden = (
        replace(shown, batches=shown.batches[1:]),
        replace(shown, batches=(ShownBatch(first.owner, first.batch, "unknown"), *shown.batches[1:])),
        replace(shown, batches=(ShownBatch(first.owner, first.batch, "unanswered"), *shown.batches[1:])),
    )
    for other in hidden:
        assert kinds(await room.recompute(verdict.check, other)) == [("4", "withheld", BANK)]


async def test_a_batch_for_which_there_was_no_room_is_a_gap():
    room = Room()
    verdict = await room.check(LISTED)
    shown = await room.shown(verdict.check)
    first = shown.batches[0]
    left = replace(shown, batches=(ShownBatch(first.owner, first.batch, "left_out"), *shown.batches[1:]))
    found = await room.recompute(verdict.check, left)
    assert found.faults == ()
    assert found.gaps == (("4", "the check has more batches than are shown at once"),)


async def test_the_receipt_of_another_exchange_is_withheld():
    room = Room()
    first, second = await room.check(LISTED), await room.check(UNLISTED)
    other = (await room.shown(second.check)).batches
    for receipt in (other[0].receipt, other[1].receipt, cbor_encode([b"", bytes(64), b"", bytes(64)]), b"garbage"):
        shown = await _altered(room, first.check, receipt=receipt)
        assert ("4", "withheld", BANK) in kinds(await room.recompute(first.check, shown))


async def test_other_elements_than_the_receipts_are_not_used():
    """Nothing is computed with what neither half commits to: the owner's own may still serve."""
    room = Room()
    verdict = await room.check(LISTED)
    shown = await _altered(room, verdict.check, elements=oprf.hash_to_group(b"other"))
    found = await room.recompute(verdict.check, shown)
    assert (found.faults, found.recomputed) == ((), "hit")
    owner = shown.batches[0].owner
    assert found.gaps == (("4", f"neither side shows the elements of an exchange with {owner}"),)


# --- a dishonest owner ---------------------------------------------------------------------------------


async def test_an_owner_that_evaluates_with_another_key_cannot_prove_it():
    room = Room()
    jd = room.owners["jd"]
    honest, other = jd.secrets[jd.epoch], oprf.SecretKey.from_random(jd.random(64))
    jd.secrets[jd.epoch] = other
    verdict = await room.check(LISTED)
    jd.secrets[jd.epoch] = honest
    assert {hit.owner for hit in verdict.hits} == {"unionpay"}
    found = await room.recompute(verdict.check)
    assert found.faults == ()  # the querier is not to blame: the verb convicts the owner
    assert found.gaps == (("5", "jd has not proved an evaluation"),)


async def test_an_owner_proves_nothing_by_a_key_that_is_gone_or_of_receipts_that_are_not_its_own():
    room = Room()
    await room.check(LISTED)
    owned = Owned(room.owners["jd"])
    kept = next(iter(room.owners["jd"].receipts.receipts.values()))
    owned.destroyed.add(kept.epoch)
    page = await room.prover("jd", owned).page([kept.receipt.id, bytes(32)], 0)
    assert [one.state for one in page.proofs] == ["key_destroyed", "unknown"]
