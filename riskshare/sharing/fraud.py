"""Fraud proofs: two signed statements of one owner that cannot both be honest (pure).

| kind | what convicts |
|---|---|
| `epoch` | two statements for one (owner, keyset, number); the emergency end of an epoch is none |
| `catalogue` | two statements for one (owner, reader, version) |
| `snapshot` | two statements for one (list, epoch, version); or one whose `previous` is not the version before |
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from riskshare.encoding import base64_text, canonical_json, parse_base64, parse_canonical_json, sha256
from riskshare.errors import SnapshotError
from riskshare.sharing import catalogue, epoch, snapshot
from riskshare.sharing.catalogue import CatalogueStatement
from riskshare.sharing.epoch import EpochStatement
from riskshare.sharing.fields import Fields, malformed, reading
from riskshare.sharing.signed import Keys, Signed, read_signed, require_standing
from riskshare.sharing.snapshot import SnapshotStatement
from riskshare.statement import Statement

Value = EpochStatement | CatalogueStatement | SnapshotStatement

LIMITS = {epoch.KIND: epoch.MAX_BYTES, catalogue.KIND: catalogue.MAX_BYTES, snapshot.KIND: snapshot.MAX_BYTES}
"""Longest JSON of each kind of statement, in bytes."""

_MAX_EVIDENCE = 4 << 20
_KEYS = frozenset({"kind", "accused", "first", "second"})


def read_value(statement: Statement) -> Value:
    """Read a verified statement of any of the three kinds. Raises SnapshotError `malformed_statement`."""
    if statement.kind == epoch.KIND:
        return EpochStatement.from_statement(statement)
    if statement.kind == catalogue.KIND:
        return CatalogueStatement.from_statement(statement)
    return SnapshotStatement.from_statement(statement)


def subject(value: Value) -> list[str | int]:
    """What a statement is about: of two honest ones of an owner, no two are about the same."""
    if isinstance(value, EpochStatement):
        return [epoch.KIND, value.owner, value.keyset, value.number]
    if isinstance(value, CatalogueStatement):
        return [catalogue.KIND, value.owner, value.reader, value.version]
    return [snapshot.KIND, value.list_name, value.epoch.hex(), value.version]


def contradict(first: Value, first_digest: bytes, second: Value, second_digest: bytes) -> bool:
    """Tell whether the two statements, with their digests, cannot both be honest."""
    if isinstance(first, EpochStatement) and isinstance(second, EpochStatement):
        return subject(first) == subject(second) and first.digest != second.digest
    if subject(first) == subject(second):
        return first_digest != second_digest
    if not isinstance(first, SnapshotStatement) or not isinstance(second, SnapshotStatement):
        return False
    if (first.list_name, first.epoch) != (second.list_name, second.epoch):
        return False
    return (second.version == first.version + 1 and second.previous != first_digest) or (
        first.version == second.version + 1 and first.previous != second_digest
    )


@dataclass(frozen=True, slots=True)
class FraudProof:
    """Two statements of `accused` that contradict each other; `kind` is that of both.

    Each carries its first receipt by the one who holds the proof: what was received after
    the registry's `compromised_from` of its key convicts nobody.
    """

    kind: str
    accused: str
    first: Signed
    second: Signed

    @property
    def about(self) -> bytes:
        """SHA-256 of what the proof is about, 32 bytes: one fraud, one digest."""
        return sha256(canonical_json([self.accused, *subject(read_value(self.first.statement))]))

    def verify(self, keys: Keys) -> None:
        """Convict, or refuse to.

        1. Both statements are of one kind, and by the accused.
        2. Both are signed by identity keys of the accused, in their term, not voided.
        3. They contradict each other.

        Raises:
            SnapshotError: code `no_proof`, the accused is not convicted; `foreign_key`.

        """
        terms = keys(self.accused)
        values = []
        for signed in (self.first, self.second):
            value = read_value(signed.statement)
            if value.owner != self.accused or signed.statement.kind != self.kind:
                raise SnapshotError("A statement of the proof is not one of the accused.", code="no_proof")
            publics = [term.public for term in terms if term.public == signed.signer]
            wire, network = signed.statement.wire(), signed.statement.network
            read_signed(self.kind, network, wire, publics, received=signed.received, limit=LIMITS[self.kind])
            require_standing(terms, signed, value.made_at(signed.received))
            values.append(value)
        if self.first.statement.network != self.second.statement.network or not contradict(
            values[0], self.first.digest, values[1], self.second.digest
        ):
            raise SnapshotError("The two statements do not contradict each other.", code="no_proof")

    def evidence(self) -> bytes:
        """The proof as canonical JSON, for another member; times of receipt are not part of it."""
        wires = [base64_text(signed.statement.wire()) for signed in (self.first, self.second)]
        return canonical_json({"kind": self.kind, "accused": self.accused, "first": wires[0], "second": wires[1]})

    @classmethod
    def from_evidence(cls, network: str, data: bytes, keys: Keys, received: datetime) -> FraudProof:
        """Read and verify what `evidence` wrote, first received at `received`.

        Raises:
            SnapshotError: codes `malformed_statement`, `foreign_key`, `no_proof`.

        """
        with reading("fraud proof"):
            body: Any = parse_canonical_json(data, limit=_MAX_EVIDENCE)
        fields = Fields(body, _KEYS, "fraud proof")
        kind, accused = body["kind"], body["accused"]
        if not isinstance(kind, str) or kind not in LIMITS or not isinstance(accused, str):
            raise malformed("A fraud proof names a kind of statement or a member that there is not.")
        publics = [term.public for term in keys(accused)]
        signed = []
        for name in ("first", "second"):
            with reading("fraud proof"):
                wire = parse_base64(fields.value(name), limit=_MAX_EVIDENCE)
            signed.append(read_signed(kind, network, wire, publics, received=received, limit=LIMITS[kind]))
        proof = cls(kind, accused, signed[0], signed[1])
        proof.verify(keys)
        return proof
