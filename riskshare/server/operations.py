"""The listener for operators: health, readiness, metrics. Plain HTTP, to be kept internal.

/healthz   200 if every part works; 503 names those that do not
/readyz    200 if checks can be answered; 503 says what is missing
/metrics   Prometheus
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp import web

from riskshare.errors import RiskshareError
from riskshare.metrics import CONTENT_TYPE, Metrics
from riskshare.server.observing import Observer

PROBE_SECONDS: Final = 3.0
"""Longest time that one probe may take."""

Probe = Callable[[], Awaitable[None]]
"""Looks at one part of the peer; raises a RiskshareError whose sentence says what is wrong with it."""


async def look(probes: Mapping[str, Probe]) -> dict[str, str]:
    """Run all probes at once: what is wrong, by part; empty if nothing is."""
    parts = [(name, asyncio.ensure_future(_look(probe))) for name, probe in probes.items()]
    found = {name: await outcome for name, outcome in parts}
    return {name: wrong for name, wrong in found.items() if wrong}


async def _look(probe: Probe) -> str:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await probe()
    except RiskshareError as error:
        return error.message
    except TimeoutError:
        return f"It did not answer within {PROBE_SECONDS:g} seconds."
    return ""


def operations_application(
    *, metrics: Metrics, health: Mapping[str, Probe], readiness: Mapping[str, Probe]
) -> web.Application:
    """Make the application of the operations listener; ready is a peer that is healthy and passes `readiness` too."""

    def answer(parts: Mapping[str, Probe]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handler(_request: web.Request) -> web.Response:
            wrong = await look(parts)
            body: dict[str, object] = {
                "status": "failed" if wrong else "ok",
                "parts": {name: wrong.get(name, "ok") for name in parts},
            }
            if wrong:
                body["failed"] = sorted(wrong)
            return web.Response(
                status=503 if wrong else 200,
                body=json.dumps(body).encode(),
                headers={"Content-Type": "application/json", "Cache-Control": "no-store"},
            )

        return handler

    async def scrape(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    observer = Observer("operations", metrics, quiet=frozenset({"/healthz", "/readyz", "/metrics"}))
    app = web.Application(middlewares=[observer.middleware()])
    app.add_routes(
        [
            web.get("/healthz", answer(health)),
            web.get("/readyz", answer({**health, **readiness})),
            web.get("/metrics", scrape),
        ]
    )
    return app
