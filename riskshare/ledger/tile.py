"""Tiles: the pieces in which a log keeps and serves its tree (C2SP tlog-tiles v0.1.0, height 8) (pure).

A tile at level L holds up to 256 hashes of complete subtrees of height 8·L; each hash of a level above 0 is that of a
full tile below. A partial tile is a prefix of every wider one at its place, so that a store keeps the widest only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from riskshare.errors import EncodingError, LedgerError
from riskshare.ledger.leaf import ENTRY_BYTES
from riskshare.ledger.merkle import HASH_BYTES, parents, pieces
from riskshare.ledger.proof import MAX_SIZE, Node

HEIGHT = 8
WIDTH = 1 << HEIGHT
MAX_LEVEL = 63
"""Highest level that a path may name; trees of at most 2^63 - 1 leaves have tiles on levels 0 to 7."""

_PATH = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<index>(?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


@dataclass(frozen=True, order=True, slots=True)
class Tile:
    """Where a tile of hashes stands: level, index in it, and how many hashes it holds (1 to 256)."""

    level: int
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Its path below the log's prefix, such as `tile/1/x001/x234/067.p/8`."""
        return f"tile/{self.level}/{_index_path(self.index)}{_width_path(self.width)}"

    @property
    def is_full(self) -> bool:
        """Whether it never changes again."""
        return self.width == WIDTH

    @property
    def length(self) -> int:
        """Its length in bytes."""
        return self.width * HASH_BYTES


@dataclass(frozen=True, order=True, slots=True)
class Bundle:
    """Where a bundle of entries stands: its index, and how many entries it holds (1 to 256)."""

    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Its path below the log's prefix, such as `tile/entries/000.p/70`."""
        return f"tile/entries/{_index_path(self.index)}{_width_path(self.width)}"

    @property
    def is_full(self) -> bool:
        """Whether it never changes again."""
        return self.width == WIDTH

    @property
    def length(self) -> int:
        """Its length in bytes: each entry of ours stands behind two bytes of length."""
        return self.width * (2 + ENTRY_BYTES)

    @property
    def start(self) -> int:
        """Index of its first entry in the log."""
        return self.index * WIDTH


def _index_path(index: int) -> str:
    """Groups of three digits, all but the last marked with x (tlog-tiles, Merkle Tree)."""
    path = f"{index % 1000:03}"
    while index := index // 1000:
        path = f"x{index % 1000:03}/{path}"
    return path


def _width_path(width: int) -> str:
    return "" if width == WIDTH else f".p/{width}"


def parse_path(path: str) -> Tile | Bundle:
    """Read the path of a tile or a bundle: parsed, printed and compared.

    Raises:
        EncodingError: any other spelling, a level above 63, a width above 255, an index that no log reaches.

    """
    match = _PATH.fullmatch(path)
    if match is None:
        raise EncodingError("This is not the path of a tile.")
    index = int(re.sub(r"[x/]", "", match["index"]))
    width = int(match["width"] or WIDTH)
    found = Bundle(index, width) if match["level"] == "entries" else Tile(int(match["level"]), index, width)
    if isinstance(found, Tile) and found.level > MAX_LEVEL:
        raise EncodingError("A tile's level is above 63.")
    if index > MAX_SIZE or width > WIDTH or found.path != path:
        raise EncodingError("This is not the path of a tile in its one spelling.")
    return found


def tiles_between(old: int, new: int) -> Iterator[Tile]:
    """Tiles that a log writes when it grows from `old` to `new` leaves: those that are full now, and the partial ones.

    Level by level, left to right. From 0 on, these are all tiles of a log of `new` leaves.
    """
    _grows(old, new)
    level = 0
    while new:
        for index in range(old >> HEIGHT, -(-new >> HEIGHT)) if new > old else ():
            yield Tile(level, index, min(WIDTH, new - index * WIDTH))
        old, new, level = old >> HEIGHT, new >> HEIGHT, level + 1


def bundles_between(old: int, new: int) -> Iterator[Bundle]:
    """Bundles that a log writes when it grows from `old` to `new` entries, left to right."""
    _grows(old, new)
    for index in range(old >> HEIGHT, -(-new >> HEIGHT)) if new > old else ():
        yield Bundle(index, min(WIDTH, new - index * WIDTH))


def _grows(old: int, new: int) -> None:
    if not 0 <= old <= new <= MAX_SIZE:
        raise ValueError("a log does not grow so")


def stands_in(place: Tile | Bundle, size: int) -> bool:
    """Whether a log of `size` entries has this very tile or bundle, as wide as this."""
    level = place.level if isinstance(place, Tile) else 0
    return place.width == min(WIDTH, (size >> HEIGHT * level) - place.index * WIDTH)


def edge_tiles(size: int) -> tuple[Tile, ...]:
    """The partial tiles of a tree of `size` leaves, lowest level first: all that an append has to read."""
    found = []
    level = 0
    while remaining := size >> HEIGHT * level:
        if width := remaining % WIDTH:
            found.append(Tile(level, remaining >> HEIGHT, width))
        level += 1
    return tuple(found)


def edge_bundle(size: int) -> Bundle | None:
    """The partial bundle of a log of `size` entries, if there is one."""
    return Bundle(size >> HEIGHT, size % WIDTH) if size % WIDTH else None


def tile_of(node: Node, size: int) -> Tile:
    """The tile, as wide as a tree of `size` leaves has it, out of which the hash of `node` is read.

    Raises:
        ValueError: the tree has no such complete subtree.

    """
    if not 0 <= node.index < size >> node.level:
        raise ValueError("the tree has no such complete subtree")
    level, height = divmod(node.level, HEIGHT)
    index = node.index << height >> HEIGHT
    return Tile(level, index, min(WIDTH, (size >> HEIGHT * level) - index * WIDTH))


def tiles_of(nodes: Iterable[Node], size: int) -> tuple[Tile, ...]:
    """All tiles that `nodes` are read out of, each once, sorted. Raises ValueError as `tile_of`."""
    return tuple(sorted({tile_of(node, size) for node in nodes}))


class TileReader:
    """Reads hashes of nodes out of tiles that were fetched; `read` is what the functions of `proof` want.

    The inner nodes of each tile are computed once, so that many proofs cost little more than one.
    """

    __slots__ = ("_tiles",)

    def __init__(self, tiles: Mapping[Tile, bytes]) -> None:
        """Take tiles with their bytes.

        Raises:
            LedgerError: code `wrong_tile`, one has another length than its width says.

        """
        self._tiles: dict[tuple[int, int], list[list[bytes]]] = {}
        for tile, data in tiles.items():
            check_length(tile, data)
            self._tiles[tile.level, tile.index] = [pieces(data)]

    def read(self, node: Node) -> bytes:
        """Hash of a complete subtree, 32 bytes.

        Raises:
            LedgerError: code `wrong_tile`, the tile that holds it was not given, or is too narrow.

        """
        level, height = divmod(node.level, HEIGHT)
        index, offset = divmod(node.index, WIDTH >> height)
        heights = self._tiles.get((level, index))
        if heights is not None:
            while len(heights) <= height:
                heights.append(parents(heights[-1]))
            if offset < len(heights[height]):
                return heights[height][offset]
        raise LedgerError(f"A hash of {Tile(level, index).path} is needed and was not given.", code="wrong_tile")


def prefix(place: Tile | Bundle, widest: bytes) -> bytes:
    """A tile or bundle as narrow as `place` says, out of the widest that a store has there.

    Raises:
        LedgerError: code `wrong_tile` or `wrong_bundle`, what the store has is shorter.

    """
    if len(widest) < place.length:
        code = "wrong_tile" if isinstance(place, Tile) else "wrong_bundle"
        raise LedgerError(f"{place.path} has {len(widest)} bytes and should have {place.length}.", code=code)
    return widest[: place.length]


def check_length(tile: Tile, data: bytes) -> None:
    """Refuse bytes that are not as long as the tile is wide. Raises LedgerError `wrong_tile`."""
    if len(data) != tile.length:
        raise LedgerError(f"{tile.path} has {len(data)} bytes and should have {tile.length}.", code="wrong_tile")


def check_tile(tile: Tile, derived: bytes, served: bytes) -> None:
    """Hold a tile as it is served against the one derived from the entries.

    Raises:
        LedgerError: code `wrong_tile`; it names the tile and the first entry or subtree that differs.

    """
    check_length(tile, served)
    for position, (mine, theirs) in enumerate(zip(pieces(derived), pieces(served), strict=True)):
        if mine != theirs:
            first = tile.index * WIDTH + position << HEIGHT * tile.level
            last = first + (1 << HEIGHT * tile.level) - 1
            entries = f"entry {first}" if tile.level == 0 else f"the entries {first} to {last}"
            raise LedgerError(f"Hash {position} of {tile.path} is not that of {entries}.", code="wrong_tile")
