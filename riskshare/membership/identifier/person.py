"""Chinese identity numbers: of a resident (GB 11643) and of an organisation (GB 32100)."""

from __future__ import annotations

import datetime as dt
import re

from stdnum.cn import ric
from stdnum.cn import uscc as credit_code

from riskshare.errors import IdentifierError

_SEPARATORS = str.maketrans("", "", " -")
_RESIDENT = re.compile(r"[0-9]{17}[0-9X]")
_RESIDENT_OLD = re.compile(r"[0-9]{15}")
_PROVINCES = re.compile(r"1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3]")
"""Provinces of GB/T 2260; 81 to 83 begin the numbers of residents from Hong Kong, Macao and Taiwan."""

_CENTENARIANS = frozenset(("996", "997", "998", "999"))
_ORGANISATION = re.compile(r"[1-9ANY][0-9]{7}[0-9A-HJ-NP-RTUW-Y]{10}")
_UPPER_ALPHANUMERIC = re.compile(r"[0-9A-Z]*")


def cn_id(value: str) -> str:
    """Normalise a resident identity number to 18 characters, `X` upper case.

    Blanks and hyphens are left out. A 15-digit number (until 1999) gets its century, 19,
    and its check digit; order codes 996 to 999 stood for people then over a hundred, so
    their century is open and they are refused.

    Checked are the check digit (ISO 7064 MOD 11-2, `stdnum.cn.ric`), the date of birth
    and the province. Not the county: a number keeps the code of the county where it was
    issued, which may have been founded after the birth, and no table is complete
    (python-stdnum issue 442); its `validate` refuses such people, and fails with KeyError
    on some codes. Numbers of foreigners with permanent residence (2023 form: 9, province,
    country) count as well.

    Raises:
        IdentifierError: `characters`, `length`, `date`, `region`, `check_digit`.

    """
    number = value.translate(_SEPARATORS).upper()
    if len(number) == 15:
        number = _convert(number)
    if len(number) != 18:
        raise _refused("length", "A resident identity number has 18 characters, or 15 digits in its old form.")
    if _RESIDENT.fullmatch(number) is None:
        raise _refused("characters", "A resident identity number has digits only; its last character may be X.")
    if _PROVINCES.match(number, 1 if number[0] == "9" else 0) is None:
        raise _refused("region", "The resident identity number begins with no code of a province.")
    if not _is_date(number[6:14]):
        raise _refused("date", "The date of birth in the resident identity number does not exist.")
    if ric.calc_check_digit(number) != number[17]:
        raise _refused(
            "check_digit", "The check digit of the resident identity number does not fit. Compare the digits."
        )
    return number


def _convert(number: str) -> str:
    if _RESIDENT_OLD.fullmatch(number) is None:
        raise _refused("characters", "A resident identity number of 15 characters has digits only.")
    if number[12:] in _CENTENARIANS:
        raise _refused("date", "The century of birth is open in this 15-digit number. Give the 18-digit number.")
    longer = f"{number[:6]}19{number[6:]}0"
    return longer[:17] + ric.calc_check_digit(longer)


def _is_date(text: str) -> bool:
    if not "1800" <= text[:4] <= "2099":
        return False
    try:
        dt.date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return False
    return True


def _refused(reason: str, sentence: str) -> IdentifierError:
    return IdentifierError("cn_id", reason, sentence)


def uscc(value: str) -> str:
    """Normalise a unified social credit code to 18 characters, upper case.

    Blanks and hyphens are left out. The first character names the registering authority;
    besides digits there are A (military), N (rural collectives) and Y (others) since
    Amendment 1 of GB 32100-2015, which `stdnum.cn.uscc.validate` does not know. The check
    character is its `calc_check_digit`.

    Raises:
        IdentifierError: `characters`, `length`, `form`, `check_digit`.

    """
    code = value.translate(_SEPARATORS).upper()
    if _UPPER_ALPHANUMERIC.fullmatch(code) is None:
        raise IdentifierError("uscc", "characters", "A unified social credit code has letters and digits only.")
    if len(code) != 18:
        raise IdentifierError("uscc", "length", "A unified social credit code has 18 characters.")
    if _ORGANISATION.fullmatch(code) is None:
        raise IdentifierError(
            "uscc",
            "form",
            "A unified social credit code begins with an authority and seven digits, and has no I, O, S, V or Z.",
        )
    if credit_code.calc_check_digit(code) != code[17]:
        raise IdentifierError(
            "uscc", "check_digit", "The check character of the unified social credit code does not fit."
        )
    return code
