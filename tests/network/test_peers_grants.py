"""A list under grants between real peers: its grantee follows it, a stranger is answered as if there were none."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from typer.testing import CliRunner

from riskshare.cli.application import app
from riskshare.generate import generate
from riskshare.ledger.paths import LATEST
from riskshare.query.message import (
    EPOCH,
    EVALUATE,
    LISTS,
    SEGMENT,
    SNAPSHOT,
    SNAPSHOT_NAMED,
    SNAPSHOT_VERSION,
    AskMessage,
)
from riskshare.sharing.held_page import HELD
from riskshare.statement import sign
from tests.network.conftest import MakeNetwork
from tests.simulator.running import BANK, SHOP, TELECOM, Answered, Running, until

LISTED = generate(601, 5, ("phone",))
WATCHED = generate(602, 5, ("phone",), exclude=LISTED)
NOWHERE = "00" * 32


def command(network: Running, *words: str, code: int = 0) -> dict[str, Any]:
    """Run a command of the shop's; give its result."""
    said = CliRunner().invoke(app, [*words, "--config", str(network.members["shop"].config_file), "--json"])
    assert said.exit_code == code, said.output
    found: dict[str, Any] = json.loads(said.stdout.splitlines()[0])
    return found


def get(network: Running, reader: str, path: str) -> Answered:
    return network.exchange("shop", path, tls=network.tls(reader, "shop"))


def same(found: Answered, expected: Answered) -> None:
    """Byte for byte the same, but for when it was said, and the number of the request."""
    assert found.body == expected.body
    assert found.status == expected.status
    told = [{name: value for name, value in each.headers.items() if name != "Date"} for each in (found, expected)]
    assert told[0].keys() == told[1].keys()
    assert {name: value for name, value in told[0].items() if told[1][name] != value}.keys() <= {"X-Request-Id"}


def evaluated(network: Running, querier: str, epoch: str) -> Answered:
    """An ask of that member under an epoch, by its digest in hex."""
    message = network.ask(querier, "shop")
    body = json.loads(message.ask) | {"epoch": epoch}
    signed = sign("ask", body["network"], body, network.member(querier).keys.identity)
    data = AskMessage(signed.json, signed.signature, message.elements).to_bytes()
    return network.exchange("shop", EVALUATE, method="POST", body=data, tls=network.tls(querier, "shop"))


def listed(network: Running, name: str) -> dict[str, str]:
    found = network.get(name, "/v1/lists")["lists"]
    return {each["list"]: each["status"] for each in found if each["owner"] == "shop"}


def nothing_for_a_stranger(network: Running, epoch: str, snapshot: str, file: str) -> None:
    """Every path to the list, by digests in hex, that nobody tells a stranger."""
    for here, nowhere in (
        (EPOCH.format(digest=epoch), EPOCH.format(digest=NOWHERE)),
        (SNAPSHOT.format(list="watch", epoch=epoch), SNAPSHOT.format(list="none", epoch=NOWHERE)),
        (SNAPSHOT.format(list="watch", epoch=epoch) + "?wait=20", SNAPSHOT.format(list="none", epoch=NOWHERE)),
        (
            SNAPSHOT_VERSION.format(list="watch", epoch=epoch, version=1),
            SNAPSHOT_VERSION.format(list="none", epoch=NOWHERE, version=1),
        ),
        (
            SNAPSHOT_NAMED.format(list="watch", digest=snapshot),
            SNAPSHOT_NAMED.format(list="none", digest=NOWHERE),
        ),
        (SEGMENT.format(digest=file), SEGMENT.format(digest=NOWHERE)),
    ):
        same(get(network, "telecom", here), get(network, "telecom", nowhere))
        assert get(network, "telecom", here).status == 404
        assert get(network, "bank", here).status == 200


def test_a_list_under_grants_is_for_its_grantees_and_unknown_to_all_others(make_network: MakeNetwork) -> None:
    network = make_network(BANK, SHOP, replace(TELECOM, roles=("querier",)))
    network.publish("shop", "fraud", LISTED)
    command(network, "list", "create", "watch", "--category", "telecom_fraud", "--granted")
    network.publish("shop", "watch", WATCHED)
    network.published.discard("shop/watch")
    network.start("bank", "shop", "telecom", program=network.hurried())
    network.ready("bank", "telecom")
    network.wait("shop", "readyz")
    assert network.check("bank", WATCHED[0])["verdict"] == "clear"

    command(network, "list", "grant", "watch", "--member", "bank")
    until(lambda: listed(network, "bank").get("shop/watch") == "current", "the grantee follows it")
    hit = network.check("bank", WATCHED[0])
    assert (hit["verdict"], hit["hits"][0]["list"]) == ("hit", "shop/watch")
    assert network.check("telecom", WATCHED[0])["verdict"] == "clear"
    assert listed(network, "telecom") == {"shop/fraud": "current"}

    [row] = network.rows("shop", "select digest from epochs where keyset = 'watch'")
    [base] = network.rows("shop", "select s.* from segments s join lists l on l.id = s.list_id where l.name = 'watch'")
    [snapshot] = network.rows(
        "shop",
        "select n.digest from snapshots n join epochs p on p.digest = n.epoch"
        " where p.keyset = 'watch' and n.version = 1",
    )
    epoch, file = row["digest"].hex(), base["file_digest"].hex()
    nothing_for_a_stranger(network, epoch, snapshot["digest"].hex(), file)
    same(evaluated(network, "telecom", epoch), evaluated(network, "telecom", NOWHERE))
    assert json.loads(evaluated(network, "telecom", epoch).body)["code"] == "unknown_epoch"
    assert evaluated(network, "bank", epoch).status == 200
    for path in (LISTS, HELD + "?after=0", LATEST):
        assert all(secret not in get(network, "telecom", path).body for secret in (b"watch", row["digest"]))
    held = network.exchange("bank", HELD + "?after=0", tls=network.tls("telecom", "bank"))
    assert row["digest"] not in held.body
    shown = network.rows("bank", "select list_name from held_snapshots")
    assert {each["list_name"] for each in shown} == {"shop/fraud"}

    command(network, "list", "grant", "watch", "--member", "bank", "--purpose", "withdrawal")
    until(lambda: network.check("bank", WATCHED[0])["verdict"] == "clear", "payments are not about the list any more")
    body = {"identifiers": [WATCHED[0].canonical], "purpose": "withdrawal", "deadline_ms": 5000}
    assert network.post("bank", body)[1]["verdict"] == "hit"
    refused = evaluated(network, "bank", epoch)
    assert (refused.status, json.loads(refused.body)["code"]) == (403, "purpose_not_allowed")

    command(network, "list", "revoke", "watch", "--member", "bank")
    until(lambda: evaluated(network, "bank", epoch).status == 404, "the end takes effect")
    same(evaluated(network, "bank", epoch), evaluated(network, "telecom", NOWHERE))
    until(lambda: listed(network, "bank").get("shop/watch") == "ended", "the former grantee drops the list")
    until(lambda: network.check("bank", WATCHED[0])["verdict"] == "clear", "its checks do not concern the list")
    assert get(network, "bank", SEGMENT.format(digest=file)).status == 404
