"""New versions of the registry among real peers: they spread, and what they say holds within seconds; quotas."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from riskshare.generate import generate
from riskshare.governance import admit, set_standing
from riskshare.loopback import Spec
from riskshare.peer.opening import now
from riskshare.query.message import EVALUATE
from riskshare.registry import Quota
from tests.network.conftest import MakeNetwork
from tests.simulator.running import BANK, SHOP, Running, status_of, until

LISTED = generate(401, 30, ("phone", "email"))
UNLISTED = generate(402, 30, ("phone",), exclude=LISTED)

SMALL = Spec("small", "Small bank", "bank", ("querier",), quota=Quota(per_second=100, per_day=3))


POLLS_OFTEN = """
import riskshare.peer.peer
from riskshare.cli import main

riskshare.peer.peer.REGISTRY_SECONDS = 0.5
main()
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A riskshare that looks for new versions every half second, not every ten."""
    file = tmp_path_factory.mktemp("program") / "often.py"
    file.write_text(POLLS_OFTEN)
    return [str(file)]


@pytest.fixture(scope="module")
def network(make_network: MakeNetwork, program: list[str]) -> Running:
    made = make_network(BANK, SMALL, SHOP)
    made.publish("shop", "fraud", LISTED)
    made.start(program=program)
    made.ready()
    return made


# -- quotas ---------------------------------------------------------------------------------------------------------


def test_a_spent_quota_is_refused_and_says_when_to_ask_again(network: Running) -> None:
    assert network.check("small", *UNLISTED[:3])["verdict"] == "clear"
    answer = network.check("small", UNLISTED[3])
    assert (answer["verdict"], status_of(answer)) == ("incomplete", {"shop": "refused"})
    assert network.statuses("small", UNLISTED[0]) == {"shop": "cached"}, "a token at hand costs nothing"
    wire = network.evaluate("small", "shop")
    assert (wire.status, wire.problem["code"]) == (429, "quota_exhausted")
    assert int(wire.headers["Retry-After"]) > 60
    assert network.evaluate("bank", "shop").status == 200, "another member's quota is its own"


def test_a_restart_does_not_forgive_a_spent_quota(network: Running, program: list[str]) -> None:
    network.kill("shop")
    network.start("shop", program=program)
    wire = network.evaluate("small", "shop")
    assert (wire.status, wire.problem["code"]) == (429, "quota_exhausted")


# -- suspension -----------------------------------------------------------------------------------------------------


def test_a_suspended_member_is_refused_within_seconds_and_served_when_it_is_back(network: Running) -> None:
    body = network.ask("bank", "shop").to_bytes()
    tls = network.tls("bank", "shop")
    assert network.exchange("shop", EVALUATE, method="POST", body=body, tls=tls).status == 200
    set_standing(network.directory, "bank", "suspended", now=now())
    until(lambda: _registry(network, "shop") == 4, "the new registry at the owner")
    answer = network.check("bank", UNLISTED[10])
    assert answer["verdict"] == "incomplete"
    assert network.statuses("bank", UNLISTED[11])["shop"] in {"refused", "down", "untrusted"}
    kept = network.receipts("shop").keys()
    with pytest.raises(OSError):
        network.evaluate("bank", "shop")
    assert network.receipts("shop").keys() == kept
    set_standing(network.directory, "bank", "good", now=now())
    until(lambda: network.check("bank", UNLISTED[12])["verdict"] == "clear", "answers again")


def _registry(network: Running, name: str) -> float | None:
    return network.metric(name, "registry_version")


# -- how a version spreads ------------------------------------------------------------------------------------------


def test_a_version_that_one_member_gets_reaches_all_by_polling(
    make_network: MakeNetwork, program: list[str], tmp_path: Path
) -> None:
    """Each has a registry file of its own; two versions at once are put into one's hands only."""
    files = {spec.name: tmp_path / spec.name / "network.json" for spec in (BANK, SHOP)}
    specs = [replace(spec, settings={"member": {"network_file": files[spec.name]}}) for spec in (BANK, SHOP)]
    network = make_network(*specs)
    for file in files.values():
        _hand_over(network, file)
    network.start(program=program)
    until(lambda: [_registry(network, name) for name in files] == [2, 2], "the first version at both")
    admit(network.directory, [], now=now())
    admit(network.directory, [], now=now())
    _hand_over(network, files["shop"])
    until(lambda: [_registry(network, name) for name in files] == [4, 4], "the last version at both")
    network.stop()
    # What came by polling outlives a restart, though the file is old.
    network.start("bank")
    until(lambda: _registry(network, "bank") == 4, "the version kept in the database")
    network.stop()


def _hand_over(network: Running, file: Path) -> None:
    file.parent.mkdir(exist_ok=True)
    shutil.copytree(network.directory / "registry", file.parent / "registry", dirs_exist_ok=True)
    shutil.copy(network.directory / "network.json", file)
