"""A member looks into its own sealed records: the request is on its way to the ledger before anything is opened."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Literal

from riskshare.audit.access import KIND, AccessRequest
from riskshare.audit.kept import AuditRow
from riskshare.cli.acting import Own
from riskshare.encoding import sha256
from riskshare.logs import get_log
from riskshare.peer.directory import directory_of
from riskshare.peer.opening import new_id, now
from riskshare.statement import SALT_BYTES, sign


@dataclass(frozen=True, slots=True)
class Logged:
    """A request that is durable, and the 32 random bytes that open its commitment."""

    request: AccessRequest
    nonce: bytes = field(repr=False)

    @property
    def subject(self) -> bytes:
        """The commitment that the ledger has: SHA-256(nonce ‖ what it is about), 32 bytes."""
        return self.request.subject or b""


async def log_own_request(own: Own, about: bytes, reason: str, *, action: Literal["tell", "appeals"]) -> Logged:
    """Make a request of the member to itself durable, with its entry for the ledger; and log one line of it.

    `about` is what the records are searched for; the request names it by a commitment alone, the line not at all.

    Raises:
        EncodingError: the reason is not one.
        StoreError: it could not be kept, so nothing may be looked at.

    """
    member = own.member
    registry = (await directory_of(member, own.store)).current()
    nonce = secrets.token_bytes(32)
    request = AccessRequest(
        access=new_id(),
        action="tell",
        auditor=member.name,
        member=member.name,
        network=registry.network,
        registry=registry.version,
        reason=reason,
        requested_at=now(),
        subject=sha256(nonce + about),
    )
    signed = sign(KIND, registry.network, request.body(), member.keys.identity)
    await own.store.audits.keep(AuditRow.of(signed, request, secrets.token_bytes(SALT_BYTES), now()))
    get_log().warning("audit_access", auditor=member.name, action=action, request=str(request.access))
    return Logged(request, nonce)
