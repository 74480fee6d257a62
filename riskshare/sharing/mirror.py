"""The mirror: local copies of other members' lists, each byte of them verified, and the views over them.

Order of taking a snapshot: statement verified -> missing versions walked -> all of them kept, for members to compare
(`remembered`) -> missing segments fetched and on disk ->
each byte of them, and the labels of them all, verified -> accepted, and the state stored -> the new view serves. Until
then the last good one serves, until it expires. A crash in between costs a repetition, nothing else: what is on disk
is verified again when it is taken up. What has served is what a restart finds, unless the store was away: a snapshot
serves then without having been stored, for a withdrawal must not wait for our database.

After a restart all lists are stale until their owners have been asked: an entry may have been withdrawn meanwhile.

While the newest statement that an owner offers is refused, the last good one gives hits and no clear, and `standing`
says why and since when. An older one than before (`rollback`) is no newest: it is refused and told, and what serves
goes stale if nothing better comes, as several processes of an honest owner may be a moment apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, BinaryIO, Final, Protocol, TypeVar

from riskshare.encoding import canonical_json, parse_canonical_json
from riskshare.errors import (
    DiskError,
    EncodingError,
    PeerGarbage,
    RiskshareError,
    SegmentError,
    SnapshotError,
    StoreError,
    TrustError,
)
from riskshare.sharing.chain import Held
from riskshare.sharing.copies import Copies, Files, Following, Rules
from riskshare.sharing.held_page import survives
from riskshare.sharing.history import Accepted, Gap, Unchanged
from riskshare.sharing.kept import FraudProofRow, TrustedRow
from riskshare.sharing.progress import is_behind, without_times
from riskshare.sharing.remembered import HeldState, Remembered
from riskshare.sharing.segment_ref import SegmentRef
from riskshare.sharing.snapshot import MAX_BYTES, SnapshotStatement
from riskshare.sharing.standing import ListStanding, OwnerStanding, Refusal, Status
from riskshare.sharing.trusted import TrustedSnapshots
from riskshare.sharing.view import ListView

MOST_MISSING: Final = 10_000
"""Most versions that are walked back in one go."""

MAX_WIRE: Final = MAX_BYTES + 1024

ATTEMPTS: Final = 5
"""How often a state is offered that other processes overtake; the next poll tries again."""

YOUNG: Final = timedelta(hours=1)
"""Files that are not older are not swept."""

STATE_LIMIT: Final = 64 * 1024 * 1024

_Outcome = TypeVar("_Outcome")

Place = tuple[str, bytes]
"""Full list name and epoch digest."""


class Source(Protocol):
    """Another member's peer, as subscribing needs it. Every call raises PeerError."""

    async def catalogue(self, owner: str) -> bytes:
        """The signed catalogue in its wire form."""

    async def epoch(self, owner: str, digest: bytes) -> bytes:
        """An epoch statement in its wire form."""

    async def snapshot(
        self, owner: str, list_name: str, epoch: bytes, known: bytes | None, wait: float
    ) -> bytes | None:
        """The newest snapshot, as soon as it is not `known` (a digest); None if it still is after `wait` seconds."""

    async def snapshot_version(self, owner: str, list_name: str, epoch: bytes, version: int) -> bytes:
        """One snapshot by its version."""

    async def snapshot_named(self, owner: str, list_name: str, digest: bytes) -> bytes:
        """One snapshot by its digest, under whichever epoch."""

    async def segment(self, owner: str, ref: SegmentRef, out: BinaryIO, *, offset: int, length: int) -> None:
        """Write exactly that part of a segment file into `out`, from its present position on."""


class State(HeldState, Protocol):
    """Where the state of `TrustedSnapshots` survives restarts."""

    async def trusted(self) -> Sequence[TrustedRow]:
        """All rows."""

    async def save_trusted(self, row: TrustedRow) -> bool:
        """Write a row in place of the one with the revision before; False if that is not there (any more)."""

    async def add_fraud_proof(self, row: FraudProofRow) -> bool:
        """Keep evidence; False if it is known."""


class Observer(Protocol):
    """Is told what happens, for metrics and the log."""

    def followed(self, list_name: str, version: int, count: int) -> None:
        """A new version of a list serves."""

    def failed(self, owner: str, list_name: str, error: RiskshareError) -> None:
        """Something could not be had, or was refused; `list_name` may be empty."""

    def fraud(self, accused: str, kind: str) -> None:
        """Two contradicting statements of a member were found."""


class Mirror:
    """What is held of all owners' lists."""

    def __init__(
        self,
        *,
        trusted: TrustedSnapshots,
        source: Source,
        files: Files,
        state: State,
        rules: Rules,
        observer: Observer,
        now: Callable[[], datetime],
    ) -> None:
        self.trusted = trusted
        self.generation = 0
        """Grows whenever anything that a check looks into has changed."""
        self._source = source
        self._files = files
        self._copies = Copies(source=source, files=files, rules=rules)
        self._state = state
        self._observer = observer
        self._now = now
        self._views: dict[Place, Following] = {}
        self._saved: dict[tuple[str, str], tuple[int, bytes]] = {}
        self._pending: dict[Place, SnapshotStatement] = {}
        self._behind: set[Place] = set()
        self._refused: dict[Place, Refusal] = {}
        self._told: set[bytes] = set()
        self._remembered = Remembered(trusted, state)

    def following(self, list_name: str, epoch: bytes) -> Following | None:
        """What to look into for a list in an epoch."""
        return self._views.get((list_name, epoch))

    def standing(self, owner: str, now: datetime) -> OwnerStanding:
        """As `TrustedSnapshots.standing`, which knows statements only, and what became of the files that they name.

        A list whose files are not here, or not in use yet, is missing in that epoch, and its keyset stays in one in
        which none is. One whose newest snapshot is refused is stale at best; so is one that was stale and whose newest
        snapshot is being stored: until that serves, the former one is looked into.
        """
        found = self.trusted.standing(owner, now, lambda name, epoch: (name, epoch) in self._views)
        return replace(found, lists=tuple(self._with_files(each) for each in found.lists))

    def _with_files(self, each: ListStanding) -> ListStanding:
        name = each.entry.list_name
        refusals = {epoch: refusal for (other, epoch), refusal in self._refused.items() if other == name}
        first = min(refusals.values(), key=lambda refusal: refusal.since, default=None)
        if each.held is None:
            return replace(each, refusal=first)
        epoch = each.held.snapshot.epoch
        refusal = refusals.get(epoch, first)
        if epoch not in refusals and (name, epoch) not in self._behind:
            return replace(each, refusal=refusal)
        return replace(each, status=Status.STALE if each.status is Status.CURRENT else each.status, refusal=refusal)

    def _is_current(self, owner: str, place: Place) -> bool:
        """Whether what serves of a list in an epoch is the newest of its owner, as far as that was said in time."""
        return any(
            each.held is not None
            and (each.entry.list_name, each.held.snapshot.epoch) == place
            and each.status is Status.CURRENT
            for each in self.standing(owner, self._now()).lists
        )

    async def restore(self, owners: Sequence[str]) -> None:
        """Take up what was trusted before the restart. Raises StoreError."""
        for row in await self._state.trusted():
            try:
                value = parse_canonical_json(row.state, limit=STATE_LIMIT)
                if row.list_name:
                    self.trusted.restore_chain(value)
                else:
                    self.trusted.restore_owner(value)
            except (EncodingError, RiskshareError) as error:
                # Trust on first use again for this list: told, because it weakens the defence against rollback.
                self._observer.failed(row.owner, row.list_name, error)
                continue
            self._saved[row.owner, row.list_name] = (row.revision, canonical_json(without_times(value)))
        self.trusted.was_away()
        believed = self.trusted.open_statements()  # kept already, unless a crash came between
        self._remembered.add((value, signed) for value, signed in believed if isinstance(value, SnapshotStatement))
        for owner in owners:
            await self._reopen(owner)

    async def _reopen(self, owner: str) -> None:
        """Verify and open the files of the snapshots that served when this peer stopped."""
        for entry in self.trusted.catalogue(owner) or ():
            for epoch in self.trusted.answered_epochs(owner, entry.keyset, self._now()):
                held = self.trusted.serving(entry.list_name, epoch.digest)
                if held is not None:
                    try:
                        self._serve(
                            held.snapshot, held.digest, await asyncio.to_thread(self._copies.view, held.snapshot, None)
                        )
                    except (SegmentError, SnapshotError, DiskError) as error:
                        self._refuse((entry.list_name, epoch.digest), error)
                        self._observer.failed(owner, entry.list_name, error)

    async def take(self, owner: str, place: Place, data: bytes) -> bool:
        """Take what an owner offers as the newest snapshot of a list; False if that is what serves already.

        Raises:
            SnapshotError: the statement is refused; or `wrong_list`, it is of another list; or
                `mixed_segments`, the segments hold other labels than it says.
            SegmentError: a segment is refused.
            PeerError, DiskError: a segment cannot be had, or not be kept.
            StoreError: the snapshot serves, but the state was not stored; `save` does that later.

        """
        try:
            return await self._take(owner, place[0], data)
        except (TrustError, DiskError, PeerGarbage) as error:
            self._refuse(place, error)
            raise

    async def _take(self, owner: str, list_name: str, data: bytes) -> bool:
        try:
            offered = await self._believed(self.trusted.accept_snapshot, owner, data)
            outcome = await self._walk(owner, offered) if isinstance(offered, Gap) else offered
        finally:
            await self.tell_frauds()
        snapshot, digest = outcome.held.snapshot, outcome.held.digest
        if snapshot.list_name != list_name:
            raise SnapshotError("The owner offered a snapshot of another list.", code="wrong_list")
        place = (list_name, snapshot.epoch)
        following = self._views.get(place)
        if following is not None and following.digest == digest:
            self._accept(place)
            return False
        self._remembered.add([(snapshot, outcome.held.signed)])
        await self._remembered.keep()
        await self.tell_frauds()
        abandoned, self._pending[place] = self._pending.get(place), snapshot
        if abandoned is not None:
            self._drop(abandoned)
        beside = [each for other, each in self._newest(owner).items() if other != place]
        try:
            await self._copies.fetch(owner, snapshot, beside)
        except SnapshotError:
            # What is too large is not waited for: it must not keep the owner's other lists from being fetched.
            self._drop(self._pending.pop(place))
            raise
        view = await asyncio.to_thread(self._copies.view, snapshot, following)
        if following is not None and not self._is_current(owner, place):
            self._behind.add(place)
        for index, ref in enumerate(snapshot.segments):
            self.trusted.accept_segment(list_name, digest, index, self._copies.facts(snapshot, ref))
        try:
            await self.save(owner, list_name)
        except StoreError:
            self._serve(snapshot, digest, view)
            raise
        self._serve(snapshot, digest, view)
        return True

    async def unchanged(self, owner: str, list_name: str, epoch: bytes) -> None:
        """Note that the owner has nothing newer than what serves. Raises StoreError, as `save`."""
        self.trusted.polled(list_name, epoch, self._now())
        following, held = self.following(list_name, epoch), self.trusted.serving(list_name, epoch)
        # `TrustedSnapshots` may hold a newer statement of the same segments, whose labels are not in them.
        if following is not None and held is not None and following.digest == held.digest:
            self._accept((list_name, epoch))
        await self.save(owner, list_name)  # what could not be stored when it was taken

    def _refuse(self, place: Place, error: RiskshareError) -> None:
        """Remember that the newest snapshot cannot be used, and since when."""
        if error.code != "rollback":
            known = self._refused.get(place)
            self._refused[place] = Refusal(error.code, self._now() if known is None else known.since)
            self.generation += 1

    def _accept(self, place: Place) -> None:
        if self._refused.pop(place, None) is not None:
            self.generation += 1

    async def _walk(self, owner: str, gap: Gap) -> Accepted | Unchanged:
        """Fetch the statements between what is held and what was offered, and offer them newest first."""
        walked: dict[bytes, Held] = {}
        tops: dict[bytes, int] = {}
        for _ in range(MOST_MISSING):
            if gap.last_missing is not None:
                data = await self._source.snapshot_version(owner, gap.list_name, gap.epoch, gap.last_missing)
            else:  # the last one of an older epoch, of which this reader may never have heard
                data = await self._source.snapshot_named(owner, gap.list_name, gap.wanted)
            outcome = await self._believed(self.trusted.accept_missing, owner, data)
            held = self.trusted.read_snapshot(owner, data, self._now())
            if survives(held.version, tops.setdefault(held.snapshot.epoch, held.version)):
                walked[held.digest] = held
            if not isinstance(outcome, Gap):
                self._remembered.add((held.snapshot, held.signed) for held in walked.values())
                return outcome
            gap = outcome
        raise _broken()

    async def _believed(self, accept: Callable[[str, bytes, datetime], _Outcome], owner: str, data: bytes) -> _Outcome:
        """Offer a statement; one that is refused as a fork is held against what was taken before."""
        try:
            return accept(owner, data, self._now())
        except SnapshotError as error:
            if error.code == "fork":
                held = self.trusted.read_snapshot(owner, data, self._now())
                await self._remembered.confront(held.snapshot, held.signed)
            raise

    def _serve(self, snapshot: SnapshotStatement, digest: bytes, view: ListView) -> None:
        """Put the view of a snapshot in place of the former one, whose files go if nothing names them now."""
        place = (snapshot.list_name, snapshot.epoch)
        former = self._views.get(place)
        self._views[place] = Following(snapshot, digest, view)
        self._behind.discard(place)
        self._pending.pop(place, None)
        self._refused.pop(place, None)
        self.generation += 1
        if former is not None:
            self._drop(former.snapshot)
        self._observer.followed(snapshot.list_name, snapshot.version, snapshot.count)

    def retain(self, owner: str, wanted: Container[Place]) -> None:
        """Drop the views of an owner that its catalogue names no more; what was believed of them stays remembered."""
        for place in {*self._views, *self._pending, *self._refused}:
            if place[0].startswith(f"{owner}/") and place not in wanted:
                following, pending = self._views.pop(place, None), self._pending.pop(place, None)
                self._refused.pop(place, None)
                self.generation += 1
                for gone in (following.snapshot if following else None, pending):
                    if gone is not None:
                        self._drop(gone)

    def _newest(self, owner: str) -> dict[Place, SnapshotStatement]:
        """What is being fetched or serves of an owner's lists."""
        places = {place: each.snapshot for place, each in self._views.items()} | self._pending
        return {place: each for place, each in places.items() if place[0].startswith(f"{owner}/")}

    def bytes_of(self, owner: str) -> int:
        """The bytes of an owner's files, here or being fetched: what is bounded by the rules' `owner_bytes`."""
        return self._copies.bytes_of(self._newest(owner).values())

    async def sweep(self) -> int:
        """Delete files that nothing needs, such as a crash leaves behind; return how many. Raises DiskError.

        Needed is what serves, is being fetched, or belongs to the newest snapshot of a list that is followed. Files
        of the last hour stay in any case: another process of this member may be about to use them.
        """
        old = await asyncio.to_thread(self._files.older, self._now() - YOUNG)
        # From here on without a pause, so that nobody begins to use what is about to go.
        named = [*(each.snapshot for each in self._views.values()), *self._pending.values()]
        return self._copies.sweep(old, [*named, *self.trusted.wanted(self._now())])

    def _drop(self, gone: SnapshotStatement) -> None:
        """Delete the files that no snapshot names which serves or is being fetched."""
        self._copies.drop(gone, [*(each.snapshot for each in self._views.values()), *self._pending.values()])

    async def save(self, owner: str, list_name: str) -> None:
        """Store the state of an owner (empty `list_name`) or list, if it has changed.

        Several processes of one member may follow the same list, and none undoes what another has stored: who
        finds the row changed, and ahead of its own state, leaves it; it will be offered the same statements.

        Raises:
            StoreError: it is not stored; call again.

        """
        place = (owner, list_name)
        value = self.trusted.chain_state(list_name) if list_name else self.trusted.owner_state(owner)
        state = canonical_json(without_times(value))
        revision, saved = self._saved.get(place, (0, b""))
        await self._remembered.keep()
        if saved == state:
            return
        full = canonical_json(value)
        for _ in range(ATTEMPTS):
            if await self._state.save_trusted(TrustedRow(owner, list_name, revision + 1, full, self._now())):
                self._saved[place] = (revision + 1, state)
                return
            rows = [row for row in await self._state.trusted() if (row.owner, row.list_name) == place]
            revision = rows[0].revision if rows else 0
            if rows and _is_ahead(rows[0], value):
                self._saved[place] = (revision, state)
                return

    async def tell_frauds(self) -> None:
        """Keep, and tell once, what convicts an owner."""
        for proof in self.trusted.proofs:
            about = proof.about
            if about in self._told:
                continue
            row = FraudProofRow(proof.kind, proof.accused, about, proof.evidence(), self._now())
            with suppress(StoreError):  # the next poll tries again
                is_new = await self._state.add_fraud_proof(row)
                self._told.add(about)
                if is_new:
                    self._observer.fraud(proof.accused, proof.kind)


def _broken() -> SnapshotError:
    return SnapshotError("The versions between what is held and what is offered cannot be had.", code="broken_chain")


def _is_ahead(row: TrustedRow, mine: Mapping[str, Any]) -> bool:
    try:
        return is_behind(mine, parse_canonical_json(row.state, limit=STATE_LIMIT))
    except (EncodingError, LookupError, TypeError):
        return False  # not of our form: ours goes in its place
