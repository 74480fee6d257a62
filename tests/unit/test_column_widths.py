"""How wide columns are: nothing that belongs together is broken, and nothing stands out over the edge."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from riskshare.cli.column_widths import EDGES, GAP, column_widths
from riskshare.cli.screen import Screen

WORDS = st.text(st.sampled_from("ab-:\N{CJK UNIFIED IDEOGRAPH-4E2D}"), min_size=1, max_size=30)
TEXTS = st.lists(WORDS, max_size=8).map(" ".join)


@st.composite
def tables(draw):
    width, height = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    return [[draw(TEXTS) for _ in range(height)] for _ in range(width)]


def room_of(widths):
    return sum(widths) + GAP * (len(widths) - 1) + EDGES


@given(tables(), st.integers(1, 250))
def test_no_word_is_broken_and_nothing_stands_out(columns, room):
    widths = column_widths(columns, room)
    words = [max((cell_len(word) for text in column for word in text.split()), default=0) for column in columns]
    if widths is None:
        assert room_of(words) > room
        return
    assert room_of(widths) <= room
    assert all(width >= least for width, least in zip(widths, words, strict=True))


@given(tables())
def test_where_there_is_room_each_text_has_one_line(columns):
    widths = column_widths(columns, 10_000)
    assert widths == [max(map(cell_len, column)) for column in columns]


ID = "019391aa-0000-7000-8000-000000000000"
ROWS = [(ID, "A sentence of several words that says what to do about it.", "1,024"), (ID, "x", "7")]


def shown(width, capsys):
    screen = Screen(as_json=False)
    screen.out.width = width
    screen.table(("import", "what is expected", "rows"), ROWS, right=("rows",))
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [200, 100, 80, 64])
def test_a_table_keeps_ids_and_numbers_whole(capsys, width):
    out = shown(width, capsys)
    assert out.count(ID) == 2
    assert "1,024" in out
    assert out.count("import") == 1
    assert max(map(len, out.splitlines())) <= width


@pytest.mark.parametrize("width", [50, 20, 1])
def test_where_a_table_does_not_fit_each_value_has_a_line(capsys, width):
    out = shown(width, capsys)
    assert out.count(f"import             {ID}\n") == 2
    assert f"what is expected   {ROWS[0][1]}\n" in out
