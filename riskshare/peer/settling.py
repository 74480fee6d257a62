"""Settling in a running peer, and for a command beside it: the verb over store and registry."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import final

from riskshare.audit.settle import Registries, Settler
from riskshare.peer.directory import Directory
from riskshare.peer.opening import Member, now
from riskshare.peer.parts import Shared
from riskshare.registry import Registry
from riskshare.store.store import Store
from riskshare.store.trust import Trust


@final
class Versions:
    """`settle.Registries` over the directory and the versions that the database has."""

    def __init__(self, directory: Directory, trust: Trust) -> None:
        self._directory = directory
        self._trust = trust

    def current(self) -> Registry:
        """The registry in force."""
        return self._directory.current()

    async def fetch(self, version: int) -> None:
        """Ask the other members for a newer one."""
        await self._directory.fetch(version)

    async def since(self, moment: datetime) -> Sequence[Registry]:
        """The version in force at that moment and all that follow it, oldest first."""
        found = [self.current()]
        while found[-1].issued_at > moment and found[-1].version > 1:
            row = await self._trust.registry(found[-1].version - 1)
            if row is None:
                break
            found.append(await asyncio.to_thread(Registry.from_file, row.file))
        return found[::-1]


def settler(
    member: Member, store: Store, registries: Registries, progress: Callable[[int], None] = lambda _count: None
) -> Settler:
    """What settles for a member."""
    return Settler(
        member=member.name,
        network=member.registry.network,
        identity=member.keys.identity,
        receipts=store.settlements,
        kept=store.settlements,
        registries=registries,
        now=now,
        months=member.config.audit.settle == "months",
        progress=progress,
    )


def settling_of(shared: Shared) -> Settler:
    """What answers the proposals of other members in a running peer."""
    return settler(shared.member, shared.store, Versions(shared.directory, shared.store.trust))
