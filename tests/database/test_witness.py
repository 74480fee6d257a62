"""A witness over a real PostgreSQL: what it knows survives, races have one winner, evidence is kept once."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from riskshare.ledger.addition import Known
from riskshare.ledger.checkpoint import origin_of, parse_signed
from riskshare.ledger.cosign import Witness
from riskshare.ledger.histories import KIND, parse_histories
from riskshare.ledger.kept import BEHIND
from riskshare.ledger.policy import log_keys
from riskshare.metrics import Metrics
from riskshare.peer.adapters import WitnessDesk
from riskshare.store.store import Store
from tests.simulator.listening import View
from tests.simulator.network import NETWORK, make_network
from tests.simulator.tree import DefinedTree
from tests.simulator.witnessing import Log

ORIGIN = origin_of(NETWORK, "jd")
FORK = DefinedTree(300)
FORK.leaves[2] = bytes(32)


class World:
    """icbc's witness over a store; jd's log, and what jd shows to others."""

    def __init__(self, store: Store) -> None:
        self.network = make_network()
        self.view = View(self.network)
        self.store = store
        self.metrics = Metrics()
        self.now = self.network.issued_at + timedelta(minutes=1)
        self.log = Log(self.network, "jd", DefinedTree(300))
        self.forked = Log(self.network, "jd", FORK)

    def witness(self) -> Witness:
        """A process of it."""
        desk = WitnessDesk(self.store.trust, self.metrics)
        key = self.network.members["icbc"].witness
        memory = self.store.ledger
        return Witness(member="icbc", key=key, registries=self.view, memory=memory, evidence=desk, watch=desk)

    async def post(self, body: bytes):
        return await self.witness().add_checkpoint(body, self.now)


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


async def test_what_was_cosigned_is_known_after_a_restart(world):
    for old, new in ((0, 0), (0, 7), (7, 7), (7, 300)):
        assert (await world.post(world.log.body(old, new))).status == 200
    held = await world.store.ledger.witnessed(ORIGIN)
    assert (held.known, held.at) == (Known(300, world.log.tree.root(300)), world.now)
    assert parse_signed(held.note) == world.log.offer(0, 300).signed
    again = await world.post(world.log.body(7, 300))
    assert (again.status, again.body) == (409, b"300\n")


async def test_of_two_histories_offered_at_once_by_many_only_one_is_ever_cosigned(world):
    for size in (1, 50, 299):
        known = (await world.store.ledger.witnessed(ORIGIN)).known
        first = [world.log.body(known.size, size)] * 8
        second = [world.forked.body(known.size, size)] * 8
        verdicts = await asyncio.gather(
            *map(world.post, [body for pair in zip(first, second, strict=True) for body in pair])
        )
        good = {index % 2 for index, verdict in enumerate(verdicts) if verdict.status == 200}
        assert len(good) == 1
        if good == {1}:  # the fork won: it is the log's history from now on, for this witness
            world.log, world.forked = world.forked, world.log


async def test_evidence_is_kept_once_and_convicts(world, store):
    await world.post(world.log.body(0, 7))
    for old in (7, 0, 7):
        assert (await world.post(world.forked.body(old, 7))).status == 409
    [row] = await store.trust.fraud_proofs()
    assert (row.kind, row.accused, row.found_at) == (KIND, "jd", world.now)
    found = parse_histories(row.evidence)
    assert found.about == row.about
    found.verify(log_keys(world.network.registry, "jd", world.now))
    assert await store.trust.count_fraud_proofs() == {("jd", KIND): 1}
    assert f'riskshare_fraud_proofs{{kind="{KIND}",member="jd"}} 1.0' in world.metrics.render().decode()


async def test_another_size_is_another_proof(world, store):
    await world.post(world.log.body(0, 7))
    await world.post(world.forked.body(0, 7))
    await world.post(world.log.body(7, 9))
    await world.post(world.forked.body(7, 9))
    assert [parse_histories(row.evidence).size for row in await store.trust.fraud_proofs()] == [7, 9]


async def test_logs_do_not_concern_each_other(world):
    other = Log(world.network, "unionpay", DefinedTree(300))
    verdicts = await asyncio.gather(*(world.post(log.body(0, 9)) for log in (world.log, other)))
    assert [verdict.status for verdict in verdicts] == [200, 200]
    assert len(await world.store.ledger.all_witnessed()) == 2


async def test_a_witness_that_is_behind_cosigns_nothing(world, store):
    await store.ledger.halt(BEHIND, "Witnesses have seen more.")
    verdict = await world.post(world.log.body(0, 7))
    assert (verdict.status, verdict.code) == (503, "witness_behind")
    assert await store.ledger.all_witnessed() == {}


async def test_requests_are_counted_by_log_and_code(world):
    await world.post(world.log.body(0, 7))
    await world.post(world.log.body(0, 7))
    await world.post(b"")
    text = world.metrics.render().decode()
    for labels in ('code="accepted",log="jd"', 'code="size_conflict",log="jd"', 'code="malformed",log=""'):
        assert f"riskshare_witnessed_total{{{labels}}} 1.0" in text
