"""The rows of imported files.

A file of 200 MB was imported by hand once; the docstring of `tests/database/test_importing.py` says how.
`test_memory_stays_flat` does the same in small.
"""

from __future__ import annotations

import csv
import io
import os
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.errors import InputError
from riskshare.sharing.reading import read_rows
from riskshare.sharing.row_csv import MAX_LINES
from riskshare.sharing.row_place import MAX_LINE
from riskshare.sharing.rows import BadRow, Defaults, Row, check_defaults

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
PHONES = Defaults("telecom_fraud", type="phone", region="CN")
ANY = Defaults("telecom_fraud")
GOOD = "+8613800138000"
SHARED = Path(os.environ.get("RISKSHARE_SHARED_DATA") or Path(__file__).parents[3] / "shared" / "data")


def read(data, defaults=ANY):
    return list(read_rows(io.BytesIO(data.encode() if isinstance(data, str) else data), defaults, NOW))


def canonical(rows):
    return [row.identifier.canonical for row in rows if isinstance(row, Row)]


def bad(rows):
    return [(row.line, row.column, row.code) for row in rows if isinstance(row, BadRow)]


def refused(data, defaults=ANY):
    with pytest.raises(InputError) as error:
        read(data, defaults)
    return error.value.code


# --- files that can be read


def test_one_identifier_a_line():
    rows = read("phone:+8613800138000\n\nemail:A@Example.com\r\nip:::1")
    assert canonical(rows) == ["phone:+8613800138000", "email:a@example.com", "ip:::1"]
    assert [row.line for row in rows] == [1, 3, 4]


def test_one_value_of_a_known_type_a_line():
    assert canonical(read("138 0013 8000\n+14155552671\n", PHONES)) == ["phone:+8613800138000", "phone:+14155552671"]


def test_a_header_with_identifier():
    rows = read("level,identifier,reason\nlow,phone:+8613800138000,spam\n,phone:+8613800138001,\n")
    assert canonical(rows) == ["phone:+8613800138000", "phone:+8613800138001"]
    assert [(row.record.level, row.record.reason) for row in rows] == [("low", "spam"), ("high", "reported")]


def test_a_header_with_type_and_value():
    assert canonical(read("type,value\nphone,+8613800138000\nip,10.0.0.1\n")) == ["phone:+8613800138000", "ip:10.0.0.1"]


def test_a_header_with_value_and_a_type_by_default():
    rows = read("value,type\n13800138000,\n10.0.0.1,ip\n", PHONES)
    assert canonical(rows) == ["phone:+8613800138000", "ip:10.0.0.1"]


def test_a_column_by_its_name():
    defaults = Defaults("telecom_fraud", type="phone", column=" Rufnummer", region="CN")
    assert canonical(read("name,RUFNUMMER ,x\na,13800138000,b\n", defaults)) == ["phone:+8613800138000"]


def test_a_column_by_its_name_without_a_type_holds_both():
    assert canonical(read("who\nphone:+8613800138000\n", Defaults("telecom_fraud", column="who"))) == [f"phone:{GOOD}"]


def test_a_column_by_its_name_beside_a_column_of_types():
    defaults = Defaults("telecom_fraud", column="number")
    assert canonical(read("type,number\nphone,+8613800138000\n", defaults)) == [f"phone:{GOOD}"]


def test_a_column_that_is_the_identifier_is_nothing_else():
    rows = read("case\n+8613800138000\n", Defaults("telecom_fraud", type="phone", column="case"))
    assert canonical(rows) == [f"phone:{GOOD}"]
    assert rows[0].record.case == ""


def test_a_mark_at_the_beginning_is_no_part_of_the_text():
    assert canonical(read(b"\xef\xbb\xbfidentifier\nphone:+8613800138000\n")) == [f"phone:{GOOD}"]
    assert canonical(read(b"\xef\xbb\xbfphone:+8613800138000\n")) == [f"phone:{GOOD}"]


def test_quoted_cells():
    rows = read('identifier,reason\n"phone:+8613800138000","said ""pay"", twice"\n')
    assert rows[0].record.reason == 'said "pay", twice'


def test_a_row_over_several_lines_counts_as_one():
    rows = read('identifier,note\nphone:+8613800138000,"a\nb\nc"\nphone:+8613800138001,x\nphone:x,y\n')
    assert canonical(rows) == ["phone:+8613800138000", "phone:+8613800138001"]
    assert bad(rows) == [(6, "identifier", "characters")]


def test_a_header_in_latin_1_is_read_where_it_matters():
    rows = read("identifier,Begründung\nphone:+8613800138000,\n".encode("latin-1"))
    assert canonical(rows) == [f"phone:{GOOD}"]
    assert bad(rows) == []


def test_all_columns_of_a_row():
    header = "identifier,level,reason,evidence,case,appeal,days"
    row = read(f"{header}\nphone:{GOOD},critical,r,e,c,a,7\n")[0]
    record = row.record
    assert (record.level, record.reason, record.evidence, record.case, record.appeal) == (
        "critical",
        "r",
        "e",
        "c",
        "a",
    )
    assert (record.category, record.listed_at, record.disputed) == ("telecom_fraud", NOW, False)
    assert record.valid_until == NOW + timedelta(days=7)


@pytest.mark.parametrize(
    ("text", "until"),
    [
        ("2026-12-31", datetime(2026, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)),
        ("2026-11-22", datetime(2026, 11, 22, 23, 59, 59, 999_000, tzinfo=UTC)),
        ("2026-12-31T10:00:00.000Z", datetime(2026, 12, 31, 10, tzinfo=UTC)),
    ],
)
def test_the_end_of_a_term(text, until):
    assert read(f"identifier,valid_until,days\nphone:{GOOD},{text},3\n")[0].record.valid_until == until


def test_rows_without_entries_of_their_own_share_a_record():
    first, second = read("identifier,level\nip:10.0.0.1,\nip:10.0.0.2,\n")
    assert first.record is second.record


# --- bad rows: each is told, and the others are read


@pytest.mark.parametrize(
    ("line", "column", "code"),
    [
        ("phone:123,,,", "identifier", "no_country_code"),
        ("13800138000,,,", "identifier", "no_type"),
        ("fax:+8613800138000,,,", "identifier", "unknown_type"),
        ("canary:00000000000000000000000000000000,,,", "identifier", "reserved"),
        (",high,,", "identifier", "empty"),
        ("phone:+8613800138000,extreme,,", "level", "level_invalid"),
        ("phone:+8613800138000,HIGH,,", "level", "level_invalid"),
        ("phone:+8613800138000,,0,", "days", "days_invalid"),
        ("phone:+8613800138000,,3651,", "days", "days_invalid"),
        ("phone:+8613800138000,,1e2,", "days", "days_invalid"),
        ("phone:+8613800138000,,٣,", "days", "days_invalid"),
        ("phone:+8613800138000,,,2026-11-21", "valid_until", "valid_until_invalid"),
        ("phone:+8613800138000,,,2026-02-30", "valid_until", "valid_until_invalid"),
        ("phone:+8613800138000,,,9999-12-31", "valid_until", "valid_until_invalid"),
        ("phone:+8613800138000,,,31.12.2026", "valid_until", "valid_until_invalid"),
        ("phone:+8613800138000", "", "columns"),
        ("phone:+8613800138000,,,,", "", "columns"),
        ('"phone:+8613800138000"x,,,', "", "csv"),
        ('"phone:+8613800138000,,,', "", "csv"),
    ],
)
def test_a_bad_row(line, column, code):
    rows = read(f"identifier,level,days,valid_until\nip:10.0.0.1,,,\n{line}\nip:10.0.0.2,,,\n")
    assert bad(rows) == [(3, column, code)]
    assert canonical(rows) == ["ip:10.0.0.1", "ip:10.0.0.2"]


def test_a_bad_type_is_told_of_the_column_of_types():
    assert bad(read("type,value\nfax,1\nphone,1\n")) == [(2, "type", "unknown_type"), (3, "value", "no_country_code")]


def test_without_a_header_columns_have_numbers():
    assert bad(read("x\n+8613800138000\n", PHONES)) == [(1, "1", "characters")]


def test_a_header_that_nobody_announced_is_a_bad_row():
    rows = read("pattern\n4155552671\n", Defaults("telecom_fraud", type="phone", region="US"))
    assert (len(bad(rows)), canonical(rows)) == (1, ["phone:+14155552671"])


@pytest.mark.parametrize(
    ("text", "code"),
    [("a" * 201, "record_invalid"), ("a\tb", "record_invalid"), ("\\" * 200, None)],
    ids=["too long", "control character", "escapes"],
)
def test_a_reason_that_no_record_takes(text, code):
    rows = read(f"identifier,reason\nphone:{GOOD},{text}\n")
    assert [found for _, _, found in bad(rows)] == ([code] if code else [])


def test_texts_that_are_too_long_only_together():
    text = "\\" * 200
    rows = read(f"identifier,reason,evidence,case,appeal\nphone:{GOOD},{text},{text},{text},{text}\n")
    assert bad(rows) == [(2, "", "record_invalid")]


def test_a_line_in_latin_1():
    assert bad(read("identifier,reason\nip:10.0.0.1,gr\xfcn\nip:10.0.0.2,x\n".encode("latin-1"))) == [
        (2, "", "encoding")
    ]


def test_a_first_line_in_latin_1_that_is_no_header():
    rows = read(b"\xfc\n+8613800138000\n", PHONES)
    assert bad(rows) == [(1, "", "encoding")]
    assert canonical(rows) == [f"phone:{GOOD}"]


def test_a_nul_in_a_later_line():
    assert bad(read("ip:10.0.0.1\nip:10.0\x00.0.2\nip:10.0.0.3\n")) == [(2, "", "encoding")]


@pytest.mark.parametrize("size", [MAX_LINE, MAX_LINE + 1, 3 * MAX_LINE])
def test_a_line_too_long(size):
    for data in (f"ip:10.0.0.1\n{'x' * size}\nip:10.0.0.2\n", f"{'x' * size}\nip:10.0.0.1\nip:10.0.0.2"):
        rows = read(data)
        assert canonical(rows) == ["ip:10.0.0.1", "ip:10.0.0.2"]
        assert [code for _, _, code in bad(rows)] == ["too_long"]


def test_a_line_of_the_longest_length_is_read():
    rows = read("identifier,note\nip:10.0.0.1," + "x" * (MAX_LINE - 13) + "\n")
    assert canonical(rows) == ["ip:10.0.0.1"]


def test_a_quote_that_is_not_closed_costs_one_row():
    lines = ["identifier,note", "ip:10.0.0.1,x", 'ip:10.0.0.2,"x', *(f"ip:10.0.1.{n},y" for n in range(200))]
    rows = read("\n".join(lines))
    assert bad(rows) == [(3, "", "csv")]
    assert len(canonical(rows)) == 201


def test_what_is_wrong_with_a_line_is_told_after_a_quote_too():
    assert bad(read(b'identifier,note\nip:10.0.0.1,"x\n\xff\nip:10.0.0.2,y\n')) == [(2, "", "csv"), (3, "", "encoding")]


def test_a_row_of_too_many_lines():
    note = "\n".join("x" * (MAX_LINES + 1))
    assert bad(read(f'identifier,note\nip:10.0.0.1,"{note}"\n'))[0] == (2, "", "csv")
    assert bad(read(f'identifier,note\nip:10.0.0.1,"{note[: 2 * MAX_LINES - 1]}"\n')) == []


def test_line_ends_of_an_old_macintosh():
    assert bad(read("ip:10.0.0.1\rip:10.0.0.2\r")) == [(1, "", "csv")]


# --- files that cannot be read


@pytest.mark.parametrize("data", ["", "\n", " \r\n\n", "identifier\n", "identifier,level\n\n,\n", "\ufeff"])
def test_an_empty_file(data):
    assert refused(data) == "file_empty"


@pytest.mark.parametrize(
    "data",
    [
        "identifier\nip:10.0.0.1\n".encode("utf-16"),
        "identifier\nip:10.0.0.1\n".encode("utf-16-be"),
        "identifier\nip:10.0.0.1\n".encode("utf-16-le"),
        "identifier\nip:10.0.0.1\n".encode("utf-32"),
        b"PK\x03\x04 a workbook",
        b"PAR1 a table",
        b"\x1f\x8b\x08 an archive",
        b"\x00\x01\x02",
    ],
    ids=["utf-16", "utf-16-be", "utf-16-le", "utf-32", "xlsx", "parquet", "gzip", "binary"],
)
def test_a_file_in_another_encoding(data):
    assert refused(data) == "file_encoding"


@pytest.mark.parametrize(
    ("data", "changes"),
    [
        ("level,reason\n", {}),
        ("value\n1\n", {}),
        ("type,level\nphone,high\n", {}),
        ("identifier,level,Level\n", {}),
        ("identifier,identifier\n", {}),
        ("phone,name\n1,2\n", {"column": "number"}),
        ("number,number\n1,2\n", {"column": "number", "type": "phone"}),
        ("phone;level\n1;2\n", {"column": "phone", "type": "phone"}),
    ],
)
def test_a_header_without_a_column_of_identifiers(data, changes):
    assert refused(data, Defaults("telecom_fraud", **changes)) == "no_column"


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "fax"},
        {"type": "canary"},
        {"level": "extreme"},
        {"days": 0},
        {"days": 3651},
        {"region": "XX"},
        {"region": "cn"},
        {"reason": ""},
        {"reason": "a" * 201},
        {"appeal": "a\nb"},
        {"category": "No Category"},
        {"reason": "\\" * 200, "evidence": "\\" * 200, "appeal": "\\" * 200},
    ],
)
def test_a_default_that_no_row_could_take(changes):
    with pytest.raises(InputError) as error:
        check_defaults(Defaults(**{"category": "telecom_fraud"} | changes))
    assert error.value.code == "default_invalid"
    assert refused("ip:10.0.0.1", Defaults(**{"category": "telecom_fraud"} | changes)) == "default_invalid"


# --- whatever comes


@given(st.binary(max_size=300), st.sampled_from([ANY, PHONES, Defaults("telecom_fraud", column="a")]))
def test_any_bytes_give_rows_or_a_refusal(data, defaults):
    try:
        rows = read(data, defaults)
    except InputError:
        return
    lines = [row.line for row in rows]
    assert lines == sorted(set(lines))
    assert rows


SECRET = st.text("ΩЖ語ñ◊0123456789+\"',\n ", min_size=4, max_size=24).filter(lambda t: any(ord(c) > 127 for c in t))


@given(st.lists(st.tuples(SECRET, SECRET), min_size=1, max_size=4), st.sampled_from([ANY, PHONES]))
def test_no_text_of_a_file_is_in_any_message(cells, defaults):
    data = "identifier,days\n" + "".join(f"{first},{second}\n" for first, second in cells)
    for row in read(data, defaults):
        assert not set("ΩЖ語ñ◊") & set(repr(row))


@given(st.lists(st.tuples(st.integers(0, 99), st.sampled_from(["", "x", "a,b", 'say "no"', "two\nlines"])), min_size=1))
def test_what_a_csv_writer_writes_is_read(cells):
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([("identifier", "note")] + [(f"ip:10.0.0.{n}", x) for n, x in cells])
    assert canonical(read(out.getvalue())) == [f"ip:10.0.0.{n}" for n, _ in cells]


class Endless(io.RawIOBase):
    """A file of lines of one length that are made as they are read, from any place."""

    LINE = 95

    def __init__(self, lines):
        self.size = lines * self.LINE
        self.read = 0
        self._at = 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, place, whence=0):
        self._at = place + (0, self._at, self.size)[whence]
        return self._at

    def readinto(self, buffer):
        first, skipped = divmod(self._at, self.LINE)
        last = min(first + 500, self.size // self.LINE)
        made = b"".join(b"+86138%08d,%s\n" % (n, b"x" * 79) for n in range(first, last))[skipped:][: len(buffer)]
        buffer[: len(made)] = made
        self._at += len(made)
        self.read += len(made)
        return len(made)


def test_memory_stays_flat():
    raw = Endless(60_000)
    rows = read_rows(io.BufferedReader(raw), PHONES, NOW)
    next(rows)
    tracemalloc.start()
    count = sum(isinstance(row, Row) for row in rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 59_999
    assert raw.read > 5_000_000
    assert peak < 1_000_000


# --- real lists, where they are

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared lists are not here")


def tally(name, defaults):
    good, codes = 0, {}
    with (SHARED / name).open("rb") as file:
        for row in read_rows(file, defaults, NOW):
            if isinstance(row, Row):
                good += 1
            else:
                codes[row.code] = codes.get(row.code, 0) + 1
    return good, codes


@needs_shared
@pytest.mark.parametrize(
    ("name", "defaults", "least", "most_bad"),
    [
        ("phone/ftc_dnc_added_2025-12-10.txt", Defaults("telecom_fraud", type="phone", region="US"), 8_000, 500),
        ("phone/ch_spam_2025-05-26.txt", Defaults("telecom_fraud", type="phone"), 5_900, 150),
        ("phone/tr_spam_numbers.txt", Defaults("telecom_fraud", type="phone"), 180, 20),
        ("domain/disposable_email_blocklist.conf", Defaults("marketing_cheating", type="domain"), 8_300, 40),
    ],
)
def test_a_real_list(name, defaults, least, most_bad):
    good, codes = tally(name, defaults)
    assert good >= least
    assert sum(codes.values()) <= most_bad, codes


@needs_shared
def test_a_real_list_with_a_header_of_its_own():
    with (SHARED / "phone/ftc_dnc_90days.csv").open("rb") as file:
        head = b"".join(file.readlines(400_000))
    rows = read(head, Defaults("telecom_fraud", type="phone", column="pattern", region="US"))
    good = len(canonical(rows))
    assert good > 0.97 * len(rows) > 20_000
