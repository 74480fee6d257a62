"""The way to other members' peers: aiohttp over mutual TLS 1.3, pinned by the registry.

remote     where a member's peer is, which keys it may show
reading    bounded reading; which failure is whose fault
calling    a request to a member, judged by whose key answered
peers      PeerClient: one method for each route of `riskshare.query.message`
ledger     LedgerClient: other members' logs and witnesses
"""

from riskshare.client.ledger import LedgerClient
from riskshare.client.peers import NOT_MODIFIED, NotModified, PeerClient
from riskshare.client.remote import Registries

__all__ = ["NOT_MODIFIED", "LedgerClient", "NotModified", "PeerClient", "Registries"]
