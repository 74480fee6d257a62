"""The registry in force, as the parts of a peer ask for it, and how a new version comes in.

A version is taken only if it follows the one that is held (`verify_next`), from wherever it comes: another member's
peer, the file that the peer is set up with, or the database that it shares with other processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime

from riskshare.errors import InputError, PeerError, RegistryError
from riskshare.keyterm import KeyTerm
from riskshare.logs import get_log
from riskshare.peer.opening import Member, now
from riskshare.query.admission import Asker
from riskshare.query.quota import Limits
from riskshare.registry import Registry, conflict, verify_next
from riskshare.sharing.kept import RegistryRow
from riskshare.store.store import Store
from riskshare.store.trust import Trust

Fetch = Callable[[str, int | None], Awaitable[bytes | None]]
"""Gets a version of the registry from a member's peer; for None the newest, or None if it is the one in force.

Raises PeerError.
"""


class Directory:
    """Who is a member, by the registry in force."""

    def __init__(self, member: str, registry: Registry, now: Callable[[], datetime]) -> None:
        self._member = member
        self._registry = registry
        self._now = now
        self._fetch: Fetch | None = None
        self._trust: Trust | None = None
        self._changed: list[Callable[[], None]] = []
        self._snapshots: Callable[[str], Mapping[str, bytes]] = lambda _: {}
        self._stalled: frozenset[str] = frozenset()
        self.network = registry.network

    def connect(self, fetch: Fetch, trust: Trust, snapshots: Callable[[str], Mapping[str, bytes]]) -> None:
        """Tell where versions come from and are kept, and what is held of an owner's lists."""
        self._fetch = fetch
        self._trust = trust
        self._snapshots = snapshots

    def judge_logs(self, stalled: Iterable[str]) -> None:
        """Take the members whose logs have stalled: they are not answered until theirs grow again."""
        self._stalled = frozenset(stalled)

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back after each new version."""
        self._changed.append(callback)

    # -- the registry in force -------------------------------------------------------

    def most_days(self, category: str) -> int:
        """The longest term of an entry of that category by the registry in force, in days."""
        return self.current().most_days(category)

    def current(self) -> Registry:
        """The registry in force; the same object as long as there is no newer one."""
        return self._registry

    def version(self) -> int:
        """Its version."""
        return self._registry.version

    def expired(self, now: datetime) -> bool:
        """Whether it has expired: then no new exchange takes place."""
        return self._registry.expired(now)

    def asker(self, member: str, now: datetime) -> Asker | None:
        """What the registry says of a member that asks."""
        found = self._registry.member(member)
        if found is None or self._registry.expired(now):
            return None
        return Asker(
            name=found.name,
            good_standing=found.in_good_standing and found.has_role("querier"),
            keys=[term.public for term in found.identity_in_force(now)],
            purposes=frozenset(found.purposes),
            log_stalled=member in self._stalled,
        )

    def limits(self, member: str) -> Limits:
        """The quotas of a member; none at all for one that is unknown."""
        found = self._registry.member(member)
        if found is None:
            return Limits(0, 0, 0)
        return Limits(found.quota.per_second, found.quota.per_day, found.quota.per_epoch)

    def keys(self, owner: str, at: datetime, received: datetime) -> Sequence[bytes]:
        """The identity keys of an owner that may sign `at` that time what is first `received` at that."""
        found = self._registry.member(owner)
        return [] if found is None else [term.public for term in found.identity if term.may_sign(at, received)]

    def key_terms(self, owner: str) -> Sequence[KeyTerm]:
        """All identity keys of an owner in good standing, with their terms; none of anybody else."""
        found = self._registry.member(owner)
        if found is None or not found.in_good_standing or not found.has_role("owner"):
            return ()
        return found.identity

    def snapshots(self, owner: str) -> Mapping[str, bytes]:
        """Digests of the owner's snapshots that are held, by full list name."""
        return self._snapshots(owner)

    def owners(self) -> Sequence[str]:
        """The owners in good standing, this member included if it is one."""
        return [member.name for member in self._registry.with_role("owner") if member.in_good_standing]

    def other_owners(self) -> Sequence[str]:
        """The owners in good standing but this member."""
        return [name for name in self.owners() if name != self._member]

    def others(self) -> Sequence[str]:
        """All other members in good standing."""
        return [member.name for member in self._registry.others(self._member) if member.in_good_standing]

    # -- new versions ----------------------------------------------------------------

    async def restore(self) -> None:
        """Take the newest version that the database has. Raises StoreError."""
        assert self._trust is not None
        while (row := await self._trust.registry(self.version() + 1)) is not None:
            await self.take(row.file, keep=False)
        # The first version is kept too, so that a later one can be checked against it by whoever replays.
        await self._keep()

    async def take(self, file: bytes, *, keep: bool = True) -> bool:
        """Take a version that follows the one in force; False if it is that one already, or an older one.

        Raises:
            RegistryError: it does not follow, or is not signed as it must be.
            StoreError: it could not be kept; it is in force nevertheless.

        """
        if file == self._registry.to_file():
            return False
        old = self._registry
        # In a thread: a file may be long, and payments do not wait for it.
        new = await asyncio.to_thread(verify_next, old, file)
        if self._registry is not old:
            return await self.take(file, keep=keep)
        if new.version <= old.version:
            return False
        self._registry = new
        get_log().info("registry", version=new.version, count=len(new.members))
        for callback in self._changed:
            callback()
        if keep:
            await self._keep()
        return True

    async def _keep(self) -> None:
        assert self._trust is not None
        registry = self._registry
        await self._trust.keep_registry(RegistryRow(registry.version, registry.digest, registry.to_file(), self._now()))

    async def fetch(self, version: int, first: str = "") -> None:
        """Try to get a registry of at least `version` from the other members, one after another.

        `first` is the one that names it, and so has it: another may be silent for as long as there is time.
        """
        for member in sorted(self.others(), key=lambda name: name != first):
            if self.version() >= version:
                return
            await self.fetch_from(member)

    async def fetch_from(self, member: str) -> None:
        """Take over the versions that a member has and this one lacks; its failure is not ours."""
        assert self._fetch is not None
        try:
            newest = await self._fetch(member, None)
            if newest is None:
                return
            while await self._next_from(member, newest):
                pass
        except PeerError:
            return
        except RegistryError as error:
            if error.code != "registry_rollback":  # the member has not heard of the newest version yet
                get_log().warning("registry_refused", member=member, code=error.code)

    async def _next_from(self, member: str, newest: bytes) -> bool:
        """Take one more version on the way to `newest`."""
        assert self._fetch is not None
        try:
            return await self.take(newest)
        except RegistryError as error:
            if conflict(self._registry, newest) is not None:
                get_log().error("registry_fork", member=member, version=self.version())
            if error.code != "registry_gap":
                raise
        following = await self._fetch(member, self.version() + 1)
        return following is not None and await self.take(following)


async def directory_of(member: Member, store: Store) -> Directory:
    """The registry in force, for a command: the newest one that the member's peer has received, or its file.

    Raises:
        InputError: `unknown_member`, it does not name this member.
        StoreError: PostgreSQL is away.

    """
    kept = await store.trust.registry()
    registry = member.registry
    if kept is not None and kept.version > registry.version:
        registry = Registry.from_file(kept.file)
    if registry.member(member.name) is None:
        raise InputError(f"The registry names no member {member.name}.", code="unknown_member")
    return Directory(member.name, registry, now)
