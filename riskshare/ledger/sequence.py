"""Sequencing: what this member has kept becomes entries of its log, under a checkpoint that it signs.

The order of durability, from a question to a final entry. A crash between any two steps loses and forks nothing:

1. The receipt (or check, snapshot, ...) is durable, and in the same statement a pending row with its entry.
2. The answer or verdict leaves the peer.
3. `step`: in one transaction, pending rows are taken, their hashes appended at the tree's right edge, tiles and bundles
   written, and the new checkpoint, signed, by compare-and-swap on the old head. Before the commit all of it is pending,
   afterwards all of it is in the log; nobody sees anything between.
4. The checkpoint is offered to witnesses: only what is committed, so that no crash makes this log sign another tree of
   that size. A checkpoint that was signed and not committed has left the peer nowhere, and is signed anew, or another.
5. Cosignatures are stored as they come; with a quorum the checkpoint is final (`finalize`).

Whoever comes after a crash runs the same code: `step` reads head and edge from the store each time, recomputes the root
and signs only on top of what was signed. The very first checkpoint is that of no entries: it contradicts no history, so
that it can be offered to witnesses before anything is signed that could (`finalize` waits for their replies).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Protocol, final

from riskshare.errors import EncodingError, LedgerError
from riskshare.ledger.bundle import decode_entries, grow_bundles
from riskshare.ledger.checkpoint import Checkpoint, parse_signed, sign_checkpoint
from riskshare.ledger.edge import Edge
from riskshare.ledger.kept import Grown, Head, Held, Make, Written
from riskshare.ledger.merkle import EMPTY_ROOT, leaf_hash
from riskshare.ledger.tile import edge_bundle
from riskshare.signature import SigningKey

MOST: Final = 1024
"""Entries of one transaction: some milliseconds of hashing, in which this process answers nobody."""


class Log(Protocol):
    """The store of this member's log."""

    async def grow(self, most: int, make: Make) -> Grown | None:
        """Take at most `most` pending entries and write what `make` makes of them, in one transaction.

        Raises:
            LedgerError: this log is halted, or what `make` raises.
            StoreError: the store is away, or somebody else has grown the log meanwhile.

        """


@final
class Sequencer:
    """Grows one log. One process of a member at a time runs it; if two do, each waits for the other's transaction."""

    def __init__(
        self, *, origin: str, key: SigningKey, log: Log, now: Callable[[], datetime], most: int = MOST
    ) -> None:
        self._origin = origin
        self._key = key
        self._log = log
        self._now = now
        self._most = most

    async def open(self) -> None:
        """Recompute the root from the stored edge and compare it with the head; sign the empty log if there is none.

        Raises:
            LedgerError: code `log_damaged`, or that of a halt.
            StoreError: the store is away.

        """
        await self._log.grow(0, self._make)

    async def step(self) -> int:
        """Make all that is pending part of the log; give the number of entries. Does nothing before `open`.

        Raises:
            LedgerError, StoreError: as `open`.

        """
        entries = 0
        while grown := await self._log.grow(self._most, self._make):
            entries += grown.entries
            if grown.entries < self._most:
                break
        return entries

    def _make(self, held: Held, entries: Sequence[bytes]) -> Written | None:
        edge = read_edge(held, self._origin)
        if held.head is None:
            return None if entries else Written(self._sign(0, EMPTY_ROOT))
        if not entries:
            return None
        growth = edge.append([leaf_hash(entry) for entry in entries])
        bundles = grow_bundles(edge.size, held.bundle, entries)
        return Written(self._sign(growth.edge.size, growth.edge.root()), growth.tiles, bundles)

    def _sign(self, size: int, root: bytes) -> Head:
        note = sign_checkpoint(Checkpoint(self._origin, size, root), self._key)
        return Head(size, root, note.to_bytes(), self._now())


def read_edge(held: Held, origin: str) -> Edge:
    """The right edge of a log out of its store, held against the head that was signed.

    Raises:
        LedgerError: code `log_damaged`; nothing may be signed on top of it.

    """
    if held.head is None:
        return Edge()
    head = held.head
    try:
        edge = Edge.read(head.size, held.tiles)
        partial = edge_bundle(head.size)
        entries = decode_entries(partial, held.bundle) if partial else ()
        signed = parse_signed(head.note).checkpoint
    except (LedgerError, EncodingError) as error:
        raise _damaged(error.message) from error
    leaves = b"".join(map(leaf_hash, entries))
    if signed != Checkpoint(origin, head.size, head.root):
        raise _damaged("The note of its newest checkpoint says something else than is stored beside it.")
    if edge.root() != head.root:
        raise _damaged(f"Its stored tiles do not have the root that was signed for {head.size} entries.")
    if partial and leaves != edge.partial[0]:
        raise _damaged(f"{partial.path} holds other entries than the tile above it.")
    return edge


def _damaged(why: str) -> LedgerError:
    return LedgerError(
        f"The stored log of this member is damaged, and nothing is signed on top of it. {why}"
        " Restore the newest backup or replica of the database that is whole; entries wait meanwhile and are not lost.",
        code="log_damaged",
    )
