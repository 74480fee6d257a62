"""Idempotency-Key: reading the header, claims, and what is sealed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.errors import IdempotencyError, OpenError
from riskshare.server.idempotency import Claim, derive_keys, open_response, read_key, seal_response

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
