"""The `settlement` statement: what two members owe each other for the evaluations of a period (pure).

Both members make it from their own receipts alone and sign the same bytes. An exchange belongs to the period
`from` ≤ answered-at < `to`, by the time in the answer, which both have: so both put it into the same one. Its price is
the owner's in the newer of two versions of the registry: the one that the ask names, and the newest one issued when it
was answered. Neither side can choose it alone: the querier names no version that the owner does not take over first.

A price is a decimal of at most 9 places. Amounts are exact (`decimal`, with inexact results trapped), and rounded
once, at the end: `net` is the difference of what both owe, to the currency's minor unit (ISO 4217), half to even.

For each direction the statement names the Merkle root (RFC 6962 2.1) over the sorted ids of its receipts: equal roots
mean the same receipts. The digest of the statement goes on both ledgers.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, Inexact, InvalidOperation, Overflow
from typing import Any, Final

from riskshare.audit.currency import minor_digits
from riskshare.encoding import (
    MAX_SAFE_INTEGER,
    canonical_json,
    format_time,
    parse_canonical_json,
    parse_hex,
    parse_time,
)
from riskshare.encoding import sha256 as digest_of
from riskshare.errors import EncodingError, InputError, RegistryError
from riskshare.ledger.merkle import EMPTY_ROOT, leaf_hash, node_hash
from riskshare.names import check_member_name, read_network_name
from riskshare.registry import Registry, form

KIND: Final = "settlement"
MAX_BYTES: Final = 256 * 1024
"""Longest JSON of a settlement."""

MAX_LINES: Final = 1_000
"""Most versions of the registry in one direction of a settlement."""

_EXACT: Final = Context(prec=100, traps=[Inexact, InvalidOperation, Overflow])
"""Enough places for 2^53 evaluations at 9 digits before and behind the point; what would be inexact raises."""

_KEYS: Final = frozenset({"currency", "directions", "from", "members", "net", "network", "registry", "to"})
_DIRECTION_KEYS: Final = frozenset({"busiest", "evaluations", "lines", "owed", "owner", "querier", "receipts", "root"})
_LINE_KEYS: Final = frozenset({"amount", "evaluations", "price", "receipts", "registry"})
_BUSIEST_KEYS: Final = frozenset({"day", "evaluations", "per_day"})
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True)
class Version:
    """What one version of the registry says of one direction: the owner's price, the querier's quota for a day."""

    number: int
    issued_at: datetime
    price: str
    per_day: int


@dataclass(frozen=True, slots=True)
class Line:
    """The exchanges of one direction under one version of the registry."""

    registry: int
    price: str
    receipts: int
    evaluations: int

    @property
    def amount(self) -> Decimal:
        """Evaluations by price, exact."""
        return _EXACT.multiply(Decimal(self.price), Decimal(self.evaluations))

    def body(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "amount": plain(self.amount),
            "evaluations": self.evaluations,
            "price": self.price,
            "receipts": self.receipts,
            "registry": self.registry,
        }


@dataclass(frozen=True, slots=True)
class Busiest:
    """The day (UTC) on which most of a quota was used, the first of several: elements, and the quota of that day."""

    day: str
    evaluations: int
    per_day: int

    def body(self) -> dict[str, Any]:
        """The JSON object."""
        return {"day": self.day, "evaluations": self.evaluations, "per_day": self.per_day}


@dataclass(frozen=True, slots=True)
class Direction:
    """What `querier` owes `owner`: `root` is the Merkle root over the sorted ids of the receipts, 32 bytes."""

    owner: str
    querier: str
    lines: tuple[Line, ...]
    busiest: Busiest | None
    root: bytes = field(repr=False)

    @property
    def receipts(self) -> int:
        """How many exchanges there were."""
        return sum(line.receipts for line in self.lines)

    @property
    def evaluations(self) -> int:
        """How many elements were evaluated."""
        return sum(line.evaluations for line in self.lines)

    @property
    def owed(self) -> Decimal:
        """What the querier owes the owner, exact."""
        total = Decimal(0)
        for line in self.lines:
            total = _EXACT.add(total, line.amount)
        return total

    def body(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "busiest": None if self.busiest is None else self.busiest.body(),
            "evaluations": self.evaluations,
            "lines": [line.body() for line in self.lines],
            "owed": plain(self.owed),
            "owner": self.owner,
            "querier": self.querier,
            "receipts": self.receipts,
            "root": self.root.hex(),
        }


@dataclass(frozen=True, slots=True)
class Settlement:
    """The statement. `directions` are that of the first member (by name) as owner, then that of the second.

    `registry` is the newest version issued before the end of the period: who has an older one cannot agree.

    Raises:
        EncodingError: what no settlement can say; a number beyond 2^53 - 1.

    """

    network: str
    opened: datetime
    closed: datetime
    registry: int
    currency: str
    directions: tuple[Direction, Direction]

    def __post_init__(self) -> None:
        """Refuse what would not be one statement of two members."""
        one, other = self.directions
        if not one.owner < other.owner or (one.owner, one.querier) != (other.querier, other.owner):
            raise EncodingError("A settlement is not of two members, in the order of their names.")
        if not self.opened < self.closed:
            raise EncodingError("The period of a settlement ends before it begins.")

    @property
    def members(self) -> tuple[str, str]:
        """Both members, in the order of their names."""
        return self.directions[0].owner, self.directions[1].owner

    @property
    def net(self) -> tuple[str | None, str | None, Decimal]:
        """Who pays whom how much: the one rounding. Nobody pays anybody what rounds to nothing."""
        one, other = self.directions
        difference = _EXACT.subtract(one.owed, other.owed)  # what the second owes the first
        rounded = _EXACT.abs(difference).quantize(
            Decimal(1).scaleb(-minor_digits(self.currency)), rounding=ROUND_HALF_EVEN, context=Context(prec=100)
        )
        if not rounded:
            return None, None, rounded
        payer = one if difference > 0 else other
        return payer.querier, payer.owner, rounded

    def with_other(self, member: str) -> str:
        """The other one of the two. Raises ValueError if `member` is neither."""
        one, other = self.members
        if member not in (one, other):
            raise ValueError("the settlement is not of this member")
        return other if member == one else one

    def body(self) -> dict[str, Any]:
        """The JSON object that is signed."""
        payer, payee, amount = self.net
        return {
            "currency": self.currency,
            "directions": [direction.body() for direction in self.directions],
            "from": format_time(self.opened),
            "members": list(self.members),
            "net": {"amount": f"{amount:f}", "payee": payee, "payer": payer},
            "network": self.network,
            "registry": self.registry,
            "to": format_time(self.closed),
        }

    def to_json(self) -> bytes:
        """The canonical JSON that both members sign. Raises EncodingError: a number is beyond 2^53 - 1."""
        return canonical_json(self.body())

    @property
    def digest(self) -> bytes:
        """SHA-256 of the JSON, 32 bytes: the settlement's name."""
        return digest_of(self.to_json())

    @classmethod
    def from_json(cls, data: bytes) -> Settlement:
        """Read a settlement; every sum, amount and rounding in it is made again, and must be what stands there.

        Raises:
            EncodingError: not canonical, not the fields of a settlement, or a figure that is not the sum that it is.

        """
        body = form.read_object(parse_canonical_json(data, limit=MAX_BYTES), _KEYS, "A settlement")
        try:
            settlement = cls(
                network=read_network_name(body["network"]),
                opened=parse_time(body["from"]),
                closed=parse_time(body["to"]),
                registry=form.read_integer(body["registry"], "The registry of a settlement", least=1),
                currency=form.read_currency(body["currency"]),
                directions=_directions(body["directions"]),
            )
        except EncodingError:
            raise
        except InputError as error:
            raise EncodingError(f"A name in the settlement is refused: {error.message}") from error
        if settlement.to_json() != data:
            raise EncodingError("A figure of the settlement is not what its own lines give.")
        return settlement


def plain(amount: Decimal) -> str:
    """An exact amount as a text: no exponent, no zeros at the end, `0` for nothing."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _directions(value: object) -> tuple[Direction, Direction]:
    one, other = form.read_list(value, _direction, "The directions of a settlement", limit=2, least=2)
    return one, other


def _direction(value: object) -> Direction:
    parts = form.read_object(value, _DIRECTION_KEYS, "A direction of a settlement")
    lines = form.read_list(parts["lines"], _line, "The lines of a direction", limit=MAX_LINES)
    if [line.registry for line in lines] != sorted({line.registry for line in lines}):
        raise EncodingError("The lines of a settlement are not sorted by version of the registry, each once.")
    busiest = None if parts["busiest"] is None else _busiest(parts["busiest"])
    root = parse_hex(parts["root"], 32)
    if (busiest is None) != (not lines) or (root == EMPTY_ROOT) != (not lines):
        raise EncodingError("A settlement's direction has lines without receipts, or receipts without lines.")
    return Direction(check_member_name(parts["owner"]), check_member_name(parts["querier"]), lines, busiest, root)


def _line(value: object) -> Line:
    parts = form.read_object(value, _LINE_KEYS, "A line of a settlement")
    line = Line(
        registry=form.read_integer(parts["registry"], "The version of a line", least=1),
        price=form.read_price(parts["price"]),
        receipts=form.read_integer(parts["receipts"], "The receipts of a line", least=1),
        evaluations=form.read_integer(parts["evaluations"], "The evaluations of a line", least=1),
    )
    if line.evaluations < line.receipts:
        raise EncodingError("A line of a settlement has fewer evaluations than receipts.")
    return line


def _busiest(value: object) -> Busiest:
    parts = form.read_object(value, _BUSIEST_KEYS, "The busiest day of a settlement")
    day = parts["day"]
    if type(day) is not str or _DAY.fullmatch(day) is None:
        raise EncodingError("The busiest day of a settlement is no day.")
    parse_time(f"{day}T00:00:00.000Z")
    return Busiest(
        day,
        form.read_integer(parts["evaluations"], "The evaluations of a day", least=1),
        form.read_integer(parts["per_day"], "The quota of a day", least=0),
    )


def version_of(registry: Registry, owner: str, querier: str) -> Version | None:
    """What a version of the registry says of a direction; None if it does not name both members."""
    as_owner, as_querier = registry.member(owner), registry.member(querier)
    if as_owner is None or as_querier is None:
        return None
    return Version(registry.version, registry.issued_at, as_owner.price, as_querier.quota.per_day)


class Tally:
    """Counts the receipts of one direction, one after the other in the order of their ids; any number of them.

    `versions` are those of the registry that may have been in force, oldest first, without a gap.
    """

    def __init__(self, owner: str, querier: str, versions: Sequence[Version]) -> None:
        self._owner = owner
        self._querier = querier
        self._issued = [format_time(version.issued_at) for version in versions]
        self._versions: Mapping[int, Version] = {version.number: version for version in versions}
        self._numbers = [version.number for version in versions]
        self._counts: dict[int, list[int]] = {}
        self._days: dict[str, int] = {}
        self._quotas: dict[str, int] = {}
        self._root = Root()
        self._last = b""

    def add(self, receipt: bytes, count: int, registry: int, answered_at: str) -> None:
        """Count a receipt: its id (32 bytes), its elements, the version that its ask names, the time of its answer.

        Raises:
            EncodingError: the time is none.
            RegistryError: code `registry_gap`, no version of the registry gives its price.
            ValueError: the ids do not grow: a mistake in our own code.

        """
        if receipt <= self._last:
            raise ValueError("receipts are counted in the order of their ids, each once")
        self._last = receipt
        parse_time(answered_at)
        version = self._in_force(registry, answered_at)
        counts = self._counts.setdefault(version.number, [0, 0])
        counts[0] += 1
        counts[1] += count
        day = answered_at[:10]
        self._days[day] = self._days.get(day, 0) + count
        self._quotas[day] = min(self._quotas.get(day, MAX_SAFE_INTEGER), version.per_day)
        self._root.add(receipt)

    def direction(self) -> Direction:
        """What was counted."""
        lines = tuple(
            Line(number, self._versions[number].price, *self._counts[number]) for number in sorted(self._counts)
        )
        busiest = None
        if self._days:
            day = min(self._days, key=lambda day: (-self._days[day], day))
            busiest = Busiest(day, self._days[day], self._quotas[day])
        return Direction(self._owner, self._querier, lines, busiest, self._root.value())

    def _in_force(self, named: int, answered_at: str) -> Version:
        """The newer of the version named and the newest one issued by then. Times of this form sort as texts."""
        place = bisect_right(self._issued, answered_at)
        number = max(named, self._numbers[place - 1] if place else 0)
        version = self._versions.get(number)
        if version is None:
            raise RegistryError(
                f"Version {number} of the registry is not known here, or does not name both {self._owner} and"
                f" {self._querier}: it gives the price of an exchange. Put all versions beside the network file, in its"
                " folder registry/, and start the peer again.",
                code="registry_gap",
            )
        return version


class Root:
    """The Merkle root (RFC 6962 2.1) of leaves that come one by one: only the roots of complete subtrees are kept."""

    def __init__(self) -> None:
        self._count = 0
        self._stack: list[bytes] = []

    def add(self, leaf: bytes) -> None:
        """Add a leaf behind the others."""
        node, rest = leaf_hash(leaf), self._count
        while rest & 1:  # as many complete subtrees of growing height end here as the count has ones at its end
            node = node_hash(self._stack.pop(), node)
            rest >>= 1
        self._stack.append(node)
        self._count += 1

    def value(self) -> bytes:
        """The root of all that was added, 32 bytes."""
        if not self._stack:
            return EMPTY_ROOT
        node = self._stack[-1]
        for left in reversed(self._stack[:-1]):
            node = node_hash(left, node)
        return node
