"""What members tell one another that they hold of others, so that two versions of one thing are found (pure).

`GET /peer/v1/held?after=0` is answered with the CBOR map

    {"checkpoints": [note, ...], "next": 4711, "statements": [[key, digest], ...]}

of the first statements that are held, in the order in which they came to be held; what came since is asked for with
`after` = `next`. So each is told once. Told are snapshots of the epochs in use: not the newest alone, for a fork may
have been shown at any version, but as many of the older ones as `survives` leaves; and with each page all epochs.

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
from riskshare.sharing.kept import HeldRow
from riskshare.sharing.signed import Signed, read_signed
from riskshare.sharing.snapshot import KIND, MAX_BYTES, SnapshotStatement

HELD = "/peer/v1/held"
HELD_STATEMENT = "/peer/v1/held/{digest}"

MAX_STATEMENTS = 65_536
MAX_NEXT = 2**53 - 1
SPAN = 128
"""See `survives`."""

MAX_CHECKPOINTS = 4_096
MAX_NOTE = 4 * 1024
"""Longest checkpoint on a page, in bytes: with its log's signatures alone it has some 300."""

MAX_PAGE_BYTES = 8 * 1024 * 1024
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class HeldStatement:
    """A statement of another owner: what it is about, its digest (of an epoch: its name), itself as received.

    `chain` is that of a snapshot's list and epoch: whoever forked it contradicts himself in each later version too.
    """

    key: bytes
    digest: bytes
    owner: str
    signed: Signed
    chain: tuple[str, bytes]
    version: int


def held_statement(value: EpochStatement | SnapshotStatement, signed: Signed) -> HeldStatement:
    """What is told of a statement that is held.

    The key of a snapshot is SHA-256(epoch digest ‖ list ‖ version), the version as 8 bytes, big-endian; that of an
    epoch SHA-256 over owner and keyset, length-prefixed, and number, as 8 bytes.
    """
    if isinstance(value, EpochStatement):
        parts = length_prefixed(value.owner.encode(), value.keyset.encode()) + value.number.to_bytes(8, "big")
        key = sha256(parts)
        return HeldStatement(key, value.digest, value.owner, signed, (value.keyset, key), value.number)
    parts = value.epoch + value.list_name.encode() + value.version.to_bytes(8, "big")
    chain = value.list_name, value.epoch
    return HeldStatement(sha256(parts), signed.digest, value.owner, signed, chain, value.version)


def held_row(value: SnapshotStatement, signed: Signed) -> HeldRow:
    """The row in which a snapshot is held."""
    return HeldRow(
        held_statement(value, signed).key,
        signed.digest,
        value.list_name,
        value.epoch,
        value.version,
        signed.statement.wire(),
        signed.signer,
        signed.received,
    )


def read_row(network: str, row: HeldRow) -> HeldStatement:
    """Read what `held_row` made; the signature is verified again. Raises SnapshotError."""
    signed = read_signed(KIND, network, row.wire, [row.signer], received=row.received_at, limit=MAX_BYTES)
    return held_statement(SnapshotStatement.from_statement(signed.statement), signed)


def survives(version: int, newest: int) -> bool:
    """Tell whether a version is still held when `newest` is the newest of its list and epoch.

    The newest 128 are, of the 128 before every second one, then every fourth of twice as many, and so on: 64 for each
    doubling. All members keep the same ones. Of any L versions in a row there is one that is divisible by a power of
    two that is at least L / 2: so a fork that one member was shown for L versions is found at any other that was shown
    the other branch, until it is some 64 · L versions further.
    """
    return newest - version < SPAN * (version & -version)


@dataclass(frozen=True, slots=True)
class HeldPage:
    """What a member holds of others: digests by key, and checkpoints; nothing is verified. `next`: where to go on."""

    statements: Mapping[bytes, bytes]
    checkpoints: tuple[SignedCheckpoint, ...]
    next: int = 0

    def to_bytes(self) -> bytes:
        """The CBOR map; keys sorted."""
        notes = [signed.note.to_bytes() for signed in self.checkpoints]
        return cbor_encode(
            {
                "checkpoints": notes,
                "next": self.next,
                "statements": [[key, self.statements[key]] for key in sorted(self.statements)],
            }
        )


def make_held(
    statements: Iterable[tuple[bytes, bytes]], checkpoints: Sequence[SignedCheckpoint], following: int
) -> HeldPage:
    """The page of what is held, keys with digests, as much as has room; `following` is where to go on."""
    return HeldPage(dict([*statements][:MAX_STATEMENTS]), tuple(checkpoints[:MAX_CHECKPOINTS]), following)


def read_held(data: bytes) -> HeldPage:
    """Read what `HeldPage.to_bytes` wrote, strictly.

    Raises:
        EncodingError: too long; not such a map; a key or digest that is not 32 bytes; keys that do not grow; what is
            no checkpoint, or too many; no number to go on from.

    """
    parts: Any = cbor_decode(data, limit=MAX_PAGE_BYTES)
    if not isinstance(parts, dict) or parts.keys() != {"checkpoints", "next", "statements"}:
        raise EncodingError("What a member holds has not exactly the fields of such a page.")
    notes, pairs, following = parts["checkpoints"], parts["statements"], parts["next"]
    if type(notes) is not list or type(pairs) is not list or type(following) is not int:
        raise EncodingError("What a member holds has fields of another type.")
    if len(notes) > MAX_CHECKPOINTS or len(pairs) > MAX_STATEMENTS or not 0 <= following <= MAX_NEXT:
        raise EncodingError("What a member holds is more than such a page has room for.")
    if any(type(note) is not bytes for note in notes) or not all(map(_is_pair, pairs)):
        raise EncodingError("What a member holds names a checkpoint, a key or a digest of another form.")
    if any(after[0] <= before[0] for before, after in pairwise(pairs)):
        raise EncodingError("The keys of what a member holds do not grow.")
    return HeldPage(dict(pairs), tuple(parse_signed(note, limit=MAX_NOTE) for note in notes), following)


def _is_pair(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(part) is bytes and len(part) == _DIGEST_BYTES for part in value)
    )
