"""Reading a file to be imported: which format it has, its pieces, and what becomes of their rows.

The pieces come from one reader in the order of the file; each is taken apart and judged by itself, in another process
where that pays. `Place` says behind which piece a reading goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Final, Literal, get_args

from riskshare.errors import InputError
from riskshare.sharing.never import NeverList
from riskshare.sharing.row_csv import CsvSource, rows_of_text
from riskshare.sharing.row_jsonl import JsonlSource, rows_of_lines
from riskshare.sharing.row_place import Chunk, Place, Source, is_blank
from riskshare.sharing.rows import BadRow, Defaults, RawRow, Row, Rules, check_defaults

Format = Literal["csv", "jsonl", "parquet", "xlsx"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)

HEAD_BYTES: Final = 8
NOTHING: Final = NeverList()
"""The never-list without a rule."""

_BY_ENDING: Final[dict[str, Format]] = {
    "csv": "csv",
    "txt": "csv",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "parquet": "parquet",
    "pq": "parquet",
    "xlsx": "xlsx",
}
_PACKED: Final = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf", b"Rar!")


def format_of(head: bytes, name: str = "", given: str = "") -> Format:
    """The format of a file by its first `HEAD_BYTES` bytes and its name, or the one that is `given`.

    Raises:
        InputError: `file_packed`: a compressed file; `file_format`: an old workbook, or no such format.

    """
    if head.startswith(_PACKED):
        raise InputError("The file is compressed. Unpack it, and import what is in it.", code="file_packed")
    if given:
        if given not in FORMATS:
            raise InputError(f"A format is one of {', '.join(FORMATS)}.", code="file_format")
        return given
    if head.startswith(b"PK\x03\x04"):
        return "xlsx"
    if head.startswith((b"PAR1", b"PARE")):
        return "parquet"
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        raise InputError("The file is a workbook of the old kind. Save it as .xlsx, or as CSV.", code="file_format")
    ending = _BY_ENDING.get(name.lower().rpartition(".")[2], "csv")
    return ending if ending in ("csv", "jsonl") else "csv"


def open_source(file: BinaryIO, format_: Format, defaults: Defaults) -> Source:
    """A source over a file that can be read from any place.

    Raises InputError: `default_invalid`, `mapping_invalid`, and what the source of that format raises.
    """
    check_defaults(defaults)
    if format_ == "csv":
        return CsvSource(file, defaults)
    if format_ == "jsonl":
        return JsonlSource(file, defaults)
    # These load libraries of a hundred megabytes, which no other format needs, nor any worker.
    from riskshare.sharing.row_table import ParquetSource, XlsxSource  # noqa: PLC0415

    return ParquetSource(file, defaults) if format_ == "parquet" else XlsxSource(file, defaults)


@dataclass(frozen=True, slots=True)
class Reader:
    """What takes chunks of one file apart. It is pickled into worker processes.

    `fields` are the cells' names, of a file whose lines name them, as JSON Lines do; there may be none.
    """

    rules: Rules | None
    fields: tuple[str, ...] | None = None

    def read(self, chunk: Chunk) -> Iterator[Row | BadRow]:
        """The rows of a chunk, without those in which nothing stands."""
        for line, cells, fault in self._raw(chunk):
            if fault is None and cells is not None and self.rules is not None:
                row = self.rules.judge(line, cells)
                if type(row) is Row or not is_blank(cells):
                    yield row
            elif cells is None or not is_blank(cells):
                yield fault or BadRow(line, "", "csv", "The line is not valid CSV.")

    def _raw(self, chunk: Chunk) -> Iterator[RawRow]:
        if chunk.rows is not None:
            return iter(chunk.rows)
        return rows_of_text(chunk.text, chunk.line) if self.fields is None else rows_of_lines(chunk, self.fields)


def reader_of(source: Source, defaults: Defaults, now: datetime, never: NeverList = NOTHING) -> Reader:
    """What takes the chunks of a source apart, at the time `now` of an import; `never` refuses identifiers."""
    rules = None if source.columns is None else Rules(defaults, now, source.columns, never)
    return Reader(rules, source.fields if isinstance(source, JsonlSource) else None)


def read_rows(file: BinaryIO, defaults: Defaults, now: datetime, format_: Format = "csv") -> Iterator[Row | BadRow]:
    """Read a file row by row, here.

    Raises:
        InputError: as `open_source`; `file_empty`: it has no row.

    """
    source = open_source(file, format_, defaults)
    reader = reader_of(source, defaults, now)
    seen = False
    for chunk in source.chunks(Place()):
        for row in reader.read(chunk):
            seen = True
            yield row
    if not seen:
        raise no_rows()


def no_rows() -> InputError:
    """The refusal of a file without a row."""
    return InputError("The file has no rows. Check that it is the right file.", code="file_empty")
