"""A member's log as its counterparties see it: true proofs of true entries, and whatever lie a test asks for."""

from __future__ import annotations

from riskshare.ledger.addition import Known
from riskshare.ledger.checkpoint import Checkpoint, SignedCheckpoint
from riskshare.ledger.edge import Edge
from riskshare.ledger.entry_page import Entry, EntryPage, make_page, page_tiles
from riskshare.ledger.leaf import Leaf
from riskshare.ledger.note import COSIGNATURE, ED25519, Note, VerifierKey, cosign, sign
from riskshare.ledger.policy import Policy, PolicyLog, PolicyWitness
from riskshare.ledger.tile import TileReader
from riskshare.signature import SigningKey

LOG, WITNESS, OTHER = (SigningKey(bytes([number]) * 32) for number in (1, 2, 3))
ORIGIN = "riskshare/simnet/jd"
POLICY = Policy(
    (PolicyLog(VerifierKey(ORIGIN, ED25519, LOG.public)),),
    (PolicyWitness("w", VerifierKey("witness", COSIGNATURE, WITNESS.public)),),
    (),
    "w",
)


def statement(index: int) -> bytes:
    return b"statement %d" % index


def source(index: int) -> bytes:
    return index.to_bytes(32, "big")


def salt(index: int) -> bytes:
    return index.to_bytes(16, "little")


def kind(index: int) -> str:
    return ("receipt", "snapshot", "epoch")[index % 3]


class Log:
    """A log of some entries, with all its tiles; `root` of any smaller one."""

    def __init__(self, size: int, *, other: int | None = None) -> None:
        leaves = [Leaf(kind(index), salt(index), statement(index)).hash for index in range(size)]
        if other is not None:
            leaves[other] = Leaf("check", salt(0), b"another").hash
        self.leaves = leaves
        self.edge = Edge().append(leaves).edge
        self.tiles = dict(Edge().append(leaves).tiles)

    def root(self, size: int) -> bytes:
        return Edge().append(self.leaves[:size]).edge.root()

    def known(self, size: int) -> Known:
        return Known(size, self.root(size))

    def signed(self, *, key: SigningKey = LOG, final: bool = True, origin: str = ORIGIN) -> SignedCheckpoint:
        checkpoint = Checkpoint(origin, self.edge.size, self.edge.root())
        text = checkpoint.text
        cosigned = (cosign(text, "witness", WITNESS, 1_800_000_000),) if final else ()
        return SignedCheckpoint(checkpoint, Note(text, (sign(text, origin, key), *cosigned)))

    def page(self, known: int, indices: list[int], following: int | None = None, **signed: object) -> EntryPage:
        entries = [Entry(index, kind(index), source(index), salt(index)) for index in indices]
        size = self.edge.size
        read = TileReader({tile: self.tiles[tile] for tile in page_tiles(size, known, entries)}).read
        return make_page(self.signed(**signed), known, entries, size if following is None else following, read)
