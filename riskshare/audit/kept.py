"""What a store keeps of audits (pure)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from riskshare.audit.access import AccessRequest, Action
from riskshare.encoding import cbor_encode
from riskshare.statement import Statement

Kept = Literal["new", "known", "beyond"]
"""What came of keeping a request: it is kept now, it was before, or it names more than is left today."""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A request of an auditor as it is kept: at the member that was asked, and at the auditor.

    `digest` is that of the statement, which is its JSON; `salt` (16 bytes) blinds its entry in the log of whoever
    keeps it; `checks` is how many it names, or of a request to prove, how many exchanges.
    """

    digest: bytes
    statement: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    auditor: str
    member: str
    action: Action
    checks: int
    kept_at: datetime

    @classmethod
    def of(cls, signed: Statement, request: AccessRequest, salt: bytes, kept_at: datetime) -> AuditRow:
        """The row of a request that was verified, or made here."""
        return cls(
            digest=signed.digest,
            statement=signed.json,
            signature=signed.signature,
            salt=salt,
            auditor=request.auditor,
            member=request.member,
            action=request.action,
            checks=len(request.checks) + len(request.receipts),  # it names the ones or the others
            kept_at=kept_at,
        )

    def wire(self) -> bytes:
        """The form in which it travels: without the salt, which is this side's own."""
        return cbor_encode({"statement": self.statement, "signature": self.signature})

    @property
    def request(self) -> AccessRequest:
        """What was asked. Raises EncodingError: what is kept is no request."""
        return AccessRequest.from_json(self.statement)
