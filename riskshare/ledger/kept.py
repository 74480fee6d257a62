"""What a store keeps of a log, and of others' logs (pure).

The verbs of the ledger speak of their stores in these words; `store.ledger` keeps them in PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from riskshare.ledger.addition import Known
from riskshare.ledger.tile import Bundle, Tile

BEHIND: Final = "ledger_behind"
"""Code of a halt: the witnesses have seen more of this log than its database holds."""


@dataclass(frozen=True, slots=True)
class Head:
    """A checkpoint that this log signed: size, root (32 bytes), and the note with the cosignatures collected so far.

    `final_at` is when it had a quorum of them.
    """

    size: int
    root: bytes
    note: bytes = field(repr=False)
    signed_at: datetime
    final_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """What a log is grown from: its head, None before the first, with the edge's partial tiles and partial bundle."""

    head: Head | None
    tiles: Mapping[Tile, bytes] = field(default_factory=dict, repr=False)
    bundle: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Written:
    """What one growth writes: tiles, bundles, and the new head, signed."""

    head: Head
    tiles: tuple[tuple[Tile, bytes], ...] = field(default=(), repr=False)
    bundles: tuple[tuple[Bundle, bytes], ...] = field(default=(), repr=False)


Make = Callable[[Held, Sequence[bytes]], Written | None]
"""Grows a log by entries (32 bytes each): pure, and quick. None: nothing is to be written."""


@dataclass(frozen=True, slots=True)
class Grown:
    """What a growth did: the new head, and how many entries became part of the log."""

    head: Head
    entries: int


@dataclass(frozen=True, slots=True)
class Witnessed:
    """The latest checkpoint of a log that this member cosigned as a witness; `note` is b"" before the first."""

    known: Known = field(default_factory=Known)
    note: bytes = field(default=b"", repr=False)
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class EntryRow:
    """An entry of this log that concerns another member: index, kind, source, salt (16 bytes).

    `about` is the list's short name for a snapshot, the keyset for an epoch, and "" for a receipt.
    """

    index: int
    kind: str
    source: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    about: str = ""


@dataclass(frozen=True, slots=True)
class AccountRow:
    """A counterparty's own entry for what concerns us: where it stands in its log, and that it does.

    `proof` are the hashes of the inclusion proof, one after the other, in the tree of `size` entries.
    """

    kind: str
    source: bytes = field(repr=False)
    index: int
    salt: bytes = field(repr=False)
    proof: bytes = field(repr=False)
    size: int
    received_at: datetime


@dataclass(frozen=True, slots=True)
class FollowedRow:
    """What this member knows of another's log: the next entry to ask for, and its newest checkpoint verified.

    `latest_size` is the size of the newest one seen, final or not, and `grown_at` when it last grew; `waiting_since`
    and `stalled_since` as in `growth`.
    """

    member: str
    next_index: int
    size: int
    root: bytes
    note: bytes = field(repr=False)
    latest_size: int
    grown_at: datetime
    waiting_since: datetime | None = None
    stalled_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class AwaitedRow:
    """Something held since then of which `member` should have an entry."""

    member: str
    kind: str
    source: bytes = field(repr=False)
    since: datetime
