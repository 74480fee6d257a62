"""Playing the demo: set up, publish, subscribe, ask, prove, account, audit. What comes of it is shown elsewhere."""

from __future__ import annotations

import asyncio
import csv
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from riskshare.demo.accounting import Accounted, account
from riskshare.demo.auditing import Audited, audit
from riskshare.demo.commands import command
from riskshare.demo.scenario import BANK, LISTS, MEMBERS, Asked, DemoList, Scenario, make_scenario
from riskshare.encoding import sha256
from riskshare.errors import RiskshareError
from riskshare.governance import read_registry
from riskshare.ledger import merkle
from riskshare.ledger.receipt import KeptReceipt
from riskshare.loopback import LoopbackMember, LoopbackNetwork, post_json
from riskshare.membership.identifier import mask
from riskshare.peer.opening import now, opened_store
from riskshare.query.message import Answer, Ask
from riskshare.registry import Registry
from riskshare.signature import verify
from riskshare.statement import signed_bytes
from riskshare.store.embedded import start_server

DEADLINE_MS: Final = 2000
"""The demo shares two cores with five members; its questions get more time than a payment would."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Told:
    """One question as it was asked, and what came back. `masked` are the identifiers as a person may see them."""

    asked: Asked
    masked: Sequence[str]
    answer: dict[str, Any]
    passed: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """What one owner received of one question, and what it keeps of it.

    `elements` is all that stands for the identifiers, 32 bytes each; `ask` the signed statement around it.
    """

    owner: str
    receipt: str
    elements: bytes
    ask: dict[str, Any]
    same_at_both: bool
    signatures_hold: bool


@dataclass(slots=True)
class Outcome:
    """Everything that the demo found. `passed` only if every answer was the expected one and every receipt holds."""

    scenario: Scenario
    imports: list[dict[str, Any]] = field(default_factory=list)
    setup_seconds: float = 0.0
    single: list[Told] = field(default_factory=list)
    again: Told | None = None
    batch: list[Told] = field(default_factory=list)
    batch_ms: float = 0.0
    seen: list[Seen] = field(default_factory=list)
    accounted: Accounted | None = None
    audited: Audited | None = None

    @property
    def passed(self) -> bool:
        """Whether all was asked and answered as it must be, the repetition asked nobody, ledger and audit hold."""
        told = [*self.single, *self.batch]
        again = self.again
        return (
            bool(self.seen and self.single and self.batch)
            and again is not None
            and again.passed
            and {owner["status"] for owner in again.answer["owners"]} == {"cached"}
            and all(each.passed for each in told)
            and all(each.same_at_both and each.signatures_hold for each in self.seen)
            and self.accounted is not None
            and self.accounted.passed
            and self.audited is not None
            and self.audited.passed
        )


def play(network: LoopbackNetwork, scenario: Scenario, say: Say) -> Outcome:
    """Play everything in a network that was made and does not run yet; it runs afterwards.

    Raises:
        RiskshareError: something did not start or cannot be reached.

    """
    outcome = Outcome(scenario)
    began = time.monotonic()
    say(f"Importing {scenario.count:,} generated identifiers into {len(LISTS)} lists of three owners")
    # Held while nobody runs, so that the commands need not start and stop it each time.
    with start_server(network.members[BANK].config.server_dir):
        outcome.imports = _import_all(network, scenario)
        say("Starting five peers; the owners publish, everybody subscribes")
        network.start()
    for name in network.members:
        network.wait_for_lists(name, [each.full_name for each in LISTS])
    outcome.setup_seconds = time.monotonic() - began
    bank = network.members[BANK]
    say("Harbour Bank asks")
    asked_from = now()
    for asked in scenario.single:
        outcome.single.append(_told(asked, _check(bank, asked)))
    outcome.again = _told(scenario.single[0], _check(bank, scenario.single[0]))
    moment = time.perf_counter()
    status, many = post_json(
        f"{bank.urls['clients']}/v1/checks", {"checks": [_body(asked) for asked in scenario.batch]}, bank.api_key
    )
    outcome.batch_ms = (time.perf_counter() - moment) * 1000
    if status != 200:
        raise RiskshareError(f"The batch was refused: {many.get('detail')}", code=many.get("code"))
    outcome.batch = [_told(asked, answer) for asked, answer in zip(scenario.batch, many["results"], strict=True)]
    asked_until = time.monotonic()
    say("Reading what the owners received and kept")
    outcome.seen = asyncio.run(_seen(network, outcome.single[0].answer["receipts"]))
    told = [*outcome.single, *outcome.batch]
    receipts = dict.fromkeys(receipt for each in told for receipt in each.answer.get("receipts", ()))
    outcome.accounted = account(network, list(receipts), asked_until, say)
    outcome.audited = audit(network, asked_from, now(), say)
    return outcome


def make_network(directory: Path) -> tuple[LoopbackNetwork, Scenario]:
    """Make the five members' files in a folder that has no network yet. Raises ConfigError, DiskError."""
    return LoopbackNetwork.create(directory, MEMBERS), make_scenario()


def _import_all(network: LoopbackNetwork, scenario: Scenario) -> list[dict[str, Any]]:
    """Import the lists of all owners: those of one after another, the owners beside one another."""
    owners = list(dict.fromkeys(each.member for each in LISTS))

    def import_of(owner: str) -> list[dict[str, Any]]:
        return [_import(network.members[owner], each, scenario) for each in LISTS if each.member == owner]

    with ThreadPoolExecutor(len(owners)) as pool:
        return [done for reports in pool.map(import_of, owners) for done in reports]


def _import(member: LoopbackMember, each: DemoList, scenario: Scenario) -> dict[str, Any]:
    """Create and import a list by the very commands that an operator would use."""
    file = member.directory / f"{each.name}.csv"
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["identifier", "level", "reason", "case"])
        for number, identifier in enumerate(scenario.entries[each.full_name]):
            writer.writerow([identifier.canonical, each.level, "generated_for_the_demo", f"demo-{number:05}"])
    command(member, "list", "create", each.name, "--category", each.category)
    return command(member, "list", "import", each.name, str(file))


def _body(asked: Asked) -> dict[str, Any]:
    return {
        "identifiers": [identifier.canonical for identifier in asked.identifiers],
        "purpose": asked.purpose,
        "deadline_ms": DEADLINE_MS,
    }


def _check(bank: LoopbackMember, asked: Asked) -> dict[str, Any]:
    status, answer = post_json(f"{bank.urls['clients']}/v1/check", _body(asked), bank.api_key)
    if status != 200:
        raise RiskshareError(f"A check was refused: {answer.get('detail')}", code=answer.get("code"))
    found: dict[str, Any] = answer
    return found


def _told(asked: Asked, answer: dict[str, Any]) -> Told:
    """Compare an answer with the expected one: the right lists, and every owner heard."""
    hits = {hit["list"] for hit in answer.get("hits", ())}
    verdict = "hit" if asked.expected else "clear"
    passed = answer.get("verdict") == verdict and answer.get("complete") is True and hits == asked.expected
    return Told(asked, [mask(identifier) for identifier in asked.identifiers], answer, passed)


async def _seen(network: LoopbackNetwork, receipts: Sequence[str]) -> list[Seen]:
    """Look up the receipts of one question in the bank's database and in those of the owners."""
    registry = read_registry(network.directory / "network.json")
    found = []
    for text in receipts:
        digest = bytes.fromhex(text)
        ours = await _kept(network.members[BANK], digest)
        theirs = await _kept(network.members[ours.counterparty], digest)
        found.append(
            Seen(
                owner=ours.counterparty,
                receipt=text,
                elements=theirs.elements,
                ask=json.loads(theirs.receipt.ask),
                same_at_both=ours.receipt == theirs.receipt and ours.receipt.id == digest,
                signatures_hold=holds(registry, theirs),
            )
        )
    return found


async def _kept(member: LoopbackMember, digest: bytes) -> KeptReceipt:
    async with opened_store(member.config) as store:
        found = await store.records.receipt(digest)
    if found is None:
        raise RiskshareError(f"{member.title} keeps no receipt {digest.hex()[:16]}…", code="demo_failed")
    return found


def holds(registry: Registry, kept: KeptReceipt) -> bool:
    """Verify a receipt as a third party would: both signatures, both Merkle roots, the digest that ties them."""
    receipt = kept.receipt
    ask, answer = Ask.from_json(receipt.ask), Answer.from_json(receipt.answer)

    def signed(member: str, kind: str, statement: bytes, signature: bytes) -> bool:
        message = signed_bytes(kind, registry.network, statement)
        return any(verify(term.public, message, signature) for term in registry.identity_keys(member))

    return (
        signed(ask.querier, "ask", receipt.ask, receipt.ask_signature)
        and signed(ask.owner, "answer", receipt.answer, receipt.answer_signature)
        and answer.ask == sha256(receipt.ask)
        and ask.elements == merkle.root_of(kept.elements)
        and answer.elements == merkle.root_of(kept.evaluated)
    )
