"""The operations listener."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from riskshare.errors import ConfigError, StoreError
from riskshare.metrics import CONTENT_TYPE, Metrics
from riskshare.server import operations
from riskshare.server import workers as workers_module
from riskshare.server.listen import listen, require_free
from riskshare.server.operations import Probe, operations_application
from riskshare.server.workers import Workers


async def well() -> None:
    return None


async def away() -> None:
    raise StoreError("PostgreSQL is away.")


async def hanging() -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def served(
    health: dict[str, Probe], readiness: dict[str, Probe], workers: Workers | None = None
) -> AsyncIterator[str]:
    metrics = Metrics()
    metrics.registry_days.set(42)
    app = operations_application(metrics=metrics, health=health, readiness=readiness, workers=workers)
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


# -- several workers ------------------------------------------------------------------------------------------------


async def looked(url: str, path: str) -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession() as session, session.get(url + path) as answer:
        return answer.status, await answer.json()


async def test_whichever_worker_is_asked_answers_for_all(short_folder: Path) -> None:
    first, second = (Workers(short_folder, number, 2) for number in (1, 2))
    async with (
        served({"store": well, "work": well}, {}, first) as well_one,
        served({"store": well, "work": away}, {"lists": well}, second) as sick_one,
    ):
        status, body = await looked(well_one, "/healthz")
        assert (status, body["failed"]) == (503, ["work"])
        assert body["parts"] == {"store": "ok", "work": "Worker 2: PostgreSQL is away.", "workers": "ok"}
        status, body = await looked(sick_one, "/readyz")
        assert (status, body["failed"], body["parts"]["work"]) == (503, ["work"], "PostgreSQL is away.")
        for url in (well_one, sick_one):
            async with aiohttp.ClientSession() as session, session.get(url + "/metrics") as answer:
                text = await answer.text()
            for worker in ("1", "2"):
                assert f'riskshare_registry_days_left{{worker="{worker}"}} 42.0' in text
                assert f'riskshare_worker_up{{worker="{worker}"}} 1.0' in text


async def test_the_others_are_asked_while_a_worker_looks_itself(short_folder: Path) -> None:
    """Where PostgreSQL hangs, each look takes its whole time: an operator waits for one, not for one after another."""
    theirs = asyncio.Event()

    async def sets() -> None:
        theirs.set()

    async def waits() -> None:
        await theirs.wait()

    first, second = (Workers(short_folder, number, 2) for number in (1, 2))
    async with served({"store": waits}, {}, first) as url, served({"store": sets}, {}, second):
        status, body = await looked(url, "/healthz")
    assert (status, body["status"]) == (200, "ok")


@pytest.mark.parametrize("trouble", ["none", "gone", "garbage", "silent"])
async def test_a_worker_that_does_not_answer_is_named(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    monkeypatch.setattr(workers_module, "ASK_SECONDS", 0.1)
    released = asyncio.Event()

    async def other(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if trouble == "silent":
            await released.wait()
        writer.write(b"{")
        writer.close()

    server = None if trouble == "none" else await asyncio.start_unix_server(other, short_folder / "2")
    if server is not None and trouble == "gone":
        server.close()
    async with served({"store": well}, {}, Workers(short_folder, 1, 2)) as url:
        status, body = await looked(url, "/healthz")
        assert (status, body["failed"]) == (503, ["workers"])
        assert "Worker 2 does not answer" in body["parts"]["workers"]
        async with aiohttp.ClientSession() as session, session.get(url + "/metrics") as answer:
            assert 'riskshare_worker_up{worker="2"} 0.0' in await answer.text()
    released.set()
    if server is not None:
        server.close()


async def test_a_worker_in_place_of_one_that_was_killed_takes_its_socket(short_folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(short_folder / "2"))
    async with (
        served({"store": well}, {}, Workers(short_folder, 1, 2)) as url,
        served({"store": well}, {}, Workers(short_folder, 2, 2)),
    ):
        assert (await looked(url, "/healthz"))[0] == 200


# -- ports ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
@pytest.mark.parametrize("shared", [False, True])
def test_a_port_that_another_program_has_is_not_free_even_if_it_would_be_shared(host: str, shared: bool) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=shared) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"listen.peers: port {port} is taken"):
            require_free(host, port, name="peers")
    require_free(host, port, name="peers")


def test_a_host_that_is_not_here_is_named() -> None:
    with pytest.raises(ConfigError, match="the host is not an address of this machine"):
        require_free("192.0.2.1", 8443, name="peers")
