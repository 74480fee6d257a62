"""The chain of registry versions that an audit goes by, grown from what members show (pure).

One version is pinned: the operator's own, or the one that an auditor was given. From there the chain grows in both
directions: a later version is believed because the governors before it signed it, an earlier one because the version
behind it names its digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from riskshare.errors import EncodingError, RegistryError
from riskshare.registry import Registry, conflict, parse_registry, verify_next
from riskshare.registry.network import KIND, MAX_FILE
from riskshare.registry.signed import split_file

Standing = Literal["known", "unknown", "forked", "foreign"]
"""What a version that a member shows is: one of the chain; not linked to it; another one of a version in it, that
governors signed too; or one that they did not sign."""


class Chain:
    """Versions of one registry without a gap, oldest first; the last ones first seen may wait for those between."""

    def __init__(self, versions: Iterable[Registry]) -> None:
        """Begin with versions that are believed, at least one, oldest first."""
        self._versions = list(versions)
        self._waiting: dict[bytes, bytes] = {}

    @property
    def versions(self) -> Sequence[Registry]:
        """All versions, oldest first."""
        return tuple(self._versions)

    @property
    def newest(self) -> Registry:
        """The newest version."""
        return self._versions[-1]

    def digest(self, version: int) -> bytes | None:
        """The digest of a version, or None if the chain does not have it."""
        place = version - self._versions[0].version
        return self._versions[place].digest if 0 <= place < len(self._versions) else None

    def offer(self, data: bytes) -> None:
        """Take a registry file that a member shows, if it is linked to the chain now or by what comes after."""
        try:
            digest = split_file(data, limit=MAX_FILE).digest
        except EncodingError:
            return
        if all(digest != one.digest for one in self._versions) and _all_signed(self.newest.network, data):
            self._waiting[digest] = data
            self._link()

    def _link(self) -> None:
        grown = True
        while grown:
            grown = self._backward() or self._forward()

    def _backward(self) -> bool:
        oldest = self._versions[0]
        data = None if oldest.previous is None else self._waiting.pop(oldest.previous, None)
        if data is None:
            return False
        try:
            found = parse_registry(data)
        except RegistryError:
            return False  # named by its digest, and no registry: nobody can go behind it
        self._versions.insert(0, found)
        return True

    def _forward(self) -> bool:
        for digest, data in self._waiting.items():
            try:
                found = verify_next(self.newest, data)
            except RegistryError:
                continue
            del self._waiting[digest]
            self._versions.append(found)
            return True
        return False

    def standing(self, version: int, digest: bytes, data: bytes) -> Standing:
        """What a version that a member shows is; `data` is its file. The log holds its statement without signatures."""
        known = self.digest(version)
        if known is None:
            return "unknown"
        ours = self._versions[version - self._versions[0].version]
        if known == digest:
            return "known" if _all_signed(ours.network, data) else "foreign"
        try:
            return "foreign" if conflict(ours, data) is None else "forked"
        except RegistryError:
            return "foreign"


def _all_signed(network: str, data: bytes) -> bool:
    """Whether a file bears signatures, and all of them hold; whether they are the governors' is not looked at."""
    try:
        split = split_file(data, limit=MAX_FILE)
    except EncodingError:
        return False
    keys = [key for key, _ in split.signatures]
    return bool(keys) and split.signers(KIND, network, keys) == frozenset(keys)
