"""Bech32 (BIP 173), Bech32m (BIP 350) and Bitcoin Cash's CashAddr: texts of five-bit letters with a BCH checksum."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

BECH32 = 1
BECH32M = 0x2BC830A3

_ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CASH_GENERATOR = (0x98F2BC8E61, 0x79B76D99E2, 0xF33E5FB3C4, 0xAE2EABE2A8, 0x1E4F43E470)


def _mixtures(generator: tuple[int, ...]) -> tuple[int, ...]:
    """What each of the 32 values that leave the top adds to the remainder."""
    mixtures = []
    for top in range(32):
        mixture = 0
        for bit, value in enumerate(generator):
            if top >> bit & 1:
                mixture ^= value
        mixtures.append(mixture)
    return tuple(mixtures)


_MIX = _mixtures(_GENERATOR)
_CASH_MIX = _mixtures(_CASH_GENERATOR)


def _remainder(values: Iterable[int]) -> int:
    remainder = 1
    for value in values:
        remainder = (remainder & 0x1FFFFFF) << 5 ^ value ^ _MIX[remainder >> 25]
    return remainder


def _cash_remainder(values: Iterable[int]) -> int:
    remainder = 1
    for value in values:
        remainder = (remainder & 0x07FFFFFFFF) << 5 ^ value ^ _CASH_MIX[remainder >> 35]
    return remainder


def _expand(prefix: str) -> list[int]:
    return [ord(letter) >> 5 for letter in prefix] + [0] + [ord(letter) & 31 for letter in prefix]


def _values(text: str) -> list[int] | None:
    values = [_VALUES.get(letter, -1) for letter in text]
    return None if -1 in values else values


def one_case(text: str) -> str | None:
    """`text` in lower case; None if it mixes cases, which BIP 173 forbids."""
    return text.lower() if text in (text.lower(), text.upper()) else None


def decode(text: str, prefix: str) -> tuple[list[int], int] | None:
    """Five-bit values behind `prefix` and `1`, without the checksum, and the checksum's constant.

    `text` is in lower case. None for another prefix, a foreign letter or a wrong checksum.
    The constant is `BECH32` or `BECH32M`.
    """
    head = prefix + "1"
    if not text.startswith(head) or len(text) < len(head) + 6:
        return None
    values = _values(text[len(head) :])
    if values is None:
        return None
    constant = _remainder(_expand(prefix) + values)
    return (values[:-6], constant) if constant in (BECH32, BECH32M) else None


def encode(prefix: str, values: Sequence[int], constant: int = BECH32) -> str:
    """Print five-bit values behind `prefix` and `1`, with their checksum."""
    remainder = _remainder([*_expand(prefix), *values, *[0] * 6]) ^ constant
    checksum = [remainder >> 5 * (5 - place) & 31 for place in range(6)]
    return prefix + "1" + "".join(_ALPHABET[value] for value in [*values, *checksum])


def decode_cash(text: str, prefix: str) -> list[int] | None:
    """Five-bit values of a CashAddr without prefix and checksum; None if malformed. `text` is in lower case."""
    values = _values(text)
    if values is None or len(values) < 8:
        return None
    remainder = _cash_remainder([*(ord(letter) & 31 for letter in prefix), 0, *values])
    return values[:-8] if remainder == 1 else None


def encode_cash(values: Sequence[int], prefix: str) -> str:
    """Print five-bit values as a CashAddr, without its prefix."""
    remainder = _cash_remainder([*(ord(letter) & 31 for letter in prefix), 0, *values, *[0] * 8]) ^ 1
    checksum = [remainder >> 5 * (7 - place) & 31 for place in range(8)]
    return "".join(_ALPHABET[value] for value in [*values, *checksum])


def to_bytes(values: Sequence[int]) -> bytes | None:
    """Join five-bit values to bytes; None if the bits left over are five or more, or not zero (BIP 173)."""
    number = 0
    for value in values:
        number = number << 5 | value
    spare = 5 * len(values) % 8
    if spare >= 5 or number & ((1 << spare) - 1):
        return None
    return (number >> spare).to_bytes(5 * len(values) // 8, "big")


def from_bytes(data: bytes) -> list[int]:
    """Split bytes into five-bit values, the last one filled up with zeros."""
    count = -(-8 * len(data) // 5)
    number = int.from_bytes(data, "big") << (5 * count - 8 * len(data))
    return [number >> 5 * (count - 1 - place) & 31 for place in range(count)]
