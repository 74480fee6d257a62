r"""Files of rules for the never-list: one rule a line, or a MISP warning list in JSON. Rules only.

A line is `type:value`, `prefix type:prefix` or `range phone:+first-+last` (see `never`); what stands behind ` # ` is
the rule's note, and a line that begins with # is left out.

Of the warning lists of MISP (https://github.com/MISP/misp-warninglists) those of type *hostname* are read (each host
stands for itself and all below it, with or without the dot before it), and of type *regex* those about phone numbers.
No expression of a file is ever run: the one form that these lists use,

    /((?:\+|00)44)?01(13|14)4960([0-9]{3})/g        +44, then 01 as dialled inside the country

is taken apart and becomes ranges in E.164; whatever has another form is reported as not understood.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, product
from math import prod
from typing import Any, Final

import phonenumbers
from phonenumbers import PhoneNumber, ValidationResult

from riskshare.errors import IdentifierError, InputError
from riskshare.sharing.never import NOTE_BYTES, NeverRule, exact_rule, prefix_rule, range_rule

MAX_BYTES: Final = 64 * 1024 * 1024
MOST_RANGES: Final = 1000
"""Most ranges that one expression may become."""

_PHONES: Final = frozenset({"phone-number", "whois-registrant-phone"})
_EXPRESSION = re.compile(r"/\(\(\?:\\\+\|00\)([1-9][0-9]{0,2})\)\?((?:[0-9]|\([0-9|{}\[\]-]+\))+)/g?")
_PART = re.compile(r"[0-9]+|\([^()]+\)")
_ITEM = re.compile(r"\[([0-9])-([0-9])\](?:\{([1-9])\})?|([0-9])")
_ANY: Final = tuple("0123456789")


@dataclass(frozen=True, slots=True)
class BadRule:
    """A rule that is not understood: its line, or its place in a JSON list (from 1), and what was expected."""

    place: int
    message: str


def read_rules(data: bytes, note: str = "") -> Iterator[NeverRule | BadRule]:
    """Read a file of rules. Those without a note of their own get `note`, or the name of the warning list.

    Raises:
        InputError: `never_file_invalid`: too long, not UTF-8, or JSON that is no warning list of a type known here.

    """
    if len(data) > MAX_BYTES:
        raise _invalid(f"The file is longer than {MAX_BYTES // 2**20} MiB.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _invalid("The file is not UTF-8.") from error
    return _warning_list(text, note) if text.lstrip().startswith("{") else _lines(text, note)


def _invalid(sentence: str) -> InputError:
    return InputError(sentence, code="never_file_invalid")


def _lines(text: str, note: str) -> Iterator[NeverRule | BadRule]:
    for number, line in enumerate(text.splitlines(), 1):
        rule, _, own = line.partition(" # ")
        if rule.strip() and not rule.lstrip().startswith("#"):
            try:
                yield _rule(rule.strip(), own.strip() or note)
            except (IdentifierError, InputError) as error:
                yield BadRule(number, error.message)


def _rule(text: str, note: str) -> NeverRule:
    word, blank, rest = text.partition(" ")
    if blank and word == "prefix":
        return prefix_rule(rest, note)
    return range_rule(rest, note) if blank and word == "range" else exact_rule(text, note)


def _warning_list(text: str, note: str) -> Iterator[NeverRule | BadRule]:
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _invalid("The file begins as JSON and is none.") from error
    items, kind, attributes = found.get("list"), found.get("type"), found.get("matching_attributes", [])
    if not isinstance(items, list) or not isinstance(attributes, list):
        raise _invalid("The JSON is no warning list: it has no array list.")
    if kind not in ("hostname", "regex") or (kind == "regex" and not _PHONES & {str(one) for one in attributes}):
        raise _invalid("Of warning lists, those of type hostname are read, and of type regex those of phone numbers.")
    name = found.get("name")
    why = note or (_short(name) if isinstance(name, str) else "")
    return _read_each(items, why, hosts=kind == "hostname")


def _read_each(items: list[object], note: str, *, hosts: bool) -> Iterator[NeverRule | BadRule]:
    for place, item in enumerate(items, 1):
        if not isinstance(item, str):
            yield BadRule(place, "A text is expected.")
            continue
        try:
            found = [prefix_rule(f"domain:{item}", note)] if hosts else _ranges(item, note)
        except InputError as error:
            yield BadRule(place, error.message)
        else:
            yield from found


def _short(name: str) -> str:
    plain = "".join(letter for letter in name if letter.isprintable())
    return plain.encode()[:NOTE_BYTES].decode(errors="ignore")


def _ranges(expression: str, note: str) -> list[NeverRule]:
    """The ranges of one expression. Raises InputError: it has another form, or gives no numbers of E.164."""
    match = _EXPRESSION.fullmatch(expression)
    if match is None:
        raise _other_form()
    code, body = match.groups()
    parts = [_alternatives(part) for part in _PART.findall(body)]
    free = 0
    while parts and len(parts[-1]) == 1 and set(parts[-1][0]) == {_ANY}:
        free += len(parts.pop()[0])
    if prod(sum(prod(map(len, one)) for one in part) for part in parts) > MOST_RANGES:
        raise _other_form()
    heads = ["".join(digits) for chosen in product(*parts) for digits in product(*chain.from_iterable(chosen))]
    return [_range(code, head, free, note) for head in heads]


_Choices = tuple[tuple[str, ...], ...]
"""For each digit, which ones it may be."""


def _alternatives(part: str) -> list[_Choices]:
    """What one part of an expression may be: digits, or a group of alternatives."""
    return [_choices(text) for text in (part[1:-1].split("|") if part.startswith("(") else [part])]


def _choices(text: str) -> _Choices:
    found: list[tuple[str, ...]] = []
    at = 0
    while at < len(text):
        match = _ITEM.match(text, at)
        if match is None:
            raise _other_form()
        low, high, times, digit = match.groups()
        found += [(digit,)] if digit else [tuple(_ANY[int(low) : int(high) + 1])] * int(times or 1)
        at = match.end()
    if not found or not all(found):
        raise _other_form()
    return tuple(found)


def _range(code: str, head: str, free: int, note: str) -> NeverRule:
    """The numbers of a country that begin, as dialled there, with `head`, and have `free` more digits."""
    region = phonenumbers.region_code_for_country_code(int(code))
    trunk = phonenumbers.ndd_prefix_for_region(region, strip_non_digits=True) or ""
    national = head.removeprefix(trunk) if trunk == "0" else head
    first, last = national + "0" * free, national + "9" * free
    if not first.isdigit() or first.startswith("0") or not _is_possible(code, first) or not _is_possible(code, last):
        raise InputError(
            "The expression gives numbers that are not of a length that the country has.", code="never_rule_invalid"
        )
    return range_rule(f"phone:+{code}{first}-+{code}{last}", note)


def _is_possible(code: str, national: str) -> bool:
    number = PhoneNumber(country_code=int(code), national_number=int(national))
    return phonenumbers.is_possible_number_with_reason(number) == ValidationResult.IS_POSSIBLE


def _other_form() -> InputError:
    return InputError(
        "The expression has another form than those that are understood; write it as a prefix or a range.",
        code="never_rule_invalid",
    )
