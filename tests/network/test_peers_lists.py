"""What a subscriber's peer shows of lists that it cannot take, how much it takes, and what it tidies up."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from riskshare.cli.application import app
from riskshare.generate import generate
from riskshare.peer.parts import rules_of
from tests.network.conftest import MakeNetwork
from tests.simulator.running import BANK, SHOP, Running, until

LISTED = generate(401, 20, ("phone",))
MORE = generate(402, 1, ("phone",), exclude=LISTED)


def shown(network: Running) -> dict[str, Any]:
    [found] = [each for each in network.get("bank", "/v1/lists")["lists"] if each["list"] == "shop/fraud"]
    return dict(found)


def status(network: Running, *words: str) -> tuple[str, str]:
    """What `riskshare list status` says, to people and to programs."""
    config = str(network.members["bank"].config_file)
    said = CliRunner().invoke(app, ["list", "status", *words, "--config", config], env={"COLUMNS": "200"})
    told = CliRunner().invoke(app, ["list", "status", *words, "--json", "--config", config])
    assert (said.exit_code, told.exit_code) == (0, 0), said.stderr
    return said.stdout, told.stdout


def files(network: Running) -> set[Path]:
    folder = network.members["shop"].config.paths.data_dir / "segments"
    return {path for path in folder.iterdir() if not path.suffix}


def test_a_refused_snapshot_shows_everywhere_and_the_version_before_serves_on(make_network: MakeNetwork) -> None:
    network = make_network(BANK, SHOP)
    network.publish("shop", "fraud", LISTED)
    network.start("bank", "shop", program=network.hurried())
    network.ready("bank")
    assert (shown(network)["status"], shown(network)["version"], shown(network)["refused"]) == ("current", 1, None)
    network.stop("bank")

    before = files(network)
    network.publish("shop", "fraud", MORE)
    until(lambda: network.get("shop", "/v1/lists")["lists"][0]["version"] == 2, "the shop itself has opened the delta")
    [delta] = files(network) - before
    true = delta.read_bytes()
    delta.write_bytes(true[:-1] + bytes([true[-1] ^ 1]))
    network.start("bank", program=network.hurried())
    until(lambda: shown(network)["refused"], "the delta is refused")
    found = shown(network)
    assert (found["status"], found["version"], found["refused"]["code"]) == ("stale", 1, "segment_altered")
    assert network.check("bank", LISTED[0])["verdict"] == "hit"
    assert network.check("bank", MORE[0])["verdict"] == "incomplete"

    size = sum(path.stat().st_size for path in before)
    assert until(lambda: network.metric("bank", "mirror_bytes", owner="shop"), "the gauges") >= size
    assert network.metric("bank", "mirror_bytes_limit") == 20 * 2**30
    labels = {"list": "shop/fraud", "code": "segment_altered"}
    assert until(lambda: network.metric("bank", "list_refused_timestamp_seconds", **labels), "the gauges")
    assert network.metric("bank", "list_current", list="shop/fraud") == 0
    for words in (["shop/fraud"], ["--others"]):
        said, told = status(network, *words)
        assert "the newest snapshot is refused (segment_altered) since" in said
        assert "version 1 serves on" in said
        assert json.loads(told)["refused"] == found["refused"]

    delta.write_bytes(true)
    until(lambda: shown(network)["version"] == 2, "the true delta is taken")
    assert (shown(network)["status"], shown(network)["refused"]) == ("current", None)
    until(lambda: network.metric("bank", "list_refused_timestamp_seconds", **labels) is None, "the gauges")
    said, _ = status(network, "shop/fraud")
    assert "refused" not in said


def test_an_owner_with_more_lists_than_the_configuration_allows_is_not_followed_and_named(
    make_network: MakeNetwork,
) -> None:
    settings = {"subscribe": {"owner_lists": 1, "owner_gib": 3, "delta_entries": 5000}}
    network = make_network(replace(BANK, settings=settings), SHOP)
    rules = rules_of(network.members["bank"].config)
    assert (rules.owner_bytes, rules.delta_entries) == (3 * 2**30, 5000)
    network.publish("shop", "fraud", LISTED)
    network.publish("shop", "more", MORE)
    network.start("shop")
    network.wait("shop", "readyz")
    network.start("bank", program=network.hurried())
    labels = {"owner": "shop", "code": "too_many_lists"}
    until(lambda: network.metric("bank", "subscription_failures_total", **labels), "the catalogue is refused")
    assert network.statuses("bank", LISTED[0]) == {"shop": "stale"}


def test_orphans_in_the_mirror_are_gone_after_a_start(make_network: MakeNetwork) -> None:
    network = make_network(BANK, SHOP)
    network.publish("shop", "fraud", LISTED)
    network.start("bank", "shop")
    network.ready("bank")
    network.stop("bank")
    mirror = network.members["bank"].config.paths.data_dir / "mirror"
    serving = set(mirror.iterdir())
    for name in ("0" * 64, "left.part"):
        (mirror / name).write_bytes(b"left by a crash")
    for path in mirror.iterdir():
        os.utime(path, (1_700_000_000, 1_700_000_000))
    network.start("bank")
    until(lambda: set(mirror.iterdir()) == serving, "the orphans are swept")
    network.ready("bank")
    assert network.check("bank", LISTED[0])["verdict"] == "hit"
    assert set(mirror.iterdir()) == serving
