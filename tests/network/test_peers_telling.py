"""Real peers: what a member tells a data subject, and whom an upheld appeal concerns. No peer learns of either."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from riskshare.audit.access import AccessRequest
from riskshare.encoding import canonical_json, sha256
from riskshare.generate import generate
from riskshare.ledger.leaf import Leaf
from riskshare.membership.identifier import Identifier
from tests.network.conftest import MakeNetwork
from tests.simulator.commands import Ran, command
from tests.simulator.running import SHOP, TELECOM, Running, until

LISTED = generate(701, 6, ("phone",))
UNLISTED = generate(702, 6, ("email",), exclude=LISTED)


@pytest.fixture(scope="module")
def network(make_network: MakeNetwork) -> Running:
    made = make_network(SHOP, TELECOM)
    made.publish("telecom", "fraud", LISTED[:4])
    made.publish("shop", "own", LISTED[3:])
    made.start(program=made.hurried())
    made.ready()
    return made


def run(network: Running, member: str, *words: object) -> Ran:
    return command(*words, "--json", config=network.members[member].config_file)


def table(report: dict[str, object], place: int) -> list[dict[str, str]]:
    tables = report["tables"]
    assert isinstance(tables, list)
    return [dict(zip(tables[place]["columns"], row, strict=True)) for row in tables[place]["rows"]]


def check(network: Running, member: str, reference: str, *identifiers: Identifier) -> str:
    body = {
        "identifiers": [each.canonical for each in identifiers],
        "purpose": "payment",
        "reference": reference,
        "deadline_ms": 5000,
    }
    status, answer = network.post(member, body)
    assert status == 200, answer
    return str(answer["check"])


def own_requests(network: Running, member: str) -> list[tuple[bytes, AccessRequest]]:
    rows = network.rows(member, "select * from audits where action = 'tell' order by kept_at")
    return [(row["digest"], AccessRequest.from_json(row["statement"])) for row in rows]


def test_a_member_tells_what_it_holds_and_asked_and_has_logged_it_before(network: Running, tmp_path: Path) -> None:
    hit = check(network, "shop", "txn-1", UNLISTED[0], LISTED[0])
    check(network, "shop", "txn-2", LISTED[1])
    clear = check(network, "shop", "txn-3", UNLISTED[0])
    before = {name: network.receipts(name).keys() for name in ("shop", "telecom")}
    file = tmp_path / "subject"
    file.write_bytes(f"\ufeff# the request of today\n{LISTED[0].canonical}\n".encode())
    done = run(network, "shop", "audit", "tell", "--file", file, "--reason", "request 17", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    [report] = done.objects
    assert table(report, 0) == []
    [line] = [one for one in done.err.splitlines() if "audit_access" in one]
    assert all(
        word in line
        for word in ("action=tell", "auditor=shop", f"request={own_requests(network, 'shop')[-1][1].access}")
    )
    assert LISTED[0].value not in done.err
    [asked] = table(report, 1)
    assert (asked["check"], asked["purpose"], asked["reference"]) == (hit, "payment", "txn-1")
    assert (asked["verdict"], asked["hits"]) == ("hit", "telecom/fraud")
    assert LISTED[0].value not in done.out + (tmp_path / "out" / "tell.html").read_text()
    # The other identifier of that check was no hit.
    [report] = run(network, "shop", "audit", "tell", UNLISTED[0].canonical).objects
    assert [(row["check"], row["verdict"]) for row in table(report, 1)] == [(hit, "no hit"), (clear, "clear")]
    # Nobody was asked anything.
    assert {name: network.receipts(name).keys() for name in ("shop", "telecom")} == before
    # The request stands on the ledger, and names the subject by a commitment alone.
    [row, _] = network.rows("shop", "select * from audits where action = 'tell' order by kept_at")
    request = AccessRequest.from_json(row["statement"])
    assert (request.auditor, request.member, request.reason) == ("shop", "shop", "request 17")
    [nonce] = [each["value"] for each in done.objects[0]["figures"] if "32 bytes" in each["name"]]
    assert request.subject == sha256(bytes.fromhex(nonce) + LISTED[0].oprf_input)
    assert LISTED[0].value.encode() not in row["statement"]
    found = until(
        lambda: network.rows(
            "shop", "select index from ledger_entries where kind = 'audit' and source = $1", row["digest"]
        ),
        "the request to be logged",
    )
    [bundle] = network.rows("shop", "select entries from ledger_bundles where index = $1", found[0]["index"] // 256)
    entry = bundle["entries"][34 * (found[0]["index"] % 256) + 2 :][:32]
    assert entry == Leaf("audit", row["salt"], row["statement"]).entry


def test_an_owner_tells_of_its_lists_and_not_of_what_others_asked(network: Running) -> None:
    check(network, "shop", "txn-4", LISTED[2])
    [report] = run(network, "telecom", "audit", "tell", LISTED[2].canonical).objects
    [row] = table(report, 0)
    assert (row["list"], row["state"]) == ("telecom/fraud", "active")
    assert table(report, 1) == []
    assert any("does not learn whom" in limit for limit in report["limits"])


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "file_empty"),
        (b"phone:1\n", "invalid_identifier"),
        (b"\xff\n", "file_encoding"),
        (f"{LISTED[0].canonical}\n{LISTED[1].canonical}\n".encode(), "invalid_input"),
    ],
    ids=["empty", "no-identifier", "encoding", "two"],
)
def test_a_file_without_one_data_subject_is_refused(network: Running, tmp_path: Path, data: bytes, code: str) -> None:
    logged = len(own_requests(network, "shop"))
    (tmp_path / "subject").write_bytes(data)
    done = run(network, "shop", "audit", "tell", "--file", tmp_path / "subject")
    assert (done.code, done.objects[0]["error"]["code"]) == (2, code)
    assert len(own_requests(network, "shop")) == logged


def test_a_period_narrows_what_is_told(network: Running) -> None:
    words = ("audit", "tell", LISTED[0].canonical, "--to", "2020-01-01")
    assert table(run(network, "shop", *words).objects[0], 1) == []


ON_ALL_CORES = """
import riskshare.cli.auditing_scan
from riskshare.cli import main

riskshare.cli.auditing_scan.FEW = 0
riskshare.cli.auditing_scan.PART = 2
main()
"""


def test_many_checks_are_opened_on_all_cores(network: Running, tmp_path: Path) -> None:
    checks = {check(network, "shop", f"many-{number}", UNLISTED[5]) for number in range(5)}
    (tmp_path / "program.py").write_text(ON_ALL_CORES)
    words = ("audit", "tell", UNLISTED[5].canonical, "--json")
    done = command(*words, program=tmp_path / "program.py", config=network.members["shop"].config_file)
    assert done.code == 0, done.err
    assert {row["check"] for row in table(done.objects[0], 1)} == checks
    assert done.objects[0]["steps"][2]["count"] >= 5


def test_an_upheld_appeal_finds_the_hits_that_were_acted_on(network: Running) -> None:
    first = check(network, "shop", "txn-5", LISTED[0])
    cached = check(network, "shop", "txn-6", UNLISTED[1], LISTED[0])
    own = check(network, "shop", "txn-7", LISTED[4])
    untouched = check(network, "shop", "txn-8", LISTED[1])
    assert run(network, "shop", "audit", "appeals").objects[0]["notify"] == []
    words = ("--reason", "appeal_upheld")
    assert run(network, "telecom", "list", "withdraw", "fraud", LISTED[0].canonical, *words).code == 0
    assert run(network, "telecom", "list", "withdraw", "fraud", LISTED[1].canonical, "--reason", "corrected").code == 0
    assert run(network, "shop", "list", "withdraw", "own", LISTED[4].canonical, *words).code == 0
    until(lambda: network.rows("shop", "select label from upheld_appeals"), "the peer to take note")
    before = {name: network.receipts(name).keys() for name in ("shop", "telecom")}
    done = run(network, "shop", "audit", "appeals")
    assert done.code == 0, done.err
    [result] = done.objects
    found = {each["reference"]: each for each in result["notify"]}
    assert {"txn-1", "txn-5", "txn-6", "txn-7"} == found.keys()
    assert [found[name]["check"] for name in ("txn-5", "txn-6", "txn-7")] == [first, cached, own]
    assert untouched not in json.dumps(result)
    assert found["txn-6"]["list"] == "telecom/fraud"
    assert LISTED[0].value not in done.out
    assert {name: network.receipts(name).keys() for name in ("shop", "telecom")} == before
    assert f"request={result['logged']['request']}" in done.err
    assert "action=appeals" in done.err
    assert LISTED[0].value not in done.err
    # The request stands on the ledger, and names nobody.
    digest, request = own_requests(network, "shop")[-1]
    assert (request.action, request.auditor, request.member) == ("tell", "shop", "shop")
    assert str(request.access) == result["logged"]["request"]
    labels = sorted(
        [row["list_name"], row["epoch"].hex(), row["label"].hex()]
        for row in network.rows("shop", "select * from upheld_appeals")
    )
    about = canonical_json({"appeals": labels})
    assert request.subject == sha256(bytes.fromhex(result["logged"]["nonce"]) + about)
    until(
        lambda: network.rows("shop", "select 1 from ledger_entries where kind = 'audit' and source = $1", digest),
        "the request to be logged",
    )
    assert run(network, "shop", "audit", "appeals", "--since", "2999-01-01").objects[0]["appeals"] == 0
    # Asked about afterwards, it tells that the entry was withdrawn, and why.
    [report] = run(network, "telecom", "audit", "tell", LISTED[0].canonical).objects
    assert [(row["state"], row["reason"]) for row in table(report, 0)] == [("withdrawn", "appeal_upheld")]
