"""Rows of tables: Parquet (pyarrow) and workbooks (openpyxl), piece by piece, only the columns that are needed.

Of a workbook the first sheet is read, formulas as the values that they had when it was saved. What a file unpacks to is
bounded, for it may be made to fill a memory: a workbook by the sizes of its parts, a Parquet file by what
`parquet_pages` sees before Arrow unpacks anything, and by reading fewer rows at a time where long texts are repeated.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, final
from xml.etree.ElementTree import ParseError

import openpyxl
import pyarrow as pa
from openpyxl.utils.exceptions import InvalidFileException
from pyarrow import compute, parquet

from riskshare.errors import InputError
from riskshare.sharing.parquet_pages import (
    FOOTER_BYTES,
    FOOTER_PARTS,
    Pages,
    PageWalk,
    damaged,
    read_footer,
    too_large,
)
from riskshare.sharing.row_cells import as_cell
from riskshare.sharing.row_place import Chunk, Place, is_blank
from riskshare.sharing.rows import Cell, Columns, Defaults, RawRow, understand

BATCH_ROWS: Final = 4096
CHUNK_TEXT: Final = 4 * 2**20
"""Characters of texts, about, behind which the next chunk begins, however few rows it is."""

PARQUET_ROWS: Final = 20_000_000
BATCH_BYTES: Final = 64 * 2**20
"""Most bytes of Parquet pages that `BATCH_ROWS` rows lie in."""

TEXT_BYTES: Final = 16 * 2**20
"""Most bytes of repeated texts in the rows that are read at a time; Arrow takes several times as much for them."""

REPEATED_BYTES: Final = 2**35
"""Most bytes of repeated texts that are read as often as they stand there, should each be as long as the longest."""

FIXED_BYTES: Final = 64
"""Longest value of a column whose values are all of one length."""

SHEET_ROWS: Final = 2**20
"""Most rows of a sheet, as spreadsheets have it."""

SHEET_COLUMNS: Final = 1024
SHEET_BYTES: Final = 2**30
"""Most bytes that a part of a workbook may unpack to; the texts of its cells (SHARED_BYTES) are kept in memory."""

SHARED_BYTES: Final = 64 * 2**20
_SHARED: Final = "xl/sharedStrings.xml"
_NO_PARQUET: Final = (pa.ArrowException, OSError, ValueError, OverflowError, TypeError, KeyError)
"""What pyarrow raises at a file that is no Parquet file."""

_BROKEN: Final = (zipfile.BadZipFile, InvalidFileException, ParseError, KeyError, ValueError, TypeError, IndexError,
                  AttributeError, EOFError, NotImplementedError, OverflowError, UnicodeDecodeError,
                  zlib.error)  # fmt: skip
"""What openpyxl raises at a file that is no workbook."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a group of rows is read: so many at a time, and from these columns each text once."""

    rows: int
    once: Sequence[str]


@final
class ParquetSource:
    """`row_place.Source` over a Parquet file.

    Raises InputError: `file_damaged`, `file_encrypted`, `file_too_large`, `no_column`, `column_type` (a needed column
    is neither text, number nor date), `column_encoding`.
    """

    def __init__(self, file: BinaryIO, defaults: Defaults) -> None:
        self._groups = read_footer(file)
        self._file = file
        try:
            self._table: Any = None
            self._table = self._opened()
            schema = self._table.schema_arrow
        except _NO_PARQUET as error:
            raise damaged() from error
        metadata = self._table.metadata
        if metadata.num_columns > SHEET_COLUMNS or metadata.num_rows > PARQUET_ROWS:
            raise too_large(f"has more than {SHEET_COLUMNS:,} columns or {PARQUET_ROWS:,} rows")
        if any(len(group.columns) != metadata.num_columns for group in self._groups):
            raise damaged()
        names = list(schema.names)
        columns, is_header = understand(names, defaults)
        self.columns: Columns | None = columns
        if not is_header:
            raise InputError("The table needs a column identifier, or type and value, or --column.", code="no_column")
        self._needed = [names[index] for index in dict.fromkeys(columns.names.values())]
        self._leaves = [_leaf(metadata, schema, name) for name in self._needed]
        self._width = len(names)
        self.total: int | None = metadata.num_rows
        self._indices = [names.index(name) for name in self._needed]
        self._planned = self._plans()

    def chunks(self, place: Place) -> Iterator[Chunk]:
        """The rows behind a place, group by group."""
        before = 0
        for number, group in enumerate(self._groups):
            if before + group.rows > place.offset:
                yield from self._group(number, before, place.offset)
            before += group.rows

    def _opened(self, once: Sequence[str] = ()) -> Any:
        self._file.seek(0)
        return parquet.ParquetFile(
            self._file,
            buffer_size=2**20,
            pre_buffer=False,  # would read all of a group at once
            thrift_string_size_limit=FOOTER_BYTES,
            thrift_container_size_limit=FOOTER_PARTS,
            metadata=None if self._table is None else self._table.metadata,
            read_dictionary=list(once),
        )

    def _plans(self) -> list[_Plan]:
        """How each group is read, so that no batch of its rows fills a memory."""
        walk = PageWalk(self._file)
        schema, types = self._table.metadata.schema, self._table.schema_arrow
        found: list[_Plan] = []
        repeated = 0
        for number, group in enumerate(self._groups):
            pages = [walk.pages(group.columns[leaf], group.rows) for leaf in self._leaves]
            if sum(one.widest(BATCH_ROWS) for one in pages) > BATCH_BYTES:
                raise too_large(f"has more than {BATCH_BYTES // 2**20} MiB in {BATCH_ROWS:,} rows")
            once: list[str] = []
            longest = 0
            for name, leaf, one in zip(self._needed, self._leaves, pages, strict=True):
                if schema.column(leaf).physical_type != "BYTE_ARRAY" or not one.dictionary:
                    continue
                kind = types.field(name).type
                if pa.types.is_dictionary(kind) and one.bytes > BATCH_BYTES:
                    raise too_large("has too many categories in a column")
                if one.repeated == group.rows and _is_text(kind):
                    once.append(name)
                    continue
                text = self._longest(number, name, one)
                longest += text
                repeated += text * one.repeated
            if repeated > REPEATED_BYTES:
                raise too_large("repeats a long text too often")
            found.append(_Plan(max(1, min(BATCH_ROWS, TEXT_BYTES // max(longest, 1))), once))
        return found

    def _longest(self, group: int, name: str, pages: Pages) -> int:
        """Most bytes of a text that a column repeats. No text is made of it; where it is not seen, those of all."""
        if not pages.in_order:
            return pages.dictionary
        try:
            for batch in self._opened([name]).iter_batches(
                BATCH_ROWS, row_groups=[group], columns=[name], use_threads=False
            ):
                values = batch.column(0)
                if not pa.types.is_dictionary(values.type) or not _is_text(values.type.value_type):
                    return pages.dictionary
                if len(values.dictionary):  # of rows without a value it is not told
                    return int(compute.max(compute.binary_length(values.dictionary)).as_py() or 0)
        except _NO_PARQUET as error:
            raise damaged() from error
        return 0

    def _group(self, group: int, number: int, behind: int) -> Iterator[Chunk]:
        plan = self._planned[group]
        rows: list[RawRow] = []
        size = 0
        try:
            batches = self._opened(plan.once).iter_batches(
                plan.rows, row_groups=[group], columns=self._needed, use_threads=False
            )
            for batch in batches:
                start = max(behind - number, 0)
                number += batch.num_rows
                for part in _parts(batch.slice(min(start, batch.num_rows))):
                    size += self._take(part, number - batch.num_rows + start, rows)
                    start += part.num_rows
                    if len(rows) >= BATCH_ROWS or size > CHUNK_TEXT:
                        yield Chunk(Place(rows[-1][0], rows[-1][0]), rows=rows)
                        rows, size = [], 0
        except _NO_PARQUET as error:
            raise damaged() from error
        if rows:
            yield Chunk(Place(number, number), rows=rows)

    def _take(self, batch: Any, number: int, rows: list[RawRow]) -> int:
        """Append the rows behind that number; give the characters of their texts, repeated ones counted once."""
        columns = [_cells(batch.column(name)) for name in self._needed]
        for line, found in enumerate(zip(*(cells for cells, _ in columns), strict=True), number + 1):
            row: list[Cell] = [""] * self._width
            for index, cell in zip(self._indices, found, strict=True):
                row[index] = cell
            rows.append((line, row, None))
        return sum(size for _, size in columns)


def _parts(batch: Any) -> Iterator[Any]:
    """A batch in pieces, so that few long texts become Python's at a time."""
    step = max(1, CHUNK_TEXT * batch.num_rows // max(batch.nbytes, 1))
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)


def _cells(column: Any) -> tuple[list[Cell], int]:
    """The cells of a column, and the characters of its texts. One that is repeated is made once."""
    if pa.types.is_dictionary(column.type):
        indices = column.indices.to_pylist()
        used = sorted({index for index in indices if index is not None})
        values = [as_cell(value) for value in column.dictionary.take(pa.array(used, pa.int64())).to_pylist()]
        made: dict[int | None, Cell] = dict(zip(used, values, strict=True))
        made[None] = ""
        return [made[index] for index in indices], _characters(values)
    cells = [as_cell(value) for value in column.to_pylist()]
    return cells, _characters(cells)


def _characters(cells: Sequence[Cell]) -> int:
    return sum(len(cell) for cell in cells if type(cell) is str)


def _leaf(metadata: Any, schema: Any, name: str) -> int:
    """The number of a column that is needed. Raises InputError `column_type`."""
    columns = metadata.schema
    leaves = [
        number
        for number in range(metadata.num_columns)
        if columns.column(number).path == name or columns.column(number).path.startswith(f"{name}.")
    ]
    if (
        list(schema.names).count(name) != 1
        or not _is_plain(schema.field(name).type)
        or len(leaves) != 1
        or columns.column(leaves[0]).max_repetition_level
        or columns.column(leaves[0]).length > FIXED_BYTES
    ):
        raise InputError(
            "A column that is needed holds neither texts nor whole numbers nor dates. Write it as text.",
            code="column_type",
        )
    return leaves[0]


def _is_text(kind: Any) -> bool:
    """Whether Arrow reads a column of that type with each text once."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_plain(kind: Any) -> bool:
    types = pa.types
    if types.is_dictionary(kind):
        return _is_plain(kind.value_type)
    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
        or types.is_integer(kind)
        or types.is_float64(kind)
        or types.is_decimal(kind)
        or types.is_date(kind)
        or (types.is_timestamp(kind) and kind.unit != "ns")
        or types.is_null(kind)
    )


@final
class XlsxSource:
    """`row_place.Source` over a workbook.

    Raises InputError: `file_damaged`, `file_too_large`, `no_column`.
    """

    def __init__(self, file: BinaryIO, defaults: Defaults) -> None:
        self._file = file
        self.total: int | None = None
        self.columns: Columns | None = None
        self._first = 0
        _check_size(file)
        for number, cells in self._cells(0):
            if not is_blank(cells):
                self.columns, is_header = understand([cell if type(cell) is str else "" for cell in cells], defaults)
                self._first = number if is_header else number - 1
                break

    def chunks(self, place: Place) -> Iterator[Chunk]:
        """The rows behind a place; those before it are read again, for a sheet is one stream."""
        if self.columns is None:
            return
        width = self.columns.width
        taken: list[RawRow] = []
        number = 0
        for number, cells in self._cells(max(place.line, self._first)):
            # A sheet leaves out the empty cells at the end of a row.
            if len(cells) > width and is_blank(cells[width:]):
                del cells[width:]
            taken.append((number, cells + [""] * (width - len(cells)), None))
            if len(taken) == BATCH_ROWS:
                yield Chunk(Place(number, number), rows=taken)
                taken = []
        if taken:
            yield Chunk(Place(number, number), rows=taken)

    def _cells(self, behind: int) -> Iterator[tuple[int, list[Cell]]]:
        self._file.seek(0)
        try:
            book = openpyxl.load_workbook(self._file, read_only=True, data_only=True, keep_links=False)
            sheet = book.worksheets[0]
            sheet.reset_dimensions()  # what it says of its size may be wrong
            for number, values in enumerate(sheet.iter_rows(values_only=True), 1):
                if number > SHEET_ROWS or len(values) > SHEET_COLUMNS:
                    raise InputError(
                        f"A sheet has at most {SHEET_ROWS:,} rows of {SHEET_COLUMNS:,} cells.", code="file_too_large"
                    )
                if values and number > behind:
                    yield number, _texts(values)
            book.close()
        except _BROKEN as error:
            raise _damaged() from error


def _texts(values: Sequence[object]) -> list[Cell]:
    cells = [as_cell(value, exact=False) for value in values]
    while cells and cells[-1] == "":
        cells.pop()
    return cells


def _check_size(file: BinaryIO) -> None:
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as parts:
            sizes = {part.filename: part.file_size for part in parts.infolist()}
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise _damaged() from error
    if sum(sizes.values()) > SHEET_BYTES or sizes.get(_SHARED, 0) > SHARED_BYTES:
        raise InputError(
            "The workbook unpacks to more than is read of one. Export the sheet as CSV.", code="file_too_large"
        )


def _damaged() -> InputError:
    return InputError(
        "The file is not a workbook, or is damaged. Check that it is the right file.", code="file_damaged"
    )
