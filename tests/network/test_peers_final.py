"""Real peers whose exchanges become final; one that is away, and one whose database was brought back from a backup."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from riskshare.generate import generate
from riskshare.governance import read_registry
from riskshare.ledger.checkpoint import parse_signed
from riskshare.ledger.policy import network_policy
from riskshare.peer.opening import now
from tests.network.conftest import MakeNetwork
from tests.simulator.running import BANK, SHOP, TELECOM, Running, until

LISTED = generate(401, 20, ("phone",))


@pytest.fixture(scope="module")
def network(make_network: MakeNetwork) -> Running:
    """Three members: each checkpoint needs both others."""
    made = make_network(BANK, SHOP, TELECOM)
    made.publish("shop", "fraud", LISTED)
    made.start(program=made.hurried())
    made.ready()
    return made


def entries(network: Running, name: str) -> int:
    """What is kept at a member, in its log or not yet."""
    [row] = network.rows(
        name, "select (select count(*) from ledger_pending) + (select count(*) from ledger_entries) as entries"
    )
    return int(row["entries"])


def is_final(network: Running, name: str, size: int) -> bool:
    [row] = network.rows(name, "select max(size) as size from ledger_checkpoints where final_at is not null")
    return (row["size"] or 0) >= size


def all_final(network: Running, *names: str) -> None:
    for name in names:
        size = entries(network, name)
        until(lambda name=name, size=size: is_final(network, name, size), f"{size} entries of {name} to be final")


def test_what_both_sides_keep_of_a_check_becomes_final_at_both(network: Running) -> None:
    before = {name: entries(network, name) for name in ("bank", "shop")}
    network.check("bank", LISTED[0])
    assert entries(network, "bank") == before["bank"] + 2  # the receipt and the check
    assert entries(network, "shop") == before["shop"] + 1
    all_final(network, "bank", "shop", "telecom")
    registry = read_registry(network.directory / "network.json")
    for name in ("bank", "shop", "telecom"):
        [row] = network.rows(
            name, "select note from ledger_checkpoints where final_at is not null order by size desc limit 1"
        )
        found = network_policy(registry, name, now()).check(parse_signed(row["note"]))
        assert len(found.witnesses) == 2
        assert network.metric(name, "ledger_halted") == 0
        assert network.health(name)["parts"]["ledger"] == "ok"


def test_the_metrics_tell_of_size_and_finality_and_of_each_witness(network: Running) -> None:
    size = entries(network, "shop")
    until(lambda: network.metric("shop", "ledger_final_size") == size, "the gauge to follow")
    assert network.metric("shop", "ledger_size") == size
    assert network.metric("shop", "ledger_pending") == 0
    assert network.metric("shop", "ledger_final_age_seconds") >= 0
    for witness in ("bank", "telecom"):
        assert network.metric("shop", "ledger_cosigned_total", witness=witness, code="cosigned") > 0


def test_without_a_quorum_checks_go_on_and_become_final_when_it_is_back(network: Running) -> None:
    all_final(network, "bank", "shop")
    network.stop("telecom")
    network.check("bank", LISTED[1])
    size = entries(network, "shop")
    until(lambda: network.metric("shop", "ledger_size") == size, "shop's log to grow")
    assert not is_final(network, "shop", size)
    network.start("telecom")
    all_final(network, "bank", "shop", "telecom")


def test_a_peer_that_is_killed_goes_on_where_its_log_was(network: Running) -> None:
    network.check("bank", LISTED[5])
    network.kill("shop")
    network.start("shop")
    network.ready("bank")
    network.check("bank", LISTED[6])
    all_final(network, "bank", "shop")
    assert network.metric("shop", "ledger_halted") == 0


def test_who_comes_to_lead_asks_what_the_log_was_before_signing(network: Running) -> None:
    before = len(network.log("shop", "ledger_begun"))
    leaders = "locktype = 'advisory' and objid = 2 and database = (select oid from pg_database where datname = $1)"
    name = network.members["shop"].config.store.database
    ended = network.rows("shop", f"select pg_terminate_backend(pid) from pg_locks where {leaders}", name)
    assert len(ended) == 1
    until(lambda: len(network.log("shop", "ledger_begun")) > before, "the log to begin anew")
    network.check("bank", LISTED[7])
    all_final(network, "bank", "shop")


def test_a_database_from_an_older_backup_signs_nothing_and_its_peer_still_answers(network: Running) -> None:
    all_final(network, "shop")
    name = network.members["shop"].config.store.database
    network.stop("shop")
    asyncio.run(run(network.dsn("bank"), f"create database {name}_older template {name}"))
    network.start("shop")
    network.ready("bank")
    network.check("bank", LISTED[2])
    all_final(network, "shop")
    network.stop("shop")
    asyncio.run(
        run(
            network.dsn("bank"),
            f"alter database {name} rename to {name}_newest",
            f"alter database {name}_older rename to {name}",
        )
    )
    size = entries(network, "shop")
    network.stop("bank", "telecom")
    network.start("shop")  # healthy as long as nobody has told what the log was
    network.start("bank", "telecom")
    until(lambda: network.metric("shop", "ledger_halted") == 1, "shop's log to halt")
    assert "older backup" in str(network.health("shop")["parts"]["ledger"])
    network.ready("bank")
    assert network.statuses("bank", LISTED[3])["shop"] == "answered"
    assert entries(network, "shop") == size + 1
    [row] = network.rows("shop", "select max(size) as size from ledger_checkpoints")
    assert row["size"] == size
    # The newest database is brought back: the log goes on where it was.
    network.stop("shop")
    asyncio.run(
        run(
            network.dsn("bank"),
            f"alter database {name} rename to {name}_dropped",
            f"alter database {name}_newest rename to {name}",
        )
    )
    network.start("shop")
    network.ready("bank")
    network.check("bank", LISTED[4])
    all_final(network, "shop", "bank")
    assert network.health("shop")["parts"]["ledger"] == "ok"


async def run(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()
