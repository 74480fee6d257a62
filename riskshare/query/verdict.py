"""The question and the conclusion of a check, and the record that is sealed of both. Rules only.

A *hit* is a label found, whose record opened under its key and is still valid. A filter's maybe is never
a hit. No hit while some owner did not answer, or one of its lists was not current, is `incomplete`:
never `clear`, never an exception.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from riskshare.encoding import cbor_encode_ordered, cbor_order, format_time
from riskshare.errors import InputError, PeerDown, PeerError, PeerLate, PeerRefused
from riskshare.membership.identifier import Identifier
from riskshare.membership.record import Record

OwnerStatus = Literal["answered", "cached", "late", "down", "stale", "untrusted", "refused"]
Word = Literal["hit", "clear", "incomplete"]

MAX_WORD = 256
MAX_REFERENCE = 4096
"""Longest reference in bytes; the client API allows less."""

COMPLETE: frozenset[OwnerStatus] = frozenset({"answered", "cached"})

_WORST: Sequence[OwnerStatus] = ("untrusted", "refused", "down", "late", "stale", "answered", "cached")


@dataclass(frozen=True, slots=True)
class Question:
    """What a payment system asks.

    `reference` is the client's own (a transaction number), `categories` narrows the lists (empty: all),
    `deadline` is in seconds from now.
    """

    identifiers: tuple[Identifier, ...] = field(repr=False)
    purpose: str
    reference: str = field(default="", repr=False)
    categories: frozenset[str] = frozenset()
    deadline: float = 0.15


@dataclass(frozen=True, slots=True)
class Hit:
    """An identifier (by its index in the question) that stands on a list, with the record that says why."""

    identifier: int
    owner: str
    list: str
    record: Record = field(repr=False)


@dataclass(frozen=True, slots=True)
class OwnerResult:
    """How one owner took part: `ms` since the check began, `lists` the snapshot versions looked into."""

    owner: str
    status: OwnerStatus
    ms: float
    lists: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The conclusion; `receipts` are the 32-byte ids of the receipts that prove the exchanges."""

    check: UUID
    word: Word
    complete: bool
    hits: tuple[Hit, ...]
    owners: tuple[OwnerResult, ...]
    receipts: tuple[bytes, ...] = field(repr=False)
    ms: float
    answered_at: datetime


@dataclass(frozen=True, slots=True)
class Asked:
    """Which element of which batch stood for an identifier at an owner; position -1 if it never left."""

    identifier: int
    owner: str
    epoch: bytes = field(repr=False)
    batch: UUID | None
    position: int
    blind: bytes = field(repr=False)
    cached: bool = False


def check_question(question: Question) -> None:
    """Refuse what no check can answer, before anybody is asked.

    Raises:
        InputError: no identifier, a canary, or a purpose or reference that no record can hold.

    """
    if not question.identifiers:
        raise InputError("A check needs at least one identifier.")
    if any(identifier.type == "canary" for identifier in question.identifiers):
        raise InputError("Canaries are the network's own and are not checked for clients.")
    if not 0 < len(question.purpose) <= MAX_WORD or not question.purpose.isascii():
        raise InputError("A check needs a purpose of the network.", code="unknown_purpose")
    try:
        length = len(question.reference.encode())
    except UnicodeEncodeError as error:
        raise InputError("The reference has a lone surrogate.") from error
    if length > MAX_REFERENCE:
        raise InputError(f"The reference is longer than {MAX_REFERENCE} bytes.")


def status_of(error: PeerError) -> OwnerStatus:
    """The status of an owner that could not be asked, or did not answer as it must."""
    match error:
        case PeerDown():
            return "down"
        case PeerLate():
            return "late"
        case PeerRefused():
            return "refused"
        case _ if error.code == "peer_disconnected":
            return "down"
        case _:
            return "untrusted"


def worst(statuses: Sequence[OwnerStatus]) -> OwnerStatus:
    """The status that describes an owner whose parts went differently; `answered` for none."""
    return min(statuses, key=_WORST.index, default="answered")


def decide(hits: Sequence[Hit], owners: Sequence[OwnerResult]) -> tuple[Word, bool]:
    """The verdict's word, and whether every owner took part fully; where there is no owner, nobody did."""
    complete = bool(owners) and all(owner.status in COMPLETE for owner in owners)
    if hits:
        return "hit", complete
    return ("clear" if complete else "incomplete"), complete


def record_plaintext(
    question: Question,
    verdict: Verdict,
    asked: Sequence[Asked],
    snapshots: Mapping[str, bytes],
    random: bytes,
) -> bytes:
    """What is sealed of a check, in deterministic CBOR.

    `snapshots` maps list names to snapshot digests; `random` are 32 fresh bytes: the check statement commits to
    this plaintext by its hash, which must not be guessable from a guessed identifier. The keys stand in CBOR's order.
    """
    return cbor_encode_ordered(
        {
            "asked": [_asked(part) for part in asked],
            "check": verdict.check.bytes,
            "random": random,
            "outcome": _outcome(verdict),
            "purpose": question.purpose,
            "receipts": list(verdict.receipts),
            "reference": question.reference,
            "snapshots": _ordered(snapshots),
            "categories": sorted(question.categories),
            "answered_at": format_time(verdict.answered_at),
            "identifiers": [identifier.canonical for identifier in question.identifiers],
        }
    )


def _asked(part: Asked) -> dict[str, Any]:
    return {
        "batch": part.batch.bytes if part.batch else None,
        "blind": part.blind,
        "epoch": part.epoch,
        "owner": part.owner,
        "cached": part.cached,
        "position": part.position,
        "identifier": part.identifier,
    }


def _outcome(verdict: Verdict) -> dict[str, Any]:
    owners = {result.owner: [result.status, _ordered(result.lists)] for result in verdict.owners}
    return {
        "hits": [[hit.identifier, hit.list, hit.record.to_bytes()] for hit in verdict.hits],
        "owners": _ordered(owners),
        "verdict": verdict.word,
        "complete": verdict.complete,
    }


def _ordered(named: Mapping[str, Any]) -> dict[str, Any]:
    return dict(named) if len(named) < 2 else {name: named[name] for name in sorted(named, key=cbor_order)}
