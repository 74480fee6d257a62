"""Connections of those who have shown no member's certificate: real sockets, few and short."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from riskshare.ledger.paths import ADD_CHECKPOINT, LATEST
from riskshare.query.message import REGISTRY
from riskshare.server import listen as listen_module
from riskshare.server.listen import HANDSHAKE, KEEP_ALIVE, Strangers
from riskshare.tls import peer_client_context
from tests.simulator.listening import Pair, peer_pair, serve_owner
from tests.simulator.witnessing import Note

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
SOON = 30.0
"""Seconds after which a test gives up: what it waits for comes within one or two."""


@pytest.fixture(autouse=True)
def looked_at_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen_module, "SWEEP", 0.02)


@asynccontextmanager
async def served(tmp_path: Path, strangers: Strangers) -> AsyncIterator[Pair]:
    async with peer_pair(tmp_path, serve=False) as pair:
        pair.listening = await serve_owner(pair, strangers=strangers)
        pair.move_to(pair.listening.port)
        try:
            yield pair
        finally:
            while OPENED:
                OPENED.pop().close()


OPENED: list[asyncio.StreamWriter] = []
"""Connections that a test has made; held, so that it is the other side that closes them."""


def anonymous(pair: Pair) -> ssl.SSLContext:
    """TLS of somebody who has read the owner's certificate, and has none of his own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=pair.owner.certificate.der)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def as_querier(pair: Pair) -> ssl.SSLContext:
    certificate, key = pair.network.members["icbc"].write_tls(pair.directory)
    return peer_client_context(certificate, key, [pair.owner.certificate.der])


async def connect(pair: Pair, context: ssl.SSLContext | None) -> Streams:
    assert pair.listening is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", pair.listening.port, ssl=context)
    OPENED.append(writer)
    return reader, writer


async def closed(reader: asyncio.StreamReader) -> bytes:
    """What came until the other side closed."""
    async with asyncio.timeout(SOON):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


async def ask(streams: Streams, path: str = REGISTRY.format(version="latest")) -> bytes:
    """The status line of a request, by default for the registry."""
    reader, writer = streams
    writer.write(f"GET {path} HTTP/1.1\r\nHost: jd\r\n\r\n".encode())
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SOON)
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    await reader.readexactly(length)
    return head.split(b"\r\n")[0]


def test_the_bounds_are_far_below_the_keep_alive() -> None:
    assert HANDSHAKE == 10
    assert Strangers() == Strangers(seconds=10, most=256)
    assert max(HANDSHAKE, Strangers().seconds) < KEEP_ALIVE / 10


async def test_an_idle_stranger_is_closed(tmp_path: Path) -> None:
    async with served(tmp_path, Strangers(seconds=0.1)) as pair:
        reader, _ = await connect(pair, anonymous(pair))
        assert await closed(reader) == b""


async def test_a_stranger_that_drips_a_request_is_closed(tmp_path: Path) -> None:
    async with served(tmp_path, Strangers(seconds=0.3)) as pair:
        reader, writer = await connect(pair, anonymous(pair))
        ended = asyncio.create_task(closed(reader))
        with contextlib.suppress(ConnectionError):
            for byte in b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10**6:
                if ended.done() or writer.is_closing():
                    break
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.01)
        assert await ended == b""


async def test_a_stranger_that_asks_is_refused_and_then_closed(tmp_path: Path) -> None:
    async with served(tmp_path, Strangers(seconds=1)) as pair:
        streams = await connect(pair, anonymous(pair))
        assert await ask(streams) == b"HTTP/1.1 401 Unauthorized"
        assert await closed(streams[0]) == b""


async def test_a_stranger_that_reads_the_log_is_served_and_closed_after_its_time(tmp_path: Path) -> None:
    async with served(tmp_path, Strangers(seconds=1)) as pair:
        pair.log.newest = Note(b"a checkpoint")
        streams = await connect(pair, anonymous(pair))
        answered = 0
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while answered < 10**6:
                # Refused for asking too often, or not: its time is the same.
                assert await ask(streams, LATEST) in {b"HTTP/1.1 200 OK", b"HTTP/1.1 429 Too Many Requests"}
                answered += 1
        assert 0 < answered < 10**6


async def test_a_stranger_that_drips_a_checkpoint_is_closed_and_its_witness_hears_nothing(tmp_path: Path) -> None:
    async with served(tmp_path, Strangers(seconds=0.3)) as pair:
        reader, writer = await connect(pair, anonymous(pair))
        writer.write(f"POST {ADD_CHECKPOINT} HTTP/1.1\r\nHost: jd\r\nContent-Length: 60000\r\n\r\nold".encode())
        assert await closed(reader) == b""
        assert pair.desk.counted == []


async def test_a_member_may_read_the_log_for_as_long_as_it_likes(tmp_path: Path) -> None:
    async with served(tmp_path, Strangers(seconds=0.05, most=0)) as pair:
        pair.log.newest = Note(b"a checkpoint")
        streams = await connect(pair, as_querier(pair))
        for _ in range(3):
            stranger, _ = await connect(pair, anonymous(pair))
            assert await closed(stranger) == b""
            assert await ask(streams, LATEST) == b"HTTP/1.1 200 OK"


async def test_a_member_may_be_idle_before_its_first_request_and_between_two(tmp_path: Path) -> None:
    async with served(tmp_path, Strangers(seconds=0.05, most=0)) as pair:
        streams = await connect(pair, as_querier(pair))
        stranger, _ = await connect(pair, anonymous(pair))
        for _ in range(2):
            assert await closed(stranger) == b""  # by then, strangers have been looked for
            assert await ask(streams) == b"HTTP/1.1 200 OK"
            stranger, _ = await connect(pair, anonymous(pair))


async def test_of_too_many_strangers_the_oldest_go_and_no_member_does(tmp_path: Path) -> None:
    async with served(tmp_path, Strangers(seconds=600, most=3)) as pair:
        member = await connect(pair, as_querier(pair))
        streams = [await connect(pair, anonymous(pair)) for _ in range(8)]
        for reader, _ in streams[:5]:
            assert await closed(reader) == b""
        for each in streams[5:]:
            assert await ask(each) == b"HTTP/1.1 401 Unauthorized"
        assert await ask(member) == b"HTTP/1.1 200 OK"
        assert await pair.client.evaluate("jd", b"an ask", 5) == b"an ask"


@pytest.mark.parametrize("first", [b"", b"\x16\x03\x01\x02", b"GET / HTTP/1.1\r\n\r\n"])
async def test_who_does_not_finish_the_handshake_is_closed(
    tmp_path: Path, first: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen_module, "HANDSHAKE", 0.2)
    async with served(tmp_path, Strangers()) as pair:
        reader, writer = await connect(pair, None)
        writer.write(first)
        await closed(reader)
        assert await pair.client.evaluate("jd", b"an ask", 5) == b"an ask"


async def test_a_crowd_of_unfinished_handshakes_keeps_no_member_out(tmp_path: Path) -> None:
    async with served(tmp_path, Strangers()) as pair:
        for _ in range(200):
            await connect(pair, None)
        assert await pair.client.evaluate("jd", b"an ask", 5) == b"an ask"


async def test_a_listener_closes_with_strangers_on_it(tmp_path: Path) -> None:
    async with served(tmp_path, Strangers(seconds=600)) as pair:
        assert pair.listening is not None
        reader, _ = await connect(pair, anonymous(pair))
        await pair.listening.close()
        pair.listening = None
        assert await closed(reader) == b""
