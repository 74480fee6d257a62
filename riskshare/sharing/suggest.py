"""What to write instead of a cell that was refused, where that is certain. Rules only.

A level, a date, a number of days and a type are no identifiers, and are written out. Of an identifier nothing is
repeated: for it there are instructions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from types import MappingProxyType
from typing import Final

from riskshare.membership.identifier import TYPES
from riskshare.membership.record import LEVELS

TYPE_WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "tel": "phone",
        "telephone": "phone",
        "telefon": "phone",
        "mobile": "phone",
        "msisdn": "phone",
        "phone number": "phone",
        "phone_number": "phone",
        "card": "bank_card",
        "bankcard": "bank_card",
        "pan": "bank_card",
        "card number": "bank_card",
        "card_number": "bank_card",
        "mail": "email",
        "e-mail": "email",
        "mailto": "email",
        "ip address": "ip",
        "ip_address": "ip",
        "ipv4": "ip",
        "ipv6": "ip",
        "id_card": "cn_id",
        "bank account": "account",
        "hostname": "domain",
    }
)
"""What people write, and the type that they mean."""

_DAY_FIRST = re.compile(r"([0-9]{1,2})([./-])([0-9]{1,2})\2([0-9]{4})")
_YEAR_FIRST = re.compile(r"([0-9]{4})[./]?([0-9]{1,2})[./]?([0-9]{1,2})")
_WHOLE_DAYS = re.compile(r"([1-9][0-9]{0,3})(?:[.,]0+)? ?(?:d|days?)?", re.IGNORECASE)
_SECONDS = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8})(?:\.[0-9]+)?(?:Z|\+00:00)")
_SHORTENED = re.compile(r"[0-9]+(?:[.,][0-9]+)?[eE]\+?[0-9]+")
_POINT_ZERO = re.compile(r"\+?[0-9]+[.,]0+")


def for_own(name: str, text: str) -> str:
    """What to write instead in a row's own column `name`; "" if nothing is certain."""
    if name == "level":
        return text.lower() if text.lower() in LEVELS else ""
    if name == "days":
        found = _WHOLE_DAYS.fullmatch(text)
        return found[1] if found else ""
    if name == "valid_until":
        return _date(text)
    return ""


def _date(text: str) -> str:
    if found := _SECONDS.fullmatch(text):
        return f"{found[1]}.000Z"
    if found := _YEAR_FIRST.fullmatch(text):
        year, month, day = found[1], found[2], found[3]
    elif found := _DAY_FIRST.fullmatch(text):
        day, month, year = found[1], found[3], found[4]
        # With dots the day comes first everywhere; with others that is certain only where it can be no month.
        if found[2] != "." and int(day) <= 12 and day != month:
            return ""
    else:
        return ""
    try:
        return date(int(year), int(month), int(day)).isoformat()
    except ValueError:
        return ""


def for_identifier(reason: str, type_: str, text: str, *, whole: bool, region: bool) -> str:
    """What to do about an identifier that was refused for `reason`; "" if nothing is certain.

    `type_` is the type that it was read as, "" if the text begins with it (`whole`); `region` tells whether a region
    was given for phone numbers. Nothing of the text is repeated but the word for a type.
    """
    if reason == "no_type":
        return "name the type of all values with --type, or write type:value"
    if reason == "unknown_type":
        word = (text.partition(":")[0] if whole else type_).strip().lower()
        meant = TYPE_WORDS.get(word, word if word in TYPES and word != "canary" else "")
        return (f"write {meant}: in place of the type" if whole else f"write {meant}") if meant else ""
    value = text.partition(":")[2] if whole else text
    return _of_value(reason, (text.partition(":")[0].strip() if whole else type_), value.strip(), region=region)


def _of_value(reason: str, type_: str, value: str, *, region: bool) -> str:
    if _SHORTENED.fullmatch(value) and type_ != "device":
        return "the spreadsheet has lost digits: format the column as text, and export it again"
    if _POINT_ZERO.fullmatch(value) and type_ in ("phone", "bank_card", "cn_id"):
        return "leave out the decimal point and the zero behind it: format the column as text"
    if value.startswith("'"):
        return "leave out the apostrophe in front"
    if type_ == "phone" and value.startswith("00") and reason != "region":
        return "write + in place of the leading 00"
    if reason == "no_country_code" and not region:
        return "name the country of such numbers with --region, or write + and the country code"
    if type_ == "email" and value.lower().startswith("mailto:"):
        return "leave out mailto:"
    if type_ == "domain" and "//" in value:
        return "write the host name alone, without scheme and path"
    return ""


def for_width(found: int, expected: int) -> str:
    """What to do about a row of another width than the first line."""
    return "put a text that holds a comma into quotes" if found > expected else ""
