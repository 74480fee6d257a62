"""Convicting by an evidence file: everything in it is verified, and the rule itself, by the registry alone (pure).

| kind | what is verified |
|---|---|
| `missing` | both signed it; the accused's log reaches beyond it by the grace; a querier was in contact since |
| `unsigned` | it stands in the accused's log; a half is not signed by its party, or answers another ask |
| `altered` | two answers to one ask, or two asks of one batch, each signed by the accused |
| `double` | one receipt at two places of the accused's log |
| `backdated` | an answer from before its ask; or a time that lies behind the log that bears it |
| `wrong_purpose` | no registry version that was held allows the purpose; the accused signed its half |
| `over_quota` | distinct answers of one day or epoch, more than every quota that was held and a slack |
| `unknown_epoch` | the answer is out of its epoch's term; or the owner's log reaches beyond it, without that epoch |
| `hidden_snapshot` | the accused signed the snapshot, and its log reaches beyond that |
| `answered_suspended` | the owner knew a version that suspends the querier, before it answered |
| `wrong_settlement` | the accused signed the settlement; receipts of its period are more, fewer or others |
| `other_identifier`, `wrong_verdict` | the record of a check contradicts itself, or an ask: see `open_evidence` |

`missing`, `hidden_snapshot`, the second form of `unknown_epoch` and `wrong_settlement` rest on an absence, or on the
order of a log: `Conviction.replay` names the log to replay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from riskshare.audit import fact, rules, settled
from riskshare.audit.evidence import EvidenceFile, Seen, is_evidence_file, read_evidence, see
from riskshare.audit.fact import Exchange, milliseconds, moment_of, read_receipt
from riskshare.audit.finality import Cosigned
from riskshare.audit.judging import (
    FOREVER,
    is_in_term,
    judge_receipt,
    no_proof,
    own_time,
    read_epoch,
    signer_of,
)
from riskshare.audit.keyring import make_keyring
from riskshare.audit.open_evidence import ASK_AGAIN, KINDS, fault_of
from riskshare.audit.settlement_evidence import contradiction
from riskshare.audit.statements import Refused, Shown, read_statement
from riskshare.audit.versions import Versions
from riskshare.encoding import format_time, sha256
from riskshare.errors import EncodingError, RegistryError, TrustError
from riskshare.query.message import MAX_STATEMENT_BYTES, Ask
from riskshare.sharing import epoch, snapshot
from riskshare.sharing.epoch import EpochStatement
from riskshare.sharing.evidence import verify_evidence
from riskshare.sharing.snapshot import SnapshotStatement
from riskshare.statement import read_wire, signed_bytes


@dataclass(frozen=True, slots=True)
class Conviction:
    """Who is convicted of what, in a sentence; `replay` says what to replay to see an absence, or is empty."""

    kind: str
    accused: str
    sentence: str
    replay: str = ""


def convicts(data: bytes, versions: Versions, received: datetime) -> Conviction:
    """Verify an evidence file, or the file of a fraud proof first received at `received`, by the registry alone.

    Raises:
        EncodingError: it is no such file.
        TrustError: it convicts nobody; code `no_proof`, or what is wrong with a part of it.

    """
    if not is_evidence_file(data):
        found = verify_evidence(data, versions.newest, received)
        return Conviction(found.kind, found.accused, found.sentence)
    file = read_evidence(data)
    if file.network != versions.network:
        raise no_proof("The evidence is of another network than the registry.")
    rule = _RULES.get(file.kind)
    if rule is None:
        raise no_proof(ASK_AGAIN.get(file.kind) or f"Evidence of the kind {file.kind} is not verified here.")
    logs, seen = see(file, versions)
    return rule(Court(file, versions, logs, seen))


@dataclass(frozen=True, slots=True)
class Court:
    """A file whose checkpoints and entries are verified, and what to judge it by."""

    file: EvidenceFile
    versions: Versions
    logs: Sequence[Cosigned]
    seen: Sequence[Seen]

    @property
    def accused(self) -> str:
        """The accused."""
        return self.file.accused

    def entry(self, place: int, member: str = "") -> Seen:
        """The entry at a place of the file, of a member's log if one is named. Raises LedgerError `no_proof`."""
        if len(self.seen) <= place or (member and self.seen[place].entry.member != member):
            raise no_proof("The evidence lacks an entry that the conviction rests on.")
        return self.seen[place]

    def exchange(self, place: int, member: str = "") -> Exchange:
        """The exchange at a place of the file."""
        seen = self.entry(place, member)
        if seen.entry.kind != "receipt":
            raise no_proof("An entry of the evidence is no receipt.")
        return judge_receipt(seen.entry.statement, self.versions, moment_of(seen.by))

    def loose(self) -> list[Exchange]:
        """The receipts of the file that stand for themselves, each once."""
        found = [judge_receipt(one, self.versions, FOREVER) for one in self.file.receipts]
        return list({one.id: one for one in found}.values())

    def convict(self, sentence: str, replay: str = "") -> Conviction:
        """The conviction of the accused."""
        return Conviction(self.file.kind, self.accused, sentence, replay)

    def require(self, held: bool, why: str) -> None:
        """Refuse to convict unless something holds. Raises LedgerError `no_proof`."""
        if not held:
            raise no_proof(why)

    def absence(self, statement: bytes, at: int, what: str) -> str:
        """What to replay to see that a statement, or ask, is not in the accused's log, which reaches far enough.

        The second entry of the file is one of that log from at least the grace after `at`. Raises LedgerError.
        """
        absent = self.file.absent
        self.require(absent is not None and absent.statement == statement, "The evidence does not say what is absent.")
        assert absent is not None
        self.require(absent.checkpoint < len(self.logs), "The evidence does not say where it is absent.")
        log = self.logs[absent.checkpoint]
        self.require(log.member == self.accused, "What is absent is so in another member's log.")
        later = self.entry(1, self.accused)
        self.require(
            later.log.checkpoint == log.checkpoint
            and own_time(later.entry.kind, later.entry.statement) >= at + self.file.grace,
            "The log of the accused is not shown to reach beyond the grace.",
        )
        hours = self.file.grace / rules.HOUR
        return (
            f"Replay the log of {self.accused} up to {log.checkpoint.size:,} entries, root {log.checkpoint.root.hex()}:"
            f" no entry of it stands for {what} {statement.hex()}, though it reaches more than {hours:g} hours beyond."
        )


def _told(exchange: Exchange) -> str:
    return f"{exchange.id.hex()} of {format_time(moment_of(exchange.answered_at))}"


# -- the rules -----------------------------------------------------------------------------------------


def _missing(court: Court) -> Conviction:
    exchange, seen = court.exchange(0), court.entry(0)
    other = {exchange.querier: exchange.owner, exchange.owner: exchange.querier}.get(court.accused)
    court.require(other == seen.entry.member, "The accused is not the other side of the exchange.")
    court.require(
        rules.binds_querier(exchange) and rules.binds_owner(exchange), "The exchange is not signed by both sides."
    )
    replay = court.absence(exchange.ask, exchange.answered_at, "a receipt, or alone, for the ask")
    if court.accused == exchange.querier:
        _require_contact(court, exchange)
    sentence = f"{court.accused} did not log the exchange {_told(exchange)}, which {other} logged and both signed."
    return court.convict(sentence, replay)


def _require_contact(court: Court, exchange: Exchange) -> None:
    """A querier that has crashed must have been able to ask the owner again."""
    pair = exchange.querier, exchange.owner
    own = [court.exchange(place, court.accused) for place in range(2, len(court.seen))]
    contacts = sorted(one.answered_at for one in own if (one.querier, one.owner) == pair and rules.binds_owner(one))
    asked = sorted(
        one.asked_at for one in court.loose() if (one.querier, one.owner) == pair and rules.binds_querier(one)
    )
    court.require(
        settled.in_contact(contacts, exchange.answered_at, court.file.grace) is not None
        or settled.is_suppressed(asked, exchange.answered_at, court.file.grace),
        "The accused is not shown to have been in contact with the owner afterwards.",
    )


def _unsigned_statement(court: Court) -> Conviction:
    """A statement of another kind than a receipt, which its author did not sign."""
    entry = court.entry(0, court.accused).entry
    shown = Shown(entry.member, entry.index, entry.kind, entry.statement, entry.signature)
    try:
        read_statement(shown, make_keyring(court.versions.registries))
    except Refused as refused:
        court.require(refused.kind == "unsigned", "The statement is another than its kind says.")
        version = court.versions.newest.version
        return court.convict(
            f"{court.accused} logged a statement of the kind {entry.kind}, and {refused.sentence}, by version {version}"
            " of the registry."
        )
    raise no_proof("The statement is signed by its author.")


def _unsigned(court: Court) -> Conviction:
    if court.entry(0, court.accused).entry.kind not in {"receipt", "registry"}:
        return _unsigned_statement(court)
    exchange = court.exchange(0, court.accused)
    wrong = fact.MALFORMED | fact.OTHER_ASK | fact.BAD_ASK_SIGNATURE | fact.BAD_ANSWER_SIGNATURE
    court.require(bool(exchange.faults & wrong), "The receipt is signed by both sides.")
    court.require(
        exchange.registry <= court.versions.newest.version, "The receipt names a newer registry than the one given."
    )
    if exchange.faults & fact.MALFORMED:
        what = "something that is no receipt"
    elif exchange.faults & fact.OTHER_ASK:
        what = "an answer beside an ask that it does not belong to"
    else:
        half = ("ask", exchange.querier) if exchange.faults & fact.BAD_ASK_SIGNATURE else ("answer", exchange.owner)
        what = f"a receipt whose {half[0]} {half[1]} did not sign"
    return court.convict(f"{court.accused} logged {what}: {exchange.id.hex()}.")


def _double(court: Court) -> Conviction:
    first, second = court.entry(0, court.accused), court.entry(1, court.accused)
    same = first.entry.statement == second.entry.statement and first.entry.kind == second.entry.kind == "receipt"
    court.require(same and first.log == second.log, "The two entries do not stand for one receipt in one log.")
    court.require(first.entry.index != second.entry.index, "The two entries are one.")
    places = f"{first.entry.index:,} and {second.entry.index:,}"
    receipt = sha256(first.entry.statement).hex()
    return court.convict(f"{court.accused} logged the exchange {receipt} twice, as entries {places}.")


def _altered(court: Court) -> Conviction:
    if all(court.entry(place).entry.kind == "receipt" for place in (0, 1)):
        first, second = court.exchange(0), court.exchange(1)
        answers = first.ask == second.ask and first.answer != second.answer
        if answers and rules.binds_owner(first) and rules.binds_owner(second) and first.owner == court.accused:
            return court.convict(
                f"{court.accused} signed two answers to one ask: {first.id.hex()} and {second.id.hex()}."
            )
    one, other = _ask_of(court, 0), _ask_of(court, 1)
    same = (one.querier, one.owner, one.batch) == (other.querier, other.owner, other.batch)
    court.require(same and one.querier == court.accused and one != other, "The two asks are not of one batch.")
    return court.convict(f"{court.accused} signed two different asks to {one.owner} under one batch, {one.batch}.")


def _ask_of(court: Court, place: int) -> Ask:
    """An ask that the querier signed, alone or in a receipt."""
    seen = court.entry(place)
    data, signature = seen.entry.statement, seen.entry.signature
    if seen.entry.kind == "receipt":
        read = read_receipt(data)
        data, signature = read.ask, read.ask_signature
    elif seen.entry.kind != "unanswered" or len(data) > MAX_STATEMENT_BYTES:
        raise no_proof("An entry of the evidence holds no ask.")
    ask = Ask.from_json(data)
    message = signed_bytes("ask", court.versions.network, data)
    signer = signer_of(court.versions.newest.member(ask.querier), message, signature)
    if signer is None or signer.is_void(moment_of(seen.by)) or not is_in_term(signer, milliseconds(ask.asked_at)):
        raise no_proof("The querier did not sign the ask.")
    return ask


def _backdated(court: Court) -> Conviction:
    seen = court.entry(0)
    if seen.entry.kind == "receipt":
        exchange = court.exchange(0)
        if court.accused == exchange.owner and rules.binds_owner(exchange):
            if rules.binds_querier(exchange) and rules.is_backdated(exchange):
                return court.convict(
                    f"{court.accused} dated its answer before the ask that it answers: {_told(exchange)}, asked at"
                    f" {format_time(moment_of(exchange.asked_at))}."
                )
            return _require_future(court, seen, exchange.answered_at)
        court.require(
            court.accused == exchange.querier and rules.binds_querier(exchange), "The accused did not sign this time."
        )
        return _require_future(court, seen, exchange.asked_at)
    court.require(
        seen.entry.member == court.accused and seen.entry.kind in {"check", "unanswered"},
        "The accused did not give this time.",
    )
    return _require_future(court, seen, own_time(seen.entry.kind, seen.entry.statement))


def _require_future(court: Court, seen: Seen, at: int) -> Conviction:
    court.require(rules.is_from_the_future(at, seen.by), "The log does not exclude this time.")
    return court.convict(
        f"{court.accused} dated a {seen.entry.kind} {format_time(moment_of(at))}, which stood in the log of"
        f" {seen.entry.member} (entry {seen.entry.index:,}) at {format_time(moment_of(seen.by))} already."
    )


def _wrong_purpose(court: Court) -> Conviction:
    exchange = court.exchange(0)
    asked = court.accused == exchange.querier and rules.binds_querier(exchange)
    answered = court.accused == exchange.owner and rules.binds_owner(exchange) and rules.binds_querier(exchange)
    court.require(asked or answered, "The accused did not sign its half.")
    court.require(rules.has_wrong_purpose(exchange, court.versions), "The registry allows the purpose.")
    did = "asked" if asked else f"answered {exchange.querier}"
    return court.convict(
        f"{court.accused} {did} for the purpose {exchange.purpose}, which the registry does not allow"
        f" {exchange.querier}: {_told(exchange)}."
    )


def _over_quota(court: Court) -> Conviction:
    found = court.loose()
    court.require(bool(found) and all(map(rules.binds_owner, found)), "A receipt is not signed by the accused.")
    court.require(
        {one.owner for one in found} == {court.accused} and len({one.querier for one in found}) == 1,
        "The receipts are not of one owner and one querier.",
    )
    querier = found[0].querier
    quotas = rules.quotas_held(
        court.versions, querier, min(one.registry for one in found), max(one.answered_at for one in found)
    )
    total = sum(one.count for one in found)
    days, epochs = {one.answered_at // rules.DAY for one in found}, {one.epoch for one in found}
    for bound, spans, span in (
        (rules.most_in_a_day(quotas), days, "on one day"),
        (rules.most_in_an_epoch(quotas), epochs, "in one epoch"),
    ):
        if len(spans) == 1 and bound is not None and total > bound:
            return court.convict(
                f"{court.accused} answered {total:,} elements of {querier} {span} in {len(found):,} exchanges; with"
                f" all that processes and clocks explain, its quota bounds them at {bound:,}."
            )
    raise no_proof("The receipts do not exceed a quota.")


def _unknown_epoch(court: Court) -> Conviction:
    exchange = court.exchange(0)
    court.require(
        exchange.owner == court.accused and rules.binds_owner(exchange), "The accused did not sign the answer."
    )
    if court.file.absent is not None:
        replay = court.absence(exchange.epoch, exchange.answered_at, "the epoch")
        return court.convict(
            f"{court.accused} answered under the epoch {exchange.epoch.hex()}, which is not on its ledger:"
            f" {_told(exchange)}.",
            replay,
        )
    value = _epoch_of(court, court.entry(1, court.accused))
    court.require(value.digest == exchange.epoch, "The epoch shown is another one.")
    court.require(
        rules.is_out_of_term(exchange, milliseconds(value.not_before), milliseconds(value.not_after)),
        "The answer is in the term of its epoch.",
    )
    return court.convict(
        f"{court.accused} answered outside of the term of the epoch {exchange.epoch.hex()}: {_told(exchange)}."
    )


def _epoch_of(court: Court, seen: Seen) -> EpochStatement:
    court.require(seen.entry.kind == epoch.KIND, "The evidence shows no epoch.")
    message = signed_bytes(epoch.KIND, court.versions.network, seen.entry.statement)
    signer = signer_of(court.versions.newest.member(court.accused), message, seen.entry.signature)
    court.require(signer is not None, "The accused did not sign the epoch.")
    return read_epoch(seen.entry.statement, court.versions.network)


def _hidden_snapshot(court: Court) -> Conviction:
    court.require(len(court.file.statements) == 1, "The evidence shows not exactly one statement.")
    kind, wire = court.file.statements[0]
    court.require(kind == snapshot.KIND, "The evidence shows no snapshot.")
    exchange = court.exchange(0)
    keys = [term.public for term in court.versions.keys(court.accused) if not term.is_void(FOREVER)]
    statement = read_wire(kind, court.versions.network, wire, keys, limit=snapshot.MAX_BYTES + 256)
    value = SnapshotStatement.from_statement(statement)
    court.require(value.owner == court.accused == exchange.owner, "The snapshot is not one of the accused.")
    named = dict(read_receipt(court.entry(0).entry.statement).snapshots)
    court.require(
        rules.binds_querier(exchange) and named.get(value.list_name) == statement.digest,
        "No ask shows that the snapshot was given out.",
    )
    replay = court.absence(statement.digest, milliseconds(value.issued_at), "the snapshot")
    return court.convict(
        f"{court.accused} gave {exchange.querier} version {value.version:,} of {value.list_name}"
        f" ({statement.digest.hex()}), which is not on its ledger.",
        replay,
    )


def _answered_suspended(court: Court) -> Conviction:
    exchange = court.exchange(0)
    court.require(
        exchange.owner == court.accused and rules.binds_owner(exchange), "The accused did not sign the answer."
    )
    court.versions.from_version(exchange.registry)  # what came before must be known: raises `registry_gap`
    known = exchange.registry if rules.binds_querier(exchange) else 1
    if len(court.seen) > 1:
        known = max(known, _known_version(court, rules.admitted_at(exchange)))
    for suspension in rules.suspensions(court.versions, exchange.querier):
        if suspension.covers(exchange, known):
            return court.convict(
                f"{court.accused} answered {exchange.querier}, which was suspended in version {suspension.first} of"
                f" the registry, and held that version: {_told(exchange)}."
            )
    raise no_proof("The accused is not shown to have known of a suspension.")


def _known_version(court: Court, until: int) -> int:
    """The registry version that the second entry shows the accused to have held a while before `until`."""
    seen = court.entry(1)
    if seen.entry.kind == "registry":
        court.require(seen.entry.member == court.accused, "The registry stands in another member's log.")
        version = next(
            (one.version for one in court.versions.registries if one.digest == sha256(seen.entry.statement)), 0
        )
        at = seen.by
    else:
        exchange = court.exchange(1)
        asked = exchange.querier == court.accused and rules.binds_querier(exchange)
        answered = exchange.owner == court.accused and rules.binds_owner(exchange) and rules.binds_querier(exchange)
        court.require(asked or answered, "The accused did not sign what shows its version.")
        version, at = exchange.registry, exchange.asked_at if asked else exchange.answered_at
    return version if rules.knew_by(at) <= until else 0


def _wrong_settlement(court: Court) -> Conviction:
    settlement, later = court.entry(0, court.accused), court.entry(1, court.accused)
    return court.convict(*contradiction(settlement, later, court.loose(), court.file.grace, court.versions))


def _opened(court: Court) -> Conviction:
    return court.convict(fault_of(court.entry(0, court.accused), court.file.shown, court.file.kind, court.versions))


_RULES: Final[Mapping[str, Callable[[Court], Conviction]]] = {
    "missing": _missing,
    "unsigned": _unsigned,
    "double": _double,
    "altered": _altered,
    "backdated": _backdated,
    "wrong_purpose": _wrong_purpose,
    "over_quota": _over_quota,
    "unknown_epoch": _unknown_epoch,
    "hidden_snapshot": _hidden_snapshot,
    "answered_suspended": _answered_suspended,
    "wrong_settlement": _wrong_settlement,
    **dict.fromkeys(KINDS, _opened),
}

REFUSALS: Final = (EncodingError, TrustError, RegistryError)
"""What `convicts` raises if it convicts nobody."""
