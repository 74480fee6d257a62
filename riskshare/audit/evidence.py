"""Evidence files: what a stranger needs to convict a member, with nothing but the registry's versions (pure).

Canonical JSON with these fields:

| field | holds |
|---|---|
| `kind`, `accused`, `network`, `grace` | the finding; the grace in milliseconds |
| `checkpoints` | notes of final checkpoints, base64 |
| `entries` | entries of logs: member, index, kind, salt, statement, signature, proof, number of the checkpoint |
| `receipts` | further receipts, which their signatures prove, base64 |
| `statements` | signed statements that stand on no ledger: kind and the CBOR map in which they travel |
| `shown` | what a member showed of a check that was opened (`opened.ShownCheck`), base64; only where there is one |
| `absent` | null; or what is *not* in a log: number of the checkpoint, SHA-256 of the statement looked for |

An absence cannot be put into a file. Where a conviction rests on one, the file says of which log, and that has to be
replayed up to the checkpoint to see it; everything else in the file is verified by `conviction`.
Two statements that contradict each other are a fraud proof of their own form (`sharing.evidence`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from riskshare.audit.finality import Cosigned, read_cosigned
from riskshare.audit.finding import FINDINGS
from riskshare.audit.opened import MAX_CHECK
from riskshare.audit.versions import Versions
from riskshare.encoding import (
    MAX_SAFE_INTEGER,
    base64_text,
    canonical_json,
    parse_base64,
    parse_canonical_json,
    parse_hex,
)
from riskshare.errors import EncodingError, InputError, LedgerError
from riskshare.ledger.leaf import ENTRY_BYTES, KINDS, MAX_STATEMENT, Leaf
from riskshare.ledger.note import MAX_BYTES as MAX_NOTE
from riskshare.ledger.proof import verify_inclusion
from riskshare.ledger.tlog_proof import MAX_HASHES
from riskshare.names import check_member_name, read_network_name
from riskshare.statement import KINDS as STATEMENTS
from riskshare.statement import SALT_BYTES

MAX_BYTES: Final = 64 * 1024 * 1024
"""Longest file that is read."""

MAX_ENTRIES: Final = 64
MAX_RECEIPTS: Final = 100_000
_MAX_SIGNATURE: Final = 16 * 1024 * 1024

_KEYS: Final = frozenset(
    {"absent", "accused", "checkpoints", "entries", "grace", "kind", "network", "receipts", "statements"}
)
_ENTRY: Final = frozenset({"checkpoint", "index", "kind", "member", "proof", "salt", "signature", "statement"})

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a member's log with what it stands for; `checkpoint` is a number in the file's `checkpoints`."""

    member: str
    index: int
    kind: str
    salt: bytes = field(repr=False)
    statement: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    proof: tuple[bytes, ...] = field(repr=False)
    checkpoint: int = 0

    def body(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "checkpoint": self.checkpoint,
            "index": self.index,
            "kind": self.kind,
            "member": self.member,
            "proof": [base64_text(part) for part in self.proof],
            "salt": base64_text(self.salt),
            "signature": base64_text(self.signature),
            "statement": base64_text(self.statement),
        }


@dataclass(frozen=True, slots=True)
class Absent:
    """What is not in a log: the number of its checkpoint, and the SHA-256 of the statement that is looked for.

    Of an exchange that is that of the ask: whoever logged another answer to it, or none, has not hidden it.
    """

    checkpoint: int
    statement: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class EvidenceFile:
    """The contents of an evidence file. `statements` are pairs of a kind and the CBOR map of a statement."""

    kind: str
    accused: str
    network: str
    grace: int = 0
    checkpoints: tuple[bytes, ...] = field(default=(), repr=False)
    entries: tuple[Entry, ...] = field(default=(), repr=False)
    receipts: tuple[bytes, ...] = field(default=(), repr=False)
    statements: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    absent: Absent | None = None
    shown: bytes = field(default=b"", repr=False)

    def to_bytes(self) -> bytes:
        """The file."""
        absent = self.absent
        shown = {"shown": base64_text(self.shown)} if self.shown else {}
        return canonical_json(
            {
                **shown,
                "absent": absent and {"checkpoint": absent.checkpoint, "statement": absent.statement.hex()},
                "accused": self.accused,
                "checkpoints": [base64_text(note) for note in self.checkpoints],
                "entries": [entry.body() for entry in self.entries],
                "grace": self.grace,
                "kind": self.kind,
                "network": self.network,
                "receipts": [base64_text(receipt) for receipt in self.receipts],
                "statements": [{"kind": kind, "wire": base64_text(wire)} for kind, wire in self.statements],
            }
        )


def is_evidence_file(data: bytes) -> bool:
    """Tell whether a file is meant as one of these, from its beginning."""
    return data.startswith(b'{"absent":')


def read_evidence(data: bytes) -> EvidenceFile:
    """Read an evidence file strictly; nothing is verified.

    Raises:
        EncodingError: not canonical, a field missing, unknown or of another form.

    """
    body: Any = parse_canonical_json(data, limit=MAX_BYTES)
    if type(body) is not dict or body.keys() - {"shown"} != _KEYS:
        raise EncodingError("An evidence file has not exactly the fields of one.")
    if type(body["kind"]) is not str or body["kind"] not in FINDINGS:
        raise EncodingError("An evidence file is of a kind of finding that there is not.")
    try:
        accused, network = check_member_name(body["accused"]), read_network_name(body["network"])
    except InputError as error:
        raise EncodingError(f"A name in the evidence file is refused: {error.message}") from error
    return EvidenceFile(
        kind=body["kind"],
        accused=accused,
        network=network,
        grace=_number(body["grace"]),
        checkpoints=_many(body["checkpoints"], lambda note: parse_base64(note, limit=MAX_NOTE), MAX_ENTRIES),
        entries=_many(body["entries"], _entry, MAX_ENTRIES),
        receipts=_many(body["receipts"], lambda one: parse_base64(one, limit=MAX_STATEMENT), MAX_RECEIPTS),
        statements=_many(body["statements"], _statement, MAX_ENTRIES),
        absent=None if body["absent"] is None else _absent(body["absent"]),
        shown=parse_base64(body["shown"], limit=MAX_CHECK) if "shown" in body else b"",
    )


def _many(value: object, read: Callable[[Any], _T], limit: int) -> tuple[_T, ...]:
    if type(value) is not list or len(value) > limit:
        raise EncodingError(f"A list of an evidence file is none, or has more than {limit:,} parts.")
    return tuple(map(read, value))


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value <= MAX_SAFE_INTEGER:
        raise EncodingError("A number of an evidence file is out of its range.")
    return value


def _object(value: object, keys: frozenset[str]) -> dict[str, Any]:
    if type(value) is not dict or value.keys() != keys:
        raise EncodingError("A part of an evidence file has not exactly the fields of one.")
    return value


def _absent(value: object) -> Absent:
    parts = _object(value, frozenset({"checkpoint", "statement"}))
    return Absent(_number(parts["checkpoint"]), parse_hex(parts["statement"], 32))


def _statement(value: object) -> tuple[str, bytes]:
    parts = _object(value, frozenset({"kind", "wire"}))
    if type(parts["kind"]) is not str or parts["kind"] not in STATEMENTS:
        raise EncodingError("An evidence file has a statement of a kind that there is not.")
    return parts["kind"], parse_base64(parts["wire"], limit=MAX_STATEMENT)


def _entry(value: object) -> Entry:
    parts = _object(value, _ENTRY)
    if type(parts["kind"]) is not str or parts["kind"] not in KINDS:
        raise EncodingError("An evidence file has an entry of a kind that no log has.")
    try:
        member = check_member_name(parts["member"])
    except InputError as error:
        raise EncodingError(f"A name in the evidence file is refused: {error.message}") from error
    salt = parse_base64(parts["salt"], limit=SALT_BYTES)
    proof = _many(parts["proof"], lambda part: parse_base64(part, limit=ENTRY_BYTES), MAX_HASHES)
    if len(salt) != SALT_BYTES or any(len(part) != ENTRY_BYTES for part in proof):
        raise EncodingError("A salt or a hash of an evidence file has another length.")
    return Entry(
        member,
        _number(parts["index"]),
        parts["kind"],
        salt,
        parse_base64(parts["statement"], limit=MAX_STATEMENT),
        parse_base64(parts["signature"], limit=_MAX_SIGNATURE),
        proof,
        _number(parts["checkpoint"]),
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """An entry that stands in its member's log: a quorum had cosigned it by `by` (milliseconds)."""

    entry: Entry
    log: Cosigned

    @property
    def by(self) -> int:
        """When it had been seen."""
        return self.log.at


def see(file: EvidenceFile, versions: Versions) -> tuple[Sequence[Cosigned], Sequence[Seen]]:
    """Verify every checkpoint of the file, and that every entry stands in the log of its own.

    Raises:
        EncodingError, LedgerError: one does not hold; codes as of `read_cosigned`, `wrong_inclusion`, `no_proof`.

    """
    logs = [read_cosigned(note, versions) for note in file.checkpoints]
    seen: list[Seen] = []
    for entry in file.entries:
        if not entry.checkpoint < len(logs) or logs[entry.checkpoint].member != entry.member:
            raise LedgerError("An entry of the evidence is in no log of its member.", code="no_proof")
        log = logs[entry.checkpoint]
        leaf = Leaf(entry.kind, entry.salt, entry.statement)
        verify_inclusion(leaf.hash, entry.index, log.checkpoint.size, entry.proof, log.checkpoint.root)
        seen.append(Seen(entry, log))
    return logs, seen
