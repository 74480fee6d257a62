"""An auditor opens checks: the ones named, or a sample that it drew.

1. The checks stand in the member's log, which was replayed.
2. The member shows each record, and it is the one whose SHA-256 its check statement commits to.
3. Every element that the verdict rests on is `blind · H(identifier)` of the identifier in the record, at its position.
4. The elements and results have the Merkle roots that both halves of the receipt sign; the receipt stands in the
   member's log.
5. The owner proves (DLEQ) that it evaluated with the key of the epoch statement that stands on its ledger.
6. The snapshots named are signed by their owners, and their segments are here, byte for byte.
7. Token and label of each identifier are looked for in them, as they were at the time of the check.
8. The hits and the verdict that follow are those that were recorded.

What was shown is kept in the auditor's folder before it is judged. A second run asks only for what is missing there,
and one without any `peers` verifies the folder alone. A peer that cannot be reached, or refuses, leaves a gap; nobody
is convicted of that. A member that is asked, and answers that it has not what its log says that it had, is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol, TypeVar
from uuid import UUID

from riskshare.audit.access import MAX_NAMED
from riskshare.audit.basis import Basis, Exchange, Fault, Stated, read_basis
from riskshare.audit.opened import ShownCheck, ShownProof
from riskshare.audit.outcome import Opened, OpenedCheck
from riskshare.audit.recompute import Gap, Recomputed, Source, recompute
from riskshare.errors import PeerError, ProofError
from riskshare.ledger.merkle import pieces
from riskshare.membership import oprf
from riskshare.membership.identifier import mask

VERSIONS: Final = 8
"""An owner may be left out of a check if the registry named it only within so many versions before."""

T = TypeVar("T")

Progress = Callable[[str, int, int], None]
"""Takes a word for the phase, how many are done, and of how many."""


class Case(Protocol):
    """The facts that replay found. Every method raises DiskError."""

    def stands(self, member: str, receipt: bytes) -> bool:
        """Whether a receipt (its id) stands in a member's log."""

    def shows(self, member: str, at: datetime) -> bool:
        """Whether the part of the member's log that was replayed surely has what was kept at that time."""

    def epoch_key(self, owner: str, epoch: bytes) -> bytes | None:
        """The public key (32 bytes) of an epoch by the statement in its owner's log."""

    def owners(self, registry: int) -> frozenset[str]:
        """The owners in good standing in this version of the registry; nobody for one that is not here."""


class Shelf(Protocol):
    """The folder of what was opened. Every method raises DiskError; what is malformed there counts as missing."""

    def check(self, member: str, check: UUID) -> ShownCheck | None:
        """A check as the member showed it."""

    def keep_check(self, member: str, shown: ShownCheck) -> None:
        """Keep one, in place of what was there."""

    def proof(self, owner: str, receipt: bytes) -> ShownProof | None:
        """A proof as the owner showed it."""

    def keep_proof(self, owner: str, shown: ShownProof) -> None:
        """Keep one, in place of what was there."""


class Lists(Protocol):
    """The lists that checks looked into (`sources.Sources`)."""

    @property
    def troubles(self) -> Mapping[bytes, tuple[str, str]]:
        """Snapshots that could not be had, by digest: the list, and why."""

    async def of(self, basis: Basis) -> dict[str, Source]:
        """Those that can be had. Raises DiskError."""


class Peers(Protocol):
    """The way to the members, by requests that both sides log."""

    def opened(self, member: str, checks: Sequence[UUID]) -> AsyncIterator[ShownCheck]:
        """Have checks opened, at most `MAX_NAMED`; in their order. Raises PeerError."""

    def proofs(self, owner: str, receipts: Sequence[bytes]) -> AsyncIterator[ShownProof]:
        """Have exchanges proved, at most `MAX_NAMED`; in their order. Raises PeerError."""


class Opener:
    """Opens checks of one member."""

    def __init__(self, member: str, *, case: Case, shelf: Shelf, lists: Lists, peers: Peers | None) -> None:
        self._member = member
        self._case = case
        self._shelf = shelf
        self._lists = lists
        self._peers = peers
        self._proven: set[bytes] = set()

    async def open(self, checks: Sequence[Stated], progress: Progress) -> Opened:
        """Open and recompute the checks; the first step was the caller's.

        Raises:
            DiskError: the folder cannot be used.

        """
        opened = Opened(self._member)
        await self._have_opened([one.check for one in checks], opened, progress)
        exchanges = await asyncio.to_thread(self._exchanges, checks)
        opened.exchanges = len(exchanges)
        by_owner: dict[str, list[Exchange]] = {}
        for exchange in exchanges.values():
            by_owner.setdefault(exchange.ask.owner, []).append(exchange)
        done = 0
        for owner, asked in sorted(by_owner.items()):
            await self._have_proved(owner, asked, opened)
            for exchange in asked:
                await self._verify(exchange, opened)
                done += 1
                progress("proofs", done, len(exchanges))
        opened.proofs = len(self._proven)
        for number, stated in enumerate(checks, 1):
            opened.checks.append(await self._recompute(stated))
            progress("checks", number, len(checks))
        opened.gaps += [("6", f"{name}: {why}") for name, why in self._lists.troubles.values()]
        return opened

    # -- what is shown ---------------------------------------------------------------

    async def _have_opened(self, checks: Sequence[UUID], opened: Opened, progress: Progress) -> None:
        missing = [check for check in checks if not self._is_open(check)]
        done = len(checks) - len(missing)
        if self._peers is None:
            return
        try:
            for some in _parts(missing):
                async for shown in self._peers.opened(self._member, some):
                    self._shelf.keep_check(self._member, shown)
                    done += 1
                    progress("records", done, len(checks))
        except PeerError as error:
            opened.gaps.append(("2", error.message))

    def _is_open(self, check: UUID) -> bool:
        shown = self._shelf.check(self._member, check)
        return shown is not None and shown.state == "opened"

    def _basis(self, stated: Stated) -> Basis | Fault | None:
        shown = self._shelf.check(self._member, stated.check)
        return None if shown is None else read_basis(self._member, stated, shown)

    def _exchanges(self, checks: Iterable[Stated]) -> dict[bytes, Exchange]:
        """All exchanges that the checks rest on, by id; read for this alone: one record is in memory at a time."""
        found: dict[bytes, Exchange] = {}
        for stated in checks:
            basis = self._basis(stated)
            if isinstance(basis, Basis):
                found.update((exchange.id, exchange) for exchange in basis.rests_on)
        return found

    # -- what is proved --------------------------------------------------------------

    async def _have_proved(self, owner: str, exchanges: Sequence[Exchange], opened: Opened) -> None:
        missing = [exchange.id for exchange in exchanges if not self._is_proved(owner, exchange.id)]
        if self._peers is None:
            return
        try:
            for some in _parts(missing):
                async for shown in self._peers.proofs(owner, some):
                    self._shelf.keep_proof(owner, shown)
        except PeerError as error:
            opened.gaps.append(("5", error.message))

    def _is_proved(self, owner: str, receipt: bytes) -> bool:
        shown = self._shelf.proof(owner, receipt)
        return shown is not None and shown.state == "proved"

    async def _verify(self, exchange: Exchange, opened: Opened) -> None:
        """Verify the proof of one exchange, or convict its owner of what it shows instead."""
        owner = exchange.ask.owner
        shown = self._shelf.proof(owner, exchange.id)
        if shown is None:
            return
        if shown.state != "proved":
            if shown.state == "key_destroyed" or self._case.stands(owner, exchange.id):
                reason = "has destroyed the key, and kept no proof" if shown.state == "key_destroyed" else "has it not"
                sentence = f"The log of {owner} has the exchange; asked to prove its evaluation, it {reason}."
                opened.owner_faults.append(Fault("5", "withheld", owner, sentence, exchange.id))
            return
        public = self._case.epoch_key(owner, exchange.ask.epoch)
        if public is None:
            opened.gaps.append(
                ("5", f"The epoch of an exchange does not stand in the log of {owner} that was replayed.")
            )
            return
        if not exchange.holds(shown.elements, shown.evaluated):
            sentence = f"{owner} shows other elements for an exchange than those whose roots both halves sign."
            opened.owner_faults.append(Fault("5", "withheld", owner, sentence, exchange.id))
        elif await asyncio.to_thread(_holds, public, shown):
            self._proven.add(exchange.id)
        else:
            sentence = (
                f"{owner} cannot prove that it evaluated with the key of its epoch statement: what it shows as a proof"
                " does not hold for the elements and results that it signed."
            )
            opened.owner_faults.append(Fault("5", "wrong_key", owner, sentence, exchange.id))

    # -- what follows ----------------------------------------------------------------

    async def _recompute(self, stated: Stated) -> OpenedCheck:
        basis = await asyncio.to_thread(self._basis, stated)
        if basis is None:
            return OpenedCheck(stated, gaps=(("2", "the member has not shown the record"),))
        if isinstance(basis, Fault):
            return OpenedCheck(stated, faults=(basis,))
        sources = await self._lists.of(basis)
        found = await asyncio.to_thread(
            recompute, basis, self._elements(basis), self._proven, sources, self._owners(basis)
        )
        return OpenedCheck(
            stated,
            basis.record.purpose,
            tuple(map(mask, basis.record.identifiers)),
            found,
            *self._standing(basis, found),
        )

    def _elements(self, basis: Basis) -> Mapping[bytes, tuple[bytes, bytes]]:
        """Elements and results of each exchange: the member's, or else the owner's, if they are those signed."""
        found = dict(basis.elements)
        for exchange in basis.rests_on:
            if exchange.id not in found:
                shown = self._shelf.proof(exchange.ask.owner, exchange.id)
                if shown is not None and exchange.holds(shown.elements, shown.evaluated):
                    found[exchange.id] = shown.elements, shown.evaluated
        return found

    def _owners(self, basis: Basis) -> frozenset[str]:
        """Owners whom the querier must have known: of the registry named in a fresh ask, and of some before it."""
        fresh = {(part.owner, part.batch) for part in basis.record.asked if not part.cached}
        versions = [one.ask.registry for one in basis.rests_on if (one.ask.owner, one.ask.batch) in fresh]
        if not versions:
            return frozenset()
        newest = max(versions)
        named = [self._case.owners(version) for version in range(max(1, newest - VERSIONS), newest + 1)]
        return frozenset.intersection(*named)

    def _standing(self, basis: Basis, found: Recomputed) -> tuple[tuple[Fault, ...], tuple[Gap, ...]]:
        """Faults and gaps, with those of receipts that do not stand in the member's log."""
        faults, gaps = list(found.faults), list(found.gaps)
        for exchange in basis.rests_on:
            if self._case.stands(self._member, exchange.id):
                continue
            if self._case.shows(self._member, exchange.answer.answered_at):
                sentence = f"The record rests on an exchange with {exchange.ask.owner} that {self._member} did not log."
                faults.append(Fault("4", "missing", self._member, sentence, exchange.id))
            else:
                gaps.append(("", "an exchange may stand in a part of the log that was not replayed"))
        return tuple(faults), tuple(dict.fromkeys(gaps))


def _holds(public: bytes, shown: ShownProof) -> bool:
    try:
        oprf.verify_proof(public, pieces(shown.elements), pieces(shown.evaluated), shown.proof)
    except ProofError:
        return False
    return True


def _parts(items: Sequence[T]) -> Iterable[Sequence[T]]:
    """As many at once as one request may name."""
    return (items[start : start + MAX_NAMED] for start in range(0, len(items), MAX_NAMED))
