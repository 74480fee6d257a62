"""Deriving a log anew in parts, on all cores: as `ledger.derivation` does, where all is as it must be (pure).

Each part is some bundles with their level-0 tiles; it gives the roots of the full ones, which are the leaves of the
tree above. Whatever differs gives None and no reason: `ledger.audit` then derives the log in order, and says what is
wrong and whose.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from riskshare.audit.files import Files, read_bundle, read_tile
from riskshare.errors import EncodingError, LedgerError
from riskshare.ledger.bundle import decode_entries
from riskshare.ledger.checkpoint import Checkpoint
from riskshare.ledger.edge import Edge
from riskshare.ledger.merkle import HASH_BYTES, fold, leaf_hash, pieces
from riskshare.ledger.tile import HEIGHT, WIDTH, Bundle, Tile, bundles_between, parse_path, stands_in

TOGETHER: Final = 64
"""Bundles of one part."""


class DeriveJob(NamedTuple):
    """Bundles from `first` to before `following` of a log of `size` entries."""

    files: Files
    size: int
    first: int
    following: int


class Part(NamedTuple):
    """What a part gave: the roots of its full tiles, one after the other, and the hashes of its partial one or b""."""

    roots: bytes
    rest: bytes
    entries: int


def parts_of(files: Files, size: int) -> Iterator[DeriveJob]:
    """The parts of a log, in order."""
    count = -(-size >> HEIGHT)
    for first in range(0, count, TOGETHER):
        yield DeriveJob(files, size, first, min(first + TOGETHER, count))


def derive_part(job: DeriveJob) -> Part | None:
    """Derive the level-0 tiles of some bundles, and hold those against them that are there. Raises DiskError."""
    roots: list[bytes] = []
    rest = b""
    entries = 0
    for bundle in bundles_between(job.first << HEIGHT, min(job.following << HEIGHT, job.size)):
        place = Bundle(bundle.index, min(WIDTH, job.size - bundle.start))
        try:
            leaves = [leaf_hash(entry) for entry in decode_entries(place, read_bundle(job.files, place))]
            if read_tile(job.files, Tile(0, place.index, place.width)) != b"".join(leaves):
                return None
        except LedgerError:
            return None
        entries += place.width
        if place.is_full:
            roots.append(fold(leaves))
        else:
            rest = b"".join(leaves)
    return Part(b"".join(roots), rest, entries)


def assemble(files: Files, checkpoint: Checkpoint, parts: Iterable[Part | None]) -> int | None:
    """Put parts together: derive the tiles above, and hold them and the root against what there must be.

    Gives the number of tiles compared, or None if anything differs. Raises DiskError.
    """
    above = Edge()
    rest = b""
    tiles = 0
    for part in parts:
        if part is None:
            return None
        rest = part.rest
        tiles += part.entries + WIDTH - 1 >> HEIGHT
        growth = above.append(pieces(part.roots))
        above = growth.edge
        if not _same(files, [(tile, data) for tile, data in growth.tiles if tile.is_full]):
            return None
        tiles += sum(tile.is_full for tile, _ in growth.tiles)
    edge = Edge(checkpoint.size, (rest, *above.partial) if checkpoint.size else ())
    partial = [
        (Tile(level, above.size >> HEIGHT * (level + 1), len(data) // HASH_BYTES), data)
        for level, data in enumerate(above.partial)
        if data
    ]
    if not _same(files, partial) or edge.root() != checkpoint.root:
        return None
    return tiles + len(partial)


def _same(files: Files, derived: Sequence[tuple[Tile, bytes]]) -> bool:
    """Whether tiles of the tree above are those that are there, one level higher."""
    try:
        return all(read_tile(files, Tile(tile.level + 1, tile.index, tile.width)) == data for tile, data in derived)
    except LedgerError:
        return False


def is_part(path: str, *, size: int) -> bool:
    """Whether a log of `size` entries has a tile or a bundle at a path."""
    try:
        return stands_in(parse_path(path), size)
    except EncodingError:
        return False
