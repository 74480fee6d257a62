"""What came of opening checks (pure)."""

from __future__ import annotations

from dataclasses import dataclass, field

from riskshare.audit.basis import Fault, Stated
from riskshare.audit.recompute import Gap, Recomputed


@dataclass(frozen=True, slots=True)
class OpenedCheck:
    """What came of one check. `identifiers` are masked; `found` is None if there is no record to go by."""

    stated: Stated
    purpose: str = ""
    identifiers: tuple[str, ...] = ()
    found: Recomputed | None = None
    faults: tuple[Fault, ...] = ()
    gaps: tuple[Gap, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether all of it was recomputed."""
        return self.found is not None and not self.gaps


@dataclass(slots=True)
class Opened:
    """What came of all. `owner_faults` are of owners, about single exchanges; `gaps` are about more than one check."""

    member: str
    checks: list[OpenedCheck] = field(default_factory=list)
    owner_faults: list[Fault] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    exchanges: int = 0
    proofs: int = 0
