"""The format of a segment: one immutable file that holds a list, or a change of it.

    ┌────────────────────────────┐ 0
    │ header: canonical JSON     │   named by its SHA-256 and length in the snapshot
    │ zeros                      │
    ├────────────────────────────┤ 4096 (HEADER_ROOM)
    │ first section              │   each section begins at a multiple of 64, zeros before it;
    │ …                          │   the last ends the file
    └────────────────────────────┘

The header names list, epoch statement (SHA-256), kind, counts, and for each section offset, length and
SHA-256. The layout follows from kind and lengths alone, and a reader refuses any other. Binary
integers are unsigned and little-endian. A *block* of n entries is n sorted labels (16 bytes each), n ends
(4 bytes each: where the entry's sealed record ends, counted from the first record), then the records.

A **base** has four sections:

* `buckets`: blocks of 256 entries, one behind the other; a rest of less than 128 is in the last one too;
* `index`: 32 bytes a bucket: first label (16), offset in the file (8), length (4), entries (4);
* `bucket_digests`: SHA-256 of each bucket, 32 bytes each;
* `bloom`: the filter (`membership.bloom`), its parameters in the header.

A **delta** has two: `added`, one block; and `withdrawn`, sorted labels (16 bytes each) and then for each one byte that
says which of the header's `reasons` is its reason. No label stands in both.

Every byte is covered: the snapshot's signature covers both digests of a `SegmentRef`; the whole file has the one,
the header the other, sections have theirs in the header, buckets theirs in a section. So a subscriber on
demand, who never has the whole file, still verifies each byte that it uses.

Readers are in `segment_read`, writers in `segment_build`. No file is opened here: readers get a
buffer (a mapped file), writers a stream.
"""

from __future__ import annotations

import re
import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import lt
from typing import Any, Final, final

from riskshare.encoding import canonical_json, parse_canonical_json, parse_hex, sha256
from riskshare.errors import EncodingError, SegmentError
from riskshare.membership.bloom import LABEL_BYTES, Parameters
from riskshare.membership.record import SEALED_LIMIT, SEALED_MIN
from riskshare.sharing.segment_ref import FILE_LIMIT, HEADER_ROOM, SegmentRef

FORMAT: Final = 1
ALIGNMENT: Final = 64
DIGEST_BYTES: Final = 32
INDEX_ENTRY: Final = struct.Struct("<16sQII")
END_BYTES: Final = 4

DELTA_LIMIT: Final = 2**30
"""Most bytes of a delta, which subscribers fetch whole."""

DELTA_ENTRIES: Final = 2**20
"""Most labels that a delta adds and withdraws in all; a larger change is a new base."""

BASE_ENTRIES: Final = 2**32
FILTER_BITS_FREE: Final = 2**27
FILTER_BITS_PER_ENTRY: Final = 64
"""A filter has at most these bits, and so many for each entry: no rate that `bloom.size` takes needs more, and
nobody is made to fetch a gigantic filter for a short list."""

BUCKET_ENTRIES: Final = 256
"""Entries of a bucket as we write it."""

ON_DEMAND_ENTRIES: Final = 128
"""Fewest entries of a bucket, but the last, of which records are read on demand: each fetch names one to the owner."""

BUCKET_ENTRIES_LIMIT: Final = 1024
"""Most entries of a bucket that a reader takes; so a bucket fetched on demand is below 1.3 MB."""

REASONS: Final = ("appeal_upheld", "corrected", "erroneous", "expired", "replaced", "withdrawn")
"""Why a label is withdrawn. Readers take other words too, so that the table can grow."""

REASONS_LIMIT: Final = 32
SECTIONS: Final = {"base": ("buckets", "index", "bucket_digests", "bloom"), "delta": ("added", "withdrawn")}
_COUNTS: Final = {"base": ("entries", "buckets"), "delta": ("added", "withdrawn")}
_EXTRA: Final = {"base": "filter", "delta": "reasons"}
_COMMON: Final = frozenset({"counts", "epoch", "format", "kind", "list", "sections"})
_REASON = re.compile(r"[a-z][a-z0-9_]{0,31}")


def altered(what: str) -> SegmentError:
    """The error for bytes that do not have their digest."""
    return SegmentError(
        f"{what} does not have the digest that its owner signed; fetch it again.", code="segment_altered"
    )


def malformed(what: str) -> SegmentError:
    """The error for bytes that have their digest, but no meaning: the owner's fault."""
    return SegmentError(f"{what}; the owner must publish the list again.", code="segment_malformed")


@dataclass(frozen=True, slots=True)
class Section:
    """Where a section lies in its file, and its SHA-256."""

    offset: int
    length: int
    digest: bytes

    @property
    def end(self) -> int:
        """The offset behind its last byte."""
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a segment.

    `epoch` is the digest of the epoch statement. `counts` are (entries, buckets) of a base, (added,
    withdrawn) of a delta. `filter` is a base's, `reasons` (sorted) a delta's. `sections` are in the order of SECTIONS.
    """

    kind: str
    list_name: str
    epoch: bytes
    counts: tuple[int, int]
    filter: Parameters | None
    reasons: tuple[str, ...]
    sections: Mapping[str, Section]

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        sections = {
            name: {"length": section.length, "offset": section.offset, "sha256": section.digest.hex()}
            for name, section in self.sections.items()
        }
        return canonical_json(
            {
                "counts": dict(zip(_COUNTS[self.kind], self.counts, strict=True)),
                "epoch": self.epoch.hex(),
                "format": FORMAT,
                "kind": self.kind,
                "list": self.list_name,
                "sections": sections,
                _EXTRA[self.kind]: self.filter.to_json() if self.filter else list(self.reasons),
            }
        )

    def ranges(self) -> tuple[tuple[int, int], ...]:
        """What a subscriber on demand fetches after the header: (offset, length) pairs.

        Of a base all but the buckets, which lie in one piece behind them; of a delta all.
        """
        sections = list(self.sections.values())
        if self.kind == "delta":
            return ((HEADER_ROOM, sections[-1].end - HEADER_ROOM),)
        return ((sections[1].offset, sections[-1].end - sections[1].offset),)


def read_header(data: bytes, ref: SegmentRef) -> Header:
    """Verify and read the first `ref.header_length` bytes of a segment.

    1. Length and SHA-256 are those that the owner signed. 2. The JSON is canonical and has exactly its fields.
    3. The counts are within their limits. 4. Sections have the lengths that the counts demand, and lie where the layout
    says, and the last ends the file. Nothing is allocated by a number of the header before all of this holds.

    Raises:
        SegmentError: codes `segment_altered`, `segment_malformed`.

    """
    if len(data) != ref.header_length or sha256(data) != ref.header_digest:
        raise altered("The header of a segment")
    try:
        header = _parse(parse_canonical_json(data, limit=HEADER_ROOM))
    except EncodingError as error:
        raise malformed("The header of a segment is not of format 1") from error
    _check_counts(header)
    if list(header.sections.values()) != lay_out(header.kind, [(s.length, s.digest) for s in header.sections.values()]):
        raise malformed("The sections of a segment do not lie where its format puts them")
    if list(header.sections.values())[-1].end != ref.file_length:
        raise malformed("A segment is not as long as its sections")
    if header.kind == "delta" and ref.file_length > DELTA_LIMIT:
        raise malformed("A delta is longer than allowed")
    return header


def lay_out(kind: str, sections: Sequence[tuple[int, bytes]]) -> list[Section]:
    """Place sections of these lengths and digests, in the order of SECTIONS[kind]."""
    placed = []
    offset = HEADER_ROOM
    for _, (length, digest) in zip(SECTIONS[kind], sections, strict=True):
        placed.append(Section(offset, length, digest))
        offset += length + -length % ALIGNMENT
    return placed


def _is_count(value: object, limit: int) -> bool:
    return type(value) is int and 0 <= value <= limit


def _parse(fields: Mapping[str, Any]) -> Header:
    kind = fields.get("kind")
    if not isinstance(kind, str) or kind not in SECTIONS or set(fields) != _COMMON | {_EXTRA[kind]}:
        raise EncodingError("The fields are not those of a base or a delta.")
    if type(fields["format"]) is not int or fields["format"] != FORMAT or not isinstance(fields["list"], str):
        raise EncodingError("The format or the name of the list is wrong.")
    counts, sections = fields["counts"], fields["sections"]
    if not isinstance(counts, dict) or set(counts) != set(_COUNTS[kind]):
        raise EncodingError("The counts are not those of the kind.")
    if not isinstance(sections, dict) or set(sections) != set(SECTIONS[kind]):
        raise EncodingError("The sections are not those of the kind.")
    first, second = (counts[name] for name in _COUNTS[kind])
    limit = BASE_ENTRIES if kind == "base" else DELTA_ENTRIES
    if not _is_count(first, limit) or not _is_count(second, limit):
        raise EncodingError("A count is outside its limits.")
    return Header(
        kind,
        fields["list"],
        parse_hex(fields["epoch"], DIGEST_BYTES),
        (first, second),
        Parameters.from_json(fields["filter"]) if kind == "base" else None,
        _reasons(fields["reasons"]) if kind == "delta" else (),
        {name: _section(sections[name]) for name in SECTIONS[kind]},
    )


def _section(value: object) -> Section:
    if not isinstance(value, dict) or set(value) != {"length", "offset", "sha256"}:
        raise EncodingError("A section has other fields than offset, length and SHA-256.")
    if not _is_count(value["offset"], FILE_LIMIT) or not _is_count(value["length"], FILE_LIMIT):
        raise EncodingError("A section lies outside of any file.")
    return Section(value["offset"], value["length"], parse_hex(value["sha256"], DIGEST_BYTES))


def _reasons(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > REASONS_LIMIT:
        raise EncodingError("The reasons are no list of allowed length.")
    if not all(isinstance(reason, str) and _REASON.fullmatch(reason) for reason in value) or value != sorted(
        set(value)
    ):
        raise EncodingError("The reasons are not sorted words.")
    return tuple(value)


def _check_counts(header: Header) -> None:
    first, second = header.counts
    lengths = {name: section.length for name, section in header.sections.items()}
    if header.filter is not None:
        right = (
            second <= first <= second * BUCKET_ENTRIES_LIMIT
            and lengths["index"] == INDEX_ENTRY.size * second
            and lengths["bucket_digests"] == DIGEST_BYTES * second
            and lengths["bloom"] == header.filter.size_bytes
            and header.filter.bits <= FILTER_BITS_FREE + FILTER_BITS_PER_ENTRY * first
            and block_length_fits(lengths["buckets"], first)
        )
    else:
        right = (
            first + second <= DELTA_ENTRIES
            and lengths["withdrawn"] == (LABEL_BYTES + 1) * second
            and block_length_fits(lengths["added"], first)
        )
    if not right:
        raise malformed("The counts of a segment do not fit its sections")


def block_length_fits(length: int, count: int) -> bool:
    """Tell whether `count` entries can be `length` bytes in blocks."""
    fixed = LABEL_BYTES + END_BYTES
    return count * (fixed + SEALED_MIN) <= length <= count * (fixed + SEALED_LIMIT)


def encode_block(rows: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Write a block of (label, sealed record) pairs, which are sorted."""
    labels, records = zip(*rows, strict=True) if rows else ((), ())
    return join_block(b"".join(labels), records)


def join_block(labels: bytes, records: Sequence[bytes | memoryview]) -> bytes:
    """Write a block of joined labels, which are sorted, and a sealed record for each."""
    ends = struct.pack(f"<{len(records)}I", *accumulate(map(len, records)))
    return b"".join((labels, ends, *records))


def split_labels(joined: bytes) -> list[bytes]:
    """Cut joined labels apart."""
    return [joined[start : start + LABEL_BYTES] for start in range(0, len(joined), LABEL_BYTES)]


def check_sorted(labels: Sequence[bytes], what: str) -> None:
    """Refuse labels that do not strictly ascend.

    Raises:
        SegmentError: code `segment_malformed`.

    """
    if not all(map(lt, labels[:-1], labels[1:])):
        raise malformed(f"The labels of {what} are not sorted")


def check_block(block: bytes | memoryview, count: int, what: str) -> list[bytes]:
    """Return the labels of a block of `count` entries, which is sound in every part.

    Raises:
        SegmentError: code `segment_malformed`: labels not sorted, or records of impossible lengths.

    """
    if not block_length_fits(len(block), count):
        raise malformed(f"The length of {what} does not fit its count")
    labels = split_labels(bytes(block[: LABEL_BYTES * count]))
    check_sorted(labels, what)
    ends = struct.unpack_from(f"<{count}I", block, LABEL_BYTES * count)
    lengths = [end - start for start, end in zip((0, *ends[:-1]), ends, strict=True)] if ends else []
    if any(not SEALED_MIN <= length <= SEALED_LIMIT for length in lengths):
        raise malformed(f"A record of {what} has an impossible length")
    if (LABEL_BYTES + END_BYTES) * count + (ends[-1] if ends else 0) != len(block):
        raise malformed(f"The records of {what} do not fill it")
    return labels


def block_rows(block: bytes | memoryview, count: int) -> Iterator[tuple[bytes, bytes]]:
    """Read the (label, sealed record) pairs of a block that was checked."""
    labels = split_labels(bytes(block[: LABEL_BYTES * count]))
    ends = struct.unpack_from(f"<{count}I", block, LABEL_BYTES * count)
    records = bytes(block[(LABEL_BYTES + END_BYTES) * count :])
    start = 0
    for label, end in zip(labels, ends, strict=True):
        yield label, records[start:end]
        start = end


def block_record(block: bytes | memoryview, count: int, position: int) -> bytes:
    """The sealed record of one entry of a block."""
    ends_at = LABEL_BYTES * count
    start, end = (0, 0) if position == 0 else struct.unpack_from("<II", block, ends_at + END_BYTES * (position - 1))
    if position == 0:
        (end,) = struct.unpack_from("<I", block, ends_at)
    records_at = ends_at + END_BYTES * count
    return bytes(block[records_at + start : records_at + end])


def find_label(labels: bytes | memoryview, count: int, label: bytes) -> int:
    """Where `label` stands among `count` sorted labels; -1 if it does not."""
    low, high = 0, count
    while low < high:
        middle = (low + high) >> 1
        at = middle * LABEL_BYTES
        if bytes(labels[at : at + LABEL_BYTES]) < label:
            low = middle + 1
        else:
            high = middle
    at = low * LABEL_BYTES
    return low if low < count and labels[at : at + LABEL_BYTES] == label else -1


@final
class Directory:
    """Sorted labels to search often, which stand in a buffer at the beginning of items of `stride` bytes.

    Their first halves are kept as integers, eight bytes each, which a search in C compares.
    """

    __slots__ = ("_halves", "_items", "_stride")

    def __init__(self, items: bytes | memoryview, stride: int = LABEL_BYTES) -> None:
        self._items = items
        self._stride = stride
        self._halves = array("Q", (int.from_bytes(items[at : at + 8]) for at in range(0, len(items), stride)))

    def __len__(self) -> int:
        return len(self._halves)

    def __getitem__(self, position: int) -> bytes:
        at = position * self._stride
        return bytes(self._items[at : at + LABEL_BYTES])

    def below(self, label: bytes) -> int:
        """How many of the labels are below `label`."""
        half = int.from_bytes(label[:8])
        low = bisect_left(self._halves, half)
        high = bisect_right(self._halves, half, low)
        while low < high:  # rare: labels that share their first half
            middle = (low + high) >> 1
            if self[middle] < label:
                low = middle + 1
            else:
                high = middle
        return low

    def find(self, label: bytes) -> int:
        """Where `label` stands; -1 if it does not."""
        position = self.below(label)
        return position if position < len(self._halves) and self[position] == label else -1
