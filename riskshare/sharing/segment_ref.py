"""How a snapshot pins a segment file: by digest and length of its header and of the whole (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from riskshare.encoding import parse_hex
from riskshare.errors import EncodingError

_KEYS = {"header_sha256", "header_length", "file_sha256", "file_length"}
_DIGEST_BYTES = 32

HEADER_ROOM = 4096
"""Bytes before the first section of a segment: its header is at most so long."""

FILE_LIMIT = 2**42
"""Longest segment file in bytes."""


@dataclass(frozen=True, slots=True)
class SegmentRef:
    """A segment as its snapshot names it.

    Digests are SHA-256, 32 bytes; lengths are bytes. The header's digest lets a subscriber
    use a part of the file, the file's digest the whole.
    """

    header_digest: bytes
    header_length: int
    file_digest: bytes
    file_length: int

    def __post_init__(self) -> None:
        """Refuse digests of another length and lengths that no file has. Raises EncodingError."""
        if len(self.header_digest) != _DIGEST_BYTES or len(self.file_digest) != _DIGEST_BYTES:
            raise EncodingError("A segment is pinned by SHA-256 digests of 32 bytes.")
        if not 0 < self.header_length <= min(HEADER_ROOM, self.file_length) or self.file_length > FILE_LIMIT:
            raise EncodingError("A segment has lengths of header and file outside their limits.")

    def to_json(self) -> dict[str, Any]:
        """The JSON object that stands in a snapshot statement."""
        return {
            "header_sha256": self.header_digest.hex(),
            "header_length": self.header_length,
            "file_sha256": self.file_digest.hex(),
            "file_length": self.file_length,
        }

    @classmethod
    def from_json(cls, value: object) -> SegmentRef:
        """Read what `to_json` writes, and nothing else.

        Raises:
            EncodingError: missing or further keys, wrong types, bad hex, impossible lengths.

        """
        if type(value) is not dict or value.keys() != _KEYS:
            raise EncodingError("A segment's reference has other fields than digests and lengths of header and file.")
        lengths = value["header_length"], value["file_length"]
        if any(type(length) is not int for length in lengths):
            raise EncodingError("A segment's length is an integer.")
        return cls(
            parse_hex(value["header_sha256"], _DIGEST_BYTES),
            lengths[0],
            parse_hex(value["file_sha256"], _DIGEST_BYTES),
            lengths[1],
        )
