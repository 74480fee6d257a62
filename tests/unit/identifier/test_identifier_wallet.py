"""Wallets and their encodings: base58, bech32, CashAddr, Keccak."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum import bitcoin

from riskshare.errors import IdentifierError
from riskshare.membership.identifier import base58, bech32, chain_of, make
from riskshare.membership.identifier.wallet import CHAINS

BTC = "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"
ETH = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
TRX = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
XMR = "44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGQBEP3A"
SOL = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"
WITNESS = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"


def accepted(chain, address):
    refusal = None
    try:
        return make("wallet", f"{chain}/{address}").value.partition("/")[2]
    except IdentifierError as error:
        refusal = error
    assert refusal.reason == "address"
    return None


@given(st.binary(max_size=80))
def test_base58_reads_what_it_prints(data):
    for alphabet in (base58.BITCOIN, base58.RIPPLE):
        assert base58.decode(base58.encode(data, alphabet), alphabet) == data
        assert base58.decode_check(base58.encode_check(data, alphabet), alphabet) == (data or None)


@given(st.text(base58.BITCOIN, max_size=60))
def test_base58_has_one_text_for_each_byte_string(text):
    data = base58.decode(text)
    assert data is not None
    assert base58.encode(data) == text


@given(st.binary(max_size=60))
def test_bech32_reads_what_it_prints(data):
    values = bech32.from_bytes(data)
    assert bech32.to_bytes(values) == data
    for constant in (bech32.BECH32, bech32.BECH32M):
        assert bech32.decode(bech32.encode("rs", values, constant), "rs") == (values, constant)
    assert bech32.decode_cash(bech32.encode_cash(values, "bitcoincash"), "bitcoincash") == values


@given(st.binary(min_size=20, max_size=20), st.integers(0, 41), st.sampled_from("qpzry9x8gf2tvdw0s3jn54khce6mua7l"))
def test_one_wrong_letter_is_found(digest, place, letter):
    address = bech32.encode("bc", [0, *bech32.from_bytes(digest)])
    wrong = address[:place] + letter + address[place + 1 :]
    assert accepted("btc", wrong) == (wrong if wrong == address else None)
    cash = bech32.encode_cash(bech32.from_bytes(b"\x00" + digest), "bitcoincash")
    wrong = cash[:place] + letter + cash[place + 1 :]
    assert accepted("bch", wrong) == (wrong if wrong == cash else None)


@given(st.binary(min_size=20, max_size=20), st.sampled_from([b"\x00", b"\x05"]))
def test_bitcoin_addresses_agree_with_stdnum(digest, version):
    old = base58.encode_check(version + digest)
    new = bech32.encode("bc", [0, *bech32.from_bytes(digest)])
    assert accepted("btc", old) == bitcoin.validate(old)
    assert accepted("btc", new.upper()) == bitcoin.validate(new)


@given(st.integers(0, 20), st.binary(max_size=45), st.sampled_from([bech32.BECH32, bech32.BECH32M]))
def test_witness_program_has_its_length_and_its_checksum(version, program, constant):
    text = bech32.encode("bc", [version, *bech32.from_bytes(program)], constant)
    if version == 0:
        fits = constant == bech32.BECH32 and len(program) in (20, 32)
    else:
        fits = constant == bech32.BECH32M and version <= 16 and 2 <= len(program) <= 40
    assert accepted("btc", text) == (text if fits else None)


# BIP 350, test vectors for segregated witness addresses, those of the main network.
@pytest.mark.parametrize(
    "address",
    [
        "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4",
        "bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kt5nd6y",
        "BC1SW50QGDZ25J",
        "bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs",
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
    ],
)
def test_bip350_valid(address):
    assert accepted("btc", address) == address.lower()


@pytest.mark.parametrize(
    "address",
    [
        "tc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq5zuyut",
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd",
        "BC1S0XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ54WELL",
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kemeawh",
        "bc1p38j9r5y49hruaue7wxjce0updqjuyyx0kh56v8s25huc6995vvpql3jow4",
        "BC130XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ7ZWS8R",
        "bc1pw5dgrnzv",
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7v8n0nx0muaewav253zgeav",
        "BC1QR508D6QEJXTDG4Y5R3ZARVARYV98GJ9P",
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7v07qwwzcrf",
        "bc1gmk9yu",
    ],
)
def test_bip350_invalid(address):
    assert accepted("btc", address) is None


# CashAddr specification, "Examples of address translation".
@pytest.mark.parametrize(
    ("old", "cash"),
    [
        ("1BpEi6DfDAUFd7GtittLSdBeYJvcoaVggu", "qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6a"),
        ("1KXrWXciRDZUpQwQmuM1DbwsKDLYAYsVLR", "qr95sy3j9xwd2ap32xkykttr4cvcu7as4y0qverfuy"),
        ("16w1D5WRVKJuZUsSRzdLp9w3YGcgoxDXb", "qqq3728yw0y47sqn6l2na30mcw6zm78dzqre909m2r"),
        ("3CWFddi6m4ndiGyKqzYvsFYagqDLPVMTzC", "ppm2qsznhks23z7629mms6s4cwef74vcwvn0h829pq"),
        ("3LDsS579y7sruadqu11beEJoTjdFiFCdX4", "pr95sy3j9xwd2ap32xkykttr4cvcu7as4yc93ky28e"),
        ("31nwvkZwyPdgzjBJZXfDmSWsC4ZLKpYyUw", "pqq3728yw0y47sqn6l2na30mcw6zm78dzq5ucqzc37"),
    ],
)
def test_both_spellings_of_bitcoin_cash_meet(old, cash):
    assert accepted("bch", old) == accepted("bch", f"bitcoincash:{cash}") == accepted("bch", cash.upper()) == cash


@given(st.binary(min_size=20, max_size=20), st.sampled_from([(0, 16), (8, 24)]))
def test_token_aware_bitcoin_cash_is_the_same_address(digest, versions):
    plain, aware = (
        bech32.encode_cash(bech32.from_bytes(bytes((version,)) + digest), "bitcoincash") for version in versions
    )
    assert accepted("bch", aware) == plain


@pytest.mark.parametrize("version", [1, 3, 11, 32, 64, 128])
def test_cash_address_of_another_type_or_size_is_refused(version):
    address = bech32.encode_cash(bech32.from_bytes(bytes((version,)) + bytes(20)), "bitcoincash")
    assert accepted("bch", address) is None


@given(st.binary(min_size=20, max_size=20))
def test_both_version_bytes_of_a_litecoin_script_meet(digest):
    script = base58.encode_check(b"\x32" + digest)
    assert accepted("ltc", base58.encode_check(b"\x05" + digest)) == accepted("ltc", script) == script


@pytest.mark.parametrize(
    ("data", "digest"),
    [
        # Keccak team, KeccakTools test vectors; Ethereum yellow paper, appendix on empty data.
        (b"", "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"),
        (b"abc", "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"),
    ],
)
def test_keccak(data, digest):
    assert base58.keccak256(data).hex() == digest


def test_permutation_of_the_zero_state():
    """Keccak team, KeccakF-1600-IntermediateValues: first and last lane."""
    state = base58._permute([0] * 25)
    assert (state[0], state[24]) == (0xF1258F7940E1DDE7, 0xEAF1FF7B5CECA249)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 134, 135, 136, 137, 271, 272, 273])
def test_keccak_differs_from_sha3_by_the_padding_only(size):
    """At every length around a block: SHA-3 marks the end with 0x06, Keccak with 0x01."""
    data = (bytes(range(256)) * 2)[:size]
    assert base58.sponge(data, 0x06) == hashlib.sha3_256(data).digest()
    assert base58.keccak256(data) == base58.sponge(data, 0x01)


@pytest.mark.parametrize(
    "address",
    [XMR[:-1], XMR + "1", XMR[:50] + ("a" if XMR[50] != "a" else "b") + XMR[51:], "z" * 95, "1" * 95, "4" * 106],
)
def test_monero_address_with_an_error_is_refused(address):
    assert accepted("xmr", address) is None


@given(st.sampled_from(sorted(CHAINS)), st.text(base58.BITCOIN + "0:-_/", min_size=1, max_size=120))
def test_no_address_breaks_a_rule(chain, address):
    found = accepted(chain, address)
    assert found is None or accepted(chain, found) == found


@given(st.sampled_from(sorted(CHAINS)), st.binary(min_size=20, max_size=70))
def test_no_payload_breaks_a_rule(chain, data):
    for address in (base58.encode_check(data), base58.encode(data), bech32.encode("addr", bech32.from_bytes(data))):
        found = accepted(chain, address)
        assert found is None or accepted(chain, found) == found


@pytest.mark.parametrize(
    ("coin", "address", "chain"),
    [
        ("XBT", BTC, "btc"),
        ("btc", WITNESS, "btc"),
        ("XBT", TRX, "trx"),
        ("BCH", BTC, "bch"),
        ("BSV", BTC, "bsv"),
        ("ETH", ETH, "eth"),
        ("ETC", ETH, "eth"),
        ("ARB", ETH, "eth"),
        ("BSC", ETH, "eth"),
        ("USDT", ETH, "eth"),
        ("USDT", TRX, "trx"),
        ("USDT", BTC, "btc"),
        ("USDC", SOL, "sol"),
        ("XMR", XMR, "xmr"),
        ("NEWCOIN", ETH, "eth"),
        ("NEWCOIN", WITNESS, "btc"),
        ("NEWCOIN", BTC, None),
        ("XMR", "5be5543ff73456ab9f2d207887e2af87322c651ea1a873c5b25b7ffae456c320", None),
        ("XBT", BTC[:-1], None),
        ("USDT", "", None),
        ("", "", None),
    ],
)
def test_chain_of_a_coin(coin, address, chain):
    assert chain_of(coin, address) == chain
    assert chain_of(f" {coin.lower()} ", f" {address} ") == chain


@pytest.mark.parametrize(
    "coin",
    [
        "XBT",
        "ETH",
        "XMR",
        "LTC",
        "ZEC",
        "DASH",
        "BTG",
        "ETC",
        "BSV",
        "BCH",
        "XVG",
        "USDT",
        "USDC",
        "XRP",
        "ARB",
        "BSC",
        "TRX",
        "SOL",
    ],
)
def test_every_coin_of_the_sanction_lists_has_a_chain(coin):
    """The codes that the US Treasury (OFAC) has used."""
    samples = {ETH, BTC, TRX, SOL, XMR, "rN7n7otQDd6FczFgLdSqtcsAUxDkw6fzRH", "t1Hsc1LR8yKnbbe3twRp88p6vFfC5t7DLbs"}
    samples |= {base58.encode_check(version + bytes(20)) for version in (b"\x30", b"\x4c", b"\x26", b"\x1e")}
    expected = {"XBT": "btc", "ETC": "eth", "ARB": "eth", "BSC": "eth", "USDT": "eth", "USDC": "eth"}
    assert expected.get(coin, coin.lower()) in {chain_of(coin, address) for address in samples}
