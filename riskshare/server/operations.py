"""The listener for operators: health, readiness, metrics. Plain HTTP, to be kept internal.

/healthz   200 if every part works; 503 names those that do not
/readyz    200 if checks can be answered; 503 says what is missing
/metrics   Prometheus

Where several workers share the port, each answers for all: what is wrong with any of them is wrong, and every sample
names its worker.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Final

from aiohttp import web

from riskshare.errors import RiskshareError
from riskshare.metrics import CONTENT_TYPE, Metrics, render_workers
from riskshare.server.observing import Observer
from riskshare.server.workers import Workers

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


class _Operations:
    """The handlers."""

    def __init__(
        self, metrics: Metrics, health: Mapping[str, Probe], readiness: Mapping[str, Probe], workers: Workers | None
    ) -> None:
        self._metrics = metrics
        self._parts = {"healthz": health, "readyz": {**health, **readiness}}
        self._workers = workers

    async def answer(self, word: str, _request: web.Request) -> web.Response:
        parts = self._parts[word]
        wrong, others = await asyncio.gather(look(parts), self._ask(word))
        names = list(parts)
        if self._workers is not None:
            names.append("workers")
            for number, theirs in others.items():
                if theirs is None:
                    wrong.setdefault("workers", f"Worker {number} does not answer; one that died is started again.")
                for name, sentence in (theirs or {}).items():
                    wrong.setdefault(name, f"Worker {number}: {sentence}")
        body: dict[str, object] = {
            "status": "failed" if wrong else "ok",
            "parts": {name: wrong.get(name, "ok") for name in names},
        }
        if wrong:
            body["failed"] = sorted(wrong)
        return web.Response(
            status=503 if wrong else 200,
            body=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Cache-Control": "no-store"},
        )

    async def _ask(self, word: str) -> Mapping[int, Mapping[str, str] | None]:
        """What the other workers say is wrong with their parts; None of one that does not answer."""
        return {} if self._workers is None else await self._workers.ask(word)

    async def scrape(self, _request: web.Request) -> web.Response:
        text = self._metrics.render()
        if self._workers is not None:
            told = await self._workers.ask("metrics")
            text = render_workers({**told, self._workers.number: self._metrics.families()})
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})

    async def tell_workers(self, _app: web.Application) -> AsyncIterator[None]:
        """Answer the other workers for as long as the application runs."""
        assert self._workers is not None

        async def metrics() -> object:
            return self._metrics.families()

        said: dict[str, Callable[[], Awaitable[object]]] = {
            word: partial(look, parts) for word, parts in self._parts.items()
        }
        server = await self._workers.serve({**said, "metrics": metrics})
        yield
        server.close()


def operations_application(
    *, metrics: Metrics, health: Mapping[str, Probe], readiness: Mapping[str, Probe], workers: Workers | None = None
) -> web.Application:
    """Make the application of the operations listener; ready is a peer that is healthy and passes `readiness` too.

    `workers` are those who share the listener's port.
    """
    operations = _Operations(metrics, health, readiness, workers)
    observer = Observer("operations", metrics, quiet=frozenset({"/healthz", "/readyz", "/metrics"}))
    app = observer.application()
    if workers is not None:
        app.cleanup_ctx.append(operations.tell_workers)
    app.add_routes(
        [
            web.get("/healthz", partial(operations.answer, "healthz")),
            web.get("/readyz", partial(operations.answer, "readyz")),
            web.get("/metrics", operations.scrape),
        ]
    )
    return app
