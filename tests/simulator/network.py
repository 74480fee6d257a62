"""A signed network in memory: real keys, real certificates, real registry versions, in milliseconds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from riskshare.certificate import Certificate, new_certificate, pem_to_der, read_certificate
from riskshare.registry import (
    Governors,
    Member,
    Registry,
    admit_members,
    first_body,
    next_body,
    read_request,
    sign_registry,
    sign_request,
    verify_first,
    verify_next,
)
from riskshare.signature import SigningKey

NETWORK = "simnet"
ALL_ROLES = ("auditor", "owner", "querier")


def seed(*words: object) -> bytes:
    """32 bytes that are always the same for the same words."""
    return hashlib.sha256("/".join(str(word) for word in words).encode()).digest()


@dataclass(frozen=True)
class SimulatedMember:
    """A member with all of its secrets. Ed25519 keys follow from the name; the TLS key is fresh."""

    name: str
    url: str
    identity: SigningKey
    ledger: SigningKey
    witness: SigningKey
    sealing_seed: bytes
    data_key: bytes
    tls_key: bytes
    tls_certificate: bytes
    certificate: Certificate

    def write_tls(self, directory: Path) -> tuple[Path, Path]:
        """Write certificate and key as files for `ssl`; returns their paths in the order of `load_cert_chain`."""
        certificate, key = directory / f"{self.name}.crt", directory / f"{self.name}.key"
        certificate.write_bytes(self.tls_certificate)
        key.write_bytes(self.tls_key)
        key.chmod(0o600)
        return certificate, key

    def request(self, network: str, now: datetime, **changes: Any) -> bytes:
        """The member's signed request to join, as a file."""
        return sign_request(
            network,
            self.name,
            **{
                "url": self.url,
                "identity": self.identity,
                "ledger": self.ledger,
                "witness": self.witness,
                "certificate": self.certificate.der,
                "now": now,
                **changes,
            },
        )


@dataclass
class SimulatedNetwork:
    """A network whose governors are at hand. `registry` is the newest version, `history` every one, oldest first."""

    registry: Registry
    members: dict[str, SimulatedMember]
    governors: tuple[SigningKey, ...]
    history: list[Registry]

    @property
    def name(self) -> str:
        return self.registry.network

    @property
    def issued_at(self) -> datetime:
        return self.registry.issued_at

    def issue(self, members: Iterable[Member] = (), *, now: datetime | None = None, **changes: Any) -> Registry:
        """Sign the next version, with members replaced or other keys of the statement changed."""
        body = next_body(self.registry, now=now or self.registry.issued_at, members=members, **changes)
        self.registry = verify_next(self.registry, sign_registry(body, self.governors))
        self.history.append(self.registry)
        return self.registry

    def change(self, name: str, **changes: Any) -> Registry:
        """Sign the next version with fields of one member changed, e.g. `standing="suspended"`."""
        return self.issue([replace(self.registry.members[name], **changes)])

    def compromise(self, name: str, at: datetime) -> Registry:
        """Mark the identity keys of a member as compromised from `at` on."""
        terms = self.registry.members[name].identity
        return self.change(name, identity=tuple(replace(term, compromised_from=at) for term in terms))


def make_member(name: str, url: str, now: datetime, *, generation: int = 0) -> SimulatedMember:
    """A member's keys and certificate; another `generation` has other keys."""
    host = url.removeprefix("https://").rpartition(":")[0].strip("[]")
    key, certificate = new_certificate(name, host, now=now)
    return SimulatedMember(
        name=name,
        url=url,
        identity=SigningKey(seed(name, "identity", generation)),
        ledger=SigningKey(seed(name, "ledger", generation)),
        witness=SigningKey(seed(name, "witness", generation)),
        sealing_seed=seed(name, "sealing", generation),
        data_key=seed(name, "data", generation),
        tls_key=key,
        tls_certificate=certificate,
        certificate=read_certificate(pem_to_der(certificate)),
    )


def make_network(
    names: Sequence[str] = ("icbc", "jd", "unionpay"),
    *,
    roles: Mapping[str, Iterable[str]] | None = None,
    urls: Mapping[str, str] | None = None,
    now: datetime | None = None,
    governors: int = 1,
    threshold: int = 1,
    network: str = NETWORK,
) -> SimulatedNetwork:
    """A network of `names`, admitted in version 2; each member has all roles but those that `roles` says.

    `now` is when it all was issued (default: a minute ago, so that certificates hold for real
    connections); URLs are `https://127.0.0.1:<20000 + n>` unless `urls` says otherwise.
    """
    moment = now or datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
    keys = tuple(sorted((SigningKey(seed("governor", n)) for n in range(governors)), key=lambda key: key.public))
    body = first_body(network, Governors(threshold, tuple(key.public for key in keys)), now=moment)
    data = sign_registry(body, keys)
    members = {
        name: make_member(name, (urls or {}).get(name, f"https://127.0.0.1:{20_000 + n}"), moment)
        for n, name in enumerate(names)
    }
    registry = verify_first(data, hashlib.sha256(_statement_of(data)).digest())
    made = SimulatedNetwork(registry, members, keys, [registry])
    requests = [
        read_request(member.request(network, moment, roles=(roles or {}).get(name, ALL_ROLES)))
        for name, member in members.items()
    ]
    made.issue(admit_members(registry, requests, now=moment).values())
    return made


def _statement_of(data: bytes) -> bytes:
    return Registry.from_file(data).file.json
