"""This member's log in a running peer: grown and finalized by the one process that leads, witnessed by every one."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Final, final

from riskshare.client import LedgerClient
from riskshare.errors import LedgerError, StoreError
from riskshare.ledger.checkpoint import origin_of
from riskshare.ledger.cosign import Witness
from riskshare.ledger.finalize import Finalizer, quorum_of
from riskshare.ledger.sequence import Sequencer
from riskshare.logs import get_log
from riskshare.metrics import Metrics
from riskshare.peer.adapters import WitnessDesk
from riskshare.peer.chores import Chore, Chores
from riskshare.peer.opening import now
from riskshare.peer.parts import Shared

SEQUENCE_SECONDS: Final = 0.5
"""An entry is in the log within a second of what it stands for."""

OFFER_SECONDS: Final = 10.0
"""So long a witness may take; a round does not wait for it."""


def witness_of(shared: Shared) -> Witness:
    """This member as witness of all others' logs."""
    desk = WitnessDesk(shared.store.trust, shared.metrics)
    return Witness(
        member=shared.member.name,
        key=shared.member.keys.witness,
        registries=shared.directory,
        memory=shared.store.ledger,
        evidence=desk,
        watch=desk,
    )


@final
class LedgerWork:
    """The log's chores: `lead` runs them for as long as this process leads, and begins anew each time it comes to."""

    def __init__(self, shared: Shared, client: LedgerClient, chores: Chores) -> None:
        self._shared = shared
        self._client = client
        self._sequence = Chore("sequence", self._grow, SEQUENCE_SECONDS)
        self._finalize = Chore("finalize", self._offer, SEQUENCE_SECONDS)
        self._begun = False
        for chore in (self._sequence, self._finalize):
            chores.watch(chore)

    async def lead(self) -> None:
        """Grow the log and have it cosigned, until cancelled."""
        shared, member = self._shared, self._shared.member.name
        self._begun = False
        self._sequencer = Sequencer(
            origin=origin_of(shared.directory.network, member),
            key=shared.member.keys.ledger,
            log=shared.store.ledger,
            now=now,
        )
        self._finalizer = Finalizer(
            log=shared.store.ledger,
            witnesses=self,
            quorum=lambda: quorum_of(shared.directory.current(), member, now()),
            watch=_OfferWatch(shared.metrics),
            now=now,
        )
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._sequence.run())
                group.create_task(self._finalize.run())
        finally:
            self._sequence.failures = self._finalize.failures = 0
            await self._finalizer.close()

    async def submit(self, member: str, body: bytes) -> tuple[int, bytes]:
        """`finalize.Witnesses`."""
        return await self._client.add_checkpoint(member, body, OFFER_SECONDS)

    async def _grow(self) -> None:
        if not self._begun:
            await self._sequencer.open()
            self._begun = await self._finalizer.begin()
            if not self._begun:
                return  # too few witnesses have told what they have seen: asks and checks go on, and entries wait
            get_log().info("ledger_begun", member=self._shared.member.name)
        if await self._sequencer.step():
            self._finalize.wake()

    async def _offer(self) -> None:
        if self._begun:
            await self._finalizer.round()

    async def gauges(self, moment: datetime) -> None:
        """Size, what waits, what is final and since when, for the metrics."""
        metrics, ledger = self._shared.metrics, self._shared.store.ledger
        head, final_head = await ledger.head(), await ledger.final()
        metrics.ledger_size.set(head.size if head else 0)
        metrics.ledger_pending.set(await ledger.pending())
        metrics.ledger_halted.set(await ledger.halted() is not None)
        if final_head is not None and final_head.final_at is not None:
            metrics.ledger_final_size.set(final_head.size)
            metrics.ledger_final_age.set((moment - final_head.final_at).total_seconds())

    async def healthy(self) -> None:
        """Return if the log may grow. Raises LedgerError, with the reason of the halt."""
        try:
            halted = await self._shared.store.ledger.halted()
        except StoreError:
            return  # that is what the part `store` tells
        if halted is not None:
            raise LedgerError(halted[1], code=halted[0])


@final
class _OfferWatch:
    """`finalize.Watch`: what comes of each offer goes into metrics, and into the log once as long as it stays."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._told: dict[str, str] = {}

    def offered(self, witness: str, code: str) -> None:
        self._metrics.ledger_cosigned.labels(witness, code).inc()
        if code == self._told.get(witness, "cosigned"):
            return
        self._told[witness] = code
        if code in {"ahead", "disputed"}:
            get_log().error("ledger_claim", witness=witness, code=code)
        elif code == "cosigned":
            get_log().info("witness_recovered", witness=witness)
        else:
            get_log().warning("witness_failed", witness=witness, code=code)
