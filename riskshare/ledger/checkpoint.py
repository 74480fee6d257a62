"""Checkpoints: what a member says its log is (C2SP tlog-checkpoint v1.0.0) (pure).

A checkpoint is a note whose text is the log's origin, its size and its root, one a line. The origin of a member's log,
which is also the name of its key, follows from the network and the member; so does the name of its key as a witness.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from riskshare.encoding import base64_text, parse_base64
from riskshare.errors import EncodingError, InputError
from riskshare.ledger.merkle import HASH_BYTES
from riskshare.ledger.note import COSIGNATURE, ED25519, MAX_BYTES, Note, VerifierKey, parse_note, sign
from riskshare.ledger.proof import MAX_SIZE
from riskshare.names import check_member_name, read_network_name
from riskshare.signature import SigningKey

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")
_PREFIX = "riskshare/"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a log: origin, number of entries, root (32 bytes), and extension lines, which we never write."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The text of the note (tlog-checkpoint, Note text)."""
        return "".join(f"{line}\n" for line in (self.origin, self.size, base64_text(self.root), *self.extensions))


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint with the note that it was read from. Nothing is verified yet."""

    checkpoint: Checkpoint
    note: Note


def parse_checkpoint(text: str) -> Checkpoint:
    """Read the text of a checkpoint.

    Raises:
        EncodingError: fewer than three lines, an empty one, a size with leading zeros or beyond 2^63 - 1, a root
            that is not 32 bytes in base64.

    """
    lines = text.split("\n")
    if lines.pop() != "" or len(lines) < 3 or "" in lines:
        raise EncodingError("A checkpoint is not at least three lines, none of them empty.")
    checkpoint = Checkpoint(lines[0], parse_size(lines[1]), parse_hash(lines[2]), tuple(lines[3:]))
    if checkpoint.text != text:
        raise EncodingError("The checkpoint is not written in its one spelling.")
    return checkpoint


def parse_signed(data: bytes, *, limit: int = MAX_BYTES) -> SignedCheckpoint:
    """Read a signed checkpoint of at most `limit` bytes; no signature is verified.

    Raises:
        EncodingError: not a note, or its text not a checkpoint.

    """
    note = parse_note(data, limit=limit)
    return SignedCheckpoint(parse_checkpoint(note.text), note)


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> Note:
    """Sign a checkpoint as its log: the key's name is the origin (tlog-checkpoint, Signatures)."""
    return Note(checkpoint.text, (sign(checkpoint.text, checkpoint.origin, key),))


def parse_size(text: str) -> int:
    """Read a size or an index: ASCII decimal without leading zeros, at most 2^63 - 1. Raises EncodingError."""
    if _DECIMAL.fullmatch(text) is None or (number := int(text)) > MAX_SIZE:
        raise EncodingError("A number is not decimal without leading zeros, of at most 2^63 - 1.")
    return number


def parse_hash(text: str) -> bytes:
    """Read a hash: 32 bytes in base64. Raises EncodingError."""
    value = parse_base64(text, limit=HASH_BYTES)
    if len(value) != HASH_BYTES:
        raise EncodingError("A hash is not 32 bytes in base64.")
    return value


def origin_of(network: str, member: str) -> str:
    """Origin of a member's log, and name of its key: `riskshare/<network>/<member>`.

    Neither name can hold a slash, a space or a plus: the origins of two logs are never the same.

    Raises:
        EncodingError, InputError: not such names.

    """
    return f"{_PREFIX}{read_network_name(network)}/{check_member_name(member)}"


def member_of(origin: str, network: str) -> str | None:
    """The member of `network` whose log has this origin, or None."""
    member = origin.removeprefix(f"{_PREFIX}{network}/")
    try:
        return member if origin == origin_of(network, member) else None
    except InputError:
        return None


def log_key(network: str, member: str, public: bytes) -> VerifierKey:
    """A member's key as a log. Raises as `origin_of`, and ValueError if it is not 32 bytes."""
    return VerifierKey(origin_of(network, member), ED25519, public)


def witness_name(network: str, member: str) -> str:
    """Name of a member's key as a witness: `riskshare/<network>/<member>/witness`. Raises as `origin_of`."""
    return f"{origin_of(network, member)}/witness"


def witness_key(network: str, member: str, public: bytes) -> VerifierKey:
    """A member's key as a witness. Raises as `origin_of`, and ValueError if it is not 32 bytes."""
    return VerifierKey(witness_name(network, member), COSIGNATURE, public)
