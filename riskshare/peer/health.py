"""What `/healthz` and `/readyz` ask: each part by its name, fine if it raises nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import final

from riskshare.errors import RegistryError, RiskshareError
from riskshare.peer.chores import Chores
from riskshare.peer.ledger import LedgerWork
from riskshare.peer.opening import now
from riskshare.peer.parts import OwnerHalf, QuerierHalf, Shared

Probe = Callable[[], Awaitable[None]]


@final
class Health:
    """Asks the parts of one peer."""

    def __init__(
        self, shared: Shared, owner: OwnerHalf, querier: QuerierHalf, ledger: LedgerWork, chores: Chores
    ) -> None:
        self._shared = shared
        self._owner = owner
        self._querier = querier
        self._ledger = ledger
        self._chores = chores

    def alive(self) -> Mapping[str, Probe]:
        """What must work for this process to be of use."""
        return {
            "store": self._shared.store.healthy,
            "registry": self._registry_in_force,
            "ledger": self._ledger.healthy,
            "work": self._work_done,
        }

    def ready(self) -> Mapping[str, Probe]:
        """What must be there for its answers to be complete."""
        return {"lists": self._lists_current, "published": self._lists_published}

    async def _lists_published(self) -> None:
        """Others can read this member's lists. The first publication of some million entries takes minutes."""
        if waiting := self._owner.published.unpublished():
            raise RiskshareError(f"Lists of this member are not published yet: {', '.join(waiting)}.", code="stale")

    async def _registry_in_force(self) -> None:
        if self._shared.directory.expired(now()):
            raise RegistryError(
                "The registry has expired: no exchange takes place. The governors must renew it.",
                code="registry_expired",
            )

    async def _work_done(self) -> None:
        troubles = self._chores.troubles()
        if troubles:
            raise RiskshareError(f"Background work keeps failing. {' '.join(troubles)}", code="work_failing")

    async def _lists_current(self) -> None:
        held = self._querier.holdings.concerning(frozenset(), now())
        behind = [
            owner.owner
            for owner in held
            if owner.state != "current" or not all(each.current for epoch in owner.epochs for each in epoch.lists)
        ]
        if behind:
            raise RiskshareError(
                f"Not all lists are current: {', '.join(behind)}. Checks are incomplete.", code="stale"
            )
