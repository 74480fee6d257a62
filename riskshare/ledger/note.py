r"""Signed notes: text under signatures of several keys (C2SP signed-note v1.0.0, tlog-cosignature v1.0.1) (pure).

A note is text that ends in a newline, an empty line, and signature lines `— <key name> base64(key ID ‖ signature)`.
Two types of signature are known: Ed25519 over the text (0x01), with which a log signs, and the timestamped Ed25519
cosignature (0x04), with which a witness says that it saw the log grow. Signatures of unknown keys are kept and ignored.

Parsing is strict: what does not print back to the same bytes is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from riskshare import signature
from riskshare.encoding import base64_text, parse_base64, sha256
from riskshare.errors import EncodingError, LedgerError

ED25519 = 0x01
"""Type of a log's signature (signed-note, Signature types)."""

COSIGNATURE = 0x04
"""Type of a witness's timestamped signature (tlog-cosignature, Format)."""

MAX_BYTES = 1024 * 1024
"""Largest note that is read, in bytes: a checkpoint with cosignatures of the most members that a network has."""

MAX_SIGNATURES = 2048
MAX_TIME = 2**63 - 1
"""Latest time of a cosignature, in seconds since 1970 (tlog-cosignature, Format)."""

_LAST_SECOND = 253_402_300_799
"""9999-12-31T23:59:59Z. A witness may name a later one, and what it says is shown all the same."""

_ID_BYTES = 4
_TIME_BYTES = 8
_MAX_VALUE = 8 * 1024  # a signature of ML-DSA has nearly 5 kB
_MAX_KEY = 64
_DASH = "\u2014 "
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_ID = re.compile(r"[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key under a name, as a verifier knows it: type `ED25519` or `COSIGNATURE`, 32 public bytes."""

    name: str
    type: int
    public: bytes

    def __post_init__(self) -> None:
        """Refuse what could not be parsed back. Raises ValueError: a mistake in our own code."""
        if not _is_key_name(self.name) or self.type not in (ED25519, COSIGNATURE):
            raise ValueError("a verifier key has no such name, or is of no such type")
        if len(self.public) != signature.PUBLIC_BYTES:
            raise ValueError("an Ed25519 key is 32 bytes")

    @property
    def id(self) -> bytes:
        """SHA-256(name ‖ newline ‖ type ‖ key), its first 4 bytes (signed-note, Signatures)."""
        return sha256(self.name.encode() + b"\n" + bytes([self.type]) + self.public)[:_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64_text(bytes([self.type]) + self.public)}"


def parse_key(text: str) -> VerifierKey:
    """Read `<name>+<hex key ID>+<base64 of type and key>` (signed-note, Verifier keys).

    Raises:
        EncodingError: malformed, of a type that is not known here, or with a key ID that is not the key's.

    """
    parts = text.split("+", 2)  # base64 may hold a +, names and key IDs do not
    if len(parts) != 3 or not _is_key_name(parts[0]) or _ID.fullmatch(parts[1]) is None:
        raise EncodingError("A verifier key is not written as <name>+<key id>+<base64>.")
    material = parse_base64(parts[2], limit=_MAX_KEY)
    if len(material) != 1 + signature.PUBLIC_BYTES or material[0] not in (ED25519, COSIGNATURE):
        raise EncodingError("A verifier key is neither Ed25519 (0x01) nor an Ed25519 cosignature key (0x04).")
    key = VerifierKey(parts[0], material[0], material[1:])
    if str(key) != text:
        raise EncodingError("A verifier key has a key id that is not its own.")
    return key


def _is_key_name(name: str) -> bool:
    """Whether a key may be named so: not empty, no Unicode space, no plus, valid UTF-8 (signed-note, Format)."""
    if not name or "+" in name or _CONTROL.search(name) or any(letter.isspace() for letter in name):
        return False
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: the key's name and ID (4 bytes), and what the key made (1 byte or more)."""

    name: str
    key_id: bytes
    value: bytes = field(repr=False)

    @property
    def line(self) -> str:
        """The line, with its newline."""
        return f"{_DASH}{self.name} {base64_text(self.key_id + self.value)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A text that ends in a newline, and its signatures in order. Nothing is verified yet."""

    text: str
    signatures: tuple[Signature, ...]

    def to_bytes(self) -> bytes:
        """The signed note, as it is served."""
        return f"{self.text}\n{signature_lines(self.signatures)}".encode()

    def with_signatures(self, more: Iterable[Signature]) -> Note:
        """The same text with `more` behind its signatures; a newer one takes the place of an older one of its key."""
        kept = {(made.name, made.key_id): made for made in (*self.signatures, *more)}
        return replace(self, signatures=tuple(kept.values()))


def signature_lines(signatures: Iterable[Signature]) -> str:
    """Signature lines one below the other: the end of a note, and what a witness answers."""
    return "".join(made.line for made in signatures)


def parse_note(data: bytes, *, limit: int = MAX_BYTES) -> Note:
    """Read a signed note of at most `limit` bytes; no signature is verified.

    Raises:
        EncodingError: too long, not UTF-8, a control character, no empty line before the signatures, no
            signature, more than 2,048 of them, a malformed line.

    """
    content = _decode(data, limit)
    text, gap, lines = content.rpartition("\n\n")  # the last empty line divides, for the text may hold others
    if not gap or not lines:
        raise EncodingError("A note has no empty line with signatures behind it.")
    note = Note(text + "\n", _parse_lines(lines))
    if note.to_bytes() != data:
        raise EncodingError("The note is not written in its one spelling.")
    return note


def parse_signatures(data: bytes, *, limit: int = MAX_BYTES) -> tuple[Signature, ...]:
    """Read signature lines alone, at least one: what a witness answers (tlog-witness, add-checkpoint).

    Raises:
        EncodingError: as `parse_note`.

    """
    found = _parse_lines(_decode(data, limit))
    if signature_lines(found).encode() != data:
        raise EncodingError("The signature lines are not written in their one spelling.")
    return found


def _decode(data: bytes, limit: int) -> str:
    if len(data) > limit:
        raise EncodingError(f"A note is longer than the {limit} bytes allowed here.")
    try:
        content = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise EncodingError("A note is not UTF-8.") from error
    if _CONTROL.search(content):
        raise EncodingError("A note holds a control character.")
    return content


def _parse_lines(lines: str) -> tuple[Signature, ...]:
    if not lines.endswith("\n"):
        raise EncodingError("A signature line does not end in a newline.")
    parts = lines[:-1].split("\n")
    if len(parts) > MAX_SIGNATURES:
        raise EncodingError(f"A note has more than {MAX_SIGNATURES} signatures.")
    return tuple(map(_parse_line, parts))


def _parse_line(line: str) -> Signature:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not _is_key_name(name):
        raise EncodingError("A signature line does not begin with an em dash and the name of a key.")
    made = parse_base64(encoded, limit=_ID_BYTES + _MAX_VALUE)
    if len(made) <= _ID_BYTES:
        raise EncodingError("A signature line has no signature behind the key id.")
    return Signature(name, made[:_ID_BYTES], made[_ID_BYTES:])


def sign(text: str, name: str, key: signature.SigningKey) -> Signature:
    """Sign a text as a log does, with type 0x01. Raises ValueError for a name that no key may have."""
    return Signature(name, VerifierKey(name, ED25519, key.public).id, key.sign(text.encode()))


def cosign(text: str, name: str, key: signature.SigningKey, time: int) -> Signature:
    """Cosign the text of a checkpoint as a witness does, with type 0x04, at `time` in seconds since 1970.

    Raises:
        ValueError: a name that no key may have, or a time out of range.

    """
    if not 0 <= time <= MAX_TIME:
        raise ValueError("the time of a cosignature is out of range")
    value = time.to_bytes(_TIME_BYTES, "big") + key.sign(cosigned_message(text, time))
    return Signature(name, VerifierKey(name, COSIGNATURE, key.public).id, value)


def cosigned_message(text: str, time: int) -> bytes:
    """What a cosignature's Ed25519 signature covers (tlog-cosignature, Ed25519 signed message)."""
    return f"cosignature/v1\ntime {time}\n{text}".encode()


@dataclass(frozen=True, slots=True)
class Verified:
    """A signature that holds: whose it is, and for a cosignature when it was made, in seconds since 1970."""

    key: VerifierKey
    signature: Signature
    time: int | None

    @property
    def made_at(self) -> datetime | None:
        """`time` as a moment, at most the last second that a datetime holds; None if it tells no time."""
        return None if self.time is None else datetime.fromtimestamp(min(self.time, _LAST_SECOND), UTC)


def verify(note: Note, keys: Iterable[VerifierKey]) -> tuple[Verified, ...]:
    """Verify the signatures of known keys, in the note's order; those of all others are ignored.

    Raises:
        LedgerError: code `bad_signature`, one of a known key does not hold (signed-note, Signatures: the whole note is
            rejected then), or none is of a known key; code `duplicate_signature`, a known key stands there twice.

    """
    found = verify_signatures(note.text, note.signatures, keys)
    if not found:
        raise LedgerError("The note is not signed by any key that is known here.", code="bad_signature")
    return found


def verify_signatures(text: str, signatures: Iterable[Signature], keys: Iterable[VerifierKey]) -> tuple[Verified, ...]:
    """As `verify`, but it may be that none is of a known key."""
    # A name with a key ID is meant to be of one key. Whoever made two of them fit gains nothing: each is tried.
    known: dict[tuple[str, bytes], list[VerifierKey]] = {}
    for key in dict.fromkeys(keys):
        known.setdefault((key.name, key.id), []).append(key)
    found: dict[tuple[str, bytes], Verified] = {}
    for made in signatures:
        place = made.name, made.key_id
        if place not in known:
            continue
        if place in found:
            raise LedgerError("A key has signed the note twice.", code="duplicate_signature")
        found[place] = _verify_one(text, made, known[place])
    return tuple(found.values())


def _verify_one(text: str, made: Signature, keys: list[VerifierKey]) -> Verified:
    for key in keys:
        time = None
        message, value = text.encode(), made.value
        if key.type == COSIGNATURE:
            time = int.from_bytes(value[:_TIME_BYTES], "big")
            message, value = cosigned_message(text, time), value[_TIME_BYTES:]
        if (time or 0) <= MAX_TIME and signature.verify(key.public, message, value):
            return Verified(key, made, time)
    raise LedgerError("A signature of a known key does not hold.", code="bad_signature")
