"""Where another member's peer is, and which keys it may show: from the registry in force.

A `Remote` is made anew when the registry changes; its TLS context only when the member's certificates or
address do. Connections are pooled by context, so none that was opened under former
certificates is used again.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from yarl import URL

from riskshare.errors import PeerDown
from riskshare.query.message import EVALUATE
from riskshare.registry import Member, Registry
from riskshare.tls import peer_client_context

REVIEW = timedelta(minutes=1)
"""How often the terms of a member's certificates are looked at again, if none of them begins or ends before that."""


class Registries(Protocol):
    """The registry in force."""

    def current(self) -> Registry:
        """The newest version that was verified; the same object as long as there is no newer one."""


@dataclass(frozen=True, slots=True)
class Remote:
    """One member's peer: its address, and the TLS context whose only anchors are `anchors`.

    `anchors` are the certificates (DER) in force until `review`; `keys` maps each certificate that the member
    has or had to the SHA-256 of its SubjectPublicKeyInfo.
    """

    member: str
    registry: Registry = field(repr=False)
    review: datetime
    url: URL
    evaluate: URL
    anchors: tuple[bytes, ...] = field(repr=False)
    keys: dict[bytes, bytes] = field(repr=False)
    context: ssl.SSLContext = field(repr=False)


class Remotes:
    """All members' peers, as the registry in force names them; `certificate` and `key` are our own (PEM files)."""

    def __init__(self, registries: Registries, certificate: Path, key: Path, now: Callable[[], datetime]) -> None:
        self._registries = registries
        self._certificate = certificate
        self._key = key
        self._now = now
        self._remotes: dict[str, Remote] = {}

    def find(self, name: str) -> Remote:
        """Find a member's peer.

        Raises:
            PeerDown: code `peer_unknown`, the registry names no such member in good standing with a TLS key in force.

        """
        registry, now = self._registries.current(), self._now()
        remote = self._remotes.get(name)
        if remote is not None and remote.registry is registry and now < remote.review:
            return remote
        return self._renew(name, registry, now, remote)

    def shows_own_key(self, remote: Remote, certificate: bytes | None) -> bool:
        """Tell whether the certificate that was shown has a key of this member by the registry in force now."""
        if certificate is None:
            return False
        registry, now = self._registries.current(), self._now()
        if remote.registry is registry and now < remote.review and certificate in remote.anchors:
            return True
        spki = remote.keys.get(certificate)
        member = None if spki is None else registry.member_by_spki(spki, now)
        return member is not None and member.name == remote.member and member.in_good_standing

    def _renew(self, name: str, registry: Registry, now: datetime, old: Remote | None) -> Remote:
        member = registry.member(name)
        anchors = () if member is None or not member.in_good_standing else member.certificates(now)
        if member is None or not anchors:
            self._remotes.pop(name, None)
            raise PeerDown(
                name, "The registry names no such member in good standing with a TLS key in force.", code="peer_unknown"
            )
        url = URL(member.url)
        same = old is not None and old.anchors == anchors and old.url == url
        remote = Remote(
            member=name,
            registry=registry,
            review=_review(member, now),
            url=url,
            evaluate=url.with_path(EVALUATE),
            anchors=anchors,
            keys=_keys(member),
            context=old.context
            if same and old is not None
            else peer_client_context(self._certificate, self._key, anchors),
        )
        self._remotes[name] = remote
        return remote


def _review(member: Member, now: datetime) -> datetime:
    """The next moment at which a TLS key of the member may begin or cease to count, or a minute from now."""
    terms = [key.term for key in member.tls]
    moments = [moment for term in terms for moment in (term.valid_from, term.valid_until, term.compromised_from)]
    return min([moment for moment in moments if moment is not None and moment > now] + [now + REVIEW])


def _keys(member: Member) -> dict[bytes, bytes]:
    return {key.certificate.der: key.certificate.spki for key in member.tls}
