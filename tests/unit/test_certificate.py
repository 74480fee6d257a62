from __future__ import annotations

import contextlib
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from riskshare.certificate import MAX_BYTES, new_certificate, pem_to_der, read_certificate
from riskshare.errors import EncodingError
from tests.simulator.network import make_network

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
USAGE = {
    "content_commitment": False,
    "key_encipherment": False,
    "data_encipherment": False,
    "key_agreement": False,
    "crl_sign": False,
    "encipher_only": False,
    "decipher_only": False,
}
BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


def made(
    key=None, *, signer=None, ca=False, key_cert_sign=False, sign=True, purposes=BOTH, host="a.example", skip=()
) -> bytes:
    key = key or ec.generate_private_key(ec.SECP256R1())
    signer = signer or key
    extensions = {
        "constraints": x509.BasicConstraints(ca=ca, path_length=None),
        "usage": x509.KeyUsage(digital_signature=sign, key_cert_sign=key_cert_sign, **USAGE),
        "purposes": x509.ExtendedKeyUsage(purposes),
        "names": x509.SubjectAlternativeName([x509.DNSName(host)] if host else [x509.RFC822Name("a@b.example")]),
    }
    builder = x509.CertificateBuilder().subject_name(NAME).issuer_name(NAME).serial_number(1)
    builder = builder.public_key(key.public_key()).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
    for name, extension in extensions.items():
        if name not in skip:
            builder = builder.add_extension(extension, critical=False)
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else SHA256()
    return builder.sign(signer, algorithm).public_bytes(Encoding.DER)


@pytest.mark.parametrize("host", ["peer.icbc.example", "localhost", "127.0.0.1", "::1"])
def test_a_new_certificate_is_for_its_host(host):
    certificate = read_certificate(pem_to_der(new_certificate("icbc", host, now=NOW)[1]))
    assert certificate.hosts == {host}
    assert certificate.not_before == NOW - timedelta(hours=1)
    assert certificate.not_after == NOW + timedelta(days=397)
    assert len(certificate.spki) == 32


def test_an_ed25519_certificate_is_read_as_well():
    assert read_certificate(made(ed25519.Ed25519PrivateKey.generate())).hosts == {"a.example"}


@pytest.mark.parametrize(
    "options",
    [
        {"ca": True},
        {"ca": True, "key_cert_sign": True},
        {"key_cert_sign": True},
        {"sign": False, "key_cert_sign": True},
        {"purposes": [ExtendedKeyUsageOID.SERVER_AUTH]},
        {"host": ""},
        {"skip": ["constraints"]},
        {"skip": ["usage"]},
        {"skip": ["purposes"]},
        {"skip": ["names"]},
        {"key": ec.generate_private_key(ec.SECP384R1())},
        {"key": rsa.generate_private_key(65537, 2048)},
        {"signer": ec.generate_private_key(ec.SECP256R1())},
    ],
)
def test_a_certificate_that_could_do_more_or_less_is_refused(options):
    with pytest.raises(EncodingError):
        read_certificate(made(**options))


@pytest.mark.parametrize("data", [b"", b"0", bytes(500), bytes(MAX_BYTES + 1)])
def test_bytes_that_are_no_certificate_are_refused(data):
    with pytest.raises(EncodingError):
        read_certificate(data)


def test_a_certificate_with_something_behind_it_is_refused():
    with pytest.raises(EncodingError):
        read_certificate(made() + b"\x00")


def test_text_that_is_no_pem_is_refused():
    with pytest.raises(EncodingError):
        pem_to_der(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


def handshake(server_chain, client_chain, anchors, host):
    """A TLS 1.3 handshake in memory, strict, both sides verifying; returns the certificates each saw."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context, chain in ((server, server_chain), (client, client_chain)):
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.load_cert_chain(*chain)
        for anchor in anchors:
            context.load_verify_locations(cadata=anchor)
    wires = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(wires[0], wires[1], server_hostname=host),
        server.wrap_bio(wires[1], wires[0], server_side=True),
    ]
    waiting = list(sides)
    for _ in range(10):
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                continue
    assert not waiting
    return [side.getpeercert(binary_form=True) for side in sides]


def test_two_members_connect_with_the_registry_as_only_trust(tmp_path):
    net = make_network(["icbc", "jd"])
    icbc, jd = net.members["icbc"], net.members["jd"]
    anchors = net.registry.certificates(datetime.now(UTC))
    seen = handshake(jd.write_tls(tmp_path), icbc.write_tls(tmp_path), anchors, "127.0.0.1")
    assert seen == [jd.certificate.der, icbc.certificate.der]
    assert net.registry.member_by_spki(read_certificate(seen[1]).spki, datetime.now(UTC)).name == "icbc"


def test_a_stranger_cannot_connect(tmp_path):
    net = make_network(["icbc", "jd"])
    stranger = make_network(["icbc"]).members["icbc"]
    anchors = net.registry.certificates(datetime.now(UTC))
    with pytest.raises(ssl.SSLError):
        handshake(net.members["jd"].write_tls(tmp_path), stranger.write_tls(tmp_path), anchors, "127.0.0.1")


def test_a_member_cannot_pose_as_another_host(tmp_path):
    net = make_network(["icbc", "jd"])
    anchors = net.registry.certificates(datetime.now(UTC))
    chains = net.members["jd"].write_tls(tmp_path), net.members["icbc"].write_tls(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(*chains, anchors, "peer.icbc.example")


def test_a_curve_that_nobody_knows_is_refused():
    p256 = bytes.fromhex("2a8648ce3d030107")
    der = made()
    assert p256 in der
    with pytest.raises(EncodingError):
        read_certificate(der.replace(p256, b"\x26" + p256[1:]))


DER = made()


@given(st.integers(0, len(DER) - 1), st.integers(1, 255))
def test_whatever_byte_is_altered_a_certificate_is_refused_or_read_and_nothing_else(position, change):
    altered = bytearray(DER)
    altered[position] ^= change
    with contextlib.suppress(EncodingError):
        assert read_certificate(bytes(altered)).der == bytes(altered)
