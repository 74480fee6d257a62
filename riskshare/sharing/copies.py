"""Copies of other members' segment files: fetched, each byte verified, opened, and deleted when nothing names them.

What an owner can make its readers keep is bounded before a byte of it is fetched: the bytes of all files that the
newest snapshots of its lists name. While a new version takes the place of an old one, both are here for a moment.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import BinaryIO, Protocol

from riskshare.errors import DiskError, SegmentError, SnapshotError
from riskshare.sharing.segment import ON_DEMAND_ENTRIES, Header, read_header
from riskshare.sharing.segment_read import BaseSegment, DeltaSegment, open_segment
from riskshare.sharing.segment_ref import HEADER_ROOM, SegmentRef
from riskshare.sharing.snapshot import SnapshotStatement
from riskshare.sharing.standing import SegmentFacts
from riskshare.sharing.view import ListView, Summary, summary


class Fill(Protocol):
    """Writes one file."""

    async def __call__(self, out: BinaryIO) -> SegmentRef:
        """Fill an empty file and say what it is."""


class Files(Protocol):
    """The local copies of segment files."""

    def has(self, ref: SegmentRef) -> bool:
        """Whether the file is here."""

    def map(self, ref: SegmentRef) -> memoryview:
        """Map it. Raises SegmentError."""

    async def fetch(self, fill: Fill) -> SegmentRef:
        """Let `fill` write a new file durably. Raises DiskError."""

    def delete(self, digest: bytes) -> None:
        """Remove a file."""

    def require_room(self, size: int) -> None:
        """Refuse to begin what needs more bytes than there are free. Raises DiskError."""

    def older(self, than: datetime) -> Iterable[bytes]:
        """The digests of files last written before that time. Raises DiskError."""


class Segments(Protocol):
    """Where segment files come from."""

    async def segment(self, owner: str, ref: SegmentRef, out: BinaryIO, *, offset: int, length: int) -> None:
        """Write exactly that part of a segment file into `out`, from its present position on. Raises PeerError."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How to follow: see the configuration of the same names."""

    catalogue_seconds: float = 5.0
    hold_seconds: float = 20.0
    on_demand: frozenset[str] = frozenset()
    on_demand_by_default: bool = False
    owner_bytes: int = 20 * 2**30
    delta_entries: int = 2**24

    def is_on_demand(self, list_name: str) -> bool:
        """Whether a list's buckets are fetched only when needed."""
        return self.on_demand_by_default != (list_name in self.on_demand)


@dataclass(frozen=True, slots=True)
class Following:
    """A snapshot that serves, with its view."""

    snapshot: SnapshotStatement
    digest: bytes
    view: ListView = field(repr=False)


class Copies:
    """The files of all lists that are followed, and those of them that are open."""

    def __init__(self, *, source: Segments, files: Files, rules: Rules) -> None:
        self._source = source
        self._files = files
        self._rules = rules
        self._opened: dict[SegmentRef, BaseSegment | DeltaSegment] = {}
        self._partial: dict[SegmentRef, int] = {}

    async def fetch(self, owner: str, snapshot: SnapshotStatement, beside: Collection[SnapshotStatement]) -> None:
        """Fetch the files of a snapshot that are not here.

        `beside` are the newest snapshots of the owner's other lists, and of this one under other epochs.

        Raises:
            SnapshotError: code `too_many_bytes`.
            PeerError, SegmentError: a file cannot be had.
            DiskError: there is no room for them all, or a file cannot be written.

        """
        self._refuse_too_many((*beside, snapshot))
        missing = [ref for ref in snapshot.segments if not self._files.has(ref)]
        self._files.require_room(sum(self._size(snapshot, ref) for ref in missing))
        for ref in missing:
            await self._fetch(owner, snapshot, ref, beside)

    def bytes_of(self, snapshots: Iterable[SnapshotStatement]) -> int:
        """The bytes of all files that they name, each once; of one kept on demand, what is fetched of it."""
        return sum({ref: self._size(snapshot, ref) for snapshot in snapshots for ref in snapshot.segments}.values())

    def _size(self, snapshot: SnapshotStatement, ref: SegmentRef) -> int:
        """The bytes that are kept of a file. On demand, that is known once its header is here."""
        whole = ref.file_length
        if not self._rules.is_on_demand(snapshot.list_name):
            return whole
        return self._partial.get(ref, min(HEADER_ROOM, whole))

    def _refuse_too_many(self, snapshots: Iterable[SnapshotStatement]) -> None:
        size = self.bytes_of(snapshots)
        if size > self._rules.owner_bytes:
            raise SnapshotError(
                f"The owner's files would be {size:,} bytes, more than subscribe.owner_gib allows; raise it, or name"
                " its large lists in subscribe.on_demand.",
                code="too_many_bytes",
            )

    async def _fetch(
        self, owner: str, snapshot: SnapshotStatement, ref: SegmentRef, beside: Collection[SnapshotStatement]
    ) -> None:
        """Fetch one segment file: whole, or on demand without the buckets of a base."""
        on_demand = self._rules.is_on_demand(snapshot.list_name)

        async def fill(out: BinaryIO) -> SegmentRef:
            if not on_demand:
                await self._source.segment(owner, ref, out, offset=0, length=ref.file_length)
                return ref
            await self._source.segment(owner, ref, out, offset=0, length=min(HEADER_ROOM, ref.file_length))
            out.seek(0)
            header = read_header(out.read(ref.header_length), ref)
            self._note_size(ref, header)
            self._refuse_too_many((*beside, snapshot))
            self._files.require_room(self._partial[ref])
            for offset, length in header.ranges():
                out.seek(offset)
                await self._source.segment(owner, ref, out, offset=offset, length=length)
            out.truncate(ref.file_length)
            return ref

        await self._files.fetch(fill)

    def _note_size(self, ref: SegmentRef, header: Header) -> None:
        self._partial[ref] = HEADER_ROOM + sum(length for _, length in header.ranges())

    def view(self, snapshot: SnapshotStatement, former: Following | None) -> ListView:
        """Look at a snapshot's segments as one, and verify that they hold the labels that it says.

        `former` is what serves of the list now: the view of the same segments is not made twice.

        Raises:
            SegmentError: a file is not here, not what was signed, or not where it belongs.
            SnapshotError: `mixed_segments`, the labels are others than the snapshot says; `too_many_entries`,
                its deltas, which are joined in memory, name more labels than allowed.

        """
        opened = list(self._open_all(snapshot))
        if former is not None and former.snapshot.segments == snapshot.segments:
            view, found = former.view, Summary(former.snapshot.count, former.snapshot.labels)
        else:
            bases = [segment for segment in opened if isinstance(segment, BaseSegment)]
            if bases[1:] or (bases and bases[0] is not opened[0]):
                raise SegmentError("Only the first segment of a list may be a base.", code="segment_mixed")
            deltas = [segment for segment in opened if isinstance(segment, DeltaSegment)]
            view = ListView(bases[0] if bases else None, deltas)
            if view.base is not None and view.base.on_demand:
                return view  # without the buckets, nobody can tell
            found = summary(view)
        if found != Summary(snapshot.count, snapshot.labels):
            raise SnapshotError("The segments hold other labels than their snapshot says.", code="mixed_segments")
        return view

    def _open_all(self, snapshot: SnapshotStatement) -> Iterator[BaseSegment | DeltaSegment]:
        entries = 0
        for ref in snapshot.segments:
            segment = self._open(snapshot, ref)
            entries += sum(segment.header.counts) if isinstance(segment, DeltaSegment) else 0
            if entries > self._rules.delta_entries:
                raise SnapshotError(
                    "The deltas of the list name more labels than subscribe.delta_entries allows; raise it, or ask the"
                    " owner to publish a new base.",
                    code="too_many_entries",
                )
            yield segment

    def _open(self, snapshot: SnapshotStatement, ref: SegmentRef) -> BaseSegment | DeltaSegment:
        """Open a file and verify every byte that will be used of it; a file that fails is removed."""
        known = self._opened.get(ref)
        if known is not None:
            return known
        on_demand = self._rules.is_on_demand(snapshot.list_name)
        try:
            segment = open_segment(self._files.map(ref), ref, snapshot.list_name, snapshot.epoch, on_demand=on_demand)
            if isinstance(segment, BaseSegment) and on_demand:
                _refuse_small_buckets(segment)
            elif isinstance(segment, BaseSegment):
                segment.verify_all()
        except SegmentError:
            # Not the file of another list, which was verified, and which this owner may have named without right.
            if all(other.file_digest != ref.file_digest for other in tuple(self._opened)):
                self._files.delete(ref.file_digest)
            raise
        self._opened[ref] = segment
        if on_demand:
            self._note_size(ref, segment.header)
        return segment

    def facts(self, snapshot: SnapshotStatement, ref: SegmentRef) -> SegmentFacts:
        """What was found in a segment that `view` has opened."""
        segment = self._opened[ref]
        is_base = isinstance(segment, BaseSegment)
        partial = is_base and self._rules.is_on_demand(snapshot.list_name)
        return SegmentFacts(
            header_digest=ref.header_digest,
            header_length=ref.header_length,
            file_digest=None if partial else ref.file_digest,
            file_length=ref.file_length,
            list_name=segment.header.list_name,
            epoch=segment.header.epoch,
            kind="base" if is_base else "delta",
        )

    def drop(self, gone: SnapshotStatement, named: Iterable[SnapshotStatement]) -> None:
        """Close and delete the files of `gone` that no snapshot of `named` names, which serve or are being fetched."""
        kept = {ref for snapshot in named for ref in snapshot.segments}
        files = {ref.file_digest for ref in kept}  # two owners may name one file, one of them wrongly
        for ref in gone.segments:
            if ref not in kept:
                self._opened.pop(ref, None)
                self._partial.pop(ref, None)
                if ref.file_digest not in files:
                    with suppress(DiskError):  # it takes up room, and does no harm
                        self._files.delete(ref.file_digest)

    def sweep(self, old: Iterable[bytes], named: Iterable[SnapshotStatement]) -> int:
        """Delete what no snapshot of `named` names of the files `old` (digests); return how many. Raises DiskError."""
        needed = {ref.file_digest for snapshot in named for ref in snapshot.segments}
        orphans = [digest for digest in old if digest not in needed]
        for digest in orphans:
            self._files.delete(digest)
        return len(orphans)


def _refuse_small_buckets(segment: BaseSegment) -> None:
    """Refuse a base whose owner could tell by the bucket that is fetched whom a payment is about."""
    if segment.buckets > 1 and segment.smallest_bucket() < ON_DEMAND_ENTRIES:
        raise SegmentError(
            "The buckets of a list are too small for records on demand: each fetch would show the owner what is asked."
            " Subscribe to the list in replicate mode.",
            code="buckets_too_small",
        )
