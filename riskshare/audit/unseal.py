"""A member shows an auditor the records of checks that an admitted request names.

The hour key of a record is sealed to the member itself (HPKE), so its private sealing key is needed here: it comes in
when the peer is built, is used in a thread, and for nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from typing import Protocol
from uuid import UUID

from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey

from riskshare.audit.opened import (
    BATCH_BYTES,
    MAX_BATCHES,
    MAX_ON_PAGE,
    PAGE_BYTES,
    BatchState,
    OpenedPage,
    ShownBatch,
    ShownCheck,
)
from riskshare.errors import EncodingError, InputError, OpenError
from riskshare.ledger.receipt import KeptReceipt, Side
from riskshare.ledger.sealed import HourKey, SealedCheck, open_hour_key, open_record
from riskshare.query.check_record import CheckRecord

Place = tuple[str, UUID]
"""Owner and batch."""


class Records(Protocol):
    """What this member keeps of its checks. Every method raises StoreError."""

    async def check(self, check: UUID) -> SealedCheck | None:
        """The sealed record of one check."""

    async def hour_key(self, key: UUID) -> tuple[UUID, datetime, bytes] | None:
        """An hour key: id, hour, sealed bytes."""

    async def receipt_of_batch(self, side: Side, counterparty: str, batch: UUID) -> KeptReceipt | None:
        """The receipt of one batch."""

    async def known_batches(self, owner: str, batches: Sequence[UUID]) -> set[UUID]:
        """Those of the batches of which a receipt or the unanswered ask is kept."""


class Unsealer:
    """Opens the records of one member."""

    def __init__(self, member: str, sealing: MLKEM768X25519PrivateKey, records: Records) -> None:
        self._member = member
        self._sealing = sealing
        self._records = records
        self._hours: dict[UUID, HourKey] = {}
        # One at a time: an audit can wait, and memory is bounded by one page.
        self._turn = asyncio.Lock()

    def __repr__(self) -> str:
        return f"Unsealer({self._member})"

    async def page(self, checks: Sequence[UUID], first: int) -> OpenedPage:
        """Show the checks from number `first` on, as many as have room on a page.

        Raises:
            InputError: code `not_found`, so many are not named.
            StoreError: PostgreSQL is away.

        """
        if not 0 <= first < len(checks):
            raise InputError("The request names fewer checks than that.", code="not_found")
        shown: list[ShownCheck] = []
        size = 0
        async with self._turn:
            try:
                for check in islice(checks, first, first + MAX_ON_PAGE):
                    shown.append(await self._show(check))
                    size += shown[-1].size
                    if size >= PAGE_BYTES:
                        break
            finally:
                self._hours.clear()
        return OpenedPage(first, first + len(shown), tuple(shown))

    async def _show(self, check: UUID) -> ShownCheck:
        sealed = await self._records.check(check)
        if sealed is None:
            return ShownCheck(check, "unknown")
        try:
            plaintext, places = await self._open(sealed)
        except OpenError:
            return ShownCheck(check, "sealed")
        batches: list[ShownBatch] = []
        size = 0
        for owner, batch in islice(places, MAX_BATCHES):
            one = await self._batch(owner, batch) if size < BATCH_BYTES else ShownBatch(owner, batch, "left_out")
            size += len(one.receipt) + len(one.elements) + len(one.evaluated)
            batches.append(one)
        return ShownCheck(check, "opened", plaintext, tuple(batches))

    async def _open(self, sealed: SealedCheck) -> tuple[bytes, Sequence[Place]]:
        """The plaintext of a record, and the batches that it names. Raises OpenError."""
        key = self._hours.get(sealed.hour_key)
        if key is None:
            kept = await self._records.hour_key(sealed.hour_key)
            if kept is None:
                raise OpenError("The hour key of a check is not kept any more.")
            number, hour, closed = kept
            key = self._hours[number] = await asyncio.to_thread(
                open_hour_key, closed, self._sealing, member=self._member, id=number, hour=hour
            )
        return await asyncio.to_thread(_read, sealed, key, self._member)

    async def _batch(self, owner: str, batch: UUID) -> ShownBatch:
        kept = await self._records.receipt_of_batch("querier", owner, batch)
        if kept is not None:
            state: BatchState = "adopted" if kept.adopted else "answered"
            return ShownBatch(owner, batch, state, kept.receipt.to_bytes(), kept.elements, kept.evaluated)
        known = await self._records.known_batches(owner, [batch])
        return ShownBatch(owner, batch, "unanswered" if known else "unknown")


def _read(sealed: SealedCheck, key: HourKey, member: str) -> tuple[bytes, Sequence[Place]]:
    plaintext = open_record(sealed.record, key, member=member, check=sealed.id)
    try:
        record = CheckRecord.from_bytes(plaintext)
    except EncodingError:
        return plaintext, []  # not one that we wrote: the auditor judges it
    return plaintext, list(dict.fromkeys((part.owner, part.batch) for part in record.asked if part.batch is not None))
