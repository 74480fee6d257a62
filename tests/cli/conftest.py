"""Commands run inside this process, for members whose databases lie on one real PostgreSQL."""

from __future__ import annotations

import itertools
import json
import logging
from datetime import UTC, datetime

import pytest
import structlog
from typer.main import get_command
from typer.testing import CliRunner

from riskshare.cli import app, publication
from riskshare.governance import admit, create_member, create_network

_numbers = itertools.count(1)
_COMMAND = get_command(app)
"""Made once: typer makes all commands anew for each call, which takes longer than most of them."""


@pytest.fixture(autouse=True)
def own_log():
    """A command sets up the log of its process, on streams that end with it."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """What a command leaves in the present folder, and what it finds in the environment, is the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RISKSHARE_CONFIG", raising=False)


@pytest.fixture(autouse=True)
def no_peer_comes_back(monkeypatch):
    """None runs here, so that no command need look a second time whether one was only gone for a moment."""
    monkeypatch.setattr(publication, "AGAIN_SECONDS", 0.0)


@pytest.fixture
def run(monkeypatch):
    """Run a command line, with what it is given as standard input; give `exit_code`, `stdout`, `stderr`."""
    monkeypatch.setattr("typer.testing._get_command", lambda _app: _COMMAND)

    def call(*words, typed=None):
        result = CliRunner().invoke(app, [str(word) for word in words], input=typed)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return call


@pytest.fixture
def answer(run):
    """Run a command line with --json; give the exit code and the objects on standard output, one a line."""

    def call(*words, typed=None):
        result = run(*words, "--json", typed=typed)
        return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()]

    return call


@pytest.fixture
def network(tmp_path):
    """A governor's folder."""
    create_network(tmp_path / "net", now=datetime.now(UTC))
    return tmp_path / "net"


@pytest.fixture
def member(tmp_path, network, server):
    """The configuration file of a member of the network, `jd`, with an empty database."""
    settings = {"store": {"server_dir": server.directory, "database": f"cli_{next(_numbers)}"}}
    now = datetime.now(UTC)
    made = create_member(
        tmp_path / "jd",
        "jd",
        "https://127.0.0.1:8443",
        now=now,
        network_file=network / "network.json",
        settings=settings,
    )
    admit(network, [made.request_file], now=now)
    return made.config_file
