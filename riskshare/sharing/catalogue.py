"""Catalogues: which lists an owner has for one reader (pure).

A catalogue is made for the member who reads it: a list under grants is named to its
grantees only. It has a version that grows, and expires, so that a list cannot silently
disappear: what the current catalogue names and the reader does not hold makes its checks
incomplete, and so does, for a while, what it does not name any more (`announced.Gone`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from riskshare.encoding import format_time
from riskshare.names import check_category, check_keyset_name, check_list_name, check_member_name, list_owner
from riskshare.sharing.fields import DIGEST_BYTES, Fields, malformed, reading, whole_milliseconds
from riskshare.statement import Statement

KIND = "catalogue"
MAX_BYTES = 1 << 20
"""Longest JSON of a catalogue, in bytes."""

MAX_LISTS = 2048
"""Most lists that one owner may have for one reader."""

MAX_PURPOSES = 100
"""Most purposes that a registry names."""

_PURPOSES = "purposes"
_KEYS = frozenset({"owner", "reader", "version", "issued_at", "expires_at", "lists"})
_LIST_KEYS = frozenset({"list", "category", "keyset", "epoch", "ended"})


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One list: full name, category, keyset, digest of the keyset's newest epoch (32 bytes), ended or not.

    An ended list is no longer published and not consulted; it stays named, so that its
    end is told rather than guessed. `purposes`, sorted, are those for which alone the reader's grant is; empty, as for
    every open list: for all. The field is written only if there are any.
    """

    list_name: str
    category: str
    keyset: str
    epoch: bytes
    ended: bool = False
    purposes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check names and digest. Raises SnapshotError `malformed_statement`."""
        with reading("catalogue's list"):
            check_list_name(self.list_name)
            check_category(self.category)
            check_keyset_name(self.keyset)
        if len(self.purposes) > MAX_PURPOSES or any(later <= earlier for earlier, later in pairwise(self.purposes)):
            raise malformed(f"A catalogue names at most {MAX_PURPOSES} purposes of a list, each once, sorted.")
        if len(self.epoch) != DIGEST_BYTES:
            raise malformed("A catalogue names an epoch by a SHA-256 digest of 32 bytes.")

    def to_json(self) -> dict[str, Any]:
        """The JSON object that stands in the catalogue."""
        return {
            "list": self.list_name,
            "category": self.category,
            "keyset": self.keyset,
            "epoch": self.epoch.hex(),
            "ended": self.ended,
            **({"purposes": list(self.purposes)} if self.purposes else {}),
        }

    @classmethod
    def from_json(cls, value: object) -> CatalogueEntry:
        """Read what `to_json` writes. Raises SnapshotError `malformed_statement`."""
        bound = isinstance(value, Mapping) and _PURPOSES in value
        fields = Fields(value, _LIST_KEYS | {_PURPOSES} if bound else _LIST_KEYS, "catalogue's list")
        return cls(
            list_name=fields.named("list", check_list_name),
            category=fields.named("category", check_category),
            keyset=fields.named("keyset", check_keyset_name),
            epoch=fields.digest("epoch"),
            ended=fields.boolean("ended"),
            purposes=_purposes(fields.items(_PURPOSES, MAX_PURPOSES)) if bound else (),
        )

    def concerns(self, purpose: str | None) -> bool:
        """Whether a check for that purpose is about this list; None: for any."""
        return purpose is None or not self.purposes or purpose in self.purposes


def _purposes(values: list[object]) -> tuple[str, ...]:
    purposes = tuple(value for value in values if isinstance(value, str) and value)
    if not values or len(purposes) < len(values):
        raise malformed("A catalogue binds a list to purposes that are none.")
    return purposes


@dataclass(frozen=True, slots=True)
class CatalogueStatement:
    """All lists of `owner` that `reader` may use, sorted by name, each once, and all of the owner.

    Lists of one keyset share its keys, so those that have not ended name one epoch.
    """

    owner: str
    reader: str
    version: int
    issued_at: datetime
    expires_at: datetime
    lists: tuple[CatalogueEntry, ...]

    def __post_init__(self) -> None:
        """Check the fields and bring times to milliseconds. Raises SnapshotError `malformed_statement`."""
        object.__setattr__(self, "issued_at", whole_milliseconds(self.issued_at))
        object.__setattr__(self, "expires_at", whole_milliseconds(self.expires_at))
        with reading("catalogue"):
            check_member_name(self.owner)
            check_member_name(self.reader)
        if self.version < 1:
            raise malformed("A catalogue's version counts from 1.")
        if self.expires_at <= self.issued_at:
            raise malformed("A catalogue expires before it is issued.")
        names = [entry.list_name for entry in self.lists]
        if len(names) > MAX_LISTS or any(later <= earlier for earlier, later in pairwise(names)):
            raise malformed(f"A catalogue names at most {MAX_LISTS} lists, each once, sorted by name.")
        if any(list_owner(name) != self.owner for name in names):
            raise malformed("A catalogue names a list of another member.")
        epochs = {(entry.keyset, entry.epoch) for entry in self.lists if not entry.ended}
        if len(epochs) != len({keyset for keyset, _ in epochs}):
            raise malformed("A catalogue names two epochs for the lists of one keyset.")

    @classmethod
    def from_statement(cls, statement: Statement) -> CatalogueStatement:
        """Read a verified statement, strictly.

        Raises:
            SnapshotError: code `malformed_statement`.

        """
        if statement.kind != KIND:
            raise malformed(f"A {statement.kind} statement is not a catalogue.")
        fields = Fields(statement.body, _KEYS, "catalogue")
        return cls(
            owner=fields.named("owner", check_member_name),
            reader=fields.named("reader", check_member_name),
            version=fields.integer("version", 1),
            issued_at=fields.time("issued_at"),
            expires_at=fields.time("expires_at"),
            lists=tuple(CatalogueEntry.from_json(item) for item in fields.items("lists", MAX_LISTS)),
        )

    def made_at(self, received: datetime) -> tuple[datetime, ...]:  # noqa: ARG002 - other kinds need it
        """When the statement was made: what it says."""
        return (self.issued_at,)

    def body(self) -> dict[str, Any]:
        """The JSON object that is signed."""
        return {
            "owner": self.owner,
            "reader": self.reader,
            "version": self.version,
            "issued_at": format_time(self.issued_at),
            "expires_at": format_time(self.expires_at),
            "lists": [entry.to_json() for entry in self.lists],
        }

    def __iter__(self) -> Iterator[CatalogueEntry]:
        return iter(self.lists)

    def get(self, list_name: str) -> CatalogueEntry | None:
        """The entry of a list, or None."""
        return next((entry for entry in self.lists if entry.list_name == list_name), None)

    def keyset(self, name: str) -> tuple[CatalogueEntry, ...]:
        """The lists of one keyset that have not ended."""
        return tuple(entry for entry in self.lists if entry.keyset == name and not entry.ended)
