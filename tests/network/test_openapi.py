"""The client API against its own description: schemathesis generates requests, right and wrong ones."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, assume, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from riskshare.server.imports import FORMATS
from riskshare.server.openapi import describe
from tests.simulator.payments import till

LONGEST_LINE = 8000
"""A longer one is refused before it is a request: no single parameter is at fault."""


@schemathesis.serializer(*(kind for kind in FORMATS if kind != "text/csv"))
def as_file(_context: Any, value: Any) -> bytes:
    """A file of any content, for media types that schemathesis cannot write."""
    return value if isinstance(value, bytes) else repr(value).encode()


schema = schemathesis.openapi.from_dict(describe(identifiers=4, deadline_ms=150), config=SchemathesisConfig())


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, str]]:
    """URL and API key of an API that is served by another thread."""
    ready, stop = threading.Event(), asyncio.Event()
    found: list[str] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        async with till() as api:
            found.extend([api.url, api.keys["both"].secret])
            loops.append(asyncio.get_running_loop())
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(10)
    yield found[0], found[1]
    loops[0].call_soon_threadsafe(stop.set)
    thread.join(10)


@schema.parametrize()
@settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_api_is_as_described(case: schemathesis.Case[Any], served: tuple[str, str]) -> None:
    """A text that the schema allows need not be an identifier, so a refusal of good-looking data is right.

    Two things that violate the schema are answered with 200: a bad check among many is refused in its place in the
    answer, and a header has no type, so that an Idempotency-Key `0` is the text "0".
    """
    excluded: list[Any] = [positive_data_acceptance]
    if case.path == "/v1/checks" or "Idempotency-Key" in (case.headers or {}):
        excluded.append(negative_data_rejection)
    asked = case.as_transport_kwargs(base_url=served[0])
    assume(len(requests.Request("GET", asked["url"], params=asked.get("params")).prepare().url or "") < LONGEST_LINE)
    case.call_and_validate(
        base_url=served[0], headers={"Authorization": f"Bearer {served[1]}"}, excluded_checks=excluded, timeout=20
    )


def test_the_description_that_is_served_is_the_one_that_was_tested(served: tuple[str, str]) -> None:
    answer = requests.get(served[0] + "/openapi.json", timeout=5)
    assert answer.json() == json.loads(json.dumps(describe(identifiers=4, deadline_ms=150)))
