"""The token cache: a repeated question within a few minutes needs no new ask.

A token exists only in memory, and only here beyond the check that derived it. Each stays with the place of the
evaluation that it came from (batch, position, blind), so that the check that reuses it can account for it.
The key holds the purpose: an evaluation for one purpose is never used for another.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from uuid import UUID

Key = tuple[str, bytes, str, str]
"""Owner, epoch digest, purpose, canonical identifier."""


@dataclass(frozen=True, slots=True)
class CachedToken:
    """A token (64 bytes) and where it came from: the batch, position and blind of its ask, the id of the receipt."""

    token: bytes = field(repr=False)
    batch: UUID
    position: int
    blind: bytes = field(repr=False)
    receipt: bytes = field(repr=False)


class TokenCache:
    """At most `capacity` tokens, the least recently used dropped first, each for at most `seconds`."""

    def __init__(self, capacity: int, seconds: float) -> None:
        self._capacity = capacity
        self._seconds = seconds
        self._tokens: OrderedDict[Key, tuple[CachedToken, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tokens)

    def __repr__(self) -> str:
        return f"TokenCache({len(self._tokens)} of {self._capacity})"

    def get(self, key: Key, now: float) -> CachedToken | None:
        """The token kept for `key`, if it has not expired; `now` is a monotonic clock in seconds."""
        found = self._tokens.get(key)
        if found is None:
            return None
        token, expires = found
        if expires <= now:
            del self._tokens[key]
            return None
        self._tokens.move_to_end(key)
        return token

    def keep(self, key: Key, token: CachedToken, now: float) -> None:
        """Keep a token from `now` on. Its receipt must be durable: another verdict will rest on it."""
        if self._capacity <= 0 or self._seconds <= 0:
            return
        self._tokens[key] = token, now + self._seconds
        self._tokens.move_to_end(key)
        while len(self._tokens) > self._capacity:
            self._tokens.popitem(last=False)

    def forget(self, owner: str) -> None:
        """Drop all tokens of an owner: its epoch ended, or it is not trusted any more."""
        for key in [key for key in self._tokens if key[0] == owner]:
            del self._tokens[key]
