"""What passes between an institution's programs and its peer about the entries of its own lists.

As `api_models`: the same models validate requests, make the responses, and describe both in `/openapi.json`; the
commands print them as JSON.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictInt, StrictStr

from riskshare.api_models import IdentifierObject, Model, Request, Time
from riskshare.sharing.kept import REASON_BYTES

MAX_ENTRIES = 1000
"""Most entries in one request."""

Level = Literal["low", "medium", "high", "critical"]
EntryState = Literal["active", "disputed", "withdrawn"]
GivenIdentifier = StrictStr | IdentifierObject
"""The text type:value, or an object."""
RecordText = Annotated[StrictStr, Field(max_length=200)]


class EntryRequest(Request):
    """An entry that is to stand on a list. What is left out is as for `riskshare list import`."""

    identifier: GivenIdentifier = Field(repr=False, description="As the text type:value, or as an object.")
    level: Level = "high"
    reason: RecordText = Field("reported", min_length=1, description="Why it is listed.")
    evidence: RecordText = Field("", description="What it rests on.")
    case: RecordText = Field("", description="Your own reference.")
    appeal: RecordText = Field("", description="Where the person concerned can appeal.")
    days: StrictInt | None = Field(
        None, ge=1, le=3650, description="How long it stands; 180 without it and valid_until, or what is allowed."
    )
    valid_until: Annotated[StrictStr, Field(max_length=24)] | None = Field(
        None, description="In place of days: 2026-12-31, the end of that day in UTC, or 2026-12-31T23:59:59.000Z."
    )


class UpsertRequest(Request):
    """Entries to be listed, or to be given another record."""

    entries: list[EntryRequest] = Field(min_length=1, max_length=MAX_ENTRIES)
    atomic: StrictBool = Field(default=False, description="Change nothing if one of them cannot be listed.")


class DecisionRequest(Request):
    """Which entries are to be disputed or restored: identifiers, or all of one case reference."""

    identifiers: list[GivenIdentifier] = Field(default_factory=list, max_length=MAX_ENTRIES, repr=False)
    case: RecordText = ""
    reason: StrictStr = Field(min_length=1, max_length=REASON_BYTES, description="Why, in a few words.")
    atomic: StrictBool = Field(default=False, description="Change nothing if one of them cannot be changed.")


class WithdrawRequest(Request):
    """Which entries are to be withdrawn: identifiers, or all of one case reference."""

    identifiers: list[GivenIdentifier] = Field(default_factory=list, max_length=MAX_ENTRIES, repr=False)
    case: RecordText = ""
    reason: Literal["withdrawn", "corrected", "erroneous", "appeal_upheld"] = Field(
        description="Why; after appeal_upheld no import lists it again."
    )
    atomic: StrictBool = Field(default=False, description="Change nothing if one of them cannot be withdrawn.")


class EntryResult(Model):
    """What became of one entry. `code` says why nothing was done, in words of docs/errors.md."""

    entry: int = Field(description="Index in the request; of a case, the number of the entry.")
    done: bool
    state: str = Field(description="What was done: listed, replaced, relisted, withdrawn, disputed, restored; or none.")
    code: str | None = None
    message: str = ""


class EntriesResponse(Model):
    """What became of each entry. `changed` is the number that the list's next snapshot shows otherwise."""

    list: str
    changed: int
    results: tuple[EntryResult, ...]


class ShowRequest(Request):
    """An identifier to be looked up on this member's own lists."""

    identifier: GivenIdentifier = Field(repr=False, description="As the text type:value, or as an object.")
    list: StrictStr | None = Field(None, max_length=127, description="On this list only.")


class EventModel(Model):
    """What was done to an entry. Who and when is unknown of what was done before changes were kept."""

    number: int = Field(description="Number of the change of the list.")
    at: Time | None
    author: str | None
    action: str | None
    why: str | None = Field(description="The reason of the change.")
    import_id: str | None
    state: EntryState = Field(description="What the entry was from then on.")
    withdrawn_for: str | None
    level: Level
    reason: str = Field(description="The reason in the record.")
    valid_until: Time


class HolderModel(Model):
    """A member that follows the list, and the snapshot that it says it holds."""

    member: str
    epoch: int
    version: int
    confirmed_at: Time
    current: bool = Field(description="Whether that snapshot shows the entry as it is now.")


class EntryModel(Model):
    """An entry of one of this member's own lists, with its history."""

    list: str
    category: str
    identifier: str = Field(description="Masked.")
    state: EntryState
    withdrawn_for: str | None
    level: Level
    reason: str
    evidence: str
    case: str
    appeal: str
    listed_at: Time
    valid_until: Time
    history: tuple[EventModel, ...] = Field(description="Oldest first; the last one made it what it is.")
    holders: tuple[HolderModel, ...]


class EntryResponse(Model):
    """Every list of this member that holds the identifier, or held it."""

    entries: tuple[EntryModel, ...]
