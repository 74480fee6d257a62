"""The operations listener."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from riskshare.errors import StoreError
from riskshare.metrics import CONTENT_TYPE, Metrics
from riskshare.server import operations
from riskshare.server.listen import listen
from riskshare.server.operations import Probe, operations_application


async def well() -> None:
    return None


async def away() -> None:
    raise StoreError("PostgreSQL is away.")


async def hanging() -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def served(health: dict[str, Probe], readiness: dict[str, Probe]) -> AsyncIterator[str]:
    metrics = Metrics()
    metrics.registry_days.set(42)
    app = operations_application(metrics=metrics, health=health, readiness=readiness)
    listening = await listen(app, "127.0.0.1", 0, name="operations")
    try:
        yield f"http://127.0.0.1:{listening.port}"
    finally:
        await listening.close()


async def test_a_healthy_peer() -> None:
    async with (
        served({"store": well}, {}) as url,
        aiohttp.ClientSession() as session,
        session.get(url + "/healthz") as answer,
    ):
        assert (answer.status, await answer.json()) == (200, {"status": "ok", "parts": {"store": "ok"}})


async def test_health_names_the_part_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "PROBE_SECONDS", 0.05)
    async with (
        served({"store": away, "disk": well, "pool": hanging}, {}) as url,
        aiohttp.ClientSession() as session,
        session.get(url + "/healthz") as answer,
    ):
        body = await answer.json()
    assert (answer.status, body["failed"]) == (503, ["pool", "store"])
    assert body["parts"] == {
        "store": "PostgreSQL is away.", "disk": "ok", "pool": "It did not answer within 0.05 seconds.",
    }  # fmt: skip


async def test_a_peer_may_be_healthy_and_not_ready() -> None:
    async with served({"store": well}, {"registry": away}) as url, aiohttp.ClientSession() as session:
        assert (await session.get(url + "/healthz")).status == 200
        async with session.get(url + "/readyz") as answer:
            assert (answer.status, (await answer.json())["failed"]) == (503, ["registry"])


async def test_metrics_are_scraped() -> None:
    async with served({}, {}) as url, aiohttp.ClientSession() as session, session.get(url + "/metrics") as answer:
        assert answer.headers["Content-Type"] == CONTENT_TYPE
        assert "riskshare_registry_days_left 42.0" in await answer.text()


async def test_nothing_else_is_there() -> None:
    async with served({}, {}) as url, aiohttp.ClientSession() as session:
        assert (await session.get(url + "/v1/lists")).status == 404
