"""What passes between an institution's programs and its peer about files that are imported into its own lists.

As `api_models`: the same models validate requests, make the responses, and describe both in `/openapi.json`. A file is
the body of its request, so that what is wanted of it stands in the query: in no parameter an identifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field, StrictStr

from riskshare.api_entries import Level, RecordText
from riskshare.api_models import Model, Request, Time
from riskshare.sharing.reading import Format
from riskshare.sharing.staged import Standing

MEDIA_TYPES: Final[Mapping[Format, str]] = {
    "csv": "text/csv",
    "jsonl": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
"""The Content-Type of each format."""

MAX_ERRORS = 1000
"""Most row errors in one response."""

YesNo = Literal["false", "true"]
Header = Annotated[StrictStr, Field(max_length=200)]


class ImportRequest(Request):
    """The query of an import. What is left out is as for `riskshare list import`."""

    format: Literal["csv", "jsonl", "parquet", "xlsx"] | None = Field(None, description="As Content-Type if left out.")
    type: StrictStr = Field("", max_length=64, description="Type of all values, such as phone.")
    column: Header = Field("", description="The column that holds the values.")
    region: StrictStr = Field("", max_length=2, description="Country of phone numbers without +, such as CN.")
    mode: Literal["add", "replace"] = Field(
        "add", description="replace: the file is the whole list, and what it does not name is withdrawn."
    )
    bad_rows: Literal["refuse", "skip"] = Field(
        "refuse", description="refuse: any bad row, and nothing is changed; skip: the others are imported."
    )
    dry_run: YesNo = Field("false", description="Say what would happen, and change nothing.")
    force: YesNo = Field("false", description="Replace a list however many entries that withdraws.")
    level: Level = "high"
    reason: RecordText = Field("reported", min_length=1, description="Why they are listed.")
    evidence: RecordText = Field("", description="What it rests on.")
    appeal: RecordText = Field("", description="Where a person concerned can appeal.")
    days: StrictStr | None = Field(
        None,
        pattern=r"^[1-9][0-9]{0,3}$",
        description="How long entries are valid; 180 without it, or what is allowed.",
    )
    map: list[Header] = Field(
        default_factory=list, max_length=8, description="FIELD=COLUMN: the column that holds a field; may be repeated."
    )
    saved_mapping: YesNo = Field(
        "true",
        description="Without type, column, region and map: take them as the last import into the list that gave any.",
    )


class ErrorsRequest(Request):
    """The query for row errors."""

    after: StrictStr = Field("0", pattern=r"^[0-9]{1,15}$", description="Only of lines behind this one.")
    limit: StrictStr = Field("100", pattern=r"^[1-9][0-9]{0,3}$", description=f"At most so many, up to {MAX_ERRORS}.")


class CountsModel(Model):
    """What an import did, or would do, in entries; `repeated` counts rows that a later row overrides."""

    new: int
    replaced: int
    relisted: int
    withdrawn: int
    same: int
    disputed: int = Field(description="Left as they are.")
    missing_disputed: int = Field(description="Left as they are although the file, the whole list, does not name them.")
    barred: int = Field(description="Left off: an appeal was upheld.")
    repeated: int


class MappingModel(Model):
    """How the columns of a list's files are called, as a committed import left it."""

    type: str
    column: str
    region: str
    map: tuple[str, ...] = Field(description="FIELD=COLUMN, of each field that a column holds.")
    author: str
    saved_at: Time


class ImportModel(Model):
    """An import into one of this member's own lists."""

    model_config = ConfigDict(serialize_by_alias=True)

    id: str = Field(alias="import", description="Its id, a UUIDv7.")
    list: str
    state: Standing = Field(
        description="reading, read: under way; interrupted: nobody works on it, and the same file with the same"
        " parameters goes on; dry_run, committed, refused, cancelled: it is over."
    )
    author: str
    mode: Literal["add", "replace"]
    format: Literal["csv", "jsonl", "parquet", "xlsx"]
    began_at: Time
    changed_at: Time
    bytes: int = Field(description="Length of the file.")
    rows: int = Field(description="Read so far.")
    good: int
    bad: dict[str, int] = Field(description="Number of bad rows by code.")
    counts: CountsModel | None = Field(description="What it did, or would do.")
    saved_mapping: MappingModel | None = Field(
        description="The list's saved mapping, if the columns were taken to be called so; null: as the query says."
    )
    code: str | None = Field(description="Why it was not committed.")
    message: str


class ImportsResponse(Model):
    """The last imports into a list, newest first."""

    imports: tuple[ImportModel, ...]


class RowErrorModel(Model):
    """A bad row. Its own text is repeated nowhere."""

    line: int = Field(description="One-based.")
    column: str = Field(description="Its name, or its number from 1; empty: the row as a whole.")
    code: str
    expected: str
    suggestion: str = Field(description="What to write or to do instead, where that is certain.")


class RowErrorsResponse(Model):
    """Bad rows by line."""

    errors: tuple[RowErrorModel, ...]
    after: int | None = Field(description="For the next request; null: there are no more by now.")
