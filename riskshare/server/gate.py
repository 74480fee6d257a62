"""Who is at the other end of a connection between peers.

The listener's trust anchors are the certificates in force of all members in good standing, looked up anew at
each handshake, so that a new registry needs no restart. The key and the standing are checked
again on every request: a connection outlives neither.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from aiohttp import web

from riskshare.errors import AskRefused, ConfigError
from riskshare.logs import get_log
from riskshare.registry import Member, Registry
from riskshare.tls import peer_server_context, presented


class Registries(Protocol):
    """The registry in force, and those before it."""

    def current(self) -> Registry:
        """The newest version that was verified; the same object as long as there is no newer one."""

    async def version(self, number: int) -> bytes | None:
        """The file of a version, or None if this peer does not have it."""


class Gate:
    """Tells which member a request comes from."""

    def __init__(self, registries: Registries, now: Callable[[], datetime]) -> None:
        self._registries = registries
        self._now = now
        self._registry = registries.current()
        self._members: dict[bytes, Member] = {}
        self._review = datetime.min.replace(tzinfo=UTC)

    def member(self, request: web.Request) -> Member:
        """Give the member, in good standing now, whose certificate opened the connection.

        Raises:
            AskRefused: `no_certificate`; `wrong_member`: not one of a member in good standing.

        """
        certificate = _certificate(request)
        if certificate is None:
            raise AskRefused(
                "no_certificate",
                "This path is for members: connect with the TLS certificate that the network's registry names.",
            )
        member = self._owner(certificate)
        if member is None:
            raise AskRefused(
                "wrong_member", "The TLS certificate is not that of a member in good standing by this peer's registry."
            )
        return member

    def known(self, request: web.Request) -> Member | None:
        """Give the same member; None for anybody else, on the paths that are open to all."""
        certificate = _certificate(request)
        return None if certificate is None else self._owner(certificate)

    def _owner(self, certificate: bytes) -> Member | None:
        now = self._now()
        registry = self._registries.current()
        if registry is not self._registry or now >= self._review:
            self._registry = registry
            self._members, self._review = members_by_certificate(registry, now)
        return self._members.get(certificate)


def _certificate(request: web.Request) -> bytes | None:
    """The certificate (DER) with which the connection was opened, if there was one."""
    transport = request.transport
    return None if transport is None else presented(transport.get_extra_info("ssl_object"))


def members_by_certificate(registry: Registry, now: datetime) -> tuple[dict[bytes, Member], datetime]:
    """The members in good standing by certificate (DER) in force, and the moment at which that may change.

    A certificate stands for its key: `Registry.member_by_spki` has the last word on each.
    """
    found: dict[bytes, Member] = {}
    review = datetime.max.replace(tzinfo=UTC)
    for member in registry.members.values():
        for key in member.tls:
            owner = registry.member_by_spki(key.certificate.spki, now)
            if owner is not None and owner.in_good_standing:
                found[key.certificate.der] = owner
            term = key.term
            moments = (term.valid_from, term.valid_until, term.compromised_from)
            review = min([review, *(moment for moment in moments if moment is not None and moment > now)])
    return found, review


class PeersTls:
    """TLS of the peers' listener: give `context` to it.

    `certificate` and `key` are this member's files (PEM); they are read again when the anchors change.
    """

    def __init__(self, registries: Registries, certificate: Path, key: Path, now: Callable[[], datetime]) -> None:
        self._registries = registries
        self._files = (certificate, key)
        self._now = now
        self._anchors = registries.current().certificates(now())
        self._inner = peer_server_context(certificate, key, self._anchors)
        self.context = peer_server_context(certificate, key, self._anchors)
        self.context.sni_callback = self._choose

    def _choose(self, connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Called by OpenSSL at the beginning of each handshake, whether or not the client names a host."""
        anchors = self._registries.current().certificates(self._now())
        if anchors != self._anchors:
            try:
                self._inner = peer_server_context(*self._files, anchors)
            except ConfigError as error:
                get_log().error("tls files unreadable", listener="peers", exc_info=error)
            else:
                self._anchors = anchors
        connection.context = self._inner
