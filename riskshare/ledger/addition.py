"""Asking a witness to cosign: the request, the witness's rule, its answer (C2SP tlog-witness v1.0.0) (pure).

A log that has grown offers its new checkpoint with a proof that it extends the last one that the witness cosigned.
`decide` is the witness's whole rule as a function of what it knows; its caller reads `known` and stores the new one in
one transaction (compare-and-swap on the old size), before the cosignature leaves.

What a log learns from the answer is one of `Cosigned`, `Knows`, `Disputes`, `Refuses`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from riskshare.encoding import base64_text
from riskshare.errors import EncodingError, LedgerError
from riskshare.ledger.checkpoint import Checkpoint, SignedCheckpoint, parse_hash, parse_signed, parse_size
from riskshare.ledger.merkle import EMPTY_ROOT
from riskshare.ledger.note import Note, Signature, VerifierKey, parse_signatures, verify, verify_signatures
from riskshare.ledger.proof import verify_consistency

MAX_PROOF = 63
MAX_BYTES = 64 * 1024
"""Largest request that a witness reads, in bytes: proof lines, and a checkpoint with some hundred signatures."""

MAX_ANSWER = 16 * 1024
"""Most that a log reads of an answer, in bytes."""

SIZE_TYPE = "text/x.tlog.size"
TEXT_TYPE = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """The request `add-checkpoint`: the size that the witness knows, the proof from there, the checkpoint."""

    old: int
    proof: tuple[bytes, ...] = field(repr=False)
    signed: SignedCheckpoint

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint offered."""
        return self.signed.checkpoint

    def to_bytes(self) -> bytes:
        """The body of the request (tlog-witness, add-checkpoint)."""
        lines = "".join(f"{base64_text(value)}\n" for value in self.proof)
        return f"old {self.old}\n{lines}\n".encode() + self.signed.note.to_bytes()


def parse_addition(body: bytes) -> AddCheckpoint:
    """Read the body of `add-checkpoint`; nothing is verified.

    Raises:
        EncodingError: longer than 64 KiB, a malformed line, more than 63 proof lines, a malformed checkpoint.

    """
    if len(body) > MAX_BYTES:
        raise EncodingError(f"The request is longer than the {MAX_BYTES} bytes allowed here.")
    head, gap, rest = body.partition(b"\n\n")
    if not gap or not head.isascii():
        raise EncodingError("The request has no empty line before the checkpoint.")
    first, *lines = head.decode("ascii").split("\n")
    if not first.startswith("old ") or len(lines) > MAX_PROOF:
        raise EncodingError("The request does not begin with the old size, or has more than 63 proof lines.")
    proof = tuple(map(parse_hash, lines))
    addition = AddCheckpoint(parse_size(first.removeprefix("old ")), proof, parse_signed(rest))
    if addition.to_bytes() != body:
        raise EncodingError("The request is not written in its one spelling.")
    return addition


@dataclass(frozen=True, slots=True)
class Known:
    """The latest checkpoint of a log that a witness cosigned; before the first, size 0 and the root of no leaves."""

    size: int = 0
    root: bytes = EMPTY_ROOT


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a witness does with a request.

    On status 200 it must store `known`, then answer with its cosignatures on the text; otherwise `body` is the whole
    answer. `code` says why. `two_histories` says that the log signed another root for the very size that the witness
    knows: keep both checkpoints, they convict the log whatever the answer is.
    """

    status: int
    code: str
    body: bytes = b""
    content_type: str = TEXT_TYPE
    known: Known | None = None
    two_histories: bool = False


def authenticate(addition: AddCheckpoint, keys: Iterable[VerifierKey]) -> Note:
    """Verify who offers a checkpoint; what a stranger offers is not worth a look into what is known.

    1. The origin is known.
    2. A key of the log signed the checkpoint, and none of its signatures is wrong; all others are ignored.

    Returns:
        The checkpoint under the signatures of its log alone: lines of others cost a witness nothing to keep.

    Raises:
        LedgerError: codes `unknown_log`, `bad_signature`, `duplicate_signature`; `refused` is the answer.

    """
    trusted = tuple(keys)
    # 1.
    if not trusted:
        raise LedgerError("This witness does not know a log of this origin.", code="unknown_log")
    # 2.
    found = verify(addition.signed.note, trusted)
    return Note(addition.signed.note.text, tuple(verified.signature for verified in found))


def decide(addition: AddCheckpoint, keys: Iterable[VerifierKey], known: Known) -> Verdict:
    """Decide on a well-formed request, in the order of tlog-witness v1.0.0.

    `keys` are those of the log that the origin names, none if the witness does not know it; `known` is the latest
    checkpoint that it cosigned for that origin. A request that `parse_addition` refuses is answered by `malformed`.
    """
    offered = addition.checkpoint
    # 1 and 2. It comes from a log that is known.
    try:
        authenticate(addition, keys)
    except LedgerError as error:
        return refused(error)
    # What a log signed counts against it from here on, however it was offered.
    forked = offered.size == known.size and offered.root != known.root
    # 3. The old size is not above the new one.
    if addition.old > offered.size:
        return _refuse(400, "size_shrinks", "The old size is above the size of the checkpoint.", forked)
    # 4. The old size is the one that this witness cosigned last.
    if addition.old != known.size:
        return _conflict("size_conflict", known, two_histories=forked)
    # 5. Equal sizes have equal roots.
    if forked:
        return _conflict("two_histories", known, two_histories=True)
    # 6. The proof leads from the one to the other; it is empty from size 0, and between equal sizes.
    try:
        verify_consistency(known.size, offered.size, addition.proof, known.root, offered.root)
    except LedgerError as error:
        return _refuse(422, error.code, error.message)
    return Verdict(200, "accepted", known=Known(offered.size, offered.root))


def malformed(error: EncodingError) -> Verdict:
    """The answer to a request that cannot be read."""
    return _refuse(400, "malformed", error.message)


def refused(error: LedgerError) -> Verdict:
    """The answer to whom `authenticate` refuses."""
    return _refuse(404 if error.code == "unknown_log" else 403, error.code, error.message)


def _refuse(status: int, code: str, sentence: str, two_histories: bool = False) -> Verdict:
    return Verdict(status, code, f"{sentence}\n".encode(), two_histories=two_histories)


def _conflict(code: str, known: Known, *, two_histories: bool) -> Verdict:
    """409 with the size that is known. For equal sizes v1.0.0 names no body; the size tells the log as much."""
    return Verdict(409, code, f"{known.size}\n".encode(), SIZE_TYPE, two_histories=two_histories)


@dataclass(frozen=True, slots=True)
class Cosigned:
    """The witness cosigned: its signatures, verified."""

    signatures: tuple[Signature, ...]


@dataclass(frozen=True, slots=True)
class Knows:
    """The witness knows another size than the request named: offer again from there."""

    size: int


@dataclass(frozen=True, slots=True)
class Disputes:
    """The witness says that it knows another root for the very size offered: that this log has two histories.

    A witness may lie; what convicts is the other checkpoint, signed by this log.
    """


@dataclass(frozen=True, slots=True)
class Refuses:
    """The witness refuses, or fails, with this HTTP status."""

    status: int


Answer = Cosigned | Knows | Disputes | Refuses


def read_answer(status: int, body: bytes, addition: AddCheckpoint, keys: Iterable[VerifierKey]) -> Answer:
    """Understand a witness's answer to `addition`; `keys` are the keys of that witness alone.

    Before v1.0.0 and after it, "same size, other root" was answered with 422: both are understood.

    Raises:
        LedgerError: code `witness_garbage`, status 200 or 409 with a body that is malformed, has no cosignature of
            this witness, or one that does not hold.

    """
    same_size = addition.old == addition.checkpoint.size
    if status == 200:
        return Cosigned(_read_cosignatures(body, addition, keys))
    if status == 409:
        size = _read_conflict(body)
        if size is None and not same_size:  # for equal sizes v1.0.0 names no body
            raise LedgerError("The witness reports a conflict without the size that it knows.", code="witness_garbage")
        if size not in (None, addition.old):
            return Knows(size)
    return Disputes() if status in (409, 422) and same_size else Refuses(status)


def _read_cosignatures(body: bytes, addition: AddCheckpoint, keys: Iterable[VerifierKey]) -> tuple[Signature, ...]:
    try:
        found = verify_signatures(addition.signed.note.text, parse_signatures(body, limit=MAX_ANSWER), keys)
    except (EncodingError, LedgerError) as error:
        raise LedgerError("The witness's cosignatures do not hold.", code="witness_garbage") from error
    if not found:
        raise LedgerError("The witness answered without a cosignature of its own.", code="witness_garbage")
    return tuple(verified.signature for verified in found)


def _read_conflict(body: bytes) -> int | None:
    """The size in the body of a 409, or None if it holds none."""
    try:
        text = body[:MAX_ANSWER].decode("ascii")
        return parse_size(text[:-1]) if text.endswith("\n") else None
    except (UnicodeDecodeError, EncodingError):
        return None
