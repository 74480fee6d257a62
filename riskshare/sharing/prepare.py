"""From a chunk of a file to rows ready to be stored: read, judge, encrypt. Runs in worker processes.

This is nearly all of the work of an import that is not the database's own, so it runs on all cores, and what comes back
is the very bytes that the database takes. Keys reach a worker through the pipe that starts it; ids and nonces are drawn
there.
"""

from __future__ import annotations

import secrets
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, final

from riskshare.membership.record import Record
from riskshare.sharing.entry import NONCE_BYTES, ROW_BYTES, DataKey, content_of
from riskshare.sharing.reading import Reader
from riskshare.sharing.row_place import Chunk
from riskshare.sharing.rows import BadRow, Row
from riskshare.sharing.staged import Piece

_STAMP: Final = struct.Struct(">Q")
_RANDOM: Final = 10


@dataclass(frozen=True, slots=True)
class RowForm:
    """How the store takes rows: functions at the top level of a module, see `store.copy_rows`."""

    head: Callable[[int, bytes, bytes, bytes], bytes]
    tail: Callable[[bytes, bytes, datetime, datetime, bytes | None], bytes]


@final
class Preparer:
    """Prepares the chunks of one file for one list (full name)."""

    def __init__(self, data_key: DataKey, list_name: str, reader: Reader, form: RowForm) -> None:
        self._data_key = data_key
        self._list_name = list_name
        self._reader = reader
        self._form = form

    def prepare(self, chunk: Chunk) -> Piece:
        """The rows of a chunk."""
        good: list[Row] = []
        bad: list[BadRow] = []
        for row in self._reader.read(chunk):
            if type(row) is Row:
                good.append(row)
            else:
                bad.append(row)  # type: ignore[arg-type]  # there are two kinds of rows
        return Piece(chunk.after, len(good) + len(bad), len(good), self._written(good), bad)

    def _written(self, rows: list[Row]) -> bytes:
        ids = _new_ids(len(rows))
        drawn = secrets.token_bytes(NONCE_BYTES * len(rows))
        nonces = [drawn[start : start + NONCE_BYTES] for start in range(0, len(drawn), NONCE_BYTES)]
        sealed = self._data_key.seal_rows(self._list_name, [row.identifier.oprf_input for row in rows], ids, nonces)
        tails: dict[int, bytes] = {}  # by identity: rows share their records, which `rows` keeps alive
        head = self._form.head
        parts: list[bytes] = []
        for row, place, (handle, text) in zip(rows, ids, sealed, strict=True):
            tail = tails.get(id(row.record))
            if tail is None:
                tail = tails[id(row.record)] = self._tail(row.record)
            parts += (head(row.line, place, handle, text), tail)
        return b"".join(parts)

    def _tail(self, record: Record) -> bytes:
        case = self._data_key.case_handle(record.case, self._list_name) if record.case else None
        return self._form.tail(record.to_bytes(), content_of(record), record.listed_at, record.valid_until, case)


def _new_ids(count: int) -> list[bytes]:
    """Fresh UUIDv7 (RFC 9562, 5.7) of one millisecond, in ascending order as far as their time goes."""
    stamp = _STAMP.pack(time.time_ns() // 1_000_000)[2:]
    drawn = secrets.token_bytes(_RANDOM * count)
    found = []
    for start in range(0, len(drawn), _RANDOM):
        part = drawn[start : start + _RANDOM]
        found.append(stamp + bytes((0x70 | part[0] & 0x0F, part[1], 0x80 | part[2] & 0x3F)) + part[3:])
    assert all(len(one) == ROW_BYTES for one in found[:1])
    return found


_workers: dict[str, Preparer] = {}


def start_worker(data_key: bytes, list_name: str, reader: Reader, form: RowForm) -> None:
    """Take what this worker needs for one file: the member's data key (32 bytes), the list's full name."""
    _workers["worker"] = Preparer(DataKey(data_key), list_name, reader, form)


def prepare_in_worker(chunk: Chunk) -> Piece:
    """In a worker: the rows of a chunk."""
    return _workers["worker"].prepare(chunk)
