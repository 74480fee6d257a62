"""What a member shows of single checks, and what an owner proves of single exchanges: the wire and the files (pure).

    GET  …/opened?first=N     CBOR map {"checks": […], "first": N, "next": number of checks given so far}
    GET  …/proofs?first=N     CBOR map {"first": N, "next": number of receipts given so far, "proofs": […]}

in the order in which the request names them; the last page's `next` is how many it names. One shown check is the map

    {"batches": [[owner, batch (16 bytes), state, receipt, elements, evaluated], …], "check": 16 bytes,
     "record": the record's plaintext, "state": state}

and one proof the map

    {"elements": 32·n bytes, "evaluated": 32·n bytes, "proof": 64 bytes, "receipt": id (32 bytes), "state": state}

The same bytes are the files in an auditor's folder. All of it is for the auditor alone: a record holds identifiers and
blinds. Elements are blinded, and a whole batch is shown, though one of them was asked for: they tell nothing.

| state of a check | |
|---|---|
| `opened` | the record is here |
| `sealed` | it is kept, and does not open under the member's sealing key |
| `unknown` | the member keeps no such check |

| state of a batch | |
|---|---|
| `answered` | the receipt is here, with the elements of both sides |
| `adopted` | so it is, but the member had it from the owner after a crash |
| `unanswered` | the ask left, and no answer came |
| `unknown` | the member knows no such batch |
| `left_out` | the check has more batches than one page holds |

| state of a proof | |
|---|---|
| `proved` | the proof is here, with the elements of both sides |
| `key_destroyed` | the key of the epoch is gone, and no proof was stored before |
| `unknown` | the owner keeps no such receipt |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar, cast, get_args
from uuid import UUID

from riskshare.audit.access import MAX_NAMED
from riskshare.encoding import cbor_decode, cbor_encode
from riskshare.errors import EncodingError, InputError
from riskshare.ledger.receipt import MAX_BYTES as MAX_RECEIPT
from riskshare.names import check_member_name
from riskshare.query.check_record import MAX_RECORD
from riskshare.query.message import ELEMENT_BYTES, MAX_ELEMENTS, PROOF_BYTES

CheckState = Literal["opened", "sealed", "unknown"]
BatchState = Literal["answered", "adopted", "unanswered", "unknown", "left_out"]
ProofState = Literal["proved", "key_destroyed", "unknown"]

PAGE_BYTES: Final = 4 * 1024 * 1024
"""A page is closed when it has so many bytes."""

MAX_ON_PAGE: Final = 64
"""Most checks, or proofs, on a page."""

MAX_BATCHES: Final = 1_024
"""Most batches that are shown of one check."""

BATCH_BYTES: Final = 8 * 1024 * 1024
"""A check's batches are shown until they have so many bytes."""

PAGE_ELEMENTS: Final = 8_192
"""A page of proofs is closed when it is about so many elements: some two seconds of an owner's time."""

MAX_CHECK: Final = MAX_RECORD + BATCH_BYTES + MAX_RECEIPT + 2 * MAX_ELEMENTS * ELEMENT_BYTES + 256 * MAX_BATCHES
"""Longest check that is read, in bytes."""

MAX_PROOF: Final = 2 * MAX_ELEMENTS * ELEMENT_BYTES + 1024
MAX_OPENED_PAGE: Final = PAGE_BYTES + MAX_CHECK + 1024
MAX_PROOFS_PAGE: Final = PAGE_BYTES + MAX_PROOF + 1024

_CHECK_KEYS: Final = frozenset({"batches", "check", "record", "state"})
_PROOF_KEYS: Final = frozenset({"elements", "evaluated", "proof", "receipt", "state"})
_BATCH: Final = [str, bytes, str, bytes, bytes, bytes]
_CHECK_STATES: Final = frozenset(get_args(CheckState))
_BATCH_STATES: Final = frozenset(get_args(BatchState))
_PROOF_STATES: Final = frozenset(get_args(ProofState))
_WITH_RECEIPT: Final = frozenset({"answered", "adopted"})

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ShownBatch:
    """A batch that a check names: the receipt's bytes, and the elements (32·n bytes) before and after; or neither."""

    owner: str
    batch: UUID
    state: BatchState
    receipt: bytes = field(default=b"", repr=False)
    elements: bytes = field(default=b"", repr=False)
    evaluated: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        """Refuse what its state does not have. Raises EncodingError."""
        if self.state not in _WITH_RECEIPT:
            if self.receipt or self.elements or self.evaluated:
                raise EncodingError("A batch is shown with more than its state has.")
            return
        if not 0 < len(self.receipt) <= MAX_RECEIPT:
            raise EncodingError("A batch is shown without its receipt.")
        _check_elements(self.elements, self.evaluated)


@dataclass(frozen=True, slots=True)
class ShownCheck:
    """A check as a member shows it."""

    check: UUID
    state: CheckState
    record: bytes = field(default=b"", repr=False)
    batches: tuple[ShownBatch, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        """Refuse what its state does not have. Raises EncodingError."""
        if self.state == "opened" and not 0 < len(self.record) <= MAX_RECORD:
            raise EncodingError("A check is shown without its record.")
        if self.state != "opened" and (self.record or self.batches):
            raise EncodingError("A check is shown with more than its state has.")
        if len(self.batches) > MAX_BATCHES or len({(one.owner, one.batch) for one in self.batches}) < len(self.batches):
            raise EncodingError(f"A check is shown with more than {MAX_BATCHES:,} batches, or with one twice.")

    def parts(self) -> dict[str, Any]:
        """The CBOR map."""
        batches = [
            [one.owner, one.batch.bytes, one.state, one.receipt, one.elements, one.evaluated] for one in self.batches
        ]
        return {"batches": batches, "check": self.check.bytes, "record": self.record, "state": self.state}

    def to_bytes(self) -> bytes:
        """The file."""
        return cbor_encode(self.parts())

    @property
    def size(self) -> int:
        """About its bytes."""
        held = sum(len(one.receipt) + len(one.elements) + len(one.evaluated) + 128 for one in self.batches)
        return len(self.record) + held + 128


@dataclass(frozen=True, slots=True)
class ShownProof:
    """The proof (64 bytes, RFC 9497 2.2) of one exchange, named by its receipt's id, with what it is about."""

    receipt: bytes = field(repr=False)
    state: ProofState
    proof: bytes = field(default=b"", repr=False)
    elements: bytes = field(default=b"", repr=False)
    evaluated: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        """Refuse what its state does not have. Raises EncodingError."""
        if len(self.receipt) != 32:
            raise EncodingError("A proof is shown of something that is no receipt.")
        if self.state != "proved":
            if self.proof or self.elements or self.evaluated:
                raise EncodingError("A proof is shown with more than its state has.")
            return
        if len(self.proof) != PROOF_BYTES:
            raise EncodingError(f"A proof is not {PROOF_BYTES} bytes.")
        _check_elements(self.elements, self.evaluated)

    def parts(self) -> dict[str, Any]:
        """The CBOR map."""
        return {
            "elements": self.elements,
            "evaluated": self.evaluated,
            "proof": self.proof,
            "receipt": self.receipt,
            "state": self.state,
        }

    def to_bytes(self) -> bytes:
        """The file."""
        return cbor_encode(self.parts())

    @property
    def size(self) -> int:
        """About its bytes."""
        return len(self.elements) + len(self.evaluated) + 256


@dataclass(frozen=True, slots=True)
class OpenedPage:
    """The checks `first` ≤ number < `next` of those that the request names."""

    first: int
    next: int
    checks: tuple[ShownCheck, ...]

    def to_bytes(self) -> bytes:
        """The CBOR map."""
        return cbor_encode(
            {"checks": [one.parts() for one in self.checks], "first": self.first, "next": self.next},
        )


@dataclass(frozen=True, slots=True)
class ProofsPage:
    """The receipts `first` ≤ number < `next` of those that the request names."""

    first: int
    next: int
    proofs: tuple[ShownProof, ...]

    def to_bytes(self) -> bytes:
        """The CBOR map."""
        return cbor_encode({"first": self.first, "next": self.next, "proofs": [one.parts() for one in self.proofs]})


def check_path(member: str, check: UUID) -> str:
    """Where a check lies in the auditor's folder, as the member showed it."""
    return f"open/{member}/{check}.cbor"


def proof_path(owner: str, receipt: bytes) -> str:
    """Where a proof lies in the auditor's folder, as the owner showed it."""
    return f"open/{owner}/proof-{receipt.hex()}.cbor"


def contradiction_path(member: str, kind: str, check: UUID) -> str:
    """Where the evidence lies that a check contradicts itself: it holds identifiers."""
    return f"open/{member}/{kind}-{check}.json"


def snapshot_path(digest: bytes) -> str:
    """Where a snapshot statement lies in the auditor's folder."""
    return f"open/snapshots/{digest.hex()}.cbor"


def read_opened(data: bytes) -> OpenedPage:
    """Read a page of checks, strictly; nothing is verified. Raises EncodingError."""
    first, following, checks = _page(data, "checks", MAX_OPENED_PAGE, _check)
    return OpenedPage(first, following, checks)


def read_proofs(data: bytes) -> ProofsPage:
    """Read a page of proofs, strictly; nothing is verified. Raises EncodingError."""
    first, following, proofs = _page(data, "proofs", MAX_PROOFS_PAGE, _proof)
    return ProofsPage(first, following, proofs)


def read_check(data: bytes) -> ShownCheck:
    """Read the file of one check. Raises EncodingError."""
    return _check(cbor_decode(data, limit=MAX_CHECK))


def read_proof(data: bytes) -> ShownProof:
    """Read the file of one proof. Raises EncodingError."""
    return _proof(cbor_decode(data, limit=MAX_PROOF))


def _page(data: bytes, name: str, limit: int, read: Callable[[object], T]) -> tuple[int, int, tuple[T, ...]]:
    parts: Any = cbor_decode(data, limit=limit)
    if type(parts) is not dict or parts.keys() != {name, "first", "next"}:
        raise EncodingError("A page of what is opened has not exactly the fields of one.")
    first, following, items = parts["first"], parts["next"], parts[name]
    if type(first) is not int or type(following) is not int or not 0 <= first < following <= MAX_NAMED:
        raise EncodingError("A page of what is opened covers nothing of its request.")
    if type(items) is not list or len(items) != following - first or len(items) > MAX_ON_PAGE:
        raise EncodingError("A page of what is opened does not hold what it covers.")
    return first, following, tuple(map(read, items))


def _check(item: object) -> ShownCheck:
    if type(item) is not dict or item.keys() != _CHECK_KEYS:
        raise EncodingError("A check that is shown has not exactly the fields of one.")
    state, record, batches = item["state"], item["record"], item["batches"]
    if type(state) is not str or state not in _CHECK_STATES or type(record) is not bytes:
        raise EncodingError("A check that is shown has no state that there is, or a record that is no bytes.")
    if type(batches) is not list or len(batches) > MAX_BATCHES:
        raise EncodingError(f"The batches of a check are not a list of at most {MAX_BATCHES:,}.")
    return ShownCheck(_uuid(item["check"]), cast("CheckState", state), record, tuple(map(_batch, batches)))


def _batch(item: object) -> ShownBatch:
    if type(item) is not list or [type(part) for part in item] != _BATCH:
        raise EncodingError("A batch that is shown has not the parts of one.")
    owner, batch, state, receipt, elements, evaluated = item
    if state not in _BATCH_STATES:
        raise EncodingError("A batch that is shown has no state that there is.")
    try:
        check_member_name(owner)
    except InputError as error:
        raise EncodingError("A batch that is shown names an owner that nobody can be.") from error
    return ShownBatch(owner, _uuid(batch), cast("BatchState", state), receipt, elements, evaluated)


def _proof(item: object) -> ShownProof:
    if type(item) is not dict or item.keys() != _PROOF_KEYS:
        raise EncodingError("A proof that is shown has not exactly the fields of one.")
    state = item["state"]
    if type(state) is not str or state not in _PROOF_STATES:
        raise EncodingError("A proof that is shown has no state that there is.")
    parts = [item[name] for name in ("receipt", "proof", "elements", "evaluated")]
    if any(type(part) is not bytes for part in parts):
        raise EncodingError("A part of a proof that is shown is not a byte string.")
    receipt, proof, elements, evaluated = parts
    return ShownProof(receipt, cast("ProofState", state), proof, elements, evaluated)


def _uuid(value: object) -> UUID:
    if type(value) is bytes and len(value) == 16:
        found = UUID(bytes=value)
        if found.version == 7:
            return found
    raise EncodingError("An id in what is opened is not a UUIDv7 of 16 bytes.")


def _check_elements(elements: bytes, evaluated: bytes) -> None:
    count, rest = divmod(len(elements), ELEMENT_BYTES)
    if rest or not 0 < count <= MAX_ELEMENTS or len(evaluated) != len(elements):
        raise EncodingError(f"A batch has not 1 to {MAX_ELEMENTS:,} elements, and as many results.")
