"""The term of a member's public key, as the registry names it (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class KeyTerm:
    """A public key and when it may be used.

    `public` is the key itself (32 bytes for Ed25519). The term is half-open: from
    `valid_from` on, before `valid_until`, or without end if that is None. Old keys stay
    in the registry, so that old signatures can be audited.

    `compromised_from` is the moment from which somebody else may have had the key. What is
    first received from then on is void, whatever time it claims for itself; what was
    received before stands.
    """

    public: bytes
    valid_from: datetime
    valid_until: datetime | None = None
    compromised_from: datetime | None = None

    def __post_init__(self) -> None:
        """Refuse a term that cannot hold any moment, and times without a zone."""
        moments = (self.valid_from, self.valid_until, self.compromised_from)
        if any(moment is not None and moment.tzinfo is None for moment in moments):
            raise ValueError("the times of a key's term need a time zone")
        if self.valid_until is not None and self.valid_until <= self.valid_from:
            raise ValueError("a key's term ends after it begins")

    def in_term(self, at: datetime) -> bool:
        """Tell whether `at` lies in the term, compromised or not."""
        return self.valid_from <= at and (self.valid_until is None or at < self.valid_until)

    def is_void(self, received: datetime) -> bool:
        """Tell whether a statement first received at `received` counts for nothing."""
        return self.compromised_from is not None and received >= self.compromised_from

    def may_sign(self, at: datetime, received: datetime) -> bool:
        """Tell whether a statement issued at `at` and first received at `received` stands under this key."""
        return self.in_term(at) and not self.is_void(received)
