from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskshare.certificate import new_certificate, pem_to_der
from riskshare.encoding import base64_text
from riskshare.errors import RegistryError
from riskshare.registry import Quota, admit_members, read_request
from riskshare.registry.signed import SignedFile, read_file, sign_file
from riskshare.signature import SigningKey
from tests.simulator.network import SimulatedMember, SimulatedNetwork, make_member, make_network, seed

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
LATER = NOW + timedelta(days=10)
URL = "https://peer.boc.example:8443"


@pytest.fixture(scope="module")
def net() -> SimulatedNetwork:
    return make_network(["icbc", "jd"], now=NOW)


@pytest.fixture(scope="module")
def boc() -> SimulatedMember:
    return make_member("boc", URL, NOW)


VALUES = (
    st.none()
    | st.integers(0, 9)
    | st.text(max_size=12)
    | st.lists(st.sampled_from(["owner", "querier", "auditor", "x"]), max_size=3)
    | st.sampled_from(["0.5", "bank", "boc", "2027-01-01T00:00:00.000Z", URL])
)


def refused(code: str = "join_refused", match: str | None = None):
    return pytest.raises(RegistryError, match=match, check=lambda error: error.code == code)


def admit(net: SimulatedNetwork, *requests: bytes, now: datetime = LATER, **options):
    return admit_members(net.registry, [read_request(request) for request in requests], now=now, **options)


def altered(member: SimulatedMember, /, **changes) -> bytes:
    """The member's request with values changed, signed by its keys all the same."""
    body = dict(read_file("join", member.request("simnet", NOW), limit=10**6).body) | changes
    return sign_file("join", str(body["network"]), body, [member.identity, member.ledger, member.witness]).to_bytes()


def test_a_request_says_who_wants_to_be_what(boc):
    request = read_request(boc.request("simnet", NOW, title="Bank", kind="bank", roles=["owner"], price="0.002"))
    assert (request.member, request.title, request.kind, request.roles) == ("boc", "Bank", "bank", {"owner"})
    assert (request.url, request.price, request.identity) == (URL, "0.002", boc.identity.public)
    assert request.expires_at - request.issued_at == timedelta(days=30)


def test_an_admitted_member_has_its_keys_from_now_on(net, boc):
    member = admit(net, boc.request("simnet", NOW), quota=Quota(1, 2, 3))["boc"]
    assert [term.public for term in member.identity] == [boc.identity.public]
    assert member.identity[0].valid_from == LATER
    assert member.tls[0].term.valid_until == boc.certificate.not_after
    assert (member.standing, member.joined_at, member.quota) == ("good", LATER, Quota(1, 2, 3))
    assert member.purposes == net.registry.purposes


def test_admitted_members_stand_in_the_next_version(boc):
    net = make_network(["icbc"], now=NOW)
    net.issue(admit(net, boc.request("simnet", NOW)).values(), now=LATER)
    assert list(net.registry.members) == ["boc", "icbc"]
    assert net.registry.member_by_spki(boc.certificate.spki, LATER).name == "boc"


@given(position=st.integers(0, 2**20), change=st.integers(1, 255))
@settings(max_examples=100)
def test_no_altered_byte_of_a_request_goes_unnoticed(boc, position, change):
    data = bytearray(boc.request("simnet", NOW))
    data[position % len(data)] ^= change
    with pytest.raises(RegistryError) as caught:
        read_request(bytes(data))
    assert caught.value.code in {"join_refused", "bad_signature"}


@given(
    key=st.sampled_from(["price", "roles", "url", "title", "kind", "member", "identity", "expires_at"]), value=VALUES
)
def test_a_request_with_any_value_is_read_as_it_stands_or_refused(boc, key, value):
    data, codes = altered(boc, **{key: value}), set()
    try:
        request = read_request(data)
    except RegistryError as error:
        codes = {error.code}
    else:
        assert read_file("join", data, limit=10**6).body[key] == value
        assert request.identity == boc.identity.public
    assert codes <= {"join_refused", "bad_signature"}


@pytest.mark.parametrize("missing", ["identity", "ledger", "witness"])
def test_a_request_needs_the_signature_of_each_key(boc, missing):
    file = read_file("join", boc.request("simnet", NOW), limit=10**6)
    without = tuple(pair for pair in file.signatures if pair[0] != getattr(boc, missing).public)
    with refused("bad_signature"):
        read_request(SignedFile("join", file.network, file.json, file.body, without).to_bytes())


def test_nobody_registers_the_key_of_another(net, boc):
    """The identity key of icbc in the request of boc: icbc did not sign that."""
    with refused("bad_signature"):
        read_request(altered(boc, identity=net.members["icbc"].identity.public.hex()))


def test_one_key_for_two_uses_is_refused(boc):
    with refused("bad_signature"):
        read_request(altered(boc, ledger=boc.identity.public.hex()))


def test_an_altered_request_is_refused(boc):
    data = boc.request("simnet", NOW).replace(b"peer.boc.example:8443", b"peer.boc.example:9443")
    with refused("bad_signature"):
        read_request(data)


@pytest.mark.parametrize(
    "changes",
    [
        {"url": "http://peer.boc.example:8443"},
        {"url": "https://peer.boc.example:8443/"},
        {"url": "https://another.example"},
        {"member": "BOC"},
        {"member": ""},
        {"title": ""},
        {"kind": "a bank"},
        {"roles": []},
        {"roles": ["governor"]},
        {"price": "free"},
        {"tls": "AAAA"},
        {"identity": "00"},
        {"issued_at": "now"},
        {"network": "a\nb"},
        {"network": 1},
        {"surplus": 1},
    ],
)
def test_a_malformed_request_is_refused(boc, changes):
    with refused():
        read_request(altered(boc, **changes))


@pytest.mark.parametrize("data", [b"", b"{}", b"junk", b"[" * 100_000, b" " * 70_000])
def test_bytes_that_are_no_request_are_refused(data):
    with refused():
        read_request(data)


def test_a_registry_file_is_no_request(net):
    with refused():
        read_request(net.registry.to_file())


def test_a_request_for_another_network_is_refused(net, boc):
    with refused(match="another network"):
        admit(net, boc.request("othernet", NOW))


def test_an_expired_request_is_refused(net, boc):
    with refused(match="expired"):
        admit(net, boc.request("simnet", NOW), now=NOW + timedelta(days=30))


def test_a_request_from_the_future_is_refused(net, boc):
    with refused(match="future"):
        admit(net, boc.request("simnet", LATER + timedelta(minutes=6)))
    assert admit(net, boc.request("simnet", LATER + timedelta(minutes=4)))


def test_a_request_with_an_expired_certificate_is_refused(net, boc):
    with refused(match="certificate that has expired"):
        admit(net, boc.request("simnet", NOW + timedelta(days=399)), now=NOW + timedelta(days=400))


def test_two_requests_of_one_name_are_refused(net, boc):
    with refused(match="twice"):
        admit(net, boc.request("simnet", NOW), make_member("boc", URL, NOW, generation=1).request("simnet", NOW))


def test_a_name_that_is_taken_is_refused_to_other_keys(net):
    thief = make_member("icbc", "https://127.0.0.1:30000", NOW, generation=1)
    with refused(match="taken"):
        admit(net, thief.request("simnet", NOW))


def test_a_tls_key_of_another_member_is_refused(net, boc):
    theirs = net.members["icbc"]
    request = boc.request("simnet", NOW, url="https://127.0.0.1:30000", certificate=theirs.certificate.der)
    with refused(match=r"One key serves .*(icbc|boc)"):
        admit(net, request)


def test_the_url_of_another_member_is_refused(net):
    other = make_member("boc", net.members["icbc"].url, NOW)
    with refused(match="one URL"):
        admit(net, other.request("simnet", NOW))


def test_two_new_members_may_not_share_an_identity_key(net, boc):
    other = make_member("ccb", "https://127.0.0.1:30001", NOW)
    twin = replace(other, identity=boc.identity)
    with refused(match="One key"):
        admit(net, boc.request("simnet", NOW), twin.request("simnet", NOW))


# Changing one's own entry


def test_the_same_request_again_changes_nothing(net):
    icbc = net.members["icbc"]
    assert admit(net, icbc.request("simnet", NOW, roles=["auditor", "owner", "querier"])) == {
        "icbc": net.registry.members["icbc"]
    }


def test_a_member_moves_to_another_url(net):
    moved = replace(net.members["icbc"], url="https://127.0.0.1:30000")
    member = admit(net, moved.request("simnet", LATER, price="0.5"))["icbc"]
    assert (member.url, member.price) == ("https://127.0.0.1:30000", "0.5")
    assert member.identity == net.registry.members["icbc"].identity
    assert member.tls == net.registry.members["icbc"].tls


def test_an_older_request_does_not_undo_a_newer_one():
    net = make_network(["icbc"], now=NOW)
    old = net.members["icbc"].request("simnet", NOW)
    net.issue(admit(net, net.members["icbc"].request("simnet", LATER)).values(), now=LATER)
    with refused(match="older"):
        admit(net, old)


def test_a_new_certificate_overlaps_the_old_one_by_a_day(net):
    icbc = net.members["icbc"]
    key, certificate = new_certificate("icbc", "127.0.0.1", now=LATER)
    member = admit(net, icbc.request("simnet", LATER, certificate=pem_to_der(certificate)))["icbc"]
    assert len(member.tls) == 2
    assert len(member.certificates(LATER)) == 2
    assert member.certificates(LATER + timedelta(days=1)) == (pem_to_der(certificate),)
    assert key


def test_an_identity_key_is_replaced_by_the_signature_of_the_old_one():
    net = make_network(["icbc"], now=NOW)
    new = replace(net.members["icbc"], identity=SigningKey(seed("icbc", "second")))
    with refused(match="taken"):
        admit(net, new.request("simnet", LATER))
    request = new.request("simnet", LATER, also=[net.members["icbc"].identity])
    net.issue(admit(net, request).values(), now=LATER)
    old, young = net.registry.identity_keys("icbc")
    assert (young.public, young.valid_until) == (new.identity.public, None)
    assert old.valid_until == LATER + timedelta(days=1)
    with refused(match="brings back"):
        later = LATER + timedelta(hours=1)
        admit(net, net.members["icbc"].request("simnet", later), now=later)


def test_a_compromised_identity_key_changes_nothing_any_more():
    net = make_network(["icbc"], now=NOW)
    net.compromise("icbc", NOW + timedelta(days=1))
    with refused(match="taken"):
        admit(net, net.members["icbc"].request("simnet", LATER))


def test_a_suspended_member_does_not_readmit_itself():
    net = make_network(["icbc"], now=NOW)
    net.change("icbc", standing="suspended")
    assert admit(net, net.members["icbc"].request("simnet", LATER))["icbc"].standing == "suspended"


def test_a_certificate_for_another_host_is_refused(boc):
    _, certificate = new_certificate("boc", "elsewhere.example", now=NOW)
    with refused(match="not for the host"):
        read_request(altered(boc, tls=base64_text(pem_to_der(certificate))))
