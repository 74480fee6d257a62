"""Publishing: from the entries of a list to a signed snapshot that others can follow.

One pass (`Publisher.refresh`) brings every list to date under every epoch in service:

1. an epoch for each keyset, the next one before the present one ends;
2. entries whose term is over are withdrawn, and those that stand longer than the network allows by now;
3. for each list and epoch that has a snapshot: a *delta* of what changed since; or, the change being large, a
   merged base; or the same segments again when the statement grows old. When deltas have piled up, a merged base
   follows at once;
4. for the others a *base* of all entries. While one is built, which may take minutes, step 3 goes on for all the rest.

Segments that were lost from the disk, or are damaged, are replaced by a new base: each pass looks whether the files
of every newest snapshot are there. (A file whose bytes have changed is removed by `published`, which reads them all.)

Order of durability: the segment file is on disk under its digest -> snapshot and segment rows are
stored in one transaction, by compare-and-swap on the version before -> subscribers are told. A crash between
any two leaves a file that no snapshot names, nothing else; the next pass starts from what is stored.

The same pass runs at start, after each change and every minute; which process runs it is decided by a lock outside.
Trouble with one list does not keep the others from being published.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from riskshare.encoding import parse_canonical_json
from riskshare.errors import RiskshareError, SegmentError, StoreError
from riskshare.membership.identifier import NORMALISATION
from riskshare.membership.oprf import SecretKey
from riskshare.sharing.composing import Build, Builders, Composer, Entries, Files, Job, TooManyChanges
from riskshare.sharing.entry import NONCE_BYTES, DataKey, reseal
from riskshare.sharing.epoch import EpochStatement
from riskshare.sharing.kept import EpochRow, ListRow, Resealed, SegmentRow, SnapshotRow, State, StoredEntry
from riskshare.sharing.overlong import Lists as OverlongLists
from riskshare.sharing.overlong import Overlong
from riskshare.sharing.rows import MAX_DAYS
from riskshare.sharing.snapshot import MAX_BYTES, SnapshotStatement
from riskshare.sharing.view import summary
from riskshare.signature import SigningKey
from riskshare.statement import SALT_BYTES, sign

CANARIES: Final = 3
"""Canaries in every list."""

WATCH_SECONDS: Final = 1.0
"""How often other lists are looked at while a base is built."""

SMALLEST_BASE: Final = 2**20
"""A base counts as at least so many bytes when deltas are held against it: short lists are not merged all the time."""


class Lists(Entries, OverlongLists, Protocol):
    """The store of lists and entries, as publishing needs it."""

    async def lists(self) -> Sequence[ListRow]:
        """All lists of this member."""

    async def expire_due(self, now: datetime, reseal: Callable[[ListRow, StoredEntry, State], Resealed]) -> int:
        """Withdraw the entries whose term is over, with the reason `expired`; return how many."""


class Shelf(Protocol):
    """The store of what is published."""

    async def epochs(self, keyset: str | None = None) -> Sequence[EpochRow]:
        """All epochs whose keys are kept."""

    async def add_epoch(self, epoch: EpochRow) -> bool:
        """Store a new epoch; False if another process was first with that number."""

    async def canaries(self, list_id: int) -> Sequence[str]:
        """The canaries of a list."""

    async def add_canaries(self, list_id: int, values: Sequence[str]) -> None:
        """Give a list its canaries."""

    async def latest_snapshot(self, list_id: int, epoch: bytes) -> SnapshotRow | None:
        """The newest snapshot of a list under an epoch."""

    async def segments(self, file_digests: Sequence[bytes]) -> Sequence[SegmentRow]:
        """The rows of these segments, in this order; unknown ones are left out."""

    async def publish(
        self, snapshot: SnapshotRow, segments: Sequence[SegmentRow], expected_previous_version: int
    ) -> bool:
        """Store a snapshot with its new segments if the newest version is the one expected; tell the others."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How long things last and how large they grow; see the configuration of the same names.

    `deltas` is the number of deltas, and `delta_share` their bytes as a share of the base's, beyond which they are
    merged into a new base.
    """

    epoch: timedelta = timedelta(days=30)
    changeover: timedelta = timedelta(hours=24)
    snapshot: timedelta = timedelta(hours=24)
    reissue: timedelta = timedelta(hours=1)
    filter_rate: float = 2.0**-20
    deltas: int = 16
    delta_share: float = 0.25


class Publisher:
    """Publishes all lists of one member."""

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
        builders: Builders,
        terms: Terms,
        now: Callable[[], datetime],
        random: Callable[[int], bytes],
        most_days: Callable[[str], int] = lambda _: MAX_DAYS,
    ) -> None:
        self._overlong = Overlong(lists, most_days, MAX_DAYS)
        self._member = member
        self._network = network
        self._identity = identity
        self._data_key = data_key
        self._lists = lists
        self._shelf = shelf
        self._files = files
        self._builders = builders
        self._terms = terms
        self._now = now
        self._random = random
        self._trouble: RiskshareError | None = None
        self._composer = Composer(
            entries=lists, files=files, builders=builders, filter_rate=terms.filter_rate, now=now, random=random
        )

    async def refresh(self) -> int:
        """Bring all lists to date; return how many snapshots were published.

        Raises:
            StoreError: PostgreSQL is away; the pass stopped there.
            DiskError, OpenError: the first trouble with a list; all others are up to date. The pass can be repeated.

        """
        self._trouble = None
        await self._attempt(self._expire())
        epochs = await self._in_service({row.keyset for row in await self._lists.lists()})
        published = await self._follow_changes(epochs)
        for epoch in epochs:
            published += await self._attempt(self._begin_chains(epoch, epochs))
        if self._trouble is not None:
            raise self._trouble
        return published

    async def _attempt(self, step: Awaitable[int]) -> int:
        """Do one thing; its trouble is raised at the end of the pass, but that of the store now."""
        try:
            return await step
        except StoreError:
            raise
        except RiskshareError as error:
            self._trouble = self._trouble or error
            return 0

    async def _expire(self) -> int:
        await self._lists.expire_due(self._now(), self._reseal)
        await self._overlong.expire(await self._lists.lists(), self._now(), self._reseal)
        return 0

    def _reseal(self, of: ListRow, entry: StoredEntry, state: State) -> Resealed:
        return reseal(self._data_key, f"{self._member}/{of.name}", entry, state, self._random(NONCE_BYTES))

    # -- epochs ----------------------------------------------------------------------

    async def _in_service(self, keysets: Iterable[str]) -> Sequence[EpochRow]:
        """The epochs that lists are published under now; missing ones are begun."""
        now = self._now()
        known = list(await self._shelf.epochs())
        for keyset in sorted(keysets):
            newest = max((row for row in known if row.keyset == keyset), key=lambda row: row.number, default=None)
            if newest is None or newest.ended_at is not None or newest.not_after - now <= self._terms.changeover:
                row = self._new_epoch(keyset, newest.number + 1 if newest else 1, now)
                if await self._shelf.add_epoch(row):
                    known.append(row)
                else:
                    known = list(await self._shelf.epochs())
        return [row for row in known if row.ended_at is None and row.not_before <= now < row.not_after]

    def _new_epoch(self, keyset: str, number: int, now: datetime) -> EpochRow:
        key = SecretKey.from_random(self._random(64))
        epoch = EpochStatement(
            owner=self._member,
            keyset=keyset,
            number=number,
            public_key=key.public,
            not_before=now,
            not_after=now + self._terms.epoch,
        )
        signed = sign("epoch", self._network, epoch.body(), self._identity, salt=self._random(SALT_BYTES))
        return EpochRow(
            digest=epoch.digest,
            keyset=keyset,
            number=number,
            statement=signed.json,
            signature=signed.signature,
            salt=signed.salt,
            secret_sealed=self._data_key.seal_epoch(key, self._random(NONCE_BYTES), epoch.digest),
            not_before=epoch.not_before,
            not_after=epoch.not_after,
        )

    def _key(self, epoch: EpochRow) -> SecretKey:
        return self._data_key.open_epoch(epoch.secret_sealed, epoch.digest)

    # -- chains that there are -------------------------------------------------------

    async def _follow_changes(self, epochs: Sequence[EpochRow]) -> int:
        """Bring to date what has a snapshot already."""
        published = 0
        for row in await self._lists.lists():
            for epoch in epochs:
                last = await self._shelf.latest_snapshot(row.id, epoch.digest) if epoch.keyset == row.keyset else None
                if last is not None:
                    published += await self._attempt(self._bring_to_date(row, epoch, last))
        return published

    async def _bring_to_date(self, row: ListRow, epoch: EpochRow, last: SnapshotRow) -> int:
        kept = list(await self._shelf.segments(last.segments))
        young = self._now() - last.issued_at < self._terms.reissue
        if row.changed <= last.changed and young and all(self._files.has(segment.ref) for segment in kept):
            return 0
        canaries = parse_canonical_json(last.statement, limit=MAX_BYTES)["canaries"]
        job = Job(row, f"{self._member}/{row.name}", epoch, self._key(epoch), last, canaries, last.changed)
        try:
            return await self._go_on(job, kept)
        except (SegmentError, TooManyChanges):
            return await self._publish_base(job)

    async def _go_on(self, job: Job, kept: Sequence[SegmentRow]) -> int:
        """Publish what changed, upon the segments that there are. Raises SegmentError, TooManyChanges."""
        view = await self._composer.view(job, kept)
        delta = await self._composer.delta(job, view) if job.row.changed > job.upto else None
        if delta is None:
            return await self._sign_and_store(job, kept, [])
        if delta.ref in [segment.ref for segment in kept] or self._outweighs([delta], kept):
            merged = await self._composer.merged(job, [*kept, delta])
            if not await self._shelf.segments([delta.ref.file_digest]):
                self._composer.drop(delta)
            return await self._sign_and_store(job, [], [merged])
        published = await self._sign_and_store(job, kept, [delta])
        if published and self._piled_up([*kept, delta]):
            published += await self._merge(job, [*kept, delta])
        return published

    async def _merge(self, job: Job, segments: Sequence[SegmentRow]) -> int:
        """Publish one base in place of a base and its deltas, which are published already."""
        job.last = await self._shelf.latest_snapshot(job.row.id, job.epoch.digest)
        if job.last is None or job.last.segments != tuple(segment.ref.file_digest for segment in segments):
            return 0  # another process has gone on from there
        return await self._sign_and_store(job, [], [await self._composer.merged(job, segments)])

    def _piled_up(self, segments: Sequence[SegmentRow]) -> bool:
        deltas = [segment for segment in segments if segment.kind == "delta"]
        return len(deltas) > self._terms.deltas or self._outweighs(deltas, segments)

    def _outweighs(self, deltas: Sequence[SegmentRow], segments: Sequence[SegmentRow]) -> bool:
        base = sum(segment.ref.file_length for segment in segments if segment.kind == "base")
        return sum(delta.ref.file_length for delta in deltas) > self._terms.delta_share * max(base, SMALLEST_BASE)

    # -- chains that begin -----------------------------------------------------------

    async def _begin_chains(self, epoch: EpochRow, epochs: Sequence[EpochRow]) -> int:
        """Publish the first base of each list that has none under this epoch."""
        published = 0
        missing = [
            row
            for row in await self._lists.lists()
            if row.keyset == epoch.keyset and await self._shelf.latest_snapshot(row.id, epoch.digest) is None
        ]
        if not missing:
            return 0
        key = self._key(epoch)
        async with self._builders(key) as build:
            for row in missing:
                job = Job(row, f"{self._member}/{row.name}", epoch, key, None, await self._canaries(row))
                published += await self._beside(self._attempt(self._publish_base(job, build)), epochs)
        return published

    async def _beside(self, building: Awaitable[int], epochs: Sequence[EpochRow]) -> int:
        """Wait for a base; meanwhile other lists go on."""
        task = asyncio.ensure_future(building)
        published = 0
        try:
            while not (await asyncio.wait([task], timeout=WATCH_SECONDS))[0]:
                published += await self._follow_changes(epochs)
            return published + task.result()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, RiskshareError):
                await task

    async def _publish_base(self, job: Job, build: Build | None = None) -> int:
        """Publish a base of all entries, as the first snapshot of a chain or in place of lost segments."""
        if build is not None:
            base = await self._composer.base(job, build)
        else:
            async with self._builders(job.key) as own:
                base = await self._composer.base(job, own)
        return await self._sign_and_store(job, [], [base])

    async def _canaries(self, row: ListRow) -> Sequence[str]:
        found = await self._shelf.canaries(row.id)
        if not found:
            await self._shelf.add_canaries(row.id, [f"canary:{self._random(16).hex()}" for _ in range(CANARIES)])
            found = await self._shelf.canaries(row.id)
        return found

    # -- snapshots -------------------------------------------------------------------

    async def _sign_and_store(self, job: Job, kept: Sequence[SegmentRow], fresh: Sequence[SegmentRow]) -> int:
        """Publish the next snapshot of a list; return 1, or 0 if another process was first."""
        segments = [*kept, *fresh]
        total = await asyncio.to_thread(summary, await self._composer.view(job, segments))
        now = self._now()
        last = job.last
        snapshot = SnapshotStatement(
            list_name=job.name,
            category=job.row.category,
            normalisation=NORMALISATION,
            epoch=job.epoch.digest,
            version=last.version + 1 if last else 1,
            previous=last.digest if last else await self._end_of_former_chain(job),
            issued_at=now,
            expires_at=now + self._terms.snapshot,
            segments=tuple(row.ref for row in segments),
            count=total.count,
            canaries=tuple(sorted(job.canaries)),
            labels=total.labels,
        )
        signed = sign("snapshot", self._network, snapshot.body(), self._identity, salt=self._random(SALT_BYTES))
        row = SnapshotRow(
            list_id=job.row.id,
            epoch=job.epoch.digest,
            version=snapshot.version,
            digest=signed.digest,
            statement=signed.json,
            signature=signed.signature,
            salt=signed.salt,
            issued_at=snapshot.issued_at,
            expires_at=snapshot.expires_at,
            changed=job.upto,
            segments=tuple(segment.ref.file_digest for segment in segments),
        )
        return int(await self._shelf.publish(row, fresh, last.version if last else 0))

    async def _end_of_former_chain(self, job: Job) -> bytes | None:
        """The last digest of the list under the epoch before, which a new chain names as its previous."""
        former = [row for row in await self._shelf.epochs(job.epoch.keyset) if row.number < job.epoch.number]
        for row in sorted(former, key=lambda row: row.number, reverse=True):
            last = await self._shelf.latest_snapshot(job.row.id, row.digest)
            if last is not None:
                return last.digest
        return None
