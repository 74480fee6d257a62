"""From a chunk of a file to rows ready to be stored: read, judge, encrypt. Runs in worker processes.

This is nearly all of the work of an import that is not the database's own, so it runs on all cores, and what comes back
is the very bytes that the database takes. Keys reach a worker through the pipe that starts it; ids and nonces are drawn
there.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import final

from riskshare.membership.record import Record
from riskshare.sharing.entry import ROW_RANDOM, DataKey, content_of
from riskshare.sharing.reading import Reader
from riskshare.sharing.row_place import Chunk
from riskshare.sharing.rows import BadRow, Row
from riskshare.sharing.staged import Piece


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
        random = secrets.token_bytes(ROW_RANDOM * len(rows))
        drawn = [random[start : start + ROW_RANDOM] for start in range(0, len(random), ROW_RANDOM)]
        sealed = self._data_key.seal_rows(self._list_name, [row.identifier.oprf_input for row in rows], drawn)
        tails: dict[int, bytes] = {}  # by identity: rows share their records, which `rows` keeps alive
        head = self._form.head
        parts: list[bytes] = []
        for row, (place, handle, text) in zip(rows, sealed, strict=True):
            tail = tails.get(id(row.record))
            if tail is None:
                tail = tails[id(row.record)] = self._tail(row.record)
            parts += (head(row.line, place, handle, text), tail)
        return b"".join(parts)

    def _tail(self, record: Record) -> bytes:
        case = self._data_key.case_handle(record.case, self._list_name) if record.case else None
        return self._form.tail(record.to_bytes(), content_of(record), record.listed_at, record.valid_until, case)


_workers: dict[str, Preparer] = {}


def start_worker(data_key: bytes, list_name: str, reader: Reader, form: RowForm) -> None:
    """Take what this worker needs for one file: the member's data key (32 bytes), the list's full name."""
    _workers["worker"] = Preparer(DataKey(data_key), list_name, reader, form)


def prepare_in_worker(chunk: Chunk) -> Piece:
    """In a worker: the rows of a chunk."""
    return _workers["worker"].prepare(chunk)
