"""The registry: who is a member, with which keys, quotas and purposes (pure).

`network.json` is a statement of the network's governors, one version after the other.

    form        single values, read strictly
    signed      a statement in a file, with the signatures of several keys
    member      Member, its keys with their terms, Quota
    network     Registry: one version, and look-ups in it
    chain       what makes a version believable: the pinned first, then one after the other
    joining     the request to join, and what a version after it says

A peer reads: `verify_first` (or `verify_chain`), then `verify_next` for each version that it hears of.
"""

from riskshare.keyterm import KeyTerm
from riskshare.registry.chain import (
    RegistryConflict,
    add_signatures,
    conflict,
    first_body,
    next_body,
    sign_registry,
    verify_chain,
    verify_first,
    verify_next,
)
from riskshare.registry.form import is_host, parse_peer_url
from riskshare.registry.joining import JoinRequest, admit_members, read_request, sign_request
from riskshare.registry.member import AuditRights, Member, Quota, TlsKey
from riskshare.registry.network import CATEGORIES, PURPOSES, Governors, Quorum, Registry, parse_registry

__all__ = [
    "CATEGORIES",
    "PURPOSES",
    "AuditRights",
    "Governors",
    "JoinRequest",
    "KeyTerm",
    "Member",
    "Quorum",
    "Quota",
    "Registry",
    "RegistryConflict",
    "TlsKey",
    "add_signatures",
    "admit_members",
    "conflict",
    "first_body",
    "is_host",
    "next_body",
    "parse_peer_url",
    "parse_registry",
    "read_request",
    "sign_registry",
    "sign_request",
    "verify_chain",
    "verify_first",
    "verify_next",
]
