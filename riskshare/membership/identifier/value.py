"""The value that every other part of riskshare handles, and the words for refusing one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

from riskshare.errors import IdentifierError

NORMALISATION = 1
"""Version of the rules of this package; every snapshot names it.

Change what any spelling normalises to, and this number must grow.
"""

MAX_BYTES = 256
"""Longest `type:value`, in UTF-8 bytes, as given and as canonical."""

REASONS: Mapping[str, str] = MappingProxyType(
    {
        "no_type": "there is no colon, so no type",
        "unknown_type": "the word before the colon is not a type of this version",
        "empty": "there is no value",
        "too_long": "more than 256 characters as given, or bytes once normalised",
        "invisible": "a control, bidirectional, zero-width, private or unassigned character",
        "characters": "a character that the type does not have",
        "form": "the parts of the value are not where they belong, or one is missing",
        "length": "too short or too long for its type",
        "check_digit": "the check digits or the checksum do not fit",
        "placeholder": "only zeros: it names nothing",
        "no_country_code": "a phone number that does not begin with +",
        "country_code": "no country has this calling code",
        "trunk_prefix": "a prefix for dialling inside a country stands in the number",
        "not_assigned": "the numbering plan has no such number",
        "region": "no such region, province or country",
        "date": "the date of birth does not exist, or its century is open",
        "institution": "neither a BIC nor a CNAPS number",
        "label": "a part of the domain between dots is malformed",
        "top_level": "the domain is a single label, or its last label cannot be a top-level domain",
        "ip_literal": "an address stands where a domain belongs",
        "scope": "an IPv6 address with a zone, which means something on one machine only",
        "chain": "the chain is not in the table of version 1",
        "address": "not an address of this chain",
        "scheme": "the scheme is not in the table of version 1",
        "reserved": "canaries are the network's own",
    }
)
"""Every `reason` that an IdentifierError of this package can carry, with its meaning. Stable words."""

_WHITE_SPACE = " \t\r\n"

_BLANK_LETTERS = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""What draws nothing although its category is letter, mark or symbol (Default_Ignorable_Code_Point, and braille blank).

The others of that property are of category Cf or Cn, which `str.isprintable` finds.
"""


@final
@dataclass(frozen=True, slots=True, repr=False)
class Identifier:
    """One normalised identifier; only `parse` and `make` build them, and `stored` again.

    `type` is a word of `TYPES`, `value` the canonical value. Two identifiers are equal
    exactly when they name the same thing. The value is in no `repr` and no `str`.
    """

    type: str
    value: str

    @property
    def canonical(self) -> str:
        """The text `type:value`, at most 256 bytes in UTF-8."""
        return f"{self.type}:{self.value}"

    @property
    def oprf_input(self) -> bytes:
        """What goes into the OPRF: the canonical text in UTF-8."""
        return f"{self.type}:{self.value}".encode()

    def __repr__(self) -> str:
        return f"<{self.type} …>"


def clean(text: str, type: str, room: int = MAX_BYTES) -> str:  # noqa: A002 - the field's own word
    """NFKC and trim `text`, at most `room` bytes, and refuse what cannot be seen.

    White space at the ends (blank, tab, CR, LF, and what NFKC turns into a blank) goes;
    any control, bidirectional or zero-width character that remains is refused, as a
    person could not see in what two spellings differ.

    Raises:
        IdentifierError: `empty`, `too_long`, `invisible`.

    """
    if len(text) > room:
        raise too_long(type)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    text = text.strip(_WHITE_SPACE)
    if not text:
        raise IdentifierError(type, "empty", "The identifier is empty. Give it as type:value.")
    if not text.isprintable() or not (text.isascii() or _BLANK_LETTERS.search(text) is None):
        raise IdentifierError(
            type,
            "invisible",
            "The identifier has a control, bidirectional or zero-width character. Type it anew instead of pasting it.",
        )
    if not text.isascii() and len(text.encode()) > room:
        raise too_long(type)
    return text


def too_long(type: str) -> IdentifierError:  # noqa: A002 - the field's own word
    """Refusal of an identifier that is too long."""
    return IdentifierError(type, "too_long", f"The identifier is longer than {MAX_BYTES} bytes. Shorten it.")
