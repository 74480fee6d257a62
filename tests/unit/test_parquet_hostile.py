"""Parquet files that would unpack to more than they are long, or say what is not so: refused, or read in little memory."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from pyarrow import parquet
from pyarrow.parquet import encryption

from riskshare.errors import InputError
from riskshare.sharing import parquet_pages, row_table
from riskshare.sharing.parquet_pages import FOOTER_BYTES, FOOTER_PARTS, PAGE_BYTES, Pages, PageWalk, read_footer
from riskshare.sharing.reading import format_of, open_source, read_rows
from riskshare.sharing.row_place import Place
from riskshare.sharing.rows import BadRow, Defaults

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
ANY = Defaults("telecom_fraud")
GOOD = "ip:10.0.0.1"
MIB = 2**20

# Reads a file in a process that has two GiB: prints its rows, or the code of the refusal, and by how many KiB its
# memory grew at most.
READER = """
import resource, sys
from riskshare.errors import InputError
from riskshare.sharing import row_table
from riskshare.sharing.row_place import Place
from riskshare.sharing.rows import Defaults
resource.setrlimit(resource.RLIMIT_DATA, (2**31, 2**31))
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
before = peak()
try:
    with open(sys.argv[1], "rb") as file:
        source = row_table.ParquetSource(file, Defaults("telecom_fraud"))
        said = sum(len(chunk.rows) for chunk in source.chunks(Place()))
except InputError as error:
    said = error.code
print(said, peak() - before)
"""


def written(table, **options):
    out = io.BytesIO()
    parquet.write_table(table, out, **{"compression": "zstd", "write_statistics": False, **options})
    return out.getvalue()


def refused(data):
    with pytest.raises(InputError) as refusal:
        list(read_rows(io.BytesIO(data), ANY, NOW, "parquet"))
    return refusal.value.code


def read_apart(data, folder):
    """What a process of its own says of a file, and the MiB that it took for it."""
    path = folder / "file"
    path.write_bytes(data)
    done = subprocess.run([sys.executable, "-c", READER, path], capture_output=True, check=True, text=True)
    said, grown = done.stdout.split()
    return said, int(grown) // 1024


def repeated(text, rows, *, behind=()):
    """A column whose rows are one text, and others behind them."""
    return pa.DictionaryArray.from_arrays(
        pa.array([0] * rows + list(range(1, len(behind) + 1)), pa.int32()), pa.array([text, *behind])
    )


# --- files that unpack to a great deal


@pytest.mark.parametrize("kept", [False, True], ids=["texts", "categories"])
def test_a_long_text_that_a_million_rows_repeat(kept, tmp_path):
    data = written(pa.table({"identifier": repeated("x" * 60_000, 1_000_000)}), store_schema=kept)
    assert len(data) < 4096  # of 60 GB
    assert read_apart(data, tmp_path) == ("1000000", pytest.approx(0, abs=100))


def partly_repeated():
    """A group of 20,000 rows of one long text, in a dictionary, and of 60,000 that are in none."""
    texts, others = pa.array(["x" * 60_000] * 1000), pa.array([f"phone:+86138{n:08d}" for n in range(60_000)])
    table = pa.table({"identifier": pa.chunked_array([*[texts] * 20, others])})
    data = written(table, dictionary_pagesize_limit=100_000)
    out = io.BytesIO(data)
    (group,) = read_footer(out)
    pages = PageWalk(out).pages(group.columns[0], 80_000)
    assert 20_000 < pages.repeated < 60_000
    return data


def test_a_long_text_in_a_dictionary_behind_which_rows_are_plain(tmp_path, monkeypatch):
    data = partly_repeated()
    assert len(data) < MIB
    assert read_apart(data, tmp_path) == ("80000", pytest.approx(0, abs=150))
    monkeypatch.setattr(row_table, "REPEATED_BYTES", 20_000 * 60_000)
    assert refused(data) == "file_too_large"


def test_a_page_of_one_long_text(tmp_path):
    data = written(pa.table({"identifier": ["x" * 200 * MIB]}), use_dictionary=False)
    assert len(data) < 32 * 1024
    assert read_apart(data, tmp_path) == ("file_too_large", pytest.approx(0, abs=50))


def test_a_dictionary_of_one_long_text(tmp_path):
    data = written(pa.table({"identifier": repeated("x" * 9 * MIB, 10)}), store_schema=False)
    assert read_apart(data, tmp_path) == ("file_too_large", pytest.approx(0, abs=50))


def test_pages_that_are_too_much_together(tmp_path):
    data = written(pa.table({"identifier": ["x" * 2 * MIB] * 100}), use_dictionary=False, data_page_size=1000)
    assert len(data) < 64 * 1024
    assert read_apart(data, tmp_path) == ("file_too_large", pytest.approx(0, abs=50))


def test_many_categories(tmp_path):
    texts = [f"{n:07d}" + "x" * 193 for n in range(400_000)]
    column = pa.array(texts).dictionary_encode()
    data = written(pa.table({"identifier": column}), dictionary_pagesize_limit=100_000)
    assert read_apart(data, tmp_path) == ("file_too_large", pytest.approx(0, abs=50))


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_texts_that_are_told_by_those_before(encoding):
    column = ["x" * 100_000] * 100
    data = written(pa.table({"identifier": column}), use_dictionary=False, column_encoding=encoding)
    assert refused(data) == "column_encoding"
    beside = pa.table({"identifier": [GOOD] * 100, "other": column})
    data = written(beside, use_dictionary=False, column_encoding={"other": encoding})
    assert len(list(read_rows(io.BytesIO(data), ANY, NOW, "parquet"))) == 100


def test_a_column_that_is_not_needed_may_be_long(tmp_path):
    beside = pa.table({"identifier": [GOOD] * 100, "other": ["x" * MIB] * 100})
    assert read_apart(written(beside, use_dictionary=False), tmp_path) == ("100", pytest.approx(0, abs=50))


def test_a_million_honest_rows(tmp_path):
    rows = range(1_000_000)
    table = pa.table(
        {
            "identifier": [f"phone:+86138{n:08d}" for n in rows],
            "level": ["high"] * len(rows),
            "case": [f"2026-{n % 5000}" if n > 10_000 else None for n in rows],
            "days": [n % 300 + 1 for n in rows],
        }
    )
    assert read_apart(written(table), tmp_path) == ("1000000", pytest.approx(0, abs=150))


def test_texts_repeated_plain_and_missing_are_all_read():
    cases = [None] * 5000 + ["a"] * 3000 + [f"case-{n}" for n in range(20_000)] + [None, "é" * 300, "", "a"]
    table = pa.table({"identifier": [GOOD] * len(cases), "case": cases})
    for options in [{}, {"use_dictionary": False}, {"dictionary_pagesize_limit": 2000}, {"row_group_size": 7000}]:
        source = open_source(io.BytesIO(written(table, **options)), "parquet", ANY)
        rows = [row for chunk in source.chunks(Place()) for row in chunk.rows]
        assert [(line, cells[1]) for line, cells, _ in rows] == list(enumerate((case or "" for case in cases), 1))
        (after,) = list(
            open_source(io.BytesIO(written(table, **options)), "parquet", ANY).chunks(Place(28_002, 28_002))
        )
        assert [(line, cells[1]) for line, cells, _ in after.rows] == [(28_003, ""), (28_004, "a")]


def test_long_texts_make_short_chunks():
    texts = [f"{n:03d}" + "x" * 60_000 for n in range(300)]
    source = open_source(io.BytesIO(written(pa.table({"identifier": texts}), use_dictionary=False)), "parquet", ANY)
    chunks = list(source.chunks(Place()))
    assert len(chunks) == 3
    assert [cells[0] for chunk in chunks for _, cells, _ in chunk.rows] == texts
    assert [chunk.after for chunk in chunks] == [Place(chunk.rows[-1][0], chunk.rows[-1][0]) for chunk in chunks]


def test_a_text_that_is_too_long_is_a_bad_row():
    texts = [GOOD, "x" * 70_000, GOOD]
    for options in [{}, {"use_dictionary": False}]:
        rows = list(read_rows(io.BytesIO(written(pa.table({"identifier": texts}), **options)), ANY, NOW, "parquet"))
        assert [(row.line, row.code) for row in rows if isinstance(row, BadRow)] == [(2, "too_long")]


def test_the_pages_that_rows_lie_in():
    assert Pages().widest(10) == 0
    assert Pages([(100, 7)]).widest(10) == 7
    assert Pages([(10, 5), (10, 6), (10, 1)]).widest(10) == 11
    assert Pages([(1, 3)] * 9).widest(4) == 12
    assert Pages([(1, 3)] * 9).widest(1) == 3
    assert Pages([(3, 1), (1, 5), (3, 1)]).widest(3) == 7


# --- numbers


@pytest.mark.parametrize(
    ("place", "name", "value"),
    [(row_table, "PARQUET_ROWS", 99), (parquet_pages, "PAGES", 3), (row_table, "SHEET_COLUMNS", 0)],
)
def test_more_than_is_read_of_a_file(place, name, value, monkeypatch):
    data = written(pa.table({"identifier": [GOOD] * 100}), row_group_size=25)
    assert len(list(read_rows(io.BytesIO(data), ANY, NOW, "parquet"))) == 100
    monkeypatch.setattr(place, name, value)
    assert refused(data) == "file_too_large"


# --- files that lie


def signed(number):
    return varint((number << 1) ^ (number >> 63))


def varint(number):
    out = bytearray()
    number &= 2**64 - 1
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def structure(**fields):
    """A structure of i32 and structures, by field (`f1`)."""
    out = b""
    last = 0
    for name, value in fields.items():
        step, last = int(name[1:]) - last, int(name[1:])
        out += bytes([step << 4 | 12]) + value if isinstance(value, bytes) else bytes([step << 4 | 5]) + signed(value)
    return out + b"\0"


def with_pages(*heads, rows=3, body=bytes(64)):
    """A file of so many texts that has these pages."""
    data = written(pa.table({"identifier": ["a"] * rows}), use_dictionary=False, compression="none")
    length = int.from_bytes(data[-8:-4], "little")
    return b"PAR1" + b"".join(head + body for head in heads) + data[-8 - length :]


def page(values=3, encoding=0, size=64, packed=64, kind=0):
    if kind == 2:
        return structure(f1=2, f2=size, f3=packed, f7=structure(f1=values, f2=encoding))
    if kind == 3:
        return structure(f1=3, f2=size, f3=packed, f8=structure(f1=values, f2=0, f3=values, f4=encoding, f5=0, f6=0))
    return structure(f1=0, f2=size, f3=packed, f5=structure(f1=values, f2=encoding, f3=3, f4=3))


@pytest.mark.parametrize(
    ("heads", "code"),
    [
        ([page(size=2**31 - 1)], "file_too_large"),
        ([page(size=2**31 - 1, kind=3)], "file_too_large"),
        ([page(size=PAGE_BYTES + 1)], "file_too_large"),
        ([page(packed=2**31 - 1)], "file_too_large"),
        ([structure(f1=9, f2=2**31 - 1, f3=64)], "file_too_large"),
        ([page(values=2**31 - 1)], "file_damaged"),
        ([page(values=2**31 - 1, kind=3)], "file_damaged"),
        ([page(values=2), page(values=2)], "file_damaged"),
        ([page(values=2)], "file_damaged"),
        ([page(values=-1)], "file_damaged"),
        ([page(size=-1)], "file_damaged"),
        ([page(packed=-5)], "file_damaged"),
        ([page(values=2**31 - 1, kind=2), page(encoding=8)], "file_damaged"),
        ([page(values=1, size=9 * MIB, kind=2), page(encoding=8)], "file_too_large"),
        ([page(encoding=6)], "column_encoding"),
        ([page(encoding=7, kind=3)], "column_encoding"),
        ([page(encoding=77)], "column_encoding"),
        ([structure(f1=0, f2=64, f3=64)], "file_damaged"),
        ([b"\x15" * 3000], "file_damaged"),
        ([b"\x1c" * 3000], "file_damaged"),
        ([b"\x15\x00\x05\x02\x00" + page()[3:]], "file_damaged"),
        ([b"\x15" + b"\xff" * 20], "file_damaged"),
        ([b"\x19\xfc" + varint(2**40)], "file_too_large"),
        ([page(encoding=8)], "file_damaged"),
        ([page()], "file_damaged"),
    ],
)
def test_heads_of_pages_that_lie(heads, code):
    assert refused(with_pages(*heads)) == code


@pytest.mark.parametrize("kind", [0, 3])
def test_a_page_that_says_that_it_is_two_gib(kind, tmp_path):
    data = with_pages(page(size=2**31 - 1, kind=kind))
    assert read_apart(data, tmp_path) == ("file_too_large", pytest.approx(0, abs=50))


def footer(data, *, name=b"PAR1"):
    return b"PAR1" + data + len(data).to_bytes(4, "little") + name


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"PAR1PAR1", "file_damaged"),
        (footer(b""), "file_damaged"),
        (b"PAR1" + (2**32 - 1).to_bytes(4, "little") + b"PAR1", "file_damaged"),
        (footer(bytes(FOOTER_BYTES + 1)), "file_too_large"),
        (footer(b"\x49\xf5" + varint(FOOTER_PARTS) + b"\0" * FOOTER_PARTS), "file_damaged"),
        (footer(b"\x49\xfc" + varint(FOOTER_PARTS + 1) + b"\0" * (FOOTER_PARTS + 2)), "file_too_large"),
        (footer(b"\x49\xfc" + varint(2000) + (b"\x19\xfc" + varint(100) + b"\0" * 101) * 2000), "file_too_large"),
        (footer(b"\x29\xfc" + varint(5000) + b"\0" * 5001), "file_too_large"),
        (footer(b"\x1c" * 100_000), "file_damaged"),
        (footer(b"\x19\x1c" * 50_000), "file_damaged"),
        (footer(b"\x8c\0\0", name=b"PAR1"), "file_encrypted"),
        (footer(b"\0", name=b"PARE"), "file_encrypted"),
    ],
)
def test_footers_that_lie(data, code):
    assert refused(data) == code


def test_groups_whose_rows_are_not_those_of_the_file():
    data = written(pa.table({"identifier": [GOOD] * 100}), row_group_size=50)
    length = int.from_bytes(data[-8:-4], "little")
    at = data.index(b"\x16" + signed(100), len(data) - 8 - length)  # field 3, an i64
    assert refused(data[: at + 1] + signed(101) + data[at + 3 :]) == "file_damaged"


def footer_of(data):
    return range(len(data) - 8 - int.from_bytes(data[-8:-4], "little"), len(data) - 8)


def test_a_codec_that_is_not_read():
    data = bytearray(written(pa.table({"identifier": [GOOD] * 100}), compression="snappy"))
    at = data.index(b"identifier\x15\x02\x16", footer_of(data).start)  # the codec is behind the path
    data[at + 11 : at + 12] = signed(3)  # LZO
    assert refused(bytes(data)) == "column_encoding"


def test_a_footer_in_which_any_byte_is_another_is_refused_or_read():
    """None ends the process, as pyarrow does where a group has fewer columns than the table."""
    data = written(pa.table({"identifier": [GOOD] * 100, "level": ["high"] * 100}), write_statistics=True)
    for at in footer_of(data):
        for byte in {0, data[at] ^ 1, data[at] ^ 0x10, data[at] ^ 0x80, 0x7F, 0xFF}:
            changed = io.BytesIO(data[:at] + bytes([byte]) + data[at + 1 :])
            with suppress(InputError):
                assert len(list(read_rows(changed, ANY, NOW, "parquet"))) == 100


class Keys(encryption.KmsClient):
    def __init__(self, _config):
        encryption.KmsClient.__init__(self)

    def wrap_key(self, key_bytes, _name):
        return key_bytes.hex()

    def unwrap_key(self, wrapped, _name):
        return bytes.fromhex(wrapped)


@pytest.mark.parametrize("plaintext", [False, True], ids=["all", "columns only"])
def test_an_encrypted_file(plaintext):
    made = encryption.EncryptionConfiguration(
        footer_key="footer",
        column_keys={"column": ["identifier"]},
        plaintext_footer=plaintext,
        cache_lifetime=timedelta(minutes=5),
    )
    how = encryption.CryptoFactory(Keys).file_encryption_properties(encryption.KmsConnectionConfig(), made)
    data = written(pa.table({"identifier": [GOOD]}), encryption_properties=how)
    assert format_of(data[:64], "list.csv") == "parquet"
    assert refused(data) == "file_encrypted"
