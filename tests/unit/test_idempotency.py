"""Idempotency-Key: reading the header, claims, and what is sealed."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.errors import IdempotencyError, OpenError, StoreError
from riskshare.server import idempotency
from riskshare.server.idempotency import Claim, Idempotency, derive_keys, open_response, read_key, seal_response

KEYS = derive_keys(b"d" * 32)
CLAIM = Claim("till", b"k" * 32, b"r" * 32)
NONCE = b"n" * 12


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ('"8e03978e-40d5-43dd-bc93-6894a57f9324"', "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        (' "a b!"\t', "a b!"),
        (r'"a\"b\\c"', r"a\"b\c".replace(r"\"", '"')),
        ("8e03978e-40d5", "8e03978e-40d5"),
        ('"' + "x" * 255 + '"', "x" * 255),
    ],
)
def test_a_key_is_a_string_or_a_bare_word(header: str, key: str) -> None:
    assert read_key(header) == key


@pytest.mark.parametrize(
    "header", ["", '""', '"', '"a', 'a"', r'"a\b"', '"a"b', '"a";p', "a b", "a,b", '"é"', '"\x7f"', '"\n"', "x" * 256]
)
def test_everything_else_is_malformed(header: str) -> None:
    with pytest.raises(IdempotencyError) as caught:
        read_key(header)
    assert caught.value.code == "idempotency_key_malformed"


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=100))
def test_every_printable_text_survives_quoting(text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    assert read_key(f'"{quoted}"') == text


@given(st.binary(max_size=200))
def test_a_response_opens_again(response: bytes) -> None:
    sealed = seal_response(KEYS[1], CLAIM, response, NONCE)
    assert open_response(KEYS[1], CLAIM, sealed) == response


@pytest.mark.parametrize(
    "claim",
    [Claim("other", b"k" * 32, b"r" * 32), Claim("till", b"x" * 32, b"r" * 32), Claim("till", b"k" * 32, b"x" * 32)],
)
def test_a_response_does_not_open_for_another_claim(claim: Claim) -> None:
    sealed = seal_response(KEYS[1], CLAIM, b"response", NONCE)
    with pytest.raises(OpenError):
        open_response(KEYS[1], claim, sealed)


@pytest.mark.parametrize("sealed", [b"", NONCE, NONCE + bytes(16), NONCE + bytes(100)])
def test_altered_bytes_do_not_open(sealed: bytes) -> None:
    with pytest.raises(OpenError):
        open_response(KEYS[1], CLAIM, sealed)


def test_digests_and_sealing_have_keys_of_their_own() -> None:
    assert KEYS[0] != KEYS[1]
    assert derive_keys(b"e" * 32)[0] != KEYS[0]


def test_no_repr_shows_digests() -> None:
    assert repr(CLAIM) == "Claim(api_key='till')"


# --- a store that hangs


class Hanging:
    """A store that answers nothing until it is let; `freed` is what it was told to free."""

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.begun = self.ended = 0
        self.freed: list[bytes] = []

    async def begin(self, _api_key: str, _key_digest: bytes, _request_digest: bytes) -> bytes | None:
        self.begun += 1
        try:
            await self.let.wait()
        finally:
            self.ended += 1
        return None

    async def give_up(self, _api_key: str, key_digest: bytes) -> None:
        await self.let.wait()
        self.freed.append(key_digest)


def claims(number: int) -> list[Claim]:
    return [Claim("till", bytes([n]) * 32, b"r" * 32) for n in range(number)]


async def refused(tried: Idempotency, claim: Claim) -> bool:
    with pytest.raises(StoreError):
        await tried.begin(claim)
    return True


async def test_requests_that_nobody_waits_for_any_more_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "STORE_SECONDS", 0.02)
    monkeypatch.setattr(idempotency, "MOST_LATE", 10)
    store = Hanging()
    tried = Idempotency(store, b"d" * 32, os.urandom)
    for claim in claims(30):
        await refused(tried, claim)
    assert store.begun == 10, "the others are refused at once"
    store.let.set()
    await asyncio.sleep(0.05)
    assert (store.ended, len(store.freed)) == (10, 10), "what was granted late is free, and no more was sent"
    assert await tried.begin(CLAIM) is None


async def test_a_store_that_hangs_for_long_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "STORE_SECONDS", 0.02)
    monkeypatch.setattr(idempotency, "FREE_SECONDS", 0.2)
    store = Hanging()
    tried = Idempotency(store, b"d" * 32, os.urandom)
    (claim,) = claims(1)
    await refused(tried, claim)
    await tried.give_up(claim)
    assert store.ended == 0
    await asyncio.sleep(0.4)
    assert store.ended == 1
    store.let.set()
    await asyncio.sleep(0.05)
    assert store.freed == [], "by now the claim may be somebody else's"


async def test_a_claim_that_others_may_have_taken_over_is_not_freed() -> None:
    store = Hanging()
    store.let.set()
    tried = Idempotency(store, b"d" * 32, os.urandom)
    (claim,) = claims(1)
    old = replace(claim, made_at=claim.made_at - idempotency.FREE_SECONDS)
    await tried.give_up(old)
    await tried.give_up(claim)
    assert store.freed == [claim.key_digest]


async def test_requests_that_fail_together_are_not_taken_for_a_store_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(idempotency, "MOST_LATE", 10)
    store = Hanging()
    tried = Idempotency(store, b"d" * 32, os.urandom)
    freeing = [asyncio.ensure_future(tried.give_up(claim)) for claim in claims(30)]
    await asyncio.sleep(0)
    beginning = asyncio.ensure_future(tried.begin(CLAIM))
    await asyncio.sleep(0)
    store.let.set()
    assert await beginning is None
    await asyncio.gather(*freeing)
    assert len(store.freed) == 30
