"""The demo: it passes, and it would say so if anything in it were not as it must be."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from riskshare.config import Config
from riskshare.demo.accounting import Accounted, Altered
from riskshare.demo.auditing import CULPRIT, Audited, Rewritten
from riskshare.demo.play import Outcome, Seen, _told
from riskshare.demo.scenario import LISTS, MEMBERS, Asked, make_scenario
from riskshare.demo.show import as_json
from riskshare.generate import generate
from riskshare.loopback import get_json
from tests.simulator.running import until

SCENARIO = make_scenario()

WAITS_WITH_A_MEMBER = """
import signal, sys
from pathlib import Path
import riskshare.demo

def play(network, scenario, say):
    network.start("regulator")
    print("running", flush=True)
    signal.pause()

riskshare.demo.play = play
riskshare.demo.run_demo(dir=Path(sys.argv[1]))
"""


def test_the_demo_passes_and_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    command = [sys.executable, "-m", "riskshare", "demo", "--json", "--serve", "--dir", str(folder)]
    with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
        demo = subprocess.Popen(command, stdout=out, stderr=err)
    try:
        until(
            lambda: "Running until Ctrl-C" in (tmp_path / "err").read_text() or demo.poll() is not None,
            "the demo",
            seconds=180,
        )
        assert demo.poll() is None, (tmp_path / "err").read_text()
        found = json.loads((tmp_path / "out").read_text())
        assert_passed(found)
        assert_usable(folder / "harbour-bank")
        assert len(_peers(folder, "serve")) == 5
        assert _peers(folder, "-D"), "PostgreSQL"
        demo.send_signal(signal.SIGINT)
        assert demo.wait(60) == 0
    finally:
        demo.kill()
        demo.wait()
    until(lambda: not _peers(folder), "the end of all of its processes")


def assert_passed(found: dict[str, Any]) -> None:
    assert found["passed"] is True
    assert found["entries"] > 9_900
    assert [check["answer"]["verdict"] for check in found["checks"]] == ["hit", "hit", "hit", "clear", "clear"]
    assert {owner["status"] for owner in found["repeated"]["answer"]["owners"]} == {"cached"}
    assert found["batch"]["passed"] == found["batch"]["checks"] == 200
    assert {seen["owner"] for seen in found["seen_by_owners"]} == {each.member for each in LISTS}
    for seen in found["seen_by_owners"]:
        assert len(bytes.fromhex(seen["elements"])) == 32
        assert seen["ask"]["querier"] == "harbour-bank"
        assert seen["same_at_both"] is seen["signatures_hold"] is True
    assert_accounted(found["ledger"])
    assert_audited(found["audit"])


def assert_audited(audit: dict[str, Any]) -> None:
    """The honest audit finds nothing, and saw exchanges; the one of the copy convicts the one who rewrote it."""
    assert audit["passed"] is audit["clean"] is audit["complete"] is True
    assert audit["exchanges"] > 20
    [finding] = audit["rewritten"]["findings"]
    assert (finding["kind"], finding["accused"]) == ("wrong_statement", CULPRIT)


def assert_accounted(ledger: dict[str, Any]) -> None:
    """Final, verified from outside, and an altered byte is named with its entry."""
    assert ledger["passed"] is True
    assert ledger["quorum"] == 3 <= len(ledger["cosigned_by"])
    assert ledger["checkpoint"].startswith("riskshare/loopback/harbour-bank\n")
    assert set(ledger["logs"]) == {member.name for member in MEMBERS}
    assert ledger["verified"]["size"] > 200
    assert ledger["proof"]["querier"] == "harbour-bank"
    altered = ledger["altered"]
    assert altered["error"]["code"] == "wrong_bundle"
    assert f"Entry {altered['entry']} in {altered['path']}" in altered["error"]["message"]


def assert_usable(folder: Path) -> None:
    """Commands and requests can be pointed at a member of the demo."""
    at = Config.load(folder / "riskshare.toml").listen.clients
    status, answer = get_json(f"http://127.0.0.1:{at.port}/v1/lists", (folder / "api-key").read_text().strip())
    assert status == 200
    assert {each["list"] for each in answer["lists"]} == {each.full_name for each in LISTS}


def test_the_demo_takes_its_members_with_it_when_it_is_killed_politely(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    program = [sys.executable, "-c", WAITS_WITH_A_MEMBER, str(folder)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as demo:
        assert demo.stdout is not None
        assert demo.stdout.readline() == b"running\n"
        assert _peers(folder)
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(60) == 128 + signal.SIGTERM
    until(lambda: not _peers(folder), "the end of all of its processes")


def _peers(folder: Path, word: str = "") -> list[psutil.Process]:
    """All processes that work in this folder, PostgreSQL and its keeper too; or those with a word in their command."""
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
        except psutil.Error:
            continue
        if any(part.startswith(f"{folder}/") for part in command) and (not word or word in command):
            found.append(process)
    return found


# -- what must not pass ---------------------------------------------------------------------------------------------

LISTED = Asked("listed", generate(1, 1), "payment", frozenset({"lotus-pay/marketing"}))
CLEAN = Asked("clean", generate(2, 1), "payment", frozenset())


def answer(verdict: str, *lists: str, complete: bool = True) -> dict[str, Any]:
    owners = [{"owner": "lotus-pay", "status": "cached"}]
    return {"verdict": verdict, "complete": complete, "hits": [{"list": name} for name in lists], "owners": owners}


def test_what_was_expected_passes() -> None:
    assert _told(LISTED, answer("hit", "lotus-pay/marketing")).passed
    assert _told(CLEAN, answer("clear")).passed


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        pytest.param(LISTED, answer("clear"), id="a miss"),
        pytest.param(LISTED, answer("hit", "union-card/card-fraud"), id="another list"),
        pytest.param(LISTED, answer("hit", "lotus-pay/marketing", "lotus-pay/accounts"), id="a list too many"),
        pytest.param(LISTED, answer("hit", "lotus-pay/marketing", complete=False), id="a hit with a silent owner"),
        pytest.param(CLEAN, answer("hit", "lotus-pay/marketing"), id="a false hit"),
        pytest.param(CLEAN, answer("incomplete", complete=False), id="incomplete"),
        pytest.param(CLEAN, {"status": 503, "code": "store_unavailable"}, id="a problem"),
    ],
)
def test_what_was_not_expected_fails(asked: Asked, given: dict[str, Any]) -> None:
    assert not _told(asked, given).passed


def good() -> Outcome:
    outcome = Outcome(SCENARIO)
    outcome.single = [_told(LISTED, answer("hit", "lotus-pay/marketing"))]
    outcome.again = _told(LISTED, answer("hit", "lotus-pay/marketing"))
    outcome.batch = [_told(CLEAN, answer("clear"))]
    outcome.seen = [Seen("lotus-pay", "00" * 32, bytes(32), {}, same_at_both=True, signatures_hold=True)]
    outcome.accounted = ACCOUNTED
    outcome.audited = AUDITED
    return outcome


PATH = "tile/entries/000.p/9"
ACCOUNTED = Accounted(
    checkpoint="",
    cosigned_by=["b", "c", "d"],
    needed=3,
    seconds=1.0,
    logs={"harbour-bank": 9, "lotus-pay": 4},
    receipt="ab",
    verified={"size": 9},
    proof={"statement": "ab", "index": 7},
    altered=Altered(PATH, 247, 7, "wrong_bundle", f"Entry 7 in {PATH} is not the one."),
)


AUDITED = Audited(
    Path("case"),
    {"clean": True, "complete": True},
    {"clean": True, "complete": True, "figures": [{"name": "In both logs", "value": "1,027"}]},
    Rewritten(
        CULPRIT,
        4,
        "2026-11-22T10:00:00.000Z",
        "2026-11-22T09:00:00.000Z",
        {"findings": [{"accused": CULPRIT, "kind": "wrong_statement", "sentence": "Entry 4 is another."}]},
    ),
)


def account_nothing(outcome: Outcome) -> None:
    outcome.accounted = None


def account_without_quorum(outcome: Outcome) -> None:
    outcome.accounted = replace(ACCOUNTED, cosigned_by=["b", "c"])


def account_not_all(outcome: Outcome) -> None:
    outcome.accounted = replace(ACCOUNTED, logs={"harbour-bank": 9, "lotus-pay": 0})


def verify_nothing(outcome: Outcome) -> None:
    outcome.accounted = replace(ACCOUNTED, verified={})


def prove_another(outcome: Outcome) -> None:
    outcome.accounted = replace(ACCOUNTED, proof={"statement": "cd", "index": 7})


def overlook_the_byte(outcome: Outcome) -> None:
    outcome.accounted = replace(ACCOUNTED, altered=replace(ACCOUNTED.altered, code="", message=""))


def name_another_entry(outcome: Outcome) -> None:
    outcome.accounted = replace(ACCOUNTED, altered=replace(ACCOUNTED.altered, entry=8))


def fail_single(outcome: Outcome) -> None:
    outcome.single.append(_told(LISTED, answer("clear")))


def fail_batch(outcome: Outcome) -> None:
    outcome.batch.append(_told(CLEAN, answer("hit", "lotus-pay/marketing")))


def fail_again(outcome: Outcome) -> None:
    outcome.again = _told(LISTED, answer("clear"))


def see_nothing(outcome: Outcome) -> None:
    outcome.seen.clear()


def see_another(outcome: Outcome) -> None:
    outcome.seen[0] = replace(outcome.seen[0], same_at_both=False)


def see_no_signature(outcome: Outcome) -> None:
    outcome.seen[0] = replace(outcome.seen[0], signatures_hold=False)


def audit_nothing(outcome: Outcome) -> None:
    outcome.audited = None


def audit_with_findings(outcome: Outcome) -> None:
    outcome.audited = replace(AUDITED, reconcile={**AUDITED.reconcile, "clean": False})


def audit_in_part(outcome: Outcome) -> None:
    outcome.audited = replace(AUDITED, replay={**AUDITED.replay, "complete": False})


def audit_no_exchange(outcome: Outcome) -> None:
    outcome.audited = replace(
        AUDITED, reconcile={**AUDITED.reconcile, "figures": [{"name": "In both logs", "value": "0"}]}
    )


def overlook_the_copy(outcome: Outcome) -> None:
    outcome.audited = replace(AUDITED, rewritten=replace(AUDITED.rewritten, report={"findings": []}))


def blame_another(outcome: Outcome) -> None:
    findings = [*AUDITED.rewritten.report["findings"], {"accused": "harbour-bank", "kind": "late", "sentence": ""}]
    outcome.audited = replace(AUDITED, rewritten=replace(AUDITED.rewritten, report={"findings": findings}))


def ask_again(outcome: Outcome) -> None:
    assert outcome.again is not None
    outcome.again.answer["owners"] = [{"owner": "lotus-pay", "status": "answered"}]


def ask_nothing(outcome: Outcome) -> None:
    outcome.single.clear()


@pytest.mark.parametrize(
    "spoil",
    [
        ask_nothing,
        ask_again,
        fail_single,
        fail_batch,
        fail_again,
        see_nothing,
        see_another,
        see_no_signature,
        account_nothing,
        account_without_quorum,
        account_not_all,
        verify_nothing,
        prove_another,
        overlook_the_byte,
        name_another_entry,
        audit_nothing,
        audit_with_findings,
        audit_in_part,
        audit_no_exchange,
        overlook_the_copy,
        blame_another,
    ],
)
def test_one_thing_amiss_fails_the_whole(spoil: Callable[[Outcome], None]) -> None:
    outcome = good()
    assert outcome.passed
    spoil(outcome)
    assert not outcome.passed
    assert as_json(outcome)["passed"] is False


def test_the_scenario_is_the_same_each_time_and_as_large_as_it_says() -> None:
    again = make_scenario()
    assert again.entries == SCENARIO.entries
    assert again.batch == SCENARIO.batch
    types = {entry.type for entries in SCENARIO.entries.values() for entry in entries}
    assert len(types) >= 6
    assert len({each.category for each in LISTS}) == 4
    assert len(MEMBERS) == 5
    assert 9_900 < SCENARIO.count < 10_100


def test_every_question_expects_the_lists_that_hold_its_identifiers() -> None:
    holding = {name: {entry.canonical for entry in entries} for name, entries in SCENARIO.entries.items()}
    for asked in [*SCENARIO.single, *SCENARIO.batch]:
        names = {each.canonical for each in asked.identifiers}
        assert asked.expected == {name for name, entries in holding.items() if names & entries}
