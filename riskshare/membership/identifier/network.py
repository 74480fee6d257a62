"""Names of the Internet: e-mail addresses, domains, IP addresses."""

from __future__ import annotations

import ipaddress
import re
import unicodedata

import idna

from riskshare.errors import IdentifierError

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PLAIN = re.compile(r"(?:(?!xn--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")
_TOP_LEVEL = re.compile(r"[a-z]{2,63}|xn--[a-z0-9-]+")
_LOCAL = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_LOCAL_WIDE = re.compile(r"[^\x00-\x20\"(),:;<>@\[\\\]\x7f.]+(?:\.[^\x00-\x20\"(),:;<>@\[\\\]\x7f.]+)*")
_MAX_DOMAIN = 253


def domain(value: str) -> str:
    """Normalise a domain name: A-labels, lower case, no trailing dot, at least two labels.

    Labels are mapped by UTS 46 (not transitional: `ß` stays) and checked by IDNA 2008
    (`idna`). ASCII labels follow the host name rule (RFC 1123 2.1: letters, digits,
    hyphens); no underscore, no address, no port, no path. The last label has letters only,
    or is itself an A-label.

    Raises:
        IdentifierError: `characters`, `length`, `label`, `top_level`, `ip_literal`.

    """
    return _domain(value, "domain")


def _domain(value: str, type: str) -> str:  # noqa: A002 - the field's own word
    name = value.lower()
    name = name.removesuffix(".")
    if _PLAIN.fullmatch(name) is not None and len(name) <= _MAX_DOMAIN:
        return name
    if _address(name.strip("[]")) is not None:
        raise IdentifierError(type, "ip_literal", "An address stands where a domain belongs. Use the type ip for it.")
    return _international_domain(value, type)


def _international_domain(value: str, type: str) -> str:  # noqa: A002 - the field's own word
    labels: list[str | None] = []
    fault = ""
    try:
        name = idna.uts46_remap(value, std3_rules=True).removesuffix(".")
        labels = [_label(part) for part in name.split(".")]
    except idna.InvalidCodepoint:
        fault = "characters"
    except (idna.IDNAError, UnicodeError):
        fault = "label"
    # Raised out here, so that the library's error, which holds the text, is not chained.
    if fault == "characters":
        raise IdentifierError(type, "characters", "The domain has a character that no domain name can have.")
    if fault or None in labels:
        raise IdentifierError(type, "label", "A part of the domain between dots is empty, too long or malformed.")
    canonical = ".".join(part for part in labels if part is not None)
    if len(canonical) > _MAX_DOMAIN:
        raise IdentifierError(type, "length", f"The domain is longer than {_MAX_DOMAIN} characters.")
    if len(labels) < 2 or _TOP_LEVEL.fullmatch(labels[-1] or "") is None:
        raise IdentifierError(type, "top_level", "The domain does not end in a top-level domain. Give it in full.")
    return canonical


def _label(label: str) -> str | None:
    """One label as an A-label, None if malformed; `label` is already mapped by UTS 46.

    Two hyphens in the third and fourth place of a plain label are let through, as by browsers.
    """
    if label.isascii() and not label.startswith("xn--"):
        return label if _LABEL.fullmatch(label) is not None else None
    return idna.alabel(label).decode("ascii")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def email(value: str) -> str:
    """Normalise an e-mail address: local part NFKC and lower case, domain as in `domain`.

    The local part is a dot-atom of RFC 5321 and RFC 6531, at most 64 bytes; the whole at most
    254 (RFC 5321 4.5.3.1, erratum 1690). Quoted local parts and address literals are refused.
    Nothing is left out of the local part: dots and `+tag` are a provider's own affair.

    Raises:
        IdentifierError: `form`, `characters`, `length`, and those of `domain`.

    """
    local, at, host = value.rpartition("@")
    if not at or not local or not host:
        raise IdentifierError("email", "form", "Write an e-mail address as name@domain.")
    local = local.lower()
    if not local.isascii():
        local = _wide_local(local)
    elif _LOCAL.fullmatch(local) is None:
        raise _local_refused()
    if len(local.encode()) > 64:
        raise IdentifierError("email", "length", "The part before the @ is longer than 64 bytes.")
    canonical = f"{local}@{_domain(host, 'email')}"
    if len(canonical.encode()) > 254:
        raise IdentifierError("email", "length", "The e-mail address is longer than 254 bytes.")
    return canonical


def _wide_local(local: str) -> str:
    """Lower-case local part with letters beyond ASCII, in a form that stays as it is."""
    local = unicodedata.normalize("NFKC", local)
    stable = unicodedata.normalize("NFKC", local.lower()) == local
    if not stable or _LOCAL_WIDE.fullmatch(local) is None or unicodedata.category(local[0])[0] == "M":
        raise _local_refused()
    return local


def _local_refused() -> IdentifierError:
    return IdentifierError(
        "email", "characters", "The part before the @ has a character or a dot where none may stand."
    )


def ip(value: str) -> str:
    """Normalise an IP address.

    IPv4: four decimal numbers without leading zeros. IPv6: RFC 5952. An IPv4-mapped
    IPv6 address (`::ffff:192.0.2.1`) names the IPv4 host and becomes `192.0.2.1`, so that
    the two spellings meet. Zones (`%eth0`), prefixes (`/24`), ports and brackets are refused.

    Raises:
        IdentifierError: `scope`, `form`.

    """
    if "%" in value:
        raise IdentifierError("ip", "scope", "The IPv6 address has a zone, which means something on one machine only.")
    address = _address(value)
    if address is None:
        raise IdentifierError(
            "ip", "form", "This is no IP address. Give one address, without port, prefix or brackets."
        )
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)
