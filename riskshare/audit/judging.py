"""What the signatures of a statement are worth, by the registry alone (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from riskshare.audit import fact
from riskshare.audit.fact import Exchange, milliseconds, moment_of, read_receipt
from riskshare.audit.versions import CLOCKS, Versions
from riskshare.encoding import parse_canonical_json, parse_time
from riskshare.errors import EncodingError, LedgerError
from riskshare.keyterm import KeyTerm
from riskshare.registry import Member
from riskshare.sharing import epoch, snapshot
from riskshare.sharing.epoch import EpochStatement
from riskshare.signature import verify
from riskshare.statement import Statement, signed_bytes

FOREVER: Final = datetime(9999, 12, 31, tzinfo=UTC)
"""First receipt of what nobody has shown to be older: every key that was ever compromised is void for it."""

_OWN_TIMES: Final[Mapping[str, str]] = {
    "check": "answered_at",
    "unanswered": "asked_at",
    "snapshot": "issued_at",
    "audit": "requested_at",
}
"""Where a statement says when it was made; a receipt's is the answer's."""


def no_proof(sentence: str) -> LedgerError:
    """The refusal to convict."""
    return LedgerError(sentence, code="no_proof")


def own_time(kind: str, statement: bytes) -> int:
    """When, by itself, the statement of an entry was made, in milliseconds. Raises EncodingError, LedgerError."""
    if kind == "receipt":
        return read_receipt(statement).exchange.answered_at
    name = _OWN_TIMES.get(kind)
    if name is None:
        raise no_proof(f"An entry of the kind {kind} does not say when it was made.")
    body: Any = parse_canonical_json(statement, limit=snapshot.MAX_BYTES)
    return milliseconds(parse_time(body.get(name)))


def judge_receipt(statement: bytes, versions: Versions, received: datetime) -> Exchange:
    """The facts of a receipt with everything that does not hold, by the registry; first received at a time.

    Of one that cannot be read only `MALFORMED` is set.
    """
    try:
        read = read_receipt(statement)
    except EncodingError:
        return fact.facts_of_receipt(statement)
    found, faults = read.exchange, read.exchange.faults
    if read.network != versions.network:
        faults |= fact.OTHER_NETWORK
    ask = signed_bytes("ask", versions.network, read.ask)
    answer = signed_bytes("answer", versions.network, read.answer)
    querier, owner = (versions.newest.member(name) for name in (found.querier, found.owner))
    if querier is None or owner is None:
        faults |= fact.UNKNOWN_MEMBER
    halves = (
        (querier, ask, read.ask_signature, found.asked_at, 0),
        (owner, answer, read.answer_signature, found.answered_at, 1),
    )
    for member, message, signature, at, half in halves:
        signer = signer_of(member, message, signature)
        if signer is None:
            faults |= fact.BAD_ASK_SIGNATURE << half
        else:
            if not is_in_term(signer, at):
                faults |= fact.ASK_KEY_OUT_OF_TERM << half
            if signer.is_void(received):
                faults |= fact.ASK_KEY_VOID << half
    return found._replace(faults=faults)


def signer_of(member: Member | None, message: bytes, signature: bytes) -> KeyTerm | None:
    """The identity key that a member has or had which made a signature; None if there is none."""
    terms = () if member is None else member.identity
    return next((term for term in terms if verify(term.public, message, signature)), None)


def is_in_term(term: KeyTerm, at: int) -> bool:
    """Whether a key was in its term around a time: of two clocks either may say so."""
    return any(term.in_term(moment_of(max(0, at + off))) for off in (-CLOCKS, 0, CLOCKS))


def read_epoch(json: bytes, network: str) -> EpochStatement:
    """The epoch of a statement; no signature is verified. Raises EncodingError, SnapshotError."""
    body = parse_canonical_json(json, limit=epoch.MAX_BYTES)
    return EpochStatement.from_statement(Statement(epoch.KIND, network, json, b"", body))
