"""Peers whose keys do not lie in files: from the environment, shared by several workers, and from a command."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from riskshare.cli.application import app
from riskshare.generate import generate
from tests.network.conftest import MakeNetwork
from tests.simulator.running import BANK, SHOP, Running, until

LISTED = generate(701, 5, ("phone",))
MORE = generate(702, 1, ("phone",), exclude=LISTED)
KINDS = ("identity", "ledger", "witness", "sealing", "data")


def into_environment(network: Running, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in KINDS:
        text = (network.members[name].config.paths.keys_dir / f"{kind}.key").read_text()
        monkeypatch.setenv(f"RISKSHARE_KEY_{kind.upper()}", text)


def test_peers_run_with_keys_from_the_environment_and_from_a_command(
    make_network: MakeNetwork, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    vault = tmp_path / "vault"
    command = (sys.executable, "-c", "import sys; print(open(sys.argv[1]).read(), end='')", f"{vault}/{{kind}}.key")
    network = make_network(
        replace(BANK, settings={"keys": {"source": "command", "command": command}}),
        replace(SHOP, settings={"keys": {"source": "env"}}),
    )
    into_environment(network, "shop", monkeypatch)
    network.publish("shop", "fraud", LISTED)
    into_environment(network, "shop", monkeypatch)
    for name in ("bank", "shop"):
        keys = network.members[name].config.paths.keys_dir
        moved = vault if name == "bank" else tmp_path / "safe"
        moved.mkdir()
        for kind in KINDS:
            (keys / f"{kind}.key").rename(moved / f"{kind}.key")
    network.start("shop", workers=2)
    network.start("bank")
    network.ready("bank")
    network.wait("shop", "readyz")
    assert network.check("bank", LISTED[0])["verdict"] == "hit"
    for name in ("bank", "shop"):
        assert (tmp_path / "vault" / "data.key").read_text().split()[-1] not in network.log_file(name).read_text()


def rotate(network: Running, *words: str) -> tuple[int, dict[str, Any]]:
    config = str(network.members["shop"].config_file)
    said = CliRunner().invoke(app, ["keys", "rotate", "data", *words, "--config", config, "--json"])
    return said.exit_code, json.loads(said.stdout.splitlines()[0])


def test_the_data_key_is_rotated_with_the_peer_stopped_and_nobody_else_notices(make_network: MakeNetwork) -> None:
    network = make_network(BANK, SHOP)
    network.publish("shop", "fraud", LISTED)
    network.start("bank", "shop")
    network.ready("bank", "shop")
    before = network.check("bank", LISTED[0])
    assert before["verdict"] == "hit"
    code, refused = rotate(network)
    assert (code, refused["error"]["code"]) == (2, "peer_running")
    assert network.check("shop", LISTED[0])["verdict"] == "hit"

    network.stop("shop")
    former = network.members["shop"].config.paths.keys_dir / "data.key"
    was = former.read_bytes()
    code, done = rotate(network)
    assert (code, done["rows"], done["number"]) == (0, len(LISTED) + 1, 2)
    assert Path(done["former"]).read_bytes() == was != former.read_bytes()
    network.start("shop")
    network.ready("bank", "shop")
    after = network.check("bank", LISTED[0])
    assert (after["verdict"], after["hits"]) == ("hit", before["hits"])

    words = ["list", "withdraw", "fraud", LISTED[0].canonical, "--reason", "corrected"]
    config = str(network.members["shop"].config_file)
    assert CliRunner().invoke(app, [*words, "--config", config]).exit_code == 0
    until(lambda: network.check("bank", LISTED[0])["verdict"] == "clear", "the entry is withdrawn")
    network.publish("shop", "fraud", MORE)
    until(lambda: network.check("bank", MORE[0])["verdict"] == "hit", "a new entry is found")

    former.rename(former.with_suffix(".new"))
    former.write_bytes(was)
    former.chmod(0o600)
    said = CliRunner().invoke(app, [*words, "--config", config])
    assert said.exit_code == 2
    assert "other_data_key" in said.stderr
    former.with_suffix(".new").replace(former)
