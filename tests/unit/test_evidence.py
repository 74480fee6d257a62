"""Fraud proofs as files: what a stranger with the registry alone believes, and what not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from riskshare.encoding import base64_text, canonical_json, parse_canonical_json
from riskshare.errors import EncodingError, LedgerError, RiskshareError
from riskshare.ledger.checkpoint import Checkpoint, SignedCheckpoint, origin_of, sign_checkpoint
from riskshare.ledger.histories import TwoHistories
from riskshare.sharing.epoch import EpochStatement
from riskshare.sharing.evidence import is_evidence, verify_evidence
from riskshare.signature import SigningKey
from riskshare.statement import sign
from tests.simulator.network import SimulatedNetwork, make_network
from tests.simulator.owner import START, Network

NETWORK = make_network(now=START)
JD = NETWORK.members["jd"]
LATER = START + timedelta(hours=1)


def statements(number: int = 1, key: SigningKey = JD.identity) -> bytes:
    """The evidence of two epochs of one number, or of two when it is 2."""
    wires = []
    for each, place in ((1, 1), (number, 2)):
        element = bytes([place]) * 32
        epoch = EpochStatement("jd", "default", each, element, START, START + timedelta(days=30))
        wires.append(base64_text(sign("epoch", NETWORK.name, epoch.body(), key).wire()))
    return canonical_json({"kind": "epoch", "accused": "jd", "first": wires[0], "second": wires[1]})


def signed(root: bytes, *, size: int = 7, member: str = "jd", key: SigningKey = JD.ledger) -> SignedCheckpoint:
    checkpoint = Checkpoint(origin_of(NETWORK.name, member), size, root)
    return SignedCheckpoint(checkpoint, sign_checkpoint(checkpoint, key))


HISTORIES = TwoHistories(signed(b"a" * 32), signed(b"b" * 32)).to_bytes()


def test_two_epochs_of_one_number_convict() -> None:
    found = verify_evidence(statements(), NETWORK.registry, LATER)
    assert (found.kind, found.accused) == ("epoch", "jd")
    assert "jd" in found.sentence
    assert "default 1" in found.sentence


def test_two_snapshots_of_one_version_convict() -> None:
    simulated = Network(NETWORK.name)
    owner = simulated.add("jd")
    owner.key = JD.identity
    owner.open_epoch()
    name = owner.create_list("fraud")
    one, other = (base64_text(owner.wire(owner.draft(name, count=count))) for count in (10, 11))
    data = canonical_json({"kind": "snapshot", "accused": "jd", "first": one, "second": other})
    assert verify_evidence(data, NETWORK.registry, LATER).kind == "snapshot"


def test_two_roots_of_one_size_convict() -> None:
    found = verify_evidence(HISTORIES, NETWORK.registry, LATER)
    assert (found.kind, found.accused) == ("two_histories", "jd")
    assert "7 entries" in found.sentence


def alter(data: bytes, **changes: object) -> bytes:
    return canonical_json(parse_canonical_json(data, limit=1 << 20) | changes)


FALSE = {
    "two numbers": (statements(2), "no_proof"),
    "another member's key": (statements(key=NETWORK.members["icbc"].identity), "foreign_key"),
    "another accused": (alter(statements(), accused="icbc"), "foreign_key"),
    "nobody accused": (alter(statements(), accused="nobody"), "foreign_key"),
    "no such kind": (alter(statements(), kind="ask"), "malformed_statement"),
    "one root": (TwoHistories(signed(b"a" * 32), signed(b"a" * 32)).to_bytes(), "no_proof"),
    "two sizes without tiles": (TwoHistories(signed(b"a" * 32), signed(b"b" * 32, size=8)).to_bytes(), "no_proof"),
    "two logs": (TwoHistories(signed(b"a" * 32), signed(b"b" * 32, member="icbc")).to_bytes(), "no_proof"),
    "a log key of another": (
        TwoHistories(signed(b"a" * 32), signed(b"b" * 32, key=NETWORK.members["icbc"].ledger)).to_bytes(),
        "bad_signature",
    ),
    "a log of no member": (
        TwoHistories(signed(b"a" * 32, member="nobody"), signed(b"b" * 32, member="nobody")).to_bytes(),
        "no_proof",
    ),
}


@pytest.mark.parametrize("what", FALSE)
def test_a_false_proof_convicts_nobody(what: str) -> None:
    data, code = FALSE[what]
    with pytest.raises(RiskshareError, check=lambda error: error.code == code):
        verify_evidence(data, NETWORK.registry, LATER)


def test_a_member_of_another_network_is_not_convicted() -> None:
    with pytest.raises(LedgerError, check=lambda error: error.code == "no_proof"):
        verify_evidence(HISTORIES, make_network(now=START, network="othernet").registry, LATER)


def compromised(kind: str) -> SimulatedNetwork:
    network = make_network(now=START)
    terms = getattr(network.registry.members["jd"], kind)
    network.change("jd", **{kind: tuple(replace(term, compromised_from=START) for term in terms)})
    return network


@pytest.mark.parametrize(("data", "kind"), [(statements(), "identity"), (HISTORIES, "ledger")])
def test_what_a_stolen_key_signed_convicts_nobody(data: bytes, kind: str) -> None:
    registry = compromised(kind).registry
    with pytest.raises(RiskshareError):
        verify_evidence(data, registry, LATER)
    verify_evidence(data, registry, START - timedelta(seconds=1))


def test_an_old_key_convicts_for_ever() -> None:
    network = make_network(now=START)
    terms = network.registry.members["jd"].ledger
    network.change("jd", ledger=tuple(replace(term, valid_until=START + timedelta(minutes=1)) for term in terms))
    assert verify_evidence(HISTORIES, network.registry, LATER).accused == "jd"


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"c2sp.org/tlog-proof@v1\n", b"\x82\x01\x02", b'{"accused":1}', b"\x84", b"x"]
)
def test_what_is_no_evidence_is_refused(data: bytes) -> None:
    with pytest.raises(
        RiskshareError, check=lambda error: isinstance(error, EncodingError) or error.code == "malformed_statement"
    ):
        verify_evidence(data, NETWORK.registry, LATER)


def test_evidence_is_told_from_other_files() -> None:
    assert is_evidence(statements())
    assert is_evidence(HISTORIES)
    assert not is_evidence(b"c2sp.org/tlog-proof@v1\n")
    assert not is_evidence(signed(bytes(32)).note.to_bytes())
