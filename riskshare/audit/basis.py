"""What a check rests on, as its member shows it: the record, and the exchanges that it names (pure).

Here the first half of `open` is verified: that the record is the one committed to, and that each receipt shown belongs
to the member, the owner, the batch, the epoch and the purpose that the record names. `recompute` goes on from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from riskshare.audit.opened import BatchState, ShownBatch, ShownCheck
from riskshare.encoding import format_time, sha256
from riskshare.errors import EncodingError
from riskshare.ledger.merkle import root_of
from riskshare.ledger.receipt import Receipt
from riskshare.query.check_record import CheckRecord
from riskshare.query.message import ELEMENT_BYTES, Answer, Ask

Place = tuple[str, UUID]
"""Owner and batch."""

_SHOWN: Final = frozenset({"answered", "adopted"})


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that does not hold, in one of the numbered steps: which kind of finding of whom, and in which words.

    `receipt` is the id of the exchange that it is about, or b"".
    """

    step: str
    kind: str
    accused: str
    sentence: str
    receipt: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Stated:
    """A check as its statement in the log has it: when it was answered, and the digest of its record (32 bytes)."""

    check: UUID
    answered_at: datetime
    record: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A receipt that a check names, read; signatures are the matter of replay."""

    id: bytes = field(repr=False)
    ask: Ask = field(repr=False)
    answer: Answer = field(repr=False)

    def holds(self, elements: bytes, evaluated: bytes) -> bool:
        """Whether these (32·n bytes each) are what both halves commit to by count and root."""
        size = self.ask.count * ELEMENT_BYTES
        return (
            len(elements) == len(evaluated) == size
            and root_of(elements) == self.ask.elements
            and root_of(evaluated) == self.answer.elements
        )


@dataclass(frozen=True, slots=True)
class Basis:
    """A record that is the one committed to, and of its batches what was shown.

    `exchanges` are those whose receipt is shown and belongs there, by owner and batch; `elements` of those both sides,
    where they are what the receipt commits to; `states` say of every batch shown how it was shown.
    """

    member: str
    stated: Stated
    record: CheckRecord = field(repr=False)
    exchanges: Mapping[Place, Exchange] = field(repr=False)
    elements: Mapping[bytes, tuple[bytes, bytes]] = field(repr=False)
    states: Mapping[Place, BatchState]
    faults: tuple[Fault, ...] = ()

    @property
    def rests_on(self) -> tuple[Exchange, ...]:
        """The exchanges that the verdict rests on by the record's own word, in its order."""
        named = {exchange.id: exchange for exchange in self.exchanges.values()}
        return tuple(named[receipt] for receipt in dict.fromkeys(self.record.receipts) if receipt in named)


def read_basis(member: str, stated: Stated, shown: ShownCheck) -> Basis | Fault:
    """Verify what a member shows of a check against the statement in its log.

    1. It shows a record. 2. The record's SHA-256 is the one that the check statement commits to. 3. It can be read, and
    is of that check and time. 4. Each receipt shown is well-formed and belongs to a batch that the record names.
    """
    if shown.check != stated.check or shown.state != "opened":
        reason = "does not open it" if shown.state == "sealed" else "says that it has none"
        return Fault("2", "withheld", member, f"The log of {member} has the check; asked for its record, it {reason}.")
    if sha256(shown.record) != stated.record:
        return Fault(
            "2",
            "rewritten_check",
            member,
            f"The record that {member} shows is not the one whose SHA-256 stands in its check statement.",
        )
    try:
        record = CheckRecord.from_bytes(shown.record)
    except EncodingError as error:
        return Fault("2", "wrong_verdict", member, f"The record that {member} committed to is none: {error.message}")
    if record.check != stated.check or format_time(record.answered_at) != format_time(stated.answered_at):
        return Fault(
            "2",
            "wrong_verdict",
            member,
            f"The record that {member} committed to is of another check, or of another time.",
        )
    return _with_batches(member, stated, record, shown)


def _with_batches(member: str, stated: Stated, record: CheckRecord, shown: ShownCheck) -> Basis:
    exchanges: dict[Place, Exchange] = {}
    elements: dict[bytes, tuple[bytes, bytes]] = {}
    faults: list[Fault] = []
    for batch in shown.batches:
        if batch.state not in _SHOWN:
            continue
        try:
            exchange = _exchange(member, record, batch)
        except EncodingError as error:
            faults.append(
                Fault("4", "withheld", member, f"For a batch of the record {member} shows no receipt. {error.message}")
            )
            continue
        exchanges[batch.owner, batch.batch] = exchange
        if exchange.holds(batch.elements, batch.evaluated):
            elements[exchange.id] = batch.elements, batch.evaluated
    states = {(batch.owner, batch.batch): batch.state for batch in shown.batches}
    return Basis(member, stated, record, exchanges, elements, states, tuple(faults))


def _exchange(member: str, record: CheckRecord, batch: ShownBatch) -> Exchange:
    """Read a receipt that is shown for a batch. Raises EncodingError: it is none, or belongs elsewhere."""
    receipt = Receipt.from_bytes(batch.receipt)
    ask, answer = Ask.from_json(receipt.ask), Answer.from_json(receipt.answer)
    if (ask.querier, ask.owner, ask.batch) != (member, batch.owner, batch.batch) or answer.ask != sha256(receipt.ask):
        raise EncodingError("What it shows is the receipt of another exchange.")
    epochs = {part.epoch for part in record.asked if (part.owner, part.batch) == (batch.owner, batch.batch)}
    if epochs != {ask.epoch}:
        raise EncodingError("What it shows was asked under another epoch than the record says.")
    return Exchange(receipt.id, ask, answer)
