"""Reconciling: both sides of every exchange held against each other, and each against the registry.

1. For each log: how far it reaches, and where it was silent. What is missing in it counts only within that.
2. Each rule (`charges`) reads the facts and names parties, with what proves it.
3. Of each charge the evidence file is made and verified as a stranger would verify it. Only what convicts is a finding;
   a charge that does not is told as such, and the step as not complete.
4. A member whose log ends before what others logged with it is named: an old checkpoint convicts nobody, and hides what
   came after it.
5. What blames nobody is counted, and each member's count is held against the others' (`unusual`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile
from typing import Final, Protocol

from riskshare.audit import rules, settled
from riskshare.audit.bench import Bench, Charge, Facts, Rule, Unheld
from riskshare.audit.charges import RULES
from riskshare.audit.conviction import REFUSALS, convicts
from riskshare.audit.drafting import Drafter, Folders
from riskshare.audit.fact import BROKEN, MINUTE, LogRow, milliseconds, moment_of
from riskshare.audit.finding import Evidence, Finding, Observation
from riskshare.audit.report import Figure, Series, Step
from riskshare.audit.settled import GRACE, Standing, reach, silences, tail_length
from riskshare.audit.unusual import unusual
from riskshare.audit.versions import CLOCKS, Versions
from riskshare.encoding import format_time, sha256
from riskshare.errors import RiskshareError
from riskshare.sharing import snapshot
from riskshare.sharing.snapshot import SnapshotStatement
from riskshare.statement import read_wire

EXAMPLES: Final = 3
"""So many evidence files are made of charges alike."""

TRIES: Final = 100
"""So many charges alike are tried until those are found."""

ENDS: Final = "no log ends longer than the grace before what others logged with its member"

POINTS: Final = 240
"""Most points of a chart."""

_SPANS: Final = tuple(
    minutes * MINUTE for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 240, 360, 720, 1440, 2880, 10080, 43200)
)

Progress = Callable[[int, int, str], None]
"""Told before each rule: rules done, how many there are, what is verified next."""


class Shelf(Protocol):
    """Where evidence files go. Raises DiskError."""

    def write(self, name: str, data: bytes, shows: str) -> Evidence:
        """Write a file, in place of one of that name."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What was found: the parts of a report."""

    findings: tuple[Finding, ...]
    observations: tuple[Observation, ...]
    steps: tuple[Step, ...]
    series: tuple[Series, ...]
    figures: tuple[Figure, ...]
    logs: tuple[LogRow, ...]
    limits: tuple[str, ...]


@dataclass(slots=True)
class _Group:
    """Charges alike: how many, and what of them convicts."""

    count: int = 0
    tries: int = 0
    at: int = 0
    proofs: list[Evidence] = field(default_factory=list)
    refusal: str = ""


class Reconciler:
    """Reconciles one case."""

    def __init__(
        self,
        *,
        facts: Facts,
        folders: Folders,
        shelf: Shelf,
        versions: Versions,
        now: datetime,
        grace: int = GRACE,
        rules_by_name: Mapping[str, Rule] = RULES,
    ) -> None:
        self._facts = facts
        self._folders = folders
        self._shelf = shelf
        self._versions = versions
        self._now = now
        self._grace = grace
        self._rules = rules_by_name
        self._drafter = Drafter(facts, folders, versions.network, grace)

    def run(self, progress: Progress | None = None) -> Reconciled:
        """Reconcile the case. Raises DiskError: its folder cannot be used."""
        self._facts.prepare()
        try:
            return self._run(progress)
        finally:
            self._facts.finish()

    def _run(self, progress: Progress | None) -> Reconciled:
        logs = {log.member: log for log in self._facts.logs()}
        # 1.
        gaps = {member for (member,) in self._facts.rows("incomplete")}
        standings = {member: self._standing(log, whole=member not in gaps) for member, log in logs.items()}
        bench = Bench(self._facts, self._versions, standings, self._grace, self._show, self._statement)
        tallies: Counter[tuple[str, str]] = Counter()
        findings: list[Finding] = []
        steps: list[Step] = []
        exchanges = sum(count for _, count in self._facts.rows("asked_counts"))
        one_sided = 0
        for done, rule in enumerate(self._rules.values()):
            if progress:
                progress(done, len(self._rules), rule.title)
            # 2 and 3.
            unheld: Counter[str] = Counter()
            groups = self._apply(rule, bench, tallies, unheld)
            found = [self._finding(key, group) for key, group in groups.items() if group.proofs]
            findings += found
            steps.append(self._step(done + 1, rule, groups, exchanges, unheld))
            one_sided += unheld.total()
        # 4.
        steps.append(self._ends(len(self._rules) + 1, exchanges))
        # 5.
        return Reconciled(
            tuple(findings),
            tuple(self._observations(tallies, logs)),
            tuple(steps),
            tuple(self._series(logs.values())),
            tuple(self._figures(findings, tallies, one_sided)),
            tuple(logs.values()),
            tuple(self._limits(standings.values())),
        )

    # -- 1 ---------------------------------------------------------------------------

    def _standing(self, log: LogRow, *, whole: bool) -> Standing:
        """How far a log reaches; a log that is not shown as a whole reaches nowhere: nothing is known to be absent.

        What claims to be later than the log's checkpoint fills no silence, and counts as of then.
        """
        seen = log.last_cosigned if log.last_cosigned is not None else milliseconds(self._now)
        first = log.size - tail_length(log.size - log.start)
        entries = [(at, index) for index, at in self._facts.rows("own_times", log.member, first)]
        tail = [min(at, seen) for at, _ in entries]
        quiet = silences(takewhile(lambda minute: minute <= seen, self._facts.minutes(log.member)), self._grace)
        last = next(self._facts.rows("last_minute", log.member, seen))[0]
        anchor = max((entry for entry in entries if entry[0] <= seen + CLOCKS), default=(0, -1))[1]
        return Standing(log, reach(tail) if whole else None, max([last, *tail]), quiet, anchor, whole)

    def _show(self, digest: bytes) -> SnapshotStatement | None:
        """A snapshot that somebody showed: believed only with a signature of its owner's."""
        wire = self._folders.held(digest)
        if wire is None:
            return None
        keys = [term.public for member in self._versions.newest.members.values() for term in member.identity]
        try:
            statement = read_wire(snapshot.KIND, self._versions.network, wire, keys, limit=snapshot.MAX_BYTES + 256)
            value = SnapshotStatement.from_statement(statement)
        except REFUSALS:
            return None
        return value if statement.digest == digest else None

    def _statement(self, member: str, index: int) -> bytes | None:
        """What an entry stands for, as its member's folder shows it."""
        row = self._folders.row(member, index)
        return None if row is None else row.statement

    # -- 2 and 3 ---------------------------------------------------------------------

    def _apply(
        self, rule: Rule, bench: Bench, tallies: Counter[tuple[str, str]], unheld: Counter[str]
    ) -> dict[tuple[str, str, str], _Group]:
        groups: dict[tuple[str, str, str], _Group] = {}
        for outcome in rule.find(bench):
            if isinstance(outcome, Unheld):
                unheld[outcome.member] += 1
                continue
            if not isinstance(outcome, Charge):
                tallies[outcome.kind, outcome.member] += outcome.count
                continue
            group = groups.setdefault((outcome.kind, outcome.accused, outcome.towards), _Group())
            group.count += 1
            if len(group.proofs) < EXAMPLES and group.tries < TRIES:
                group.tries += 1
                self._prove(outcome, group)
        return groups

    def _prove(self, charge: Charge, group: _Group) -> None:
        """Make the evidence, and believe it no more than a stranger would."""
        try:
            data = self._drafter.draft(charge)
            conviction = convicts(data, self._versions, self._now)
        except RiskshareError as error:
            group.refusal = error.message
            return
        if conviction.accused != charge.accused:
            group.refusal = "The evidence convicts another party."
            return
        name = f"{charge.kind}-{charge.accused}-{sha256(data).hex()[:16]}.json"
        shows = " ".join(filter(None, (conviction.sentence, conviction.replay)))
        group.at = group.at or charge.at
        group.proofs.append(self._shelf.write(name, data, shows))

    @staticmethod
    def _finding(key: tuple[str, str, str], group: _Group) -> Finding:
        kind, accused, towards = key
        about = {"count": f"{group.count:,}"} | ({"counterparty": towards} if towards else {})
        sentence = group.proofs[0].shows
        if group.count > 1:
            sentence += f" There are {group.count:,} such cases."
        at = moment_of(group.at) if group.at else None
        return Finding(kind, accused, sentence, at, about, tuple(group.proofs))

    @staticmethod
    def _step(
        number: int,
        rule: Rule,
        groups: Mapping[tuple[str, str, str], _Group],
        exchanges: int,
        unheld: Counter[str],
    ) -> Step:
        found = sum(group.count for group in groups.values() if group.proofs)
        unproven = [(key, group) for key, group in groups.items() if not group.proofs]
        sentence = f"{found:,} cases convict somebody." if found else ""
        for (_, accused, _), group in unproven:
            sentence += f" {group.count:,} against {accused} could not be proven: {group.refusal}"
        if unheld:
            logs = ", ".join(f"the log of {member} ({count:,})" for member, count in sorted(unheld.items()))
            sentence += f" {unheld.total():,} were verified from one side alone. Not here, or not as a whole: {logs}."
        outcome = "fails" if found else "skipped" if unproven or unheld else "holds"
        return Step(f"{number}", rule.title, outcome, exchanges, sentence.strip())  # type: ignore[arg-type]

    # -- 4 ---------------------------------------------------------------------------

    def _ends(self, number: int, exchanges: int) -> Step:
        """Whether each log that is shown reaches as far as what others logged with its member."""
        sentences = [
            f"The log of {member} ends with what a quorum had seen by {format_time(moment_of(end))}; others logged"
            f" {count:,} exchange{'s' * (count > 1)} with it more than {self._grace / rules.HOUR:g} hours later, up to"
            f" {(last - end) / rules.HOUR:,.1f} hours. What it logged in that time was not shown: have a newer"
            " checkpoint of it, and replay again."
            for member, end, count, last in self._facts.rows("behind", BROKEN, self._grace)
        ]
        return Step(f"{number}", ENDS, "skipped" if sentences else "holds", exchanges, " ".join(sentences))

    # -- 5 ---------------------------------------------------------------------------

    def _observations(
        self, tallies: Mapping[tuple[str, str], int], logs: Mapping[str, LogRow]
    ) -> Iterator[Observation]:
        events = self._events(tallies)
        kinds = sorted({kind for kind, _ in tallies})
        comparisons = max(1, len(kinds) * len(logs))
        for kind in kinds:
            counts = {
                member: (tallies.get((kind, member), 0), max(events[kind][member], tallies.get((kind, member), 0)))
                for member in sorted({*logs, *(member for other, member in tallies if other == kind)})
            }
            words = unusual(counts, comparisons)
            for member, (count, of) in counts.items():
                if count:
                    yield Observation(kind, member, count, of, words.get(member, ""))

    def _events(self, tallies: Mapping[tuple[str, str], int]) -> Mapping[str, Counter[str]]:
        """For each kind of observation and member: of how many it is counted."""
        asked = Counter(dict(self._facts.rows("asked_counts")))
        answered = Counter(dict(self._facts.rows("answered_counts")))
        logged: Counter[str] = Counter()
        sent: Counter[str] = Counter(asked)
        for member, receipts, _, unanswered, _ in self._facts.rows("counts"):
            logged[member] = receipts
            sent[member] += unanswered
        expected = Counter(logged)
        for (kind, member), count in tallies.items():
            expected[member] += count if kind == "late" else 0
        named = Counter(dict(self._facts.rows("named_counts")))
        return {
            "late": expected,
            "unanswered": sent,
            "adopted": asked,
            "answered_late": answered,
            "sequenced_late": logged,
            "unknown_snapshot": named,
            "undisclosed": Counter(dict(self._facts.rows("settlement_counts"))),
        }

    def _series(self, logs: Iterable[LogRow]) -> Iterator[Series]:
        """Receipts, checks and elements of each member over the period."""
        shown = list(logs)
        if not shown:
            return
        opened, closed = min(log.opened for log in shown), max(log.closed for log in shown)
        span = next((span for span in _SPANS if (closed - opened) // span < POINTS), _SPANS[-1])
        slots = range(opened // span, -(-closed // span))[: 2 * POINTS]
        values = {
            (log.member, name): [0.0] * len(slots) for log in shown for name in ("receipts", "checks", "elements")
        }
        for member, slot, *sums in self._facts.rows("series", span, slots.start * span, slots.stop * span):
            for name, total in zip(("receipts", "checks", "elements"), sums, strict=True):
                if (member, name) in values:
                    values[member, name][slot - slots.start] = float(total)
        times = tuple(moment_of(slot * span) for slot in slots)
        each = f"in {span // MINUTE:,} minute" + "s" * (span > MINUTE)
        for name, title in (
            ("receipts", "Receipts in each log"),
            ("checks", "Checks in each log"),
            ("elements", "Elements of the receipts in each log"),
        ):
            lines = tuple((log.member, tuple(values[log.member, name])) for log in shown)
            yield Series(title, f"{name} {each}", times, lines)

    def _figures(
        self, findings: Iterable[Finding], tallies: Mapping[tuple[str, str], int], one_sided: int
    ) -> Iterator[Figure]:
        exchanges = sum(count for _, count in self._facts.rows("asked_counts"))
        late = sum(count for (kind, _), count in tallies.items() if kind == "late")
        yield Figure("Exchanges reconciled", f"{exchanges:,}")
        yield Figure("In both logs", f"{next(iter(self._facts.rows('two_sided')))[0]:,}")
        yield Figure("Late in one log", f"{late:,}")
        yield Figure("Verified from one side alone", f"{one_sided:,}")
        yield Figure("Parties convicted", f"{len({finding.accused for finding in findings}):,}")

    def _limits(self, standings: Iterable[Standing]) -> Iterator[str]:
        """What this reconciliation, of this case, could not find."""
        hours = self._grace / rules.HOUR
        until = [standing.reached - self._grace for standing in standings if standing.reached is not None]
        if until:
            yield (
                f"What is missing in a log counts only after {hours:g} hours. Exchanges after"
                f" {format_time(moment_of(max(0, min(until))))} are late at most: let the next audit begin there."
            )
        yield "An exchange with a member whose log is not in this case is verified from one side alone."
        yield (
            "A querier that crashed learns of a lost answer only from its owner. One that was in contact with the owner"
            " again, and still does not have it, is convicted; an owner that hides the receipt from such a querier,"
            " and shows it to the auditor, looks the same. The querier should be heard."
        )
        yield "The quota of a second is not judged, nor that of a period which the case shows only in part."


def default_grace(hours: float | None) -> int:
    """The grace in milliseconds: of so many hours, or the usual one. Raises ValueError below the time of a return."""
    grace = GRACE if hours is None else round(hours * rules.HOUR)
    if grace < settled.RETURN:
        raise ValueError("the grace is at least an hour")
    return grace
