"""What the two sides of every exchange, held against each other, charge whom with (pure).

Each rule reads facts and yields *charges* and *tallies*. A charge names a party and what proves it; it becomes a
finding only if the evidence file made of it convicts that party (`conviction`). A tally counts what blames nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Final

from riskshare.audit import fact, rules, settled
from riskshare.audit.bench import Bench, Charge, Draft, Outcome, Rule, Tally, Unheld
from riskshare.audit.contradicted import wrong_settlement
from riskshare.audit.fact import BROKEN, Exchange, SnapshotNamed
from riskshare.audit.versions import CLOCKS
from riskshare.errors import RegistryError
from riskshare.sharing.snapshot import SnapshotStatement

_FIELDS: Final = len(Exchange._fields)
_EVER: Final = 2**62


# -- both sides ----------------------------------------------------------------------------------------


def missing(bench: Bench) -> Iterator[Outcome]:
    """What one side logged and the other did not."""
    contacts = _Contacts(bench)
    for row in bench.facts.rows("one_sided", BROKEN):
        exchange, at_querier, at_owner = Exchange(*row[:_FIELDS]), *row[_FIELDS:]
        for member, other, logged in (
            (exchange.querier, exchange.owner, at_querier),
            (exchange.owner, exchange.querier, at_owner),
        ):
            if logged:
                continue
            standing = bench.standings.get(member)
            if standing is None or not standing.whole:
                yield Unheld(member)
                continue
            if not standing.shows(exchange.answered_at):
                continue
            if any(bench.facts.rows("knows_the_ask", exchange.ask, member, exchange.batch)):
                continue  # it logged another answer, which is `altered`; or that it got none, which is counted
            charge = contacts.charge(exchange, member, other)
            yield charge or Tally("late", member)


class _Contacts:
    """Whether an absence convicts; what is asked of the database for many exchanges is asked once an hour of them."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._contacts = cache(self._find_contacts)
        self._unknown = cache(self._find_unknown)
        self._places = cache(self._find_places)

    def charge(self, exchange: Exchange, member: str, other: str) -> Charge | None:
        """The charge against the member in whose log the exchange is missing, or None if it is only late."""
        bench, at = self._bench, exchange.answered_at
        binding = rules.binds_querier(exchange) and rules.binds_owner(exchange)
        if not binding or not bench.settled(member, at):
            return None
        places: tuple[tuple[str, int], ...] = bench.reaching(member)
        loose: tuple[bytes, ...] = ()
        if member == exchange.querier:
            found = self._contact(exchange)
            if found is None:
                return None
            places, loose = places + found[0], found[1]
        draft = Draft((exchange.id,), places, loose, absent=(member, exchange.ask))
        return Charge("missing", member, other, at, draft)

    def _contact(self, exchange: Exchange) -> tuple[tuple[tuple[str, int], ...], tuple[bytes, ...]] | None:
        pair = exchange.owner, exchange.querier
        contacts = self._contacts(*pair, -(-exchange.answered_at // rules.HOUR))
        if contacts is not None:
            return self._places(pair, *contacts), ()
        unknown = self._unknown(*pair, -(-exchange.answered_at // rules.HOUR))
        return ((), tuple(one for one, _ in unknown)) if unknown else None

    def _find_places(self, pair: tuple[str, str], *times: int) -> tuple[tuple[str, int], ...]:
        rows = self._bench.facts.rows
        return tuple((pair[1], idx) for at in times for (idx,) in rows("contact_place", *pair, at))

    def _find_contacts(self, owner: str, querier: str, hour: int) -> tuple[int, ...] | None:
        """Contacts that are enough, for what was exchanged before the end of an hour."""
        found: list[int] = []
        since = hour * rules.HOUR + self._bench.grace
        for _ in range(settled.CONTACTS):
            rows = self._bench.facts.rows("contacts", owner, querier, since, _EVER, BROKEN)
            found += [at for (at,) in rows]
            since = found[-1] + settled.RETURN if found else _EVER
        return settled.in_contact(found, hour * rules.HOUR, self._bench.grace)

    def _find_unknown(self, owner: str, querier: str, hour: int) -> list[tuple[bytes, int]]:
        """Asks of as many hours that the querier's log knows nothing of, if they are so many that they convict."""
        since = hour * rules.HOUR + self._bench.grace
        found: list[tuple[bytes, int]] = []
        for id, at in self._bench.facts.rows("unknown_to_the_querier", owner, querier, since, BROKEN):  # noqa: A001 - the column's word
            if at < since:
                continue
            if len(found) < settled.SUPPRESSED:
                if not found or at // rules.HOUR != found[-1][1] // rules.HOUR:
                    found.append((id, at))
            elif settled.is_suppressed(
                [time for _, time in found] + [at], since - self._bench.grace, self._bench.grace
            ):
                return [*found, (id, at)]
        return []


def double(bench: Bench) -> Iterator[Outcome]:
    """One receipt twice in one log."""
    for member, _, _, first, last in bench.facts.rows("repeated"):
        if member in bench.standings:
            yield Charge("double", member, "", 0, Draft(places=((member, first), (member, last))))


def altered(bench: Bench) -> Iterator[Outcome]:
    """Two answers to one ask; two asks of one batch."""
    for place in bench.facts.rows("of_a_batch", fact.MALFORMED):
        found = [Exchange(*row) for row in bench.facts.rows("exchanges_of_a_batch", *place)]
        alone = [fact.UnansweredRow(*row) for row in bench.facts.rows("unanswered_of_a_batch", *place)]
        answers = [one for one in found if rules.binds_owner(one)]
        for first, second in pairwise(answers):
            if first.ask == second.ask and first.answer != second.answer:
                draft = Draft((first.id, second.id))
                yield Charge("altered", first.owner, first.querier, second.answered_at, draft)
        yield from _two_asks(found, alone)


def _two_asks(found: list[Exchange], alone: list[fact.UnansweredRow]) -> Iterator[Outcome]:
    unsigned = fact.MALFORMED | fact.UNSIGNED_ASK | fact.ASK_KEY_VOID | fact.OTHER_NETWORK | fact.UNKNOWN_MEMBER
    signed = [one for one in found if not one.faults & unsigned]
    asks = {one.ask: Draft((one.id,)) for one in signed} | {
        one.ask: Draft(places=((one.member, one.idx),)) for one in alone
    }
    querier = next((one.querier for one in signed), alone[0].member if alone else "")
    owner = next((one.owner for one in signed), alone[0].owner if alone else "")
    at = max([one.asked_at for one in signed] + [one.asked_at for one in alone], default=0)
    drafts = list(asks.values())
    for first, second in pairwise(drafts):
        draft = Draft(first.exchanges + second.exchanges, first.places + second.places)
        yield Charge("altered", querier, owner, at, draft)


def unsigned(bench: Bench) -> Iterator[Outcome]:
    """A row whose halves are not those of two members who signed them."""
    wrong = fact.MALFORMED | fact.OTHER_ASK | fact.BAD_ASK_SIGNATURE | fact.BAD_ANSWER_SIGNATURE
    for member, idx, *row in bench.facts.rows("faulty", wrong):
        exchange = Exchange(*row)
        other = exchange.owner if member == exchange.querier else exchange.querier
        yield Charge("unsigned", member, other, exchange.answered_at, Draft(places=((member, idx),)))


# -- times ---------------------------------------------------------------------------------------------


def backdated(bench: Bench) -> Iterator[Outcome]:
    """Answers from before their asks; answers long after them are counted."""
    for row in bench.facts.rows("backdated", BROKEN, rules.ADMITTED):
        exchange = Exchange(*row)
        if rules.binds_owner(exchange) and rules.binds_querier(exchange):
            draft = Draft((exchange.id,))
            yield Charge("backdated", exchange.owner, exchange.querier, exchange.answered_at, draft)
    for owner, count in bench.facts.rows("answered_late", BROKEN, rules.ADMITTED):
        yield Tally("answered_late", owner, count)


def postdated(bench: Bench) -> Iterator[Outcome]:
    """Times that lie behind the log that bears them; entries that came long after them are counted."""
    for member, idx, *row in bench.facts.rows("future_receipts", BROKEN, CLOCKS):
        exchange, seen = Exchange(*row), bench.standings[member].log.last_cosigned
        draft = Draft(places=((member, idx),))
        if seen is None:
            continue
        if rules.is_from_the_future(exchange.answered_at, seen) and rules.binds_owner(exchange):
            yield Charge("backdated", exchange.owner, exchange.querier, exchange.answered_at, draft)
        if rules.is_from_the_future(exchange.asked_at, seen) and rules.binds_querier(exchange):
            yield Charge("backdated", exchange.querier, exchange.owner, exchange.asked_at, draft)
    for member, idx, at in bench.facts.rows("future_statements", CLOCKS):
        yield Charge("backdated", member, "", at, Draft(places=((member, idx),)))
    for member, count in bench.facts.rows("sequenced_late", rules.NOTICE):
        yield Tally("sequenced_late", member, count)


# -- the registry --------------------------------------------------------------------------------------


def wrong_purpose(bench: Bench) -> Iterator[Outcome]:
    """Purposes to which the querier has no right."""
    for owner, querier, purpose, registry, first, _ in bench.facts.rows("purposes"):
        try:
            allowed = rules.purpose_allowed_from(bench.versions, querier, purpose, registry)
        except RegistryError:
            continue  # replay says that a version is missing
        until = _EVER if allowed is None else allowed
        if first >= until:
            continue
        for row in bench.facts.rows("of_a_purpose", owner, querier, purpose, registry, until, BROKEN):
            exchange = Exchange(*row)
            if not rules.binds_querier(exchange):
                continue
            draft = Draft((exchange.id,))
            yield Charge("wrong_purpose", querier, owner, exchange.answered_at, draft)
            if rules.binds_owner(exchange):
                yield Charge("wrong_purpose", owner, querier, exchange.answered_at, draft)


def over_quota(bench: Bench) -> Iterator[Outcome]:
    """More elements than the querier's quota, of a day or of an epoch.

    A quota may have been another one before: so what was asked by a version and all later ones is held against the
    quotas of these, from the newest version on downwards.
    """
    for spans, single, bound in (
        ("days", "of_a_day", rules.most_in_a_day),
        ("epochs_used", "of_an_epoch", rules.most_in_an_epoch),
    ):
        for place, sums in groupby(bench.facts.rows(spans), key=itemgetter(0, 1, 2)):
            total = last = 0
            for _, querier, _, registry, elements, answered in sums:
                total, last = total + elements, max(last, answered)
                with suppress(RegistryError):  # replay says that a version is missing
                    most = bound(rules.quotas_held(bench.versions, querier, registry, last))
                    if most is not None and total > most:
                        yield from _spent(bench, single, (*place, registry), most)
                        break


def _spent(bench: Bench, single: str, place: tuple[object, ...], most: int) -> Iterator[Outcome]:
    """The largest answers that together are more than `most` elements."""
    found: list[Exchange] = []
    total = 0
    for row in bench.facts.rows(single, *place, BROKEN):
        exchange = Exchange(*row)
        if rules.binds_owner(exchange):
            found.append(exchange)
            total += exchange.count
        if total > most:
            at, draft = max(one.answered_at for one in found), Draft(loose=tuple(one.id for one in found))
            yield Charge("over_quota", exchange.owner, exchange.querier, at, draft)
            return


def answered_suspended(bench: Bench) -> Iterator[Outcome]:
    """Answers to a member that was suspended, by an owner that knew it."""
    for querier in bench.versions.newest.members:
        for suspension in rules.suspensions(bench.versions, querier):
            if suspension.first == bench.versions.registries[0].version:
                continue  # not yet admitted, or the versions before are not known
            for owner, _ in list(bench.facts.rows("standing_asks", querier)):
                yield from _in_spite(bench, suspension, owner)


def _in_spite(bench: Bench, suspension: rules.Suspension, owner: str) -> Iterator[Outcome]:
    known_at, knowledge = _knowledge(bench, owner, suspension.first)
    for row in bench.facts.rows("with_a_member", owner, suspension.member, 0, BROKEN):
        exchange = Exchange(*row)
        if not rules.binds_owner(exchange):
            continue
        named = exchange.registry if rules.binds_querier(exchange) else 0
        knew = known_at is not None and rules.knew_by(known_at) <= rules.admitted_at(exchange)
        if suspension.covers(exchange, suspension.first if knew else named):
            shown = Draft() if named >= suspension.first else knowledge
            draft = Draft((exchange.id, *shown.exchanges), early=shown.early)
            yield Charge("answered_suspended", owner, suspension.member, exchange.answered_at, draft)


def _knowledge(bench: Bench, owner: str, version: int) -> tuple[int | None, Draft]:
    """When an owner is first shown to have held a version of the registry, and what shows it."""
    found: list[tuple[int, Draft]] = []
    for name, at in (("knew_as_owner", "answered_at"), ("knew_as_querier", "asked_at")):
        for row in bench.facts.rows(name, owner, version, BROKEN | fact.ASK_KEY_VOID | fact.ANSWER_KEY_VOID):
            exchange = Exchange(*row)
            found.append((getattr(exchange, at), Draft((exchange.id,))))
    standing = bench.standings.get(owner)
    if standing is not None and standing.log.first_cosigned is not None:
        for (idx,) in bench.facts.rows("registry_place", owner, version):
            found.append((standing.log.first_cosigned, Draft(early=((owner, idx),))))
    return min(found, key=lambda one: one[0]) if found else (None, Draft())


# -- epochs and snapshots ------------------------------------------------------------------------------


def unknown_epoch(bench: Bench) -> Iterator[Outcome]:
    """Answers under epochs that are not on the owner's ledger, or out of their terms."""
    for owner, epoch, opened, closed, first, last in bench.facts.rows("terms"):
        if owner not in bench.standings:
            continue
        if opened is not None and first >= opened - CLOCKS and last < closed + CLOCKS:
            continue
        for row in bench.facts.rows("under_an_epoch", owner, epoch, BROKEN):
            exchange = Exchange(*row)
            at = exchange.answered_at
            if not rules.binds_owner(exchange):
                continue
            if opened is None and bench.settled(owner, at):
                draft = Draft((exchange.id,), bench.reaching(owner), absent=(owner, epoch))
                yield Charge("unknown_epoch", owner, exchange.querier, at, draft)
            elif opened is not None and rules.is_out_of_term(exchange, opened, closed):
                places = tuple((one[0], one[1]) for one in bench.facts.rows("epoch_place", owner, epoch))
                yield Charge("unknown_epoch", owner, exchange.querier, at, Draft((exchange.id,), places))


def doubled(bench: Bench) -> Iterator[Outcome]:
    """Two statements on ledgers for one epoch, or for one version of a list."""
    for kind in ("epoch", "snapshot"):
        for owner, member, idx, other, other_idx in bench.facts.rows(f"doubled_{kind}s"):
            draft = Draft(places=((member, idx), (other, other_idx)), fraud=kind)
            yield Charge(f"doubled_{kind}", owner, "", 0, draft)


def hidden_snapshot(bench: Bench) -> Iterator[Outcome]:
    """Snapshots named in asks that are not on the owner's ledger."""
    shown: dict[tuple[str, bytes, int], bytes] = {}
    for row in bench.facts.rows("unknown_snapshots"):
        named, asked_at = SnapshotNamed(*row[:-1]), row[-1]
        standing = bench.standings.get(named.owner)
        if standing is None:
            continue
        value = bench.show(named.digest)
        if value is None:
            begins = standing.log.first_cosigned if standing.log.start else None
            if begins is None or asked_at > begins + rules.DAY + rules.HOUR:  # else it may be of before the part shown
                yield Tally("unknown_snapshot", named.querier)
            continue
        subject = value.list_name, value.epoch, value.version
        if shown.setdefault(subject, named.digest) != named.digest:
            held = (("snapshot", shown[subject]), ("snapshot", named.digest))
            yield Charge("doubled_snapshot", value.owner, "", 0, Draft(held=held, fraud="snapshot"))
        yield from _contradicted(bench, value, named.digest)
        issued = fact.milliseconds(value.issued_at)
        if bench.settled(value.owner, issued):
            draft = Draft(
                (named.exchange,),
                bench.reaching(value.owner),
                held=(("snapshot", named.digest),),
                absent=(value.owner, named.digest),
            )
            yield Charge("hidden_snapshot", value.owner, named.querier, issued, draft)


def _contradicted(bench: Bench, value: SnapshotStatement, digest: bytes) -> Iterator[Outcome]:
    """What is on a ledger and contradicts a snapshot that is not."""
    for row in bench.facts.rows("snapshots_of_a_version", value.list_name, value.epoch, value.version):
        other = fact.SnapshotRow(*row)
        before = other.version == value.version - 1 and value.previous != other.digest
        after = other.version == value.version + 1 and other.previous != digest
        if before or after or (other.version == value.version and other.digest != digest):
            draft = Draft(places=((other.member, other.idx),), held=(("snapshot", digest),), fraud="snapshot")
            yield Charge("doubled_snapshot", value.owner, "", other.issued_at, draft)


def counted(bench: Bench) -> Iterator[Outcome]:
    """What members' own words count: asks without an answer, receipts adopted after a crash."""
    for member, _, adopted, unanswered, _ in bench.facts.rows("counts"):
        yield Tally("adopted", member, adopted)
        yield Tally("unanswered", member, unanswered)


RULES: Final[Mapping[str, Rule]] = {
    "missing": Rule("each exchange stands in the logs of both sides", missing),
    "double": Rule("no exchange stands twice in a log", double),
    "altered": Rule("of each ask there is one answer, of each batch one ask", altered),
    "unsigned": Rule("both sides signed each exchange", unsigned),
    "backdated": Rule("no answer is dated before its ask", backdated),
    "postdated": Rule("no time lies behind the log that bears it", postdated),
    "wrong_purpose": Rule("the registry allows each purpose", wrong_purpose),
    "over_quota": Rule("the quotas of days and epochs are kept", over_quota),
    "answered_suspended": Rule("nobody suspended was answered", answered_suspended),
    "unknown_epoch": Rule("each epoch named is on its owner's ledger, and in its term", unknown_epoch),
    "doubled": Rule("no two statements for one epoch or snapshot version are on ledgers", doubled),
    "hidden_snapshot": Rule("each snapshot named is on its owner's ledger", hidden_snapshot),
    "wrong_settlement": Rule("each settlement is what the receipts in the logs give", wrong_settlement),
    "counted": Rule("asks without an answer, and receipts that were adopted, are counted", counted),
}
"""Every rule, by its name, in the order in which the report tells them."""
