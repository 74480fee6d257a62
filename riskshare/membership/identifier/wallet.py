"""Addresses of digital currencies: `<chain>/<address>`.

The chain is a ledger of `CHAINS`, never a token: USDT is found at `eth`, `trx`, `btc`
or `sol`, and every chain that runs Ethereum's machine is `eth`, since one key has the
same address on all of them. Where one thing has several spellings, one is canonical:

    eth    0x and 40 hex digits, lower case. The capitals of EIP-55 are not checked: that
           takes Keccak-256, 0.4 ms in Python, too slow for lists of millions.
    btc    Base58Check (1…, 3…), Bech32 and Bech32m (bc1…)
    bch    CashAddr without its prefix; the old Base58Check form of the same hash and the
           token-aware form are converted
    bsv    Base58Check (1…, 3…)
    btg    Base58Check (G…, A…), Bech32 (btg1…)
    ltc    Base58Check (L…, M…), Bech32 (ltc1…); the old 3… of a script becomes its M…
    doge, dash, xvg   Base58Check
    zec    transparent (t1…, t3…), Sapling (zs1…), unified (u1…, checksum only)
    xmr    standard, sub- and integrated addresses (4…, 8…), with their checksum
    xrp    classic address (r…); no X-address, as it holds a destination tag
    trx    Base58Check (T…)
    sol    Base58 of 32 bytes; there is no checksum
    ada    Shelley (addr1…, stake1…), Byron (Base58, CRC-32)
    dot, ksm   SS58 with the chain's own prefix
    ton    workchain:hash in lower-case hex; the base64 forms (bounceable or not) are converted
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from riskshare.encoding import cbor_encode
from riskshare.errors import IdentifierError
from riskshare.membership.identifier import base58, bech32

_HEX_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{40}")
_TON_RAW = re.compile(r"(-1|0):([0-9a-f]{64})")
_CASH_PREFIX = "bitcoincash"
_MONERO_NETWORKS = {18: 65, 42: 65, 19: 73}
"""Monero's main network: standard, subaddress, integrated; with the length of the payload in bytes."""


def wallet(value: str) -> str:
    """Normalise `<chain>/<address>`; see the table above.

    Raises:
        IdentifierError: `form`, `chain`, `address`.

    """
    chain, slash, address = value.partition("/")
    if not slash or not address:
        raise IdentifierError("wallet", "form", "Write a wallet as chain/address.")
    chain = chain.lower()
    rule = CHAINS.get(chain)
    if rule is None:
        raise IdentifierError("wallet", "chain", f"There is no such chain. Use one of: {', '.join(sorted(CHAINS))}.")
    canonical = rule(address)
    if canonical is None:
        raise IdentifierError(
            "wallet", "address", "This is no address of that chain, or its checksum does not fit. Copy it anew."
        )
    return f"{chain}/{canonical}"


def _eth(address: str) -> str | None:
    return address.lower() if _HEX_ADDRESS.fullmatch(address) is not None else None


def _base58_check(*versions: bytes, alphabet: str = base58.BITCOIN) -> Callable[[str], str | None]:
    """Rule for a hash of 20 bytes behind one of `versions`."""

    def rule(address: str) -> str | None:
        payload = base58.decode_check(address, alphabet)
        return address if payload is not None and payload[:-20] in versions else None

    return rule


def _segwit(address: str, prefix: str) -> str | None:
    """Check a witness address (BIP 173, BIP 350) and return it in lower case."""
    text = bech32.one_case(address)
    found = bech32.decode(text, prefix) if text is not None and len(text) <= 90 else None
    if found is None or not found[0]:
        return None
    (version, *values), constant = found
    program = bech32.to_bytes(values)
    if program is None or version > 16 or not 2 <= len(program) <= 40:
        return None
    fits = constant == bech32.BECH32 and len(program) in (20, 32) if version == 0 else constant == bech32.BECH32M
    return text if fits else None


def _either(prefix: str, *versions: bytes) -> Callable[[str], str | None]:
    """Rule for chains with both Base58Check and witness addresses."""
    old = _base58_check(*versions)

    def rule(address: str) -> str | None:
        return old(address) or _segwit(address, prefix)

    return rule


_ltc_plain = _either("ltc", b"\x30", b"\x32")


def _ltc(address: str) -> str | None:
    payload = base58.decode_check(address)
    if payload is not None and len(payload) == 21 and payload[:1] == b"\x05":
        return base58.encode_check(b"\x32" + payload[1:])
    return _ltc_plain(address)


def _bch(address: str) -> str | None:
    """CashAddr: version byte (type in bits 3 to 6, size in bits 0 to 2), then the hash."""
    payload = base58.decode_check(address)
    if payload is not None:
        kind = {b"\x00": 0, b"\x05": 8}.get(payload[:-20])
        return None if kind is None else _cash_address(kind, payload[1:])
    text = bech32.one_case(address)
    if text is None:
        return None
    values = bech32.decode_cash(text.removeprefix(_CASH_PREFIX + ":"), _CASH_PREFIX)
    data = bech32.to_bytes(values) if values is not None else None
    # Types 2 and 3 are 0 and 1 in their token-aware form (CHIP-2022-02 CashTokens).
    sizes = {0: 20, 8: 20, 11: 32, 16: 20, 24: 20, 27: 32}
    if not data or sizes.get(data[0]) != len(data) - 1:
        return None
    return _cash_address(data[0] & 0b01111, data[1:])


def _cash_address(version: int, digest: bytes) -> str:
    return bech32.encode_cash(bech32.from_bytes(bytes((version,)) + digest), _CASH_PREFIX)


_zec_transparent = _base58_check(b"\x1c\xb8", b"\x1c\xbd")


def _zec(address: str) -> str | None:
    text = bech32.one_case(address)
    sapling = bech32.decode(text, "zs") if text is not None else None
    if sapling is not None:
        data = bech32.to_bytes(sapling[0])
        return text if sapling[1] == bech32.BECH32 and data is not None and len(data) == 43 else None
    unified = bech32.decode(text, "u") if text is not None else None
    if unified is not None:
        data = bech32.to_bytes(unified[0])
        return text if unified[1] == bech32.BECH32M and data is not None and len(data) >= 48 else None
    return _zec_transparent(address)


def _xmr(address: str) -> str | None:
    payload = base58.decode_monero(address) if len(address) in (95, 106) else None
    return address if payload and _MONERO_NETWORKS.get(payload[0]) == len(payload) else None


def _sol(address: str) -> str | None:
    data = base58.decode(address) if 32 <= len(address) <= 44 else None
    return address if data is not None and len(data) == 32 else None


def _ada(address: str) -> str | None:
    """Shelley addresses by CIP 19, Byron addresses by their CRC-32."""
    text = bech32.one_case(address)
    for prefix, sizes in (
        ("addr", {0: 57, 1: 57, 2: 57, 3: 57, 4: 0, 5: 0, 6: 29, 7: 29}),
        ("stake", {14: 29, 15: 29}),
    ):
        found = bech32.decode(text, prefix) if text is not None else None
        if found is not None:
            data = bech32.to_bytes(found[0])
            if not data or found[1] != bech32.BECH32 or data[0] & 15 != 1:
                return None
            size = sizes.get(data[0] >> 4, -1)
            # Size 0: a pointer of three numbers of variable length follows the key hash.
            return text if len(data) == size or (size == 0 and 32 <= len(data) <= 58) else None
    return _byron(address)


def _byron(address: str) -> str | None:
    """CBOR [24(body), CRC-32 of body] (CIP 19); the body has 24 to 255 bytes, so its length is one byte."""
    data = base58.decode(address) if 50 <= len(address) <= 128 else None
    if data is None or data[:4] != b"\x82\xd8\x18\x58":
        return None
    end = 5 + data[4]
    return address if data[end:] == cbor_encode(binascii.crc32(data[5:end])) else None


def _ss58(prefix: int) -> Callable[[str], str | None]:
    """Rule for an SS58 account of 32 bytes: two bytes of BLAKE2b-512 are the checksum."""

    def rule(address: str) -> str | None:
        data = base58.decode(address) if len(address) <= 50 else None
        if data is None or len(data) != 35 or data[0] != prefix:
            return None
        return address if hashlib.blake2b(b"SS58PRE" + data[:-2]).digest()[:2] == data[-2:] else None

    return rule


def _ton(address: str) -> str | None:
    """TEP 2: tag, workchain, 32 bytes, CRC-16; the two tags differ in what a failed transfer does."""
    raw = address.lower()
    if _TON_RAW.fullmatch(raw) is not None:
        return raw
    if len(address) != 48:
        return None
    text = address.replace("-", "+").replace("_", "/")
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return None
    if len(data) != 36 or data[0] not in (0x11, 0x51) or binascii.crc_hqx(data[:34], 0).to_bytes(2, "big") != data[34:]:
        return None
    chain = {0x00: "0", 0xFF: "-1"}.get(data[1])
    return None if chain is None else f"{chain}:{data[2:34].hex()}"


CHAINS: Mapping[str, Callable[[str], str | None]] = MappingProxyType(
    {
        "ada": _ada,
        "bch": _bch,
        "bsv": _base58_check(b"\x00", b"\x05"),
        "btc": _either("bc", b"\x00", b"\x05"),
        "btg": _either("btg", b"\x26", b"\x17"),
        "dash": _base58_check(b"\x4c", b"\x10"),
        "doge": _base58_check(b"\x1e", b"\x16"),
        "dot": _ss58(0),
        "eth": _eth,
        "ksm": _ss58(2),
        "ltc": _ltc,
        "sol": _sol,
        "ton": _ton,
        "trx": _base58_check(b"\x41"),
        "xmr": _xmr,
        "xrp": _base58_check(b"\x00", alphabet=base58.RIPPLE),
        "xvg": _base58_check(b"\x1e", b"\x21"),
        "zec": _zec,
    }
)
"""The closed table of version 1: chain to the rule that gives an address's canonical text, or None."""

_COINS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **{chain.upper(): (chain,) for chain in CHAINS},
        "XBT": ("btc",),
        "BCC": ("bch",),
        **dict.fromkeys(("ARB", "AVAX", "BASE", "BNB", "BSC", "CRO", "ETC", "FTM", "MATIC", "OP", "POL"), ("eth",)),
        **dict.fromkeys(("BUSD", "DAI", "LINK", "PYUSD", "SHIB", "UNI", "WBTC", "WETH"), ("eth",)),
        **dict.fromkeys(("TUSD", "USDC", "USDD", "USDT"), ("eth", "trx", "btc", "sol", "ton")),
    }
)
"""Codes of coins and tokens, as sanction lists and exchanges write them, to the chains where they are found."""

_UNMISTAKABLE = ("eth", "trx", "xrp", "xmr")
"""Chains whose addresses no other chain's could be taken for."""


def chain_of(coin: str, address: str) -> str | None:
    """Tell for an importer on which chain an address of a coin or token lies, None if on none.

    Lists name coins (`XBT`), tokens (`USDT`) and sometimes the wrong one: the address
    decides among the coin's chains, and a form that only one chain has decides always.
    Where a coin's code is unknown, only such a form helps.
    """
    address = address.strip()
    for chain in (*_COINS.get(coin.strip().upper(), ()), *_UNMISTAKABLE):
        if CHAINS[chain](address) is not None:
            return chain
    return "btc" if _segwit(address, "bc") is not None else None
