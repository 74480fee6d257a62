"""The registry versions by which an audit judges (pure).

An auditor cannot see which version a member held at a moment. It can bound it: a member holds at least the version that
an ask names which it signed or answered, for an owner looks for that one before it answers; and at most the newest that
the governors had issued by then. Whoever is convicted by the registry is so by *every* version in between.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from riskshare.audit.fact import milliseconds
from riskshare.errors import RegistryError
from riskshare.keyterm import KeyTerm
from riskshare.registry import Registry, parse_registry

CLOCKS = 120_000
"""Two clocks, each right within 60 seconds: how far two honest times of one moment may be apart, in milliseconds."""


@dataclass(frozen=True, slots=True)
class Versions:
    """Versions of one network's registry, each following from the one before, without a gap; the last is believed."""

    registries: tuple[Registry, ...] = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse what is no chain. Raises RegistryError `broken_chain`, `registry_gap`."""
        if not self.registries:
            raise RegistryError("There is no version of the registry to judge by.", code="registry_gap")
        for old, new in pairwise(self.registries):
            if new.version != old.version + 1:
                raise RegistryError(
                    f"Version {old.version + 1} of the registry is missing among those given.", code="registry_gap"
                )
            if new.previous is None or not hmac.compare_digest(new.previous, old.digest):
                raise RegistryError(
                    f"Version {old.version} of the registry is not the one that version {new.version} follows.",
                    code="broken_chain",
                )

    @property
    def newest(self) -> Registry:
        """The version that is believed; it names every key that any member ever had."""
        return self.registries[-1]

    @property
    def network(self) -> str:
        """The network."""
        return self.newest.network

    def from_version(self, first: int) -> Sequence[Registry]:
        """All versions from `first` on; none if it is newer than all that are known.

        Raises:
            RegistryError: code `registry_gap`, `first` is older than all that are known: it cannot be judged.

        """
        oldest = self.registries[0].version
        if first < oldest:
            raise RegistryError(
                f"Version {first} of the registry is needed, and the oldest given is {oldest}. Name the folder with"
                " all versions.",
                code="registry_gap",
            )
        return self.registries[first - oldest :]

    def held(self, first: int, at: int) -> Sequence[Registry]:
        """The versions that a member may have held at a time (milliseconds), if it held `first` or a newer one.

        `first` is among them whatever its time says. Raises RegistryError `registry_gap`.
        """
        following = self.from_version(first)
        return [one for one in following if one.version == first or milliseconds(one.issued_at) <= at + CLOCKS]

    def keys(self, member: str) -> tuple[KeyTerm, ...]:
        """Every identity key that a member has or had; none of one that is unknown."""
        found = self.newest.member(member)
        return () if found is None else found.identity


def versions_of(newest: Registry, older: Iterable[bytes] = ()) -> Versions:
    """The believed version with those before it: files in rising order, believed because each leads to the next.

    Raises:
        RegistryError: codes `registry_malformed`, `registry_gap`, `broken_chain`.

    """
    return Versions((*map(parse_registry, older), newest))
