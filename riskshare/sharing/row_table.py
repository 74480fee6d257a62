"""Rows of tables: Parquet (pyarrow) and workbooks (openpyxl), piece by piece, only the columns that are needed.

Of a workbook the first sheet is read, formulas as the values that they had when it was saved. What a workbook unpacks
to is bounded, for it may be made to fill a memory. A Parquet file is not bounded so: Arrow unpacks a page to what the
page says, and a batch of rows repeats a text of a dictionary as often as it stands there.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Final, final
from xml.etree.ElementTree import ParseError

import openpyxl
import pyarrow as pa
from openpyxl.utils.exceptions import InvalidFileException
from pyarrow import parquet

from riskshare.errors import InputError
from riskshare.sharing.row_cells import as_cell
from riskshare.sharing.row_place import Chunk, Place, is_blank
from riskshare.sharing.rows import Cell, Columns, Defaults, RawRow, understand

BATCH_ROWS: Final = 4096
SHEET_ROWS: Final = 2**20
"""Most rows of a sheet, as spreadsheets have it."""

SHEET_COLUMNS: Final = 1024
SHEET_BYTES: Final = 2**30
"""Most bytes that a part of a workbook may unpack to; the texts of its cells (SHARED_BYTES) are kept in memory."""

SHARED_BYTES: Final = 64 * 2**20
_SHARED: Final = "xl/sharedStrings.xml"
_BROKEN: Final = (zipfile.BadZipFile, InvalidFileException, ParseError, KeyError, ValueError, TypeError, IndexError,
                  AttributeError, EOFError, NotImplementedError, OverflowError, UnicodeDecodeError,
                  zlib.error)  # fmt: skip
"""What openpyxl raises at a file that is no workbook."""


@final
class ParquetSource:
    """`row_place.Source` over a Parquet file.

    Raises InputError: `file_damaged`, `no_column`, `column_type` (a needed column is neither text, number nor date).
    """

    def __init__(self, file: BinaryIO, defaults: Defaults) -> None:
        try:
            self._table = parquet.ParquetFile(file, buffer_size=2**20)
            schema = self._table.schema_arrow
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _damaged("Parquet") from error
        names = list(schema.names)
        columns, is_header = understand(names, defaults)
        self.columns: Columns | None = columns
        if not is_header:
            raise InputError("The table needs a column identifier, or type and value, or --column.", code="no_column")
        self._needed = [names[index] for index in dict.fromkeys(columns.names.values())]
        for name in self._needed:
            if names.count(name) > 1 or not _is_plain(schema.field(name).type):
                raise InputError(
                    "A column that is needed holds neither texts nor whole numbers nor dates. Write it as text.",
                    code="column_type",
                )
        self._width = len(names)
        self.total: int | None = self._table.metadata.num_rows
        self._indices = [names.index(name) for name in self._needed]

    def chunks(self, place: Place) -> Iterator[Chunk]:
        """The rows behind a place, group by group."""
        metadata = self._table.metadata
        before = 0
        for group in range(metadata.num_row_groups):
            rows = metadata.row_group(group).num_rows
            if before + rows > place.offset:
                yield from self._group(group, before, place.offset)
            before += rows

    def _group(self, group: int, number: int, behind: int) -> Iterator[Chunk]:
        try:
            batches = self._table.iter_batches(BATCH_ROWS, row_groups=[group], columns=self._needed, use_threads=False)
            for batch in batches:
                after = number + batch.num_rows
                if after > behind:
                    start = max(behind - number, 0)
                    yield Chunk(Place(after, after), rows=self._rows(batch.slice(start), number + start))
                number = after
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            raise _damaged("Parquet") from error

    def _rows(self, batch: Any, number: int) -> list[RawRow]:
        columns = [[as_cell(value) for value in batch.column(name).to_pylist()] for name in self._needed]
        rows: list[RawRow] = []
        for line, found in enumerate(zip(*columns, strict=True), number + 1):
            cells: list[Cell] = [""] * self._width
            for index, cell in zip(self._indices, found, strict=True):
                cells[index] = cell
            rows.append((line, cells, None))
        return rows


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
            raise _damaged("a workbook") from error


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
        raise _damaged("a workbook") from error
    if sum(sizes.values()) > SHEET_BYTES or sizes.get(_SHARED, 0) > SHARED_BYTES:
        raise InputError(
            "The workbook unpacks to more than is read of one. Export the sheet as CSV.", code="file_too_large"
        )


def _damaged(what: str) -> InputError:
    return InputError(f"The file is not {what}, or is damaged. Check that it is the right file.", code="file_damaged")
