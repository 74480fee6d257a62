"""Re-deriving a whole log from its entries, in memory that does not grow with it (pure).

    derivation = Derivation(checkpoint.size)
    while bundle := derivation.wanted:
        for tile, derived in derivation.feed(fetch(bundle.path)):
            check_tile(tile, derived, fetch(tile.path))
    for tile, derived in derivation.rest():
        check_tile(tile, derived, fetch(tile.path))
    derivation.check_root(checkpoint.root)

Every bundle and every tile is fetched once. What is wrong is named: the bundle, the tile, the entry.
"""

from __future__ import annotations

from riskshare.errors import LedgerError
from riskshare.ledger.bundle import decode_entries
from riskshare.ledger.edge import Edge
from riskshare.ledger.merkle import leaf_hash
from riskshare.ledger.tile import HEIGHT, WIDTH, Bundle, Tile, edge_tiles

DerivedTiles = tuple[tuple[Tile, bytes], ...]
"""Tiles with the bytes that a log with these entries must serve."""


class Derivation:
    """A log of `size` entries, being derived from its bundles in order."""

    __slots__ = ("_edge", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._edge = Edge()

    @property
    def done(self) -> int:
        """Entries derived so far."""
        return self._edge.size

    @property
    def wanted(self) -> Bundle | None:
        """The bundle to feed next, or None when all are there."""
        left = self._size - self.done
        return Bundle(self.done >> HEIGHT, min(WIDTH, left)) if left else None

    def feed(self, data: bytes) -> DerivedTiles:
        """Take the bytes of the bundle `wanted`; gives the full tiles that it completes.

        Raises:
            LedgerError: code `wrong_bundle`.
            ValueError: no bundle is wanted any more.

        """
        bundle = self.wanted
        if bundle is None:
            raise ValueError("all bundles are there")
        growth = self._edge.append([leaf_hash(entry) for entry in decode_entries(bundle, data)])
        self._edge = growth.edge
        return tuple((tile, hashes) for tile, hashes in growth.tiles if tile.is_full)

    def rest(self) -> DerivedTiles:
        """The partial tiles, once all bundles are there. Raises ValueError if one is still wanted."""
        self._complete()
        return tuple((tile, self._edge.partial[tile.level]) for tile in edge_tiles(self._size))

    def check_root(self, root: bytes) -> None:
        """Hold the root derived against that of the checkpoint, after the tiles: those say *where* it differs.

        Raises:
            LedgerError: code `wrong_tree`, the checkpoint was signed over other entries.
            ValueError: a bundle is still wanted.

        """
        self._complete()
        if self._edge.root() != root:
            raise LedgerError(
                f"The {self._size} entries served do not have the root that the checkpoint names.", code="wrong_tree"
            )

    def _complete(self) -> None:
        if self.wanted is not None:
            raise ValueError("not all bundles are there")
