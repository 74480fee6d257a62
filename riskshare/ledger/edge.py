"""Appending to a log: from its right edge, without reading the rest of the tree (pure).

The edge are the partial tiles of the tree, at most 255 hashes a level. New leaf hashes fill them up; what becomes full
is written once and contributes one hash to the level above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from riskshare.errors import LedgerError
from riskshare.ledger.merkle import EMPTY_ROOT, HASH_BYTES, fold, pieces
from riskshare.ledger.proof import MAX_SIZE
from riskshare.ledger.tile import HEIGHT, WIDTH, Tile, check_length, edge_tiles

_FULL = WIDTH * HASH_BYTES


@dataclass(frozen=True, slots=True)
class Edge:
    """The right edge of a tree of `size` leaves.

    `partial` are the bytes of the partial tile of each level that the tree has, lowest first: b"" where the level has
    full tiles only.
    """

    size: int = 0
    partial: tuple[bytes, ...] = field(default=(), repr=False)

    @classmethod
    def read(cls, size: int, tiles: Mapping[Tile, bytes]) -> Edge:
        """The edge of a tree of `size` leaves, from its partial tiles `edge_tiles(size)`.

        Compare `root()` with the one that was signed before appending to it.

        Raises:
            LedgerError: code `wrong_tile`, one is missing or has another length.

        """
        levels = -(-size.bit_length() // HEIGHT)
        partial = [b""] * levels
        for tile in edge_tiles(size):
            if tile not in tiles:
                raise LedgerError(f"{tile.path} is missing.", code="wrong_tile")
            check_length(tile, tiles[tile])
            partial[tile.level] = tiles[tile]
        return cls(size, tuple(partial))

    def root(self) -> bytes:
        """Root of the tree, 32 bytes."""
        below: list[bytes] = []  # the incomplete subtree right of this level's hashes, if there is one
        for data in self.partial:
            if hashes := pieces(data) + below:
                below = [fold(hashes)]
        return below[0] if below else EMPTY_ROOT

    def append(self, leaves: Sequence[bytes]) -> Growth:
        """Append leaves, given by their *hashes* (32 bytes each).

        Raises:
            ValueError: a hash is not 32 bytes, or the tree would have 2^63 leaves.

        """
        size = self.size + len(leaves)
        if size > MAX_SIZE or any(len(leaf) != HASH_BYTES for leaf in leaves):
            raise ValueError("a leaf hash is not 32 bytes, or the tree would be too large")
        partial: list[bytes] = []
        tiles: list[tuple[Tile, bytes]] = []
        new = b"".join(leaves)
        level = 0
        while size >> HEIGHT * level:
            kept = self.partial[level] if level < len(self.partial) else b""
            index = self.size >> HEIGHT * (level + 1)
            written, rest, new = _fill(Tile(level, index), kept, new)
            tiles += written
            partial.append(rest)
            level += 1
        return Growth(Edge(size, tuple(partial)), tuple(tiles))


@dataclass(frozen=True, slots=True)
class Growth:
    """What an append gives: the new edge, and every tile to be written, in the order of `tiles_between`."""

    edge: Edge
    tiles: tuple[tuple[Tile, bytes], ...] = field(repr=False)


def _fill(first: Tile, kept: bytes, new: bytes) -> tuple[list[tuple[Tile, bytes]], bytes, bytes]:
    """Fill one level: the tiles written, what is left as partial tile, and the hashes for the level above."""
    if not new:
        return [], kept, b""
    data = kept + new
    full = [data[start : start + _FULL] for start in range(0, len(data) - _FULL + 1, _FULL)]
    rest = data[len(full) * _FULL :]
    tiles = [(Tile(first.level, first.index + number), tile) for number, tile in enumerate(full)]
    if rest:
        tiles.append((Tile(first.level, first.index + len(full), len(rest) // HASH_BYTES), rest))
    return tiles, rest, b"".join(fold(pieces(tile)) for tile in full)
