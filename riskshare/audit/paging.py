"""One page of statements, verified from its bytes: the work of replay's processes.

Everything that is done once for each row stands here, and nothing that looks at more than one page. What comes back to
the main process are rows for the case database, and what does not hold (`Flaw`).
"""

from __future__ import annotations

import gc
import marshal
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256 as hash_of
from typing import Any, Final, NamedTuple

from riskshare.audit.fact import MALFORMED, MINUTE, Exchange, Flaw, facts_of_receipt, glance_at, read_receipt
from riskshare.audit.files import Files, read_bundle
from riskshare.audit.keyring import Keyring
from riskshare.audit.page import MAX_PAGE_BYTES, STANDING, page_path, read_rows
from riskshare.audit.receipts import verified
from riskshare.audit.statements import Refused, Shown, read_statement
from riskshare.encoding import sha256
from riskshare.errors import EncodingError
from riskshare.ledger.bundle import decode_entries
from riskshare.ledger.leaf import KINDS
from riskshare.ledger.tile import HEIGHT, WIDTH, Bundle

_KINDS: Final = {kind: kind.encode() + b"\n" for kind in KINDS}
"""What stands between salt and statement in the bytes that are hashed to an entry."""

GARBAGE: Final = 100_000
"""So many more objects than before make Python look for circles of them. Rows are none, and there are thousands of rows
at a time: to look for circles among them all the while takes a tenth of the time."""

WAITING: Final = frozenset({"querier", "adopted"})
"""Notes of receipts that are verified where they stand in the owner's log, if that is shown too."""


class PageJob(NamedTuple):
    """A page to verify: whose, from `first` to before `next`, of a log of `size` entries that is shown from `start`.

    `shown` are the members whose logs are shown, `ring` has the keys of all. With `wanted`, receipts at these indices
    are verified, and nothing else is looked at.
    """

    files: Files
    member: str
    first: int
    next: int
    start: int
    size: int
    shown: frozenset[str]
    ring: Keyring
    wanted: frozenset[int] | None = None


@dataclass(slots=True)
class PageFacts:
    """What a page gave: `tables` are rows by table, `named` snapshots with one exchange that names each."""

    member: str
    next: int
    tables: defaultdict[str, list[tuple[Any, ...]]] = field(default_factory=partial(defaultdict, list))
    named: dict[tuple[str, str, str, bytes], bytes] = field(default_factory=dict)
    activity: dict[int, list[int]] = field(default_factory=dict)
    tallies: Counter[str] = field(default_factory=Counter)
    waiting: int = 0
    flaws: list[Flaw] = field(default_factory=list)

    def __reduce__(self) -> tuple[Callable[[bytes], PageFacts], tuple[bytes]]:
        """As it travels: `marshal` writes and reads thousands of plain rows in a third of the time of `pickle`."""
        plain = dict(self.tables), self.named, self.activity, dict(self.tallies), self.waiting
        flaws = [tuple(flaw) for flaw in self.flaws]
        return _arrived, (marshal.dumps((self.member, self.next, *plain, flaws)),)

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


def _arrived(data: bytes) -> PageFacts:
    # What a worker of ours wrote, in the pickle that this stands in.
    member, following, tables, named, activity, tallies, waiting, flaws = marshal.loads(data)  # noqa: S302
    found = defaultdict(list, tables)
    return PageFacts(member, following, found, named, activity, Counter(tallies), waiting, list(map(Flaw._make, flaws)))


class Looking:
    """Looks at a page, and knows whose keys are whose."""

    def __init__(self, ring: Keyring) -> None:
        self._ring = ring

    def page(self, job: PageJob) -> PageFacts:
        """Verify a page.

        Raises:
            DiskError: the folder cannot be read.
            LedgerError: a bundle is not whole, though it was when the log was derived.

        """
        facts = PageFacts(job.member, job.next)
        rows = _read_page(job, facts)
        if job.wanted is not None:
            for index, _, _, statement, _, _ in rows:
                if index in job.wanted:
                    self._verify(statement, facts)
            return facts
        receipts = facts.tables["receipt"]
        for row in _standing(rows, job, facts):
            kind = row[1]
            if kind == "receipt":
                index, _, _, statement, _, note = row
                known = self._waits(statement, note, job, facts) or self._receipt(index, statement, facts)
                receipts.append((job.member, index, known, note))
            elif kind == "registry":
                _registry(row, facts)
            else:
                self._statement(row, facts)
        return facts

    def _waits(self, statement: bytes, note: str, job: PageJob, facts: PageFacts) -> bytes | None:
        """The id of a receipt that is verified in its owner's log; None if it must be verified here."""
        if note not in WAITING:
            return None
        glance = glance_at(statement)
        if (
            glance is None
            or glance.querier != job.member
            or glance.owner not in job.shown
            or glance.owner == job.member
        ):
            return None
        facts.act(glance.answered_at, 1, 0, glance.elements)
        facts.waiting += 1
        return hash_of(statement).digest()

    def _receipt(self, index: int, statement: bytes, facts: PageFacts) -> bytes:
        """Verify a receipt here; gives its id."""
        exchange = self._verify(statement, facts)
        if exchange.faults & MALFORMED:
            return exchange.id
        facts.act(exchange.answered_at, 1, 0, exchange.count)
        if facts.member not in (exchange.querier, exchange.owner):
            facts.flaw("7", "wrong_statement", index, "it is an exchange of two other members")
        return exchange.id

    def _verify(self, statement: bytes, facts: PageFacts) -> Exchange:
        try:
            receipt = read_receipt(statement)
        except EncodingError:
            exchange = facts_of_receipt(statement)
        else:
            exchange = verified(receipt, self._ring)
            for name, digest in receipt.snapshots:
                facts.named.setdefault((exchange.querier, exchange.owner, name, digest), exchange.id)
        facts.tables["exchange"].append(tuple(exchange))
        return exchange

    def _statement(self, row: Sequence[Any], facts: PageFacts) -> None:
        index, kind, _, statement, signature, _ = row
        shown = Shown(facts.member, index, kind, statement, signature)
        try:
            read = read_statement(shown, self._ring)
        except Refused as refused:
            facts.flaw("6", refused.kind, index, refused.sentence)
            return
        facts.tables[read.table].append(tuple(read.row))
        if read.at is not None:
            facts.act(read.at, 0, int(kind == "check"), 0)


def _registry(row: Sequence[Any], facts: PageFacts) -> None:
    """A version of the registry: whether it is one of the chain is seen where the chain is."""
    # Each process would load it at its start, for a row that next to none of them sees.
    from riskshare.registry.network import KIND, MAX_FILE  # noqa: PLC0415 - as long as all the rest
    from riskshare.registry.signed import read_file  # noqa: PLC0415 - as above

    index, _, _, statement, signature, _ = row
    try:
        file = read_file(KIND, signature, limit=MAX_FILE)
        version = file.body.get("version")
        if file.json != statement or type(version) is not int:
            raise EncodingError("The file beside it is another one.")
    except EncodingError as error:
        facts.flaw("5", "wrong_statement", index, f"it is no version of the registry: {error.message}")
        return
    facts.tables["registry"].append((facts.member, index, version, sha256(statement)))


# -- the rows of a page, and the entries of the log -------------------------------------------------


def _read_page(job: PageJob, facts: PageFacts) -> list[list[Any]]:
    """The rows of a page; none, and why, if it is not one."""
    path = page_path(job.first)
    data = job.files.read(path, MAX_PAGE_BYTES)
    if data is None:
        facts.flaw("4", "withheld", job.first, f"{path} is missing")
        return []
    try:
        first, following, rows = read_rows(data)
    except EncodingError as error:
        facts.flaw("4", "withheld", job.first, f"{path} cannot be read: {error.message}")
        return []
    if (first, following) != (job.first, job.next):
        facts.flaw("4", "withheld", job.first, f"{path} covers another part of the log than its place says")
        return []
    return rows


def _standing(rows: Iterable[list[Any]], job: PageJob, facts: PageFacts) -> Iterator[list[Any]]:
    """The rows that are what stands in the log at their indices.

    From `start` on none may be missing; before it only those of standing kinds are looked at. Raises LedgerError,
    DiskError.
    """
    whole = not facts.flaws
    expected = max(job.first, job.start)
    tallies = dict.fromkeys(KINDS, 0)
    part, entries = -1, ()  # type: int, tuple[bytes, ...]
    for row in rows:
        index, kind, salt, statement, _, _ = row
        if index != expected:
            if index < job.start and kind not in STANDING:
                continue
            if index > expected:
                _gap(expected, index, facts)
        if index >= expected:
            expected = index + 1
        if index >> HEIGHT != part:
            part = index >> HEIGHT
            place = Bundle(part, min(WIDTH, job.size - (part << HEIGHT)))
            entries = decode_entries(place, read_bundle(job.files, place))
        if hash_of(salt + _KINDS[kind] + statement).digest() == entries[index & WIDTH - 1]:
            tallies[kind] += 1
            yield row
        else:
            facts.flaw("4", "wrong_statement", index, f"the {kind} that is shown for it is not what stands there")
    if expected < job.next and whole:
        _gap(expected, job.next, facts)
    facts.tallies.update({kind: count for kind, count in tallies.items() if count})


def _gap(first: int, following: int, facts: PageFacts) -> None:
    more = f", and {following - first - 1:,} more behind it" if following - first > 1 else ""
    facts.flaw("4", "withheld", first, f"it is not shown what it stands for{more}")


# -- in a process ----------------------------------------------------------------------------------------


def start_worker() -> None:
    """First in each process."""
    gc.freeze()
    gc.set_threshold(GARBAGE)


def page_in_worker(job: PageJob) -> PageFacts:
    """Verify a page, in a process that may be another one. Raises as `Looking.page`."""
    return Looking(job.ring).page(job)
