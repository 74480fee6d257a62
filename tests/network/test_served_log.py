"""A log read at its URL: over real TLS, from servers that fail in every way."""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections import Counter
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from riskshare.client import log as served
from riskshare.client.log import served_log
from riskshare.errors import (
    ConfigError,
    InputError,
    LedgerError,
    PeerDown,
    PeerError,
    PeerGarbage,
    PeerLate,
    PeerRefused,
)
from riskshare.ledger.audit import audit
from riskshare.ledger.tile import bundles_between, tiles_between
from riskshare.tls import authority_context, reading_context
from tests.simulator.log import make_log

LOG = make_log(600)
MEMBER = LOG.network.members["a"]


def files() -> dict[str, bytes]:
    async def read() -> dict[str, bytes]:
        places = {}
        for tile in [*tiles_between(0, LOG.size)]:
            places |= {tile.path: (await LOG.tiles([tile]))[tile]}
        for bundle in [*bundles_between(0, LOG.size)]:
            places |= {bundle.path: (await LOG.bundles([bundle]))[bundle]}
        return places

    return asyncio.run(read()) | {"checkpoint": LOG.signed().note.to_bytes()}


FILES = files()


class Server:
    """Serves the log below `/ledger/`; `faults` says what to do with the n-th request of a path instead."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.most = self.now = 0
        self.files = dict(FILES)
        self.fault = lambda *_: None
        self.port = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix("/ledger/")
        self.asked[path] += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0)
            wrong = self.fault(path, self.asked[path])
            if isinstance(wrong, web.StreamResponse):
                return wrong
            if wrong == "break":
                request.transport.abort()
            if wrong == "hang":
                await asyncio.sleep(60)
            if not request.path.startswith("/ledger/") or path not in self.files:
                return web.Response(status=404)
            return web.Response(body=self.files[path])
        finally:
            self.now -= 1

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"


@asynccontextmanager
async def serving(tmp_path):
    server = Server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*MEMBER.write_tls(tmp_path))
    app = web.Application()
    app.router.add_get("/{path:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()


@pytest.fixture
async def server(tmp_path, monkeypatch):
    monkeypatch.setattr(served, "PAUSE", 0.001)
    async with serving(tmp_path) as made:
        yield made


CONTEXT = reading_context([MEMBER.certificate.der])


async def verified(server: Server, path: str = "/ledger/", context=CONTEXT):
    async with served_log(server.url + path, context) as log:
        return await audit(log, LOG.policy)


@pytest.mark.parametrize("path", ["/ledger/", "/ledger", "/", ""])
async def test_a_log_is_verified_at_its_prefix_and_at_the_url_of_its_peer(server, path):
    found = await verified(server, path)
    assert found.checkpoint.size == 600
    assert server.most <= 16
    assert all(number == 1 for name, number in server.asked.items() if name.startswith("tile/"))


@pytest.mark.parametrize("fault", ["break", web.Response(status=503), web.Response(status=429)])
async def test_what_fails_at_first_is_asked_again(server, fault):
    fresh = itertools.count()

    def wrong(path: str, number: int):
        if number < 3 and path.startswith("tile/"):
            next(fresh)
            return fault if isinstance(fault, str) else web.Response(status=fault.status)
        return None

    server.fault = wrong
    await verified(server)
    assert next(fresh) == 2 * (len(FILES) - 1)


async def test_what_keeps_failing_is_the_peers_fault_and_no_finding(server):
    server.fault = lambda path, _: web.Response(status=500) if path == "tile/0/001" else None
    with pytest.raises(PeerRefused):
        await verified(server)
    assert server.asked["tile/0/001"] == 4


async def test_a_redirect_is_not_followed(server):
    server.fault = lambda path, _: web.Response(status=302, headers={"Location": "/"}) if "tile" in path else None
    with pytest.raises(PeerRefused):
        await verified(server)


async def test_an_encoded_answer_is_refused(server):
    headers = {"Content-Encoding": "gzip"}
    server.fault = lambda path, _: web.Response(body=b"x", headers=headers) if "tile" in path else None
    with pytest.raises(PeerGarbage):
        await verified(server)


async def test_a_slow_answer_is_given_up(server, monkeypatch):
    monkeypatch.setattr(served, "SECONDS", 0.2)
    monkeypatch.setattr(served, "TRIES", 1)
    server.fault = lambda path, _: "hang" if path == "tile/0/000" else None
    with pytest.raises(PeerLate):
        await verified(server)


async def test_a_tile_without_end_is_read_no_further_than_it_may_be_long(server):
    server.files["tile/0/000"] = bytes(50_000_000)
    with pytest.raises(LedgerError, match="tile/0/000 has more than 8192 bytes"):
        await verified(server)


async def test_a_partial_tile_that_was_deleted_is_read_from_the_full_one(server):
    server.files["tile/0/002"] = server.files.pop("tile/0/002.p/88") + bytes(32 * (256 - 88))
    assert (await verified(server)).checkpoint.size == 600


async def test_a_missing_tile_is_a_finding(server):
    del server.files["tile/0/001"]
    with pytest.raises(LedgerError, match="tile/0/001 is missing") as caught:
        await verified(server)
    assert caught.value.code == "missing_part"


async def test_an_altered_byte_is_a_finding(server):
    data = bytearray(server.files["tile/entries/001"])
    data[40] ^= 1
    server.files["tile/entries/001"] = bytes(data)
    with pytest.raises(LedgerError, match="Entry 257 in tile/entries/001"):
        await verified(server)


async def test_a_url_where_no_log_is_has_no_checkpoint(server):
    server.files.clear()
    with pytest.raises(LedgerError, match="no checkpoint"):
        await verified(server)


async def test_another_members_certificate_is_not_believed(server):
    other = LOG.network.members["b"].certificate.der
    with pytest.raises(PeerDown, match="--registry") as caught:
        await verified(server, context=reading_context([other]))
    assert caught.value.code == "tls_untrusted"


async def test_the_systems_authorities_do_not_know_a_member(server):
    with pytest.raises(PeerDown):
        await verified(server, context=authority_context(None))


async def test_a_file_of_authorities_is_believed(server, tmp_path):
    (tmp_path / "ca.pem").write_bytes(MEMBER.tls_certificate)
    assert (await verified(server, context=authority_context(tmp_path / "ca.pem"))).checkpoint.size == 600


async def test_nobody_listening_is_told_as_such():
    async with serving_nobody() as url:
        with pytest.raises(PeerError):
            async with served_log(url, CONTEXT):
                pass


@asynccontextmanager
async def serving_nobody():
    """A port on which somebody listened until now."""
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    yield f"https://127.0.0.1:{port}/"


@pytest.mark.parametrize(
    "url", ["", "ftp://h/", "http://h/", "https://", "https://h/?q=1", "https://h/#f", "https://h:x/", "nothing"]
)
async def test_what_is_no_url_of_a_log_is_refused(url):
    with pytest.raises(InputError):
        async with served_log(url, CONTEXT):
            pass


def test_a_context_without_certificates_is_refused():
    with pytest.raises(ConfigError):
        reading_context([])
    with pytest.raises(ConfigError):
        reading_context([b"no certificate"])


def test_a_file_without_authorities_is_refused(tmp_path):
    (tmp_path / "ca.pem").write_text("none")
    for file in ("ca.pem", "absent.pem"):
        with pytest.raises(ConfigError):
            authority_context(tmp_path / file)
