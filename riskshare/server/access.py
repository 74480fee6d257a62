"""Who may use the client API: bearer keys (RFC 6750) from the configuration, kept hashed."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable, Sequence
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address

from aiohttp import web

from riskshare.config_sections import ApiKeySection
from riskshare.errors import AccessError
from riskshare.keys import api_key_id, api_key_sha256

MAX_KEY = 200
_NOBODY = "0" * 64


class ApiKeys:
    """The API keys of the configuration."""

    def __init__(self, keys: Sequence[ApiKeySection], now: Callable[[], datetime]) -> None:
        self._keys = {key.id: key for key in keys}
        self._now = now

    def allow(self, request: web.Request, *scopes: str) -> str:
        """Give the id of the request's API key if it has any of the scopes.

        The whole key is compared in constant time; only who has it learns that it expired, or where it is bound to.

        Raises:
            AccessError: `unauthenticated` (missing, malformed, wrong, expired), `forbidden` (address, scope).

        """
        key = self._find(request.headers.get("Authorization", ""))
        if key.expired(self._now()):
            raise AccessError("The API key has expired. Have a new one made.")
        if key.addresses and not _is_within(request, key):
            raise AccessError("The API key is not accepted from this address.", code="forbidden")
        if not set(scopes) & set(key.scopes):
            raise AccessError(f"The API key lacks the scope {' or '.join(scopes)}.", code="forbidden")
        return key.id

    def _find(self, header: str) -> ApiKeySection:
        kind, _, secret = header.partition(" ")
        secret = secret.strip(" ")
        if kind.lower() != "bearer" or not 0 < len(secret) <= MAX_KEY or not secret.isascii():
            raise AccessError("An API key is required: send the header Authorization: Bearer <key>.")
        key = self._keys.get(api_key_id(secret) or "")
        same = hmac.compare_digest(api_key_sha256(secret), _NOBODY if key is None else key.sha256)
        if key is None or not same:
            raise AccessError("The API key is not one of this peer's.")
        return key


def _is_within(request: web.Request, key: ApiKeySection) -> bool:
    """Judge by the connection's own address: what headers say of another one is not believed."""
    peer = None if request.transport is None else request.transport.get_extra_info("peername")
    try:
        address: IPv4Address | IPv6Address = ipaddress.ip_address(str((peer or ("",))[0]).partition("%")[0])
    except (ValueError, TypeError):
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in key.addresses)
