from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from riskshare import governance
from riskshare.config import Config
from riskshare.errors import ConfigError, DiskError, RegistryError
from riskshare.governance import (
    admit,
    create_governor_key,
    create_member,
    create_network,
    current_registry,
    load_registry,
    read_registry,
    set_standing,
)
from riskshare.keys import api_key_sha256, read_member_keys
from riskshare.registry import Quota, next_body, read_request, sign_registry
from riskshare.signature import SigningKey
from tests.simulator.disk import largest_file
from tests.simulator.network import make_member, seed

NOW = datetime(2026, 11, 22, 8, 30, 0, 123456, tzinfo=UTC)


@pytest.fixture
def net(tmp_path) -> Path:
    create_network(tmp_path / "net", now=NOW)
    return tmp_path / "net"


def refused(code: str):
    return pytest.raises(RegistryError, check=lambda error: error.code == code)


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def join(tmp_path: Path, name: str, port: int, **options) -> Path:
    return create_member(tmp_path / name, name, f"https://127.0.0.1:{port}", now=NOW, **options).request_file


# A network


def test_a_network_is_a_key_and_a_registry(net):
    assert sorted(contents(net)) == ["governor.key", "network.json", "registry/1.json"]
    assert stat.S_IMODE((net / "governor.key").stat().st_mode) == 0o600
    registry = current_registry(net)
    assert (registry.network, registry.version, dict(registry.members)) == ("riskshare", 1, {})
    assert (net / "registry/1.json").read_bytes() == (net / "network.json").read_bytes() == registry.to_file()


@pytest.mark.parametrize("existing", ["governor.key", "network.json", "registry"])
def test_a_second_network_does_not_overwrite_the_first(tmp_path, existing):
    (tmp_path / existing).write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        create_network(tmp_path, now=NOW)
    assert contents(tmp_path) == {existing: b"mine"}


def test_a_network_with_a_bad_name_is_refused_and_leaves_nothing(tmp_path):
    with refused("registry_malformed"):
        create_network(tmp_path / "net", "two words", now=NOW)
    assert not (tmp_path / "net").exists()


def test_a_network_of_several_governors(tmp_path):
    keys = [tmp_path / "second.key", tmp_path / "third.key"]
    publics = [create_governor_key(path) for path in keys]
    registry = create_network(tmp_path / "net", now=NOW, threshold=2, governor_keys=keys)
    assert registry.governors.threshold == 2
    assert set(publics) < set(registry.governors.keys)
    request = join(tmp_path, "icbc", 9001)
    with pytest.raises(ConfigError, match=r"2 of the network's 3 governors must sign, and only 1"):
        admit(tmp_path / "net", [request], now=NOW)
    with pytest.raises(ConfigError, match="only 1"):
        admit(tmp_path / "net", [request], now=NOW, governor_keys=[tmp_path / "net" / "governor.key"])
    assert admit(tmp_path / "net", [request], now=NOW, governor_keys=keys[1:]).version == 2


def test_a_threshold_beyond_the_governors_is_refused(tmp_path):
    with refused("registry_malformed"):
        create_network(tmp_path / "net", now=NOW, threshold=2)


# A member


def test_a_member_gets_keys_configuration_api_key_and_request(tmp_path):
    made = create_member(tmp_path / "icbc", "icbc", "https://peer.icbc.example:8443", now=NOW, title="ICBC")
    names = {"riskshare.toml", "api-key", "join.json"}
    keys = {f"keys/{name}.key" for name in ("identity", "tls", "ledger", "witness", "sealing", "data")}
    assert set(contents(tmp_path / "icbc")) == names | keys | {"keys/tls.crt"}
    for name in ("riskshare.toml", "api-key"):
        assert stat.S_IMODE((tmp_path / "icbc" / name).stat().st_mode) == 0o600
    request = read_request(made.request_file.read_bytes())
    assert (request.member, request.title, request.network) == ("icbc", "ICBC", "riskshare")
    assert request.identity == read_member_keys(made.config.paths.keys_dir).identity.public


def test_the_written_configuration_is_the_one_returned(tmp_path):
    made = create_member(tmp_path / "icbc", "icbc", "https://127.0.0.1:8443", now=NOW)
    assert Config.load(made.config_file) == made.config


def test_the_configuration_follows_from_the_url(tmp_path):
    listen = create_member(tmp_path / "a", "a", "https://127.0.0.1:9001", now=NOW).config.listen
    assert (listen.peers.host, listen.peers.port) == ("127.0.0.1", 9001)
    assert (listen.clients.port, listen.operations.port) == (10_001, 11_001)
    listen = create_member(tmp_path / "b", "b", "https://peer.b.example:64000", now=NOW).config.listen
    assert (listen.peers.host, listen.clients.port, listen.operations.port) == ("0.0.0.0", 63_000, 62_000)
    assert listen.clients.host == "127.0.0.1"


def test_neighbouring_ports_do_not_collide(tmp_path):
    used: set[int] = set()
    for n in range(5):
        listen = create_member(tmp_path / f"m{n}", f"m{n}", f"https://127.0.0.1:{9000 + n}", now=NOW).config.listen
        used |= {listen.peers.port, listen.clients.port, listen.operations.port}
    assert len(used) == 15


def test_the_api_key_is_stored_hashed(tmp_path):
    made = create_member(tmp_path / "icbc", "icbc", "https://127.0.0.1:8443", now=NOW)
    secret = made.api_key_file.read_text().strip()
    (key,) = made.config.api_keys
    assert key.sha256 == api_key_sha256(secret)
    assert key.scopes == ("check", "publish")
    assert key.expires - NOW <= timedelta(days=365)
    assert secret not in made.config_file.read_text()


def test_a_member_of_a_given_network_pins_it(tmp_path, net):
    made = create_member(
        tmp_path / "icbc", "icbc", "https://127.0.0.1:8443", now=NOW, network_file=net / "network.json"
    )
    registry = read_registry(net / "network.json")
    assert made.config.registry_digest == registry.digest
    assert load_registry(made.config.member.network_file, made.config.registry_digest) == registry
    assert Config.load(made.config_file) == made.config
    assert 'network_file = "../net/network.json"' in made.config_file.read_text()


def test_settings_lie_over_those_chosen(tmp_path):
    settings = {"listen": {"clients": {"port": 1234}}, "store": {"server_dir": "../pg"}}
    made = create_member(tmp_path / "icbc", "icbc", "https://127.0.0.1:8443", now=NOW, settings=settings)
    assert made.config.listen.clients.port == 1234
    assert made.config.listen.operations.port == 10_443
    assert Config.load(made.config_file).server_dir == tmp_path / "icbc" / "../pg"


@pytest.mark.parametrize("existing", ["riskshare.toml", "join.json", "api-key", "keys"])
def test_a_member_is_never_overwritten(tmp_path, existing):
    (tmp_path / existing).write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        create_member(tmp_path, "icbc", "https://127.0.0.1:8443", now=NOW)
    assert contents(tmp_path) == {existing: b"mine"}


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("ICBC", "https://127.0.0.1:8443"),
        ("", "https://127.0.0.1:8443"),
        ("../x", "https://127.0.0.1:8443"),
        ("icbc", "http://127.0.0.1:8443"),
        ("icbc", "https://127.0.0.1:8443/"),
        ("icbc", "127.0.0.1:8443"),
    ],
)
def test_a_bad_name_or_url_is_refused_and_leaves_nothing(tmp_path, name, url):
    with pytest.raises(ConfigError):
        create_member(tmp_path / "m", name, url, now=NOW)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [{"title": "a\nb"}, {"kind": "A Bank"}, {"roles": []}, {"price": "-1"}])
def test_a_bad_request_leaves_nothing(tmp_path, options):
    with refused("join_refused"):
        create_member(tmp_path / "m", "icbc", "https://127.0.0.1:8443", now=NOW, **options)
    assert contents(tmp_path / "m") == {}
    assert not (tmp_path / "m" / "keys").exists()


def test_a_member_that_does_not_fit_on_the_disk_leaves_nothing(tmp_path):
    with largest_file(4_000), pytest.raises(DiskError, match=r"riskshare\.toml"):
        create_member(tmp_path / "m", "icbc", "https://127.0.0.1:8443", now=NOW)
    assert contents(tmp_path) == {}
    create_member(tmp_path / "m", "icbc", "https://127.0.0.1:8443", now=NOW)


def test_a_network_that_does_not_fit_on_the_disk_leaves_nothing(tmp_path):
    with largest_file(200), pytest.raises(DiskError, match="registry"):
        create_network(tmp_path / "net", now=NOW)
    assert contents(tmp_path) == {}
    create_network(tmp_path / "net", now=NOW)


def test_a_version_that_does_not_fit_on_the_disk_is_not_issued(tmp_path, net):
    request, before = join(tmp_path, "icbc", 9001), contents(net)
    with largest_file(1_000), pytest.raises(DiskError):
        admit(net, [request], now=NOW)
    assert contents(net) == before
    assert admit(net, [request], now=NOW).version == 2


# Admission


def test_requests_become_members_of_the_next_version(tmp_path, net):
    requests = [join(tmp_path, "icbc", 9001), join(tmp_path, "jd", 9002, kind="e_wallet", roles=["owner"])]
    registry = admit(net, requests, now=NOW + timedelta(hours=1), quota=Quota(5, 6, 7))
    assert list(registry.members) == ["icbc", "jd"]
    assert registry.members["jd"].roles == {"owner"}
    assert registry.members["jd"].quota == Quota(5, 6, 7)
    assert sorted(contents(net)) == ["governor.key", "network.json", "registry/1.json", "registry/2.json"]
    assert (net / "network.json").read_bytes() == registry.to_file()


def test_one_admission_follows_another(tmp_path, net):
    admit(net, [join(tmp_path, "icbc", 9001)], now=NOW)
    registry = admit(net, [join(tmp_path, "jd", 9002)], now=NOW)
    assert (registry.version, list(registry.members)) == (3, ["icbc", "jd"])


def test_without_a_request_the_registry_is_issued_anew(net):
    registry = admit(net, [], now=NOW + timedelta(days=80))
    assert registry.expires_at == registry.issued_at + timedelta(days=90)
    assert registry.version == 2


def test_a_refused_request_issues_nothing(tmp_path, net):
    good, bad = join(tmp_path, "icbc", 9001), join(tmp_path, "jd", 9002)
    body = json.loads(bad.read_bytes())
    body["statement"]["title"] = "altered"
    bad.write_bytes(json.dumps(body, separators=(",", ":"), sort_keys=True).encode())
    before = contents(net)
    with refused("bad_signature"):
        admit(net, [good, bad], now=NOW)
    assert contents(net) == before


def test_a_missing_or_huge_request_is_refused(tmp_path, net):
    with pytest.raises(ConfigError, match="cannot be read"):
        admit(net, [tmp_path / "none.json"], now=NOW)
    (tmp_path / "huge.json").write_bytes(b" " * 100_000)
    with pytest.raises(ConfigError, match="longer"):
        admit(net, [tmp_path / "huge.json"], now=NOW)


def test_a_folder_without_a_network_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"network\.json"):
        admit(tmp_path, [], now=NOW)


def test_a_clock_behind_the_last_version_is_refused(net):
    with pytest.raises(ConfigError, match="clock"):
        admit(net, [], now=NOW - timedelta(minutes=1))


def test_a_governor_key_that_others_may_read_is_refused(net):
    (net / "governor.key").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        admit(net, [], now=NOW)


def test_an_altered_registry_file_is_refused(net):
    path = net / "network.json"
    path.write_bytes(path.read_bytes().replace(b'"CNY"', b'"EUR"'))
    with refused("bad_signature"):
        admit(net, [], now=NOW)


def test_a_crash_between_signing_and_publishing_is_finished(tmp_path, net):
    first = (net / "network.json").read_bytes()
    second = admit(net, [join(tmp_path, "icbc", 9001)], now=NOW)
    (net / "network.json").write_bytes(first)  # as if the process had died before the renaming
    assert current_registry(net) == second
    assert (net / "network.json").read_bytes() == second.to_file()
    (net / "network.json").write_bytes(first)
    assert admit(net, [], now=NOW).version == 3


def test_a_version_of_somebody_else_is_not_adopted(net):
    stranger = SigningKey(seed("stranger"))
    forged = sign_registry(next_body(read_registry(net / "network.json"), now=NOW), [stranger])
    (net / "registry" / "2.json").write_bytes(forged)
    with refused("bad_signature"):
        admit(net, [], now=NOW)


def test_two_admissions_at_once_do_not_fork(tmp_path, net, monkeypatch):
    """The second has read version 1 before the first wrote version 2."""
    stale = current_registry(net)
    first = admit(net, [join(tmp_path, "icbc", 9001)], now=NOW)
    monkeypatch.setattr(governance, "current_registry", lambda _: stale)
    with pytest.raises(ConfigError, match="another command"):
        admit(net, [join(tmp_path, "jd", 9002)], now=NOW)
    monkeypatch.undo()
    assert current_registry(net) == first
    assert not [path for path in net.rglob(".*") if path.is_file()]


def test_a_member_is_suspended_and_comes_back(tmp_path, net):
    admit(net, [join(tmp_path, "icbc", 9001)], now=NOW)
    assert set_standing(net, "icbc", "suspended", now=NOW).with_role("owner") == ()
    assert len(set_standing(net, "icbc", "good", now=NOW).with_role("owner")) == 1
    with pytest.raises(ConfigError, match="icbc"):
        set_standing(net, "jd", "suspended", now=NOW)


def test_a_hostile_request_changes_nobody_else(tmp_path, net):
    admit(net, [join(tmp_path, "icbc", 9001)], now=NOW)
    thief = make_member("icbc", "https://127.0.0.1:30000", NOW, generation=1)
    (tmp_path / "thief.json").write_bytes(thief.request("riskshare", NOW))
    with refused("join_refused"):
        admit(net, [tmp_path / "thief.json"], now=NOW)


# What a member reads


def test_a_newer_registry_is_believed_by_the_folder_beside_it(tmp_path, net):
    pinned = read_registry(net / "network.json").digest
    admit(net, [join(tmp_path, "icbc", 9001)], now=NOW)
    newest = admit(net, [], now=NOW)
    assert load_registry(net / "network.json", pinned) == newest
    assert load_registry(net / "network.json", newest.digest) == newest


def test_a_newer_registry_alone_is_not_believed(tmp_path, net):
    pinned = read_registry(net / "network.json").digest
    newest = admit(net, [], now=NOW)
    (tmp_path / "network.json").write_bytes(newest.to_file())
    with refused("registry_pin"):
        load_registry(tmp_path / "network.json", pinned)


def test_another_networks_registry_is_not_believed(tmp_path, net):
    other = create_network(tmp_path / "other", now=NOW)
    admit(net, [], now=NOW)
    with refused("registry_pin"):
        load_registry(net / "network.json", other.digest)


def test_a_history_that_does_not_lead_here_is_not_believed(tmp_path, net):
    pinned = read_registry(net / "network.json").digest
    create_network(tmp_path / "other", now=NOW)
    stranger = admit(tmp_path / "other", [], now=NOW)
    (net / "network.json").write_bytes(stranger.to_file())
    with pytest.raises(RegistryError) as caught:
        load_registry(net / "network.json", pinned)
    assert caught.value.code in ("bad_signature", "broken_chain")


def test_without_a_pin_nothing_is_believed(net):
    with pytest.raises(ConfigError, match="network_sha256"):
        load_registry(net / "network.json", b"")
