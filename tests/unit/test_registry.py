from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskshare.encoding import canonical_json
from riskshare.errors import EncodingError, InputError, RegistryError
from riskshare.keyterm import KeyTerm
from riskshare.registry import (
    CATEGORIES,
    PURPOSES,
    Governors,
    Quorum,
    Quota,
    Registry,
    add_signatures,
    chain,
    conflict,
    first_body,
    next_body,
    parse_peer_url,
    parse_registry,
    sign_registry,
    signed,
    verify_chain,
    verify_first,
    verify_next,
)
from riskshare.registry.network import MAX_FILE
from riskshare.registry.signed import SignedFile, read_file, sign_file, split_file
from riskshare.signature import SigningKey
from riskshare.statement import signed_bytes
from tests.simulator.network import SimulatedNetwork, make_network, seed

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
STRANGER = SigningKey(seed("stranger"))


@pytest.fixture(scope="module")
def net() -> SimulatedNetwork:
    return make_network(now=NOW)


def refused(code: str):
    return pytest.raises(RegistryError, check=lambda error: error.code == code)


def forged(registry: Registry, keys, **changes) -> bytes:
    """A file with the statement changed, signed by `keys`, without any of our own checks."""
    return sign_file("registry", registry.network, registry.body() | changes, keys).to_bytes()


def with_member(registry: Registry, name: str, **changes) -> list[dict]:
    bodies = [json.loads(json.dumps(member.body())) for member in registry.members.values()]
    return [body | changes if body["name"] == name else body for body in bodies]


# The first version, and what stands in it


def test_a_new_network_has_the_rules_of_the_protocol_and_no_member():
    key = SigningKey(seed("one"))
    registry = parse_registry(sign_registry(first_body("net", Governors(1, (key.public,)), now=NOW), [key]))
    assert (registry.network, registry.version, registry.previous) == ("net", 1, None)
    assert registry.categories == tuple(sorted(CATEGORIES))
    assert len(CATEGORIES) == 4
    assert registry.purposes == tuple(sorted(PURPOSES))
    assert len(PURPOSES) == 6
    assert registry.expires_at - registry.issued_at == timedelta(days=90)
    assert registry.members == {}


def test_the_file_of_a_registry_reads_back_to_it(net):
    again = Registry.from_file(net.registry.to_file())
    assert again == net.registry
    assert again.to_file() == net.registry.to_file()
    assert again.digest == net.registry.digest


def test_the_pinned_first_version_is_believed(net):
    assert verify_first(net.registry.to_file(), net.registry.digest).version == 2


def test_another_version_than_the_pinned_one_is_refused(net):
    with refused("registry_pin"):
        verify_first(net.registry.to_file(), net.history[0].digest)


def test_the_pinned_version_must_still_be_signed(net):
    unsigned = SignedFile("registry", net.name, net.registry.file.json, net.registry.file.body, ())
    with refused("bad_signature"):
        verify_first(unsigned.to_bytes(), net.registry.digest)
    with refused("bad_signature"):
        Registry.from_file(unsigned.to_bytes())


def test_defaults_of_a_member_are_those_of_the_protocol(net):
    member = net.registry.members["icbc"]
    assert member.quota == Quota(per_second=2_000, per_day=20_000_000, per_epoch=None)
    assert (member.standing, member.price, member.purposes) == ("good", "0", net.registry.purposes)
    assert member.address == ("127.0.0.1", 20_000)


def test_the_repr_of_a_registry_is_short_and_without_keys(net):
    text = repr(net.registry)
    assert len(text) < 1_000
    assert net.members["icbc"].identity.public.hex() not in repr(net.registry.members["icbc"])


# Look-ups


def test_a_member_is_found_by_its_tls_key_while_it_is_in_force(net):
    spki = net.members["jd"].certificate.spki
    assert net.registry.member_by_spki(spki, NOW).name == "jd"
    assert net.registry.member_by_spki(spki, NOW - timedelta(milliseconds=1)) is None
    assert net.registry.member_by_spki(spki, net.members["jd"].certificate.not_after) is None
    assert net.registry.member_by_spki(bytes(32), NOW) is None


def test_a_compromised_tls_key_finds_nobody():
    net = make_network(["icbc"], now=NOW)
    key = net.registry.members["icbc"].tls[0]
    net.change("icbc", tls=(replace(key, term=replace(key.term, compromised_from=NOW + timedelta(hours=1))),))
    assert net.registry.member_by_spki(key.term.public, NOW) is not None
    assert net.registry.member_by_spki(key.term.public, NOW + timedelta(hours=1)) is None
    assert net.registry.certificates(NOW + timedelta(hours=1)) == ()


def test_a_suspended_member_is_found_but_no_trust_anchor():
    net = make_network(["icbc", "jd"], now=NOW)
    net.change("jd", standing="suspended")
    assert not net.registry.member_by_spki(net.members["jd"].certificate.spki, NOW).in_good_standing
    assert net.registry.certificates(NOW) == (net.members["icbc"].certificate.der,)
    assert net.registry.others("icbc") == ()
    assert [member.name for member in net.registry.with_role("owner")] == ["icbc"]


def test_identity_keys_come_with_their_terms(net):
    assert net.registry.identity_keys("icbc") == (KeyTerm(net.members["icbc"].identity.public, NOW),)
    with refused("unknown_member"):
        net.registry.identity_keys("nobody")


def test_roles_decide_who_is_an_owner():
    net = make_network(["icbc", "jd"], roles={"icbc": ["querier"]}, now=NOW)
    assert [member.name for member in net.registry.with_role("owner")] == ["jd"]
    assert not net.registry.members["icbc"].has_role("owner")


def test_a_thousand_members_are_read_and_found():
    net = make_network([f"m{n}" for n in range(1_000)], now=NOW)
    registry = Registry.from_file(net.registry.to_file())
    assert len(registry.members) == 1_000
    assert registry.member_by_spki(net.members["m777"].certificate.spki, NOW).name == "m777"
    assert len(registry.to_file()) < MAX_FILE // 4


# Expiry


def test_an_expired_registry_stops_exchanges(net):
    end = net.registry.expires_at
    assert not net.registry.expired(end - timedelta(milliseconds=1))
    assert net.registry.expired(end)
    with refused("registry_expired"):
        net.registry.check_ready(end)


def test_a_registry_warns_four_weeks_before_it_expires(net):
    assert net.registry.check_ready(net.registry.expires_at - timedelta(days=28, seconds=1)) is None
    assert "in 27 days" in net.registry.check_ready(net.registry.expires_at - timedelta(days=27, hours=1))
    assert "in 0 days" in net.registry.check_ready(net.registry.expires_at - timedelta(seconds=1))


# The chain


def test_each_version_leads_to_the_next():
    net = make_network(now=NOW)
    net.issue(now=NOW + timedelta(days=1))
    assert net.registry.version == 3
    assert net.registry.previous == net.history[1].digest
    files = [registry.to_file() for registry in net.history]
    assert verify_chain(files, net.history[0].digest) == net.registry
    assert verify_chain(files[1:], net.history[1].digest) == net.registry


def test_the_same_version_again_changes_nothing(net):
    assert verify_next(net.registry, net.registry.to_file()) is net.registry


def test_an_older_version_is_a_rollback(net):
    with refused("registry_rollback"):
        verify_next(net.registry, net.history[0].to_file())


def test_a_skipped_version_is_a_gap():
    net = make_network(now=NOW)
    net.issue()
    with refused("registry_gap"):
        verify_next(net.history[0], net.registry.to_file())
    with refused("registry_gap"):
        verify_chain([], net.history[0].digest)


def test_a_version_that_does_not_name_its_predecessor_is_refused(net):
    body = next_body(net.registry, now=NOW) | {"previous": "00" * 32}
    with refused("broken_chain"):
        verify_next(net.registry, sign_registry(body, net.governors))


def test_a_version_of_another_network_is_refused(net):
    other = make_network(now=NOW, network="othernet")
    with refused("wrong_network"):
        verify_next(net.registry, other.registry.to_file())


def test_a_version_signed_by_a_stranger_is_refused(net):
    body = next_body(net.registry, now=NOW)
    with refused("bad_signature"):
        verify_next(net.registry, sign_registry(body, [STRANGER]))


def test_a_signature_of_another_kind_of_statement_is_none(net):
    body = next_body(net.registry, now=NOW)
    wrong = sign_file("join", net.name, body, net.governors)
    with refused("bad_signature"):
        verify_next(net.registry, wrong.to_bytes())


def test_an_altered_statement_is_refused(net):
    data = sign_registry(next_body(net.registry, now=NOW), net.governors)
    altered = data.replace(b'"currency":"CNY"', b'"currency":"EUR"')
    assert altered != data
    with refused("bad_signature"):
        verify_next(net.registry, altered)


def test_two_versions_of_one_number_are_a_fork_and_its_evidence(net):
    one = sign_registry(next_body(net.history[0], now=NOW), net.governors)
    with refused("registry_fork"):
        verify_next(net.registry, one)
    evidence = conflict(net.registry, one)
    assert evidence.signers == {net.governors[0].public}
    assert {evidence.first, evidence.second} == {net.registry.to_file(), one}


def test_a_strangers_sibling_convicts_nobody(net):
    other = forged(net.registry, [STRANGER], currency="EUR")
    with refused("bad_signature"):
        verify_next(net.registry, other)
    assert conflict(net.registry, other) is None
    assert conflict(net.registry, net.registry.to_file()) is None
    assert conflict(net.registry, net.history[0].to_file()) is None


def test_k_of_n_governors_must_sign():
    net = make_network(now=NOW, governors=3, threshold=2)
    body = next_body(net.registry, now=NOW)
    one = sign_registry(body, net.governors[:1])
    with refused("bad_signature"):
        verify_next(net.registry, one)
    assert verify_next(net.registry, add_signatures(one, net.governors[2:])).version == 3


def test_one_governor_is_not_counted_twice():
    net = make_network(now=NOW, governors=3, threshold=2)
    data = sign_registry(next_body(net.registry, now=NOW), net.governors[:1])
    again = add_signatures(data, net.governors[:1])
    assert again == data
    whole = json.loads(data)
    whole["signatures"] *= 2
    with refused("registry_malformed"):
        verify_next(net.registry, canonical_json(whole))


def test_a_new_governor_set_needs_old_and_new_signatures():
    net = make_network(now=NOW, governors=2, threshold=2)
    new = [SigningKey(seed("new", n)) for n in range(2)]
    governors = Governors(2, tuple(sorted(key.public for key in new))).body()
    body = next_body(net.registry, now=NOW, governors=governors)
    for signers in (net.governors, new, [net.governors[0], *new], [*net.governors, new[0]]):
        with refused("bad_signature"):
            verify_next(net.registry, sign_registry(body, signers))
    registry = verify_next(net.registry, sign_registry(body, [*net.governors, *new]))
    with refused("bad_signature"):
        verify_next(registry, sign_registry(next_body(registry, now=NOW), net.governors))


def test_a_version_older_than_its_predecessor_is_refused(net):
    body = next_body(net.registry, now=NOW - timedelta(seconds=1))
    with refused("broken_chain"):
        verify_next(net.registry, sign_registry(body, net.governors))


def test_a_version_that_drops_a_member_is_refused(net):
    body = next_body(net.registry, now=NOW)
    body["members"] = [member for member in body["members"] if member["name"] != "jd"]
    with refused("broken_chain"):
        verify_next(net.registry, sign_registry(body, net.governors))


@pytest.mark.parametrize("kind", ["identity", "ledger", "witness"])
def test_a_version_that_drops_a_key_is_refused(net, kind):
    new = {"key": STRANGER.public.hex(), "from": "2026-11-22T08:30:00.000Z", "until": None, "compromised_from": None}
    body = next_body(net.registry, now=NOW)
    body["members"] = with_member(net.registry, "jd", **{kind: [new]})
    with refused("broken_chain"):
        verify_next(net.registry, sign_registry(body, net.governors))


# Nothing is parsed that is not signed


def unsigned_file(
    statement: bytes, key: SigningKey = STRANGER, kind: str = "registry", network: str = "simnet"
) -> bytes:
    """A file in the right form with any bytes as its statement, signed by a stranger."""
    made = key.sign(signed_bytes(kind, network, statement))
    pair = b'{"key":"%s","signature":"%s"}' % (key.public.hex().encode(), made.hex().encode())
    return b'{"signatures":[' + pair + b'],"statement":' + statement + b"}"


GARBAGE = {
    "empty": b"{}",
    "no JSON": b'{"a":]}',
    "no text": b'{"a":\xff\xfe}',
    "deep": b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b',"version":3}',
    "duplicate keys": b'{"version":3,"version":3}',
    "a number beyond all": b'{"version":1' + b"0" * 5000 + b"}",
    "not canonical": b'{ "version": 3 }',
    "next by its end": b'{"a":]],"version":3}',
    "other things": b'{"members":[{"name":"x"}],"version":3}',
}


@pytest.mark.parametrize("statement", GARBAGE.values(), ids=GARBAGE)
def test_garbage_with_a_bad_signature_is_refused_for_its_signature_and_never_parsed(net, statement, monkeypatch):
    def parsed(*_arguments, **_options):
        raise AssertionError("parsed")

    monkeypatch.setattr(signed, "parse_canonical_json", parsed)
    monkeypatch.setattr(chain, "registry_of", parsed)
    with refused("bad_signature"):
        verify_next(net.registry, unsigned_file(statement))
    with refused("registry_pin"):
        verify_first(unsigned_file(statement), net.registry.digest)
    assert conflict(net.registry, unsigned_file(statement)) is None


@pytest.mark.parametrize(
    "statement", [GARBAGE[name] for name in ("no JSON", "deep", "not canonical", "duplicate keys")]
)
def test_garbage_that_the_governors_signed_is_malformed(net, statement):
    with refused("registry_malformed"):
        verify_next(net.registry, unsigned_file(statement, net.governors[0]))


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (b',"network":"othernet","previous":null,"version":3}', "wrong_network"),
        (b',"version":1}', "registry_rollback"),
        (b',"version":2}', "bad_signature"),
        (b',"version":3}', "bad_signature"),
        (b',"version":4}', "registry_gap"),
        (b',"version":9007199254740991}', "registry_gap"),
        (b',"version":0}', "bad_signature"),
        (b',"version":03}', "bad_signature"),
        (b',"version":-1}', "bad_signature"),
        (b',"version":1e3}', "bad_signature"),
        (b',"version":4 }', "bad_signature"),
        (b',"x":",\\"version\\":4}"}', "bad_signature"),
    ],
)
def test_what_an_unsigned_file_seems_to_be_is_told_and_changes_nothing(net, end, code):
    with refused(code):
        verify_next(net.registry, unsigned_file(b'{"a":]' + end))


def test_a_version_that_the_governors_signed_for_another_network_is_refused(net):
    body = next_body(net.registry, now=NOW) | {"network": "othernet"}
    file = unsigned_file(canonical_json(body), net.governors[0])
    with refused("wrong_network"):
        verify_next(net.registry, file)


def test_a_statement_is_cut_out_byte_for_byte(net):
    split = split_file(net.registry.to_file(), limit=MAX_FILE)
    assert (split.json, split.digest) == (net.registry.file.json, net.registry.digest)
    assert split.signatures == net.registry.file.signatures
    assert split.read("registry") == net.registry.file


@given(
    st.dictionaries(st.text(st.characters(codec="ascii"), max_size=8), st.text(max_size=30) | st.integers(0, 9)),
    st.integers(0, 5),
)
def test_any_file_that_we_write_is_cut_where_it_was_put_together(body, count):
    """Whatever stands in the statement, the form of the signatures within a text included."""
    body = body | {"network": "net", "trap": '],"statement":{"signatures":['}
    keys = [SigningKey(seed("cut", number)) for number in range(count)]
    file = sign_file("registry", "net", body, keys)
    split = split_file(file.to_bytes(), limit=MAX_FILE)
    assert (split.json, split.signatures) == (file.json, file.signatures)
    assert split.signers("registry", "net", [key.public for key in keys]) == {key.public for key in keys}
    assert split.read("registry").body == body


@given(
    st.binary(max_size=300) | st.binary(max_size=100).map(lambda data: b'{"signatures":[],"statement":{' + data + b"}}")
)
def test_any_bytes_are_cut_or_refused(data):
    try:
        split = split_file(data, limit=MAX_FILE)
        file = split.read("registry")
    except EncodingError:
        return
    assert file.to_bytes() == data


# Malformed registries: signed by the right governors, and refused all the same


def set_at(body: dict, path: str, value: object) -> dict:
    body = json.loads(json.dumps(body))
    *way, last = path.split("/")
    place = body
    for part in way:
        place = place[int(part) if part.isdigit() else part]
    if value is DROP:
        del place[last]
    else:
        place[int(last) if last.isdigit() else last] = value
    return body


DROP = object()
TIME = "2026-11-22T08:30:00.000Z"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("version", 0),
        ("version", True),
        ("version", "3"),
        ("previous", None),
        ("previous", "AB" * 32),
        ("previous", "ab" * 31),
        ("expires_at", "2026-11-22T08:30:00.000Z"),
        ("expires_at", "2027-02-20"),
        ("issued_at", DROP),
        ("surplus", 1),
        ("governors/keys", []),
        ("governors/threshold", 0),
        ("governors/threshold", 2),
        ("governors/keys", ["ff" * 32, "00" * 32]),
        ("quorum/numerator", 3),
        ("quorum/denominator", 7),
        ("quorum/denominator", 0),
        ("categories", []),
        ("categories", ["b", "a"]),
        ("categories", ["a", "a"]),
        ("categories", ["Upper"]),
        ("purposes", ["payment"]),
        ("currency", "yuan"),
        ("members", {}),
        ("members/0", None),
        ("members/0/name", "zzz"),
        ("members/0/name", "jd"),
        ("members/0/name", "IC BC"),
        ("members/0/title", ""),
        ("members/0/title", "line\nbreak"),
        ("members/0/title", "x" * 201),
        ("members/0/kind", "Bank"),
        ("members/0/roles", []),
        ("members/0/roles", ["king"]),
        ("members/0/roles", ["querier", "owner"]),
        ("members/0/standing", "bad"),
        ("members/0/url", "http://127.0.0.1:20000"),
        ("members/0/url", "https://127.0.0.1:20001"),
        ("members/0/price", "-1"),
        ("members/0/price", "1e3"),
        ("members/0/price", "01"),
        ("members/0/price", 1),
        ("members/0/purposes", ["fun"]),
        ("members/0/quota/per_second", -1),
        ("members/0/quota/per_day", None),
        ("members/0/quota/per_epoch", "9"),
        ("members/0/quota/per_week", 1),
        ("members/0/identity", []),
        ("members/0/identity/0/key", "00" * 31),
        ("members/0/identity/0/until", TIME),
        ("members/0/identity/0/compromised_from", "yesterday"),
        ("members/0/tls", []),
        ("members/0/tls/0/certificate", "AAAA"),
        ("members/0/tls/0/certificate", "not base64"),
        ("members/0/joined_at", 0),
        ("members/0/extra", 0),
    ],
)
def test_a_malformed_statement_is_refused(net, path, value):
    body = set_at(next_body(net.registry, now=NOW), path, value)
    with pytest.raises(RegistryError) as caught:
        verify_next(net.registry, sign_file("registry", net.name, body, net.governors).to_bytes())
    assert caught.value.code in ("registry_malformed", "registry_rollback", "broken_chain")


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("members/0/identity/0/key", "members/1/identity/0/key"),
        ("members/0/identity/0/key", "members/1/ledger/0/key"),
        ("members/0/identity/0/key", "members/0/ledger/0/key"),
        ("members/0/witness/0/key", "governors/keys/0"),
        ("members/0/tls", "members/1/tls"),
    ],
)
def test_a_key_with_two_uses_is_refused(net, path, source):
    body = next_body(net.registry, now=NOW)
    value = body
    for part in source.split("/"):
        value = value[int(part) if part.isdigit() else part]
    with refused("registry_malformed") as caught:
        sign_registry(set_at(body, path, value), net.governors)
    assert "icbc" in caught.value.message


def test_one_key_twice_with_one_member_is_refused(net):
    body = next_body(net.registry, now=NOW)
    key = body["members"][0]["identity"][0]
    with refused("registry_malformed"):
        sign_registry(set_at(body, "members/0/identity", [key, key]), net.governors)


def test_more_members_than_allowed_are_refused(net):
    body = next_body(net.registry, now=NOW)
    body["members"] = [body["members"][0]] * 1_001
    with refused("registry_malformed"):
        sign_registry(body, net.governors)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"{",
        b"\xff",
        b'{"signatures":[],"statement":[]}',
        b'{"signatures":{},"statement":{"network":"n"}}',
        b'{"signatures":[],"statement":{}}',
        b'{"signatures":[1],"statement":{"network":"n"}}',
        b'{"extra":0,"signatures":[],"statement":{"network":"n"}}',
        b'{"signatures":[],"statement":{"network":"simnet"} }',
    ],
)
def test_bytes_that_are_no_registry_file_are_refused(net, data):
    with refused("registry_malformed"):
        parse_registry(data)
    with pytest.raises(RegistryError) as caught:
        verify_first(data, bytes(32))
    assert caught.value.code in {"registry_malformed", "registry_pin"}
    with pytest.raises(RegistryError) as caught:
        verify_next(net.registry, data)
    assert caught.value.code in {"registry_malformed", "bad_signature"}


def test_a_file_beyond_its_limit_is_refused_before_it_is_parsed(net):
    with refused("registry_malformed"):
        parse_registry(b" " * (MAX_FILE + 1))


def test_a_pretty_printed_file_is_not_canonical(net):
    with refused("registry_malformed"):
        parse_registry(json.dumps(json.loads(net.registry.to_file()), indent=1).encode())


def test_too_many_signatures_are_refused(net):
    keys = [SigningKey(seed("many", n)) for n in range(65)]
    with pytest.raises(EncodingError):
        read_file("registry", sign_file("registry", "n", {"network": "n"}, keys).to_bytes(), limit=MAX_FILE)


@given(st.integers(0, 2**20), st.integers(1, 255))
@settings(max_examples=100, deadline=None)
def test_no_altered_byte_goes_unnoticed(net, position, change):
    file = bytearray(sign_registry(next_body(net.registry, now=NOW), net.governors))
    file[position % len(file)] ^= change
    with pytest.raises(RegistryError):
        verify_next(net.registry, bytes(file))


# Small rules


@pytest.mark.parametrize(
    ("others", "needed"), [(0, 1), (1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (6, 5), (7, 5), (9, 7), (100, 67)]
)
def test_the_quorum_is_more_than_two_thirds(others, needed):
    assert Quorum().needed(others) == needed


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://peer.icbc.example", ("peer.icbc.example", 443)),
        ("https://peer.icbc.example:8443", ("peer.icbc.example", 8443)),
        ("https://127.0.0.1:1", ("127.0.0.1", 1)),
        ("https://[::1]:65535", ("::1", 65535)),
        ("https://localhost:443", ("localhost", 443)),
    ],
)
def test_a_peer_url_is_host_and_port(url, address):
    assert parse_peer_url(url) == address


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        "http://icbc.example",
        "HTTPS://icbc.example",
        "https://",
        "https://ICBC.example",
        "https://icbc.example/",
        "https://icbc.example/path",
        "https://icbc.example?x",
        "https://icbc.example#x",
        "https://user@icbc.example",
        "https://icbc.example:",
        "https://icbc.example:0",
        "https://icbc.example:65536",
        "https://icbc.example:08443",
        "https://icbc.example:x",
        "https://icbc.example ",
        "https://icbc.example\n",
        "https://-icbc.example",
        "https://icbc..example",
        "https://工行.example",
        "https://::1",
        "https://[::1",
        "https://[0:0:0:0:0:0:0:1]",
        "https://1.2.3",
        "https://" + "a" * 300,
    ],
)
def test_what_is_no_peer_url_is_refused(url):
    with pytest.raises(EncodingError):
        parse_peer_url(url)


@given(st.text(max_size=60))
def test_reading_a_url_never_fails_otherwise(text):
    try:
        host, port = parse_peer_url("https://" + text)
    except InputError:
        return
    assert host
    assert 0 < port < 65536


# --- terms


def with_terms(net, terms):
    return sign_registry(next_body(net.registry, now=NOW + timedelta(hours=1), terms=terms), net.governors)


def test_a_registry_without_terms_allows_ten_years(net):
    assert "terms" not in net.registry.body()
    assert net.registry.most_days("telecom_fraud") == 3650


def test_terms_are_read_and_go_on_to_the_next_version(net):
    second = verify_next(net.registry, with_terms(net, {"telecom_fraud": 365}))
    assert (second.most_days("telecom_fraud"), second.most_days("transaction_fraud")) == (365, 3650)
    third = verify_next(second, sign_registry(next_body(second, now=NOW + timedelta(hours=2)), net.governors))
    assert third.most_days("telecom_fraud") == 365
    body = next_body(third, now=NOW + timedelta(hours=3), terms={})
    assert "terms" not in body
    assert verify_next(third, sign_registry(body, net.governors)).most_days("telecom_fraud") == 3650


@pytest.mark.parametrize(
    "terms",
    [
        {"nonsense": 3},
        {"telecom_fraud": 0},
        {"telecom_fraud": 3651},
        {"telecom_fraud": "365"},
        {"telecom_fraud": True},
        {"telecom_fraud": 1.5},
        [],
        None,
        7,
    ],
)
def test_terms_that_are_none_are_refused(net, terms):
    body = next_body(net.registry, now=NOW + timedelta(hours=1)) | {"terms": terms}
    with refused("registry_malformed"):
        sign_registry(body, net.governors)


def test_empty_terms_are_left_out_or_refused(net):
    body = next_body(net.registry, now=NOW + timedelta(hours=1)) | {"terms": {}}
    with refused("registry_malformed"):
        sign_registry(body, net.governors)
