"""TLS contexts between peers: version 1.3 only, and the registry's certificates as the only trust anchors.

Names in certificates are not compared: a peer is known by its key, which the registry pins. A handshake
succeeds only with one of the very certificates that were given as anchors, and whoever uses the connection
compares the presented key with the registry again (`presented`).
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from pathlib import Path
from weakref import WeakKeyDictionary

from riskshare.errors import ConfigError


def peer_client_context(certificate: Path, key: Path, anchors: Iterable[bytes]) -> ssl.SSLContext:
    """Make the context for connections to one member, whose certificates (DER) are `anchors`.

    `certificate` and `key` are our own, in PEM.

    Raises:
        ConfigError: our own certificate or key cannot be read, or an anchor is no certificate.

    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    return _prepared(context, certificate, key, anchors)


def reading_context(anchors: Iterable[bytes]) -> ssl.SSLContext:
    """Make the context for reading what members serve to anybody; `anchors` are certificates (DER) of members.

    It shows no certificate of its own. Raises ConfigError: an anchor is no certificate, or there is none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cadata=b"".join(dict.fromkeys(anchors)))
    except (OSError, ValueError) as error:
        raise ConfigError("The registry has no TLS certificate in force. Fetch a newer one.") from error
    return context


def authority_context(authorities: Path | None) -> ssl.SSLContext:
    """Make the context for a server with a certificate of the system's authorities, or of those in a file (PEM).

    Raises:
        ConfigError: the file cannot be read, or holds no certificate.

    """
    try:
        return ssl.create_default_context(cafile=authorities)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{authorities} holds no certificates in PEM that can be read.") from error


def peer_server_context(certificate: Path, key: Path, anchors: Iterable[bytes]) -> ssl.SSLContext:
    """Make the context of the peers' listener; `anchors` are the certificates (DER) of all members.

    A certificate is asked for but not required, because some routes are open to anybody. One that is shown
    must be an anchor, or there is no connection. There are no session tickets: each connection shows its certificate.

    Raises:
        ConfigError: as `peer_client_context`.

    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.num_tickets = 0
    return _prepared(context, certificate, key, anchors)


def _prepared(context: ssl.SSLContext, certificate: Path, key: Path, anchors: Iterable[bytes]) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_cert_chain(certificate, key)
        if data := b"".join(dict.fromkeys(anchors)):
            context.load_verify_locations(cadata=data)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(f"The TLS key or certificate in {certificate.parent} is not usable. Restore both.") from error
    return context


_presented: WeakKeyDictionary[ssl.SSLObject, bytes] = WeakKeyDictionary()
"""What connections showed, as long as they are open: each request asks, OpenSSL encodes it anew each time, and TLS 1.3
has no renegotiation (RFC 8446 4.1.2) that could change it."""


def presented(connection: object) -> bytes | None:
    """Give the certificate (DER) that the other side of a connection showed, or None.

    `connection` is what a transport has as `ssl_object`, or None.
    """
    if not isinstance(connection, ssl.SSLObject):
        return None
    if (known := _presented.get(connection)) is not None:
        return known
    certificate = connection.getpeercert(binary_form=True)
    if certificate is not None:
        _presented[connection] = certificate
    return certificate


def public_server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Make the context of the clients' listener, TLS 1.2 or newer, from a certificate chain and its key (PEM).

    Raises:
        ConfigError: either cannot be read, or they do not belong together.

    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:
        raise ConfigError("listen.clients: tls_certificate and tls_key are not usable together.") from error
    return context
