"""The life of an entry between real peers: disputed, restored, expired, kept off; and what its owner can say of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from riskshare.cli.application import app
from riskshare.generate import generate
from riskshare.membership.identifier import Identifier
from tests.network.conftest import MakeNetwork
from tests.simulator.running import BANK, SHOP, Running, until

LISTED = generate(501, 8, ("phone",))
OTHER = generate(502, 4, ("phone",), exclude=LISTED)


@pytest.fixture(scope="module")
def network(make_network: MakeNetwork) -> Iterator[Running]:
    """A shop with a list, and a bank that follows it."""
    network = make_network(BANK, SHOP)
    network.publish("shop", "fraud", LISTED)
    network.start("bank", "shop", program=network.hurried())
    network.ready("bank")
    return network


def command(network: Running, *words: str) -> tuple[int, Any]:
    """A command of the shop: its exit code and what it prints for programs."""
    config = str(network.members["shop"].config_file)
    done = CliRunner().invoke(app, [*words, "--json", "--config", config])
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return done.exit_code, found[0] if len(found) == 1 else found


def decide(network: Running, action: str, identifier: Identifier, reason: str) -> None:
    code, shown = command(network, "list", action, "fraud", identifier.canonical, "--reason", reason)
    assert code == 0, shown


def verdict(network: Running, identifier: Identifier) -> str:
    word: str = network.check("bank", identifier)["verdict"]
    return word


def test_a_disputed_entry_still_answers_and_every_hit_says_so(network: Running) -> None:
    one = LISTED[0]
    [hit] = network.check("bank", one)["hits"]
    assert not hit["disputed"]
    decide(network, "dispute", one, "says the number was sold")
    until(lambda: network.check("bank", one)["hits"][0]["disputed"], "the bank has the delta")
    assert verdict(network, one) == "hit"
    decide(network, "restore", one, "the buyer is the same")
    until(lambda: not network.check("bank", one)["hits"][0]["disputed"], "the bank has the delta")


def test_what_was_withdrawn_comes_back_by_restoring_it(network: Running) -> None:
    one = LISTED[1]
    decide(network, "withdraw", one, "appeal_upheld")
    until(lambda: verdict(network, one) == "clear", "the bank has the delta")
    decide(network, "restore", one, "the court decided otherwise")
    until(lambda: verdict(network, one) == "hit", "the bank has the delta")


def test_its_owner_can_say_who_holds_it_and_what_was_done(network: Running) -> None:
    one = LISTED[2]
    decide(network, "dispute", one, "under review")

    def holder() -> Any:
        _, entry = command(network, "list", "show", one.canonical)
        return [each for each in entry["holders"] if each["current"]]

    [held] = until(holder, "the bank's poll says that it has it")
    assert (held["member"], held["epoch"]) == ("bank", 1)
    _, entry = command(network, "list", "show", one.canonical, "--list", "fraud")
    assert [(each["action"], each["why"]) for each in entry["history"]] == [
        ("import", "reported"),
        ("dispute", "under review"),
    ]
    assert one.value not in json.dumps(entry)


def test_an_entry_expires_though_nobody_presses_a_button(network: Running) -> None:
    """The peer withdraws it; its term is moved behind its back, since no command makes terms of seconds."""
    one = LISTED[3]
    _, entry = command(network, "list", "show", one.canonical)
    network.rows(
        "shop",
        "update entries set valid_until = now() + interval '1 second' where changed = 1 and handle = $1",
        _handle(network, one),
    )
    until(lambda: verdict(network, one) == "clear", "the shop has withdrawn it")
    code, entry = command(network, "list", "show", one.canonical)
    assert (code, entry["state"], entry["withdrawn_for"]) == (1, "withdrawn", "expired")
    assert (entry["history"][-1]["author"], entry["history"][-1]["action"]) == ("peer", "expire")
    code, shown = command(network, "list", "restore", "fraud", one.canonical, "--reason", "x")
    assert (code, [each["code"] for each in shown["refused"]]) == (1, ["term_over"])


def _handle(network: Running, identifier: Identifier) -> bytes:
    return network.member("shop").data_key.handle(identifier.oprf_input, "shop/fraud")


def test_what_a_program_lists_and_a_rule_takes_off_again(network: Running) -> None:
    one, two = OTHER[:2]
    body = {"entries": [{"identifier": each.canonical, "level": "low"} for each in (one, two)]}
    status, done = network.post("shop", body, "/v1/lists/fraud/entries")
    assert (status, done["changed"]) == (200, 2)
    until(lambda: verdict(network, one) == verdict(network, two) == "hit", "the bank has the delta")
    code, shown = command(network, "never", "add", one.canonical, "--note", "ours")
    assert (code, shown["withdrawn"]) == (0, {"shop/fraud": 1})
    until(lambda: verdict(network, one) == "clear", "the bank has the delta")
    assert verdict(network, two) == "hit"
    status, done = network.post("shop", body, "/v1/lists/fraud/entries")
    assert [each["code"] for each in done["results"]] == ["never_listed", "unchanged"]
    status, found = network.post("shop", {"identifier": one.canonical}, "/v1/entries/show")
    [entry] = found["entries"]
    assert [(each["action"], each["why"]) for each in entry["history"]] == [
        ("upsert", "listed by a program"),
        ("never", "erroneous"),
    ]


def test_the_days_of_the_list_add_up(network: Running) -> None:
    _, shown = command(network, "list", "stats", "fraud", "--days", "2")
    _, status = command(network, "list", "status", "fraud")
    assert shown["days"][-1]["size"] == status["active"] + status["disputed"]
