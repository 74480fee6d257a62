"""What a member keeps of its own lists and of those that it follows, as plain rows.

The verbs `publish` and `subscribe` declare what they need from a store in terms of these
values, and the store gives and takes them; so neither imports the other. Digests are 32
bytes, signatures 64, salts 16; times are aware. Sealed bytes and keys are in no `repr`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final, Literal
from uuid import UUID

from riskshare.errors import InputError
from riskshare.sharing.segment_ref import SegmentRef

State = Literal["active", "disputed", "withdrawn"]
Action = Literal["import", "replace", "upsert", "withdraw", "dispute", "restore", "expire", "never"]
SegmentKind = Literal["base", "delta"]

STATES: Final[tuple[State, ...]] = ("active", "disputed", "withdrawn")

AUTHOR_BYTES: Final = 100
REASON_BYTES: Final = 200

PEER: Final = "peer"
"""The author of what a peer does by itself."""


@dataclass(frozen=True, slots=True)
class ListRow:
    """One list of this member. `name` is the local name; `changed` counts the changes made to it.

    `granted`: the list is under grants (`grants`), not open to all members. `listed` entries stand on it, all but
    withdrawn ones.
    """

    id: int
    name: str
    category: str
    keyset: str
    created_at: datetime
    changed: int
    granted: bool = False
    listed: int = 0


@dataclass(frozen=True, slots=True)
class EntryRow:
    """An entry as an import or an upsert brings it; its state will be `active`.

    `id` is a fresh UUID; `handle` the keyed HMAC of the identifier (32 bytes); `sealed` the identifier
    under the data key (additional data: id, list, `active`); `record` the record's canonical JSON. `content`
    (1 to 32 bytes) decides whether an entry that is already there is the same: the digest of what must make a
    difference. An importer that stamps `listed_at` with the present leaves it out, or each import
    of one file would change every entry. `case_handle` is the keyed HMAC of the record's case reference, if it has one.
    """

    id: UUID
    handle: bytes = field(repr=False)
    sealed: bytes = field(repr=False)
    record: bytes = field(repr=False)
    content: bytes = field(repr=False)
    valid_from: datetime
    valid_until: datetime
    case_handle: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry as it stands. `reason` is set with state `withdrawn`, and with nothing else."""

    id: UUID
    handle: bytes = field(repr=False)
    sealed: bytes = field(repr=False)
    record: bytes = field(repr=False)
    state: State
    reason: str | None
    valid_from: datetime
    valid_until: datetime
    changed: int


@dataclass(frozen=True, slots=True)
class Change:
    """Who changes a list, how and why; the store adds when, and how many entries.

    `author` is a person's name, `key:` and the id of an API key, or `peer`. `reason` is a word of the segment's table
    where entries are withdrawn, else what somebody wrote; `import_id` names the import job, if it was one.
    """

    author: str
    action: Action
    reason: str
    import_id: UUID | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be kept. Raises InputError: `author_invalid`, `reason_invalid`."""
        if not self.author or not _is_short(self.author, AUTHOR_BYTES):
            raise InputError(
                f"An author is a name of 1 to {AUTHOR_BYTES} bytes without control characters: give --author NAME.",
                code="author_invalid",
            )
        if not _is_short(self.reason, REASON_BYTES):
            raise InputError(
                f"A reason has at most {REASON_BYTES} bytes, on one line, without control characters.",
                code="reason_invalid",
            )


def _is_short(text: str, most: int) -> bool:
    return len(text.encode(errors="replace")) <= most and text.isprintable()


@dataclass(frozen=True, slots=True)
class ChangeCounts:
    """What one change did to a list, in entries."""

    added: int = 0
    replaced: int = 0
    relisted: int = 0
    withdrawn: int = 0
    disputed: int = 0
    restored: int = 0


@dataclass(frozen=True, slots=True)
class NotedChange:
    """A change of a list as it is kept; `number` is that of `ListRow.changed`."""

    number: int
    at: datetime
    author: str
    action: Action
    reason: str
    import_id: UUID | None
    counts: ChangeCounts


@dataclass(frozen=True, slots=True)
class FormerEntry:
    """What an entry was until the change `superseded_by` of its list."""

    list_id: int
    superseded_by: int
    entry: StoredEntry


@dataclass(frozen=True, slots=True)
class DayRow:
    """What was done to a list on one day; `why` is the reason of the withdrawals among it, None if there are none."""

    day: date
    why: str | None
    counts: ChangeCounts


@dataclass(frozen=True, slots=True)
class Seen:
    """A snapshot (digest, under an epoch's digest) that a member said it holds."""

    reader: str
    epoch: bytes = field(repr=False)
    digest: bytes = field(repr=False)
    at: datetime


@dataclass(frozen=True, slots=True)
class ReaderRow:
    """A member, and the snapshot of one of our lists that it holds under an epoch (number).

    `changed` and `withdrawn` are as in that.
    """

    reader: str
    epoch: int
    version: int
    changed: int
    withdrawn: int
    at: datetime


@dataclass(frozen=True, slots=True)
class WatchedList:
    """An own list as its operator watches it.

    `entries` stand on it, disputed ones too; `published_at` is the time of the newest snapshot; `waiting_since` that of
    the oldest change which it does not show; `behind` counts members that hold an older one.
    """

    list_id: int
    name: str
    entries: int
    published_at: datetime | None
    waiting_since: datetime | None
    behind: int


@dataclass(frozen=True, slots=True)
class Resealed:
    """What a change of state writes anew: the identifier sealed for the new state, and the record."""

    sealed: bytes = field(repr=False)
    record: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ImportCounts:
    """What an import would do, or did, in entries.

    `new`, `replaced` (other content than before), `relisted` (withdrawn before) and `withdrawn` (by an import that is
    the whole list) change the list; `same`, `disputed` (a dispute is ended by a decision, not by a file) and `barred`
    (an appeal was upheld) stay as they are, and so do the `missing_disputed` ones, which an import that is the whole
    list does not name. `repeated` counts rows that a later row of the same import overrides.
    """

    new: int
    replaced: int
    relisted: int
    same: int
    disputed: int
    barred: int
    repeated: int
    withdrawn: int = 0
    missing_disputed: int = 0

    @property
    def changes(self) -> int:
        """Entries that the next snapshot shows otherwise."""
        return self.new + self.replaced + self.relisted + self.withdrawn

    @property
    def rows(self) -> int:
        """Rows of the import."""
        return self.new + self.replaced + self.relisted + self.same + self.disputed + self.barred + self.repeated


@dataclass(frozen=True, slots=True)
class ListCounts:
    """Entries of one list by state, and `pending`: changes that no snapshot holds yet."""

    active: int
    disputed: int
    withdrawn: int
    pending: int


@dataclass(frozen=True, slots=True)
class EpochRow:
    """An epoch of one of this member's keysets. `secret_sealed` is its OPRF key under the member's data key.

    The fields `end_...` are those of the statement that ended it before its term: in an emergency at once, or, the next
    epoch being published, at the end of the change-over; `ended_at` may therefore lie ahead.
    """

    digest: bytes
    keyset: str
    number: int
    statement: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    secret_sealed: bytes = field(repr=False)
    not_before: datetime
    not_after: datetime
    ended_at: datetime | None = None
    end_statement: bytes | None = field(default=None, repr=False)
    end_signature: bytes | None = field(default=None, repr=False)
    end_salt: bytes | None = field(default=None, repr=False)

    @property
    def until(self) -> datetime:
        """The first moment at which its key is not used any more: the end of its term, or an earlier one."""
        return self.not_after if self.ended_at is None else min(self.ended_at, self.not_after)

    def in_service(self, at: datetime) -> bool:
        """Whether its key is used at that time."""
        return self.not_before <= at < self.until


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """A snapshot that this member published. Entries up to change number `changed` are in it.

    `segments` are the file digests of its segments, in order. Withdrawals that do not wait for a larger change
    (`composing.Composer.urgent`) are in it up to number `withdrawn`.
    """

    list_id: int
    epoch: bytes
    version: int
    digest: bytes
    statement: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    issued_at: datetime
    expires_at: datetime
    changed: int
    segments: tuple[bytes, ...] = field(repr=False)
    withdrawn: int


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """A segment file that this member built, for one list under one epoch."""

    ref: SegmentRef
    list_id: int
    epoch: bytes
    kind: SegmentKind
    created_at: datetime


@dataclass(frozen=True, slots=True)
class IssuedCatalogueRow:
    """The newest catalogue that this member issued for a reader. `content` digests what it says, whatever its version.

    A row of a version that was issued before catalogues were kept has an empty `content`.
    """

    reader: str
    version: int
    content: bytes
    issued_at: datetime
    statement: bytes = field(repr=False)
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CatalogueRow:
    """The newest trusted catalogue of an owner, as received."""

    owner: str
    version: int
    statement: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    received_at: datetime


@dataclass(frozen=True, slots=True)
class EpochStatementRow:
    """An epoch statement of another owner, as received."""

    digest: bytes
    owner: str
    keyset: str
    number: int
    statement: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    received_at: datetime


@dataclass(frozen=True, slots=True)
class TrustedRow:
    """The state of `TrustedSnapshots` for one list (`list_name` is the full name).

    `revision` grows by one with each write; a writer names the row that it read.
    """

    owner: str
    list_name: str
    revision: int
    state: bytes = field(repr=False)
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class HeldRow:
    """A snapshot of another owner, of an open list, under the key by which members compare it (`held_page`)."""

    key: bytes
    digest: bytes
    list_name: str
    epoch: bytes
    version: int
    wire: bytes = field(repr=False)
    signer: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class FraudProofRow:
    """Two statements that convict `accused`. `about` is the 32-byte digest of what they are about."""

    kind: str
    accused: str
    about: bytes
    evidence: bytes = field(repr=False)
    found_at: datetime


@dataclass(frozen=True, slots=True)
class RegistryRow:
    """One version of the network's registry, as received."""

    version: int
    digest: bytes
    file: bytes = field(repr=False)
    received_at: datetime
