"""Sockets of connections that we begin, such that none closes another.

uvloop (0.23) and aiohttp disagree on who closes a socket whose connection is reset at once: libuv closes the
descriptor, and the Python object that still names it closes it once more when it is collected. By then the number may
be that of another connection or of a file (uvloop issues 645 and 738; what was mended there leaves this case). A member
that resets our connections would so cut those to others. Therefore these sockets close nothing when they are collected.
Whoever has one closes it: libuv, asyncio's transports and aiohappyeyeballs do.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from aiohappyeyeballs import AddrInfoType


@final
class Dialled(socket.socket):
    """A socket that an event loop takes over."""

    def __del__(self) -> None:
        """Close nothing: the number may be somebody else's."""


def dial(address: AddrInfoType) -> socket.socket:
    """`aiohttp.TCPConnector(socket_factory=…)`: a socket for an address."""
    family, kind, protocol, _, _ = address
    return Dialled(family, kind, protocol)
