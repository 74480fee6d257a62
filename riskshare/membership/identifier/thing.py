"""What has an opaque name: devices, merchants, and the network's own canaries."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from riskshare.errors import IdentifierError

_DEVICE = re.compile(r"[ -~]+")
_CANARY = re.compile(r"[0-9a-f]{32}")
_FILLERS = " 0-:.{}"

SCHEMES: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "unionpay": re.compile(r"[0-9A-Z]{15}"),  # ISO 8583 field 42: institution, region, MCC, number
        "visa": re.compile(r"[0-9A-Z]{1,15}"),  # ISO 8583 field 42, card acceptor identification code
        "mastercard": re.compile(r"[0-9A-Z]{1,15}"),
        "jcb": re.compile(r"[0-9A-Z]{1,15}"),
        "amex": re.compile(r"[0-9]{10}"),  # service establishment number
        "discover": re.compile(r"[0-9]{15}"),
        "alipay": re.compile(r"2088[0-9]{12}"),  # partner identity
        "wechatpay": re.compile(r"[0-9]{8,10}"),  # mchid
        "jdpay": re.compile(r"[0-9]{8,18}"),
        "paypal": re.compile(r"[2-9A-HJ-NP-Z]{13}"),  # secure merchant account
        "stripe": re.compile(r"acct_[0-9A-Za-z]{16,24}"),
    }
)
"""Schemes of version 1, each with the form of its merchant numbers."""

_CASE_KEPT = frozenset(("stripe",))


def device(value: str) -> str:
    """Check a device identifier: 8 to 128 printable ASCII characters, case kept.

    It is opaque: an IMEI, an advertising identity, a fingerprint. One with only zeros,
    as systems give where tracking is switched off, is refused: it would be everyone's.

    Raises:
        IdentifierError: `characters`, `length`, `placeholder`.

    """
    if _DEVICE.fullmatch(value) is None:
        raise IdentifierError("device", "characters", "A device identifier has printable ASCII characters only.")
    if not 8 <= len(value) <= 128:
        raise IdentifierError("device", "length", "A device identifier has 8 to 128 characters.")
    if not value.strip(_FILLERS):
        raise IdentifierError("device", "placeholder", "The device identifier has only zeros, so it names no device.")
    return value


def merchant(value: str) -> str:
    """Normalise `<scheme>/<id>`: a merchant number within a payment scheme of `SCHEMES`.

    The scheme becomes lower case; the number upper case, except for `stripe`, whose
    numbers differ by case. Nothing is left out of it: leading zeros count.

    Raises:
        IdentifierError: `form`, `scheme`, `characters`, `length`, `placeholder`.

    """
    scheme, slash, number = value.partition("/")
    if not slash or not number:
        raise IdentifierError("merchant", "form", "Write a merchant as scheme/number.")
    scheme = scheme.lower()
    pattern = SCHEMES.get(scheme)
    if pattern is None:
        raise IdentifierError(
            "merchant", "scheme", f"There is no such scheme. Use one of: {', '.join(sorted(SCHEMES))}."
        )
    if scheme not in _CASE_KEPT:
        number = number.upper()
    if pattern.fullmatch(number) is None:
        raise IdentifierError("merchant", "form", "The merchant number has not the form that its scheme uses.")
    if not number.strip("0"):
        raise IdentifierError("merchant", "placeholder", "The merchant number has only zeros. Leave it out instead.")
    return f"{scheme}/{number}"


def canary(value: str) -> str:
    """Check a canary: 32 lower-case hex digits, in their one spelling.

    Raises:
        IdentifierError: `form`.

    """
    if _CANARY.fullmatch(value) is None:
        raise IdentifierError("canary", "form", "A canary has 32 lower-case hex digits.")
    return value
