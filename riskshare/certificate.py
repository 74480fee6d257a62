"""TLS certificates of peers: self-signed, one key each, trusted only because the registry carries them.

The key is ECDSA on P-256. Ed25519 works as well in OpenSSL 3 on both sides, but P-256 is what
every TLS library, proxy and hardware module speaks, and OpenSSL signs faster with it. A
certificate here is a container for a key, a host and a term: no authority stands above it, and
one that could itself sign others (CA:TRUE) is refused, because as a trust anchor it would let
its holder speak for every host of the network.
"""

from __future__ import annotations

import ipaddress
import warnings
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from riskshare.encoding import sha256
from riskshare.errors import EncodingError

TERM = timedelta(days=397)
"""How long a new certificate lasts: thirteen months, what public authorities allow at most."""

BACKDATE = timedelta(hours=1)
"""A new certificate begins this much in the past, for peers whose clock is behind."""

MAX_BYTES = 4096
"""Largest certificate (DER) that is read; ours have about 450 bytes."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a peer needs to know of a TLS certificate.

    `der` its bytes, `spki` the SHA-256 of its SubjectPublicKeyInfo in DER (32 bytes, RFC 7469 2.4),
    `hosts` the DNS names and IP addresses that it is for.
    """

    der: bytes = field(repr=False)
    spki: bytes = field(repr=False)
    not_before: datetime
    not_after: datetime
    hosts: frozenset[str]


_X509 = (x509.ExtensionNotFound, x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType)


def read_certificate(der: bytes) -> Certificate:
    """Read a peer's self-signed certificate.

    Raises:
        EncodingError: not one X.509 v3 certificate with a P-256 or Ed25519 key, signed by
            that key, with a host, with BasicConstraints CA:FALSE and room for nothing else.

    """
    if len(der) > MAX_BYTES:
        raise EncodingError(f"A TLS certificate is longer than {MAX_BYTES} bytes.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            certificate = x509.load_der_x509_certificate(der)
            _check_signature(certificate)
            _check_use(certificate)
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            hosts = [*names.get_values_for_type(x509.DNSName)]
            hosts += [str(address) for address in names.get_values_for_type(x509.IPAddress)]
            spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except EncodingError:
        raise
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, *_X509) as error:
        raise EncodingError("A TLS certificate is not a self-signed X.509 certificate with a host.") from error
    if not hosts:
        raise EncodingError("A TLS certificate names no host.")
    return Certificate(
        der, sha256(spki), certificate.not_valid_before_utc, certificate.not_valid_after_utc, frozenset(hosts)
    )


def _check_signature(certificate: x509.Certificate) -> None:
    if certificate.version is not x509.Version.v3:
        raise EncodingError("A TLS certificate is not of version 3.")
    key = certificate.public_key()
    if isinstance(key, EllipticCurvePublicKey):
        if not isinstance(key.curve, SECP256R1):
            raise EncodingError("A TLS certificate's key is neither P-256 nor Ed25519.")
    elif not isinstance(key, Ed25519PublicKey):
        raise EncodingError("A TLS certificate's key is neither P-256 nor Ed25519.")
    certificate.verify_directly_issued_by(certificate)


def _check_use(certificate: x509.Certificate) -> None:
    """Refuse a certificate that could, as a trust anchor, vouch for others (RFC 5280 4.2.1.9)."""
    if certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
        raise EncodingError("A TLS certificate may sign others (CA:TRUE); make one that may not.")
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    if usage.key_cert_sign or not usage.digital_signature:
        raise EncodingError("A TLS certificate's key usage is not digitalSignature alone.")
    purposes = set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    if not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} <= purposes:
        raise EncodingError("A TLS certificate is not for servers and clients both.")


def new_certificate(member: str, host: str, *, now: datetime, term: timedelta = TERM) -> tuple[bytes, bytes]:
    """Make a P-256 key and a self-signed certificate for `host`, a DNS name or an IP address.

    Returns:
        The private key (PEM, PKCS #8, unencrypted) and the certificate (PEM).

    """
    key = generate_ec_key(SECP256R1())
    return (
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        _self_signed(key, member, host, now - BACKDATE, now + term).public_bytes(Encoding.PEM),
    )


def _self_signed(
    key: EllipticCurvePrivateKey, member: str, host: str, not_before: datetime, not_after: datetime
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, member)])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(host)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def pem_to_der(pem: bytes) -> bytes:
    """Turn one certificate from PEM into DER.

    Raises:
        EncodingError: not a certificate in PEM.

    """
    try:
        return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    except ValueError as error:
        raise EncodingError("The file is not a certificate in PEM.") from error
