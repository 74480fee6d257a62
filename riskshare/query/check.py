"""The check: fan out to every owner that it concerns, look up, decide, keep the record.

What a payment waits for, in order: blinding (one per identifier, shared by all owners), one round
trip to the slowest owner, finalizing and looking up, and one durable write. The inversion of the
blinds, the key of the record and the member's own lists are computed while the owners work; a bucket
that a maybe needs is fetched at once, while others are awaited.

Order of durability: the verdict leaves only after the sealed record, the receipts that it rests on
and the asks that failed are durable, all in one commit; only then its tokens may serve another check. A crash
before that leaves no verdict; the owners' receipts are adopted at the next start.

When the deadline passes, an element that has not left is withdrawn. One that has left goes on: its place stands
in the record, and `ask` keeps the receipt when it comes, or the ask as unanswered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from riskshare.errors import (
    EncodingError,
    GroupError,
    OpenError,
    PeerError,
    SegmentError,
    StoreError,
)
from riskshare.ledger.receipt import KeptReceipt, UnansweredAsk
from riskshare.ledger.sealed import SealedCheck
from riskshare.membership import oprf
from riskshare.membership.record import label, open_record, record_key
from riskshare.query.awake import Awake
from riskshare.query.batch import AskFailed, Batch, Inbox, Ticket, let_leave
from riskshare.query.held import HeldEpoch, HeldList, HeldOwner, merged
from riskshare.query.hours import HourKeys, SealedHourKey
from riskshare.query.sealing import Blank, Sealer
from riskshare.query.tokens import CachedToken, TokenCache
from riskshare.query.tokens import Key as TokenKey
from riskshare.query.verdict import (
    Asked,
    Hit,
    OwnerResult,
    OwnerStatus,
    Question,
    Verdict,
    check_question,
    decide,
    status_of,
    worst,
)
from riskshare.sharing.segment_read import NeedBucket
from riskshare.signature import SigningKey

INLINE = 8
"""Up to so many identifiers are worked on in the event loop; more go to a thread (about 60 µs each)."""

COMMIT_SECONDS = 2.0
"""How long a verdict waits for its commit, deadline or not; then there is none, and the client is told."""


class Holdings(Protocol):
    """What this member holds of all lists, its own included."""

    def concerning(self, categories: frozenset[str], now: datetime, purpose: str | None = None) -> Sequence[HeldOwner]:
        """Every owner that the registry names, with the lists of these categories (empty: all) for that purpose."""

    def own_key(self, epoch: bytes) -> oprf.SecretKey | None:
        """This member's own OPRF key of an epoch of its own."""

    async def bucket(self, owner: str, held: HeldList, need: NeedBucket, label: bytes) -> bytes | None:
        """Fetch a bucket (on-demand mode) and give the sealed record that it holds for the label, if any.

        Raises:
            PeerError, SegmentError: it cannot be had, or is not what the snapshot says.

        """


class Asking(Protocol):
    """The way to the owners' evaluation (`ask.Asker`)."""

    def submit(self, owner: str, epoch: bytes, purpose: str, element: bytes) -> Ticket:
        """Ask for one element. Raises StoreError if too much waits to be made durable."""

    def settled(self, batches: Sequence[Batch]) -> None:
        """These batches are durable."""


class Records(Protocol):
    """The store, querier's side."""

    async def keep(
        self,
        check: SealedCheck,
        receipts: Sequence[KeptReceipt],
        unanswered: Sequence[UnansweredAsk],
        hour_key: SealedHourKey | None,
        reply: Any,
        /,
    ) -> None:
        """Make all of it durable in one commit. `reply` is what the API layer keeps for an Idempotency-Key, or None.

        Raises:
            StoreError: it is not known to be durable.

        """


@dataclass(slots=True, repr=False)
class _Owner:
    """How one owner fares in a running check."""

    held: HeldOwner
    waiting: int = 0
    ms: float = 0.0
    statuses: list[OwnerStatus] = field(default_factory=list)


@dataclass(slots=True, repr=False)
class _Part:
    """One identifier at one epoch of one owner."""

    owner: _Owner
    epoch: HeldEpoch
    identifier: int
    ticket: Ticket


@dataclass(slots=True, repr=False)
class _Found:
    """A label that stands, or may stand, on a list; `bucket` is the fetch that will tell."""

    owner: _Owner
    held: HeldList
    identifier: int
    label: bytes
    key: bytes
    bucket: asyncio.Future[bytes | None] | None = None


@dataclass(slots=True, repr=False)
class _Run:
    """The state of one check."""

    question: Question
    started: float
    now: datetime
    inputs: list[bytes]
    blinds: dict[int, bytes] = field(default_factory=dict)
    inverses: dict[int, bytes] = field(default_factory=dict)
    hits: list[Hit] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    receipts: dict[bytes, None] = field(default_factory=dict)
    batches: dict[int, Batch] = field(default_factory=dict)
    fresh: list[tuple[TokenKey, CachedToken]] = field(default_factory=list)
    inbox: Inbox[_Part | _Found] = field(default_factory=Inbox)


class Checker:
    """Answers the questions of this member's payment systems."""

    def __init__(
        self,
        *,
        member: str,
        network: str,
        identity: SigningKey,
        holdings: Holdings,
        asking: Asking,
        records: Records,
        cache: TokenCache,
        hours: HourKeys,
        awake: Awake,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        random: Callable[[int], bytes],
    ) -> None:
        self._member = member
        self._holdings = holdings
        self._asking = asking
        self._records = records
        self._cache = cache
        self._awake = awake
        self._sealer = Sealer(member, network, identity, hours, random)
        self._now = now
        self._monotonic = monotonic
        self._random = random

    async def check(self, question: Question, reply: Callable[[Verdict], object] | None = None) -> Verdict:
        """Ask all owners about the identifiers and decide, within the deadline and one commit.

        An owner that is down, late or wrong makes the verdict incomplete and is named in it. `reply` makes what
        the API layer keeps for an Idempotency-Key, in the same commit. The milliseconds of the verdict are those
        until it was reached; the commit is not in them.

        Raises:
            InputError: no identifiers, or a purpose, reference or identifier that no check can have.
            StoreError: the record is not known to be durable, so there is no verdict.

        """
        check_question(question)
        now = self._now()
        run = _Run(question, self._monotonic(), now, [identifier.oprf_input for identifier in question.identifiers])
        owners = [
            _Owner(held) for held in merged(self._holdings.concerning(question.categories, now, question.purpose))
        ]
        others = [owner for owner in owners if owner.held.owner != self._member]
        self._awake.begin(sum(1 for owner in others if owner.held.epochs))
        try:
            try:
                await self._submit(run, others)
                blank = await self._meanwhile(run, [owner for owner in owners if owner.held.owner == self._member])
                await self._collect(run)
            finally:
                self._abandon(run)
            verdict = self._conclude(run, owners, blank.check)
            await self._keep(run, blank, verdict, owners, reply(verdict) if reply else None)
        finally:
            self._awake.end()
        return verdict

    async def _submit(self, run: _Run, owners: Sequence[_Owner]) -> None:
        """Blind each identifier once and submit it to every epoch whose token is not cached."""
        missing = [
            (owner, epoch, index)
            for owner in owners
            for epoch in owner.held.epochs
            for index in range(len(run.inputs))
            if not self._from_cache(run, owner, epoch, index)
        ]
        for _, _, index in missing:
            if index not in run.blinds:
                run.blinds[index] = oprf.scalar_from_random(self._random(64))
        blinded = await asyncio.to_thread(_blind, run) if len(run.blinds) > INLINE else _blind(run)
        for owner, epoch, index in missing:
            ticket = self._asking.submit(owner.held.owner, epoch.digest, run.question.purpose, blinded[index])
            owner.waiting += 1
            run.inbox.expect(ticket, _Part(owner, epoch, index, ticket))

    def _from_cache(self, run: _Run, owner: _Owner, epoch: HeldEpoch, index: int) -> bool:
        found = self._cache.get(_token_key(run, owner, epoch, index), self._monotonic())
        if found is None:
            return False
        owner.statuses.append("cached")
        run.receipts[found.receipt] = None
        run.asked.append(
            Asked(index, owner.held.owner, epoch.digest, found.batch, found.position, found.blind, cached=True)
        )
        self._look(run, owner, epoch, index, found.token)
        return True

    async def _meanwhile(self, run: _Run, own: Sequence[_Owner]) -> Blank:
        """What needs no answer yet: done after the asks have left."""
        if run.inbox.waiting:
            await let_leave()
        run.inverses.update(zip(run.blinds, oprf.invert_many(list(run.blinds.values())), strict=True))
        for owner in own:
            for epoch in owner.held.epochs:
                key = self._holdings.own_key(epoch.digest)
                if key is None:
                    owner.statuses.append("stale")
                    continue
                if len(run.inputs) > INLINE:
                    tokens = await asyncio.to_thread(oprf.tokens, key, run.inputs)
                else:
                    tokens = oprf.tokens(key, run.inputs)
                for index, token in enumerate(tokens):
                    self._look(run, owner, epoch, index, token)
            owner.ms = self._elapsed(run)
        return self._sealer.blank(run.now)

    async def _collect(self, run: _Run) -> None:
        """Take answers and buckets as they come, until all are there or the deadline passes."""
        if not run.inbox.waiting:
            return
        left = run.question.deadline - (self._monotonic() - run.started)
        timer = asyncio.get_running_loop().call_later(max(0.0, left), run.inbox.end)
        try:
            while run.inbox.waiting and (arrived := await run.inbox.take()):
                for one in arrived:
                    if isinstance(one, _Part):
                        self._take(run, one)
                    else:
                        self._take_bucket(run, one)
        finally:
            timer.cancel()

    def _abandon(self, run: _Run) -> None:
        """Withdraw what has not left; stop waiting for what has."""
        for one in run.inbox.abandon():
            if isinstance(one, _Part):
                self._left(run, one, "late")
            else:
                one.owner.statuses.append("late")
                one.owner.ms = self._elapsed(run)

    def _take(self, run: _Run, part: _Part) -> None:
        try:
            evaluated = part.ticket.done.result()
        except AskFailed as failure:
            self._left(run, part, status_of(failure.reason))
            return
        try:
            token = oprf.finalize(run.inputs[part.identifier], run.inverses[part.identifier], evaluated)
        except GroupError:
            self._left(run, part, "untrusted")
            return
        self._left(run, part, "answered")
        batch, position = part.ticket.batch, part.ticket.position
        assert batch is not None, "what was answered has left"
        run.receipts[batch.receipt_id] = None
        blind = run.blinds[part.identifier]
        run.fresh.append(
            (
                _token_key(run, part.owner, part.epoch, part.identifier),
                CachedToken(token, batch.ask.batch, position, blind, batch.receipt_id),
            )
        )
        self._look(run, part.owner, part.epoch, part.identifier, token)

    def _left(self, run: _Run, part: _Part, status: OwnerStatus) -> None:
        owner, ticket = part.owner, part.ticket
        owner.statuses.append(status)
        owner.waiting -= 1
        if not owner.waiting:
            owner.ms = self._elapsed(run)
        batch = ticket.batch
        if batch is not None:
            run.batches[id(batch)] = batch
        run.asked.append(
            Asked(
                part.identifier,
                owner.held.owner,
                part.epoch.digest,
                None if batch is None else batch.ask.batch,
                ticket.position,
                run.blinds[part.identifier],
            )
        )

    def _look(self, run: _Run, owner: _Owner, epoch: HeldEpoch, index: int, token: bytes) -> None:
        """Look for a token's label in all lists of its epoch."""
        for held in epoch.lists:
            wanted = label(token, held.name)
            try:
                found = held.view.find(wanted)
            except SegmentError:
                owner.statuses.append("untrusted")
                continue
            if found is None:
                continue
            place = _Found(owner, held, index, wanted, record_key(token, held.name))
            if isinstance(found, NeedBucket):
                place.bucket = asyncio.ensure_future(self._holdings.bucket(owner.held.owner, held, found, wanted))
                run.inbox.watch(place.bucket, place)
            else:
                self._open(run, place, found)

    def _open(self, run: _Run, place: _Found, sealed: bytes) -> None:
        """A label found is a hit only if its record opens, and is valid still."""
        try:
            record = open_record(sealed, place.key, place.held.name, place.label)
        except (OpenError, EncodingError):
            place.owner.statuses.append("untrusted")
            return
        if record.valid_until > run.now:
            run.hits.append(Hit(place.identifier, place.owner.held.owner, place.held.name, record))

    def _take_bucket(self, run: _Run, place: _Found) -> None:
        assert place.bucket is not None
        place.owner.ms = self._elapsed(run)
        try:
            sealed = place.bucket.result()
        except SegmentError:
            place.owner.statuses.append("untrusted")
        except PeerError as error:
            place.owner.statuses.append(status_of(error))
        else:
            if sealed is not None:
                self._open(run, place, sealed)

    def _conclude(self, run: _Run, owners: Sequence[_Owner], check: UUID) -> Verdict:
        results = tuple(_result(owner) for owner in owners)
        hits = tuple(sorted(run.hits, key=lambda hit: (hit.identifier, hit.list)))
        word, complete = decide(hits, results)
        return Verdict(
            check=check,
            word=word,
            complete=complete,
            hits=hits,
            owners=results,
            receipts=tuple(run.receipts),
            ms=self._elapsed(run),
            answered_at=self._now(),
        )

    async def _keep(
        self, run: _Run, blank: Blank, verdict: Verdict, owners: Sequence[_Owner], reply: object | None
    ) -> None:
        """Seal the record and make everything that the verdict rests on durable, in one commit."""
        snapshots = {held.name: held.digest for owner in owners for epoch in owner.held.epochs for held in epoch.lists}
        sealed = self._sealer.seal(blank, run.question, verdict, run.asked, snapshots)
        batches = [batch for batch in run.batches.values() if not batch.durable and (batch.kept or batch.unanswered)]
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await self._records.keep(
                    sealed,
                    [batch.kept for batch in batches if batch.kept],
                    [batch.unanswered for batch in batches if not batch.kept and batch.unanswered],
                    blank.sealed_key,
                    reply,
                )
        except TimeoutError as error:
            raise StoreError(
                "The check could not be made durable in time, so there is no verdict. Ask again.", in_doubt=True
            ) from error
        self._asking.settled(batches)
        self._sealer.kept(sealed)
        for key, token in run.fresh:
            self._cache.keep(key, token, self._monotonic())

    def _elapsed(self, run: _Run) -> float:
        """Milliseconds since the check began."""
        return (self._monotonic() - run.started) * 1000


def _token_key(run: _Run, owner: _Owner, epoch: HeldEpoch, index: int) -> TokenKey:
    return owner.held.owner, epoch.digest, run.question.purpose, run.question.identifiers[index].canonical


def _blind(run: _Run) -> dict[int, bytes]:
    return {index: oprf.blind(run.inputs[index], blind) for index, blind in run.blinds.items()}


def _result(owner: _Owner) -> OwnerResult:
    statuses = list(owner.statuses)
    if owner.held.state != "current":
        statuses.append(owner.held.state)
    lists = [held for epoch in owner.held.epochs for held in epoch.lists]
    if not all(held.current for held in lists):
        statuses.append("stale")
    return OwnerResult(owner.held.owner, worst(statuses), owner.ms, {held.name: held.version for held in lists})
