"""Which certificate a connection showed: handshakes by OpenSSL, over memory."""

from __future__ import annotations

import gc
import ssl
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from riskshare import tls
from riskshare.certificate import new_certificate, pem_to_der
from riskshare.tls import peer_client_context, peer_server_context, presented


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """Files of key and certificate of two members, and their certificates (DER)."""
    made = {}
    for name in ("bank", "telco"):
        folder = tmp_path_factory.mktemp(name)
        for file, pem in zip(
            ("key", "certificate"), new_certificate(name, "127.0.0.1", now=datetime.now(UTC)), strict=True
        ):
            (folder / file).write_bytes(pem)
        made[name] = folder / "certificate", folder / "key", pem_to_der((folder / "certificate").read_bytes())
    return made


def connection(members, asker, owner, *, shows=True):
    """Both ends of a connection, the asker's first, before their handshake."""
    anchors = [der for _, _, der in members.values()]
    client = peer_client_context(*members[asker][:2], anchors)
    if not shows:
        client = tls.reading_context(anchors)
    server = peer_server_context(*members[owner][:2], anchors)
    one, two = ssl.MemoryBIO(), ssl.MemoryBIO()
    return client.wrap_bio(one, two), server.wrap_bio(two, one, server_side=True)


def shake(*ends):
    for _ in range(4):
        for end in ends:
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
    assert all(end.version() == "TLSv1.3" for end in ends)


def test_each_end_is_told_what_the_other_one_showed_however_often_it_asks(members):
    ends = connection(members, "bank", "telco")
    shake(*ends)
    for _ in range(3):
        assert [presented(end) for end in ends] == [members["telco"][2], members["bank"][2]]


def test_a_connection_is_asked_once(members):
    ends = connection(members, "bank", "telco")
    shake(*ends)
    assert presented(ends[1]) is presented(ends[1])
    assert presented(ends[1]) is not ends[1].getpeercert(binary_form=True)


def test_connections_are_not_taken_for_one_another(members):
    first, second = connection(members, "bank", "telco"), connection(members, "telco", "bank")
    shake(*first)
    shake(*second)
    assert [presented(end) for end in (*first, *second)] == [
        members[name][2] for name in ("telco", "bank", "bank", "telco")
    ]


def test_who_shows_none_is_nobody(members):
    ends = connection(members, "bank", "telco", shows=False)
    shake(*ends)
    assert presented(ends[1]) is None


def test_what_was_asked_too_early_is_asked_again(members):
    ends = connection(members, "bank", "telco")
    with pytest.raises(ValueError, match="handshake not done"):
        presented(ends[1])
    shake(*ends)
    assert presented(ends[1]) == members["bank"][2]


def test_what_is_no_tls_showed_nothing():
    assert presented(None) is None
    assert presented(object()) is None


def test_nothing_is_kept_of_a_connection_that_is_closed(members):
    ends = connection(members, "bank", "telco")
    shake(*ends)
    before = len(tls._presented)
    assert presented(ends[0]) is not None
    assert len(tls._presented) == before + 1
    del ends
    gc.collect()
    assert len(tls._presented) == before
