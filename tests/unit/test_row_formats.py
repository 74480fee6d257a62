"""Files of every format: what is read, what is refused, and reading that goes on at any place."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import UTC, date, datetime
from decimal import Decimal

import openpyxl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from riskshare.errors import InputError
from riskshare.sharing.reading import FORMATS, format_of, open_source, read_rows, reader_of
from riskshare.sharing.row_csv import SLOW_ROWS
from riskshare.sharing.row_place import BLOCK, MAX_LINE, Place
from riskshare.sharing.row_table import BATCH_ROWS
from riskshare.sharing.rows import BadRow, Defaults, Row

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
ANY = Defaults("telecom_fraud")
PHONES = Defaults("telecom_fraud", type="phone", column="number", region="CN")
GOOD = "phone:+8613800138000"


def jsonl(*objects):
    return "".join(json.dumps(one) + "\n" for one in objects).encode()


def table(**columns):
    out = io.BytesIO()
    parquet.write_table(pa.table(columns), out, row_group_size=3000)
    return out.getvalue()


def book(*rows):
    out = io.BytesIO()
    made = openpyxl.Workbook()
    for row in rows:
        made.active.append(row)
    made.save(out)
    return out.getvalue()


def read(data, format_, defaults=ANY):
    return list(read_rows(io.BytesIO(data), defaults, NOW, format_))


def canonical(rows):
    return [row.identifier.canonical for row in rows if isinstance(row, Row)]


def bad(rows):
    return [(row.line, row.column, row.code) for row in rows if isinstance(row, BadRow)]


def refused(data, format_, defaults=ANY):
    with pytest.raises(InputError) as error:
        read(data, format_, defaults)
    return error.value.code


# --- which format


@pytest.mark.parametrize(
    ("head", "name", "given", "expected"),
    [
        (b"a,b\n", "x.csv", "", "csv"),
        (b"a,b\n", "x.txt", "", "csv"),
        (b"a,b\n", "x", "", "csv"),
        (b"{}\n", "x.JSONL", "", "jsonl"),
        (b"{}\n", "x.ndjson", "", "jsonl"),
        (b"{}\n", "x.csv", "jsonl", "jsonl"),
        (b"PAR1\x15\x04", "x.csv", "", "parquet"),
        (b"PK\x03\x04....", "x", "", "xlsx"),
        (b"a,b\n", "x.xlsx", "", "csv"),
    ],
)
def test_a_format(head, name, given, expected):
    assert format_of(head, name, given) == expected


@pytest.mark.parametrize(
    ("head", "given", "code"),
    [
        (b"\x1f\x8b\x08", "", "file_packed"),
        (b"\x1f\x8b\x08", "csv", "file_packed"),
        (b"BZh9", "", "file_packed"),
        (b"\xd0\xcf\x11\xe0\xa1", "", "file_format"),
        (b"a,b", "xml", "file_format"),
    ],
)
def test_a_format_that_is_not_read(head, given, code):
    with pytest.raises(InputError) as error:
        format_of(head, "list.csv", given)
    assert error.value.code == code


# --- JSON Lines


def test_json_lines():
    rows = read(
        jsonl(
            {"identifier": GOOD, "note": {"any": 1}},
            {"Identifier": "ip:10.0.0.1", "level": "low", "days": 7, "valid_until": None},
            {},
        ),
        "jsonl",
    )
    assert canonical(rows) == [GOOD, "ip:10.0.0.1"]
    assert (rows[1].record.level, (rows[1].record.valid_until - NOW).days) == ("low", 7)


def test_json_lines_with_a_column_of_numbers():
    rows = read(
        jsonl({"number": 13800138000}, {"number": "+1 415 555 2671"}, {"number": 1.3800138e10}), "jsonl", PHONES
    )
    assert canonical(rows) == [GOOD, "phone:+14155552671", GOOD]


@pytest.mark.parametrize(
    "data", [b'"ip:10.0.0.1"\n\n[1]\n', b"identifier,level\nip:10.0.0.1,high\n"], ids=["texts", "csv"]
)
def test_a_file_without_any_object_is_not_taken_for_csv(data):
    assert {row.code for row in read(data, "jsonl")} == {"json"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"not json", (2, "", "json")),
        (b"[1]", (2, "", "json")),
        (b'"text"', (2, "", "json")),
        (b'{"number": "1", "number": "2"}', (2, "", "json")),
        (b'{"number": NaN}', (2, "", "json")),
        (b"[" * 60_000, (2, "", "json")),
        (b'{"number": "\xff"}', (2, "", "encoding")),
        (b'{"number": {"a": 1}}', (2, "number", "cell_type")),
        (b'{"number": true}', (2, "number", "cell_type")),
        (b'{"number": 1380013800.5}', (2, "number", "number_inexact")),
        (b'{"number": 6.2220212345678907e18}', (2, "number", "number_inexact")),
        (b'{"number": 1e999}', (2, "number", "number_inexact")),
        (b'{"number": ' + b"1" * 5000 + b"}", (2, "", "json")),
        (b'{"x": "' + b"1" * MAX_LINE + b'"}', (2, "", "too_long")),
        (b'{"x": "' + b"1" * (3 * BLOCK) + b'"}', (2, "", "too_long")),
        (b'{"level": "low"}', (2, "number", "empty")),
    ],
)
def test_a_bad_json_line(line, expected):
    rows = read(b'{"number": "13800138000"}\n' + line + b'\n\n{"number": "13800138001"}', "jsonl", PHONES)
    assert bad(rows) == [expected]
    assert canonical(rows) == [GOOD, "phone:+8613800138001"]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "file_empty"),
        (b"\n \n", "file_empty"),
        (b'{"a": 1}\n', "no_column"),
        ('{"identifier": 1}'.encode("utf-16"), "file_encoding"),
    ],
)
def test_json_lines_that_cannot_be_read(data, code):
    assert refused(data, "jsonl") == code


@given(st.binary(max_size=200))
def test_any_bytes_as_json_lines(data):
    try:
        rows = read(data, "jsonl")
    except InputError:
        return
    assert [row.line for row in rows] == sorted({row.line for row in rows})


# --- Parquet


def test_parquet():
    rows = read(
        table(
            identifier=[GOOD, "ip:10.0.0.1", None],
            days=[7, None, None],
            valid_until=[None, date(2026, 12, 31), None],
            case=["a", "5", None],
            left_aside=[[1], [2], [3]],
        ),
        "parquet",
    )
    assert canonical(rows) == [GOOD, "ip:10.0.0.1"]
    assert (rows[0].line, rows[0].record.case, (rows[0].record.valid_until - NOW).days) == (1, "a", 7)
    assert rows[1].record.valid_until.date() == date(2026, 12, 31)
    assert bad(rows) == []


@pytest.mark.parametrize(
    "numbers",
    [
        pa.array([13800138000, 13800138001]),
        pa.array([13800138000.0, 13800138001.0]),
        pa.array([Decimal(13800138000), Decimal(13800138001)]),
        pa.array(["13800138000", "13800138001"]).dictionary_encode(),
        pa.array(["13800138000", "13800138001"], pa.large_string()),
    ],
    ids=["integers", "doubles", "decimals", "dictionary", "large texts"],
)
def test_numbers_of_every_kind_of_column(numbers):
    assert canonical(read(table(number=numbers), "parquet", PHONES)) == [GOOD, "phone:+8613800138001"]


def test_a_double_that_may_have_lost_digits():
    rows = read(table(number=[6.222021234567890e18, float("nan"), float("inf"), 1.5]), "parquet", PHONES)
    assert bad(rows) == [(line, "number", "number_inexact") for line in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([["1"]]),
        pa.array([{"a": 1}]),
        pa.array([b"1"]),
        pa.array([1.0], pa.float32()),
        pa.array([True]),
    ],
    ids=["list", "struct", "binary", "float", "boolean"],
)
def test_a_column_of_another_type(column):
    assert refused(table(number=column), "parquet", PHONES) == "column_type"
    assert read(table(identifier=["ip:10.0.0.1"], number=column), "parquet")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "file_damaged"),
        (b"PAR1 a table", "file_damaged"),
        (table(a=[1]), "no_column"),
        (table(identifier=pa.array([], pa.string())), "file_empty"),
        (table(identifier=["ip:10.0.0.1"] * 20_000)[:-300], "file_damaged"),
    ],
    ids=["empty", "nothing", "no column", "no row", "cut off"],
)
def test_parquet_that_cannot_be_read(data, code):
    assert refused(data, "parquet") == code


def test_parquet_with_damaged_pages():
    data = bytearray(table(identifier=[f"ip:10.0.{n // 256}.{n % 256}" for n in range(20_000)]))
    data[50:5000] = bytes(4950)
    assert refused(bytes(data), "parquet") == "file_damaged"


# --- workbooks


def test_a_workbook():
    rows = read(
        book(
            ["identifier", "days", "valid_until", "case", "note"],
            [GOOD, 7, None, 12, "x"],
            [],
            ["ip:10.0.0.1", "", datetime(2026, 12, 31), None, None],  # noqa: DTZ001 - as a workbook has it
            ["ip:10.0.0.2", 30.0, datetime(2026, 12, 31, 12, 30)],  # noqa: DTZ001
        ),
        "xlsx",
    )
    assert canonical(rows)[:2] == [GOOD, "ip:10.0.0.1"]
    assert [row.line for row in rows] == [2, 4, 5]
    assert rows[0].record.case == "12"
    assert rows[1].record.valid_until == datetime(2026, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)
    assert rows[2].record.valid_until == datetime(2026, 12, 31, 12, 30, tzinfo=UTC)


def test_numbers_in_a_workbook():
    rows = read(book(["number"], [13800138000], [13800138001.0], ["+8613800138002"]), "xlsx", PHONES)
    assert canonical(rows) == [GOOD, "phone:+8613800138001", "phone:+8613800138002"]


def test_a_number_that_a_spreadsheet_has_rounded():
    rows = read(book(["number"], [6222021234567890], [1.5], [True]), "xlsx", PHONES)
    assert bad(rows) == [(2, "number", "number_inexact"), (3, "number", "number_inexact"), (4, "number", "cell_type")]
    assert "as text" in rows[0].suggestion


def test_a_formula_is_its_value():
    rows = read(book(["number"], ["=1+1"], ["13800138000"]), "xlsx", PHONES)
    assert canonical(rows) == [GOOD]
    assert bad(rows) == []  # nothing was ever computed: the cell is empty, and so the row


def test_a_workbook_without_a_header():
    rows = read(book(["13800138000"], ["13800138001"]), "xlsx", Defaults("telecom_fraud", type="phone", region="CN"))
    assert [row.line for row in rows] == [1, 2]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "file_damaged"),
        (b"PK\x03\x04 a workbook", "file_damaged"),
        (book(), "file_empty"),
        (book(["a", "level"], [1, 2]), "no_column"),
    ],
    ids=["empty", "nothing", "no row", "no column"],
)
def test_a_workbook_that_cannot_be_read(data, code):
    assert refused(data, "xlsx") == code


def zipped(**parts):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in parts.items():
            made.writestr(name.replace("__", "/").replace("_xml", ".xml"), data)
    return out.getvalue()


def remade(data, name, change):
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for part in before.infolist():
            text = before.read(part)
            made.writestr(part.filename, change(text) if part.filename == name else text)
    return out.getvalue()


def test_a_zip_that_is_no_workbook():
    assert refused(zipped(a_xml="x"), "xlsx") == "file_damaged"


def test_a_workbook_whose_sheet_is_packed_badly():
    whole = book(["identifier"], [GOOD])
    with zipfile.ZipFile(io.BytesIO(whole)) as parts:
        at = parts.getinfo(SHEET).header_offset + 30 + len(SHEET)
    assert refused(whole[:at] + b"\xff" * 8 + whole[at + 8 :], "xlsx") == "file_damaged"


def test_a_workbook_that_unpacks_to_too_much():
    out = io.BytesIO(book(["identifier"], [GOOD]))
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as made:
        made.writestr("xl/sharedStrings.xml", bytes(65 * 2**20))
    data = out.getvalue()
    assert len(data) < 2**20
    assert refused(data, "xlsx") == "file_too_large"


SHEET = "xl/worksheets/sheet1.xml"


def test_a_row_that_says_that_it_is_the_last_of_thousand_millions():
    data = remade(book(["identifier"], [GOOD]), SHEET, lambda text: text.replace(b'r="2"', b'r="1000000000"'))
    assert refused(data, "xlsx") == "file_too_large"


def test_a_sheet_that_lies_about_its_size():
    lie = lambda text: text.replace(b'<dimension ref="A1:A2"', b'<dimension ref="A1:XFD9999999"')  # noqa: E731
    assert canonical(read(remade(book(["identifier"], [GOOD]), SHEET, lie), "xlsx")) == [GOOD]


def test_entities_that_multiply():
    bomb = (
        b'<!DOCTYPE a [<!ENTITY a "'
        + b"x" * 1000
        + b'">'
        + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 100) for n in range(6))
        + b"]>"
    )
    put = lambda text: bomb + text.replace(b"<v>1</v>", b"<v>&g;</v>").replace(b"<sheetData>", b"<sheetData>&g;")  # noqa: E731
    assert refused(remade(book(["identifier"], [GOOD]), SHEET, put), "xlsx") == "file_damaged"


# --- columns with other names


def test_fields_are_mapped_to_columns():
    defaults = Defaults(
        "telecom_fraud", column="Nummer", region="CN", fields=(("level", " Risiko"), ("type", "Art"), ("case", "AZ"))
    )
    data = b"Art,Nummer,RISIKO,AZ,level\nphone,13800138000,low,7,nonsense\nphone,13800138001,extreme,8,low\n"
    for format_, content in (
        ("csv", data),
        ("jsonl", jsonl({"Art": "phone", "Nummer": "13800138000", "RISIKO": "low", "AZ": 7},
                        {"Art": "phone", "Nummer": "13800138001", "RISIKO": "extreme", "AZ": 8})),
    ):  # fmt: skip
        rows = read(content, format_, defaults)
        assert canonical(rows) == [GOOD]
        assert (rows[0].record.level, rows[0].record.case) == ("low", "7")
        assert [(row.column, row.code) for row in rows[1:]] == [("RISIKO", "level_invalid")]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ((("identifier", "x"),), "mapping_invalid"),
        ((("nonsense", "x"),), "mapping_invalid"),
        ((("level", "a"), ("level", "b")), "mapping_invalid"),
        ((("level", " "),), "mapping_invalid"),
        ((("level", "absent"),), "no_column"),
        ((("level", "note"),), "no_column"),
    ],
)
def test_a_mapping_that_cannot_be_meant(fields, code):
    data = b"identifier,note,note\nip:10.0.0.1,x,y\n"
    assert refused(data, "csv", Defaults("telecom_fraud", fields=fields)) == code


# --- suggestions


@pytest.mark.parametrize(
    ("header", "cells", "expected"),
    [
        ("identifier,level", f"{GOOD},High", "write high"),
        ("identifier,level", f"{GOOD},severe", ""),
        ("identifier,days", f"{GOOD},30.0", "write 30"),
        ("identifier,days", f"{GOOD},30 days", "write 30"),
        ("identifier,days", f"{GOOD},9999", ""),
        ("identifier,valid_until", f"{GOOD},31.12.2026", "write 2026-12-31"),
        ("identifier,valid_until", f"{GOOD},12/31/2026", ""),
        ("identifier,valid_until", f"{GOOD},31/12/2026", "write 2026-12-31"),
        ("identifier,valid_until", f"{GOOD},03/04/2027", ""),
        ("identifier,valid_until", f"{GOOD},2026/12/31", "write 2026-12-31"),
        ("identifier,valid_until", f"{GOOD},20261231", "write 2026-12-31"),
        ("identifier,valid_until", f"{GOOD},31.02.2027", ""),
        ("identifier,valid_until", f"{GOOD},31.12.2020", ""),
        ("identifier,valid_until", f"{GOOD},2026-12-31T10:00:00Z", "write 2026-12-31T10:00:00.000Z"),
        ("type,value", "tel,+8613800138000", "write phone"),
        ("type,value", "Phone,+8613800138000", "write phone"),
        ("type,value", "fax,+8613800138000", ""),
        ("identifier", "tel:+8613800138000", "write phone: in place of the type"),
        ("identifier", "13800138000", "name the type of all values with --type, or write type:value"),
        ("identifier", "phone:008613800138000", "write + in place of the leading 00"),
        ("identifier", "phone:13800138000", "name the country of such numbers with --region"),
        ("identifier", "phone:8.6138E+12", "format the column as text"),
        ("identifier", "phone:8613800138000.0", "leave out the decimal point"),
        ("identifier", "phone:'+8613800138000", "leave out the apostrophe"),
        ("identifier", "email:mailto:a@example.com", "leave out mailto:"),
        ("identifier,note", f"{GOOD},a,b", "into quotes"),
    ],
)
def test_a_suggestion(header, cells, expected):
    [row] = read(f"{header}\n{cells}\n".encode(), "csv")
    assert isinstance(row, BadRow)
    assert (expected in row.suggestion) if expected else row.suggestion == ""
    assert "1380013" not in row.suggestion


@pytest.mark.parametrize("data", [b"identifier;level\nip:10.0.0.1;low\n", b"type\tvalue\nip\t10.0.0.1\n"])
def test_a_header_with_other_separators(data):
    assert refused(data, "csv") == "no_column"


# --- reading that goes on

LINES = st.lists(
    st.sampled_from(
        [
            "ip:10.0.0.1,x",
            'ip:10.0.0.2,"a\nb"',
            "",
            'ip:10.0.0.3,"open',
            'ip:10.0.0.4,5" pipe',
            "ip:10.0.0.5",
            "\0",
            "é,",
        ]
    ),
    min_size=1,
    max_size=30,
)


def pieces(data, format_, defaults=ANY):
    """The rows chunk by chunk, and the place behind each."""
    source = open_source(io.BytesIO(data), format_, defaults)
    reader = reader_of(source, defaults, NOW)
    return [(chunk.after, list(reader.read(chunk))) for chunk in source.chunks(Place())]


def resumed(data, format_, place, defaults=ANY):
    source = open_source(io.BytesIO(data), format_, defaults)
    reader = reader_of(source, defaults, NOW)
    return [row for chunk in source.chunks(place) for row in reader.read(chunk)]


def assert_goes_on_anywhere(data, format_, defaults=ANY):
    found = pieces(data, format_, defaults)
    whole = [row for _, rows in found for row in rows]
    done = 0
    for place, rows in found:
        done += len(rows)
        assert resumed(data, format_, place, defaults) == whole[done:]
    return found


@given(LINES, st.integers(1, 40))
def test_csv_goes_on_at_any_place(lines, times):
    data = ("identifier,note\n" + "\n".join(lines * times)).encode()
    assert_goes_on_anywhere(data, "csv")


@pytest.mark.parametrize("note", ["x", '"x"', '"a\nb"'], ids=["plain", "quoted", "over two lines"])
def test_long_csv_comes_in_pieces(note):
    more = "y" * 40
    rows = (f"ip:10.0.{n // 256}.{n % 256},{note},{more}\n" for n in range(4 * SLOW_ROWS))
    found = assert_goes_on_anywhere(("identifier,note,more\n" + "".join(rows)).encode(), "csv")
    assert len(found) > 2
    assert sum(len(rows) for _, rows in found) == 4 * SLOW_ROWS


def test_a_quote_open_across_pieces():
    """Rows that only the reader of the whole file can tell apart: the cut falls into a text of several lines."""
    row = 'ip:10.0.0.1,"' + "word\n" * 20 + '"\n'
    data = ("identifier,note\n" + "ip:10.0.0.2,x\n" * 500 + row * (3 * BLOCK // len(row))).encode()
    found = assert_goes_on_anywhere(data, "csv")
    assert len(found) > 2
    assert all(isinstance(row, Row) for _, rows in found for row in rows)


@pytest.mark.parametrize(
    ("format_", "data"),
    [
        ("jsonl", jsonl(*({"identifier": f"ip:10.0.{n // 256}.{n % 256}"} for n in range(9000)))),
        ("parquet", table(identifier=[f"ip:10.0.{n // 256}.{n % 256}" for n in range(9000)])),
        ("xlsx", book(["identifier"], *([f"ip:10.0.{n // 256}.{n % 256}"] for n in range(2 * BATCH_ROWS + 5)))),
    ],
    ids=["jsonl", "parquet", "xlsx"],
)
def test_every_format_goes_on_at_any_place(format_, data):
    assert len(assert_goes_on_anywhere(data, format_)) > 2


def test_all_formats_say_the_same():
    rows = [("phone:+8613800138000", "low", 7), ("ip:10.0.0.1", "high", 30), ("phone:12", "low", 7)]
    text = "identifier,level,days\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows)
    names = ("identifier", "level", "days")
    made = {
        "csv": text.encode(),
        "jsonl": jsonl(*(dict(zip(names, row, strict=True)) for row in rows)),
        "parquet": table(**dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))),
        "xlsx": book(list(names), *map(list, rows)),
    }
    assert set(made) == set(FORMATS)
    seen = {}
    for format_, data in made.items():
        found = read(data, format_)
        seen[format_] = [
            (row.identifier.canonical, row.record.level, row.record.valid_until)
            if isinstance(row, Row)
            else (row.column, row.code, row.message)
            for row in found
        ]
    assert len({repr(one) for one in seen.values()}) == 1
