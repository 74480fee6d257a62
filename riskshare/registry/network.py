"""One version of the registry: the network's members and rules (pure).

Look-ups by name and by TLS key take constant time; both indexes are made when the version is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from riskshare.encoding import format_time, parse_hex, parse_time
from riskshare.errors import EncodingError, InputError, RegistryError
from riskshare.keyterm import KeyTerm
from riskshare.names import check_category, read_network_name
from riskshare.registry import form
from riskshare.registry.member import Member
from riskshare.registry.signed import SignedFile, read_file
from riskshare.signature import PUBLIC_BYTES

KIND = "registry"
MAX_FILE = 16 * 1024 * 1024
MAX_MEMBERS = 1_000
MAX_GOVERNORS = 32
TERM = timedelta(days=90)
WARN_BEFORE = timedelta(days=28)
"""How long before its expiry a registry is called soon to expire."""

CATEGORIES = ("high_risk_account", "marketing_cheating", "telecom_fraud", "transaction_fraud")
MOST_DAYS = 3650
"""The longest term of an entry, where the registry names none for its category."""

PURPOSES = ("account_opening", "audit", "marketing", "payment", "portfolio", "withdrawal")

_KEYS = frozenset(
    {
        "categories",
        "currency",
        "expires_at",
        "governors",
        "issued_at",
        "members",
        "network",
        "previous",
        "purposes",
        "quorum",
        "version",
    }
)
_OPTIONAL = frozenset({"terms"})


@dataclass(frozen=True, slots=True)
class Governors:
    """Who signs registry versions: any `threshold` of `keys` (Ed25519, 32 bytes each, sorted)."""

    threshold: int
    keys: tuple[bytes, ...]

    def body(self) -> dict[str, Any]:
        """The JSON object."""
        return {"keys": [key.hex() for key in self.keys], "threshold": self.threshold}

    @classmethod
    def from_body(cls, value: object) -> Governors:
        """Read what `body` gives. Raises EncodingError."""
        parts = form.read_object(value, frozenset({"keys", "threshold"}), "The governors")
        keys = form.read_list(
            parts["keys"], lambda key: parse_hex(key, PUBLIC_BYTES), "The governors' keys", limit=MAX_GOVERNORS, least=1
        )
        form.check_sorted(keys, "The governors' keys")
        return cls(form.read_integer(parts["threshold"], "The governors' threshold", least=1, most=len(keys)), keys)


@dataclass(frozen=True, slots=True)
class Quorum:
    """How many other members must cosign a checkpoint: 1 + ⌊n · numerator / denominator⌋ of n."""

    numerator: int = 2
    denominator: int = 3

    def needed(self, others: int) -> int:
        """Cosignatures that make a checkpoint final, with `others` members besides its author."""
        return 1 + others * self.numerator // self.denominator

    def body(self) -> dict[str, Any]:
        """The JSON object."""
        return {"denominator": self.denominator, "numerator": self.numerator}

    @classmethod
    def from_body(cls, value: object) -> Quorum:
        """Read what `body` gives: at least one half, so that two quorums share a member. Raises EncodingError."""
        parts = form.read_object(value, frozenset({"denominator", "numerator"}), "The quorum")
        below = form.read_integer(parts["denominator"], "The quorum's denominator", least=1, most=100)
        above = form.read_integer(parts["numerator"], "The quorum's numerator", least=1, most=below)
        if not below <= 2 * above < 2 * below:
            raise EncodingError("The quorum is not a part from one half to less than one.")
        return cls(above, below)


@dataclass(frozen=True, slots=True)
class Registry:
    """One version of the registry.

    `digest` is the SHA-256 of its statement (32 bytes), `previous` that of the version before
    (None for version 1). `members` are by name, sorted. A registry made by `parse_registry` is well
    formed; that it is *signed* is what `riskshare.registry.chain` verifies. `terms` has the longest term of an entry,
    in days, of the categories that have one of their own.
    """

    network: str
    version: int
    previous: bytes | None = field(repr=False)
    issued_at: datetime
    expires_at: datetime
    governors: Governors = field(repr=False)
    quorum: Quorum
    categories: tuple[str, ...]
    purposes: tuple[str, ...]
    currency: str
    terms: Mapping[str, int]
    members: Mapping[str, Member] = field(repr=False)
    digest: bytes
    file: SignedFile = field(repr=False)
    _by_spki: Mapping[bytes, tuple[Member, KeyTerm]] = field(repr=False, compare=False)

    @classmethod
    def from_file(cls, data: bytes) -> Registry:
        """Read a registry file that signs itself: enough of its own governors signed it.

        That alone is no reason to believe it: use it only for a file that `verify_first` or
        `verify_next` accepted before.

        Raises:
            RegistryError: codes `registry_malformed`, `bad_signature`.

        """
        registry = parse_registry(data)
        check_signed(registry.file, registry.governors, "its own governors")
        return registry

    def to_file(self) -> bytes:
        """The bytes of `network.json`, also on the wire."""
        return self.file.to_bytes()

    def member(self, name: str) -> Member | None:
        """The member of that name."""
        return self.members.get(name)

    def member_by_spki(self, spki: bytes, at: datetime) -> Member | None:
        """The member whose TLS key, in force at `at`, has the SHA-256 `spki` of its SubjectPublicKeyInfo.

        Suspended members are found as well: look at `Member.in_good_standing`.
        """
        found = self._by_spki.get(spki)
        return found[0] if found is not None and found[1].may_sign(at, at) else None

    def most_days(self, category: str) -> int:
        """The longest term of an entry of that category, in days."""
        return self.terms.get(category, MOST_DAYS)

    def certificates(self, at: datetime) -> tuple[bytes, ...]:
        """TLS certificates (DER) in force at `at` of all members in good standing: a peer's only trust anchors."""
        return tuple(
            der for member in self.members.values() if member.in_good_standing for der in member.certificates(at)
        )

    def identity_keys(self, name: str) -> tuple[KeyTerm, ...]:
        """Identity keys that the member has or had, each with its term.

        Raises:
            RegistryError: code `unknown_member`.

        """
        member = self.members.get(name)
        if member is None:
            raise RegistryError(
                f"Version {self.version} of the registry has no such member. Fetch a newer one.", code="unknown_member"
            )
        return member.identity

    def with_role(self, role: str) -> tuple[Member, ...]:
        """Members in good standing with a role, sorted by name."""
        return tuple(member for member in self.members.values() if member.in_good_standing and role in member.roles)

    def others(self, name: str) -> tuple[Member, ...]:
        """Members in good standing besides `name`, sorted by name."""
        return tuple(member for member in self.members.values() if member.in_good_standing and member.name != name)

    def expired(self, now: datetime) -> bool:
        """Tell whether new exchanges must stop."""
        return now >= self.expires_at

    def check_ready(self, now: datetime) -> str | None:
        """A warning if this version expires within four weeks, else None.

        Raises:
            RegistryError: code `registry_expired`, it has expired: no new exchange is allowed.

        """
        left = self.expires_at - now
        if left <= timedelta(0):
            raise RegistryError(
                f"Version {self.version} of the registry expired at {format_time(self.expires_at)}."
                " No exchange is possible until the governors issue a new one.",
                code="registry_expired",
            )
        if left > WARN_BEFORE:
            return None
        return (
            f"Version {self.version} of the registry expires in {left.days} days, at {format_time(self.expires_at)}."
            " Ask the governors for a new one; without it all exchanges stop then."
        )

    def body(self) -> dict[str, Any]:
        """The JSON object of the statement (a fresh copy of the upper level)."""
        return dict(self.file.body)


def check_signed(file: SignedFile, governors: Governors, whose: str) -> None:
    """Refuse a file that fewer than `governors.threshold` of `governors.keys` signed.

    Raises:
        RegistryError: code `bad_signature`.

    """
    found = len(file.signers(governors.keys))
    if found < governors.threshold:
        raise unsigned(found, governors, whose)


def unsigned(found: int, governors: Governors, whose: str) -> RegistryError:
    """The refusal of a file with `found` valid signatures, fewer than needed; code `bad_signature`."""
    return RegistryError(
        f"The registry file has {found} valid signatures of {whose} and needs {governors.threshold}."
        " Ask the governors for the right file.",
        code="bad_signature",
    )


@contextmanager
def malformed() -> Iterator[None]:
    """Turn what the strict readers raise into RegistryError `registry_malformed`."""
    try:
        yield
    except InputError as error:
        raise RegistryError(f"The registry is malformed: {error.message}", code="registry_malformed") from error


def parse_registry(data: bytes) -> Registry:
    """Read a registry file strictly; no signature is verified.

    Raises:
        RegistryError: code `registry_malformed`.

    """
    with malformed():
        return registry_of(read_file(KIND, data, limit=MAX_FILE))


def registry_of(file: SignedFile) -> Registry:
    """Read the statement of a registry file.

    Raises:
        EncodingError, InputError: malformed.

    """
    body = form.read_object(file.body, _KEYS, "The statement", optional=_OPTIONAL)
    version = form.read_integer(body["version"], "The version", least=1)
    issued_at, expires_at = parse_time(body["issued_at"]), parse_time(body["expires_at"])
    if expires_at <= issued_at:
        raise EncodingError("It expires before it is issued.")
    if (body["previous"] is None) != (version == 1):
        raise EncodingError("Version 1, and no other, has no previous version.")
    governors = Governors.from_body(body["governors"])
    members = form.read_list(body["members"], Member.from_body, "The members", limit=MAX_MEMBERS)
    form.check_sorted([member.name for member in members], "The list of members")
    purposes = form.read_sorted(body["purposes"], form.read_slug, "The list of purposes", limit=100, least=1)
    for member in members:
        if not set(member.purposes) <= set(purposes):
            raise EncodingError(f"Member {member.name} may ask for a purpose that the network does not name.")
    check_unique(members, governors)
    categories = form.read_sorted(body["categories"], check_category, "The list of categories", limit=100, least=1)
    return Registry(
        network=read_network_name(body["network"]),
        version=version,
        previous=None if version == 1 else parse_hex(body["previous"], 32),
        issued_at=issued_at,
        expires_at=expires_at,
        governors=governors,
        quorum=Quorum.from_body(body["quorum"]),
        categories=categories,
        purposes=purposes,
        currency=form.read_currency(body["currency"]),
        terms=_terms(body["terms"], categories) if "terms" in body else MappingProxyType({}),
        members=MappingProxyType({member.name: member for member in members}),
        digest=file.digest,
        file=file,
        _by_spki=MappingProxyType({key.term.public: (member, key.term) for member in members for key in member.tls}),
    )


def _terms(value: object, categories: tuple[str, ...]) -> Mapping[str, int]:
    """The longest terms by category, in days; an object without any is left out instead."""
    if type(value) is not dict or not value:
        raise EncodingError("The terms are no object of categories and days.")
    if not value.keys() <= set(categories):
        raise EncodingError("The terms name a category that the network does not.")
    return MappingProxyType(
        {
            name: form.read_integer(days, "The term of a category", least=1, most=MOST_DAYS)
            for name, days in value.items()
        }
    )


def check_unique(members: Iterable[Member], governors: Governors) -> None:
    """Refuse a key that stands for two members or two uses, and a URL of two members in good standing.

    Raises:
        EncodingError: names the members.

    """
    keys = dict.fromkeys(governors.keys, "the governors")
    urls: dict[str, str] = {}
    for member in members:
        own: set[bytes] = set()
        for kind, public in member.every_key():
            holder = f"member {member.name} ({kind} key)"
            other = keys.setdefault(public, holder)
            if other != holder or public in own:
                raise EncodingError(f"One key serves {other} and {holder}; every use needs its own.")
            own.add(public)
        if member.in_good_standing and (other := urls.setdefault(member.url, member.name)) != member.name:
            raise EncodingError(f"Members {other} and {member.name} have one URL.")
