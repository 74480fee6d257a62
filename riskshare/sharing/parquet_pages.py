"""The footer and the heads of pages of a Parquet file, read without unpacking anything.

Arrow allocates what these say, and what the footer says of a page need not be what its head says. Both are structures
of Thrift in its compact protocol; their fields are those of parquet.thrift of Apache parquet-format.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Final, TypeAlias, final

from riskshare.errors import InputError

FOOTER_BYTES: Final = 4 * 2**20
FOOTER_PARTS: Final = 2**17
"""Most members of all lists of the footer: Arrow takes up to a kilobyte for one that is three bytes long there."""

SCHEMA_PARTS: Final = 4096
"""Most columns and groups of columns: Arrow goes down into these by recursion."""

PAGES: Final = 2**17
"""Most pages of the columns that are needed: some seconds to look at."""

PAGE_BYTES: Final = 32 * 2**20
"""Most bytes of a page, packed or unpacked. Writers aim at one MiB."""

DICTIONARY_BYTES: Final = 8 * 2**20
"""Most unpacked bytes of a dictionary, which is copied with each batch of rows. Writers aim at one MiB."""

_HEAD_BYTES: Final = 1024
_HEAD_MOST: Final = 2**20
_DEEPEST: Final = 16
_TAIL_BYTES: Final = 8
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_BY_DICTIONARY: Final = frozenset({2, 8})
_ENCODINGS: Final = frozenset({0, 3, 5, 9}) | _BY_DICTIONARY
"""Plain, run lengths, deltas of numbers, split streams, dictionaries. Not texts behind their lengths (6), nor those
told by what they share with the text before (7): so a page of a few bytes may say any number of any length."""

_CODECS: Final = frozenset({0, 1, 2, 4, 5, 6, 7})
"""None, Snappy, gzip, Brotli, LZ4, zstd, LZ4 without a frame."""

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT, _UUID = *range(1, 11), 12, 13
_SIZES: Final = {_BYTE: 1, _DOUBLE: 8, _UUID: 16}
_LONG: Final = 15
"""What stands in place of the length of a list of so many or more."""

# The numbers of fields, negative ones of 64 bits (see `_Compact`): of the file, a group of rows, a column in one,
# what the footer says of that, the head of a page, and what follows it for each kind of page.
_FILE_SCHEMA, _FILE_ROWS, _FILE_GROUPS, _FILE_ENCRYPTION = 2, -3, 4, 8
_GROUP_COLUMNS, _GROUP_ROWS = 1, -3
_COLUMN_FILE, _COLUMN_ABOUT, _COLUMN_CRYPTO, _COLUMN_ENCRYPTED = 1, 3, 8, 9
_ABOUT_CODEC, _ABOUT_VALUES, _ABOUT_DATA_AT, _ABOUT_DICTIONARY_AT = 4, -5, -9, -11
_PAGE_KIND, _PAGE_UNPACKED, _PAGE_PACKED = 1, 2, 3
_BODIES: Final = {_DATA: (5, 2), _DICTIONARY: (7, 2), _DATA_V2: (8, 4)}
"""By the kind of page: the field of the head that has its values (field 1) and its encoding, and the latter's field."""

_Value: TypeAlias = "int | list[_Struct] | _Struct | None"
_Struct: TypeAlias = "Mapping[int, _Value]"


@dataclass(frozen=True, slots=True)
class Group:
    """A group of rows, and its columns as the footer has them."""

    rows: int
    columns: Sequence[_Struct]


@dataclass(slots=True)
class Pages:
    """The pages of a column in one group of rows: `data` are the rows and the unpacked bytes of each.

    `dictionary` are the bytes of its dictionary, `repeated` the rows whose values are in it; `in_order` says that no
    such row is behind one whose value is not.
    """

    data: list[tuple[int, int]] = field(default_factory=list)
    dictionary: int = 0
    repeated: int = 0
    in_order: bool = True

    @property
    def bytes(self) -> int:
        """Unpacked bytes of all pages with rows."""
        return sum(size for _, size in self.data)

    def widest(self, rows: int) -> int:
        """Most bytes of the pages that so many rows lie in, one behind the other."""
        widest = total = within = first = 0
        for last, (number, size) in enumerate(self.data):
            total += size
            within += number
            while first < last and within - self.data[first][0] - number >= rows - 1:
                within -= self.data[first][0]
                total -= self.data[first][1]
                first += 1
            widest = max(widest, total)
        return widest


def read_footer(file: BinaryIO) -> list[Group]:
    """The groups of rows that a file has: read before Arrow reads the footer.

    pyarrow ends the process where it is asked for a column that a group does not have.

    Raises InputError: `file_damaged`, `file_encrypted`, `file_too_large`.
    """
    size = file.seek(0, 2)
    file.seek(max(size - _TAIL_BYTES, 0))
    tail = file.read(_TAIL_BYTES)
    if tail[4:] == b"PARE":
        raise encrypted()
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != b"PAR1" or length > size - _TAIL_BYTES:
        raise damaged()
    if length > FOOTER_BYTES:
        raise too_large(f"describes itself in more than {FOOTER_BYTES // 2**20} MiB")
    file.seek(size - _TAIL_BYTES - length)
    try:
        footer = _Compact(file.read(length), FOOTER_PARTS).struct()
    except (EOFError, ValueError) as error:
        raise damaged() from error
    if _FILE_ENCRYPTION in footer:
        raise encrypted()
    schema, groups, rows = footer.get(_FILE_SCHEMA), footer.get(_FILE_GROUPS), footer.get(_FILE_ROWS)
    if isinstance(schema, list) and len(schema) > SCHEMA_PARTS:
        raise too_large(f"has more than {SCHEMA_PARTS:,} columns and groups of columns")
    if not isinstance(groups, list):
        raise damaged()
    found = [_group(group) for group in groups]
    if sum(group.rows for group in found) != rows:
        raise damaged()
    return found


def _group(group: _Struct) -> Group:
    rows, columns = group.get(_GROUP_ROWS), group.get(_GROUP_COLUMNS)
    if not isinstance(rows, int) or rows < 0 or not isinstance(columns, list):
        raise damaged()
    found: list[_Struct] = []
    for column in columns:
        about = column.get(_COLUMN_ABOUT)
        if _COLUMN_CRYPTO in column or _COLUMN_ENCRYPTED in column:
            raise encrypted()
        if _COLUMN_FILE in column or not isinstance(about, Mapping):  # in another file, or nowhere
            raise damaged()
        found.append(about)
    return Group(rows, found)


@final
class PageWalk:
    """Goes from page to page of columns, and reads only their heads."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = PAGES

    def pages(self, column: _Struct, rows: int) -> Pages:
        """The pages of a column in a group of so many rows.

        Raises InputError: `column_encoding`, `file_damaged`, `file_too_large`.
        """
        if column.get(_ABOUT_CODEC) not in _CODECS:
            raise _unread()
        if column.get(_ABOUT_VALUES) != rows:
            raise damaged()
        found = Pages()
        seen = 0
        heads = self._heads(column)
        while seen < rows:
            head, size = next(heads)
            kind = head.get(_PAGE_KIND)
            if kind == _DICTIONARY:
                values, _ = _body(head, kind)
                if values > size:
                    raise damaged()
                if size > DICTIONARY_BYTES:
                    raise too_large(f"has a dictionary of more than {DICTIONARY_BYTES // 2**20} MiB")
                found.dictionary = max(found.dictionary, size)
            elif kind in (_DATA, _DATA_V2):
                values, encoding = _body(head, kind)
                if encoding in _BY_DICTIONARY:
                    found.in_order = found.in_order and found.repeated == seen
                    found.repeated += values
                seen += values
                found.data.append((values, size))
        if seen != rows:
            raise damaged()
        return found

    def _heads(self, column: _Struct) -> Iterator[tuple[_Struct, int]]:
        """The heads of pages, from where Arrow begins; of each the bytes that the page unpacks to."""
        at, dictionary = column.get(_ABOUT_DATA_AT), column.get(_ABOUT_DICTIONARY_AT)
        if not isinstance(at, int) or at < 0:
            raise damaged()
        if isinstance(dictionary, int) and 0 < dictionary < at:
            at = dictionary
        while True:
            if not self._left:
                raise too_large(f"has more than {PAGES:,} pages in the columns that are needed")
            self._left -= 1
            head, length = self._head(at)
            unpacked, packed = head.get(_PAGE_UNPACKED), head.get(_PAGE_PACKED)
            if not (isinstance(unpacked, int) and isinstance(packed, int)) or min(unpacked, packed) < 0:
                raise damaged()
            if max(unpacked, packed) > PAGE_BYTES:
                raise too_large(f"has a page of more than {PAGE_BYTES // 2**20} MiB")
            yield head, unpacked
            at += length + packed

    def _head(self, at: int) -> tuple[_Struct, int]:
        self._file.seek(at)
        data = self._file.read(_HEAD_BYTES)
        while True:
            reader = _Compact(data, _HEAD_MOST)
            try:
                return reader.struct(), reader.at
            except EOFError as error:
                more = self._file.read(7 * len(data)) if len(data) < _HEAD_MOST else b""
                if not more:
                    raise damaged() from error
                data += more
            except ValueError as error:
                raise damaged() from error


def _body(head: _Struct, kind: int) -> tuple[int, int]:
    """Values and encoding of a page of that kind."""
    number, encoding = _BODIES[kind]
    body = head.get(number)
    values = body.get(1) if isinstance(body, Mapping) else None
    by = body.get(encoding) if isinstance(body, Mapping) else None
    if not isinstance(values, int) or not isinstance(by, int) or values < 0:
        raise damaged()
    if by not in _ENCODINGS:
        raise _unread()
    return values, by


@final
class _Compact:
    """Reads one structure by the numbers of its fields: numbers, structures, lists of structures; None for all else.

    A number of 64 bits stands under the negative number of its field: one of the wrong length is none to Arrow.

    Raises ValueError at what is none, EOFError where more is needed.
    """

    def __init__(self, data: bytes, parts: int) -> None:
        self._data = data
        self._parts = parts
        self.at = 0

    def struct(self, depth: int = 0) -> _Struct:
        if depth > _DEEPEST:
            raise ValueError("too deep")
        fields: dict[int, _Value] = {}
        number = 0
        while byte := self._byte():
            number = number + (byte >> 4) if byte >> 4 else self._signed()
            if number <= 0 or number in fields or -number in fields:
                raise ValueError("no field, or one that stands twice")
            fields[-number if byte & 15 == _I64 else number] = self._value(byte & 15, depth)
        return fields

    def _value(self, kind: int, depth: int) -> _Value:
        if kind in (_TRUE, _FALSE):
            return None
        if kind in (_I16, _I32, _I64):
            number = self._signed()
            return None if kind == _I16 else number
        if kind in _SIZES:
            return self._skip(_SIZES[kind])
        if kind == _BINARY:
            return self._skip(self._number())
        if kind in (_LIST, _SET):
            return self._list(depth)
        if kind == _STRUCT:
            return self.struct(depth + 1)
        raise ValueError("no type of Parquet")

    def _list(self, depth: int) -> list[_Struct] | None:
        head = self._byte()
        kind = head & 15
        size = head >> 4 if head >> 4 < _LONG else self._number()
        self._parts -= size
        if self._parts < 0:
            raise too_large(f"describes itself in more than {FOOTER_PARTS:,} parts")
        if kind == _STRUCT:
            return [self.struct(depth + 1) for _ in range(size)]
        for _ in range(size):
            self._value(_BYTE if kind in (_TRUE, _FALSE) else kind, depth + 1)
        return None

    def _byte(self) -> int:
        try:
            byte = self._data[self.at]
        except IndexError:
            raise EOFError from None
        self.at += 1
        return byte

    def _number(self) -> int:
        number = shift = 0
        while True:
            byte = self._byte()
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7
            if shift > 63:
                raise ValueError("too long a number")

    def _signed(self) -> int:
        number = self._number()
        return (number >> 1) ^ -(number & 1)

    def _skip(self, size: int) -> _Value:
        if size > len(self._data) - self.at:
            raise EOFError
        self.at += size
        return None


def damaged() -> InputError:
    """The refusal of a file that is not Parquet, or not whole."""
    return InputError("The file is not Parquet, or is damaged. Check that it is the right file.", code="file_damaged")


def encrypted() -> InputError:
    """The refusal of a file of which something is encrypted."""
    return InputError("The Parquet file is encrypted. Write it without that.", code="file_encrypted")


def too_large(what: str) -> InputError:
    """The refusal of a file that would take too much memory or time."""
    return InputError(f"The Parquet file {what}. Split it, or export it as CSV.", code="file_too_large")


def _unread() -> InputError:
    return InputError(
        "A column that is needed is packed or encoded in a way that is not read. Write it plain or with a dictionary,"
        " and with Snappy, gzip, zstd or no compression.",
        code="column_encoding",
    )
