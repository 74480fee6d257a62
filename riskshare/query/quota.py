"""Quotas: how many elements a member may have evaluated per second, day and epoch.

Quotas are what makes copying a list by guessing slow and visible, so they count *elements*,
not requests. The second is a token bucket of one second's depth; day and epoch are
plain sums, given at start from the receipts kept, so that a restart forgives nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from riskshare.errors import AskRefused

SECONDS_PER_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Rate:
    """So many things a second, and at most `depth` saved up."""

    per_second: float
    depth: float


LOOKUPS = Rate(per_second=50, depth=500)
"""Searches of the store for asks that are refused or were answered before, for each member at each process."""

PAGES = Rate(per_second=5, depth=150)
"""Pages of receipts, for each member at each process: one adoption's round of 30 seconds."""


@dataclass(frozen=True, slots=True)
class Limits:
    """One member's quotas in elements; None is no limit, 0 is nothing at all."""

    per_second: int
    per_day: int
    per_epoch: int | None = None


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Quotas:
    """The state of all members' quotas at one owner.

    One process keeps one; `share` is the part of the per-second quota that this process may
    spend, where several processes serve one owner.
    """

    def __init__(self, *, share: float = 1.0) -> None:
        self._share = share
        self._buckets: dict[str, _Bucket] = {}
        # A clock that steps back over midnight must neither forgive a day nor count two as one: days have their names.
        self._days: dict[date, dict[str, int]] = {}
        self._epochs: dict[tuple[str, bytes], int] = {}

    def load(self, day: date, days: Mapping[str, int], epochs: Mapping[tuple[str, bytes], int]) -> None:
        """Take the sums that the kept receipts show: elements per member on `day`, and per member and epoch.

        Called at start, and again whenever other processes may have served meanwhile; a sum never goes down.
        """
        today = self._today(day)
        for member, count in days.items():
            today[member] = max(today.get(member, 0), count)
        for key, count in epochs.items():
            self._epochs[key] = max(self._epochs.get(key, 0), count)

    def take(self, member: str, epoch: bytes, count: int, limits: Limits, *, now: float, day: date) -> None:
        """Spend `count` elements of `member`'s quotas, or none.

        `now` is a monotonic clock in seconds, `day` today in UTC.

        Raises:
            AskRefused: `quota_exhausted`, with the seconds after which to try again.

        """
        self.check(member, epoch, count, limits, now=now, day=day)
        self.account(member, epoch, count, day=day)

    def check(self, member: str, epoch: bytes, count: int, limits: Limits, *, now: float, day: date) -> None:
        """Refuse what `take` would refuse now; spend nothing.

        Raises:
            AskRefused: `quota_exhausted`, with the seconds after which to try again.

        """
        rate = limits.per_second * self._share
        if rate <= 0:
            raise _exhausted("each second", SECONDS_PER_DAY / 24)
        bucket = self._buckets.get(member)
        if bucket is None:
            bucket = self._buckets[member] = _Bucket(rate, now)
        bucket.tokens = min(rate, bucket.tokens + max(0.0, now - bucket.at) * rate)
        bucket.at = max(bucket.at, now)
        # A batch larger than one second's quota may go when the bucket is full, and leaves it in debt:
        # otherwise a member whose quota is below the batch limit could never send a full batch.
        needed = min(float(count), rate)
        if bucket.tokens < needed:
            raise _exhausted("this second", (needed - bucket.tokens) / rate)
        if self._today(day).get(member, 0) + count > limits.per_day:
            raise _exhausted("today", SECONDS_PER_DAY / 24)
        if limits.per_epoch is not None and self._epochs.get((member, epoch), 0) + count > limits.per_epoch:
            raise _exhausted("this key epoch", SECONDS_PER_DAY)

    def waste(self, member: str, count: int) -> None:
        """Spend `count` elements of the second alone: they were hashed in vain."""
        if member in self._buckets:
            self._buckets[member].tokens -= count

    def account(self, member: str, epoch: bytes, count: int, *, day: date) -> None:
        """Spend without asking: an evaluation that was given back stands in a receipt after all."""
        if member in self._buckets:
            self._buckets[member].tokens -= count
        today = self._today(day)
        today[member] = today.get(member, 0) + count
        self._epochs[member, epoch] = self._epochs.get((member, epoch), 0) + count

    def give_back(self, member: str, epoch: bytes, count: int, *, day: date) -> None:
        """Return what `take` spent on `day` on an ask that was then answered from the store, or not at all."""
        if member in self._buckets:
            self._buckets[member].tokens += count  # `take` cuts it to one second's depth
        today = self._today(day)
        today[member] = max(0, today.get(member, 0) - count)
        self._epochs[member, epoch] = max(0, self._epochs.get((member, epoch), 0) - count)

    def _today(self, day: date) -> dict[str, int]:
        """The sums of a day; of others, only its neighbours' are remembered."""
        sums = self._days.get(day)
        if sums is None:
            self._days = {other: kept for other, kept in self._days.items() if abs((other - day).days) <= 1}
            sums = self._days[day] = {}
        return sums


class Allowance:
    """How much of one kind of work each member may cause, whether or not anything comes of it.

    Of more than `most` members, the one that came first is forgotten.
    """

    def __init__(self, rate: Rate, *, most: int | None = None) -> None:
        self._rate = rate
        self._most = most
        self._buckets: dict[str, _Bucket] = {}

    def take(self, member: str, *, now: float) -> None:
        """Take one of the member's; `now` is a monotonic clock in seconds.

        Raises:
            AskRefused: `too_often`, with the seconds after which to try again.

        """
        bucket = self._buckets.setdefault(member, _Bucket(self._rate.depth, now))
        if self._most is not None and len(self._buckets) > self._most:
            del self._buckets[next(iter(self._buckets))]
        tokens = min(self._rate.depth, bucket.tokens + max(0.0, now - bucket.at) * self._rate.per_second)
        if tokens < 1:
            raise AskRefused(
                "too_often",
                "Too many requests came from there, were refused, or repeat what was answered before. Ask again later.",
                retry_after=(1 - tokens) / self._rate.per_second,
            )
        bucket.tokens, bucket.at = tokens - 1, now


def _exhausted(span: str, seconds: float) -> AskRefused:
    return AskRefused(
        "quota_exhausted",
        f"The quota of elements for {span} is spent. Ask again later, or ask the governors for a higher quota.",
        retry_after=max(0.001, seconds),
    )
