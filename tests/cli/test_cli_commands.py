"""The command line as a whole: help, version, failures, what is loaded when."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from typer.main import get_command

from riskshare import cli
from riskshare.errors import PeerDown

HEAVY = (
    "riskshare.config",
    "riskshare.store",
    "riskshare.peer",
    "riskshare.sodium",
    "numpy",
    "cryptography",
    "asyncpg",
)


def commands(command, words=()):
    """Every command with the words that lead to it."""
    for name, below in command.commands.items():
        if hasattr(below, "commands"):
            yield from commands(below, (*words, name))
        else:
            yield (*words, name), below


ALL = list(commands(get_command(cli.app)))


PROGRAM = (sys.executable, "-c", "import sys; from riskshare.cli import main; sys.argv[0] = 'riskshare'; main()")


def process(*words, **environment):
    """Run in a process of its own, as a person does."""
    return subprocess.run(
        [*PROGRAM, *words],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def test_all_commands_of_the_contract_exist():
    assert {" ".join(words) for words, _ in ALL} >= {
        "demo", "network init", "network admit", "init", "serve", "list create", "list import", "list status", "check",
        "bench", "version",
    }  # fmt: skip


@pytest.mark.parametrize(("words", "command"), ALL, ids=[" ".join(words) for words, _ in ALL])
def test_every_command_says_what_it_is_for_with_an_example_that_fits(words, command):
    first, *_, last = re.sub(r"\[/?bold\]", "", command.help).split("\n\n")
    assert first.rstrip().endswith(".")
    assert " ".join(last.split()).startswith(f"Example: riskshare {' '.join(words)}")
    known = {name for parameter in command.params for name in parameter.opts}
    assert set(re.findall(r"--[a-z-]+", last)) <= known


@pytest.mark.parametrize(("words", "command"), ALL, ids=[" ".join(words) for words, _ in ALL])
def test_every_option_is_explained(words, command):
    assert [parameter.name for parameter in command.params if not parameter.help] == []


@pytest.mark.parametrize(("words", "command"), ALL, ids=[" ".join(words) for words, _ in ALL])
def test_every_command_that_prints_a_result_has_json(words, command):
    assert words == ("serve",) or any("--json" in parameter.opts for parameter in command.params)


def test_help_loads_nothing_that_a_command_needs():
    code = (
        "import sys; sys.argv = ['riskshare', '--help']\n"
        "from riskshare.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_version(run, answer):
    assert re.fullmatch(r"riskshare \d+\.\d+\.\d+ \(Python 3\.\S+\)\n", run("version").stdout)
    assert run("--version").stdout == run("version").stdout
    code, [shown] = answer("version")
    assert code == 0
    assert set(shown) == {"riskshare", "python"}


def test_without_a_command_it_shows_help(run):
    assert "list" in run().output


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["list", "nonsense"],
        ["list", "create"],
        ["list", "create", "x"],
        ["list", "import", "x", "no-such-file.csv"],
        ["list", "import", "x", "y", "--bad-rows", "perhaps"],
        ["list", "withdraw", "x", "phone:+14155550100", "--reason", "whim"],
        ["check"],
        ["check", "phone:+14155550100", "--file", "x"],
        ["check", "phone:+14155550100", "--deadline-ms", "0"],
        ["serve", "--workers", "0"],
        ["network", "init"],
        ["network", "admit", "--dir", "."],
    ],
)
def test_bad_usage_is_2(run, words):
    result = run(*words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["list", "status"],
        ["check", "phone:+14155550100"],
        ["serve"],
        ["network", "show"],
        ["list", "create", "x", "--category", "y"],
    ],
)
def test_without_a_configuration_it_says_how_to_name_one(run, words):
    result = run(*words)
    assert result.exit_code == 2
    assert "Error (config): There is no riskshare.toml." in result.stderr
    assert "RISKSHARE_CONFIG" in result.stderr


def test_an_unknown_key_is_named(run, member):
    member.write_text(member.read_text().replace("[check]", "[check]\ndeadlin_ms = 3"))
    result = run("list", "status", "--config", member)
    assert result.exit_code == 2
    assert "unknown key check.deadlin_ms. Did you mean deadline_ms?" in result.stderr


def test_serve_names_an_unknown_key(run, member):
    member.write_text(member.read_text().replace("[check]", "[check]\ndeadlin_ms = 3"))
    result = run("serve", "--config", member)
    assert result.exit_code == 2
    assert "check.deadlin_ms" in result.stderr


def test_the_environment_names_the_configuration(answer, member, monkeypatch):
    monkeypatch.setenv("RISKSHARE_CONFIG", str(member))
    assert answer("list", "status") == (0, [])


def test_a_database_that_is_away_is_1_in_one_sentence(run, member, monkeypatch):
    monkeypatch.setenv("RISKSHARE_STORE__DSN", "postgresql://nobody@127.0.0.1:1/none")
    result = run("list", "status", "--config", member, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["code"] == "store_unavailable"
    assert "Traceback" not in result.output


def test_an_audit_that_could_not_be_tried_does_not_say_that_there_are_findings(run, member, monkeypatch):
    monkeypatch.setenv("RISKSHARE_STORE__DSN", "postgresql://nobody@127.0.0.1:1/none")
    result = run("audit", "accesses", "--config", member, "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["code"] == "store_unavailable"


@pytest.mark.parametrize(("first", "code"), [("check", 4), ("list", 1), ("audit", 2)])
def test_what_should_not_happen_is_told_without_its_text(capsys, monkeypatch, first, code):
    def fail():
        raise ValueError("phone:+14155550100")

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr(sys, "argv", ["riskshare", first, "--json"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == code
    shown = capsys.readouterr()
    assert json.loads(shown.out)["error"]["code"] == "internal"
    assert "RISKSHARE_DEBUG=1" in shown.err
    assert "4155550100" not in shown.out + shown.err


def test_the_traceback_comes_on_demand(monkeypatch):
    def fail():
        raise ValueError("where")

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setenv("RISKSHARE_DEBUG", "1")
    with pytest.raises(ValueError, match="where"):
        cli.main()


def test_in_a_process_of_its_own_a_failure_is_one_line(tmp_path):
    done = process("list", "status", "--config", str(tmp_path / "none.toml"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("json", [(), ("--json",)])
def test_a_check_whose_reader_leaves_has_no_verdict(member, tmp_path, json):
    """`riskshare check --file … | head -1`: 1 would be a hit."""
    file = tmp_path / "many"
    file.write_text("phone:1\n" * 20_000)
    started = subprocess.Popen(
        [*PROGRAM, "check", "--file", str(file), "--config", str(member), *json],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    started.stdout.readline()
    started.stdout.close()
    assert started.stderr.read() == b""
    started.stderr.close()
    assert started.wait() == 4


BROKEN = """
import errno, sys
import riskshare.cli.asking
from riskshare.cli import main

def ask(*_, **__):
    raise BrokenPipeError(errno.EPIPE, "phone:+14155550100")

riskshare.cli.asking.ask = ask
main()
"""


def test_a_broken_pipe_that_is_not_standard_output_is_told():
    done = subprocess.run(
        [sys.executable, "-c", BROKEN, "check", "phone:+14155550100"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 4
    assert "Error (internal)" in done.stderr
    assert "4155550100" not in done.stdout + done.stderr


def test_every_bad_identifier_of_a_command_line_is_told(run, answer, member):
    words = ("phone:12", "phone:+14155550100", "bank_card:1", "--config", member)
    for command in (("check",), ("list", "show"), ("list", "withdraw", "x", "--reason", "corrected")):
        code, shown = answer(*command, *words)
        assert code == 2
        assert [(one["error"]["type"], one["error"]["position"]) for one in shown] == [("phone", 0), ("bank_card", 2)]
        told = run(*command, *words).stderr.splitlines()
        assert [line.partition(": ")[2][:13] for line in told] == ["Identifier 1:", "Identifier 3:"]


def test_the_failure_of_a_check_is_4(run, member, monkeypatch):
    monkeypatch.setenv("RISKSHARE_LISTEN__CLIENTS__PORT", "1")
    result = run("check", "phone:+14155550100", "--config", member)
    assert result.exit_code == 4
    assert f"Error ({PeerDown.code}): No peer answers at http://127.0.0.1:1. Start it: riskshare serve" in result.stderr
    assert "4155550100" not in result.output
