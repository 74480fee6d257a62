"""Requests with an Idempotency-Key while PostgreSQL does not answer: nobody waits for it longer than a payment can."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from riskshare.server import idempotency
from tests.simulator.payments import till

ASKED = {"identifiers": ["phone:+8613800138000"], "purpose": "payment"}
SOON = 3.0
"""Seconds; PostgreSQL would be waited for longer."""


@pytest.fixture
async def api(store, monkeypatch):
    monkeypatch.setattr(idempotency, "STORE_SECONDS", 0.2)
    async with till(answered=store.idempotency, max_identifiers=4) as made:
        yield made


@asynccontextmanager
async def locked(store):
    """The table of claims is out of reach, as all is while PostgreSQL hangs."""
    connection = await store.pool.acquire()
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("lock table idempotency in access exclusive mode")
    try:
        yield
    finally:
        await transaction.rollback()
        await store.pool.release(connection)


async def ask(api, key, path="/v1/check", body=ASKED):
    headers = {**api.bearer("check"), "Idempotency-Key": f'"{key}"'}
    async with asyncio.timeout(SOON), api.session.post(api.url + path, json=body, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


async def free(store):
    """Wait until nothing is claimed."""
    async with asyncio.timeout(20):
        while await store.pool.fetchval("select count(*) from idempotency where response is null"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_check_is_refused_in_time_and_its_key_is_free_afterwards(api, store):
    async with locked(store):
        status, problem = await ask(api, "one")
    assert (status, problem["code"]) == (503, "store_unavailable")
    assert api.checks.questions == [], "nobody was asked"
    await asyncio.sleep(0.1)
    await free(store)
    assert (await ask(api, "one"))[0] == 200


async def test_a_batch_waits_no_longer_than_one(api, store):
    async with locked(store):
        status, body = await ask(api, "many", "/v1/checks", [ASKED] * 20)
    assert (status, {one["code"] for one in body}) == (200, {"store_unavailable"})
    assert api.checks.questions == []


async def test_a_failed_check_is_answered_although_its_key_cannot_be_freed(api, store, monkeypatch):
    locks = locked(store)

    async def fails(_question, _reply=None):
        await locks.__aenter__()
        raise idempotency.OpenError("a mistake")

    monkeypatch.setattr(api.checks, "check", fails)
    status, _ = await ask(api, "one")
    assert status == 500
    await locks.__aexit__(None, None, None)
    await free(store)
