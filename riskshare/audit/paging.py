"""One page of statements, verified from its bytes: the work of replay's processes.

Everything that is done once for each row stands here, and nothing that looks at more than one page. What comes back to
the main process are rows for the case database, and what does not hold (`Flaw`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple, Protocol

from riskshare.audit.fact import MINUTE, Flaw, RegistryRow, facts_of_receipt, read_receipt
from riskshare.audit.keyring import Keyring
from riskshare.audit.page import MAX_PAGE_BYTES, STANDING, StatementPage, StatementRow, page_path, read_statements
from riskshare.audit.receipts import verified
from riskshare.audit.statements import Refused, Shown, read_statement
from riskshare.encoding import sha256
from riskshare.errors import EncodingError
from riskshare.ledger.bundle import decode_entries
from riskshare.ledger.tile import HEIGHT, WIDTH, Bundle, prefix
from riskshare.registry.network import KIND as REGISTRY
from riskshare.registry.network import MAX_FILE
from riskshare.registry.signed import read_file

WAITING: Final = frozenset({"querier", "adopted"})
"""Notes of receipts that are verified where they stand in the owner's log, if that is shown too."""


class Files(Protocol):
    """A member's folder; it can be pickled. Raises DiskError."""

    def read(self, path: str, limit: int) -> bytes | None:
        """The bytes of a file, cut behind `limit` + 1 of them; None if there is no such file."""


class PageJob(NamedTuple):
    """A page to verify: whose, from `first` to before `next`, of a log of `size` entries that is shown from `start`.

    With `wanted`, only the signatures of receipts at these indices are verified, and nothing else is looked at.
    """

    files: Files
    member: str
    first: int
    next: int
    start: int
    size: int
    wanted: frozenset[int] | None = None


@dataclass(slots=True)
class PageFacts:
    """What a page gave. `tables` are rows by table, `registries` files of versions that are not known."""

    member: str
    next: int
    tables: dict[str, list[tuple[Any, ...]]] = field(default_factory=lambda: defaultdict(list))
    activity: dict[int, list[int]] = field(default_factory=dict)
    tallies: Counter[str] = field(default_factory=Counter)
    flaws: list[Flaw] = field(default_factory=list)

    def flaw(self, step: str, kind: str, index: int, sentence: str) -> None:
        """Something does not hold."""
        self.flaws.append(Flaw(self.member, step, kind, index, sentence))

    def act(self, at: int, receipts: int, checks: int, elements: int) -> None:
        """Something of this minute stands in the log."""
        bucket = at - at % MINUTE
        counts = self.activity.get(bucket)
        if counts is None:
            counts = self.activity[bucket] = [0, 0, 0]
        counts[0] += receipts
        counts[1] += checks
        counts[2] += elements


class Looking:
    """What a process knows: whose keys are whose, and whose logs are shown."""

    def __init__(self, ring: Keyring, shown: frozenset[str]) -> None:
        self._ring = ring
        self._shown = shown

    def page(self, job: PageJob) -> PageFacts:
        """Verify a page.

        Raises:
            DiskError: the folder cannot be read.
            LedgerError: a bundle is not whole, though it was when the log was derived.

        """
        facts = PageFacts(job.member, job.next)
        page = _read_page(job, facts)
        if page is None:
            return facts
        if job.wanted is not None:
            self._wanted(page, job.wanted, facts)
            return facts
        entries = _Entries(job)
        for row in _in_range(page, job, facts):
            if not _stands(row, entries, facts):
                continue
            facts.tallies[row.kind] += 1
            if row.kind == "receipt":
                self._receipt(row, facts)
            elif row.kind == REGISTRY:
                _registry(row, facts)
            else:
                self._statement(row, facts)
        return facts

    def _wanted(self, page: StatementPage, wanted: frozenset[int], facts: PageFacts) -> None:
        for row in page.rows:
            if row.index in wanted:
                self._verify(row, facts)

    def _receipt(self, row: StatementRow, facts: PageFacts) -> None:
        try:
            receipt = read_receipt(row.statement)
        except EncodingError:
            exchange = facts_of_receipt(row.statement)
            facts.tables["exchange"].append(tuple(exchange))
            facts.tables["receipt"].append((facts.member, row.index, exchange.id, row.note))
            return
        exchange = receipt.exchange
        facts.tables["receipt"].append((facts.member, row.index, exchange.id, row.note))
        facts.act(exchange.answered_at, 1, 0, exchange.count)
        if facts.member not in (exchange.querier, exchange.owner):
            facts.flaw("7", "wrong_statement", row.index, "it is an exchange of two other members")
        if row.note in WAITING and exchange.owner != facts.member and exchange.owner in self._shown:
            facts.tallies["waiting"] += 1
            return
        self._add(verified(receipt, self._ring), receipt.snapshots, facts)

    def _verify(self, row: StatementRow, facts: PageFacts) -> None:
        """A receipt that waited for an owner that does not have it."""
        receipt = read_receipt(row.statement)
        self._add(verified(receipt, self._ring), receipt.snapshots, facts)

    @staticmethod
    def _add(exchange: Any, snapshots: tuple[tuple[str, bytes], ...], facts: PageFacts) -> None:
        facts.tables["exchange"].append(tuple(exchange))
        facts.tables["named_snapshot"] += [
            (exchange.querier, exchange.owner, name, digest, exchange.id) for name, digest in snapshots
        ]

    def _statement(self, row: StatementRow, facts: PageFacts) -> None:
        shown = Shown(facts.member, row.index, row.kind, row.statement, row.signature)
        try:
            read = read_statement(shown, self._ring)
        except Refused as refused:
            facts.flaw("6", refused.kind, row.index, refused.sentence)
            return
        facts.tables[read.table].append(tuple(read.row))
        if read.at is not None:
            facts.act(read.at, 0, int(row.kind == "check"), 0)


def _registry(row: StatementRow, facts: PageFacts) -> None:
    """A version of the registry: whether it is one of the chain is seen where the chain is."""
    try:
        file = read_file(REGISTRY, row.signature, limit=MAX_FILE)
        version = file.body.get("version")
        if file.json != row.statement or type(version) is not int:
            raise EncodingError("The file beside it is another one.")
    except EncodingError as error:
        facts.flaw("5", "wrong_statement", row.index, f"it is no version of the registry: {error.message}")
        return
    facts.tables["registry"].append(tuple(RegistryRow(facts.member, row.index, version, sha256(row.statement))))


# -- the rows of a page, and the entries of the log -------------------------------------------------


def _read_page(job: PageJob, facts: PageFacts) -> StatementPage | None:
    path = page_path(job.first)
    data = job.files.read(path, MAX_PAGE_BYTES)
    if data is None:
        facts.flaw("4", "withheld", job.first, f"{path} is missing")
        return None
    try:
        page = read_statements(data)
    except EncodingError as error:
        facts.flaw("4", "withheld", job.first, f"{path} cannot be read: {error.message}")
        return None
    if (page.first, page.next) != (job.first, job.next):
        facts.flaw("4", "withheld", job.first, f"{path} covers another part of the log than its place says")
        return None
    return page


def _in_range(page: StatementPage, job: PageJob, facts: PageFacts) -> Iterator[StatementRow]:
    """The rows that must be there, and those before `start` that may; each gap is told."""
    expected = max(job.first, job.start)
    for row in page.rows:
        if row.index < job.start:
            if row.kind in STANDING:
                yield row
            continue
        if row.index != expected:
            _gap(expected, row.index, facts)
        expected = row.index + 1
        yield row
    if expected < job.next:
        _gap(expected, job.next, facts)


def _gap(first: int, following: int, facts: PageFacts) -> None:
    more = f", and {following - first - 1:,} more behind it" if following - first > 1 else ""
    facts.flaw("4", "withheld", first, f"it is not shown what it stands for{more}")


class _Entries:
    """The entries of a log, read bundle by bundle as rows ask for them."""

    def __init__(self, job: PageJob) -> None:
        self._files = job.files
        self._size = job.size
        self._index = -1
        self._entries: tuple[bytes, ...] = ()

    def __getitem__(self, index: int) -> bytes:
        """Raises LedgerError: the bundle is not there, or malformed."""
        if index >> HEIGHT != self._index:
            self._index = index >> HEIGHT
            self._entries = self._read(Bundle(self._index, min(WIDTH, self._size - (self._index << HEIGHT))))
        return self._entries[index - (self._index << HEIGHT)]

    def _read(self, bundle: Bundle) -> tuple[bytes, ...]:
        data = self._files.read(bundle.path, bundle.length)
        if data is None:
            full = replace(bundle, width=WIDTH)
            data = prefix(bundle, self._files.read(full.path, full.length) or b"")
        return decode_entries(bundle, data)


def _stands(row: StatementRow, entries: _Entries, facts: PageFacts) -> bool:
    """Whether salt, kind and statement give the entry at the row's index."""
    if sha256(row.salt + row.kind.encode() + b"\n" + row.statement) == entries[row.index]:
        return True
    facts.flaw("4", "wrong_statement", row.index, f"the {row.kind} that is shown for it is not what stands there")
    return False


# -- in a process ----------------------------------------------------------------------------------------

_looking: list[Looking] = []


def start_worker(ring: Keyring, shown: frozenset[str]) -> None:
    """First in each process: what it must know."""
    _looking[:] = [Looking(ring, shown)]


def page_in_worker(job: PageJob) -> PageFacts:
    """Verify a page in a process that `start_worker` prepared. Raises DiskError."""
    return _looking[0].page(job)
