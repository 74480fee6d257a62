"""Three real peers: two owners publish, the bank asks; and what becomes of a check when an owner does not answer."""

from __future__ import annotations

import asyncio
import base64
import csv
import json
import os
import signal
import socketserver
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from riskshare.demo.play import holds
from riskshare.generate import generate
from riskshare.governance import read_registry
from riskshare.ledger.receipt import KeptReceipt
from riskshare.loopback import LoopbackMember
from riskshare.membership.identifier import Identifier
from riskshare.peer.opening import opened_store
from riskshare.query.message import EVALUATE
from riskshare.tls import peer_client_context, peer_server_context
from tests.network.conftest import MakeNetwork
from tests.simulator.listening import response
from tests.simulator.network import make_member
from tests.simulator.running import BANK, DEADLINE_MS, PATIENCE, SHOP, TELECOM, Running, status_of, until

FRAUD = generate(101, 120, ("phone", "bank_card", "device"))
MULES = generate(102, 60, ("iban", "email", "wallet"))
BOTH = FRAUD[0]
UNLISTED = generate(103, 60, ("phone", "bank_card", "iban"), exclude=[*FRAUD, *MULES])

SECONDS = 12
"""What "within seconds" may take on a busy machine: less than the pauses of any polling that would hide a lost wake-up."""

LATE_MS = 400
"""The deadline of checks that must not wait for an owner."""


def riskshare(member: LoopbackMember, *arguments: str) -> dict[str, object]:
    """Run a command as an operator would."""
    done = subprocess.run(
        [sys.executable, "-m", "riskshare", *arguments, "--json"],
        env={**os.environ, "RISKSHARE_CONFIG": str(member.config_file)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def network(make_network: MakeNetwork, tmp_path_factory: pytest.TempPathFactory) -> Running:
    """shop has the list fraud, made by commands and withdrawn from by them; telecom the list mules."""
    made = make_network(BANK, SHOP, TELECOM)
    file = tmp_path_factory.mktemp("input") / "fraud.csv"
    with file.open("w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(["identifier", "level", "reason", "case"])
        rows.writerows([each.canonical, "critical", "chargeback", f"case-{n}"] for n, each in enumerate(FRAUD))
    riskshare(made.members["shop"], "list", "create", "fraud", "--category", "transaction_fraud")
    imported = riskshare(made.members["shop"], "list", "import", "fraud", str(file))
    assert imported["committed"] is True
    made.published.add("shop/fraud")
    made.publish("telecom", "mules", [*MULES, BOTH])
    made.start(program=made.hurried())
    made.ready()
    return made


# -- the main job ---------------------------------------------------------------------------------------------------


def test_a_listed_identifier_is_a_hit_with_the_record_of_each_owner_that_lists_it(network: Running) -> None:
    answer = network.check("bank", BOTH)
    assert (answer["verdict"], answer["complete"]) == ("hit", True)
    shop, telecom = sorted(answer["hits"], key=lambda hit: hit["owner"])
    assert (shop["identifier"], shop["owner"], shop["list"]) == (0, "shop", "shop/fraud")
    assert (shop["category"], shop["level"], shop["reason"]) == ("transaction_fraud", "critical", "chargeback")
    assert (shop["case"], shop["disputed"]) == ("case-0", False)
    assert shop["listed_at"] < shop["valid_until"]
    assert (telecom["list"], telecom["category"]) == ("telecom/mules", "telecom_fraud")
    assert {owner["owner"]: owner["lists"] for owner in answer["owners"]} == {
        "shop": {"shop/fraud": 1},
        "telecom": {"telecom/mules": 1},
    }


def test_an_unlisted_identifier_is_clear_and_says_whom_it_asked(network: Running) -> None:
    answer = network.check("bank", UNLISTED[0])
    assert (answer["verdict"], answer["hits"]) == ("clear", [])
    assert status_of(answer) == {"shop": "answered", "telecom": "answered"}
    assert len(answer["receipts"]) == 2


def test_a_batch_answers_each_check_on_its_own_and_needs_few_exchanges(network: Running) -> None:
    questions = [FRAUD[1], UNLISTED[1], MULES[1], *UNLISTED[2:40]]
    body = {"checks": [_body(each) for each in questions]}
    status, answer = network.post("bank", body, "/v1/checks")
    assert status == 200
    assert [each["verdict"] for each in answer["results"]] == ["hit", "clear", "hit", *["clear"] * 38]
    receipts = {receipt for each in answer["results"] for receipt in each["receipts"]}
    assert len(receipts) < len(questions)


def _body(*identifiers: Identifier) -> dict[str, object]:
    names = [each.canonical for each in identifiers]
    return {"identifiers": names, "purpose": "payment", "deadline_ms": DEADLINE_MS}


def test_a_verdicts_receipts_stand_at_both_with_equal_bytes_and_verify(network: Running) -> None:
    answer = network.check("bank", UNLISTED[41], UNLISTED[42])
    registry = read_registry(network.directory / "network.json")
    found = asyncio.run(_both_sides(network, answer["receipts"]))
    assert [theirs.counterparty for _, theirs in found] == ["bank", "bank"]
    for ours, theirs in found:
        assert ours.receipt.to_bytes() == theirs.receipt.to_bytes()
        assert (ours.elements, ours.evaluated) == (theirs.elements, theirs.evaluated)
        assert ours.salt != theirs.salt
        assert (ours.count, ours.adopted) == (2, False)
        assert holds(registry, ours)
        assert holds(registry, theirs)
    shown = network.get("bank", f"/v1/receipts/{answer['receipts'][0]}")
    assert shown["receipt"] == answer["receipts"][0] if "receipt" in shown else answer["receipts"][0] in str(shown)


async def _both_sides(network: Running, receipts: list[str]) -> list[tuple[KeptReceipt, KeptReceipt]]:
    found = []
    async with opened_store(network.members["bank"].config) as bank:
        for text in receipts:
            ours = await bank.records.receipt(bytes.fromhex(text))
            assert ours is not None
            async with opened_store(network.members[ours.counterparty].config) as owner:
                theirs = await owner.records.receipt(bytes.fromhex(text))
            assert theirs is not None
            found.append((ours, theirs))
    return found


# -- lists that change ----------------------------------------------------------------------------------------------


def test_a_changed_list_reaches_a_subscriber_by_a_delta(network: Running) -> None:
    fresh = generate(104, 1, ("phone",), exclude=[*FRAUD, *MULES, *UNLISTED])[0]
    assert network.check("bank", fresh)["verdict"] == "clear"
    before, version = _mirrored(network), _version(network)
    network.publish("shop", "fraud", [fresh])
    until(lambda: _version(network) == version + 1, "the delta with the new entry", seconds=SECONDS)
    assert [hit["list"] for hit in network.check("bank", fresh)["hits"]] == ["shop/fraud"]
    after = _mirrored(network)
    assert before.items() <= after.items(), "a file that was there has been fetched anew"
    [delta] = after.keys() - before.keys()
    assert after[delta][0] < min(size for size, _, _ in before.values())

    taken = riskshare(network.members["shop"], "list", "withdraw", "fraud", fresh.canonical, "--reason", "corrected")
    assert taken["withdrawn"] == 1
    until(lambda: _version(network) == version + 2, "the delta with the withdrawal", seconds=SECONDS)
    assert network.check("bank", fresh)["verdict"] == "clear"
    assert len(_mirrored(network)) == len(after) + 1


def _version(network: Running) -> float | None:
    return network.metric("bank", "list_version", list="shop/fraud")


def _mirrored(network: Running) -> dict[str, tuple[int, int, int]]:
    """Size, inode and time of each file that the bank has fetched."""
    folder = network.members["bank"].config.paths.data_dir / "mirror"
    found = {path.name: path.stat() for path in folder.rglob("*") if path.is_file()}
    return {name: (state.st_size, state.st_ino, state.st_mtime_ns) for name, state in found.items()}


# -- owners that do not answer --------------------------------------------------------------------------------------


def test_a_peer_that_is_down_is_named_and_comes_back(network: Running) -> None:
    network.kill("telecom")
    question = UNLISTED[43]
    answer = _in_time(network, question)
    assert (answer["verdict"], answer["complete"]) == ("incomplete", False)
    assert status_of(answer) == {"shop": "answered", "telecom": "down"}
    assert network.check("bank", FRAUD[2])["verdict"] == "hit", "a hit is a hit even if others are silent"
    network.start("telecom")
    until(lambda: network.check("bank", question)["verdict"] == "clear", "telecom answers again")


def test_a_peer_that_hangs_is_late_and_its_late_answer_is_kept(network: Running) -> None:
    process = network.process("telecom")
    question = UNLISTED[44]
    before = network.receipts("telecom").keys()
    os.kill(process.pid, signal.SIGSTOP)
    try:
        answer = _in_time(network, question)
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert answer["verdict"] == "incomplete"
    assert status_of(answer) == {"shop": "answered", "telecom": "late"}
    [late] = until(lambda: network.receipts("telecom").keys() - before, "the answer that came too late")
    until(lambda: late in network.receipts("bank"), "its receipt at the bank")
    assert network.receipts("bank")[late] == network.receipts("telecom")[late]
    until(lambda: network.check("bank", question)["verdict"] == "clear", "telecom answers again")


def _in_time(network: Running, *identifiers: Identifier) -> dict[str, Any]:
    """A check with a short deadline, which it keeps; the bound leaves room for a busy machine."""
    began = time.monotonic()
    answer = network.check("bank", *identifiers, deadline_ms=LATE_MS)
    assert time.monotonic() - began < LATE_MS / 1000 + 4
    assert answer["ms"] < LATE_MS + 1000
    return answer


GARBAGE = {
    "no HTTP": b"\x00\xff" * 400,
    "no CBOR": response(b"\xff\x00 no CBOR"),
    "another media type": response(b"{}", Content_Type="text/html"),
    "a body without end": response(b"\xa0", Content_Length="5000000000"),
}


def test_a_peer_that_answers_garbage_is_untrusted_and_comes_back(network: Running) -> None:
    network.stop("telecom")
    questions = dict(zip(GARBAGE, UNLISTED[45:], strict=False))
    found = {}
    for kind, answer in GARBAGE.items():
        with _imposed(network, answer):
            found[kind] = _in_time(network, questions[kind])
    network.start("telecom")
    assert {kind: answer["verdict"] for kind, answer in found.items()} == dict.fromkeys(GARBAGE, "incomplete")
    named = {"shop": "answered", "telecom": "untrusted"}
    assert {kind: status_of(answer) for kind, answer in found.items()} == dict.fromkeys(GARBAGE, named)
    until(lambda: network.check("bank", questions["no HTTP"])["verdict"] == "clear", "telecom answers again")


@contextmanager
def _imposed(network: Running, answer: bytes) -> Iterator[None]:
    """Answer everything with these bytes at telecom's address, with telecom's own key."""
    member = network.member("telecom")
    anchors = [network.member(name).keys.tls.der for name in network.members]
    context = peer_server_context(member.keys.tls_certificate_file, member.keys.tls_key_file, anchors)

    ended = Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError), context.wrap_socket(self.request, server_side=True) as tls:
                tls.settimeout(0.1)
                while not ended.is_set():
                    with suppress(TimeoutError):
                        if not tls.recv(65536):
                            return
                        tls.sendall(answer)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True

    with Server(("127.0.0.1", member.config.listen.peers.port), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            server.shutdown()
            thread.join()


# -- who may ask ----------------------------------------------------------------------------------------------------


def test_nobody_is_served_without_a_certificate(network: Running) -> None:
    nameless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nameless.check_hostname = False
    nameless.verify_mode = ssl.CERT_NONE
    kept = network.receipts("shop").keys()
    body = network.ask("bank", "shop").to_bytes()
    refused = network.exchange("shop", EVALUATE, method="POST", body=body, tls=nameless)
    assert (refused.status, refused.problem["code"]) == (401, "no_certificate")
    assert network.exchange("shop", "/peer/v1/lists", tls=nameless).status == 401
    assert network.exchange("shop", "/peer/v1/registry/latest", tls=nameless).status == 401
    assert network.receipts("shop").keys() == kept


def test_a_certificate_that_the_registry_does_not_name_gets_no_connection(network: Running, tmp_path: Path) -> None:
    stranger = make_member("bank", "https://127.0.0.1:1", network.member("bank").registry.issued_at)
    tls = peer_client_context(*stranger.write_tls(tmp_path), [network.member("shop").keys.tls.der])
    with pytest.raises((ssl.SSLError, ConnectionError)):
        network.exchange("shop", "/peer/v1/lists", tls=tls)


def test_a_member_cannot_ask_in_the_name_of_another(network: Running) -> None:
    body = network.ask("bank", "shop").to_bytes()
    refused = network.exchange("shop", EVALUATE, method="POST", body=body, tls=network.tls("telecom", "shop"))
    assert (refused.status, refused.problem["code"]) == (403, "wrong_member")


# -- what is left behind --------------------------------------------------------------------------------------------


def test_no_identifier_stands_in_any_log_database_or_file(network: Running) -> None:
    # Listed and not, of every type that this network has seen; each has been asked about.
    asked = [*FRAUD[:6], *MULES[:6], *UNLISTED[:6]]
    network.check("bank", *asked)
    network.post("bank", {"identifiers": [asked[0].canonical, f"{asked[1].canonical}x"], "purpose": "payment"})
    network.post("bank", {"identifiers": [asked[0].canonical], asked[1].canonical: "payment"})
    network.probe("bank", f"v1/lists?identifier={asked[0].value}")
    secrets = [form for each in asked for form in _forms(each.value)]
    asyncio.run(network.checkpoint())
    for path in [*_files(network.directory), *_files(network.server.directory)]:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue  # PostgreSQL has renamed it, or has no use for it any more
        assert not any(secret in data for secret in secrets), path
    for name in network.members:
        for table, text in _dump(network, name).items():
            assert not any(secret in text for secret in secrets), (name, table)


def _forms(value: str) -> list[bytes]:
    """A value as it may stand in a file: plain, in hex, in base64."""
    data = value.encode()
    return [data, data.hex().encode(), base64.b64encode(data).rstrip(b"=")]


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def _dump(network: Running, name: str) -> dict[str, bytes]:
    """All rows of all tables as text, bytea columns both as hex and as what they hold."""
    found = {}
    for table in network.rows(name, "select relname from pg_class where relkind in ('r', 'p') and relnamespace = 2200"):
        rows = network.rows(name, f'select * from "{table["relname"]}"')
        found[table["relname"]] = b"\n".join(_plain(value) for row in rows for value in row.values())
    assert len(found["receipts"]) > 1000
    assert len(found["entries"]) > 1000 or name == "bank"
    return found


def _plain(value: object) -> bytes:
    if isinstance(value, list):
        return b" ".join(_plain(each) for each in value)
    return value + value.hex().encode() if isinstance(value, bytes) else str(value).encode()
