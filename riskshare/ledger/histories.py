"""Two histories of one log: two checkpoints, both signed by it, that cannot be of one tree (pure).

Of one size with two roots, they convict the log by themselves. Of two sizes, the log's own tiles do: they make the
tree that the larger one signed, and its first entries have another root, the `prefix`, than the smaller one signed; a
consistency proof from there to the larger one stands with them. Whoever has the log's key can verify either years
later, and need not ask anybody.

A log that does not give the tiles between two of its checkpoints is suspect, and not convicted: both are kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from riskshare.encoding import cbor_decode, cbor_encode, sha256
from riskshare.errors import EncodingError, LedgerError
from riskshare.ledger.addition import MAX_PROOF
from riskshare.ledger.checkpoint import SignedCheckpoint, parse_signed
from riskshare.ledger.merkle import HASH_BYTES, pieces
from riskshare.ledger.note import MAX_BYTES as MAX_NOTE
from riskshare.ledger.note import Note, VerifierKey, verify
from riskshare.ledger.proof import (
    ReadNode,
    consistency_nodes,
    prove_consistency,
    tree_nodes,
    tree_root,
    verify_consistency,
)
from riskshare.ledger.tile import Tile, tiles_of

KIND = "two_histories"
"""The kind of this evidence among all that a member keeps."""

SUSPECT = "suspect_log"
"""The kind of two checkpoints of which the log has not shown that one extends the other."""

MAX_BYTES = 2 * MAX_NOTE + (MAX_PROOF + 1) * HASH_BYTES + 64
"""Longest evidence that is read, in bytes."""


@dataclass(frozen=True, slots=True)
class TwoHistories:
    """What a log signed first, as far as the finder knows, and what it signed then; of two sizes, the smaller first.

    `prefix` is the root of the second tree's first entries, as many as the first checkpoint names, and `proof` the
    consistency proof from there to the second root; b"" and () for equal sizes, and while nothing is proven.
    """

    first: SignedCheckpoint
    second: SignedCheckpoint
    prefix: bytes = field(default=b"", repr=False)
    proof: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def origin(self) -> str:
        """The log."""
        return self.first.checkpoint.origin

    @property
    def size(self) -> int:
        """The size for which it has two roots."""
        return self.first.checkpoint.size

    @property
    def kind(self) -> str:
        """`two_histories`, or `suspect_log` while nothing is proven."""
        return KIND if self.prefix or self.size == self.second.checkpoint.size else SUSPECT

    @property
    def about(self) -> bytes:
        """32 bytes, the same for whatever else convicts the log of this size: one fraud is kept once.

        Between checkpoints of two sizes there are endlessly many pairs: one of them is enough.
        """
        same = self.size == self.second.checkpoint.size
        return sha256(f"{self.kind}\n{self.origin}\n{self.size if same else ''}\n".encode())

    def to_bytes(self) -> bytes:
        """The evidence: a CBOR array of both signed notes, and of prefix and proof if there are any."""
        notes = [self.first.note.to_bytes(), self.second.note.to_bytes()]
        return cbor_encode([*notes, self.prefix, b"".join(self.proof)] if self.prefix else notes)

    def verify(self, keys: Iterable[VerifierKey]) -> None:
        """Convict the log, or refuse to; `keys` are those that it has or had, but for keys that others may have had.

        1. Both checkpoints are of one log.
        2. They contradict each other: one size has two roots, or the prefix is not the first root.
        3. Keys of the log signed both.
        4. The proof leads from the prefix to the second root.

        Raises:
            LedgerError: codes `no_proof`, `bad_signature`, `duplicate_signature`.

        """
        first, second = self.first.checkpoint, self.second.checkpoint
        # 1.
        if first.origin != second.origin:
            raise LedgerError("The two checkpoints are not of one log.", code="no_proof")
        # 2.
        if self.kind == SUSPECT:
            raise LedgerError(
                "The log has not shown that one of these checkpoints extends the other, which convicts nobody."
                " Ask it for a consistency proof.",
                code="no_proof",
            )
        if first.root == (self.prefix or second.root):
            raise LedgerError("The two checkpoints do not contradict each other.", code="no_proof")
        # 3.
        own = tuple(key for key in keys if key.name == first.origin)
        for signed in (self.first, self.second):
            verify(signed.note, own)
        # 4.
        if self.prefix:
            try:
                verify_consistency(first.size, second.size, self.proof, self.prefix, second.root)
            except LedgerError as error:
                raise LedgerError("The proof does not lead to the second checkpoint.", code="no_proof") from error


def parse_histories(data: bytes) -> TwoHistories:
    """Read the evidence that `to_bytes` wrote; nothing is verified.

    Raises:
        EncodingError: too long, not an array of two notes with or without prefix and proof, a note that is no
            checkpoint.

    """
    parts: Any = cbor_decode(data, limit=MAX_BYTES)
    if not isinstance(parts, list) or len(parts) not in (2, 4) or not all(isinstance(part, bytes) for part in parts):
        raise EncodingError("Evidence of two histories is not an array of two signed notes.")
    first, second = map(parse_signed, parts[:2])
    if len(parts) == 2:
        return TwoHistories(first, second)
    prefix, proof = parts[2:]
    if len(prefix) != HASH_BYTES or len(proof) % HASH_BYTES or len(proof) > MAX_PROOF * HASH_BYTES:
        raise EncodingError("Evidence of two histories has a prefix or a proof of another length.")
    return TwoHistories(first, second, prefix, tuple(pieces(proof)))


def history_tiles(first: SignedCheckpoint, second: SignedCheckpoint) -> tuple[Tile, ...]:
    """The tiles of the second, larger tree that `find_histories` reads."""
    old, new = first.checkpoint.size, second.checkpoint.size
    return tiles_of({*tree_nodes(old), *consistency_nodes(old, new)}, new)


def find_histories(first: SignedCheckpoint, second: SignedCheckpoint, read: ReadNode) -> TwoHistories | None:
    """Hold two signed checkpoints of a log against each other, the smaller first; `read` gives the second's tree.

    Gives what convicts the log, or None if the first tree is a beginning of the second. Of equal sizes nothing is read.

    Raises:
        LedgerError: codes `wrong_tile`, `wrong_consistency`: what the log serves is not the second tree, so that
            nothing is proven either way.

    """
    old, new = first.checkpoint, second.checkpoint
    if old.size == new.size:
        return None if old.root == new.root else TwoHistories(first, second)
    prefix = tree_root(old.size, read)
    proof = prove_consistency(old.size, new.size, read)
    verify_consistency(old.size, new.size, proof, prefix, new.root)
    return None if prefix == old.root else TwoHistories(first, second, prefix, proof)


def bare(signed: SignedCheckpoint, keys: Iterable[VerifierKey]) -> SignedCheckpoint:
    """A checkpoint with the signatures of its log alone: what convicts, without the witnesses.

    Raises:
        LedgerError: codes `bad_signature` (none of them signed it, or one does not hold), `duplicate_signature`.

    """
    own = [key for key in keys if key.name == signed.checkpoint.origin]
    signatures = tuple(one.signature for one in verify(signed.note, own))
    return SignedCheckpoint(signed.checkpoint, Note(signed.note.text, signatures))
