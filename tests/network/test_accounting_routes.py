"""Entries and what is held, between a client and a listener over mutual TLS."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import aiohttp
import pytest

from riskshare.errors import PeerGarbage, PeerRefused
from riskshare.ledger.entry_page import ENTRIES
from riskshare.server.accounting import ALLOWED
from riskshare.sharing.held_page import HELD
from tests.simulator.listening import Pair, peer_pair

SOURCE = b"e" * 32


async def test_a_page_an_entry_and_what_is_held_are_read(tmp_path: Path) -> None:
    async with peer_pair(tmp_path) as pair, pair.accounting_client() as client:
        assert await client.entries("jd", 7, 5) == b"entries of icbc from 7, 5 known"
        assert await client.entry("jd", SOURCE, 3) == b"entry of icbc, 3 known"
        assert await client.held("jd", 7) == b"held after 7"
        assert await client.held_statement("jd", SOURCE) == b"statement"


async def test_what_there_is_not_is_not_found(tmp_path: Path) -> None:
    async with peer_pair(tmp_path) as pair, pair.accounting_client("unionpay") as client:
        for asked in (
            client.entries("jd", 0, 0),
            client.entry("jd", bytes(32), 0),
            client.held_statement("jd", bytes(32)),
        ):
            with pytest.raises(PeerRefused) as caught:
                await asked
            assert (caught.value.status, caught.value.remote_code) == (404, "not_found")


async def test_who_reads_too_often_is_told_so(tmp_path: Path) -> None:
    async with peer_pair(tmp_path) as pair, pair.accounting_client() as client:
        read = asyncio.gather(*(client.held("jd", 0) for _ in range(int(ALLOWED.depth) * 3)))
        with pytest.raises(PeerRefused) as caught:
            await read
        assert (caught.value.status, caught.value.remote_code) == (429, "too_often")
        async with pair.accounting_client("unionpay") as other:
            assert await other.held("jd", 0) == b"held after 0"


def stranger(pair: Pair) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    assert pair.listening is not None
    return context


@pytest.mark.parametrize("path", [ENTRIES, f"{ENTRIES}/{SOURCE.hex()}", HELD, f"{HELD}/{SOURCE.hex()}"])
async def test_without_a_certificate_nothing_is_told(tmp_path: Path, path: str) -> None:
    async with peer_pair(tmp_path) as pair, aiohttp.ClientSession() as session:
        assert pair.listening is not None
        url = f"https://127.0.0.1:{pair.listening.port}{path}"
        async with session.get(url, ssl=stranger(pair)) as answer:
            assert answer.status == 401
            assert (await answer.json(content_type="application/problem+json"))["code"] == "no_certificate"


@pytest.mark.parametrize("query", ["after=-1", "after=x", "size=1.0", "after=01", "size=12345678901234567"])
async def test_a_query_that_is_no_number_is_refused(tmp_path: Path, query: str) -> None:
    name, _, value = query.partition("=")
    async with peer_pair(tmp_path) as pair, pair.accounting_client() as client:
        for path in (ENTRIES, HELD) if name == "after" else (ENTRIES,):
            with pytest.raises(PeerRefused) as caught:
                await client._calls.get("jd", path, "application/cbor", 100, 5.0, query={name: value})
        assert (caught.value.status, caught.value.remote_code) == (422, "invalid_input")


async def test_more_than_allowed_is_not_read(tmp_path: Path) -> None:
    async with peer_pair(tmp_path) as pair, pair.accounting_client() as client:
        with pytest.raises(PeerGarbage):
            await client._calls.get("jd", HELD, "application/cbor", 3, 5.0)
