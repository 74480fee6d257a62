"""What a member shows of its log to an auditor: for each entry the salt, the statement and its signature (pure).

A member's folder holds its log as `ledger.export` writes it (`checkpoint`, `policy`, `tile/…`), and beside it

    statements/range.cbor              which part of the log is shown (`AuditRange`)
    statements/000000000000.cbor       pages (`StatementPage`), each named by its first index in 12 digits

The checkpoint of the folder is the one at which the part ends. A page covers the indices from `first` to before
`next`; the next page begins there, and the last one ends at the size of the checkpoint. From `AuditRange.start` on
every entry has its row; before it only those of `STANDING` kinds do, whenever they were made: what an exchange of the
period rests on.

| kind | statement | signature |
|---|---|---|
| `receipt` | the CBOR array of both halves | none: they are in it |
| `unanswered` | the ask | that of the ask |
| `check`, `snapshot`, `epoch`, `audit` | the JSON | that of the statement |
| `registry` | the JSON | the whole registry file |
| `settlement` | the JSON | the two signatures, first and second member's |

`note` is a word of the member's own, not in the log: `adopted` for a receipt that it learned of after a crash, and for
receipts the `side` on which it stood. It is believed for nothing but for how something is counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from riskshare.encoding import MAX_SAFE_INTEGER, cbor_decode, cbor_encode, cbor_head, format_time, parse_time
from riskshare.errors import EncodingError
from riskshare.ledger.leaf import ENTRY_BYTES, KINDS, MAX_STATEMENT, Leaf
from riskshare.ledger.tile import WIDTH, Bundle
from riskshare.statement import SALT_BYTES

FOLDER: Final = "statements"
RANGE_FILE: Final = f"{FOLDER}/range.cbor"

LEAD: Final = timedelta(minutes=5)
"""So long before the period the checkpoint of `AuditRange.start` had its quorum."""

SETTLED: Final = timedelta(minutes=10)
"""The part that is shown ends at the first final checkpoint signed so long after the period: what an exchange of its
last minute leaves behind stands in the log by then."""

STANDING: Final = frozenset({"epoch", "registry"})
"""Kinds of entries that are shown whenever they were made."""

NOTES: Final = frozenset({"", "owner", "querier", "adopted"})
"""Words beside a row; `owner` and `querier` say on which side of a receipt the member stood."""

MAX_RANGE_BYTES: Final = 256 * 1024
"""Longest `AuditRange` that is read."""

MAX_ROWS: Final = 2_048
PAGE_BYTES: Final = 4 * 1024 * 1024
"""A page is closed when it has so many bytes."""

MAX_PAGE_BYTES: Final = PAGE_BYTES + 2 * MAX_STATEMENT + 65_536
"""Longest page that is read: one row of the largest size may stand behind `PAGE_BYTES`."""

_PAGE_KEYS: Final = ["next", "rows", "first"]
"""In the order of deterministic CBOR: shorter keys first."""

_FRAME: Final = 1 + sum(1 + len(key) for key in _PAGE_KEYS)
_WORDS: Final = {(kind, note): 1 + 1 + len(kind) + 1 + SALT_BYTES + 1 + len(note) for kind in KINDS for note in NOTES}
"""Bytes of a row with this kind and note, but for index, statement and signature: all of these are short."""

_RANGE_KEYS: Final = frozenset({"before", "checkpoint", "from", "start", "to"})
_NAME: Final = re.compile(rf"{FOLDER}/([0-9]{{12}})\.cbor")


@dataclass(frozen=True, slots=True)
class StatementRow:
    """One entry: index, kind, salt (16 bytes), statement, what signs it beside the statement, and a note."""

    index: int
    kind: str
    salt: bytes = field(repr=False)
    statement: bytes = field(repr=False)
    signature: bytes = field(default=b"", repr=False)
    note: str = ""

    @property
    def entry(self) -> bytes:
        """The entry that stands in the log if the row is true, 32 bytes."""
        return Leaf(self.kind, self.salt, self.statement).entry


@dataclass(frozen=True, slots=True)
class StatementPage:
    """Rows of a part of the log: `first` ≤ index < `next`, growing."""

    first: int
    next: int
    rows: tuple[StatementRow, ...]

    @property
    def path(self) -> str:
        """Where the page lies in a member's folder."""
        return page_path(self.first)

    def covers(self, start: int) -> bool:
        """Whether it has a row of each of its indices from `start` on, and before only of `STANDING` kinds."""
        below = [row for row in self.rows if row.index < start]
        shown = [row.index for row in self.rows if row.index >= start]
        return all(row.kind in STANDING for row in below) and shown == list(range(max(start, self.first), self.next))

    def to_bytes(self) -> bytes:
        """The CBOR map."""
        rows = [[row.index, row.kind, row.salt, row.statement, row.signature, row.note] for row in self.rows]
        return cbor_encode({"first": self.first, "next": self.next, "rows": rows})


@dataclass(frozen=True, slots=True)
class AuditRange:
    """Which part of a log is shown for a period (`opened` ≤ t < `closed`).

    `before` is the note of the final checkpoint of `start` entries: its cosignatures say that these stood there before
    the period (b"" if `start` is 0). `checkpoint` is the note of the final checkpoint at which the part ends.
    """

    opened: datetime
    closed: datetime
    start: int
    before: bytes = field(repr=False)
    checkpoint: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        """The CBOR map."""
        return cbor_encode(
            {
                "before": self.before,
                "checkpoint": self.checkpoint,
                "from": format_time(self.opened),
                "start": self.start,
                "to": format_time(self.closed),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> AuditRange:
        """Read what `to_bytes` wrote; the notes are not looked into. Raises EncodingError."""
        parts: Any = cbor_decode(data, limit=MAX_RANGE_BYTES)
        if type(parts) is not dict or parts.keys() != _RANGE_KEYS:
            raise EncodingError("The range of an audit has not exactly the fields of one.")
        start, before, checkpoint = parts["start"], parts["before"], parts["checkpoint"]
        if type(before) is not bytes or type(checkpoint) is not bytes or not checkpoint:
            raise EncodingError("The range of an audit names no checkpoint.")
        if type(start) is not int or not 0 <= start <= MAX_SAFE_INTEGER or bool(start) != bool(before):
            raise EncodingError("The range of an audit begins at no checkpoint.")
        opened, closed = parse_time(parts["from"]), parse_time(parts["to"])
        if not opened < closed:
            raise EncodingError("The period of an audit ends before it begins.")
        return cls(opened, closed, start, before, checkpoint)


def page_path(first: int) -> str:
    """Where the page that begins at an index lies in a member's folder."""
    return f"{FOLDER}/{first:012d}.cbor"


def first_of(path: str) -> int | None:
    """The first index of the page at a path, or None if no page lies there."""
    found = _NAME.fullmatch(path)
    return None if found is None else int(found[1])


def make_page(first: int, following: int, rows: Iterable[StatementRow]) -> StatementPage:
    """A page of as many of the rows as have room; `following` is its `next` if all have."""
    taken: list[StatementRow] = []
    size = 0
    for row in rows:
        if len(taken) == MAX_ROWS or size >= PAGE_BYTES:
            return StatementPage(first, row.index, tuple(taken))
        taken.append(row)
        size += len(row.statement) + len(row.signature) + 64
    return StatementPage(first, following, tuple(taken))


def read_statements(data: bytes) -> StatementPage:
    """Read a page, strictly; nothing is verified.

    Raises:
        EncodingError: not such a page; indices that do not grow, or lie outside of it; an unknown kind or note.

    """
    first, following, rows = read_rows(data)
    return StatementPage(first, following, tuple(StatementRow(*row) for row in rows))


def read_rows(data: bytes) -> tuple[int, int, list[list[Any]]]:
    """As `read_statements`, for whoever reads millions of rows: `first`, `next`, and of each row the fields in order.

    Raises:
        EncodingError: as `read_statements`.

    """
    parts = cbor_decode(data, limit=MAX_PAGE_BYTES, measure=_measure_page)
    return parts["first"], parts["next"], parts["rows"]


def page_at(read: Callable[[str, int], bytes | None], first: int, start: int, size: int) -> StatementPage | None:
    """The page of a member's folder that begins at an index, if it is right for a part: else None.

    `read` gives the bytes of a file of the folder, cut behind so many and one more, or None. Right is a page that
    `covers` the part from `start` to within `size` entries, with rows that are those of the bundles beside it.
    """
    data = read(page_path(first), MAX_PAGE_BYTES)
    if data is None:
        return None
    try:
        page = read_statements(data)
    except EncodingError:
        return None
    if page.first != first or page.next > size or not page.covers(start):
        return None
    return page if _stands(page, size, read) else None


def _stands(page: StatementPage, size: int, read: Callable[[str, int], bytes | None]) -> bool:
    """Whether every row of the page is the entry at its index, by the bundles of the folder."""
    bundles: dict[int, bytes] = {}
    for row in page.rows:
        index, place = divmod(row.index, WIDTH)
        if index not in bundles:
            bundle = Bundle(index, min(WIDTH, size - index * WIDTH))
            bundles[index] = read(bundle.path, bundle.length) or b""
        at = place * (2 + ENTRY_BYTES) + 2
        if bundles[index][at : at + ENTRY_BYTES] != row.entry:
            return False
    return True


def stale_pages(paths: Iterable[str], firsts: Collection[int]) -> list[str]:
    """Of the paths below `statements/`, those of pages that begin nowhere in `firsts`, and of half-written files."""
    found = [(path, first_of(path.removesuffix(".new"))) for path in paths]
    return [path for path, first in found if first is not None and (path.endswith(".new") or first not in firsts)]


def _measure_page(parts: Any) -> int:
    """Look at every part of a page, and give the length that it must have: see `encoding.cbor_decode`."""
    if type(parts) is not dict or list(parts) != _PAGE_KEYS:
        raise EncodingError("A page of statements has not exactly the fields of one.")
    first, following, rows = parts["first"], parts["next"], parts["rows"]
    if type(first) is not int or type(following) is not int or not 0 <= first < following <= MAX_SAFE_INTEGER:
        raise EncodingError("A page of statements covers no part of a log.")
    if type(rows) is not list or len(rows) > MAX_ROWS:
        raise EncodingError(f"A page of statements has more than {MAX_ROWS:,} rows.")
    length = _FRAME + cbor_head(first) + cbor_head(following) + cbor_head(len(rows))
    before = first - 1
    for row in rows:
        index, size = _measure_row(row)
        if index <= before:
            raise EncodingError("The indices on a page of statements do not grow, or lie outside of it.")
        before = index
        length += size
    if before >= following:
        raise EncodingError("A page of statements has rows outside of the part that it covers.")
    return length


def _measure_row(row: Any) -> tuple[int, int]:
    """The index of a row, and its length."""
    if type(row) is not list or len(row) != 6:
        raise EncodingError("A row of a page of statements has not the parts of one.")
    index, kind, salt, statement, signature, note = row
    if (
        type(index) is not int
        or type(kind) is not str
        or type(salt) is not bytes
        or type(statement) is not bytes
        or type(signature) is not bytes
        or type(note) is not str
    ):
        raise EncodingError("A row of a page of statements has not the parts of one.")
    words = _WORDS.get((kind, note))
    if words is None or len(salt) != SALT_BYTES:
        raise EncodingError("A row of a page of statements has an unknown kind or note, or a salt of another length.")
    long, signed = len(statement), len(signature)
    return index, words + cbor_head(index) + cbor_head(long) + long + cbor_head(signed) + signed
