"""The members' folders of a case, read entry by entry: what evidence is made of.

members/<member>/   a log as `ledger.export` writes it, and its statements
held/<digest>.cbor  signed statements that are on no ledger, as somebody showed them
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from pathlib import Path
from typing import Final, final

from riskshare.audit.page import (
    FOLDER,
    MAX_PAGE_BYTES,
    RANGE_FILE,
    AuditRange,
    StatementPage,
    StatementRow,
    first_of,
    page_path,
    read_statements,
)
from riskshare.errors import DiskError, LedgerError
from riskshare.ledger.checkpoint import parse_signed
from riskshare.ledger.proof import inclusion_nodes, prove_inclusion
from riskshare.ledger.tile import WIDTH, Tile, TileReader, prefix, tiles_of
from riskshare.store.log_folder import LogFolder

MEMBERS: Final = "members"
HELD: Final = "held"

_MOST_HELD: Final = 2 << 20
_PAGES_KEPT: Final = 8


@final
class CaseFolders:
    """The folders of all members of a case."""

    def __init__(self, case: Path) -> None:
        self._case = case
        self._firsts = lru_cache(maxsize=1024)(self._find_firsts)
        self._page = lru_cache(maxsize=_PAGES_KEPT)(self._read_page)
        self._range = lru_cache(maxsize=1024)(self._read_range)

    def row(self, member: str, index: int) -> StatementRow | None:
        """What a member shows of an entry of its log; None: nothing. Raises DiskError, EncodingError."""
        firsts = self._firsts(member)
        place = bisect_right(firsts, index) - 1
        if place < 0:
            return None
        page = self._page(member, firsts[place])
        return next((row for row in page.rows if row.index == index), None)

    def note(self, member: str, *, early: bool) -> bytes:
        """The checkpoint at which the part shown ends, or with which it begins. Raises as `row`."""
        shown = self._range(member)
        return shown.before if early else shown.checkpoint

    def proof(self, member: str, index: int, *, early: bool) -> tuple[bytes, ...]:
        """The proof that an entry stands in the log of that checkpoint.

        Raises:
            DiskError, EncodingError: the folder cannot be read.
            LedgerError: a part of the log is missing.

        """
        size = parse_signed(self.note(member, early=early)).checkpoint.size
        if index >= size:
            raise LedgerError(f"Entry {index:,} is beyond the part of the log that is shown.", code="missing_part")
        # Of the tiles, the folder has those of the whole log that it shows: a smaller tree is in them too.
        shown = parse_signed(self.note(member, early=False)).checkpoint.size
        places = tiles_of(inclusion_nodes(index, size), shown)
        folder = self._folder(member)
        return prove_inclusion(index, size, TileReader({place: _tile(folder, place) for place in places}).read)

    def held(self, digest: bytes) -> bytes | None:
        """A signed statement that somebody showed, as it travels. Raises DiskError."""
        return read_held(self._case, digest)

    def keep(self, digest: bytes, wire: bytes) -> None:
        """Keep such a statement, in place of what was there. Raises DiskError."""
        LogFolder(self._case / HELD, private=True).write(held_name(digest), wire)

    def _folder(self, member: str) -> LogFolder:
        return LogFolder(self._case / MEMBERS / member)

    def _find_firsts(self, member: str) -> list[int]:
        folder = self._case / MEMBERS / member / FOLDER
        try:
            names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        except OSError as error:
            raise DiskError(f"{folder} cannot be read: {error.strerror}. Check its owner and rights.") from error
        return sorted(first for name in names if (first := first_of(f"{FOLDER}/{name}")) is not None)

    def _read_page(self, member: str, first: int) -> StatementPage:
        data = self._folder(member).read(page_path(first), MAX_PAGE_BYTES)
        if data is None:
            raise LedgerError(f"A page of the statements of {member} has gone.", code="missing_part")
        return read_statements(data)

    def _read_range(self, member: str) -> AuditRange:
        data = self._folder(member).read(RANGE_FILE, MAX_PAGE_BYTES)
        if data is None:
            raise LedgerError(f"The folder of {member} does not say what it shows.", code="missing_part")
        return AuditRange.from_bytes(data)


def held_name(digest: bytes) -> str:
    """The name of the file of a statement that is on no ledger, below `held/`."""
    return f"{digest.hex()}.cbor"


def read_held(folder: Path, digest: bytes) -> bytes | None:
    """The statement of that digest below `held/` of a folder; nothing of it is verified. Raises DiskError."""
    found = LogFolder(folder / HELD).read(held_name(digest), _MOST_HELD)
    return None if found is None or len(found) > _MOST_HELD else found


def _tile(folder: LogFolder, place: Tile) -> bytes:
    """A tile; a partial one may be there only as the full one."""
    found = folder.read(place.path, place.length)
    if found is None:
        full = Tile(place.level, place.index, WIDTH)
        wider = folder.read(full.path, full.length)
        found = None if wider is None else prefix(place, wider)
    if found is None:
        raise LedgerError(f"{place.path} is missing in the folder.", code="missing_part")
    return found
