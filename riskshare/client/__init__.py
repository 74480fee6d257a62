"""The way to other members' peers: aiohttp over mutual TLS 1.3, pinned by the registry.

remote     where a member's peer is, which keys it may show
reading    bounded reading; which failure is whose fault
peers      PeerClient: one method for each route of `riskshare.query.message`
"""

from riskshare.client.peers import NOT_MODIFIED, NotModified, PeerClient
from riskshare.client.remote import Registries

__all__ = ["NOT_MODIFIED", "NotModified", "PeerClient", "Registries"]
