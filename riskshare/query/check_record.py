"""The record of a check, read back: for an auditor, and for the member's own answer to a data subject (pure).

`verdict.record_plaintext` writes it. Whoever sealed it may have sealed anything, so everything is read strictly, and
what does not print back to the same bytes is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, cast, get_args
from uuid import UUID

from riskshare.encoding import cbor_decode, cbor_encode, format_time, parse_time
from riskshare.errors import EncodingError, InputError
from riskshare.membership.identifier import Identifier, parse
from riskshare.membership.record import Record
from riskshare.names import check_category, check_list_name, check_member_name
from riskshare.query.verdict import MAX_REFERENCE, MAX_WORD, Asked, OwnerStatus, Word

MAX_RECORD: Final = 16 * 1024 * 1024
"""Longest record that is read, in bytes."""

MAX_IDENTIFIERS: Final = 4096
MAX_PARTS: Final = 2**17
"""Most elements, hits or receipts of one check."""

_KEYS: Final = frozenset(
    {
        "answered_at",
        "asked",
        "categories",
        "check",
        "identifiers",
        "outcome",
        "purpose",
        "random",
        "receipts",
        "reference",
        "snapshots",
    }
)
_ASKED_KEYS: Final = frozenset({"batch", "blind", "cached", "epoch", "identifier", "owner", "position"})
_OUTCOME_KEYS: Final = frozenset({"complete", "hits", "owners", "verdict"})
_STATUSES: Final = frozenset(get_args(OwnerStatus))
_WORDS: Final = frozenset(get_args(Word))


@dataclass(frozen=True, slots=True)
class RecordedHit:
    """A hit as it was recorded: the identifier's index, the list's full name, the record that said why."""

    identifier: int
    list: str
    record: Record = field(repr=False)


@dataclass(frozen=True, slots=True)
class CheckRecord:
    """What a member kept of one check.

    `owners` maps each owner to its status and the versions of its lists that were looked into; `snapshots` maps lists
    (full names) to snapshot digests; `receipts` are the ids on which the verdict rests; digests are 32 bytes.
    """

    check: UUID
    answered_at: datetime
    identifiers: tuple[Identifier, ...] = field(repr=False)
    purpose: str
    reference: str = field(repr=False)
    categories: tuple[str, ...]
    asked: tuple[Asked, ...] = field(repr=False)
    receipts: tuple[bytes, ...] = field(repr=False)
    snapshots: Mapping[str, bytes] = field(repr=False)
    word: Word
    complete: bool
    hits: tuple[RecordedHit, ...] = field(repr=False)
    owners: Mapping[str, tuple[OwnerStatus, Mapping[str, int]]]
    random: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        """The CBOR map, as `record_plaintext` writes it."""
        outcome = {
            "complete": self.complete,
            "hits": [[hit.identifier, hit.list, hit.record.to_bytes()] for hit in self.hits],
            "owners": {owner: [status, dict(lists)] for owner, (status, lists) in self.owners.items()},
            "verdict": self.word,
        }
        return cbor_encode(
            {
                "answered_at": format_time(self.answered_at),
                "asked": [_asked(part) for part in self.asked],
                "categories": list(self.categories),
                "check": self.check.bytes,
                "identifiers": [identifier.canonical for identifier in self.identifiers],
                "outcome": outcome,
                "purpose": self.purpose,
                "random": self.random,
                "receipts": list(self.receipts),
                "reference": self.reference,
                "snapshots": dict(self.snapshots),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> CheckRecord:
        """Read a record.

        Raises:
            EncodingError: not the record of a check, in any part; its text is in no sentence.

        """
        parts = _object(cbor_decode(data, limit=MAX_RECORD), _KEYS, "record of a check")
        outcome = _object(parts["outcome"], _OUTCOME_KEYS, "outcome")
        identifiers = tuple(map(_identifier, _list(parts["identifiers"], MAX_IDENTIFIERS)))
        categories = tuple(_named(category, check_category) for category in _list(parts["categories"], MAX_IDENTIFIERS))
        if not identifiers or list(categories) != sorted(set(categories)):
            raise EncodingError("The record of a check names no identifier, or categories that are not sorted.")
        word, complete = outcome["verdict"], outcome["complete"]
        if not isinstance(word, str) or word not in _WORDS or type(complete) is not bool:
            raise EncodingError("The outcome of a check is not a verdict.")
        record = cls(
            check=_uuid(parts["check"]),
            answered_at=parse_time(parts["answered_at"]),
            identifiers=identifiers,
            purpose=_purpose(parts["purpose"]),
            reference=_reference(parts["reference"]),
            categories=categories,
            asked=tuple(_read_asked(item, len(identifiers)) for item in _list(parts["asked"])),
            receipts=tuple(_bytes(item) for item in _list(parts["receipts"])),
            snapshots=_snapshots(parts["snapshots"]),
            word=cast("Word", word),
            complete=complete,
            hits=tuple(_hit(item, len(identifiers)) for item in _list(outcome["hits"])),
            owners=_owners(outcome["owners"]),
            random=_bytes(parts["random"]),
        )
        if record.to_bytes() != data:
            raise EncodingError("The record of a check does not print back to the same bytes.")
        return record


def _asked(part: Asked) -> dict[str, Any]:
    return {
        "batch": None if part.batch is None else part.batch.bytes,
        "blind": part.blind,
        "cached": part.cached,
        "epoch": part.epoch,
        "identifier": part.identifier,
        "owner": part.owner,
        "position": part.position,
    }


def _object(value: object, keys: frozenset[str], what: str) -> dict[str, Any]:
    if type(value) is not dict or value.keys() != keys:
        raise EncodingError(f"The {what} has not exactly the fields of one.")
    return value


def _list(value: object, most: int = MAX_PARTS) -> Sequence[Any]:
    if type(value) is not list or len(value) > most:
        raise EncodingError(f"A part of the record of a check is not a list of at most {most:,}.")
    return value


def _map(value: object) -> Mapping[str, Any]:
    if type(value) is not dict or len(value) > MAX_PARTS:
        raise EncodingError("A part of the record of a check is not a map by names.")
    return value


def _bytes(value: object, size: int = 32) -> bytes:
    if type(value) is not bytes or len(value) != size:
        raise EncodingError(f"A part of the record of a check is not {size} bytes.")
    return value


def _uuid(value: object) -> UUID:
    found = UUID(bytes=_bytes(value, 16))
    if found.version != 7:
        raise EncodingError("An id in the record of a check is not a UUIDv7.")
    return found


def _number(value: object, least: int, below: int) -> int:
    if type(value) is not int or not least <= value < below:
        raise EncodingError("A number in the record of a check is out of its range.")
    return value


def _named(value: object, check: Any) -> str:
    try:
        return str(check(value))
    except InputError as error:
        raise EncodingError(f"A name in the record of a check is refused: {error.message}") from error


def _identifier(value: object) -> Identifier:
    if type(value) is not str:
        raise EncodingError("An identifier in the record of a check is not text.")
    try:
        found = parse(value)
    except InputError as error:
        raise EncodingError("An identifier in the record of a check is not valid.") from error
    if found.canonical != value:
        raise EncodingError("An identifier in the record of a check is not in its canonical form.")
    return found


def _purpose(value: object) -> str:
    if type(value) is not str or not 0 < len(value) <= MAX_WORD or not value.isascii():
        raise EncodingError("The purpose in the record of a check is not a word.")
    return value


def _reference(value: object) -> str:
    if type(value) is not str or len(value.encode()) > MAX_REFERENCE:
        raise EncodingError(f"The reference in the record of a check is not text of at most {MAX_REFERENCE} bytes.")
    return value


def _read_asked(value: object, identifiers: int) -> Asked:
    parts = _object(value, _ASKED_KEYS, "element that was asked")
    batch, cached = parts["batch"], parts["cached"]
    if type(cached) is not bool:
        raise EncodingError("An element that was asked came from the cache or not: true or false.")
    if (batch is None) != (parts["position"] == -1) or (cached and batch is None):
        raise EncodingError("An element that was asked has a batch and a position in it, or neither.")
    return Asked(
        identifier=_number(parts["identifier"], 0, identifiers),
        owner=_named(parts["owner"], check_member_name),
        epoch=_bytes(parts["epoch"]),
        batch=None if batch is None else _uuid(batch),
        position=_number(parts["position"], -1, MAX_PARTS),
        blind=_bytes(parts["blind"]),
        cached=cached,
    )


def _snapshots(value: object) -> Mapping[str, bytes]:
    return {_named(name, check_list_name): _bytes(digest) for name, digest in _map(value).items()}


def _hit(value: object, identifiers: int) -> RecordedHit:
    if type(value) is not list or len(value) != 3 or type(value[2]) is not bytes:
        raise EncodingError("A hit in the record of a check is not an identifier, a list and a record.")
    return RecordedHit(
        _number(value[0], 0, identifiers), _named(value[1], check_list_name), Record.from_bytes(value[2])
    )


def _owners(value: object) -> Mapping[str, tuple[OwnerStatus, Mapping[str, int]]]:
    found: dict[str, tuple[OwnerStatus, Mapping[str, int]]] = {}
    for name, part in _map(value).items():
        if type(part) is not list or len(part) != 2 or type(part[0]) is not str or part[0] not in _STATUSES:
            raise EncodingError("An owner in the record of a check has no status that there is.")
        lists = {_named(each, check_list_name): _number(version, 0, 2**53) for each, version in _map(part[1]).items()}
        found[_named(name, check_member_name)] = (cast("OwnerStatus", part[0]), lists)
    return found
