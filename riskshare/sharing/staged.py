"""An import as it is kept while it is under way, and afterwards: values that importer and store pass to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal
from uuid import UUID

from riskshare.errors import InputError
from riskshare.sharing.kept import ImportCounts
from riskshare.sharing.row_place import Place
from riskshare.sharing.rows import BadRow, Defaults

ImportState = Literal["reading", "read", "committed", "refused", "cancelled"]
Standing = Literal["reading", "read", "interrupted", "dry_run", "committed", "refused", "cancelled"]
Mode = Literal["add", "replace"]


@dataclass(frozen=True, slots=True)
class NewImport:
    """What an import begins with.

    `fingerprint` is a keyed hash (32 bytes) of the file and of all that decides what its rows become: an import that
    was left with the same one goes on. `never_upto` is that of the never-list which all rows are held against; `size`
    the file's length in bytes; `saved_mapping` the list's own, if its columns were taken to be called so.
    """

    id: UUID
    list_id: int
    fingerprint: bytes = field(repr=False)
    format: str
    author: str
    mode: Mode
    began_at: datetime
    never_upto: int
    size: int
    saved_mapping: SavedMapping | None = None


@dataclass(frozen=True, slots=True)
class ImportRow:
    """An import. What is behind `place` is in `rows`, `good` and `bad` (by code).

    `counts` says what it did, or would do; `code` why it was refused. `running` tells whether a process works on it;
    `saved_mapping` is the list's own, if its columns were taken to be called so.
    """

    id: UUID
    number: int
    list_id: int
    format: str
    author: str
    state: ImportState
    mode: Mode
    began_at: datetime
    changed_at: datetime
    never_upto: int
    place: Place
    rows: int
    good: int
    bad: Mapping[str, int]
    size: int
    counts: ImportCounts | None
    code: str | None
    running: bool
    saved_mapping: SavedMapping | None

    @property
    def interrupted(self) -> bool:
        """Whether the process that worked on it is gone: importing the same file again goes on."""
        return self.state in ("reading", "read") and not self.running

    @property
    def standing(self) -> Standing:
        """How it stands, in the word that people and programs are told."""
        if self.interrupted:
            return "interrupted"
        if self.state == "cancelled" and self.code is not None:
            return "refused"
        return "dry_run" if self.code == "dry_run" else self.state


@dataclass(frozen=True, slots=True)
class Piece:
    """What became of a chunk of a file: rows ready to be stored, in the store's own form, and bad rows."""

    after: Place
    rows: int
    good: int
    payload: bytes = field(repr=False)
    faults: Sequence[BadRow] = field(repr=False)


@dataclass(frozen=True, slots=True)
class SavedMapping:
    """How the columns of a list's files are called: `fields` are (field, header) pairs."""

    type: str
    column: str
    region: str
    fields: tuple[tuple[str, str], ...]
    author: str = ""
    saved_at: datetime | None = None

    def over(self, defaults: Defaults) -> Defaults:
        """The defaults of an import whose columns are called so."""
        return replace(defaults, type=self.type, column=self.column, region=self.region, fields=self.fields)

    def words(self) -> str:
        """The mapping for a person."""
        named = [("type", self.type), ("column", self.column), ("region", self.region), *self.fields]
        return ", ".join(f"{name} {value}" for name, value in named if value)


@dataclass(frozen=True, slots=True)
class Called:
    """How the columns of a file are called: what its rows are read with, and whose word that is.

    `given` is what came with this import, to be kept with the list; `saved` what an earlier one left there.
    """

    defaults: Defaults
    given: SavedMapping | None = None
    saved: SavedMapping | None = None


def given_mapping(asked: Defaults, author: str) -> SavedMapping | None:
    """How the columns are called by what was asked for; None if nothing was said of them."""
    if not (asked.type or asked.column or asked.region or asked.fields):
        return None
    return SavedMapping(asked.type, asked.column, asked.region, asked.fields, author)


def check_share(counts: ImportCounts, most: int) -> None:
    """Refuse to withdraw more than `most` percent of the entries that are not withdrawn, disputed ones among them.

    Raises:
        InputError: `replace_too_large`.

    """
    live = counts.same + counts.replaced + counts.disputed + counts.withdrawn + counts.missing_disputed
    if 100 * counts.withdrawn > most * live:
        raise InputError(
            f"The file would withdraw {counts.withdrawn:,} of {live:,} entries, more than {most} %. If it is whole"
            " and this is meant, force it with --force.",
            code="replace_too_large",
        )
