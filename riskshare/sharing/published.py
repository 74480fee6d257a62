"""What this member has published, as it serves it: to other members, and to its own checks.

Read from the store at start and after each change; the peer's requests are answered from memory. The
secret keys of the epochs in service live here, in memory only.

Version 1 has lists open to all members; lists under grants come with the life of a list. All that is told to
a reader already goes through `_readable`, the one place that decides what a reader may see.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from riskshare.encoding import parse_canonical_json
from riskshare.errors import DiskError, RiskshareError, SegmentError
from riskshare.membership.oprf import SecretKey
from riskshare.sharing.catalogue import CatalogueEntry, CatalogueStatement
from riskshare.sharing.entry import DataKey
from riskshare.sharing.kept import EpochRow, ListRow, SegmentRow, SnapshotRow
from riskshare.sharing.segment_read import BaseSegment, DeltaSegment, open_segment
from riskshare.sharing.segment_ref import SegmentRef
from riskshare.sharing.snapshot import MAX_BYTES
from riskshare.sharing.view import ListView
from riskshare.signature import SigningKey
from riskshare.statement import Statement, sign

CATALOGUE_TERM: Final = timedelta(hours=24)
CATALOGUE_REISSUE: Final = timedelta(hours=1)

Place = tuple[str, bytes]
"""Full list name and epoch digest."""


class Lists(Protocol):
    """The store of lists."""

    async def lists(self) -> Sequence[ListRow]:
        """All lists of this member."""


class Shelf(Protocol):
    """The store of what is published."""

    async def epochs(self, keyset: str | None = None) -> Sequence[EpochRow]:
        """All epochs whose keys are kept."""

    async def latest_snapshot(self, list_id: int, epoch: bytes) -> SnapshotRow | None:
        """The newest snapshot of a list under an epoch."""

    async def snapshot(self, list_id: int, epoch: bytes, version: int) -> SnapshotRow | None:
        """One snapshot."""

    async def segments(self, file_digests: Sequence[bytes]) -> Sequence[SegmentRow]:
        """The rows of these segments, in this order."""

    async def next_catalogue_version(self, reader: str) -> int:
        """The next version of the catalogue for a reader; grows over restarts."""


class Files(Protocol):
    """The segment files."""

    def map(self, ref: SegmentRef) -> memoryview:
        """Map a file. Raises SegmentError."""

    def path(self, digest: bytes) -> Path:
        """Where a file lies."""


@dataclass(frozen=True, slots=True)
class PublishedList:
    """One list under one epoch at its newest snapshot."""

    row: ListRow
    name: str
    epoch: EpochRow
    snapshot: SnapshotRow
    view: ListView = field(repr=False)
    files: frozenset[bytes] = field(repr=False)
    """Digests of the files that are served: those of the snapshot, and those that its base has replaced."""

    @property
    def count(self) -> int:
        """Labels on the list, canaries included, as the snapshot states."""
        statement = parse_canonical_json(self.snapshot.statement, limit=MAX_BYTES)
        return int(statement["count"])


@dataclass(slots=True)
class _Catalogue:
    entries: tuple[CatalogueEntry, ...]
    issued_at: datetime
    wire: bytes = field(repr=False)


class Published:
    """The newest snapshots of this member, by list and epoch."""

    def __init__(
        self,
        *,
        member: str,
        network: str,
        identity: SigningKey,
        data_key: DataKey,
        lists: Lists,
        shelf: Shelf,
        files: Files,
        now: Callable[[], datetime],
    ) -> None:
        self._member = member
        self._network = network
        self._identity = identity
        self._data_key = data_key
        self._all_lists = lists
        self._shelf = shelf
        self._files = files
        self._now = now
        self._lists: dict[Place, PublishedList] = {}
        self._epochs: dict[bytes, tuple[EpochRow, SecretKey]] = {}
        self._catalogues: dict[str, _Catalogue] = {}
        self._rows: dict[str, ListRow] = {}
        self._named: frozenset[str] = frozenset()
        self._last_epochs: dict[str, EpochRow] = {}
        self._changed = asyncio.Event()
        self._loading = asyncio.Lock()
        self._cataloguing = asyncio.Lock()
        self.generation = 0
        """Grows whenever anything that a check looks into has changed."""

    async def load(self) -> None:
        """Read what is published; wake those who wait for something newer.

        Raises:
            StoreError, OpenError: what was loaded before goes on being served.
            SegmentError, DiskError: of one list at least the files cannot be used; of that list, what was loaded
                before goes on being served, and all others are up to date.

        """
        trouble: RiskshareError | None = None
        async with self._loading:
            now = self._now()
            rows = {f"{self._member}/{row.name}": row for row in await self._all_lists.lists()}
            epochs: dict[bytes, tuple[EpochRow, SecretKey]] = {}
            known_epochs = await self._shelf.epochs()
            for epoch in known_epochs:
                if epoch.ended_at is None and epoch.not_before <= now < epoch.not_after:
                    known = self._epochs.get(epoch.digest)
                    key = known[1] if known else self._data_key.open_epoch(epoch.secret_sealed, epoch.digest)
                    epochs[epoch.digest] = (epoch, key)
            lists: dict[Place, PublishedList] = {}
            for name, row in rows.items():
                for epoch, _ in epochs.values():
                    if epoch.keyset != row.keyset:
                        continue
                    found = self._lists.get((name, epoch.digest))
                    try:
                        found = await self._load_list(name, row, epoch)
                    except (SegmentError, DiskError) as error:
                        trouble = trouble or error
                    if found is not None:
                        lists[name, epoch.digest] = found
            held = {name for name, _ in lists}
            for name, row in rows.items():
                if name not in held and await self._was_published(row, known_epochs):
                    held.add(name)
            self._rows, self._epochs, self._lists, self._named = rows, epochs, lists, frozenset(held)
            self._last_epochs = {row.keyset: row for row in sorted(known_epochs, key=lambda row: row.number)}
            self.generation += 1
        waiting, self._changed = self._changed, asyncio.Event()
        waiting.set()
        if trouble is not None:
            raise trouble

    async def _was_published(self, row: ListRow, epochs: Sequence[EpochRow]) -> bool:
        """Whether there is a snapshot of the list under any epoch, ended or not."""
        for epoch in epochs:
            if epoch.keyset == row.keyset and await self._shelf.latest_snapshot(row.id, epoch.digest) is not None:
                return True
        return False

    async def _load_list(self, name: str, row: ListRow, epoch: EpochRow) -> PublishedList | None:
        snapshot = await self._shelf.latest_snapshot(row.id, epoch.digest)
        if snapshot is None:
            return None
        former = self._lists.get((name, epoch.digest))
        if former is not None and former.snapshot.segments == snapshot.segments:
            return PublishedList(row, name, epoch, snapshot, former.view, former.files)
        segments = await self._shelf.segments(snapshot.segments)
        view = await asyncio.to_thread(self._open, name, epoch.digest, segments)
        files = frozenset(snapshot.segments)
        if former is not None and former.snapshot.segments[:1] == snapshot.segments[:1]:
            files |= former.files
        elif former is not None:
            files |= frozenset(former.snapshot.segments)  # somebody may be in the middle of fetching them
        return PublishedList(row, name, epoch, snapshot, view, files)

    def _open(self, name: str, epoch: bytes, segments: Sequence[SegmentRow]) -> ListView:
        opened = [open_segment(self._files.map(row.ref), row.ref, name, epoch) for row in segments]
        base = next((segment for segment in opened if isinstance(segment, BaseSegment)), None)
        return ListView(base, [segment for segment in opened if isinstance(segment, DeltaSegment)])

    # -- for other members -----------------------------------------------------------

    def _readable(self, row: ListRow, reader: str) -> bool:
        """Whether `reader` may know of the list. Version 1: every list is open to all members."""
        return bool(row.name and reader)

    async def catalogue(self, reader: str) -> bytes:
        """The signed catalogue for a reader, in its wire form. Raises StoreError."""
        async with self._cataloguing:  # of two at once, the one with the lower version must not stay
            return await self._catalogue(reader)

    async def _catalogue(self, reader: str) -> bytes:
        entries = self._entries(reader)
        now = self._now()
        known = self._catalogues.get(reader)
        if known is None or known.entries != entries or not timedelta(0) <= now - known.issued_at < CATALOGUE_REISSUE:
            statement = CatalogueStatement(
                owner=self._member,
                reader=reader,
                version=await self._shelf.next_catalogue_version(reader),
                issued_at=now,
                expires_at=now + CATALOGUE_TERM,
                lists=entries,
            )
            signed = sign("catalogue", self._network, statement.body(), self._identity)
            known = self._catalogues[reader] = _Catalogue(entries, now, signed.wire())
        return known.wire

    def _entries(self, reader: str) -> tuple[CatalogueEntry, ...]:
        """Each list under the newest epoch in which all lists of its keyset are published.

        A list that was published once stays named, even if its files are damaged or it did not come along into a new
        epoch: what is missing makes the readers' checks incomplete, what is not named makes them clear.
        """
        newest: dict[str, EpochRow] = {}
        for epoch, _ in sorted(self._epochs.values(), key=lambda pair: pair[0].number):
            mine = [name for name, row in self._rows.items() if row.keyset == epoch.keyset]
            if all((name, epoch.digest) in self._lists for name in mine) or epoch.keyset not in newest:
                newest[epoch.keyset] = epoch
        newest = self._last_epochs | newest  # of a keyset without an epoch in service, the one that has ended
        return tuple(
            CatalogueEntry(name, row.category, row.keyset, newest[row.keyset].digest)
            for name, row in sorted(self._rows.items())
            if self._readable(row, reader)
            and row.keyset in newest
            and (name in self._named or (name, newest[row.keyset].digest) in self._lists)
        )

    def epoch(self, digest: bytes, reader: str) -> bytes | None:
        """An epoch statement in its wire form, if the reader may read any list of its keyset."""
        found = self._epochs.get(digest)
        if found is None or not any(
            row.keyset == found[0].keyset and self._readable(row, reader) for row in self._rows.values()
        ):
            return None
        row = found[0]
        return Statement("epoch", self._network, row.statement, row.signature, {}, row.salt).wire()

    def snapshot(self, name: str, epoch: bytes, reader: str) -> tuple[bytes, bytes] | None:
        """Digest and wire form of the newest snapshot of a list."""
        found = self._lists.get((name, epoch))
        if found is None or not self._readable(found.row, reader):
            return None
        return found.snapshot.digest, self._wire(found.snapshot)

    async def wait(self, name: str, epoch: bytes, digest: bytes, seconds: float) -> None:
        """Return when the newest snapshot is not `digest` any more, or after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                while (found := self._lists.get((name, epoch))) is not None and found.snapshot.digest == digest:
                    await self._changed.wait()
        except TimeoutError:
            return

    async def snapshot_version(self, name: str, epoch: bytes, version: int, reader: str) -> bytes | None:
        """One snapshot in its wire form. Raises StoreError."""
        row = self._rows.get(name)
        if row is None or not self._readable(row, reader):
            return None
        snapshot = await self._shelf.snapshot(row.id, epoch, version)
        return None if snapshot is None else self._wire(snapshot)

    def _wire(self, row: SnapshotRow) -> bytes:
        return Statement("snapshot", self._network, row.statement, row.signature, {}, row.salt).wire()

    def segment(self, digest: bytes, reader: str) -> Path | None:
        """Where a segment lies that is served now, if the reader may have it."""
        for found in self._lists.values():
            if digest in found.files and self._readable(found.row, reader):
                return self._files.path(digest)
        return None

    def served(self, epoch: bytes, member: str, now: datetime) -> SecretKey | None:
        """The secret key of an epoch in service, if `member` may have it evaluated."""
        found = self._epochs.get(epoch)
        if found is None or not found[0].not_before <= now < found[0].not_after:
            return None
        readable = any(row.keyset == found[0].keyset and self._readable(row, member) for row in self._rows.values())
        return found[1] if readable else None

    # -- for this member's own checks ------------------------------------------------

    def own_lists(self) -> Mapping[bytes, Sequence[PublishedList]]:
        """The member's own lists by the epoch in which each keyset is consulted."""
        chosen: dict[bytes, list[PublishedList]] = {}
        for entry in self._entries(self._member):
            found = self._lists.get((entry.list_name, entry.epoch))
            if found is not None:
                chosen.setdefault(entry.epoch, []).append(found)
        return chosen

    def own_missing(self) -> frozenset[str]:
        """The categories of own lists that were published and cannot be looked into now: no clear without them."""
        held = {each.name for lists in self.own_lists().values() for each in lists}
        return frozenset(self._rows[name].category for name in self._named - held)

    def own_key(self, epoch: bytes) -> SecretKey | None:
        """The secret key of one of this member's epochs in service."""
        found = self._epochs.get(epoch)
        return None if found is None else found[1]

    def current(self) -> Sequence[PublishedList]:
        """Every published list, for status and metrics."""
        return list(self._lists.values())

    def unpublished(self) -> Sequence[str]:
        """Full names of this member's lists of which no snapshot is in service (yet)."""
        published = {name for name, _ in self._lists}
        return sorted(self._rows.keys() - published)
