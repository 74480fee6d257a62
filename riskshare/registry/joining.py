"""Joining a network, and changing what it says about oneself: the request and its rules (pure).

A request is a `join` statement in a file, signed by every Ed25519 key that it names, so
that nobody registers the key of another. Who is a member already changes its own entry
the same way, if an identity key of it that is in force signs too; that is also how keys rotate: the
new key stands in the request, the old one signs it, and ends a day later.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from riskshare.certificate import MAX_BYTES as MAX_CERTIFICATE
from riskshare.certificate import Certificate, read_certificate
from riskshare.encoding import base64_text, format_time, parse_base64, parse_hex, parse_time
from riskshare.errors import EncodingError, InputError, RegistryError
from riskshare.keyterm import KeyTerm
from riskshare.names import check_member_name, read_network_name
from riskshare.registry import form
from riskshare.registry.member import AuditRights, Member, Quota, TlsKey, read_roles
from riskshare.registry.network import Registry, check_unique
from riskshare.registry.signed import SignedFile, read_file, sign_file
from riskshare.signature import PUBLIC_BYTES, SigningKey

KIND = "join"
MAX_FILE = 64 * 1024
TERM = timedelta(days=30)
OVERLAP = timedelta(days=1)
"""How long a replaced key still counts, so that no exchange breaks while the new version spreads."""
CLOCK = timedelta(minutes=5)
"""How far a requester's clock may be ahead."""

_BROUGHT_BACK = "brings back a key that was replaced or marked compromised; make new keys"
_KEYS = frozenset(
    {
        "expires_at",
        "identity",
        "issued_at",
        "kind",
        "ledger",
        "member",
        "network",
        "price",
        "roles",
        "title",
        "tls",
        "url",
        "witness",
    }
)


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """What a member asks the governors to write into the registry.

    `identity`, `ledger` and `witness` are Ed25519 public keys, `tls` the peer's certificate. All
    three signatures are verified; `file` keeps them and any further ones.
    """

    network: str
    member: str
    title: str
    kind: str
    roles: frozenset[str]
    url: str
    price: str
    identity: bytes = field(repr=False)
    ledger: bytes = field(repr=False)
    witness: bytes = field(repr=False)
    tls: Certificate = field(repr=False)
    issued_at: datetime
    expires_at: datetime
    file: SignedFile = field(repr=False)


def sign_request(
    network: str,
    member: str,
    *,
    url: str,
    identity: SigningKey,
    ledger: SigningKey,
    witness: SigningKey,
    certificate: bytes,
    now: datetime,
    title: str = "",
    kind: str = "bank",
    roles: Iterable[str] = ("owner", "querier"),
    price: str = "0",
    term: timedelta = TERM,
    also: Iterable[SigningKey] = (),
) -> bytes:
    """Make a request with the TLS `certificate` (DER); returns the file's bytes.

    `also` signs as well: the identity key in force, when the request brings a new one.

    Raises:
        RegistryError: code `join_refused`, a value is malformed.

    """
    body = {
        "expires_at": format_time(now + term),
        "identity": identity.public.hex(),
        "issued_at": format_time(now),
        "kind": kind,
        "ledger": ledger.public.hex(),
        "member": member,
        "network": network,
        "price": price,
        "roles": sorted(roles),
        "title": title or member,
        "tls": base64_text(certificate),
        "url": url,
        "witness": witness.public.hex(),
    }
    data = sign_file(KIND, network, body, [identity, ledger, witness, *also]).to_bytes()
    read_request(data)
    return data


def read_request(data: bytes) -> JoinRequest:
    """Read a request and verify that each key that it names signed it.

    Raises:
        RegistryError: codes `join_refused` (malformed) and `bad_signature`.

    """
    try:
        file = read_file(KIND, data, limit=MAX_FILE)
        request = _request_of(file)
    except InputError as error:
        raise RegistryError(f"The request to join is malformed: {error.message}", code="join_refused") from error
    keys = frozenset({request.identity, request.ledger, request.witness})
    if len(keys) != 3 or file.signers(keys) != keys:
        raise RegistryError(
            f"The request of {request.member} is not signed by each of its three keys (identity, ledger, witness)."
            " Let the member make it again with riskshare init.",
            code="bad_signature",
        )
    return request


def _request_of(file: SignedFile) -> JoinRequest:
    body: dict[str, Any] = form.read_object(file.body, _KEYS, "The statement")
    certificate = read_certificate(parse_base64(body["tls"], limit=MAX_CERTIFICATE))
    url = form.read_peer_url(body["url"])
    if form.parse_peer_url(url)[0] not in certificate.hosts:
        raise EncodingError("The TLS certificate is not for the host of the URL.")
    return JoinRequest(
        network=read_network_name(body["network"]),
        member=check_member_name(body["member"]),
        title=form.read_title(body["title"]),
        kind=form.read_slug(body["kind"]),
        roles=read_roles(body["roles"]),
        url=url,
        price=form.read_price(body["price"]),
        identity=parse_hex(body["identity"], PUBLIC_BYTES),
        ledger=parse_hex(body["ledger"], PUBLIC_BYTES),
        witness=parse_hex(body["witness"], PUBLIC_BYTES),
        tls=certificate,
        issued_at=parse_time(body["issued_at"]),
        expires_at=parse_time(body["expires_at"]),
        file=file,
    )


def admit_members(
    registry: Registry, requests: Iterable[JoinRequest], *, now: datetime, quota: Quota | None = None
) -> dict[str, Member]:
    """The members that the requests make or change, by name, to go into the version after `registry`.

    `quota` is that of new members (default: the network's); who is a member already keeps its own.

    Raises:
        RegistryError: code `join_refused`; codes of `read_request` do not occur.

    """
    made: dict[str, Member] = {}
    for request in requests:
        _check_request(registry, request, now)
        if request.member in made:
            raise _refused(request, "asks twice in one go; admit one request after the other")
        old = registry.members.get(request.member)
        made[request.member] = (
            _new_member(registry, request, now, quota or Quota()) if old is None else _changed(old, request, now)
        )
    after = dict(registry.members) | made
    try:
        check_unique(after.values(), registry.governors)
    except EncodingError as error:
        raise RegistryError(f"The requests cannot be admitted: {error.message}", code="join_refused") from error
    return made


def _refused(request: JoinRequest, reason: str) -> RegistryError:
    return RegistryError(f"The request of {request.member} {reason}.", code="join_refused")


def _check_request(registry: Registry, request: JoinRequest, now: datetime) -> None:
    if request.network != registry.network:
        raise _refused(request, "is for another network; make it again with the right network name")
    if now >= request.expires_at:
        raise _refused(request, f"expired at {format_time(request.expires_at)}; let the member make a new one")
    if request.issued_at > now + CLOCK:
        raise _refused(request, "is from the future; set the clocks and make it again")
    if now >= request.tls.not_after:
        raise _refused(request, "has a TLS certificate that has expired; let the member make a new one")


def _new_member(registry: Registry, request: JoinRequest, now: datetime, quota: Quota) -> Member:
    return Member(
        name=request.member,
        title=request.title,
        kind=request.kind,
        roles=request.roles,
        url=request.url,
        standing="good",
        identity=(KeyTerm(request.identity, now),),
        tls=(_tls_key(request, now),),
        ledger=(KeyTerm(request.ledger, now),),
        witness=(KeyTerm(request.witness, now),),
        quota=quota,
        price=request.price,
        purposes=registry.purposes,
        joined_at=now,
        requested_at=request.issued_at,
        audit=AuditRights() if "auditor" in request.roles else None,
    )


def _tls_key(request: JoinRequest, now: datetime) -> TlsKey:
    return TlsKey(request.tls, KeyTerm(request.tls.spki, now, request.tls.not_after))


def _changed(old: Member, request: JoinRequest, now: datetime) -> Member:
    """The member after its own request: every key that it no longer names ends after `OVERLAP`."""
    in_force = {key.public for key in old.identity_in_force(now)}
    if not request.file.signers(in_force):
        raise _refused(request, "has a name that is taken, and no identity key of that member signed it")
    if request.issued_at < old.requested_at:
        raise _refused(request, "is older than the one that was admitted last; let the member make a new one")
    tls = old.tls
    known = [key for key in tls if key.certificate.der == request.tls.der]
    if not known:
        tls = (*(replace(key, term=_ended(key.term, now)) for key in tls), _tls_key(request, now))
    elif not known[0].in_force(now) or known[0].term.valid_until != request.tls.not_after:
        raise _refused(request, _BROUGHT_BACK)
    return replace(
        old,
        title=request.title,
        kind=request.kind,
        roles=request.roles,
        url=request.url,
        price=request.price,
        identity=_rotated(old.identity, request.identity, now, request),
        ledger=_rotated(old.ledger, request.ledger, now, request),
        witness=_rotated(old.witness, request.witness, now, request),
        tls=tls,
        requested_at=request.issued_at,
        audit=_audit_rights(old, request),
    )


def _audit_rights(old: Member, request: JoinRequest) -> AuditRights | None:
    """Who becomes an auditor gets the usual rights; whoever is one keeps those that the governors gave it."""
    if "auditor" not in request.roles:
        return None
    return old.audit if old.has_role("auditor") else AuditRights()


def _rotated(terms: tuple[KeyTerm, ...], public: bytes, now: datetime, request: JoinRequest) -> tuple[KeyTerm, ...]:
    known = [term for term in terms if term.public == public]
    if not known:
        return (*(_ended(term, now) for term in terms), KeyTerm(public, now))
    if known[0].valid_until is not None or known[0].compromised_from is not None:
        raise _refused(request, _BROUGHT_BACK)
    return terms


def _ended(term: KeyTerm, now: datetime) -> KeyTerm:
    end = now + OVERLAP
    if term.valid_until is not None and term.valid_until <= end:
        return term
    return replace(term, valid_until=max(end, term.valid_from + timedelta(milliseconds=1)))
