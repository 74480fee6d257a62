"""Where money is kept: card numbers, accounts at an institution, IBANs."""

from __future__ import annotations

import re

from stdnum import bic
from stdnum import iban as bank_account
from stdnum.exceptions import InvalidChecksum, InvalidComponent, ValidationError

from riskshare.errors import IdentifierError

_SEPARATORS = str.maketrans("", "", " -")
_DIGITS = re.compile(r"[0-9]+")
_TWICE = bytes.maketrans(b"0123456789", b"\x00\x02\x04\x06\x08\x01\x03\x05\x07\x09")
_ONCE = bytes.maketrans(b"0123456789", bytes(range(10)))
_ACCOUNT = re.compile(r"[0-9A-Z]+")
_CNAPS = re.compile(r"[0-9]{12}")
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[0-9A-Z]+")


def bank_card(value: str) -> str:
    """Normalise a card number (ISO/IEC 7812 PAN): 12 to 19 digits, verified by Luhn.

    Blanks and hyphens are left out.

    Raises:
        IdentifierError: `characters`, `length`, `placeholder`, `check_digit`.

    """
    digits = value.translate(_SEPARATORS)
    if _DIGITS.fullmatch(digits) is None:
        raise IdentifierError("bank_card", "characters", "A card number has digits, blanks and hyphens only.")
    if not 12 <= len(digits) <= 19:
        raise IdentifierError("bank_card", "length", "A card number has 12 to 19 digits.")
    if not digits.strip("0"):
        raise IdentifierError("bank_card", "placeholder", "The card number has only zeros. Leave it out instead.")
    if not luhn_holds(digits):
        raise IdentifierError(
            "bank_card", "check_digit", "The check digit of the card number does not fit. Compare the digits."
        )
    return digits


def luhn_holds(digits: str) -> bool:
    """Check the Luhn digit (ISO/IEC 7812-1 annex B) of ASCII digits.

    The same as `stdnum.luhn.is_valid`, several times as fast.
    """
    backwards = digits[::-1].encode()
    return (sum(backwards[::2].translate(_ONCE)) + sum(backwards[1::2].translate(_TWICE))) % 10 == 0


def account(value: str) -> str:
    """Normalise `<institution code>/<account number>`, upper case, no separators.

    The institution is a BIC (ISO 9362) or a CNAPS number of 12 digits. Of a BIC the first
    eight characters name the institution: the branch `XXX`, which means the head office,
    is left out; another branch is refused, as only the writer knows whether the
    account number is the branch's own. The account number has 4 to 34 letters and
    digits, a digit among them; blanks and hyphens are left out, leading zeros kept.

    Raises:
        IdentifierError: `form`, `characters`, `institution`, `length`, `placeholder`.

    """
    institution, slash, number = value.partition("/")
    if not slash or "/" in number:
        raise IdentifierError("account", "form", "Write an account as institution/number, with one slash.")
    code = _institution(institution.translate(_SEPARATORS).upper())
    number = number.translate(_SEPARATORS).upper()
    if number and _ACCOUNT.fullmatch(number) is None:
        raise IdentifierError(
            "account", "characters", "An account number has letters, digits, blanks and hyphens only."
        )
    if not 4 <= len(number) <= 34:
        raise IdentifierError("account", "length", "An account number has 4 to 34 letters and digits.")
    if number.isalpha():
        raise IdentifierError("account", "form", "The account number has no digit. Behind the slash stands the number.")
    if not number.strip("0"):
        raise IdentifierError("account", "placeholder", "The account number has only zeros. Leave it out instead.")
    return f"{code}/{number}"


def _institution(code: str) -> str:
    if _CNAPS.fullmatch(code) is not None and code.strip("0"):
        return code
    if len(code) == 11 and code.endswith("XXX"):
        code = code[:8]
    if len(code) != 8 or not bic.is_valid(code):
        raise IdentifierError(
            "account", "institution", "Before the slash stands a BIC of 8 characters or a CNAPS number of 12 digits."
        )
    return code


def iban(value: str) -> str:
    """Normalise an IBAN (ISO 13616): compact, upper case, verified by `stdnum.iban`.

    Blanks and hyphens are left out. Checked are the check digits, the country's form and,
    where `stdnum` knows them, the country's own check digits. Check digits 00, 01 and 99 are
    refused: they satisfy the same congruence as 97, 98 and 02, the only ones that ISO 7064
    generates, and would spell one account twice.

    Raises:
        IdentifierError: `characters`, `form`, `length`, `check_digit`, `region`.

    """
    compact = value.translate(_SEPARATORS).upper()
    if not compact.isalnum():
        raise IdentifierError("iban", "characters", "An IBAN has letters, digits, blanks and hyphens only.")
    if not 15 <= len(compact) <= 34:
        raise IdentifierError("iban", "length", "An IBAN has 15 to 34 characters.")
    if _IBAN.fullmatch(compact) is None:
        raise IdentifierError("iban", "form", "An IBAN begins with two letters of a country and two check digits.")
    refusal = _iban_fault(compact)
    if refusal is not None:
        raise refusal
    return compact


def _iban_fault(compact: str) -> IdentifierError | None:
    if not "02" <= compact[2:4] <= "98":
        return IdentifierError("iban", "check_digit", "The check digits of an IBAN lie between 02 and 98.")
    try:
        bank_account.validate(compact)
    except InvalidChecksum:
        return IdentifierError(
            "iban", "check_digit", "The check digits of the IBAN do not fit. Compare it with the original."
        )
    except InvalidComponent:
        return IdentifierError(
            "iban", "region", "The IBAN begins with no country, or names a bank that its country does not have."
        )
    except ValidationError:
        return IdentifierError("iban", "form", "The IBAN has not the length and form that its country uses.")
    return None
