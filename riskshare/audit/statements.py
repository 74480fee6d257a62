"""The statements of a log, but for receipts: well-formed, of their author, and signed by keys in force (pure).

| kind | author, and who signs |
|---|---|
| `epoch`, `snapshot` | the member as owner |
| `check`, `unanswered` | the member as querier |
| `audit` | the auditor; the member is that, or the one asked |
| `settlement` | both members, of whom this is one |
| `registry` | the governors: see `registries` |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from riskshare.audit.access import KIND as AUDIT
from riskshare.audit.access import AccessRequest
from riskshare.audit.fact import (
    AuditRow,
    CheckRow,
    EpochRow,
    SettlementRow,
    SnapshotRow,
    UnansweredRow,
    milliseconds,
)
from riskshare.audit.keyring import OUT_OF_TERM, UNSIGNED, Keyring
from riskshare.encoding import parse_canonical_json, parse_hex, parse_time, sha256
from riskshare.errors import EncodingError, InputError, SnapshotError
from riskshare.names import check_member_name
from riskshare.query.message import Ask, parse_batch
from riskshare.sharing import epoch, snapshot
from riskshare.sharing.epoch import EpochStatement
from riskshare.sharing.snapshot import SnapshotStatement
from riskshare.signature import SIGNATURE_BYTES
from riskshare.statement import Statement, signed_bytes

MAX_BYTES: Final = 1 << 20
"""Longest JSON of a statement that has no bound of its own."""

_CHECK_KEYS: Final = frozenset({"answered_at", "check", "querier", "record"})


class Refused(Exception):  # noqa: N818 - what happened to the row; it never leaves replay
    """A row that does not hold: the kind of finding that it is, and what is said of the statement."""

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind
        self.sentence = sentence


class Shown(NamedTuple):
    """A row of a log as a member shows it: whose log, and the fields of `page.StatementRow`."""

    member: str
    index: int  # type: ignore[assignment] # the word of the page: nobody looks for a field in a row
    kind: str
    statement: bytes
    signature: bytes


class Read(NamedTuple):
    """A statement that holds: the table of its fact, the fact, and its own time if it has one (milliseconds)."""

    table: str
    row: tuple[Any, ...]
    at: int | None


def read_statement(shown: Shown, ring: Keyring) -> Read:
    """Verify a statement of any kind but `receipt` and `registry`.

    1. It is well-formed.
    2. It is a statement of the member in whose log it stands.
    3. An identity key in force at its time signed it; for an epoch, which does not tell it, any key of the member.

    Raises:
        Refused: `wrong_statement` in 1 and 2, `unsigned` in 3.

    """
    try:
        return _READERS[shown.kind](shown, ring)
    except (InputError, SnapshotError) as error:
        raise Refused("wrong_statement", f"it is no {shown.kind} statement: {error.message}") from error


def _signed(shown: Shown, ring: Keyring, kind: str, author: str, at: int | None) -> None:
    """Step 3."""
    message = signed_bytes(kind, ring.network, shown.statement)
    found = ring.judge(author, message, shown.signature, at)
    if found == UNSIGNED:
        raise Refused("unsigned", f"it is not signed by {author}")
    if found == OUT_OF_TERM:
        raise Refused("unsigned", f"it is signed by a key of {author} that was not in force")


def _of(shown: Shown, *authors: str) -> None:
    """Step 2."""
    if shown.member not in authors:
        raise Refused("wrong_statement", f"it is a statement of {' and '.join(authors)}")


def _parsed(shown: Shown, ring: Keyring, limit: int) -> Statement:
    body = parse_canonical_json(shown.statement, limit=limit)
    return Statement(shown.kind, ring.network, shown.statement, shown.signature, body)


def _epoch(shown: Shown, ring: Keyring) -> Read:
    made = EpochStatement.from_statement(_parsed(shown, ring, epoch.MAX_BYTES))
    _of(shown, made.owner)
    _signed(shown, ring, epoch.KIND, made.owner, None)
    opened, closed = milliseconds(made.not_before), milliseconds(made.until)
    row = EpochRow(
        made.owner, made.digest, made.keyset, made.number, opened, closed, made.public_key, shown.index, shown.member
    )
    return Read("epoch", row, None)


def _snapshot(shown: Shown, ring: Keyring) -> Read:
    made = SnapshotStatement.from_statement(_parsed(shown, ring, snapshot.MAX_BYTES))
    issued_at = milliseconds(made.issued_at)
    _of(shown, made.owner)
    _signed(shown, ring, snapshot.KIND, made.owner, issued_at)
    row = SnapshotRow(
        made.owner,
        made.list_name,
        made.epoch,
        made.version,
        sha256(shown.statement),
        made.previous or b"",
        issued_at,
        shown.index,
        shown.member,
    )
    return Read("snapshot", row, issued_at)


def _check(shown: Shown, ring: Keyring) -> Read:
    body = parse_canonical_json(shown.statement, limit=MAX_BYTES)
    if body.keys() != _CHECK_KEYS:
        raise EncodingError("It has not exactly the fields of one.")
    answered_at = milliseconds(parse_time(body["answered_at"]))
    _of(shown, check_member_name(body["querier"]))
    _signed(shown, ring, "check", shown.member, answered_at)
    row = CheckRow(
        shown.member, shown.index, parse_batch(body["check"]).bytes, answered_at, parse_hex(body["record"], 32)
    )
    return Read("check_", row, answered_at)


def _unanswered(shown: Shown, ring: Keyring) -> Read:
    ask = Ask.from_json(shown.statement)
    asked_at = milliseconds(ask.asked_at)
    _of(shown, ask.querier)
    if ask.network != ring.network:
        raise Refused("wrong_statement", "its ask is one of another network")
    _signed(shown, ring, "ask", ask.querier, asked_at)
    row = UnansweredRow(shown.member, shown.index, sha256(shown.statement), ask.owner, ask.batch.bytes, asked_at)
    # Logged only when it is known that no answer comes: its own time says nothing of the log's.
    return Read("unanswered", row, None)


def _audit(shown: Shown, ring: Keyring) -> Read:
    request = AccessRequest.from_json(shown.statement)
    requested_at = milliseconds(request.requested_at)
    _of(shown, request.auditor, request.member)
    _signed(shown, ring, AUDIT, request.auditor, requested_at)
    row = AuditRow(
        shown.member,
        shown.index,
        sha256(shown.statement),
        request.auditor,
        request.action,
        requested_at,
        request.member,
    )
    return Read("audit", row, requested_at)


def _settlement(shown: Shown, ring: Keyring) -> Read:
    """What it says of receipts is looked into where all of them are known."""
    body = parse_canonical_json(shown.statement, limit=MAX_BYTES)
    first, second, opened, closed = _settled(body)
    _of(shown, first, second)
    if len(shown.signature) != 2 * SIGNATURE_BYTES:
        raise Refused("unsigned", "it does not have the signatures of two members")
    for place, author in enumerate((first, second)):
        part = shown.signature[place * SIGNATURE_BYTES : (place + 1) * SIGNATURE_BYTES]
        _signed(shown._replace(signature=part), ring, "settlement", author, None)
    row = SettlementRow(shown.member, shown.index, sha256(shown.statement), first, second, opened, closed)
    return Read("settlement", row, None)


def _settled(body: Mapping[str, Any]) -> tuple[str, str, int, int]:
    """The two members, in the order of their names, and the period."""
    members = body.get("members")
    if (
        type(members) is not list
        or len(members) != 2
        or not check_member_name(members[0]) < check_member_name(members[1])
    ):
        raise EncodingError("It does not name two members, sorted.")
    return members[0], members[1], milliseconds(parse_time(body.get("from"))), milliseconds(parse_time(body.get("to")))


_READERS: Final[Mapping[str, Callable[[Shown, Keyring], Read]]] = {
    "audit": _audit,
    "check": _check,
    "epoch": _epoch,
    "settlement": _settlement,
    "snapshot": _snapshot,
    "unanswered": _unanswered,
}
