"""The chain of registry versions: what a peer believes, and why (pure).

The first version that a peer sees is the one whose digest its operator pinned out of band.
From then on each version leads to the next: grown by one, naming its predecessor, signed by
enough governors of the old set *and* of the new one. What is in it may grow and change,
but no member and no key disappears, so that old signatures can always be audited.

Whoever offers a file can write anything into it. So nothing of it is parsed before it is known to be what it must be:
the first by its pinned digest, each later one by the old governors' signatures over its bytes. Why a file without them
is refused, its version and network only hint at.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from riskshare.encoding import format_time
from riskshare.errors import RegistryError
from riskshare.registry import form
from riskshare.registry.member import Member
from riskshare.registry.network import (
    CATEGORIES,
    KIND,
    MAX_FILE,
    PURPOSES,
    TERM,
    Governors,
    Quorum,
    Registry,
    check_signed,
    malformed,
    parse_registry,
    registry_of,
    unsigned,
)
from riskshare.registry.signed import SplitFile, sign_file, split_file
from riskshare.signature import SigningKey

MAX_VERSIONS = 10_000
"""Most versions that are walked at once."""

# In a canonical statement the version is the last field, and the network stands before it. Within a text there would
# be a backslash before the quotation marks.
_END = 16 * 1024
_NETWORK = re.compile(rb',"network":"([a-z0-9.-]{1,63})","previous":')
_VERSION = re.compile(rb',"version":([1-9][0-9]{0,15})\}\Z')


@dataclass(frozen=True, slots=True)
class RegistryConflict:
    """Two registries of one version: the evidence against the governors that signed both.

    `first` and `second` are the files' bytes, `signers` the keys that signed both.
    """

    first: bytes = field(repr=False)
    second: bytes = field(repr=False)
    signers: frozenset[bytes]


def conflict(ours: Registry, data: bytes) -> RegistryConflict | None:
    """Tell whether `data`, another file of our version, convicts governors of having signed two histories.

    Raises:
        RegistryError: code `registry_malformed`.

    """
    with malformed():
        return _conflict(ours, split_file(data, limit=MAX_FILE))


def _conflict(ours: Registry, other: SplitFile) -> RegistryConflict | None:
    if other.digest == ours.digest:
        return None
    both = other.signers(KIND, ours.network, ours.file.signers(key for key, _ in ours.file.signatures))
    if not both:
        return None
    file = other.read(KIND)
    if (file.network, file.body.get("version")) != (ours.network, ours.version):
        return None
    return RegistryConflict(ours.to_file(), file.to_bytes(), both)


def verify_first(data: bytes, pinned: bytes) -> Registry:
    """Read the version that the operator pinned by its 32-byte digest.

    1. The file has the right form and its statement the pinned digest; only then it is parsed, and 2. well formed.
    3. Its own governors signed it.

    Raises:
        RegistryError: codes `registry_malformed`, `registry_pin`, `bad_signature`.

    """
    with malformed():
        split = split_file(data, limit=MAX_FILE)
        if not hmac.compare_digest(split.digest, pinned):
            raise RegistryError(
                f"The registry file has the digest {split.digest.hex()}, not the pinned one."
                " Get the file, or the digest, from the governors again.",
                code="registry_pin",
            )
        file = split.read(KIND)
        registry = registry_of(file)
    check_signed(file, registry.governors, "its own governors")
    return registry


def verify_next(old: Registry, data: bytes) -> Registry:
    """Read the version that follows `old`.

    1. The file has the right form. The statement of `old` itself gives `old` back.
    2. Enough governors of the old set signed its bytes; only then it is parsed. One that they did not sign is refused
       for what it seems to be: of another network, older, further ahead, a fork; else for its signatures.
    3. It is of the same network, its version is one more, and it names `old` as previous.
    4. It is well formed, and enough of the new set signed it.
    5. It is not issued before `old`, and no member and no key is missing.

    Raises:
        RegistryError: codes `registry_malformed`, `wrong_network`, `registry_rollback`,
            `registry_gap`, `registry_fork` (see `conflict`), `bad_signature`, `broken_chain`.

    """
    with malformed():
        split = split_file(data, limit=MAX_FILE)
        if split.digest == old.digest:
            return old
        found = split.signers(KIND, old.network, old.governors.keys)
        if len(found) < old.governors.threshold:
            _check_place(old, split, *_hints(split.json))
            raise unsigned(len(found), old.governors, "the governors before it")
        file = split.read(KIND)
        _check_place(old, split, file.network, form.read_integer(file.body.get("version"), "The version", least=1))
        if file.body.get("previous") != old.digest.hex():
            raise RegistryError(
                f"This registry does not follow the version {old.version} that we have.", code="broken_chain"
            )
        new = registry_of(file)
    check_signed(file, new.governors, "its own governors")
    _check_history(old, new)
    return new


def verify_chain(files: Iterable[bytes], pinned: bytes) -> Registry:
    """Walk from the pinned version through all that follow it; returns the last one.

    Raises:
        RegistryError: as `verify_first` and `verify_next`; code `registry_gap` if `files` is empty or too long.

    """
    registry: Registry | None = None
    for count, data in enumerate(files):
        if count >= MAX_VERSIONS:
            raise RegistryError(f"There are more than {MAX_VERSIONS} versions of the registry.", code="registry_gap")
        registry = verify_first(data, pinned) if registry is None else verify_next(registry, data)
    if registry is None:
        raise RegistryError("There is no registry file to begin with.", code="registry_gap")
    return registry


def _hints(json: bytes) -> tuple[str | None, int | None]:
    """What the end of a statement, not verified and not parsed, says of its network and version."""
    network, version = _NETWORK.search(json[-_END:]), _VERSION.search(json[-_END:])
    return network and network[1].decode(), version and int(version[1])


def _check_place(old: Registry, split: SplitFile, network: str | None, version: int | None) -> None:
    """Refuse another statement than that of `old` if it is not of its network and of the version after it."""
    if network is not None and network != old.network:
        raise RegistryError("The registry is that of another network.", code="wrong_network")
    if version is None or version == old.version + 1:
        return
    if version < old.version:
        raise RegistryError(
            f"Version {version} of the registry is older than the {old.version} that we have.", code="registry_rollback"
        )
    if version > old.version:
        raise RegistryError(
            f"Version {version} of the registry does not follow {old.version}; fetch those between.",
            code="registry_gap",
        )
    if _conflict(old, split) is None:
        raise RegistryError(
            f"Another version {old.version} of the registry is not signed by a governor of ours.", code="bad_signature"
        )
    raise RegistryError(
        f"There are two versions {old.version} of the registry, both signed: the governors contradict themselves."
        " Keep both files and call them.",
        code="registry_fork",
    )


def _check_history(old: Registry, new: Registry) -> None:
    if new.issued_at < old.issued_at:
        raise RegistryError(
            f"Version {new.version} of the registry is older than its predecessor.", code="broken_chain"
        )
    for name, member in old.members.items():
        after = new.members.get(name)
        if after is None or not set(member.every_key()) <= set(after.every_key()):
            raise RegistryError(
                f"Version {new.version} of the registry drops member {name} or a key of it."
                " Members are suspended and keys are ended, never removed.",
                code="broken_chain",
            )


def first_body(
    network: str,
    governors: Governors,
    *,
    now: datetime,
    term: timedelta = TERM,
    categories: Iterable[str] = CATEGORIES,
    currency: str = "CNY",
) -> dict[str, Any]:
    """The statement of version 1: rules, governors and no member yet."""
    return {
        "categories": sorted(categories),
        "currency": currency,
        "expires_at": format_time(now + term),
        "governors": governors.body(),
        "issued_at": format_time(now),
        "members": [],
        "network": network,
        "previous": None,
        "purposes": list(PURPOSES),
        "quorum": Quorum().body(),
        "version": 1,
    }


def next_body(
    old: Registry, *, now: datetime, term: timedelta = TERM, members: Iterable[Member] = (), **changes: Any
) -> dict[str, Any]:
    """The statement that follows `old`, with `members` added or replaced by name, and other keys changed.

    `terms` that hold nothing are left out.
    """
    after = dict(old.members) | {member.name: member for member in members}
    body = (
        old.body()
        | {
            "expires_at": format_time(now + term),
            "issued_at": format_time(now),
            "members": [after[name].body() for name in sorted(after)],
            "previous": old.digest.hex(),
            "version": old.version + 1,
        }
        | changes
    )
    return {key: value for key, value in body.items() if key != "terms" or value}


def sign_registry(body: dict[str, Any], keys: Iterable[SigningKey]) -> bytes:
    """Sign a registry statement with the governors' `keys`; returns the file's bytes.

    Raises:
        RegistryError: code `registry_malformed`, the body is not a registry.

    """
    with malformed():
        file = sign_file(KIND, str(body.get("network")), body, keys)
        registry_of(file)
    return file.to_bytes()


def add_signatures(data: bytes, keys: Iterable[SigningKey]) -> bytes:
    """Add the signatures of further governors to a registry file.

    Raises:
        RegistryError: code `registry_malformed`.

    """
    return parse_registry(data).file.signed_by(keys).to_bytes()
