"""From text to an Identifier: one table from the type to its rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from riskshare.errors import IdentifierError
from riskshare.membership.identifier import bank, network, person, phone, thing, wallet
from riskshare.membership.identifier.value import MAX_BYTES, Identifier, clean, too_long

_RULES: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        "phone": phone.phone,
        "cn_id": person.cn_id,
        "uscc": person.uscc,
        "bank_card": bank.bank_card,
        "account": bank.account,
        "iban": bank.iban,
        "email": network.email,
        "domain": network.domain,
        "ip": network.ip,
        "device": thing.device,
        "wallet": wallet.wallet,
        "merchant": thing.merchant,
        "canary": thing.canary,
    }
)

TYPES: tuple[str, ...] = tuple(_RULES)
"""The types of this version, in the order of the protocol page."""

_PUBLIC = tuple(type_ for type_ in TYPES if type_ != "canary")

_BEYOND_ASCII = frozenset(("email", "domain"))


def parse(text: str, *, position: int | None = None, allow_canary: bool = False) -> Identifier:
    """Read `type:value` and normalise it.

    `position` is where the identifier stands in a request (from 0) or a file (line, from
    1); an error carries it. Canaries are refused unless `allow_canary`.

    Raises:
        IdentifierError: with a reason of `REASONS`; it never holds the text.

    """
    try:
        type_, colon, value = text.partition(":")
        if not colon or type_ not in _RULES:
            type_, value = _split(text)
        return _normalise(type_, value, None, allow_canary=allow_canary)
    except IdentifierError as error:
        error.position = position
        raise


def stored(oprf_input: bytes) -> Identifier:
    """The identifier of which these are the bytes that went into the OPRF (`Identifier.oprf_input`).

    It was normalised when it was stored, and is not judged again: numbering plans change, and what stands on a list is
    what was listed.
    """
    type_, _, value = oprf_input.decode().partition(":")
    return Identifier(type_, value)


def make(
    type: str,  # noqa: A002 - the field's own word
    value: str,
    *,
    region: str | None = None,
    position: int | None = None,
    allow_canary: bool = False,
) -> Identifier:
    """Normalise a value of a known type, as `parse(f"{type}:{value}")` does.

    `region` (ISO 3166 alpha-2, capitals) reads phone numbers without `+` as if dialled
    there. It is for importing a file whose origin is known, never for a check.

    Raises:
        IdentifierError: with a reason of `REASONS`; it never holds the value.

    """
    try:
        if type not in _RULES:
            raise _unknown_type()
        return _normalise(type, value, region, allow_canary=allow_canary)
    except IdentifierError as error:
        error.position = position
        raise


def _split(text: str) -> tuple[str, str]:
    """Find the type in a text that does not begin with one: there may be blanks, or full-width letters."""
    type_, colon, value = clean(text, "").partition(":")
    if not colon:
        raise IdentifierError("", "no_type", "The identifier names no type. Write it as type:value.")
    if type_ not in _RULES:
        raise _unknown_type()
    return type_, value


def _unknown_type() -> IdentifierError:
    return IdentifierError("", "unknown_type", f"There is no such identifier type. Use one of: {', '.join(_PUBLIC)}.")


def _normalise(type_: str, value: str, region: str | None, *, allow_canary: bool) -> Identifier:
    room = MAX_BYTES - len(type_) - 1
    value = clean(value, type_, room)
    if not value.isascii() and type_ not in _BEYOND_ASCII:
        # Before any rule changes case: `ß`.upper() is `SS`, which somebody else may be called.
        raise IdentifierError(
            type_, "characters", "The identifier has a letter or digit beyond ASCII, which its type has not."
        )
    if type_ == "canary" and not allow_canary:
        raise IdentifierError("canary", "reserved", "Canaries are the network's own. Leave this identifier out.")
    canonical = phone.phone(value, region) if type_ == "phone" else _RULES[type_](value)
    if len(canonical) > room or not (canonical.isascii() or len(canonical.encode()) <= room):
        raise too_long(type_)
    return Identifier(type_, canonical)
