"""What opening a check shows a stranger, by the registry alone (pure).

The check statement stands in the log of the accused, who signed it, and commits to the record by its SHA-256; the
record names its receipts by theirs, and each ask commits to its elements by their root. So nobody but the accused can
have made what contradicts itself here, whoever shows it; and what somebody leaves out contradicts nothing.

| kind | what is verified |
|---|---|
| `other_identifier` | an element of an ask is not that of the record's own identifier and blind |
| `wrong_verdict` | the record is none, or of another check; purpose, hits, owners and verdict contradict each other |

What the lists held takes their segments, and what an owner evaluated its proofs: that is verified with the folder of
the case. What a member showed instead of a record or a proof, or did not show, is signed by nobody: ask it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol
from uuid import UUID

from riskshare.audit import rules
from riskshare.audit.basis import Basis, Fault, Stated, read_basis
from riskshare.audit.evidence import Entry, EvidenceFile, Seen
from riskshare.audit.fact import CheckRow, moment_of
from riskshare.audit.judging import judge_receipt, no_proof, signer_of
from riskshare.audit.keyring import make_keyring
from riskshare.audit.opened import ShownCheck, read_check
from riskshare.audit.page import StatementRow
from riskshare.audit.recompute import recompute
from riskshare.audit.statements import Refused, Shown, read_statement
from riskshare.audit.versions import Versions
from riskshare.errors import LedgerError
from riskshare.statement import signed_bytes

KINDS: Final = ("other_identifier", "wrong_verdict")
"""Kinds of faults of a check of which there may be such evidence."""

ASK_AGAIN: Final[Mapping[str, str]] = dict.fromkeys(
    ("rewritten_check", "withheld", "wrong_key"),
    "What a member shows when its checks are opened is signed by nobody, so no file convicts it of that. Ask it again:"
    " riskshare audit open. Whoever is honest can always show the record that it committed to, and the proof.",
)
"""Kinds of which there can be no file, and why."""


class Folders(Protocol):
    """The members' folders of a case. Every method raises DiskError, EncodingError, LedgerError."""

    def row(self, member: str, index: int) -> StatementRow | None:
        """What a member shows of an entry of its log; None: nothing."""

    def note(self, member: str, *, early: bool) -> bytes:
        """The checkpoint at which the part shown ends (`early`: with which it begins)."""

    def proof(self, member: str, index: int, *, early: bool) -> tuple[bytes, ...]:
        """The proof that an entry stands in the log of that checkpoint."""


def draft(kind: str, member: str, network: str, folders: Folders, index: int, shown: ShownCheck) -> bytes:  # noqa: PLR0917 - who is accused of what, and where it stands
    """An evidence file of this kind: of the check that stands at an index of the member's log. Nothing is judged.

    Raises:
        LedgerError: code `missing_part`, the folder does not show the entry.
        DiskError, EncodingError: it cannot be read.

    """
    row = folders.row(member, index)
    if row is None:
        raise LedgerError(f"The folder of {member} does not show entry {index:,} of its log.", code="missing_part")
    proof = folders.proof(member, index, early=False)
    entry = Entry(member, index, row.kind, row.salt, row.statement, row.signature, proof)
    note = folders.note(member, early=False)
    return EvidenceFile(kind, member, network, 0, (note,), (entry,), shown=shown.to_bytes()).to_bytes()


def fault_of(stated: Seen, shown: bytes, kind: str, versions: Versions) -> str:
    """What the record of a check (`ShownCheck` as CBOR) shows of the member in whose log its statement stands.

    Raises:
        EncodingError, LedgerError: it shows no fault of this kind; code `no_proof`.

    """
    check = read_check(shown)
    basis = read_basis(stated.entry.member, _stated(stated, versions), check)
    faults: tuple[Fault, ...]
    if isinstance(basis, Fault):
        faults = (basis,)
    else:
        _require_asked(basis, check, stated, versions)
        faults = recompute(basis, basis.elements, (), {}).faults
    found = next((fault for fault in faults if fault.kind == kind), None)
    if found is None:
        raise no_proof("The record of the check does not contradict itself; lists and proofs are not in such a file.")
    return found.sentence


def _stated(seen: Seen, versions: Versions) -> Stated:
    """The check statement of the entry, signed by its author."""
    entry = seen.entry
    if entry.kind != "check":
        raise no_proof("The evidence shows no check of the accused.")
    shown = Shown(entry.member, entry.index, entry.kind, entry.statement, entry.signature)
    try:
        row = CheckRow(*read_statement(shown, make_keyring(versions.registries)).row)
    except Refused as refused:
        raise no_proof(f"The accused did not state this check: {refused.sentence}.") from refused
    message = signed_bytes(entry.kind, versions.network, entry.statement)
    signer = signer_of(versions.newest.member(entry.member), message, entry.signature)
    if signer is None or signer.is_void(moment_of(seen.by)):
        raise no_proof("The accused did not sign the check.")
    return Stated(UUID(bytes=row.id), moment_of(row.answered_at), row.record)


def _require_asked(basis: Basis, check: ShownCheck, seen: Seen, versions: Versions) -> None:
    """The accused signed every ask that is judged."""
    for batch in check.batches:
        if (batch.owner, batch.batch) not in basis.exchanges:
            continue
        if not rules.binds_querier(judge_receipt(batch.receipt, versions, moment_of(seen.by))):
            raise no_proof("The accused did not sign an ask that the evidence shows.")
