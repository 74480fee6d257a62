"""Reading the body of a request: whole, and in bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from riskshare.errors import InputError

BODY_SECONDS = 30.0
"""How long a body that is read as a whole may take: it is of one megabyte or so, at most."""


async def read_body(request: web.Request) -> bytes:
    """The body. Behind what is no body, such as a chunk without a length, nothing more comes from the parser either.

    Raises:
        InputError: `upload_stalled`, not all of it came in time.
        web.HTTPRequestEntityTooLarge: it is longer than the application takes.

    """
    if request.content.is_eof():  # nearly always: no timer for that, and nothing to wait for
        body = request.content.read_nowait()
        if 0 < request.client_max_size < len(body):
            raise web.HTTPRequestEntityTooLarge(request.client_max_size, len(body))
        return body
    async with in_time():
        return await request.read()


@asynccontextmanager
async def in_time() -> AsyncIterator[None]:
    """Bound the time in which a body is read. Raises InputError `upload_stalled`."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            yield
    except TimeoutError:
        raise InputError(
            f"The body did not come within {BODY_SECONDS:g} seconds. Send the request again, as a whole.",
            code="upload_stalled",
        ) from None
