"""The receipt of one exchange: both signed halves, as both members keep them.

Its bytes are the CBOR array [ask, signature, answer, signature] in deterministic encoding,
its id the SHA-256 of those. Members also keep the elements that both halves commit to.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from riskshare.encoding import cbor_byte_strings, cbor_decode, measure_byte_strings, sha256
from riskshare.errors import EncodingError

Side = Literal["owner", "querier"]

MAX_BYTES = 132 * 1024
"""Largest receipt that is read: two statements of 64 KiB each (`message.MAX_STATEMENT_BYTES`) and room.

What an owner admits must come back out of its store: an ask names up to 256 snapshots."""

_PARTS = 4


@dataclass(frozen=True, slots=True)
class Receipt:
    """Both halves of one exchange, signed.

    `ask` and `answer` are canonical JSON, the signatures 64 bytes each.
    """

    ask: bytes = field(repr=False)
    ask_signature: bytes = field(repr=False)
    answer: bytes = field(repr=False)
    answer_signature: bytes = field(repr=False)
    _written: bytes = field(default=b"", init=False, repr=False, compare=False)

    def to_bytes(self) -> bytes:
        """The CBOR array of the four parts. Written once: its id and its row in the store are made of it, too."""
        if not self._written:
            parts = [self.ask, self.ask_signature, self.answer, self.answer_signature]
            object.__setattr__(self, "_written", cbor_byte_strings(parts))
        return self._written

    @classmethod
    def from_bytes(cls, data: bytes) -> Receipt:
        """Read what `to_bytes` wrote; signatures are not verified here.

        Raises:
            EncodingError: not such an array.

        """
        parts = cbor_decode(data, limit=MAX_BYTES, measure=measure_byte_strings)
        if not isinstance(parts, list) or len(parts) != _PARTS:
            raise EncodingError("A receipt is not a CBOR array of four byte strings.")
        if len(parts[1]) != 64 or len(parts[3]) != 64:
            raise EncodingError("A receipt's signature is not 64 bytes.")
        return cls(*parts)

    @property
    def id(self) -> bytes:
        """SHA-256 of the receipt's bytes, 32 bytes."""
        return sha256(self.to_bytes())

    @property
    def ask_digest(self) -> bytes:
        """SHA-256 of the ask: what makes two asks of one batch the same, 32 bytes."""
        return hashlib.sha256(self.ask).digest()


@dataclass(frozen=True, slots=True)
class KeptReceipt:
    """A receipt with what a member keeps beside it for the audit window.

    `counterparty` is the other member; `epoch` the digest of the epoch statement that the ask
    names; `count` the number of elements; `elements` and `evaluated` 32·count bytes; `proof` 64 bytes or b"";
    `salt` the 16 bytes that blind the ledger leaf; `adopted` says that the querier learned of it
    only by asking the owner after a crash.
    """

    side: Side
    counterparty: str
    batch: UUID
    epoch: bytes = field(repr=False)
    count: int
    receipt: Receipt = field(repr=False)
    elements: bytes = field(repr=False)
    evaluated: bytes = field(repr=False)
    proof: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    adopted: bool = False


@dataclass(frozen=True, slots=True)
class UnansweredAsk:
    """An ask that this member sent and has no answer to, kept until it is resolved.

    The querier goes on sending the identical bytes; what stays without an answer is later
    logged alone, as `unanswered`.
    """

    owner: str
    batch: UUID
    epoch: bytes = field(repr=False)
    count: int
    ask: bytes = field(repr=False)
    ask_signature: bytes = field(repr=False)
    elements: bytes = field(repr=False)
    salt: bytes = field(repr=False)
