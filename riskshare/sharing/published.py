"""What this member has published, as it serves it: to other members, and to its own checks.

Read from the store at start and after each change; requests are answered from memory, but for catalogues, which all
processes of a member share. Where a reader knows of something newer than this process, which it had from another one,
this process reads the store again before it answers: see `catch_up_list` and its like. The
secret keys of the epochs in service live here, in memory only.

A file of this member's that is not what its name says is of no use to anybody: it is removed, and the publisher
replaces what is missing. A list whose files take long to open is shown late, and holds up no other (`openings`).

A list is open to all members, or under grants (`grants`). All that is told to a reader goes through `_readable`, the
one place that decides what a reader may see: to one without a grant, a list is as if it did not exist, down to what
is looked up in the store to answer. A grant that has ended gives nothing from then on, and its member's catalogue
names the list as ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from riskshare.encoding import parse_canonical_json
from riskshare.errors import RiskshareError
from riskshare.membership.oprf import SecretKey
from riskshare.sharing import cataloguing, openings
from riskshare.sharing.catalogue import CatalogueEntry
from riskshare.sharing.ending import newest_statement
from riskshare.sharing.entry import DataKey
from riskshare.sharing.grants import Grant, Grants
from riskshare.sharing.kept import EpochRow, ListRow, SegmentRow, SnapshotRow
from riskshare.sharing.openings import Openings, Place, Wanted
from riskshare.sharing.snapshot import MAX_BYTES
from riskshare.sharing.view import ListView
from riskshare.signature import SigningKey
from riskshare.statement import Statement

NO_EPOCH: Final = bytes(32)
"""The epoch of a list that has ended for a reader: it is not told of later ones."""


class Lists(Protocol):
    """The store of lists."""

    async def lists(self) -> Sequence[ListRow]:
        """All lists of this member."""


class GrantsKept(Protocol):
    """The store of grants."""

    async def newest(self) -> Sequence[Grant]:
        """The newest grant of each member for each list."""


class Shelf(cataloguing.Shelf, Protocol):
    """The store of what is published."""

    async def epochs(self, keyset: str | None = None) -> Sequence[EpochRow]:
        """All epochs whose keys are kept."""

    async def latest_snapshot(self, list_id: int, epoch: bytes) -> SnapshotRow | None:
        """The newest snapshot of a list under an epoch."""

    async def snapshot(self, list_id: int, epoch: bytes, version: int) -> SnapshotRow | None:
        """One snapshot."""

    async def snapshot_named(self, list_id: int, digest: bytes) -> SnapshotRow | None:
        """The snapshot of a list with this digest, under whichever epoch."""

    async def segments(self, file_digests: Sequence[bytes]) -> Sequence[SegmentRow]:
        """The rows of these segments, in this order."""

    async def epoch(self, digest: bytes) -> EpochRow | None:
        """One epoch."""


class Files(openings.Files, Protocol):
    """The segment files."""

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
    """Digests of the files that are served: those of the snapshot, and those that the last merge has replaced."""

    @property
    def count(self) -> int:
        """Labels on the list, canaries included, as the snapshot states."""
        statement = parse_canonical_json(self.snapshot.statement, limit=MAX_BYTES)
        return int(statement["count"])


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
        grants: GrantsKept,
        shelf: Shelf,
        files: Files,
        now: Callable[[], datetime],
    ) -> None:
        self._member = member
        self._network = network
        self._data_key = data_key
        self._all_lists = lists
        self._all_grants = grants
        self._shelf = shelf
        self._files = files
        self._now = now
        self._lists: dict[Place, PublishedList] = {}
        self._epochs: dict[bytes, tuple[EpochRow, SecretKey]] = {}
        self._rows: dict[str, ListRow] = {}
        self._grants = Grants(member)
        self._placed: frozenset[Place] = frozenset()
        self._named: frozenset[str] = frozenset()
        self._all_epochs: dict[bytes, EpochRow] = {}
        self._changed = asyncio.Event()
        self._loading = asyncio.Lock()
        self._cataloguer = cataloguing.Cataloguer(
            member=member,
            network=network,
            identity=identity,
            shelf=shelf,
            entries=lambda reader: self._entries(reader, self._placed),
            reload=self._reload,
            now=now,
        )
        self._openings = Openings(files, self._reload)
        self.generation = 0
        """Grows whenever anything that a check looks into has changed."""

    async def load(self, *, whole: bool = True) -> None:
        """Read what is published; wake those who wait for something newer.

        Lists whose files take long to open hold up no other: they are shown when they are open, at their newest
        snapshot, and what was loaded of them before goes on being served. `whole` waits for them too.

        Raises:
            StoreError, OpenError: what was loaded before goes on being served.
            SegmentError, DiskError: of one list at least the files cannot be used; of that list, what was loaded
                before goes on being served, and all others are up to date.

        """
        trouble = await self._read()
        while whole and self._openings:
            await self._openings.settled()
            trouble = await self._read()
        if trouble is not None:
            raise trouble

    async def stop(self) -> None:
        """End what goes on beside."""
        await self._openings.stop()

    async def _read(self) -> RiskshareError | None:
        """As `load`, without what takes long; gives the first trouble with the files of a list."""
        async with self._loading:
            now = self._now()
            grants = Grants(self._member, await self._all_grants.newest())
            rows = {f"{self._member}/{row.name}": row for row in await self._all_lists.lists()}
            epochs: dict[bytes, tuple[EpochRow, SecretKey]] = {}
            known_epochs = await self._shelf.epochs()
            for epoch in known_epochs:
                if epoch.in_service(now):
                    known = self._epochs.get(epoch.digest)
                    key = known[1] if known else self._data_key.open_epoch(epoch.secret_sealed, epoch.digest)
                    epochs[epoch.digest] = (epoch, key)
            placed: dict[Place, tuple[ListRow, EpochRow, SnapshotRow]] = {}
            for name, row in rows.items():
                for epoch, _ in epochs.values():
                    snapshot = await self._newest(row, epoch)
                    if snapshot is not None:
                        placed[name, epoch.digest] = (row, epoch, snapshot)
            named = {name for name, _ in placed}
            for name, row in rows.items():
                if name not in named and await self._was_published(row, known_epochs):
                    named.add(name)
            lists, trouble = await self._open(placed)
            self._rows, self._epochs, self._lists, self._grants = rows, epochs, lists, grants
            self._placed, self._named = frozenset(placed), frozenset(named)
            self._all_epochs = {row.digest: row for row in known_epochs}
            self.generation += 1
        waiting, self._changed = self._changed, asyncio.Event()
        waiting.set()
        return trouble

    async def _open(
        self, placed: Mapping[Place, tuple[ListRow, EpochRow, SnapshotRow]]
    ) -> tuple[dict[Place, PublishedList], RiskshareError | None]:
        """The lists at these snapshots; those that are not open yet, or cannot be opened, as they are served now."""
        wanted: dict[Place, Wanted] = {}
        for place, (_, _, snapshot) in placed.items():
            former = self._lists.get(place)
            if former is None or former.snapshot.segments != snapshot.segments:
                refs = tuple(row.ref for row in await self._shelf.segments(snapshot.segments))
                wanted[place] = Wanted(refs, former.view if former else None)
        views = await self._openings.views(wanted)
        lists: dict[Place, PublishedList] = {}
        trouble: RiskshareError | None = None
        for place, (row, epoch, snapshot) in placed.items():
            former, view = self._lists.get(place), views.get(place)
            if former is not None and place not in wanted:
                view = former.view
            if isinstance(view, ListView):
                files = _files(snapshot, former)
                lists[place] = PublishedList(row, place[0], epoch, snapshot, view, files)
                continue
            trouble = trouble or view
            if former is not None:
                lists[place] = former
        return lists, trouble

    async def _newest(self, row: ListRow, epoch: EpochRow) -> SnapshotRow | None:
        return await self._shelf.latest_snapshot(row.id, epoch.digest) if epoch.keyset == row.keyset else None

    async def _was_published(self, row: ListRow, epochs: Sequence[EpochRow]) -> bool:
        """Whether there is a snapshot of the list under any epoch, ended or not."""
        for epoch in epochs:
            if await self._newest(row, epoch) is not None:
                return True
        return False

    # -- in step with the other processes of this member -----------------------------

    async def _reload(self, list_id: int | None = None, epoch: bytes = b"") -> None:
        """Load, and wait for one list if it takes long."""
        await self._read()  # of lists that are damaged, what could be loaded is
        for name, row in self._rows.items():
            if row.id == list_id:
                await self._openings.settled((name, epoch))

    async def catch_up_list(self, name: str, epoch: bytes, reader: str) -> None:
        """Load, if the store has another snapshot of the list than this process. Raises StoreError, OpenError.

        To be called for a reader that knows of another one: what it is answered must not be older.
        """
        row = self._rows.get(name)
        if row is None or not self._readable(row, reader) or (epoch in self._all_epochs and epoch not in self._epochs):
            return
        newest = await self._shelf.latest_snapshot(row.id, epoch)
        found = self._lists.get((name, epoch))
        if newest is not None and (found is None or found.snapshot.digest != newest.digest):
            await self._reload(row.id, epoch)

    async def catch_up_epoch(self, digest: bytes) -> None:
        """Load, if the store has an epoch that this process does not know. Raises StoreError, OpenError.

        The store is asked in any case: how long an answer takes must not tell of an epoch under grants.
        """
        if await self._shelf.epoch(digest) is not None and digest not in self._all_epochs:
            await self._reload()

    async def catch_up_segment(self, digest: bytes, reader: str) -> None:
        """Load, if a newest snapshot names a segment that this process does not know. Raises StoreError, OpenError."""
        hidden = {row.id for row in self._rows.values() if not self._readable(row, reader)}
        for segment in await self._shelf.segments([digest]):
            if segment.list_id in hidden:
                continue
            newest = await self._shelf.latest_snapshot(segment.list_id, segment.epoch)
            if newest is not None and digest in newest.segments:
                await self._reload(segment.list_id, segment.epoch)

    # -- for other members -----------------------------------------------------------

    def _readable(self, row: ListRow, reader: str) -> bool:
        """Whether `reader` may know of the list."""
        return self._grants.readable(row, reader, self._now())

    async def catalogue(self, reader: str) -> bytes:
        """The signed catalogue for a reader, in its wire form. Raises StoreError, OpenError."""
        return await self._cataloguer.catalogue(reader)

    def _entries(self, reader: str, had: Container[Place]) -> tuple[CatalogueEntry, ...]:
        """Each list under the newest epoch in which all lists of its keyset are had.

        For readers, `had` is what the store has: so all processes say the same. A list that was published once stays
        named, even if its files are damaged or it did not come along into a new epoch: what is missing makes the
        readers' checks incomplete, what is not named makes them clear.
        """
        newest: dict[str, EpochRow] = {}
        for epoch, _ in sorted(self._epochs.values(), key=lambda pair: pair[0].number):
            mine = [name for name, row in self._rows.items() if row.keyset == epoch.keyset]
            if all((name, epoch.digest) in had for name in mine) or epoch.keyset not in newest:
                newest[epoch.keyset] = epoch
        # Of a keyset without an epoch in service, the one that has ended.
        newest = {row.keyset: row for row in sorted(self._all_epochs.values(), key=lambda row: row.number)} | newest
        found = []
        for name, row in sorted(self._rows.items()):
            if row.keyset not in newest or name not in self._named:
                continue
            if self._readable(row, reader):
                purposes = tuple(sorted(self._grants.purposes(row, reader)))
                epoch_digest = newest[row.keyset].digest
                found.append(CatalogueEntry(name, row.category, row.keyset, epoch_digest, purposes=purposes))
            elif self._grants.ended(row, reader, self._now()):
                found.append(CatalogueEntry(name, row.category, row.keyset, NO_EPOCH, ended=True))
        return tuple(found)

    def epoch(self, digest: bytes, reader: str) -> bytes | None:
        """The newest statement of an epoch in its wire form, if the reader may read any list of its keyset.

        Of an epoch that was ended by emergency, the statement that ended it.
        """
        found = self._all_epochs.get(digest)
        if found is None or not any(
            row.keyset == found.keyset and self._readable(row, reader) for row in self._rows.values()
        ):
            return None
        return newest_statement(self._network, found).wire()

    def tells(self, kind: str, about: str, reader: str) -> bool:
        """Whether `reader` may know of a snapshot of the list `about` (local name), or of an epoch of that keyset."""
        lists = (row for row in self._rows.values() if about == (row.name if kind == "snapshot" else row.keyset))
        return any(self._readable(row, reader) for row in lists)

    def snapshot(self, name: str, epoch: bytes, reader: str) -> tuple[bytes, bytes] | None:
        """Digest and wire form of the newest snapshot of a list."""
        found = self._lists.get((name, epoch))
        if found is None or not self._readable(found.row, reader):
            return None
        return found.snapshot.digest, self._wire(found.snapshot)

    async def wait(self, name: str, epoch: bytes, digest: bytes, seconds: float, reader: str) -> None:
        """Return when the reader's newest snapshot is not `digest` any more, its grant ends, or after `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (found := self._lists.get((name, epoch))) is not None and found.snapshot.digest == digest:
                    if not self._readable(found.row, reader):
                        return
                    ends_at = self._grants.ends_at(found.row, reader)
                    left = seconds if ends_at is None else min(seconds, (ends_at - self._now()).total_seconds())
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._changed.wait(), left)

    async def snapshot_version(self, name: str, epoch: bytes, version: int, reader: str) -> bytes | None:
        """One snapshot in its wire form. Raises StoreError."""
        row = self._rows.get(name)
        if row is None or not self._readable(row, reader):
            return None
        snapshot = await self._shelf.snapshot(row.id, epoch, version)
        return None if snapshot is None else self._wire(snapshot)

    async def snapshot_named(self, name: str, digest: bytes, reader: str) -> bytes | None:
        """The snapshot of a list with this digest in its wire form, under whichever epoch. Raises StoreError."""
        row = self._rows.get(name)
        if row is None or not self._readable(row, reader):
            return None
        snapshot = await self._shelf.snapshot_named(row.id, digest)
        return None if snapshot is None else self._wire(snapshot)

    def _wire(self, row: SnapshotRow) -> bytes:
        return Statement("snapshot", self._network, row.statement, row.signature, {}, row.salt).wire()

    def segment(self, digest: bytes, reader: str) -> Path | None:
        """Where a segment lies that is served now, if the reader may have it."""
        for found in self._lists.values():
            if digest in found.files and self._readable(found.row, reader):
                return self._files.path(digest)
        return None

    async def kept_segment(self, digest: bytes, reader: str) -> Path | None:
        """Where a segment lies that is not served any more and is kept for audits. Raises StoreError."""
        for segment in await self._shelf.segments([digest]):
            path = self._files.path(digest)
            readable = any(row.id == segment.list_id and self._readable(row, reader) for row in self._rows.values())
            if readable and await asyncio.to_thread(path.exists):
                return path
        return None

    def served(self, epoch: bytes, member: str, now: datetime) -> SecretKey | None:
        """The secret key of an epoch in service, if `member` may have it evaluated."""
        found = self._epochs.get(epoch)
        if found is None or not found[0].in_service(now):
            return None
        readable = any(row.keyset == found[0].keyset and self._readable(row, member) for row in self._rows.values())
        return found[1] if readable else None

    def allows(self, epoch: bytes, member: str, purpose: str, now: datetime) -> bool:
        """Whether `member` may ask about any list of an epoch for that purpose: a grant may be bound to some."""
        found = self._epochs.get(epoch)
        lists = (row for row in self._rows.values() if found is not None and row.keyset == found[0].keyset)
        return any(self._grants.allows(row, member, purpose, now) for row in lists)

    # -- for this member's own checks ------------------------------------------------

    def own_lists(self) -> Mapping[bytes, Sequence[PublishedList]]:
        """The member's own lists by the epoch in which each keyset is consulted."""
        chosen: dict[bytes, list[PublishedList]] = {}
        for entry in self._entries(self._member, self._lists):
            found = self._lists.get((entry.list_name, entry.epoch))
            if found is not None:
                chosen.setdefault(entry.epoch, []).append(found)
        return chosen

    def own_missing(self) -> frozenset[str]:
        """The categories of own lists that cannot be looked into now, or not yet: no clear without them."""
        held = {each.name for lists in self.own_lists().values() for each in lists}
        return frozenset(row.category for name, row in self._rows.items() if name not in held)

    def own_key(self, epoch: bytes) -> SecretKey | None:
        """The secret key of one of this member's epochs in service."""
        found = self._epochs.get(epoch)
        return None if found is None else found[1]

    def current(self) -> Sequence[PublishedList]:
        """Every published list, for status and metrics."""
        return list(self._lists.values())

    def knows(self, name: str) -> bool:
        """Whether a list, by its local name, was there when this was loaded."""
        return f"{self._member}/{name}" in self._rows

    def unpublished(self) -> Sequence[str]:
        """Full names of this member's lists of which no snapshot is in service (yet)."""
        published = {name for name, _ in self._lists}
        return sorted(self._rows.keys() - published)


def _files(snapshot: SnapshotRow, former: PublishedList | None) -> frozenset[bytes]:
    """The files to be served of a list at a snapshot, after those of the former one."""
    files = frozenset(snapshot.segments)
    if former is None:
        return files
    if snapshot.segments[: len(former.snapshot.segments)] == former.snapshot.segments:
        return files | former.files
    return files | frozenset(former.snapshot.segments)  # somebody may be in the middle of fetching them
