"""Proofs for people: that an entry stands in a log, for years later and without a network (C2SP tlog-proof) (pure).

A file of lines: `c2sp.org/tlog-proof@v1`, `extra <base64>` or nothing, `index <n>`, the hashes of the inclusion proof,
an empty line, the checkpoint with its cosignatures. In our files `extra` is the leaf: the CBOR array [salt, kind,
statement]. Nothing in the file is believed because it stands there: the policy says whose signatures count.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from riskshare.encoding import base64_text, parse_base64
from riskshare.errors import EncodingError, LedgerError
from riskshare.ledger import leaf as ledger_leaf
from riskshare.ledger import note
from riskshare.ledger.checkpoint import SignedCheckpoint, parse_hash, parse_signed, parse_size
from riskshare.ledger.leaf import Leaf
from riskshare.ledger.merkle import leaf_hash
from riskshare.ledger.policy import Final, Policy
from riskshare.ledger.proof import verify_inclusion

MAX_HASHES = 63
MAX_BYTES = 2 * ledger_leaf.MAX_BYTES + note.MAX_BYTES
"""Largest proof file that is read, in bytes: the longest leaf in base64, and the longest checkpoint."""

_FIRST = "c2sp.org/tlog-proof@v1"
_EXTRA = "extra "
_INDEX = "index "


@dataclass(frozen=True, slots=True)
class TlogProof:
    """A proof file: index of the entry, inclusion proof from its sibling upwards, signed checkpoint, extra or None."""

    index: int
    hashes: tuple[bytes, ...] = field(repr=False)
    signed: SignedCheckpoint
    extra: bytes | None = field(default=None, repr=False)

    def to_bytes(self) -> bytes:
        """The file (tlog-proof, Format)."""
        lines = [_FIRST]
        if self.extra is not None:
            lines.append(_EXTRA + base64_text(self.extra))
        lines.append(f"{_INDEX}{self.index}")
        lines += map(base64_text, self.hashes)
        return "".join(f"{line}\n" for line in [*lines, ""]).encode() + self.signed.note.to_bytes()

    def leaf(self) -> Leaf:
        """The leaf in `extra`.

        Raises:
            LedgerError: code `wrong_entry`, there is no extra line.
            EncodingError: it is no leaf.

        """
        if self.extra is None:
            raise LedgerError(
                "The proof does not say of which statement it is: it has no extra line.", code="wrong_entry"
            )
        return Leaf.from_bytes(self.extra)


@dataclass(frozen=True, slots=True)
class Proven:
    """What a proof proves: this leaf is entry `index` of the log of a checkpoint that the policy believes."""

    leaf: Leaf
    index: int
    final: Final


def parse_proof(data: bytes) -> TlogProof:
    """Read a proof file; nothing is verified.

    Raises:
        EncodingError: too long; a line that is malformed or at the wrong place; more than 63 hashes; no checkpoint.

    """
    if len(data) > MAX_BYTES:
        raise EncodingError(f"A proof is longer than the {MAX_BYTES} bytes allowed.")
    head, gap, rest = data.partition(b"\n\n")
    if not gap or not head.isascii():
        raise EncodingError("A proof has no empty line before the checkpoint.")
    first, *lines = head.decode("ascii").split("\n")
    if first != _FIRST:
        raise EncodingError("This is not a proof of the form c2sp.org/tlog-proof@v1.")
    extra = None
    if lines and lines[0].startswith(_EXTRA):
        extra = parse_base64(lines.pop(0).removeprefix(_EXTRA), limit=ledger_leaf.MAX_BYTES)
    if not lines or not lines[0].startswith(_INDEX) or len(lines) > 1 + MAX_HASHES:
        raise EncodingError("A proof has no index line at its place, or more than 63 hashes.")
    index = parse_size(lines[0].removeprefix(_INDEX))
    proof = TlogProof(index, tuple(map(parse_hash, lines[1:])), parse_signed(rest), extra)
    if proof.to_bytes() != data:
        raise EncodingError("The proof is not written in its one spelling.")
    return proof


def make_proof(leaf: Leaf, index: int, hashes: tuple[bytes, ...], signed: SignedCheckpoint) -> TlogProof:
    """A proof file of one of our entries."""
    return TlogProof(index, hashes, signed, leaf.to_bytes())


def verify_entry(proof: TlogProof, entry: bytes, policy: Policy) -> Final:
    """Verify that `entry` is in a log that the policy believes.

    1. The checkpoint is signed by its log and final by the policy.
    2. The proof leads from the entry's hash to the checkpoint's root.

    Raises:
        LedgerError: codes as `Policy.check`, or `wrong_inclusion`.

    """
    # 1.
    final = policy.check(proof.signed)
    # 2.
    verify_inclusion(leaf_hash(entry), proof.index, final.checkpoint.size, proof.hashes, final.checkpoint.root)
    return final


def verify_proof(data: bytes, policy: Policy) -> Proven:
    """Verify a proof file that carries its leaf; what the statement in it says is for the caller to verify.

    1. The file is well-formed.
    2. The extra line is a leaf: salt, kind, statement.
    3. The entry that these three make is in the log (steps of `verify_entry`).

    Raises:
        EncodingError: malformed.
        LedgerError: codes `wrong_entry`, `unknown_log`, `bad_signature`, `duplicate_signature`, `not_final`,
            `wrong_inclusion`.

    """
    # 1.
    proof = parse_proof(data)
    # 2.
    leaf = proof.leaf()
    # 3.
    return Proven(leaf, proof.index, verify_entry(proof, leaf.entry, policy))
