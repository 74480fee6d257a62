"""Real peers as logs and witnesses, seen by strangers: reading needs no certificate, cosignatures make a log final.

`bank` has keys and no peer: its log is made here, so that it can also lie.
"""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime

import asyncpg
import pytest

from riskshare.encoding import sha256
from riskshare.governance import read_registry
from riskshare.ledger.addition import AddCheckpoint, Cosigned, Disputes, Knows, Refuses, read_answer
from riskshare.ledger.checkpoint import (
    Checkpoint,
    SignedCheckpoint,
    origin_of,
    parse_signed,
    sign_checkpoint,
)
from riskshare.ledger.derivation import Derivation
from riskshare.ledger.histories import KIND, parse_histories
from riskshare.ledger.note import verify
from riskshare.ledger.paths import ADD_CHECKPOINT, CHECKPOINT, LATEST, path_of
from riskshare.ledger.policy import log_keys, network_policy, witness_keys
from riskshare.ledger.proof import prove_consistency
from riskshare.ledger.sequence import Sequencer
from riskshare.ledger.tile import Bundle, Tile, check_tile
from riskshare.peer.opening import now, opened_store
from riskshare.registry import Registry
from tests.network.conftest import MakeNetwork
from tests.simulator.running import BANK, SHOP, TELECOM, Answered, Running, until
from tests.simulator.tree import DefinedTree

WITNESSES = ("shop", "telecom")
ENTRIES = 600
TREE, FORK = DefinedTree(60), DefinedTree(60)
FORK.leaves[1] = bytes(32)


@pytest.fixture(scope="module")
def network(make_network: MakeNetwork) -> Running:
    """shop's log has some hundred entries; telecom is a witness only."""
    made = make_network(BANK, SHOP, TELECOM)
    made.start(*WITNESSES)
    asyncio.run(_fill(made, "shop"))
    until(lambda: size_of(made, "shop") >= ENTRIES, "shop's log to have its entries")
    return made


async def _fill(network: Running, name: str) -> None:
    """Put entries of nothing before a member's sequencer, and do its work if nobody else does."""
    connection = await asyncpg.connect(network.dsn(name))
    rows = [("check", index.to_bytes(16, "big"), sha256(b"entry %d" % index)) for index in range(ENTRIES)]
    await connection.executemany("insert into ledger_pending (kind, source, entry) values ($1, $2, $3)", rows)
    await connection.close()
    member = network.member(name)
    async with opened_store(member.config) as store:
        origin = origin_of(registry_of(network).network, name)
        sequencer = Sequencer(origin=origin, key=member.keys.ledger, log=store.ledger, now=now)
        await sequencer.open()
        await sequencer.step()


def registry_of(network: Running) -> Registry:
    return read_registry(network.directory / "network.json")


def nameless() -> ssl.SSLContext:
    """TLS of somebody without a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def read(network: Running, name: str, path: str) -> Answered:
    return network.exchange(name, path, tls=nameless())


def size_of(network: Running, name: str) -> int:
    answer = read(network, name, LATEST)
    return parse_signed(answer.body).checkpoint.size if answer.status == 200 else 0


# -- serving -------------------------------------------------------------------------------------------------------


def test_a_stranger_derives_a_whole_log_anew(network: Running) -> None:
    answer = read(network, "shop", LATEST)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    signed = parse_signed(answer.body)
    verify(signed.note, log_keys(registry_of(network), "shop", datetime.now(UTC)))
    derivation = Derivation(signed.checkpoint.size)

    def fetch(place: Tile | Bundle) -> bytes:
        found = read(network, "shop", path_of(place))
        assert (found.status, found.headers["Content-Type"]) == (200, "application/octet-stream")
        assert ("immutable" in found.headers["Cache-Control"]) == place.is_full
        return found.body

    while bundle := derivation.wanted:
        for tile, derived in derivation.feed(fetch(bundle)):
            check_tile(tile, derived, fetch(tile))
    for tile, derived in derivation.rest():
        check_tile(tile, derived, fetch(tile))
    derivation.check_root(signed.checkpoint.root)


def test_beyond_the_log_there_is_nothing(network: Running) -> None:
    for place in (Tile(0, 1000), Bundle(1000), Tile(1, 0), Tile(3, 0, 1)):
        assert read(network, "shop", path_of(place)).status == 404
    assert read(network, "shop", "/ledger/tile/0/0").status == 400


def test_what_is_final_is_a_checkpoint_of_the_same_log_or_not_there_yet(network: Running) -> None:
    answer = read(network, "shop", CHECKPOINT)
    assert answer.status in (200, 404)
    if answer.status == 200:
        registry = registry_of(network)
        network_policy(registry, "shop", datetime.now(UTC)).check(parse_signed(answer.body))


def test_a_member_may_read_with_its_certificate(network: Running) -> None:
    assert network.exchange("shop", LATEST, tls=network.tls("bank", "shop")).status == 200


# -- witnessing ----------------------------------------------------------------------------------------------------


def offer(network: Running, old: int, new: int, *, member: str = "bank", tree: DefinedTree = TREE) -> AddCheckpoint:
    origin = origin_of(registry_of(network).network, member)
    checkpoint = Checkpoint(origin, new, tree.root(new))
    note = sign_checkpoint(checkpoint, network.member(member).keys.ledger)
    return AddCheckpoint(old, prove_consistency(old, new, tree.read), SignedCheckpoint(checkpoint, note))


def submit(
    network: Running, witness: str, addition: AddCheckpoint, tls: ssl.SSLContext | None = None
) -> Cosigned | Knows | Disputes | Refuses:
    """Offer a checkpoint; by default without a certificate."""
    answer = network.exchange(witness, ADD_CHECKPOINT, method="POST", body=addition.to_bytes(), tls=tls or nameless())
    keys = witness_keys(registry_of(network), witness, datetime.now(UTC))
    return read_answer(answer.status, answer.body, addition, keys)


def go_to(network: Running, witness: str, size: int, *, shown: bool = False) -> Cosigned:
    """Have bank's log of that size cosigned, from whatever the witness knows of it; `shown`: with a certificate."""
    tls = network.tls("bank", witness) if shown else None
    found = submit(network, witness, offer(network, 0, size), tls)
    if isinstance(found, Knows):
        found = submit(network, witness, offer(network, found.size, size), tls)
    assert isinstance(found, Cosigned)
    return found


def test_the_others_cosignatures_make_a_checkpoint_final(network: Running) -> None:
    note = offer(network, 0, 20).signed.note
    for witness, shown in zip(WITNESSES, (True, False), strict=True):
        note = note.with_signatures(go_to(network, witness, 20, shown=shown).signatures)
    policy = network_policy(registry_of(network), "bank", datetime.now(UTC))
    final = policy.check(parse_signed(note.to_bytes()))
    assert len(final.witnesses) == len(WITNESSES)
    assert submit(network, "shop", offer(network, 0, 40)) == Knows(20)
    again = submit(network, "shop", offer(network, 20, 20))
    assert isinstance(again, Cosigned)


def test_a_witness_does_not_cosign_its_own_log(network: Running) -> None:
    assert submit(network, "telecom", offer(network, 0, 5, member="telecom")) == Refuses(404)


def test_a_log_that_forks_is_convicted_and_it_cannot_be_overlooked(network: Running) -> None:
    go_to(network, "telecom", 25)
    assert submit(network, "telecom", offer(network, 25, 25, tree=FORK)) == Disputes()
    [row] = network.rows("telecom", "select * from fraud_proofs where accused = 'bank'")
    assert row["kind"] == KIND
    parse_histories(row["evidence"]).verify(log_keys(registry_of(network), "bank", datetime.now(UTC)))
    assert network.metric("telecom", "fraud_proofs", member="bank", kind=KIND) == 1
    [line] = network.log("telecom", "fraud_found")
    assert (line["level"], line["member"], line["kind"], line["entries"]) == ("error", "bank", KIND, 25)


def test_a_witness_that_is_killed_has_forgotten_nothing(network: Running) -> None:
    go_to(network, "shop", 30)
    network.kill("shop")
    network.start("shop")
    assert submit(network, "shop", offer(network, 0, 30)) == Knows(30)
    assert submit(network, "shop", offer(network, 30, 30, tree=FORK)) == Disputes()
    go_to(network, "shop", 35)
    network.kill("shop")
    network.start("shop")
    # Evidence is shown from the beginning, not only when it is found.
    until(
        lambda: network.metric("shop", "fraud_proofs", member="bank", kind=KIND) == 1, "the metric to show what is kept"
    )
