"""The lists that opened checks looked into, at the snapshots that their records name: fetched, verified, kept.

A snapshot is believed if its digest is the one of the record and its owner signed it; a segment if it is, byte for
byte, what the snapshot says. What was fetched stays in the auditor's folder, so that all of it can be verified again
without anybody's help.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import BinaryIO, Final, Protocol

from riskshare.audit.basis import Basis
from riskshare.audit.recompute import Source
from riskshare.errors import PeerError, SegmentError, SnapshotError, TrustError
from riskshare.names import list_owner
from riskshare.sharing.segment_read import BaseSegment, DeltaSegment, open_segment
from riskshare.sharing.segment_ref import SegmentRef
from riskshare.sharing.signed import read_signed
from riskshare.sharing.snapshot import KIND, MAX_BYTES, SnapshotStatement
from riskshare.sharing.view import ListView, Summary, summary

OPEN_AT_ONCE: Final = 16
"""Snapshots that are kept open; those of one list share most of their segments."""


class Shelf(Protocol):
    """Where snapshot statements are kept."""

    def snapshot(self, digest: bytes) -> bytes | None:
        """The wire form of a statement. Raises DiskError."""

    def keep_snapshot(self, digest: bytes, wire: bytes) -> None:
        """Keep one. Raises DiskError."""


class Files(Protocol):
    """Where segment files are kept."""

    def has(self, ref: SegmentRef) -> bool:
        """Whether the file is here."""

    def map(self, ref: SegmentRef) -> memoryview:
        """Map it. Raises SegmentError."""

    async def fetch(self, fill: Callable[[BinaryIO], Awaitable[SegmentRef]]) -> SegmentRef:
        """Let `fill` write a new file. Raises DiskError."""

    def delete(self, digest: bytes) -> None:
        """Remove a file. Raises DiskError."""


class Owners(Protocol):
    """The way to the owners' peers. Every method raises PeerError."""

    async def snapshot_version(self, owner: str, list_name: str, epoch: bytes, version: int) -> bytes:
        """One version of a list's snapshot under an epoch: the wire form."""

    async def segment(self, owner: str, digest: bytes, out: BinaryIO, *, length: int) -> None:
        """Write a segment file to `out`."""


class Sources:
    """All lists at all snapshots. `owners` is None where nobody is asked any more."""

    def __init__(
        self,
        *,
        network: str,
        keys: Callable[[str], Sequence[bytes]],
        shelf: Shelf,
        files: Files,
        owners: Owners | None,
        now: Callable[[], datetime],
    ) -> None:
        """Wire it up; `keys` gives all identity keys that the registry ever named for a member."""
        self._network = network
        self._keys = keys
        self._shelf = shelf
        self._files = files
        self._owners = owners
        self._now = now
        self._open: OrderedDict[bytes, Source] = OrderedDict()
        self.troubles: dict[bytes, tuple[str, str]] = {}
        """Snapshots that could not be had whole, by digest: the list, and why."""

    async def of(self, basis: Basis) -> dict[str, Source]:
        """The lists of other owners that a check looked into; one that cannot be had is missing. Raises DiskError."""
        found: dict[str, Source] = {}
        for name, digest in basis.record.snapshots.items():
            if list_owner(name) == basis.member or digest in self.troubles:
                continue
            try:
                found[name] = await self._source(basis, name, digest)
            except (PeerError, TrustError) as error:
                self.troubles[digest] = name, error.message
        return found

    async def _source(self, basis: Basis, name: str, digest: bytes) -> Source:
        source = self._open.get(digest)
        if source is None:
            snapshot = await self._snapshot(basis, name, digest)
            if snapshot.list_name != name:
                raise SnapshotError("The record names for one list the snapshot of another.", code="wrong_list")
            for ref in snapshot.segments:
                await self._fetch(snapshot.owner, ref)
            source = Source(snapshot, await asyncio.to_thread(self._view, snapshot))
            self._open[digest] = source
            if len(self._open) > OPEN_AT_ONCE:
                self._open.popitem(last=False)
        self._open.move_to_end(digest)
        return source

    # -- the snapshot ----------------------------------------------------------------

    async def _snapshot(self, basis: Basis, name: str, digest: bytes) -> SnapshotStatement:
        wire = self._shelf.snapshot(digest)
        if wire is not None:
            return self._read(name, digest, wire)
        wire = await self._fetch_snapshot(basis, name, digest)
        snapshot = self._read(name, digest, wire)
        self._shelf.keep_snapshot(digest, wire)
        return snapshot

    async def _fetch_snapshot(self, basis: Basis, name: str, digest: bytes) -> bytes:
        owner = list_owner(name)
        version = basis.record.owners.get(owner, ("down", {}))[1].get(name)
        if self._owners is None or version is None:
            raise SnapshotError("The snapshot is not in the folder.")
        refused: PeerError | SnapshotError | None = None
        for epoch in dict.fromkeys(part.epoch for part in basis.record.asked if part.owner == owner):
            try:
                wire = await self._owners.snapshot_version(owner, name, epoch, version)
                self._read(name, digest, wire)
            except (PeerError, SnapshotError) as error:
                refused = error
            else:
                return wire
        raise refused or SnapshotError("The record names no epoch of the snapshot's owner.")

    def _read(self, name: str, digest: bytes, wire: bytes) -> SnapshotStatement:
        """Verify a statement against the digest of the record. Raises SnapshotError."""
        signed = read_signed(
            KIND, self._network, wire, self._keys(list_owner(name)), received=self._now(), limit=MAX_BYTES
        )
        if signed.digest != digest:
            raise SnapshotError("The owner shows another snapshot than the one that the record names.", code="fork")
        return SnapshotStatement.from_statement(signed.statement)

    # -- its segments ----------------------------------------------------------------

    async def _fetch(self, owner: str, ref: SegmentRef) -> None:
        if self._files.has(ref):
            return
        asked = self._owners
        if asked is None:
            raise SegmentError("A segment is not in the folder.", code="segment_missing")

        async def fill(out: BinaryIO) -> SegmentRef:
            await asked.segment(owner, ref.file_digest, out, length=ref.file_length)
            return ref

        await self._files.fetch(fill)

    def _view(self, snapshot: SnapshotStatement) -> ListView:
        """Look at the segments as one. Raises SegmentError, SnapshotError; a file that is not right is removed."""
        opened = [self._segment(snapshot, ref) for ref in snapshot.segments]
        bases = [segment for segment in opened if isinstance(segment, BaseSegment)]
        if bases[1:] or (bases and bases[0] is not opened[0]):
            raise SegmentError("Only the first segment of a list may be a base.", code="segment_mixed")
        deltas = [segment for segment in opened if isinstance(segment, DeltaSegment)]
        view = ListView(bases[0] if bases else None, deltas)
        if summary(view) != Summary(snapshot.count, snapshot.labels):
            raise SnapshotError("The segments hold other labels than their snapshot says.", code="mixed_segments")
        return view

    def _segment(self, snapshot: SnapshotStatement, ref: SegmentRef) -> BaseSegment | DeltaSegment:
        for known in _segments(self._open.values()):
            if known.ref == ref and (known.header.list_name, known.header.epoch) == (
                snapshot.list_name,
                snapshot.epoch,
            ):
                return known
        try:
            segment = open_segment(self._files.map(ref), ref, snapshot.list_name, snapshot.epoch)
            if isinstance(segment, BaseSegment):
                segment.verify_all()
        except SegmentError:
            self._files.delete(ref.file_digest)
            raise
        return segment


def _segments(sources: Iterable[Source]) -> Iterator[BaseSegment | DeltaSegment]:
    for source in sources:
        if source.view.base is not None:
            yield source.view.base
        yield from source.view.deltas
