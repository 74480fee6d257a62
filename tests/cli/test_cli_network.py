"""`network` and `init`: from nothing to a member that knows which registry it believes."""

from __future__ import annotations

import json
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from riskshare.config import Config
from riskshare.governance import load_registry, read_registry
from riskshare.keys import TLS_CERTIFICATE, read_signing_key, read_tls_certificate
from riskshare.registry.joining import sign_request

URL = "https://127.0.0.1:8443"


def pinned(config_file):
    config = Config.load(config_file)
    return load_registry(config.member.network_file, config.registry_digest)


def test_a_network_from_nothing(run, tmp_path):
    """The path of the README: the member pins version 1, and finds version 2 in the governor's folder."""
    assert run("network", "init", "--dir", "net", "--name", "pay").exit_code == 0
    digest = read_registry(tmp_path / "net/network.json").digest.hex()
    made = run("init", "--dir", "a", "--name", "a", "--url", URL, "--network", "net/network.json", "--pin", digest)
    assert made.exit_code == 0
    assert "riskshare serve --config a/riskshare.toml" in made.stdout
    assert run("network", "admit", "--dir", "net", "a/join.json").exit_code == 0
    assert pinned(tmp_path / "a/riskshare.toml").members["a"].url == URL


def test_a_member_that_gets_the_registry_later(run, answer, tmp_path, network):
    made = run("init", "--dir", "a", "--name", "a", "--url", URL)
    assert "network pin --config a/riskshare.toml" in made.stdout
    assert run("network", "admit", "--dir", network, "a/join.json").exit_code == 0
    digest = read_registry(network / "network.json").digest.hex()
    code, [shown] = answer(
        "network", "pin", network / "network.json", "--config", "a/riskshare.toml", "--pin", digest.upper()
    )
    assert code == 0
    assert shown["digest"] == digest
    assert shown["member"] is True
    assert "a" in pinned(tmp_path / "a/riskshare.toml").members


def test_json_of_init_and_admit(answer, network):
    code, [made] = answer("network", "init", "--dir", "other", "--name", "other")
    assert (code, made["network"], made["version"], made["members"]) == (0, "other", 1, [])
    code, [member] = answer("init", "--dir", "a", "--name", "a", "--url", URL, "--roles", "owner, querier,auditor")
    assert (code, member["member"], member["pinned"]) == (0, "a", None)
    assert member["listen"] == {"peers": 8443, "clients": 9443, "operations": 10443}
    code, [after] = answer("network", "admit", "--dir", network, member["request"])
    assert (code, after["version"], after["admitted"], after["changed"]) == (0, 2, ["a"], [])
    code, [shown] = answer("network", "show", network)
    assert [one["member"] for one in shown["members"]] == ["a"]
    assert shown["members"][0]["roles"] == ["auditor", "owner", "querier"]
    code, [renewed] = answer("network", "renew", "--dir", network)
    assert (code, renewed["version"], renewed["members"]) == (0, 3, ["a"])


def test_show_for_a_person_and_for_a_member(run, member, network):
    assert "jd" in run("network", "show", network / "network.json").stdout
    assert run("network", "show", "--config", member).stdout == run("network", "show", "--dir", network).stdout


def test_show_does_not_obey_what_a_member_wrote(run, network):
    assert (
        run("init", "--dir", "a", "--name", "a", "--url", URL, "--title", "Bank [red]\N{BLACK STAR}[/]").exit_code == 0
    )
    run("network", "admit", "--dir", network, "a/join.json")
    assert "Bank [red]\N{BLACK STAR}[/]" in run("network", "show", network).stdout


def test_a_request_for_another_network_is_refused(run, network):
    run("init", "--dir", "a", "--name", "a", "--url", URL, "--network-name", "other")
    result = run("network", "admit", "--dir", network, "a/join.json")
    assert result.exit_code == 1
    assert "Error (join_refused)" in result.stderr
    assert read_registry(network / "network.json").version == 1


@pytest.mark.parametrize(
    ("pin", "code", "sentence"),
    [("0" * 64, 1, "not the registry with that digest"), ("abc", 2, "64 hex digits")],
)
def test_init_compares_the_digest(run, network, pin, code, sentence):
    file = network / "network.json"
    result = run("init", "--dir", "a", "--name", "a", "--url", URL, "--network", file, "--pin", pin)
    assert result.exit_code == code
    assert sentence in result.stderr
    assert not Path("a").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--name", "Bad Name", "--url", URL],
        ["--name", "a", "--url", "http://plain.example"],
        ["--name", "a", "--url", URL, "--pin", "0" * 64],
        ["--name", "a", "--url", URL, "--roles", "king"],
    ],
)
def test_init_refuses_bad_values(run, tmp_path, words):
    assert run("init", "--dir", "a", *words).exit_code == 2
    assert not list(tmp_path.glob("a/*"))


def test_a_network_without_a_usable_name_is_refused(run, tmp_path):
    assert run("network", "init", "--dir", "net", "--name", "").exit_code == 2
    assert not list(tmp_path.glob("net/*"))


def test_nothing_is_made_twice(run, network):
    assert run("network", "init", "--dir", network).exit_code == 2
    assert run("init", "--dir", "a", "--name", "a", "--url", URL).exit_code == 0
    assert run("init", "--dir", "a", "--name", "a", "--url", URL).exit_code == 2


def test_pin_wants_somebody_to_compare(run, member, network):
    before = member.read_bytes()
    result = run("network", "pin", network / "network.json", "--config", member)
    assert result.exit_code == 2
    assert read_registry(network / "network.json").digest.hex() in result.stderr
    assert member.read_bytes() == before


def test_pin_refuses_another_digest(run, member, network):
    before = member.read_bytes()
    result = run("network", "pin", network / "network.json", "--config", member, "--pin", "0" * 64)
    assert result.exit_code == 1
    assert "Error (registry_pin)" in result.stderr
    assert member.read_bytes() == before


def test_pin_refuses_an_altered_file(run, member, network):
    before = member.read_bytes()
    file = network / "network.json"
    file.write_bytes(file.read_bytes().replace(b'"CNY"', b'"EUR"'))
    assert run("network", "pin", file, "--config", member, "--yes").exit_code == 1
    assert member.read_bytes() == before


def test_pin_changes_two_lines_and_no_rights(run, member, network):
    before = member.read_text().splitlines()
    assert run("network", "pin", network, "--config", member, "--yes").exit_code == 0
    after = member.read_text().splitlines()
    changed = [new.partition(" ")[0] for old, new in zip(before, after, strict=True) if old != new]
    assert changed == ["network_sha256"]
    assert member.stat().st_mode & 0o777 == 0o600
    assert list(member.parent.glob(".riskshare.toml*")) == []


def test_pin_warns_who_is_no_member(run, network):
    run("init", "--dir", "a", "--name", "a", "--url", URL)
    result = run("network", "pin", network, "--config", "a/riskshare.toml", "--yes")
    assert result.exit_code == 0
    assert "a is no member of it yet" in result.stderr


def test_pin_warns_whose_keys_are_others(run, tmp_path, member, network):
    run("init", "--dir", "twin", "--name", "jd", "--url", URL)
    result = run("network", "pin", network, "--config", "twin/riskshare.toml", "--yes", "--json")
    assert json.loads(result.stdout)["member"] is True
    assert "other keys" in result.stderr
    assert (
        tomllib.loads((tmp_path / "twin/riskshare.toml").read_text())["member"]["network_file"] == "../net/network.json"
    )


def changed_request(folder, config, **changes):
    """A new request of a member with the keys that it has, as its file."""
    keys = config.paths.keys_dir
    signing = {name: read_signing_key(keys / f"{name}.key", name) for name in ("identity", "ledger", "witness")}
    made = sign_request(
        "riskshare",
        config.member.name,
        **{"url": URL, "roles": ("owner", "querier"), "now": datetime.now(UTC)} | signing | changes,
        certificate=read_tls_certificate(keys / TLS_CERTIFICATE).der,
    )
    file = folder / "changed.json"
    file.write_bytes(made)
    return file


def test_admit_shows_what_it_signs_of_a_new_member(run, network):
    run("init", "--dir", "a", "--name", "a", "--url", URL, "--title", "Bank A", "--roles", "auditor,querier")
    shown = run("network", "admit", "--dir", network, "a/join.json").stdout
    for text in ("a is new", "Bank A", "auditor, querier", "all members; 1,000 checks a day", URL, "0 CNY"):
        assert text in shown


def test_admit_shows_what_a_member_had_before(run, answer, tmp_path, member, network):
    file = changed_request(
        tmp_path, Config.load(member), roles=("auditor", "owner", "querier"), price="0.5", url="https://127.0.0.1:8999"
    )
    shown = run("network", "admit", "--dir", network, file, "--dry-run").stdout
    assert "owner, querier → auditor, owner, querier" in shown
    assert "nobody → all members" in shown
    assert "0 CNY an evaluation → 0.5 CNY an evaluation" in shown
    code, [told] = answer("network", "admit", "--dir", network, file)
    assert (code, told["admitted"], told["changed"]) == (0, [], ["jd"])
    [brought] = told["brought"]
    assert brought["was"] == {"roles": ["owner", "querier"], "audit": None, "url": URL, "price": "0"}
    assert brought["roles"] == ["auditor", "owner", "querier"]


def test_a_dry_run_of_admit_signs_nothing(run, answer, network):
    run("init", "--dir", "a", "--name", "a", "--url", URL)
    before = (network / "network.json").read_bytes()
    code, [told] = answer("network", "admit", "--dir", network, "a/join.json", "--dry-run")
    assert (code, told["signed"], told["version"], told["admitted"]) == (0, False, 1, ["a"])
    assert (network / "network.json").read_bytes() == before


def test_a_request_that_was_admitted_signs_no_new_version(run, answer, network):
    run("init", "--dir", "a", "--name", "a", "--url", URL)
    run("network", "admit", "--dir", network, "a/join.json")
    before = (network / "network.json").read_bytes()
    code, [told] = answer("network", "admit", "--dir", network, "a/join.json")
    assert (code, told["signed"], told["version"], told["changed"]) == (0, False, 2, [])
    assert "stands in version 2 already" in run("network", "admit", "--dir", network, "a/join.json").stdout
    assert (network / "network.json").read_bytes() == before
