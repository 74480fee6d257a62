"""Connections that are reset as soon as they stand: they close no other connection, and no file."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest
import uvloop

from riskshare.api_client import Client
from riskshare.client.calling import open_session
from riskshare.dialled import dial
from riskshare.errors import RiskshareError

TRIES = 40


@contextmanager
def rude() -> Iterator[int]:
    """The port of a server that resets each connection at once."""

    def reset(listener: socket.socket) -> None:
        while True:
            try:
                accepted, _ = listener.accept()
            except OSError:
                return
            with accepted:
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=reset, args=(listener,))
        serving.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            serving.join()


@contextmanager
def slow() -> Iterator[None]:
    """The loop is so busy that a reset is there before it looks at a new connection."""
    loop, ended = asyncio.get_running_loop(), False

    def work() -> None:
        if not ended:
            time.sleep(0.002)
            loop.call_soon(work)

    loop.call_soon(work)
    try:
        yield
    finally:
        ended = True


def descriptors() -> int:
    """How many are open."""
    return sum(1 for _ in Path("/dev/fd").iterdir())


async def lost(tries: int, ask: Callable[[], object]) -> int:
    """How many descriptors were closed by somebody who did not own them, in so many tries that fail."""
    closed = 0
    for _ in range(tries):
        kept: list[BaseException] = []
        with slow():
            try:
                await ask()  # type: ignore[misc]
            except (aiohttp.ClientError, OSError, RiskshareError) as error:
                kept.append(error)  # with its frames, and what they name
        assert kept
        await asyncio.sleep(0)
        ours = [descriptor for _ in range(8) for descriptor in os.pipe()]
        kept.clear()
        gc.collect()
        for descriptor in ours:
            try:
                os.close(descriptor)
            except OSError:
                closed += 1
    return closed


def test_a_connection_to_a_peer_that_is_reset_closes_no_other() -> None:
    async def main(port: int) -> int:
        context = ssl.create_default_context()
        async with open_session(4) as session:
            return await lost(TRIES, lambda: session.get(f"https://127.0.0.1:{port}/", ssl=context))

    uvloop.run(asyncio.sleep(0))  # libuv has a pipe of its own from its first loop on
    with rude() as port:
        before = descriptors()
        assert uvloop.run(main(port)) == 0
        assert descriptors() <= before, "nor does one stay open"


def test_a_connection_of_the_client_that_is_reset_closes_no_other() -> None:
    async def main(port: int) -> int:
        async with Client(f"https://127.0.0.1:{port}", "key", attempts=1) as client:
            return await lost(TRIES, client.lists)

    with rude() as port:
        assert uvloop.run(main(port)) == 0


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_what_is_dialled_is_closed_when_it_is_over(run: Callable[..., object]) -> None:
    """Whether it fails, is given up or has answered."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.read()  # until the client is over
        writer.close()

    async def main(refusing: int, silent: int) -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        good = server.sockets[0].getsockname()[1]
        before = descriptors()
        for _ in range(10):
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=dial)) as session:
                async with session.get(f"http://127.0.0.1:{good}/") as response:
                    assert response.status == 200
                with pytest.raises(aiohttp.ClientError):
                    await session.get(f"http://127.0.0.1:{refusing}/")
                with pytest.raises(TimeoutError):
                    await session.get(f"https://127.0.0.1:{silent}/", timeout=aiohttp.ClientTimeout(total=0.02))
        async with asyncio.timeout(10):
            while descriptors() > before:  # noqa: ASYNC110 - the loop closes them with its next turns
                await asyncio.sleep(0.01)
        server.close()

    with socket.socket() as bound, socket.create_server(("127.0.0.1", 0)) as listening:
        bound.bind(("127.0.0.1", 0))
        run(main(bound.getsockname()[1], listening.getsockname()[1]))
