"""Fictitious but valid identifiers, from a seed: for the demonstration, for tests and for benchmarks.

Nobody should be found on a list that a machine made up. So numbers come from ranges set
aside for fiction and documentation where there are any: US numbers 555-0100 to 555-0199,
`.example` names (RFC 2606), addresses of RFC 2544, RFC 3849 and RFC 5737. For the others there are none
large enough: they are random, and valid only by their check digits.
"""

from __future__ import annotations

import hashlib
import ipaddress
import random
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from types import MappingProxyType

from stdnum import iban as bank_account
from stdnum import luhn
from stdnum.cn import ric
from stdnum.cn import uscc as credit_code

from riskshare.errors import IdentifierError
from riskshare.membership.identifier import Identifier, base58, bech32, make

_DIGITS = "0123456789"
_CREDIT_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_COUNTIES = ("110101", "110105", "310104", "330106", "350203", "420106", "440305", "510107", "610113")
_CHINESE_MOBILE = ("135", "136", "138", "139", "150", "158", "186", "188", "189", "199")
_AMERICAN_AREAS = (
    "202",
    "206",
    "212",
    "213",
    "303",
    "305",
    "312",
    "404",
    "415",
    "503",
    "602",
    "617",
    "702",
    "713",
    "801",
)
_CARDS = (("622202", 16), ("621700", 19), ("400000", 16), ("520000", 16), ("340000", 15))
_IBANS = (("DE", 18), ("AT", 16), ("CH", 17), ("LI", 17), ("DK", 14))
_BICS = ("RSKADEF1", "RSKBCNB1", "RSKCFRP1", "RSKDUS31", "RSKEGB21")
_NAMES = ("anna", "bo", "chen", "dina", "emil", "fang", "gita", "hugo", "ines", "jun", "kofi", "lin", "mei", "nora")
_SITES = ("bonus", "gift", "invest", "loan", "parcel", "prize", "refund", "safe-account", "support", "trade")


def _digits(source: random.Random, count: int) -> str:
    return "".join(source.choices(_DIGITS, k=count))


def _phone(source: random.Random) -> str:
    draw = source.random()
    if draw < 0.75:
        return f"+86{source.choice(_CHINESE_MOBILE)}{_digits(source, 8)}"
    if draw < 0.85:
        return f"+1{source.choice(_AMERICAN_AREAS)}55501{_digits(source, 2)}"
    if draw < 0.9:
        return f"+4479{_digits(source, 8)}"
    return f"+{source.choice(('4915', '336', '8190', '919'))}{_digits(source, source.choice((8, 9)))}"


def _cn_id(source: random.Random) -> str:
    year, month, day = source.randint(1940, 2005), source.randint(1, 12), source.randint(1, 28)
    number = f"{source.choice(_COUNTIES)}{year}{month:02}{day:02}{_digits(source, 3)}0"
    return number[:17] + ric.calc_check_digit(number)


def _uscc(source: random.Random) -> str:
    code = f"91{source.choice(_COUNTIES)}{''.join(source.choices(_CREDIT_ALPHABET, k=9))}0"
    return code[:17] + credit_code.calc_check_digit(code)


def _bank_card(source: random.Random) -> str:
    prefix, length = source.choice(_CARDS)
    digits = prefix + _digits(source, length - len(prefix) - 1)
    return digits + luhn.calc_check_digit(digits)


def _account(source: random.Random) -> str:
    return f"{source.choice(_BICS)}/{_digits(source, source.choice((10, 12, 16)))}"


def _iban(source: random.Random) -> str:
    country, length = source.choice(_IBANS)
    number = _digits(source, length)
    return country + bank_account.calc_check_digits(f"{country}00{number}") + number


def _email(source: random.Random) -> str:
    return f"{source.choice(_NAMES)}.{_digits(source, 6)}@{source.choice(_SITES)}.example"


def _domain(source: random.Random) -> str:
    return f"{source.choice(_SITES)}-{_digits(source, 6)}.{source.choice(_NAMES)}.example"


def _ip(source: random.Random) -> str:
    draw = source.random()
    if draw < 0.5:
        return str(ipaddress.IPv4Address((198 << 24 | 18 << 16) + source.getrandbits(17)))
    if draw < 0.52:
        return f"{source.choice(('192.0.2', '198.51.100', '203.0.113'))}.{source.randrange(256)}"
    return str(ipaddress.IPv6Address((0x20010DB8 << 96) + source.getrandbits(96)))


def _device(source: random.Random) -> str:
    digits = source.randbytes(16).hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _wallet(source: random.Random) -> str:
    draw, digest = source.random(), source.randbytes(20)
    if draw < 0.5:
        return f"eth/0x{digest.hex()}"
    if draw < 0.65:
        return f"btc/{base58.encode_check(bytes(1) + digest)}"
    if draw < 0.8:
        return f"btc/{bech32.encode('bc', [0, *bech32.from_bytes(digest)])}"
    return f"trx/{base58.encode_check(bytes((0x41,)) + digest)}"


def _merchant(source: random.Random) -> str:
    draw = source.random()
    if draw < 0.5:
        return f"unionpay/{_digits(source, 15)}"
    if draw < 0.75:
        return f"alipay/2088{_digits(source, 12)}"
    return f"wechatpay/1{_digits(source, 9)}"


_MAKERS: Mapping[str, Callable[[random.Random], str]] = MappingProxyType(
    {
        "phone": _phone,
        "bank_card": _bank_card,
        "cn_id": _cn_id,
        "uscc": _uscc,
        "account": _account,
        "iban": _iban,
        "email": _email,
        "domain": _domain,
        "ip": _ip,
        "device": _device,
        "wallet": _wallet,
        "merchant": _merchant,
    }
)

GENERATED_TYPES: tuple[str, ...] = tuple(_MAKERS)
"""Every type but `canary`, which is the network's own."""


def stream(seed: int, types: Sequence[str] = GENERATED_TYPES) -> Iterator[Identifier]:
    """Give identifiers without end, types in turn; the same for the same seed and types.

    Repeats are possible. Raises ValueError for no type, or one that is not in `GENERATED_TYPES`.
    """
    unknown = [type_ for type_ in types if type_ not in _MAKERS]
    if unknown or not types:
        raise ValueError(f"generated types are {', '.join(GENERATED_TYPES)}")
    return _stream(seed, tuple(types))


def _stream(seed: int, types: tuple[str, ...]) -> Iterator[Identifier]:
    # The seed is hashed, so that neighbouring seeds give unrelated lists.
    source = random.Random(hashlib.sha256(b"riskshare generate %d" % seed).digest())  # noqa: S311 - fiction, no secret
    while True:
        for type_ in types:
            yield _one(source, type_)


def _one(source: random.Random, type_: str) -> Identifier:
    """Draw until the draw is valid: of phone numbers, not all of a range are assigned."""
    while True:
        try:
            return make(type_, _MAKERS[type_](source))
        except IdentifierError:
            continue


def generate(
    seed: int,
    count: int,
    types: Sequence[str] = GENERATED_TYPES,
    *,
    exclude: Container[Identifier] = frozenset(),
) -> list[Identifier]:
    """Make `count` distinct identifiers, types in turn, none of them in `exclude`.

    The same arguments give the same list, in the same order. Every type has room for at least
    100,000. Two lists without overlap: give the first as a set as `exclude` of the second.

    Raises:
        ValueError: a type that cannot be generated, or none.

    """
    found: dict[Identifier, None] = {}
    for identifier in stream(seed, types):
        if len(found) >= count:
            break
        if identifier not in exclude:
            found[identifier] = None
    return list(found)
