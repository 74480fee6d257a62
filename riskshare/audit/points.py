"""Points: how useful each owner's lists were, disclosed so that no owner learns which query hit (pure).

Each querier counts, from its own sealed checks of a month (by the time of the verdict, UTC), the *distinct entries* of
each owner that were hits: an identifier on a list counts once, however often it was asked about. It signs the totals
per owner, in a file like a request to join, and gives them to the auditor alone.

The auditor discloses one total per owner for the whole network, and only under these `Rules`: at least so many
queriers had hits of that owner, the total reaches a threshold, and it is rounded down to a multiple. So a single hit
moves what an owner sees only where the total crosses a multiple, and never shows whose hit it was. A month is
disclosed once: two disclosures of one month with another set of reports would show the difference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from riskshare.encoding import canonical_json, parse_canonical_json, sha256
from riskshare.errors import EncodingError, InputError, TrustError
from riskshare.names import check_member_name, list_owner, read_network_name
from riskshare.query.check_record import CheckRecord
from riskshare.registry import Registry, form
from riskshare.registry.signed import read_file, sign_file
from riskshare.signature import SigningKey

KIND: Final = "points"
MAX_BYTES: Final = 256 * 1024
"""Longest file of a report or of a disclosure."""

_MONTH: Final = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])")
_REPORT_KEYS: Final = frozenset({"month", "network", "owners", "querier"})
_DISCLOSURE_KEYS: Final = frozenset({"month", "multiple", "network", "owners", "queriers", "threshold"})


@dataclass(frozen=True, slots=True)
class Rules:
    """When a total is disclosed: from so many queriers, from that threshold on, rounded down to a multiple."""

    multiple: int = 10
    threshold: int = 50
    queriers: int = 3


DEFAULT: Final = Rules()


@dataclass(frozen=True, slots=True)
class PointsReport:
    """One querier's totals of a month: owner to number of distinct entries that were hits, none of them zero.

    Raises:
        EncodingError: no such month; a total of its own lists, or of none.

    """

    network: str
    month: str
    querier: str
    owners: Mapping[str, int] = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse what no honest report says."""
        if _MONTH.fullmatch(self.month) is None:
            raise EncodingError("A month is written as 2026-11.")
        if self.querier in self.owners or any(count < 1 for count in self.owners.values()):
            raise EncodingError("A report of points counts a member's own lists, or nothing.")

    def body(self) -> dict[str, Any]:
        """The JSON object that is signed."""
        return {
            "month": self.month,
            "network": self.network,
            "owners": dict(self.owners),
            "querier": self.querier,
        }

    def to_file(self, key: SigningKey) -> bytes:
        """The report, signed with the querier's identity key."""
        return sign_file(KIND, self.network, self.body(), [key]).to_bytes()


@dataclass(frozen=True, slots=True)
class Disclosure:
    """What everybody may see of a month: totals per owner, and the rules under which they are given."""

    network: str
    month: str
    rules: Rules
    owners: Mapping[str, int]

    def to_json(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(
            {
                "month": self.month,
                "multiple": self.rules.multiple,
                "network": self.network,
                "owners": dict(self.owners),
                "queriers": self.rules.queriers,
                "threshold": self.rules.threshold,
            }
        )

    @classmethod
    def from_json(cls, data: bytes) -> Disclosure:
        """Read what `to_json` wrote. Raises EncodingError."""
        body = form.read_object(parse_canonical_json(data, limit=MAX_BYTES), _DISCLOSURE_KEYS, "A disclosure")
        numbers = [
            form.read_integer(body[name], f"The {name}", least=1) for name in ("multiple", "threshold", "queriers")
        ]
        if type(body["month"]) is not str or _MONTH.fullmatch(body["month"]) is None:
            raise EncodingError("A month is written as 2026-11.")
        return cls(read_network_name(body["network"]), body["month"], Rules(*numbers), _owners(body["owners"]))


def bounds(month: str) -> tuple[datetime, datetime]:
    """First moment of a month, and of the next. Raises InputError for what is no month."""
    if _MONTH.fullmatch(month) is None or month >= "9999-12":
        raise InputError("A month is written as 2026-11.")
    year, number = int(month[:4]), int(month[5:])
    if year < 1:
        raise InputError("A month is written as 2026-11.")
    following = (year + 1, 1) if number == 12 else (year, number + 1)
    return datetime(year, number, 1, tzinfo=UTC), datetime(*following, 1, tzinfo=UTC)


class Distinct:
    """Counts the distinct entries that were hits, by owner. Of each, 16 bytes of a hash are remembered."""

    def __init__(self, querier: str) -> None:
        self._querier = querier
        self._seen: dict[str, set[bytes]] = {}

    def add(self, record: CheckRecord) -> None:
        """Count the hits of one check; those on the querier's own lists do not count."""
        for hit in record.hits:
            owner = list_owner(hit.list)
            if owner != self._querier:
                identifier = record.identifiers[hit.identifier].oprf_input
                self._seen.setdefault(owner, set()).add(sha256(hit.list.encode() + b"\n" + identifier)[:16])

    def totals(self) -> dict[str, int]:
        """Distinct entries by owner."""
        return {owner: len(seen) for owner, seen in sorted(self._seen.items())}


def read_report(data: bytes, registry: Registry) -> PointsReport:
    """Read and verify a querier's report.

    Raises:
        EncodingError: not such a file.
        TrustError: code `bad_signature`, no identity key of the querier in this registry made the signature;
            `wrong_network`.

    """
    file = read_file(KIND, data, limit=MAX_BYTES)
    body = form.read_object(file.body, _REPORT_KEYS, "A report of points")
    try:
        report = PointsReport(
            read_network_name(body["network"]),
            body["month"] if isinstance(body["month"], str) else "",
            check_member_name(body["querier"]),
            _owners(body["owners"]),
        )
    except EncodingError:
        raise
    except InputError as error:
        raise EncodingError(f"A name in the report of points is refused: {error.message}") from error
    if report.network != registry.network:
        raise TrustError("The report of points is of another network.", code="wrong_network")
    member = registry.member(report.querier)
    keys = [] if member is None else [term.public for term in member.identity if term.compromised_from is None]
    if not file.signers(keys):
        raise TrustError("The report of points is not signed by an identity key of its querier.", code="bad_signature")
    return report


def _owners(value: object) -> dict[str, int]:
    if type(value) is not dict:
        raise EncodingError("The totals of points are not an object by owner.")
    try:
        return {
            check_member_name(owner): form.read_integer(count, "A total", least=1) for owner, count in value.items()
        }
    except EncodingError:
        raise
    except InputError as error:
        raise EncodingError(f"A name in the totals of points is refused: {error.message}") from error


def disclose(reports: Sequence[PointsReport], rules: Rules = DEFAULT) -> Disclosure:
    """The network's totals of a month, as far as they may be told. Nothing in it names a querier.

    Raises:
        InputError: there is no report; two of one querier, or of several months or networks.

    """
    if len({(report.network, report.month) for report in reports}) != 1:
        raise InputError("A disclosure is made of the reports of one network and one month.")
    if len({report.querier for report in reports}) < len(reports):
        raise InputError("Two reports are of one querier: ask it which one counts.")
    owners = sorted({owner for report in reports for owner in report.owners})
    found = {owner: _total((report.owners.get(owner, 0) for report in reports), rules) for owner in owners}
    first = reports[0]
    return Disclosure(first.network, first.month, rules, {owner: total for owner, total in found.items() if total})


def _total(counts: Iterable[int], rules: Rules) -> int:
    """One owner's total as it is disclosed; 0 for nothing."""
    hits = [count for count in counts if count]
    if len(hits) < rules.queriers or sum(hits) < rules.threshold:
        return 0
    return sum(hits) // rules.multiple * rules.multiple
