"""Making evidence files of charges, out of the members' folders (pure).

What is made is not believed: `conviction` verifies it as any stranger would.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from riskshare.audit.bench import Charge, Facts
from riskshare.audit.evidence import MAX_RECEIPTS, Absent, Entry, EvidenceFile
from riskshare.audit.page import StatementRow
from riskshare.encoding import base64_text, canonical_json
from riskshare.errors import LedgerError
from riskshare.statement import Statement

_MISSING: Final = "missing_part"


class Folders(Protocol):
    """The members' folders. Raises DiskError, EncodingError, LedgerError."""

    def row(self, member: str, index: int) -> StatementRow | None:
        """What a member shows of an entry of its log; None: nothing."""

    def note(self, member: str, *, early: bool) -> bytes:
        """The checkpoint at which the part shown ends, or with which it begins; b"": there is none."""

    def proof(self, member: str, index: int, *, early: bool) -> tuple[bytes, ...]:
        """The proof that an entry stands in the log of that checkpoint."""

    def held(self, digest: bytes) -> bytes | None:
        """A signed statement that stands on no ledger and that somebody showed, as it travels; None: nobody did."""


class Drafter:
    """Makes the evidence file of a charge."""

    def __init__(self, facts: Facts, folders: Folders, network: str, grace: int) -> None:
        self._facts = facts
        self._folders = folders
        self._network = network
        self._grace = grace

    def draft(self, charge: Charge) -> bytes:
        """The evidence file, or that of a fraud proof.

        Raises:
            LedgerError: code `missing_part`, the folders do not show what it takes.
            DiskError, EncodingError: they cannot be read.

        """
        return self._fraud(charge) if charge.draft.fraud else self._file(charge).to_bytes()

    def _file(self, charge: Charge) -> EvidenceFile:
        draft = charge.draft
        places = [(*self._place(id, charge), False) for id in draft.exchanges]  # noqa: A001 - the field's own word
        places += [(member, index, False) for member, index in draft.places]
        places += [(member, index, True) for member, index in draft.early]
        logs: dict[tuple[str, bool], int] = {}
        entries = [
            self._entry(member, index, logs.setdefault((member, early), len(logs)), early=early)
            for member, index, early in places
        ]
        absent = None
        if draft.absent is not None:
            member, digest = draft.absent
            absent = Absent(logs.setdefault((member, False), len(logs)), digest)
        return EvidenceFile(
            charge.kind,
            charge.accused,
            self._network,
            self._grace if absent or charge.kind == "wrong_settlement" else 0,
            checkpoints=tuple(self._folders.note(member, early=early) for member, early in logs),
            entries=tuple(entries),
            receipts=tuple(self._loose(charge)),
            statements=tuple((kind, self._held(digest)) for kind, digest in draft.held),
            absent=absent,
        )

    def _entry(self, member: str, index: int, checkpoint: int, *, early: bool) -> Entry:
        row = self._row(member, index)
        proof = self._folders.proof(member, index, early=early)
        return Entry(member, index, row.kind, row.salt, row.statement, row.signature, proof, checkpoint)

    def _row(self, member: str, index: int) -> StatementRow:
        row = self._folders.row(member, index)
        if row is None:
            raise LedgerError(f"The folder of {member} does not show entry {index:,} of its log.", code=_MISSING)
        return row

    def _place(self, id: bytes, charge: Charge) -> tuple[str, int]:  # noqa: A002 - the field's own word
        """Where a receipt stands: in the log of the accused, or of whom it dealt with, rather than in any other."""
        found: list[tuple[str, int]] = [(member, index) for member, index in self._facts.rows("places", id)]
        parties = {charge.accused: 0, charge.towards: 1}
        if not found:
            raise LedgerError("A receipt stands in no log of the case.", code=_MISSING)
        return min(found, key=lambda place: (parties.get(place[0], 2), place))

    def _loose(self, charge: Charge) -> Iterator[bytes]:
        if len(charge.draft.loose) > MAX_RECEIPTS:
            raise LedgerError(
                f"It takes more than {MAX_RECEIPTS:,} receipts to show this; replay both logs.", code=_MISSING
            )
        for id in charge.draft.loose:  # noqa: A001 - the field's own word
            yield self._row(*self._place(id, charge)).statement

    def _held(self, digest: bytes) -> bytes:
        found = self._folders.held(digest)
        if found is None:
            raise LedgerError("A statement that is on no ledger is not shown any more.", code=_MISSING)
        return found

    def _fraud(self, charge: Charge) -> bytes:
        """The file of a fraud proof (`sharing.fraud`): two statements as they travel."""
        wires = [self._wire(charge.draft.fraud, *place) for place in charge.draft.places]
        wires += [self._held(digest) for _, digest in charge.draft.held]
        if len(wires) != 2:
            raise LedgerError("Two statements make a fraud proof.", code=_MISSING)
        first, second = map(base64_text, wires)
        body = {"accused": charge.accused, "first": first, "kind": charge.draft.fraud, "second": second}
        return canonical_json(body)

    def _wire(self, kind: str, member: str, index: int) -> bytes:
        row = self._row(member, index)
        return Statement(kind, self._network, row.statement, row.signature, {}).wire()
