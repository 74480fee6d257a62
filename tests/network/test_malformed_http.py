"""What is no HTTP, on real sockets: it is answered as everything else is, and repeated nowhere."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

from riskshare.metrics import Metrics
from riskshare.server import bodies
from riskshare.server.listen import listen
from riskshare.server.operations import operations_application
from tests.simulator.listening import Pair, peer_pair
from tests.simulator.payments import Till, till

SECRET = b"13800138000"
"""Stands for an identifier, or a key, that came to a wrong place."""

BODY = b"POST /v1/check HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer check\r\nContent-Type: application/json\r\n"

MALFORMED = {
    "a request line": b"phone:+86%s\r\n\r\n" % SECRET,
    "a version": b"GET /v1/lists HTTP/%s\r\nHost: x\r\n\r\n" % SECRET,
    "a method": b"G\x01%s /v1/lists HTTP/1.1\r\nHost: x\r\n\r\n" % SECRET,
    "a header": b"GET /v1/lists HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n" % SECRET,
    "a header's name": b"GET /v1/lists HTTP/1.1\r\nHost: x\r\nX y%s: 1\r\n\r\n" % SECRET,
    "a header with a control character": b"GET /v1/lists HTTP/1.1\r\nHost: x\r\nX: \x00%s\r\n\r\n" % SECRET,
    "a header that is too long": b"GET /v1/lists HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n" % (SECRET * 2000),
    "a path that is too long": b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (SECRET * 2000),
    "a length": BODY + b"Content-Length: %s-\r\n\r\n{}" % SECRET,
    "two lengths": BODY + b"Content-Length: 2\r\nContent-Length: 3\r\nX: %s\r\n\r\n{}" % SECRET,
    "a chunk's size": BODY + b"Transfer-Encoding: chunked\r\n\r\nphone:+86%s\r\n{}\r\n0\r\n\r\n" % SECRET,
    "a later chunk's size": BODY + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nphone:+86%s\r\n" % SECRET,
    "lengths of two kinds": BODY + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\nX: %s\r\n\r\n{}" % SECRET,
}


class Heard(logging.Handler):
    """All that is logged by libraries, at any level."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.levelname.lower(), logging.Formatter().format(record)))


@pytest.fixture
def heard() -> Iterator[Heard]:
    handler, root = Heard(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield handler
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


async def sent(port: int, request: bytes, tls: ssl.SSLContext | None = None) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer; the other side closes the connection behind it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    try:
        writer.write(request)
        async with asyncio.timeout(20):
            answer = await reader.read()
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, body


def check(answer: tuple[int, dict[str, str], bytes], status: int, code: str) -> None:
    got, headers, body = answer
    problem = json.loads(body)
    assert (got, problem["code"], headers["content-type"]) == (status, code, "application/problem+json")
    assert (len(headers["x-request-id"]), headers["server"]) == (32, "riskshare")
    assert SECRET not in body


@pytest.fixture
async def api() -> AsyncIterator[Till]:
    async with till() as made:
        yield made


@pytest.mark.parametrize("request_", MALFORMED.values(), ids=MALFORMED.keys())
async def test_what_is_no_request_is_a_problem_that_repeats_nothing(api: Till, heard: Heard, request_: bytes) -> None:
    with structlog.testing.capture_logs() as ours:
        check(await sent(api.port, request_), 400, "malformed")
    told = [(line["log_level"], repr(line)) for line in ours] + heard.lines
    assert not [text for _, text in told if SECRET.decode() in text]
    assert not [text for level, text in told if level in ("error", "warning", "critical")]


HALF = b"Content-Length: 10\r\n\r\n{"
CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"


@pytest.mark.parametrize(
    ("body", "then"),
    [(HALF, b""), (CHUNKS, b""), (CHUNKS, b"phone:+86%s\r\n" % SECRET)],
    ids=["half of it", "no last chunk", "what is no chunk"],
)
async def test_a_body_that_does_not_end_is_not_waited_for(
    api: Till, heard: Heard, monkeypatch: pytest.MonkeyPatch, body: bytes, then: bytes
) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    key = api.bearer("check")["Authorization"].encode()
    writer.write(BODY.replace(b"Bearer check", key) + body)
    await asyncio.sleep(0.1)  # the body is being read by now
    writer.write(then)
    async with asyncio.timeout(20):
        head = await reader.readuntil(b"\r\n\r\n")
        problem = await reader.readexactly(int(re.search(rb"Content-Length: (\d+)", head)[1]))
    writer.close()
    assert (int(head.split()[1]), json.loads(problem)["code"]) == (408, "upload_stalled")
    assert SECRET not in problem
    assert SECRET.decode() not in repr(heard.lines)


@pytest.mark.parametrize("body", [HALF, CHUNKS], ids=["half of it", "no last chunk"])
async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_fault_of_ours(
    api: Till, heard: Heard, body: bytes
) -> None:
    key = api.bearer("check")["Authorization"].encode()
    with structlog.testing.capture_logs() as ours:
        _, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(BODY.replace(b"Bearer check", key) + body)
        await asyncio.sleep(0.1)
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.2)
    levels = {line["log_level"] for line in ours} | {level for level, _ in heard.lines}
    assert not levels & {"error", "warning", "critical"}
    assert 'status="500"' not in api.metrics.render().decode()
    check(await sent(api.port, MALFORMED["a header"]), 400, "malformed")  # it goes on


@pytest.mark.parametrize("path", ["/v1/lists", "/nothing"])
async def test_an_expectation_that_nobody_meets_is_a_problem_that_repeats_nothing(
    api: Till, heard: Heard, path: str
) -> None:
    request = b"GET %s HTTP/1.1\r\nHost: x\r\nExpect: %s\r\n\r\n" % (path.encode(), SECRET)
    with structlog.testing.capture_logs() as ours:
        check(await sent(api.port, request), 400, "malformed")
    assert SECRET.decode() not in repr((ours, heard.lines))


async def test_a_client_that_waits_for_100_continue_is_answered(api: Till) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    key = api.bearer("check")["Authorization"].encode()
    head = b"POST /v1/check HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Type: application/json\r\n" % key
    writer.write(head + b"Content-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(20):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"{}")
        assert (await reader.read()).startswith(b"HTTP/1.1 422 ")
    writer.close()


async def test_it_is_counted_under_no_route(heard: Heard) -> None:
    metrics = Metrics()
    app = operations_application(metrics=metrics, health={}, readiness={})
    listening = await listen(app, "127.0.0.1", 0, name="operations")
    try:
        check(await sent(listening.port, MALFORMED["a header"]), 400, "malformed")
        check(
            await sent(listening.port, b"GET /healthz HTTP/1.1\r\nHost: x\r\nExpect: 1\r\n\r\n"),
            400,
            "malformed",
        )
    finally:
        await listening.close()
    told = [line for line in metrics.render().decode().splitlines() if 'route="unmatched"' in line and "_count" in line]
    assert {line.rsplit(" ", 1)[1] for line in told} == {"2.0"}
    assert not heard.lines or SECRET.decode() not in repr(heard.lines)


async def test_strangers_at_the_port_of_the_peers_get_no_other_answer(tmp_path: Path, heard: Heard) -> None:
    async with peer_pair(tmp_path) as pair:
        assert pair.listening is not None
        answer = await sent(pair.listening.port, MALFORMED["a request line"], _anonymous(pair))
        check(answer, 400, "malformed")
    assert not [text for level, text in heard.lines if level == "error" or SECRET.decode() in text]


def _anonymous(pair: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=pair.owner.certificate.der)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
