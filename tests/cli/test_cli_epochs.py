"""`epoch end`: on a real PostgreSQL, with no peer running but the publisher where one is needed."""

from __future__ import annotations

import asyncio

import pytest

from riskshare.config import Config
from riskshare.peer.opening import now, opened_store, read_member
from riskshare.sharing.ending import newest_statement
from riskshare.sharing.epoch import EpochStatement
from riskshare.statement import read_wire
from tests.simulator.running import publisher_of


@pytest.fixture
def published(run, member):
    """A member with a list that is published."""
    run("list", "create", "high-risk", "--category", "telecom_fraud", "--config", member)
    publish(member)
    return member


def publish(config_file):
    async def refresh():
        own = read_member(Config.load(config_file))
        async with opened_store(own.config) as store:
            await publisher_of(own, store).refresh()
            return await store.publications.epochs()

    return asyncio.run(refresh())


def epochs(config_file):
    async def look():
        async with opened_store(Config.load(config_file)) as store:
            return await store.publications.epochs()

    return asyncio.run(look())


def test_an_epoch_is_ended_with_a_signed_statement_and_the_next_one_follows(answer, published):
    code, [done] = answer("epoch", "end", "default", "--reason", "key_exposed", "--config", published)
    assert (code, done) == (
        0,
        {"keyset": "default", "ended": [1], "reason": "key_exposed", "peer_running": False},
    )
    [row] = epochs(published)
    own = read_member(Config.load(published))
    wire = newest_statement(own.registry.network, row).wire()
    keys = [own.keys.identity.public]
    ended = EpochStatement.from_statement(read_wire("epoch", own.registry.network, wire, keys, limit=8192))
    assert (ended.digest, ended.number, ended.ended.reason) == (row.digest, 1, "key_exposed")
    assert not ended.in_term(now())
    assert [(row.number, row.ended_at is None) for row in publish(published)] == [(1, False), (2, True)]


@pytest.mark.parametrize("keyset", ["partners", "default"])
def test_what_is_not_in_service_is_not_ended(answer, published, keyset):
    words = ["epoch", "end", "default", "--reason", "withdrawn", "--config", published]
    answer(*words)
    before = epochs(published)
    words[2] = keyset
    code, [shown] = answer(*words)
    assert (code, shown["error"]["code"]) == (2, "no_epoch")
    assert "default" in shown["error"]["message"]
    assert epochs(published) == before
