"""Peers whose keys do not lie in files: from the environment, shared by several workers, and from a command."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from riskshare.generate import generate
from tests.network.conftest import MakeNetwork
from tests.simulator.running import BANK, SHOP, Running

LISTED = generate(701, 5, ("phone",))
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
