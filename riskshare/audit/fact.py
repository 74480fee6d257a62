"""What replay learns of a log, as rows: what reconcile, settle and open are made of (pure).

The rows stand in the case database (`store.case`) in the order of the fields here. Times are whole milliseconds since
1970 (UTC), digests 32 bytes, batches and ids of checks the 16 bytes of a UUID. Nothing in them is believed further than
replay verified it: `Exchange.faults` says what did not hold.

A receipt is read millions of times, so there are two ways to the same facts: regular expressions for what every peer
of ours writes, and the strict parsers for whatever they do not match. A test holds them against each other. What is
the same in ask after ask (two members, an epoch, a purpose, snapshots) is read once.
"""

from __future__ import annotations

import re
from binascii import unhexlify
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256 as hash_of
from itertools import pairwise
from typing import Final, NamedTuple

from riskshare.encoding import parse_time, sha256
from riskshare.errors import EncodingError
from riskshare.ledger.receipt import Receipt
from riskshare.query.message import MAX_SNAPSHOTS, MAX_STATEMENT_BYTES, Answer, Ask

MALFORMED: Final = 1
"""The statement of the row is no receipt: it, its ask or its answer cannot be read."""
OTHER_ASK: Final = 2
"""The answer names another ask than the one beside it."""
BAD_ASK_SIGNATURE: Final = 4
"""No key that the querier ever had made the signature of the ask."""
BAD_ANSWER_SIGNATURE: Final = 8
"""No key that the owner ever had made the signature of the answer."""
ASK_KEY_OUT_OF_TERM: Final = 16
"""The ask is signed by a key of the querier that was not in force then."""
ANSWER_KEY_OUT_OF_TERM: Final = 32
"""The answer is signed by a key of the owner that was not in force then."""
ASK_KEY_VOID: Final = 64
"""The key of the ask was compromised at its time: it holds, and convicts the querier of nothing."""
ANSWER_KEY_VOID: Final = 128
"""The key of the answer was compromised at its time: it holds, and convicts the owner of nothing."""
OTHER_NETWORK: Final = 256
"""The ask is one of another network."""
UNKNOWN_MEMBER: Final = 512
"""The registry names no such querier, or no such owner."""

UNSIGNED_ASK: Final = BAD_ASK_SIGNATURE | ASK_KEY_OUT_OF_TERM
UNSIGNED_ANSWER: Final = BAD_ANSWER_SIGNATURE | ANSWER_KEY_OUT_OF_TERM
BROKEN: Final = MALFORMED | OTHER_ASK | UNSIGNED_ASK | UNSIGNED_ANSWER | OTHER_NETWORK | UNKNOWN_MEMBER
"""An exchange with any of these convicts whoever logged it, and proves nothing of anybody else."""


class Exchange(NamedTuple):
    """A receipt, parsed: `id` its SHA-256, `ask` and `answer` those of the two JSONs.

    Of one that is `MALFORMED`, texts are empty, numbers 0 and other digests b"".
    """

    id: bytes
    querier: str
    owner: str
    batch: bytes
    ask: bytes
    answer: bytes
    epoch: bytes
    purpose: str
    count: int  # type: ignore[assignment] # the field's own word: nobody counts in a row
    registry: int
    asked_at: int
    answered_at: int
    faults: int


class LogRow(NamedTuple):
    """The part of a member's log that was audited.

    `start` ≤ index < `size` are the entries that are shown, `opened` and `closed` bound the period;
    `first_cosigned` and `last_cosigned` are the median times at which the checkpoints of `start` and of `size`
    entries were cosigned (None: there is none, or nothing is shown).
    """

    member: str
    size: int
    root: bytes
    start: int
    opened: int
    closed: int
    first_cosigned: int | None
    last_cosigned: int | None


class ReceiptRow(NamedTuple):
    """A receipt's entry in a member's log."""

    member: str
    idx: int
    id: bytes
    note: str


class SnapshotNamed(NamedTuple):
    """A snapshot that a querier named in an ask, with the id of one exchange in which it did."""

    querier: str
    owner: str
    list: str
    digest: bytes
    exchange: bytes


class UnansweredRow(NamedTuple):
    """An ask that got no answer; `ask` is the digest of its JSON."""

    member: str
    idx: int
    ask: bytes
    owner: str
    batch: bytes
    asked_at: int


class EpochRow(NamedTuple):
    """An epoch statement; `digest` is the epoch's name. One that ends an epoch early has the name of that epoch."""

    owner: str
    digest: bytes
    keyset: str
    number: int
    opened: int
    closed: int
    public_key: bytes
    idx: int
    member: str


class SnapshotRow(NamedTuple):
    """A snapshot statement; `previous` is b"" for the first of a list."""

    owner: str
    list: str
    epoch: bytes
    version: int
    digest: bytes
    previous: bytes
    issued_at: int
    idx: int
    member: str


class CheckRow(NamedTuple):
    """A check statement; `record` is the digest of the record's plaintext."""

    member: str
    idx: int
    id: bytes
    answered_at: int
    record: bytes


class RegistryRow(NamedTuple):
    """A registry version that the member took note of."""

    member: str
    idx: int
    version: int
    digest: bytes


class AuditRow(NamedTuple):
    """An audit request; `about` is the member asked."""

    member: str
    idx: int
    digest: bytes
    auditor: str
    action: str
    requested_at: int
    about: str


class SettlementRow(NamedTuple):
    """A settlement of two members, for a period."""

    member: str
    idx: int
    digest: bytes
    first: str
    second: str
    opened: int
    closed: int


class CheckpointRow(NamedTuple):
    """A final checkpoint of a member's log; `cosigned_at` is the median of its quorum's times."""

    member: str
    size: int
    cosigned_at: int


class ActivityRow(NamedTuple):
    """How much of a member's log is of one minute (`bucket` is its start) by the statements' own times."""

    member: str
    bucket: int
    receipts: int
    checks: int
    elements: int


class Flaw(NamedTuple):
    """Something that does not hold: in which step, which kind of finding it is, at which entry (-1: the whole log)."""

    member: str
    step: str
    kind: str
    idx: int
    sentence: str


MINUTE: Final = 60_000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def milliseconds(moment: datetime) -> int:
    """A time as the rows have it, rounded down."""
    return (moment - _EPOCH) // _MILLISECOND


def moment_of(value: int) -> datetime:
    """The time of a row."""
    return _EPOCH + value * _MILLISECOND


class Receipted(NamedTuple):
    """A receipt as it was read: its facts, the snapshots that it names, and both halves with their signatures."""

    exchange: Exchange
    network: str
    snapshots: tuple[tuple[str, bytes], ...]
    ask: bytes
    ask_signature: bytes
    answer: bytes
    answer_signature: bytes


_SAFE = rb"[1-9][0-9]{0,14}"
_HEX = rb"[0-9a-f]{64}"
_NAME = rb"[a-z0-9][a-z0-9-]{0,62}"
_AT = rb"([0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]):([0-5][0-9])\.([0-9]{3})Z"
_PAIR = rb'"' + _NAME + rb"/" + _NAME + rb'":"' + _HEX + rb'"'
_HEAD: Final = re.compile(
    rb'\x84\x59..\{"asked_at":"' + _AT + rb'","batch":"'
    rb'([0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})","count":(' + _SAFE + rb")"
    rb',"elements":"' + _HEX + rb'"',
    re.DOTALL,
)  # fmt: skip
"""How a receipt begins: with what is new in each ask."""
_TERMS: Final = re.compile(
    rb',"epoch":"(' + _HEX + rb')","network":"([a-z0-9.-]{1,63})"'
    rb',"owner":"(' + _NAME + rb')","proof":(?:true|false),"purpose":"([a-z0-9_]{1,63})"'
    rb',"querier":"(' + _NAME + rb')","registry":(' + _SAFE + rb')'
    rb',"snapshots":\{((?:' + _PAIR + rb"(?:," + _PAIR + rb")*)?)\}\}"
)  # fmt: skip
"""The rest of an ask."""
_REST: Final = re.compile(
    rb'\x58\x40.{64}\x58\xc1\{"answered_at":"' + _AT + rb'","ask":"(' + _HEX + rb')","elements":"' + _HEX + rb'"\}'
    rb"\x58\x40.{64}",
    re.DOTALL,
)  # fmt: skip
"""What follows the ask."""
_BYTES: Final = 2 + 64 + 2 + 193 + 2 + 64
"""How long that is: 193 bytes are the answer's JSON."""

_NAMED: Final = re.compile(rb'"([a-z0-9-]+)/([a-z0-9-]+)":"([0-9a-f]{64})"')


class _Terms(NamedTuple):
    """What is the same in many asks."""

    epoch: bytes
    network: str
    owner: str
    purpose: str
    querier: str
    registry: int
    snapshots: tuple[tuple[str, bytes], ...]


@lru_cache(maxsize=4096)
def _minute(text: bytes) -> int:
    """The start of a minute, in milliseconds. Raises EncodingError for a day that there is not."""
    return milliseconds(parse_time(text.decode() + ":00.000Z"))


def read_receipt(statement: bytes) -> Receipted:
    """Read the statement of a `receipt` row: the same as the strict parsers, in a fraction of their time.

    No signature is verified; of the faults, only `OTHER_ASK` is looked for.

    Raises:
        EncodingError: it is no receipt, or its ask or answer is malformed.

    """
    return _read_quickly(statement) or _read_strictly(statement)


class Glance(NamedTuple):
    """What is seen of a receipt at a glance, and not believed yet: whose it is, how much it is of, and when."""

    querier: str
    owner: str
    elements: int
    answered_at: int


def glance_at(statement: bytes) -> Glance | None:
    """Look at a receipt that is verified elsewhere; None if that is not enough to know it."""
    end = len(statement) - _BYTES
    head, rest = _HEAD.match(statement), _REST.match(statement, max(end, 0))
    if head is None or rest is None or end != 4 + int.from_bytes(statement[2:4], "big"):
        return None  # before `_terms`, which remembers what it is given: no more than 64 KiB
    terms = _terms(statement[head.end() : end])
    if terms is None:
        return None
    try:
        answered_at = _minute(rest[1]) + int(rest[2]) * 1000 + int(rest[3])
    except EncodingError:
        return None
    return Glance(terms.querier, terms.owner, int(head[5]), answered_at)


def facts_of_receipt(statement: bytes) -> Exchange:
    """The facts of a receipt; one that cannot be read has the fault `MALFORMED` and no others."""
    try:
        return read_receipt(statement).exchange
    except EncodingError:
        return Exchange(sha256(statement), "", "", b"", b"", b"", b"", "", 0, 0, 0, 0, MALFORMED)


def _read_quickly(statement: bytes) -> Receipted | None:
    """What the expressions find, or None where they may see less than the parsers do."""
    head = _HEAD.match(statement)
    if head is None:
        return None
    # CBOR's shortest form of a length of two bytes; an ask of ours has more than 400.
    length = int.from_bytes(statement[2:4], "big")
    end = 4 + length
    if not 256 <= length <= MAX_STATEMENT_BYTES or len(statement) != end + _BYTES:
        return None
    terms, rest = _terms(statement[head.end() : end]), _REST.fullmatch(statement, end)
    if terms is None or rest is None:
        return None
    asked, second, milli, batch, count = head.groups()
    answered, second2, milli2, answer_of = rest.groups()
    try:
        asked_at, answered_at = _minute(asked), _minute(answered)
    except EncodingError:
        return None
    ask, answer = statement[4:end], statement[end + 68 : end + 261]
    ask_digest = hash_of(ask).digest()
    exchange = Exchange(
        hash_of(statement).digest(),
        terms.querier,
        terms.owner,
        unhexlify(batch.replace(b"-", b"")),
        ask_digest,
        hash_of(answer).digest(),
        terms.epoch,
        terms.purpose,
        int(count),
        terms.registry,
        asked_at + int(second) * 1000 + int(milli),
        answered_at + int(second2) * 1000 + int(milli2),
        0 if unhexlify(answer_of) == ask_digest else OTHER_ASK,
    )
    signatures = statement[end + 2 : end + 66], statement[end + 263 :]
    return Receipted(exchange, terms.network, terms.snapshots, ask, signatures[0], answer, signatures[1])


@lru_cache(maxsize=256)
def _terms(text: bytes) -> _Terms | None:
    """The rest of an ask: the same in ask after ask. None where the parsers must look."""
    found = _TERMS.fullmatch(text)
    if found is None:
        return None
    epoch, network, owner, purpose, querier, registry, snapshots = found.groups()
    pairs = _NAMED.findall(snapshots)
    names = [name for _, name, _ in pairs]
    if len(pairs) > MAX_SNAPSHOTS or any(one != owner for one, _, _ in pairs):
        return None
    if any(after <= before for before, after in pairwise(names)):  # canonical JSON: sorted, each once
        return None
    named = tuple((f"{owner.decode()}/{name.decode()}", unhexlify(digest)) for _, name, digest in pairs)
    members = owner.decode(), purpose.decode(), querier.decode()
    return _Terms(unhexlify(epoch), network.decode(), *members, int(registry), named)


def _read_strictly(statement: bytes) -> Receipted:
    receipt = Receipt.from_bytes(statement)
    ask, answer = Ask.from_json(receipt.ask), Answer.from_json(receipt.answer)
    digest = sha256(receipt.ask)
    exchange = Exchange(
        sha256(statement),
        ask.querier,
        ask.owner,
        ask.batch.bytes,
        digest,
        sha256(receipt.answer),
        ask.epoch,
        ask.purpose,
        ask.count,
        ask.registry,
        milliseconds(ask.asked_at),
        milliseconds(answer.answered_at),
        0 if answer.ask == digest else OTHER_ASK,
    )
    snapshots = tuple(ask.snapshots.items())
    return Receipted(
        exchange, ask.network, snapshots, receipt.ask, receipt.ask_signature, receipt.answer, receipt.answer_signature
    )
