"""Two histories of one log: two checkpoints of one size with different roots, both signed by it (pure).

They convict the log by themselves: whoever has its key can verify it years later, and need not ask anybody.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from riskshare.encoding import cbor_decode, cbor_encode, sha256
from riskshare.errors import EncodingError, LedgerError
from riskshare.ledger.checkpoint import SignedCheckpoint, parse_signed
from riskshare.ledger.note import MAX_BYTES as MAX_NOTE
from riskshare.ledger.note import VerifierKey, verify

KIND = "two_histories"
"""The kind of this evidence among all that a member keeps."""

MAX_BYTES = 2 * MAX_NOTE + 64
"""Longest evidence that is read, in bytes."""


@dataclass(frozen=True, slots=True)
class TwoHistories:
    """What a log signed first, as far as the finder knows, and what it signed then."""

    first: SignedCheckpoint
    second: SignedCheckpoint

    @property
    def origin(self) -> str:
        """The log."""
        return self.first.checkpoint.origin

    @property
    def size(self) -> int:
        """The size for which it has two roots."""
        return self.first.checkpoint.size

    @property
    def about(self) -> bytes:
        """32 bytes, the same for whatever else convicts the log of this size: one fraud is kept once."""
        return sha256(f"{KIND}\n{self.origin}\n{self.size}\n".encode())

    def to_bytes(self) -> bytes:
        """The evidence: a CBOR array of both signed notes."""
        return cbor_encode([self.first.note.to_bytes(), self.second.note.to_bytes()])

    def verify(self, keys: Iterable[VerifierKey]) -> None:
        """Convict the log, or refuse to; `keys` are those that it has or had, but for keys that others may have had.

        1. Both checkpoints are of one log and one size, and their roots differ.
        2. Keys of the log signed both.

        Raises:
            LedgerError: codes `no_proof`, `bad_signature`, `duplicate_signature`.

        """
        first, second = self.first.checkpoint, self.second.checkpoint
        # 1.
        if (first.origin, first.size) != (second.origin, second.size) or first.root == second.root:
            raise LedgerError("The two checkpoints do not contradict each other.", code="no_proof")
        # 2.
        own = tuple(key for key in keys if key.name == first.origin)
        for signed in (self.first, self.second):
            verify(signed.note, own)


def parse_histories(data: bytes) -> TwoHistories:
    """Read the evidence that `to_bytes` wrote; nothing is verified.

    Raises:
        EncodingError: too long, not an array of two notes, a note that is no checkpoint.

    """
    parts = cbor_decode(data, limit=MAX_BYTES)
    if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, bytes) for part in parts):
        raise EncodingError("Evidence of two histories is not an array of two signed notes.")
    first, second = map(parse_signed, parts)
    return TwoHistories(first, second)
