"""Requests of auditors between a client and a listener over mutual TLS."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from riskshare.audit.access import AUDITS, MAX_WIRE, RANGE, STATEMENTS
from riskshare.errors import PeerGarbage, PeerRefused
from riskshare.server.audits import ALLOWED, PAGES_AT_ONCE
from tests.network.test_accounting_routes import stranger
from tests.simulator.listening import peer_pair

DIGEST = b"e" * 32


async def test_a_request_its_range_and_its_pages_travel(tmp_path: Path) -> None:
    async with peer_pair(tmp_path) as pair, pair.audit_client() as client:
        assert await client.request("jd", b"wire") == b"admitted wire"
        assert await client.range("jd", DIGEST) == b"range for icbc"
        assert await client.statements("jd", DIGEST, 7, 12) == b"page from 7 of 12 for icbc"


async def test_the_longest_request_has_room(tmp_path: Path) -> None:
    async with peer_pair(tmp_path) as pair, pair.audit_client() as client:
        with pytest.raises(PeerGarbage):  # the answer of this member repeats it, and is longer than an answer
            await client.request("jd", bytes(MAX_WIRE))


async def test_a_body_without_end_is_not_read(tmp_path: Path) -> None:
    async with peer_pair(tmp_path) as pair, pair.audit_client() as client:
        with pytest.raises(PeerRefused) as caught:
            await client.request("jd", bytes(1024 * 1024))
        assert (caught.value.status, caught.value.remote_code) == (413, "body_too_large")


async def test_refusals_keep_their_codes_and_their_time(tmp_path: Path) -> None:
    async with peer_pair(tmp_path) as pair:
        async with pair.audit_client("unionpay") as client:
            with pytest.raises(PeerRefused) as caught:
                await client.request("jd", b"wire")
            assert (caught.value.status, caught.value.remote_code) == (403, "no_audit_right")
            for asked in (client.range("jd", DIGEST), client.statements("jd", DIGEST, 0, 1)):
                with pytest.raises(PeerRefused) as caught:
                    await asked
                assert (caught.value.status, caught.value.remote_code) == (404, "unknown_access")
        async with pair.audit_client() as client:
            with pytest.raises(PeerRefused) as caught:
                await client.request("jd", b"too many")
            assert (caught.value.status, caught.value.remote_code) == (429, "audit_quota")
            assert caught.value.retry_after == 60


async def test_who_asks_too_often_is_told_so(tmp_path: Path) -> None:
    async with peer_pair(tmp_path) as pair, pair.audit_client() as client:
        read = asyncio.gather(*(client.range("jd", DIGEST) for _ in range(int(ALLOWED.depth) * 3)))
        with pytest.raises(PeerRefused) as caught:
            await read
        assert (caught.value.status, caught.value.remote_code) == (429, "too_often")


async def test_an_auditor_that_asks_for_many_pages_at_once_keeps_no_other_waiting(tmp_path: Path) -> None:
    async with peer_pair(tmp_path) as pair, pair.audit_client() as many, pair.audit_client("unionpay") as one:
        await asyncio.gather(*(many.statements("jd", DIGEST, 0, 9) for _ in range(PAGES_AT_ONCE * 3)))
        pair.auditing.held_up = asyncio.Event()  # its connections are open now
        held = [asyncio.ensure_future(many.statements("jd", DIGEST, 0, 9)) for _ in range(PAGES_AT_ONCE * 3)]
        async with asyncio.timeout(20):
            with pytest.raises(PeerRefused) as caught:
                await one.statements("jd", DIGEST, 0, 9)
            assert caught.value.remote_code == "unknown_access"
            assert not any(each.done() for each in held)
            pair.auditing.held_up.set()
            assert len(await asyncio.gather(*held)) == len(held)


async def test_another_media_type_is_refused(tmp_path: Path) -> None:
    async with peer_pair(tmp_path) as pair, pair.audit_client() as client:
        timeout = aiohttp.ClientTimeout(total=5)
        async with client._calls.open("jd", AUDITS, timeout=timeout, body=b"x") as answer:
            assert answer.status == 415


@pytest.mark.parametrize("query", [{}, {"first": "1"}, {"first": "-1", "size": "1"}, {"first": "01", "size": "1"}])
async def test_a_page_is_named_by_two_numbers(tmp_path: Path, query: dict[str, str]) -> None:
    async with peer_pair(tmp_path) as pair, pair.audit_client() as client:
        path = STATEMENTS.format(digest=DIGEST.hex())
        with pytest.raises(PeerRefused) as caught:
            await client._calls.get("jd", path, "application/cbor", 100, 5.0, query=query)
        assert (caught.value.status, caught.value.remote_code) == (422, "invalid_input")


@pytest.mark.parametrize("path", [RANGE, STATEMENTS])
async def test_without_a_certificate_nothing_is_told(tmp_path: Path, path: str) -> None:
    async with peer_pair(tmp_path) as pair, aiohttp.ClientSession() as session:
        assert pair.listening is not None
        url = f"https://127.0.0.1:{pair.listening.port}{path.format(digest=DIGEST.hex())}"
        async with session.get(url, ssl=stranger(pair)) as answer:
            assert answer.status == 401
        async with session.post(f"https://127.0.0.1:{pair.listening.port}{AUDITS}", ssl=stranger(pair)) as answer:
            assert answer.status == 401
