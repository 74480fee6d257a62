"""A list is compacted and its key is changed while others ask about it: nobody who asks notices anything."""

from __future__ import annotations

import asyncio
import http.client
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Self

import pytest

from riskshare.generate import generate
from riskshare.membership.identifier import Identifier
from riskshare.peer.opening import opened_store
from riskshare.query.message import EVALUATE
from tests.network.conftest import MakeNetwork
from tests.simulator.running import BANK, SHOP, Running, until

LISTED = generate(601, 12_000, ("phone",))
"""So many that their base is merged and written in a process of its own."""

LATER = generate(602, 60, ("email",))
UNLISTED = generate(603, 500, ("phone", "email"), exclude=[*LISTED, *LATER])


@pytest.fixture
def network(make_network: MakeNetwork) -> Iterator[Running]:
    bank = replace(BANK, settings={"check": {"token_cache_entries": 0}})
    shop = replace(SHOP, settings={"publish": {"compact_deltas": 1}})
    made = make_network(bank, shop)
    made.publish("shop", "fraud", LISTED)
    made.publish("shop", "more", LISTED[:20])
    made.start(program=made.hurried())
    made.ready("bank")
    yield made
    made.stop()


class Asking:
    """Clients of the bank that ask without a pause; what was wrong."""

    def __init__(self, network: Running) -> None:
        self._network = network
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(2)]
        self.listed: list[Identifier] = list(LISTED)
        self.clear: list[Identifier] = list(UNLISTED)
        self.asked = 0
        self.wrong: list[Any] = []

    def _ask(self, number: int) -> None:
        choose = random.Random(number)
        while not self._ended.is_set() and not self.wrong:
            expected = choose.choice(("hit", "clear"))
            # What was listed or withdrawn last is asked for as often as all the rest.
            among = self.listed if expected == "hit" else self.clear
            identifier = choose.choice(among[-10:] if choose.random() < 0.5 else among)
            try:
                answer = self._network.check("bank", identifier)
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self.wrong.append(repr(error))
                return
            if answer["verdict"] != expected or not answer["complete"]:
                self.wrong.append((expected, answer["verdict"], answer["owners"]))
            self.asked += 1

    def more(self, count: int) -> None:
        """Wait for so many more checks."""
        wanted = self.asked + count
        until(lambda: self.wrong or self.asked >= wanted, f"{count} more checks")
        assert not self.wrong

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


def riskshare(network: Running, *words: str) -> str:
    command = [sys.executable, "-m", "riskshare", *words, "--config", str(network.members["shop"].config_file)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def seen(network: Running, identifier: Identifier, verdict: str) -> None:
    until(lambda: network.check("bank", identifier)["verdict"] == verdict, f"{verdict} for what was changed")


def test_a_list_that_grows_and_is_compacted_is_whole_for_all_who_ask(network: Running) -> None:
    with Asking(network) as asking:
        for at in range(0, 12, 2):
            network.publish("shop", "fraud", LATER[at : at + 2])
            seen(network, LATER[at + 1], "hit")
            asking.listed += LATER[at : at + 2]
            if at % 4 == 0:
                gone = LISTED[-1 - at]
                asking.listed.remove(gone)
                riskshare(network, "list", "withdraw", "fraud", gone.canonical, "--reason", "corrected")
                seen(network, gone, "clear")
                asking.clear.append(gone)
            asking.more(10)
        asking.more(50)
    assert not asking.wrong
    lengths = [
        row["n"]
        for row in network.rows(
            "shop", "select cardinality(segments) as n from snapshots where list_id = 1 order by version"
        )
    ]
    assert lengths.count(1) >= 3, f"the list was compacted again and again: {lengths}"
    assert max(lengths) >= 3
    assert not network.log("shop", "chore_failed")


def test_a_keyset_that_is_rotated_is_whole_for_all_who_ask(network: Running) -> None:
    [old] = network.rows("shop", "select digest from epochs")
    withdrawn = LISTED[-1]
    with Asking(network) as asking:
        asking.listed.remove(withdrawn)
        riskshare(network, "list", "withdraw", "fraud", withdrawn.canonical, "--reason", "appeal_upheld")
        seen(network, withdrawn, "clear")
        asking.clear.append(withdrawn)
        asking.more(10)
        told = riskshare(network, "list", "rotate", "--json")
        assert '"epoch": 2' in told
        until(lambda: asking.wrong or _asked_under(network, 2) > 20, "asks under the new key")
        assert not asking.wrong
        network.publish("shop", "fraud", LATER[:2])
        seen(network, LATER[1], "hit")
        asking.listed += LATER[:2]
        asking.more(30)
        under_old = _asked_under(network, 1)
        asking.more(30)
        assert _asked_under(network, 1) == under_old, "all lists have moved"
        ask = network.ask("bank", "shop", epoch=old["digest"]).to_bytes()
        assert (
            network.exchange("shop", EVALUATE, method="POST", body=ask, tls=network.tls("bank", "shop")).status == 200
        )
        [before] = network.rows("shop", "select ended_at, end_statement from epochs where number = 1")
        assert before["end_statement"] is not None
        asyncio.run(_end_now(network))
        refused = until(lambda: _refused(network), "the refusal of the old key")
        assert refused == (404, "unknown_epoch")
        asking.more(50)
    assert not asking.wrong
    assert _asked_under(network, 1) == under_old + 1
    assert len(network.rows("shop", "select 1 from snapshots where epoch = $1", old["digest"])) >= 3
    building = network.members["shop"].config.paths.data_dir / "building"
    until(lambda: not list(building.iterdir()), "the end of the building")
    assert not network.log("shop", "chore_failed")


def _asked_under(network: Running, number: int) -> int:
    query = "select count(*) from receipts r join epochs e on e.digest = r.epoch where side = 'owner' and number = $1"
    [row] = network.rows("shop", query, number)
    return int(row["count"])


async def _end_now(network: Running) -> None:
    """Let the change-over be over: its shortest is an hour."""
    async with opened_store(network.members["shop"].config) as store:
        await store.pool.execute("update epochs set ended_at = now() where number = 1")
        await store.pool.execute("select pg_notify('riskshare_epochs', 'default')")


def _refused(network: Running) -> tuple[int, str] | None:
    [old] = network.rows("shop", "select digest from epochs where number = 1")
    message = network.ask("bank", "shop", epoch=old["digest"]).to_bytes()
    answer = network.exchange("shop", EVALUATE, method="POST", body=message, tls=network.tls("bank", "shop"))
    return None if answer.status == 200 else (answer.status, str(answer.problem["code"]))


def test_a_rotation_in_the_peer_is_seen_and_gone_on_with_after_a_kill(network: Running) -> None:
    """The peer computes by itself when the command is killed: here, before it computed anything."""
    [process] = [
        subprocess.Popen(
            [sys.executable, "-c", HALTED, "list", "rotate", "--config", str(network.members["shop"].config_file)],
            stdout=subprocess.PIPE,
            text=True,
        )
    ]
    with process, Asking(network) as asking:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        asking.more(10)
        assert _published(network, 2) == 0, "the command is at it"
        process.kill()
        until(lambda: _published(network, 2) == 2, "the lists under the new key")
        asking.more(30)
    assert not asking.wrong


HALTED = """
from riskshare.cli import rotation
from time import sleep
def begun(self, epoch, resumed):
    print("begun", flush=True)
    sleep(600)
rotation._Bar.begun = begun
from riskshare.cli import main
main()
"""


def _published(network: Running, number: int) -> int:
    query = "select count(distinct list_id) from snapshots s join epochs e on e.digest = s.epoch where number = $1"
    [row] = network.rows("shop", query, number)
    return int(row["count"])
