"""Proposals and pages of receipts, between a client and a listener over mutual TLS."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from riskshare.audit.proposal import SETTLEMENT_RECEIPTS, SETTLEMENTS
from riskshare.errors import AskRefused, InputError, PeerRefused, RegistryError, RiskshareError, StoreError
from riskshare.server.settlements import ALLOWED, AT_ONCE
from tests.simulator.listening import peer_pair

OPENED, CLOSED = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
PERIOD = {"from": "2026-11-01T00:00:00.000Z", "to": "2026-12-01T00:00:00.000Z"}


async def test_a_proposal_and_a_page_reach_the_other_side_with_the_members_name(tmp_path: Path) -> None:
    async with peer_pair(tmp_path) as pair, pair.settlement_client() as client:
        assert await client.propose("jd", b"x" * 200_000) == b"200000 bytes of icbc"
        page = await client.receipts("jd", "icbc", OPENED, CLOSED, b"\xab" * 32)
        assert page == b"icbc for icbc, 01.11. to 01.12., after abab"
        assert await client.receipts("jd", "jd", OPENED, CLOSED, b"") == b"jd for icbc, 01.11. to 01.12., after "


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InputError("x", code="settlement_overlap"), 409, "settlement_overlap"),
        (InputError("x", code="period_open"), 409, "period_open"),
        (InputError("x", code="settlement_period"), 409, "settlement_period"),
        (AskRefused("registry_mismatch", "x"), 412, "registry_mismatch"),
        (AskRefused("bad_signature", "x"), 401, "bad_signature"),
        (RegistryError("x", code="registry_gap"), 503, "registry_gap"),
        (StoreError("x"), 503, "store_unavailable"),
    ],
)
async def test_each_refusal_has_its_code(tmp_path: Path, error: RiskshareError, status: int, code: str) -> None:
    async with peer_pair(tmp_path) as pair, pair.settlement_client() as client:
        pair.settling.error = error
        with pytest.raises(PeerRefused) as caught:
            await client.propose("jd", b"x")
        assert (caught.value.status, caught.value.remote_code) == (status, code)


@pytest.mark.parametrize(
    "change",
    [{"from": "2026-11-01"}, {"to": ""}, {"after": "ab"}, {"after": "AB" * 32}, {"after": "zz" * 32}],
)
async def test_a_malformed_query_is_refused(tmp_path: Path, change: dict[str, str]) -> None:
    async with peer_pair(tmp_path) as pair, pair.settlement_client() as client:
        query = {"owner": "jd", **PERIOD, **change}
        with pytest.raises(PeerRefused) as caught:
            await client._calls.get("jd", SETTLEMENT_RECEIPTS, "application/cbor", 100, 5.0, query=query)
        assert (caught.value.status, caught.value.remote_code) == (422, "invalid_input")


async def test_a_body_that_is_too_long_or_of_another_type_is_refused(tmp_path: Path) -> None:
    async with peer_pair(tmp_path) as pair, pair.settlement_client() as client:
        with pytest.raises(PeerRefused) as caught:
            await client.propose("jd", b"x" * 400_000)
        assert caught.value.status == 413
        timeout = aiohttp.ClientTimeout(5)
        async with client._calls.open("jd", SETTLEMENTS, timeout=timeout, body=b"x") as response:
            assert response.status == 415


async def test_who_asks_too_often_is_told_so(tmp_path: Path) -> None:
    async with peer_pair(tmp_path) as pair, pair.settlement_client() as client:
        with pytest.raises(PeerRefused) as caught:
            await asyncio.gather(*(client.propose("jd", b"x") for _ in range(int(ALLOWED.depth) * 3)))
        assert (caught.value.status, caught.value.remote_code) == (429, "too_often")


async def test_who_asks_for_many_periods_at_once_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    async with peer_pair(tmp_path) as pair, pair.settlement_client() as many, pair.settlement_client("unionpay") as one:
        await asyncio.gather(*(many.propose("jd", b"x") for _ in range(AT_ONCE * 3)))  # its connections are open now
        pair.settling.held_up = asyncio.Event()
        held = [asyncio.ensure_future(many.propose("jd", b"x")) for _ in range(AT_ONCE * 3)]
        async with asyncio.timeout(20):
            assert await one.propose("jd", b"xy") == b"2 bytes of unionpay"
            assert not any(each.done() for each in held)
            pair.settling.held_up.set()
            assert await asyncio.gather(*held) == [b"1 bytes of icbc"] * len(held)


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_without_a_certificate_nothing_is_told(tmp_path: Path, method: str) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with peer_pair(tmp_path) as pair, aiohttp.ClientSession() as session:
        assert pair.listening is not None
        path = SETTLEMENTS if method == "POST" else SETTLEMENT_RECEIPTS
        async with session.request(method, f"https://127.0.0.1:{pair.listening.port}{path}", ssl=context) as answer:
            assert answer.status == 401
