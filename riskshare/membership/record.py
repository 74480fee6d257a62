"""A risk record: why an identifier is on a list, sealed under a key that only its token gives.

For the token (64 bytes, `oprf`) of an identifier and the full name of a list:

    label      = HMAC-SHA256(token, "riskshare/v1/label/" + list)[:16]
    record key = HMAC-SHA256(token, "riskshare/v1/record/" + list)
    sealed     = nonce (12 random bytes) ‖ AES-256-GCM(record key, nonce, padded record, additional data)
    additional data = length-prefixed list name ‖ length-prefixed label (`encoding.length_prefixed`)

The record is canonical JSON, padded with 0x80 and zeros to a multiple of 128 bytes, so that
the length of a sealed record tells little about it.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from riskshare.encoding import (
    canonical_json,
    format_time,
    length_prefixed,
    pad,
    parse_canonical_json,
    parse_time,
    unpad,
)
from riskshare.errors import EncodingError, OpenError
from riskshare.membership.bloom import LABEL_BYTES

LEVELS: Final = ("low", "medium", "high", "critical")
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
PAD_BYTES: Final = 128
TEXT_LIMIT: Final = 200
"""Most bytes of one text of a record, in UTF-8."""

RECORD_LIMIT: Final = 1024
"""Most bytes of a record's JSON."""

SEALED_MIN: Final = NONCE_BYTES + PAD_BYTES + TAG_BYTES
SEALED_LIMIT: Final = NONCE_BYTES + RECORD_LIMIT + PAD_BYTES + TAG_BYTES

_CATEGORY = re.compile(r"[a-z][a-z0-9_]{0,63}")
# Control characters, line ends, marks that turn the direction of writing: nothing that a screen should obey.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_TEXTS = ("reason", "evidence", "case", "appeal")
_FIELDS = frozenset({"category", "level", "listed_at", "valid_until", "disputed", *_TEXTS})


@dataclass(frozen=True, slots=True)
class Record:
    """Why an identifier is listed.

    `category` is a category of the registry, `reason` the owner's reason code, `level` one of LEVELS,
    `evidence` the class of evidence, `case` the owner's reference, `appeal` the channel for appeals; texts
    are of at most TEXT_LIMIT bytes, all but `reason` may be empty. The times are aware; milliseconds are kept.

    Raises:
        EncodingError: a field outside these rules, or a term that ends before it begins.

    """

    category: str
    reason: str
    level: str
    evidence: str
    listed_at: datetime
    valid_until: datetime
    case: str = ""
    disputed: bool = False
    appeal: str = ""

    def __post_init__(self) -> None:
        if type(self.category) is not str or _CATEGORY.fullmatch(self.category) is None:
            raise EncodingError("A record's category is not a word in lower case of at most 64 letters.")
        if self.level not in LEVELS:
            raise EncodingError(f"A record's level is none of {', '.join(LEVELS)}.")
        for name in _TEXTS:
            _check_text(name, getattr(self, name))
        if not self.reason:
            raise EncodingError("A record has no reason.")
        if type(self.disputed) is not bool:
            raise EncodingError("A record is disputed or not: true or false.")
        if self.listed_at.tzinfo is None or self.valid_until.tzinfo is None:
            raise EncodingError("A record's times have no zone.")
        if self.valid_until < self.listed_at:
            raise EncodingError("A record ends before it begins.")

    def to_bytes(self) -> bytes:
        """Canonical JSON.

        Raises:
            EncodingError: longer than RECORD_LIMIT bytes.

        """
        data = canonical_json(
            {
                "appeal": self.appeal,
                "case": self.case,
                "category": self.category,
                "disputed": self.disputed,
                "evidence": self.evidence,
                "level": self.level,
                "listed_at": format_time(self.listed_at),
                "reason": self.reason,
                "valid_until": format_time(self.valid_until),
            }
        )
        if len(data) > RECORD_LIMIT:
            raise EncodingError(f"A record is longer than {RECORD_LIMIT} bytes; shorten its texts.")
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> Record:
        """Read what `to_bytes` writes.

        Raises:
            EncodingError: longer than RECORD_LIMIT, not canonical, another set of fields, or a value outside its rules.

        """
        fields: dict[str, Any] = parse_canonical_json(data, limit=RECORD_LIMIT)
        if set(fields) != _FIELDS:
            raise EncodingError("A record does not have exactly the fields of version 1.")
        fields["listed_at"] = parse_time(fields["listed_at"])
        fields["valid_until"] = parse_time(fields["valid_until"])
        return cls(**fields)


def _check_text(name: str, text: object) -> None:
    if type(text) is not str:
        raise EncodingError(f"A record's {name} is not text.")
    try:
        length = len(text.encode())
    except UnicodeEncodeError as error:
        raise EncodingError(f"A record's {name} has a lone surrogate.") from error
    if length > TEXT_LIMIT:
        raise EncodingError(f"A record's {name} is longer than {TEXT_LIMIT} bytes.")
    if _UNPRINTABLE.search(text):
        raise EncodingError(f"A record's {name} has control characters.")


def label(token: bytes, list_name: str) -> bytes:
    """What the list holds in place of the identifier: 16 bytes."""
    return hmac.digest(token, b"riskshare/v1/label/" + list_name.encode(), "sha256")[:LABEL_BYTES]


def record_key(token: bytes, list_name: str) -> bytes:
    """The key of the identifier's record on the list: 32 bytes."""
    return hmac.digest(token, b"riskshare/v1/record/" + list_name.encode(), "sha256")


def seal(record: bytes, key: bytes, nonce: bytes, list_name: str, label: bytes) -> bytes:
    """Seal the bytes of a record under its 32-byte key.

    `nonce` is 12 fresh random bytes, every time.
    """
    associated = length_prefixed(list_name.encode(), label)
    return nonce + AESGCM(key).encrypt(nonce, pad(record, PAD_BYTES), associated)


def open_record(sealed: bytes, key: bytes, list_name: str, label: bytes) -> Record:
    """Open what `seal` made for the same list and label.

    Raises:
        OpenError: another key, list or label; or altered.
        EncodingError: it opens, but the owner sealed something that is no record.

    """
    if not SEALED_MIN <= len(sealed) <= SEALED_LIMIT:
        raise OpenError("A sealed record has an impossible length.")
    nonce, text = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    try:
        padded = AESGCM(key).decrypt(nonce, text, length_prefixed(list_name.encode(), label))
    except InvalidTag as error:
        raise OpenError("A record does not open under the key of this identifier.") from error
    return Record.from_bytes(unpad(padded, PAD_BYTES))
