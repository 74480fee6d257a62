"""A check computed again: from the identifier to the verdict, and compared with what was recorded (pure).

For each element that the verdict rests on: `blind · H(identifier)` stands at its position; the owner has proved that it
evaluated under the key of its epoch statement; so the token, the label on each list, and whether the snapshot named has
that label, are all determined. A blinded element binds its identifier: another pair of identifier and blind would need
a discrete logarithm.

A verdict is judged by what binds its author. An owner recorded as `answered` or `cached` must have an answer for every
identifier and every list; all that is listed there must be recorded as a hit, and nothing else may be. An owner
recorded as late, stale or down is not contradicted: an answer or a bucket may have come too late. Such a check is
incomplete, and never clear.

The member's own lists are not looked into: it needs no exchange for them, and nothing was proved.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from riskshare.audit.basis import Basis, Exchange, Fault
from riskshare.errors import EncodingError, GroupError, OpenError, SegmentError
from riskshare.membership import oprf
from riskshare.membership.record import Record, label, open_record, record_key
from riskshare.names import list_owner
from riskshare.query.message import ELEMENT_BYTES
from riskshare.query.verdict import COMPLETE, Asked, Hit, OwnerResult, Word, decide
from riskshare.sharing.segment_read import NeedBucket
from riskshare.sharing.snapshot import SnapshotStatement
from riskshare.sharing.view import ListView

LONGEST: Final = timedelta(minutes=10)
"""A check that took longer is judged as if it had taken so long."""

CLOCKS: Final = timedelta(seconds=120)
"""How far two honest clocks may be apart."""

Place = tuple[int, str]
"""An identifier's index and a list's full name."""

Gap = tuple[str, str]
"""Step and sentence."""

_UNREAD: Final = frozenset({"answered", "adopted", "left_out"})
"""States of a batch that was answered: if its receipt is not here, nothing can be said of it."""

_LAST_SECOND: Final = 253_402_300_799
"""The last that a datetime holds; an id may name a later one."""


@dataclass(frozen=True, slots=True)
class Source:
    """One list at the snapshot that the record names, every byte of it verified."""

    snapshot: SnapshotStatement
    view: ListView = field(repr=False)


@dataclass(frozen=True, slots=True)
class Recomputed:
    """What came of a check.

    `faults` convict; `gaps` say in which step and in words why a part of it could not be recomputed; the step is "" for
    what no audit recomputes. `recorded` and `recomputed` are the verdicts; `elements` and `lists` count what was seen.
    """

    check: UUID
    recorded: Word
    recomputed: Word | None
    faults: tuple[Fault, ...] = ()
    gaps: tuple[Gap, ...] = ()
    elements: int = 0
    lists: int = 0

    @property
    def whole(self) -> bool:
        """Whether all of it was recomputed."""
        return not self.gaps


@dataclass(slots=True)
class _Work:
    """The state of one check; `unknown` are parts that cannot be judged, (identifier, owner, epoch)."""

    basis: Basis
    elements: Mapping[bytes, tuple[bytes, bytes]]
    proven: Collection[bytes]
    sources: Mapping[str, Source]
    tokens: dict[tuple[int, str, bytes], bytes] = field(default_factory=dict)
    unknown: set[tuple[int, str, bytes]] = field(default_factory=set)
    listed: dict[Place, tuple[Record, bool]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    gaps: dict[Gap, None] = field(default_factory=dict)
    verified: int = 0
    lists: int = 0

    def fault(self, step: str, kind: str, sentence: str, receipt: bytes = b"") -> None:
        """The member is convicted."""
        self.faults.append(Fault(step, kind, self.basis.member, sentence, receipt))

    def gap(self, step: str, sentence: str) -> None:
        """Something could not be recomputed; said once."""
        self.gaps[step, sentence] = None

    @property
    def withheld(self) -> bool:
        """Whether the member shows less than its record rests on: what follows from that is no fault of its own."""
        return any(fault.kind == "withheld" for fault in self.faults)


def recompute(
    basis: Basis,
    elements: Mapping[bytes, tuple[bytes, bytes]],
    proven: Collection[bytes],
    sources: Mapping[str, Source],
    owners: Collection[str] = (),
) -> Recomputed:
    """Compute a check again.

    Args:
        basis: the record and its exchanges.
        elements: of each receipt (by id) the elements and results that it commits to.
        proven: ids of the receipts whose owner has proved the evaluation.
        sources: lists at the snapshots that the record names, by full name; one that is missing is a gap.
        owners: all owners that the registry of that time names for sure; nobody may be left out of a complete check.

    """
    work = _Work(basis, elements, proven, sources)
    work.faults.extend(basis.faults)
    _judge_receipts(work)
    for part in basis.record.asked:
        _finalize(work, part)
    for name in basis.record.snapshots:
        _look(work, name)
    _judge_owners(work, owners)
    _judge_hits(work)
    _judge_word(work)
    return Recomputed(
        check=basis.stated.check,
        recorded=basis.record.word,
        recomputed=_word(work),
        faults=tuple(work.faults),
        gaps=tuple(work.gaps),
        elements=work.verified,
        lists=work.lists,
    )


# --- exchanges and elements ---------------------------------------------------------------------------


def _judge_receipts(work: _Work) -> None:
    """All receipts that the verdict rests on are shown, and were asked for the purpose of the check."""
    basis = work.basis
    missing = len(set(basis.record.receipts)) - len(basis.rests_on)
    if missing and any(state == "left_out" for state in basis.states.values()):
        work.gap("4", "the check has more batches than are shown at once")
    elif missing and not basis.faults:
        work.fault("4", "withheld", f"The record rests on {missing} receipts that {basis.member} does not show.")
    for exchange in basis.rests_on:
        if exchange.ask.purpose != basis.record.purpose:
            work.fault(
                "4",
                "wrong_verdict",
                f"The record says {basis.record.purpose}; {exchange.ask.owner} was asked for the purpose"
                f" {exchange.ask.purpose}.",
                exchange.id,
            )


def _finalize(work: _Work, part: Asked) -> None:
    """Verify one element, and derive its token if the verdict rests on it."""
    place = (part.identifier, part.owner, part.epoch)
    exchange = None if part.batch is None else work.basis.exchanges.get((part.owner, part.batch))
    if exchange is None or exchange.id not in work.basis.record.receipts:
        if exchange is None and part.batch is not None and work.basis.states.get((part.owner, part.batch)) in _UNREAD:
            work.unknown.add(place)
        return  # not answered, or too late: the record does not rest on it
    both = work.elements.get(exchange.id)
    if both is None:
        work.unknown.add(place)
        work.gap("4", f"neither side shows the elements of an exchange with {part.owner}")
        return
    if not _stands(work, part, both[0]):
        work.unknown.add(place)
        work.fault(
            "3",
            "other_identifier",
            f"The element that {work.basis.member} sent to {part.owner} is not that of the identifier in its record.",
            exchange.id,
        )
        return
    work.verified += 1
    if exchange.id not in work.proven:
        work.unknown.add(place)
        work.gap("5", f"{part.owner} has not proved an evaluation")
        return
    start = part.position * ELEMENT_BYTES
    value = work.basis.record.identifiers[part.identifier].oprf_input
    # A proof holds for elements of the group alone, and a blind that is none does not stand: this raises nothing.
    work.tokens[place] = oprf.finalize(value, oprf.invert(part.blind), both[1][start : start + ELEMENT_BYTES])


def _stands(work: _Work, part: Asked, elements: bytes) -> bool:
    """Whether blind · H(identifier) stands at the position."""
    try:
        blinded = oprf.blind(work.basis.record.identifiers[part.identifier].oprf_input, part.blind)
    except GroupError:
        return False
    start = part.position * ELEMENT_BYTES
    return elements[start : start + ELEMENT_BYTES] == blinded


# --- lists --------------------------------------------------------------------------------------------


def _look(work: _Work, name: str) -> None:
    """Look for every identifier on one list of another owner."""
    record, owner = work.basis.record, list_owner(name)
    if owner == work.basis.member:
        work.gap("", "the member's own lists are not looked into")
        return
    source = work.sources.get(name)
    if source is None:
        work.gap("6", f"the snapshot of {name} could not be had whole")
        return
    status, versions = record.owners.get(owner, ("down", {}))
    complete = status in COMPLETE
    if versions.get(name) != source.snapshot.version:
        work.fault("7", "wrong_verdict", f"The record names a version of {name} that its own snapshot is not.")
    begun, answered = _span(work)
    out_of_term = source.snapshot.expires_at + CLOCKS <= begun or source.snapshot.issued_at > answered + CLOCKS
    if complete and out_of_term:
        work.fault("7", "wrong_verdict", f"The check looked into {name} at a snapshot that was not in its term.")
    work.lists += 1
    for index in range(len(record.identifiers)):
        place = (index, owner, source.snapshot.epoch)
        token = work.tokens.get(place)
        if token is not None:
            _look_up(work, source, (index, name), token, complete=complete)
        elif complete and place not in work.unknown:
            work.unknown.add(place)
            if work.withheld:
                continue
            work.fault(
                "8",
                "wrong_verdict",
                f"The record says that {owner} answered, and rests on no answer of it for each identifier and list.",
            )


def _look_up(work: _Work, source: Source, place: Place, token: bytes, *, complete: bool) -> None:
    name = place[1]
    wanted = label(token, name)
    try:
        sealed = source.view.find(wanted)
        assert not isinstance(sealed, NeedBucket), "an auditor has whole segments"
        record = None if sealed is None else open_record(sealed, record_key(token, name), name, wanted)
    except (SegmentError, OpenError, EncodingError):
        if complete:
            work.fault("8", "wrong_verdict", f"A record on {name} does not open, which is no complete answer.")
        return
    begun, answered = _span(work)
    if record is not None and record.valid_until > begun:
        # Between the beginning and the end of the check both are right; so is a hit that came too late.
        work.listed[place] = record, complete and record.valid_until > answered


def _span(work: _Work) -> tuple[datetime, datetime]:
    """When the check began, by its id, and when it was answered."""
    answered = work.basis.record.answered_at
    begun = datetime.fromtimestamp(min((work.basis.record.check.int >> 80) / 1000, _LAST_SECOND), UTC)
    return max(min(begun, answered), answered - LONGEST), answered


# --- the verdict --------------------------------------------------------------------------------------


def _judge_owners(work: _Work, owners: Collection[str]) -> None:
    record, member = work.basis.record, work.basis.member
    left_out = sorted(set(owners) - set(record.owners))
    if record.complete and left_out:
        work.fault("8", "wrong_verdict", f"The check is recorded as complete, and leaves out {', '.join(left_out)}.")
    for owner, (status, versions) in record.owners.items():
        names = {name for name in record.snapshots if list_owner(name) == owner}
        if owner != member and names != set(versions):
            work.fault("8", "wrong_verdict", f"The record names other lists of {owner} than it has snapshots of.")
        if owner == member or status not in COMPLETE or record.categories:
            continue
        asked = (exchange for exchange in work.basis.rests_on if exchange.ask.owner == owner)
        if any(not _names(exchange) <= names for exchange in asked):
            work.gap("", f"an ask names lists of {owner} that the check did not look into")


def _names(exchange: Exchange) -> set[str]:
    return set(exchange.ask.snapshots)


def _judge_hits(work: _Work) -> None:
    """What is listed is recorded as a hit, and what is recorded is listed."""
    member = work.basis.member
    recorded = {(hit.identifier, hit.list): hit.record for hit in work.basis.record.hits}
    for (index, name), (_, must) in work.listed.items():
        if must and (index, name) not in recorded:
            work.fault(
                "8", "wrong_verdict", f"An identifier of the check stands on {name}; {member} recorded no such hit."
            )
        elif not must and (index, name) not in recorded:
            work.gap("", f"a hit on {name} may have come too late for the verdict")
    for (index, name), record in recorded.items():
        owner = list_owner(name)
        if owner == member or ((index, name) in work.listed and work.listed[index, name][0] == record):
            continue
        source = work.sources.get(name)
        if name in work.basis.record.snapshots and (
            source is None or (index, owner, source.snapshot.epoch) in work.unknown
        ):
            continue  # a gap, or a fault of its own
        work.fault("8", "wrong_verdict", f"{member} recorded a hit on {name} that does not stand there.")


def _judge_word(work: _Work) -> None:
    """The verdict's word follows from the hits and statuses beside it."""
    record = work.basis.record
    if (record.word, record.complete) != decide(_hits(work), _results(work)):
        work.fault(
            "8", "wrong_verdict", f"The verdict {record.word} does not follow from the hits and owners recorded."
        )


def _hits(work: _Work) -> list[Hit]:
    return [Hit(hit.identifier, list_owner(hit.list), hit.list, hit.record) for hit in work.basis.record.hits]


def _results(work: _Work) -> list[OwnerResult]:
    return [OwnerResult(owner, status, 0.0, versions) for owner, (status, versions) in work.basis.record.owners.items()]


def _word(work: _Work) -> Word | None:
    """The verdict as it should be; None if that is not known for sure."""
    own = [hit for hit in _hits(work) if hit.owner == work.basis.member]
    found = [Hit(index, list_owner(name), name, record) for (index, name), (record, _) in work.listed.items()]
    if work.unknown and not (own or found):
        return None
    return decide([*own, *found], _results(work))[0]
