"""Writing a segment into a stream, in bounded memory.

The sections go out first, behind the room for the header, a base's buckets as their rows arrive; then the
header; and at last the file is read once more for its digest. What a base costs in memory is its filter, 64 bytes a
bucket and one bucket.

Durability is the caller's: it gives a new file, and flushes, syncs and renames it afterwards. An OSError of the
stream (a full disk) passes through.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from operator import lt
from typing import BinaryIO, Final, TypeVar

from riskshare.encoding import sha256
from riskshare.membership.bloom import DEFAULT_FLOOR, DEFAULT_RATE, LABEL_BYTES, Parameters, size
from riskshare.membership.record import SEALED_LIMIT, SEALED_MIN
from riskshare.sharing.packed import SealedRow, SortedRows
from riskshare.sharing.segment import (
    ALIGNMENT,
    BASE_ENTRIES,
    BUCKET_ENTRIES,
    BUCKET_ENTRIES_LIMIT,
    DELTA_ENTRIES,
    DELTA_LIMIT,
    DIGEST_BYTES,
    INDEX_ENTRY,
    REASONS,
    SECTIONS,
    Header,
    encode_block,
    join_block,
    lay_out,
)
from riskshare.sharing.segment_ref import FILE_LIMIT, HEADER_ROOM, SegmentRef

T = TypeVar("T")

_PIECE: Final = 2**20
_UNSORTED: Final = "the rows of a segment are sorted by label, each label once"
_UNFIT: Final = "a row of a segment is a label of 16 bytes and a sealed record"


def write_base(
    out: BinaryIO,
    list_name: str,
    epoch: bytes,
    rows: SortedRows | Iterable[SealedRow],
    *,
    seed: int,
    rate: float = DEFAULT_RATE,
    floor: int = DEFAULT_FLOOR,
    bucket: int = BUCKET_ENTRIES,
) -> SegmentRef:
    """Write a base into `out`, an empty file open for writing and reading (mode `w+b`).

    `rows` are (label, sealed record), labels strictly ascending; `epoch` is the digest of the epoch statement;
    `seed` 32 fresh random bits for the filter; `rate` and `floor` as `bloom.size`; `bucket` entries a bucket.

    Raises:
        ValueError: rows not sorted, or a label or record of the wrong length; too many rows; list name too long.
        OSError: from the stream.

    """
    from riskshare.membership.bloom_build import build  # noqa: PLC0415 - numpy, for those alone who write a base

    if not 0 < bucket <= BUCKET_ENTRIES_LIMIT:
        raise ValueError(f"a bucket has 1 to {BUCKET_ENTRIES_LIMIT} entries")
    writer = _Writer(out, "base")
    index, digests = bytearray(), bytearray()
    count = 0
    for first, some, block in _sorted_blocks(rows, bucket) if isinstance(rows, SortedRows) else _blocks(rows, bucket):
        index += INDEX_ENTRY.pack(first, writer.position, len(block), some)
        digests += sha256(block)
        writer.write(block)
        count += some
    if count > BASE_ENTRIES or writer.position > FILE_LIMIT // 2:
        raise ValueError("a list of so many entries does not fit a segment")
    writer.end_section()
    parameters = size(count, rate, floor=floor, seed=seed)
    bits = build(_labels_written(out, index), parameters)
    for section in (index, digests, bits):
        writer.seek_end()
        writer.write(section)
        writer.end_section()
    return writer.finish(list_name, epoch, (count, len(index) // INDEX_ENTRY.size), parameters=parameters)


def _blocks(rows: Iterable[SealedRow], bucket: int) -> Iterator[tuple[bytes, int, bytes]]:
    """Of each bucket the first label, how many rows it has, and its block. Raises ValueError."""
    last = b""
    for chunk in _chunks(rows, bucket):
        _check_rows(chunk, last)
        last = chunk[-1][0]
        yield chunk[0][0], len(chunk), encode_block(chunk)


def _sorted_blocks(rows: SortedRows, bucket: int) -> Iterator[tuple[bytes, int, bytes]]:
    """As `_blocks`, in a quarter of the time. Raises ValueError."""
    if not rows.distinct:
        raise ValueError(_UNSORTED)
    if rows and not SEALED_MIN <= rows.shortest <= rows.longest <= SEALED_LIMIT:
        raise ValueError(_UNFIT)
    for places in _chunks(range(len(rows)), bucket):
        labels, sealed = rows.block(places[0], places[-1] + 1)
        yield labels[:LABEL_BYTES], len(places), join_block(labels, sealed)


def _chunks(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut rows into buckets of `size`; a rest of less than half of one joins the last.

    Who fetches a bucket on demand tells the owner that its entries are looked for: they must not be too few.
    """
    source = iter(rows)
    chunk = list(islice(source, size))
    while chunk:
        rest = list(islice(source, size))
        if len(rest) < size // 2 and len(chunk) + len(rest) <= BUCKET_ENTRIES_LIMIT:
            chunk, rest = chunk + rest, []
        yield chunk
        chunk = rest


def write_delta(
    out: BinaryIO, list_name: str, epoch: bytes, added: Mapping[bytes, bytes], withdrawn: Mapping[bytes, str]
) -> SegmentRef:
    """Write a delta into `out`, an empty file open for writing and reading.

    `added` maps labels to sealed records, `withdrawn` labels to one of REASONS. A label that is added replaces what
    earlier segments say of it.

    Raises:
        ValueError: a label in both, an unknown reason, a label or record of the wrong length, or more than
            DELTA_ENTRIES labels or DELTA_LIMIT bytes: write a base then.
        OSError: from the stream.

    """
    if not added.keys().isdisjoint(withdrawn):
        raise ValueError("a delta cannot both add and withdraw a label")
    if not set(withdrawn.values()) <= set(REASONS):
        raise ValueError(f"the reason of a withdrawal is one of {', '.join(REASONS)}")
    if len(added) + len(withdrawn) > DELTA_ENTRIES:
        raise ValueError(f"a delta has at most {DELTA_ENTRIES} labels; write a base")
    rows, gone = sorted(added.items()), sorted(withdrawn)
    _check_rows(rows, b"")
    if any(len(label) != LABEL_BYTES for label in gone):
        raise ValueError("labels are 16 bytes each")
    block = encode_block(rows)
    if HEADER_ROOM + len(block) + ALIGNMENT + (LABEL_BYTES + 1) * len(gone) > DELTA_LIMIT:
        raise ValueError(f"a delta has at most {DELTA_LIMIT} bytes; write a base")
    reasons = tuple(sorted(set(withdrawn.values())))
    codes = {reason: code for code, reason in enumerate(reasons)}
    writer = _Writer(out, "delta")
    writer.write(block)
    writer.end_section()
    writer.write(b"".join(gone) + bytes(codes[withdrawn[label]] for label in gone))
    writer.end_section()
    return writer.finish(list_name, epoch, (len(rows), len(gone)), reasons=reasons)


def _check_rows(rows: list[tuple[bytes, bytes]], last: bytes) -> None:
    """Check rows that follow the label `last`."""
    labels, records = zip(*rows, strict=True) if rows else ((), ())
    lengths = set(map(len, records))
    if not all(map(lt, (last, *labels), labels)):
        raise ValueError(_UNSORTED)
    if set(map(len, labels)) - {LABEL_BYTES} or any(not SEALED_MIN <= n <= SEALED_LIMIT for n in lengths):
        raise ValueError(_UNFIT)


def _labels_written(out: BinaryIO, index: bytearray) -> Iterator[bytes]:
    """Read back the labels of each bucket: cheaper than to keep them."""
    for _, offset, _, count in INDEX_ENTRY.iter_unpack(bytes(index)):
        out.seek(offset)
        yield out.read(LABEL_BYTES * count)


class _Writer:
    """Writes sections where `lay_out` puts them, and the header at the end."""

    def __init__(self, out: BinaryIO, kind: str) -> None:
        self.position = HEADER_ROOM
        self._out = out
        self._kind = kind
        self._start = HEADER_ROOM
        self._hash = hashlib.sha256()
        self._sections: list[tuple[int, bytes]] = []
        out.seek(0)
        out.write(bytes(HEADER_ROOM))

    def write(self, data: bytes | bytearray) -> None:
        self._out.write(data)
        self._hash.update(data)
        self.position += len(data)

    def seek_end(self) -> None:
        self._out.seek(self.position)

    def end_section(self) -> None:
        self._sections.append((self.position - self._start, self._hash.digest()))
        self._hash = hashlib.sha256()
        if len(self._sections) < len(SECTIONS[self._kind]):
            gap = -self.position % ALIGNMENT
            self._out.write(bytes(gap))
            self.position += gap
            self._start = self.position

    def finish(
        self,
        list_name: str,
        epoch: bytes,
        counts: tuple[int, int],
        *,
        parameters: Parameters | None = None,
        reasons: tuple[str, ...] = (),
    ) -> SegmentRef:
        """Write the header, read the file once for its digest."""
        if len(epoch) != DIGEST_BYTES:
            raise ValueError("an epoch is named by 32 bytes")
        placed = lay_out(self._kind, self._sections)
        sections = dict(zip(SECTIONS[self._kind], placed, strict=True))
        header = Header(self._kind, list_name, epoch, counts, parameters, reasons, sections).to_bytes()
        if len(header) > HEADER_ROOM:
            raise ValueError("the name of the list is too long for a segment's header")
        out = self._out
        out.seek(0)
        out.write(header)
        out.truncate(self.position)
        out.seek(0)
        whole = hashlib.sha256()
        while piece := out.read(_PIECE):
            whole.update(piece)
        return SegmentRef(sha256(header), len(header), whole.digest(), self.position)
