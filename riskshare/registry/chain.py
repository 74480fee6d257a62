"""The chain of registry versions: what a peer believes, and why (pure).

The first version that a peer sees is the one whose digest its operator pinned out of band.
From then on each version leads to the next: grown by one, naming its predecessor, signed by
enough governors of the old set *and* of the new one. What is in it may grow and change,
but no member and no key disappears, so that old signatures can always be audited.
"""

from __future__ import annotations

import hmac
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
)
from riskshare.registry.signed import SignedFile, read_file, sign_file
from riskshare.signature import SigningKey

MAX_VERSIONS = 10_000
"""Most versions that are walked at once."""


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
        return _conflict(ours, read_file(KIND, data, limit=MAX_FILE))


def _conflict(ours: Registry, other: SignedFile) -> RegistryConflict | None:
    if (other.network, other.body.get("version")) != (ours.network, ours.version) or other.digest == ours.digest:
        return None
    both = other.signers(ours.file.signers(key for key, _ in ours.file.signatures))
    return RegistryConflict(ours.to_file(), other.to_bytes(), both) if both else None


def verify_first(data: bytes, pinned: bytes) -> Registry:
    """Read the version that the operator pinned by its 32-byte digest.

    1. The file has the right form and its statement the pinned digest. 2. The statement is well formed.
    3. Its own governors signed it.

    Raises:
        RegistryError: codes `registry_malformed`, `registry_pin`, `bad_signature`.

    """
    with malformed():
        file = read_file(KIND, data, limit=MAX_FILE)
        if not hmac.compare_digest(file.digest, pinned):
            raise RegistryError(
                f"The registry file has the digest {file.digest.hex()}, not the pinned one."
                " Get the file, or the digest, from the governors again.",
                code="registry_pin",
            )
        registry = registry_of(file)
    check_signed(file, registry.governors, "its own governors")
    return registry


def verify_next(old: Registry, data: bytes) -> Registry:
    """Read the version that follows `old`.

    1. The file has the right form and is of the same network.
    2. Its version is one more and it names `old` as previous. The version of `old` itself gives
       `old` back if it is the same, and is a fork if not.
    3. Enough governors of the old set signed it; only then its content is looked into.
    4. Enough of the new set did.
    5. It is not issued before `old`, and no member and no key is missing.

    Raises:
        RegistryError: codes `registry_malformed`, `wrong_network`, `registry_rollback`,
            `registry_gap`, `registry_fork` (see `conflict`), `bad_signature`, `broken_chain`.

    """
    with malformed():
        file = read_file(KIND, data, limit=MAX_FILE)
        if _is_same(old, file):
            return old
        check_signed(file, old.governors, "the governors before it")
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


def _is_same(old: Registry, file: SignedFile) -> bool:
    """Tell whether `file` is `old` (True) or claims to follow it (False); refuse all else."""
    if file.network != old.network:
        raise RegistryError("The registry is that of another network.", code="wrong_network")
    version = form.read_integer(file.body.get("version"), "The version", least=1)
    if version < old.version:
        raise RegistryError(
            f"Version {version} of the registry is older than the {old.version} that we have.", code="registry_rollback"
        )
    if version > old.version + 1:
        raise RegistryError(
            f"Version {version} of the registry does not follow {old.version}; fetch those between.",
            code="registry_gap",
        )
    if version == old.version:
        if file.digest != old.digest:
            _refuse_sibling(old, file)
        return True
    if file.body.get("previous") != old.digest.hex():
        raise RegistryError(
            f"Version {version} of the registry does not follow the version {old.version} that we have.",
            code="broken_chain",
        )
    return False


def _refuse_sibling(old: Registry, file: SignedFile) -> None:
    if _conflict(old, file) is None:
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
    """The statement that follows `old`, with `members` added or replaced by name, and other keys changed."""
    after = dict(old.members) | {member.name: member for member in members}
    return (
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
