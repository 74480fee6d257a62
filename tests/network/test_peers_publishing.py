"""An owner whose files are lost, whose processes are several, whose key is exposed: what its readers see of it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from riskshare.cli.own_epochs import end_epochs
from riskshare.encoding import cbor_decode, parse_canonical_json
from riskshare.generate import generate
from riskshare.peer.opening import opened_store
from riskshare.query.message import EVALUATE, LISTS
from tests.network.conftest import MakeNetwork
from tests.simulator.running import BANK, SHOP, Running, status_of, until

LISTED = generate(401, 40, ("phone", "email"))
UNLISTED = generate(402, 20, ("phone",), exclude=LISTED)


@pytest.fixture
def network(make_network: MakeNetwork) -> Iterator[Running]:
    """The shop has a list; a test starts the peers."""
    made = make_network(BANK, SHOP)
    made.publish("shop", "fraud", LISTED)
    yield made
    made.stop()


def segments(network: Running) -> Path:
    return network.members["shop"].config.paths.data_dir / "segments"


def versions(network: Running) -> list[int]:
    return [row["version"] for row in network.rows("shop", "select version from snapshots order by version")]


def catalogue(network: Running) -> dict[str, object]:
    """The shop's catalogue for the bank, over a connection of its own."""
    answered = network.exchange("shop", LISTS, tls=network.tls("bank", "shop"))
    assert answered.status == 200, answered.body
    found: dict[str, object] = parse_canonical_json(
        cbor_decode(answered.body, limit=1 << 20)["statement"], limit=1 << 20
    )
    return found


# -- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", ["deleted", "one byte"])
def test_an_owner_that_starts_without_its_files_replaces_them_at_once(network: Running, harm: str) -> None:
    network.start("shop")
    until(lambda: versions(network) == [1], "the first snapshot")
    network.stop("shop")
    if harm == "deleted":
        shutil.rmtree(segments(network))
    else:
        [file] = segments(network).iterdir()
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
    network.start("shop", "bank")
    until(lambda: versions(network) == [1, 2], "a new base")
    network.ready("shop", "bank")
    assert network.log("shop", "list_damaged")
    assert network.check("bank", LISTED[0])["verdict"] == "hit"
    assert network.check("shop", LISTED[0])["verdict"] == "hit"
    assert network.check("bank", UNLISTED[0])["verdict"] == "clear"
    assert versions(network) == [1, 2]


def test_a_file_that_is_lost_while_the_owner_runs_is_replaced_with_the_next_pass(network: Running) -> None:
    network.start("shop")
    until(lambda: versions(network) == [1], "the first snapshot")
    network.ready("shop")
    for file in segments(network).iterdir():
        file.unlink()
    _create_list(network, "more")  # which wakes the publisher
    until(lambda: versions(network) == [1, 1, 2], "a new base, and that of the other list")
    until(lambda: len(list(segments(network).iterdir())) == 2, "their files alone")
    network.start("bank")
    network.published.add("shop/more")
    network.ready("bank")
    assert network.check("bank", LISTED[1])["verdict"] == "hit"


def _create_list(network: Running, name: str) -> None:
    async def create() -> None:
        async with opened_store(network.members["shop"].config) as store:
            await store.lists.create_list(name, "telecom_fraud", "default")

    asyncio.run(create())


def test_an_own_list_that_cannot_be_published_yet_makes_the_owners_checks_incomplete(network: Running) -> None:
    network.start("shop")
    network.ready("shop")
    assert network.check("shop", UNLISTED[1])["verdict"] == "clear"
    folder = segments(network)
    aside = folder.with_name("aside")
    folder.rename(aside)
    folder.write_text("no folder any more")
    _create_list(network, "more")
    until(lambda: network.check("shop", UNLISTED[1])["verdict"] == "incomplete", "the list that is missing")
    assert status_of(network.check("shop", UNLISTED[2])) == {"shop": "stale"}
    assert network.check("shop", LISTED[2])["verdict"] == "hit"
    folder.unlink()
    aside.rename(folder)
    until(lambda: network.check("shop", UNLISTED[1])["verdict"] == "clear", "the list that is published")


# -- workers --------------------------------------------------------------------------------------------------------


def test_a_reader_that_goes_from_worker_to_worker_sees_one_history(network: Running) -> None:
    network.start("shop", workers=2)
    network.start("bank")
    network.ready("bank")
    seen: list[dict[str, object]] = []
    for number in range(3):
        _create_list(network, f"list-{number}")
        for _ in range(200):  # connections, which the kernel deals out
            seen.append(catalogue(network))
            if f"shop/list-{number}" in _names(seen[-1]):
                break
        else:
            until(lambda name=f"shop/list-{number}": name in _names(catalogue(network)), "the list in the catalogue")
        seen += [catalogue(network) for _ in range(20)]
    told = [each["version"] for each in seen]
    assert told == sorted(told)
    assert told[-1] <= 5
    assert all(_names(before) <= _names(after) for before, after in pairwise(seen))
    assert len({(each["version"], each["issued_at"]) for each in seen}) == len(set(told))
    network.published.update(f"shop/list-{number}" for number in range(3))
    network.ready("bank")
    codes = {line["code"] for line in network.log("bank", "list_not_followed")}
    assert not codes & {"rollback", "fork", "broken_chain"}


def _names(catalogue: dict[str, object]) -> set[str]:
    lists = catalogue["lists"]
    assert isinstance(lists, list)
    return {entry["list"] for entry in lists}


# -- a key that is exposed ------------------------------------------------------------------------------------------


def test_an_epoch_that_is_ended_is_told_refused_and_followed_by_another(network: Running) -> None:
    network.start()
    network.ready("bank")
    assert network.check("bank", LISTED[3])["verdict"] == "hit"
    ask = network.ask("bank", "shop").to_bytes()
    [old] = network.rows("shop", "select digest from epochs")
    end_epochs(network.members["shop"].config_file, "default", "key_exposed", json=True)
    path, tls = f"/peer/v1/epochs/{old['digest'].hex()}", network.tls("bank", "shop")

    def ended() -> object:
        answered = network.exchange("shop", path, tls=tls)
        assert "immutable" not in answered.headers["Cache-Control"]
        wire = cbor_decode(answered.body, limit=1 << 20)
        return parse_canonical_json(wire["statement"], limit=1 << 20)["ended"]

    until(ended, "the statement that ends the epoch", seconds=12)
    refused = network.exchange("shop", EVALUATE, method="POST", body=ask, tls=tls)
    assert (refused.status, refused.problem["code"]) == (404, "unknown_epoch")
    until(lambda: _epoch(network) not in {None, old["digest"].hex()}, "another epoch in the catalogue", seconds=12)
    until(lambda: network.check("bank", UNLISTED[3])["verdict"] == "clear", "whole answers under the new key")
    assert network.check("bank", LISTED[4])["verdict"] == "hit"
    assert network.check("shop", LISTED[4])["verdict"] == "hit"


def _epoch(network: Running) -> object:
    lists = catalogue(network)["lists"]
    assert isinstance(lists, list)
    assert not any(entry["ended"] for entry in lists)
    return lists[0]["epoch"] if lists else None
