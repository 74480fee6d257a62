"""Settlements that contradict the receipts in the logs of the two who signed them (pure).

Both signed what they had then, and that is now in their logs. But for a machine that stood still, a receipt may come
after the settlement that its time belongs to. So of each direction of a settlement, with the receipts S that it counts:

* S is a part of all that a member's log has of the period, once the log is settled beyond it (`WHOLE`);
* what stands before the settlement in both logs, and is older than the settlement's entry by the grace, is a part of S
  (`BEFORE`): what was waiting to be logged then had been signed long before.

Of S only a Merkle root and sums are known: a part of as many receipts is the whole, and must have its root.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from riskshare.audit import settled
from riskshare.audit.bench import Bench, Charge, Draft, Outcome, Tally
from riskshare.audit.evidence import MAX_RECEIPTS
from riskshare.audit.fact import BROKEN, SettlementRow
from riskshare.audit.settlement import Direction, Root, Settlement
from riskshare.errors import EncodingError

Share = Literal["whole", "before"]

_ALL: Final = 2**62


class Sums(NamedTuple):
    """What receipts come to: how many, of how many elements, and the Merkle root over their sorted ids (32 bytes)."""

    receipts: int
    evaluations: int
    root: bytes


def sums_of(receipts: Iterable[tuple[bytes, int]]) -> Sums:
    """The sums of receipts as id and elements, in the order of their ids, each once."""
    root, number, elements = Root(), 0, 0
    for id_, count in receipts:
        root.add(id_)
        number, elements = number + 1, elements + count
    return Sums(number, elements, root.value())


def contradicts(direction: Direction, found: Sums, share: Share) -> bool:
    """Whether the receipts found cannot be all that there are to count (`whole`), or a part of it (`before`)."""
    if direction.receipts == found.receipts:
        return (direction.root, direction.evaluations) != (found.root, found.evaluations)
    if share == "whole":
        return direction.receipts > found.receipts or direction.evaluations > found.evaluations
    return direction.receipts < found.receipts or direction.evaluations < found.evaluations


@dataclass(frozen=True, slots=True)
class _Place:
    """A settlement where it stands in a member's log, and in the other one's (None: it does not)."""

    row: SettlementRow
    elsewhere: int | None

    @property
    def other(self) -> str:
        return self.row.second if self.row.member == self.row.first else self.row.first


class _Claim(NamedTuple):
    """Which receipts are compared: of what share, answered before when, and the place of what shows it."""

    share: Share
    until: int
    anchor: tuple[tuple[str, int], ...]


class _Tail(NamedTuple):
    """The own times of what stands before a settlement: the newest; one that most others reach, and its index."""

    newest: int
    reached: int
    anchor: int


def wrong_settlement(bench: Bench) -> Iterator[Outcome]:
    """Settlements that receipts contradict; those in one log alone are counted."""
    for *row, elsewhere in bench.facts.rows("settlements"):
        place = _Place(SettlementRow(*row), elsewhere)
        other = bench.standings.get(place.other)
        if elsewhere is None and other is not None and other.shows(place.row.closed):
            yield Tally("undisclosed", place.other)
        yield from _judge(bench, place)


def _judge(bench: Bench, place: _Place) -> Iterator[Outcome]:
    row, standing = place.row, bench.standings.get(place.row.member)
    if standing is None or standing.reached is None or not standing.shows(row.opened):
        return
    settlement = _read(bench, row)
    tail = _tail(bench, row.member, row.idx)
    if settlement is None:
        return
    for direction in settlement.directions:
        if bench.settled(row.member, max(row.closed, tail.newest)):
            claim = _Claim("whole", row.closed, bench.reaching(row.member))
            yield from _compare(bench, place, direction, claim)
        earliest = _earliest(bench, place, tail)
        if earliest is not None:
            until = min(row.closed, earliest - bench.grace + 1)
            claim = _Claim("before", until, ((row.member, tail.anchor),))
            yield from _compare(bench, place, direction, claim)


def _earliest(bench: Bench, place: _Place, tail: _Tail) -> int | None:
    """A time at which neither log had the settlement yet; None if one of them does not show it."""
    other = bench.standings.get(place.other)
    if place.elsewhere is None or other is None or not other.shows(place.row.opened):
        return None
    return min(tail.reached, _tail(bench, place.other, place.elsewhere).reached)


def _compare(bench: Bench, place: _Place, direction: Direction, claim: _Claim) -> Iterator[Outcome]:
    row = place.row
    bounds = (row.idx, place.other, place.elsewhere) if claim.share == "before" else (_ALL, row.member, _ALL)
    ids: list[bytes] = []

    def found() -> Iterator[tuple[bytes, int]]:
        span = direction.owner, direction.querier, row.opened, claim.until, BROKEN
        for id_, count, _ in bench.facts.rows("receipts_of_a_period", *span, row.member, *bounds):
            if len(ids) <= MAX_RECEIPTS:
                ids.append(id_)
            yield id_, count

    if contradicts(direction, sums_of(found()), claim.share):
        places = ((row.member, row.idx), *claim.anchor)
        yield Charge("wrong_settlement", row.member, place.other, row.closed, Draft(places=places, loose=tuple(ids)))


def _read(bench: Bench, row: SettlementRow) -> Settlement | None:
    data = bench.statement(row.member, row.idx)
    try:
        return None if data is None else Settlement.from_json(data)
    except EncodingError:
        return None  # both members refuse to sign such a one: what it counts is not known


def _tail(bench: Bench, member: str, index: int) -> _Tail:
    """What stands before an entry. Nothing there: no time at all."""
    start = max(bench.standings[member].log.start, index - settled.TAIL_MOST)
    times = [(at, idx) for idx, at in bench.facts.rows("times_between", member, start, index)]
    if not times:
        return _Tail(0, 0, -1)
    length = settled.tail_length(len(times))
    last = sorted(times, key=lambda one: one[1])[-length:]
    reached = settled.reach([at for at, _ in last]) or 0
    return _Tail(max(at for at, _ in times), reached, next(idx for at, idx in last if at == reached))
