"""The signed request of an auditor: who wants to see what of whom, and why (pure).

It is a statement of the kind `audit`. Both sides log it before anything is shown: the member asked, and the auditor.
A member that looks into its own records for a data subject, or for the hits that upheld appeals concern (`tell`), makes
the same statement about itself: it names by a commitment alone what it looked for.

| action | shows |
|---|---|
| `read` | the log of a period with salts and statements |
| `open` | the sealed records of the checks named |
| `prove` | the proofs (DLEQ) of the receipts named |
| `tell` | nothing to others: a member looked into its own records |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal, get_args
from uuid import UUID

from riskshare.encoding import (
    MAX_SAFE_INTEGER,
    cbor_decode,
    format_time,
    parse_canonical_json,
    parse_hex,
    parse_time,
)
from riskshare.errors import EncodingError, InputError
from riskshare.names import check_member_name, read_network_name
from riskshare.signature import SIGNATURE_BYTES

KIND: Final = "audit"
Action = Literal["read", "open", "prove", "tell"]

AUDITS: Final = "/peer/v1/audits"
RANGE: Final = "/peer/v1/audits/{digest}/range"
STATEMENTS: Final = "/peer/v1/audits/{digest}/statements"
OPENED: Final = "/peer/v1/audits/{digest}/opened"
PROOFS: Final = "/peer/v1/audits/{digest}/proofs"

MAX_NAMED: Final = 1_000
"""Most checks or receipts that one request names."""

MAX_REASON: Final = 200
MAX_BYTES: Final = 128 * 1024
"""Longest JSON of a request."""

MAX_WIRE: Final = MAX_BYTES + 1024
"""Longest form in which one travels."""

VALID: Final = timedelta(hours=24)
"""How long after it was made a request gives access."""

_ACTIONS: Final = get_args(Action)
_KEYS: Final = frozenset(
    {
        "access",
        "action",
        "auditor",
        "checks",
        "from",
        "member",
        "network",
        "reason",
        "receipts",
        "registry",
        "requested_at",
        "sample",
        "subject",
        "to",
    }
)
_SAMPLE_KEYS: Final = frozenset({"population", "seed", "size"})


@dataclass(frozen=True, slots=True)
class Sample:
    """How the checks of a request were drawn: `size` of `population`, by a seed (32 bytes) of the auditor's."""

    seed: bytes = field(repr=False)
    size: int
    population: int


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """The body of an `audit` statement.

    `start` and `end` bound the period of `read` (half-open); `checks` are named for `open`, `receipts` (ids, 32 bytes)
    for `prove`; `subject` is the commitment of a `tell`: SHA-256 of 32 random bytes and the canonical identifier, or
    the canonical JSON of the appeals.
    """

    access: UUID
    action: Action
    auditor: str
    member: str
    network: str
    registry: int
    reason: str = field(repr=False)
    requested_at: datetime
    start: datetime | None = None
    end: datetime | None = None
    checks: tuple[UUID, ...] = ()
    receipts: tuple[bytes, ...] = field(default=(), repr=False)
    sample: Sample | None = None
    subject: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse a request that asks for what its action does not have. Raises EncodingError."""
        named = {
            "read": self.start is not None or self.end is not None,
            "open": bool(self.checks),
            "prove": bool(self.receipts),
            "tell": self.subject is not None,
        }
        if [action for action, has in named.items() if has] != [self.action]:
            raise EncodingError(f"An audit request to {self.action} does not name what belongs to it, and only that.")
        if self.action == "read" and (self.start is None or self.end is None or not self.start < self.end):
            raise EncodingError("The period of an audit request lacks a bound, or ends before it begins.")
        if self.action == "tell" and self.auditor != self.member:
            raise EncodingError("Only a member itself looks into its own records.")
        if len(set(self.checks)) != len(self.checks) or len(set(self.receipts)) != len(self.receipts):
            raise EncodingError("An audit request names a check or a receipt twice.")
        if len(self.checks) > MAX_NAMED or len(self.receipts) > MAX_NAMED:
            raise EncodingError(f"An audit request names more than {MAX_NAMED:,} checks or receipts: part it.")
        if not 0 < len(self.reason) <= MAX_REASON or not self.reason.isprintable():
            raise EncodingError(f"The reason of an audit is not 1 to {MAX_REASON} printable characters.")
        if self.sample is not None and self.action != "open":
            raise EncodingError("Only checks to be opened are drawn as a sample.")

    def body(self) -> dict[str, Any]:
        """The JSON object that is signed."""
        sample = self.sample
        return {
            "access": str(self.access),
            "action": self.action,
            "auditor": self.auditor,
            "checks": [str(check) for check in self.checks],
            "from": None if self.start is None else format_time(self.start),
            "member": self.member,
            "network": self.network,
            "reason": self.reason,
            "receipts": [receipt.hex() for receipt in self.receipts],
            "registry": self.registry,
            "requested_at": format_time(self.requested_at),
            "sample": sample and {"population": sample.population, "seed": sample.seed.hex(), "size": sample.size},
            "subject": None if self.subject is None else self.subject.hex(),
            "to": None if self.end is None else format_time(self.end),
        }

    @classmethod
    def from_json(cls, data: bytes) -> AccessRequest:
        """Read the JSON of a request.

        Raises:
            EncodingError: not canonical, a field missing, unknown, or of another form.

        """
        body = parse_canonical_json(data, limit=MAX_BYTES)
        if body.keys() != _KEYS or body["action"] not in _ACTIONS:
            raise EncodingError("The audit request has not exactly the fields of one, or no action that there is.")
        if type(body["reason"]) is not str:
            raise EncodingError("The reason of an audit request is not a text.")
        try:
            names = check_member_name(body["auditor"]), check_member_name(body["member"])
            network = read_network_name(body["network"])
        except InputError as error:
            raise EncodingError(f"A name in the audit request is refused: {error.message}") from error
        return cls(
            access=_uuid(body["access"]),
            action=body["action"],
            auditor=names[0],
            member=names[1],
            network=network,
            registry=_number(body["registry"], least=1),
            reason=body["reason"],
            requested_at=parse_time(body["requested_at"]),
            start=None if body["from"] is None else parse_time(body["from"]),
            end=None if body["to"] is None else parse_time(body["to"]),
            checks=tuple(_uuid(check) for check in _list(body["checks"])),
            receipts=tuple(parse_hex(receipt, 32) for receipt in _list(body["receipts"])),
            sample=None if body["sample"] is None else _sample(body["sample"]),
            subject=None if body["subject"] is None else parse_hex(body["subject"], 32),
        )


def split_wire(data: bytes) -> tuple[bytes, bytes]:
    """JSON and signature (64 bytes) of a request on the wire (`Statement.wire`, without a salt); nothing is verified.

    Raises:
        EncodingError: longer than a request, or not in this form.

    """
    parts = cbor_decode(data, limit=MAX_WIRE)
    if type(parts) is not dict or parts.keys() != {"statement", "signature"}:
        raise EncodingError("An audit request does not travel in this form.")
    json, signature = parts["statement"], parts["signature"]
    if type(json) is not bytes or type(signature) is not bytes or len(signature) != SIGNATURE_BYTES:
        raise EncodingError("An audit request does not travel in this form.")
    return json, signature


def _list(value: object) -> list[Any]:
    if type(value) is not list or len(value) > MAX_NAMED:
        raise EncodingError(f"What an audit request names is not a list of at most {MAX_NAMED:,}.")
    return value


def _uuid(text: object) -> UUID:
    if isinstance(text, str) and len(text) == 36:
        try:
            value = UUID(text)
        except ValueError:
            value = None
        if value is not None and value.version == 7 and str(value) == text:
            return value
    raise EncodingError("An id in the audit request is not a UUIDv7 in canonical spelling.")


def _number(value: object, *, least: int) -> int:
    if type(value) is not int or not least <= value <= MAX_SAFE_INTEGER:
        raise EncodingError("A number in the audit request is out of its range.")
    return value


def _sample(value: object) -> Sample:
    if type(value) is not dict or value.keys() != _SAMPLE_KEYS:
        raise EncodingError("The sample of an audit request has not exactly the fields of one.")
    sample = Sample(
        parse_hex(value["seed"], 32), _number(value["size"], least=1), _number(value["population"], least=1)
    )
    if sample.size > sample.population:
        raise EncodingError("A sample is not larger than what it is drawn from.")
    return sample
