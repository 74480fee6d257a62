"""Replay: each member's log verified from its folder, and everything that its entries stand for.

For each member, by these steps (`replayed.STEPS`):

1. The whole log is derived anew from its entries; its checkpoint is signed by the log, and a quorum had cosigned it.
2. It continues every checkpoint of it that was audited before.
3. The part that is shown begins where it says: at a final checkpoint that was cosigned before the period.
4. Each row's salt, kind and statement hash to the entry at its index, and no entry of that part is without a row.
5. The versions of the registry are those of the chain, from the pinned digest on.
6. Epochs, snapshots, checks, audits and settlements are well-formed, the member's own, and signed by keys in force.
7. Both halves of every receipt are well-formed and belong together; keys of both parties, in force then, signed them.
   A receipt that stands in two logs is verified once: in the owner's, and in the querier's only if it is not there.
8. Epochs, snapshots and registry versions named in the asks are known. Whether they, and the purposes, were in force is
   judged by `reconcile`, which knows both sides.
9. Counts and times, of each kind and minute.

What fails in one member's log ends nothing in the others'. Pages are verified in processes, and what they give is
written to the case database page by page: whoever ends the process loses one page, and the next run goes on behind it.
Memory does not grow with the logs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import pairwise
from typing import Any, Final, Protocol, TypeVar, final

from riskshare.audit.deriving import Part, assemble, derive_part, is_part, parts_of
from riskshare.audit.fact import (
    BROKEN,
    UNSIGNED_ANSWER,
    UNSIGNED_ASK,
    Flaw,
    LogRow,
    ReceiptRow,
    RegistryRow,
    milliseconds,
)
from riskshare.audit.files import MemberFiles, row_at
from riskshare.audit.finding import Evidence, Finding, Observation
from riskshare.audit.keyring import Keyring, make_keyring
from riskshare.audit.log_part import CHECKPOINT, Derive, PartOfLog
from riskshare.audit.page import MAX_PAGE_BYTES, page_path, read_statements
from riskshare.audit.paging import PageFacts, PageJob, page_in_worker, start_worker
from riskshare.audit.receipts import sentence_of
from riskshare.audit.registries import Chain
from riskshare.audit.replayed import FAILED, KINDS, MOST, SKIPPED, AuditedBefore, Member, all_steps
from riskshare.audit.report import Step
from riskshare.audit.versions import Versions
from riskshare.cores import CORES, Processes
from riskshare.encoding import sha256
from riskshare.errors import EncodingError
from riskshare.ledger import note
from riskshare.ledger.checkpoint import Checkpoint, parse_signed
from riskshare.ledger.tile import HEIGHT

SMALL: Final = 4_000
"""Fewer entries than these take less than the start of processes."""

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")

_REGISTRY_ROW: Final = b"hregistry"
"""How the kind of a registry's row is written in CBOR: what pages may have one is seen without reading them."""


class Folder(MemberFiles, Protocol):
    """A member's folder, as it was given to us. Raises DiskError."""

    def parts(self) -> Iterator[str]:
        """Paths of all files below `tile/`."""

    def look_through(self) -> bytes:
        """A digest of what there is, 32 bytes. Raises InputError: there is what does not belong into a folder."""


class Case(Protocol):
    """The case database (`store.case`). Raises DiskError."""

    def begin(self, inputs: bytes) -> bool:
        """Go on with an unfinished case of the same inputs, or empty it."""

    def together(self) -> AbstractContextManager[None]:
        """What is written inside stands as a whole, or not at all."""

    def add(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        """Add rows to a table of facts."""

    def add_activity(self, rows: Iterable[Sequence[Any]]) -> None:
        """Add counts to minutes."""

    def add_tallies(self, member: str, counts: Mapping[str, int]) -> None:
        """Add to the counts of a member."""

    def add_flaws(self, rows: Iterable[Sequence[Any]]) -> None:
        """Keep what does not hold."""

    def reach(self, member: str, step: str, upto: int) -> None:
        """Note how far a step has come."""

    def reached(self, member: str, step: str) -> int:
        """How far it has come."""

    def index(self) -> None:
        """Make the indices that reading needs."""

    def wait(self) -> int:
        """Note of each receipt that nobody has verified one place; gives how many."""

    def waiting(self, member: str, first: int, following: int) -> frozenset[int]:
        """Indices of such places in a part of a log."""

    def faulty(self) -> Iterator[tuple[ReceiptRow, int]]:
        """Every row of a receipt that has faults, with them."""

    def logs(self) -> list[LogRow]:
        """The audited part of each log."""

    def tallies(self, member: str) -> Mapping[str, int]:
        """The counts of a member."""

    def flaws(self, member: str, limit: int) -> Sequence[Flaw]:
        """What does not hold, of each step and kind the first `limit`."""

    def flaw_counts(self, member: str) -> Mapping[tuple[str, str], int]:
        """How much does not hold, by step and kind."""

    def registries(self) -> Iterator[RegistryRow]:
        """Every row of a registry version."""

    def counts(self, sql: str, *parameters: object) -> tuple[int, ...]:
        """The numbers that a named query gives."""

    def finish(self) -> None:
        """All is in."""


class Memory(Protocol):
    """What this auditor audited before. Raises DiskError, InputError."""

    def before(self, member: str) -> Sequence[AuditedBefore]:
        """The checkpoints of a member's log."""

    def keep(self, member: str, audited: AuditedBefore) -> None:
        """Add one."""


class Watch(Protocol):
    """Who is told while it goes on."""

    def progress(self, what: str, done: int, of: int) -> None:
        """How far a part of the work is: `entries` of a log, or `rows` of all."""

    def step(self, step: Step) -> None:
        """A step of a member is done."""


class Spread(Protocol):
    """Applies a function of the top level of a module to each job, on all cores; results come in order."""

    def __call__(self, function: Callable[[_Job], _Result], jobs: Iterable[_Job], /) -> Iterator[_Result]:
        """Raises what the function raises, and RiskshareError `worker_lost`."""


Exhibit = Callable[[MemberFiles, Flaw], tuple[Evidence, ...]]
"""Makes evidence for what does not hold of a member's log: files beside the report. Raises DiskError."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay found: every member, all steps in order, findings with evidence, and observations."""

    members: tuple[Member, ...]
    steps: tuple[Step, ...]
    findings: tuple[Finding, ...]
    observations: tuple[Observation, ...]
    exchanges: int
    """Distinct ones."""
    receipts: int
    """Their rows in logs."""


@final
class Replay:
    """One replay of members' folders (by name) for a period (opened, closed), into one case."""

    def __init__(
        self,
        folders: Mapping[str, Folder],
        period: tuple[datetime, datetime],
        chain: Chain,
        *,
        case: Case,
        memory: Memory,
        derive: Derive,
        exhibit: Exhibit,
        watch: Watch,
        now: datetime,
        cores: int = CORES,
    ) -> None:
        self._folders = dict(sorted(folders.items()))
        self._period = period
        self._chain = chain
        self._case = case
        self._memory = memory
        self._derive = derive
        self._exhibit = exhibit
        self._watch = watch
        self._now = now
        self._cores = cores

    def run(self) -> Replayed:
        """Do all of it, or the rest of it. The chain has the versions that the members show afterwards.

        Raises:
            InputError: a folder is none, or not that of its member.
            DiskError: a folder, or the case, cannot be used.
            RiskshareError: a process was lost (`worker_lost`); run it again.

        """
        with self._workers() as spread:
            looks = {member: files.look_through() for member, files in self._folders.items()}
            self._grow_chain()
            versions = Versions(tuple(self._chain.versions))
            ring = make_keyring(versions.registries)
            self._case.begin(self._inputs(looks, versions))
            # 1 to 3.
            for member in self._folders:
                self._log(member, versions, spread)
            logs = [log for log in self._case.logs() if self._case.reached(log.member, "shown")]
            # 4 to 7: the rows of all pages.
            self._rows(logs, ring, spread)
            # 5.
            self._registries()
            # 7.
            self._case.index()
            self._waiting(logs, ring, spread)
        self._blame()
        # 8 and 9.
        members = tuple(self._member(member) for member in self._folders)
        replayed = self._replayed(members)
        self._case.finish()
        return replayed

    @contextmanager
    def _workers(self) -> Iterator[Spread]:
        """All cores, and what comes first is done while they start; or this process alone, for what is little."""
        if sum(_size_of(files) for files in self._folders.values()) < SMALL:
            yield map
            return
        with Processes(start_worker, count=self._cores) as processes:
            processes.start()
            yield processes.map

    def _grow_chain(self) -> None:
        for files in self._folders.values():
            for first in files.firsts():
                data = files.read(page_path(first), MAX_PAGE_BYTES) or b""
                if _REGISTRY_ROW in data:
                    self._offer(data)

    def _offer(self, data: bytes) -> None:
        try:
            page = read_statements(data)
        except EncodingError:
            return  # step 4 says so
        for row in page.rows:
            if row.kind == "registry":
                self._chain.offer(row.signature)

    def _inputs(self, looks: Mapping[str, bytes], versions: Versions) -> bytes:
        """Everything that this replay rests on: another folder, period or registry is another replay."""
        parts = [registry.digest for registry in versions.registries]
        parts += [str(tuple(map(milliseconds, self._period))).encode()]
        for member, look in looks.items():
            parts += [member.encode(), look, *(sha256(audited.note) for audited in self._memory.before(member))]
        return sha256(b"".join(map(sha256, parts)))

    # -- the logs ------------------------------------------------------------------------

    def _log(self, member: str, versions: Versions, spread: Spread) -> None:
        """Steps 1 to 3, unless they are done."""
        case = self._case
        if not case.reached(member, "log"):
            work = PartOfLog(
                member,
                self._folders[member],
                versions=versions,
                before=self._memory.before(member),
                period=self._period,
            )
            part = work.verify(partial(self._derived, member, spread))
            with case.together():
                case.add("log", [] if part.log is None else [part.log])
                case.add("checkpoint", part.checkpoints)
                case.add_flaws(part.flaws)
                case.add_tallies(member, part.tallies)
                case.reach(member, "shown", int(part.shown))
                case.reach(member, "log", 1)
        self._tell(self._member(member), "123")

    def _derived(self, member: str, spread: Spread, files: MemberFiles, checkpoint: Checkpoint) -> tuple[int, int]:
        """Derive a log anew, in parts; what does not hold, once more in order, which says what it is."""
        size = checkpoint.size
        done = 0

        def told(parts: Iterable[Part | None]) -> Iterator[Part | None]:
            nonlocal done
            for part in parts:
                done += 0 if part is None else part.entries
                self._watch.progress(f"{member}: entries", done, size)
                yield part

        tiles = assemble(files, checkpoint, told(spread(derive_part, parts_of(files, size))))
        if tiles is None or not all(map(partial(is_part, size=size), self._folders[member].parts())):
            return self._derive(files, checkpoint)
        return -(-size >> HEIGHT), tiles

    # -- their rows ----------------------------------------------------------------------

    def _rows(self, logs: Sequence[LogRow], ring: Keyring, spread: Spread) -> None:
        """Steps 4 to 7, page by page: each page's facts stand together with how far it leads."""
        of = sum(log.size - log.start for log in logs)
        done = sum(map(self._member_rows, (log.member for log in logs)))
        shown = frozenset(log.member for log in logs)
        for facts in spread(page_in_worker, (job for log in logs for job in self._pages(log, shown, ring))):
            self._write(facts)
            done += sum(facts.tallies[kind] for kind in KINDS)
            self._watch.progress("rows", min(done, of), of)

    def _member_rows(self, member: str) -> int:
        """The rows of a member that are done."""
        tallies = self._case.tallies(member)
        return sum(tallies.get(kind, 0) for kind in KINDS)

    def _pages(self, log: LogRow, shown: frozenset[str], ring: Keyring) -> Iterator[PageJob]:
        """The pages of a log that are not done, each to where the next one begins."""
        files = self._folders[log.member]
        reached = self._case.reached(log.member, "rows")
        firsts = [first for first in files.firsts() if first < log.size]
        if not firsts or firsts[0] > log.start:
            firsts.insert(0, log.start if log.start < log.size else 0)
        for first, following in pairwise([*firsts, log.size]):
            if first >= reached:
                yield PageJob(files, log.member, first, following, log.start, log.size, shown, ring)

    def _write(self, facts: PageFacts, *, again: bool = False) -> None:
        case = self._case
        with case.together():
            for table, rows in facts.tables.items():
                case.add(table, rows)
            case.add("named_snapshot", [(*named, exchange) for named, exchange in facts.named.items()])
            if again:
                return
            case.add_activity([(facts.member, bucket, *counts) for bucket, counts in facts.activity.items()])
            case.add_tallies(facts.member, facts.tallies | Counter(waiting=facts.waiting))
            case.add_flaws(facts.flaws)
            case.reach(facts.member, "rows", facts.next)

    def _waiting(self, logs: Sequence[LogRow], ring: Keyring, spread: Spread) -> None:
        """Step 7, for receipts of queriers that do not stand in their owners' logs."""
        left = self._case.wait()
        if not left:
            return
        done = 0
        for facts in spread(page_in_worker, self._waiting_pages(logs, ring)):
            self._write(facts, again=True)
            done += len(facts.tables["exchange"])
            self._watch.progress("receipts of one side", done, left)

    def _waiting_pages(self, logs: Sequence[LogRow], ring: Keyring) -> Iterator[PageJob]:
        for log in logs:
            files = self._folders[log.member]
            for first, following in pairwise([*files.firsts(), log.size]):
                wanted = self._case.waiting(log.member, first, following)
                if wanted:
                    part = log.start, log.size
                    yield PageJob(files, log.member, first, following, *part, frozenset(), ring, wanted)

    def _blame(self) -> None:
        """Step 7: a receipt with a fault convicts each member that logged it."""
        flaws: list[Flaw] = []
        for row, faults in self._case.faulty():
            if faults & BROKEN:
                unsigned = not faults & BROKEN & ~(UNSIGNED_ASK | UNSIGNED_ANSWER)
                kind = "unsigned" if unsigned else "wrong_statement"
                flaws.append(Flaw(row.member, "7", kind, row.idx, sentence_of(faults)))
        with self._case.together():
            self._case.add_flaws(flaws)

    def _registries(self) -> None:
        """Step 5: each version that a member noted is one of the chain."""
        flaws: list[Flaw] = []
        for row in self._case.registries():
            shown = row_at(self._folders[row.member], row.idx)
            standing = self._chain.standing(row.version, row.digest, b"" if shown is None else shown.signature)
            what = f"version {row.version} of the registry"
            if standing == "known":
                continue
            if standing == "unknown":
                flaws.append(Flaw(row.member, "5", SKIPPED, row.idx, f"{what} is not linked to the pinned one"))
            elif standing == "forked":
                flaws.append(Flaw(row.member, "5", FAILED, row.idx, f"governors signed another {what}"))
            else:
                flaws.append(Flaw(row.member, "5", "wrong_statement", row.idx, f"no governors signed it as {what}"))
        with self._case.together():
            self._case.add_flaws(flaws)

    # -- what is told --------------------------------------------------------------------

    def _member(self, member: str) -> Member:
        case = self._case
        log = next((log for log in case.logs() if log.member == member), None)
        names = ("epochs", "snapshots", "versions")
        named = {name: case.counts(f"{name}_named", member) for name in names}
        return Member(member, log, case.tallies(member), case.flaws(member, MOST), case.flaw_counts(member), named)

    def _tell(self, member: Member, numbers: str) -> None:
        for number in numbers:
            self._watch.step(member.step(number))

    def _replayed(self, members: tuple[Member, ...]) -> Replayed:
        findings: list[Finding] = []
        for member in members:
            self._tell(member, "456789")
            files = self._folders[member.name]
            evidence = {flaw: self._exhibit(files, flaw) for flaw in member.convicting}
            findings += member.findings(evidence)
            if member.log is not None and not any(step == "2" for step, _ in member.counts):
                self._memory.keep(member.name, AuditedBefore(files.read(CHECKPOINT, note.MAX_BYTES) or b"", self._now))
        exchanges, receipts = self._case.counts("totals")
        steps = tuple(all_steps(members))
        shown = [member.not_shown() for member in members]
        return Replayed(members, steps, tuple(findings), tuple(filter(None, shown)), exchanges, receipts)


def _size_of(files: MemberFiles) -> int:
    """How large a log says that it is; nothing is verified."""
    try:
        return parse_signed(files.read(CHECKPOINT, note.MAX_BYTES) or b"").checkpoint.size
    except EncodingError:
        return 0
