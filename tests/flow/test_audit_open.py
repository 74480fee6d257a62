"""Opening checks from end to end: what members show is fetched, kept, judged; and judged again without them."""

from __future__ import annotations

import json
import stat
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest

from riskshare.audit.open_report import About, open_report
from riskshare.audit.opened import ShownCheck, ShownProof, check_path, proof_path, snapshot_path
from riskshare.audit.outcome import Opened
from riskshare.audit.sample import Drawn, detection, draw
from riskshare.membership import oprf
from tests.simulator.opening import BANK, LISTED, START, UNLISTED, Audit, Room
from tests.simulator.query import down


def faults(found: Opened) -> list[tuple[str, str, str]]:
    every = [fault for one in found.checks for fault in one.faults] + found.owner_faults
    return [(fault.step, fault.kind, fault.accused) for fault in every]


def gaps(found: Opened) -> set[str]:
    return {step for one in found.checks for step, _ in one.gaps} | {step for step, _ in found.gaps}


async def two_checks(room: Room) -> list[UUID]:
    return [(await room.check(text)).check for text in (LISTED, UNLISTED)]


async def test_honest_checks_are_recomputed_as_a_whole(tmp_path: Path):
    room = Room()
    checks = await two_checks(room)
    found = await Audit(room, tmp_path).open(*checks)
    assert (faults(found), gaps(found)) == ([], set())
    assert [(one.found.recorded, one.found.recomputed) for one in found.checks if one.found] == [
        ("hit", "hit"),
        ("clear", "clear"),
    ]
    assert all(one.whole for one in found.checks)
    assert (found.exchanges, found.proofs) == (4, 4)
    assert found.checks[0].identifiers == ("phone:+8613•••••••00",)


async def test_a_second_run_asks_nobody_and_finds_the_same(tmp_path: Path):
    room = Room()
    checks = await two_checks(room)
    first = await Audit(room, tmp_path).open(*checks)
    again = Audit(room, tmp_path)
    second = await again.open(*checks)
    assert again.visits.asked == []
    offline = await Audit(room, tmp_path, offline=True).open(*checks)
    assert first.checks == second.checks == offline.checks


async def test_a_run_that_was_interrupted_asks_for_what_is_missing_alone(tmp_path: Path):
    room = Room()
    checks = await two_checks(room)
    await Audit(room, tmp_path).open(checks[0])
    again = Audit(room, tmp_path)
    assert faults(await again.open(*checks)) == []
    assert Counter(member for member, _ in again.visits.asked) == {BANK: 1, "jd": 1, "unionpay": 1}


async def test_what_was_opened_is_closed_to_others(tmp_path: Path):
    room = Room()
    checks = await two_checks(room)
    folder = tmp_path / "out"
    await Audit(room, folder).open(*checks)
    for path in (folder / "open").rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


async def test_an_empty_folder_offline_is_a_gap_and_no_finding(tmp_path: Path):
    room = Room()
    checks = await two_checks(room)
    found = await Audit(room, tmp_path, offline=True).open(*checks)
    assert (faults(found), gaps(found)) == ([], {"2"})
    assert not any(one.whole for one in found.checks)


# --- members that do not answer as they must ---------------------------------------------------------


async def test_a_member_that_is_down_convicts_nobody(tmp_path: Path):
    room = Room()
    checks = await two_checks(room)
    audit = Audit(room, tmp_path)
    audit.visits.down.add(BANK)
    found = await audit.open(*checks)
    assert (faults(found), gaps(found)) == ([], {"2"})
    assert ("2", "icbc cannot be reached.") in found.gaps


async def test_an_owner_that_is_down_convicts_nobody(tmp_path: Path):
    room = Room()
    checks = await two_checks(room)
    audit = Audit(room, tmp_path)
    audit.visits.down.add("jd")
    found = await audit.open(*checks)
    assert faults(found) == []
    assert gaps(found) == {"5", "6"}
    assert [one.found.recomputed for one in found.checks if one.found] == ["hit", None]


async def test_a_check_that_a_member_does_not_open_is_withheld(tmp_path: Path):
    room = Room()
    checks = await two_checks(room)
    audit = Audit(room, tmp_path)
    audit.visits.alter_check = lambda shown: ShownCheck(shown.check, "unknown")
    found = await audit.open(*checks)
    assert faults(found) == [("2", "withheld", BANK)] * 2
    offline = await Audit(room, tmp_path, offline=True).open(*checks)
    assert faults(offline) == faults(found)


async def test_a_check_that_is_opened_later_is_asked_for_again(tmp_path: Path):
    room = Room()
    checks = await two_checks(room)
    audit = Audit(room, tmp_path)
    audit.visits.alter_check = lambda shown: ShownCheck(shown.check, "sealed")
    await audit.open(*checks)
    assert faults(await Audit(room, tmp_path).open(*checks)) == []


async def test_another_record_is_a_rewritten_check(tmp_path: Path):
    room = Room()
    checks = await two_checks(room)
    other = await room.shown(checks[1])
    audit = Audit(room, tmp_path)
    audit.visits.alter_check = lambda shown: replace(other, check=shown.check)
    assert faults(await audit.open(checks[0])) == [("2", "rewritten_check", BANK)]


async def test_elements_that_the_member_alters_are_taken_from_the_owner(tmp_path: Path):
    room = Room()
    checks = await two_checks(room)
    audit = Audit(room, tmp_path)

    def alter(shown: ShownCheck) -> ShownCheck:
        spoilt = [replace(one, elements=oprf.hash_to_group(b"other")) for one in shown.batches]
        return replace(shown, batches=tuple(spoilt))

    audit.visits.alter_check = alter
    found = await audit.open(*checks)
    assert (faults(found), gaps(found)) == ([], set())


async def test_elements_that_the_owner_alters_are_withheld(tmp_path: Path):
    room = Room()
    audit = Audit(room, tmp_path)
    check = (await room.check(LISTED)).check
    audit.visits.alter_proof = lambda shown: replace(shown, elements=oprf.hash_to_group(b"other"))
    found = await audit.open(check)
    assert sorted(faults(found)) == [("5", "withheld", "jd"), ("5", "withheld", "unionpay")]
    assert gaps(found) == {"5"}


async def test_a_proof_of_another_exchange_does_not_hold(tmp_path: Path):
    room = Room()
    audit = Audit(room, tmp_path)
    check = (await room.check(LISTED)).check

    def alter(shown: ShownProof) -> ShownProof:
        return replace(shown, proof=shown.proof[32:] + shown.proof[:32])

    audit.visits.alter_proof = alter
    assert {kind for _, kind, _ in faults(await audit.open(check))} == {"wrong_key"}


@pytest.mark.parametrize("state", ["unknown", "key_destroyed"])
async def test_an_owner_that_does_not_prove_what_its_log_has_withholds_it(tmp_path: Path, state: Any):
    room = Room()
    audit = Audit(room, tmp_path)
    check = (await room.check(LISTED)).check
    audit.visits.alter_proof = lambda shown: ShownProof(shown.receipt, state)
    found = await audit.open(check)
    assert sorted(faults(found)) == [("5", "withheld", "jd"), ("5", "withheld", "unionpay")]


async def test_an_owner_without_the_receipt_is_the_matter_of_reconcile(tmp_path: Path):
    room = Room()
    audit = Audit(room, tmp_path)
    check = (await room.check(LISTED)).check
    audit.visits.alter_proof = lambda shown: ShownProof(shown.receipt, "unknown")
    audit.facts.unlogged |= {
        (owner, kept.receipt.id) for kept in room.bank.store.receipts.values() for owner in ("jd", "unionpay")
    }
    found = await audit.open(check)
    assert faults(found) == []
    assert gaps(found) == {"5"}


async def test_an_owner_with_a_stored_proof_needs_no_key(tmp_path: Path):
    room = Room()
    check = (await room.check(LISTED)).check
    audit = Audit(room, tmp_path)
    jd = room.owners["jd"]
    for place, kept in list(jd.receipts.receipts.items()):
        proof = (await room.proof("jd", kept.receipt.id)).proof
        jd.receipts.receipts[place] = replace(kept, proof=proof)
        audit.visits.owned["jd"].destroyed.add(kept.epoch)
    found = await audit.open(check)
    assert (faults(found), gaps(found)) == ([], set())


# --- dishonest members ----------------------------------------------------------------------------------


async def test_an_owner_that_evaluates_with_another_key_than_it_committed_to_is_convicted(tmp_path: Path):
    room = Room()
    jd = room.owners["jd"]
    jd.secrets[jd.epoch] = oprf.SecretKey.from_random(jd.random(64))
    check = (await room.check(LISTED)).check
    found = await Audit(room, tmp_path).open(check)
    assert faults(found) == [("5", "wrong_key", "jd")]
    assert found.owner_faults[0].receipt in {kept.receipt.id for kept in room.bank.store.receipts.values()}
    assert faults(await Audit(room, tmp_path, offline=True).open(check)) == [("5", "wrong_key", "jd")]


async def test_a_querier_that_claims_another_identifier_is_convicted(tmp_path: Path):
    room = Room()
    check = (await room.check(LISTED)).check

    def claim(parts: Any) -> None:
        parts["identifiers"] = [UNLISTED]
        parts["outcome"].update(hits=[], verdict="clear")

    room.rewrite(check, claim, commit=True)
    found = await Audit(room, tmp_path).open(check)
    assert set(faults(found)) == {("3", "other_identifier", BANK)}


async def test_an_exchange_that_the_member_did_not_log_is_missing(tmp_path: Path):
    room = Room()
    check = (await room.check(LISTED)).check
    audit = Audit(room, tmp_path)
    receipt = next(iter(room.bank.store.receipts.values())).receipt.id
    audit.facts.unlogged.add((BANK, receipt))
    assert faults(await audit.open(check)) == [("4", "missing", BANK)]
    audit.facts.replayed = False
    found = await audit.open(check)
    assert (faults(found), gaps(found)) == ([], {""})


async def test_an_owner_that_the_querier_leaves_out_is_found_by_the_registry(tmp_path: Path):
    room = Room()
    check = (await room.check(UNLISTED)).check
    audit = Audit(room, tmp_path)
    everybody = frozenset({"jd", "unionpay", "telecom"})
    audit.facts.owners_of = dict.fromkeys(range(10), everybody)
    assert faults(await audit.open(check)) == [("8", "wrong_verdict", BANK)]
    audit.facts.owners_of[6] = frozenset({"jd", "unionpay"})  # admitted just now: the querier may not have known
    assert faults(await audit.open(check)) == []


async def test_a_listed_identifier_recorded_as_clear_is_convicted(tmp_path: Path):
    room = Room()
    check = (await room.check(LISTED)).check
    room.rewrite(check, lambda parts: parts["outcome"].update(hits=[], verdict="clear"), commit=True)
    found = await Audit(room, tmp_path).open(check)
    assert faults(found) == [("8", "wrong_verdict", BANK)] * 2
    assert (found.checks[0].found.recorded, found.checks[0].found.recomputed) == ("clear", "hit")


async def test_hidden_hits_are_found_in_a_sample_with_the_probability_that_is_stated(tmp_path: Path):
    """12 checks, 2 of them under-reported; auditors who open 4 by seeds of their own find them as often as stated."""
    room = Room()
    hidden = [(await room.check(LISTED)).check for _ in range(2)]
    honest = [(await room.check(UNLISTED)).check for _ in range(10)]
    for check in hidden:
        room.rewrite(check, lambda parts: parts["outcome"].update(hits=[], verdict="clear"), commit=True)
    everything = await Audit(room, tmp_path).open(*hidden, *honest)
    convicted = {one.stated.check for one in everything.checks if one.faults}
    assert convicted == set(hidden)
    seeds, trials = Random(8), 2_000
    caught = sum(
        not convicted.isdisjoint(draw([*hidden, *honest], seeds.randbytes(32), 4).checks) for _ in range(trials)
    )
    expected = detection(12, 2, 4)
    assert abs(caught / trials - expected) < 5 * (expected * (1 - expected) / trials) ** 0.5


# --- snapshots and segments ---------------------------------------------------------------------------


async def test_a_segment_that_is_altered_is_not_used_and_fetched_again(tmp_path: Path):
    room = Room()
    check = (await room.check(UNLISTED)).check
    audit = Audit(room, tmp_path)
    audit.visits.alter_segment = lambda data: data[:-1] + bytes([data[-1] ^ 1])
    found = await audit.open(check)
    assert (faults(found), gaps(found)) == ([], {"6"})
    assert list((tmp_path / "segments").iterdir()) == []
    again = await Audit(room, tmp_path).open(check)
    assert (faults(again), gaps(again)) == ([], set())


async def test_a_segment_of_another_length_is_not_used(tmp_path: Path):
    room = Room()
    check = (await room.check(UNLISTED)).check
    audit = Audit(room, tmp_path)
    audit.visits.alter_segment = lambda data: data[:-1]
    found = await audit.open(check)
    assert (faults(found), gaps(found)) == ([], {"6"})


async def test_another_snapshot_than_the_one_recorded_is_not_used(tmp_path: Path):
    room = Room()
    check = (await room.check(UNLISTED)).check
    audit = Audit(room, tmp_path)
    other = room.wires[room.snapshots["unionpay/transaction-fraud"].digest]
    for alter in (lambda wire: wire[:-1], lambda _: b"garbage", lambda _: other):
        audit.visits.alter_snapshot = alter
        found = await audit.open(check)
        assert faults(found) == []
        assert "6" in gaps(found)
    assert not (tmp_path / snapshot_path(room.snapshots["jd/telecom-fraud"].digest)).exists()


async def test_files_that_are_damaged_in_the_folder_count_as_missing(tmp_path: Path):
    room = Room()
    check = (await room.check(LISTED)).check
    await Audit(room, tmp_path).open(check)
    receipt = next(iter(room.bank.store.receipts.values()))
    (tmp_path / check_path(BANK, check)).write_bytes(b"garbage")
    (tmp_path / proof_path(receipt.counterparty, receipt.receipt.id)).write_bytes(b"garbage")
    assert gaps(await Audit(room, tmp_path, offline=True).open(check)) == {"2"}
    again = await Audit(room, tmp_path).open(check)
    assert (faults(again), gaps(again)) == ([], set())


# --- the report ---------------------------------------------------------------------------------------


def about(drawn: Drawn, seed: bytes = b"", unknown: tuple[str, ...] = ()) -> About:
    return About("simnet", "regulator", START, None, None, drawn, seed, unknown, ("riskshare audit open --offline",))


async def test_the_report_of_honest_checks_holds(tmp_path: Path):
    room = Room()
    checks = await two_checks(room)
    audit = Audit(room, tmp_path)
    found = await audit.open(*checks)
    report = open_report(found, about(Drawn(tuple(checks), 2)), audit.shelf.digest)
    assert report.exit_code == 0
    assert [(step.number, step.outcome) for step in report.steps] == [(str(n), "holds") for n in range(1, 9)]
    assert (report.findings, report.observations) == ((), ())
    text = json.dumps(report.body(), ensure_ascii=False)
    assert "13800138000" not in text
    assert "phone:+8613•••••••00" in text


async def test_the_report_of_a_sample_states_its_probabilities(tmp_path: Path):
    room = Room()
    checks = await two_checks(room)
    audit = Audit(room, tmp_path)
    found = await audit.open(checks[0])
    report = open_report(found, about(draw(checks, bytes(32), 1), bytes(32)), audit.shelf.digest)
    assert any("a single one of the 2 checks (1)" in limit for limit in report.limits)
    assert report.tables[0].rows[0] == ("a single one", "1", "50 %", "2")
    assert ("Seed", "00" * 32) in [(figure.name, figure.value) for figure in report.figures]


async def test_the_report_of_a_dishonest_member_names_it_with_the_evidence(tmp_path: Path):
    room = Room()
    jd = room.owners["jd"]
    jd.secrets[jd.epoch] = oprf.SecretKey.from_random(jd.random(64))
    check = (await room.check(LISTED)).check
    room.rewrite(check, lambda parts: parts["outcome"].update(hits=[], verdict="clear"), commit=True)
    audit = Audit(room, tmp_path)
    found = await audit.open(check)
    report = open_report(found, about(Drawn((check,), 1)), audit.shelf.digest)
    assert report.exit_code == 1
    assert [(one.kind, one.accused) for one in report.findings] == [("wrong_verdict", BANK), ("wrong_key", "jd")]
    assert [step.number for step in report.steps if step.outcome == "fails"] == ["5", "8"]
    for one in report.findings:
        for evidence in one.evidence:
            assert audit.shelf.digest(evidence.path) == evidence.digest
    assert report.findings[0].about["check"] == str(check)
    assert "receipt" in report.findings[1].about


async def test_the_report_of_what_could_not_be_had_is_incomplete(tmp_path: Path):
    room = Room()
    room.wire.conduct["jd"] = down
    checks = await two_checks(room)
    audit = Audit(room, tmp_path)
    audit.visits.down.add("unionpay")
    found = await audit.open(*checks)
    sampled = open_report(found, about(draw(checks, bytes(32), 2), bytes(32)), audit.shelf.digest)
    assert sampled.tables[0].rows[0] == ("a single one", "1", "0 %", "2")
    assert "2 checks of the sample could not be verified" in sampled.limits[-1]
    report = open_report(found, about(Drawn(tuple(checks), 2), unknown=("another",)), audit.shelf.digest)
    assert report.exit_code == 3
    assert {step.number for step in report.steps if step.outcome == "skipped"} == {"1", "5", "6"}
    assert [(one.kind, one.count, one.of) for one in report.observations] == [("unopened", 2, 2)]


async def test_where_no_check_was_opened_no_step_holds(tmp_path: Path):
    audit = Audit(Room(), tmp_path)
    found = await audit.open()
    report = open_report(found, about(Drawn((), 1), unknown=("another",)), audit.shelf.digest)
    assert {step.outcome for step in report.steps} == {"skipped"}
    assert report.exit_code == 3
