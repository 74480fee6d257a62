"""Telling in the log, once a day, that the registry in force ends soon, or has ended."""

from __future__ import annotations

from datetime import datetime, timedelta

from riskshare.errors import RegistryError
from riskshare.logs import get_log
from riskshare.registry.network import Registry

AGAIN = timedelta(days=1)


class RegistryTerm:
    """Looks at the term of the registry as often as it is asked to, and tells it as often as somebody reads."""

    def __init__(self) -> None:
        self._told: tuple[int, bool, datetime] | None = None

    def look(self, registry: Registry, now: datetime) -> None:
        """Tell it if there is something to tell, and that was not done within a day."""
        try:
            warning = registry.check_ready(now)
        except RegistryError as error:
            if self._is_due(registry.version, now, ended=True):
                get_log().error("registry_expired", version=registry.version, code=error.code, detail=error.message)
            return
        if warning is not None and self._is_due(registry.version, now, ended=False):
            get_log().warning("registry_expires", version=registry.version, detail=warning)

    def _is_due(self, version: int, now: datetime, *, ended: bool) -> bool:
        """Whether it was not told within a day. A clock that was set back holds nothing back for longer than that."""
        if self._told is not None and self._told[:2] == (version, ended) and abs(now - self._told[2]) < AGAIN:
            return False
        self._told = version, ended, now
        return True
