"""Settle: two members sign one statement of what they owe each other, each from its own receipts alone.

    proposer                                        the other
    1. computes, signs                  -->         2. computes from its own receipts
                                                       equal: signs; both signatures and the entry for its ledger
                                                       become durable in one transaction
    3. verifies its signature, keeps    <--            not equal: sends its own statement, unsigned
       the same in one transaction
       not equal: pages of receipts are compared, and those named in which both sides differ

Whoever is killed between two steps has lost nothing: a signature that has left is recognised by the key that made it.
If the other signed and we did not hear of it, the next run gets the statement that stands, finds its own signature on
it and keeps it, whatever it would compute by then. One statement stands for a pair and a period, and periods that
overlap are refused; so no exchange is paid twice. A member may want `months` only: else who has a minute signed makes
the other settle the month around it in parts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from riskshare.audit.proposal import Disputed, Proposal, ReceiptPage, ReceiptRow, is_month, no_month, overlaps, pair
from riskshare.audit.settlement import Direction, Settlement, Tally, version_of
from riskshare.errors import AskRefused, EncodingError, InputError, PeerGarbage, RegistryError
from riskshare.ledger.receipt import Side
from riskshare.registry import Registry
from riskshare.signature import SigningKey

SETTLED_AFTER: Final = timedelta(minutes=2)
"""So long after its end a period is settled at the earliest: clocks differ by up to a minute, and what was answered
in the last second of it must be durable."""

MOST_NAMED: Final = 10_000
"""Most receipts of one direction that are named on each side of a dispute; beyond, they are only counted."""


class Receipts(Protocol):
    """The receipts that this member keeps."""

    def receipts(
        self, side: Side, counterparty: str, opened: datetime, closed: datetime
    ) -> AsyncIterator[Sequence[ReceiptRow]]:
        """Those of a period by the time of the answer, in the order of their ids, in batches of some thousand."""

    async def page(
        self, side: Side, counterparty: str, opened: datetime, closed: datetime, after: bytes
    ) -> ReceiptPage:
        """A page of the same, ids above `after`."""


class Kept(Protocol):
    """The settlements that this member has signed, and the other one too."""

    async def agreed(self, other: str, opened: datetime, closed: datetime) -> Proposal | None:
        """The one of exactly this period."""

    async def overlapping(self, other: str, opened: datetime, closed: datetime) -> tuple[datetime, datetime] | None:
        """The period of another one that has a part in common with this."""

    async def keep(self, other: str, agreed: Proposal) -> Proposal:
        """Make one durable, and its entry for the ledger; gives the one that stands for this period.

        Raises:
            InputError: code `settlement_overlap`.

        """


class Registries(Protocol):
    """The registry."""

    def current(self) -> Registry:
        """The newest version."""

    async def fetch(self, version: int) -> None:
        """Try to get a version at least as new as this from the other members."""

    async def since(self, moment: datetime) -> Sequence[Registry]:
        """The newest version issued by then (or the oldest that is kept) and all that follow it."""


class Others(Protocol):
    """The other member's peer. Every call raises PeerError."""

    async def propose(self, member: str, body: bytes) -> bytes:
        """Send a proposal; gives its answer."""

    async def receipts(self, member: str, owner: str, opened: datetime, closed: datetime, after: bytes) -> bytes:
        """A page of the receipts that it keeps of one direction."""


@dataclass(frozen=True, slots=True)
class Dispute:
    """Both sides' statements, and the exchanges in which they differ.

    `receipts` names at most `MOST_NAMED` of each side and direction, `only_ours` and `only_theirs` count all. Without
    any, something else differs.
    """

    ours: Settlement
    theirs: Settlement
    receipts: tuple[Disputed, ...]
    only_ours: int
    only_theirs: int


class Settler:
    """Settles on behalf of one member, as the one who proposes and as the other.

    `months` says that only whole months are settled; `progress` is told how many receipts were counted since it was
    last told.
    """

    def __init__(
        self,
        *,
        member: str,
        network: str,
        identity: SigningKey,
        receipts: Receipts,
        kept: Kept,
        registries: Registries,
        now: Callable[[], datetime],
        months: bool = True,
        progress: Callable[[int], None] = lambda _count: None,
    ) -> None:
        self._member = member
        self._network = network
        self._identity = identity
        self._receipts = receipts
        self._kept = kept
        self._registries = registries
        self._now = now
        self._months = months
        self._progress = progress

    async def compute(self, other: str, opened: datetime, closed: datetime) -> Settlement:
        """The settlement as our own receipts give it.

        Raises:
            InputError: code `period_open`, the period is not over for long enough; `unknown_member`.
            RegistryError: code `registry_gap`, the price of an exchange is not known.
            StoreError: the receipts cannot be read.

        """
        self._check_period(opened, closed)
        self._keys(other, closed)
        versions = await self._registries.since(opened)
        newest = [version for version in versions if version.issued_at < closed]
        if not newest:
            raise RegistryError(
                "No version of the registry that is kept here was issued before the period ended: there is nothing"
                " to settle by.",
                code="registry_gap",
            )
        one, second = sorted((self._member, other))
        return Settlement(
            network=self._network,
            opened=opened,
            closed=closed,
            registry=newest[-1].version,
            currency=newest[-1].currency,
            directions=(
                await self._direction(one, second, opened, closed, versions),
                await self._direction(second, one, opened, closed, versions),
            ),
        )

    async def _direction(
        self, owner: str, querier: str, opened: datetime, closed: datetime, versions: Sequence[Registry]
    ) -> Direction:
        found = (version_of(version, owner, querier) for version in versions)
        tally = Tally(owner, querier, [version for version in found if version is not None])
        side, counterparty = self._side(owner, querier)
        async for rows in self._receipts.receipts(side, counterparty, opened, closed):
            for row in rows:
                tally.add(row.id, row.count, row.registry, row.answered_at)
            self._progress(len(rows))
            await asyncio.sleep(0)  # payments go ahead
        return tally.direction()

    def _side(self, owner: str, querier: str) -> tuple[Side, str]:
        return ("owner", querier) if owner == self._member else ("querier", owner)

    def _check_period(self, opened: datetime, closed: datetime) -> None:
        if not opened < closed:
            raise InputError("The period ends before it begins: give --from before --to.")
        if closed + SETTLED_AFTER > self._now():
            raise InputError(
                f"A period is settled from {SETTLED_AFTER.total_seconds():.0f} seconds after its end on, not before."
                " Give an earlier --to, or wait.",
                code="period_open",
            )

    def _keys(self, member: str, closed: datetime) -> list[bytes]:
        """The identity keys with which a member may have signed a settlement of a period that ended at `closed`."""
        found, now = self._registries.current().member(member), self._now()
        if found is None or member == self._member:
            raise InputError("The registry names no such other member.", code="unknown_member")
        return [term.public for term in found.identity if term.may_sign(closed, now) or term.may_sign(now, now)]

    def _own_keys(self) -> list[bytes]:
        found = self._registries.current().member(self._member)
        return [self._identity.public, *([term.public for term in found.identity] if found else [])]

    # -- as the other --------------------------------------------------------------------------

    async def answer(self, body: bytes, proposer: str) -> bytes:
        """Answer a proposal of a member: with both signatures, or with our own statement.

        Raises:
            EncodingError: not a proposal, or one of other figures than its own lines give.
            AskRefused: `wrong_network`, `wrong_member`, `bad_signature`, `registry_mismatch`.
            InputError: `period_open`; `settlement_period`, no month; `settlement_overlap`, a part is settled already.
            RegistryError, StoreError: as `compute`.

        """
        proposal = Proposal.from_bytes(body)
        theirs = proposal.settlement
        self._check_proposal(proposal, proposer)
        stands = await self._kept.agreed(proposer, theirs.opened, theirs.closed)
        if stands is None and proposal.is_signed(self._member, self._own_keys()):
            stands = await self._kept.keep(proposer, proposal)  # what we signed before we could keep it
        if stands is not None:
            return stands.to_bytes()
        await self._refuse_period(proposer, theirs.opened, theirs.closed)
        if theirs.registry > self._registries.current().version:
            await self._registries.fetch(theirs.registry)
        ours = await self.compute(proposer, theirs.opened, theirs.closed)
        if ours.registry != theirs.registry:
            raise AskRefused(
                "registry_mismatch",
                "The other side knows another newest version of the registry for this period. Versions spread within"
                " seconds: propose it again.",
            )
        if ours.to_json() != proposal.json:
            return Proposal.of(ours).to_bytes()
        stands = await self._kept.keep(proposer, proposal.signed(self._member, self._identity))
        return stands.to_bytes()

    def _check_proposal(self, proposal: Proposal, proposer: str) -> None:
        theirs = proposal.settlement
        if theirs.network != self._network:
            raise AskRefused("wrong_network", "The settlement is of another network.")
        if set(theirs.members) != {self._member, proposer}:
            raise AskRefused("wrong_member", "A settlement is proposed by one of its two members to the other.")
        self._check_period(theirs.opened, theirs.closed)
        if not proposal.is_signed(proposer, self._keys(proposer, theirs.closed)):
            raise AskRefused("bad_signature", "The settlement is not signed by an identity key of who proposes it.")

    async def _refuse_period(self, other: str, opened: datetime, closed: datetime) -> None:
        """Refuse a new period that is no month, where only months are settled, or that reaches into another."""
        if self._months and not is_month(opened, closed):
            raise no_month()
        overlap = await self._kept.overlapping(other, opened, closed)
        if overlap is not None:
            raise overlaps(*overlap)

    async def page(self, reader: str, owner: str, opened: datetime, closed: datetime, after: bytes) -> bytes:
        """A page of our receipts of exchanges with the reader, of one direction.

        Raises:
            InputError: code `not_found`, the owner is neither of both.
            StoreError: the receipts cannot be read.

        """
        if owner not in (self._member, reader):
            raise InputError("The owner of such exchanges is one of the two members.", code="not_found")
        side, counterparty = self._side(owner, reader if owner == self._member else self._member)
        return (await self._receipts.page(side, counterparty, opened, closed, after)).to_bytes()

    # -- as the one who proposes ---------------------------------------------------------------

    async def settle(self, other: str, opened: datetime, closed: datetime, others: Others) -> Proposal | Dispute:
        """Agree on a period with another member; what is agreed is durable here when this returns.

        Raises:
            InputError: `period_open`, `unknown_member`, `settlement_period`, `settlement_overlap`.
            RegistryError, StoreError: as `compute`.
            PeerError: the other side cannot be reached, refuses, or answers with what is no answer; nothing is lost,
                and the next run goes on.

        """
        self._check_period(opened, closed)
        agreed = await self._kept.agreed(other, opened, closed)
        if agreed is not None:
            return agreed
        await self._refuse_period(other, opened, closed)
        ours = await self.compute(other, opened, closed)
        proposal = Proposal.of(ours).signed(self._member, self._identity)
        answer = self._read_answer(other, ours, await others.propose(other, proposal.to_bytes()))
        if answer.is_signed(other, self._keys(other, closed)) and answer.is_signed(self._member, self._own_keys()):
            return await self._kept.keep(other, answer)
        if answer.json == proposal.json or answer.first or answer.second:
            raise PeerGarbage(other, "It answered with a settlement that both members have not signed.")
        return await self._compare(ours, answer.settlement, others)

    def _read_answer(self, other: str, ours: Settlement, data: bytes) -> Proposal:
        try:
            answer = Proposal.from_bytes(data)
        except EncodingError as error:
            raise PeerGarbage(other, f"Its settlement is malformed: {error.message}") from error
        theirs = answer.settlement
        if (theirs.network, theirs.members, theirs.opened, theirs.closed) != (
            ours.network,
            ours.members,
            ours.opened,
            ours.closed,
        ):
            raise PeerGarbage(other, "It answered with a settlement of other members or of another period.")
        return answer

    async def _compare(self, ours: Settlement, theirs: Settlement, others: Others) -> Dispute:
        found: list[Disputed] = []
        counts = [0, 0]
        other = ours.with_other(self._member)
        for mine, its in zip(ours.directions, theirs.directions, strict=True):
            if mine.root == its.root:
                continue
            side, counterparty = self._side(mine.owner, mine.querier)
            difference = _Difference()

            async def pages(owner: str = mine.owner) -> AsyncIterator[Sequence[ReceiptRow]]:
                after, last = b"", False
                while not last:
                    data = await others.receipts(other, owner, ours.opened, ours.closed, after)
                    page = _read_page(other, data, after)
                    yield page.rows
                    after, last = page.rows[-1].id if page.rows else after, page.last

            await difference.compare(
                _rows(self._receipts.receipts(side, counterparty, ours.opened, ours.closed)), _rows(pages())
            )
            found += pair(mine.owner, mine.querier, difference.ours, difference.theirs)
            counts[0] += difference.only_ours
            counts[1] += difference.only_theirs
        return Dispute(ours, theirs, tuple(found), *counts)


class _Difference:
    """What stands in one of two sequences that are sorted by id: counted, and the first of it named."""

    def __init__(self) -> None:
        self.ours: list[ReceiptRow] = []
        self.theirs: list[ReceiptRow] = []
        self.only_ours = 0
        self.only_theirs = 0

    async def compare(self, ours: AsyncIterator[ReceiptRow], theirs: AsyncIterator[ReceiptRow]) -> None:
        """Walk both at once."""
        one, other = await anext(ours, None), await anext(theirs, None)
        while one is not None or other is not None:
            if one is not None and other is not None and one.id == other.id:
                one, other = await anext(ours, None), await anext(theirs, None)
            elif other is None or (one is not None and one.id < other.id):
                assert one is not None
                self.only_ours += 1
                if len(self.ours) < MOST_NAMED:
                    self.ours.append(one)
                one = await anext(ours, None)
            else:
                self.only_theirs += 1
                if len(self.theirs) < MOST_NAMED:
                    self.theirs.append(other)
                other = await anext(theirs, None)


async def _rows(batches: AsyncIterator[Sequence[ReceiptRow]]) -> AsyncIterator[ReceiptRow]:
    async for batch in batches:
        for row in batch:
            yield row


def _read_page(member: str, data: bytes, after: bytes) -> ReceiptPage:
    try:
        return ReceiptPage.from_bytes(data, after)
    except EncodingError as error:
        raise PeerGarbage(member, f"Its page of receipts is malformed: {error.message}") from error
