"""Telephone numbers: E.164, as `phonenumbers` (Google's libphonenumber metadata) reads them.

A check or a list names a number with `+` and calling code; blanks, `-`, `.` and
parentheses are left out. A trunk prefix is accepted only in parentheses, as people
write it (`+44 (0)20 …`); elsewhere it is refused, since leaving out digits of what
somebody wrote may name somebody else. Extensions and letters are refused.

The library takes 50 to 100 µs a number, too slow for lists of millions. So its metadata
is compiled, calling code by calling code at first use, into one regular expression that
matches exactly the national numbers that the library finds valid and reads unchanged.
What it does not match goes to the library, which decides and gives the reason.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache

import phonenumbers
from phonenumbers import NumberParseException, PhoneMetadata, PhoneNumberFormat
from phonenumbers.phonemetadata import PhoneNumberDesc
from phonenumbers.phonenumberutil import COUNTRY_CODE_TO_REGION_CODE

from riskshare.errors import IdentifierError

_SEPARATORS = str.maketrans("", "", " -.()")
_DIGITS = re.compile(r"\+?[0-9]+")
_TRUNK = re.compile(r"\(([0-9])\)")
_NON_GEOGRAPHIC = "001"
_NEVER = re.compile(r"(?!)")
_TYPES = (
    "mobile",
    "fixed_line",
    "premium_rate",
    "toll_free",
    "shared_cost",
    "voip",
    "personal_number",
    "pager",
    "uan",
    "voicemail",
)
"""The descriptions that make a number valid, as in `phonenumberutil._number_type_helper`; any one does, so the most
frequent come first."""


def phone(value: str, region: str | None = None) -> str:
    """Normalise a telephone number to E.164.

    `region` (ISO 3166 alpha-2) reads a number without `+` as if dialled there; it is
    for importing only.

    Raises:
        IdentifierError: `characters`, `length`, `no_country_code`, `country_code`,
            `trunk_prefix`, `not_assigned`, `region`.

    """
    digits = value.translate(_SEPARATORS)
    if _DIGITS.fullmatch(digits) is None or value[0] not in "+(0123456789" or value[-1] not in "0123456789":
        raise _refused(
            "characters", "A phone number has digits, one leading + and blanks, hyphens, dots or parentheses only."
        )
    if digits[0] == "+":
        return _international(value, digits)
    if region is None:
        raise _refused("no_country_code", "The phone number does not begin with +. Write it with its country code.")
    return _national(value, digits, region)


def is_plainly_assigned(digits: str) -> bool:
    """Tell whether the library certainly reads `+digits` as a valid number and leaves out no digit.

    `digits` are ASCII digits: calling code and national number. False means: ask the library.
    """
    for size in (1, 2, 3):
        pattern = _pattern(digits[:size])
        if pattern is not None:
            return pattern.match(digits, size) is not None
    return False


def _international(value: str, digits: str) -> str:
    if is_plainly_assigned(digits[1:]):
        return digits
    canonical = _library(value, None)
    if canonical != digits:
        for trunk in _TRUNK.finditer(value):
            shorter = (value[: trunk.start()] + value[trunk.end() :]).translate(_SEPARATORS)
            if shorter == canonical:
                return _international(canonical, canonical)
        raise _refused(
            "trunk_prefix", "The phone number holds a prefix for dialling inside the country. Write it as E.164."
        )
    return canonical


def _national(value: str, digits: str, region: str) -> str:
    plan = _plan(region)
    if plan is None:
        raise _refused("region", "There is no such region. Name a country by its two letters, such as CN or US.")
    code, prefixed, removable = plan
    if prefixed.match(digits) is None and is_plainly_assigned(code + digits):
        return f"+{code}{digits}"
    canonical = _library(value, region)
    number = canonical[1 + len(code) :] if canonical.startswith(f"+{code}") else canonical[1:]
    # Where the library took off two prefixes, it guessed: `1 1 405 …` may be Oklahoma, or Romania dialled badly.
    if digits.endswith(number) and removable.fullmatch(digits[: len(digits) - len(number)]) is None:
        raise _refused(
            "trunk_prefix", "The phone number begins with more than one dialling prefix. Write it with + as E.164."
        )
    return _international(canonical, canonical)


def _library(value: str, region: str | None) -> str:
    """Let the library read `value`; its errors hold the text, so none of them is chained."""
    number, kind = None, 0
    try:
        number = phonenumbers.parse(value, region)
    except NumberParseException as error:
        kind = error.error_type
    if number is None:
        if kind == NumberParseException.INVALID_COUNTRY_CODE:
            raise _refused("country_code", "No country has this calling code. Check the digits after the +.")
        raise _length()
    if not phonenumbers.is_possible_number(number):
        raise _length()
    if not phonenumbers.is_valid_number(number):
        raise _refused("not_assigned", "The numbering plan of this country has no such phone number.")
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)


def _length() -> IdentifierError:
    return _refused("length", "The phone number has too few or too many digits for its country.")


def _refused(reason: str, sentence: str) -> IdentifierError:
    return IdentifierError("phone", reason, sentence)


@cache
def _plan(region: str) -> tuple[str, re.Pattern[str], re.Pattern[str]] | None:
    """What a number dialled in `region` may begin with.

    Returns the calling code; what makes the library take digits off; what of that we let it take.
    """
    metadata = PhoneMetadata.metadata_for_region(region, None)
    if metadata is None:
        return None
    code = str(metadata.country_code)
    dialled_out = metadata.international_prefix or "(?!)"
    trunk = metadata.national_prefix_for_parsing or "(?!)"
    return (
        code,
        re.compile(f"{code}|(?:{dialled_out})|(?:{trunk})"),
        re.compile(f"(?:{code})?|(?:{trunk})|(?:{dialled_out})(?:{code})?"),
    )


@lru_cache(maxsize=2048)
def _pattern(calling_code: str) -> re.Pattern[str] | None:
    """Compile the numbering plan of a calling code from the library's metadata.

    The expression stands for the library's order of decisions: the first region that
    claims the number (by its leading digits, or by one of its patterns) decides. A
    number from which parsing would strip a national prefix does not match.
    """
    if calling_code[:1] in ("", "0"):
        return None
    regions = COUNTRY_CODE_TO_REGION_CODE.get(int(calling_code))
    if regions is None:
        return None
    plans = [_metadata(region, int(calling_code)) for region in regions]
    choices: list[str] = []
    claimed: list[str] = []
    for plan in plans:
        if plan is None:
            continue
        leading = plan.leading_digits if len(plans) > 1 else None
        earlier = f"(?!{'|'.join(claimed)})" if claimed else ""
        mine = f"(?={leading})" if leading else ""
        if valid := _valid(plan):
            choices.append(f"{earlier}{mine}{valid}")
        if leading:
            claimed.append(f"(?:{leading})")
    if not choices or plans[0] is None:
        return _NEVER
    stripped = plans[0].national_prefix_for_parsing
    guard = f"(?!{stripped})" if stripped else ""
    return re.compile(rf"{guard}(?:{'|'.join(choices)})\Z")


def _metadata(region: str, code: int) -> PhoneMetadata | None:
    if region == _NON_GEOGRAPHIC:
        return PhoneMetadata.metadata_for_nongeo_region(code, None)
    return PhoneMetadata.metadata_for_region(region, None)


def _valid(plan: PhoneMetadata) -> str:
    """A pattern for the ways in which a national number is valid in `plan`, "" if there is none."""
    general = _described(plan.general_desc)
    ways = dict.fromkeys(filter(None, (_described(getattr(plan, name)) for name in _TYPES)))
    return rf"(?={general}\Z)(?:{'|'.join(ways)})" if general is not None and ways else ""


def _described(description: PhoneNumberDesc | None) -> str | None:
    """One description as a pattern: possible lengths first, as in `_is_number_matching_desc`."""
    if description is None or not description.national_number_pattern:
        return None
    pattern = f"(?:{description.national_number_pattern})"
    if not description.possible_length:
        return pattern
    # The metadata say -1 for "numbers of this kind do not exist".
    lengths = [rf"\d{{{size}}}\Z" for size in description.possible_length if size > 0]
    return f"(?={'|'.join(lengths)}){pattern}" if lengths else None
