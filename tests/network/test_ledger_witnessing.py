"""A log that finalizes, and the witness of another member, over real TLS between them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from riskshare.client import LedgerClient
from riskshare.errors import LedgerError
from riskshare.ledger.checkpoint import origin_of, parse_signed
from riskshare.ledger.cosign import BEHIND
from riskshare.ledger.finalize import Finalizer, quorum_of
from riskshare.ledger.policy import network_policy
from riskshare.ledger.sequence import Sequencer
from tests.simulator.ledger import MemoryLog, Seen
from tests.simulator.listening import Pair, now, peer_pair
from tests.simulator.network import NETWORK
from tests.simulator.tree import entry


class Logger:
    """icbc's log; jd is its only witness, for unionpay is suspended."""

    def __init__(self, pair: Pair, client: LedgerClient, log: MemoryLog) -> None:
        self._client = client
        self.log = log
        self.watch = Seen()
        key = pair.network.members["icbc"].ledger
        self.sequencer = Sequencer(origin=origin_of(NETWORK, "icbc"), key=key, log=log, now=now)
        self.finalizer = Finalizer(
            log=log,
            witnesses=self,
            quorum=lambda: quorum_of(pair.view.current(), "icbc", now()),
            watch=self.watch,
            now=now,
        )

    async def submit(self, member: str, body: bytes) -> tuple[int, bytes]:
        return await self._client.add_checkpoint(member, body, 5.0)

    async def begin(self) -> bool:
        await self.sequencer.open()
        return await self.finalizer.begin()

    async def grow(self, *numbers: int) -> None:
        self.log.keep(*map(entry, numbers))
        await self.sequencer.step()
        await self.finalizer.round()


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with peer_pair(tmp_path) as made:
        made.network.change("unionpay", standing="suspended")
        made.update()
        yield made


@pytest.fixture
async def client(pair: Pair) -> AsyncIterator[LedgerClient]:
    async with pair.ledger_client() as made:
        yield made


async def test_what_a_log_signs_becomes_final_by_the_witness(pair, client):
    logger = Logger(pair, client, MemoryLog())
    assert await logger.begin()
    for numbers in (range(1), range(1, 300), range(300, 303)):
        await logger.grow(*numbers)
        [*_, final] = logger.log.finals()
        assert final.size == numbers[-1] + 1
        policy = network_policy(pair.view.current(), "icbc", datetime.now(UTC))
        assert policy.check(parse_signed(final.note)).checkpoint.size == final.size
    assert pair.memory.rows[origin_of(NETWORK, "icbc")].known.size == 303
    await logger.finalizer.close()


async def test_a_log_that_begins_again_goes_on_from_what_its_witness_knows(pair, client):
    first = Logger(pair, client, MemoryLog())
    await first.begin()
    await first.grow(*range(9))
    await first.finalizer.close()
    second = Logger(pair, client, first.log)
    assert await second.begin()
    await second.grow(9)
    assert [head.size for head in second.log.finals()][-1] == 10
    await second.finalizer.close()


async def test_a_witness_that_failed_after_it_had_stored_is_asked_again_and_signs(pair, client):
    logger = Logger(pair, client, MemoryLog())
    await logger.begin()
    pair.memory.failing = "persisted"
    await logger.grow(1, 2, 3)
    assert all(head.size == 0 for head in logger.log.finals())
    pair.memory.failing = ""
    await logger.finalizer.round()
    assert [head.size for head in logger.log.finals()][-1] == 3
    await logger.finalizer.close()


async def test_a_log_from_an_old_backup_signs_nothing_more(pair, client):
    logger = Logger(pair, client, MemoryLog())
    await logger.begin()
    await logger.grow(1, 2, 3)
    old = logger.log.backup()
    await logger.grow(4, 5)
    await logger.finalizer.close()
    restored = MemoryLog()
    restored.restore(old)
    again = Logger(pair, client, restored)
    with pytest.raises(LedgerError) as caught:
        await again.begin()
    assert caught.value.code == BEHIND
    await again.finalizer.close()


async def test_two_databases_under_one_identity_are_found_by_the_witness(pair, client):
    one, other = Logger(pair, client, MemoryLog()), Logger(pair, client, MemoryLog())
    await one.begin()
    await other.begin()
    await one.grow(1, 2, 3)
    with pytest.raises(LedgerError) as caught:
        await other.grow(1, 2, 4)
    assert caught.value.code == "ledger_forked"
    [(accused, found, _)] = {kept[1].about: kept for kept in pair.desk.kept}.values()
    assert (accused, found.size) == ("icbc", 3)
    assert other.watch.codes("jd")[-1] == "disputed"
    await one.finalizer.close()
    await other.finalizer.close()
