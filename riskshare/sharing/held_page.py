"""What members tell one another that they hold of others, so that two versions of one thing are found (pure).

`GET /peer/v1/held` is answered with the CBOR map

    {"checkpoints": [note, ...], "statements": [[key, digest], ...]}

A *key* says what a statement is about and tells nothing to those who do not hold one about the same; the digest says
which statement is held. Two digests under one key are a fraud proof, once `GET /peer/v1/held/{digest}` has given the
other statement. Only lists that are open to all members are told. The checkpoints are those held of other members'
logs, each with the signature of its log alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from riskshare.encoding import cbor_decode, cbor_encode, length_prefixed, sha256
from riskshare.errors import EncodingError
from riskshare.ledger.checkpoint import SignedCheckpoint, parse_signed
from riskshare.sharing.epoch import EpochStatement
from riskshare.sharing.signed import Signed
from riskshare.sharing.snapshot import SnapshotStatement

HELD = "/peer/v1/held"
HELD_STATEMENT = "/peer/v1/held/{digest}"

MAX_STATEMENTS = 65_536
MAX_CHECKPOINTS = 4_096
MAX_NOTE = 4 * 1024
"""Longest checkpoint on a page, in bytes: with its log's signatures alone it has some 300."""

MAX_PAGE_BYTES = 8 * 1024 * 1024
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class HeldStatement:
    """A statement of another owner: what it is about, its digest (of an epoch: its name), itself as received."""

    key: bytes
    digest: bytes
    owner: str
    signed: Signed


def held_statement(value: EpochStatement | SnapshotStatement, signed: Signed) -> HeldStatement:
    """What is told of a statement that is held.

    The key of a snapshot is SHA-256(epoch digest ‖ list ‖ version), the version as 8 bytes, big-endian; that of an
    epoch SHA-256 over owner and keyset, length-prefixed, and number, as 8 bytes.
    """
    if isinstance(value, EpochStatement):
        parts = length_prefixed(value.owner.encode(), value.keyset.encode()) + value.number.to_bytes(8, "big")
        return HeldStatement(sha256(parts), value.digest, value.owner, signed)
    parts = value.epoch + value.list_name.encode() + value.version.to_bytes(8, "big")
    return HeldStatement(sha256(parts), signed.digest, value.owner, signed)


@dataclass(frozen=True, slots=True)
class HeldPage:
    """What a member holds of others: digests by key, and checkpoints; nothing is verified."""

    statements: Mapping[bytes, bytes]
    checkpoints: tuple[SignedCheckpoint, ...]

    def to_bytes(self) -> bytes:
        """The CBOR map; keys sorted."""
        notes = [signed.note.to_bytes() for signed in self.checkpoints]
        return cbor_encode(
            {"checkpoints": notes, "statements": [[key, self.statements[key]] for key in sorted(self.statements)]}
        )


def make_held(statements: Iterable[HeldStatement], checkpoints: Sequence[SignedCheckpoint]) -> HeldPage:
    """The page of what is held, as much as has room."""
    found = sorted((statement.key, statement.digest) for statement in statements)
    return HeldPage(dict(found[:MAX_STATEMENTS]), tuple(checkpoints[:MAX_CHECKPOINTS]))


def read_held(data: bytes) -> HeldPage:
    """Read what `HeldPage.to_bytes` wrote, strictly.

    Raises:
        EncodingError: too long; not such a map; a key or digest that is not 32 bytes; keys that do not grow; what is
            no checkpoint, or too many.

    """
    parts: Any = cbor_decode(data, limit=MAX_PAGE_BYTES)
    if not isinstance(parts, dict) or parts.keys() != {"checkpoints", "statements"}:
        raise EncodingError("What a member holds has not exactly the fields of such a page.")
    notes, pairs = parts["checkpoints"], parts["statements"]
    if type(notes) is not list or type(pairs) is not list:
        raise EncodingError("What a member holds has fields of another type.")
    if len(notes) > MAX_CHECKPOINTS or len(pairs) > MAX_STATEMENTS:
        raise EncodingError("What a member holds is more than such a page has room for.")
    if any(type(note) is not bytes for note in notes) or not all(map(_is_pair, pairs)):
        raise EncodingError("What a member holds names a checkpoint, a key or a digest of another form.")
    if any(after[0] <= before[0] for before, after in pairwise(pairs)):
        raise EncodingError("The keys of what a member holds do not grow.")
    return HeldPage(dict(pairs), tuple(parse_signed(note, limit=MAX_NOTE) for note in notes))


def _is_pair(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(part) is bytes and len(part) == _DIGEST_BYTES for part in value)
    )
