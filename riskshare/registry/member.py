"""A member as the registry names it: who it is, where, with which keys, and what it may do (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from riskshare.certificate import MAX_BYTES as MAX_CERTIFICATE
from riskshare.certificate import Certificate, read_certificate
from riskshare.encoding import base64_text, format_time, parse_base64, parse_hex, parse_time
from riskshare.errors import EncodingError
from riskshare.keyterm import KeyTerm
from riskshare.names import check_member_name
from riskshare.registry import form
from riskshare.signature import PUBLIC_BYTES

Standing = Literal["good", "suspended"]

ROLES = frozenset({"owner", "querier", "auditor"})

MAX_AUDITED = 1_000
"""Most members that an auditor's rights name."""

MAX_KEYS = 100
"""Most keys of one kind that a member has had in its life."""

_MEMBER_KEYS = frozenset(
    {
        "identity",
        "joined_at",
        "kind",
        "ledger",
        "name",
        "price",
        "purposes",
        "quota",
        "requested_at",
        "roles",
        "standing",
        "title",
        "tls",
        "url",
        "witness",
    }
)
_OPTIONAL_KEYS = frozenset({"audit"})
_AUDIT_KEYS = frozenset({"members", "open_per_day"})
_AUDIT_OPTIONAL = frozenset({"read_days"})
_TERM_KEYS = frozenset({"compromised_from", "from", "until"})
_QUOTA_KEYS = frozenset({"per_day", "per_epoch", "per_second"})


@dataclass(frozen=True, slots=True)
class Quota:
    """How many elements a member may ask of one owner: per second, per day, per epoch (None: no bound)."""

    per_second: int = 2_000
    per_day: int = 20_000_000
    per_epoch: int | None = None

    def body(self) -> dict[str, Any]:
        """The JSON object."""
        return {"per_day": self.per_day, "per_epoch": self.per_epoch, "per_second": self.per_second}

    @classmethod
    def from_body(cls, value: object) -> Quota:
        """Read what `body` gives. Raises EncodingError."""
        parts = form.read_object(value, _QUOTA_KEYS, "A quota")
        epoch = parts["per_epoch"]
        return cls(
            form.read_integer(parts["per_second"], "A quota per second", least=0),
            form.read_integer(parts["per_day"], "A quota per day", least=0),
            None if epoch is None else form.read_integer(epoch, "A quota per epoch", least=0),
        )


@dataclass(frozen=True, slots=True)
class AuditRights:
    """What an auditor may see: the logs of `members` (sorted names; None: of all), with salts and statements.

    `open_per_day` is how many sealed checks it may have opened at each of them on one day (UTC); `read_days` how many
    days before its request the period may begin of which it reads a log (None: no bound).
    """

    members: tuple[str, ...] | None = None
    open_per_day: int = 1_000
    read_days: int | None = None

    def over(self, member: str) -> bool:
        """Tell whether they extend to a member."""
        return self.members is None or member in self.members

    def body(self) -> dict[str, Any]:
        """The JSON object. The key `read_days` is only there for who has such a bound: older files have none of it."""
        bound = {} if self.read_days is None else {"read_days": self.read_days}
        names = None if self.members is None else list(self.members)
        return {"members": names, "open_per_day": self.open_per_day, **bound}

    @classmethod
    def from_body(cls, value: object) -> AuditRights:
        """Read what `body` gives. Raises EncodingError, InputError."""
        parts = form.read_object(value, _AUDIT_KEYS, "An auditor's rights", optional=_AUDIT_OPTIONAL)
        names, most = parts["members"], parts["open_per_day"]
        return cls(
            None
            if names is None
            else form.read_sorted(names, check_member_name, "The list of members to audit", limit=MAX_AUDITED),
            form.read_integer(most, "The number of checks that an auditor may have opened a day", least=0),
            form.read_integer(parts["read_days"], "The number of days that an auditor may read back", least=1)
            if "read_days" in parts
            else None,
        )


@dataclass(frozen=True, slots=True)
class TlsKey:
    """A peer's certificate and the term of its key; `term.public` is the SPKI's SHA-256, 32 bytes."""

    certificate: Certificate
    term: KeyTerm

    def in_force(self, at: datetime) -> bool:
        """Tell whether a connection at `at` may use it."""
        return self.term.may_sign(at, at)


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the network.

    `name` is its short name, `title` its human one, `kind` a word such as `bank`; `url` is where
    its peer listens for others. `identity`, `ledger` and `witness` are Ed25519 keys, `tls` its
    certificates; each with its term, old ones kept, oldest first. `quota` is what it may ask as
    querier, `price` what one evaluation by it as owner costs, `purposes` those that it may ask for. `audit` is what an
    auditor may see; None: nothing.
    """

    name: str
    title: str
    kind: str
    roles: frozenset[str]
    url: str
    standing: Standing
    identity: tuple[KeyTerm, ...] = field(repr=False)
    tls: tuple[TlsKey, ...] = field(repr=False)
    ledger: tuple[KeyTerm, ...] = field(repr=False)
    witness: tuple[KeyTerm, ...] = field(repr=False)
    quota: Quota
    price: str
    purposes: tuple[str, ...]
    joined_at: datetime
    requested_at: datetime
    audit: AuditRights | None = None

    @property
    def in_good_standing(self) -> bool:
        """Whether others exchange with it."""
        return self.standing == "good"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of its URL."""
        return form.parse_peer_url(self.url)

    def has_role(self, role: str) -> bool:
        """Tell whether it is an `owner`, `querier` or `auditor`."""
        return role in self.roles

    def identity_in_force(self, at: datetime) -> tuple[KeyTerm, ...]:
        """Its identity keys that may sign at `at`."""
        return tuple(key for key in self.identity if key.may_sign(at, at))

    def certificates(self, at: datetime) -> tuple[bytes, ...]:
        """Its TLS certificates (DER) in force at `at`: the trust anchors for connections to and from it."""
        return tuple(key.certificate.der for key in self.tls if key.in_force(at))

    def every_key(self) -> Iterable[tuple[str, bytes]]:
        """Every key that it has or had: kind and public bytes (of a TLS key, the SPKI's digest)."""
        for kind, terms in (("identity", self.identity), ("ledger", self.ledger), ("witness", self.witness)):
            for term in terms:
                yield kind, term.public
        for key in self.tls:
            yield "TLS", key.term.public

    def body(self) -> dict[str, Any]:
        """The JSON object. The key `audit` is only there for who has such rights: older files have none of it."""
        rights = {} if self.audit is None else {"audit": self.audit.body()}
        return {
            **rights,
            "identity": [_term_body(key) for key in self.identity],
            "joined_at": format_time(self.joined_at),
            "kind": self.kind,
            "ledger": [_term_body(key) for key in self.ledger],
            "name": self.name,
            "price": self.price,
            "purposes": list(self.purposes),
            "quota": self.quota.body(),
            "requested_at": format_time(self.requested_at),
            "roles": sorted(self.roles),
            "standing": self.standing,
            "title": self.title,
            "tls": [{"certificate": base64_text(key.certificate.der), **_times_body(key.term)} for key in self.tls],
            "url": self.url,
            "witness": [_term_body(key) for key in self.witness],
        }

    @classmethod
    def from_body(cls, value: object) -> Member:
        """Read what `body` gives.

        Raises:
            EncodingError, InputError: any part is malformed.

        """
        parts = form.read_object(value, _MEMBER_KEYS, "A member", optional=_OPTIONAL_KEYS)
        roles, rights = read_roles(parts["roles"]), parts.get("audit")
        if rights is not None and "auditor" not in roles:
            raise EncodingError("A member that is no auditor has the rights of one.")
        standing = parts["standing"]
        if standing not in ("good", "suspended"):
            raise EncodingError("A member's standing is neither good nor suspended.")
        return cls(
            name=check_member_name(parts["name"]),
            title=form.read_title(parts["title"]),
            kind=form.read_slug(parts["kind"]),
            roles=roles,
            url=form.read_peer_url(parts["url"]),
            standing=standing,
            identity=_read_terms(parts["identity"], "A member's identity keys"),
            tls=form.read_list(parts["tls"], _read_tls, "A member's TLS keys", limit=MAX_KEYS, least=1),
            ledger=_read_terms(parts["ledger"], "A member's ledger keys"),
            witness=_read_terms(parts["witness"], "A member's witness keys"),
            quota=Quota.from_body(parts["quota"]),
            price=form.read_price(parts["price"]),
            purposes=form.read_sorted(parts["purposes"], form.read_slug, "A member's purposes", limit=100),
            joined_at=parse_time(parts["joined_at"]),
            requested_at=parse_time(parts["requested_at"]),
            audit=None if rights is None else AuditRights.from_body(rights),
        )


def read_roles(value: object) -> frozenset[str]:
    """A sorted, non-empty list of roles. Raises EncodingError."""
    roles = frozenset(form.read_sorted(value, form.read_slug, "A member's roles", limit=len(ROLES), least=1))
    if not roles <= ROLES:
        raise EncodingError("A member's role is none of owner, querier, auditor.")
    return roles


def _times_body(term: KeyTerm) -> dict[str, Any]:
    return {
        "compromised_from": None if term.compromised_from is None else format_time(term.compromised_from),
        "from": format_time(term.valid_from),
        "until": None if term.valid_until is None else format_time(term.valid_until),
    }


def _term_body(term: KeyTerm) -> dict[str, Any]:
    return {"key": term.public.hex(), **_times_body(term)}


def _read_term(public: bytes, parts: dict[str, Any]) -> KeyTerm:
    try:
        return KeyTerm(
            public,
            parse_time(parts["from"]),
            form.read_optional_time(parts["until"]),
            form.read_optional_time(parts["compromised_from"]),
        )
    except EncodingError:
        raise
    except ValueError as error:
        raise EncodingError("A key's term ends before it begins.") from error


def _read_key(value: object) -> KeyTerm:
    parts = form.read_object(value, _TERM_KEYS | {"key"}, "A key")
    return _read_term(parse_hex(parts["key"], PUBLIC_BYTES), parts)


def _read_terms(value: object, what: str) -> tuple[KeyTerm, ...]:
    return form.read_list(value, _read_key, what, limit=MAX_KEYS, least=1)


def _read_tls(value: object) -> TlsKey:
    parts = form.read_object(value, _TERM_KEYS | {"certificate"}, "A TLS key")
    certificate = read_certificate(parse_base64(parts["certificate"], limit=MAX_CERTIFICATE))
    return TlsKey(certificate, _read_term(certificate.spki, parts))
