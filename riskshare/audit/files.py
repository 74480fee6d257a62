"""A member's folder, read as replay reads it: files by their paths, bundles, tiles, and rows (pure)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from riskshare.audit.page import MAX_PAGE_BYTES, StatementRow, page_path, read_statements
from riskshare.errors import EncodingError
from riskshare.ledger.tile import WIDTH, Bundle, Tile, prefix


class Files(Protocol):
    """A member's folder; it can be pickled. Raises DiskError."""

    def read(self, path: str, limit: int) -> bytes | None:
        """The bytes of a file, cut behind `limit` + 1 of them; None if there is no such file."""


class MemberFiles(Files, Protocol):
    """One that tells which pages there are. Raises DiskError."""

    def firsts(self) -> Sequence[int]:
        """The first indices of all pages of statements, in order."""


def read_tile(files: Files, place: Tile) -> bytes:
    """A tile, as wide as it is asked for. Raises LedgerError: it is not there, or shorter."""
    return _read(files, place, replace(place, width=WIDTH))


def read_bundle(files: Files, place: Bundle) -> bytes:
    """A bundle, as wide as it is asked for. Raises LedgerError: it is not there, or shorter."""
    return _read(files, place, replace(place, width=WIDTH))


def _read(files: Files, place: Tile | Bundle, full: Tile | Bundle) -> bytes:
    data = files.read(place.path, place.length)
    if data is None and place != full:
        # A partial one may be deleted once the full one is there (tlog-tiles).
        return prefix(place, files.read(full.path, full.length) or b"")
    if data is not None and len(data) > place.length:
        data = b""
    return prefix(place, data or b"")


def page_with(files: MemberFiles, index: int) -> bytes | None:
    """The bytes of the page on which the row of an entry must stand, if there is one."""
    firsts = files.firsts()
    place = bisect_right(firsts, index) - 1
    return files.read(page_path(firsts[place]), MAX_PAGE_BYTES) if place >= 0 else None


def row_at(files: MemberFiles, index: int) -> StatementRow | None:
    """The row that is shown for an entry, if there is one that can be read."""
    data = page_with(files, index)
    try:
        page = None if data is None else read_statements(data)
    except EncodingError:
        return None
    return None if page is None else next((row for row in page.rows if row.index == index), None)
