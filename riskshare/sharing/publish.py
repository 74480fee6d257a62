"""Publishing: from the entries of a list to a signed snapshot that others can follow.

One pass (`Publisher.refresh`) brings every list to date under every epoch in service:

1. entries whose term is over are withdrawn, and those that stand longer than the network allows by now;
2. an epoch for each keyset, the next one before the present one ends (`rotating`);
3. for each list and epoch that has a snapshot: a *delta* of what changed since; or the same segments again when the
   statement grows old. When deltas have piled up, they are merged, with their base or without it;
4. for the others a *base* of all entries, and with it a delta of what changed while it was computed.

What takes long goes on beside the passes (`beside`): while a base is merged, further deltas are published behind the
old segments, and stand behind the new base when it comes; while one is computed, which may take hours, all else goes
on. So does a change of many entries: while its delta, or a new base, is computed, withdrawals go out behind the old
segments, ahead of their turn; nothing else does, so that nobody sees a part of that change. When it is ready, it goes
out together with all that changed meanwhile.

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
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Protocol

from riskshare.encoding import parse_canonical_json
from riskshare.errors import SegmentError
from riskshare.membership.identifier import NORMALISATION
from riskshare.sharing import composing
from riskshare.sharing.beside import Beside
from riskshare.sharing.compaction import due, each_once
from riskshare.sharing.composing import Builders, Composer, Entries, Held, Job, TooManyChanges, Watch
from riskshare.sharing.entry import NONCE_BYTES, DataKey, reseal
from riskshare.sharing.kept import EpochRow, ListRow, Resealed, SegmentRow, SnapshotRow, State, StoredEntry
from riskshare.sharing.overlong import Lists as OverlongLists
from riskshare.sharing.overlong import Overlong
from riskshare.sharing.rotating import Epochs, EpochShelf
from riskshare.sharing.rows import MAX_DAYS
from riskshare.sharing.snapshot import MAX_BYTES, SnapshotStatement
from riskshare.sharing.view import summary
from riskshare.sharing.writing import Files
from riskshare.signature import SigningKey
from riskshare.statement import SALT_BYTES, sign

CANARIES: Final = 3
"""Canaries in every list."""

WATCH_SECONDS: Final = 1.0
"""How often lists are looked at while something goes on beside, if nobody says that they have changed."""

BASES: Final = 2
"""How many bases are computed at once: a short one need not wait for a long one. Each works on all cores."""


class Lists(Entries, OverlongLists, Protocol):
    """The store of lists and entries, as publishing needs it."""

    async def lists(self) -> Sequence[ListRow]:
        """All lists of this member."""

    async def expire_due(self, now: datetime, reseal: Callable[[ListRow, StoredEntry, State], Resealed]) -> int:
        """Withdraw the entries whose term is over, with the reason `expired`; return how many."""


class Shelf(EpochShelf, Protocol):
    """The store of what is published."""

    async def canaries(self, list_id: int) -> Sequence[str]:
        """The canaries of a list."""

    async def add_canaries(self, list_id: int, values: Sequence[str]) -> None:
        """Give a list its canaries."""

    async def segments(self, file_digests: Sequence[bytes]) -> Sequence[SegmentRow]:
        """The rows of these segments, in this order; unknown ones are left out."""

    async def publish(
        self, snapshot: SnapshotRow, segments: Sequence[SegmentRow], expected_previous_version: int
    ) -> bool:
        """Store a snapshot with its new segments if the newest version is the one expected; tell the others."""

    async def note_withdrawn(self, snapshot: SnapshotRow, upto: int) -> None:
        """Note that withdrawals up to this number are in a snapshot already."""


class Buildings(composing.Buildings, Protocol):
    """What is computed of lists that are not published yet."""

    def present(self) -> Collection[tuple[bytes, str]]:
        """The buildings that are here: epoch and local name. Raises DiskError."""

    def remove(self, epoch: bytes, list_name: str) -> None:
        """Remove a building, unless a process is at it. Raises DiskError."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How long things last and how large they grow; see the configuration of the same names.

    `deltas` is the number of deltas, and `delta_share` their bytes as a share of the base's, beyond which they are
    merged: see `compaction`.
    """

    epoch: timedelta = timedelta(days=30)
    changeover: timedelta = timedelta(hours=24)
    snapshot: timedelta = timedelta(hours=24)
    reissue: timedelta = timedelta(hours=1)
    filter_rate: float = 2.0**-20
    deltas: int = 16
    delta_share: float = 0.25


class Publisher:
    """Publishes all lists of one member. `builders` compute what changed, `engine` (else the same) whole lists."""

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
        buildings: Buildings,
        builders: Builders,
        engine: Builders | None = None,
        terms: Terms,
        now: Callable[[], datetime],
        random: Callable[[int], bytes],
        most_days: Callable[[str], int] = lambda _: MAX_DAYS,
        watch: Watch | None = None,
    ) -> None:
        self._overlong = Overlong(lists, most_days, MAX_DAYS)
        self._member = member
        self._network = network
        self._identity = identity
        self._data_key = data_key
        self._lists = lists
        self._shelf = shelf
        self._files = files
        self._buildings = buildings
        self._engine = engine or builders
        self._terms = terms
        self._now = now
        self._random = random
        self._beside = Beside(now)
        self._passed_over: dict[tuple[int, bytes], int] = {}
        self._one_at_a_time: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._merging = asyncio.Semaphore(1)
        self._building = asyncio.Semaphore(BASES)
        self._epochs = Epochs(
            member=member,
            network=network,
            identity=identity,
            data_key=data_key,
            shelf=shelf,
            term=terms.epoch,
            changeover=terms.changeover,
            now=now,
            random=random,
        )
        self._composer = Composer(
            entries=lists,
            files=files,
            buildings=buildings,
            builders=builders,
            data_key=data_key,
            filter_rate=terms.filter_rate,
            now=now,
            random=random,
            watch=watch,
        )

    def stir(self) -> None:
        """Look again now: something has changed."""
        self._beside.stir()

    async def refresh(self) -> int:
        """Bring all lists to date; return how many snapshots were published.

        Raises:
            StoreError: PostgreSQL is away; the pass stopped there.
            DiskError, OpenError: the first trouble with a list; all others are up to date. The pass can be repeated.

        """
        self._beside = Beside(self._now)
        try:
            await self._pass()
            while self._beside:
                await self._beside.wait(WATCH_SECONDS)
                await self._pass()
        finally:
            await self._beside.stop()
        if self._beside.trouble is not None:
            raise self._beside.trouble
        return self._beside.published

    async def _pass(self) -> None:
        """Begin all that is to be done; wait for what is done at once."""
        await self._beside.begin("expiry", self._expire)
        lists = await self._lists.lists()
        epochs = await self._epochs.in_service({row.keyset for row in lists})
        places = [(row, epoch) for row in lists for epoch in epochs if epoch.keyset == row.keyset]
        new = [place for place in places if await self._last(*place) is None]
        # What readers have comes first: a list that is not published yet takes longer.
        for row, epoch in [*(place for place in places if place not in new), *new]:
            await self._beside.begin((row.id, epoch.digest), partial(self._bring_to_date, row, epoch))
        await self._epochs.retire(epochs, lists)
        if not self._beside:
            await self._beside.begin("sweep", self._sweep)

    async def _sweep(self) -> int:
        """Remove the buildings of what is published, or not wanted any more."""
        for digest, name in await asyncio.to_thread(self._buildings.present):
            rows = [row for row in await self._lists.lists() if row.name == name]
            epochs = [row for row in await self._shelf.epochs() if row.digest == digest and row.in_service(self._now())]
            if not epochs or not await self._epochs.missing(epochs[0], rows):
                await asyncio.to_thread(self._buildings.remove, digest, name)
        return 0

    async def _expire(self) -> int:
        await self._lists.expire_due(self._now(), self._reseal)
        await self._overlong.expire(await self._lists.lists(), self._now(), self._reseal)
        return 0

    def _reseal(self, of: ListRow, entry: StoredEntry, state: State) -> Resealed:
        return reseal(self._data_key, f"{self._member}/{of.name}", entry, state, self._random(NONCE_BYTES))

    async def _last(self, row: ListRow, epoch: EpochRow) -> SnapshotRow | None:
        return await self._shelf.latest_snapshot(row.id, epoch.digest)

    async def _job(self, row: ListRow, epoch: EpochRow, last: SnapshotRow | None) -> Job:
        if last is None:
            canaries, upto, withdrawn = await self._canaries(row), 0, 0
        else:
            canaries = parse_canonical_json(last.statement, limit=MAX_BYTES)["canaries"]
            upto, withdrawn = last.changed, last.withdrawn
        key = self._epochs.key(epoch)
        return Job(row, f"{self._member}/{row.name}", epoch, key, last, canaries, upto, withdrawn)

    async def _bring_to_date(self, row: ListRow, epoch: EpochRow) -> int:
        """Publish what changed in a list since its last snapshot, or begin to compute it; or a first base."""
        large = (row.id, epoch.digest, "large")
        async with self._one_at_a_time[row.id]:
            last = await self._last(row, epoch)
            if last is not None:
                kept = await self._shelf.segments(last.segments)
                young = self._now() - last.issued_at < self._terms.reissue
                if row.changed <= last.changed and young and all(self._files.has(segment.ref) for segment in kept):
                    return 0
                with suppress(SegmentError, TooManyChanges):
                    if large not in self._beside:
                        return await self._go_on(await self._job(row, epoch, last), kept)
                published = await self._go_ahead(await self._job(row, epoch, last), kept, young=young)
        if last is None:
            return await self._begin(row, epoch)
        await self._beside.begin(large, partial(self._catch_up, row, epoch))
        return published

    async def _go_on(self, job: Job, kept: Sequence[SegmentRow]) -> int:
        """Publish what changed, upon the segments that there are. Raises SegmentError, TooManyChanges."""
        view = await self._composer.view(job, kept)
        delta = await self._composer.few(job, view) if job.row.changed > job.upto else None
        return await self._append(job, kept, [delta] if delta else [])

    async def _go_ahead(self, job: Job, kept: Sequence[SegmentRow], *, young: bool) -> int:
        """Publish the withdrawals that do not wait for a larger change, which is being computed."""
        place = (job.row.id, job.epoch.digest)
        passed_over = self._passed_over.get(place, 0)
        try:
            view = await self._composer.view(job, kept)
            after = max(job.upto, job.withdrawn, passed_over)
            delta, upto = await self._composer.urgent(job, view, after)
        except SegmentError:
            return 0  # a base is being computed: there is nothing to go upon
        except TooManyChanges as large:  # the one that is computed, or most of it; what comes after it does not wait
            self._passed_over[place] = large.number
            return await self._go_ahead(job, kept, young=young)
        # Else some before `upto` were passed over, and no snapshot may say that it shows all up to there.
        published, all_of_them = 0, passed_over <= job.upto
        if all_of_them:
            job.withdrawn = upto
        if delta is not None or not young:
            published = await self._append(job, kept, [delta] if delta else [])
        elif all_of_them and job.last is not None:  # no snapshot has shown what is withdrawn: nothing to publish
            await self._shelf.note_withdrawn(job.last, job.withdrawn)
        if not all_of_them and (published or delta is None):
            self._passed_over[place] = upto
        return published

    async def _append(self, job: Job, kept: Sequence[SegmentRow], fresh: Sequence[SegmentRow]) -> int:
        """Publish new segments behind those that are kept, and begin to merge them if they have piled up."""
        segments = each_once([*kept, *fresh])
        published = await self._sign_and_store(job, segments, fresh)
        start = due(segments, self._terms.deltas, self._terms.delta_share)
        if published and fresh and start is not None:
            work = partial(self._merge, job.row, job.epoch, segments, start)
            await self._beside.begin((job.row.id, job.epoch.digest, "merge"), work, patience=0)
        return published

    # -- what takes long -------------------------------------------------------------

    async def _merge(self, row: ListRow, epoch: EpochRow, segments: Sequence[SegmentRow], start: int) -> int:
        """Put one segment in place of those from `start` on: a base, or one delta of deltas, see `compaction.due`.

        Behind a base, the upheld appeals that they still show stay, and deltas that are published meanwhile.
        """
        names = tuple(segment.ref.file_digest for segment in segments)
        try:
            async with nullcontext() if start else self._merging:  # deltas need not wait for a long base
                job = await self._job(row, epoch, await self._last(row, epoch))
                merged = await self._composer.compacted(job, segments, start)
        except SegmentError:
            return await self._begin(row, epoch)
        async with self._one_at_a_time[row.id]:
            last = await self._last(row, epoch)
            if last is None or last.segments[: len(names)] != names:
                return 0  # another process, or a new base, has gone on from there
            later = await self._shelf.segments(last.segments[len(names) :])
            fresh = [segment for segment in merged if segment not in segments]
            return await self._sign_and_store(await self._job(row, epoch, last), each_once([*merged, *later]), fresh)

    async def _catch_up(self, row: ListRow, epoch: EpochRow) -> int:
        """Publish a change that is too large for others to wait for it; as a base, if it is too large for a delta."""
        last = await self._last(row, epoch)
        job = await self._job(row, epoch, last)
        try:
            kept = await self._shelf.segments(last.segments) if last is not None else []
            delta = await self._composer.delta(job, await self._composer.view(job, kept))
            return await self._bring_in(job, [delta] if delta else [])
        except (SegmentError, TooManyChanges):
            return await self._begin(row, epoch)

    async def _begin(self, row: ListRow, epoch: EpochRow) -> int:
        """Publish a base of all entries, with a delta of what changed while it was computed.

        It is the first snapshot of a chain, or takes the place of segments that are lost or have changed too much.
        """
        job = await self._job(row, epoch, await self._last(row, epoch))
        held = self._composer.hold(job)  # not in a thread: if this were ended meanwhile, nobody would let it go
        if held is None:
            return 0  # another process computes it, and tells when it is done
        try:
            async with self._building:
                return await self._build(job, held)
        finally:
            held.close()

    async def _build(self, job: Job, held: Held) -> int:
        while True:
            async with self._engine(job.key) as build:
                base = await self._composer.base(job, build, held)
            try:
                published = await self._bring_in(job, [base])
            except TooManyChanges:
                await self._composer.catch_up(job, held)
            else:
                await asyncio.to_thread(held.drop)
                return published

    async def _bring_in(self, job: Job, fresh: list[SegmentRow]) -> int:
        """Publish segments that were computed beside, and with them all that changed after `job.upto`.

        A base takes the place of all others, but for what they say of upheld appeals. What snapshots have shown
        meanwhile as gone does not come back: it is among those changes. Raises SegmentError, TooManyChanges.
        """
        while True:
            async with self._one_at_a_time[job.row.id]:  # no other snapshot of the list goes out
                job.last = await self._last(job.row, job.epoch)
                kept = await self._shelf.segments(job.last.segments) if job.last else []
                new = list(fresh)
                if fresh and fresh[0].kind == "base":
                    new[1:1] = await self._composer.upheld(job, kept, fresh[0])
                    kept = []
                view = await self._composer.view(job, [*kept, *new])
                with suppress(TooManyChanges):
                    delta = await self._composer.few(job, view)
                    return await self._append(job, kept, [*new, delta] if delta else new)
            # Meanwhile too much has changed again for others to wait for it.
            delta = await self._composer.delta(job, view)
            fresh += [delta] if delta else []

    async def _canaries(self, row: ListRow) -> Sequence[str]:
        found = await self._shelf.canaries(row.id)
        if not found:
            await self._shelf.add_canaries(row.id, [f"canary:{self._random(16).hex()}" for _ in range(CANARIES)])
            found = await self._shelf.canaries(row.id)
        return found

    # -- snapshots -------------------------------------------------------------------

    async def _sign_and_store(self, job: Job, segments: Sequence[SegmentRow], fresh: Sequence[SegmentRow]) -> int:
        """Publish the next snapshot, of which `fresh` are new; return 1, or 0 if another process was first."""
        total = await asyncio.to_thread(summary, await self._composer.view(job, segments))
        now = self._now()
        last = job.last
        snapshot = SnapshotStatement(
            list_name=job.name,
            category=job.row.category,
            normalisation=NORMALISATION,
            epoch=job.epoch.digest,
            version=last.version + 1 if last else 1,
            previous=last.digest if last else await self._epochs.end_of_former_chain(job.row.id, job.epoch),
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
            withdrawn=max(job.upto, job.withdrawn, last.withdrawn if last else 0),
        )
        return int(await self._shelf.publish(row, fresh, last.version if last else 0))
