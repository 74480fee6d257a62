"""How two members come to sign one settlement, and compare their receipts if they do not: the messages (pure).

POST settlements            a `Proposal`: the statement with the signatures that there are. Answered with the same
                            statement and both signatures; or, if the other's own receipts give another statement,
                            with that one and none.
GET  settlements/receipts   a page of the receipts of one direction and period that the reader has to do with, in
                            the order of their ids (`ReceiptPage`)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final
from uuid import UUID

from riskshare.audit.settlement import KIND, MAX_BYTES, Settlement
from riskshare.encoding import cbor_decode, cbor_encode, format_time, parse_time
from riskshare.errors import EncodingError, InputError
from riskshare.query.message import MAX_ELEMENTS
from riskshare.signature import SIGNATURE_BYTES, SigningKey, verify
from riskshare.statement import signed_bytes

SETTLEMENTS: Final = "/peer/v1/settlements"
SETTLEMENT_RECEIPTS: Final = "/peer/v1/settlements/receipts"

MAX_PROPOSAL: Final = MAX_BYTES + 1024
"""Longest CBOR of a proposal."""

MAX_ROWS: Final = 10_000
"""Most receipts on one page."""

MAX_PAGE: Final = MAX_ROWS * 128
"""Longest CBOR of a page."""

_PARTS: Final = frozenset({"first", "second", "statement"})
_PAGE_PARTS: Final = frozenset({"last", "rows"})


@dataclass(frozen=True, slots=True)
class Proposal:
    """A settlement with the signatures that it has: 64 bytes, or b"" where one is missing.

    `first` is that of the first member by name. `json` are the exact bytes that are signed.
    """

    settlement: Settlement
    json: bytes = field(repr=False)
    first: bytes = field(default=b"", repr=False)
    second: bytes = field(default=b"", repr=False)

    @classmethod
    def of(cls, settlement: Settlement) -> Proposal:
        """One that nobody has signed."""
        return cls(settlement, settlement.to_json())

    @property
    def complete(self) -> bool:
        """Whether both signatures are there; nothing is said of whether they hold."""
        return bool(self.first and self.second)

    def signature_of(self, member: str) -> bytes:
        """The member's signature, or b"". Raises ValueError for who is neither."""
        self.settlement.with_other(member)
        return self.first if member == self.settlement.members[0] else self.second

    def with_signature(self, member: str, signature: bytes) -> Proposal:
        """The same with a member's signature. Raises ValueError for who is neither."""
        self.settlement.with_other(member)
        if member == self.settlement.members[0]:
            return Proposal(self.settlement, self.json, signature, self.second)
        return Proposal(self.settlement, self.json, self.first, signature)

    def signed(self, member: str, key: SigningKey) -> Proposal:
        """The same, signed by a member with its identity key."""
        return self.with_signature(member, key.sign(self.message))

    def is_signed(self, member: str, keys: Sequence[bytes]) -> bool:
        """Tell whether one of a member's keys (32 bytes each) made its signature."""
        signature = self.signature_of(member)
        return bool(signature) and any(verify(key, self.message, signature) for key in keys)

    @property
    def message(self) -> bytes:
        """What both signatures cover."""
        return signed_bytes(KIND, self.settlement.network, self.json)

    def to_bytes(self) -> bytes:
        """The CBOR map."""
        return cbor_encode({"first": self.first, "second": self.second, "statement": self.json})

    @classmethod
    def from_bytes(cls, data: bytes) -> Proposal:
        """Read a proposal; no signature is verified. Raises EncodingError for any other form."""
        parts: Any = cbor_decode(data, limit=MAX_PROPOSAL)
        if type(parts) is not dict or parts.keys() != _PARTS or {type(part) for part in parts.values()} != {bytes}:
            raise EncodingError("The body is not a settlement with two signatures.")
        if any(len(parts[name]) not in (0, SIGNATURE_BYTES) for name in ("first", "second")):
            raise EncodingError(f"A signature of a settlement is not {SIGNATURE_BYTES} bytes.")
        json = parts["statement"]
        return cls(Settlement.from_json(json), json, parts["first"], parts["second"])


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """What a settlement needs of a receipt.

    `id` is its id (32 bytes), `count` its elements, `registry` the version that its ask names, `answered_at` the time
    of its answer as it stands there.
    """

    id: bytes = field(repr=False)
    batch: UUID
    count: int
    registry: int
    answered_at: str


@dataclass(frozen=True, slots=True)
class ReceiptPage:
    """Receipts of one direction and period, in the order of their ids; `last` says that none follow."""

    rows: tuple[ReceiptRow, ...]
    last: bool

    def to_bytes(self) -> bytes:
        """The CBOR map."""
        rows = [[row.id, row.batch.bytes, row.count, row.registry, row.answered_at] for row in self.rows]
        return cbor_encode({"last": self.last, "rows": rows})

    @classmethod
    def from_bytes(cls, data: bytes, after: bytes) -> ReceiptPage:
        """Read the page that follows the id `after` (b"" for the first).

        Raises:
            EncodingError: any other form; ids that do not grow; an empty page that is not the last.

        """
        parts: Any = cbor_decode(data, limit=MAX_PAGE)
        if type(parts) is not dict or parts.keys() != _PAGE_PARTS or type(parts["last"]) is not bool:
            raise EncodingError("The body is not a page of the receipts of a settlement.")
        rows = parts["rows"]
        if type(rows) is not list or len(rows) > MAX_ROWS or not (rows or parts["last"]):
            raise EncodingError(f"A page of receipts has none, or more than {MAX_ROWS:,}.")
        page = cls(tuple(map(_row, rows)), parts["last"])
        if any(not before < following for before, following in pairwise([after, *(row.id for row in page.rows)])):
            raise EncodingError("The receipts on a page are not in the order of their ids.")
        return page


def _row(value: object) -> ReceiptRow:
    if type(value) is not list or [type(part) for part in value] != [bytes, bytes, int, int, str]:
        raise EncodingError("A receipt on a page has not the parts of one.")
    receipt, batch, count, registry, answered_at = value
    if len(receipt) != 32 or len(batch) != 16 or not 0 < count <= MAX_ELEMENTS or registry < 1:
        raise EncodingError("A receipt on a page has a part that is out of its range.")
    parse_time(answered_at)
    return ReceiptRow(receipt, UUID(bytes=batch), count, registry, answered_at)


@dataclass(frozen=True, slots=True)
class Disputed:
    """An exchange of which both sides do not keep the same receipt; None for who keeps none."""

    owner: str
    querier: str
    batch: UUID
    ours: ReceiptRow | None
    theirs: ReceiptRow | None


def pair(owner: str, querier: str, ours: Sequence[ReceiptRow], theirs: Sequence[ReceiptRow]) -> list[Disputed]:
    """Put together what only we and what only they keep: two receipts of one batch are one exchange."""
    by_batch = {row.batch: row for row in theirs}
    found = [Disputed(owner, querier, row.batch, row, by_batch.pop(row.batch, None)) for row in ours]
    found += [Disputed(owner, querier, row.batch, None, row) for row in by_batch.values()]
    return sorted(found, key=lambda one: one.batch)


def is_month(opened: datetime, closed: datetime) -> bool:
    """Tell whether a period is one month of the calendar, UTC. Two of these are the same, or have no part in common."""
    begins = opened == datetime(opened.year, opened.month, 1, tzinfo=UTC)
    return begins and closed == datetime(opened.year + opened.month // 12, opened.month % 12 + 1, 1, tzinfo=UTC)


def no_month() -> InputError:
    """The refusal of a period that is not a month, where only months are settled."""
    return InputError(
        "Only whole months (UTC) are settled here, so that no part of a month keeps the rest of it from being settled."
        " Give --from its first day and --to its last one, or agree on audit.settle = any in the configurations.",
        code="settlement_period",
    )


def overlaps(opened: datetime, closed: datetime) -> InputError:
    """The refusal of a period that has a part in common with one that is settled."""
    return InputError(
        f"The two members have settled {format_time(opened)} to {format_time(closed)} already, which is a part of this"
        " period or reaches into it. Settle what lies outside of it.",
        code="settlement_overlap",
    )
