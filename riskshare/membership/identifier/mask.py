"""What of an identifier a person may see in a report."""

from __future__ import annotations

from riskshare.membership.identifier.value import Identifier

_DOT = "•"

_ENDS: dict[str, tuple[int, int]] = {
    "phone": (5, 2),
    "cn_id": (6, 2),
    "uscc": (8, 2),
    "bank_card": (6, 4),
    "iban": (4, 3),
    "device": (3, 2),
}
"""How many characters stay at the beginning and at the end. Of a card, no more than PCI DSS 3.4.1 lets be shown."""


def mask(identifier: Identifier) -> str:
    """Write an identifier with its telling part hidden, such as `phone:+1415•••••12`.

    Enough stays for somebody who knows it to recognise it; at least a third is hidden,
    of short ones all. For what a person asked to see on a screen; never for a log.
    """
    type_, value = identifier.type, identifier.value
    if type_ == "email":
        local, _, host = value.rpartition("@")
        shown = f"{_hide(local, 1, 0)}@{host}"
    elif type_ == "domain":
        name, _, top = value.rpartition(".")
        shown = f"{_hide(name, 2, 1)}.{top}"
    elif type_ in ("account", "wallet", "merchant"):
        place, _, number = value.partition("/")
        shown = f"{place}/{_hide(number, 4, 3) if type_ == 'wallet' else _hide(number, 2, 2)}"
    elif type_ == "ip":
        mark = "." if "." in value else ":"
        shown = mark.join([*value.split(mark)[:2], _DOT * 3])
    elif type_ == "canary":
        shown = value
    else:
        shown = _hide(value, *_ENDS[type_])
    return f"{type_}:{shown}"


def _hide(text: str, head: int, tail: int) -> str:
    """Put dots for what lies between; one for each character up to eight, so that long ones stay readable."""
    hidden = len(text) - head - tail
    if hidden * 3 < len(text) or hidden < 1:
        return _DOT * min(len(text), 8)
    return text[:head] + _DOT * min(hidden, 8) + text[len(text) - tail :]
