"""Gathering: signed snapshots that an ask names and that no owner's log has, from whoever was given them.

An owner that shows one subscriber another list leaves no trace of it in any log but this: the querier names the digest
of what it looked into. The statement itself convicts the owner, and the querier has it. For each such snapshot
    1. what was gathered before is verified again, and not asked for again;
    2. the queriers that named it are asked, then other members, never its owner; who does not answer is left out;
    3. what comes is kept if it is what its digest says, and is signed by the owner.
Nobody is blamed for what he does not show: it may be older than what members keep.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, final

from riskshare.audit.conviction import REFUSALS
from riskshare.audit.judging import FOREVER
from riskshare.audit.versions import Versions
from riskshare.errors import PeerError
from riskshare.sharing import snapshot
from riskshare.sharing.snapshot import SnapshotStatement
from riskshare.statement import read_wire

MOST: Final = 1_000
"""Most snapshots that are asked for in one run."""

TOLD: Final = 8
"""Most members that are asked for one of them."""

MAX_BYTES: Final = snapshot.MAX_BYTES + 256
"""Longest wire form of one."""


class Unlogged(NamedTuple):
    """A snapshot that is named in asks and stands on no owner's log; `queriers` are those who named it, sorted."""

    owner: str
    digest: bytes
    queriers: tuple[str, ...]


class Holders(Protocol):
    """Who may have been given a snapshot. Raises PeerError, StoreError, DiskError."""

    async def held(self, member: str, digest: bytes) -> bytes | None:
        """A snapshot that a member holds, as it travels; None: it does not."""


class Shelf(Protocol):
    """Where they are kept. Raises DiskError."""

    def held(self, digest: bytes) -> bytes | None:
        """What was kept under a digest."""

    def keep(self, digest: bytes, wire: bytes) -> None:
        """Keep one, in place of what was there."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """How many snapshots were named and unlogged, how many of these are there now, how many were not asked for.

    `silent` are the members that were asked and could not be reached, sorted.
    """

    named: int
    shown: int
    left: int
    silent: tuple[str, ...]


@final
class Gatherer:
    """Gathers from `members`, for one case."""

    def __init__(self, holders: Holders, shelf: Shelf, versions: Versions, members: Sequence[str]) -> None:
        self._holders = holders
        self._shelf = shelf
        self._versions = versions
        self._members = members
        self._silent: set[str] = set()

    async def gather(self, unlogged: Iterable[Unlogged], most: int = MOST) -> Gathered:
        """Gather what can be had; run it again to go on where it was interrupted.

        Raises:
            DiskError, StoreError: the auditor's own disk or database.

        """
        named = shown = asked = left = 0
        for one in unlogged:
            named += 1
            if self._holds(one, self._shelf.held(one.digest)):
                shown += 1
            elif asked == most:
                left += 1
            else:
                asked += 1
                shown += await self._fetch(one)
        return Gathered(named, shown, left, tuple(sorted(self._silent)))

    async def _fetch(self, one: Unlogged) -> bool:
        first = [member for member in one.queriers if member in self._members]
        others = [member for member in self._members if member not in (*first, one.owner)]
        for member in (*first, *others)[:TOLD]:
            if member in self._silent:
                continue
            try:
                wire = await self._holders.held(member, one.digest)
            except PeerError:
                self._silent.add(member)  # it is not waited for again and again
                continue
            if wire is not None and self._holds(one, wire):
                self._shelf.keep(one.digest, wire)
                return True
        return False

    def _holds(self, one: Unlogged, wire: bytes | None) -> bool:
        return wire is not None and is_snapshot(wire, one, self._versions)


def is_snapshot(wire: bytes, wanted: Unlogged, versions: Versions) -> bool:
    """Whether this is the snapshot of that digest, with a signature of its owner's that convicts."""
    keys = [term.public for term in versions.keys(wanted.owner) if not term.is_void(FOREVER)]
    try:
        statement = read_wire(snapshot.KIND, versions.network, wire, keys, limit=MAX_BYTES)
        return statement.digest == wanted.digest and SnapshotStatement.from_statement(statement).owner == wanted.owner
    except REFUSALS:
        return False
