"""Processes that are killed in the middle, and a PostgreSQL that goes away: nothing that left is ever lost."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from riskshare.generate import generate
from riskshare.loopback import Spec
from riskshare.store.embedded import EmbeddedServer
from tests.network.conftest import MakeNetwork
from tests.simulator.postgres import quick_server
from tests.simulator.running import BANK, SHOP, Running, status_of, until

LISTED = generate(201, 40, ("phone", "bank_card"))
UNLISTED = generate(202, 40, ("phone",), exclude=LISTED)

DIES_BEFORE_KEEPING = """
import os, signal
from riskshare.cli import main
from riskshare.store.exchange import OwnerCommits

async def keep(self, kept):
    os.kill(os.getpid(), signal.SIGKILL)

OwnerCommits.keep = keep
main()
"""

DIES_AFTER_KEEPING = """
import os, signal
from riskshare.cli import main
from riskshare.store.exchange import OwnerCommits

keep_for_real = OwnerCommits.keep

async def keep(self, kept):
    await keep_for_real(self, kept)
    os.kill(os.getpid(), signal.SIGKILL)

OwnerCommits.keep = keep
main()
"""

RESENDS_SOON = """
from datetime import timedelta
import riskshare.peer.peer
from riskshare.cli import main
from riskshare.query.ask import Asker

Asker.__init__.__kwdefaults__["resend_after"] = timedelta(0)
riskshare.peer.peer.RESEND_SECONDS = 0.2
main()
"""

QUERIER_DIES_BEFORE_KEEPING = """
import os, signal
from riskshare.cli import main
from riskshare.store.exchange import QuerierCommits

async def keep(self, *parts):
    os.kill(os.getpid(), signal.SIGKILL)

QuerierCommits.keep = keep
main()
"""


@pytest.fixture
def running(make_network: MakeNetwork) -> Iterator[Running]:
    """A network; a test starts the peers that it wants."""
    made = make_network(BANK, SHOP)
    made.publish("shop", "fraud", LISTED)
    yield made
    made.stop()


def program(folder: Path, text: str) -> list[str]:
    """A program that is riskshare but for one thing."""
    file = folder / f"program{len(list(folder.iterdir()))}.py"
    file.write_text(text)
    return [str(file)]


def died(network: Running, name: str) -> bool:
    """Whether a peer has killed itself; it counts as stopped then."""
    if network.process(name).poll() is None:
        return False
    assert network.process(name).returncode == -signal.SIGKILL
    network.kill(name)
    return True


# -- the owner dies -------------------------------------------------------------------------------------------------


def test_an_owner_that_dies_before_the_receipt_is_durable_has_not_answered(running: Running, tmp_path: Path) -> None:
    running.start("bank")
    running.start("shop", program=program(tmp_path, DIES_BEFORE_KEEPING))
    running.ready("bank")
    before = running.receipts("bank"), running.receipts("shop")
    open_before = len(unanswered(running))
    answer = running.check("bank", UNLISTED[0])
    assert (answer["verdict"], answer["receipts"]) == ("incomplete", [])
    assert status_of(answer) == {"shop": "down"}
    until(lambda: died(running, "shop"), "the owner's end")
    assert (running.receipts("bank"), running.receipts("shop")) == before
    assert len(unanswered(running)) == open_before + 1
    running.start("shop")
    until(lambda: running.check("bank", UNLISTED[0])["verdict"] == "clear", "the owner answers again")


def test_the_receipt_of_an_owner_that_dies_after_keeping_it_stands_and_reaches_the_querier(
    running: Running, tmp_path: Path
) -> None:
    running.start("bank", program=program(tmp_path, RESENDS_SOON))
    running.start("shop", program=program(tmp_path, DIES_AFTER_KEEPING))
    running.ready("bank")
    before = running.receipts("shop").keys()
    answer = running.check("bank", UNLISTED[1])
    assert (answer["verdict"], status_of(answer)) == ("incomplete", {"shop": "down"})
    until(lambda: died(running, "shop"), "the owner's end")
    [stands] = running.receipts("shop").keys() - before
    assert stands not in running.receipts("bank")
    assert batch_of(running, "shop", stands) in unanswered(running)
    running.start("shop")
    until(lambda: stands in running.receipts("bank"), "the stored answer to the ask sent again")
    assert running.receipts("bank")[stands] == running.receipts("shop")[stands]
    assert batch_of(running, "bank", stands) not in unanswered(running)
    assert adopted(running, stands) is False


def unanswered(network: Running) -> set[Any]:
    return {row["batch"] for row in network.rows("bank", "select batch from unanswered")}


def batch_of(network: Running, name: str, receipt: str) -> Any:
    [row] = network.rows(name, "select batch from receipts where id = $1", bytes.fromhex(receipt))
    return row["batch"]


def adopted(network: Running, receipt: str) -> bool:
    [row] = network.rows("bank", "select adopted from receipts where id = $1", bytes.fromhex(receipt))
    return bool(row["adopted"])


# -- the querier dies -----------------------------------------------------------------------------------------------


def test_a_querier_that_dies_after_sending_adopts_the_receipt_when_it_starts(running: Running, tmp_path: Path) -> None:
    running.start("shop")
    running.start("bank", program=program(tmp_path, QUERIER_DIES_BEFORE_KEEPING))
    running.ready("bank")
    before = running.receipts("shop").keys()
    with pytest.raises((http.client.HTTPException, OSError)):
        running.check("bank", UNLISTED[2])
    until(lambda: died(running, "bank"), "the querier's end")
    [stands] = running.receipts("shop").keys() - before
    assert stands not in running.receipts("bank")
    running.start("bank")
    until(lambda: stands in running.receipts("bank"), "the adopted receipt")
    assert running.receipts("bank")[stands] == running.receipts("shop")[stands]
    assert adopted(running, stands) is True
    until(lambda: running.metric("bank", "adopted_receipts_total") == 1, "the count of it")
    running.ready("bank")
    assert running.check("bank", UNLISTED[2])["verdict"] == "clear"


# -- PostgreSQL goes away -------------------------------------------------------------------------------------------


class Load:
    """Clients that ask without a pause; what they were told."""

    def __init__(self, network: Running) -> None:
        self._network = network
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(4)]
        self.verdicts: list[dict[str, Any]] = []
        self.problems: list[tuple[int, dict[str, Any]]] = []
        self.faults: list[BaseException] = []

    def _ask(self, number: int) -> None:
        turn = number
        while not self._ended.is_set():
            turn += 1
            # Unlike one another, so that no token cache spares an exchange.
            device = f"device:load-{number:02}-{turn:08}"
            body = {"identifiers": [device], "purpose": "payment", "deadline_ms": 2000}
            try:
                status, answer = self._network.post("bank", body)
            except (OSError, http.client.HTTPException) as error:
                self.faults.append(error)
                return
            if status == 200:
                self.verdicts.append(answer)
            else:
                self.problems.append((status, answer))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def wait_for_complete(self, count: int) -> None:
        """Wait for so many more complete verdicts."""
        wanted = self._complete() + count
        until(lambda: self._complete() >= wanted, f"{count} more complete verdicts; {self.problems[-1:]}")

    def _complete(self) -> int:
        return sum(answer["complete"] for answer in self.verdicts)


def assert_nothing_was_lost(network: Running, load: Load) -> None:
    """Every client got a verdict or a clear refusal, and what verdicts rest on stands at both sides."""
    assert not load.faults
    assert {status for status, _ in load.problems} <= {503}
    assert {problem["code"] for _, problem in load.problems} <= {"store_unavailable", "overloaded"}
    ours, theirs = network.receipts("bank"), network.receipts("shop")
    named = {receipt for answer in load.verdicts for receipt in answer["receipts"]}
    assert len(named) > 10
    assert not named - ours.keys()
    assert not named - theirs.keys()
    assert all(ours[receipt] == theirs[receipt] for receipt in named)
    kept = {str(row["id"]) for row in network.rows("bank", "select id from checks")}
    assert {answer["check"] for answer in load.verdicts} <= kept


def postmaster(server: EmbeddedServer) -> int:
    return int((server.directory / "data" / "postmaster.pid").read_text().split()[0])


def gone(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    return (Path("/proc") / str(number) / "stat").exists() and " Z " in Path(f"/proc/{number}/stat").read_text()


def test_a_postgresql_that_is_stopped_under_load_and_started_again_loses_nothing(
    make_network: MakeNetwork, short_folder: Path
) -> None:
    """The peers have a DSN, so that nobody but this test starts the server again."""
    with quick_server(short_folder / "pg") as server:
        specs = [given_dsn(server, spec) for spec in (BANK, SHOP)]
        network = make_network(*specs, own=server)
        network.publish("shop", "fraud", LISTED)
        network.start()
        network.ready("bank")
        with Load(network) as load:
            load.wait_for_complete(20)
            number = postmaster(server)
            os.kill(number, signal.SIGQUIT)
            until(lambda: gone(number), "the end of PostgreSQL")
            until(lambda: load.problems, "a clear refusal")
            until(lambda: network.health("bank").get("failed") == ["store"], "health that names the part")
            assert network.health("bank", "readyz")["parts"]["store"] != "ok"
            server.ensure_running()
            load.wait_for_complete(20)
        until(lambda: network.probe("bank", "healthz")[0] == 200, "health again")
        assert_nothing_was_lost(network, load)
        network.stop()


def given_dsn(server: EmbeddedServer, spec: Spec) -> Spec:
    dsn = asyncio.run(server.database(f"given_{spec.name}"))
    return Spec(spec.name, spec.title, spec.kind, spec.roles, {"store": {"dsn": dsn}})


def test_a_postgresql_of_our_own_that_is_killed_under_load_is_started_by_the_peers(
    make_network: MakeNetwork, short_folder: Path
) -> None:
    with quick_server(short_folder / "pg") as server:
        network = make_network(BANK, SHOP, own=server)
        network.publish("shop", "fraud", LISTED)
        network.start()
        network.ready("bank")
        with Load(network) as load:
            load.wait_for_complete(20)
            os.kill(postmaster(server), signal.SIGKILL)
            load.wait_for_complete(20)
        assert_nothing_was_lost(network, load)
        network.stop()
