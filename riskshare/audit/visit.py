"""An auditor's way to single checks and exchanges: a signed request, then page by page what it names.

As with a member's log, the request is durable in the auditor's own store before it is sent, and the member answers it
when it is durable there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any, Protocol, final
from uuid import UUID

from riskshare.audit.access import KIND, AccessRequest, Sample
from riskshare.audit.collect import patiently
from riskshare.audit.kept import AuditRow
from riskshare.audit.opened import ShownCheck, ShownProof, read_opened, read_proofs
from riskshare.errors import EncodingError, PeerGarbage
from riskshare.registry import Registry
from riskshare.signature import SigningKey
from riskshare.statement import SALT_BYTES, sign


class Members(Protocol):
    """The other members' peers. Every method raises PeerError."""

    async def request(self, member: str, wire: bytes) -> bytes:
        """Send a signed request; the answer comes when it is durable there."""

    async def opened(self, member: str, digest: bytes, first: int) -> bytes:
        """A page of the checks that it names."""

    async def proofs(self, member: str, digest: bytes, first: int) -> bytes:
        """A page of proofs for the receipts that it names."""


class Requests(Protocol):
    """The auditor's own store."""

    async def keep(self, row: AuditRow) -> bool:
        """Keep a request, with its pending entry. Raises StoreError."""


@final
class Visits:
    """`open.Peers` of one auditor, for one reason. `sample` says how the checks were drawn, if they were."""

    def __init__(
        self,
        *,
        auditor: str,
        identity: SigningKey,
        registry: Registry,
        members: Members,
        requests: Requests,
        reason: str,
        sample: Sample | None,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
        random: Callable[[int], bytes],
    ) -> None:
        """Wire it up; `new_id` gives a fresh UUIDv7, `random` so many random bytes."""
        self._auditor = auditor
        self._identity = identity
        self._registry = registry
        self._members = members
        self._requests = requests
        self._reason = reason
        self._sample = sample
        self._now = now
        self._new_id = new_id
        self._random = random

    async def opened(self, member: str, checks: Sequence[UUID]) -> AsyncIterator[ShownCheck]:
        """Have checks opened, in their order. Raises PeerError, StoreError."""
        digest = await self._ask(member, action="open", checks=tuple(checks), sample=self._sample)
        first = 0
        while first < len(checks):
            data = await patiently(partial(self._members.opened, member, digest, first))
            with _reading(member):
                page = read_opened(data)
            _check_page(member, page.first, page.next, first, len(checks))
            for check, shown in zip(checks[first : page.next], page.checks, strict=True):
                if shown.check != check:
                    raise PeerGarbage(member, f"{member} shows other checks than those that were asked for.")
                yield shown
            first = page.next

    async def proofs(self, owner: str, receipts: Sequence[bytes]) -> AsyncIterator[ShownProof]:
        """Have exchanges proved, in their order. Raises PeerError, StoreError."""
        digest = await self._ask(owner, action="prove", receipts=tuple(receipts))
        first = 0
        while first < len(receipts):
            data = await patiently(partial(self._members.proofs, owner, digest, first))
            with _reading(owner):
                page = read_proofs(data)
            _check_page(owner, page.first, page.next, first, len(receipts))
            for receipt, shown in zip(receipts[first : page.next], page.proofs, strict=True):
                if shown.receipt != receipt:
                    raise PeerGarbage(owner, f"{owner} proves other exchanges than those that were asked for.")
                yield shown
            first = page.next

    async def _ask(self, member: str, **named: Any) -> bytes:
        """Sign a request, make it durable, send it; its digest."""
        now = self._now()
        request = AccessRequest(
            access=self._new_id(),
            auditor=self._auditor,
            member=member,
            network=self._registry.network,
            registry=self._registry.version,
            reason=self._reason,
            requested_at=now.replace(microsecond=now.microsecond // 1000 * 1000),
            **named,
        )
        signed = sign(KIND, request.network, request.body(), self._identity)
        row = AuditRow.of(signed, request, self._random(SALT_BYTES), now)
        await self._requests.keep(row)
        await patiently(lambda: self._members.request(member, row.wire()))
        return row.digest


@contextmanager
def _reading(member: str) -> Iterator[None]:
    """Turn what cannot be read into PeerGarbage."""
    try:
        yield
    except EncodingError as error:
        raise PeerGarbage(member, f"What {member} shows cannot be read: {error.message}") from error


def _check_page(member: str, first: int, following: int, asked: int, count: int) -> None:
    if first != asked or following > count:
        raise PeerGarbage(member, f"{member} sent another page than the one that was asked for.")
