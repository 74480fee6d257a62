"""Replay of members' folders: an honest network holds, and whatever is wrong is named, with its step and its author."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from riskshare.audit.conviction import convicts
from riskshare.audit.page import RANGE_FILE, AuditRange, StatementPage, page_path, read_statements
from riskshare.audit.replay import SMALL
from riskshare.audit.replayed import STEPS
from riskshare.audit.versions import Versions
from riskshare.errors import InputError
from riskshare.peer.replaying import Wish, replay_case
from riskshare.registry import next_body, parse_registry, sign_registry
from riskshare.sharing.evidence import verify_evidence
from riskshare.signature import SigningKey
from riskshare.statement import sign
from riskshare.store.case import Case
from tests.simulator.casefolder import START, CaseNetwork
from tests.simulator.network import seed

NOW = datetime(2026, 11, 23, tzinfo=UTC)
OPENED, CLOSED = START + timedelta(minutes=20), START + timedelta(minutes=90)
ROOT = Path(__file__).parents[2]
STRANGER = SigningKey(seed("stranger"))


class Seen:
    """The watch of a replay: all that it was told."""

    def __init__(self):
        self.steps = []
        self.told = []

    def progress(self, what, done, of):
        self.told.append((what, done, of))

    def step(self, step):
        self.steps.append(step)


def busy() -> CaseNetwork:
    """A network that has worked for an hour, honestly; nothing is final since its beginning."""
    case = CaseNetwork()
    case.begin()
    case.step(minutes=30)
    for number in range(20):
        case.step(seconds=30)
        case.exchange("bank", "jd", count=1 + number)
        case.exchange("card", "telco")
        case.check("bank")
    case.exchange("bank", "telco", note="adopted")
    case.unanswered("bank", "telco")
    case.snapshot("jd/high-risk")
    return case


def finish(case: CaseNetwork, out: Path) -> Path:
    """Half an hour later all is final; gives the case folder."""
    case.step(minutes=60)
    case.checkpoint()
    return case.write(out, OPENED, CLOSED)


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    case = busy()
    return case, finish(case, tmp_path_factory.mktemp("honest"))


@pytest.fixture
def copy(honest, tmp_path):
    """The honest case in a folder of its own."""
    shutil.copytree(honest[1], tmp_path / "case")
    return honest[0], tmp_path / "case"


@pytest.fixture
def replay(tmp_path):
    def run(case, out, *members, watch=None, now=NOW, registries=None, **changes):
        registries = registries or [case.network.registry]
        state = changes.pop("state", tmp_path / "state")
        wish = Wish(out, OPENED, CLOSED, members or tuple(case.names), tuple(registries), state, "jd", **changes)
        return replay_case(wish, watch or Seen(), now)

    return run


def kinds(report):
    return {(finding.kind, finding.accused) for finding in report.findings}


def outcome(report, number):
    return next(step.outcome for step in report.steps if step.number == number)


def flip(file: Path, place: int, mask: int = 1) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= mask
    file.write_bytes(data)


def page_of(out: Path, member: str, first: int = 0) -> StatementPage:
    return read_statements((out / "members" / member / page_path(first)).read_bytes())


def put_page(out: Path, member: str, page: StatementPage) -> None:
    (out / "members" / member / page.path).write_bytes(page.to_bytes())


def with_row(page: StatementPage, kind: str, /, **changes) -> StatementPage:
    """The page with its first row of a kind changed."""
    place = next(place for place, row in enumerate(page.rows) if row.kind == kind)
    rows = (*page.rows[:place], replace(page.rows[place], **changes), *page.rows[place + 1 :])
    return StatementPage(page.first, page.next, rows)


def tables(out: Path) -> dict[str, list]:
    """All facts of a case."""
    names = ("log", "receipt", "exchange", "named_snapshot", "unanswered", "epoch", "snapshot", "check_", "registry")
    connection = sqlite3.connect(out / "case.sqlite")
    found = {
        name: sorted(connection.execute(f"select * from {name}"), key=repr) for name in (*names, "activity", "tally")
    }
    connection.close()
    return found


# --- What holds ------------------------------------------------------------------------------------


def test_an_honest_network_holds(copy, replay):
    case, out = copy
    watch = Seen()
    report = replay(case, out, watch=watch)
    assert report.exit_code == 0, [step for step in report.steps if step.outcome != "holds"]
    assert not report.findings
    assert {step.number for step in report.steps} == {*STEPS, *(f"{n}.{name}" for n in STEPS for name in case.names)}
    assert {step.number for step in watch.steps} == {step.number for step in report.steps if "." in step.number}
    assert ("rows", 104, 104) in watch.told
    assert {member: size for member, size, _ in report.checkpoints}["bank"] == len(case.logs["bank"].rows)


def test_every_exchange_is_a_fact_once(copy, replay):
    case, out = copy
    replay(case, out)
    with Case.open(out / "case.sqlite") as facts:
        exchanges = list(facts.exchanges())
        assert len(exchanges) == 41
        assert not any(one.faults for one in exchanges)
        places = [facts.places(one.id) for one in exchanges]
        assert all(
            {row.member for row in place} in ({"bank", "jd"}, {"card", "telco"}, {"bank", "telco"}) for place in places
        )
        assert facts.tallies("bank")["receipt"] == 21
        assert facts.tallies("bank")["waiting"] == 21
        assert sum(minute.elements for minute in facts.activity("jd")) == sum(range(1, 21))
        assert [log.start for log in facts.logs()] == [4, 4, 4, 4]


def test_a_second_run_verifies_everything_again(copy, replay, tmp_path):
    case, out = copy
    replay(case, out)
    put_page(out, "jd", with_row(page_of(out, "jd"), "receipt", salt=bytes(16)))
    assert kinds(replay(case, out)) == {("wrong_statement", "jd")}


def test_pages_of_any_length_give_the_same_facts(honest, replay, tmp_path):
    case, out = honest
    replay(case, shutil.copytree(out, tmp_path / "whole"), state=tmp_path / "other")
    parted = shutil.copytree(out, tmp_path / "parted")
    for name in case.names:
        shutil.rmtree(parted / "members" / name / "statements", ignore_errors=False)
        shutil.copytree(out / "members" / name / "statements", parted / "members" / name / "statements")
        (parted / "members" / name / page_path(0)).unlink()
        case.write_pages(parted / "members" / name, case.logs[name].rows, 4, most=7)
    assert replay(case, parted).exit_code == 0
    assert tables(parted) == tables(tmp_path / "whole")


def test_one_member_alone_has_its_exchanges_verified_too(copy, replay):
    case, out = copy
    assert replay(case, out, "bank").exit_code == 0
    with Case.open(out / "case.sqlite") as facts:
        assert len(list(facts.exchanges())) == 21
        assert "waiting" not in facts.tallies("bank")


def test_what_an_owner_left_out_is_verified_in_the_queriers_log(replay, tmp_path):
    case = busy()
    forged = case.answer(case.ask("card", "jd", sign_with=STRANGER))
    case.log_receipt(forged, "card", "querier")
    case.exchange("bank", "jd", logged=["querier"])
    out = finish(case, tmp_path / "case")
    report = replay(case, out)
    assert kinds(report) == {("unsigned", "card")}
    with Case.open(out / "case.sqlite") as facts:
        assert len(list(facts.exchanges())) == 43


def test_a_log_without_statements_holds_as_a_log_and_the_rest_is_skipped(copy, replay):
    case, out = copy
    shutil.rmtree(out / "members" / "bank" / "statements")
    report = replay(case, out)
    assert report.exit_code == 3
    assert [outcome(report, f"{n}.bank") for n in STEPS] == ["holds", "holds"] + 7 * ["skipped"]
    assert [(one.kind, one.member, one.count) for one in report.observations] == [
        ("not_shown", "bank", len(case.logs["bank"].rows))
    ]
    assert not report.findings


def test_a_part_that_begins_in_the_period_is_not_the_whole(copy, replay):
    case, out = copy
    log = case.logs["bank"]
    case.write_member(out / "members" / "bank", "bank", CLOSED + timedelta(hours=1), CLOSED + timedelta(hours=2))
    report = replay(case, out)
    assert outcome(report, "3.bank") == "skipped"
    assert report.exit_code == 3
    assert not report.findings
    assert log.rows


def test_other_files_beside_the_pages_are_passed_over(copy, replay):
    case, out = copy
    (out / "members" / "bank" / "statements" / ".DS_Store").write_bytes(b"garbage")
    assert replay(case, out).exit_code == 0


# --- The log ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["checkpoint", "tile/0/000.p/", "tile/entries/000.p/"])
def test_a_byte_flipped_in_a_log_breaks_it(copy, replay, path):
    case, out = copy
    folder = out / "members" / "jd"
    size = len(case.logs["jd"].rows)
    flip(folder / (path + str(size) if path.endswith("/") else path), 40)
    report = replay(case, out)
    assert kinds(report) == {("broken_log", "jd")}
    assert [outcome(report, f"{n}.jd") for n in "123456789"] == ["fails"] + 8 * ["skipped"]
    assert [outcome(report, f"{n}.bank") for n in "1234567"] == 7 * ["holds"]
    assert report.findings[0].evidence[0].shows.startswith("the checkpoint")


def test_a_checkpoint_without_a_quorum_is_not_final(copy, replay):
    case, out = copy
    size, at = case.logs["jd"].checkpoints[-1]
    signed = case.signed("jd", size, at, cosigners=["bank", "card"])
    (out / "members" / "jd" / "checkpoint").write_bytes(signed.note.to_bytes())
    report = replay(case, out)
    assert kinds(report) == {("broken_log", "jd")}
    assert "quorum" in report.findings[0].sentence


def test_a_checkpoint_over_other_entries_breaks_the_log(copy, replay):
    case, out = copy
    case.logs["jd"].rows[-1].salt, former = bytes(16), case.logs["jd"].rows[-1].salt
    size, at = case.logs["jd"].checkpoints[-1]
    (out / "members" / "jd" / "checkpoint").write_bytes(case.signed("jd", size, at).note.to_bytes())
    case.logs["jd"].rows[-1].salt = former
    assert kinds(replay(case, out)) == {("broken_log", "jd")}


def test_a_log_that_goes_on_continues_the_one_audited_before(replay, tmp_path):
    case = busy()
    assert replay(case, finish(case, tmp_path / "first")).exit_code == 0
    case.exchange("bank", "jd")
    report = replay(case, finish(case, tmp_path / "second"))
    assert report.exit_code == 0
    assert next(step.count for step in report.steps if step.number == "2.bank") == 1


def test_an_older_period_is_replayed_after_a_newer_one(replay, tmp_path):
    case = busy()
    first = finish(case, tmp_path / "first")
    case.exchange("bank", "jd")
    case.step(hours=2)
    case.checkpoint()
    later = case.write(tmp_path / "second", CLOSED, case.now)
    assert not replay(case, later).findings
    assert replay(case, first).exit_code == 0


def test_a_log_with_another_history_is_discontinued_and_convicted(replay, tmp_path):
    case = busy()
    replay(case, finish(case, tmp_path / "first"))
    del case.logs["jd"].rows[-3]
    case.exchange("bank", "jd")
    case.exchange("bank", "jd")
    out = finish(case, tmp_path / "second")
    report = replay(case, out)
    assert kinds(report) == {("discontinued_log", "jd")}
    data = (out / report.findings[0].evidence[0].path).read_bytes()
    found = verify_evidence(data, case.network.registry, NOW)
    assert (found.kind, found.accused) == ("two_histories", "jd")


def test_a_log_that_shrank_is_discontinued(replay, tmp_path):
    case = busy()
    replay(case, finish(case, tmp_path / "first"))
    del case.logs["jd"].rows[-3:]
    case.logs["jd"].checkpoints.pop()
    report = replay(case, finish(case, tmp_path / "second"))
    assert kinds(report) == {("discontinued_log", "jd")}
    assert len(report.findings[0].evidence) == 2


def test_a_broken_log_is_not_remembered_as_audited(copy, replay, tmp_path):
    case, out = copy
    good = (out / "members" / "jd" / "checkpoint").read_bytes()
    flip(out / "members" / "jd" / "checkpoint", 40)
    replay(case, out)
    (out / "members" / "jd" / "checkpoint").write_bytes(good)
    report = replay(case, out)
    assert [next(step.count for step in report.steps if step.number == f"2.{name}") for name in ("bank", "jd")] == [
        1,
        0,
    ]


# --- The part that is shown ---------------------------------------------------------------------------


def changed_range(case, out, member, **changes):
    file = out / "members" / member / RANGE_FILE
    file.write_bytes(replace(AuditRange.from_bytes(file.read_bytes()), **changes).to_bytes())


def test_a_range_that_is_garbage_says_nothing(copy, replay):
    case, out = copy
    (out / "members" / "jd" / RANGE_FILE).write_bytes(b"garbage")
    report = replay(case, out)
    assert kinds(report) == {("withheld", "jd")}
    assert outcome(report, "7.jd") == "skipped"


def test_a_range_that_begins_at_no_final_checkpoint_is_refused(copy, replay):
    case, out = copy
    note = case.signed("jd", 4, START, cosigners=["bank"]).note.to_bytes()
    changed_range(case, out, "jd", before=note)
    assert kinds(replay(case, out)) == {("withheld", "jd")}


def test_a_range_of_another_log_is_refused(copy, replay):
    case, out = copy
    shutil.copy(out / "members" / "bank" / RANGE_FILE, out / "members" / "jd" / RANGE_FILE)
    assert kinds(replay(case, out)) == {("withheld", "jd")}


def test_two_histories_between_start_and_end_break_the_log(copy, replay):
    case, out = copy
    rows = case.logs["jd"].rows
    rows[2], kept = replace(rows[2], salt=bytes(16)), rows[2]
    changed_range(case, out, "jd", before=case.signed("jd", 4, START).note.to_bytes())
    rows[2] = kept
    report = replay(case, out)
    assert kinds(report) == {("broken_log", "jd")}
    data = (out / report.findings[0].evidence[0].path).read_bytes()
    assert verify_evidence(data, case.network.registry, NOW).accused == "jd"


# --- Pages and rows ------------------------------------------------------------------------------------


def test_a_row_with_another_salt_is_not_what_stands_in_the_log(copy, replay):
    case, out = copy
    put_page(out, "bank", with_row(page_of(out, "bank"), "check", salt=bytes(16)))
    report = replay(case, out)
    assert kinds(report) == {("wrong_statement", "bank")}
    assert report.findings[0].evidence[0].path.startswith("evidence/bank-wrong_statement")


def test_a_row_with_another_statement_is_not_what_stands_in_the_log(copy, replay):
    case, out = copy
    page = page_of(out, "bank")
    checks = [row for row in page.rows if row.kind == "check"]
    put_page(out, "bank", with_row(page, "check", statement=checks[1].statement, signature=checks[1].signature))
    assert kinds(replay(case, out)) == {("wrong_statement", "bank")}


def test_a_row_under_another_kind_is_not_what_stands_in_the_log(copy, replay):
    case, out = copy
    put_page(out, "bank", with_row(page_of(out, "bank"), "check", kind="audit"))
    assert kinds(replay(case, out)) == {("wrong_statement", "bank")}


def test_an_entry_without_its_row_is_withheld(copy, replay):
    case, out = copy
    page = page_of(out, "bank")
    put_page(out, "bank", StatementPage(page.first, page.next, (*page.rows[:9], *page.rows[12:])))
    report = replay(case, out)
    assert kinds(report) == {("withheld", "bank")}
    assert report.findings[0].about["entry"] == "10"
    assert "2 more" in report.findings[0].sentence


def test_a_page_that_is_missing_is_withheld(copy, replay):
    case, out = copy
    (out / "members" / "bank" / page_path(0)).unlink()
    case.write_pages(out / "members" / "bank", case.logs["bank"].rows, 4, most=10)
    middle = sorted((out / "members" / "bank" / "statements").iterdir())[2]
    middle.unlink()
    assert kinds(replay(case, out)) == {("withheld", "bank")}


def test_all_pages_missing_are_withheld(copy, replay):
    case, out = copy
    (out / "members" / "bank" / page_path(0)).unlink()
    report = replay(case, out)
    assert kinds(report) == {("withheld", "bank")}
    assert outcome(report, "4.jd") == "holds"


def test_a_page_of_another_log_is_not_what_stands_in_the_log(copy, replay):
    case, out = copy
    shutil.copy(out / "members" / "card" / page_path(0), out / "members" / "telco" / page_path(0))
    assert {accused for _, accused in kinds(replay(case, out))} == {"telco"}


@pytest.mark.parametrize("data", [b"", b"garbage", bytes(5_000_000)], ids=["empty", "garbage", "zeros"])
def test_a_page_that_cannot_be_read_is_withheld(copy, replay, data):
    case, out = copy
    (out / "members" / "bank" / page_path(0)).write_bytes(data)
    assert kinds(replay(case, out)) == {("withheld", "bank")}


def test_a_truncated_page_is_withheld(copy, replay):
    case, out = copy
    file = out / "members" / "bank" / page_path(0)
    file.write_bytes(file.read_bytes()[:-1])
    assert kinds(replay(case, out)) == {("withheld", "bank")}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_byte_flipped_convicts_that_member_alone(honest, tmp_path_factory, data):
    case, whole = honest
    out = shutil.copytree(whole, tmp_path_factory.mktemp("flipped") / "case")
    member = data.draw(st.sampled_from(case.names))
    folder = out / "members" / member
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "tile" in str(path.relative_to(folder)))
    file = data.draw(st.sampled_from([*files, folder / page_path(0)]))
    flip(file, data.draw(st.integers(0, file.stat().st_size - 1)), 1 << data.draw(st.integers(0, 7)))
    wish = Wish(out, OPENED, CLOSED, tuple(case.names), (case.network.registry,), out / "state", "jd")
    report = replay_case(wish, Seen(), NOW)
    assert report.exit_code == 1
    assert {finding.accused for finding in report.findings} == {member}
    shutil.rmtree(out)


# --- Statements --------------------------------------------------------------------------------------


def test_a_check_that_is_badly_signed_convicts_its_author(replay, tmp_path):
    case = busy()
    case.logs["bank"].of("check")[3].signature = bytes(64)
    out = finish(case, tmp_path / "case")
    report = replay(case, out)
    assert kinds(report) == {("unsigned", "bank")}
    file = (out / report.findings[0].evidence[0].path).read_bytes()
    assert convicts(file, Versions(tuple(case.network.history)), NOW).accused == "bank"


@pytest.mark.parametrize("kind", ["epoch", "snapshot"])
def test_a_statement_of_an_owner_that_is_badly_signed_convicts_it(replay, tmp_path, kind):
    case = busy()
    if kind == "epoch":
        case.epoch("jd", "second")
    case.logs["jd"].of(kind)[-1].signature = bytes(64)
    assert kinds(replay(case, finish(case, tmp_path / "case"))) == {("unsigned", "jd")}


def test_a_statement_of_somebody_else_is_not_the_members(replay, tmp_path):
    case = busy()
    foreign = case.logs["card"].of("epoch")[0]
    case.logs["bank"].add("epoch", foreign.statement, case.now, signature=foreign.signature)
    assert kinds(replay(case, finish(case, tmp_path / "case"))) == {("wrong_statement", "bank")}


def test_a_statement_that_is_garbage_is_not_one(replay, tmp_path):
    case = busy()
    for kind in ("check", "snapshot", "epoch", "audit", "settlement", "unanswered", "registry", "receipt"):
        case.logs["bank"].add(kind, b"{}", case.now, signature=bytes(64))
    report = replay(case, finish(case, tmp_path / "case"))
    assert kinds(report) == {("wrong_statement", "bank")}
    assert len(report.findings) == 8


def test_a_settlement_without_its_second_signature_is_unsigned(replay, tmp_path):
    case = busy()
    body = {"from": "2026-11-01T00:00:00.000Z", "members": ["bank", "jd"], "to": "2026-11-20T00:00:00.000Z"}
    for made, second in ((sign("settlement", "simnet", body, case.key("bank")), case.key("jd")),):
        good = made.signature + sign("settlement", "simnet", body, second).signature
        case.logs["bank"].add("settlement", made.json, case.now, signature=good)
        case.logs["jd"].add("settlement", made.json, case.now, signature=made.signature + bytes(64))
    assert kinds(replay(case, finish(case, tmp_path / "case"))) == {("unsigned", "jd")}


# --- Receipts ------------------------------------------------------------------------------------------


def test_an_ask_that_the_querier_did_not_sign_convicts_who_logged_it(replay, tmp_path):
    case = busy()
    case.log_receipt(case.answer(case.ask("bank", "jd", sign_with=STRANGER)), "jd", "owner")
    report = replay(case, finish(case, tmp_path / "case"))
    assert kinds(report) == {("unsigned", "jd")}
    assert "not signed by the querier" in report.findings[0].sentence


def test_an_answer_that_the_owner_did_not_sign_convicts_who_logged_it(replay, tmp_path):
    case = busy()
    case.log_receipt(case.answer(case.ask("bank", "jd"), sign_with=STRANGER), "bank", "querier")
    assert kinds(replay(case, finish(case, tmp_path / "case"))) == {("unsigned", "bank")}


def test_a_key_out_of_its_term_signs_nothing(replay, tmp_path):
    case = busy()
    term = case.network.registry.members["bank"].identity[0]
    ended = replace(term, valid_until=START - timedelta(hours=1))
    # A version that ended the key before it was ever used: there is none in which it was in force.
    members = [
        replace(case.network.registry.members["bank"], identity=(replace(ended, valid_from=START - timedelta(days=9)),))
    ]
    case.network.issue(members)
    registries = [case.network.registry]
    report = replay(case, finish(case, tmp_path / "case"), "jd", registries=registries)
    # The older version, which jd's log shows, has it in force: an honest member is not blamed.
    assert not report.findings


def test_an_answer_to_another_ask_is_no_receipt(replay, tmp_path):
    case = busy()
    other = case.answer(case.ask("bank", "jd"))
    mixed = replace(case.answer(case.ask("bank", "jd")), answer=other.answer, answer_signature=other.answer_signature)
    case.log_receipt(mixed, "bank", "querier")
    assert kinds(replay(case, finish(case, tmp_path / "case"))) == {("wrong_statement", "bank")}


def test_an_exchange_of_two_others_does_not_belong_into_a_log(replay, tmp_path):
    case = busy()
    receipt = case.exchange("bank", "jd")
    case.log_receipt(receipt, "telco", "owner")
    assert kinds(replay(case, finish(case, tmp_path / "case"))) == {("wrong_statement", "telco")}


def test_an_exchange_with_no_member_convicts_who_logged_it(replay, tmp_path):
    case = busy()
    ask = case.ask("stranger", "jd", sign_with=STRANGER)
    case.log_receipt(case.answer(ask), "jd", "owner")
    assert kinds(replay(case, finish(case, tmp_path / "case"))) == {("wrong_statement", "jd")}


def test_an_exchange_of_another_network_convicts_who_logged_it(replay, tmp_path):
    case = busy()
    case.log_receipt(case.answer(case.ask("bank", "jd", network="other")), "jd", "owner")
    assert kinds(replay(case, finish(case, tmp_path / "case"))) == {("wrong_statement", "jd")}


def test_a_liar_about_its_side_hides_nothing(replay, tmp_path):
    case = busy()
    forged = case.answer(case.ask("bank", "jd", sign_with=STRANGER))
    case.log_receipt(forged, "jd", "querier")
    case.log_receipt(case.answer(case.ask("jd", "card", sign_with=STRANGER)), "jd", "adopted")
    report = replay(case, finish(case, tmp_path / "case"))
    assert [finding.kind for finding in report.findings] == ["unsigned", "unsigned"]
    assert kinds(report) == {("unsigned", "jd")}


def test_an_exchange_that_two_claim_to_have_answered_is_a_fact_once(replay, tmp_path):
    case = busy()
    case.exchange("bank", "jd", note="owner")
    out = finish(case, tmp_path / "case")
    assert replay(case, out).exit_code == 0
    with Case.open(out / "case.sqlite") as facts:
        assert len(list(facts.exchanges())) == 42


def test_many_findings_alike_are_counted_and_not_all_told(replay, tmp_path):
    case = busy()
    for _ in range(130):
        case.logs["bank"].add("check", b"{}", case.now, signature=bytes(64))
    report = replay(case, finish(case, tmp_path / "case"))
    assert len(report.findings) == 101
    assert "30 more" in report.findings[-1].sentence


# --- The registry --------------------------------------------------------------------------------------


@pytest.mark.parametrize("pinned", [0, 1, -1])
def test_the_chain_is_found_from_any_version(replay, tmp_path, pinned):
    case = busy()
    for _ in range(3):
        registry = case.network.issue()
        for name in case.names:
            case.register(name, registry)
    out = finish(case, tmp_path / "case")
    shutil.rmtree(out / "registry")
    assert replay(case, out, registries=[case.network.history[pinned]]).exit_code == 0
    assert sorted(path.name for path in (out / "registry").iterdir()) == [f"{n}.json" for n in range(1, 6)]


def test_a_version_that_is_not_linked_is_not_judged(replay, tmp_path):
    case = busy()
    case.network.issue()
    case.register("bank", case.network.issue())
    report = replay(case, finish(case, tmp_path / "case"), registries=case.network.history[:2])
    assert report.exit_code == 3
    assert outcome(report, "5.bank") == "skipped"


def another_version(case, *keys):
    """Another version 2 of the registry, signed by these keys."""
    body = next_body(case.network.history[0], now=START - timedelta(days=1), currency="EUR")
    return parse_registry(sign_registry(body, keys))


def test_a_version_that_no_governor_signed_convicts_who_logged_it(replay, tmp_path):
    case = busy()
    case.register("bank", another_version(case, STRANGER))
    assert kinds(replay(case, finish(case, tmp_path / "case"))) == {("wrong_statement", "bank")}


def test_governors_that_signed_two_versions_are_no_members_fault(replay, tmp_path):
    case = busy()
    case.register("bank", another_version(case, *case.network.governors))
    report = replay(case, finish(case, tmp_path / "case"))
    assert outcome(report, "5.bank") == "fails"
    assert not report.findings
    assert report.exit_code == 1


# --- Folders -------------------------------------------------------------------------------------------


def test_a_link_in_a_folder_is_refused(copy, replay):
    case, out = copy
    page = out / "members" / "bank" / page_path(0)
    page.rename(out / "page")
    page.symlink_to(out / "page")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        replay(case, out)


def test_a_pipe_in_a_folder_is_refused(copy, replay):
    case, out = copy
    os.mkfifo(out / "members" / "bank" / "statements" / "000000000999.cbor")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        replay(case, out)


def test_a_folder_that_is_not_there_is_refused(copy, replay):
    case, out = copy
    with pytest.raises(InputError, match="There is no folder"):
        replay(case, out, "nobody")


def test_a_folder_without_a_checkpoint_is_no_log(copy, replay):
    case, out = copy
    (out / "members" / "bank" / "checkpoint").unlink()
    with pytest.raises(InputError, match="no checkpoint"):
        replay(case, out)


def test_a_folder_of_another_member_is_refused(copy, replay):
    case, out = copy
    shutil.rmtree(out / "members" / "bank")
    shutil.copytree(out / "members" / "card", out / "members" / "bank")
    with pytest.raises(InputError, match="the log of card"):
        replay(case, out)


# --- Many rows, several processes, and a process that is killed -----------------------------------------


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """More rows than one process takes, on pages of 200."""
    case = CaseNetwork(("bank", "jd", "telco"))
    case.begin()
    case.step(minutes=30)
    for number in range(SMALL // 2):
        case.exchange("bank", "jd" if number % 3 else "telco")
        case.step(seconds=1)
    case.log_receipt(case.answer(case.ask("bank", "jd", sign_with=STRANGER)), "bank", "querier")
    out = finish(case, tmp_path_factory.mktemp("large"))
    for name in case.names:
        folder = out / "members" / name
        (folder / page_path(0)).unlink()
        case.write_pages(folder, case.logs[name].rows, 3, most=200)
    return case, out


@pytest.fixture(scope="module")
def expected(large, tmp_path_factory):
    """The facts of the large case, from one process that did all of it."""
    out = shutil.copytree(large[1], tmp_path_factory.mktemp("expected") / "case")
    wish = Wish(out, OPENED, CLOSED, tuple(large[0].names), (large[0].network.registry,), out / "state", "jd", cores=1)
    report = replay_case(wish, Seen(), NOW)
    assert kinds(report) == {("unsigned", "bank")}
    return tables(out)


def test_several_processes_find_the_same(large, expected, replay, tmp_path):
    case, out = large
    out = shutil.copytree(out, tmp_path / "case")
    assert kinds(replay(case, out, cores=2)) == {("unsigned", "bank")}
    assert tables(out) == expected


KILLED = """
import os, signal, sys
from datetime import datetime
from pathlib import Path
from riskshare.peer.replaying import Wish, replay_case
from riskshare.registry import Registry

class Killer:
    def progress(self, what, done, of):
        if what == "rows" and done >= int(sys.argv[4]):
            os.kill(os.getpid(), signal.SIGKILL)
    def step(self, step): pass

out = Path(sys.argv[1])
registry = Registry.from_file((out / "registry" / "2.json").read_bytes())
opened, closed = map(datetime.fromisoformat, sys.argv[2:4])
wish = Wish(out, opened, closed, ("bank", "jd", "telco"), (registry,), out / "state", "jd", cores=1)
replay_case(wish, Killer(), opened)
"""


def test_a_replay_that_was_killed_goes_on_where_it_was(large, expected, replay, tmp_path):
    case, out = large
    out = shutil.copytree(out, tmp_path / "case")
    for done in (500, 1500, 3000):
        arguments = [str(out), OPENED.isoformat(), CLOSED.isoformat(), str(done)]
        killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=ROOT, timeout=60, check=False)
        assert killed.returncode == -signal.SIGKILL
    with Case.open(out / "case.sqlite") as facts:
        before = facts.reached("bank", "rows")
    assert before
    watch = Seen()
    report = replay(case, out, watch=watch, state=out / "state", cores=1)
    assert kinds(report) == {("unsigned", "bank")}
    assert tables(out) == expected
    assert not [told for told in watch.told if told[0] == "bank: entries"], "the log is not derived again"


def test_another_period_begins_anew(large, tmp_path):
    case, out = large
    out = shutil.copytree(out, tmp_path / "case")
    arguments = [str(out), OPENED.isoformat(), CLOSED.isoformat(), "1500"]
    subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=ROOT, timeout=60, check=False)
    watch = Seen()
    wish = Wish(out, OPENED, CLOSED - timedelta(minutes=1), tuple(case.names), (case.network.registry,), out, "jd")
    replay_case(wish, watch, NOW)
    assert [told for told in watch.told if told[0] == "bank: entries"]


@pytest.mark.parametrize(("now", "said"), [(CLOSED - timedelta(seconds=1), True), (CLOSED, False)])
def test_a_period_that_has_not_ended_is_told(copy, replay, now, said):
    case, out = copy
    assert any("had not ended" in limit for limit in replay(case, out, now=now).limits) == said


def test_what_whoever_carried_the_folder_could_have_altered_is_told(copy, replay):
    case, out = copy
    assert not any("carried" in limit for limit in replay(case, out).limits)
    flip(next((out / "members" / "bank" / "tile" / "entries").rglob("*[0-9]")), 40)
    report = replay(case, out)
    assert kinds(report) == {("broken_log", "bank")}
    assert any("whoever carried it could have altered it" in limit for limit in report.limits)


def test_receipts_of_a_single_minute_are_drawn_as_one(tmp_path):
    case = CaseNetwork()
    case.begin()
    case.exchange("bank", "jd")
    case.step(minutes=90)
    case.checkpoint()
    out = case.write(tmp_path / "case", START, CLOSED)
    wish = Wish(out, START, CLOSED, tuple(case.names), (case.network.registry,), out / "state", "jd")
    [series] = replay_case(wish, Seen(), case.now).series
    assert dict(series.values)["jd"] == (0.0, 1.0, 0.0)
    assert series.times[1] - series.times[0] == series.times[2] - series.times[1] == timedelta(minutes=1)
