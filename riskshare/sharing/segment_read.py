"""Reading a segment out of a buffer: a mapped file, or bytes.

Nothing of a base is copied but its index, of forty bytes a bucket: filter and buckets are read where they lie, so a
list of any size costs a subscriber a mapping, of which on demand only the filter is touched. Segments hold on to
their buffer; drop all references to a segment, and its mapping goes with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, final

from riskshare.errors import EncodingError, SegmentError
from riskshare.membership.bloom import LABEL_BYTES, Bloom
from riskshare.sharing.segment import (
    BUCKET_ENTRIES_LIMIT,
    DIGEST_BYTES,
    INDEX_ENTRY,
    Directory,
    Header,
    altered,
    block_length_fits,
    block_record,
    block_rows,
    check_block,
    check_sorted,
    find_label,
    malformed,
    read_header,
    split_labels,
)
from riskshare.sharing.segment_ref import HEADER_ROOM, SegmentRef

ON_DEMAND_HASHES: Final = 16
"""Fewest hashes of a filter that a subscriber on demand takes: with fewer, more than one check in 2^16 of an
unlisted identifier would show the owner a bucket."""

_HASH_PIECE: Final = 2**20


@dataclass(frozen=True, slots=True)
class NeedBucket:
    """The filter says maybe, and the bucket that would decide is not here: fetch it, then `read` it.

    `offset` and `length` are the Range of the file `file_digest`.
    """

    file_digest: bytes
    bucket: int
    offset: int
    length: int
    _segment: BaseSegment = field(repr=False, compare=False)

    @property
    def file_length(self) -> int:
        """Length of the whole file in bytes."""
        return self._segment.ref.file_length

    def read(self, data: bytes, label: bytes) -> bytes | None:
        """Verify the bucket fetched and return the sealed record of `label`, if it is there.

        Raises:
            SegmentError: not the bucket that the owner signed.

        """
        return self._segment.read_bucket(self.bucket, data, label)


def _sha256(data: bytes | memoryview) -> bytes:
    return hashlib.sha256(data).digest()


class _Segment:
    """What both kinds share: a buffer whose header is verified and names the list and epoch expected."""

    __slots__ = ("_view", "header", "ref")

    def __init__(self, buffer: bytes | memoryview, ref: SegmentRef, header: Header) -> None:
        self._view = memoryview(buffer).toreadonly()
        self.ref = ref
        self.header = header

    def _section(self, name: str) -> memoryview:
        section = self.header.sections[name]
        return self._view[section.offset : section.end]

    def _check_section(self, name: str) -> None:
        if _sha256(self._section(name)) != self.header.sections[name].digest:
            raise altered(f"Section {name} of a segment")

    def _check_file(self) -> None:
        """Check the whole file's digest, then all sections', then that what lies between them is zeros."""
        whole = hashlib.sha256()
        for start in range(0, len(self._view), _HASH_PIECE):
            whole.update(self._view[start : start + _HASH_PIECE])
        if whole.digest() != self.ref.file_digest:
            raise altered("A segment")
        end = self.ref.header_length
        for name, section in self.header.sections.items():
            self._check_section(name)
            if any(self._view[end : section.offset]):
                raise malformed("A segment has bytes that belong to no section")
            end = section.end


@final
class BaseSegment(_Segment):
    """A base over its file, or, `on_demand`, over a sparse copy that has all but the buckets.

    Opening verifies header, index, digests of the buckets, and filter. `verify_all` verifies the buckets too: a
    subscriber calls it once when a file has arrived.
    """

    __slots__ = ("_bloom", "_digests", "_directory", "_index", "buckets", "count", "on_demand")

    def __init__(self, buffer: bytes | memoryview, ref: SegmentRef, header: Header, *, on_demand: bool = False) -> None:
        """Use `open_segment`."""
        super().__init__(buffer, ref, header)
        assert header.filter is not None
        self.count, self.buckets = header.counts
        self.on_demand = on_demand
        # Copied before it is verified: altered on the disk later, it would lead to a bucket that is sound, and another.
        self._index = memoryview(bytes(self._section("index")))
        if _sha256(self._index) != header.sections["index"].digest:
            raise altered("Section index of a segment")
        for name in ("bucket_digests", "bloom"):
            self._check_section(name)
        self._digests = self._section("bucket_digests")
        try:
            self._bloom = Bloom(header.filter, self._section("bloom"))
        except EncodingError as error:
            raise malformed("The filter of a segment is malformed") from error
        if self._bloom.overfull(self.count):
            raise malformed("The filter of a segment says maybe too often: it is over half full, or of more labels")
        if on_demand and header.filter.hashes < ON_DEMAND_HASHES:
            raise SegmentError(
                "The filter of a list is too coarse for records on demand: each maybe would show the owner what is "
                "asked. Subscribe to the list in replicate mode.",
                code="filter_too_coarse",
            )
        self._check_index()
        self._directory = Directory(self._index, INDEX_ENTRY.size)

    def _check_index(self) -> None:
        """Buckets follow one another, fill their section, hold all entries, and begin with ascending labels."""
        section = self.header.sections["buckets"]
        at, entries, before = section.offset, 0, b""
        for first, offset, length, count in INDEX_ENTRY.iter_unpack(self._index):
            if (
                offset != at
                or not 0 < count <= BUCKET_ENTRIES_LIMIT
                or not block_length_fits(length, count)
                or first <= before
            ):
                raise malformed("The index of a segment is not in order")
            at, entries, before = at + length, entries + count, first
        if at != section.end or entries != self.count:
            raise malformed("The index of a segment does not cover its buckets")

    def smallest_bucket(self) -> int:
        """The fewest entries of a bucket, the last one aside; those of the whole if there is only one."""
        counts = [count for _, _, _, count in INDEX_ENTRY.iter_unpack(self._index)]
        return min(counts[:-1], default=self.count)

    def verify_all(self) -> None:
        """Verify the whole file: its digest, every section, every bucket and the order of all labels.

        Raises:
            SegmentError: anything that is not as signed, or not sound.

        """
        self._check_file()
        for number in range(self.buckets):
            first, block, count = self._bucket(number)
            if _sha256(block) != self._digest(number):
                raise malformed("A bucket does not have the digest that its own segment names")
            labels = check_block(block, count, "a bucket")
            if labels[0] != first or (number + 1 < self.buckets and labels[-1] >= self.first_label(number + 1)):
                raise malformed("A bucket holds labels that its index puts elsewhere")

    def might_contain(self, label: bytes) -> bool:
        """Ask the filter; False is certain."""
        return label in self._bloom

    def bucket_for(self, label: bytes) -> int | None:
        """The number of the bucket that would hold `label`; None if it is below all."""
        number = self._directory.below(label)
        if number < self.buckets and self.first_label(number) == label:
            return number
        return number - 1 if number else None

    def first_label(self, number: int) -> bytes:
        """The first label of a bucket."""
        return self._directory[number]

    def find(self, label: bytes) -> bytes | NeedBucket | None:
        """The sealed record of `label`; None if it is not listed; NeedBucket if only the bucket can tell.

        The file may lie on a disk for months, and be read from it anew: a bucket that does not hold what the filter
        lets expect is verified again. (What is found proves itself when it is opened.)

        Raises:
            SegmentError: the bucket is not as it was when the file was verified.

        """
        if label not in self._bloom:
            return None
        number = self.bucket_for(label)
        if number is None:
            return None
        _, offset, length, count = INDEX_ENTRY.unpack_from(self._index, number * INDEX_ENTRY.size)
        if self.on_demand:
            return NeedBucket(self.ref.file_digest, number, offset, length, self)
        block = self._view[offset : offset + length]
        found = _find_in_bucket(block, count, label)
        if found is None and _sha256(block) != self._digest(number):
            raise altered("A bucket of a segment")
        return found

    def read_bucket(self, number: int, data: bytes, label: bytes) -> bytes | None:
        """Verify a bucket fetched by Range and return the sealed record of `label`, if it is there.

        Raises:
            SegmentError: not the bucket that the owner signed, or not sound.

        """
        first, block, count = self._bucket(number)
        if len(data) != len(block) or _sha256(data) != self._digest(number):
            raise altered("A bucket of a segment")
        if check_block(data, count, "a bucket")[0] != first:
            raise malformed("A bucket holds labels that its index puts elsewhere")
        return _find_in_bucket(data, count, label)

    def bucket_labels(self, number: int) -> memoryview:
        """The labels of a bucket, joined, where they lie (not on demand: ValueError)."""
        _, block, count = self._bucket(number)
        return self._whole(block)[: LABEL_BYTES * count]

    def bucket_rows(self, number: int) -> Iterator[tuple[bytes, bytes]]:
        """The (label, sealed record) pairs of a bucket (not on demand: ValueError)."""
        _, block, count = self._bucket(number)
        return block_rows(self._whole(block), count)

    def labels(self) -> Iterator[memoryview]:
        """All labels, sorted, joined bucket by bucket (not on demand: ValueError)."""
        return map(self.bucket_labels, range(self.buckets))

    def _whole(self, block: memoryview) -> memoryview:
        if self.on_demand:
            raise ValueError("a segment kept on demand has no buckets to read through")
        return block

    def _bucket(self, number: int) -> tuple[bytes, memoryview, int]:
        first, offset, length, count = INDEX_ENTRY.unpack_from(self._index, number * INDEX_ENTRY.size)
        return first, self._view[offset : offset + length], count

    def _digest(self, number: int) -> bytes:
        return bytes(self._digests[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES])


def _find_in_bucket(block: bytes | memoryview, count: int, label: bytes) -> bytes | None:
    labels = bytes(block[: LABEL_BYTES * count])
    at = labels.find(label)  # of 4 KiB, in C, this is cheaper than a binary search in Python
    while at % LABEL_BYTES and at >= 0:
        at = labels.find(label, at + 1)
    return block_record(block, count, at // LABEL_BYTES) if at >= 0 else None


@final
class Added(Mapping[bytes, bytes]):
    """What a delta adds: label to sealed record, in the order of labels."""

    __slots__ = ("_block", "_count")

    def __init__(self, block: memoryview, count: int) -> None:
        self._block = block
        self._count = count

    def __getitem__(self, label: bytes) -> bytes:
        position = find_label(self._block, self._count, label)
        if position < 0:
            raise KeyError
        return self.at(position)

    def __iter__(self) -> Iterator[bytes]:
        return iter(split_labels(bytes(self._block[: LABEL_BYTES * self._count])))

    def __len__(self) -> int:
        return self._count

    def at(self, position: int) -> bytes:
        """The sealed record at a position."""
        return block_record(self._block, self._count, position)


@final
class Withdrawn(Mapping[bytes, str]):
    """What a delta withdraws: label to reason, in the order of labels."""

    __slots__ = ("_codes", "_count", "_labels", "_reasons")

    def __init__(self, section: memoryview, count: int, reasons: tuple[str, ...]) -> None:
        self._labels = section[: LABEL_BYTES * count]
        self._codes = section[LABEL_BYTES * count :]
        self._count = count
        self._reasons = reasons

    def __getitem__(self, label: bytes) -> str:
        position = find_label(self._labels, self._count, label)
        if position < 0:
            raise KeyError
        return self._reasons[self._codes[position]]

    def __iter__(self) -> Iterator[bytes]:
        return iter(split_labels(bytes(self._labels)))

    def __len__(self) -> int:
        return self._count

    def highest_code(self) -> int:
        """The highest reason code in use; -1 if nothing is withdrawn."""
        return max(self._codes, default=-1)


@final
class DeltaSegment(_Segment):
    """A delta over its whole file, verified wholly when opened: `added` and `withdrawn`."""

    __slots__ = ("added", "withdrawn")

    def __init__(self, buffer: bytes | memoryview, ref: SegmentRef, header: Header) -> None:
        """Use `open_segment`."""
        super().__init__(buffer, ref, header)
        self._check_file()
        added, withdrawn = header.counts
        labels = check_block(self._section("added"), added, "a delta")
        self.added = Added(self._section("added"), added)
        self.withdrawn = Withdrawn(self._section("withdrawn"), withdrawn, header.reasons)
        gone = list(self.withdrawn)
        check_sorted(gone, "a delta")
        if not set(labels).isdisjoint(gone):
            raise malformed("A delta both adds and withdraws a label")
        if self.withdrawn.highest_code() >= len(header.reasons):
            raise malformed("A delta withdraws a label for a reason that it does not name")


def open_segment(
    buffer: bytes | memoryview, ref: SegmentRef, list_name: str, epoch: bytes, *, on_demand: bool = False
) -> BaseSegment | DeltaSegment:
    """Open a segment over `buffer` (`memoryview(mmap)`, or bytes) and verify it.

    `ref` is what the signed snapshot says; `list_name` and `epoch` (digest of the epoch statement) are the
    snapshot's too, so that a segment of another list or epoch cannot be mixed in. A delta is verified wholly, a
    base but for its buckets: see `BaseSegment.verify_all`. With `on_demand` the buckets of a base may be holes.

    Raises:
        SegmentError: codes `segment_truncated` (another length), `segment_altered` (a digest does not
            hold), `segment_malformed`, `segment_mixed` (another list or epoch), `filter_too_coarse`.

    """
    view = memoryview(buffer)
    if len(view) != ref.file_length or len(view) < HEADER_ROOM:
        raise SegmentError("A segment does not have the length that its owner signed.", code="segment_truncated")
    header = read_header(bytes(view[: ref.header_length]), ref)
    if header.list_name != list_name or header.epoch != epoch:
        raise SegmentError("A segment is of another list or epoch than its snapshot.", code="segment_mixed")
    if header.kind == "delta":
        return DeltaSegment(view, ref, header)
    return BaseSegment(view, ref, header, on_demand=on_demand)


def open_whole(buffer: bytes | memoryview, ref: SegmentRef, list_name: str, epoch: bytes) -> BaseSegment | DeltaSegment:
    """Open a segment as `open_segment`, and compare the whole file with its digest: for an owner's own files.

    What the owner wrote is sound, if it is what the owner wrote; so this leaves out what else `verify_all` looks at.

    Raises:
        SegmentError: as `open_segment`.

    """
    if _sha256(memoryview(buffer)) != ref.file_digest:
        raise altered("A segment")
    return open_segment(buffer, ref, list_name, epoch)
