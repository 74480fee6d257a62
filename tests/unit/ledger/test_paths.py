"""Where logs and witnesses are: all below one prefix, each place under one path."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from riskshare.ledger import paths
from riskshare.ledger.tile import Bundle, Tile, parse_path

PLACES = st.one_of(
    st.builds(Tile, st.integers(0, 63), st.integers(0, 2**63 - 1), st.integers(1, 256)),
    st.builds(Bundle, st.integers(0, 2**63 - 1), st.integers(1, 256)),
)


def test_all_paths_lie_below_the_prefix():
    for path in (paths.CHECKPOINT, paths.LATEST, paths.TILE, paths.ADD_CHECKPOINT):
        assert path.startswith(paths.PREFIX)


def test_the_prefix_is_not_that_of_the_members_own_routes():
    assert paths.PREFIX == "/ledger/"


@given(PLACES)
def test_a_path_names_its_place(place):
    path = paths.path_of(place)
    assert parse_path(path.removeprefix(paths.PREFIX)) == place
    assert path.startswith(paths.TILE.format(place=""))
