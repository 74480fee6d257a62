"""Real peers settle: two and three members, disputes, kill -9 at each step, exports."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from riskshare.encoding import format_time
from riskshare.generate import generate
from riskshare.governance import current_registry, issue
from riskshare.ledger.leaf import Leaf
from riskshare.peer.opening import now
from riskshare.registry.network import TERM
from tests.network.conftest import MakeNetwork
from tests.simulator.commands import Ran, command
from tests.simulator.running import BANK, SHOP, TELECOM, Running, until

LISTED = generate(501, 12, ("phone",))
UNLISTED = generate(502, 60, ("phone",), exclude=LISTED)

AT_ONCE = """
from datetime import timedelta
import riskshare.audit.settle
import riskshare.peer.peer
from riskshare.cli import main

riskshare.audit.settle.SETTLED_AFTER = timedelta(0)
riskshare.peer.peer.REGISTRY_SECONDS = 0.5
"""

DIES_BEFORE_KEEPING = """
import os, signal
from riskshare.store.settlements import Settlements

async def keep(self, other, agreed):
    os.kill(os.getpid(), signal.SIGKILL)

Settlements.keep = keep
"""

DIES_AFTER_KEEPING = """
import os, signal
from riskshare.store.settlements import Settlements

keep_for_real = Settlements.keep

async def keep(self, other, agreed):
    await keep_for_real(self, other, agreed)
    os.kill(os.getpid(), signal.SIGKILL)

Settlements.keep = keep
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def program(folder: Path) -> Path:
    """A riskshare that settles a period as soon as it is over."""
    return written(folder, "at_once", "")


def written(folder: Path, name: str, change: str) -> Path:
    file = folder / f"{name}.py"
    file.write_text(f"{AT_ONCE}{change}\nmain()\n")
    return file


@pytest.fixture(scope="module")
def network(make_network: MakeNetwork, program: Path) -> Iterator[Running]:
    made = make_network(BANK, SHOP, TELECOM)
    made.publish("shop", "fraud", LISTED[:6])
    made.publish("telecom", "fraud", LISTED[6:])
    prices = {"shop": "0.333", "telecom": "0.0025"}
    old = current_registry(made.directory)
    members = [replace(old.members[name], price=price) for name, price in prices.items()]
    issue(made.directory, old, members, now=now(), term=TERM, governor_keys=())
    made.start(program=[str(program)])
    made.ready()
    return made


def moment() -> str:
    return format_time(datetime.now(UTC) + timedelta(milliseconds=1))


def settle(network: Running, member: str, program: Path, *words: object) -> Ran:
    return command("audit", "settle", *words, "--json", program=program, config=network.members[member].config_file)


class Period:
    """A period in which some checks were made."""

    def __init__(self, network: Running, count: int) -> None:
        since = moment()
        wait = datetime.now(UTC) + timedelta(milliseconds=2)
        while datetime.now(UTC) < wait:
            pass
        for _ in range(count):
            network.check("bank", UNLISTED.pop())
        self.words = ("--from", since, "--to", moment())


def agreed(network: Running, member: str, words: tuple[str, ...]) -> list[Any]:
    opened, closed = (datetime.fromisoformat(words[place]) for place in (1, 3))
    return network.rows(
        member,
        "select * from settlements where opened >= $1 and closed <= $2 order by other",
        opened - timedelta(milliseconds=1),
        closed + timedelta(milliseconds=1),
    )


def same_on_both(network: Running, words: tuple[str, ...], owner: str = "shop") -> dict[str, Any]:
    """Both have the same statement with the same signatures, and each its entry in its own log."""
    [ours] = [row for row in agreed(network, "bank", words) if row["other"] == owner]
    [theirs] = [row for row in agreed(network, owner, words) if row["other"] == "bank"]
    for name in ("digest", "statement", "first_signature", "second_signature"):
        assert ours[name] == theirs[name]
    for name, row in (("bank", ours), (owner, theirs)):
        until(lambda name=name, row=row: in_log(network, name, row), f"{name} to log the settlement")
    found: dict[str, Any] = json.loads(ours["statement"])
    return found


def in_log(network: Running, name: str, row: Any) -> bool:
    found = network.rows(
        name, "select index from ledger_entries where kind = 'settlement' and source = $1", row["digest"]
    )
    if not found:
        return False
    index = found[0]["index"]
    [bundle] = network.rows(name, "select entries from ledger_bundles where index = $1", index // 256)
    entry = bundle["entries"][34 * (index % 256) + 2 :][:32]
    assert entry == Leaf("settlement", row["salt"], row["statement"]).entry
    return True


# -- agreement ----------------------------------------------------------------------------------------


def test_two_members_sign_the_same_statement(network: Running, program: Path) -> None:
    period = Period(network, 3)
    done = settle(network, "bank", program, *period.words, "--with", "shop")
    assert done.code == 0, done.err + done.out
    statement = same_on_both(network, period.words)
    of_shop = statement["directions"][1]
    assert (of_shop["owner"], of_shop["receipts"], of_shop["evaluations"], of_shop["owed"]) == ("shop", 3, 3, "0.999")
    assert statement["net"] == {"amount": "1.00", "payee": "shop", "payer": "bank"}
    other_way = settle(network, "shop", program, *period.words, "--with", "bank")
    assert other_way.code == 0
    assert len(agreed(network, "bank", period.words)) == 1


def test_three_members_settle_each_pair_and_write_what_accountants_need(
    network: Running, program: Path, tmp_path: Path
) -> None:
    period = Period(network, 4)
    accounts = (
        "--account", "bank=DE89370400440532013000@COBADEFFXXX",
        "--account", "shop=6222021234567894@102100099996",
        "--account", "telecom=GB29NWBK60161331926819@NWBKGB2L",
    )  # fmt: skip
    done = settle(network, "bank", program, *period.words, "--out", tmp_path / "out", *accounts)
    assert done.code == 0, done.err + done.out
    assert same_on_both(network, period.words)["net"]["amount"] == "1.33"
    assert same_on_both(network, period.words, "telecom")["net"]["amount"] == "0.01"
    written_files = {file.name for file in (tmp_path / "out").iterdir()}
    each = {f"{name}.{kind}" for name in ("shop", "telecom") for kind in ("settlement.json", "csv", "pain.001.xml")}
    assert written_files == each | {"settle.json", "settle.html"}
    assert all(file.stat().st_mode & 0o077 == 0 for file in (tmp_path / "out").iterdir())
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "shop.csv").read_text(), newline="")))
    assert [row["amount"] for row in rows if row["row"] == "net"] == ["1.33"]
    assert '<InstdAmt Ccy="CNY">1.33</InstdAmt>' in (tmp_path / "out" / "shop.pain.001.xml").read_text()
    # The one who is paid writes no order.
    done = settle(network, "shop", program, *period.words, "--out", tmp_path / "shop", *accounts)
    assert done.code == 0
    assert not list((tmp_path / "shop").glob("*.xml"))
    # An account that is missing is named, and the settlement stands.
    done = settle(network, "bank", program, *period.words, "--with", "shop", "--out", tmp_path / "more", *accounts[:2])
    assert (done.code, done.objects[-1]["error"]["code"]) == (2, "config")
    assert "--account shop=" in done.objects[-1]["error"]["message"]
    assert (tmp_path / "more" / "shop.csv").exists()


# -- disputes -------------------------------------------------------------------------------------------


async def run_sql(dsn: str, statement: str, *arguments: object) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()


def test_a_receipt_deleted_at_one_side_is_named_with_its_count(network: Running, program: Path, tmp_path: Path) -> None:
    period = Period(network, 3)
    newest = "select id, batch from receipts where side = 'owner' order by seq desc limit 1"
    [row] = network.rows("shop", newest)
    asyncio.run(
        run_sql(
            network.dsn("shop"),
            "create table aside as select * from receipts where id = $1".replace("$1", f"'\\x{row['id'].hex()}'"),
        )
    )
    asyncio.run(run_sql(network.dsn("shop"), "delete from receipts where id = $1", row["id"]))
    done = settle(network, "bank", program, *period.words, "--with", "shop", "--out", tmp_path)
    assert done.code == 1, done.err + done.out
    report = done.objects[0]
    [counts, named] = report["tables"][-2:]
    assert [each[3] for each in counts["rows"] if each[2] == "shop"] == ["3", "2"]
    [found] = named["rows"]
    assert found[:7] == ["shop", "bank", str(row["batch"]), row["id"].hex(), "1", "-", "-"]
    assert agreed(network, "bank", period.words) == agreed(network, "shop", period.words) == []
    assert not (tmp_path / "shop.csv").exists()
    assert (tmp_path / "settle.html").exists()
    # Where it comes back, they agree.
    columns = (
        "side, counterparty, batch, id, epoch, count, receipt, elements, evaluated, proof, salt, adopted, recorded_at"
    )
    asyncio.run(
        run_sql(network.dsn("shop"), f"insert into receipts ({columns}) select {columns} from aside; drop table aside")
    )
    assert settle(network, "bank", program, *period.words, "--with", "shop").code == 0
    same_on_both(network, period.words)


# -- kill -9 ----------------------------------------------------------------------------------------------


def test_a_proposer_that_is_killed_before_it_keeps_completes_it_the_next_time(
    network: Running, program: Path, folder: Path
) -> None:
    period = Period(network, 2)
    done = settle(network, "bank", written(folder, "before", DIES_BEFORE_KEEPING), *period.words, "--with", "shop")
    assert done.code == -9
    assert len(agreed(network, "shop", period.words)) == 1, "the other side has signed and kept it"
    assert agreed(network, "bank", period.words) == []
    assert settle(network, "bank", program, *period.words, "--with", "shop").code == 0
    same_on_both(network, period.words)


def test_another_side_that_is_killed_after_it_has_kept_completes_it_the_next_time(
    network: Running, program: Path, folder: Path
) -> None:
    network.stop("shop")
    network.start("shop", program=[str(written(folder, "after", DIES_AFTER_KEEPING))])
    network.ready("bank")
    period = Period(network, 2)
    done = settle(network, "bank", program, *period.words, "--with", "shop")
    assert done.code == 3, done.out
    until(lambda: network.process("shop").poll() is not None, "shop to die")
    network.kill("shop")
    assert (len(agreed(network, "bank", period.words)), len(agreed(network, "shop", period.words))) == (0, 1)
    network.start("shop", program=[str(program)])
    network.ready("bank")
    assert settle(network, "bank", program, *period.words, "--with", "shop").code == 0
    same_on_both(network, period.words)


def test_who_is_away_is_told_and_the_others_are_settled(network: Running, program: Path) -> None:
    period = Period(network, 1)
    network.stop("telecom")
    done = settle(network, "bank", program, *period.words)
    assert done.code == 3, done.err
    outcomes = {step["number"].partition(".")[2]: step["outcome"] for step in done.objects[0]["steps"]}
    assert outcomes == {"shop": "holds", "telecom": "skipped"}
