r"""The entry of a log: 32 bytes that commit to a statement and tell nothing of it (pure).

`SHA-256(salt ‖ kind ‖ "\n" ‖ statement)`, with a salt of 16 fresh random bytes. The salt stays with the member and
is shown to counterparties and auditors; without it nobody can test a guess against an entry. Every entry has the same
length whatever it stands for, so that an outsider who reads a whole log learns how many entries a member made and when,
and nothing else: not even of which kinds they are.

The salt has a fixed length and no kind has a newline in it: no two leaves give the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from riskshare.encoding import cbor_decode, cbor_encode, sha256
from riskshare.errors import EncodingError
from riskshare.ledger.merkle import leaf_hash
from riskshare.statement import SALT_BYTES

KINDS = frozenset({"receipt", "check", "unanswered", "snapshot", "epoch", "registry", "settlement", "audit"})
"""What may stand on a ledger. Of `receipt` the statement is the CBOR array of both halves; of `unanswered` the
ask alone; of all others the canonical JSON of the signed statement of that kind."""

ENTRY_BYTES = 32

MAX_STATEMENT = 16 * 1024 * 1024
"""Longest statement of a leaf, in bytes: that of a registry."""

MAX_BYTES = MAX_STATEMENT + 64
"""Longest CBOR of a leaf."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """What an entry stands for: its kind, the salt (16 bytes) and the bytes of the statement.

    Raises:
        ValueError: the kind is none of `KINDS`, or the salt not 16 bytes: a mistake in our own code.

    """

    kind: str
    salt: bytes = field(repr=False)
    statement: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse what would not be unambiguous as an entry."""
        if self.kind not in KINDS:
            raise ValueError("the ledger has no such kind of entry")
        if len(self.salt) != SALT_BYTES:
            raise ValueError("the salt of a leaf is 16 bytes")

    @property
    def entry(self) -> bytes:
        """The entry in the log, 32 bytes."""
        return sha256(self.salt + self.kind.encode() + b"\n" + self.statement)

    @property
    def hash(self) -> bytes:
        """The entry's hash in the tree (RFC 6962 2.1), 32 bytes."""
        return leaf_hash(self.entry)

    def to_bytes(self) -> bytes:
        """The CBOR array [salt, kind, statement], as it is shown to counterparties and auditors."""
        return cbor_encode([self.salt, self.kind, self.statement])

    @classmethod
    def from_bytes(cls, data: bytes) -> Leaf:
        """Read what `to_bytes` wrote; the statement itself is not looked into.

        Raises:
            EncodingError: not such an array, a kind that the ledger does not have, or a salt of another length.

        """
        parts = cbor_decode(data, limit=MAX_BYTES)
        if not isinstance(parts, list) or [type(part) for part in parts] != [bytes, str, bytes]:
            raise EncodingError("A ledger leaf is not a CBOR array of salt, kind and statement.")
        salt, kind, statement = parts
        try:
            return cls(kind, salt, statement)
        except ValueError as error:
            raise EncodingError("A ledger leaf has an unknown kind, or a salt that is not 16 bytes.") from error
