"""Statements as received: verified under a key that the registry names, with signer and first receipt (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from riskshare.encoding import base64_text, format_time, parse_base64, parse_hex, parse_time
from riskshare.errors import SnapshotError, TrustError
from riskshare.keyterm import KeyTerm
from riskshare.sharing.fields import Fields, reading, whole_milliseconds
from riskshare.statement import Statement, read_wire

Keys = Callable[[str], Sequence[KeyTerm]]
"""Gives all identity keys of a member, old ones with their terms too; none for who is no member in good standing."""

_WIRE_EXTRA = 256
"""What the CBOR map adds to a statement's JSON, at most, in bytes."""

_KEYS = frozenset({"wire", "signer", "received"})


@dataclass(frozen=True, slots=True)
class Signed:
    """A verified statement with its digest, the public key that made the signature, and its first receipt here."""

    statement: Statement
    digest: bytes
    signer: bytes
    received: datetime

    def to_json(self) -> dict[str, Any]:
        """The JSON object in which it is kept."""
        wire = base64_text(self.statement.wire())
        return {"wire": wire, "signer": self.signer.hex(), "received": format_time(self.received)}

    @classmethod
    def from_json(cls, kind: str, network: str, value: object, limit: int) -> Signed:
        """Read what `to_json` wrote; the signature is verified again, under the key kept with it.

        Raises:
            SnapshotError: codes `malformed_statement`, `foreign_key`.

        """
        fields = Fields(value, _KEYS, "kept statement")
        with reading("kept statement"):
            wire = parse_base64(fields.value("wire"), limit=limit + _WIRE_EXTRA)
            signer = parse_hex(fields.value("signer"), 32)
            received = parse_time(fields.value("received"))
        return read_signed(kind, network, wire, [signer], received=received, limit=limit)


def read_signed(
    kind: str, network: str, data: bytes, publics: Iterable[bytes], *, received: datetime, limit: int
) -> Signed:
    """Read a statement from its wire form and find which of `publics` signed it.

    Another network, another member's key, an altered byte: all look alike, as a signature
    that no key of the owner made. `limit` bounds the JSON in bytes.

    Raises:
        SnapshotError: code `foreign_key`, or `malformed_statement` if the form is wrong.

    """
    for public in publics:
        with reading(f"{kind} statement"):
            try:
                statement = read_wire(kind, network, data, [public], limit=limit + _WIRE_EXTRA)
            except TrustError:
                continue
        return Signed(statement, statement.digest, public, whole_milliseconds(received))
    raise SnapshotError(
        f"The {kind} statement is not signed for this network by a key that the registry names for its owner.",
        code="foreign_key",
    )


def stands(terms: Iterable[KeyTerm], signer: bytes, at: Iterable[datetime], received: datetime) -> bool:
    """Tell whether what `signer` made, first received at `received`, is to be believed.

    The key must have been in its term at one of the moments `at`: the time of issue; see
    `EpochStatement.made_at` for a statement that does not tell it.
    """
    moments = tuple(at)
    named = [term for term in terms if term.public == signer]
    return any(term.in_term(moment) for term in named for moment in moments) and not any(
        term.is_void(received) for term in named
    )


def is_void(terms: Iterable[KeyTerm], signer: bytes, received: datetime) -> bool:
    """Tell whether the registry has voided what was first received from `signer` at `received`."""
    return any(term.public == signer and term.is_void(received) for term in terms)


def require_standing(terms: Iterable[KeyTerm], signed: Signed, at: Iterable[datetime]) -> None:
    """Refuse a statement made by a key that was not to be used then; arguments as of `stands`.

    Raises:
        SnapshotError: code `foreign_key`.

    """
    if not stands(terms, signed.signer, at, signed.received):
        raise SnapshotError(
            f"The {signed.statement.kind} statement is signed by a key out of its term, or compromised since.",
            code="foreign_key",
        )
