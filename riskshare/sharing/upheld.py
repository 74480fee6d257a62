"""Which labels of a delta were withdrawn because an appeal was upheld (rules only)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from riskshare.encoding import sha256
from riskshare.errors import EncodingError, SegmentError
from riskshare.sharing.segment import read_header
from riskshare.sharing.segment_read import DeltaSegment, open_segment
from riskshare.sharing.segment_ref import HEADER_ROOM, SegmentRef

REASON: Final = "appeal_upheld"

Place = tuple[str, bytes, bytes]
"""Full list name, epoch digest, label."""


@dataclass(frozen=True, slots=True)
class Upheld:
    """Labels of a list under one epoch (digest)."""

    list_name: str
    epoch: bytes = field(repr=False)
    labels: tuple[bytes, ...] = field(repr=False)


def is_delta(head: bytes, length: int) -> bool:
    """Tell by the first bytes of a segment file (`HEADER_ROOM`, or all) of that length whether it is a delta."""
    try:
        header = head[:HEADER_ROOM].rstrip(b"\0")
        return read_header(header, _ref(header, bytes(32), length)).kind == "delta"
    except (EncodingError, SegmentError):
        return False


def upheld(data: bytes, digest: bytes) -> Upheld | None:
    """Read a delta whose file has that SHA-256; None if no appeal was upheld in it.

    The file's name is its digest, and its digest stood in a signed snapshot when it was fetched.

    Raises:
        SegmentError: it is not the file of that digest, or not sound.

    """
    header = data[:HEADER_ROOM].rstrip(b"\0")
    ref = _ref(header, digest, len(data))
    named = read_header(header, ref)
    segment = open_segment(data, ref, named.list_name, named.epoch)
    if not isinstance(segment, DeltaSegment):
        return None
    labels = tuple(label for label, reason in segment.withdrawn.items() if reason == REASON)
    return Upheld(named.list_name, named.epoch, labels) if labels else None


def _ref(header: bytes, digest: bytes, length: int) -> SegmentRef:
    try:
        return SegmentRef(sha256(header), len(header), digest, length)
    except EncodingError as error:
        raise SegmentError("A segment file has no header.", code="segment_malformed") from error
