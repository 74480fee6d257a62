"""Tiles, bundles, appending and deriving: held against the definition of tlog-tiles, at every small size and some large ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.errors import EncodingError, LedgerError
from riskshare.ledger.bundle import decode_entries, encode_entries, grow_bundles
from riskshare.ledger.derivation import Derivation
from riskshare.ledger.edge import Edge
from riskshare.ledger.merkle import EMPTY_ROOT, fold, root
from riskshare.ledger.proof import (
    MAX_SIZE,
    Node,
    consistency_nodes,
    inclusion_nodes,
    prove_consistency,
    prove_inclusion,
    tree_nodes,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from riskshare.ledger.tile import (
    Bundle,
    Tile,
    TileReader,
    bundles_between,
    check_tile,
    edge_bundle,
    edge_tiles,
    parse_path,
    prefix,
    tile_of,
    tiles_between,
    tiles_of,
)
from tests.simulator.tree import DefinedTree, SparseTree, entry

LIMIT = 300
LARGE = 70_000
TREE = DefinedTree(LARGE)
ENTRIES = [entry(index) for index in range(LARGE)]
sizes = st.integers(1, MAX_SIZE) | st.integers(1, 63).map(lambda power: (1 << power) - 1)


def defined(tile: Tile) -> bytes:
    """MTH(D[(n * 256 + i) * 256**l : (n * 256 + i + 1) * 256**l]) for each i (tlog-tiles, Merkle Tree)."""
    places = range(tile.index * 256, tile.index * 256 + tile.width)
    return b"".join(TREE.hash(at * 256**tile.level, (at + 1) * 256**tile.level) for at in places)


def all_tiles(size: int) -> set[Tile]:
    """What a log of `size` entries serves: full tiles, and floor(size / 256**l) mod 256 hashes beside (tlog-tiles, Partial Tiles)."""
    found = set()
    for level in range(8):
        full, partial = divmod(size // 256**level, 256)
        found |= {Tile(level, index) for index in range(full)}
        found |= {Tile(level, full, partial)} if partial else set()
    return found


def served(size: int) -> dict[Tile, bytes]:
    return {tile: defined(tile) for tile in all_tiles(size)}


def grown(size: int) -> Edge:
    return Edge().append(TREE.leaves[:size]).edge


def refused(code: str):
    return pytest.raises(LedgerError, check=lambda error: error.code == code)


# --- Paths ----------------------------------------------------------------------------------------

PATHS = {
    "tile/0/000": Tile(0, 0),
    "tile/0/001.p/5": Tile(0, 1, 5),
    "tile/1/x001/x234/067": Tile(1, 1_234_067),
    "tile/1/x001/x234/067.p/255": Tile(1, 1_234_067, 255),
    "tile/63/999": Tile(63, 999),
    "tile/7/x001/000": Tile(7, 1000),
    "tile/entries/000": Bundle(0),
    "tile/entries/x001/x234/067.p/8": Bundle(1_234_067, 8),
    "tile/0/x009/x223/x372/x036/x854/x775/807": Tile(0, MAX_SIZE),
}


@pytest.mark.parametrize("path", PATHS)
def test_paths_read_and_print(path):
    assert parse_path(path) == PATHS[path]
    assert PATHS[path].path == path


@given(st.integers(0, 63), st.integers(0, MAX_SIZE), st.integers(1, 256))
def test_every_path_reads_back(level, index, width):
    for place in (Tile(level, index, width), Bundle(index, width)):
        assert parse_path(place.path) == place


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/tile/0/000",
        "tile/0/000/",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/00/000",
        "tile/01/000",
        "tile/64/000",
        "tile/100/000",
        "tile/-1/000",
        "tile/+1/000",
        "tile//000",
        "tile/0",
        "tile/0/",
        "tile/0/x000",
        "tile/0/x000/000",
        "tile/0/x000/001",
        "tile/0/001/000",
        "tile/0/x001/x000",
        "tile/0/x1/000",
        "tile/0/X001/000",
        "tile/0/x001//000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/999",
        "tile/0/000.p/05",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/0/000.p/-1",
        "tile/0/000.p/1/",
        "tile/0/000.p/1.p/1",
        "tile/0/x009/x223/x372/x036/x854/x775/808",
        "tile/0/x001/x000/x000/x000/x000/x000/x000/000",
        "tile/0/\u0660\u0660\u0660",
        "tile/\u0661/000",
        "tile/0/000\n",
        "tile/0/000?",
        "tile/data/000",
        "tile/entries",
        "tile/entries/x000/000",
        "tile/entries/000.p/256",
        "tile/8/0/000",
        "TILE/0/000",
        "tile/0/../000",
        "checkpoint",
    ],
)
def test_other_paths_are_refused(path):
    with pytest.raises(EncodingError, check=lambda error: error.code == "malformed"):
        parse_path(path)


# --- Which tiles ----------------------------------------------------------------------------------


def test_the_examples_of_the_specification():
    large = list(tiles_between(0, 70_000))
    assert sum(tile.level == 0 and tile.is_full for tile in large) == 273
    assert [tile for tile in large if not tile.is_full] == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert [tile for tile in large if tile.level == 1 and tile.is_full] == [Tile(1, 0)]
    assert list(tiles_between(0, 256)) == [Tile(0, 0), Tile(1, 0, 1)]


@pytest.mark.parametrize("size", [*range(LIMIT), 511, 512, 65_535, 65_536, 65_537, 70_000, 1 << 24])
def test_a_log_that_begins_writes_all_of_its_tiles(size):
    tiles = list(tiles_between(0, size))
    assert tiles == sorted(tiles)
    assert set(tiles) == all_tiles(size)
    assert {tile for tile in tiles if not tile.is_full} == set(edge_tiles(size))
    bundles = list(bundles_between(0, size))
    assert [Tile(0, bundle.index, bundle.width) for bundle in bundles] == [tile for tile in tiles if tile.level == 0]
    assert [bundle for bundle in bundles if not bundle.is_full] == [*filter(None, [edge_bundle(size)])]


@given(st.integers(0, 1 << 20), st.integers(0, 5000))
def test_a_log_that_grows_writes_what_it_did_not_have(old, more):
    new = old + more
    level_sets = [set(tiles_between(0, size)) for size in (old, new)] if new < 20_000 else None
    written = list(tiles_between(old, new))
    assert len(set(written)) == len(written)
    if level_sets is not None:
        assert set(written) == level_sets[1] - level_sets[0]
    assert {tile for tile in edge_tiles(new) if tile not in edge_tiles(old)} <= set(written)
    assert sum(bundle.width for bundle in bundles_between(old, new)) == (more and more + old % 256)


@pytest.mark.parametrize(("old", "new"), [(1, 0), (-1, 0), (0, MAX_SIZE + 1)])
def test_a_log_that_shrinks_writes_nothing(old, new):
    with pytest.raises(ValueError):
        list(tiles_between(old, new))
    with pytest.raises(ValueError):
        list(bundles_between(old, new))


# --- Reading hashes out of tiles ------------------------------------------------------------------


def test_every_node_of_a_small_tree_is_read_out_of_its_tile():
    for size in [*range(1, LIMIT, 7), 256, 257, 511, 512, 513]:
        reader = TileReader(served(size))
        for level in range(size.bit_length()):
            for index in range(size >> level):
                node = Node(level, index)
                assert tile_of(node, size) in all_tiles(size)
                assert reader.read(node) == TREE.read(node)


@given(st.integers(1, LARGE), st.data())
def test_proofs_out_of_the_tiles_that_they_need(size, data):
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    nodes = (*inclusion_nodes(index, size), *consistency_nodes(old, size), *tree_nodes(size))
    needed = tiles_of(nodes, size)
    assert len(needed) <= 10
    read = TileReader({tile: defined(tile) for tile in needed}).read
    whole = tree_root(size, read)
    assert whole == TREE.root(size)
    verify_inclusion(TREE.leaves[index], index, size, prove_inclusion(index, size, read), whole)
    verify_consistency(old, size, prove_consistency(old, size, read), TREE.root(old), whole)


@given(sizes, st.data())
def test_proofs_of_any_size_need_few_tiles(size, data):
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    tree = SparseTree({index})
    needed = tiles_of((*inclusion_nodes(index, size), *consistency_nodes(old, size)), size)
    assert len(needed) <= 3 * 8
    tiles = {
        tile: b"".join(tree.read(Node(8 * tile.level, tile.index * 256 + at)) for at in range(tile.width))
        for tile in needed
    }
    proof = prove_inclusion(index, size, TileReader(tiles).read)
    verify_inclusion(tree.leaf(index), index, size, proof, tree.hash(0, size))


@pytest.mark.parametrize(("level", "index", "size"), [(0, 1, 1), (0, 0, 0), (1, 0, 1), (8, 1, 511), (0, -1, 5)])
def test_a_subtree_that_is_not_complete_has_no_tile(level, index, size):
    with pytest.raises(ValueError):
        tile_of(Node(level, index), size)


def test_a_wider_tile_serves_as_well():
    """It may be all that a log still has for an older size (tlog-tiles, Partial Tiles)."""
    reader = TileReader({Tile(0, 0): defined(Tile(0, 0))})
    assert tree_root(70, reader.read) == TREE.root(70)


@pytest.mark.parametrize(
    "tiles",
    [{}, {Tile(0, 0, 4): defined(Tile(0, 0, 4))}, {Tile(0, 1, 5): defined(Tile(0, 1, 5))}],
    ids=["none", "too narrow", "another"],
)
def test_a_hash_whose_tile_was_not_given_is_not_read(tiles):
    with refused("wrong_tile"):
        tree_root(5, TileReader(tiles).read)


@pytest.mark.parametrize("length", [0, 31, 32, 65, 96])
def test_a_tile_of_another_length_is_refused(length):
    with refused("wrong_tile"):
        TileReader({Tile(0, 0, 2): bytes(length)})


def test_a_narrow_tile_or_bundle_is_cut_out_of_the_widest():
    for width in range(1, 257):
        assert prefix(Tile(0, 0, width), defined(Tile(0, 0))) == defined(Tile(0, 0, width))
        assert prefix(Bundle(0, width), encode_entries(ENTRIES[:256])) == encode_entries(ENTRIES[:width])
    with refused("wrong_tile"):
        prefix(Tile(0, 0, 5), defined(Tile(0, 0, 4)))
    with refused("wrong_bundle"):
        prefix(Bundle(0, 5), encode_entries(ENTRIES[:4]))


# --- Appending ------------------------------------------------------------------------------------


def test_every_growth_up_to_300_writes_the_tiles_of_the_definition():
    leaves, base = TREE.leaves, {tile: defined(tile) for size in range(LIMIT + 1) for tile in all_tiles(size)}
    for old in range(LIMIT + 1):
        edge = Edge.read(old, {tile: base[tile] for tile in edge_tiles(old)})
        assert edge == grown(old)
        assert edge.root() == TREE.root(old)
        for new in range(old, LIMIT + 1):
            growth = edge.append(leaves[old:new])
            assert growth.edge.size == new
            assert growth.tiles == tuple((tile, base[tile]) for tile in tiles_between(old, new)), (old, new)


@pytest.mark.parametrize("old", [0, 1, 255, 256, 511, 65_535, 65_536, 65_600])
def test_a_large_growth_writes_the_tiles_of_the_definition(old):
    growth = grown(old).append(TREE.leaves[old:])
    assert growth.edge.root() == TREE.root(LARGE)
    assert dict(growth.tiles) == {tile: defined(tile) for tile in tiles_between(old, LARGE)}
    assert Edge.read(LARGE, served(old) | dict(growth.tiles)) == growth.edge


@given(st.lists(st.integers(0, 700), max_size=12))
def test_however_a_log_grows_it_becomes_the_same(steps):
    edge, written = Edge(), {}
    for step in steps:
        growth = edge.append(TREE.leaves[edge.size : edge.size + step])
        for tile, data in growth.tiles:
            assert tile not in written
            written[tile] = data
        edge = growth.edge
        assert edge.root() == TREE.root(edge.size)
        assert Edge.read(edge.size, written) == edge
    assert all_tiles(edge.size) <= set(written)
    assert edge == grown(sum(steps))


@given(st.integers(0, MAX_SIZE - 600), st.integers(0, 600))
def test_an_edge_of_any_size_grows(size, more):
    tree = SparseTree({size, size + more})
    tiles = {
        tile: b"".join(tree.read(Node(8 * tile.level, tile.index * 256 + at)) for at in range(tile.width))
        for tile in edge_tiles(size)
    }
    edge = Edge.read(size, tiles)
    assert edge.root() == tree_root(size, tree.read)
    growth = edge.append([tree.leaf(size + at) for at in range(more)])
    assert growth.edge.root() == tree_root(size + more, tree.read)
    assert [tile for tile, _ in growth.tiles] == list(tiles_between(size, size + more))


def test_nothing_appended_changes_nothing():
    for size in (0, 1, 256, 300):
        growth = grown(size).append([])
        assert growth.edge == grown(size)
        assert growth.tiles == ()
    assert Edge().root() == EMPTY_ROOT == Edge.read(0, {}).root()


def test_a_hash_of_another_length_is_not_appended():
    for wrong in (b"", bytes(31), bytes(33)):
        with pytest.raises(ValueError):
            grown(3).append([bytes(32), wrong])
    with pytest.raises(ValueError):
        Edge(MAX_SIZE, ()).append([bytes(32)])


@pytest.mark.parametrize(
    "tiles",
    [{}, {Tile(0, 1, 44): defined(Tile(0, 1, 44))}, {Tile(0, 1, 44): bytes(44 * 32 - 1), Tile(1, 0, 1): bytes(32)}],
    ids=["none", "one missing", "short"],
)
def test_an_edge_is_not_read_out_of_other_tiles(tiles):
    with refused("wrong_tile"):
        Edge.read(300, tiles)


def test_an_edge_that_was_altered_has_another_root():
    tiles = {tile: defined(tile) for tile in edge_tiles(300)}
    for tile, data in tiles.items():
        for at in range(0, len(data), 97):
            spoilt = bytearray(data)
            spoilt[at] ^= 1
            assert Edge.read(300, {**tiles, tile: bytes(spoilt)}).root() != TREE.root(300)


# --- Bundles --------------------------------------------------------------------------------------


def test_a_bundle_by_hand():
    assert encode_entries([b"a" * 32, b"b" * 32]) == b"\x00\x20" + b"a" * 32 + b"\x00\x20" + b"b" * 32
    assert encode_entries([]) == b""


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=256), st.integers(0, 1 << 40))
def test_bundles_read_back(entries, index):
    assert decode_entries(Bundle(index, len(entries)), encode_entries(entries)) == tuple(entries)


GOOD = encode_entries(ENTRIES[:3])


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"", "0 bytes"),
        (GOOD[:-1], "101 bytes"),
        (GOOD + b"\x00", "103 bytes"),
        (encode_entries(ENTRIES[:2]), "68 bytes"),
        (encode_entries(ENTRIES[:4]), "136 bytes"),
        (GOOD[:34] + b"\x00\x1f" + GOOD[36:], "Entry 1281 "),
        (GOOD[:68] + b"\x20\x00" + GOOD[70:], "Entry 1282 "),
        (b"\x00\x21" + GOOD[2:], "Entry 1280 "),
        (b"\x00\x64" + bytes(100), "Entry 1280 "),
    ],
    ids=["empty", "short", "long", "one too few", "one too many", "31 bytes", "swapped", "33 bytes", "one long entry"],
)
def test_other_bundles_are_refused_and_named(data, names):
    with refused("wrong_bundle") as caught:
        decode_entries(Bundle(5, 3), data)
    assert names in caught.value.message
    assert "tile/entries/005.p/3" in caught.value.message


def test_every_growth_of_bundles_is_as_from_the_beginning():
    for old in range(0, 600, 37):
        partial = encode_entries(ENTRIES[old - old % 256 : old])
        for new in range(old, 600, 41):
            written = grow_bundles(old, partial, ENTRIES[old:new])
            assert [bundle for bundle, _ in written] == list(bundles_between(old, new))
            for bundle, data in written:
                assert list(decode_entries(bundle, data)) == ENTRIES[bundle.start : bundle.start + bundle.width]


def test_a_bundle_does_not_grow_from_another_size():
    for end in (256, 299, 301):
        with refused("wrong_bundle"):
            grow_bundles(300, encode_entries(ENTRIES[256:end]), ENTRIES[300:301])
    with pytest.raises(ValueError):
        grow_bundles(0, b"", [bytes(31)])


# --- Deriving a whole log -------------------------------------------------------------------------


def log(size: int) -> dict[str, bytes]:
    """A log of `size` entries as it is served."""
    files = {tile.path: data for tile, data in served(size).items()}
    for bundle in bundles_between(0, size):
        files[bundle.path] = encode_entries(ENTRIES[bundle.start : bundle.start + bundle.width])
    return files


def derive(files: dict[str, bytes], size: int, whole: bytes) -> set[str]:
    """Derive a log as `ledger verify` does; gives the paths that were read."""
    read = set()

    def fetch(path: str) -> bytes:
        assert path not in read, f"{path} is read twice"
        read.add(path)
        return files[path]

    derivation = Derivation(size)
    while (bundle := derivation.wanted) is not None:
        for tile, hashes in derivation.feed(fetch(bundle.path)):
            check_tile(tile, hashes, fetch(tile.path))
    for tile, hashes in derivation.rest():
        check_tile(tile, hashes, fetch(tile.path))
    derivation.check_root(whole)
    assert derivation.done == size
    return read


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 300, 512, 1000, LARGE])
def test_a_log_is_derived_from_its_entries(size):
    files = log(size)
    assert derive(files, size, TREE.root(size)) == set(files)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@given(st.sampled_from([1, 255, 256, 600]), st.data())
def test_any_altered_byte_is_found_and_named(size, data):
    files = log(size)
    path = data.draw(st.sampled_from(sorted(files)))
    at = data.draw(st.integers(0, len(files[path]) - 1))
    with pytest.raises(LedgerError) as caught:
        derive({**files, path: flipped(files[path], at)}, size, TREE.root(size))
    assert caught.value.code in {"wrong_tile", "wrong_bundle"}
    place = parse_path(path)
    if isinstance(place, Bundle):
        assert f"ntry {place.start + at // 34}" in caught.value.message
    else:
        assert f"Hash {at // 32} of {path}" in caught.value.message


@pytest.mark.parametrize("change", ["tile cut", "tile longer", "bundle cut", "bundle longer"])
def test_a_file_of_another_length_is_found(change):
    files, path = log(300), "tile/1/000.p/1" if "tile" in change else "tile/entries/001.p/44"
    files[path] = files[path][:-1] if "cut" in change else files[path] + b"\x00"
    with pytest.raises(LedgerError, match=path):
        derive(files, 300, TREE.root(300))


def test_a_checkpoint_over_other_entries_is_found():
    with refused("wrong_tree"):
        derive(log(300), 300, TREE.root(299))
    with refused("wrong_tree"):
        derive({}, 0, bytes(32))


def test_a_hash_of_an_upper_tile_names_the_entries_below_it():
    files = log(70_000)
    files["tile/1/000"] = flipped(files["tile/1/000"], 32 * 7)
    with pytest.raises(LedgerError, match="the entries 1792 to 2047"):
        derive(files, 70_000, TREE.root(70_000))


def test_a_derivation_is_fed_once_and_ended_when_it_is_whole():
    derivation = Derivation(300)
    for unfinished in (derivation.rest, lambda: derivation.check_root(TREE.root(300))):
        with pytest.raises(ValueError):
            unfinished()
    derivation.feed(encode_entries(ENTRIES[:256]))
    assert derivation.wanted == Bundle(1, 44)
    derivation.feed(encode_entries(ENTRIES[256:300]))
    assert derivation.wanted is None
    with pytest.raises(ValueError):
        derivation.feed(b"")


def test_a_full_tile_hashes_to_what_the_level_above_holds():
    tile = defined(Tile(0, 3))
    assert fold([tile[at : at + 32] for at in range(0, 8192, 32)]) == defined(Tile(1, 0))[96:128]
    assert root(ENTRIES[768:1024]) == defined(Tile(1, 0))[96:128]
