"""Rules of the never-list as they lie in the database: single identifiers sealed, patterns as they are. Rules only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from riskshare.membership.identifier import Identifier, stored
from riskshare.sharing.entry import DataKey
from riskshare.sharing.never import NeverList, NeverRule, RuleKind

PLACE: Final = "never"
"""What stands for the list's name in handles and seals. Names of lists have a slash."""


@dataclass(frozen=True, slots=True)
class NewRule:
    """A rule to be kept. `handle`, `sealed` and `row` are those of an exact one, `pattern` that of all others."""

    kind: RuleKind
    type: str
    pattern: str | None = field(repr=False)
    handle: bytes | None = field(repr=False)
    sealed: bytes | None = field(repr=False)
    row: UUID | None
    note: str
    author: str


@dataclass(frozen=True, slots=True)
class NeverRow:
    """A rule as it is kept."""

    number: int
    kind: RuleKind
    type: str
    pattern: str | None = field(repr=False)
    handle: bytes | None = field(repr=False)
    sealed: bytes | None = field(repr=False)
    row: UUID | None
    note: str
    author: str
    at: datetime


def handle_of(key: DataKey, rule: NeverRule) -> bytes:
    """The keyed hash by which an exact rule is found."""
    return key.handle(Identifier(rule.type, rule.pattern).oprf_input, PLACE)


def seal_rule(key: DataKey, rule: NeverRule, author: str, *, row: UUID, nonce: bytes) -> NewRule:
    """A rule as it is to be kept."""
    if rule.kind != "exact":
        return NewRule(rule.kind, rule.type, rule.pattern, None, None, None, rule.note, author)
    value = Identifier(rule.type, rule.pattern).oprf_input
    sealed = key.seal_identifier(value, nonce, row=row, list_name=PLACE, state="active")
    return NewRule(rule.kind, rule.type, None, handle_of(key, rule), sealed, row, rule.note, author)


def open_rule(key: DataKey, row: NeverRow) -> NeverRule:
    """A rule from what is kept. Raises OpenError: it was sealed under another data key."""
    if row.sealed is None or row.row is None:
        return NeverRule(row.type, row.kind, row.pattern or "", row.note, row.number)
    value = key.open_identifier(row.sealed, row=row.row, list_name=PLACE, state="active")
    return NeverRule(row.type, "exact", stored(value).value, row.note, row.number)


def never_list(key: DataKey, rows: Iterable[NeverRow]) -> NeverList:
    """All rules, ready to be asked. Raises OpenError."""
    return NeverList(open_rule(key, row) for row in rows)
