"""After a crash: ask each owner for receipts of ours that we do not know, and adopt them.

A querier that dies between sending an ask and keeping its receipt has forgotten a query that the owner has
accounted for.
At start it therefore asks every owner for what is there since a little before the last receipt that it kept itself.

Order of durability: the search is opened in the store before anything new is asked -> a page's receipts are kept -> the
mark moves behind them -> at the end the search is closed. A crash between any two steps leaves a search open, at a
mark behind which nothing is missing; the next start goes on from there, whatever was kept meanwhile.

An owner may still be answering what was sent just before the crash, and numbers may become visible out of their
order. So a search ends only with a second pass, `LATE` after its beginning, over what the owner has kept since a little
before the first. A pass that is broken off, as by an owner that gives no more pages for now, goes on where it was: the
mark alone, which lies before what was read, might never move on.

An adopted receipt is verified like any other, and must bear our own signature: it is an ask that we made.
It cannot be opened (the blinds died with the process), is marked so, and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from riskshare.errors import EncodingError, PeerGarbage
from riskshare.ledger.receipt import KeptReceipt
from riskshare.query.message import Ask, AskMessage
from riskshare.query.receipt_page import PagedReceipt
from riskshare.signature import verify
from riskshare.statement import signed_bytes

BEFORE: Final = timedelta(minutes=15)
"""How long before the last receipt kept the search begins: clocks differ, and asks overtake one another."""

LATE: Final = timedelta(minutes=3)
"""After this time no ask is admitted that was sent before it, whatever the clocks within their tolerance."""

MOST_REFUSED: Final = 640
"""After so many receipts in our name that are not ours, the owner is not asked for more in this round."""

BEGINNING: Final = datetime(2018, 1, 1, tzinfo=UTC)


class Pages(Protocol):
    """The owner's side: our receipts there, page by page. Raises PeerError."""

    async def receipts(self, owner: str, since: datetime, after: int = 0) -> list[PagedReceipt]:
        """A page of receipts kept since a time, with numbers above `after`; empty at the end."""


class Kept(Protocol):
    """Our own side. Raises StoreError."""

    async def last_kept(self, owner: str) -> datetime | None:
        """When the last receipt of an owner was kept here."""

    async def begin_adoption(self, owner: str, upto: datetime) -> datetime:
        """Open a search, or take up the open one; give the time from which it goes on: `upto`, or an earlier one."""

    async def move_adoption(self, owner: str, upto: datetime) -> None:
        """Note that nothing is missing of what the owner kept before `upto`."""

    async def end_adoption(self, owner: str) -> None:
        """Close the search."""

    async def known_batches(self, owner: str, batches: Sequence[UUID]) -> Collection[UUID]:
        """Those of the batches whose receipts are kept here."""

    async def keep_receipts(self, receipts: Sequence[KeptReceipt]) -> None:
        """Make receipts durable."""


class Verified(Protocol):
    """`Asker.verified`."""

    def __call__(self, ask: Ask, sent: AskMessage, data: bytes, *, adopted: bool) -> KeptReceipt:
        """Verify an answer to an ask. Raises PeerGarbage."""


@dataclass(slots=True)
class _Pass:
    """One way through what an owner has kept since a time: when it began, whether it is the last, how far it looks.

    `after` is the number of the last receipt that was read, `newest` the time of the newest ask among them; so many
    were `adopted`.
    """

    since: datetime
    began: datetime
    is_last: bool
    end: datetime
    after: int = 0
    newest: datetime = BEGINNING
    adopted: int = 0


@dataclass(slots=True)
class _Search:
    """A search at one owner: from where it goes on, and not before when; when it began, by our clock."""

    since: datetime
    began: datetime
    due: datetime
    under_way: _Pass | None = None

    def next_pass(self, now: datetime) -> _Pass:
        """The pass that was broken off behind its first page, or a new one."""
        if self.under_way is None or not self.under_way.after:
            is_last = now - self.began >= LATE
            self.under_way = _Pass(self.since, now, is_last, self.began + LATE if is_last else now)
        return self.under_way


class Adopter:
    """Adopts receipts on behalf of one querier."""

    def __init__(
        self,
        *,
        querier: str,
        network: str,
        own_keys: Callable[[], Sequence[bytes]],
        pages: Pages,
        kept: Kept,
        verified: Verified,
        now: Callable[[], datetime],
    ) -> None:
        self._querier = querier
        self._network = network
        self._own_keys = own_keys
        self._pages = pages
        self._kept = kept
        self._verified = verified
        self._now = now
        self._open: dict[str, _Search] = {}

    async def begin(self, owners: Iterable[str]) -> None:
        """Open a search at each owner. Called before anything new is asked: new receipts move where it would begin.

        Raises:
            StoreError: it is not open at all of them.

        """
        for owner in owners:
            last = await self._kept.last_kept(owner)
            since = await self._kept.begin_adoption(owner, BEGINNING if last is None else last - BEFORE)
            now = self._now()
            self._open[owner] = _Search(since, began=now, due=now)

    def due(self) -> Collection[str]:
        """The owners to call `adopt` for now."""
        now = self._now()
        return [owner for owner, search in self._open.items() if search.due <= now]

    async def adopt(self, owner: str, refused: Callable[[PeerGarbage], None] = lambda _: None) -> int:
        """Make a pass over the receipts at an owner where a search is open, or end it; return how many it adopted.

        `refused` is told of each that is not ours or does not hold; it stands in nobody's way.

        Raises:
            PeerError: the owner cannot be asked, or most of what it has is not ours (`bad_signature`). What was adopted
                stays adopted, and `adopt` goes on from there.
            StoreError: as well.

        """
        search = self._open.get(owner)
        if search is None:
            return 0
        current = search.next_pass(self._now())
        strange = 0
        # What has been asked since the end was not forgotten: who asks all the time has no empty page.
        while current.newest < current.end and (
            page := await self._pages.receipts(owner, current.since, current.after)
        ):
            asks, count = await self._adopt_page(owner, page, search.began, refused)
            current.adopted += count
            current.after = page[-1].seq
            # By our own signed times: numbers grow with the time of keeping, but for some seconds, and an ask is
            # kept at most a clock's tolerance before its own time.
            current.newest = max((ask.asked_at for ask in asks), default=current.newest)
            await self._move(owner, search, min(current.began, current.newest) - BEFORE)
            strange += len(page) - len(asks)
            if strange > MOST_REFUSED:
                raise PeerGarbage(owner, "The owner keeps many receipts that are not ours.", code="bad_signature")
        search.under_way = None
        if current.is_last:
            await self._kept.end_adoption(owner)
            del self._open[owner]
        else:
            await self._move(owner, search, current.began - LATE)
            search.due = search.began + LATE
        return current.adopted

    async def _adopt_page(
        self, owner: str, page: Sequence[PagedReceipt], before: datetime, refused: Callable[[PeerGarbage], None]
    ) -> tuple[Sequence[Ask], int]:
        """Keep what is not known of a page, and was asked before a time; later asks this process has not forgotten.

        Gives the asks of the page that are ours, and how many receipts were adopted.
        """
        ours: dict[UUID, tuple[Ask, PagedReceipt]] = {}
        for item in page:
            try:
                ask = self._own(owner, item)
            except PeerGarbage as error:
                refused(error)
            else:
                ours[ask.batch] = ask, item
        asked_before = {batch for batch, (ask, _) in ours.items() if ask.asked_at < before}
        forgotten = asked_before - set(await self._kept.known_batches(owner, list(asked_before)))
        fresh: list[KeptReceipt] = []
        for batch, (ask, item) in ours.items():
            if batch in forgotten:
                try:
                    fresh.append(self._verified(ask, item.ask, item.answer, adopted=True))
                except PeerGarbage as error:
                    refused(error)
        if fresh:
            await self._kept.keep_receipts(fresh)
        return [ask for ask, _ in ours.values()], len(fresh)

    async def _move(self, owner: str, search: _Search, upto: datetime) -> None:
        if upto > search.since:
            await self._kept.move_adoption(owner, upto)
            search.since = upto

    def _own(self, owner: str, item: PagedReceipt) -> Ask:
        """The ask of a receipt, if it is one that we signed, to this owner."""
        try:
            ask = Ask.from_json(item.ask.ask)
        except EncodingError as error:
            raise PeerGarbage(owner, "The owner keeps a receipt of ours whose ask is malformed.") from error
        signed = signed_bytes("ask", self._network, item.ask.ask)
        ours = any(verify(key, signed, item.ask.signature) for key in self._own_keys())
        if not ours or ask.querier != self._querier or ask.owner != owner:
            raise PeerGarbage(
                owner, "The owner keeps a receipt in our name that we did not sign.", code="bad_signature"
            )
        return ask
