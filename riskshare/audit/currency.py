"""How many digits a currency's amounts have behind the point (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_BY_DIGITS: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}

MINOR_DIGITS: Final[Mapping[str, int]] = MappingProxyType(
    {currency: digits for digits, currencies in _BY_DIGITS.items() for currency in currencies.split()}
)
"""The currencies whose minor unit is not a hundredth (ISO 4217:2015, list one)."""


def minor_digits(currency: str) -> int:
    """Digits of the currency's minor unit (ISO 4217): 2 for CNY, 0 for JPY, 3 for KWD."""
    return MINOR_DIGITS.get(currency, 2)
