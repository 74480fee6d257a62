"""An ask has left before its check goes on with what needs no answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
import uvloop

from riskshare.client.calling import open_session
from riskshare.query import batch
from riskshare.query.batch import let_leave

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
BODY = b"an ask"


async def left() -> bytes:
    """What the other side has when elements were let leave, over a connection that is there already."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        async with open_session(1) as session:
            first = asyncio.ensure_future(session.post(url, data=b"the first"))
            accepted, _ = await loop.sock_accept(listener)
            with accepted:
                accepted.settimeout(0)
                read = b""
                while not read.endswith(b"the first"):
                    more = await loop.sock_recv(accepted, 65_536)
                    assert more, "the connection was closed"
                    read += more
                await loop.sock_sendall(accepted, ANSWER)
                async with await first as response:
                    await response.read()
                ask = loop.create_task(session.post(url, data=BODY))  # as a lane leaves
                await let_leave()
                try:
                    seen = accepted.recv(65_536)
                except BlockingIOError:
                    seen = b""
                ask.cancel()
                await asyncio.wait({ask})
                return seen


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_what_was_submitted_has_left_when_it_was_let_leave(run: Callable[..., bytes]) -> None:
    assert run(left()).endswith(BODY)


def test_without_the_turns_it_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail."""
    monkeypatch.setattr(batch, "TURNS", 1)
    assert uvloop.run(left()) == b""
