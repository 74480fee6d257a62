"""Keys from the environment and from commands: real processes, and nothing of a key where it does not belong."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from riskshare.config import Config
from riskshare.errors import ConfigError
from riskshare.key_source import KeyCommand, KeySources, KeyVariables, source_of, variable
from riskshare.keys import KeyFiles, create_member_keys, read_member_keys

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
KEY = bytes(range(32))
LINE = f"riskshare/v1/data-key {KEY.hex()}"
KINDS = ("identity", "ledger", "witness", "sealing", "data")


@pytest.fixture
def keys_dir(tmp_path):
    create_member_keys(tmp_path / "keys", "icbc", "127.0.0.1", now=NOW)
    return tmp_path / "keys"


def lines(directory):
    return {variable(kind): (directory / f"{kind}.key").read_text().strip() for kind in KINDS}


def refused(code, read, *arguments):
    with pytest.raises(ConfigError) as caught:
        read(*arguments)
    assert caught.value.code == code
    assert KEY.hex()[:16] not in caught.value.message
    assert caught.value.message.endswith(".")
    return caught.value.message


# --- the environment


def test_keys_are_taken_out_of_the_environment_all_at_once(keys_dir):
    environment = {**lines(keys_dir), "PATH": "/bin", "RISKSHARE_STORE__DSN": "x"}
    source = KeyVariables(environment, {})
    assert environment == {"PATH": "/bin", "RISKSHARE_STORE__DSN": "x"}
    read = read_member_keys(keys_dir, source)
    files = read_member_keys(keys_dir)
    assert (read.identity.public, read.ledger.public, read.data) == (
        files.identity.public,
        files.ledger.public,
        files.data,
    )
    assert KEY.hex() not in repr(source)


def test_what_was_taken_once_can_be_read_again():
    taken = {}
    KeyVariables({"RISKSHARE_KEY_DATA": LINE + "\n"}, taken)
    assert KeyVariables({}, taken).read("data") == KEY


def test_a_variable_that_is_missing_is_named():
    assert "RISKSHARE_KEY_DATA_NEXT" in refused("key_missing", KeyVariables({}, {}).read, "data-next")


@pytest.mark.parametrize(
    "text",
    [
        "",
        KEY.hex(),
        LINE[:-1],
        LINE + "0",
        LINE + "\n\n",
        " " + LINE,
        LINE.upper(),
        LINE.replace("data", "sealing"),
        LINE.replace("data", "identity"),
        LINE[:-1] + "é",
    ],
)
def test_a_malformed_key_is_refused_wherever_it_is(text):
    refused("key_malformed", KeyVariables({"RISKSHARE_KEY_DATA": text}, {}).read, "data")
    refused("key_malformed", python(f"import sys; sys.stdout.buffer.write({text.encode()!r})").read, "data")


# --- a command


def python(code, *words, seconds=10.0, environment=None):
    return KeyCommand((sys.executable, "-c", code, *words), environment, seconds)


def test_a_command_is_told_the_kind():
    last = python(f"import sys; print('{LINE}' if sys.argv[1:] == ['a', 'data'] else '')", "a")
    assert last.read("data") == KEY
    named = python(f"import sys; print('{LINE}' if sys.argv[1:] == ['k=data', 'z'] else '')", "k={kind}", "z")
    assert named.read("data") == KEY
    assert python(f"print('{LINE}', end='')").read("data") == KEY


def test_no_shell_reads_the_command(tmp_path):
    refused("key_command", KeyCommand((f"touch {tmp_path / 'made'}",)).read, "data")
    refused("key_malformed", KeyCommand(("echo", f"$(touch {tmp_path / 'made'})", "{kind}")).read, "data")
    assert not (tmp_path / "made").exists()


def test_a_command_gets_no_keys_of_the_environment_and_no_input():
    environment = {**os.environ, "RISKSHARE_KEY_DATA": "secret"}
    code = f"import os, sys; print('{LINE}' if 'RISKSHARE_KEY_DATA' not in os.environ and not sys.stdin.read() else '')"
    assert python(code, environment=environment).read("data") == KEY


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (f"import sys; print('{LINE}'); sys.exit(3)", "status 3"),
        (f"import sys; print('{LINE}', file=sys.stderr); sys.exit(1)", "status 1"),
        ("import sys; sys.stdout.write('x' * 5000); sys.stdout.flush()", "more than 4096 bytes"),
        ("import sys\nwhile True: sys.stdout.write('x' * 5000)", "more than 4096 bytes"),
    ],
)
def test_a_command_that_fails_is_refused_by_its_status_alone(code, says, capfd):
    assert says in refused("key_command", python(code).read, "data")
    assert capfd.readouterr() == ("", "")


def test_a_command_that_does_not_end_is_killed_with_its_children():
    child = f"import subprocess, sys, time; print('{LINE}'); sys.stdout.flush(); time.sleep(600)"
    code = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(600)"
    began = time.monotonic()
    assert "had not ended after 0.5 seconds" in refused("key_command", python(code, seconds=0.5).read, "data")
    assert time.monotonic() - began < 300


@pytest.mark.parametrize("words", [("/nowhere/at/all",), ("",), ("a\0b",)])
def test_a_command_that_cannot_be_run_is_refused(words):
    refused("key_command", KeyCommand(words).read, "data")


# --- which one


def test_each_kind_may_have_a_source_of_its_own(keys_dir):
    script = keys_dir.parent / "kms"
    script.write_text(f"#!/bin/sh\ncat {keys_dir}/$1.key\n")
    script.chmod(stat.S_IRWXU)
    sources = KeySources(
        KeyFiles(keys_dir), {"data": KeyCommand((str(script),)), "sealing": KeyVariables(lines(keys_dir), {})}
    )
    (keys_dir / "moved.key").write_text((keys_dir / "data.key").read_text())
    assert read_member_keys(keys_dir, sources).data == read_member_keys(keys_dir).data
    assert {kind: sources.read(kind) for kind in KINDS} == {kind: KeyFiles(keys_dir).read(kind) for kind in KINDS}


def configured(tmp_path, **keys):
    return Config.from_values({"member": {"name": "icbc"}, "keys": keys}, tmp_path)


def test_the_configuration_names_the_source(tmp_path, keys_dir, monkeypatch):
    for name, text in lines(keys_dir).items():
        monkeypatch.setenv(name, text)
    command = [
        sys.executable,
        "-c",
        "import sys; print(open(sys.argv[1]).read(), end=str())",
        f"{keys_dir}/{{kind}}.key",
    ]
    found = [
        read_member_keys(keys_dir, source_of(configured(tmp_path, **keys))).data
        for keys in ({}, {"source": "env"}, {"source": "env"}, {"source": "command", "command": command})
    ]
    assert set(found) == {KeyFiles(keys_dir).read("data")}
    assert not [name for name in os.environ if name.startswith("RISKSHARE_KEY_")]


@pytest.mark.parametrize(
    "keys", [{"source": "command"}, {"command": ["x"]}, {"data": "command"}, {"source": "vault"}, {"tls": "env"}]
)
def test_a_configuration_that_does_not_fit_together_is_refused(tmp_path, keys):
    with pytest.raises(ConfigError) as caught:
        configured(tmp_path, **keys)
    assert caught.value.code == "config"


def test_a_source_for_one_kind_needs_its_command(tmp_path):
    found = configured(tmp_path, data="command", command=["x", "{kind}"])
    assert found.keys.exceptions == {"data": "command"}


def test_child_processes_do_not_inherit_a_key(keys_dir):
    code = (
        "import os, subprocess, sys\nfrom riskshare.key_source import KeyVariables\n"
        "KeyVariables(os.environ).read('data')\n"
        "sys.exit(subprocess.call([sys.executable, '-c',"
        " \"import os, sys; sys.exit(any('KEY_DATA' in name for name in os.environ))\"]))"
    )
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **lines(keys_dir)}, check=False)
    assert done.returncode == 0
