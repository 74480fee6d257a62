"""How far a catalogue or a list may be relied on, and what a segment claims to be (pure values and rules)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from riskshare.errors import SnapshotError
from riskshare.sharing.catalogue import CatalogueEntry
from riskshare.sharing.chain import Held
from riskshare.sharing.snapshot import SnapshotStatement


class Status(StrEnum):
    """How far a list, or a catalogue, may be relied on.

    `current`: hits and clears. `stale`: hits, never a clear. `expired`, `missing`: not
    consulted, and the check is incomplete. `unlisted`: not consulted, as its owner's
    catalogue, or the registry, does not have it (any more).
    """

    CURRENT = "current"
    STALE = "stale"
    EXPIRED = "expired"
    MISSING = "missing"
    UNLISTED = "unlisted"

    @property
    def usable(self) -> bool:
        """Whether the list is consulted."""
        return self in (Status.CURRENT, Status.STALE)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The newest snapshot of a list is not used: why (an error's code), and since when it has been so."""

    code: str
    since: datetime


@dataclass(frozen=True, slots=True)
class ListStanding:
    """A catalogued list, its status, and what serves of it (None if it is not to be consulted).

    `refusal` is there if something newer than what serves was offered, and could not be used.
    """

    entry: CatalogueEntry
    status: Status
    held: Held | None
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class OwnerStanding:
    """The status of an owner's catalogue, and its lists that have not ended."""

    owner: str
    status: Status
    lists: tuple[ListStanding, ...]


@dataclass(frozen=True, slots=True)
class SegmentFacts:
    """What a reader found in a segment file: digests and lengths (as in `SegmentRef`), and its header's claims.

    `file_digest` is None if only the header and some sections were fetched; the header's
    digest covers what was.
    """

    header_digest: bytes
    header_length: int
    file_digest: bytes | None
    file_length: int
    list_name: str
    epoch: bytes
    kind: Literal["base", "delta"]


def status_at(expires_at: datetime, confirmed_at: datetime | None, bound: timedelta, now: datetime) -> Status:
    """The status at `now` of what expires and was last confirmed by its owner then.

    A confirmation from the future by more than the bound means that the clock was set
    back: its age is not known, so it does not count.
    """
    if now >= expires_at:
        return Status.EXPIRED
    if confirmed_at is None or abs(now - confirmed_at) > bound:
        return Status.STALE
    return Status.CURRENT


def match_segment(snapshot: SnapshotStatement, index: int, facts: SegmentFacts) -> None:
    """Refuse a segment that is not the one which the snapshot names at `index`.

    Raises:
        SnapshotError: code `mixed_segments`.

    """
    if not 0 <= index < len(snapshot.segments):
        raise SnapshotError("The snapshot does not name so many segments.", code="mixed_segments")
    ref = snapshot.segments[index]
    found = (facts.header_digest, facts.header_length, facts.file_digest or ref.file_digest, facts.file_length)
    if found != (ref.header_digest, ref.header_length, ref.file_digest, ref.file_length):
        raise SnapshotError("The segment is truncated, altered, or not the one that was signed.", code="mixed_segments")
    if facts.list_name != snapshot.list_name or facts.epoch != snapshot.epoch:
        raise SnapshotError("The segment says that it is of another list or epoch.", code="mixed_segments")
    if facts.kind == "base" and index > 0:
        raise SnapshotError("Only the first segment of a snapshot may be a base.", code="mixed_segments")
    if facts.kind == "delta" and facts.file_digest is None:
        raise SnapshotError("A delta is always fetched whole.", code="mixed_segments")
