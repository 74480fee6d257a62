"""Fraud proofs as files: for a stranger who has nothing but the registry (pure).

What convicts a member is kept in one of two forms, and the bytes kept are the file: two statements as canonical JSON
(`fraud`), or two checkpoints of a log as CBOR (`ledger.histories`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from riskshare.errors import EncodingError, LedgerError
from riskshare.keyterm import KeyTerm
from riskshare.ledger import histories
from riskshare.ledger.checkpoint import log_key, member_of
from riskshare.ledger.histories import parse_histories
from riskshare.ledger.note import VerifierKey
from riskshare.registry import Registry
from riskshare.sharing.fraud import FraudProof, read_value, subject

MAX_BYTES = max(histories.MAX_BYTES, 4 << 20)
"""Longest file that is read, in bytes."""


@dataclass(frozen=True, slots=True)
class Conviction:
    """Who is convicted of what; `sentence` says it in words."""

    kind: str
    accused: str
    sentence: str


def every_log_key(registry: Registry, member: str, received: datetime) -> tuple[VerifierKey, ...]:
    """Keys with which a member's log has ever signed, but those void for what is first received at `received`."""
    found = registry.member(member)
    terms = () if found is None else found.ledger
    return tuple(log_key(registry.network, member, term.public) for term in terms if not term.is_void(received))


def is_evidence(data: bytes) -> bool:
    """Tell whether a file is meant as a fraud proof, from its beginning; a note or a policy never is."""
    return data.startswith((b'{"accused":', b"\x82", b"\x84"))


def verify_evidence(data: bytes, registry: Registry, received: datetime) -> Conviction:
    """Verify the file of a fraud proof, first received at `received`; the registry is one that is believed.

    1. The file is well-formed, and names a member of the registry.
    2. Both statements, or both checkpoints, are signed by keys of that member, none of them void.
    3. They contradict each other.

    Raises:
        EncodingError: not such a file.
        SnapshotError, LedgerError: codes `no_proof`, `foreign_key`, `bad_signature`, `duplicate_signature`,
            `malformed_statement`.

    """
    if len(data) > MAX_BYTES or not is_evidence(data):
        raise EncodingError(
            "This is neither an evidence file of reconcile nor a fraud proof. What replay or open put into evidence is"
            " verified with the folder of the case: replay it, or open it again offline."
        )
    if not data.startswith(b"{"):
        return _verify_histories(data, registry, received)

    def keys(member: str) -> Sequence[KeyTerm]:
        found = registry.member(member)
        return () if found is None else found.identity

    proof = FraudProof.from_evidence(registry.network, data, keys, received)
    about = " ".join(map(str, subject(read_value(proof.first.statement))))
    sentence = f"{proof.accused} signed two statements that contradict each other: {about}."
    return Conviction(proof.kind, proof.accused, sentence)


def _verify_histories(data: bytes, registry: Registry, received: datetime) -> Conviction:
    # 1.
    found = parse_histories(data)
    accused = member_of(found.origin, registry.network)
    if accused is None or registry.member(accused) is None:
        raise LedgerError("The checkpoints are of a log that the registry does not name.", code="no_proof")
    # 2 and 3.
    found.verify(every_log_key(registry, accused, received))
    first, second = found.first.checkpoint.size, found.second.checkpoint.size
    sizes = f"of {first} entries" if first == second else f"of {first} and of {second} entries"
    return Conviction(found.kind, accused, f"The log of {accused} signed two histories, {sizes}.")
