"""LedgerClient against a server that says anything, over real TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from riskshare.client import LedgerClient
from riskshare.errors import PeerDown, PeerError, PeerGarbage, PeerRefused
from riskshare.ledger.addition import MAX_ANSWER, TEXT_TYPE
from riskshare.ledger.note import MAX_BYTES as MAX_NOTE
from riskshare.ledger.paths import ADD_CHECKPOINT, CHECKPOINT, LATEST
from riskshare.ledger.tile import Bundle, Tile
from tests.simulator.listening import Pair, Script, now, peer_pair, read_request, response, says, scripted

OCTETS = "application/octet-stream"
TILE, BUNDLE = Tile(1, 1_234_067, 8), Bundle(0, 70)
REQUESTS: list[bytes] = []


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    REQUESTS.clear()
    async with peer_pair(tmp_path, serve=False) as made:
        yield made


@pytest.fixture
async def client(pair: Pair) -> AsyncIterator[LedgerClient]:
    certificate, key = pair.network.members["icbc"].write_tls(pair.directory)
    async with LedgerClient(registries=pair.view, certificate=certificate, key=key, now=now) as made:
        yield made


def notes(data: bytes) -> Script:
    """A server that keeps what it was asked and says `data`."""

    async def script(reader, writer) -> None:
        head, body = await read_request(reader)
        REQUESTS.append(head.split(b"\r\n")[0] + b" " + body)
        writer.write(data)
        await writer.drain()

    return script


# -- the witness -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "403 Forbidden", "404 Not Found", "409 Conflict"])
async def test_a_witness_is_asked_and_its_answer_given_as_it_is(pair, client, status):
    async with scripted(pair, notes(response(b"7\n", status=status, Content_Type="text/x.tlog.size"))):
        assert await client.add_checkpoint("jd", b"old 0\n", 5.0) == (int(status[:3]), b"7\n")
    [request] = REQUESTS
    assert request.decode() == f"POST {ADD_CHECKPOINT} HTTP/1.1 old 0\n"


@pytest.mark.parametrize("status", ["201 Created", "204 No Content", "302 Found", "308 Permanent Redirect"])
async def test_another_status_is_no_answer_of_a_witness(pair, client, status):
    async with scripted(pair, says(response(status=status, Location="https://127.0.0.1:1/"))):
        with pytest.raises(PeerGarbage):
            await client.add_checkpoint("jd", b"old 0\n", 5.0)


async def test_a_witness_that_says_too_much_is_left(pair, client):
    async with scripted(pair, says(response(b"x" * (MAX_ANSWER + 1)))):
        with pytest.raises(PeerGarbage):
            await client.add_checkpoint("jd", b"old 0\n", 5.0)


async def test_a_witness_that_is_down_or_no_member_is_down(pair, client):
    with pytest.raises(PeerDown):
        await client.add_checkpoint("jd", b"old 0\n", 5.0)
    with pytest.raises(PeerDown) as caught:
        await client.add_checkpoint("mallory", b"old 0\n", 5.0)
    assert caught.value.code == "peer_unknown"


async def test_a_witness_that_drips_is_late(pair, client):
    async def script(reader, writer) -> None:
        await read_request(reader)
        writer.write(response(b"", Content_Length="10"))
        await reader.read()

    async with scripted(pair, script):
        with pytest.raises(PeerError) as caught:
            await client.add_checkpoint("jd", b"old 0\n", 0.3)
    assert caught.value.code == "peer_late"


async def test_an_answer_under_another_members_certificate_counts_for_nothing(pair, client):
    other = pair.network.members["unionpay"]
    async with scripted(pair, says(response(b"x")), member=other):
        with pytest.raises(PeerDown):
            await client.add_checkpoint("jd", b"old 0\n", 5.0)


# -- the log ---------------------------------------------------------------------------------------


async def test_checkpoints_and_tiles_are_fetched_by_their_paths(pair, client):
    async with scripted(pair, notes(response(b"note", Content_Type=TEXT_TYPE))):
        assert await client.checkpoint("jd") == b"note"
        assert await client.latest("jd") == b"note"
    async with scripted(pair, notes(response(bytes(256), Content_Type=OCTETS))):
        assert await client.tile("jd", TILE) == bytes(256)
    async with scripted(pair, notes(response(bytes(70 * 34), Content_Type=OCTETS))):
        assert await client.tile("jd", BUNDLE) == bytes(70 * 34)
    assert [request.split()[1].decode() for request in REQUESTS] == [
        CHECKPOINT,
        LATEST,
        "/ledger/tile/1/x001/x234/067.p/8",
        "/ledger/tile/entries/000.p/70",
    ]


async def test_before_its_first_checkpoint_a_log_has_none(pair, client):
    async with scripted(pair, says(response(b"", status="404 Not Found"))):
        assert await client.checkpoint("jd") is None
        assert await client.latest("jd") is None


async def test_a_checkpoint_that_is_refused_for_another_reason_is_refused(pair, client):
    async with scripted(pair, says(response(b"", status="503 Service Unavailable"))):
        with pytest.raises(PeerRefused):
            await client.checkpoint("jd")


NO_NOTE = {
    "of another type": response(b"note", Content_Type="text/html"),
    "too long": response(b"x" * (MAX_NOTE + 1), Content_Type=TEXT_TYPE),
    "compressed": response(b"note", Content_Type=TEXT_TYPE, Content_Encoding="gzip"),
}


@pytest.mark.parametrize("what", NO_NOTE)
async def test_a_checkpoint_that_is_none_is_garbage(pair, client, what):
    async with scripted(pair, says(NO_NOTE[what])):
        with pytest.raises(PeerGarbage):
            await client.latest("jd")


NO_TILE = {
    "shorter": response(bytes(255), Content_Type=OCTETS),
    "longer": response(bytes(257), Content_Type=OCTETS),
    "empty": response(b"", Content_Type=OCTETS),
    "of another type": response(bytes(256), Content_Type="text/plain"),
    "compressed": response(bytes(256), Content_Type=OCTETS, Content_Encoding="gzip"),
    "elsewhere": response(status="302 Found", Location="/ledger/tile/1/000"),
    "longer, in chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/octet-stream\r\n\r\n101\r\n" + bytes(257) + b"\r\n0\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("what", NO_TILE)
async def test_a_tile_that_is_not_as_long_as_it_is_wide_is_garbage(pair, client, what):
    async with scripted(pair, says(NO_TILE[what])):
        with pytest.raises(PeerGarbage):
            await client.tile("jd", TILE)


async def test_a_tile_beyond_the_log_is_refused_with_404(pair, client):
    async with scripted(pair, says(response(b"", status="404 Not Found"))):
        with pytest.raises(PeerRefused) as caught:
            await client.tile("jd", TILE)
    assert caught.value.status == 404
