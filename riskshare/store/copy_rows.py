"""Rows of an import in the binary form of COPY (PostgreSQL manual, COPY, "Binary Format").

Worker processes write it, so that the process that passes the rows on does nothing for each of them. A row is a head of
its own and a tail that rows with the same record share.
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from typing import Final

COLUMNS: Final = (
    "line",
    "id",
    "handle",
    "sealed",
    "record",
    "content",
    "valid_from",
    "valid_until",
    "case_handle",
)
START: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
END: Final = b"\xff\xff"

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_HEAD: Final = struct.Struct(">hiqi16si32si")
_LENGTH: Final = struct.Struct(">i")
_TIMES: Final = struct.Struct(">iqiq")
_NULL: Final = _LENGTH.pack(-1)


def head(line: int, row: bytes, handle: bytes, sealed: bytes) -> bytes:
    """The first four columns: line, id (16 bytes), handle (32 bytes), sealed identifier."""
    return _HEAD.pack(len(COLUMNS), 8, line, 16, row, 32, handle, len(sealed)) + sealed


def tail(record: bytes, content: bytes, valid_from: datetime, valid_until: datetime, case: bytes | None) -> bytes:
    """The others: record, content, the two times, and the handle of the case (32 bytes) or None."""
    return b"".join(
        (
            _LENGTH.pack(len(record)),
            record,
            _LENGTH.pack(len(content)),
            content,
            _TIMES.pack(8, (valid_from - _EPOCH) // _MICROSECOND, 8, (valid_until - _EPOCH) // _MICROSECOND),
            _NULL if case is None else _LENGTH.pack(len(case)) + case,
        )
    )
