"""A member's entries that concern one reader, with their proofs: it shows that it has accounted (pure).

`GET /peer/v1/entries?after=<n>&size=<m>` is answered with the CBOR map

    {"checkpoint": the newest final checkpoint with its cosignatures, "consistency": 32·h bytes, "next": number,
     "rows": [[index, kind, source, salt, 32·h bytes of inclusion proof], ...]}

The rows are those of the reader from entry `n` on, in the log's order; before `next` there are no others. The
consistency proof leads from the tree of `m` entries, which the reader knows, to that of the checkpoint. `source` names
the statement: the id of a receipt, the digest of a snapshot or epoch statement. The statement itself is not sent: the
entry is held against the reader's own copy. `GET /peer/v1/entries/<source>?size=<m>` is answered with the one row of a
source.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from riskshare.encoding import MAX_SAFE_INTEGER, cbor_decode, cbor_encode
from riskshare.errors import EncodingError, LedgerError
from riskshare.ledger.addition import MAX_PROOF, Known
from riskshare.ledger.checkpoint import Checkpoint, SignedCheckpoint, parse_signed
from riskshare.ledger.leaf import Leaf
from riskshare.ledger.merkle import HASH_BYTES, pieces
from riskshare.ledger.policy import Policy
from riskshare.ledger.proof import (
    ReadNode,
    consistency_nodes,
    inclusion_nodes,
    prove_consistency,
    prove_inclusion,
    verify_consistency,
    verify_inclusion,
)
from riskshare.ledger.tile import Tile, tiles_of
from riskshare.statement import SALT_BYTES

ENTRIES = "/peer/v1/entries"
ENTRY = "/peer/v1/entries/{source}"

MAX_ROWS = 500
"""Most rows on a page."""

SPAN = 65_536
"""Most entries of the log that a page looks through: who has few among many turns pages."""

MAX_PAGE_BYTES = 4 * 1024 * 1024
"""Longest page that is read: 500 rows with the longest proofs, and a checkpoint with the most cosignatures."""

KINDS = frozenset({"receipt", "snapshot", "epoch"})
"""Entries that concern somebody else than their member."""

_SOURCE_BYTES = 32
_PARTS = frozenset({"checkpoint", "consistency", "next", "rows"})
_ROW = [int, str, bytes, bytes, bytes]


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry without its proof: index in the log, kind, source (32 bytes) and salt (16 bytes)."""

    index: int
    kind: str
    source: bytes
    salt: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Row:
    """An entry with its inclusion proof in the tree of the page's checkpoint, from the sibling upwards."""

    entry: Entry
    hashes: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class EntryPage:
    """One page; nothing is verified yet."""

    signed: SignedCheckpoint
    consistency: tuple[bytes, ...] = field(repr=False)
    next: int
    rows: tuple[Row, ...]

    def to_bytes(self) -> bytes:
        """The CBOR map."""
        rows = [_row_parts(row) for row in self.rows]
        return cbor_encode(
            {
                "checkpoint": self.signed.note.to_bytes(),
                "consistency": _join(self.consistency),
                "next": self.next,
                "rows": rows,
            }
        )


def page_tiles(size: int, known: int, entries: Iterable[Entry]) -> tuple[Tile, ...]:
    """The tiles that `make_page` reads, of a log of `size` entries for a reader that knows `known`."""
    nodes = {node for entry in entries for node in inclusion_nodes(entry.index, size)}
    return tiles_of(nodes.union(consistency_nodes(min(known, size), size)), size)


def make_page(
    signed: SignedCheckpoint, known: int, entries: Sequence[Entry], following: int, read: ReadNode
) -> EntryPage:
    """Make the page of `entries`, all below the checkpoint's size; `following` becomes `next`.

    For a reader that claims to know more than there is, the consistency proof is empty: it will not be content.

    Raises:
        LedgerError: code `wrong_tile`, from `read`.

    """
    size = signed.checkpoint.size
    rows = tuple(Row(entry, prove_inclusion(entry.index, size, read)) for entry in entries)
    return EntryPage(signed, prove_consistency(min(known, size), size, read), following, rows)


def read_entries(data: bytes) -> EntryPage:
    """Read what `EntryPage.to_bytes` wrote, strictly; nothing is verified.

    Raises:
        EncodingError: too long; not such a map; more than 500 rows; indices that do not grow, or are not below
            `next`; `next` above the checkpoint's size; a kind that concerns nobody else.

    """
    parts: Any = cbor_decode(data, limit=MAX_PAGE_BYTES)
    if not isinstance(parts, dict) or parts.keys() != _PARTS:
        raise EncodingError("A page of entries has not exactly the fields of one.")
    note, following, rows = parts["checkpoint"], parts["next"], parts["rows"]
    if type(note) is not bytes or type(following) is not int or type(rows) is not list or len(rows) > MAX_ROWS:
        raise EncodingError(f"A field of a page of entries has another type, or there are more than {MAX_ROWS} rows.")
    signed = parse_signed(note)
    page = EntryPage(signed, _hashes(parts["consistency"]), following, tuple(map(_read_row, rows)))
    indices = [row.entry.index for row in page.rows]
    if not 0 <= following <= signed.checkpoint.size or any(index >= following for index in indices):
        raise EncodingError("A page of entries goes beyond its checkpoint, or beyond its own end.")
    if any(after <= before for before, after in pairwise(indices)):
        raise EncodingError("The indices on a page of entries do not grow.")
    return page


def _row_parts(row: Row) -> list[object]:
    entry = row.entry
    return [entry.index, entry.kind, entry.source, entry.salt, _join(row.hashes)]


def _read_row(item: object) -> Row:
    if not isinstance(item, list) or [type(part) for part in item] != _ROW:
        raise EncodingError("A row of a page of entries has not the parts of one.")
    index, kind, source, salt, hashes = item
    if not 0 <= index <= MAX_SAFE_INTEGER or kind not in KINDS:
        raise EncodingError("A row of a page of entries has no such index or kind.")
    if len(source) != _SOURCE_BYTES or len(salt) != SALT_BYTES:
        raise EncodingError("A row of a page of entries has a source or a salt of another length.")
    return Row(Entry(index, kind, source, salt), _hashes(hashes))


def _hashes(value: object) -> tuple[bytes, ...]:
    if type(value) is not bytes or len(value) % HASH_BYTES or len(value) > MAX_PROOF * HASH_BYTES:
        raise EncodingError(f"A proof on a page of entries is not at most {MAX_PROOF} hashes.")
    return tuple(pieces(value))


def _join(hashes: Iterable[bytes]) -> bytes:
    return b"".join(hashes)


def verify_page(page: EntryPage, policy: Policy, known: Known, after: int) -> Checkpoint:
    """Verify all of a page but its rows; `policy` is that of the log, `known` what the reader knew of it before.

    1. The checkpoint is signed by the log, and final by the policy.
    2. It extends what is known: not smaller, not another root for the same size, and the proof leads from there.
    3. Every row is one that was asked for: none before `after`, and the page leads on.

    Raises:
        LedgerError: codes as `Policy.check`; `rollback`, it is smaller; `two_histories`, another root of the same
            size; `wrong_consistency`; `wrong_entry`, a row or an end that was not asked for.

    """
    # 1.
    checkpoint = policy.check(page.signed).checkpoint
    # 2.
    if checkpoint.size < known.size:
        raise LedgerError("The log shows a final checkpoint smaller than one before it.", code="rollback")
    if checkpoint.size == known.size and checkpoint.root != known.root:
        raise LedgerError("The log has two final checkpoints of one size.", code="two_histories")
    verify_consistency(known.size, checkpoint.size, page.consistency, known.root, checkpoint.root)
    # 3.
    if page.next < min(after, checkpoint.size) or any(row.entry.index < after for row in page.rows):
        raise LedgerError("The page of entries holds what was not asked for.", code="wrong_entry")
    return checkpoint


def verify_row(row: Row, statement: bytes, checkpoint: Checkpoint) -> None:
    """Verify a row of a verified page against our own copy of the statement.

    4. The entry that salt, kind and statement make is in the tree, at its index.

    Raises:
        LedgerError: code `wrong_inclusion`: another salt, another statement, or a wrong proof.

    """
    # 4.
    leaf = Leaf(row.entry.kind, row.entry.salt, statement)
    verify_inclusion(leaf.hash, row.entry.index, checkpoint.size, row.hashes, checkpoint.root)
