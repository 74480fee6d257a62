"""An owner proves to an auditor that it evaluated with the key of the epoch statement that stands on its ledger.

One batched proof (DLEQ, RFC 9497 2.2) for each receipt. Where a proof was stored with the receipt, that one is shown;
else it is made with the epoch's key, which is kept sealed for as long as audits may ask. A proof does not tell the key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Protocol

from riskshare.audit.opened import MAX_ON_PAGE, PAGE_BYTES, PAGE_ELEMENTS, ProofsPage, ShownProof
from riskshare.errors import InputError
from riskshare.ledger.merkle import pieces
from riskshare.ledger.receipt import KeptReceipt
from riskshare.membership import oprf


class Receipts(Protocol):
    """What this member keeps of its exchanges."""

    async def receipt(self, digest: bytes) -> KeptReceipt | None:
        """The receipt with this id (32 bytes). Raises StoreError."""


class Keys(Protocol):
    """The keys of all epochs of this owner, retired ones too."""

    async def epoch_key(self, epoch: bytes) -> oprf.SecretKey | None:
        """The key of an epoch (digest of its statement); None if it was destroyed. Raises StoreError, OpenError."""


Run = Callable[[Callable[[], bytes]], Awaitable[bytes]]
"""Computes off the event loop."""


class Prover:
    """Proves the evaluations of one owner."""

    def __init__(self, receipts: Receipts, keys: Keys, run: Run, random: Callable[[int], bytes]) -> None:
        self._receipts = receipts
        self._keys = keys
        self._run = run
        self._random = random
        # One at a time: payments come first.
        self._turn = asyncio.Lock()

    async def page(self, receipts: Sequence[bytes], first: int) -> ProofsPage:
        """Prove the exchanges from number `first` on, as many as have room on a page.

        Raises:
            InputError: code `not_found`, so many are not named.
            StoreError: PostgreSQL is away.
            OpenError: an epoch's key does not open.

        """
        if not 0 <= first < len(receipts):
            raise InputError("The request names fewer receipts than that.", code="not_found")
        shown: list[ShownProof] = []
        size = elements = 0
        async with self._turn:
            for receipt in islice(receipts, first, first + MAX_ON_PAGE):
                one = await self._prove(receipt)
                shown.append(one)
                size += one.size
                elements += len(one.elements) // 32
                if size >= PAGE_BYTES or elements >= PAGE_ELEMENTS:
                    break
        return ProofsPage(first, first + len(shown), tuple(shown))

    async def _prove(self, receipt: bytes) -> ShownProof:
        kept = await self._receipts.receipt(receipt)
        if kept is None or kept.side != "owner":
            return ShownProof(receipt, "unknown")
        proof = kept.proof
        if not proof:
            key = await self._keys.epoch_key(kept.epoch)
            if key is None:
                return ShownProof(receipt, "key_destroyed")
            scalar = oprf.scalar_from_random(self._random(64))
            proof = await self._run(lambda: _proof(key, kept, scalar))
        return ShownProof(receipt, "proved", proof, kept.elements, kept.evaluated)


def _proof(key: oprf.SecretKey, kept: KeptReceipt, scalar: bytes) -> bytes:
    return oprf.prove(key, pieces(kept.elements), pieces(kept.evaluated), scalar)
