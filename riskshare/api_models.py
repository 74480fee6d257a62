"""What passes between a payment system and its peer: the JSON of the client API.

The same models validate requests, make the responses, describe both in `/openapi.json` and are what
`riskshare.Client` gives.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, StrictInt, StrictStr

from riskshare.encoding import format_time

MAX_IDENTIFIERS = 1024
"""Most identifiers in one check that any configuration allows."""

MAX_CHECKS = 1000
"""Most checks in one request."""

MAX_DEADLINE_MS = 5000
MAX_REFERENCE = 200

Time = Annotated[datetime, PlainSerializer(format_time, return_type=str, when_used="json")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Word = Annotated[StrictStr, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9][a-z0-9_-]*$")]
Status = Literal["answered", "cached", "late", "down", "stale", "untrusted", "refused"]


class Model(BaseModel):
    """What all have in common: frozen, no input in errors."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class Request(Model):
    """A request: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class IdentifierObject(Request):
    """An identifier in two parts."""

    type: StrictStr = Field(max_length=64, description="Its type, such as phone.", examples=["bank_card"])
    value: StrictStr = Field(repr=False, description="Its value.", examples=["6222 0212 3456 7894"])


class CheckRequest(Request):
    """The question whether any of the identifiers is on a list of the network."""

    identifiers: list[StrictStr | IdentifierObject] = Field(
        min_length=1,
        max_length=MAX_IDENTIFIERS,
        repr=False,
        description="Each as the text type:value, or as an object.",
        examples=[["phone:+8613800138000", {"type": "bank_card", "value": "6222 0212 3456 7894"}]],
    )
    purpose: Word = Field(description="Why you ask; the registry names the purposes.", examples=["payment"])
    reference: StrictStr = Field(
        "", max_length=MAX_REFERENCE, repr=False, description="Your own, such as a transaction's number. It is sealed."
    )
    categories: list[Word] = Field(
        default_factory=list, max_length=100, description="Only lists of these categories; none means all."
    )
    deadline_ms: StrictInt | None = Field(
        None, ge=1, le=MAX_DEADLINE_MS, description="The verdict is there after so many milliseconds, complete or not."
    )


class ChecksRequest(Request):
    """Many checks at once, each answered on its own. An array of checks, without this object, means the same."""

    checks: list[CheckRequest] = Field(min_length=1, max_length=MAX_CHECKS)


class HitModel(Model):
    """One identifier that stands on one list, and why."""

    identifier: int = Field(description="Index in the request.")
    owner: str
    list: str
    category: str
    level: Literal["low", "medium", "high", "critical"]
    reason: str
    evidence: str
    listed_at: Time
    valid_until: Time
    case: str = Field(description="The owner's own reference.")
    disputed: bool
    appeal: str = Field(description="Where the person concerned can appeal.")


class OwnerModel(Model):
    """How one owner took part in a check."""

    owner: str
    status: Status
    ms: float = Field(description="Milliseconds from the beginning of the check to its part being done.")
    lists: dict[str, int] = Field(description="Versions of the lists that were looked into, by full name.")


class CheckResponse(Model):
    """The verdict of a check."""

    check: str = Field(description="Its id, a UUIDv7.")
    verdict: Literal["hit", "clear", "incomplete"] = Field(
        description="incomplete: no hit, and some owner did not take part fully. It is not a clear."
    )
    complete: bool = Field(description="Whether every owner took part fully; a hit is a hit even if not.")
    hits: tuple[HitModel, ...]
    owners: tuple[OwnerModel, ...]
    receipts: tuple[Digest, ...] = Field(description="Ids of the receipts that prove the exchanges.")
    ms: float


class Defect(Model):
    """One defect of a request."""

    pointer: str | None = Field(None, description="Where it is: a JSON pointer as URI fragment (RFC 6901 6).")
    code: str
    detail: str
    reason: str | None = Field(None, description="Of an identifier: a stable word.")
    identifier_type: str | None = Field(None, description="Of an identifier: its type, if it could be read.")


class ProblemModel(Model):
    """Problem details (RFC 9457). Nothing of the request is repeated in them."""

    type: str = Field(description="urn:riskshare:problem:<code>")
    title: str
    status: int
    detail: str = Field(description="What is wrong and what to do.")
    code: str = Field(description="A stable word.")
    errors: tuple[Defect, ...] = ()

    @property
    def sentence(self) -> str:
        """What is wrong, with every defect and its place."""
        return " ".join([self.detail, *(f"{defect.pointer or '#'}: {defect.detail}" for defect in self.errors)])


class ChecksResponse(Model):
    """One result for each check, in their order: a verdict or a problem. A bare array is answered with a bare array."""

    results: tuple[CheckResponse | ProblemModel, ...]


class RefusedModel(Model):
    """The newest snapshot of a list was refused, or could not be kept."""

    code: str = Field(description="Why: a stable word, as in the log.")
    since: Time = Field(description="When this began; what serves is older.")


class ListModel(Model):
    """A list of the network as this peer has it."""

    list: str = Field(description="Its full name, member/list.")
    owner: str
    category: str
    own: bool = Field(description="Whether it is this member's own.")
    mode: Literal["own", "replicate", "on_demand"]
    status: Literal["current", "stale", "expired", "missing", "untrusted", "ended"] = Field(
        description="Only a current list can give a clear."
    )
    version: int | None = None
    entries: int | None = None
    issued_at: Time | None = None
    expires_at: Time | None = None
    confirmed_at: Time | None = Field(None, description="When its owner last said that this is the newest version.")
    refused: RefusedModel | None = Field(
        None, description="There is a newer snapshot than version, which is refused; version serves on, without clears."
    )


class ListsResponse(Model):
    """All lists that this peer consults."""

    lists: tuple[ListModel, ...]


class LogModel(Model):
    """What this peer knows of another member's log."""

    size: int = Field(0, description="Entries in the newest checkpoint that it signed.")
    final_size: int = Field(0, description="Entries in the newest one that a quorum cosigned, as verified here.")
    grown_at: Time | None = Field(None, description="When it was last seen to grow.")
    stalled: bool = Field(
        default=False, description="It has not grown after it was answered: it is answered no more until it does."
    )
    missing: int = Field(0, description="What it should have accounted for by now and has not.")


class MemberModel(Model):
    """A member of the network."""

    member: str
    title: str
    kind: str
    roles: tuple[str, ...]
    standing: Literal["good", "suspended"]
    log: LogModel | None = Field(None, description="Of this member itself, and of members not followed yet: none.")


class MembersResponse(Model):
    """The members, by the registry in force."""

    network: str
    registry_version: int
    registry_expires_at: Time
    members: tuple[MemberModel, ...]


class AuditModel(Model):
    """A request of an auditor: who saw what of this member's records, when and why; or this member of another's."""

    audit: Digest = Field(description="Digest of the signed request; both sides have it on their ledgers.")
    auditor: str
    member: str = Field(description="Whose records it is about.")
    action: Literal["read", "open", "prove", "tell"] = Field(
        description="read: the log of a period; open: sealed checks; prove: proofs of receipts; tell: own records."
    )
    reason: str
    requested_at: Time
    kept_at: Time
    opened: Time | None = Field(None, description="Of read: where the period begins.")
    closed: Time | None = Field(None, description="Of read: where it ends.")
    checks: int = Field(0, description="How many checks it names.")
    receipts: int = Field(0, description="How many receipts it names.")
    sampled_of: int | None = Field(None, description="If the checks are a random sample: of how many.")


class AuditsResponse(Model):
    """The last 1,000 requests, newest first."""

    audits: tuple[AuditModel, ...]


class ReceiptModel(Model):
    """A receipt: both signed halves of one exchange."""

    receipt: Digest
    side: Literal["owner", "querier"] = Field(description="What this member was in the exchange.")
    counterparty: str
    batch: str
    epoch: Digest
    count: int
    adopted: bool
    ask: dict[str, Any] = Field(description="The ask; its canonical JSON (RFC 8785) is what was signed.")
    ask_signature: str
    answer: dict[str, Any]
    answer_signature: str
    cbor: str = Field(description="The receipt itself in base64; its SHA-256 is the id.")


class CheckModel(Model):
    """What this peer knows of a former check without opening its record, which it cannot."""

    check: str
    answered_at: Time
    hour_key: str = Field(description="Id of the key that the record is sealed under.")
    record_bytes: int
    statement: dict[str, Any] = Field(description="The signed check statement: it commits to the record.")
    signature: str
