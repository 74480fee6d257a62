"""Members that settle with each other in memory: real keys, a real registry, and a wire that may break at any step."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from riskshare.audit.proposal import Proposal, ReceiptPage, ReceiptRow, overlaps
from riskshare.audit.settle import Settler
from riskshare.encoding import format_time
from riskshare.errors import PeerDown
from riskshare.ledger.receipt import Side
from riskshare.registry import Registry
from tests.simulator.network import SimulatedNetwork

OPENED = datetime(2026, 11, 1, tzinfo=UTC)
CLOSED = datetime(2026, 11, 8, tzinfo=UTC)
LATER = CLOSED + timedelta(hours=1)
PAGE = 3
"""Receipts on a page here: so that a dispute needs several."""


class Killed(BaseException):
    """The process ended here."""


class Versions:
    """The registry as one member sees it: the first `upto` versions, or all."""

    def __init__(self, network: SimulatedNetwork, upto: int | None = None) -> None:
        self.network = network
        self.upto = upto
        self.fetched: list[int] = []

    def _all(self) -> Sequence[Registry]:
        return self.network.history[: self.upto]

    def current(self) -> Registry:
        return self._all()[-1]

    async def fetch(self, version: int) -> None:
        self.fetched.append(version)
        self.upto = None

    async def since(self, moment: datetime) -> Sequence[Registry]:
        before = [place for place, version in enumerate(self._all()) if version.issued_at <= moment]
        return self._all()[before[-1] if before else 0 :]


@dataclass
class Ledger:
    """`settle.Kept` in memory; `dies` names the step at which the process ends."""

    rows: dict[tuple[str, datetime, datetime], Proposal] = field(default_factory=dict)
    dies: str = ""

    async def agreed(self, other: str, opened: datetime, closed: datetime) -> Proposal | None:
        return self.rows.get((other, opened, closed))

    async def overlapping(self, other: str, opened: datetime, closed: datetime) -> tuple[datetime, datetime] | None:
        for member, start, end in self.rows:
            if member == other and start < closed and end > opened and (start, end) != (opened, closed):
                return start, end
        return None

    async def keep(self, other: str, agreed: Proposal) -> Proposal:
        assert agreed.complete
        if self.dies == "before keeping":
            raise Killed
        overlap = await self.overlapping(other, agreed.settlement.opened, agreed.settlement.closed)
        if overlap is not None:
            raise overlaps(*overlap)
        place = (other, agreed.settlement.opened, agreed.settlement.closed)
        stands = self.rows.setdefault(place, agreed)
        if self.dies == "after keeping":
            raise Killed
        return stands


class Party:
    """A member that settles: its receipts by side and counterparty, its ledger, and the others that it reaches."""

    def __init__(self, network: SimulatedNetwork, name: str, *, upto: int | None = None, months: bool = False) -> None:
        self.name = name
        self.kept: dict[tuple[Side, str], dict[bytes, ReceiptRow]] = {}
        self.ledger = Ledger()
        self.versions = Versions(network, upto)
        self.reach: dict[str, Party] = {}
        self.now = LATER
        self.loses = ""
        self.settler = Settler(
            member=name,
            network=network.name,
            identity=network.members[name].identity,
            receipts=self,
            kept=self.ledger,
            registries=self.versions,
            now=lambda: self.now,
            months=months,
        )

    async def receipts(
        self, side: Side, counterparty: str, opened: datetime, closed: datetime
    ) -> AsyncIterator[Sequence[ReceiptRow]]:
        rows = self._period(side, counterparty, opened, closed)
        for start in range(0, len(rows), 2):
            yield rows[start : start + 2]

    async def page(
        self, side: Side, counterparty: str, opened: datetime, closed: datetime, after: bytes
    ) -> ReceiptPage:
        rows = [row for row in self._period(side, counterparty, opened, closed) if row.id > after]
        return ReceiptPage(tuple(rows[:PAGE]), len(rows) <= PAGE)

    def _period(self, side: Side, counterparty: str, opened: datetime, closed: datetime) -> list[ReceiptRow]:
        rows = self.kept.get((side, counterparty), {})
        start, end = format_time(opened), format_time(closed)
        return [row for _, row in sorted(rows.items()) if start <= row.answered_at < end]

    # -- the way to the others: `settle.Others` -----------------------------------------------------

    async def propose(self, member: str, body: bytes) -> bytes:
        if self.loses == "proposal":
            raise PeerDown(member, "lost")
        answer = await self.reach[member].settler.answer(body, self.name)
        if self.loses == "answer":
            raise PeerDown(member, "lost")
        if self.loses == "process":
            raise Killed
        return answer

    async def settle(self, other: str, opened: datetime = OPENED, closed: datetime = CLOSED):
        return await self.settler.settle(other, opened, closed, Way(self))


class Way:
    """`settle.Others`: the party's own way to the others."""

    def __init__(self, party: Party) -> None:
        self._party = party
        self.propose = party.propose

    async def receipts(self, member: str, owner: str, opened: datetime, closed: datetime, after: bytes) -> bytes:
        return await self._party.reach[member].settler.page(self._party.name, owner, opened, closed, after)


def exchange(
    owner: Party, querier: Party, number: int, *, count: int = 1, hours: float = 1, registry: int = 2
) -> ReceiptRow:
    """An exchange that both keep."""
    made = random.Random(f"{owner.name}/{querier.name}/{number}")
    row = ReceiptRow(
        made.randbytes(32),
        UUID(bytes=made.randbytes(16), version=4),
        count,
        registry,
        format_time(OPENED + timedelta(hours=hours)),
    )
    owner.kept.setdefault(("owner", querier.name), {})[row.id] = row
    querier.kept.setdefault(("querier", owner.name), {})[row.id] = row
    return row


def connect(*parties: Party) -> None:
    """Let all reach one another."""
    for party in parties:
        party.reach = {other.name: other for other in parties}
