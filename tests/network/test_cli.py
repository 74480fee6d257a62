"""By hand, as in the README: a network, two members, two running peers, an import, checks; every command a process."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from riskshare.generate import generate

LISTED = generate(5, 40, ["phone", "email"])
UNLISTED = generate(5, 3, ["bank_card"])
PATIENCE = 60.0
COMMAND = [sys.executable, "-m", "riskshare"]


def free_port():
    """A port that is free with those 1,000 and 2,000 above it, which `init` chooses for clients and operations."""
    for _ in range(100):
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            if port < 60_000 and all(is_free(port + more) for more in (1_000, 2_000)):
                return port
    raise AssertionError("no free ports")


def is_free(port):
    with socket.socket() as other:
        try:
            other.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@dataclass
class Shell:
    """A folder in which commands run."""

    folder: Path
    running: dict[str, subprocess.Popen] = field(default_factory=dict)

    def run(self, *words, input=None, **environment):  # noqa: A002 - as subprocess has it
        return subprocess.run(
            [*COMMAND, *map(str, words)],
            cwd=self.folder,
            env={**os.environ, **environment},
            input=input,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )

    def json(self, *words, **more):
        done = self.run(*words, "--json", **more)
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]

    def serve(self, member):
        with (self.folder / f"{member}.log").open("ab") as log:
            self.running[member] = subprocess.Popen(
                [*COMMAND, "serve", "--config", f"{member}/riskshare.toml"], cwd=self.folder, stdout=log, stderr=log
            )

    def stop(self, member):
        process = self.running.pop(member)
        process.terminate()
        return process.wait(PATIENCE)

    def check_until(self, wanted, *words):
        """Repeat a check until its verdict is the wanted one: peers start, and lists arrive, in their own time."""
        end = time.monotonic() + PATIENCE
        while True:
            code, answers = self.json("check", *words, "--config", "bank/riskshare.toml", "--deadline-ms", 2000)
            if code == wanted:
                return answers[0]
            assert time.monotonic() < end, (code, answers)


@pytest.fixture(scope="module")
def shell():
    """A network of the bank and the owner jd, both running; jd has published a list."""
    made = Shell(Path(tempfile.mkdtemp(prefix="rs-")))
    try:
        code, [network] = made.json("network", "init", "--dir", "net")
        assert code == 0
        registry = ("--network", "net/network.json", "--pin", network["digest"])
        for name in ("bank", "jd"):
            url = f"https://127.0.0.1:{free_port()}"
            assert made.run("init", "--dir", name, "--name", name, "--url", url, *registry).returncode == 0
        assert made.run("network", "admit", "--dir", "net", "bank/join.json", "jd/join.json").returncode == 0
        words = ("list", "create", "high-risk", "--category", "telecom_fraud", "--config", "jd/riskshare.toml")
        assert made.run(*words).returncode == 0
        made.serve("jd")
        made.serve("bank")
        (made.folder / "listed.csv").write_text("".join(f"{one.canonical}\n" for one in LISTED))
        made.check_until(0, UNLISTED[0].canonical)
        yield made
    finally:
        for member in list(made.running):
            made.stop(member)
        shutil.rmtree(made.folder)


@pytest.fixture(scope="module")
def published(shell):
    """What the import said."""
    code, [done] = shell.json("list", "import", "high-risk", "listed.csv", "--config", "jd/riskshare.toml")
    assert code == 0
    shell.check_until(1, LISTED[0].canonical)
    return done


def test_an_import_says_in_which_version_it_was_published(shell, published):
    assert published["peer_running"] is True
    assert published["published"]["version"] > 1
    _, [status] = shell.json("list", "status", "high-risk", "--config", "jd/riskshare.toml")
    assert (status["active"], status["pending"]) == (40, 0)
    assert status["snapshots"][-1]["version"] >= published["published"]["version"]


def test_a_hit_is_1(shell, published):
    code, [answer] = shell.json(
        "check", LISTED[1].canonical, UNLISTED[0].canonical, "--purpose", "payment", "--config", "bank/riskshare.toml"
    )
    assert (code, answer["verdict"]) == (1, "hit")
    assert [(hit["identifier"], hit["list"]) for hit in answer["hits"]] == [(0, "jd/high-risk")]
    assert answer["receipts"]


def test_clear_is_0_and_a_person_understands_it(shell, published):
    done = shell.run("check", UNLISTED[1].canonical, "--config", "bank/riskshare.toml", "--deadline-ms", "2000")
    assert done.returncode == 0
    assert done.stdout.startswith(" CLEAR ")
    assert UNLISTED[1].value not in done.stdout


def test_many_checks_from_a_file(shell, published):
    lines = f"{UNLISTED[0].canonical}\n# nothing\n{LISTED[2].canonical}\n"
    words = ("check", "--file", "-", "--config", "bank/riskshare.toml", "--deadline-ms", "2000")
    code, answers = shell.json(*words, input=lines)
    assert code == 1
    assert [(one["line"], one["verdict"]) for one in answers] == [(1, "clear"), (3, "hit")]
    code, answers = shell.json(*words, input=f"{lines}phone:1\n")
    assert (code, answers[2]["error"]["code"]) == (4, "invalid_identifier")
    assert shell.run(*words, input="").returncode == 2


def test_a_bad_option_of_checks_from_a_file_says_what_to_do(shell, published):
    words = ("check", "--file", "-", "--config", "bank/riskshare.toml", "--reference", "x" * 10_000)
    code, [answer] = shell.json(*words, input=f"{UNLISTED[0].canonical}\n")
    assert (code, answer["error"]["code"]) == (4, "invalid_input")
    assert "/reference: " in answer["error"]["message"]
    assert "/reference: " in shell.run(*words, input=f"{UNLISTED[0].canonical}\n").stdout


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["phone:1"], "invalid_identifier"),
        ([UNLISTED[0].canonical, "--purpose", "fun"], "unknown_purpose"),
        ([UNLISTED[0].canonical, "--categories", "nonsense"], "unknown_category"),
        ([UNLISTED[0].canonical] * 33, "too_many_identifiers"),
    ],
)
def test_bad_input_is_2(shell, words, code):
    exit_code, [answer] = shell.json("check", *words, "--config", "bank/riskshare.toml")
    assert (exit_code, answer["error"]["code"]) == (2, code)


def test_a_wrong_api_key_is_4(shell):
    key = shell.folder / "wrong-key"
    key.touch(mode=0o600)
    key.write_text("rs_0_" + "A" * 43 + "\n")
    words = ("check", UNLISTED[0].canonical, "--config", "bank/riskshare.toml", "--api-key-file", "wrong-key")
    code, [answer] = shell.json(*words)
    assert (code, answer["error"]["code"]) == (4, "unauthenticated")


def test_a_second_peer_finds_the_port_taken(shell):
    done = shell.run("serve", "--config", "bank/riskshare.toml")
    assert done.returncode == 2
    assert "is taken" in done.stderr


def test_withdrawn_is_clear_within_seconds(shell, published):
    words = ("list", "withdraw", "high-risk", LISTED[3].canonical, "--reason", "corrected")
    code, [done] = shell.json(*words, "--config", "jd/riskshare.toml")
    assert (code, done["withdrawn"], done["peer_running"]) == (0, 1, True)
    shell.check_until(0, LISTED[3].canonical)


def test_no_identifier_is_in_any_log(shell, published):
    written = "".join((shell.folder / f"{name}.log").read_text() for name in ("bank", "jd"))
    assert [one.type for one in (*LISTED, *UNLISTED) if one.value in written] == []


def test_an_owner_that_is_down_is_3_and_a_peer_that_is_down_is_4(shell, published):
    """The last one: it stops both."""
    assert shell.stop("jd") == 0
    answer = shell.check_until(3, UNLISTED[2].canonical)
    assert answer["verdict"] == "incomplete"
    assert [one["owner"] for one in answer["owners"] if one["status"] not in ("answered", "cached")] == ["jd"]
    assert shell.stop("bank") == 0
    code, [answer] = shell.json("check", UNLISTED[2].canonical, "--config", "bank/riskshare.toml")
    assert (code, answer["error"]["code"]) == (4, "peer_down")
