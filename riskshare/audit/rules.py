"""What convicts, and of what: rules over single exchanges and the registry (pure).

A rule convicts only what no crash, partition, retry or clock within 60 seconds can explain. So:

* two clocks may be 120 seconds apart (`CLOCKS`);
* a machine may stand still between any two instructions, for days. What an owner admitted in time may be signed long
  after: an answer that is *late* convicts nobody, one from *before* its ask does. Where a rule asks what an owner could
  know or do when it admitted, it takes the earlier of both times;
* of the versions of the registry that a member may have held, the one that speaks most for it counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from riskshare.audit.fact import ANSWER_KEY_VOID, ASK_KEY_VOID, BROKEN, Exchange, milliseconds
from riskshare.audit.versions import CLOCKS, Versions
from riskshare.query.message import CLOCK_TOLERANCE_SECONDS, MAX_ELEMENTS
from riskshare.registry import Quota, Registry

HOUR: Final = 3_600_000
DAY: Final = 24 * HOUR

ADMITTED: Final = CLOCK_TOLERANCE_SECONDS * 1000 + CLOCKS
"""How far before its ask an answer may be dated, in milliseconds: an owner admits within the tolerance of its own
clock, and that may be corrected, or be another machine's, when it signs."""

NOTICE: Final = 600_000
"""How long after it knew of a registry version every process of a member goes by it, in milliseconds."""

BURST_SECONDS: Final = 300
"""For so long the processes of one owner may not have heard of one another's evaluations."""

PROCESSES: Final = 16
"""Each process lets one batch go beyond the second's quota. So many are allowed for."""


def proves(exchange: Exchange) -> bool:
    """Whether the exchange took place, as far as its signatures say: both hold."""
    return not exchange.faults & BROKEN


def binds_querier(exchange: Exchange) -> bool:
    """Whether the querier answers for its half: a key that somebody else had binds nobody."""
    return proves(exchange) and not exchange.faults & ASK_KEY_VOID


def binds_owner(exchange: Exchange) -> bool:
    """Whether the owner answers for its half."""
    return proves(exchange) and not exchange.faults & ANSWER_KEY_VOID


def admitted_at(exchange: Exchange) -> int:
    """A time before which, but for clocks, the owner did not decide to answer; see the module's docstring."""
    return min(exchange.asked_at, exchange.answered_at)


# -- times ---------------------------------------------------------------------------------------------


def is_backdated(exchange: Exchange) -> bool:
    """Whether the answer is dated before its ask can have been made: the owner signed both times."""
    return exchange.answered_at < exchange.asked_at - ADMITTED


def is_from_the_future(at: int, seen: int) -> bool:
    """Whether a time lies behind the one at which a quorum had already cosigned what bears it."""
    return at > seen + CLOCKS


# -- the registry --------------------------------------------------------------------------------------


def may_ask(registry: Registry, querier: str, purpose: str) -> bool:
    """Whether a version of the registry lets a member ask for a purpose."""
    found = registry.member(querier)
    return found is not None and purpose in found.purposes


def is_in_standing(registry: Registry, querier: str) -> bool:
    """Whether by a version of the registry a member may be answered."""
    found = registry.member(querier)
    return found is not None and found.in_good_standing and found.has_role("querier")


def has_wrong_purpose(exchange: Exchange, versions: Versions) -> bool:
    """Whether no version that either side may have held allows the purpose.

    Raises RegistryError `registry_gap`: the version that the ask names cannot be judged.
    """
    held = versions.held(exchange.registry, exchange.answered_at)
    return bool(held) and not any(may_ask(one, exchange.querier, exchange.purpose) for one in held)


def purpose_allowed_from(versions: Versions, querier: str, purpose: str, first: int) -> int | None:
    """From which answer's time on a purpose may be allowed, to an ask that names version `first`; None: never.

    So that `has_wrong_purpose` is decided once for all exchanges of a kind. Raises RegistryError `registry_gap`.
    """
    following = versions.from_version(first)
    if not following:
        return 0
    for one in following:
        if may_ask(one, querier, purpose):
            return 0 if one.version == first else milliseconds(one.issued_at) - CLOCKS
    return None


@dataclass(frozen=True, slots=True)
class Suspension:
    """A run of versions by which a member is not to be answered: from `first` on, until `ended` (None: not yet).

    `ended` is the time of issue of the version that lets it in again, in milliseconds.
    """

    member: str
    first: int
    ended: int | None

    def covers(self, exchange: Exchange, known: int) -> bool:
        """Whether the owner, which held at least version `known`, answered the member in spite of it."""
        over = self.ended is not None and self.ended <= exchange.answered_at + CLOCKS
        return exchange.querier == self.member and known >= self.first and not over


def suspensions(versions: Versions, member: str) -> Iterator[Suspension]:
    """The suspensions of a member, in their order."""
    first: int | None = None
    for registry in versions.registries:
        if not is_in_standing(registry, member):
            first = registry.version if first is None else first
        elif first is not None:
            yield Suspension(member, first, milliseconds(registry.issued_at))
            first = None
    if first is not None:
        yield Suspension(member, first, None)


def knew_by(known_at: int) -> int:
    """The earliest admission for which what a member knew at a time counts: by then all its processes know."""
    return known_at + NOTICE


# -- quotas --------------------------------------------------------------------------------------------


def quotas_held(versions: Versions, querier: str, first: int, until: int) -> Sequence[Quota]:
    """The quotas of a querier by all versions that the owner may have held until a time.

    Raises RegistryError `registry_gap`.
    """
    found = (registry.member(querier) for registry in versions.held(first, until))
    return [member.quota for member in found if member is not None]


def slack(quotas: Iterable[Quota]) -> int:
    """Elements beyond a quota that an honest owner may let through.

    Several processes serve one owner and hear of one another every few seconds; around midnight an answer belongs to
    another day than its admission; a batch larger than a second's quota goes whole.
    """
    return BURST_SECONDS * max((quota.per_second for quota in quotas), default=0) + PROCESSES * MAX_ELEMENTS


def most_in_a_day(quotas: Sequence[Quota]) -> int | None:
    """Most elements of one querier that an honest owner has answered on one day; None if nothing can be said."""
    return max(quota.per_day for quota in quotas) + slack(quotas) if quotas else None


def most_in_an_epoch(quotas: Sequence[Quota]) -> int | None:
    """Most elements of one querier that an honest owner has answered in one epoch; None: no bound."""
    bounds = [quota.per_epoch for quota in quotas if quota.per_epoch is not None]
    return max(bounds) + slack(quotas) if bounds and len(bounds) == len(quotas) else None


# -- epochs --------------------------------------------------------------------------------------------


def is_out_of_term(exchange: Exchange, opened: int, closed: int) -> bool:
    """Whether an epoch was over, or not begun, both when the answer was admitted and when it was signed.

    `opened` and `closed` bound the term of the statement that opened the epoch. An emergency end is not looked at: it
    may be dated back to when the key was lost, and what was answered until then was answered in good faith.
    """
    before = max(exchange.asked_at, exchange.answered_at) < opened - CLOCKS
    return before or admitted_at(exchange) >= closed + CLOCKS
