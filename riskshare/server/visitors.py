"""How much whoever comes to the open paths of the peers' listener may ask for.

A member, known by its certificate, has an allowance of its own: no stranger can use it up by sending the
member's checkpoints, which anybody can read. Strangers have one for each address and one for all of them, and few
places at the database, so that they take nothing from members whatever their number.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from time import monotonic
from typing import Final, final

from aiohttp import web

from riskshare.query.quota import Allowance, Rate
from riskshare.server.gate import Gate

AT_ONCE: Final = 4
"""Requests of strangers that are worked on at once; the others wait as long as their connection lasts."""

ADDRESSES: Final = 4096
"""Addresses that are remembered; of more, the one that came first is forgotten."""

_ALL: Final = "strangers"
_NETWORK: Final = 64
"""Bits of an IPv6 address that stand for one visitor."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Requests of one kind: of one visitor, and of all strangers together."""

    each: Rate
    strangers: Rate


READING: Final = Rates(Rate(per_second=200, depth=2000), Rate(per_second=400, depth=4000))
"""Checkpoints, tiles, bundles: a log of a million entries has 8,000 tiles and bundles."""

ADDING: Final = Rates(Rate(per_second=10, depth=60), Rate(per_second=20, depth=120))
"""Checkpoints to be cosigned: a log offers one, or two, every few seconds."""


@final
class Visitors:
    """Admits requests of one kind; those of strangers only if `open_to_all`."""

    def __init__(self, gate: Gate, rates: Rates, *, open_to_all: bool = True) -> None:
        self._gate = gate
        self._open_to_all = open_to_all
        self._each = Allowance(rates.each, most=ADDRESSES)
        self._strangers = Allowance(rates.strangers)
        self._places = asyncio.Semaphore(AT_ONCE)

    def admit(self, request: web.Request) -> AbstractAsyncContextManager[None]:
        """Take one of the visitor's requests; what is given is its place, to be held while the database works for it.

        Raises:
            AskRefused: `too_often`, with the seconds after which to come again; `no_certificate`, `wrong_member`: these
                requests are for members.

        """
        member = self._gate.known(request) if self._open_to_all else self._gate.member(request)
        if member is not None:
            self._each.take(member.name, now=monotonic())
            return nullcontext()
        self._each.take(visitor(request.remote), now=monotonic())
        self._strangers.take(_ALL, now=monotonic())
        return self._places


def visitor(address: str | None) -> str:
    """Who comes from an address: of IPv6, a whole network of 64 bits. Never the name of a member."""
    try:
        found = ip_address((address or "").partition("%")[0])
    except ValueError:
        return "address ?"
    if isinstance(found, IPv6Address):
        mapped = found.ipv4_mapped
        return f"address {mapped or format(int(found) >> (128 - _NETWORK), 'x')}"
    return f"address {found}"
