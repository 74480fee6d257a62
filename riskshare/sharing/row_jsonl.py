"""Rows of JSON Lines: one object a line, in UTF-8. Its fields are the columns; whatever else it has is left aside.

A line may leave fields out. The first object decides whether `identifier`, or `type` and `value`, name the rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from io import SEEK_END
from typing import Any, BinaryIO, Final, final

from riskshare.errors import InputError
from riskshare.sharing.row_cells import as_cell
from riskshare.sharing.row_place import BLOCK, MAX_LINE, Chunk, Place
from riskshare.sharing.rows import MAPPED_FIELDS, BadRow, Columns, Defaults, RawRow, understand

_Fields = tuple[str, ...]
_NO_OBJECT: Final = ("json", "A line is one JSON object, with each name once.")
_TOO_LONG: Final = ("too_long", f"A line is at most {MAX_LINE} bytes long.")
_ENCODING: Final = ("encoding", "The line is not UTF-8. JSON is written in UTF-8.")


@final
class JsonlSource:
    """`row_place.Source` over a file that can be read from any place.

    Raises InputError: `file_encoding`, `no_column`.
    """

    def __init__(self, file: BinaryIO, defaults: Defaults) -> None:
        self._file = file
        self.total: int | None = file.seek(0, SEEK_END)
        self.columns: Columns | None = None
        self.fields: _Fields = ()
        for chunk in self.chunks(Place()):
            for _, text in _lines(chunk):
                if isinstance(found := _object(text), dict):
                    self._understand([str(key) for key in found], defaults)
                    return

    def _understand(self, names: list[str], defaults: Defaults) -> None:
        lower = {name.strip().lower() for name in names}
        more = [*MAPPED_FIELDS, *(header for _, header in defaults.fields)]
        header = [*names, *(name for name in dict.fromkeys(more) if name.strip().lower() not in lower)]
        self.columns, is_header = understand(header, defaults)
        assert is_header, "there are columns that every file may have"
        self.fields = tuple(header)

    def chunks(self, place: Place) -> Iterator[Chunk]:
        """The lines behind a place, as text; a line that is too long as a bad row."""
        while True:
            self._file.seek(place.offset)
            block = self._file.read(BLOCK)
            if not block:
                return
            _refuse_no_text(block, first=place.offset == 0)
            whole = block[: block.rfind(b"\n") + 1] if len(block) == BLOCK else block
            if whole:
                line = place.line + 1
                lines = whole.count(b"\n") + (not whole.endswith(b"\n"))
                place = Place(place.offset + len(whole), place.line + lines)
                yield Chunk(place, text=whole, line=line)
                continue
            size = len(block)
            while rest := self._file.readline(BLOCK):
                size += len(rest)
                if rest.endswith(b"\n"):
                    break
            place = Place(place.offset + size, place.line + 1)
            yield Chunk(place, rows=[(place.line, None, BadRow(place.line, "", *_TOO_LONG))])


def _refuse_no_text(block: bytes, *, first: bool) -> None:
    if first and (block.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in block[:4]):
        raise InputError("The file is in UTF-16 or no text. Write JSON Lines in UTF-8.", code="file_encoding")


def _lines(chunk: Chunk) -> Iterator[tuple[int, bytes]]:
    lines = chunk.text.split(b"\n")
    for number, text in enumerate(lines, chunk.line):
        if number == 1:
            text = text.removeprefix(b"\xef\xbb\xbf")  # noqa: PLW2901 - the mark is no part of the line
        if text.strip():
            yield number, text


def rows_of_lines(chunk: Chunk, fields: Sequence[str]) -> Iterator[RawRow]:
    """The rows of a chunk's text: cells in the order of `fields`, names in any case."""
    places = {name.strip().lower(): index for index, name in enumerate(fields)}
    for number, text in _lines(chunk):
        found = _object(text)
        if not isinstance(found, dict):
            yield number, None, BadRow(number, "", *found)
            continue
        cells = [as_cell(None)] * len(fields)
        for name, value in found.items():
            index = places.get(name.strip().lower())
            if index is not None:
                cells[index] = as_cell(value)
        yield number, cells, None


def _object(text: bytes) -> dict[str, Any] | tuple[str, str]:
    """The object of a line, or a code and what was expected."""
    if len(text) > MAX_LINE:
        return _TOO_LONG
    try:
        found = json.loads(text.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except UnicodeDecodeError:
        return _ENCODING
    except (ValueError, RecursionError):
        return _NO_OBJECT
    return found if isinstance(found, dict) else _NO_OBJECT


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _no_constant(_: str) -> None:
    raise ValueError("NaN and infinities are not JSON")
