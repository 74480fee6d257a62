"""Base58 (Bitcoin's, Ripple's and Monero's), its checksum, and Keccak-256 for Monero's."""

from __future__ import annotations

import hashlib

BITCOIN = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
RIPPLE = "rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz"

_FOREIGN = b"\xff"
_VALUES = {alphabet: bytes(alphabet.find(chr(octet)) & 0xFF for octet in range(256)) for alphabet in (BITCOIN, RIPPLE)}
"""From an ASCII letter to its value; `_FOREIGN` for one that the alphabet has not."""

_PART = 10
"""Letters that are summed up at a time: what they stand for fits into 60 bits, and long integers are slow."""

_MONERO_BLOCKS = {2: 1, 3: 2, 5: 3, 6: 4, 7: 5, 9: 6, 10: 7, 11: 8}
"""Letters of a block to bytes of a block: Monero encodes each eight bytes on their own (cryptonote `base58.cpp`)."""


def decode(text: str, alphabet: str = BITCOIN) -> bytes | None:
    """Bytes that `text` stands for; None if a letter is not of the alphabet. One text for each byte string."""
    number = _number(text, alphabet)
    if number is None:
        return None
    zeros = len(text) - len(text.lstrip(alphabet[0]))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def _number(text: str, alphabet: str = BITCOIN) -> int | None:
    if not text.isascii():
        return None
    values = text.encode().translate(_VALUES[alphabet])
    if _FOREIGN in values:
        return None
    number = 0
    for start in range(0, len(values), _PART):
        part = values[start : start + _PART]
        small = 0
        for value in part:
            small = small * 58 + value
        number = number * 58 ** len(part) + small
    return number


def encode(data: bytes, alphabet: str = BITCOIN) -> str:
    """Print bytes in Base58."""
    number = int.from_bytes(data, "big")
    letters = []
    while number:
        number, value = divmod(number, 58)
        letters.append(alphabet[value])
    zeros = len(data) - len(data.lstrip(b"\x00"))
    return alphabet[0] * zeros + "".join(reversed(letters))


def decode_check(text: str, alphabet: str = BITCOIN) -> bytes | None:
    """Payload of Base58Check, version bytes included; None if the checksum (double SHA-256) does not fit."""
    data = decode(text, alphabet)
    if data is None or len(data) < 5 or _checksum(data[:-4]) != data[-4:]:
        return None
    return data[:-4]


def encode_check(payload: bytes, alphabet: str = BITCOIN) -> str:
    """Print a payload, version bytes included, in Base58Check."""
    return encode(payload + _checksum(payload), alphabet)


def _checksum(payload: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:4]


def decode_monero(text: str) -> bytes | None:
    """Payload of a Monero address; None if malformed or the checksum (Keccak-256) does not fit."""
    parts = []
    for start in range(0, len(text), 11):
        block = text[start : start + 11]
        size, number = _MONERO_BLOCKS.get(len(block)), _number(block)
        if size is None or number is None or number >> 8 * size:
            return None
        parts.append(number.to_bytes(size, "big"))
    data = b"".join(parts)
    if len(data) < 5 or keccak256(data[:-4])[:4] != data[-4:]:
        return None
    return data[:-4]


def _round_constants() -> tuple[int, ...]:
    """Constants of the 24 rounds, by the linear feedback shift register of FIPS 202 3.2.5."""
    constants, state = [], 1
    for _ in range(24):
        constant = 0
        for power in range(7):
            if state & 1:
                constant |= 1 << (2**power - 1)
            state <<= 1
            if state & 0x100:
                state ^= 0x171
        constants.append(constant)
    return tuple(constants)


_ROUND_CONSTANTS = _round_constants()
_MASK = 2**64 - 1


def _rotate(lane: int, count: int) -> int:
    return (lane << count | lane >> (64 - count)) & _MASK


def _permute(state: list[int]) -> list[int]:
    """Keccak-f[1600] (FIPS 202 3.3); lane (x, y) is `state[x + 5 * y]`."""
    for constant in _ROUND_CONSTANTS:
        columns = [state[x] ^ state[x + 5] ^ state[x + 10] ^ state[x + 15] ^ state[x + 20] for x in range(5)]
        mixed = [columns[x - 1] ^ _rotate(columns[(x + 1) % 5], 1) for x in range(5)]
        state = [lane ^ mixed[index % 5] for index, lane in enumerate(state)]
        moved, x, y, lane = list(state), 1, 0, state[1]
        for step in range(24):
            x, y = y, (2 * x + 3 * y) % 5
            lane, moved[x + 5 * y] = state[x + 5 * y], _rotate(lane, (step + 1) * (step + 2) // 2 % 64)
        state = [
            moved[x + y] ^ (~moved[(x + 1) % 5 + y] & _MASK & moved[(x + 2) % 5 + y])
            for y in range(0, 25, 5)
            for x in range(5)
        ]
        state[0] ^= constant
    return state


def keccak256(data: bytes) -> bytes:
    """Keccak-256 as before FIPS 202, which Monero uses; `hashlib` has only SHA-3.

    About 0.3 ms a block of 136 bytes in Python, so for rare addresses only.
    """
    return sponge(data, 0x01)


def sponge(data: bytes, suffix: int) -> bytes:
    """Keccak[512] (FIPS 202 4) to 32 bytes; `suffix` is 0x01 for Keccak-256, 0x06 for SHA3-256."""
    rate = 136
    padding = bytearray(rate - len(data) % rate)
    padding[0] ^= suffix
    padding[-1] ^= 0x80
    padded = data + bytes(padding)
    state = [0] * 25
    for start in range(0, len(padded), rate):
        for lane in range(rate // 8):
            offset = start + 8 * lane
            state[lane] ^= int.from_bytes(padded[offset : offset + 8], "little")
        state = _permute(state)
    return b"".join(lane.to_bytes(8, "little") for lane in state[:4])
