from __future__ import annotations

import os
import pickle
import re
import tomllib
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from riskshare.config import Config, overlaid
from riskshare.config_sections import ApiKeySection, is_loopback
from riskshare.config_text import render
from riskshare.errors import ConfigError

SHA = "ab" * 32
MEMBER = '[member]\nname = "icbc"\n'
KEY = f'[[api_keys]]\nid = "a"\nsha256 = "{SHA}"\nscopes = ["check"]\nexpires = 2027-01-01T00:00:00Z\n'


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("RISKSHARE_"):
            monkeypatch.delenv(name)


@pytest.fixture
def load(tmp_path):
    def run(text: str | bytes) -> Config:
        path = tmp_path / "riskshare.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return Config.load(path)

    return run


def sections(section: type[BaseModel] = Config, where: str = ""):
    """Every key of the configuration as (section, key)."""
    for name, info in section.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from sections(inner, f"{where}.{name}".lstrip("."))
        elif name != "api_keys":
            yield where, name


# Defaults and the file that init writes


def test_the_smallest_file_names_the_member(load, tmp_path):
    config = load(MEMBER)
    assert config == Config.from_values({"member": {"name": "icbc"}}, tmp_path)
    assert (config.check.deadline_ms, config.check.max_identifiers, config.check.asks_in_flight) == (150, 32, 4)
    assert (config.subscribe.mode, config.subscribe.stale_after_s, config.subscribe.poll_hold_s) == (
        "replicate",
        60,
        20,
    )
    assert (config.subscribe.owner_gib, config.subscribe.owner_lists, config.subscribe.delta_entries) == (
        20,
        256,
        2**24,
    )
    assert (config.epoch.term_days, config.epoch.changeover_hours, config.audit.window_days) == (30, 24, 180)
    assert (config.publish.filter_rate_log2, config.publish.snapshot_term_h, config.publish.reissue_m) == (-20, 24, 60)


def test_the_written_file_reads_back_to_the_defaults(load, tmp_path):
    config = Config.from_values({"member": {"name": "icbc"}}, tmp_path)
    assert load(render(config, tmp_path)) == config


def test_the_written_file_has_every_key(tmp_path):
    text = render(Config.from_values({"member": {"name": "icbc"}}, tmp_path), tmp_path)
    written = tomllib.loads(text)
    for section, key in sections():
        place = written
        for part in section.split("."):
            place = place[part]
        assert key in place, f"{section}.{key}"


def test_every_key_of_the_written_file_is_explained(tmp_path):
    lines = render(Config.from_values({"member": {"name": "icbc"}}, tmp_path), tmp_path).splitlines()
    for before, line in pairwise(lines):
        if re.match(r"[a-z_0-9]+ = ", line):
            assert before.startswith("# "), line
    assert max(len(line) for line in lines) <= 120


def test_api_keys_are_written_and_named_in_a_file_without(load, tmp_path):
    bare = render(Config.from_values({"member": {"name": "icbc"}}, tmp_path), tmp_path)
    for key in ApiKeySection.model_fields:
        assert key in bare
    config = load(MEMBER + KEY + 'addresses = ["10.0.0.0/8", "::1/128"]\n' + KEY.replace('id = "a"', 'id = "b"'))
    assert load(render(config, tmp_path)) == config
    assert config.api_keys[0].expires == datetime(2027, 1, 1, tzinfo=UTC)
    assert not config.api_keys[0].expired(datetime(2026, 12, 31, tzinfo=UTC))
    assert config.api_keys[0].expired(datetime(2027, 1, 1, tzinfo=UTC))


def test_values_that_differ_from_the_defaults_are_written(load, tmp_path):
    values = {
        "member": {"name": "icbc", "network_file": "../net/network.json", "network_sha256": SHA},
        "paths": {"data_dir": "/var/lib/riskshare", "keys_dir": "secret"},
        "listen": {"clients": {"host": "0.0.0.0", "tls_certificate": "c.pem", "tls_key": "k.pem"}},
        "store": {"dsn": 'postgresql://u:p"w\\@h/d', "server_dir": "pg", "database": "db"},
        "subscribe": {"mode": "on_demand", "replicate": ["jd/a", "jd/b"]},
        "check": {"coalescing": False},
    }
    config = Config.from_values(values, tmp_path)
    assert load(render(config, tmp_path)) == config


@given(st.text(max_size=40))
def test_any_text_is_written_so_that_it_reads_back(text):
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        return
    config = Config.from_values({"member": {"name": "icbc"}, "store": {"dsn": text}}, Path("/folder"))
    written = tomllib.loads(render(config, Path("/folder")))
    assert written["store"]["dsn"] == text


# Paths


def test_relative_paths_count_from_the_files_folder(load, tmp_path):
    config = load(MEMBER + '[paths]\nkeys_dir = "../k"\n')
    assert config.paths.data_dir == tmp_path / "data"
    assert config.paths.keys_dir == tmp_path / "../k"
    assert config.member.network_file == tmp_path / "network.json"
    assert config.server_dir == tmp_path / "data" / "postgres"


def test_absolute_and_home_paths_stay(load, monkeypatch):
    monkeypatch.setenv("HOME", "/home/peer")
    config = load(MEMBER + '[paths]\ndata_dir = "/d"\nkeys_dir = "~/keys"\n[store]\nserver_dir = "/pg"\n')
    assert config.paths.data_dir == Path("/d")
    assert config.paths.keys_dir == Path("/home/peer/keys")
    assert config.server_dir == Path("/pg")


def test_a_relative_path_to_the_file_itself_works(load, tmp_path, monkeypatch):
    load(MEMBER)
    monkeypatch.chdir(tmp_path)
    assert Config.load(Path("riskshare.toml")).paths.data_dir == tmp_path / "data"


def test_the_database_is_named_after_the_member(load):
    assert load('[member]\nname = "icbc-2"\n').database == "member_icbc_2"
    assert load(MEMBER + '[store]\ndatabase = "own"\n').database == "own"
    assert len(load(f'[member]\nname = "{"a" * 63}"\n').database) <= 63


def test_the_pinned_digest_is_bytes(load):
    assert load(MEMBER).registry_digest == b""
    assert load(MEMBER + f'network_sha256 = "{SHA}"\n').registry_digest == bytes.fromhex(SHA)


# What is refused, and how it is named


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (MEMBER + "[check]\ndeadlin_ms = 3\n", "unknown key check.deadlin_ms. Did you mean deadline_ms?"),
        (MEMBER + "[chek]\ndeadline_ms = 3\n", "unknown key chek. Did you mean check?"),
        (MEMBER + "[listen.peer]\nport = 3\n", "unknown key listen.peer. Did you mean peers?"),
        (MEMBER + "[listen.peers]\nprt = 3\n", "unknown key listen.peers.prt. Did you mean port?"),
        (MEMBER + "[log]\nzzz = 3\n", "unknown key log.zzz. Known here: level, format"),
        (MEMBER + KEY + "scops = 3\n", "unknown key api_keys[0].scops. Did you mean scopes?"),
        ("", "member is missing"),
        ("[member]\n", "member.name is missing"),
        (MEMBER + KEY.replace('id = "a"\n', ""), "api_keys[0].id is missing"),
        ("member = 3\n", "member is a section, written [member], not a value"),
        (MEMBER + '[check]\ndeadline_ms = "150"\n', "check.deadline_ms: input should be a valid integer"),
        (MEMBER + "[check]\ndeadline_ms = 1.5\n", "check.deadline_ms: input should be a valid integer"),
        (MEMBER + "[check]\ndeadline_ms = true\n", "check.deadline_ms: input should be a valid integer"),
        (MEMBER + "[check]\ncoalescing = 1\n", "check.coalescing: input should be a valid boolean"),
        (MEMBER + "[paths]\ndata_dir = 1\n", "paths.data_dir: input"),
        (MEMBER + '[subscribe]\non_demand = "jd/a"\n', "subscribe.on_demand: input should be a valid array"),
        (MEMBER + "[store]\ndsn = 5\n", "store.dsn: input should be a valid string"),
        (MEMBER + "[check]\ndeadline_ms = 0\n", "check.deadline_ms: input should be greater than or equal to 1"),
        (MEMBER + "[check]\ndeadline_ms = 60001\n", "check.deadline_ms: input should be less than"),
        (MEMBER + "[listen.peers]\nport = 65536\n", "listen.peers.port: input should be less than"),
        (MEMBER + "[publish]\nfilter_rate_log2 = 20\n", "publish.filter_rate_log2: input should be less than"),
        (MEMBER + '[publish]\nscheduler = "tcp://x:1"\n', "publish: scheduler must begin with tls://"),
        (
            MEMBER + '[publish]\nengine = "dask"\nscheduler = "tls://x:1"\n',
            "publish: the engine dask needs scheduler, ",
        ),
        (MEMBER + '[publish]\nengine = "spark"\n', "publish.engine: input should be 'local' or 'dask'"),
        (MEMBER + '[log]\nlevel = "loud"\n', "log.level: input should be 'debug'"),
        (MEMBER + "[subscribe]\nowner_gib = 0\n", "subscribe.owner_gib: input should be greater than"),
        (MEMBER + "[subscribe]\nowner_lists = 513\n", "subscribe.owner_lists: input should be less than"),
        (MEMBER + "[subscribe]\ndelta_entries = 999\n", "subscribe.delta_entries: input should be greater than"),
        (MEMBER + '[subscribe]\nmode = "both"\n', "subscribe.mode: input should be 'replicate' or 'on_demand'"),
        ('[member]\nname = "IC BC"\n', "member.name: a member's name is"),
        (MEMBER + 'network_sha256 = "AB"\n', "member.network_sha256: 64 lower-case hex digits"),
        (MEMBER + '[subscribe]\non_demand = ["jd"]\n', "subscribe.on_demand[0]: a list is named in full"),
        (
            MEMBER + '[subscribe]\non_demand = ["a/b"]\nreplicate = ["a/b"]\n',
            "subscribe: a list stands in replicate and",
        ),
        (MEMBER + "[subscribe]\nstale_after_s = 20\n", "subscribe: stale_after_s must exceed poll_hold_s"),
        (MEMBER + "[publish]\nsnapshot_term_h = 1\n", "publish: reissue_m must be at most half"),
        (MEMBER + "[epoch]\nterm_days = 1\n", "epoch: changeover_hours must be less"),
        (MEMBER + '[store]\ndatabase = "a b"\n', "store.database: 1 to 63"),
        (MEMBER + "[listen.peers]\nport = 9443\n", "listen: peers, clients and operations need three different ports"),
        (MEMBER + KEY + KEY, "api_keys: two API keys have one id"),
        (MEMBER + KEY.replace(SHA, "zz"), "api_keys[0].sha256: 64 lower-case hex digits"),
        (MEMBER + KEY.replace('["check"]', "[]"), "api_keys[0].scopes: "),
        (MEMBER + KEY.replace('["check"]', '["root"]'), "api_keys[0].scopes[0]: input should be 'check'"),
        (MEMBER + KEY.replace("00Z", "00"), "api_keys[0].expires: input should have timezone info"),
        (MEMBER + KEY + 'addresses = ["10.0.0.1/8"]\n', "api_keys[0].addresses[0]"),
    ],
)
def test_a_wrong_file_is_refused_with_the_key(load, text, sentence):
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert sentence in caught.value.message
    assert "riskshare.toml" in caught.value.message


def test_all_wrong_keys_are_named_at_once(load):
    with pytest.raises(ConfigError) as caught:
        load(MEMBER + "[check]\ndeadlin_ms = 3\n[log]\nlvl = 1\n")
    assert "check.deadlin_ms" in caught.value.message
    assert "log.lvl" in caught.value.message


def test_a_flood_of_wrong_keys_is_cut(load):
    with pytest.raises(ConfigError) as caught:
        load(MEMBER + "[check]\n" + "".join(f"x{n} = 1\n" for n in range(100)))
    assert "and 90 more" in caught.value.message


@pytest.mark.parametrize("text", [b"[member", b"\xff\xfe", b"a = 1\na = 2\n", b"= 1", b"a = 2026-13-01"])
def test_a_file_that_is_not_toml_is_refused(load, text):
    with pytest.raises(ConfigError, match=r"riskshare\.toml is not"):
        load(text)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="riskshare init"):
        Config.load(tmp_path / "none.toml")
    with pytest.raises(ConfigError):
        Config.load(tmp_path)


def test_a_huge_file_is_refused(load):
    with pytest.raises(ConfigError, match="longer than"):
        load(b"#" * (4 * 1024 * 1024 + 1))


def test_clients_without_tls_are_served_on_loopback_only(load):
    for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"):
        assert not load(MEMBER + f'[listen.clients]\nhost = "{host}"\n').listen.clients.tls
    for host in ("0.0.0.0", "::", "10.0.0.1", "peer.example", "localhost.example", ""):
        with pytest.raises(ConfigError, match="loopback address only"):
            load(MEMBER + f'[listen.clients]\nhost = "{host}"\n')


def test_clients_with_tls_are_served_anywhere(load, tmp_path):
    tls = 'tls_certificate = "c.pem"\ntls_key = "k.pem"\n'
    clients = load(MEMBER + '[listen.clients]\nhost = "0.0.0.0"\n' + tls).listen.clients
    assert clients.tls
    assert clients.tls_certificate == tmp_path / "c.pem"
    with pytest.raises(ConfigError, match="belong together"):
        load(MEMBER + '[listen.clients]\ntls_key = "k.pem"\n')


# The environment


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("RISKSHARE_CHECK__DEADLINE_MS", "99", lambda config: config.check.deadline_ms == 99),
        ("RISKSHARE_CHECK__COALESCING", "false", lambda config: config.check.coalescing is False),
        ("RISKSHARE_LISTEN__PEERS__PORT", "7", lambda config: config.listen.peers.port == 7),
        ("RISKSHARE_SUBSCRIBE__ON_DEMAND", '["jd/a"]', lambda config: config.subscribe.on_demand == ("jd/a",)),
        ("RISKSHARE_MEMBER__NAME", "jd", lambda config: config.member.name == "jd"),
        ("RISKSHARE_STORE__DSN", "x", lambda config: config.store.dsn.get_secret_value() == "x"),
        ("RISKSHARE_CONFIG", "/x", lambda config: config.check.deadline_ms == 150),
    ],
)
def test_the_environment_overrides_one_key(load, monkeypatch, name, value, read):
    monkeypatch.setenv(name, value)
    assert read(load(MEMBER))


def test_the_environment_gives_what_the_file_lacks(load, monkeypatch, tmp_path):
    monkeypatch.setenv("RISKSHARE_MEMBER__NAME", "jd")
    monkeypatch.setenv("RISKSHARE_PATHS__DATA_DIR", "other")
    config = load("")
    assert config.member.name == "jd"
    assert config.paths.data_dir == tmp_path / "other"


def test_the_environment_completes_a_section_that_the_file_leaves_wrong_alone(load, monkeypatch):
    monkeypatch.setenv("RISKSHARE_LISTEN__CLIENTS__TLS_CERTIFICATE", "c.pem")
    monkeypatch.setenv("RISKSHARE_LISTEN__CLIENTS__TLS_KEY", "k.pem")
    assert load(MEMBER + '[listen.clients]\nhost = "0.0.0.0"\n').listen.clients.tls


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("RISKSHARE_CHECK__DEADLIN_MS", "1", "unknown key check.deadlin_ms. Did you mean deadline_ms?"),
        ("RISKSHARE_CHEK__DEADLINE_MS", "1", "RISKSHARE_CHEK__DEADLINE_MS names a section that does not exist"),
        ("RISKSHARE_CHECK__DEADLINE_MS", "soon", "check.deadline_ms: input should be a valid integer"),
        ("RISKSHARE_SUBSCRIBE__ON_DEMAND", "jd/a", "lists are written in JSON"),
        ("RISKSHARE_API_KEYS", "{", "lists are written in JSON"),
    ],
)
def test_a_wrong_environment_is_refused(load, monkeypatch, name, value, sentence):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        load(MEMBER)
    assert sentence in caught.value.message


# Secrets, and the value itself


def test_no_secret_shows(load, monkeypatch):
    config = load(MEMBER + '[store]\ndsn = "postgresql://u:hunter2@h/d"\n' + KEY)
    assert "hunter2" not in repr(config) + str(config)
    assert SHA not in repr(config)
    monkeypatch.setenv("RISKSHARE_STORE__DSN", '{"hunter2')
    monkeypatch.setenv("RISKSHARE_CHECK__DEADLINE_MS", "hunter2")
    with pytest.raises(ConfigError) as caught:
        load(MEMBER)
    assert "hunter2" not in str(caught.value)


def test_a_configuration_is_frozen_and_travels_to_workers(load):
    config = load(MEMBER + KEY)
    with pytest.raises(ValidationError):
        config.check.deadline_ms = 1
    assert pickle.loads(pickle.dumps(config)) == config


def test_the_mode_of_a_list_is_its_own_or_the_common_one(load):
    subscribe = load(MEMBER + '[subscribe]\non_demand = ["jd/a"]\n').subscribe
    assert (subscribe.mode_of("jd/a"), subscribe.mode_of("jd/b")) == ("on_demand", "replicate")
    subscribe = load(MEMBER + '[subscribe]\nmode = "on_demand"\nreplicate = ["jd/b"]\n').subscribe
    assert (subscribe.mode_of("jd/a"), subscribe.mode_of("jd/b")) == ("on_demand", "replicate")


def test_values_lie_over_values_section_by_section():
    assert overlaid({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"c": 4}, "d": {"e": 5}}) == {
        "a": {"b": 1, "c": 4},
        "d": {"e": 5},
    }


@given(st.text(max_size=30))
def test_no_text_breaks_the_loopback_rule(text):
    assert is_loopback(text) in (True, False)
