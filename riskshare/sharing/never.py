"""The never-list: what may stand on no list of this member. Rules only.

A rule is one identifier, a *prefix* of identifiers, or a *range* of phone numbers. What a prefix means depends on
its type:

    phone:+86400            all numbers that begin so
    bank_card:622202        all cards of that issuer (BIN), 4 to 11 digits
    account:102100099996/   all accounts of that institution; or those that begin so: account:102100099996/0200
    iban:DE/37040044        all accounts of that bank, whatever their check digits
    domain:example.com      that domain, all below it, and all e-mail addresses at any of them

    range phone:+18005550100-+18005550199    both ends included, of one length

Values are canonical, as `membership.identifier` makes them. They are in no `repr` and in no message.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final, Literal, final

from riskshare.encoding import canonical_json, sha256
from riskshare.errors import IdentifierError, InputError
from riskshare.membership.identifier import Identifier, make, parse

RuleKind = Literal["exact", "prefix", "range"]

NOTE_BYTES: Final = 200

_PREFIXES: Final = {
    "phone": (re.compile(r"\+[1-9][0-9]{1,13}"), "phone:+ and 2 to 14 digits"),
    "bank_card": (re.compile(r"[0-9]{4,11}"), "bank_card: and 4 to 11 digits"),
    "account": (
        re.compile(r"(?:[0-9]{12}|[A-Z0-9]{8})/[A-Z0-9]{0,33}"),
        "account:INSTITUTION/ with a BIC of 8 characters or a CNAPS number, and as much of the number as you like",
    ),
    "iban": (re.compile(r"[A-Z]{2}/[A-Z0-9]{0,29}"), "iban:COUNTRY/BANK, without the check digits"),
}
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")


@final
@dataclass(frozen=True, slots=True)
class NeverRule:
    """One rule. `pattern` is a canonical value, a prefix as above without its type, or `first-last` of a range.

    `number` is 0 until the store gives one. `note` says why, and is shown to whoever meets the rule.
    """

    type: str
    kind: RuleKind
    pattern: str = field(repr=False)
    note: str = ""
    number: int = 0

    def __post_init__(self) -> None:
        """Refuse a note that cannot be shown. Raises InputError `note_invalid`."""
        if len(self.note.encode(errors="replace")) > NOTE_BYTES or not self.note.isprintable():
            raise InputError(
                f"A note has at most {NOTE_BYTES} bytes, on one line, without control characters.", code="note_invalid"
            )

    def refusal(self) -> str:
        """The sentence for whoever would list what the rule excludes. It holds no value."""
        what = {"exact": "This identifier is", "prefix": "All that begins so is", "range": "This range is"}
        why = f": {self.note}" if self.note else ""
        return (
            f"{what[self.kind]} on the never-list (rule {self.number}{why}). Leave it out, or see riskshare never list."
        )


def exact_rule(text: str, note: str = "") -> NeverRule:
    """The rule of one identifier, `type:value`. Raises IdentifierError, InputError `note_invalid`."""
    identifier = parse(text)
    return NeverRule(identifier.type, "exact", identifier.value, note)


def prefix_rule(text: str, note: str = "") -> NeverRule:
    """The rule of a prefix, `type:prefix`. Raises InputError `never_rule_invalid`, `note_invalid`."""
    type_, _, value = text.strip().partition(":")
    if type_ == "domain":
        return NeverRule(type_, "prefix", _domain(value), note)
    if type_ not in _PREFIXES:
        raise _invalid(
            f"A prefix is of the type {', '.join(_PREFIXES)} or domain. Name single identifiers of other types."
        )
    form, expected = _PREFIXES[type_]
    value = value.strip().upper()
    if form.fullmatch(value) is None:
        raise _invalid(f"This prefix is not of the form that its type has: {expected}.")
    return NeverRule(type_, "prefix", value, note)


def range_rule(text: str, note: str = "") -> NeverRule:
    """The rule of a range, `phone:+first-+last`. Raises InputError `never_rule_invalid`, `note_invalid`."""
    type_, _, value = text.strip().partition(":")
    first, dash, last = value.partition("-")
    if type_ != "phone" or not dash or _PHONE.fullmatch(first) is None or _PHONE.fullmatch(last) is None:
        raise _invalid("A range is written phone:+FIRST-+LAST, with 7 to 15 digits each and nothing between them.")
    if len(first) != len(last) or first > last:
        raise _invalid("A range goes from a lower to a higher number of as many digits.")
    return NeverRule(type_, "range", f"{first}-{last}", note)


def _domain(value: str) -> str:
    try:
        return make("domain", value.strip().removeprefix(".")).value
    except IdentifierError as error:
        reason = error.message
    raise _invalid(reason)


def _invalid(sentence: str) -> InputError:
    return InputError(sentence, code="never_rule_invalid")


_Heads = tuple[Sequence[int], dict[str, NeverRule]]
"""Lengths that prefixes of a type have, and the prefixes."""


@final
class NeverList:
    """All rules, ready to be asked. Pickled for worker processes; none of its values is in its `repr`.

    `upto` is the highest number of its rules: whoever holds rows against it says so when it writes them, and is
    refused if a rule was added since. `digest` names all of its rules, 32 bytes: one that is removed frees rows.
    """

    def __init__(self, rules: Iterable[NeverRule] = ()) -> None:
        self._exact: dict[tuple[str, str], NeverRule] = {}
        self._domains: dict[str, NeverRule] = {}
        prefixes: dict[str, dict[str, NeverRule]] = {}
        ranges: list[NeverRule] = []
        self.upto = 0
        rules = list(rules)
        self.digest = sha256(canonical_json({"rules": sorted(rule.number for rule in rules)}))
        for rule in sorted(rules, key=attrgetter("number"), reverse=True):
            self.upto = max(self.upto, rule.number)
            if rule.kind == "exact":
                self._exact[rule.type, rule.pattern] = rule
            elif rule.kind == "range":
                ranges.append(rule)
            elif rule.type == "domain":
                self._domains[rule.pattern] = rule
            else:
                prefixes.setdefault(rule.type, {})[_head(rule)] = rule
        self._prefixes: dict[str, _Heads] = {
            type_: (sorted({len(head) for head in heads}), heads) for type_, heads in prefixes.items()
        }
        self._ranges = _Ranges(ranges)
        self._empty = not (self._exact or self._domains or prefixes or ranges)

    def matching(self, identifier: Identifier) -> NeverRule | None:
        """The rule that keeps an identifier off every list, None if there is none."""
        if self._empty:
            return None
        type_, value = identifier.type, identifier.value
        found = self._exact.get((type_, value))
        if found is None and type_ in ("domain", "email"):
            found = self._domain_of(value.rpartition("@")[2])
        if found is None and type_ in self._prefixes:
            found = self._prefix_of(type_, value)
        if found is None and type_ == "phone":
            found = self._ranges.around(value)
        return found

    def _domain_of(self, host: str) -> NeverRule | None:
        while host:
            if (found := self._domains.get(host)) is not None:
                return found
            host = host.partition(".")[2]
        return None

    def _prefix_of(self, type_: str, value: str) -> NeverRule | None:
        # Behind an IBAN's country stand its two check digits, which no bank chooses.
        text = value[:2] + value[4:] if type_ == "iban" else value
        lengths, heads = self._prefixes[type_]
        for length in lengths:
            if (found := heads.get(text[:length])) is not None and length <= len(text):
                return found
        return None

    def __repr__(self) -> str:
        return f"NeverList(upto={self.upto})"


def _head(rule: NeverRule) -> str:
    return rule.pattern.replace("/", "", 1) if rule.type == "iban" else rule.pattern


class _Ranges:
    """Ranges of phone numbers, found by bisection; those of one length of number lie in one row."""

    def __init__(self, rules: Iterable[NeverRule]) -> None:
        rows: dict[int, list[tuple[str, str, NeverRule]]] = {}
        for rule in rules:
            first, _, last = rule.pattern.partition("-")
            rows.setdefault(len(first), []).append((first, last, rule))
        self._rows: dict[int, tuple[list[str], list[tuple[str, NeverRule]]]] = {}
        for length, row in rows.items():
            row.sort(key=lambda one: one[0])
            # Of all that begin no later, the one that ends last: if it does not reach a number, none does.
            reach: list[tuple[str, NeverRule]] = []
            for _, last, rule in row:
                reach.append(max(reach[-1], (last, rule), key=lambda one: one[0]) if reach else (last, rule))
            self._rows[length] = ([first for first, _, _ in row], reach)

    def around(self, value: str) -> NeverRule | None:
        """The range that a number lies in."""
        starts, reach = self._rows.get(len(value), ((), ()))
        at = bisect_right(starts, value)
        return reach[at - 1][1] if at and reach[at - 1][0] >= value else None
