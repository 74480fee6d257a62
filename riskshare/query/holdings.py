"""What a check looks into: all owners that the registry names, this member's own lists among them.

Whether a list is current depends on the time of its last poll, so the answer is worked out anew at least four
times a second, and at once after any change; in between, checks share it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from riskshare.membership.oprf import SecretKey
from riskshare.query.held import HeldEpoch, HeldList, HeldOwner, OwnerState
from riskshare.sharing.copies import Following
from riskshare.sharing.mirror import Mirror
from riskshare.sharing.published import Published
from riskshare.sharing.segment_read import NeedBucket
from riskshare.sharing.standing import ListStanding, Status

LASTS: Final = timedelta(milliseconds=250)

REMEMBERED: Final = 4096
REMEMBERED_BYTES: Final = 2**21
"""So many labels that buckets were fetched for are remembered, with sealed records of so many bytes."""


class Buckets(Protocol):
    """The way to a bucket of an owner's segment (on-demand mode)."""

    async def bucket(self, owner: str, digest: bytes, offset: int, length: int, total: int) -> bytes:
        """That part of a segment file, which is `total` bytes long. Raises PeerError."""


class _Remembered:
    """What verified buckets said of the labels looked for last: the sealed record, or that there is none.

    A check that repeats one with tokens from before would else fetch the same bucket again, and show its owner that it
    is the same question. Under the digest of the segment nothing of it can change.
    """

    def __init__(self) -> None:
        self._records: OrderedDict[tuple[bytes, bytes], bytes | None] = OrderedDict()
        self._bytes = 0

    def get(self, segment: bytes, label: bytes) -> tuple[bool, bytes | None]:
        """Whether it is known, and the record."""
        place = segment, label
        if place not in self._records:
            return False, None
        self._records.move_to_end(place)
        return True, self._records[place]

    def keep(self, segment: bytes, label: bytes, record: bytes | None) -> None:
        """Remember it, and forget what was not looked for for the longest time if that is too much."""
        self._bytes += len(record or b"") - len(self._records.pop((segment, label), None) or b"")
        self._records[segment, label] = record
        while len(self._records) > REMEMBERED or self._bytes > REMEMBERED_BYTES:
            _, gone = self._records.popitem(last=False)
            self._bytes -= len(gone or b"")


class Holdings:
    """`check.Holdings` over a mirror and what this member has published."""

    def __init__(
        self,
        *,
        member: str,
        owners: Callable[[], Sequence[str]],
        expired: Callable[[datetime], bool],
        mirror: Mirror,
        published: Published,
        unreachable: Callable[[], frozenset[str]],
        buckets: Buckets,
    ) -> None:
        self._member = member
        self._owners = owners
        self._expired = expired
        self._mirror = mirror
        self._published = published
        self._unreachable = unreachable
        self._buckets = buckets
        self._remembered = _Remembered()
        self._fetching: dict[tuple[bytes, bytes], asyncio.Task[bytes | None]] = {}
        self._known: dict[tuple[frozenset[str], str | None, bool], tuple[datetime, int, tuple[HeldOwner, ...]]] = {}
        self._snapshots: dict[str, tuple[int, Mapping[str, bytes]]] = {}

    def concerning(self, categories: frozenset[str], now: datetime, purpose: str | None = None) -> Sequence[HeldOwner]:
        """Every owner that the registry names, and this member if it keeps lists, with those of these categories.

        No categories are all.

        Without those that their owner has granted for other purposes (None: with them): a check for another one is not
        about them, and is not incomplete without them.

        Once the registry has expired nobody vouches for the others' keys: no owner's lists are looked into, with tokens
        from before neither, just as nobody is asked (`Asker.submit`).
        """
        generation = self._generation()
        place = (categories, purpose, self._expired(now))
        known = self._known.get(place)
        if known is not None and known[1] == generation and timedelta(0) <= now - known[0] < LASTS:
            return known[2]
        if len(self._known) > 64:
            self._known.clear()
        held = tuple(
            self._own(categories) if owner == self._member else self._other(owner, categories, purpose, now)
            for owner in self._consulted()
        )
        self._known[place] = (now, generation, held)
        return held

    def _consulted(self) -> Sequence[str]:
        owners = self._owners()
        if self._member in owners or not (self._published.own_lists() or self._published.own_missing()):
            return owners
        return [*owners, self._member]  # nobody else follows them, but whom it lists it must not call clear

    def own_key(self, epoch: bytes) -> SecretKey | None:
        """This member's own OPRF key of an epoch of its own."""
        return self._published.own_key(epoch)

    def snapshots(self, owner: str) -> Mapping[str, bytes]:
        """Digests of an owner's snapshots that are held, by full list name: what an ask tells the owner."""
        generation = self._generation()
        known = self._snapshots.get(owner)
        if known is None or known[0] != generation:
            found: dict[str, bytes] = {}
            for entry in self._mirror.trusted.catalogue(owner) or ():
                following = self._mirror.following(entry.list_name, entry.epoch)
                if following is not None:
                    found[entry.list_name] = following.digest
            known = self._snapshots[owner] = (generation, found)
        return known[1]

    async def bucket(self, owner: str, held: HeldList, need: NeedBucket, label: bytes) -> bytes | None:
        """Fetch a bucket, unless that was done for this label, and give its sealed record, if it is there.

        Whoever looks for the same label meanwhile waits for the same fetch: two that come together would show the owner
        that they are one question. A caller that is cancelled leaves it to the others; with none left, it ends alone.

        Raises:
            PeerError: it cannot be had.
            SegmentError: it is not what the owner signed.

        """
        known, record = self._remembered.get(need.file_digest, label)
        if known:
            return record
        place = need.file_digest, label
        fetching = self._fetching.get(place)
        if fetching is None:
            fetching = asyncio.create_task(self._fetch(owner, held, need, label), name="bucket")
            self._fetching[place] = fetching
            fetching.add_done_callback(lambda done: self._fetched(place, done))
        return await asyncio.shield(fetching)

    async def _fetch(self, owner: str, held: HeldList, need: NeedBucket, label: bytes) -> bytes | None:
        base = held.view.base
        assert base is not None, "only a base has buckets"
        data = await self._buckets.bucket(owner, need.file_digest, need.offset, need.length, base.ref.file_length)
        record = need.read(data, label)
        self._remembered.keep(need.file_digest, label, record)
        return record

    def _fetched(self, place: tuple[bytes, bytes], done: asyncio.Task[bytes | None]) -> None:
        del self._fetching[place]
        if not done.cancelled():
            done.exception()  # retrieved: nobody may be waiting any more

    def _generation(self) -> int:
        return self._mirror.generation + self._published.generation

    def _own(self, categories: frozenset[str]) -> HeldOwner:
        epochs = tuple(
            HeldEpoch(
                epoch,
                tuple(
                    HeldList(
                        each.name,
                        each.row.category,
                        each.snapshot.version,
                        each.snapshot.digest,
                        current=True,
                        view=each.view,
                    )
                    for each in lists
                    if not categories or each.row.category in categories
                ),
            )
            for epoch, lists in self._published.own_lists().items()
        )
        missing = self._published.own_missing()
        incomplete = bool(missing & categories if categories else missing)
        state: OwnerState = "stale" if incomplete else "current"
        return HeldOwner(self._member, state, tuple(epoch for epoch in epochs if epoch.lists))

    def _other(self, owner: str, categories: frozenset[str], purpose: str | None, now: datetime) -> HeldOwner:
        if self._expired(now):
            return HeldOwner(owner, "untrusted", ())
        standing = self._mirror.standing(owner, now)
        concerned = [
            each
            for each in standing.lists
            if (not categories or each.entry.category in categories) and each.entry.concerns(purpose)
        ]
        epochs: dict[bytes, list[HeldList]] = {}
        complete = standing.status is Status.CURRENT
        for each in concerned:
            following = self._following(each)
            if following is None:
                complete = False
                continue
            epochs.setdefault(following.snapshot.epoch, []).append(
                HeldList(
                    each.entry.list_name,
                    each.entry.category,
                    following.snapshot.version,
                    following.digest,
                    current=each.status is Status.CURRENT,
                    view=following.view,
                )
            )
        state: OwnerState = "current"
        if not complete:
            state = "down" if owner in self._unreachable() else "stale"
        return HeldOwner(owner, state, tuple(HeldEpoch(epoch, tuple(lists)) for epoch, lists in epochs.items()))

    def _following(self, each: ListStanding) -> Following | None:
        """The view of a list that may be looked into."""
        if each.held is None:
            return None
        return self._mirror.following(each.entry.list_name, each.held.snapshot.epoch)
