"""Auditors in a running peer: what they are shown, and that its operators are told."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import Final, final, get_args

from riskshare.api_models import AuditModel
from riskshare.audit.access import AccessRequest, Action
from riskshare.audit.kept import AuditRow
from riskshare.audit.prove import Prover
from riskshare.audit.show import Showing
from riskshare.audit.unseal import Unsealer
from riskshare.encoding import format_time
from riskshare.logs import get_log
from riskshare.membership.oprf import SecretKey
from riskshare.metrics import Metrics
from riskshare.peer.opening import now
from riskshare.peer.parts import Shared
from riskshare.sharing.entry import DataKey
from riskshare.store.publications import Publications

MOST: Final = 1_000
"""Requests that are listed: the last ones."""


@final
class AuditDesk:
    """`show.Watch`: each access goes into metrics and log. Nothing in either names a check, a receipt or a person."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def accessed(self, request: AccessRequest) -> None:
        """Tell of a request that was admitted."""
        self._metrics.audit_accesses.labels(request.auditor, request.action).inc()
        get_log().warning(
            "audit_access",
            auditor=request.auditor,
            action=request.action,
            since=None if request.start is None else format_time(request.start),
            until=None if request.end is None else format_time(request.end),
            checks=len(request.checks),
            receipts=len(request.receipts),
        )


@final
class EpochKeys:
    """`prove.Keys` over the store, which keeps the keys of retired epochs sealed."""

    def __init__(self, publications: Publications, data_key: DataKey) -> None:
        self._publications = publications
        self._data_key = data_key

    async def epoch_key(self, epoch: bytes) -> SecretKey | None:
        """The key of an epoch, if it is kept."""
        row = await self._publications.epoch(epoch)
        if row is None or not row.secret_sealed:
            return None
        return self._data_key.open_epoch(row.secret_sealed, epoch)


@final
class AuditPages:
    """`server.audits.Auditing`: the log, the checks and the proofs, each under a request that was admitted."""

    def __init__(self, showing: Showing, unsealer: Unsealer, prover: Prover) -> None:
        self._showing = showing
        self._unsealer = unsealer
        self._prover = prover
        self.admit, self.range, self.statements = showing.admit, showing.range, showing.statements

    async def opened(self, digest: bytes, reader: str, first: int) -> bytes:
        """A page of the checks that a request names."""
        request = await self._showing.access(digest, reader, "open")
        page = await self._unsealer.page(request.checks, first)
        return await asyncio.to_thread(page.to_bytes)

    async def proofs(self, digest: bytes, reader: str, first: int) -> bytes:
        """A page of proofs for the receipts that a request names."""
        request = await self._showing.access(digest, reader, "prove")
        page = await self._prover.page(request.receipts, first)
        return await asyncio.to_thread(page.to_bytes)


@final
class Auditing:
    """All of it, put together."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        store, directory = shared.store, shared.directory
        self.desk = AuditDesk(shared.metrics)
        self.showing = Showing(
            member=shared.member.name,
            network=directory.network,
            registries=directory,
            log=store.ledger,
            statements=store.audits,
            requests=store.audits,
            watch=self.desk,
            now=now,
            random=secrets.token_bytes,
        )
        member = shared.member
        keys = EpochKeys(store.publications, member.data_key)
        self.pages = AuditPages(
            self.showing,
            Unsealer(member.name, member.keys.sealing, store.records),
            Prover(store.records, keys, shared.threads.run, secrets.token_bytes),
        )

    async def audits(self) -> Sequence[AuditModel]:
        """`server.clients.Audits`: who saw what of this member, and what it saw of others, newest first."""
        return [audit_model(row) for row in await self._shared.store.audits.newest(MOST)]

    def gauges(self) -> None:
        """Begin each counter at 0 before its first access: an increase from nothing raises no alert."""
        for auditor in self._shared.directory.current().with_role("auditor"):
            for action in get_args(Action):
                self._shared.metrics.audit_accesses.labels(auditor.name, action)


def audit_model(row: AuditRow) -> AuditModel:
    """A request as the client API and the command line show it: with counts in place of the ids that it names."""
    request = row.request
    return AuditModel(
        audit=row.digest.hex(),
        auditor=request.auditor,
        member=request.member,
        action=request.action,
        reason=request.reason,
        requested_at=request.requested_at,
        kept_at=row.kept_at,
        opened=request.start,
        closed=request.end,
        checks=len(request.checks),
        receipts=len(request.receipts),
        sampled_of=None if request.sample is None else request.sample.population,
    )
