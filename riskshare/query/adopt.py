"""After a crash: ask each owner for receipts of ours that we do not know, and adopt them.

A querier that dies between sending an ask and keeping its receipt has forgotten a query that the owner has
accounted for.
At start it therefore asks every owner for what is there since a little before the last receipt that it kept itself.
An adopted receipt is verified like any other, and must bear our own signature: it is an ask that we made.
It cannot be opened (the blinds died with the process), is marked so, and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
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

BEGINNING: Final = datetime(2018, 1, 1, tzinfo=UTC)


class Pages(Protocol):
    """The owner's side: our receipts there, page by page. Raises PeerError."""

    async def receipts(self, owner: str, since: datetime, after: int = 0) -> list[PagedReceipt]:
        """A page of receipts kept since a time, with numbers above `after`; empty at the end."""


class Kept(Protocol):
    """Our own side. Raises StoreError."""

    async def last_kept(self, owner: str) -> datetime | None:
        """When the last receipt of an owner was kept here."""

    async def known_batches(self, owner: str, batches: Sequence[UUID]) -> Collection[UUID]:
        """Those of the batches whose receipts are kept here."""

    async def keep_receipts(self, receipts: Sequence[KeptReceipt]) -> None:
        """Make receipts durable."""


class Verified(Protocol):
    """`Asker.verified`."""

    def __call__(self, ask: Ask, sent: AskMessage, data: bytes, *, adopted: bool) -> KeptReceipt:
        """Verify an answer to an ask. Raises PeerGarbage."""


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
    ) -> None:
        self._querier = querier
        self._network = network
        self._own_keys = own_keys
        self._pages = pages
        self._kept = kept
        self._verified = verified
        self._since: dict[str, datetime] = {}

    async def begin(self, owners: Iterable[str]) -> None:
        """Note where the search at each owner begins. Called before anything new is asked: new receipts move it.

        Raises:
            StoreError: it is not known.

        """
        for owner in owners:
            self._since[owner] = await self._begin(owner)

    async def _begin(self, owner: str) -> datetime:
        last = await self._kept.last_kept(owner)
        return BEGINNING if last is None else last - BEFORE

    async def adopt(self, owner: str, refused: Callable[[PeerGarbage], None] = lambda _: None) -> int:
        """Adopt all receipts of an owner that are not known here; return how many.

        `refused` is told of each that is not ours or does not hold; it stands in nobody's way.

        Raises:
            PeerError: the owner cannot be asked.
            StoreError: what was adopted before stays adopted.

        """
        since = self._since.get(owner) or await self._begin(owner)
        adopted = after = 0
        while page := await self._pages.receipts(owner, since, after):
            after = page[-1].seq
            ours: dict[UUID, tuple[Ask, PagedReceipt]] = {}
            for item in page:
                try:
                    ask = self._own(owner, item)
                except PeerGarbage as error:
                    refused(error)
                else:
                    ours[ask.batch] = ask, item
            known = await self._kept.known_batches(owner, list(ours))
            fresh: list[KeptReceipt] = []
            for batch, (ask, item) in ours.items():
                if batch not in known:
                    try:
                        fresh.append(self._verified(ask, item.ask, item.answer, adopted=True))
                    except PeerGarbage as error:
                        refused(error)
            if fresh:
                await self._kept.keep_receipts(fresh)
                adopted += len(fresh)
        self._since.pop(owner, None)
        return adopted

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
